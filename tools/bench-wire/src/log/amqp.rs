//! AMQP 0-9-1, lean: frames of one channel; quorum queues, whose messages are confirmed when they are
//! synced.

use std::{collections::VecDeque, io};

use bytes::{Buf as _, Bytes, BytesMut};

use super::{
    TOPIC,
    lean::{Connection, Publish, Subscribe, Ticket},
};
use crate::broken;

const GREETING: &[u8] = b"AMQP\0\0\x09\x01";
/// Kind, channel and length before a frame, and the one byte behind it.
const FRAME_HEAD_BYTES: usize = 7;
const FRAME_END: u8 = 0xce;
/// Longest frame that is taken.
const FRAME_BYTES_MAX: usize = 1 << 20;
const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;

/// The connection itself, and the only channel on it.
const CONNECTION: u16 = 0;
const CHANNEL: u16 = 1;

/// Class and number.
type Method = (u16, u16);
const START: Method = (10, 10);
const START_OK: Method = (10, 11);
const TUNE: Method = (10, 30);
const TUNE_OK: Method = (10, 31);
const OPEN: Method = (10, 40);
const OPEN_OK: Method = (10, 41);
const CONNECTION_CLOSE: Method = (10, 50);
const CHANNEL_OPEN: Method = (20, 10);
const CHANNEL_OPEN_OK: Method = (20, 11);
const CHANNEL_CLOSE: Method = (20, 40);
const EXCHANGE_DECLARE: Method = (40, 10);
const EXCHANGE_DECLARE_OK: Method = (40, 11);
const EXCHANGE_DELETE: Method = (40, 20);
const EXCHANGE_DELETE_OK: Method = (40, 21);
const QUEUE_DECLARE: Method = (50, 10);
const QUEUE_DECLARE_OK: Method = (50, 11);
const QUEUE_BIND: Method = (50, 20);
const QUEUE_BIND_OK: Method = (50, 21);
const QOS: Method = (60, 10);
const QOS_OK: Method = (60, 11);
const CONSUME: Method = (60, 20);
const CONSUME_OK: Method = (60, 21);
const PUBLISH: Method = (60, 40);
const RETURN: Method = (60, 50);
const DELIVER: Method = (60, 60);
const ACK: Method = (60, 80);
const CONFIRM_SELECT: Method = (85, 10);
const CONFIRM_SELECT_OK: Method = (85, 11);

/// Bits of flags.
const NOTHING: u8 = 0;
const DURABLE: u8 = 2;
const MANDATORY: u8 = 1;
const NO_ACK: u8 = 2;
const MULTIPLE: u8 = 1;
/// That the only property of a message is its delivery mode, and the one that is kept on disk.
const HAS_DELIVERY_MODE: u16 = 0x1000;
const PERSISTENT: u8 = 2;

/// Messages that a consumer has and did not acknowledge, at most; as many as our client takes in.
pub(super) const PREFETCH: u16 = 1_024;

/// One frame, without what is around it.
#[derive(Debug)]
struct Frame {
    kind: u8,
    payload: Bytes,
}

impl Frame {
    /// The method with its arguments; an error where the server gives up, `None` where it only lives.
    fn method(self) -> io::Result<Option<(Method, Bytes)>> {
        let Self { kind, mut payload } = self;
        match kind {
            METHOD => {}
            HEARTBEAT => return Ok(None),
            other => return Err(broken(format!("a frame of kind {other} where none belongs"))),
        }
        let method = (u16(&mut payload)?, u16(&mut payload)?);
        if matches!(method, CONNECTION_CLOSE | CHANNEL_CLOSE | RETURN) {
            let (code, text) = (u16(&mut payload)?, short_text(&mut payload)?);
            return Err(broken(format!("the server says: {code} {text}")));
        }
        Ok(Some((method, payload)))
    }
}

/// The whole frame at the front of what came; `None` while it is not whole.
fn take(came: &mut BytesMut) -> io::Result<Option<Frame>> {
    let Some([kind, _, _, length @ ..]) = came.first_chunk::<FRAME_HEAD_BYTES>() else {
        return Ok(None);
    };
    let (kind, bytes) = (*kind, u32::from_be_bytes(*length) as usize);
    if bytes > FRAME_BYTES_MAX {
        return Err(broken("no frame of this protocol"));
    }
    if came.len() <= FRAME_HEAD_BYTES + bytes {
        return Ok(None);
    }
    came.advance(FRAME_HEAD_BYTES);
    let payload = came.split_to(bytes).freeze();
    match came.get_u8() {
        FRAME_END => Ok(Some(Frame { kind, payload })),
        _ => Err(broken("a frame without its end")),
    }
}

