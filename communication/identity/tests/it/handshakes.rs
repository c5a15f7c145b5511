//! Who gets through a handshake, and what is counted of those who do not.

use std::{net::IpAddr, task::Poll, time::Duration};

use identity::{Entrance, HandshakeConfig, Known, Protocol, Refusal, TlsStream};
use rcgen::ExtendedKeyUsagePurpose;
use rustls::HandshakeKind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    peers::{Side, accept_from, cart, client, connection, server_name},
    pki::{Pki, id, uri, valid},
};

const BOUNDS: HandshakeConfig =
    HandshakeConfig { timeout_ms: 5_000, under_way_max: 8, per_second_max: 1_000 };

#[tokio::test]
async fn two_of_ours_know_each_other_s_name_and_what_one_says_the_other_reads() {
    let pki = Pki::new();
    let (till, key) = pki.chain(|it| it.subject_alt_names = vec![uri(&id("till"))]);
    let server = Side::new(&pki, &BOUNDS);
    let caller = Side::with(&pki, &BOUNDS, till, key);
    let called = cart();
    let (opened, accepted, from) = connection().await;
    let (server, caller) = tokio::join!(
        server.handshakes.accept(accepted, from, Entrance::Service),
        caller.handshakes.connect(opened, &called, Protocol::Http2),
    );
    let (server, caller) = (server.unwrap(), caller.unwrap());
    assert_eq!((server.peer.id.service(), caller.peer.id.service()), ("till", "cart"));
    // What is left of the hour of both.
    assert_eq!(server.valid_for, Duration::from_secs(3_600));
    let (Known { stream: mut server, .. }, Known { stream: mut caller, .. }) = (server, caller);
    caller.write_all(b"hello").await.unwrap();
    caller.shutdown().await.unwrap();
    let mut said = Vec::new();
    server.read_to_end(&mut said).await.unwrap();
    assert_eq!(said, b"hello");
}

/// mesh 12b: 44, 45, 46.
#[tokio::test]
async fn a_caller_with_something_wrong_is_refused_and_counted_under_its_reason() {
    let pki = Pki::new();
    let side = Side::new(&pki, &BOUNDS);
    let h2: &[&[u8]] = &[b"h2"];
    let stranger = Pki::new();
    let thief = (pki.chain(|_| {}).0, pki.chain(|_| {}).1);
    #[rustfmt::skip]
    let cases = [
        (Refusal::NoCertificate, client(None, h2)),
        (Refusal::BadSignature, client(Some(stranger.chain(|_| {})), h2)),
        (Refusal::BadSignature, client(Some(thief), h2)),
        (Refusal::Expired, client(Some(pki.chain(|it| valid(it, -3_600, -61))), h2)),
        (Refusal::NotYetValid, client(Some(pki.chain(|it| valid(it, 61, 3_600))), h2)),
        (Refusal::WrongDomain, client(Some(pki.chain(|it| it.subject_alt_names = vec![uri("spiffe://other/ns/a/svc/b")])), h2)),
        (Refusal::NotOneName, client(Some(pki.chain(|it| it.subject_alt_names.push(uri(&id("till"))))), h2)),
        (Refusal::WrongUsage, client(Some(pki.chain(|it| it.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth])), h2)),
        (Refusal::WrongProtocol, client(Some(pki.chain(|_| {})), &[b"http/1.0", b"skein-log/1"])),
        (Refusal::WrongProtocol, client(Some(pki.chain(|_| {})), &[])),
    ];
    let mut seen = std::collections::BTreeMap::new();
    for (expected, connector) in cases {
        let refused = accept_from(&side, |it| async move {
            let Ok(mut stream) = connector.connect(server_name(), it).await else { return };
            // The server judges last: the word comes with the first read.
            let _alert = stream.read(&mut [0]).await;
        })
        .await;
        assert_eq!(refused.err(), Some(expected));
        let count = seen.entry(expected).or_insert(0);
        *count += 1;
        assert_eq!(side.refused("accept", expected), *count, "{expected}");
    }
    let good = client(Some(pki.chain(|_| {})), h2);
    let accepted = accept_from(&side, |it| good.connect(server_name(), it)).await;
    assert_eq!(accepted.unwrap().id, cart(), "others are let in as before");
}

