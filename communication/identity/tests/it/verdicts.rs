//! Chains that differ from a good one by one thing, and the reason that each is refused for.

use std::time::Duration;

use base::Timestamp;
use identity::{
    ANCHORS_MAX, Bundle, BundleError, Leaf, PeerIdentity, Purpose, Refusal, SKEW, Serial, Trust,
    verify,
};
use rcgen::{
    CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType,
    SubjectPublicKeyInfo,
};
use rustls::pki_types::CertificateDer;

use crate::pki::{Authority, Pki, at, id, now, service, uri, valid};

/// The public half of an RSA key of 1,024 bits, made with `openssl genrsa 1024`.
const RSA_1024: &str = "30819f300d06092a864886f70d010101050003818d0030818902818100e688417dc27287c5c1867d\
    094fe4a920cd26df8850fb31cbeab636ef79c507a22bb304867e5018f9093bfcc5e41701c78622befb06ce64ab7542b326\
    a6b1c193288d2bcd59088f9a0cfad95232f41b6df751717d41a700ca2f3e20f2b10ae3471d0e72aa1fa35907056a8bcc29\
    8e5d7fcc651f8e586a8c2a221de5a5a875c0e50203010001";

type Change = fn(&mut CertificateParams);

#[track_caller]
fn check(what: &str, chain: &[CertificateDer<'_>], trust: &Trust, expected: Option<Refusal>) {
    for purpose in [Purpose::Serve, Purpose::Call] {
        let judged = verify(chain, trust, purpose, now());
        assert_eq!(judged.err(), expected, "{what}, {purpose:?}");
    }
}

#[test]
fn a_good_chain_says_who_it_is() {
    let pki = Pki::new();
    let (chain, _) = pki.chain(|_| {});
    let peer = verify(&chain, &pki.trust(), Purpose::Call, now()).unwrap();
    let serial = Leaf::read(&chain[0]).unwrap().serial;
    let id = id("cart").parse().unwrap();
    assert_eq!(peer, PeerIdentity { id, serial, not_after: at(3_600) });
}

/// mesh 12b: 45, 46.
#[test]
fn a_certificate_that_differs_in_one_thing_is_refused_for_that_thing() {
    #[rustfmt::skip]
    let cases: &[(&str, Change, Refusal)] = &[
        ("no name", |it| it.subject_alt_names.clear(), Refusal::NotOneName),
        ("a DNS name alone", |it| it.subject_alt_names = vec![SanType::DnsName("cart".try_into().unwrap())], Refusal::NotOneName),
        ("two names", |it| it.subject_alt_names.push(uri(&id("till"))), Refusal::NotOneName),
        ("the same name twice", |it| it.subject_alt_names.push(uri(&id("cart"))), Refusal::NotOneName),
        ("a URI of another kind", |it| it.subject_alt_names = vec![uri("https://mesh.test/ns/shop/svc/cart")], Refusal::MalformedName),
        ("a path of another form", |it| it.subject_alt_names = vec![uri("spiffe://mesh.test/ns/shop/sa/cart")], Refusal::MalformedName),
        ("a path with dots", |it| it.subject_alt_names = vec![uri("spiffe://mesh.test/ns/shop/svc/../cart")], Refusal::MalformedName),
        ("another trust domain", |it| it.subject_alt_names = vec![uri("spiffe://mesh.tests/ns/shop/svc/cart")], Refusal::WrongDomain),
        ("a domain in upper case", |it| it.subject_alt_names = vec![uri("spiffe://MESH.test/ns/shop/svc/cart")], Refusal::MalformedName),
        ("over", |it| valid(it, -3_600, -61), Refusal::Expired),
        ("not begun", |it| valid(it, 61, 3_600), Refusal::NotYetValid),
        ("an authority", |it| it.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained), Refusal::AuthorityAsLeaf),
        ("one that may sign others", |it| it.key_usages.push(KeyUsagePurpose::KeyCertSign), Refusal::AuthorityAsLeaf),
        ("no use", |it| it.extended_key_usages.clear(), Refusal::WrongUsage),
        ("another use", |it| it.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning], Refusal::WrongUsage),
    ];
    let pki = Pki::new();
    let trust = pki.trust();
    for (what, change, expected) in cases {
        check(what, &pki.chain(*change).0, &trust, Some(*expected));
    }
    check("nothing changed", &pki.chain(|_| {}).0, &trust, None);
}

