//! Which protocol a client speaks, from its first bytes.
//!
//! HTTP/2 begins with a preface of 24 bytes that no HTTP/1 request can begin with (RFC 9113 3.4).
//! TLS on a plain port begins with 0x16 and gets a clear word. All else is HTTP/1 until it proves
//! otherwise.

use std::{future::poll_fn, sync::Arc};

use bytes::BytesMut;
use tokio::time::timeout;

use super::{Handler, Peer, Site, accept::Closing, doors::Place, h1, h2};
use crate::stream::{READ_BYTES, Stream, poll_fill};

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

pub(super) async fn serve<H: Handler>(
    site: &Arc<Site<H>>,
    mut stream: Stream,
    peer: Peer,
    place: Place,
    closing: Closing,
) {
    let mut received = BytesMut::new();
    let spoken = tokio::select! {
        it = timeout(site.limits.head_timeout, first(&mut stream, &mut received)) => it.ok().flatten(),
        () = place.told_to_go() => {
            site.counts.ended("gave_way");
            None
        }
        () = async { closing.clone().said().await } => None,
    };
    match spoken {
        Some(Spoken::Http2) => {
            h2::serve(Arc::clone(site), stream, received, peer, place, closing).await;
        }
        Some(Spoken::Tls) => {
            site.counts.refused("tls_on_plain_port");
            h1::refuse_tls(stream).await;
        }
        Some(Spoken::Http1 | Spoken::Undecided) => {
            h1::serve(site, stream, received, peer, &place, closing).await;
        }
        None => {}
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