/// What a client of TLS 1.2 begins with: no extension says that it could do better (RFC 5246 7.4.1.2).
fn hello_of_tls_1_2() -> Vec<u8> {
    let random = [7; 32];
    // ECDHE-ECDSA with AES-128-GCM; no compression; curve P-256; ECDSA with SHA-256.
    let (suites, compressions) = ([0, 2, 0xc0, 0x2b], [1, 0]);
    let curves = [0, 10, 0, 4, 0, 2, 0, 23];
    let signatures = [0, 13, 0, 4, 0, 2, 4, 3];
    let extensions = [&[0, 16][..], &curves, &signatures].concat();
    let body = [&[3, 3][..], &random, &[0], &suites, &compressions, &extensions].concat();
    let length = u8::try_from(body.len()).unwrap();
    [&[0x16, 3, 1, 0, length + 4, 1, 0, 0, length][..], &body].concat()
}

/// mesh 12b: 50.
#[tokio::test]
async fn who_speaks_another_tls_or_none_is_refused() {
    let pki = Pki::new();
    let side = Side::new(&pki, &BOUNDS);
    let cases = [
        (hello_of_tls_1_2(), Refusal::WrongVersion),
        (b"GET / HTTP/1.1\r\nhost: cart\r\n\r\n".to_vec(), Refusal::NotTls),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), Refusal::NotTls),
        (vec![0x16, 3, 1, 0xff, 0xff], Refusal::NotTls),
        (vec![], Refusal::PeerRefused),
    ];
    for (said, expected) in cases {
        let refused = accept_from(&side, |mut it| async move {
            it.write_all(&said).await.unwrap();
            it.shutdown().await.unwrap();
            let _answer = it.read_to_end(&mut Vec::new()).await;
        })
        .await;
        assert_eq!(refused.err(), Some(expected));
    }
    assert_eq!(side.refused("accept", Refusal::WrongVersion), 1);
}

/// A service of ours refuses to talk to what is not the one that it called.
#[tokio::test]
async fn a_service_under_another_name_than_the_called_one_is_refused() {
    let pki = Pki::new();
    let call = async |server: Side, caller: &Side| {
        let called = cart();
        let (opened, accepted, from) = connection().await;
        let (_, connected) = tokio::join!(
            server.handshakes.accept(accepted, from, Entrance::Service),
            caller.handshakes.connect(opened, &called, Protocol::Http2),
        );
        connected.err()
    };
    let caller = Side::new(&pki, &BOUNDS);
    let (till, key) = pki.chain(|it| it.subject_alt_names = vec![uri(&id("till"))]);
    let refused = call(Side::with(&pki, &BOUNDS, till, key), &caller).await;
    assert_eq!(refused, Some(Refusal::WrongService));
    let (old, key) = pki.chain(|it| valid(it, -7_200, -3_600));
    let old = Side::with(&pki, &BOUNDS, old, key);
    // Its own clock stands still, so it does not know that it is over.
    old.clock.jump_wall(-5_400_000);
    assert_eq!(call(old, &caller).await, Some(Refusal::Expired));
    assert_eq!(caller.refused("connect", Refusal::WrongService), 1);
    assert_eq!(call(Side::new(&pki, &BOUNDS), &caller).await, None);
}

