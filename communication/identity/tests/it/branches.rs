//! Authorities of several machines under the same anchors.

use std::time::Duration;

use base::Timestamp;
use identity::{
    Authority, AuthorityConfig, BRANCH_LIFE, BRANCHES_MAX, BranchError, BranchFileError, Caller,
    CarriedError, Change, Issued, KeepAnchor, Leaf, Purpose, Refusal, RotateError, RotationStep,
    SignedBundle, Trust, verify,
};
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

use crate::pki::{DOMAIN, at, id, now, uri};

const ME: Caller = Caller { uid: 1_000, pid: 7 };
const HOUR: Duration = Duration::from_secs(3_600);

fn first() -> Authority {
    Authority::found(AuthorityConfig::default(), DOMAIN, now()).unwrap()
}

fn branch_of(first: &mut Authority, life: Duration, now: Timestamp) -> Authority {
    let file = first.branch(life, now).unwrap().state;
    Authority::found_branch(AuthorityConfig::default(), DOMAIN, &file, now).unwrap()
}

fn joined(authority: &mut Authority, now: Timestamp) -> Issued {
    let cart: identity::SpiffeId = id("cart").parse().unwrap();
    let token = authority.draw_token(cart, ME.uid, &[1; 32], now).unwrap();
    authority.bind_token(&token, ME.pid).unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![uri(&id("cart"))];
    let request = params.serialize_request(&KeyPair::generate().unwrap()).unwrap();
    authority.join(ME, &token, request.der(), now).unwrap()
}

fn heard(branch: &mut Authority, first: &mut Authority) -> Result<bool, CarriedError> {
    branch.hear(SignedBundle::clone(&first.signed().unwrap()))
}

fn judged(issued: &Issued, by: &identity::Bundle, now: Timestamp) -> Result<(), Refusal> {
    let trust = Trust::read(by.clone()).unwrap();
    verify(&issued.chain, &trust, Purpose::Serve, now).map(drop)
}

#[test]
fn processes_of_two_machines_accept_each_other() {
    let mut here = first();
    let mut there = branch_of(&mut here, BRANCH_LIFE, now());
    let (one, other) = (joined(&mut here, now()), joined(&mut there, now()));
    assert_eq!(judged(&one, &other.bundle, now()), Ok(()));
    assert_eq!(judged(&other, &one.bundle, now()), Ok(()));
    assert_eq!(there.issuer_validity().1, now() + BRANCH_LIFE);
    let keys = |it: &Authority| it.state().matches("PRIVATE KEY").count() / 2;
    assert_eq!((keys(&here), keys(&there)), (2, 1), "no key of an anchor leaves its machine");
}

#[test]
fn a_branch_replaces_and_denies_nothing_and_says_why() {
    let mut there = branch_of(&mut first(), BRANCH_LIFE, now());
    let anchor = there.anchors().1.clone();
    let serial = identity::Serial::parse("0abc").unwrap();
    let before = there.state();
    let refused = [
        there.rotate_anchor(now()).map(drop),
        there.rotate_issuer(now()),
        there.drop_anchor(&anchor, at(99_999_999)),
        there.revoke(serial, now()),
    ];
    for refused in refused {
        let refused = refused.unwrap_err();
        assert!(matches!(refused, RotateError::Branch(_)), "{refused}");
        assert!(refused.to_string().starts_with("this authority is a branch"), "{refused}");
    }
    let refused = there.branch(BRANCH_LIFE, now()).unwrap_err();
    assert!(matches!(refused, BranchError::Branch(_)), "{refused}");
    // Neither does it by itself, at half the life of its issuer or later.
    for second in [7 * 43_200, 7 * 86_400, 99_999_999] {
        assert_eq!(there.advance(at(second)).unwrap(), None);
        assert_eq!(there.next_step(at(second)), RotationStep::Nothing);
    }
    assert_eq!(there.state(), before);
}

#[test]
fn how_long_a_branch_issues_and_how_many_stand_is_bounded() {
    let mut here = first();
    for life in [Duration::ZERO, Duration::from_secs(59), Duration::from_secs(367 * 86_400)] {
        assert!(matches!(here.branch(life, now()), Err(BranchError::Life)), "{life:?}");
    }
    for _ in 0..BRANCHES_MAX {
        here.branch(Duration::from_secs(60), now()).unwrap();
    }
    assert!(matches!(here.branch(HOUR, now()), Err(BranchError::TooMany)));
    // Over are those of a minute an hour, the life of an identity, and what clocks may differ later.
    assert!(matches!(here.branch(HOUR, at(60 + 3_600 + 59)), Err(BranchError::TooMany)));
    here.branch(HOUR, at(60 + 3_600 + 60)).unwrap();
    assert_eq!(here.branches().len(), 1);
}

