//! The task that reads the metrics of every process, round by round.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::body::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, StatusCode, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use runtime::{Shutdown, Tasks};
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use super::{
    Reading, Topology,
    counts::Page,
    process::{Process, Processes},
};

/// Time from one round to the next.
pub(super) const EVERY: Duration = Duration::from_secs(2);
/// Longest wait for one process.
const PATIENCE: Duration = Duration::from_secs(1);
/// Processes that are asked at a time.
const AT_ONCE: usize = 8;
/// Bytes of one page of metrics; a process with a longer one counts as one that does not answer.
const PAGE_BYTES_MAX: usize = 4 << 20;
/// Processes that are asked; the file names no more than a few dozen.
const PROCESSES_MAX: usize = 1_000;

/// Starts reading, on these tasks, whatever the file names.
pub(crate) fn start(file: PathBuf, topology: Arc<Mutex<Topology>>, tasks: &Tasks) {
    tasks.spawn("topology", |shutdown| watch(file, topology, shutdown));
}

async fn watch(file: PathBuf, topology: Arc<Mutex<Topology>>, shutdown: Shutdown) {
    let mut rounds = interval(EVERY);
    // After a stop of the machine one round is enough.
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = Instant::now();
    loop {
        // Cancel-safe: a round that is dropped half way was never taken.
        let round = async {
            rounds.tick().await;
            read_all(&file).await
        };
        let Some(round) = shutdown.or_cancel(round).await else { return };
        let now = Instant::now();
        let mut topology = topology.lock().unwrap_or_else(PoisonError::into_inner);
        topology.take(now - before, round);
        before = now;
    }
}

/// What every process says now, in the order of the file.
async fn read_all(file: &Path) -> Vec<Reading> {
    let listed = Processes::read(file).unwrap_or_else(|error| {
        tracing::warn!(%error, file = %file.display(), "the list of processes cannot be read");
        Processes::default()
    });
    let mut waiting = listed.processes.into_iter().take(PROCESSES_MAX).enumerate();
    let mut asked = JoinSet::new();
    let mut readings = Vec::new();
    loop {
        while asked.len() < AT_ONCE
            && let Some((number, process)) = waiting.next()
        {
            asked.spawn(async move { (number, read(process).await) });
        }
        match asked.join_next().await {
            Some(Ok(reading)) => readings.push(reading),
            // A panic in it: that process is left out of this round.
            Some(Err(error)) => tracing::error!(%error, "metrics could not be read"),
            None => break,
        }
    }
    readings.sort_by_key(|it| it.0);
    readings.into_iter().map(|it| it.1).collect()
}

async fn read(process: Process) -> Reading {
    let Some(admin) = process.admin else { return Reading { process, page: None } };
    let text = match timeout(PATIENCE, get(admin)).await {
        Ok(Ok(text)) => Some(text),
        Ok(Err(error)) => {
            tracing::debug!(instance = process.instance, %error, "metrics were not read");
            None
        }
        Err(_) => None,
    };
    let page = text.map(|it| Page::read(&it, &process.service));
    Reading { process, page }
}

/// Why there is no page; for the log alone.
type Unread = Box<dyn std::error::Error + Send + Sync>;

async fn get(admin: SocketAddr) -> Result<String, Unread> {
    let stream = TcpStream::connect(admin).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get("/metrics")
        .header(header::HOST, admin.to_string())
        .body(Empty::<Bytes>::new())?;
    let exchange = async move {
        let reply = sender.send_request(request).await?;
        if reply.status() != StatusCode::OK {
            return Err(Unread::from(format!("status {}", reply.status().as_u16())));
        }
        let body = Limited::new(reply.into_body(), PAGE_BYTES_MAX).collect().await?;
        Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned())
        // The sender is gone from here on, which ends the connection.
    };
    tokio::join!(exchange, connection).0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::process::Part;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    /// A process that gives one answer and closes.
    async fn answering(answer: String) -> (SocketAddr, Tasks) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tasks = Tasks::new();
        tasks.spawn("answering", |_| async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = [0; 1024];
            let read = stream.read(&mut asked).await.unwrap();
            assert!(asked[..read].starts_with(b"GET /metrics HTTP/1.1\r\n"));
            stream.write_all(answer.as_bytes()).await.ok();
        });
        (address, tasks)
    }

    fn process(admin: Option<SocketAddr>) -> Process {
        let text = str::to_owned;
        let (service, instance, state) = (text("shop"), text("shop-1"), text("ready"));
        Process { service, instance, part: Part::Instance, state, admin }
    }

    #[track_caller]
    fn check(answer: String, is_read: bool) -> impl Future<Output = ()> {
        let start: String = answer.chars().take(60).collect();
        async move {
            let (address, _tasks) = answering(answer).await;
            let reading = read(process(Some(address))).await;
            assert_eq!(reading.page.is_some(), is_read, "{start}");
        }
    }

    fn reply(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    }

    #[tokio::test]
    async fn a_page_is_read_and_one_that_is_refused_cut_or_too_long_is_not() {
        check(reply("200 OK", "mesh_a 1\n"), true).await;
        check(reply("404 Not Found", "mesh_a 1\n"), false).await;
        check("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nmesh_a 1\n".to_owned(), false).await;
        check(reply("200 OK", &"#".repeat(PAGE_BYTES_MAX)), true).await;
        check(reply("200 OK", &"#".repeat(PAGE_BYTES_MAX + 1)), false).await;
        check("220 smtp\r\n".to_owned(), false).await;
    }

    #[tokio::test]
    async fn a_process_that_is_silent_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let silent = listener.local_addr().unwrap();
        // Nobody accepts: the kernel takes the connection, and no answer comes.
        let reading = timeout(Duration::from_secs(30), read(process(Some(silent)))).await.unwrap();
        assert!(reading.page.is_none());
        assert!(read(process(None)).await.page.is_none());
    }
}
