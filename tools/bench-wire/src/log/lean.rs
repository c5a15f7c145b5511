//! What a lean client of a log is: bytes in, bytes out, and a connection that carries them.

use std::{io, net::SocketAddr, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time,
};

use crate::{broken, tally::ANSWER_WITHIN};

/// A publish that is not acknowledged: the number of its publisher.
pub(super) type Ticket = usize;

/// Speaks for publishers. What it says waits in `out` until the connection takes it.
pub(super) trait Publish {
    /// Whatever must be said and heard before the first message.
    async fn prepare(&mut self, connection: &mut Connection) -> io::Result<()>;
    /// Takes one more message.
    fn publish(&mut self, ticket: Ticket, body: &[u8], out: &mut Vec<u8>);
    /// Nothing more comes for now: what waited to share a batch goes.
    fn flush(&mut self, out: &mut Vec<u8>);
    /// Takes whole answers from the front of what came.
    fn acknowledged(
        &mut self,
        came: &mut BytesMut,
        out: &mut Vec<u8>,
        acknowledged: &mut Vec<Ticket>,
    ) -> io::Result<()>;
}

/// Speaks for one subscriber.
pub(super) trait Subscribe {
    /// Finds the end of the log, from where on messages are wanted.
    async fn prepare(&mut self, connection: &mut Connection) -> io::Result<()>;
    /// Asks for more, where that must be asked; then takes whole messages from the front of what came.
    fn received(
        &mut self,
        came: &mut BytesMut,
        out: &mut Vec<u8>,
        bodies: &mut Vec<Bytes>,
    ) -> io::Result<()>;
}

/// A connection with what was read and not understood, and what was said and not sent.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    pub(super) came: BytesMut,
    pub(super) out: Vec<u8>,
}

impl Connection {
    pub(super) async fn open(target: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(target).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, came: BytesMut::with_capacity(1 << 16), out: Vec::new() })
    }

    /// Sends what was said.
    pub(super) async fn send(&mut self) -> io::Result<()> {
        if !self.out.is_empty() {
            self.stream.write_all(&self.out).await?;
            self.out.clear();
        }
        Ok(())
    }

    /// Waits for more bytes. Cancel-safe.
    pub(super) async fn read(&mut self) -> io::Result<()> {
        self.came.reserve(1 << 16);
        if self.stream.read_buf(&mut self.came).await? == 0 {
            return Err(broken("the connection was closed"));
        }
        Ok(())
    }

    /// Waits for more bytes, as long as an answer may take.
    pub(super) async fn answer(&mut self) -> io::Result<()> {
        time::timeout(ANSWER_WITHIN, self.read()).await?
    }

    /// Says something and waits until `understood` finds the answer in what came.
    pub(super) async fn ask<T>(
        &mut self,
        said: &[u8],
        mut understood: impl FnMut(&mut BytesMut) -> io::Result<Option<T>>,
    ) -> io::Result<T> {
        self.out.extend_from_slice(said);
        self.send().await?;
        loop {
            if let Some(answer) = understood(&mut self.came)? {
                return Ok(answer);
            }
            self.answer().await?;
        }
    }
}

/// A line up to its CRLF, which goes too; `None` while it is not whole.
pub(super) fn take_line(came: &mut BytesMut) -> Option<BytesMut> {
    let end = came.iter().position(|it| *it == b'\n')? + 1;
    let mut line = came.split_to(end);
    let text = line.trim_ascii_end().len();
    line.truncate(text);
    Some(line)
}

/// How long the last answers may take when no message is published any more.
pub(super) const LINGER: Duration = Duration::from_secs(2);
