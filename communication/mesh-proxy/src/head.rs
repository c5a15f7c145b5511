//! Heads of requests and responses: the bytes that came in, with offsets, and what was changed.
//!
//! A proxy reads a few fields and hands all of them on. So a head keeps its block as it came and a
//! list of where each field lies; what is added stands in a buffer of its own. Only where a library
//! wants a map ([`Fields::to_map`]) is one made.

use std::{net::SocketAddr, sync::Arc};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use identity::SpiffeId;
use mesh_policy::route::RequestView;

use crate::h1::{
    Field, Known, Span,
    hop::{Hops, Upgrades},
    write,
};

/// Marks a span into the added bytes.
const ADDED: u32 = 1 << 31;
/// Fields that a hop adds, and their bytes, about: trace, deadline, attempt.
const HOP_FIELDS: usize = 6;
const HOP_BYTES: usize = 160;

/// Header fields in order.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    block: Bytes,
    added: Vec<u8>,
    list: Vec<Field>,
}

impl Fields {
    /// The fields of a message that are handed on: neither those that speak to the next program
    /// alone (RFC 9110 7.6.1) nor Host and framing, which every writer says itself.
    #[must_use]
    pub fn forwarded(block: Bytes, parsed: &[Field], upgrades: Upgrades) -> Self {
        let hops = Hops::of(&block, parsed, upgrades);
        let is_ours = |it: Known| matches!(it, Known::Host | Known::ContentLength | Known::Expect);
        let mut list = Vec::with_capacity(parsed.len() + HOP_FIELDS);
        list.extend(parsed.iter().filter(|it| hops.keeps(it) && !is_ours(it.known)));
        let takes_trailers = hops.takes_trailers();
        let mut fields = Self { block, added: Vec::new(), list };
        if takes_trailers {
            fields.push_known(Known::Te, b"te", b"trailers");
        }
        fields
    }

    /// All fields in a block of bytes.
    #[must_use]
    pub fn all(block: Bytes, parsed: &[Field]) -> Self {
        Self { block, added: Vec::new(), list: parsed.to_vec() }
    }

    /// Fields whose names and values stand in `block` wherever `list` says.
    pub(crate) const fn of(block: Bytes, list: Vec<Field>) -> Self {
        Self { block, added: Vec::new(), list }
    }

    /// None yet, with room for so many of so many bytes together.
    #[must_use]
    pub fn with_room(fields: usize, bytes: usize) -> Self {
        let (added, list) = (Vec::with_capacity(bytes), Vec::with_capacity(fields));
        Self { block: Bytes::new(), added, list }
    }

    /// The bytes that the fields came in.
    pub(crate) const fn block(&self) -> &Bytes {
        &self.block
    }

    /// The fields of a map.
    #[must_use]
    pub fn from_map(map: &HeaderMap) -> Self {
        let mut fields = Self::with_room(map.len() + HOP_FIELDS, map.len() * 32 + HOP_BYTES);
        for (name, value) in map {
            fields.push(name.as_str().as_bytes(), value.as_bytes());
        }
        fields
    }

    /// As a map. Names and values were read by a stricter grammar, so none is lost.
    #[must_use]
    pub fn to_map(&self) -> HeaderMap {
        let mut map = HeaderMap::with_capacity(self.list.len());
        for (index, (_, name, value)) in self.iter().enumerate() {
            let value = self.shared_value(index, value);
            if let (Ok(name), Ok(value)) =
                (HeaderName::from_bytes(name), HeaderValue::from_maybe_shared(value))
            {
                map.append(name, value);
            }
        }
        map
    }

