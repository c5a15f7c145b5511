//! A connection as the codec sees it: bytes in, messages out, one refusal at most.

use mesh_proxy::h1::{BodyLength, Decoder, Field, Limits, Malformed, RequestLine, Step, request};

/// A request that was read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) method: String,
    pub(crate) target: String,
    /// Names in lower case, sorted by name; equal names in their order.
    pub(crate) fields: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Between two messages, or after one that was the last.
    Clean,
    /// Inside a message.
    Cut,
    /// With a refusal.
    Refused(Malformed),
}

enum State {
    Head,
    Length(u64),
    Chunks(Box<Decoder>),
    Over(End),
}

/// Reads requests from pieces.
pub(crate) struct View {
    buffer: Vec<u8>,
    scanned: usize,
    state: State,
    open: Option<(Message, bool)>,
    pub(crate) messages: Vec<Message>,
}

impl View {
    pub(crate) fn new() -> Self {
        let (buffer, messages) = (Vec::new(), Vec::new());
        Self { buffer, scanned: 0, state: State::Head, open: None, messages }
    }

    /// The messages of `bytes` that arrive cut at `cut`, and at each byte when it is `None`.
    pub(crate) fn of(bytes: &[u8], cut: Option<usize>) -> (Vec<Message>, End) {
        let mut view = Self::new();
        match cut {
            Some(cut) => {
                view.push(&bytes[..cut]);
                view.push(&bytes[cut..]);
            }
            None => bytes.chunks(1).for_each(|piece| view.push(piece)),
        }
        let end = view.end();
        (view.messages, end)
    }

    pub(crate) fn end(&self) -> End {
        match self.state {
            State::Over(end) => end,
            State::Head if self.buffer.is_empty() || self.buffer == b"\r\n" => End::Clean,
            State::Head | State::Length(_) | State::Chunks(_) => End::Cut,
        }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        loop {
            match self.step() {
                Ok(true) => {}
                Ok(false) => return,
                Err(malformed) => self.state = State::Over(End::Refused(malformed)),
            }
        }
    }

    fn step(&mut self) -> Result<bool, Malformed> {
        match &mut self.state {
            State::Over(_) => Ok(false),
            State::Head => self.head(),
            State::Length(left) => {
                let take = usize::try_from(*left).unwrap_or(usize::MAX).min(self.buffer.len());
                *left -= take as u64;
                let ended = *left == 0;
                self.take_data(0, take);
                if ended {
                    self.finish();
                }
                Ok(ended)
            }
            State::Chunks(decoder) => match decoder.step(&self.buffer)? {
                Step::Data { skip, length } => {
                    self.take_data(skip, length);
                    Ok(true)
                }
                Step::More { consumed } => {
                    assert_eq!(consumed, self.buffer.len());
                    self.buffer.clear();
                    Ok(false)
                }
                Step::End { consumed } => {
                    self.buffer.drain(..consumed);
                    self.finish();
                    Ok(true)
                }
            },
        }
    }

    fn head(&mut self) -> Result<bool, Malformed> {
        let mut fields = Vec::new();
        let limits = Limits::default();
        let Some(line) = request(&self.buffer, &mut self.scanned, &limits, &mut fields)? else {
            return Ok(false);
        };
        self.open = Some((message(&self.buffer, &line, &fields), line.persists));
        self.buffer.drain(..line.length);
        self.scanned = 0;
        match line.body {
            BodyLength::None => self.finish(),
            BodyLength::Known(length) => self.state = State::Length(length),
            BodyLength::Chunked => self.state = State::Chunks(Box::default()),
            BodyLength::UntilClose => panic!("no request is read until the end"),
        }
        Ok(true)
    }

    fn take_data(&mut self, skip: usize, length: usize) {
        let (message, _) = self.open.as_mut().unwrap();
        message.body.extend_from_slice(&self.buffer[skip..skip + length]);
        self.buffer.drain(..skip + length);
    }

    fn finish(&mut self) {
        let (message, persists) = self.open.take().unwrap();
        self.messages.push(message);
        self.state = if persists { State::Head } else { State::Over(End::Clean) };
    }
}

fn message(buffer: &[u8], line: &RequestLine, fields: &[Field]) -> Message {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut fields: Vec<_> = fields
        .iter()
        .map(|field| {
            let name = text(field.name.of_bytes(buffer)).to_ascii_lowercase();
            (name, field.value.of_bytes(buffer).to_vec())
        })
        .collect();
    fields.sort_by(|one, other| one.0.cmp(&other.0));
    Message {
        method: text(line.method.of_bytes(buffer)),
        target: text(line.target.of_bytes(buffer)),
        fields,
        body: Vec::new(),
    }
}
