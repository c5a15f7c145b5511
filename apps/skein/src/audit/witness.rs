//! What is told of by processes that serve, written down by a task, so that a disk that stands still stands
//! in nobody's way.

use std::{net::SocketAddr, time::Duration};

use callers::{Actor, Deed, Witness};
use runtime::{Shutdown, Tasks};
use tokio::{
    sync::{
        mpsc::{self, error::TrySendError},
        oneshot,
    },
    task::spawn_blocking,
    time::timeout,
};

use super::AuditLog;
use crate::sockets;

/// Deeds that wait to be written. More are done all the same, and told to the process's log alone.
const WAITING_MAX: usize = 256;
/// So long whoever did something waits for its note. What is not noted is done all the same: a full disk
/// must not keep a system from being mended.
const PATIENCE: Duration = Duration::from_secs(1);

/// So often it is tried to write what could not be written.
const AGAIN: Duration = Duration::from_secs(5);

type Noted = (Deed, oneshot::Sender<()>);

impl AuditLog {
    /// One that writes into this log what it hears.
    #[must_use]
    pub fn witness(self, tasks: &Tasks) -> Witness {
        let (deeds, waiting) = mpsc::channel(WAITING_MAX);
        tasks.later().spawn("audit log", |shutdown| write(self, waiting, shutdown));
        Witness::new(move |deed| {
            let (noted, wait) = oneshot::channel();
            let taken = deeds.try_send((deed, noted));
            Box::pin(async move {
                match taken {
                    // Whether it was noted is told by the task.
                    Ok(()) => drop(timeout(PATIENCE, wait).await),
                    Err(TrySendError::Full((deed, _)) | TrySendError::Closed((deed, _))) => {
                        tracing::warn!(?deed, "what a person did was not noted");
                    }
                }
            })
        })
    }
}

async fn write(log: AuditLog, mut waiting: mpsc::Receiver<Noted>, shutdown: Shutdown) {
    while let Some(next) = shutdown.or_cancel(timeout(AGAIN, waiting.recv())).await {
        match next {
            Ok(Some((deed, noted))) => note(&log, deed, noted).await,
            Ok(None) => break,
            Err(_) => note_late(&log).await,
        }
    }
    waiting.close();
    while let Some((deed, noted)) = waiting.recv().await {
        note(&log, deed, noted).await;
    }
    note_late(&log).await;
}

/// Tries what could not be written once more; whoever did it was told of by then.
async fn note_late(log: &AuditLog) {
    let log = log.clone();
    let _still = spawn_blocking(move || log.note_late()).await;
}

async fn note(log: &AuditLog, deed: Deed, noted: oneshot::Sender<()>) {
    let log = log.clone();
    let written = spawn_blocking(move || {
        let Deed { who, what, decision } = &deed;
        let noted = log.note(&named(who), what, decision);
        noted.inspect_err(|error| {
            tracing::warn!(%error, ?deed, "what a person did was not noted");
        })
    });
    if matches!(written.await, Ok(Ok(()))) {
        // Nobody waits any more.
        noted.send(()).unwrap_or(());
    }
}

/// Who did it. Of a connection on this machine the kernel says whose it is.
fn named(who: &Actor) -> String {
    match who {
        Actor::Named(name) => name.clone(),
        Actor::At(address) => at(*address),
    }
}

fn at(address: SocketAddr) -> String {
    match sockets::user_at(address) {
        Some(uid) => format!("uid {uid}, at {address}"),
        None => format!("somebody at {address}"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use runtime::SystemClock;
    use tokio::net::{TcpListener, TcpStream};

    use super::{super::verify, *};

    #[tokio::test]
    async fn what_is_told_is_in_the_log_with_whose_connection_it_was_before_it_is_answered() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit").join("audit.log");
        let tasks = Tasks::new();
        let witness = AuditLog::at(path.clone(), SystemClock::shared()).witness(&tasks);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (_served, from) = listener.accept().await.unwrap();
        witness.begin(Actor::At(from), "PUT /faults".to_owned()).end("done".to_owned()).await;
        let entries = verify(&fs::read_to_string(&path).unwrap()).unwrap();
        let own = rustix::process::geteuid().as_raw();
        assert_eq!(entries[0].who, format!("uid {own}, at {from}"));
        let named = Actor::Named("spiffe://a/ns/b/svc/c".to_owned());
        // Nobody waits for the end of this one.
        drop(witness.begin(named, "delete topic x".to_owned()));
        tasks.drain(PATIENCE).await;
        let entries = verify(&fs::read_to_string(&path).unwrap()).unwrap();
        let told: Vec<_> = entries.iter().map(|it| (it.what.as_str(), &it.decision[..4])).collect();
        assert_eq!(told, [("PUT /faults", "done"), ("delete topic x", "unkn")]);
    }

    #[tokio::test]
    async fn a_log_that_cannot_be_written_keeps_nobody_for_long() {
        let folder = tempfile::tempdir().unwrap();
        // A folder is no file.
        let tasks = Tasks::new();
        let log = AuditLog::at(folder.path().to_owned(), SystemClock::shared());
        let who = Actor::Named("ann".to_owned());
        log.witness(&tasks).begin(who, "PUT /faults".to_owned()).end("done".to_owned()).await;
        tasks.drain(PATIENCE).await;
    }
}
