//! Processes of two machines, and whom to trust as it is carried from one to the other.

use std::time::Duration;

use identity::{BRANCH_LIFE, Claims, Current, Serial, SignedBundle};

use crate::{
    pki::id,
    world::{World, is_settled, joined, talk, until},
};

/// What a process of a machine gives to whoever carries.
async fn carried(world: &World, current: &mut Current) -> SignedBundle {
    let version = world.office.standing().bundle.version;
    let is_known = |it: &identity::Trust| it.bundle().version == version && it.signed().is_some();
    until(current, |it| it.is_some_and(|it| is_known(it.trust()))).await;
    let credentials = current.borrow().clone().unwrap();
    SignedBundle::clone(credentials.trust().signed().unwrap())
}

fn offer(current: &Current, signed: SignedBundle) {
    current.borrow().as_ref().unwrap().offer(signed);
}

fn refused(world: &World, reason: &str) -> f64 {
    world.metric(&format!("identity_bundles_refused_total{{reason=\"{reason}\"}}"))
}

#[tokio::test]
async fn what_one_process_was_carried_its_whole_machine_learns_and_keeps() {
    let here = World::new();
    let mut there = here.branch();
    let (mut cart, mut till) = (here.process("cart"), there.process("till"));
    let mut other = there.process("shop");
    joined(&mut cart).await;
    joined(&mut till).await;
    let denied = joined(&mut other).await;
    talk(&here, &cart, &till, "till").await;
    talk(&here, &till, &cart, "cart").await;

    here.office.rotate_anchor().unwrap();
    here.office.revoke(denied.clone()).unwrap();
    offer(&till, carried(&here, &mut cart).await);
    let bundle = here.office.standing().bundle;
    // The authority there hears it of the process, and the other process of the authority.
    for current in [&mut till, &mut other] {
        until(current, |it| it.is_some_and(|it| *it.trust().bundle() == bundle)).await;
    }
    assert_eq!(there.office.standing().bundle, bundle);
    assert!(till.borrow().as_ref().unwrap().trust().denies(&denied));
    talk(&here, &cart, &till, "till").await;
    there.stop().await;
    there.start_again();
    assert_eq!(there.office.standing().bundle, bundle, "it was kept");
    assert!(there.office.standing().branch.is_some());
    // What a branch heard it carries on.
    assert_eq!(carried(&there, &mut till).await, carried(&here, &mut cart).await);
}

#[tokio::test]
async fn what_is_not_believed_is_counted_and_the_last_good_one_stays() {
    let (here, elsewhere) = (World::new(), World::new());
    let there = here.branch();
    let (mut cart, mut till) = (here.process("cart"), there.process("till"));
    let mut stranger = elsewhere.process("cart");
    for current in [&mut cart, &mut till, &mut stranger] {
        joined(current).await;
    }
    let early = carried(&here, &mut cart).await;
    here.office.revoke(Serial::parse("0abc").unwrap()).unwrap();
    let good = carried(&here, &mut cart).await;
    let forged = serde_json::to_string(&good).unwrap().replacen("0abc", "0abd", 1);
    elsewhere.office.revoke(Serial::parse("0def").unwrap()).unwrap();
    elsewhere.office.revoke(Serial::parse("0fed").unwrap()).unwrap();
    let foreign = carried(&elsewhere, &mut stranger).await;

    let bundle = here.office.standing().bundle;
    offer(&till, good);
    until(&mut till, |it| it.is_some_and(|it| *it.trust().bundle() == bundle)).await;
    let cases = [
        ("older", early),
        ("forged", serde_json::from_str(&forged).unwrap()),
        ("stranger", foreign),
    ];
    for (reason, offered) in cases {
        offer(&till, offered);
        let name = format!("identity_bundles_refused_total{{reason=\"{reason}\"}}");
        there.until_counted(&name, 1.0).await;
        assert_eq!(refused(&there, reason), 1.0);
        assert_eq!(*till.borrow().as_ref().unwrap().trust().bundle(), bundle, "{reason}");
    }
    talk(&here, &cart, &till, "till").await;
    assert_eq!(there.office.standing().bundle, bundle);
}

#[tokio::test]
async fn a_process_that_knows_more_than_its_authority_does_not_unlearn_it_when_it_renews() {
    let here = World::new();
    let mut there = here.branch();
    let (mut cart, mut till) = (here.process("cart"), there.blind_process("till"));
    joined(&mut cart).await;
    let first = joined(&mut till).await;
    there.stop().await;
    here.office.revoke(Serial::parse("0abc").unwrap()).unwrap();
    let bundle = here.office.standing().bundle;
    let known = carried(&here, &mut cart).await;
    offer(&till, known.clone());
    until(&mut till, |it| it.is_some_and(|it| *it.trust().bundle() == bundle)).await;
    // Its authority was away, and is back with what it knew.
    there.start_again();
    here.clock.advance(Duration::from_secs(2_000));
    // What wakes it up is nothing new.
    offer(&till, known);
    until(&mut till, |it| it.is_some_and(|it| *it.identity().serial() != first)).await;
    assert_eq!(*till.borrow().as_ref().unwrap().trust().bundle(), bundle);
    assert_eq!(there.office.standing().bundle.version, 1, "it was not told meanwhile");
}

#[tokio::test]
async fn an_authority_that_was_away_is_told_once_it_is_back() {
    let here = World::new();
    let mut there = here.branch();
    let (mut cart, mut till) = (here.process("cart"), there.process("till"));
    joined(&mut cart).await;
    joined(&mut till).await;
    there.stop().await;
    here.office.revoke(Serial::parse("0abc").unwrap()).unwrap();
    let bundle = here.office.standing().bundle;
    offer(&till, carried(&here, &mut cart).await);
    until(&mut till, |it| it.is_some_and(|it| *it.trust().bundle() == bundle)).await;
    there.start_again();
    let told = async {
        while there.office.standing().bundle != bundle {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), told).await.expect("it is told");
}

#[tokio::test]
async fn a_machine_that_was_away_longer_than_a_replacement_comes_back_by_a_newer_file() {
    let here = World::new();
    let mut there = here.branch();
    let uid = rustix::process::getuid().as_raw();
    let claims = || Claims::default().with(uid, id("till").parse().unwrap());
    there.office.admit(claims());
    let mut till = there.claims("till");
    joined(&mut till).await;
    there.stop().await;
    here.office.rotate_anchor().unwrap();
    while here.office.standing().bundle.version < 3 {
        // The new one signs when the branch is over, and the old one goes: nobody there hears of it.
        here.clock.advance(BRANCH_LIFE);
        let settled = async {
            while !is_settled(&here) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), settled).await.expect("in time");
    }
    until(&mut till, |it| it.is_none()).await;
    there.start_again_by(&here);
    there.office.admit(claims());
    there.until_held(&till).await;
    let mut cart = here.process("cart");
    joined(&mut cart).await;
    assert_eq!(there.office.standing().bundle, here.office.standing().bundle);
    talk(&here, &cart, &till, "till").await;
    talk(&here, &till, &cart, "cart").await;
}
