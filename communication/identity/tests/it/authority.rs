//! What the authority signs, for whom, and what it stands on.

use std::time::Duration;

use base::Timestamp;
use identity::{
    Authority, AuthorityConfig, Caller, Change, IssueError, Issued, JoinToken, KeepAnchor, Leaf,
    Purpose, ReadStateError, Refusal, RequestError, RotateError, RotationStep, SpiffeId,
    TokenError, Trust, verify,
};
use rcgen::{CertificateParams, KeyPair, SigningKey as _};

use crate::pki::{DOMAIN, at, id, now, uri};

const ME: Caller = Caller { uid: 1_000, pid: 7 };

fn found() -> Authority {
    Authority::found(AuthorityConfig::default(), DOMAIN, now()).unwrap()
}

fn cart() -> SpiffeId {
    id("cart").parse().unwrap()
}

fn request(key: &KeyPair, names: &[&str]) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.subject_alt_names = names.iter().map(|it| uri(it)).collect();
    params.serialize_request(key).unwrap().der().to_vec()
}

fn drawn(authority: &mut Authority, secret: u8, now: Timestamp) -> JoinToken {
    let token = authority.draw_token(cart(), ME.uid, &[secret; 32], now).unwrap();
    authority.bind_token(&token, ME.pid).unwrap();
    token
}

fn joined(authority: &mut Authority, now: Timestamp) -> (Issued, KeyPair) {
    let token = drawn(authority, 1, now);
    let key = KeyPair::generate().unwrap();
    let issued = authority.join(ME, &token, &request(&key, &[&id("cart")]), now).unwrap();
    (issued, key)
}

fn proof(key: &KeyPair, request: &[u8]) -> Vec<u8> {
    key.sign(&[b"skein identity renewal 1\0", request].concat()).unwrap()
}

fn renewed(
    authority: &mut Authority,
    (held, key): (&Issued, &KeyPair),
    caller: Caller,
    now: Timestamp,
) -> Result<(Issued, KeyPair), IssueError> {
    let next = KeyPair::generate().unwrap();
    let request = request(&next, &[&id("cart")]);
    let issued = authority.renew(caller, &held.chain, &request, &proof(key, &request), now)?;
    Ok((issued, next))
}

#[track_caller]
fn accepted(issued: &Issued, trust: &identity::Bundle, now: Timestamp) {
    let trust = Trust::read(trust.clone()).unwrap();
    for purpose in [Purpose::Serve, Purpose::Call] {
        assert_eq!(verify(&issued.chain, &trust, purpose, now).unwrap().id, cart());
    }
}

#[test]
fn who_joins_gets_an_identity_of_an_hour_that_all_accept() {
    let mut authority = found();
    let (issued, key) = joined(&mut authority, now());
    accepted(&issued, &authority.bundle(), now());
    let leaf = Leaf::read(&issued.chain[0]).unwrap();
    // Dated back by what clocks may differ.
    assert_eq!((leaf.not_before, leaf.not_after), (at(-60), at(3_600)));
    let (_, parsed) = x509_parser::parse_x509_certificate(&issued.chain[0]).unwrap();
    assert_eq!(parsed.public_key().subject_public_key.data.as_ref(), key.public_key_raw());
}

#[test]
fn every_life_is_a_setting() {
    let config = AuthorityConfig { identity_life_s: 60, issuer_life_s: 600, anchor_life_s: 6_000 };
    let mut authority = Authority::found(config, DOMAIN, now()).unwrap();
    let (issued, _) = joined(&mut authority, now());
    assert_eq!(Leaf::read(&issued.chain[0]).unwrap().not_after, at(60));
    assert_eq!(authority.issuer_validity(), (at(-60), at(600)));
    // At nine tenths of the anchor's life an issuer gets what is left of it.
    let late = Timestamp::from_millis(at(5_900).as_millis());
    authority.rotate_issuer(late).unwrap();
    assert_eq!(authority.issuer_validity().1, at(6_000));
}

