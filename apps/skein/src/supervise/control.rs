//! How commands talk to a running system: a socket in its data directory, one line each way.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use runtime::{Shutdown, Tasks};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::mpsc,
    time::{sleep, timeout},
};

use super::{ProcessState, ProcessStatus, Supervisor};

const SOCKET: &str = "control.sock";
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
    /// End everything.
    Down,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The processes; first the one that keeps the others running.
    pub services: Vec<ProcessStatus>,
    /// Instances that were restarted.
    #[serde(default)]
    pub restarted: Vec<String>,
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

/// Answers on the socket. `down` is told when somebody asks for the end.
///
/// # Errors
/// The socket cannot be made.
pub fn serve(
    directory: &Path,
    supervisor: &Supervisor,
    down: mpsc::Sender<()>,
    tasks: &Tasks,
) -> io::Result<()> {
    let path = directory.join(SOCKET);
    // Whoever holds the directory's lock owns the socket; one that is there is left from a crash.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&path)?;
    let (supervisor, owner) = (supervisor.clone(), tasks.clone());
    tasks.spawn("control", |shutdown| accept(listener, supervisor, down, owner, shutdown));
    Ok(())
}

async fn accept(
    listener: UnixListener,
    supervisor: Supervisor,
    down: mpsc::Sender<()>,
    tasks: Tasks,
    shutdown: Shutdown,
) {
    while let Some(accepted) = shutdown.or_cancel(listener.accept()).await {
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors: some close while we wait.
            shutdown.or_cancel(sleep(ACCEPT_PAUSE)).await;
            continue;
        };
        let (supervisor, down) = (supervisor.clone(), down.clone());
        tasks.spawn("control connection", |_| async move {
            if let Err(error) = answer(stream, &supervisor, &down).await {
                tracing::debug!(%error, "a command was not answered");
            }
        });
    }
}

async fn answer(
    stream: UnixStream,
    supervisor: &Supervisor,
    down: &mpsc::Sender<()>,
) -> io::Result<()> {
    let (reading, mut writing) = stream.into_split();
    let mut line = String::new();
    timeout(PATIENCE, BufReader::new(reading).read_line(&mut line)).await??;
    let ask: Ask = serde_json::from_str(&line)?;
    let restarted = match ask {
        Ask::Ps => Vec::new(),
        Ask::Restart { name } => supervisor.restart(&name).await,
        Ask::Down => {
            // A full channel holds the same wish already.
            down.try_send(()).ok();
            Vec::new()
        }
    };
    let mut services = vec![ourselves()];
    services.extend(supervisor.processes());
    let answer = Answer { services, restarted };
    let mut text = serde_json::to_string(&answer)?;
    text.push('\n');
    writing.write_all(text.as_bytes()).await?;
    writing.shutdown().await
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
    }
}

/// Asks a running system.
///
/// # Errors
/// [`ControlError`].
pub async fn ask(directory: &Path, ask: &Ask) -> Result<Answer, ControlError> {
    let io = |source: io::Error| ControlError::Io { directory: directory.to_owned(), source };
    let stream = match UnixStream::connect(directory.join(SOCKET)).await {
        Ok(stream) => stream,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Err(ControlError::NotRunning { directory: directory.to_owned() });
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
