//! One HTTP/1 connection of a client: head, body, answer, and again.
//!
//! What cannot be read without doubt is answered with 400 and the connection ends: whoever guesses
//! where a message ends guesses otherwise than the server behind (RFC 9112 11.2).

mod body;
mod write;

use std::{
    future::{pending, poll_fn},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use base::Code;
use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode};
use mesh_policy::path::{self, Slashes};
use tokio::{
    io::AsyncWriteExt as _,
    time::{Instant, timeout, timeout_at},
};

use self::body::Inbound;
use super::{Handler, Limits, Site, doors::Place};
use crate::{
    body::{RequestBody, Upload},
    closing::Closing,
    event_stream,
    h1::{self as wire, BodyLength, Field, Known, Malformed, RequestLine, Span, TargetForm},
    head::{Fields, Peer, RequestHead, Version},
    refusal::Refusal,
    reply::{Reply, Source},
    stream::{Outgoing, READ_BYTES, ReadSide, Stream, WriteSide, poll_fill},
    tunnel::{End, Rules, both_ways},
};

/// Bytes of a refused or unread request that are still read, so that the answer is not lost in a reset:
/// a client that writes its whole body before it reads must come to its end.
const LINGER_BYTES_MAX: usize = 16 << 20;
/// Longest time for that (nginx's `lingering_timeout`).
const LINGER: Duration = Duration::from_secs(5);
/// How long a client may take to read a refusal.
const TOLD: Duration = Duration::from_secs(1);

/// The direction that is read, with what came in and is not used yet.
#[derive(Debug)]
pub(super) struct Reader {
    side: ReadSide,
    received: BytesMut,
    scanned: usize,
}

/// Why there is no further request.
enum NoRequest {
    /// The client has ended, or we have.
    Over,
    /// It was told to give way.
    GaveWay,
    /// A head did not come in time.
    TooSlow,
    /// What came is refused.
    Refused(Malformed),
}

/// Whether the connection goes on.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Request,
    /// The client may still be sending.
    Linger,
    End,
}

pub(super) async fn serve<H: Handler>(
    site: &Arc<Site<H>>,
    stream: Stream,
    received: BytesMut,
    peer: Peer,
    place: &Place,
    closing: Closing,
) {
    let (side, write) = stream.split();
    let reader = Reader { side, received, scanned: 0 };
    let (outgoing, list) = (Outgoing::default(), Vec::new());
    let mut connection = Connection { site, peer, closing, write, outgoing, list, is_reset: false };
    connection.run(reader, place).await;
    if connection.is_reset {
        connection.write.reset();
    }
}

struct Connection<'a, H> {
    site: &'a Arc<Site<H>>,
    peer: Peer,
    closing: Closing,
    write: WriteSide,
    outgoing: Outgoing,
    list: Vec<Field>,
    /// It ends with a reset, so that nobody takes the end for one in order.
    is_reset: bool,
}