#[test]
fn nobody_joins_with_another_s_token_or_under_a_name_of_its_own_choice() {
    let mut authority = found();
    let token = drawn(&mut authority, 1, now());
    let key = KeyPair::generate().unwrap();
    let good = request(&key, &[&id("cart")]);
    let mut join = |caller, request: &[u8]| authority.join(caller, &token, request, now());
    let thief = Caller { pid: 8, ..ME };
    let refused = join(thief, &good).unwrap_err();
    assert!(matches!(refused, IssueError::Token(TokenError::WrongCaller)), "{refused}");
    assert!(join(ME, &good).is_ok());
    let refused = join(ME, &request(&KeyPair::generate().unwrap(), &[&id("cart")])).unwrap_err();
    assert!(matches!(refused, IssueError::Token(TokenError::Used)), "{refused}");
}

#[test]
fn a_request_that_is_not_quite_one_is_refused() {
    let key = KeyPair::generate().unwrap();
    let cart = id("cart");
    let mut turned = request(&key, &[&cart]);
    *turned.last_mut().unwrap() ^= 1;
    let strong = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let cases = [
        (request(&key, &[&id("till")]), RequestError::WrongName),
        (request(&key, &[]), RequestError::WrongName),
        (request(&key, &[&cart, &id("till")]), RequestError::WrongName),
        (request(&strong, &[&cart]), RequestError::WeakKey),
        (turned, RequestError::Malformed),
        (vec![], RequestError::Malformed),
        (vec![0x30; 3_000], RequestError::Malformed),
    ];
    for (request, expected) in cases {
        let mut authority = found();
        let token = drawn(&mut authority, 1, now());
        let refused = authority.join(ME, &token, &request, now()).unwrap_err();
        assert!(matches!(&refused, IssueError::Request(it) if *it == expected), "{refused}");
    }
}

#[test]
fn who_has_an_identity_gets_the_next_one_by_its_key_alone() {
    let mut authority = found();
    let (held, key) = joined(&mut authority, now());
    let (next, _) = renewed(&mut authority, (&held, &key), ME, at(1_800)).unwrap();
    accepted(&next, &authority.bundle(), at(1_800));
    assert_eq!(Leaf::read(&next.chain[0]).unwrap().not_after, at(5_400));
    // Also from an authority that has started anew: the identity itself is what it believes.
    let state = authority.state();
    let config = AuthorityConfig::default();
    let mut resumed = Authority::resume(config, DOMAIN, &state, at(1_800)).unwrap();
    assert!(renewed(&mut resumed, (&held, &key), ME, at(1_800)).is_ok());

    let other = KeyPair::generate().unwrap();
    let refused = renewed(&mut authority, (&held, &other), ME, at(1_800)).unwrap_err();
    assert!(matches!(refused, IssueError::WrongProof), "{refused}");
    let asked = request(&other, &[&id("cart")]);
    let plain = key.sign(&asked).unwrap();
    let refused = authority.renew(ME, &held.chain, &asked, &plain, at(1_800)).unwrap_err();
    assert!(
        matches!(refused, IssueError::WrongProof),
        "another signature passes for one: {refused}"
    );
    let asked = request(&other, &[&id("till")]);
    let refused = authority.renew(ME, &held.chain, &asked, &proof(&key, &asked), at(1_800));
    assert!(matches!(refused, Err(IssueError::Request(RequestError::WrongName))));
    authority.revoke(Leaf::read(&held.chain[0]).unwrap().serial, at(1_800)).unwrap();
    let refused = renewed(&mut authority, (&held, &key), ME, at(1_800)).unwrap_err();
    assert!(matches!(refused, IssueError::Refused(Refusal::Revoked)), "{refused}");
}

