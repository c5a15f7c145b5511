//! Processes that keep their identities, against an authority behind a socket.

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use identity::{Claims, Entrance, Protocol, SpiffeId};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    time::timeout,
};

use crate::{
    peers::{connection, handshakes},
    pki::id,
    world::{FAILED, LONG, World, is_settled, joined, serial, talk, until},
};

#[tokio::test]
async fn a_process_joins_renews_at_half_its_life_and_two_talk_to_each_other() {
    let world = World::new();
    let (mut cart, mut till) = (world.process("cart"), world.process("till"));
    let first = joined(&mut cart).await;
    joined(&mut till).await;
    talk(&world, &cart, &till, "till").await;
    world.clock.advance(Duration::from_secs(1_600));
    talk(&world, &till, &cart, "cart").await;
    assert_eq!(serial(&cart), Some(first.clone()), "not before 45 % of it");
    world.clock.advance(Duration::from_secs(400));
    until(&mut cart, |it| it.is_some_and(|it| *it.identity().serial() != first)).await;
    talk(&world, &cart, &till, "till").await;
}

/// mesh 12b: 49, 69.
#[tokio::test]
async fn while_the_authority_is_away_an_identity_serves_to_its_end_and_is_closed_then() {
    let mut world = World::new();
    let mut cart = world.process("cart");
    let first = joined(&mut cart).await;
    world.stop().await;
    world.clock.advance(Duration::from_secs(3_590));
    world.until_counted(FAILED, 3.0).await;
    assert_eq!(serial(&cart), Some(first), "it serves what it has");
    world.clock.advance(Duration::from_secs(10));
    until(&mut cart, |it| it.is_none()).await;
    assert!(world.metric("identity_certificate_expiry_seconds") < 1.0);
    // An authority that has started anew does not know the process: past the minute by which clocks
    // may differ, over is over.
    world.clock.advance(identity::SKEW + Duration::from_secs(1));
    world.start_again();
    let refused = "identity_authority_requests_total{request=\"renew\",outcome=\"refused\"}";
    world.until_counted(refused, 1.0).await;
    assert_eq!(serial(&cart), None);
}

#[tokio::test]
async fn a_user_has_the_names_that_were_said_of_it_also_from_an_authority_that_started_anew() {
    let mut world = World::new();
    let uid = rustix::process::getuid().as_raw();
    let claims = || Claims::default().with(uid, id("cart").parse().unwrap());
    const REFUSED: &str =
        "identity_authority_requests_total{request=\"claim\",outcome=\"refused\"}";
    let mut cart = world.claims("cart");
    // Nobody may have any name before it was said.
    world.until_counted(REFUSED, 1.0).await;
    assert_eq!(serial(&cart), None);
    world.office.admit(claims());
    world.until_held(&cart).await;
    let first = serial(&cart).unwrap();
    let till = world.claims("till");
    world.until_counted(REFUSED, 3.0).await;
    assert_eq!(serial(&till), None, "another name than was said");
    world.stop().await;
    world.clock.advance(Duration::from_secs(3_600) + identity::SKEW + Duration::from_secs(1));
    until(&mut cart, |it| it.is_none()).await;
    world.start_again();
    world.office.admit(claims());
    world.until_held(&cart).await;
    assert_ne!(serial(&cart), Some(first));
}

#[tokio::test]
async fn a_machine_that_slept_past_the_end_of_all_identities_wakes_up_to_new_ones() {
    let world = World::new();
    let (mut cart, mut till) = (world.process("cart"), world.process("till"));
    let before = joined(&mut cart).await;
    joined(&mut till).await;
    // A night, in which nobody ran.
    world.clock.advance(Duration::from_secs(8 * 3_600));
    until(&mut cart, |it| it.is_some_and(|it| *it.identity().serial() != before)).await;
    let morning = world.clock().now();
    for current in [&mut cart, &mut till] {
        until(current, |it| it.is_some_and(|it| it.identity().validity().1 > morning)).await;
    }
    talk(&world, &cart, &till, "till").await;
}