impl<H: Handler> Connection<'_, H> {
    async fn run(&mut self, mut reader: Reader, place: &Place) {
        // The wait for the first byte was part of the time for the first head.
        let mut since = place.since();
        loop {
            let line = self.next(&mut reader, place, since).await;
            place.busy();
            let next = match line {
                // Boxed, so that a connection that waits holds nothing of it.
                Ok(line) => match Box::pin(self.exchange(reader, line)).await {
                    Some((next, back)) => {
                        reader = back;
                        next
                    }
                    None => return,
                },
                Err(NoRequest::Over) => Next::End,
                Err(NoRequest::GaveWay) => {
                    self.site.counts.ended("gave_way");
                    Next::End
                }
                // Nor of what is rare.
                Err(NoRequest::TooSlow) => Box::pin(self.too_slow(&reader)).await,
                Err(NoRequest::Refused(malformed)) => Box::pin(self.malformed(malformed)).await,
            };
            match next {
                Next::Request => since = place.waiting(),
                Next::End => {
                    let _said = timeout(TOLD, self.write.say_end()).await;
                    return;
                }
                Next::Linger => return self.linger(reader).await,
            }
        }
    }

    /// Waits for a whole head.
    async fn next(
        &mut self,
        reader: &mut Reader,
        place: &Place,
        since: Instant,
    ) -> Result<RequestLine, NoRequest> {
        let limits = parse_limits(&self.site.limits);
        // What was pipelined is there already: no timer, no select.
        if let Some(line) = reader.parse(&limits, &mut self.list)? {
            return Ok(line);
        }
        if self.closing.is_closing() && reader.received.is_empty() {
            return Err(NoRequest::Over);
        }
        let is_waiting = reader.received.is_empty();
        if is_waiting {
            // Nor does it hold a buffer.
            reader.received = BytesMut::new();
            self.outgoing = Outgoing::default();
        }
        let end = since + self.site.limits.head_timeout;
        let head = timeout_at(end, reader.head(&limits, &mut self.list));
        // Cancel-safe: what was read is in the reader.
        tokio::select! {
            biased;
            head = head => head.unwrap_or(Err(NoRequest::TooSlow)),
            () = place.told_to_go() => Err(NoRequest::GaveWay),
            () = self.closing.said(), if is_waiting => Err(NoRequest::Over),
        }
    }

    /// One request and its answer; the reader comes back when the connection may go on.
    async fn exchange(&mut self, mut reader: Reader, line: RequestLine) -> Option<(Next, Reader)> {
        let block = reader.received.split_to(line.length).freeze();
        reader.scanned = 0;
        let head = match self.head(&line, block) {
            Ok(head) => head,
            Err(refusal) => {
                let next = Box::pin(self.refuse(refusal)).await;
                return Some((next, reader));
            }
        };
        if matches!(line.body, BodyLength::Known(it) if it > self.site.limits.body_bytes_max) {
            // Before anybody is asked: what is too long is not begun.
            self.site.counts.refused("body_too_large");
            let detail = "the body is longer than may be";
            let next = Box::pin(self.refuse(Refusal::new(Code::BodyTooLarge, detail))).await;
            return Some((next, reader));
        }
        let (method, version) = (head.method.clone(), head.version);
        let body = Inbound::new(reader, &line, &self.site.limits);
        let mut upload = Upload::new(body);
        let site = self.site;
        let handling = site.answer(head, self.peer.clone(), &mut upload);
        // Who is gone waits for nothing: dropped, the call behind is cancelled.
        let answered = tokio::select! {
            biased;
            reply = handling => Some(reply),
            () = self.write.peer_gone(site.limits.half_close_wait) => None,
        };
        let Some(mut reply) = answered else {
            site.counts.ended("client_gone");
            return None;
        };
        if reply.source == Source::Reset {
            self.is_reset = true;
            return None;
        }
        if reply.head.status == StatusCode::SWITCHING_PROTOCOLS {
            Box::pin(self.switch(reply, upload.into_inner())).await;
            return None;
        }
        if event_stream::is_one(&reply.head) {
            let mut closing = self.closing.clone();
            reply.body.ends.add(async move { closing.said().await });
        }
        let mut persists = line.persists && !self.closing.is_closing();
        // A body that nobody wanted must not be waited for: the connection ends behind the answer.
        persists &= upload.inner_mut().may_go_on();
        let framing = write::head(&mut self.outgoing, &mut reply, &method, version, persists);
        persists &= framing != write::Framing::UntilClose;
        let written = self.answer(reply, framing, &mut upload).await;
        let mut body = upload.into_inner();
        if !written {
            return None;
        }
        // Nor may a drop now and then hold the connection.
        let longest = self.site.limits.body_idle_timeout;
        if persists && timeout(longest, body.drain()).await.unwrap_or(false) {
            return Some((Next::Request, body.into_reader()));
        }
        let is_read = body.is_done();
        Some((if is_read { Next::End } else { Next::Linger }, body.into_reader()))
    }

    fn head(&mut self, line: &RequestLine, block: Bytes) -> Result<RequestHead, Refusal> {
        let span = |it: Span| block.slice(it.range());
        let invalid = |detail: &'static str| Refusal::new(Code::InvalidRequest, detail);
        let method = Method::from_bytes(line.method.of_bytes(&block))
            .map_err(|_| invalid("the method is not a method"))?;
        let target = match line.form {
            TargetForm::Origin => span(line.target),
            TargetForm::Absolute { path, .. } => {
                let path = span(path);
                // `http://host?query` has the path `/` (RFC 9112 3.2.1).
                match path.first() {
                    Some(b'/') => path,
                    Some(_) | None => [b"/", &path[..]].concat().into(),
                }
            }
            TargetForm::Asterisk => Bytes::from_static(b"*"),
            TargetForm::Authority => {
                return Err(Refusal {
                    status: Some(StatusCode::NOT_IMPLEMENTED),
                    ..invalid("this proxy makes no tunnels")
                });
            }
        };
        let target = if line.form_is_asterisk() {
            target
        } else {
            normalise(target, self.site.limits.slashes)?
        };
        let authority = line.host.map(span).unwrap_or_default();
        let version = if line.minor == 0 { Version::Http10 } else { Version::Http11 };
        let upgrade = line.upgrade.then(|| self.list.iter().find(|it| it.known == Known::Upgrade));
        let upgrade = upgrade.flatten().map(|it| span(it.value));
        // Behind it requests would go on that nobody here has seen.
        let upgrade = upgrade.filter(|it| !names_http2(it));
        let mut head = RequestHead::new(method, version, authority, target);
        head.fields = Fields::forwarded(block, &self.list, wire::hop::Upgrades::Removed);
        head.upgrade = upgrade;
        Ok(head)
    }

    /// Writes the answer's head and body; answers whether all of it went out.
    async fn answer<B: RequestBody>(
        &mut self,
        mut reply: Reply,
        framing: write::Framing,
        upload: &mut Upload<B>,
    ) -> bool {
        let mut patience =
            write::Patience::new(reply.body.idle, self.site.limits.body_idle_timeout);
        let mut writing = write::Writing::new(framing, reply.head.length);
        loop {
            let (outgoing, side) = (&mut self.outgoing, &mut self.write);
            let step = poll_fn(|context| {
                match writing.poll_step(context, outgoing, side, &mut reply.body, upload) {
                    Poll::Pending => patience.poll(context, outgoing),
                    step => step,
                }
            });
            let step = step.await;
            match step {
                write::Step::More => {}
                write::Step::Done => return true,
                write::Step::Failed => {
                    if framing == write::Framing::UntilClose {
                        // Its end in order would say that the answer is whole.
                        self.is_reset = true;
                    }
                    return false;
                }
            }
        }
    }

    /// The connection changes its protocol: bytes go both ways until both sides have ended.
    async fn switch(&mut self, mut reply: Reply, body: Inbound) {
        write::switching(&mut self.outgoing, &mut reply);
        let idle = reply.body.idle;
        let Some((mut upstream, received)) = reply.body.into_upgraded() else { return };
        let Reader { side, received: early, .. } = body.into_reader();
        let head = std::mem::take(&mut self.outgoing);
        let (side, write) = (side, &mut self.write);
        let mut head = head;
        let sent = poll_fn(|context| head.poll_write(write, context)).await;
        if sent.is_err() || write.write_all(&received).await.is_err() {
            return;
        }
        if upstream.write_all(&early).await.is_err() {
            return;
        }
        let rules = Rules { idle, closing: self.closing.clone() };
        if both_ways(side, write, upstream, rules, |_, _| {}).await == End::Idle {
            self.site.counts.ended("tunnel_idle");
        }
    }

    async fn too_slow(&mut self, reader: &Reader) -> Next {
        self.site.counts.ended("head_timeout");
        if reader.received.is_empty() {
            return Next::End;
        }
        let detail = "the head of the request did not come in time";
        self.refuse(Refusal::new(Code::RequestTimeout, detail)).await
    }

    async fn malformed(&mut self, malformed: Malformed) -> Next {
        let code = match malformed.status() {
            414 => Code::TargetTooLong,
            431 => Code::HeadTooLarge,
            _ => Code::InvalidRequest,
        };
        self.site.counts.refused(malformed.code());
        let refusal = Refusal {
            status: StatusCode::from_u16(malformed.status()).ok(),
            ..Refusal::new(code, malformed.reason())
        };
        self.refuse(refusal).await
    }

    /// Refuses and ends the connection.
    async fn refuse(&mut self, refusal: Refusal) -> Next {
        let mut reply = refusal.reply(None);
        let version = Version::Http11;
        write::head(&mut self.outgoing, &mut reply, &Method::GET, version, false);
        let mut nothing = Upload::new(crate::body::Whole::default());
        let written = timeout(TOLD, self.answer(reply, write::Framing::Length, &mut nothing));
        if written.await.unwrap_or(false) { Next::Linger } else { Next::End }
    }

    /// Ends our direction and reads on in the other, then holds it in silence: a close with bytes unread
    /// is a reset, which may overtake the answer.
    async fn linger(&mut self, mut reader: Reader) {
        let end = async {
            self.write.shutdown().await.ok()?;
            let mut read = 0;
            while read < LINGER_BYTES_MAX {
                reader.received.clear();
                match reader.fill().await {
                    Ok(0) | Err(_) => return None::<()>,
                    Ok(more) => read += more,
                }
            }
            pending().await
        };
        // What is left after that is cut.
        let _cut = timeout(LINGER, end).await;
    }
}

