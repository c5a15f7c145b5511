//! Bundles that anybody may carry: what is taken, and what is refused by which word.

use std::{collections::BTreeMap, sync::Arc};

use base::Random;
use identity::{
    ANCHORS_MAX, AuthorityConfig, Bundle, CarriedError, REVOKED_MAX, Serial, SignedBundle, Trust,
    anchor_id,
};
use serde_json::{Value, json};

use crate::pki::{Authority, DOMAIN, Pki, at, now};

fn signed(bundle: &Bundle, by: &[&Authority]) -> Arc<SignedBundle> {
    let ids: Vec<_> = by.iter().map(|it| anchor_id(&it.certificate)).collect();
    let keys = ids.iter().zip(by).map(|(id, it)| (id, it.issuer.key()));
    Arc::new(SignedBundle::sign(bundle, keys).unwrap())
}

/// The same, with its text or its signatures changed on the way.
fn changed(signed: &SignedBundle, change: impl FnOnce(&mut Value)) -> Arc<SignedBundle> {
    let mut value = serde_json::to_value(signed).unwrap();
    change(&mut value);
    Arc::new(serde_json::from_value(value).unwrap())
}

fn version(pki: &Pki, version: u64) -> Bundle {
    Bundle { version, ..pki.bundle() }
}

#[test]
fn a_newer_bundle_is_taken_where_an_anchor_that_is_trusted_signed_it() {
    let (old, new) = (Pki::new(), Pki::new());
    let held = Trust::read(version(&old, 3)).unwrap();
    let anchors = vec![old.anchor.pem.clone(), new.anchor.pem.clone()];
    let both = Bundle { version: 4, anchors, ..old.bundle() };
    let carried = signed(&both, &[&new.anchor, &old.anchor]);
    let taken = held.carried(Arc::clone(&carried)).unwrap().unwrap();
    assert_eq!((taken.bundle(), taken.signed()), (&both, Some(&carried)));
    // Who has it knows the new anchor, and needs the old one no more.
    let after = Bundle { version: 5, ..new.bundle() };
    let carried = signed(&after, &[&new.anchor]);
    assert_eq!(taken.carried(Arc::clone(&carried)).unwrap().unwrap().bundle(), &after);
    assert_eq!(held.carried(carried).unwrap_err(), CarriedError::Stranger, "it was away too long");
    assert!(held.carried(signed(&version(&old, 3), &[&old.anchor])).unwrap().is_none());
}

#[test]
fn what_was_not_signed_so_by_whom_we_trust_is_refused_each_for_its_reason() {
    let (pki, stranger) = (Pki::new(), Pki::new());
    let held = Trust::read(version(&pki, 3)).unwrap();
    let good = signed(&version(&pki, 4), &[&pki.anchor]);
    assert!(held.carried(Arc::clone(&good)).unwrap().is_some());
    #[track_caller]
    fn check(held: &Trust, carried: Arc<SignedBundle>, expected: CarriedError) {
        assert_eq!(held.carried(carried).unwrap_err(), expected);
    }
    let by = |bundle: &Bundle| signed(bundle, &[&pki.anchor]);
    let id = anchor_id(&pki.anchor.certificate);

    check(&held, signed(&version(&pki, 4), &[&stranger.anchor]), CarriedError::Stranger);
    check(&held, signed(&version(&pki, 4), &[]), CarriedError::Stranger);
    // A stranger under the name of ours.
    let theirs = SignedBundle::sign(&version(&pki, 4), [(&id, stranger.anchor.issuer.key())]);
    check(&held, Arc::new(theirs.unwrap()), CarriedError::Forged);
    let text = serde_json::to_value(&*good).unwrap()["bundle"].as_str().unwrap().to_owned();
    let newer = text.replacen("\"version\":4", "\"version\":9", 1);
    check(&held, changed(&good, |it| it["bundle"] = json!(newer)), CarriedError::Forged);
    // An issuer below the anchor is no anchor.
    let issued = SignedBundle::sign(&version(&pki, 4), [(&id, pki.issuer.issuer.key())]);
    check(&held, Arc::new(issued.unwrap()), CarriedError::Forged);
    // What an anchor signed that is no bundle.
    let plain = rcgen::SigningKey::sign(pki.anchor.issuer.key(), text.as_bytes()).unwrap();
    let plain: String = plain.iter().map(|it| format!("{it:02x}")).collect();
    let bare = changed(&good, |it| it["signatures"][&id] = json!(plain));
    check(&held, bare, CarriedError::Forged);

    check(&held, by(&version(&pki, 2)), CarriedError::Older);
    let other = Bundle { trust_domain: "other.test".to_owned(), ..version(&pki, 4) };
    check(&held, by(&other), CarriedError::OtherDomain);

    let long = changed(&good, |it| it["bundle"] = json!("x".repeat((2 << 20) + 1)));
    check(&held, long, CarriedError::TooLong);
    let many = changed(&good, |it| {
        let all = it["signatures"].as_object_mut().unwrap();
        all.extend((0..ANCHORS_MAX).map(|it| (format!("{it:016x}"), json!("00"))));
    });
    check(&held, many, CarriedError::TooLong);
    let wide = changed(&good, |it| it["signatures"][&id] = json!("00".repeat(129)));
    check(&held, wide, CarriedError::TooLong);

    let empty = Bundle { anchors: vec![], ..version(&pki, 4) };
    check(&held, by(&empty), CarriedError::Unusable(identity::BundleError::Empty));
    let crowd = Bundle { anchors: vec![pki.anchor.pem.clone(); ANCHORS_MAX + 1], ..empty };
    check(&held, by(&crowd), CarriedError::Unusable(identity::BundleError::TooLarge));
    let serial = |it: usize| (Serial::parse(&format!("{it:x}")).unwrap(), at(1));
    let denied = (0..=REVOKED_MAX).map(serial).collect();
    let denied = Bundle { revoked: denied, ..version(&pki, 4) };
    check(&held, by(&denied), CarriedError::Unusable(identity::BundleError::TooLarge));
}