fn u16(bytes: &mut Bytes) -> io::Result<u16> {
    bytes.try_get_u16().map_err(io::Error::other)
}

fn u64(bytes: &mut Bytes) -> io::Result<u64> {
    bytes.try_get_u64().map_err(io::Error::other)
}

fn short_text(bytes: &mut Bytes) -> io::Result<String> {
    let length = usize::from(bytes.try_get_u8().map_err(io::Error::other)?);
    if length > bytes.len() {
        return Err(broken("half a text"));
    }
    Ok(String::from_utf8_lossy(&bytes.split_to(length)).into_owned())
}

/// What is written into a method.
trait Write {
    fn number(&mut self, number: u16);
    fn short(&mut self, text: &str);
    fn long(&mut self, text: &str);
}

impl Write for Vec<u8> {
    fn number(&mut self, number: u16) {
        self.extend_from_slice(&number.to_be_bytes());
    }

    fn short(&mut self, text: &str) {
        self.push(u8::try_from(text.len()).expect("names of the bench are short"));
        self.extend_from_slice(text.as_bytes());
    }

    fn long(&mut self, text: &str) {
        let length = u32::try_from(text.len()).expect("texts of the bench are short");
        self.extend_from_slice(&length.to_be_bytes());
        self.extend_from_slice(text.as_bytes());
    }
}

fn frame(out: &mut Vec<u8>, kind: u8, channel: u16, payload: impl FnOnce(&mut Vec<u8>)) {
    out.push(kind);
    out.number(channel);
    let length_at = out.len();
    out.extend_from_slice(&[0; 4]);
    payload(out);
    let length = out.len() - length_at - 4;
    let length = u32::try_from(length).expect("a frame of the bench is short");
    out[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
    out.push(FRAME_END);
}

fn say(out: &mut Vec<u8>, channel: u16, method: Method, arguments: impl FnOnce(&mut Vec<u8>)) {
    frame(out, METHOD, channel, |out| {
        out.number(method.0);
        out.number(method.1);
        arguments(out);
    });
}

/// The arguments of the method that must come next.
fn heard(came: &mut BytesMut, wanted: Method) -> io::Result<Option<Bytes>> {
    while let Some(frame) = take(came)? {
        match frame.method()? {
            Some((method, arguments)) if method == wanted => return Ok(Some(arguments)),
            Some((method, _)) => return Err(unexpected(method)),
            None => {}
        }
    }
    Ok(None)
}

fn unexpected(method: Method) -> io::Error {
    broken(format!("the server says {method:?}, which nobody asked for"))
}

/// Says something on the channel and waits for its answer.
async fn ask(
    connection: &mut Connection,
    (method, answer): (Method, Method),
    arguments: impl FnOnce(&mut Vec<u8>),
) -> io::Result<()> {
    let mut said = Vec::new();
    say(&mut said, CHANNEL, method, arguments);
    connection.ask(&said, |came| heard(came, answer)).await.map(drop)
}

/// Greets as the user that every fresh server lets in from this machine, and opens the channel.
async fn enter(connection: &mut Connection) -> io::Result<()> {
    connection.ask(GREETING, |came| heard(came, START)).await?;
    let mut said = Vec::new();
    say(&mut said, CONNECTION, START_OK, |out| {
        out.long(""); // No properties.
        out.short("PLAIN");
        out.long("\0guest\0guest");
        out.short("en_US");
    });
    let bounds = connection.ask(&said, |came| heard(came, TUNE)).await?;
    // Its bounds of channels and frames are taken as they are, and heartbeats are not wanted.
    let bounds = bounds.get(..6).ok_or_else(|| broken("half a tune"))?;
    said.clear();
    say(&mut said, CONNECTION, TUNE_OK, |out| {
        out.extend_from_slice(bounds);
        out.number(0);
    });
    say(&mut said, CONNECTION, OPEN, |out| {
        out.short("/");
        out.short("");
        out.push(NOTHING);
    });
    connection.ask(&said, |came| heard(came, OPEN_OK)).await?;
    ask(connection, (CHANNEL_OPEN, CHANNEL_OPEN_OK), |out| out.short("")).await
}

/// Makes a quorum queue; the same again is no error.
async fn declare(connection: &mut Connection, queue: &str) -> io::Result<()> {
    ask(connection, (QUEUE_DECLARE, QUEUE_DECLARE_OK), |out| {
        out.number(0);
        out.short(queue);
        out.push(DURABLE);
        let mut table = Vec::new();
        table.short("x-queue-type");
        table.push(b'S');
        table.long("quorum");
        let length = u32::try_from(table.len()).expect("one entry is short");
        out.extend_from_slice(&length.to_be_bytes());
        out.append(&mut table);
    })
    .await
}

/// Where messages go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    /// One queue, which nobody reads.
    Queue,
    /// An exchange that hands a copy to the queue of each subscriber.
    Exchange,
}

