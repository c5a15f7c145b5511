//! Beside hyper: whatever we accept, hyper accepts with the same meaning.

use std::{convert::Infallible, sync::Mutex};

use http_body_util::{BodyExt, Empty};
use hyper::{
    Request, Response, body::Bytes, body::Incoming, server::conn::http1, service::service_fn,
};
use hyper_util::rt::TokioIo;
use mesh_proxy::h1::Malformed;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::{
    h1_probes,
    h1_view::{End, Message, View},
};

/// What hyper's service gets of `bytes`: a message, or why its body could not be read.
pub(crate) async fn read(bytes: &[u8]) -> Vec<Result<Message, String>> {
    let (mut client, server) = duplex(bytes.len() + 1024);
    let seen = Mutex::new(Vec::new());
    let service = service_fn(|request: Request<Incoming>| async {
        let message = read_message(request).await;
        seen.lock().unwrap().push(message);
        // Not 2xx, so that CONNECT does not end the messages.
        let response = Response::builder().status(404).body(Empty::<Bytes>::new()).unwrap();
        Ok::<_, Infallible>(response)
    });
    let connection =
        http1::Builder::new().half_close(true).serve_connection(TokioIo::new(server), service);
    let exchange = async {
        client.write_all(bytes).await.unwrap();
        client.shutdown().await.unwrap();
        let mut answers = Vec::new();
        // hyper may close before it has read everything: then there is nothing to read.
        let read = client.read_to_end(&mut answers).await;
        assert!(read.is_ok());
    };
    // Whether the connection ended well is judged by the messages.
    let (_ended, ()) = tokio::join!(connection, exchange);
    seen.into_inner().unwrap()
}

async fn read_message(request: Request<Incoming>) -> Result<Message, String> {
    let (head, body) = request.into_parts();
    let mut fields: Vec<_> = head
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect();
    fields.sort_by(|one, other| one.0.cmp(&other.0));
    let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes().to_vec();
    Ok(Message {
        method: head.method.to_string(),
        target: target(&head.uri.to_string()),
        fields,
        body,
    })
}

/// A target in hyper's spelling: the scheme in lower case and no empty path.
fn target(text: &str) -> String {
    match text.split_once("://") {
        Some((scheme, rest)) if !text.starts_with('/') => {
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            let (authority, path) = rest.split_at(end);
            let slash = if path.starts_with('/') { "" } else { "/" };
            format!("{}://{authority}{slash}{path}", scheme.to_ascii_lowercase())
        }
        _ => text.to_owned(),
    }
}

/// Reasons for which we refuse what hyper accepts, each with a probe in the tables.
const STRICTER: &[Malformed] = &[
    Malformed::BareLineFeed,
    Malformed::ChunkExtension,
    Malformed::ChunkSize,
    Malformed::ChunkSizeTooLong,
    Malformed::Connection,
    Malformed::ConnectionStrips,
    Malformed::ContentLength,
    Malformed::ContentLengthRepeated,
    Malformed::EmptyLines,
    Malformed::Host,
    Malformed::HostConflict,
    Malformed::HostMissing,
    Malformed::HostRepeated,
    Malformed::LengthAndCoding,
    Malformed::Target,
    Malformed::TrailerForbidden,
    Malformed::TransferEncoding,
    Malformed::TransferEncodingRepeated,
    Malformed::UnknownCoding,
];

#[track_caller]
fn compare(name: &str, bytes: &[u8], theirs: &[Result<Message, String>]) -> End {
    let (ours, end) = View::of(bytes, Some(bytes.len()));
    let shown = String::from_utf8_lossy(bytes).into_owned();
    for (at, mut message) in ours.iter().cloned().enumerate() {
        message.target = target(&message.target);
        assert_eq!(theirs.get(at), Some(&Ok(message)), "{name}: message {at} of {shown:?}");
    }
    let more = theirs.iter().skip(ours.len()).filter(|it| it.is_ok()).count();
    match end {
        End::Refused(malformed) if more > 0 => {
            assert!(STRICTER.contains(&malformed), "{name}: {malformed:?} of {shown:?}");
        }
        End::Clean | End::Cut => assert_eq!(more, 0, "{name}: hyper sees more in {shown:?}"),
        End::Refused(_) => {}
    }
    end
}

#[tokio::test]
async fn whatever_we_accept_hyper_accepts_as_the_same() {
    for (name, bytes, ..) in h1_probes::all() {
        let theirs = read(bytes).await;
        compare(name, bytes, &theirs);
    }
}

#[test]
fn each_reason_that_is_stricter_than_hyper_has_a_probe() {
    for reason in STRICTER {
        let probe = h1_probes::all()
            .any(|(_, _, ours, hyper)| *ours == Err(*reason) && *hyper == h1_probes::Hyper::Takes);
        assert!(probe, "{reason:?}");
    }
}

const SEEDS: &[&str] = &[
    "GET /a/b?c=d HTTP/1.1\r\nHost: shop:8080\r\nAccept: */*\r\nUser-Agent: x\r\n\r\n",
    "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET /q HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nT: u\r\n\r\n\
     GET /q HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "GET http://a:80/b HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, x-hop\r\nX-Hop: 1\r\n\r\n",
    "OPTIONS * HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\nGET / HTTP/1.0\r\n\r\n",
    "PUT /x HTTP/1.1\r\nHost: [::1]\r\nExpect: 100-continue\r\nContent-Length: 3\r\nCookie: a=b\r\n\r\nabc",
];

const PIECES: &[&str] = &[
    "\r\n",
    "\n",
    "\r",
    " ",
    "\t",
    ":",
    "\0",
    "0",
    "1",
    ",",
    ";",
    "#",
    "/",
    "\u{e9}",
    "Host: b\r\n",
    "Content-Length: 3\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: host\r\n",
    "chunked",
    "HTTP/1.0",
    "+",
    "-",
    "0\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
];

fn mutate(random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = SEEDS[random.usize(..SEEDS.len())].as_bytes().to_vec();
    for _ in 0..random.usize(1..4) {
        let at = random.usize(..bytes.len());
        match random.u8(..6) {
            0 => bytes[at] = random.u8(..),
            1 => drop(bytes.remove(at)),
            2 => drop(bytes.splice(at..at, PIECES[random.usize(..PIECES.len())].bytes())),
            3 => bytes[at] ^= 1 << random.u8(..8),
            4 => {
                let end = (at + random.usize(1..24)).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                let to = random.usize(..=bytes.len());
                drop(bytes.splice(to..to, copy));
            }
            _ => drop(bytes.splice(at..=at, PIECES[random.usize(..PIECES.len())].bytes())),
        }
        if bytes.is_empty() {
            bytes.push(b'G');
        }
    }
    bytes
}

#[tokio::test]
async fn twenty_thousand_mutated_requests_mean_the_same_to_hyper() {
    let (mut accepted, mut refused) = (0, 0);
    for seed in 0..20_000 {
        let bytes = mutate(&mut fastrand::Rng::with_seed(seed));
        let theirs = read(&bytes).await;
        match compare(&format!("seed {seed}"), &bytes, &theirs) {
            End::Clean => accepted += 1,
            End::Cut => {}
            End::Refused(_) => refused += 1,
        }
    }
    // Mutations that are all refused, or all harmless, would prove nothing.
    assert!(accepted > 1_000 && refused > 1_000, "{accepted} accepted, {refused} refused");
}
