//! The file in which the page finds every process and its operators' port: `mesh/processes.json` in
//! the data directory. `up` writes it anew at each change.

use std::{
    io,
    path::{Path, PathBuf},
};

use dashboard::{Part, Process, Processes};
use skein::supervise::ProcessStatus;

use crate::{addresses::loopback, instances::Instance, published::PublishedFile};

/// What the operators' port is called in `ps`.
const ADMIN: &str = "admin";

/// The file, in the data directory of a system.
pub(crate) fn path(data: &Path) -> PathBuf {
    data.join("mesh/processes.json")
}

/// The processes as the page wants them: a proxy belongs to the service that it stands beside.
fn listed(instances: &[Instance], rows: &[ProcessStatus]) -> Processes {
    let process = |row: &ProcessStatus| {
        let is_proxy =
            |it: &&Instance| it.sidecar.as_ref().is_some_and(|it| it.name == row.instance);
        let beside = instances.iter().find(is_proxy);
        Process {
            service: beside
                .map_or_else(|| row.service.clone(), |it| it.edition.role.name().to_owned()),
            instance: row.instance.clone(),
            part: if beside.is_some() { Part::Proxy } else { Part::Instance },
            state: row.state.as_str().to_owned(),
            admin: row.ports.get(ADMIN).map(|port| loopback(*port)),
        }
    };
    Processes { processes: rows.iter().map(process).collect() }
}

/// The file of one running system.
#[derive(Debug)]
pub(crate) struct ProcessesFile {
    file: PublishedFile,
    instances: Vec<Instance>,
}

impl ProcessesFile {
    /// Not written yet.
    pub(crate) fn new(data: &Path, instances: Vec<Instance>) -> Self {
        Self { file: PublishedFile::new(path(data)), instances }
    }

    /// Writes what holds now.
    pub(crate) fn write(&self, rows: &[ProcessStatus]) -> io::Result<()> {
        let listed = listed(&self.instances, rows);
        self.file.write(serde_json::to_string(&listed).map_err(io::Error::from)?)
    }
}

#[cfg(test)]
mod tests {
    use skein::supervise::ProcessState;

    use super::*;
    use crate::sidecars::Sidecar;

    fn row(service: &str, state: ProcessState, ports: &[(&str, u16)]) -> ProcessStatus {
        ProcessStatus {
            service: service.to_owned(),
            instance: format!("{service}-1"),
            pid: None,
            state,
            ports: ports.iter().map(|(name, port)| ((*name).to_owned(), *port)).collect(),
            version: String::new(),
            restarts: 0,
            last_end: None,
        }
    }

    #[test]
    fn every_process_is_listed_with_its_operators_port_and_a_proxy_by_its_service() {
        let name = "account-proxy-1".to_owned();
        let sidecar = Sidecar { name, outbound: 7_204, inbound: 7_304, doors: vec![] };
        let account = Instance {
            edition: "account".parse().unwrap(),
            number: 1,
            name: "account-1".to_owned(),
            port: None,
            sidecar: Some(sidecar),
            identity: None,
        };
        let rows = [
            row("account", ProcessState::Ready, &[("http", 7_104), ("admin", 40_000)]),
            row("account-proxy", ProcessState::Starting, &[("inbound", 7_304)]),
        ];
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("mesh")).unwrap();
        ProcessesFile::new(folder.path(), vec![account]).write(&rows).unwrap();
        let text = std::fs::read_to_string(path(folder.path())).unwrap();
        let found: serde_json::Value = serde_json::from_str(&text).unwrap();
        let expected = serde_json::json!({"processes": [
            {"service": "account", "instance": "account-1", "part": "instance",
                "state": "ready", "admin": "127.0.0.1:40000"},
            {"service": "account", "instance": "account-proxy-1", "part": "proxy",
                "state": "starting", "admin": null},
        ]});
        assert_eq!(found, expected);
    }
}