/// Publishes on a channel that confirms.
#[derive(Debug)]
pub(super) struct Publisher {
    door: Door,
    /// Number of the last message on this channel.
    last: u64,
    under_way: VecDeque<(u64, Ticket)>,
}

impl Publisher {
    const fn new(door: Door) -> Self {
        Self { door, last: 0, under_way: VecDeque::new() }
    }

    pub(super) const fn to_queue() -> Self {
        Self::new(Door::Queue)
    }

    pub(super) const fn to_subscribers() -> Self {
        Self::new(Door::Exchange)
    }

    /// Takes a confirmation of one message, or of all up to it.
    fn confirmed(
        &mut self,
        number: u64,
        flags: u8,
        acknowledged: &mut Vec<Ticket>,
    ) -> io::Result<()> {
        if flags & MULTIPLE == 0 {
            let at = self.under_way.iter().position(|(it, _)| *it == number);
            let (_, ticket) = at
                .and_then(|at| self.under_way.remove(at))
                .ok_or_else(|| broken("a confirmation of nothing"))?;
            acknowledged.push(ticket);
            return Ok(());
        }
        while let Some((_, ticket)) = self.under_way.pop_front_if(|(it, _)| *it <= number) {
            acknowledged.push(ticket);
        }
        Ok(())
    }
}

impl Publish for Publisher {
    async fn prepare(&mut self, connection: &mut Connection) -> io::Result<()> {
        enter(connection).await?;
        ask(connection, (CONFIRM_SELECT, CONFIRM_SELECT_OK), |out| out.push(NOTHING)).await?;
        if self.door == Door::Queue {
            return declare(connection, TOPIC).await;
        }
        // Made anew for each burst: queues of subscribers that are gone get nothing any more.
        ask(connection, (EXCHANGE_DELETE, EXCHANGE_DELETE_OK), |out| {
            out.number(0);
            out.short(TOPIC);
            out.push(NOTHING);
        })
        .await?;
        ask(connection, (EXCHANGE_DECLARE, EXCHANGE_DECLARE_OK), |out| {
            out.number(0);
            out.short(TOPIC);
            out.short("fanout");
            out.push(DURABLE);
            out.long(""); // No arguments.
        })
        .await
    }

    fn publish(&mut self, ticket: Ticket, body: &[u8], out: &mut Vec<u8>) {
        self.last += 1;
        self.under_way.push_back((self.last, ticket));
        // The exchange without a name leads to the queue that is named.
        let (exchange, key) = match self.door {
            Door::Queue => ("", TOPIC),
            Door::Exchange => (TOPIC, ""),
        };
        say(out, CHANNEL, PUBLISH, |out| {
            out.number(0);
            out.short(exchange);
            out.short(key);
            // What no queue takes would be confirmed as well; so it comes back, which is an error.
            out.push(MANDATORY);
        });
        frame(out, HEADER, CHANNEL, |out| {
            out.number(PUBLISH.0);
            out.number(0);
            out.extend_from_slice(&(body.len() as u64).to_be_bytes());
            out.number(HAS_DELIVERY_MODE);
            out.push(PERSISTENT);
        });
        frame(out, BODY, CHANNEL, |out| out.extend_from_slice(body));
    }

