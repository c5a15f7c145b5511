//! The file in which every caller finds the instances that run: `mesh/endpoints.yaml` in the data
//! directory. `up` writes it anew at each change; whoever calls watches it.
//!
//! An instance is in it from the moment it has announced itself, or has answered, until it dies or is
//! about to be asked to end. Whether it answers well meanwhile is for the breakers of its callers to
//! say: this file knows lives, not health.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io,
    path::{Path, PathBuf},
};

use mesh_policy::destination::{Endpoint, EndpointSet};
use skein::supervise::{ProcessState, ProcessStatus};

use crate::{addresses::loopback, instances::Instance, published::PublishedFile, roles::Role};

/// The file, in the data directory of a system.
pub(crate) fn path(data: &Path) -> PathBuf {
    data.join("mesh/endpoints.yaml")
}

/// Where each service is found now: one set for each role that can be called, and beside it one for
/// each version, `account-v2`, where a role runs in more than one.
pub(crate) fn sets(
    instances: &[Instance],
    rows: &[ProcessStatus],
) -> BTreeMap<String, EndpointSet> {
    let mut sets = BTreeMap::<String, EndpointSet>::new();
    for instance in instances.iter().filter(|it| it.edition.role.is_called()) {
        let (role, version) = (instance.edition.role, instance.edition.version());
        let mut names = vec![role.name().to_owned()];
        if has_versions(role, instances) {
            names.push(format!("{}-{version}", role.name()));
        }
        for name in names {
            // A service of which nothing runs is known all the same.
            sets.entry(name).or_default().endpoints.extend(endpoint(instance, rows));
        }
    }
    sets
}

fn has_versions(role: Role, instances: &[Instance]) -> bool {
    instances.iter().any(|it| it.edition.role == role && !it.edition.is_first())
}

/// Where an instance takes calls, if it does.
fn endpoint(instance: &Instance, rows: &[ProcessStatus]) -> Option<Endpoint> {
    let ready =
        |name: &str| rows.iter().find(|it| it.instance == name && it.state == ProcessState::Ready);
    let row = ready(&instance.name)?;
    let port = match &instance.sidecar {
        // Nobody passes the door beside it.
        Some(sidecar) => ready(&sidecar.name).map(|_| sidecar.inbound)?,
        None => *row.ports.get(instance.edition.role.port_name())?,
    };
    Some(Endpoint {
        address: loopback(port),
        instance: Some(instance.name.clone()),
        version: Some(instance.edition.version().to_owned()),
        weight: 1,
        identity: instance.identity.clone(),
    })
}

/// The sets as YAML, one document each. All of them are HTTP/1.1 and weigh the same, which is what a
/// file means that does not say otherwise.
pub(crate) fn text(sets: &BTreeMap<String, EndpointSet>) -> String {
    let mut text = String::new();
    for (name, set) in sets {
        // Writing to a text cannot fail.
        let _written = write_set(&mut text, name, set);
    }
    text
}

fn write_set(text: &mut String, name: &str, set: &EndpointSet) -> std::fmt::Result {
    writeln!(
        text,
        "---\napiVersion: skein/v1\nkind: Endpoints\nmetadata: {{name: {name}}}\nspec:"
    )?;
    if set.endpoints.is_empty() {
        return writeln!(text, "  endpoints: []");
    }
    writeln!(text, "  endpoints:")?;
    for it in &set.endpoints {
        write!(text, "  - {{address: \"{}\"", it.address)?;
        let members =
            [("instance", &it.instance), ("version", &it.version), ("identity", &it.identity)];
        for (key, value) in members {
            if let Some(value) = value {
                write!(text, ", {key}: \"{value}\"")?;
            }
        }
        writeln!(text, "}}")?;
    }
    Ok(())
}

/// The file of one running system.
#[derive(Debug)]
pub(crate) struct EndpointsFile {
    file: PublishedFile,
    instances: Vec<Instance>,
}

impl EndpointsFile {
    /// Not written yet.
    pub(crate) fn new(data: &Path, instances: Vec<Instance>) -> Self {
        Self { file: PublishedFile::new(path(data)), instances }
    }

