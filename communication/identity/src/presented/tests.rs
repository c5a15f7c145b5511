use std::net::Ipv4Addr;

use runtime::SystemClock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::*;
use crate::{PublicName, PublicTrust, SelfMade};

const DAY: u64 = 86_400;

fn made(names: &[&str], now: Timestamp) -> SelfMade {
    let names: Vec<String> = names.iter().map(|it| (*it).to_owned()).collect();
    SelfMade::make("tests", &names, now).unwrap()
}

fn now() -> Timestamp {
    SystemClock::shared().now()
}

fn read(made: &SelfMade) -> Result<PublicCertificate, PublicCertificateError> {
    PublicCertificate::read(&made.certificate, &made.key, now())
}

/// A listener under a certificate that may change, with its counts.
struct Door {
    handshakes: PublicHandshakes,
    shown: watch::Sender<Option<Arc<PublicCertificate>>>,
    telemetry: Telemetry,
}

impl Door {
    fn new(config: &HandshakeConfig, shown: Option<PublicCertificate>) -> Self {
        let telemetry = Telemetry::disabled();
        let (sender, presented) = watch::channel(shown.map(Arc::new));
        let clock = SystemClock::shared();
        let handshakes = PublicHandshakes::new(config, presented, clock, &telemetry);
        Self { handshakes, shown: sender, telemetry }
    }

    async fn accept(&self, stream: DuplexStream) -> Result<TlsStream<DuplexStream>, Refusal> {
        self.handshakes.accept(stream, Ipv4Addr::LOCALHOST.into()).await
    }

    /// What somebody hears who believes this.
    async fn asked(&self, trust: &PublicTrust, name: &str) -> Result<(), Refusal> {
        let (ours, theirs) = duplex(16 << 10);
        let name = PublicName::of_host(name).unwrap();
        let (accepted, connected) = tokio::join!(self.accept(ours), trust.connect(theirs, &name));
        let mut client = connected?;
        let mut server = accepted?;
        server.write_all(b"word").await.unwrap();
        server.flush().await.unwrap();
        let mut word = [0; 4];
        client.read_exact(&mut word).await.unwrap();
        assert_eq!(client.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        Ok(())
    }

    fn refused(&self, reason: &str) -> bool {
        let series = format!("side=\"public\",reason=\"{reason}\"");
        self.telemetry.metrics().encode().contains(&series)
    }
}

#[test]
fn what_cannot_be_shown_is_refused_under_its_reason() {
    let (good, other) = (made(&["a.example"], now()), made(&["a.example"], now()));
    let after = |days: u64| now() + std::time::Duration::from_secs(days * DAY);
    let words = [
        (PublicCertificate::read("", &good.key, now()), "no_certificate"),
        (PublicCertificate::read("-----BEGIN", &good.key, now()), "no_certificate"),
        (PublicCertificate::read(&good.certificate, "", now()), "no_key"),
        (PublicCertificate::read(&good.certificate, &good.certificate, now()), "no_key"),
        (PublicCertificate::read(&good.certificate, &other.key, now()), "mismatch"),
        (PublicCertificate::read(&good.certificate, &good.key, after(398)), "expired"),
    ];
    for (read, word) in words {
        assert_eq!(read.unwrap_err().as_str(), word);
    }
    let early = made(&["a.example"], after(1));
    assert_eq!(read(&early).unwrap_err().as_str(), "not_yet_valid");
}

#[test]
fn names_and_fingerprint_are_those_of_the_own_certificate() {
    let made = made(&["localhost", "127.0.0.1", "::1"], now());
    let certificate = read(&made).unwrap();
    assert_eq!(certificate.names(), ["localhost", "127.0.0.1", "::1"]);
    assert_eq!(certificate.fingerprint().len(), 32 * 3 - 1);
    assert!(!format!("{certificate:?}").contains("PRIVATE"));
}

#[tokio::test]
async fn who_believes_the_authority_comes_in_under_a_name_of_the_certificate_alone() {
    let folder = tempfile::tempdir().unwrap();
    let made = made(&["localhost", "127.0.0.1"], now());
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, &made.authority).unwrap();
    let trust = PublicTrust::load(Some(&path)).unwrap();
    let door = Door::new(&HandshakeConfig::default(), read(&made).ok());
    for name in ["localhost", "127.0.0.1"] {
        assert_eq!(door.asked(&trust, name).await, Ok(()));
    }
    assert_eq!(door.asked(&trust, "other.example").await, Err(Refusal::WrongService));
}

#[tokio::test]
async fn the_next_handshake_is_under_the_certificate_that_holds_then() {
    let (first, second) = (made(&["localhost"], now()), made(&["localhost"], now()));
    let trust = |it: &SelfMade| PublicTrust::only(&read(it).unwrap());
    let door = Door::new(&HandshakeConfig::default(), read(&first).ok());
    assert_eq!(door.asked(&trust(&first), "any.example").await, Ok(()));
    assert_eq!(door.asked(&trust(&second), "localhost").await, Err(Refusal::UnknownIssuer));
    door.shown.send_replace(read(&second).ok().map(Arc::new));
    assert_eq!(door.asked(&trust(&second), "localhost").await, Ok(()));
    assert_eq!(door.asked(&trust(&first), "localhost").await, Err(Refusal::UnknownIssuer));
}

#[tokio::test]
async fn without_a_certificate_the_door_is_closed() {
    let door = Door::new(&HandshakeConfig::default(), None);
    let (ours, _theirs) = duplex(1 << 10);
    assert_eq!(door.accept(ours).await.unwrap_err(), Refusal::NoIdentity);
    assert!(door.refused("no_identity"));
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_is_sent_away_and_gives_way_to_others() {
    let config = HandshakeConfig { under_way_max: 1, ..HandshakeConfig::default() };
    let door = Door::new(&config, read(&made(&["localhost"], now())).ok());
    let ((silent, _kept), (second, _other)) = (duplex(1 << 10), duplex(1 << 10));
    let (silent, second) = tokio::join!(door.accept(silent), door.accept(second));
    assert_eq!(silent.unwrap_err(), Refusal::GaveWay);
    assert_eq!(second.unwrap_err(), Refusal::TimedOut);
    assert!(door.refused("timed_out") && door.refused("gave_way"));
    let (third, theirs) = duplex(1 << 10);
    drop(theirs);
    assert_eq!(door.accept(third).await.unwrap_err(), Refusal::PeerRefused, "there is room again");
}

#[tokio::test]
async fn what_is_no_tls_is_counted_as_such() {
    let door = Door::new(&HandshakeConfig::default(), read(&made(&["localhost"], now())).ok());
    let (ours, mut theirs) = duplex(1 << 10);
    theirs.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert_eq!(door.accept(ours).await.unwrap_err(), Refusal::NotTls);
    assert!(door.refused("not_tls"));
}