/// mesh 12b: 47, 48. reliability: M12.
#[tokio::test]
async fn issuer_and_anchor_are_replaced_under_load_and_no_handshake_fails() {
    let world = World::new();
    let (mut cart, mut till) = (world.process("cart"), world.process("till"));
    joined(&mut cart).await;
    joined(&mut till).await;
    let old = world.office.standing();
    world.office.rotate_issuer().unwrap();
    let new = world.office.rotate_anchor().unwrap();
    let mut handshakes = 0;
    // Ten minutes at a step, for four hours; after each, all that is due is waited for.
    for _ in 0..24 {
        world.clock.advance(Duration::from_secs(600));
        let now = world.clock().now();
        timeout(LONG, async {
            while !is_settled(&world) {
                talk(&world, &cart, &till, "till").await;
                talk(&world, &till, &cart, "cart").await;
                handshakes += 2;
            }
        })
        .await
        .expect("the calendar is kept");
        for current in [&mut cart, &mut till] {
            // Past half of its life by ten minutes at the most.
            let least = now + Duration::from_secs(1_000);
            until(current, |it| it.is_some_and(|it| it.identity().validity().1 > least)).await;
        }
        talk(&world, &cart, &till, "till").await;
        handshakes += 1;
    }
    assert!(handshakes >= 24);
    let standing = world.office.standing();
    assert_eq!(standing.signs, new);
    assert_eq!(standing.anchors.len(), 1, "{standing:?}");
    assert_ne!(standing.issuer, old.issuer);
    let version = standing.bundle.version;
    until(&mut cart, |it| it.is_some_and(|it| it.trust().bundle().version == version)).await;
    let anchors = cart.borrow().as_ref().unwrap().trust().bundle().anchors.clone();
    assert_eq!(anchors, standing.bundle.anchors);
}

#[tokio::test]
async fn a_denied_identity_is_refused_once_the_others_have_looked() {
    let world = World::new();
    let (mut cart, mut till) = (world.process("cart"), world.process("till"));
    let denied = joined(&mut cart).await;
    joined(&mut till).await;
    let order = identity::Order::Deny { serial: denied.to_string() };
    let standing = world.office.carry_out(&order).unwrap();
    assert_eq!(order.denied(&standing), Some(id("cart").as_str()), "who it is stands in the log");
    until(&mut till, |it| it.is_some_and(|it| it.trust().bundle().version == 2)).await;
    let (opened, accepted, from) = connection().await;
    let (server, caller) =
        (handshakes(till.clone(), world.clock()), handshakes(cart.clone(), world.clock()));
    let till_id: SpiffeId = id("till").parse().unwrap();
    let (accepted, _) = tokio::join!(
        server.accept(accepted, from, Entrance::Service),
        caller.connect(opened, &till_id, Protocol::Http2),
    );
    assert_eq!(accepted.err(), Some(identity::Refusal::Revoked));
}

#[tokio::test]
async fn a_token_for_another_process_gives_nothing() {
    let world = World::new();
    let stranger = world.process_with("cart", std::process::id() + 1);
    let refused = "identity_authority_requests_total{request=\"join\",outcome=\"refused\"}";
    world.until_counted(refused, 2.0).await;
    assert_eq!(serial(&stranger), None);
}

#[tokio::test]
async fn callers_that_say_nonsense_or_nothing_do_not_hinder_others() {
    let world = World::new();
    let mut held = Vec::new();
    for said in [&b"\xff\xff\xff\xff"[..], b"\0\0\0\x02{}", b"GET / HTTP/1.1\r\n\r\n", b""] {
        let mut stream = UnixStream::connect(world.socket()).await.unwrap();
        stream.write_all(said).await.unwrap();
        held.push(stream);
    }
    let mut cart = world.process("cart");
    joined(&mut cart).await;
    for mut stream in held.drain(..3) {
        let mut answer = Vec::new();
        // Ended without a word, or with a reset where more was said than was read.
        let _end = timeout(LONG, stream.read_to_end(&mut answer)).await.expect("it is ended");
        assert!(answer.is_empty());
    }
}

#[tokio::test]
async fn the_state_is_its_owner_s_alone_and_no_key_of_a_service_is_written() {
    let world = World::new();
    let mut cart = world.process("cart");
    joined(&mut cart).await;
    world.office.rotate_issuer().unwrap();
    for entry in fs::read_dir(world.directory.path()).unwrap() {
        let path = entry.unwrap().path();
        if path == world.socket() {
            continue;
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{path:?}");
        let text = fs::read_to_string(&path).unwrap();
        // An anchor's and an issuer's.
        assert_eq!(text.matches("BEGIN PRIVATE KEY").count(), 2, "{path:?}");
        assert!(!text.contains("svc/cart"));
    }
}

#[tokio::test]
async fn an_authority_that_starts_anew_has_the_anchor_that_it_had() {
    let mut world = World::new();
    let before = world.office.standing();
    world.stop().await;
    world.start_again();
    let after = world.office.standing();
    assert_eq!((after.bundle, after.signs), (before.bundle, before.signs));
}
