//! Redis, lean: commands in its protocol, answers in the order of the commands; a stream.

use std::{collections::VecDeque, io, str};

use bytes::{Bytes, BytesMut};

use super::{
    TOPIC,
    lean::{Connection, Publish, Subscribe, Ticket},
};
use crate::broken;

/// The field that holds the message.
const FIELD: &str = "b";
/// Messages of one answer.
const COUNT: &str = "64";

/// What a server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Text(Bytes),
    Many(Vec<Self>),
    Nothing,
}

impl Value {
    fn items(self) -> Vec<Self> {
        match self {
            Self::Many(items) => items,
            Self::Text(_) | Self::Nothing => Vec::new(),
        }
    }

    fn text(self) -> Option<Bytes> {
        match self {
            Self::Text(text) => Some(text),
            Self::Many(_) | Self::Nothing => None,
        }
    }
}

/// The whole answer at the front of what came; `None` while it is not whole.
fn take(came: &mut BytesMut) -> io::Result<Option<Value>> {
    let mut end = 0;
    if !whole(came, &mut end)? {
        return Ok(None);
    }
    let mut answer = came.split_to(end).freeze();
    read(&mut answer).map(Some)
}

/// The line from `at` on, without its end, and where the next begins.
fn line(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let rest = bytes.get(at..)?;
    let end = rest.iter().position(|it| *it == b'\n')?;
    Some((rest[..end].trim_ascii_end(), at + end + 1))
}

fn number(line: &[u8]) -> io::Result<i64> {
    let text = str::from_utf8(line.get(1..).unwrap_or_default()).map_err(io::Error::other)?;
    text.parse().map_err(io::Error::other)
}