    fn flush(&mut self, _out: &mut Vec<u8>) {}

    fn acknowledged(
        &mut self,
        came: &mut BytesMut,
        _out: &mut Vec<u8>,
        acknowledged: &mut Vec<Ticket>,
    ) -> io::Result<()> {
        while let Some(frame) = take(came)? {
            match frame.method()? {
                Some((ACK, mut arguments)) => {
                    let number = u64(&mut arguments)?;
                    let flags = arguments.try_get_u8().map_err(io::Error::other)?;
                    self.confirmed(number, flags, acknowledged)?;
                }
                // A negative one too: the queue did not keep the message.
                Some((method, _)) => return Err(unexpected(method)),
                None => {}
            }
        }
        Ok(())
    }
}

/// What comes next of a message.
#[derive(Debug, Clone, Copy)]
enum Next {
    Delivery,
    Header { delivery: u64 },
    Body { delivery: u64, bytes: u64 },
}

/// The consumer of a queue of its own.
#[derive(Debug)]
pub(super) struct Subscriber {
    queue: String,
    /// Messages that are acknowledged at a time; without, none has to be.
    settle: Option<u16>,
    unsettled: u16,
    next: Next,
}

impl Subscriber {
    pub(super) fn new(number: usize, settle: Option<u16>) -> Self {
        // Of this burst alone: what an earlier one left unread must not come now.
        let queue = format!("{TOPIC}.{}.{number}", std::process::id());
        Self { queue, settle, unsettled: 0, next: Next::Delivery }
    }

    /// Counts a message, and acknowledges so many at once when they have come.
    fn taken(&mut self, delivery: u64, out: &mut Vec<u8>) {
        let Some(settle) = self.settle else { return };
        self.unsettled += 1;
        if self.unsettled < settle {
            return;
        }
        self.unsettled = 0;
        say(out, CHANNEL, ACK, |out| {
            out.extend_from_slice(&delivery.to_be_bytes());
            out.push(MULTIPLE);
        });
    }
}

impl Subscribe for Subscriber {
    async fn prepare(&mut self, connection: &mut Connection) -> io::Result<()> {
        enter(connection).await?;
        declare(connection, &self.queue).await?;
        ask(connection, (QUEUE_BIND, QUEUE_BIND_OK), |out| {
            out.number(0);
            out.short(&self.queue);
            out.short(TOPIC);
            out.short("");
            out.push(NOTHING);
            out.long(""); // No arguments.
        })
        .await?;
        ask(connection, (QOS, QOS_OK), |out| {
            out.extend_from_slice(&[0; 4]); // As many bytes as there are.
            out.number(PREFETCH);
            out.push(NOTHING);
        })
        .await?;
        ask(connection, (CONSUME, CONSUME_OK), |out| {
            out.number(0);
            out.short(&self.queue);
            out.short("");
            out.push(if self.settle.is_some() { NOTHING } else { NO_ACK });
            out.long(""); // No arguments.
        })
        .await
    }