#[test]
fn an_anchor_stays_until_the_last_branch_below_it_is_over_also_after_a_restart() {
    let mut here = first();
    let old = here.anchors().1.clone();
    // Made after the new anchor was published, so that it need not be waited for before the switch.
    here.rotate_anchor(now()).unwrap();
    let made = here.branch(10 * HOUR, at(1)).unwrap();
    let switched = here.advance(at(3_660)).unwrap();
    assert!(matches!(switched, Some(Change::Switched(_))), "{switched:?}");
    let config = AuthorityConfig::default();
    let mut resumed = Authority::resume(config, DOMAIN, &here.state(), at(3_660)).unwrap();
    let end = made.given.until + HOUR + identity::SKEW;
    for authority in [&mut here, &mut resumed] {
        let early = Timestamp::from_millis(end.as_millis() - 1);
        let kept = authority.drop_anchor(&old, early).unwrap_err();
        let in_use = |it: &RotateError| matches!(it, RotateError::Kept(KeepAnchor::InUse { .. }));
        assert!(in_use(&kept), "{kept}");
        assert_eq!(authority.next_step(early), RotationStep::Wait { until: end });
        authority.drop_anchor(&old, end).unwrap();
    }
}

/// A branch that hears of nothing is away in the worst way; its processes and those of the first accept each
/// other all the same, at every moment, to its end.
#[test]
fn an_anchor_is_replaced_without_a_moment_at_which_two_machines_refuse_each_other() {
    for (hears, life) in [(false, 5), (true, 5), (false, 2)] {
        let mut here = first();
        let mut there = branch_of(&mut here, life * HOUR, now());
        let old = here.anchors().1.clone();
        let mut held: Vec<(Issued, Timestamp)> = Vec::new();
        let mut changes = Vec::new();
        let mut second: i64 = 0;
        while second < 16 * 3_600 {
            let now = at(second);
            if second == 1_800 {
                here.rotate_anchor(now).unwrap();
            }
            if hears {
                heard(&mut there, &mut here).unwrap();
            }
            changes.extend(here.advance(now).unwrap().map(|it| (second, it)));
            held.push((joined(&mut here, now), now));
            if now < there.issuer_validity().1 {
                held.push((joined(&mut there, now), now));
            }
            held.retain(|(it, _)| now < Leaf::read(&it.chain[0]).unwrap().not_after);
            for (one, _) in &held {
                for (other, _) in &held {
                    assert_eq!(judged(one, &other.bundle, now), Ok(()), "at {second}");
                }
            }
            second += 900;
        }
        let new = here.anchors().1.clone();
        // Signs an hour and a minute after the branch is over that may not know of it; the old one goes as
        // long after the last identity below it.
        let switch = i64::from(life) * 3_600 + 4_500;
        let expected = [(switch, Change::Switched(new)), (switch + 3_600, Change::Dropped(old))];
        assert_eq!(changes, expected);
    }
}

#[test]
fn a_branch_that_is_denied_issues_for_nobody_and_is_waited_for_no_longer() {
    let mut here = first();
    let made = here.branch(Duration::from_secs(30 * 86_400), now()).unwrap();
    let config = AuthorityConfig::default();
    let mut there = Authority::found_branch(config, DOMAIN, &made.state, now()).unwrap();
    let stolen = joined(&mut there, now());
    assert_eq!(judged(&stolen, &here.bundle(), now()), Ok(()));
    here.revoke(made.given.serial, now()).unwrap();
    assert_eq!(judged(&stolen, &here.bundle(), now()), Err(Refusal::Revoked));
    here.rotate_anchor(now()).unwrap();
    let switched = here.advance(at(3_660)).unwrap();
    assert!(matches!(switched, Some(Change::Switched(_))), "{switched:?}");
    // What it signs at its end is refused too, long after an issuer of ours would be over.
    let late = at(30 * 86_400 - 10);
    here.revoke(identity::Serial::parse("0abc").unwrap(), late).unwrap();
    let stolen = joined(&mut there, late);
    assert_eq!(judged(&stolen, &here.bundle(), late), Err(Refusal::Revoked));
}

