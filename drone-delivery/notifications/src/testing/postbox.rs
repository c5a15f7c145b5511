//! An HTTP server that takes every `POST` and keeps it.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use runtime::Tasks;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

/// What was posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posted {
    /// The path.
    pub path: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    /// As it came.
    pub body: Vec<u8>,
}

impl Posted {
    /// The body as JSON; null when it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

#[derive(Debug, Default)]
struct Kept {
    taken: Vec<Posted>,
    /// Statuses of the next answers; 200 when there is none.
    statuses: VecDeque<u16>,
}

/// An HTTP server that keeps what it takes.
#[derive(Debug)]
pub struct Postbox {
    address: SocketAddr,
    inner: Arc<Mutex<Kept>>,
    tasks: Tasks,
}

impl Drop for Postbox {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

impl Postbox {
    /// Opens one.
    ///
    /// # Errors
    /// No port is free.
    pub async fn open() -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (inner, tasks) = (Arc::<Mutex<Kept>>::default(), Tasks::new());
        let (kept, owner) = (Arc::clone(&inner), tasks.clone());
        tasks.spawn("postbox", |shutdown| async move {
            while let Some(Ok((stream, _))) = shutdown.or_cancel(listener.accept()).await {
                let kept = Arc::clone(&kept);
                owner.spawn("post", |shutdown| async move {
                    // A client that leaves in the middle has nothing taken.
                    drop(shutdown.or_cancel(take(stream, kept)).await);
                });
            }
        });
        Ok(Self { address, inner, tasks })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of a path of it.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What it took so far, those included that it answered badly.
    #[must_use]
    pub fn taken(&self) -> Vec<Posted> {
        locked(&self.inner).taken.clone()
    }

    /// Answers the next call with this status.
    pub fn answer_next_with(&self, status: u16) {
        locked(&self.inner).statuses.push_back(status);
    }
}

fn locked(inner: &Mutex<Kept>) -> std::sync::MutexGuard<'_, Kept> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn take(stream: TcpStream, kept: Arc<Mutex<Kept>>) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let (mut first, mut headers) = (String::new(), BTreeMap::new());
    reader.read_line(&mut first).await?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).await?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|it| it.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).await?;
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let status = {
        let mut inner = locked(&kept);
        inner.taken.push(Posted { path, headers, body });
        inner.statuses.pop_front().unwrap_or(200)
    };
    let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    writer.write_all(answer.as_bytes()).await
}
