//! NATS, lean: text out, text in, a stream of JetStream on files.

use std::{io, str};

use bytes::{Buf as _, Bytes, BytesMut};

use super::{
    TOPIC,
    lean::{Connection, Publish, Subscribe, Ticket, take_line},
};
use crate::broken;

/// Where answers to a publisher go; each message has a place of its own below.
const ANSWERS: &str = "_INBOX.publisher";
/// Subscription of answers, and of messages.
const ANSWERS_SID: &str = "1";
const MESSAGES_SID: &str = "2";

/// What a server says.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Message { subject: String, sid: String, body: Bytes },
    Ping,
    Other,
}

/// The whole of what stands at the front of what came; `None` while it is not whole.
fn take(came: &mut BytesMut) -> io::Result<Option<Said>> {
    let Some(end) = came.iter().position(|it| *it == b'\n') else { return Ok(None) };
    let line = str::from_utf8(&came[..end]).map_err(io::Error::other)?.trim_end();
    if let Some(message) = line.strip_prefix("MSG ") {
        // MSG subject sid [reply] bytes
        let words: Vec<&str> = message.split_ascii_whitespace().collect();
        let ([subject, sid, bytes] | [subject, sid, _, bytes]) = words[..] else {
            return Err(broken(format!("the server says: {line}")));
        };
        let bytes: usize = bytes.parse().map_err(io::Error::other)?;
        if came.len() < end + 1 + bytes + 2 {
            return Ok(None);
        }
        let (subject, sid) = (subject.to_owned(), sid.to_owned());
        came.advance(end + 1);
        let body = came.split_to(bytes).freeze();
        came.advance(2);
        return Ok(Some(Said::Message { subject, sid, body }));
    }
    if line.starts_with("-ERR") {
        return Err(broken(format!("the server says: {line}")));
    }
    let said = if line == "PING" { Said::Ping } else { Said::Other };
    take_line(came);
    Ok(Some(said))
}

/// Greets, and asks JetStream for something; answers come below `answers`, which nobody else has.
async fn enter(
    connection: &mut Connection,
    answers: &str,
    api: &str,
    asked: &str,
) -> io::Result<()> {
    let bytes = asked.len();
    let said = format!(
        "CONNECT {{\"verbose\":false,\"pedantic\":false,\"echo\":true}}\r\n\
         SUB {answers}.* {ANSWERS_SID}\r\n\
         PUB $JS.API.{api} {answers}.api {bytes}\r\n{asked}\r\n"
    );
    let answer = connection
        .ask(said.as_bytes(), |came| {
            while let Some(said) = take(came)? {
                if let Said::Message { body, .. } = said {
                    return Ok(Some(body));
                }
            }
            Ok(None)
        })
        .await?;
    let answer = String::from_utf8_lossy(&answer);
    if answer.contains("\"error\"") { Err(broken(answer)) } else { Ok(()) }
}

/// Publishes to the stream; its stores answer.
#[derive(Debug, Default)]
pub(super) struct Publisher;

impl Publisher {
    pub(super) fn new() -> Self {
        Self
    }
}

impl Publish for Publisher {
    async fn prepare(&mut self, connection: &mut Connection) -> io::Result<()> {
        // The stream is there already when this is not the first burst: the same again is no error.
        let stream = format!(
            "{{\"name\":\"{TOPIC}\",\"subjects\":[\"{TOPIC}\"],\"storage\":\"file\",\
             \"retention\":\"limits\",\"num_replicas\":1}}"
        );
        enter(connection, ANSWERS, &format!("STREAM.CREATE.{TOPIC}"), &stream).await
    }

    fn publish(&mut self, ticket: Ticket, body: &[u8], out: &mut Vec<u8>) {
        let head = format!("PUB {TOPIC} {ANSWERS}.{ticket} {}\r\n", body.len());
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(body);
        out.extend_from_slice(b"\r\n");
    }