    fn shared_value(&self, index: usize, value: &[u8]) -> Bytes {
        let span = self.list[index].value;
        if span.start & ADDED == 0 {
            self.block.slice(span.range())
        } else {
            Bytes::copy_from_slice(value)
        }
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Each field: what it is known as, its name as it came, its value.
    pub fn iter(&self) -> impl Iterator<Item = (Known, &[u8], &[u8])> {
        self.list.iter().map(|it| (it.known, self.bytes(it.name), self.bytes(it.value)))
    }

    /// The first value of a known field.
    #[must_use]
    pub fn get(&self, known: Known) -> Option<&[u8]> {
        self.list.iter().find(|it| it.known == known).map(|it| self.bytes(it.value))
    }

    /// The first value of a known field, when it is text.
    #[must_use]
    pub fn text(&self, known: Known) -> Option<&str> {
        self.get(known).and_then(|it| std::str::from_utf8(it).ok())
    }

    /// The first value under a name, whatever its case.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&[u8]> {
        let name = name.as_bytes();
        self.iter().find(|(_, it, _)| it.eq_ignore_ascii_case(name)).map(|(_, _, value)| value)
    }

    /// Appends a field.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        self.push_known(Known::of(name), name, value);
    }

    /// Appends a field whose kind is known.
    pub fn push_known(&mut self, known: Known, name: &[u8], value: &[u8]) {
        let name = self.keep(name);
        let value = self.keep(value);
        self.list.push(Field { name, value, known });
    }

    /// Puts a field in the place of every one of its kind; one that is there keeps its spelling.
    pub fn set_known(&mut self, known: Known, name: &[u8], value: &[u8]) {
        let Some(first) = self.list.iter().position(|it| it.known == known) else {
            return self.push_known(known, name, value);
        };
        self.list[first].value = self.keep(value);
        if self.list[first + 1..].iter().any(|it| it.known == known) {
            let mut is_first = true;
            self.list.retain(|it| it.known != known || std::mem::take(&mut is_first));
        }
    }

    /// [`Fields::set_known`] with a number in decimal digits.
    pub fn set_number(&mut self, known: Known, name: &[u8], value: u64) {
        let mut text = [0; 20];
        let mut room = &mut text[..];
        write::decimal(&mut room, value);
        let length = 20 - room.len();
        self.set_known(known, name, &text[..length]);
    }

    /// Puts a field in the place of every one of its name.
    pub fn set(&mut self, name: &str, value: &[u8]) {
        self.remove_named(name);
        self.push(name.as_bytes(), value);
    }

    /// Appends to the value under a name, with a comma; a new field where there is none.
    pub fn append(&mut self, name: &str, value: &[u8]) {
        let Some(before) = self.named(name) else { return self.push(name.as_bytes(), value) };
        let joined = [before, b",", value].concat();
        self.set(name, &joined);
    }

    /// Removes every field of a kind.
    pub fn remove(&mut self, known: Known) {
        self.list.retain(|it| it.known != known);
    }

    /// Removes what speaks to the next program alone, and Host and framing, which every writer says
    /// itself.
    pub(crate) fn without_framing(mut self) -> Self {
        self.retain(|known, _, value| match known {
            Known::Te => value == b"trailers",
            Known::Host | Known::ContentLength | Known::Expect => false,
            known => !known.is_hop_by_hop(),
        });
        self
    }

    /// Removes every field of a name, whatever its case.
    pub fn remove_named(&mut self, name: &str) {
        self.retain(|_, it, _| !it.eq_ignore_ascii_case(name.as_bytes()));
    }

    /// Keeps the fields for which the answer is yes.
    pub fn retain(&mut self, mut keep: impl FnMut(Known, &[u8], &[u8]) -> bool) {
        let mut list = std::mem::take(&mut self.list);
        list.retain(|it| keep(it.known, self.bytes(it.name), self.bytes(it.value)));
        self.list = list;
    }

    /// Bytes that they take as text, about.
    pub(crate) const fn bytes_about(&self) -> usize {
        self.block.len() + self.added.len() + self.list.len() * 4
    }

    /// Writes all of them as HTTP/1 field lines; the caller makes room.
    pub(crate) fn write(&self, out: &mut BytesMut) {
        for (_, name, value) in self.iter() {
            out.put_slice(name);
            out.put_slice(b": ");
            out.put_slice(value);
            out.put_slice(b"\r\n");
        }
    }

    /// The bytes that a span names, in whichever buffer.
    pub(crate) fn bytes(&self, span: Span) -> &[u8] {
        if span.start & ADDED == 0 {
            span.of_bytes(&self.block)
        } else {
            Span { start: span.start & !ADDED, end: span.end & !ADDED }.of_bytes(&self.added)
        }
    }

    fn keep(&mut self, bytes: &[u8]) -> Span {
        if self.added.capacity() == 0 {
            self.added.reserve(HOP_BYTES);
        }
        let start = self.added.len();
        self.added.extend_from_slice(bytes);
        let mark = |at: usize| u32::try_from(at).unwrap_or(0) | ADDED;
        Span { start: mark(start), end: mark(self.added.len()) }
    }
}

