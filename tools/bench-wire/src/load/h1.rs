//! One HTTP/1.1 connection that asks and checks.

use std::{io, net::SocketAddr, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time,
};

use super::connect;
use crate::{
    backend::head_end,
    broken,
    pace::Pace,
    tally::{ANSWER_WITHIN, Tally, Window},
};

/// Errors after which a connection gives up.
const ERRORS_MAX: u32 = 10;
const HEAD_MAX: usize = 16_384;

/// What is sent and what must come back.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) request: Vec<u8>,
    /// The body of the reply.
    pub(crate) reply: Vec<u8>,
}

/// Asks as often as it is due; opens a new connection after an error.
pub(super) async fn ask(
    target: SocketAddr,
    script: Arc<Script>,
    mut pace: Pace,
    window: Window,
) -> Tally {
    let mut tally = Tally::new(window);
    let mut connection = None;
    let mut errors = 0;
    while errors < ERRORS_MAX
        && let Some(due) = pace.next(window).await
    {
        let asked = async {
            let mut open = match connection.take() {
                Some(open) => open,
                None => Connection::open(target).await?,
            };
            open.exchange(&script).await?;
            Ok(open)
        };
        let asked: io::Result<Connection> =
            time::timeout(ANSWER_WITHIN, asked).await.unwrap_or_else(|it| Err(it.into()));
        match asked {
            Ok(open) => {
                tally.verified(due);
                connection = Some(open);
            }
            Err(reason) => {
                tally.failed(&reason.to_string());
                errors += 1;
            }
        }
    }
    tally
}

/// A connection with what was read of the next answer.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(target: SocketAddr) -> io::Result<Self> {
        Ok(Self { stream: connect(target).await?, buffer: Vec::with_capacity(65_536) })
    }

    /// Sends the request and checks the answer. Not cancel-safe: give the connection up then.
    pub(crate) async fn exchange(&mut self, script: &Script) -> io::Result<()> {
        self.stream.write_all(&script.request).await?;
        self.buffer.clear();
        let head = loop {
            self.read().await?;
            if let Some(end) = head_end(&self.buffer) {
                break end;
            }
            if self.buffer.len() >= HEAD_MAX {
                return Err(broken("no end of the head"));
            }
        };
        let length = content_length(&self.buffer[..head])?;
        if length != script.reply.len() {
            return Err(broken(format!("a body of {length} bytes")));
        }
        let mut rest = script.reply.as_slice();
        self.buffer.drain(..head);
        loop {
            let (same, after) = rest
                .split_at_checked(self.buffer.len())
                .ok_or_else(|| broken("bytes behind the body"))?;
            if same != self.buffer {
                return Err(broken("another body"));
            }
            rest = after;
            self.buffer.clear();
            if rest.is_empty() {
                return Ok(());
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> io::Result<()> {
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            return Err(broken("the connection was closed"));
        }
        Ok(())
    }
}

/// The length that the head of a 200 states.
fn content_length(head: &[u8]) -> io::Result<usize> {
    let status = head.get(..12).unwrap_or(head);
    if status != b"HTTP/1.1 200" {
        return Err(broken(format!("answered {}", String::from_utf8_lossy(status))));
    }
    const NAME: &[u8] = b"content-length:";
    for line in head.split(|it| *it == b'\n') {
        if let Some((name, value)) = line.split_at_checked(NAME.len())
            && name.eq_ignore_ascii_case(NAME)
        {
            let value = std::str::from_utf8(value.trim_ascii()).ok();
            return value
                .and_then(|it| it.parse().ok())
                .ok_or_else(|| broken("a length that is no number"));
        }
    }
    Err(broken("a body without its length"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_200_with_a_length_is_an_answer() {
        let length = |head: &str| content_length(head.as_bytes()).map_err(|it| it.to_string());
        assert_eq!(length("HTTP/1.1 200 OK\r\nA: b\r\nContent-Length:  7 \r\n\r\n"), Ok(7));
        assert!(length("HTTP/1.1 503 No\r\ncontent-length: 7\r\n\r\n").is_err());
        assert!(length("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
        assert!(length("HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n").is_err());
    }

    #[tokio::test]
    async fn a_body_shorter_than_its_stated_length_is_an_error() {
        for (stated, is_verified) in [(3, true), (4, false)] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut connection = Connection::open(listener.local_addr().unwrap()).await.unwrap();
            let (mut stream, _) = listener.accept().await.unwrap();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {stated}\r\n\r\nabc");
            stream.write_all(answer.as_bytes()).await.unwrap();
            let script = Script { request: b"x".to_vec(), reply: b"abc".to_vec() };
            assert_eq!(connection.exchange(&script).await.is_ok(), is_verified, "{stated}");
        }
    }
}
