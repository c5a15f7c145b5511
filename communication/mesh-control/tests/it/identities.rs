//! Who may register: over mutual TLS, as the service that the certificate names.

use std::{sync::Arc, time::Duration};

use base::Timestamp;
use identity::{Bundle, Credentials, HandshakeConfig, Handshakes, Identity, SpiffeId, Trust};
use mesh_control::Upstream;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use telemetry::Telemetry;
use tokio::sync::watch;

use crate::rig::{Control, Proxy, clock, eventually, instance, ports};

/// An anchor that signs whatever it is asked to.
struct Anchor {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Anchor {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = params.self_signed(&key).unwrap();
        let issuer = Issuer::from_ca_cert_der(certificate.der(), key).unwrap();
        Self { pem: certificate.pem(), issuer }
    }

    /// Somebody whom this anchor vouches for.
    fn vouch(&self, id: &SpiffeId) -> Handshakes {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(id.to_string().try_into().unwrap())];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let now = Timestamp::as_millis(clock().now()) / 1_000;
        let at = |seconds: i64| {
            let since = Duration::from_secs(u64::try_from(now + seconds).unwrap());
            rcgen::date_time_ymd(1970, 1, 1) + since
        };
        (params.not_before, params.not_after) = (at(-60), at(3_600));
        let chain = vec![params.signed_by(&key, &self.issuer).unwrap().der().clone()];
        let bundle = Bundle {
            version: 1,
            trust_domain: "mesh.test".to_owned(),
            anchors: vec![self.pem.clone()],
            revoked: [].into(),
        };
        let identity = Arc::new(Identity::new(chain, key).unwrap());
        let trust = Arc::new(Trust::read(bundle).unwrap());
        let credentials = Credentials::new(identity, trust, clock()).unwrap();
        // Nobody is left to replace them: they hold.
        let (_, current) = watch::channel(Some(Arc::new(credentials)));
        Handshakes::new(&HandshakeConfig::default(), current, clock(), &Telemetry::disabled())
    }
}

fn id(service: &str) -> SpiffeId {
    SpiffeId::new("mesh.test", "shop", service).unwrap()
}

fn upstream(control: &Control, known: Handshakes) -> Upstream {
    Upstream { address: control.address, identity: Some((known, id("control"))) }
}

const REFUSED: &str = "control_registrations_refused_total{reason=\"wrong_service\"}";

#[tokio::test]
async fn an_instance_that_registers_as_another_service_is_refused_and_counted() {
    let anchor = Anchor::new();
    let control = Control::start(Some(anchor.vouch(&id("control")))).await;
    let mut caller = Proxy::start(upstream(&control, anchor.vouch(&id("shop"))), Vec::new());
    let both = vec![instance("bank", 9), instance("cart", 1)];
    let cart = Proxy::start(upstream(&control, anchor.vouch(&id("cart"))), both);
    caller.until("cart", &[1]).await;
    eventually("it is counted", || control.counted(REFUSED) > 0).await;
    assert!(!caller.state.borrow().sets.contains_key("bank"), "{:?}", caller.state.borrow());
    let endpoint = caller.state.borrow().sets["cart"].endpoints[0].clone();
    assert_eq!(endpoint.identity, Some(id("cart").to_string()), "it is called as nobody else");
    eventually("it hears why", || {
        let text = cart.telemetry.metrics().encode();
        text.lines().any(|it| {
            it.starts_with("mesh_control_registrations_rejected_total ") && !it.ends_with(" 0")
        })
    })
    .await;

    // A service of the same name in another namespace is another service.
    let elsewhere = SpiffeId::new("mesh.test", "elsewhere", "bank").unwrap();
    let before = control.counted(REFUSED);
    let other =
        Proxy::start(upstream(&control, anchor.vouch(&elsewhere)), vec![instance("bank", 3)]);
    eventually("it is counted too", || control.counted(REFUSED) > before).await;
    assert!(ports(&caller.state.borrow(), "bank").is_empty());
    drop(other);
}

#[tokio::test]
async fn who_is_not_known_hears_nothing_and_who_is_not_the_control_plane_is_not_believed() {
    let (anchor, other) = (Anchor::new(), Anchor::new());
    let control = Control::start(Some(anchor.vouch(&id("control")))).await;
    let stranger = Proxy::start(upstream(&control, other.vouch(&id("cart"))), Vec::new());
    let plain = Proxy::start(control.upstream(), vec![instance("cart", 1)]);
    // One of the mesh that stands where the control plane should.
    let false_one = Control::start(Some(anchor.vouch(&id("cart")))).await;
    let deceived = Proxy::start(upstream(&false_one, anchor.vouch(&id("shop"))), Vec::new());
    for proxy in [&stranger, &plain, &deceived] {
        eventually("it was shut out twice", || {
            let text = proxy.telemetry.metrics().encode();
            let lost =
                text.lines().find_map(|it| it.strip_prefix("mesh_control_connections_lost_total "));
            lost.is_some_and(|it| it.parse::<u64>().unwrap() >= 2)
        })
        .await;
        assert!(!proxy.state.has_changed().unwrap());
    }
    assert_eq!(control.plane.shown()["subscribers"], serde_json::json!([]));
    assert_eq!(control.plane.shown()["instances"], serde_json::json!([]));
}
