//! Looks at a process that cannot say by itself that it is usable, until it answers.

use std::{io, net::Ipv4Addr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

use super::spec::Readiness;

/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Longest wait for one answer: a program that has just begun to listen may hang.
pub(super) const LOOK_WITHIN: Duration = Duration::from_secs(1);

/// What a process that does not speak for itself was found to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// It answered.
    Usable,
    /// It had not answered by the deadline.
    Silent,
}

/// Waits for the first answer, or for the deadline. One that announces itself is not looked at.
pub(super) async fn find(readiness: &Readiness, deadline: Duration) -> Found {
    let Readiness::Answers { port, path } = readiness else { return std::future::pending().await };
    let answered = async {
        while !answers(*port, path.as_deref()).await {
            sleep(LOOK_EVERY).await;
        }
    };
    match timeout(deadline, answered).await {
        Ok(()) => Found::Usable,
        Err(_) => Found::Silent,
    }
}

async fn answers(port: u16, path: Option<&str>) -> bool {
    let look = async {
        match path {
            Some(path) => Ok(status_of(port, path).await?.starts_with('2')),
            None => TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.map(|_| true),
        }
    };
    matches!(timeout(LOOK_WITHIN, look).await, Ok(Ok(true)))
}

/// Whether a GET is answered with anything: a process that says that it is not well lives.
pub(super) async fn says_anything(port: u16, path: &str) -> bool {
    matches!(timeout(LOOK_WITHIN, status_of(port, path)).await, Ok(Ok(_)))
}

/// The status of the answer to a GET. Only the beginning of the status line is read.
async fn status_of(port: u16, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut start = *b"HTTP/1.x 200";
    stream.read_exact(&mut start).await?;
    let status = start.strip_prefix(b"HTTP/1.").and_then(|it| it.get(2..));
    let status = status.ok_or(io::ErrorKind::InvalidData)?;
    Ok(String::from_utf8_lossy(status).into_owned())
}