#[test]
fn a_branch_learns_what_the_first_one_signed_and_keeps_it_over_a_restart() {
    let mut here = first();
    let mut there = branch_of(&mut here, BRANCH_LIFE, now());
    let early = here.signed().unwrap();
    assert_eq!(heard(&mut there, &mut here), Ok(false));
    here.rotate_anchor(now()).unwrap();
    here.revoke(identity::Serial::parse("0abc").unwrap(), now()).unwrap();
    assert_eq!(heard(&mut there, &mut here), Ok(true));
    let config = AuthorityConfig::default();
    let mut resumed = Authority::resume(config, DOMAIN, &there.state(), at(10)).unwrap();
    assert_eq!(resumed.bundle(), here.bundle());
    assert_eq!(resumed.signed().unwrap(), here.signed().unwrap(), "it can be carried on");
    assert_eq!(resumed.hear(SignedBundle::clone(&early)), Err(CarriedError::Older));
    assert_eq!(heard(&mut resumed, &mut first()), Err(CarriedError::Stranger));
    assert_eq!(resumed.bundle(), here.bundle(), "what was good stays");
    // Who has the keys learns nothing from others.
    assert_eq!(heard(&mut here, &mut first()), Ok(false));
    assert_eq!(resumed.bundle(), here.bundle());
}

#[test]
fn a_newer_file_of_a_branch_takes_the_place_of_an_older_one_and_never_the_other_way() {
    let mut here = first();
    let old = here.branch(HOUR, now()).unwrap();
    let config = AuthorityConfig::default();
    let mut there = Authority::found_branch(config, DOMAIN, &old.state, now()).unwrap();
    let new = here.branch(BRANCH_LIFE, at(1_800)).unwrap();
    here.rotate_anchor(at(1_800)).unwrap();
    heard(&mut there, &mut here).unwrap();
    assert!(there.take_branch(&new.state).unwrap());
    assert_eq!(there.issuer_validity().1, at(1_800) + BRANCH_LIFE);
    assert_eq!(there.bundle(), here.bundle(), "what was heard meanwhile is not forgotten");
    for same_or_older in [&new.state, &old.state] {
        assert!(!there.take_branch(same_or_older).unwrap());
        assert_eq!(there.issuer_validity().1, at(1_800) + BRANCH_LIFE);
    }
    let issued = joined(&mut there, at(1_800));
    assert_eq!(judged(&issued, &here.bundle(), at(1_800)), Ok(()));
}

#[test]
fn what_is_no_file_of_a_branch_founds_none() {
    let mut here = first();
    let good = here.branch(HOUR, now()).unwrap().state;
    let config = AuthorityConfig::default();
    let found = |text: &str| Authority::found_branch(config, DOMAIN, text, now()).unwrap_err();
    let refused = found(&here.state());
    assert!(matches!(refused, BranchFileError::NoBranch), "{refused}");
    let refused = here.take_branch(&good).unwrap_err();
    assert!(matches!(refused, BranchFileError::First), "{refused}");
    let elsewhere = Authority::found(config, "other.test", now()).unwrap().branch(HOUR, now());
    let refused = found(&elsewhere.unwrap().state);
    assert!(matches!(refused, BranchFileError::State(_)), "{refused}");
    let parsed: Value = serde_json::from_str(&good).unwrap();
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut value = parsed.clone();
        change(&mut value);
        found(&value.to_string())
    };
    let text = parsed["stands"]["branch"]["signed"]["bundle"].as_str().unwrap();
    let newer = text.replacen("\"version\":1", "\"version\":7", 1);
    for refused in [
        changed(&|it| it["stands"]["branch"]["signed"]["bundle"] = json!(newer)),
        changed(&|it| it["stands"]["branch"]["signed"]["signatures"] = json!({})),
        changed(&|it| it["stands"]["branch"]["more"] = json!(1)),
        changed(&|it| it["version"] = json!(1)),
        changed(&|it| it["trust_domain"] = json!("other.test")),
    ] {
        assert!(matches!(refused, BranchFileError::State(_)), "{refused}");
        assert!(!refused.to_string().contains("PRIVATE"));
    }
    assert!(!format!("{:?}", here.branch(HOUR, now()).unwrap()).contains("PRIVATE"));
}

#[test]
fn a_state_of_the_program_before_is_read() {
    let mut here = first();
    here.revoke(identity::Serial::parse("0abc").unwrap(), now()).unwrap();
    here.rotate_anchor(now()).unwrap();
    let present: Value = serde_json::from_str(&here.state()).unwrap();
    let mut before = present["stands"]["first"].clone();
    before.as_object_mut().unwrap().remove("branches");
    before["version"] = json!(1);
    for member in ["trust_domain", "signs", "issuer"] {
        before[member] = present[member].clone();
    }
    let config = AuthorityConfig::default();
    let mut resumed = Authority::resume(config, DOMAIN, &before.to_string(), now()).unwrap();
    assert_eq!(resumed.bundle(), here.bundle());
    assert_eq!(resumed.state(), here.state(), "and written in the present form");
    assert_eq!(judged(&joined(&mut resumed, now()), &here.bundle(), now()), Ok(()));
    before["more"] = json!(1);
    assert!(Authority::resume(config, DOMAIN, &before.to_string(), now()).is_err());
}