#[test]
fn a_certificate_for_one_side_is_refused_on_the_other() {
    let pki = Pki::new();
    let judge = |usage: ExtendedKeyUsagePurpose, purpose| {
        let (chain, _) = pki.chain(|it| it.extended_key_usages = vec![usage]);
        verify(&chain, &pki.trust(), purpose, now()).err()
    };
    assert_eq!(judge(ExtendedKeyUsagePurpose::ServerAuth, Purpose::Serve), None);
    assert_eq!(judge(ExtendedKeyUsagePurpose::ClientAuth, Purpose::Call), None);
    let refused = Some(Refusal::WrongUsage);
    assert_eq!(judge(ExtendedKeyUsagePurpose::ServerAuth, Purpose::Call), refused);
    assert_eq!(judge(ExtendedKeyUsagePurpose::ClientAuth, Purpose::Serve), refused);
}

#[test]
fn a_chain_of_another_shape_is_refused() {
    let pki = Pki::new();
    let trust = pki.trust();
    let (good, key) = pki.chain(|_| {});
    check("no certificate", &[], &trust, Some(Refusal::NoCertificate));
    check("no issuer", &good[..1], &trust, Some(Refusal::UnknownIssuer));
    check("no certificate of a service", &good[1..], &trust, Some(Refusal::AuthorityAsLeaf));

    let own = service().self_signed(&key).unwrap().der().clone();
    check("signed by itself", &[own], &trust, Some(Refusal::UnknownIssuer));
    let stranger = Pki::new();
    check("another anchor's", &stranger.chain(|_| {}).0, &trust, Some(Refusal::BadSignature));
    let other = Authority::anchor("other").below("issuer of another", |_| {});
    let foreign = [other.sign(&key, &service()), other.certificate.clone()];
    check("an unknown anchor's", &foreign, &trust, Some(Refusal::UnknownIssuer));
    // A service that signs another one.
    let below = rcgen::Issuer::from_ca_cert_der(&good[0], key).unwrap();
    let forged = service().signed_by(&KeyPair::generate().unwrap(), &below).unwrap().der().clone();
    let chain = [forged, good[0].clone(), good[1].clone()];
    check("signed by a service", &chain, &trust, Some(Refusal::UnknownIssuer));

    let garbage = [CertificateDer::from(vec![0x30, 3, 1, 2, 3]), good[1].clone()];
    check("no certificate at all", &garbage, &trust, Some(Refusal::Malformed));
    let mut trailing = good[0].to_vec();
    trailing.push(0);
    let chain = [trailing.into(), good[1].clone()];
    check("bytes behind the certificate", &chain, &trust, Some(Refusal::Malformed));
}

#[test]
fn every_bit_that_is_turned_in_a_certificate_is_noticed() {
    let pki = Pki::new();
    let trust = pki.trust();
    let (good, _) = pki.chain(|_| {});
    for index in 0..good[0].len() {
        let mut turned = good[0].to_vec();
        turned[index] ^= 1 << (index % 8);
        let chain = [turned.into(), good[1].clone()];
        assert!(verify(&chain, &trust, Purpose::Call, now()).is_err(), "byte {index}");
    }
}

#[test]
fn a_chain_that_is_longer_than_ours_can_be_is_not_computed() {
    let pki = Pki::new();
    let (good, _) = pki.chain(|_| {});
    let below = pki.issuer.below("second issuer", |_| {});
    let key = KeyPair::generate().unwrap();
    let three = [below.sign(&key, &service()), below.certificate.clone(), good[1].clone()];
    check("two issuers", &three, &pki.trust(), None);
    let four = [&three[..], &good[1..]].concat();
    check("three issuers", &four, &pki.trust(), Some(Refusal::ChainTooLong));
    let huge = [vec![good[0].clone()], vec![good[1].clone(); 1_000]].concat();
    check("a thousand issuers", &huge, &pki.trust(), Some(Refusal::ChainTooLong));
    let (long, _) = pki.chain(|it| {
        let name = |number: usize| SanType::DnsName(format!("n{number:060}").try_into().unwrap());
        it.subject_alt_names.extend((0..80).map(name));
    });
    check("a certificate of five kilobytes", &long, &pki.trust(), Some(Refusal::ChainTooLong));
}

