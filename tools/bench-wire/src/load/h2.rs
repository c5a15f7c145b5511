//! One HTTP/2 connection that keeps a number of requests under way and checks each answer.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{self, Instant},
};

use super::connect;
use crate::{
    broken,
    exchange::{AUTHORITY, Exchange, HEADERS, METHOD, PATH},
    frames::{self, Frame, PREFACE, Received},
    hpack::{self, Blocks, Field},
    tally::{ANSWER_WITHIN, Tally, Window},
};

/// Asks until the window ends. The first error ends the connection and counts for every request
/// that was under way.
pub(super) async fn ask(
    target: SocketAddr,
    exchange: Exchange,
    streams: usize,
    window: Window,
) -> Tally {
    let mut connection = Connection::new(exchange, streams, window);
    if let Err(reason) = connection.run(target).await {
        connection.tally.failed(&reason.to_string());
        for _ in 1..connection.open.len() {
            connection.tally.failed("lost with its connection");
        }
    }
    connection.tally
}

/// A request under way.
#[derive(Debug)]
struct Asked {
    stream: u32,
    at: Instant,
    /// Whether its head came, and how much of its body.
    is_ok: bool,
    received: usize,
}

struct Connection {
    exchange: Exchange,
    streams: usize,
    blocks: Blocks,
    message: Vec<u8>,
    reply: Vec<u8>,
    open: Vec<Asked>,
    next_stream: u32,
    /// Bytes that the peer takes on this connection.
    window: i64,
    /// Whether the peer has said what it takes; nothing is asked before.
    knows_settings: bool,
    /// Whether trailers said `grpc-status: 0` in words.
    knows_trailers: bool,
    received: Received,
    out: Vec<u8>,
    tally: Tally,
    ends: Window,
}

impl Connection {
    fn new(exchange: Exchange, streams: usize, ends: Window) -> Self {
        let mut out = PREFACE.to_vec();
        let settings =
            [(frames::ENABLE_PUSH, 0), (frames::INITIAL_WINDOW_SIZE, frames::WIDE_WINDOW)];
        frames::put_settings(&mut out, &settings);
        Self {
            exchange,
            streams,
            blocks: blocks(exchange),
            message: exchange.request(),
            reply: exchange.reply(),
            open: Vec::with_capacity(streams),
            next_stream: 1,
            window: frames::WINDOW,
            knows_settings: false,
            knows_trailers: false,
            received: Received::default(),
            out,
            tally: Tally::new(ends),
            ends,
        }
    }

    async fn run(&mut self, target: SocketAddr) -> io::Result<()> {
        let mut stream = connect(target).await?;
        let mut buffer = Vec::with_capacity(65_536);
        loop {
            self.fill();
            if !self.out.is_empty() {
                stream.write_all(&self.out).await?;
                self.out.clear();
            }
            if self.knows_settings && self.open.is_empty() && !self.ends.is_open() {
                return Ok(());
            }
            let read = time::timeout(ANSWER_WITHIN, stream.read_buf(&mut buffer)).await??;
            if read == 0 {
                return Err(broken("the connection was closed"));
            }
            let mut taken = 0;
            while let Some((frame, length)) = Frame::take(&buffer[taken..])? {
                self.on(&frame)?;
                taken += length;
            }
            buffer.drain(..taken);
        }
    }

    /// Asks until as many requests are under way as should be, or the peer takes no more.
    fn fill(&mut self) {
        let length = i64::try_from(self.message.len()).unwrap_or(i64::MAX);
        while self.knows_settings
            && self.open.len() < self.streams
            && self.window >= length
            && self.ends.is_open()
        {
            let stream = self.next_stream;
            self.next_stream += 2;
            self.window -= length;
            let mut block = self.blocks.block(0).to_vec();
            self.blocks.sent();
            let trace = format!("00-{stream:032x}-{stream:016x}-01");
            hpack::put_once(&mut block, "traceparent", &trace);
            let has_body = self.exchange == Exchange::Grpc;
            let end = if has_body { 0 } else { frames::END_STREAM };
            frames::put(&mut self.out, frames::HEADERS, frames::END_HEADERS | end, stream, &block);
            if has_body {
                let end = frames::END_STREAM;
                frames::put(&mut self.out, frames::DATA, end, stream, &self.message);
            }
            self.open.push(Asked { stream, at: Instant::now(), is_ok: false, received: 0 });
        }
    }