/// The version that a message was sent in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0: no chunks, no keep-alive unless asked for.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2.
    Http2,
}

/// Who sent a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Address of the client's end.
    pub address: SocketAddr,
    /// Who it has shown to be; nothing on a plain connection.
    pub identity: Option<Arc<SpiffeId>>,
    /// What its words came over.
    pub transport: Transport,
}

/// What a connection's words come over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP as it is: whoever is on the way reads along.
    Plain,
    /// TLS.
    Tls,
}

/// The head of a request. Its path is normalised: what is judged here is what is forwarded.
#[derive(Debug, Clone)]
pub struct RequestHead {
    /// Method.
    pub method: Method,
    /// Version that it came in.
    pub version: Version,
    /// Host and port, as they came.
    pub authority: Bytes,
    /// Header fields, without Host and without those of framing.
    pub fields: Fields,
    /// The protocol that the connection is to change to.
    pub upgrade: Option<Bytes>,
    target: Bytes,
    path_length: usize,
    host: Bytes,
}

impl RequestHead {
    /// A head; `target` is a normalised path, then perhaps `?` and a query.
    #[must_use]
    pub fn new(method: Method, version: Version, authority: Bytes, target: Bytes) -> Self {
        let host = host_of(&authority);
        let path_length = target.iter().position(|it| *it == b'?').unwrap_or(target.len());
        let fields = Fields::default();
        Self { method, version, authority, fields, upgrade: None, target, path_length, host }
    }

    /// Path and query.
    #[must_use]
    pub const fn target(&self) -> &Bytes {
        &self.target
    }

    /// Another path, with the query as it is.
    pub fn set_path(&mut self, path: &str) {
        let mut target = BytesMut::with_capacity(path.len() + self.target.len());
        target.put_slice(path.as_bytes());
        target.put_slice(&self.target[self.path_length..]);
        self.target = target.freeze();
        self.path_length = path.len();
    }

    /// Another authority.
    pub fn set_authority(&mut self, authority: Bytes) {
        self.host = host_of(&authority);
        self.authority = authority;
    }
}

impl RequestView for RequestHead {
    fn method(&self) -> &str {
        self.method.as_str()
    }

    fn host(&self) -> &str {
        std::str::from_utf8(&self.host).unwrap_or_default()
    }

    fn path(&self) -> &str {
        std::str::from_utf8(&self.target[..self.path_length]).unwrap_or_default()
    }

    fn query(&self) -> Option<&str> {
        let query = self.target.get(self.path_length + 1..)?;
        std::str::from_utf8(query).ok()
    }

    fn header(&self, name: &str) -> Option<&str> {
        let value = if name == "host" { &self.authority[..] } else { self.fields.named(name)? };
        std::str::from_utf8(value).ok()
    }
}

/// Without port, in lower case.
fn host_of(authority: &Bytes) -> Bytes {
    let end = match authority.iter().rposition(|it| *it == b':') {
        // The colons of an IPv6 address stand in brackets.
        Some(colon) if !authority[colon..].contains(&b']') => colon,
        Some(_) | None => authority.len(),
    };
    let host = authority.slice(..end);
    if host.iter().any(u8::is_ascii_uppercase) { host.to_ascii_lowercase().into() } else { host }
}