#[tokio::test]
async fn a_session_is_never_resumed_so_none_outlives_an_identity() {
    let pki = Pki::new();
    let (server, caller) = (Side::new(&pki, &BOUNDS), Side::new(&pki, &BOUNDS));
    for _ in 0..3 {
        let called = cart();
        let (opened, accepted, from) = connection().await;
        let (accepted, connected) = tokio::join!(
            server.handshakes.accept(accepted, from, Entrance::Service),
            caller.handshakes.connect(opened, &called, Protocol::Http2),
        );
        let (mut accepted, mut connected) = (accepted.unwrap().stream, connected.unwrap().stream);
        // A ticket would come before the first byte.
        accepted.write_all(b"x").await.unwrap();
        connected.read_exact(&mut [0]).await.unwrap();
        assert_eq!(connected.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
        let TlsStream::Client(connected) = &connected else { panic!("it called") };
        assert_eq!(connected.get_ref().1.tls13_tickets_received(), 0);
    }
}

#[tokio::test]
async fn without_an_identity_or_past_its_end_nobody_is_let_in_and_nobody_called() {
    let pki = Pki::new();
    let side = Side::new(&pki, &BOUNDS);
    let try_both = async |side: &Side| {
        let (opened, accepted, from) = connection().await;
        let accepted = side.handshakes.accept(accepted, from, Entrance::Service).await.err();
        let connected = side.handshakes.connect(opened, &cart(), Protocol::Http2).await.err();
        [accepted, connected]
    };
    side.clock.advance(Duration::from_secs(3_600));
    assert_eq!(try_both(&side).await, [Some(Refusal::NoIdentity); 2]);
    let side = Side::new(&pki, &BOUNDS);
    side.current.send_replace(None);
    assert_eq!(try_both(&side).await, [Some(Refusal::NoIdentity); 2]);
}

#[tokio::test]
async fn a_silent_peer_is_given_up_in_time() {
    let side = Side::new(&Pki::new(), &HandshakeConfig { timeout_ms: 50, ..BOUNDS });
    let (_opened, accepted, from) = connection().await;
    let refused = side.handshakes.accept(accepted, from, Entrance::Service).await;
    assert_eq!(refused.err(), Some(Refusal::TimedOut));
}

#[tokio::test]
async fn one_address_gets_so_many_handshakes_a_second_and_others_are_not_affected() {
    let pki = Pki::new();
    let side = Side::new(&pki, &HandshakeConfig { per_second_max: 3, ..BOUNDS });
    let from_address = async |address: [u8; 4]| {
        let (opened, accepted, _) = connection().await;
        drop(opened);
        side.handshakes.accept(accepted, address.into(), Entrance::Service).await.err().unwrap()
    };
    for _ in 0..3 {
        assert_eq!(from_address([10, 0, 0, 1]).await, Refusal::PeerRefused);
    }
    for _ in 0..1_000 {
        assert_eq!(from_address([10, 0, 0, 1]).await, Refusal::TooMany);
    }
    assert_eq!(from_address([10, 0, 0, 2]).await, Refusal::PeerRefused);
    assert_eq!(side.refused("accept", Refusal::TooMany), 1_000);
    side.clock.advance(Duration::from_millis(400));
    assert_eq!(from_address([10, 0, 0, 1]).await, Refusal::PeerRefused);
}

/// Somebody opens more connections than there is room for, and says nothing on any of them.
#[tokio::test]
async fn silent_handshakes_of_one_address_push_each_other_out_and_nobody_else() {
    let side = Side::new(&Pki::new(), &HandshakeConfig { under_way_max: 8, ..BOUNDS });
    let (silent, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
    let mut under_way = Vec::new();
    // One of somebody else, who takes his time.
    let (_slow, accepted, _) = connection().await;
    let mut slow = Box::pin(side.handshakes.accept(accepted, other, Entrance::Service));
    assert!(futures_util::poll!(slow.as_mut()).is_pending());
    for _ in 0..50 {
        let (kept, accepted, _) = connection().await;
        let mut one = Box::pin(side.handshakes.accept(accepted, silent, Entrance::Service));
        assert!(futures_util::poll!(one.as_mut()).is_pending());
        under_way.push((kept, one));
    }
    let mut gave_way = 0;
    for (_, one) in &mut under_way {
        if let Poll::Ready(ended) = futures_util::poll!(one.as_mut()) {
            assert_eq!(ended.err(), Some(Refusal::GaveWay));
            gave_way += 1;
        }
    }
    assert_eq!(gave_way, 50 - 7, "all that there is no room for, beside the one of somebody else");
    assert!(futures_util::poll!(slow.as_mut()).is_pending());
    assert_eq!(side.refused("accept", Refusal::GaveWay), gave_way);
}