    fn on(&mut self, frame: &Frame<'_>) -> io::Result<()> {
        match frame.kind {
            frames::HEADERS => self.on_headers(frame)?,
            frames::DATA => self.on_data(frame)?,
            frames::SETTINGS if !frame.has(frames::ACK) => {
                for (name, value) in frame.settings() {
                    if name == frames::HEADER_TABLE_SIZE {
                        self.blocks.table_size(value);
                    }
                }
                self.knows_settings = true;
                frames::put(&mut self.out, frames::SETTINGS, frames::ACK, 0, &[]);
            }
            frames::PING if !frame.has(frames::ACK) => {
                frames::put(&mut self.out, frames::PING, frames::ACK, 0, frame.payload);
            }
            frames::WINDOW_UPDATE if frame.stream == 0 => self.window += i64::from(frame.number()),
            frames::CONTINUATION => return Err(broken("headers in several frames")),
            frames::RST_STREAM => {
                return Err(broken(format!("a stream was reset, code {}", frame.number())));
            }
            frames::GOAWAY => {
                return Err(broken(format!("the peer goes away, code {}", frame.number())));
            }
            _ => {}
        }
        Ok(())
    }

    fn asked(&mut self, stream: u32) -> io::Result<&mut Asked> {
        let asked = self.open.iter_mut().find(|it| it.stream == stream);
        asked.ok_or_else(|| broken("an answer to nothing"))
    }

    fn on_headers(&mut self, frame: &Frame<'_>) -> io::Result<()> {
        let block = frame.content()?;
        let ends = frame.has(frames::END_STREAM);
        let asked = self.asked(frame.stream)?;
        if !asked.is_ok {
            if !hpack::is_ok(block) || ends {
                return Err(broken("not answered with 200 and a body"));
            }
            asked.is_ok = true;
            return Ok(());
        }
        if self.exchange != Exchange::Grpc || !ends {
            return Err(broken("trailers where none belong"));
        }
        if !hpack::is_grpc_ok(block, self.knows_trailers) {
            return Err(broken("trailers without grpc-status 0"));
        }
        self.knows_trailers = true;
        self.done(frame.stream)
    }

    fn on_data(&mut self, frame: &Frame<'_>) -> io::Result<()> {
        self.received.count(frame, &mut self.out);
        let content = frame.content()?;
        let Some(asked) = self.open.iter_mut().find(|it| it.stream == frame.stream) else {
            return Err(broken("a body to nothing"));
        };
        let end = asked.received + content.len();
        if !asked.is_ok || self.reply.get(asked.received..end) != Some(content) {
            return Err(broken("another body"));
        }
        asked.received = end;
        match (frame.has(frames::END_STREAM), self.exchange) {
            (false, _) => Ok(()),
            (true, Exchange::Grpc) => Err(broken("no trailers")),
            (true, Exchange::Small | Exchange::Large) => self.done(frame.stream),
        }
    }

    fn done(&mut self, stream: u32) -> io::Result<()> {
        let length = self.reply.len();
        let asked = self.asked(stream)?;
        if asked.received != length {
            return Err(broken(format!("a body of {} bytes", asked.received)));
        }
        let at = asked.at;
        self.tally.verified(at);
        self.open.retain(|it| it.stream != stream);
        Ok(())
    }
}

fn blocks(exchange: Exchange) -> Blocks {
    let mut fields = vec![Field::Known(6), Field::Named(1, AUTHORITY)];
    match exchange {
        Exchange::Grpc => fields.extend([
            Field::Known(3),
            Field::Named(4, METHOD),
            Field::New("te", "trailers"),
            Field::Named(31, "application/grpc"),
            Field::New("api-version", "2"),
            Field::Named(58, HEADERS[0].1),
        ]),
        Exchange::Small | Exchange::Large => {
            fields.extend([Field::Known(2), Field::Named(4, PATH), Field::Known(16)]);
            // `traceparent` differs each time and goes behind the block.
            fields.extend(HEADERS.iter().filter_map(|(name, value)| match *name {
                "accept-encoding" | "traceparent" => None,
                name => Some(Field::New(name, value)),
            }));
        }
    }
    Blocks::new(&[&fields])
}
