//! The proxy beside each instance, when the mesh stands beside the programs: its doors, the process,
//! and the file that it is told by.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use runtime::{SystemClock, Tasks};
use service_kit::{Bound, ServiceConfig, announce_ready};
use skein::{
    Exit, Failure, program, proxy,
    supervise::{
        ProcessSpec,
        lifeline::{WatchInput, farewell},
    },
};

use crate::{
    addresses::{collector, loopback},
    cli::RoleArguments,
    control,
    identities::{self, Surroundings},
    instances::Instance,
    mesh,
    role::{self, DRAIN},
    roles::Role,
    settings::{Settings, Tls},
};

/// What the process is started as. No role of the business: it has no settings of its own.
pub(crate) const ROLE: &str = "proxy";

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
    let inbound = match settings.tls {
        Tls::Off => port.saturating_add(INBOUND_PORT),
        // Whoever looks for the service finds its door.
        Tls::Strict => port,
    };
    (port.saturating_add(OUTBOUND_PORT), inbound)
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
        ["role", ROLE, "--instance", &sidecar.name, "--data", &data].map(str::to_owned).to_vec();
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
         - {{listen: \"{}\", application: \"{}\"{}}}\n  outbound:\n  - {{listen: \"{}\"}}\n",
        instance.edition.role.name(),
        loopback(sidecar.inbound),
        loopback(application),
        readiness(instance, settings),
        loopback(sidecar.outbound),
    );
    for door in &sidecar.doors {
        let listen = loopback(door.port);
        // Writing to a text cannot fail.
        let _written = writeln!(text, "  - {{listen: \"{listen}\", service: {}}}", door.service);
    }
    let mut files = Vec::new();
    if settings.mesh_control.enabled {
        text.push_str(&control_section(instance, settings));
    } else {
        // What a file lists is believed from the file alone.
        files.push("endpoints.yaml".to_owned());
    }
    files.extend(settings.route_files.iter().map(|it| it.to_string_lossy().into_owned()));
    // A text in JSON is one in YAML.
    let files: Vec<_> =
        files.iter().map(|it| serde_json::Value::from(it.as_str()).to_string()).collect();
    // The program beside it has one thread too.
    let _written =
        writeln!(text, "  workers: 1\n  admin: \"127.0.0.1:0\"\n  files: [{}]", files.join(", "));
    Some(text)
}

/// How the proxy knows that a program of others is ready to be registered, where that says how.
fn readiness(instance: &Instance, settings: &Settings) -> String {
    let foreign = settings.foreign(&instance.edition).filter(|_| settings.mesh_control.enabled);
    let path = foreign.and_then(|it| it.health.as_deref());
    path.map_or_else(String::new, |it| format!(", readinessPath: {}", serde_json::Value::from(it)))
}

/// The control plane that the proxy hears, and what it registers there: the program behind its door.
fn control_section(instance: &Instance, settings: &Settings) -> String {
    let address = Role::Control.address(settings);
    let identity = match settings.tls {
        Tls::Off => String::new(),
        Tls::Strict => format!(", identity: \"{}\"", control::identity()),
    };
    let (name, version) = (&instance.name, instance.edition.version());
    format!(
        "  control:\n    {{address: \"{address}\"{identity}, \
         instance: {{name: \"{name}\", version: \"{version}\"}}}}\n"
    )
}

/// Runs the process beside an instance to its end.
pub(crate) async fn run(data: &Path, told: &RoleArguments) -> Result<Exit, Failure> {
    program::take_small_pages();
    let usage = |what: &str| Failure::new("bad_argument", what).exit(Exit::Usage);
    let file = told.config.as_ref().ok_or_else(|| usage("a proxy is told by `--config FILE`"))?;
    let settings = Settings::of(data)?.ok_or_else(|| usage("no system was started here"))?;
    let (proxy, files) = proxy::read(file)?;
    let files = mesh::everywhere(files, &settings).kept_in(mesh::last_good(data));
    let clock = SystemClock::shared();
    let service = format!("{}-proxy", proxy.name);
    role::start_logs(&settings, &service, &told.instance, &clock);
    let telemetry = role::telemetry(&settings, &clock);
    let tasks = Tasks::new();
    let config = ServiceConfig {
        role: service,
        instance: told.instance.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        trace_endpoint: Some(format!("http://{}", collector(&settings))),
        faults: role::faults(&settings),
        operators: role::operators(data),
        ..proxy::config(&proxy)
    };
    let context = role::context(config, data, (clock, telemetry, &tasks));
    let around =
        Surroundings { data, clock: &context.clock, telemetry: &context.telemetry, tasks: &tasks };
    let known = match settings.tls {
        Tls::Off => None,
        Tls::Strict => Some(identities::take(&proxy.name, &around).await?),
    };
    let running = proxy::start(&proxy, files, &context, proxy::limits(), known)?;
    let first = |doors: &[SocketAddr]| doors.first().copied();
    let http = first(&running.bound.inbound).or_else(|| first(&running.bound.outbound));
    let http = http.ok_or_else(|| usage("the proxy has no door"))?;
    let ended = async {
        announce_ready(&context.config, &Bound { http, admin: running.admin, https: None })?;
        farewell(WatchInput::Yes).await
    };
    let why = ended.await.map_err(|it| Failure::new("start_failed", it.to_string()))?;
    tracing::info!(?why, "draining");
    let exit = program::drain(&tasks, DRAIN, why).await;
    running.join(&tasks);
    Ok(exit)
}

#[cfg(test)]
mod tests {
    use mesh_policy::schema::{self, SourceFile};

    use super::*;
    use crate::{
        editions::Edition,
        settings::{ControlSettings, ForeignService},
    };

    fn instance(doors: Vec<Door>) -> Instance {
        let name = "package-proxy-1".to_owned();
        Instance {
            edition: Edition::first(Role::Package),
            number: 1,
            name: "package-1".to_owned(),
            port: Some(7_106),
            sidecar: Some(Sidecar { name, outbound: 7_206, inbound: 7_306, doors }),
            identity: None,
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
  workers: 1
  admin: "127.0.0.1:0"
  files: ["endpoints.yaml", "/etc/my \"own\" routes.yaml"]
"#;
        assert_eq!(text(&instance(doors), &settings).unwrap(), expected);
    }

    #[test]
    fn with_a_control_plane_a_proxy_registers_its_program_and_reads_no_list_of_others() {
        let python = ForeignService {
            command: vec!["python3".to_owned()],
            port: None,
            health: Some("/healthy".to_owned()),
        };
        let settings = Settings {
            mesh_control: ControlSettings { enabled: true, ..ControlSettings::default() },
            services: [("package".to_owned(), python)].into(),
            tls: Tls::Strict,
            ..Settings::default()
        };
        let text = text(&instance(Vec::new()), &settings).unwrap();
        let control = "address: \"127.0.0.1:7070\", \
                       identity: \"spiffe://drone-delivery/ns/default/svc/control\", \
                       instance: {name: \"package-1\", version: \"v1\"}";
        assert!(text.contains(control), "{text}");
        assert!(text.contains("readinessPath: \"/healthy\""), "{text}");
        assert!(!text.contains("endpoints.yaml"), "{text}");
        let source = SourceFile { name: "proxy.yaml".to_owned(), text };
        assert!(schema::read(&[source]).is_ok_and(|it| it.proxies[0].control.is_some()));
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