#[test]
fn an_identity_that_is_over_is_renewed_for_the_very_process_that_slept_and_for_no_other() {
    let mut authority = found();
    let (held, key) = joined(&mut authority, now());
    let late = at(30_000);
    let expired = |it: &IssueError| matches!(it, IssueError::Refused(Refusal::Expired));
    for other in [Caller { pid: 8, ..ME }, Caller { uid: 0, ..ME }] {
        let refused = renewed(&mut authority, (&held, &key), other, late).unwrap_err();
        assert!(expired(&refused), "{other:?}: {refused}");
    }
    let (next, _) = renewed(&mut authority, (&held, &key), ME, late).unwrap();
    accepted(&next, &authority.bundle(), late);
    // It has another one now: the old one is good for nothing.
    let refused = renewed(&mut authority, (&held, &key), ME, late).unwrap_err();
    assert!(expired(&refused), "{refused}");
}

/// reliability: M14.
#[test]
fn an_issuer_that_is_over_refuses_to_sign_and_names_both_times() {
    let mut authority = found();
    let late = at(7 * 86_400);
    let token = drawn(&mut authority, 1, late);
    let key = KeyPair::generate().unwrap();
    let asked = request(&key, &[&id("cart")]);
    let refused = authority.join(ME, &token, &asked, late).unwrap_err();
    assert!(matches!(refused, IssueError::IssuerNotValid { .. }));
    let text = refused.to_string();
    assert!(text.contains(&late.to_rfc3339()), "{text}");
    assert!(text.contains(&authority.issuer_validity().1.to_rfc3339()), "{text}");
    // A clock that stands before the issuer's beginning, likewise.
    let early = authority.join(ME, &token, &asked, at(-61)).unwrap_err();
    assert!(matches!(early, IssueError::IssuerNotValid { .. }), "{early}");
    // The refusal has not used the token up; a new issuer signs.
    authority.rotate_issuer(late).unwrap();
    assert!(authority.join(ME, &token, &asked, late).is_ok());
}

#[test]
fn nothing_outlives_its_issuer() {
    let mut authority = found();
    let end = authority.issuer_validity().1;
    let (issued, _) = joined(&mut authority, at(7 * 86_400 - 100));
    assert_eq!(Leaf::read(&issued.chain[0]).unwrap().not_after, end);
}

#[test]
fn an_issuer_is_replaced_at_half_its_life_and_what_it_signed_stays_good() {
    let mut authority = found();
    let half = at(7 * 43_200);
    let before = half + Duration::from_secs(0);
    let (held, _) = joined(&mut authority, at(7 * 43_200 - 1_000));
    assert_eq!(authority.advance(at(7 * 43_200 - 1_000)).unwrap(), None);
    assert_eq!(authority.advance(before).unwrap(), Some(Change::Issuer));
    assert_eq!(authority.advance(before).unwrap(), None);
    accepted(&held, &authority.bundle(), before);
    let (next, _) = joined(&mut authority, before + Duration::from_secs(300));
    assert_ne!(next.chain[1], held.chain[1]);
    accepted(&next, &held.bundle, before + Duration::from_secs(300));
}

/// mesh 12b: 48. Whoever holds what was valid when it was issued is accepted by whoever holds what was
/// valid then, at every moment of a replacement.
#[test]
fn an_anchor_is_replaced_without_a_moment_at_which_two_processes_refuse_each_other() {
    let mut authority = found();
    let old = authority.anchors().1.clone();
    let mut held: Vec<(Issued, Timestamp)> = Vec::new();
    let mut changes = Vec::new();
    let mut second = 0;
    while second < 4 * 3_600 {
        let now = at(second);
        if second == 1_800 {
            let new = authority.rotate_anchor(now).unwrap();
            assert_ne!(new, old);
            let again = authority.rotate_anchor(now).unwrap_err();
            assert!(matches!(again, RotateError::UnderWay { .. }), "{again}");
        }
        changes.extend(authority.advance(now).unwrap().map(|it| (second, it)));
        // A process renews every half hour, or is away and renews nothing for an hour.
        let (issued, _) = joined(&mut authority, now);
        held.push((issued, now));
        held.retain(|(_, since)| now.saturating_since(*since) < Duration::from_secs(3_600));
        for (one, _) in &held {
            for (other, _) in &held {
                accepted(one, &other.bundle, now);
            }
        }
        second += 300;
    }
    let new = authority.anchors().1.clone();
    // Published at 1,800; signs an hour and a minute later; the old one goes an hour and a minute
    // after the last identity below it was issued, at 5,400.
    let expected = [(5_700, Change::Switched(new)), (9_300, Change::Dropped(old))];
    assert_eq!(changes, expected);
    assert_eq!(authority.next_step(at(second)), RotationStep::Nothing);
}