/// Whether an answer stands whole from `at` on, which then stands behind it.
fn whole(bytes: &[u8], at: &mut usize) -> io::Result<bool> {
    let Some((head, next)) = line(bytes, *at) else { return Ok(false) };
    *at = next;
    match head.first() {
        Some(b'$') => {
            if let Ok(length) = usize::try_from(number(head)?) {
                *at += length + 2;
            }
            Ok(*at <= bytes.len())
        }
        Some(b'*') => {
            for _ in 0..number(head)?.max(0) {
                if !whole(bytes, at)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        Some(b'-') => Err(broken(String::from_utf8_lossy(head))),
        Some(b'+' | b':') => Ok(true),
        _ => Err(broken("no answer of this protocol")),
    }
}

/// Reads an answer that is whole.
fn read(bytes: &mut Bytes) -> io::Result<Value> {
    let (head, next) = line(bytes, 0).ok_or_else(|| broken("half an answer"))?;
    let kind = head.first().copied().unwrap_or_default();
    let simple = head.get(1..).map(Bytes::copy_from_slice).unwrap_or_default();
    let count = if matches!(kind, b'$' | b'*') { number(head)? } else { 0 };
    drop(bytes.split_to(next));
    let Ok(count) = usize::try_from(count) else { return Ok(Value::Nothing) };
    match kind {
        b'$' => {
            let text = bytes.split_to(count);
            drop(bytes.split_to(2));
            Ok(Value::Text(text))
        }
        b'*' => (0..count).map(|_| read(bytes)).collect::<io::Result<_>>().map(Value::Many),
        _ => Ok(Value::Text(simple)),
    }
}

/// A command.
fn say(out: &mut Vec<u8>, words: &[&[u8]]) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

/// Adds to the stream.
#[derive(Debug, Default)]
pub(super) struct Publisher {
    under_way: VecDeque<Ticket>,
}

impl Publisher {
    pub(super) fn new() -> Self {
        Self::default()
    }
}

impl Publish for Publisher {
    async fn prepare(&mut self, _connection: &mut Connection) -> io::Result<()> {
        Ok(())
    }

    fn publish(&mut self, ticket: Ticket, body: &[u8], out: &mut Vec<u8>) {
        self.under_way.push_back(ticket);
        say(out, &[b"XADD", TOPIC.as_bytes(), b"*", FIELD.as_bytes(), body]);
    }

    fn flush(&mut self, _out: &mut Vec<u8>) {}

    fn acknowledged(
        &mut self,
        came: &mut BytesMut,
        _out: &mut Vec<u8>,
        acknowledged: &mut Vec<Ticket>,
    ) -> io::Result<()> {
        while take(came)?.is_some() {
            let oldest = self.under_way.pop_front();
            acknowledged.push(oldest.ok_or_else(|| broken("an answer to nothing"))?);
        }
        Ok(())
    }
}

/// Reads the stream.
#[derive(Debug)]
pub(super) struct Subscriber {
    /// The id of the last message that came.
    last: Bytes,
    is_asked: bool,
}

impl Subscriber {
    pub(super) fn new(_number: usize) -> Self {
        Self { last: Bytes::from_static(b"0-0"), is_asked: false }
    }
}

impl Subscribe for Subscriber {
    async fn prepare(&mut self, connection: &mut Connection) -> io::Result<()> {
        let mut said = Vec::new();
        say(&mut said, &[b"XREVRANGE", TOPIC.as_bytes(), b"+", b"-", b"COUNT", b"1"]);
        let newest = connection.ask(&said, take).await?;
        let id = newest.items().into_iter().next().and_then(|it| it.items().into_iter().next());
        if let Some(id) = id.and_then(Value::text) {
            self.last = id;
        }
        Ok(())
    }

    fn received(
        &mut self,
        came: &mut BytesMut,
        out: &mut Vec<u8>,
        bodies: &mut Vec<Bytes>,
    ) -> io::Result<()> {
        while let Some(answer) = take(came)? {
            self.is_asked = false;
            // [[stream, [[id, [field, body]], …]]]
            let streams = answer.items().into_iter().filter_map(|it| it.items().pop());
            for entry in streams.flat_map(Value::items) {
                let mut parts = entry.items().into_iter();
                let id = parts.next().and_then(Value::text);
                let body = parts.next().and_then(|it| it.items().pop()).and_then(Value::text);
                let (Some(id), Some(body)) = (id, body) else {
                    return Err(broken("an entry without a message"));
                };
                self.last = id;
                bodies.push(body);
            }
        }
        if !self.is_asked {
            self.is_asked = true;
            let words: [&[u8]; 8] = [
                b"XREAD",
                b"COUNT",
                COUNT.as_bytes(),
                b"BLOCK",
                b"0",
                b"STREAMS",
                TOPIC.as_bytes(),
                &self.last,
            ];
            say(out, &words);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_taken_when_the_answer_is_whole() {
        let whole =
            b"*1\r\n*2\r\n$5\r\nbench\r\n*1\r\n*2\r\n$3\r\n7-0\r\n*2\r\n$1\r\nb\r\n$3\r\nx\ny\r\n";
        let mut subscriber = Subscriber::new(0);
        let (mut came, mut out, mut bodies) = (BytesMut::new(), Vec::new(), Vec::new());
        subscriber.received(&mut came, &mut out, &mut bodies).unwrap();
        assert!(out.ends_with(b"0-0\r\n"), "it asks at once");
        out.clear();
        for byte in whole {
            assert!(out.is_empty(), "it asks again when it was answered");
            came.extend_from_slice(&[*byte]);
            subscriber.received(&mut came, &mut out, &mut bodies).unwrap();
        }
        assert_eq!(bodies, [Bytes::from_static(b"x\ny")]);
        assert!(out.ends_with(b"7-0\r\n"));
    }

    #[test]
    fn a_command_that_was_refused_is_an_error() {
        assert!(take(&mut BytesMut::from(&b"-ERR no\r\n"[..])).is_err());
        assert_eq!(take(&mut BytesMut::from(&b"$-1\r\n"[..])).unwrap(), Some(Value::Nothing));
    }
}
