//! What is to run, and what can be said about it.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

/// By what a started process is known to be usable.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Readiness {
    /// It prints one JSON object with its `ports` on standard output.
    #[default]
    Announced,
    /// It answers on a port of the loopback interface, within
    /// [`answer_deadline`](super::SuperviseConfig::answer_deadline).
    Answers {
        /// Which.
        port: u16,
        /// What answers a GET with 2xx; without one, a connection is enough.
        path: Option<String>,
    },
}

/// How a process comes to its end when we are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lifeline {
    /// It ends by itself when its standard input is closed, after it has drained.
    #[default]
    Pipe,
    /// It knows nothing of us: it has no input, and signals go to it and to whatever it started.
    /// Start it by [`become_program`](super::lifeline::become_program), so that it dies with us.
    Signal,
}

/// One process that is kept running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessSpec {
    /// What it does; replicas have the same role.
    pub role: String,
    /// This process among all of the system, such as `orders-2`.
    pub instance: String,
    /// The program file.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Added to the environment that it inherits.
    pub environment: BTreeMap<String, String>,
    /// Fixed ports by name. They must be free before the first start. Those that it draws itself it
    /// announces.
    pub ports: BTreeMap<String, u16>,
    /// Processes of a lower stage are started before, and stopped after.
    pub stage: u32,
    /// By what it is known to be usable.
    pub readiness: Readiness,
    /// How it comes to its end when we are gone.
    pub lifeline: Lifeline,
    /// Version to show until the process says its own.
    pub version: String,
}

impl ProcessSpec {
    /// A process without arguments on stage 0 that says when it is ready.
    #[must_use]
    pub fn new(role: &str, instance: &str, program: impl Into<PathBuf>) -> Self {
        Self {
            role: role.to_owned(),
            instance: instance.to_owned(),
            program: program.into(),
            arguments: Vec::new(),
            environment: BTreeMap::new(),
            ports: BTreeMap::new(),
            stage: 0,
            readiness: Readiness::Announced,
            lifeline: Lifeline::Pipe,
            version: String::new(),
        }
    }

    /// Whether a name means this process: its role, its instance, or that without its number.
    pub(super) fn is_called(&self, name: &str) -> bool {
        let replicas = self.instance.rsplit_once('-').map(|it| it.0);
        self.role == name || self.instance == name || replicas == Some(name)
    }
}

/// Where a process stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProcessState {
    /// Not started yet.
    Pending,
    /// Started, not usable yet.
    Starting,
    /// Usable.
    Ready,
    /// Died; will be started after a pause.
    Waiting,
    /// Died again and again; is still started after each pause.
    CrashLoop,
    /// Was asked to end.
    Stopping,
    /// Ended, and stays so.
    Stopped,
}

impl ProcessState {
    /// The word in tables and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Waiting => "waiting",
            Self::CrashLoop => "crash-loop",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }
}

/// One row of `ps`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessStatus {
    /// The role.
    pub service: String,
    /// This process of it.
    pub instance: String,
    /// Its process id while it runs.
    pub pid: Option<u32>,
    /// Where it stands.
    pub state: ProcessState,
    /// Its ports by name, those included that it drew itself.
    pub ports: BTreeMap<String, u16>,
    /// Version of its program.
    pub version: String,
    /// How often it was started again.
    pub restarts: u32,
    /// How it came to its last end by itself, until it is ready again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_end: Option<String>,
}

/// The line that a process prints when it is ready. Members that are missing change nothing.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct ReadyLine {
    pub(super) ports: BTreeMap<String, u16>,
    #[serde(default)]
    pub(super) version: Option<String>,
}

impl ReadyLine {
    /// `None` for any line that is not one.
    pub(super) fn read(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_row_of_ps_has_the_members_that_are_promised() {
        let status = ProcessStatus {
            service: "orders".to_owned(),
            instance: "orders-1".to_owned(),
            pid: Some(42),
            state: ProcessState::CrashLoop,
            ports: BTreeMap::from([("http".to_owned(), 7_101)]),
            version: "0.1.0".to_owned(),
            restarts: 3,
            last_end: None,
        };
        let expected = serde_json::json!({"service": "orders", "instance": "orders-1", "pid": 42,
            "state": "crash-loop", "ports": {"http": 7101}, "version": "0.1.0", "restarts": 3});
        assert_eq!(serde_json::to_value(&status).unwrap(), expected);
        let ended = ProcessStatus { last_end: Some("exit status: 7".to_owned()), ..status };
        assert_eq!(serde_json::to_value(&ended).unwrap()["last_end"], "exit status: 7");
    }

    #[test]
    fn a_name_means_a_role_one_version_of_it_or_one_process() {
        let spec = ProcessSpec::new("orders", "orders@v2-1", "/program");
        let meant = ["orders", "orders@v2", "orders@v2-1"];
        assert!(meant.into_iter().all(|it| spec.is_called(it)));
        let others = ["orders@v1", "orders-1", "orders@v2-2", "order", ""];
        assert!(!others.into_iter().any(|it| spec.is_called(it)));
    }

    #[test]
    fn the_word_in_tables_is_the_word_in_json() {
        use ProcessState::{CrashLoop, Pending, Ready, Starting, Stopped, Stopping, Waiting};
        for state in [Pending, Starting, Ready, Waiting, CrashLoop, Stopping, Stopped] {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
    }

    #[test]
    fn a_log_line_is_no_ready_line() {
        assert_eq!(ReadyLine::read(b"listening on 7101"), None);
        assert_eq!(ReadyLine::read(br#"{"level":"info"}"#), None);
        let line = ReadyLine::read(br#"{"service":"a","pid":1,"ports":{"http":5}}"#).unwrap();
        assert_eq!(line.ports["http"], 5);
    }
}