#[test]
fn a_weak_key_is_refused_whoever_signed_for_it() {
    let pki = Pki::new();
    let bytes = RSA_1024.as_bytes().chunks(2).map(|it| std::str::from_utf8(it).unwrap());
    let bytes: Vec<u8> = bytes.map(|it| u8::from_str_radix(it, 16).unwrap()).collect();
    let weak = SubjectPublicKeyInfo::from_der(&bytes).unwrap();
    let chain = [pki.issuer.sign(&weak, &service()), pki.issuer.certificate.clone()];
    check("RSA with 1,024 bits", &chain, &pki.trust(), Some(Refusal::WeakKey));
    for strong in [&rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
        let key = KeyPair::generate_for(strong).unwrap();
        let chain = [pki.issuer.sign(&key, &service()), pki.issuer.certificate.clone()];
        check("a strong key", &chain, &pki.trust(), None);
    }
}

#[test]
fn clocks_may_differ_by_a_minute_and_no_more() {
    let pki = Pki::new();
    let (chain, _) = pki.chain(|it| valid(it, 0, 3_600));
    let judge = |seconds| verify(&chain, &pki.trust(), Purpose::Call, at(seconds)).err();
    assert_eq!(SKEW, Duration::from_secs(60));
    assert_eq!(judge(-61), Some(Refusal::NotYetValid));
    assert_eq!([judge(-60), judge(0), judge(3_600), judge(3_660)], [None; 4]);
    assert_eq!(judge(3_661), Some(Refusal::Expired));
    // An issuer's time counts as well.
    let issuer = pki.anchor.below("issuer for an hour", |it| valid(it, 0, 1_800));
    let key = KeyPair::generate().unwrap();
    let chain = [issuer.sign(&key, &service()), issuer.certificate.clone()];
    let judge = |seconds| verify(&chain, &pki.trust(), Purpose::Call, at(seconds)).err();
    assert_eq!((judge(1_860), judge(1_861)), (None, Some(Refusal::Expired)));
}

#[test]
fn a_denied_number_is_refused_and_so_is_all_that_a_denied_issuer_signed() {
    let pki = Pki::new();
    let (chain, _) = pki.chain(|_| {});
    let (other, _) = pki.chain(|_| {});
    let own = Leaf::read(&chain[0]).unwrap().serial;
    let issuer = {
        let (_, parsed) = x509_parser::parse_x509_certificate(&chain[1]).unwrap();
        Serial::parse(&parsed.raw_serial_as_string()).unwrap()
    };
    let denying = |serial: &Serial| {
        let revoked = [(serial.clone(), Timestamp::from_millis(i64::MAX))].into();
        Trust::read(Bundle { revoked, ..pki.bundle() }).unwrap()
    };
    check("denied", &chain, &denying(&own), Some(Refusal::Revoked));
    check("another one denied", &other, &denying(&own), None);
    check("its issuer denied", &chain, &denying(&issuer), Some(Refusal::Revoked));
}

/// mesh 12b: 48.
#[test]
fn with_two_anchors_what_either_signed_is_accepted() {
    let (old, new) = (Pki::new(), Pki::new());
    let both = vec![old.anchor.pem.clone(), new.anchor.pem.clone()];
    let trust = Trust::read(Bundle { anchors: both, ..old.bundle() }).unwrap();
    check("the old one's", &old.chain(|_| {}).0, &trust, None);
    check("the new one's", &new.chain(|_| {}).0, &trust, None);
}

#[test]
fn a_bundle_that_nobody_can_use_is_refused() {
    let pki = Pki::new();
    let read = |anchors: Vec<String>| Trust::read(Bundle { anchors, ..pki.bundle() }).err();
    let pem = pki.anchor.pem.clone();
    assert_eq!(read(vec![]), Some(BundleError::Empty));
    assert_eq!(read(vec![pem.clone(); ANCHORS_MAX]), None);
    assert_eq!(read(vec![pem.clone(); ANCHORS_MAX + 1]), Some(BundleError::TooLarge));
    let malformed = Some(BundleError::Malformed { index: 1 });
    assert_eq!(read(vec![pem, "-----BEGIN CERTIFICATE-----".to_owned()]), malformed);
}