#[test]
fn a_full_bundle_is_not_too_long() {
    let pki = Pki::new();
    let held = Trust::read(version(&pki, 3)).unwrap();
    let serial = |it: usize| (Serial::parse(&format!("f{it:063x}")).unwrap(), at(1));
    let revoked: BTreeMap<_, _> = (0..REVOKED_MAX).map(serial).collect();
    let anchors = vec![pki.anchor.pem.clone(); ANCHORS_MAX];
    let full = Bundle { revoked, anchors, ..version(&pki, 4) };
    let carried = signed(&full, &[&pki.anchor]);
    // What a request to an authority may have.
    assert!(serde_json::to_vec(&*carried).unwrap().len() < 4 << 20);
    assert!(held.carried(carried).unwrap().is_some());
}

/// Many machines hear what an authority says in any order, some of it late, twice or never, some of it changed.
#[test]
fn nobody_goes_back_and_nobody_believes_what_the_authority_never_said() {
    for seed in 0..40 {
        let mut random = Random::with_seed(seed);
        let config = AuthorityConfig::default();
        let mut authority = identity::Authority::found(config, DOMAIN, now()).unwrap();
        let mut said = vec![(authority.bundle(), authority.signed().unwrap())];
        let mut machines = vec![Trust::read(authority.bundle()).unwrap(); 3];
        let mut moment = 0;
        for _ in 0..60 {
            match random.below(4) {
                0 => {
                    let serial = Serial::parse(&format!("{:x}", random.below(1 << 20) + 1));
                    authority.revoke(serial.unwrap(), at(moment)).unwrap();
                }
                // One is under way, now and then.
                1 => drop(authority.rotate_anchor(at(moment))),
                2 => moment += i64::try_from(random.below(4_000)).unwrap(),
                _ => drop(authority.advance(at(moment)).unwrap()),
            }
            if said.last().unwrap().0.version != authority.bundle().version {
                said.push((authority.bundle(), authority.signed().unwrap()));
            }
            let machine = &mut machines[usize::try_from(random.below(3)).unwrap()];
            let last = u64::try_from(said.len()).unwrap();
            let (_, carried) = &said[usize::try_from(random.below(last)).unwrap()];
            let carried = match random.below(3) {
                0 => changed(carried, |it| {
                    let text = it["bundle"].as_str().unwrap();
                    let from = text.find("\"revoked\":{").unwrap();
                    let text = format!("{}\"revoked\":{{}}}}", &text[..from]);
                    // Nothing to take away is no change.
                    let text = text.replacen("\"version\":", "\"version\":9", 1);
                    it["bundle"] = json!(text);
                }),
                _ => Arc::clone(carried),
            };
            let before = machine.bundle().version;
            if let Ok(Some(taken)) = machine.carried(carried) {
                assert!(taken.bundle().version > before, "seed {seed}");
                let was_said = said.iter().any(|(it, _)| it == taken.bundle());
                assert!(was_said, "seed {seed}: {:?}", taken.bundle().version);
                *machine = taken;
            }
        }
        // Who was never away longer than two anchors overlap has the last word in the end.
        let (last, carried) = said.last().unwrap();
        let latest = Trust::read(said[said.len().saturating_sub(2)].0.clone()).unwrap();
        if latest.bundle().version < last.version {
            assert_eq!(latest.carried(Arc::clone(carried)).unwrap().unwrap().bundle(), last);
        }
    }
}
