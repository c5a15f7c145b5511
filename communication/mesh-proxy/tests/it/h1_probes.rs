//! Ambiguous requests, each with what we make of it and what hyper does.
//!
//! The probes are those of the request smuggling literature (RFC 9112 11.2) and some of our own.
//! Where hyper accepts what we refuse, the difference is on purpose and stands in this table.

use mesh_proxy::h1::Malformed::{self, *};

use super::{
    h1_hyper,
    h1_view::{End, View},
};

/// What hyper makes of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hyper {
    /// At least the first request reaches its service, with its whole body.
    Takes,
    /// It does not.
    Refuses,
}
use Hyper::{Refuses, Takes};

/// Name, bytes, our verdict (the number of requests, or why not), hyper's.
pub(crate) type Probe = (&'static str, &'static [u8], Result<usize, Malformed>, Hyper);

macro_rules! get {
    ($($rest:literal),*) => { concat!("GET / HTTP/1.1\r\nHost: a\r\n", $($rest),*, "\r\n").as_bytes() };
}
macro_rules! post {
    ($fields:literal, $body:literal) => {
        concat!("POST / HTTP/1.1\r\nHost: a\r\n", $fields, "\r\n", $body).as_bytes()
    };
}
macro_rules! chunks {
    ($body:literal) => {
        post!("Transfer-Encoding: chunked\r\n", $body)
    };
}

