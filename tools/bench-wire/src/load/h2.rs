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

/// What one connection asks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker {
    pub(super) exchange: Exchange,
    /// Requests under way at a time.
    pub(super) streams: usize,
    /// Requests in all, at most.
    pub(super) requests: u64,
    pub(super) window: Window,
}

/// Asks until the window ends. The first error ends the connection and counts for every request
/// that was under way.
pub(super) async fn ask(target: SocketAddr, asker: Asker) -> Tally {
    let mut connection = Connection::new(asker);
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
    asker: Asker,
    /// Requests that may still be sent.
    left: u64,
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
}

impl Connection {
    fn new(asker: Asker) -> Self {
        let mut out = PREFACE.to_vec();
        let settings =
            [(frames::ENABLE_PUSH, 0), (frames::INITIAL_WINDOW_SIZE, frames::WIDE_WINDOW)];
        frames::put_settings(&mut out, &settings);
        Self {
            asker,
            left: asker.requests,
            blocks: blocks(asker.exchange),
            message: asker.exchange.request(),
            reply: asker.exchange.reply(),
            open: Vec::with_capacity(asker.streams),
            next_stream: 1,
            window: frames::WINDOW,
            knows_settings: false,
            knows_trailers: false,
            received: Received::default(),
            out,
            tally: Tally::new(asker.window),
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
            if self.knows_settings && self.open.is_empty() && !self.may_ask() {
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

    fn may_ask(&self) -> bool {
        self.left > 0 && self.asker.window.is_open()
    }

    /// Asks until as many requests are under way as should be, or the peer takes no more.
    fn fill(&mut self) {
        let length = i64::try_from(self.message.len()).unwrap_or(i64::MAX);
        while self.knows_settings
            && self.open.len() < self.asker.streams
            && self.window >= length
            && self.may_ask()
        {
            self.left -= 1;
            let stream = self.next_stream;
            self.next_stream += 2;
            self.window -= length;
            let mut block = self.blocks.block(0).to_vec();
            self.blocks.sent();
            let trace = format!("00-{stream:032x}-{stream:016x}-01");
            hpack::put_once(&mut block, "traceparent", &trace);
            let has_body = self.asker.exchange == Exchange::Grpc;
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
        if self.asker.exchange != Exchange::Grpc || !ends {
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
        match (frame.has(frames::END_STREAM), self.asker.exchange) {
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const HEAD: (u8, u8, &[u8]) = (frames::HEADERS, frames::END_HEADERS, &[0x88]);
    const END: u8 = frames::END_HEADERS | frames::END_STREAM;
    const ZERO: (u8, u8, &[u8]) = (frames::HEADERS, END, b"\x40\x0bgrpc-status\x010");
    const FOURTEEN: (u8, u8, &[u8]) = (frames::HEADERS, END, b"\x40\x0bgrpc-status\x0214");

    /// Feeds an answer to one request and says whether it was verified.
    #[track_caller]
    fn check(exchange: Exchange, answer: &[(u8, u8, &[u8])], is_verified: bool) {
        let window = Window::starting_now(Duration::ZERO, Duration::ZERO);
        let mut connection = Connection::new(Asker { exchange, streams: 1, requests: 1, window });
        let asked = Asked { stream: 1, at: Instant::now(), is_ok: false, received: 0 };
        connection.open.push(asked);
        let seen = answer.iter().try_for_each(|&(kind, flags, payload)| {
            connection.on(&Frame { kind, flags, stream: 1, payload })
        });
        assert_eq!(seen.is_ok(), is_verified, "{seen:?}");
        assert_eq!(connection.tally.counts().0, u64::from(is_verified));
        assert_eq!(connection.open.is_empty(), is_verified);
    }

    #[test]
    fn only_a_whole_answer_with_the_right_end_is_verified() {
        let body = Exchange::Small.reply();
        let (whole, half) = ((frames::DATA, 0, &body[..]), (frames::DATA, 0, &body[..500]));
        let last = |(kind, _, payload)| (kind, frames::END_STREAM, payload);
        check(Exchange::Small, &[HEAD, last(whole)], true);
        check(Exchange::Small, &[HEAD, half, (frames::DATA, 1, &body[500..])], true);
        check(Exchange::Small, &[HEAD, last(half)], false);
        check(Exchange::Small, &[HEAD, whole, ZERO], false);
        check(Exchange::Small, &[HEAD, whole, last(half)], false);
        check(Exchange::Small, &[last(whole)], false);
        check(Exchange::Small, &[(frames::HEADERS, END, &[0x88])], false);
        check(Exchange::Small, &[(frames::HEADERS, frames::END_HEADERS, &[0x8d])], false);
        check(Exchange::Small, &[HEAD, (frames::RST_STREAM, 0, &[0, 0, 0, 7])], false);
    }

    #[test]
    fn a_grpc_answer_ends_with_trailers_that_say_zero() {
        let body = Exchange::Grpc.reply();
        let whole = (frames::DATA, 0, &body[..]);
        check(Exchange::Grpc, &[HEAD, whole, ZERO], true);
        check(Exchange::Grpc, &[HEAD, whole, FOURTEEN], false);
        check(Exchange::Grpc, &[HEAD, ZERO], false);
        check(Exchange::Grpc, &[HEAD, (frames::DATA, frames::END_STREAM, &body)], false);
    }
}
