//! Which protocol a client speaks, from its first bytes.
//!
//! HTTP/2 begins with a preface of 24 bytes that no HTTP/1 request can begin with (RFC 9113 3.4).
//! TLS on a plain port begins with 0x16 and gets a clear word. All else is HTTP/1 until it proves
//! otherwise. Where a client says nothing and the door may lead bytes on, the server is heard: some
//! protocols begin with it.

use std::{future::poll_fn, sync::Arc, time::Duration};

use base::Code;
use bytes::BytesMut;
use tokio::time::timeout;

use super::{
    Handler, Site,
    doors::Place,
    h1, h2,
    tcp::{self, Greeted},
};
use crate::{
    closing::Closing,
    head::Peer,
    stream::{READ_BYTES, Stream, poll_fill},
    tunnel::{Tunnel, When},
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the first bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spoken {
    Http1,
    Http2,
    /// A TLS ClientHello.
    Tls,
    /// More bytes are needed.
    Undecided,
}

/// What the bytes that have come in are.
pub(crate) fn look(bytes: &[u8]) -> Spoken {
    let shared = bytes.len().min(PREFACE.len());
    match bytes {
        [] => Spoken::Undecided,
        [0x16, ..] => Spoken::Tls,
        _ if bytes[..shared] == PREFACE[..shared] => {
            if shared == PREFACE.len() {
                Spoken::Http2
            } else {
                Spoken::Undecided
            }
        }
        _ => Spoken::Http1,
    }
}

/// What a connection turned out to be.
enum Found {
    Spoken(Spoken),
    /// The client said nothing and the server did.
    Greeted(Greeted),
}

pub(super) async fn serve<H: Handler>(
    site: &Arc<Site<H>>,
    mut stream: Stream,
    peer: Peer,
    place: Place,
    closing: Closing,
) {
    let tunnel = site.handler.tunnel();
    let guard = site.guard.as_ref();
    if let Some(tunnel) = tunnel.as_ref().filter(|it| it.when() == When::Always) {
        if guard.is_some_and(|it| it.refuses_bytes(&peer)) {
            // There is no word for it: the connection ends.
            return site.counts.ended(Code::Forbidden.as_str());
        }
        place.busy();
        return Box::pin(tcp::serve(site, stream, tunnel, closing)).await;
    }
    // A server that speaks first is not even asked.
    let tunnel = tunnel.filter(|_| !guard.is_some_and(|it| it.would_refuse_bytes(&peer)));
    let mut received = BytesMut::new();
    let limits = &site.limits;
    let finding = find(&mut stream, &mut received, tunnel.as_ref(), limits.detect_timeout);
    let found = tokio::select! {
        it = timeout(limits.head_timeout, finding) => it.ok().flatten(),
        () = place.told_to_go() => {
            site.counts.ended("gave_way");
            None
        }
        () = async { closing.clone().said().await } => None,
    };
    match found {
        Some(Found::Greeted(greeted)) => {
            place.busy();
            Box::pin(greeted.carry(site, stream, closing)).await;
        }
        Some(Found::Spoken(Spoken::Http2)) => {
            Box::pin(h2::serve(Arc::clone(site), stream, received, peer, place, closing)).await;
        }
        Some(Found::Spoken(Spoken::Tls)) => {
            site.counts.refused("tls_on_plain_port");
            h1::refuse_tls(stream).await;
        }
        Some(Found::Spoken(Spoken::Http1 | Spoken::Undecided)) => {
            h1::serve(site, stream, received, peer, &place, closing).await;
        }
        None => {}
    }
}

/// Waits for the client; where it is silent and the door may lead bytes on, for the server as well.
async fn find(
    stream: &mut Stream,
    received: &mut BytesMut,
    tunnel: Option<&Tunnel>,
    silence: Duration,
) -> Option<Found> {
    let Some(tunnel) = tunnel else {
        return first(stream, received).await.map(Found::Spoken);
    };
    // Cancel-safe: what was read is in the buffer.
    if let Ok(spoken) = timeout(silence, first(stream, received)).await {
        return spoken.map(Found::Spoken);
    }
    if !received.is_empty() {
        return first(stream, received).await.map(Found::Spoken);
    }
    tokio::select! {
        biased;
        spoken = first(stream, received) => spoken.map(Found::Spoken),
        // A server that waits as well leaves it to the client.
        Some(greeted) = Box::pin(Greeted::wait(tunnel)) => Some(Found::Greeted(greeted)),
    }
}

/// Reads until it is clear. Cancel-safe: what was read is in the buffer.
async fn first(stream: &mut Stream, received: &mut BytesMut) -> Option<Spoken> {
    loop {
        let room = READ_BYTES;
        let read = poll_fn(|context| poll_fill(stream, context, received, room)).await.ok()?;
        match look(received) {
            Spoken::Undecided if read == 0 => return None,
            Spoken::Undecided => {}
            clear => return Some(clear),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_say_what_is_spoken() {
        assert_eq!(look(b""), Spoken::Undecided);
        assert_eq!(look(b"P"), Spoken::Undecided);
        assert_eq!(look(b"PR"), Spoken::Undecided);
        assert_eq!(look(b"PRO"), Spoken::Http1);
        assert_eq!(look(b"POST / HTTP/1.1"), Spoken::Http1);
        assert_eq!(look(PREFACE), Spoken::Http2);
        assert_eq!(look(&[0x16, 3, 1]), Spoken::Tls);
        assert_eq!(look(&[0, 255]), Spoken::Http1);
    }
}