#[test]
fn an_anchor_in_use_is_not_dropped_and_a_restart_does_not_make_it_forget() {
    let mut authority = found();
    let old = authority.anchors().1.clone();
    authority.rotate_anchor(now()).unwrap();
    assert_eq!(
        authority.advance(at(3_660)).unwrap().map(|it| matches!(it, Change::Switched(_))),
        Some(true)
    );
    let config = AuthorityConfig::default();
    let mut resumed = Authority::resume(config, DOMAIN, &authority.state(), at(3_660)).unwrap();
    let kept = resumed.drop_anchor(&old, at(3_660)).unwrap_err();
    let in_use = |it: &RotateError| matches!(it, RotateError::Kept(KeepAnchor::InUse { .. }));
    assert!(in_use(&kept), "{kept}");
    assert!(in_use(&resumed.drop_anchor(&old, at(7_319)).unwrap_err()));
    let signs = resumed.anchors().1.clone();
    let kept = resumed.drop_anchor(&signs, at(99_999)).unwrap_err();
    assert!(matches!(kept, RotateError::Kept(KeepAnchor::Signs(_))), "{kept}");
    resumed.drop_anchor(&old, at(7_320)).unwrap();
    assert_eq!(resumed.bundle().anchors.len(), 1);
}

#[test]
fn a_state_comes_back_as_it_was_and_another_form_is_refused_with_both_named() {
    let mut authority = found();
    authority.revoke(identity::Serial::parse("0abc").unwrap(), now()).unwrap();
    let state = authority.state();
    let config = AuthorityConfig::default();
    let resume = |text: &str, domain: &str| Authority::resume(config, domain, text, now());
    let resumed = resume(&state, DOMAIN).unwrap();
    assert_eq!(resumed.bundle(), authority.bundle());
    assert_eq!(resumed.state(), state);

    let newer = state.replacen("\"version\": 2", "\"version\": 3", 1);
    let refused = resume(&newer, DOMAIN).unwrap_err();
    assert_eq!(refused.to_string(), "the authority's state has form 3; this program reads form 2");
    let other = resume(&state, "other.test").unwrap_err();
    assert!(matches!(other, ReadStateError::OtherDomain { .. }), "{other}");
    for cut in [0, 1, state.len() / 2, state.len() - 2] {
        assert!(resume(&state[..cut], DOMAIN).is_err(), "cut at {cut}");
    }
    let unknown = state.replacen("\"version\"", "\"more\": 1, \"version\"", 1);
    let refused = resume(&unknown, DOMAIN).unwrap_err();
    assert!(matches!(refused, ReadStateError::Malformed { .. }), "{refused}");
}

#[test]
fn no_key_is_shown_by_what_a_log_would_print() {
    let authority = found();
    let secret = authority.state();
    let keys = secret.matches("PRIVATE KEY").count();
    assert!(keys >= 4, "the state has the keys");
    let shown = format!("{authority:?}");
    assert!(!shown.contains("PRIVATE") && !shown.contains("BEGIN"), "{shown}");
}

#[test]
fn a_deny_list_forgets_what_is_over() {
    let mut authority = found();
    let serial = |number: u8| identity::Serial::parse(&format!("{number:02x}")).unwrap();
    authority.revoke(serial(1), now()).unwrap();
    authority.revoke(serial(2), at(7 * 86_400)).unwrap();
    assert_eq!(authority.bundle().revoked.len(), 2);
    authority.revoke(serial(3), at(7 * 86_400 + 60)).unwrap();
    let denied: Vec<_> = authority.bundle().revoked.into_keys().collect();
    assert_eq!(denied, [serial(2), serial(3)]);
}
