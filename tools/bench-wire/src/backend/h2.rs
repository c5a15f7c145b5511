//! The backend's HTTP/2: answers a stream as soon as its request ended, one write for all answers
//! that one read brought about.

use std::{collections::VecDeque, io};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    broken,
    exchange::Exchange,
    frames::{self, Frame, PREFACE, Received},
    hpack::{Blocks, Field},
};

/// Answers that may wait for the peer's window; it allows itself no more streams than this.
const WAITING_MAX: usize = 4_096;

pub(super) async fn serve(
    mut stream: TcpStream,
    mut buffer: Vec<u8>,
    exchange: Exchange,
) -> io::Result<()> {
    if exchange == Exchange::Large {
        return Err(broken("100 KiB do not fit into one frame"));
    }
    while buffer.len() < PREFACE.len() {
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
    if !buffer.starts_with(PREFACE) {
        return Err(broken("not HTTP/2"));
    }
    let mut taken = PREFACE.len();
    let mut connection = Connection::new(exchange);
    loop {
        while let Some((frame, length)) = Frame::take(&buffer[taken..])? {
            connection.on(&frame)?;
            taken += length;
        }
        buffer.drain(..taken);
        taken = 0;
        if !connection.out.is_empty() {
            stream.write_all(&connection.out).await?;
            connection.out.clear();
        }
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

#[derive(Debug)]
struct Connection {
    blocks: Blocks,
    body: Vec<u8>,
    exchange: Exchange,
    /// Bytes that the peer takes on this connection.
    window: i64,
    waiting: VecDeque<u32>,
    received: Received,
    out: Vec<u8>,
}

impl Connection {
    fn new(exchange: Exchange) -> Self {
        let head = [
            Field::Known(8),
            Field::New("server", "bench-wire"),
            match exchange {
                Exchange::Grpc => Field::Named(31, "application/grpc"),
                Exchange::Small | Exchange::Large => Field::Named(31, "application/json"),
            },
            Field::New("cache-control", "no-store"),
        ];
        let mut out = Vec::new();
        frames::put_settings(&mut out, &[(frames::INITIAL_WINDOW_SIZE, frames::WIDE_WINDOW)]);
        let trailers = [Field::New("grpc-status", "0")];
        let blocks = match exchange {
            Exchange::Grpc => Blocks::new(&[&head, &trailers]),
            Exchange::Small | Exchange::Large => Blocks::new(&[&head]),
        };
        Self {
            blocks,
            body: exchange.reply(),
            exchange,
            window: frames::WINDOW,
            waiting: VecDeque::new(),
            received: Received::default(),
            out,
        }
    }

    fn on(&mut self, frame: &Frame<'_>) -> io::Result<()> {
        match frame.kind {
            frames::HEADERS if !frame.has(frames::END_HEADERS) => {
                return Err(broken("headers in several frames"));
            }
            frames::HEADERS | frames::DATA => {
                if frame.kind == frames::DATA {
                    self.received.count(frame, &mut self.out);
                }
                if frame.has(frames::END_STREAM) {
                    self.waiting.push_back(frame.stream);
                }
            }
            frames::SETTINGS if !frame.has(frames::ACK) => {
                for (name, value) in frame.settings() {
                    if name == frames::HEADER_TABLE_SIZE {
                        self.blocks.table_size(value);
                    }
                    if name == frames::INITIAL_WINDOW_SIZE && u64::from(value) < self.length() {
                        return Err(broken("the window of a stream is smaller than a reply"));
                    }
                }
                frames::put(&mut self.out, frames::SETTINGS, frames::ACK, 0, &[]);
            }
            frames::PING if !frame.has(frames::ACK) => {
                frames::put(&mut self.out, frames::PING, frames::ACK, 0, frame.payload);
            }
            frames::WINDOW_UPDATE if frame.stream == 0 => self.window += i64::from(frame.number()),
            frames::RST_STREAM => self.waiting.retain(|it| *it != frame.stream),
            _ => {}
        }
        if self.waiting.len() > WAITING_MAX {
            return Err(broken("too many streams"));
        }
        self.answer();
        Ok(())
    }

    fn length(&self) -> u64 {
        self.body.len() as u64
    }

    /// Answers while the window lets it.
    fn answer(&mut self) {
        let length = i64::try_from(self.body.len()).unwrap_or(i64::MAX);
        while self.window >= length
            && let Some(stream) = self.waiting.pop_front()
        {
            self.window -= length;
            let head = self.blocks.block(0);
            frames::put(&mut self.out, frames::HEADERS, frames::END_HEADERS, stream, head);
            let is_grpc = self.exchange == Exchange::Grpc;
            let end = if is_grpc { 0 } else { frames::END_STREAM };
            frames::put(&mut self.out, frames::DATA, end, stream, &self.body);
            if is_grpc {
                let flags = frames::END_HEADERS | frames::END_STREAM;
                let trailers = self.blocks.block(1);
                frames::put(&mut self.out, frames::HEADERS, flags, stream, trailers);
            }
            self.blocks.sent();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// DATA frames that wait in a connection's output.
    fn answers(connection: &mut Connection) -> usize {
        let (mut taken, mut answers) = (0, 0);
        while let Some((frame, length)) = Frame::take(&connection.out[taken..]).unwrap() {
            answers += usize::from(frame.kind == frames::DATA);
            taken += length;
        }
        connection.out.clear();
        answers
    }

    #[test]
    fn no_more_is_answered_than_the_peers_window_takes() {
        let mut connection = Connection::new(Exchange::Small);
        let flags = frames::END_HEADERS | frames::END_STREAM;
        for stream in (1..200).step_by(2) {
            connection.on(&Frame { kind: frames::HEADERS, flags, stream, payload: &[] }).unwrap();
        }
        assert_eq!(answers(&mut connection), 63);
        let kind = frames::WINDOW_UPDATE;
        // 1,023 bytes were left.
        connection.on(&Frame { kind, flags: 0, stream: 0, payload: &[0, 0, 0, 1] }).unwrap();
        assert_eq!(answers(&mut connection), 1);
    }

    #[test]
    fn a_stream_that_was_reset_gets_no_answer() {
        let mut connection = Connection::new(Exchange::Small);
        connection.window = 0;
        let flags = frames::END_HEADERS | frames::END_STREAM;
        for (kind, payload) in [(frames::HEADERS, &[][..]), (frames::RST_STREAM, &[0, 0, 0, 8])] {
            connection.on(&Frame { kind, flags, stream: 1, payload }).unwrap();
        }
        let payload = &[0, 1, 0, 0];
        let kind = frames::WINDOW_UPDATE;
        connection.on(&Frame { kind, flags: 0, stream: 0, payload }).unwrap();
        assert_eq!(answers(&mut connection), 0);
    }
}
