//! Which processes there are, and where each serves its metrics: a file that whoever starts them
//! keeps current.

use std::{fs, io, net::SocketAddr, path::Path};

use serde::{Deserialize, Serialize};

/// A file of processes is no longer than this; a longer one is not read.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// The state of a process that can be used.
const READY: &str = "ready";

/// What a process is in the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Part {
    /// An instance of the service.
    Instance,
    /// A proxy beside an instance: it counts the calls of the service, and is not one more of it.
    Proxy,
}

/// One process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Process {
    /// The service.
    pub service: String,
    /// This process of it.
    pub instance: String,
    /// What it is.
    pub part: Part,
    /// The word of `ps` for where it stands.
    pub state: String,
    /// Where it serves `/metrics`; none where it does not, or does not run.
    pub admin: Option<SocketAddr>,
}

/// All processes of a system.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Processes {
    /// In the order of `ps`.
    pub processes: Vec<Process>,
}

impl Process {
    pub(super) fn is_ready(&self) -> bool {
        self.state == READY
    }
}

impl Processes {
    /// What the file says now; none where it is missing.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let length = match fs::metadata(path) {
            Ok(found) => found.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        if length > FILE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file is too long"));
        }
        serde_json::from_slice(&fs::read(path)?).map_err(io::Error::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_it_was_written_and_none_is_no_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("processes.json");
        assert_eq!(Processes::read(&path).unwrap(), Processes::default());
        let process = Process {
            service: "stock".to_owned(),
            instance: "stock-1".to_owned(),
            part: Part::Instance,
            state: "ready".to_owned(),
            admin: Some(([127, 0, 0, 1], 40_000).into()),
        };
        let written = Processes { processes: vec![process] };
        fs::write(&path, serde_json::to_vec(&written).unwrap()).unwrap();
        assert_eq!(Processes::read(&path).unwrap(), written);
    }

    #[test]
    fn a_file_that_is_too_long_or_no_list_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("processes.json");
        fs::write(&path, "[]").unwrap();
        assert!(Processes::read(&path).is_err());
        let length = usize::try_from(FILE_BYTES_MAX).unwrap();
        let long = format!("{{\"processes\":[]}}{}", " ".repeat(length));
        fs::write(&path, long).unwrap();
        assert_eq!(Processes::read(&path).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