    /// Writes what holds now.
    pub(crate) fn write(&self, rows: &[ProcessStatus]) -> io::Result<()> {
        self.file.write(text(&sets(&self.instances, rows)))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{editions::Edition, sidecars::Sidecar};

    fn instance(edition: &str, number: u32) -> Instance {
        let edition: Edition = edition.parse().unwrap();
        let name = edition.instance(edition.role.name(), number);
        Instance { edition, number, name, port: None, sidecar: None, identity: None }
    }

    fn row(instance: &str, state: ProcessState, port: u16) -> ProcessStatus {
        ProcessStatus {
            service: "any".to_owned(),
            instance: instance.to_owned(),
            pid: None,
            state,
            ports: BTreeMap::from([("http".to_owned(), port)]),
            version: String::new(),
            restarts: 0,
            last_end: None,
        }
    }

    #[track_caller]
    fn check(instances: &[Instance], rows: &[ProcessStatus], expected: &str) {
        assert_eq!(text(&sets(instances, rows)), expected);
    }

    #[test]
    fn only_what_is_ready_is_listed_and_a_service_without_any_is_known() {
        use ProcessState::{CrashLoop, Pending, Ready, Starting, Stopped, Stopping, Waiting};
        let states = [Pending, Starting, Ready, Waiting, CrashLoop, Stopping, Stopped];
        let instances: Vec<_> = (1..=7).map(|it| instance("account", it)).collect();
        let rows: Vec<_> = instances
            .iter()
            .zip(states)
            .map(|(it, state)| row(&it.name, state, 7_000 + u16::try_from(it.number).unwrap()))
            .collect();
        let head = "---\napiVersion: skein/v1\nkind: Endpoints\nmetadata: {name: account}\nspec:\n";
        let ready = "  endpoints:\n  - {address: \"127.0.0.1:7003\", instance: \"account-3\", version: \"v1\"}\n";
        check(&instances, &rows, &format!("{head}{ready}"));
        check(&instances, &[], &format!("{head}  endpoints: []\n"));
    }

    #[test]
    fn each_version_has_a_list_of_its_own_beside_that_of_the_role() {
        let instances = [instance("account", 1), instance("account@v2", 1), instance("package", 1)];
        let rows = [
            row("account-1", ProcessState::Ready, 7_104),
            row("account@v2-1", ProcessState::Ready, 40_000),
            row("package-1", ProcessState::Ready, 7_106),
        ];
        let sets = sets(&instances, &rows);
        let found: Vec<_> = sets
            .iter()
            .map(|(name, set)| {
                let ports: Vec<_> = set.endpoints.iter().map(|it| it.address.port()).collect();
                (name.as_str(), ports)
            })
            .collect();
        let expected = [
            ("account", vec![7_104, 40_000]),
            ("account-v1", vec![7_104]),
            ("account-v2", vec![40_000]),
            ("package", vec![7_106]),
        ];
        assert_eq!(found, expected);
        let versions: Vec<_> =
            sets["account"].endpoints.iter().map(|it| it.version.as_deref()).collect();
        assert_eq!(versions, [Some("v1"), Some("v2")]);
    }

    #[test]
    fn an_instance_behind_a_proxy_is_found_at_the_door_of_a_proxy_that_runs() {
        let name = "account-proxy-1".to_owned();
        let sidecar =
            Sidecar { name: name.clone(), outbound: 7_204, inbound: 7_304, doors: vec![] };
        let instances = [Instance { sidecar: Some(sidecar), ..instance("account", 1) }];
        let mut rows = [
            row("account-1", ProcessState::Ready, 7_104),
            row(&name, ProcessState::Starting, 7_304),
        ];
        assert_eq!(sets(&instances, &rows)["account"].endpoints, []);
        rows[1].state = ProcessState::Ready;
        let found = &sets(&instances, &rows)["account"].endpoints[0];
        assert_eq!(found.address.port(), 7_304);
    }

    #[test]
    fn a_change_takes_the_place_of_the_file_and_no_change_leaves_it() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("mesh")).unwrap();
        let file = EndpointsFile::new(folder.path(), vec![instance("account", 1)]);
        let path = path(folder.path());
        file.write(&[]).unwrap();
        assert!(fs::read_to_string(&path).unwrap().ends_with("endpoints: []\n"));
        let rows = [row("account-1", ProcessState::Ready, 7_104)];
        file.write(&rows).unwrap();
        assert!(fs::read_to_string(&path).unwrap().contains("127.0.0.1:7104"));
        fs::remove_file(&path).unwrap();
        file.write(&rows).unwrap();
        assert!(!path.exists(), "it was written again without a change");
        assert!(!path.with_extension("yaml.new").exists());
    }
}
