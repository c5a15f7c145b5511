//! The proxy beside each instance, when the mesh stands beside the programs: its doors, the process,
//! and the file that it is told by.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
};

use skein::supervise::ProcessSpec;

use crate::{addresses::loopback, instances::Instance, roles::Role, settings::Settings};

/// Distance of the doors from the port of the service.
const OUTBOUND_PORT: u16 = 100;
const INBOUND_PORT: u16 = 200;

/// The proxy beside one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sidecar {
    /// Its name among all processes, such as `account-proxy-1`.
    pub(crate) name: String,
    /// Door for calls of the program to any service, named by the first label of the Host.
    pub(crate) outbound: u16,
    /// Door for calls of others to the program.
    pub(crate) inbound: u16,
    /// Doors for calls to one service each, for a program whose HTTP client sets Host from the URL.
    pub(crate) doors: Vec<Door>,
}

/// A door for calls to one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Door {
    pub(crate) service: &'static str,
    pub(crate) port: u16,
}

/// The outbound and the inbound door beside the first instance of a role.
pub(crate) fn well_known(role: Role, settings: &Settings) -> (u16, u16) {
    let port = role.address(settings).port();
    (port.saturating_add(OUTBOUND_PORT), port.saturating_add(INBOUND_PORT))
}

/// What `ps` calls the proxies of a role.
pub(crate) fn role_name(role: Role) -> String {
    format!("{}-proxy", role.name())
}

/// The file that tells the proxy beside an instance what to do.
pub(crate) fn path(data: &Path, instance: &Instance) -> PathBuf {
    data.join("mesh").join(format!("{}.yaml", instance.name))
}

/// The process beside an instance; `None` where there is none.
pub(crate) fn spec(instance: &Instance, data: &Path, program: &Path) -> Option<ProcessSpec> {
    let sidecar = instance.sidecar.as_ref()?;
    let file = path(data, instance).to_string_lossy().into_owned();
    let data = data.to_string_lossy().into_owned();
    let mut arguments =
        ["role", "proxy", "--instance", &sidecar.name, "--data", &data].map(str::to_owned).to_vec();
    arguments.extend(["--config".to_owned(), file]);
    let ports =
        [("outbound".to_owned(), sidecar.outbound), ("inbound".to_owned(), sidecar.inbound)];
    let doors = sidecar.doors.iter().map(|it| (format!("outbound-{}", it.service), it.port));
    Some(ProcessSpec {
        arguments,
        ports: BTreeMap::from_iter(ports.into_iter().chain(doors)),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..ProcessSpec::new(&role_name(instance.edition.role), &sidecar.name, program)
    })
}

/// What that file says; `None` where there is no proxy. Paths are relative to the file.
pub(crate) fn text(instance: &Instance, settings: &Settings) -> Option<String> {
    let (sidecar, application) = (instance.sidecar.as_ref()?, instance.port?);
    let mut text = format!(
        "apiVersion: skein/v1\nkind: Proxy\nmetadata: {{name: {}}}\nspec:\n  inbound:\n  \
         - {{listen: \"{}\", application: \"{}\"}}\n  outbound:\n  - {{listen: \"{}\"}}\n",
        instance.edition.role.name(),
        loopback(sidecar.inbound),
        loopback(application),
        loopback(sidecar.outbound),
    );
    for door in &sidecar.doors {
        let listen = loopback(door.port);
        // Writing to a text cannot fail.
        let _written = writeln!(text, "  - {{listen: \"{listen}\", service: {}}}", door.service);
    }
    let mut files = vec!["endpoints.yaml".to_owned()];
    files.extend(settings.route_files.iter().map(|it| it.to_string_lossy().into_owned()));
    // A text in JSON is one in YAML.
    let files: Vec<_> =
        files.iter().map(|it| serde_json::Value::from(it.as_str()).to_string()).collect();
    let _written = writeln!(text, "  admin: \"127.0.0.1:0\"\n  files: [{}]", files.join(", "));
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roles::Edition;

    fn instance(doors: Vec<Door>) -> Instance {
        let name = "package-proxy-1".to_owned();
        Instance {
            edition: Edition::first(Role::Package),
            number: 1,
            name: "package-1".to_owned(),
            port: Some(7_106),
            sidecar: Some(Sidecar { name, outbound: 7_206, inbound: 7_306, doors }),
        }
    }

    #[test]
    fn a_proxy_is_told_its_doors_its_program_and_its_files() {
        let settings = Settings {
            route_files: vec!["/etc/my \"own\" routes.yaml".into()],
            ..Settings::default()
        };
        let doors = vec![Door { service: "drone", port: 40_000 }];
        let expected = r#"apiVersion: skein/v1
kind: Proxy
metadata: {name: package}
spec:
  inbound:
  - {listen: "127.0.0.1:7306", application: "127.0.0.1:7106"}
  outbound:
  - {listen: "127.0.0.1:7206"}
  - {listen: "127.0.0.1:40000", service: drone}
  admin: "127.0.0.1:0"
  files: ["endpoints.yaml", "/etc/my \"own\" routes.yaml"]
"#;
        assert_eq!(text(&instance(doors), &settings).unwrap(), expected);
    }

    #[test]
    fn the_process_beside_an_instance_has_its_own_name_ports_and_file() {
        let spec = spec(&instance(Vec::new()), Path::new("/data"), Path::new("/program")).unwrap();
        assert_eq!(
            (spec.role.as_str(), spec.instance.as_str()),
            ("package-proxy", "package-proxy-1")
        );
        let line =
            "role proxy --instance package-proxy-1 --data /data --config /data/mesh/package-1.yaml";
        assert_eq!(spec.arguments.join(" "), line);
        let ports = [("inbound".to_owned(), 7_306), ("outbound".to_owned(), 7_206)];
        assert_eq!(spec.ports, BTreeMap::from(ports));
    }

    #[test]
    fn there_is_none_beside_an_instance_without_one() {
        let alone = Instance { sidecar: None, ..instance(Vec::new()) };
        assert_eq!(spec(&alone, Path::new("/data"), Path::new("/program")), None);
        assert_eq!(text(&alone, &Settings::default()), None);
    }
}