    fn flush(&mut self, _out: &mut Vec<u8>) {}

    fn acknowledged(
        &mut self,
        came: &mut BytesMut,
        out: &mut Vec<u8>,
        acknowledged: &mut Vec<Ticket>,
    ) -> io::Result<()> {
        while let Some(said) = take(came)? {
            match said {
                Said::Message { subject, body, .. } => {
                    if !body.windows(5).any(|it| it == b"\"seq\"") {
                        return Err(broken(String::from_utf8_lossy(&body)));
                    }
                    let ticket = subject.rsplit('.').next().and_then(|it| it.parse().ok());
                    acknowledged.push(ticket.ok_or_else(|| broken(subject))?);
                }
                Said::Ping => out.extend_from_slice(b"PONG\r\n"),
                Said::Other => {}
            }
        }
        Ok(())
    }
}

/// A consumer of the stream that is pushed to, from now on, and acknowledges nothing.
#[derive(Debug)]
pub(super) struct Subscriber {
    place: String,
}

impl Subscriber {
    pub(super) fn new(number: usize) -> Self {
        Self { place: format!("deliver.{}.{number}", std::process::id()) }
    }
}

impl Subscribe for Subscriber {
    async fn prepare(&mut self, connection: &mut Connection) -> io::Result<()> {
        let place = &self.place;
        let subscription = format!("SUB {place} {MESSAGES_SID}\r\n");
        let consumer = format!(
            "{{\"stream_name\":\"{TOPIC}\",\"config\":{{\"deliver_subject\":\"{place}\",\
             \"deliver_policy\":\"new\",\"ack_policy\":\"none\",\"mem_storage\":true}}}}"
        );
        connection.out.extend_from_slice(subscription.as_bytes());
        enter(
            connection,
            &format!("_INBOX.{place}"),
            &format!("CONSUMER.CREATE.{TOPIC}"),
            &consumer,
        )
        .await
    }

    fn received(
        &mut self,
        came: &mut BytesMut,
        out: &mut Vec<u8>,
        bodies: &mut Vec<Bytes>,
    ) -> io::Result<()> {
        while let Some(said) = take(came)? {
            match said {
                Said::Message { sid, body, .. } if sid == MESSAGES_SID => bodies.push(body),
                Said::Ping => out.extend_from_slice(b"PONG\r\n"),
                Said::Message { .. } | Said::Other => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_taken_when_it_is_whole_and_an_error_is_one() {
        let whole = b"MSG a.7 1 5\r\nhello\r\nPING\r\nMSG b 2 reply 0\r\n\r\n";
        let mut came = BytesMut::new();
        let mut seen = Vec::new();
        for byte in whole {
            came.extend_from_slice(&[*byte]);
            seen.extend(take(&mut came).unwrap());
        }
        let message = |subject: &str, sid: &str, body: &'static [u8]| Said::Message {
            subject: subject.to_owned(),
            sid: sid.to_owned(),
            body: Bytes::from_static(body),
        };
        assert_eq!(seen, [message("a.7", "1", b"hello"), Said::Ping, message("b", "2", b"")]);
        assert!(take(&mut BytesMut::from(&b"-ERR 'no'\r\n"[..])).is_err());
    }

    #[test]
    fn a_publish_that_the_stream_refused_is_an_error() {
        let mut acknowledged = Vec::new();
        let mut answer = |body: &str| {
            let text = format!("MSG {ANSWERS}.3 1 {}\r\n{body}\r\n", body.len());
            let mut came = BytesMut::from(text.as_bytes());
            Publisher::new().acknowledged(&mut came, &mut Vec::new(), &mut acknowledged)
        };
        assert!(answer("{\"error\":{\"code\":503}}").is_err());
        assert!(answer("{\"stream\":\"bench\",\"seq\":1}").is_ok());
        assert_eq!(acknowledged, [3]);
    }
}