/// The status of a gRPC call in its trailers.
pub(crate) fn grpc_status(trailers: &HeaderMap) -> Option<u32> {
    trailers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// Interim answers (1xx) of one endpoint to one request. Each is dropped, and a stream of them that never
/// ends is no answer; servers send one or two (RFC 9110 15.2, RFC 8297).
pub(crate) const INTERIM_ANSWERS_MAX: u8 = 16;

/// The head of a response.
#[derive(Debug, Clone)]
pub struct ResponseHead {
    /// Status.
    pub status: StatusCode,
    /// Header fields, without those of framing.
    pub fields: Fields,
    /// Bytes of the body, where they are known.
    pub length: Option<u64>,
}

impl ResponseHead {
    /// A head without fields.
    #[must_use]
    pub fn new(status: StatusCode) -> Self {
        Self { status, fields: Fields::default(), length: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_compared_without_port_and_case() {
        let host = |text: &'static str| {
            RequestHead::new(Method::GET, Version::Http11, text.into(), Bytes::from("/"))
                .host()
                .to_owned()
        };
        assert_eq!(host("Example.COM:8080"), "example.com");
        assert_eq!(host("[::1]:80"), "[::1]");
        assert_eq!(host("[::1]"), "[::1]");
        assert_eq!(host(""), "");
    }

    #[test]
    fn what_is_set_takes_the_place_of_all_and_what_is_appended_joins() {
        let mut fields = Fields::default();
        fields.push(b"X-Tag", b"a");
        fields.push(b"x-tag", b"b");
        fields.set("x-tag", b"c");
        fields.append("x-tag", b"d");
        fields.append("y", b"1");
        let all: Vec<_> = fields.iter().map(|(_, name, value)| (name, value)).collect();
        assert_eq!(all, [(&b"x-tag"[..], &b"c,d"[..]), (b"y", b"1")]);
        assert_eq!(fields.to_map()["x-tag"], "c,d");
    }

    /// mesh 12b: 67.
    #[test]
    fn what_speaks_to_the_next_program_alone_is_not_handed_on() {
        let block = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, x-mine\r\nX-Mine: 1\r\n\
            Keep-Alive: 5\r\nTE: gzip, trailers\r\nProxy-Authorization: secret\r\nUpgrade: h2c\r\n\
            Expect: 100-continue\r\nTrailer: x-sum\r\nX-Yours: 2\r\n\r\n";
        let mut parsed = Vec::new();
        let limits = crate::h1::Limits::default();
        crate::h1::request(block.as_bytes(), &mut 0, &limits, &mut parsed).unwrap().unwrap();
        let fields = Fields::forwarded(Bytes::from(block), &parsed, Upgrades::Removed);
        let left: Vec<_> = fields.iter().map(|(_, name, value)| (name, value)).collect();
        let expected: [(&[u8], &[u8]); 3] =
            [(b"Trailer", b"x-sum"), (b"X-Yours", b"2"), (b"te", b"trailers")];
        assert_eq!(left, expected);
    }

    #[test]
    fn a_known_field_that_is_set_stands_once_where_the_first_stood() {
        let mut fields = Fields::default();
        for (name, value) in [("Traceparent", "1"), ("b", "2"), ("traceparent", "3")] {
            fields.push(name.as_bytes(), value.as_bytes());
        }
        fields.set_known(Known::Traceparent, b"traceparent", b"4");
        fields.set_number(Known::SkeinDeadlineMs, b"skein-deadline-ms", 1_970);
        let all: Vec<_> = fields.iter().map(|(_, name, value)| (name, value)).collect();
        let expected: [(&[u8], &[u8]); 3] =
            [(b"Traceparent", b"4"), (b"b", b"2"), (b"skein-deadline-ms", b"1970")];
        assert_eq!(all, expected);
    }

    #[test]
    fn another_path_keeps_the_query() {
        let mut head =
            RequestHead::new(Method::GET, Version::Http11, Bytes::new(), "/a?b=c".into());
        head.set_path("/x/y");
        assert_eq!(
            (head.path(), head.query(), &head.target()[..]),
            ("/x/y", Some("b=c"), &b"/x/y?b=c"[..])
        );
    }
}