    fn received(
        &mut self,
        came: &mut BytesMut,
        out: &mut Vec<u8>,
        bodies: &mut Vec<Bytes>,
    ) -> io::Result<()> {
        while let Some(mut frame) = take(came)? {
            match (self.next, frame.kind) {
                (Next::Header { delivery }, HEADER) => {
                    // Class and weight stand before the size.
                    u16(&mut frame.payload)?;
                    u16(&mut frame.payload)?;
                    self.next = Next::Body { delivery, bytes: u64(&mut frame.payload)? };
                }
                (Next::Body { delivery, bytes }, BODY) if frame.payload.len() as u64 == bytes => {
                    bodies.push(frame.payload);
                    self.next = Next::Delivery;
                    self.taken(delivery, out);
                }
                (Next::Body { .. }, BODY) => return Err(broken("a message in pieces")),
                _ => match frame.method()? {
                    Some((DELIVER, mut arguments)) => {
                        short_text(&mut arguments)?;
                        self.next = Next::Header { delivery: u64(&mut arguments)? };
                    }
                    Some((method, _)) => return Err(unexpected(method)),
                    None => {}
                },
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn confirmation(number: u64, flags: u8) -> Vec<u8> {
        let mut said = Vec::new();
        say(&mut said, CHANNEL, ACK, |out| {
            out.extend_from_slice(&number.to_be_bytes());
            out.push(flags);
        });
        said
    }

    fn delivery(number: u64, body: &[u8]) -> Vec<u8> {
        let mut said = Vec::new();
        say(&mut said, CHANNEL, DELIVER, |out| {
            out.short("consumer");
            out.extend_from_slice(&number.to_be_bytes());
            out.push(NOTHING);
            out.short(TOPIC);
            out.short("");
        });
        frame(&mut said, HEADER, CHANNEL, |out| {
            out.number(DELIVER.0);
            out.number(0);
            out.extend_from_slice(&(body.len() as u64).to_be_bytes());
            out.number(HAS_DELIVERY_MODE);
            out.push(PERSISTENT);
        });
        frame(&mut said, BODY, CHANNEL, |out| out.extend_from_slice(body));
        said
    }

    #[test]
    fn a_publish_is_three_frames_and_its_message_is_kept_on_disk() {
        let mut out = Vec::new();
        Publisher::to_queue().publish(0, b"hello", &mut out);
        let wanted = [
            &b"\x01\0\x01\0\0\0\x0e\0\x3c\0\x28\0\0\0\x05bench\x01\xce"[..],
            b"\x02\0\x01\0\0\0\x0f\0\x3c\0\0\0\0\0\0\0\0\0\x05\x10\0\x02\xce",
            b"\x03\0\x01\0\0\0\x05hello\xce",
        ]
        .concat();
        assert_eq!(out, wanted);
    }

    #[test]
    fn a_confirmation_is_of_one_message_or_of_all_up_to_it() {
        let mut publisher = Publisher::to_queue();
        for ticket in [10, 11, 12, 13] {
            publisher.publish(ticket, b"", &mut Vec::new());
        }
        let mut acknowledged = Vec::new();
        let mut confirm = |said: Vec<u8>| {
            acknowledged.clear();
            let mut came = BytesMut::from(&said[..]);
            let taken = publisher.acknowledged(&mut came, &mut Vec::new(), &mut acknowledged);
            taken.map(|()| acknowledged.clone())
        };
        assert_eq!(confirm(confirmation(2, NOTHING)).unwrap(), [11]);
        assert_eq!(confirm(confirmation(3, MULTIPLE)).unwrap(), [10, 12]);
        assert!(confirm(confirmation(3, NOTHING)).is_err(), "it is confirmed already");
        assert_eq!(confirm(confirmation(4, NOTHING)).unwrap(), [13]);
    }

    #[test]
    fn what_the_server_refuses_or_no_queue_takes_is_an_error() {
        for method in [CONNECTION_CLOSE, CHANNEL_CLOSE, RETURN, (60, 120)] {
            let mut said = Vec::new();
            say(&mut said, CHANNEL, method, |out| {
                out.number(312);
                out.short("NO_ROUTE");
            });
            let mut came = BytesMut::from(&said[..]);
            let taken =
                Publisher::to_queue().acknowledged(&mut came, &mut Vec::new(), &mut Vec::new());
            assert!(taken.is_err(), "{method:?}");
        }
    }

    #[test]
    fn messages_are_taken_when_they_are_whole_and_acknowledged_so_many_at_a_time() {
        let mut subscriber = Subscriber::new(0, Some(2));
        let (mut came, mut out, mut bodies) = (BytesMut::new(), Vec::new(), Vec::new());
        let whole = [delivery(1, b"one"), delivery(2, b"two"), delivery(3, b"three")].concat();
        for byte in whole {
            came.extend_from_slice(&[byte]);
            subscriber.received(&mut came, &mut out, &mut bodies).unwrap();
        }
        assert_eq!(bodies, ["one", "two", "three"]);
        assert_eq!(out, confirmation(2, MULTIPLE));
    }

    #[test]
    fn what_is_no_frame_is_an_error() {
        assert!(take(&mut BytesMut::from(&b"\x08\0\0\0\0\0\0\xcd"[..])).is_err(), "its end");
        assert!(take(&mut BytesMut::from(GREETING)).is_err(), "another version is wanted");
        let heartbeat = take(&mut BytesMut::from(&b"\x08\0\0\0\0\0\0\xce"[..])).unwrap().unwrap();
        assert!(heartbeat.method().unwrap().is_none());
    }
}