#[rustfmt::skip]
pub(crate) const LENGTHS: &[Probe] = &[
    ("length and coding", post!("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), Err(LengthAndCoding), Takes),
    ("coding and length", post!("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"), Err(LengthAndCoding), Takes),
    ("two codings, chunked twice", post!("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), Err(TransferEncodingRepeated), Takes),
    ("two codings, identity last", post!("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n"), Err(TransferEncodingRepeated), Refuses),
    ("xchunked", post!("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"), Err(TransferEncoding), Refuses),
    ("chunked with a vertical tab", post!("Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n"), Err(FieldValue), Refuses),
    ("coding after a tab", post!("Transfer-Encoding:\tchunked\r\n", "0\r\n\r\n"), Err(TransferEncoding), Takes),
    ("coding before a tab", post!("Transfer-Encoding: chunked\t\r\n", "0\r\n\r\n"), Err(TransferEncoding), Takes),
    ("chunked not last", post!("Transfer-Encoding: chunked, gzip\r\n", "0\r\n\r\n"), Err(TransferEncoding), Refuses),
    ("chunked twice in one", post!("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"), Err(TransferEncoding), Takes),
    ("unknown coding first", post!("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), Err(UnknownCoding), Takes),
    ("gzip alone", post!("Transfer-Encoding: gzip\r\n", "0\r\n\r\n"), Err(TransferEncoding), Refuses),
    ("identity", post!("Transfer-Encoding: identity\r\n", "0\r\n\r\n"), Err(TransferEncoding), Refuses),
    ("empty coding", post!("Transfer-Encoding:\r\n", "0\r\n\r\n"), Err(TransferEncoding), Refuses),
    ("coding with an empty member", post!("Transfer-Encoding: ,chunked\r\n", "0\r\n\r\n"), Err(TransferEncoding), Takes),
    ("coding with a parameter", post!("Transfer-Encoding: chunked;q=1\r\n", "0\r\n\r\n"), Err(TransferEncoding), Refuses),
    ("coding in quotes", post!("Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n"), Err(TransferEncoding), Refuses),
    ("coding in another case", post!("TRANSFER-ENCODING: Chunked\r\n", "0\r\n\r\n"), Ok(1), Takes),
    ("coding in HTTP/1.0", b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Err(TransferEncodingVersion), Refuses),
    ("coding with an underscore is another field", post!("Transfer_Encoding: chunked\r\n", ""), Ok(1), Takes),
    ("plus", post!("Content-Length: +3\r\n", "abc"), Err(ContentLength), Refuses),
    ("minus", post!("Content-Length: -3\r\n", "abc"), Err(ContentLength), Refuses),
    ("empty length", post!("Content-Length:\r\n", "abc"), Err(ContentLength), Refuses),
    ("hexadecimal length", post!("Content-Length: 0x3\r\n", "abc"), Err(ContentLength), Refuses),
    ("length with a fraction", post!("Content-Length: 3.0\r\n", "abc"), Err(ContentLength), Refuses),
    ("length with a space inside", post!("Content-Length: 1 2\r\n", "abc"), Err(ContentLength), Refuses),
    ("length with leading zeros", post!("Content-Length: 003\r\n", "abc"), Err(ContentLength), Takes),
    ("length over 64 bits", post!("Content-Length: 18446744073709551617\r\n", "a"), Err(ContentLength), Refuses),
    ("length of 19 digits", post!("Content-Length: 1000000000000000000\r\n", "a"), Err(ContentLength), Refuses),
    ("differing lengths", post!("Content-Length: 3\r\nContent-Length: 4\r\n", "abc"), Err(ContentLengthRepeated), Refuses),
    ("equal lengths", post!("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"), Err(ContentLengthRepeated), Takes),
    ("list of equal lengths", post!("Content-Length: 3, 3\r\n", "abc"), Err(ContentLength), Refuses),
    ("length in a trailing tab", post!("Content-Length: 3\t\r\n", "abc"), Ok(1), Takes),
    ("zero length", post!("Content-Length: 0\r\n", ""), Ok(1), Takes),
];

#[rustfmt::skip]
pub(crate) const LINES: &[Probe] = &[
    ("bare line feeds", b"GET / HTTP/1.1\nHost: a\n\n", Err(BareLineFeed), Takes),
    ("one bare line feed", b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", Err(BareLineFeed), Takes),
    ("bare line feed ends the head", b"GET / HTTP/1.1\r\nHost: a\r\n\n", Err(BareLineFeed), Takes),
    ("bare carriage return in a value", get!("X: a\rb\r\n"), Err(BareCarriageReturn), Refuses),
    ("bare carriage returns for line ends", b"GET / HTTP/1.1\rHost: a\r\r", Err(BareCarriageReturn), Refuses),
    ("two carriage returns", b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", Err(BareCarriageReturn), Refuses),
    ("zero byte in a value", get!("X: a\0b\r\n"), Err(FieldValue), Refuses),
    ("zero byte in a name", get!("X\0: b\r\n"), Err(FieldName), Refuses),
    ("control byte in a value", get!("X: a\x01b\r\n"), Err(FieldValue), Refuses),
    ("delete in a value", get!("X: a\x7fb\r\n"), Err(FieldValue), Refuses),
    ("tab in a value", get!("X: a\tb\r\n"), Ok(1), Takes),
    ("bytes above ASCII in a value", get!("X: é\r\n"), Ok(1), Takes),
    ("folded value", get!("X: a\r\n b\r\n"), Err(FoldedField), Refuses),
    ("folded value with a tab", get!("X: a\r\n\tb\r\n"), Err(FoldedField), Refuses),
    ("space before the first field", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", Err(FoldedField), Refuses),
    ("space before a colon", get!("X : a\r\n"), Err(SpaceBeforeColon), Refuses),
    ("tab before a colon", get!("X\t: a\r\n"), Err(SpaceBeforeColon), Refuses),
    ("space before the colon of a length", post!("Content-Length : 3\r\n", "abc"), Err(SpaceBeforeColon), Refuses),
    ("space inside a name", get!("X Y: a\r\n"), Err(SpaceBeforeColon), Refuses),
    ("no name", get!(": a\r\n"), Err(FieldNameEmpty), Refuses),
    ("no colon", get!("X\r\n"), Err(FieldName), Refuses),
    ("name with a slash", get!("X/Y: a\r\n"), Err(FieldName), Refuses),
    ("name above ASCII", get!("Xé: a\r\n"), Err(FieldName), Refuses),
    ("empty value", get!("X:\r\n"), Ok(1), Takes),
    ("one empty line before", b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Ok(1), Takes),
    ("two empty lines before", b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Err(EmptyLines), Takes),
    ("bare line feed before", b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Err(BareLineFeed), Takes),
    ("space before the method", b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", Err(RequestLine), Refuses),
    ("method with a bracket", b"GE(T / HTTP/1.1\r\nHost: a\r\n\r\n", Err(RequestLine), Refuses),
    ("method of a stranger", b"PROPFIND / HTTP/1.1\r\nHost: a\r\n\r\n", Ok(1), Takes),
    ("two spaces before the target", b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", Err(RequestLine), Refuses),
    ("two spaces before the version", b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", Err(RequestLine), Refuses),
    ("space after the version", b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", Err(RequestLine), Refuses),
    ("tab before the target", b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", Err(RequestLine), Refuses),
    ("space inside the target", b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", Err(RequestLine), Refuses),
    ("no version", b"GET /\r\n\r\n", Err(RequestLine), Refuses),
    ("version in lower case", b"GET / http/1.1\r\nHost: a\r\n\r\n", Err(RequestLine), Refuses),
    ("version 2.0", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Err(Version), Refuses),
    ("version 1.2", b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", Err(Version), Refuses),
    ("version 0.9", b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", Err(Version), Refuses),
    ("version 1.10", b"GET / HTTP/1.10\r\nHost: a\r\n\r\n", Err(RequestLine), Refuses),
    ("TLS", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", Err(RequestLine), Refuses),
];

#[rustfmt::skip]
pub(crate) const TARGETS: &[Probe] = &[
    ("fragment", b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", Err(Target), Takes),
    ("target above ASCII", b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", Err(Target), Takes),
    ("control byte in the target", b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", Err(Target), Refuses),
    ("zero byte in the target", b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", Err(Target), Refuses),
    ("backslash in the target", b"GET /a\\..\\b HTTP/1.1\r\nHost: a\r\n\r\n", Err(Target), Takes),
    ("relative target", b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", Err(Target), Takes),
    ("asterisk with GET", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", Err(Target), Takes),
    ("asterisk with OPTIONS", b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", Ok(1), Takes),
    ("another scheme", b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", Err(Target), Takes),
    ("absolute target", b"GET http://a/b HTTP/1.1\r\nHost: A:80\r\n\r\n", Ok(1), Takes),
    ("absolute target of another host", b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", Err(HostConflict), Takes),
    ("absolute target of another port", b"GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n", Err(HostConflict), Takes),
    ("absolute target without a Host", b"GET http://a/ HTTP/1.1\r\n\r\n", Err(HostMissing), Takes),
    ("absolute target with a user", b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", Err(Host), Takes),
    ("absolute target without a host", b"GET http:///b HTTP/1.1\r\nHost: a\r\n\r\n", Err(Host), Refuses),
    ("CONNECT with a port", b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", Ok(1), Takes),
    ("CONNECT without a port", b"CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", Err(Target), Takes),
    ("CONNECT with a path", b"CONNECT /a HTTP/1.1\r\nHost: a\r\n\r\n", Err(Target), Takes),
    ("CONNECT of another host", b"CONNECT b:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", Err(HostConflict), Takes),
    ("two hosts", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Err(HostRepeated), Takes),
    ("two equal hosts", b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Err(HostRepeated), Takes),
    ("no host", b"GET / HTTP/1.1\r\n\r\n", Err(HostMissing), Takes),
    ("no host in HTTP/1.0", b"GET / HTTP/1.0\r\n\r\n", Ok(1), Takes),
    ("two hosts in HTTP/1.0", b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", Err(HostRepeated), Takes),
    ("empty host", b"GET / HTTP/1.1\r\nHost:\r\n\r\n", Err(Host), Takes),
    ("host with a path and a user", b"GET / HTTP/1.1\r\nHost: a/b?c@d\r\n\r\n", Err(Host), Takes),
    ("host with a user", b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", Err(Host), Takes),
    ("host with a space", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", Err(Host), Takes),
    ("list of hosts", b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", Err(Host), Takes),
    ("host with percent", b"GET / HTTP/1.1\r\nHost: a%2eb\r\n\r\n", Err(Host), Takes),
    ("host with an empty port", b"GET / HTTP/1.1\r\nHost: a:\r\n\r\n", Err(Host), Takes),
    ("host with a port of letters", b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", Err(Host), Takes),
    ("host with port 65536", b"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", Err(Host), Takes),
    ("host with port 0", b"GET / HTTP/1.1\r\nHost: a:0\r\n\r\n", Err(Host), Takes),
    ("host of IPv6", b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", Ok(1), Takes),
    ("host of IPv6 that is not closed", b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", Err(Host), Takes),
    ("host of IPv6 that is none", b"GET / HTTP/1.1\r\nHost: [a]\r\n\r\n", Err(Host), Takes),
    ("connection lists authorization", get!("Connection: authorization\r\n"), Err(ConnectionStrips), Takes),
    ("connection lists an identity", get!("Connection: close, X-Forwarded-Client-Cert\r\n"), Err(ConnectionStrips), Takes),
    ("connection lists a deadline", get!("Connection: skein-deadline-ms\r\n"), Err(ConnectionStrips), Takes),
    ("connection lists a key", get!("Connection: idempotency-key\r\n"), Err(ConnectionStrips), Takes),
    ("connection lists a trace", get!("Connection: traceparent\r\n"), Err(ConnectionStrips), Takes),
    ("connection lists the host", get!("Connection: host\r\n"), Err(ConnectionStrips), Takes),
    ("connection lists a field of its own", get!("Connection: x-hop\r\nX-Hop: 1\r\n"), Ok(1), Takes),
    ("connection with a space", get!("Connection: a b\r\n"), Err(Connection), Takes),
    ("17 connection options", get!("Connection: a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a\r\n"), Err(Connection), Takes),
    ("upgrade, then another request", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n", Ok(2), Takes),
];

#[rustfmt::skip]
pub(crate) const CHUNKS: &[Probe] = &[
    ("two chunks", chunks!("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"), Ok(1), Takes),
    ("size in upper case", chunks!("A\r\n0123456789\r\n0\r\n\r\n"), Ok(1), Takes),
    ("size with zeros before", chunks!("0003\r\nabc\r\n000\r\n\r\n"), Ok(1), Takes),
    ("size overflow", chunks!("10000000000000003\r\nabc\r\n0\r\n\r\n"), Err(ChunkSizeTooLong), Refuses),
    ("size of 17 digits", chunks!("00000000000000003\r\nabc\r\n0\r\n\r\n"), Err(ChunkSizeTooLong), Takes),
    ("empty size", chunks!("\r\nabc\r\n0\r\n\r\n"), Err(ChunkSize), Refuses),
    ("size with 0x", chunks!("0x3\r\nabc\r\n0\r\n\r\n"), Err(ChunkSize), Refuses),
    ("size with plus", chunks!("+3\r\nabc\r\n0\r\n\r\n"), Err(ChunkSize), Refuses),
    ("size with minus", chunks!("-3\r\nabc\r\n0\r\n\r\n"), Err(ChunkSize), Refuses),
    ("space before a size", chunks!(" 3\r\nabc\r\n0\r\n\r\n"), Err(ChunkSize), Refuses),
    ("space after a size", chunks!("3 \r\nabc\r\n0\r\n\r\n"), Err(ChunkSize), Takes),
    ("tab after a size", chunks!("3\t\r\nabc\r\n0\r\n\r\n"), Err(ChunkSize), Takes),
    ("line feed after a size", chunks!("3\nabc\r\n0\r\n\r\n"), Err(BareLineFeed), Refuses),
    ("carriage return after a size", chunks!("3\rabc\r\n0\r\n\r\n"), Err(BareCarriageReturn), Refuses),
    ("extension", chunks!("3;a=b\r\nabc\r\n0;c\r\n\r\n"), Ok(1), Takes),
    ("line feed in an extension", chunks!("3;a\nb\r\nabc\r\n0\r\n\r\n"), Err(BareLineFeed), Refuses),
    ("zero byte in an extension", chunks!("3;a\0\r\nabc\r\n0\r\n\r\n"), Err(ChunkExtension), Takes),
    ("carriage return in an extension", chunks!("3;a\rb\r\nabc\r\n0\r\n\r\n"), Err(BareCarriageReturn), Refuses),
    ("data longer than said", chunks!("3\r\nabcd\r\n0\r\n\r\n"), Err(ChunkEnd), Refuses),
    ("data without its line end", chunks!("3\r\nabc0\r\n\r\n"), Err(ChunkEnd), Refuses),
    ("data with a line feed alone", chunks!("3\r\nabc\n0\r\n\r\n"), Err(ChunkEnd), Refuses),
    ("trailer", chunks!("0\r\nX: y\r\n\r\n"), Ok(1), Takes),
    ("trailer with a length", chunks!("0\r\nContent-Length: 3\r\n\r\n"), Err(TrailerForbidden), Takes),
    ("trailer with an identity", chunks!("0\r\nAuthorization: x\r\n\r\n"), Err(TrailerForbidden), Takes),
    ("trailer that is folded", chunks!("0\r\nX: y\r\n z\r\n\r\n"), Err(FoldedField), Refuses),
    ("trailer with a line feed alone", chunks!("0\r\nX: y\n\r\n"), Err(BareLineFeed), Refuses),
    ("trailer without a colon", chunks!("0\r\nX\r\n\r\n"), Err(FieldName), Refuses),
    ("line feed ends the trailers", chunks!("0\r\n\n"), Err(BareLineFeed), Refuses),
    ("a second request behind the last chunk", chunks!("0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), Ok(2), Takes),
];

/// All tables.
pub(crate) fn all() -> impl Iterator<Item = &'static Probe> {
    [LENGTHS, LINES, TARGETS, CHUNKS].into_iter().flatten()
}

#[track_caller]
fn check((name, bytes, ours, _): &Probe) {
    let (messages, end) = View::of(bytes, Some(bytes.len()));
    match ours {
        Ok(count) => assert_eq!((messages.len(), end), (*count, End::Clean), "{name}"),
        Err(malformed) => {
            assert_eq!((messages.len(), end), (0, End::Refused(*malformed)), "{name}");
        }
    }
}

#[test]
fn each_ambiguous_request_has_its_verdict() {
    all().for_each(check);
    let refused = all().filter(|(_, _, ours, _)| ours.is_err()).count();
    assert!(refused >= 100, "{refused}");
}

#[test]
fn pieces_change_no_verdict() {
    for (name, bytes, ours, _) in all() {
        let whole = View::of(bytes, Some(bytes.len()));
        for cut in (0..bytes.len()).map(Some).chain([None]) {
            let cut_up = View::of(bytes, cut);
            if ours.is_ok() {
                assert_eq!(cut_up, whole, "{name}, cut at {cut:?}");
            } else {
                // A refusal may come earlier, for another of the reasons that there are.
                assert!(matches!(cut_up.1, End::Refused(_)), "{name}, cut at {cut:?}");
                assert_eq!(cut_up.0, [], "{name}, cut at {cut:?}");
            }
        }
    }
}

#[tokio::test]
async fn hyper_takes_and_refuses_what_the_tables_say() {
    let mut wrong = Vec::new();
    for (name, bytes, _, expected) in all() {
        let seen = h1_hyper::read(bytes).await;
        let found = match seen.first() {
            Some(Ok(_)) => Takes,
            Some(Err(_)) | None => Refuses,
        };
        if found != *expected {
            wrong.push(format!("{name}: {found:?}"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}
