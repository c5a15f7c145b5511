//! What comes from outside and is not believed.
//!
//! Whatever a service inside trusts must not be sent by a stranger: identity, epoch, attempt,
//! deadline, baggage and the words about where a request came from are taken off, and the last are
//! written anew from what the edge has seen itself. A key that reads as a saga's is renamed.

use base::OperationKey;

use crate::{
    h1::Known,
    head::{Peer, RequestHead, ResponseHead, Transport, Version},
};

/// Takes off what strangers may not say, and says where the request came from.
pub(crate) fn strip(head: &mut RequestHead, peer: &Peer) {
    head.fields.retain(|known, name, _| {
        let is_ours = matches!(
            known,
            Known::Baggage
                | Known::Forwarded
                | Known::XForwarded
                | Known::SkeinAttempt
                | Known::SkeinDeadlineMs
                | Known::SkeinEpoch
                | Known::SkeinOther
                | Known::Via
        );
        !(is_ours || looks_like_ours(name))
    });
    rename_keys(head);
    let address = peer.address.ip().to_string();
    let scheme = match peer.transport {
        Transport::Plain => "http",
        Transport::Tls => "https",
    };
    head.fields.push_known(Known::XForwarded, b"x-forwarded-for", address.as_bytes());
    head.fields.push_known(Known::XForwarded, b"x-forwarded-proto", scheme.as_bytes());
    let host = head.authority.clone();
    head.fields.push_known(Known::XForwarded, b"x-forwarded-host", &host);
    let via: &[u8] = if head.version == Version::Http2 { b"2 skein" } else { b"1.1 skein" };
    head.fields.push_known(Known::Via, b"via", via);
}

/// Before a stranger's key that reads as a saga's: no saga is called so.
const STRANGERS: &str = "edge:";

/// Keys of strangers have a space of their own: with a saga's, somebody could take a step of it, or
/// bar it, before the saga does.
fn rename_keys(head: &mut RequestHead) {
    let mut renamed = Vec::new();
    head.fields.retain(|known, _, value| {
        let key = str::from_utf8(value).map(|it| it.trim_matches(['"', ' ', '\t']));
        let sagas = key.ok().filter(|it| it.parse::<OperationKey>().is_ok());
        match sagas.filter(|_| known == Known::IdempotencyKey) {
            Some(key) => {
                renamed.push(format!("\"{STRANGERS}{key}\""));
                false
            }
            None => true,
        }
    });
    let name = base::headers::IDEMPOTENCY_KEY.as_bytes();
    for key in renamed {
        head.fields.push_known(Known::IdempotencyKey, name, key.as_bytes());
    }
}

/// Takes off what is said among ourselves.
pub(crate) fn strip_reply(head: &mut ResponseHead) {
    head.fields.retain(|known, name, _| {
        let is_ours = matches!(
            known,
            Known::SkeinAttempt
                | Known::SkeinDeadlineMs
                | Known::SkeinEpoch
                | Known::Traceparent
                | Known::Tracestate
                | Known::Baggage
                | Known::Via
        );
        // The short code of an error is the client's to read.
        let is_code = name.eq_ignore_ascii_case(base::headers::SKEIN_ERROR.as_bytes());
        is_code || !(is_ours || known == Known::SkeinOther)
    });
}

/// Beginnings of names that programs inside trust, with [`Known`] ones among them: those are found in
/// their own spelling alone. What a certificate said is said by proxies alone.
const OURS: [&[u8]; 6] =
    [b"skein-", b"x-forwarded-", b"x-real-ip", b"l5d-", b"x-envoy-", b"x-client-cert"];

/// Servers that turn `-` into `_` (CGI, WSGI) read `skein_epoch` as `skein-epoch`, and a mixture of
/// both as well.
fn looks_like_ours(name: &[u8]) -> bool {
    let same =
        |(it, ours): (&u8, &u8)| it.to_ascii_lowercase() == *ours || (*it, *ours) == (b'_', b'-');
    OURS.iter().any(|ours| name.len() >= ours.len() && name.iter().zip(*ours).all(same))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::Method;

    fn peer(transport: Transport) -> Peer {
        Peer { address: "192.0.2.7:4000".parse().unwrap(), identity: None, transport }
    }

    #[test]
    fn what_strangers_say_of_themselves_is_taken_off_in_every_spelling() {
        let mut head =
            RequestHead::new(Method::GET, Version::Http11, "shop".into(), Bytes::from("/"));
        for name in [
            "Skein-Epoch",
            "skein-attempt",
            "SKEIN-DEADLINE-MS",
            "skein-identity",
            "skein_epoch",
            "baggage",
            "Forwarded",
            "X-Forwarded-For",
            "x-forwarded-client-cert",
            "x_forwarded_for",
            "X-Real-Ip",
            "via",
            "l5d-client-id",
            "x-envoy-max-retries",
        ] {
            head.fields.push(name.as_bytes(), b"evil");
        }
        head.fields.push(b"idempotency-key", b"\"k\"");
        head.fields.push(b"authorization", b"Bearer x");
        head.fields.push(b"traceparent", b"00-x");
        strip(&mut head, &peer(Transport::Tls));
        assert!(head.fields.iter().all(|(_, _, value)| value != b"evil"));
        assert_eq!(head.fields.named("x-forwarded-for"), Some(&b"192.0.2.7"[..]));
        assert_eq!(head.fields.named("x-forwarded-host"), Some(&b"shop"[..]));
        assert_eq!(head.fields.named("x-forwarded-proto"), Some(&b"https"[..]));
        assert_eq!(head.fields.len(), 7);
    }

    #[track_caller]
    fn check_key(given: &[u8], expected: &[u8]) {
        let mut head =
            RequestHead::new(Method::GET, Version::Http11, "shop".into(), Bytes::from("/"));
        head.fields.push(b"Idempotency-Key", given);
        strip(&mut head, &peer(Transport::Plain));
        let keys: Vec<_> =
            head.fields.iter().filter(|it| it.0 == Known::IdempotencyKey).map(|it| it.2).collect();
        assert_eq!(keys, [expected]);
    }

    #[test]
    fn a_stranger_s_key_is_never_a_saga_s() {
        for given in [
            &b"d1/cancel/delivery/do/0"[..],
            b"\"d1/cancel/delivery/do/0\"",
            b" d1/cancel/delivery/do/0",
        ] {
            check_key(given, b"\"edge:d1/cancel/delivery/do/0\"");
        }
        for own in [&b"\"order 7\""[..], b"a/b/c", b"\xff/a/b/do/0"] {
            check_key(own, own);
        }
    }
}