impl RequestLine {
    const fn form_is_asterisk(&self) -> bool {
        matches!(self.form, TargetForm::Asterisk)
    }
}

/// The path in its one form, with the query as it came.
fn normalise(target: Bytes, slashes: Slashes) -> Result<Bytes, Refusal> {
    let end = target.iter().position(|it| *it == b'?').unwrap_or(target.len());
    let normal = path::read(&target[..end], slashes)
        .map_err(|it| Refusal::new(Code::InvalidRequest, it.to_string()))?;
    Ok(match normal {
        std::borrow::Cow::Borrowed(_) => target,
        std::borrow::Cow::Owned(path) => [path.as_bytes(), &target[end..]].concat().into(),
    })
}

/// Whether a change to HTTP/2 is asked for (RFC 7540 3.2; RFC 9113 has taken it back).
fn names_http2(upgrade: &[u8]) -> bool {
    upgrade.split(|it| *it == b',').any(|it| it.trim_ascii().eq_ignore_ascii_case(b"h2c"))
}

fn parse_limits(limits: &Limits) -> wire::Limits {
    wire::Limits {
        head_bytes_max: limits.head_bytes_max,
        fields_max: limits.fields_max,
        target_bytes_max: limits.target_bytes_max,
    }
}

impl Reader {
    fn parse(
        &mut self,
        limits: &wire::Limits,
        list: &mut Vec<Field>,
    ) -> Result<Option<RequestLine>, NoRequest> {
        if self.received.is_empty() {
            return Ok(None);
        }
        wire::request(&self.received, &mut self.scanned, limits, list).map_err(NoRequest::Refused)
    }

    /// Reads until a head is whole. Cancel-safe: what was read stays.
    async fn head(
        &mut self,
        limits: &wire::Limits,
        list: &mut Vec<Field>,
    ) -> Result<RequestLine, NoRequest> {
        loop {
            match self.fill().await {
                Ok(0) | Err(_) => return Err(NoRequest::Over),
                Ok(_) => {}
            }
            if let Some(line) = self.parse(limits, list)? {
                return Ok(line);
            }
        }
    }

    async fn fill(&mut self) -> std::io::Result<usize> {
        let Self { side, received, .. } = self;
        poll_fn(|context| poll_fill(side, context, received, READ_BYTES)).await
    }
}

/// A client that speaks TLS where none is: the alert that says so, then the end.
pub(super) async fn refuse_tls(mut stream: Stream) {
    // Alert, TLS 1.2 record, fatal, protocol_version (RFC 8446 6).
    const ALERT: [u8; 7] = [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x46];
    // Whether it is heard does not matter.
    let _heard = timeout(TOLD, stream.write_all(&ALERT)).await;
}

pub(super) const fn is_body(length: BodyLength) -> bool {
    !matches!(length, BodyLength::None | BodyLength::Known(0))
}
