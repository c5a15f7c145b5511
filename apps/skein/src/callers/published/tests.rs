//! An issuer that changes its keys, goes away and says what no issuer should.

use std::time::Duration;

use base::{ManualClock, Timestamp};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::watch,
    time::timeout,
};

use super::*;

const SOON: Duration = Duration::from_secs(30);
const STALE_MAX: Duration = Duration::from_secs(3_600);

/// What an issuer answers, as it goes over the wire; after the last byte it says nothing more.
fn answer(head: &str, body: &str) -> String {
    format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn set(kid: &str) -> String {
    let x = "A".repeat(43);
    format!(r#"{{"keys": [{{"kty": "OKP", "crv": "Ed25519", "kid": "{kid}", "x": "{x}"}}]}}"#)
}

/// An issuer, and who follows it.
struct World {
    says: watch::Sender<String>,
    published: Publications,
    told: PublishedKeys,
    clock: Arc<ManualClock>,
    telemetry: Telemetry,
}

impl World {
    async fn new() -> Self {
        let (clock, tasks) = (Arc::new(ManualClock::new(Timestamp::from_millis(0))), Tasks::new());
        let telemetry = Telemetry::new(telemetry::TelemetryConfig::default(), clock.clone());
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let told = PublishedKeys {
            url: format!("http://{}/keys", listener.local_addr().unwrap()),
            refresh: Duration::from_millis(40),
            timeout: Duration::from_millis(200),
            stale_max: STALE_MAX,
        };
        let (says, heard) = watch::channel(String::new());
        let owner = tasks.clone();
        tasks.spawn("issuer", |shutdown| async move {
            while let Some(Ok((mut stream, _))) = shutdown.or_cancel(listener.accept()).await {
                let heard = heard.clone();
                owner.spawn("connection", |shutdown| async move {
                    let talk = async {
                        let mut question = vec![0; 4_096];
                        while stream.read(&mut question).await.is_ok_and(|it| it > 0) {
                            let said = heard.borrow().clone();
                            if said.is_empty() || stream.write_all(said.as_bytes()).await.is_err() {
                                return;
                            }
                        }
                    };
                    shutdown.or_cancel(talk).await;
                });
            }
        });
        let surroundings = Surroundings {
            authorities: None,
            clock: clock.clone(),
            telemetry: telemetry.clone(),
            tasks,
        };
        Self { says, published: Publications::new(surroundings), told, clock, telemetry }
    }

    fn says(&self, what: String) {
        self.says.send(what).unwrap();
    }

    /// The names of the keys that are believed.
    fn signers(&self) -> Option<String> {
        self.published.signers(&self.told).map(|it| format!("{it:?}"))
    }

    /// Looks until this holds of the signers and what went wrong since.
    async fn until(&mut self, holds: impl Fn(Option<&str>, &str) -> bool) {
        let looks = async {
            let mut troubles = String::new();
            loop {
                let (_, more) = self.published.follow(&[&self.told]);
                troubles.extend(more);
                if holds(self.signers().as_deref(), &troubles) {
                    return;
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(SOON, looks).await.expect("it never holds");
    }
}

fn has(signers: Option<&str>, kid: &str) -> bool {
    signers.is_some_and(|it| it.contains(&format!("\"{kid}\"")))
}

#[tokio::test]
async fn keys_follow_their_issuer_and_the_last_good_ones_hold_until_they_are_too_old() {
    let mut world = World::new().await;
    world.says(answer("200 OK", &set("first")));
    world.until(|signers, _| has(signers, "first")).await;
    world.says(answer("200 OK", &set("second")));
    world.until(|signers, _| has(signers, "second") && !has(signers, "first")).await;
    let long = "x".repeat(SET_BYTES_MAX + 1);
    for (what, said, trouble) in [
        ("garbage", answer("200 OK", "{not json"), "no set of keys"),
        ("no keys that sign", answer("200 OK", "{\"keys\": []}"), "no set of keys"),
        ("a redirect", answer("302 Found\r\nlocation: http://127.0.0.1:1/", ""), "answers 302"),
        ("too much", answer("200 OK", &long), "may be"),
        (
            "an end that never comes",
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{".into(),
            "answer",
        ),
        ("nonsense", "nonsense\r\n\r\n".to_owned(), "does not answer"),
        ("nothing", String::new(), "does not answer"),
    ] {
        world.says(said);
        world.until(|_, troubles| troubles.contains(trouble)).await;
        assert!(has(world.signers().as_deref(), "second"), "{what}: the last good keys hold");
    }
    world.clock.advance(STALE_MAX);
    assert!(has(world.signers().as_deref(), "second"));
    world.clock.advance(Duration::from_millis(1));
    let (changed, _) = world.published.follow(&[&world.told]);
    assert!(changed && world.signers().is_none(), "nobody is believed by keys that are too old");
    world.says(answer("200 OK", &set("third")));
    world.until(|signers, _| has(signers, "third")).await;
    let counted = world.telemetry.metrics().encode();
    for outcome in ["good", "unreadable", "status", "too_long", "unanswered"] {
        let line = format!("mesh_signer_looks_total{{outcome=\"{outcome}\"}}");
        assert!(counted.contains(&line), "{counted}");
    }
}

#[tokio::test]
async fn an_address_that_nobody_names_any_more_is_not_asked() {
    let mut world = World::new().await;
    world.says(answer("200 OK", &set("first")));
    world.until(|signers, _| has(signers, "first")).await;
    let tasks = world.published.followed[&world.told].tasks.clone();
    world.published.follow(&[]);
    assert_eq!(tasks.drain(SOON).await, runtime::Drained::Complete);
    assert!(world.signers().is_none());
}
