//! How commands talk to a running system: a socket in its data directory, one line each way.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use identity::Order;
use runtime::{Shutdown, Tasks};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::mpsc,
    time::{sleep, timeout},
};

use crate::{
    audit::AuditLog,
    folder::{self, SocketPathError},
};

use super::{Admission, Applicant, Orders, ProcessState, ProcessStatus, Supervisor};

/// Its name in the data directory.
pub const SOCKET: &str = "control.sock";
const PATIENCE: Duration = Duration::from_secs(60);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "lowercase")]
pub enum Ask {
    /// Which processes there are.
    Ps,
    /// End a role or an instance and start it again.
    Restart {
        /// Which.
        name: String,
    },
    /// Give this command the word by which it is known.
    Join,
    /// Have the authority do something.
    Identity {
        /// What.
        order: Order,
    },
    /// End everything.
    Down,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Answer {
    /// The processes; first the one that keeps the others running.
    pub services: Vec<ProcessStatus>,
    /// Instances that were restarted.
    #[serde(default)]
    pub restarted: Vec<String>,
    /// The word by which the command is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub word: Option<String>,
    /// What the authority stands on once it has done what it was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<Value>,
    /// Why it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// What commands are answered from.
#[derive(Debug, Clone)]
pub struct Desk {
    /// The processes.
    pub supervisor: Supervisor,
    /// Is told when somebody asks for the end.
    pub down: mpsc::Sender<()>,
    /// Gives a command its word.
    pub admission: Admission,
    /// Carries out what the authority is told.
    pub orders: Orders,
    /// Where what people did is noted.
    pub audit: AuditLog,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nothing runs there.
    #[error("nothing runs in {}", directory.display())]
    NotRunning {
        /// The data directory.
        directory: PathBuf,
    },
    /// The socket cannot be used.
    #[error("the system in {} does not answer", directory.display())]
    Io {
        /// The data directory.
        directory: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// The socket, before anybody answers at it.
#[derive(Debug)]
pub struct Door(UnixListener);

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// None can stand there.
    #[error(transparent)]
    Path(#[from] SocketPathError),
    /// The system refuses.
    #[error("the socket for commands cannot be made")]
    Io(#[from] io::Error),
}

impl Door {
    /// Makes it. Commands wait there until they are answered.
    ///
    /// # Errors
    /// [`DoorError`].
    pub fn open(directory: &Path) -> Result<Self, DoorError> {
        let path = folder::socket(directory, SOCKET)?;
        // Whoever holds the directory's lock owns the socket; one that is there is left from a crash.
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            Ok(()) | Err(_) => {}
        }
        Ok(Self(UnixListener::bind(&path)?))
    }

    /// Answers there.
    pub fn answer(self, desk: Desk, tasks: &Tasks) {
        let owner = tasks.clone();
        tasks.spawn("control", |shutdown| accept(self.0, desk, owner, shutdown));
    }
}

async fn accept(listener: UnixListener, desk: Desk, tasks: Tasks, shutdown: Shutdown) {
    while let Some(accepted) = shutdown.or_cancel(listener.accept()).await {
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors: some close while we wait.
            shutdown.or_cancel(sleep(ACCEPT_PAUSE)).await;
            continue;
        };
        let desk = desk.clone();
        tasks.spawn("control connection", |_| async move {
            if let Err(error) = answer(stream, &desk).await {
                tracing::debug!(%error, "a command was not answered");
            }
        });
    }
}

async fn answer(stream: UnixStream, desk: &Desk) -> io::Result<()> {
    // Who asks, the kernel says.
    let caller = stream.peer_cred()?;
    let (reading, mut writing) = stream.into_split();
    let mut line = String::new();
    timeout(PATIENCE, BufReader::new(reading).read_line(&mut line)).await??;
    let ask: Ask = serde_json::from_str(&line)?;
    let mut answer = Answer::default();
    let (what, asked) = (deed(&ask), ask.clone());
    match ask {
        Ask::Ps => {}
        Ask::Restart { name } => answer.restarted = desk.supervisor.restart(&name).await,
        Ask::Join => {
            let pid = caller.pid().and_then(|it| u32::try_from(it).ok());
            let applicant = pid.map(|pid| Applicant { instance: None, pid, uid: caller.uid() });
            answer.word = applicant.and_then(|it| desk.admission.word(it));
        }
        Ask::Identity { order } => match desk.orders.carry_out(&order) {
            Ok(standing) => answer.authority = Some(standing),
            Err(why) => answer.refused = Some(why),
        },
        // A full channel holds the same wish already.
        Ask::Down => desk.down.try_send(()).unwrap_or(()),
    }
    if let Some(what) = what {
        let decision = decided(&asked, &answer);
        let who = format!("uid {}, process {}", caller.uid(), caller.pid().unwrap_or(0));
        // What is not noted is done all the same: a full disk must not keep a system from its end.
        if let Err(error) = desk.audit.note(&who, &what, &decision) {
            tracing::warn!(%error, what, "what a person did was not noted");
        }
    }
    answer.services = vec![ourselves()];
    answer.services.extend(desk.supervisor.processes());
    let mut text = serde_json::to_string(&answer)?;
    text.push('\n');
    writing.write_all(text.as_bytes()).await?;
    writing.shutdown().await
}

/// What a person does, in words; nothing where he only looks.
fn deed(ask: &Ask) -> Option<String> {
    Some(match ask {
        Ask::Ps => return None,
        Ask::Restart { name } => format!("restart {name}"),
        Ask::Join => "join as an operator".to_owned(),
        Ask::Identity { order } => return order.deed(),
        Ask::Down => "down".to_owned(),
    })
}

/// What became of it.
fn decided(ask: &Ask, answer: &Answer) -> String {
    let done = |all: &[String]| format!("done: {}", all.join(", "));
    match (ask, &answer.refused) {
        (_, Some(why)) => format!("refused: {why}"),
        // Nothing that runs has the name.
        (Ask::Restart { .. }, None) if answer.restarted.is_empty() => {
            "refused: no_such_role".to_owned()
        }
        (Ask::Restart { .. }, None) => done(&answer.restarted),
        (Ask::Join, None) if answer.word.is_none() => "refused: no word is given here".to_owned(),
        (Ask::Identity { order }, None) => {
            let denied = answer.authority.as_ref().and_then(|it| order.denied(it));
            denied.map_or_else(|| "done".to_owned(), |it| format!("done: {it}"))
        }
        (Ask::Ps | Ask::Join | Ask::Down, None) => "done".to_owned(),
    }
}

/// The row of whoever keeps the others running.
fn ourselves() -> ProcessStatus {
    ProcessStatus {
        service: "up".to_owned(),
        instance: "up".to_owned(),
        pid: Some(std::process::id()),
        state: ProcessState::Ready,
        ports: BTreeMap::new(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        restarts: 0,
        last_end: None,
    }
}

/// Asks a running system.
///
/// # Errors
/// [`ControlError`].
pub async fn ask(directory: &Path, ask: &Ask) -> Result<Answer, ControlError> {
    let io = |source: io::Error| ControlError::Io { directory: directory.to_owned(), source };
    let not_running = || ControlError::NotRunning { directory: directory.to_owned() };
    // Where no socket can stand, nothing runs.
    let path = folder::socket(directory, SOCKET).map_err(|_| not_running())?;
    let stream = match UnixStream::connect(path).await {
        Ok(stream) => stream,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Err(not_running());
        }
        Err(error) => return Err(io(error)),
    };
    let exchange = async {
        let (reading, mut writing) = stream.into_split();
        let mut text = serde_json::to_string(ask)?;
        text.push('\n');
        writing.write_all(text.as_bytes()).await?;
        let mut line = String::new();
        BufReader::new(reading).read_line(&mut line).await?;
        serde_json::from_str(&line).map_err(io::Error::from)
    };
    timeout(PATIENCE, exchange).await.map_err(|it| io(it.into()))?.map_err(io)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(ask: &Ask, answer: &Answer, expected: &str) {
        assert_eq!(decided(ask, answer), expected);
    }

    #[test]
    fn an_order_that_nobody_carried_out_is_noted_as_refused() {
        let (restart, nothing) = (Ask::Restart { name: "nope".to_owned() }, Answer::default());
        check(&restart, &nothing, "refused: no_such_role");
        let one = Answer { restarted: vec!["account-1".to_owned()], ..Answer::default() };
        check(&restart, &one, "done: account-1");
        check(&Ask::Down, &nothing, "done");
        check(&Ask::Join, &nothing, "refused: no word is given here");
        let refused = Answer { refused: Some("it is ours".to_owned()), ..Answer::default() };
        let whose = "spiffe://here/ns/default/svc/stock";
        let standing = serde_json::json!({"denied": [{"serial": "0a0b", "id": whose}]});
        let denied = Answer { authority: Some(standing), ..Answer::default() };
        let deny = Order::Deny { serial: "0A:0B".to_owned() };
        check(&Ask::Identity { order: deny }, &denied, &format!("done: {whose}"));
        let order = Order::RotateIssuer;
        check(&Ask::Identity { order }, &refused, "refused: it is ours");
    }
}
