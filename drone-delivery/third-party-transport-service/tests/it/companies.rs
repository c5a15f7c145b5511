//! A company outside that keeps the contract of `docs/carriers.md`, and the service that asks it.

use std::{
    collections::BTreeMap,
    future::{Future, IntoFuture as _},
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, Method, StatusCode},
    response::{IntoResponse as _, Response},
    routing::{any, post},
};
use base::Timestamp;
use fleet_rules::FleetConfig;
use identity::testing::Front;
use runtime::{SystemClock, Tasks};
use serde_json::{Value, json};
use service_kit::{Call, Client, ServiceAddresses, ServiceConfig, ServiceContext};
use telemetry::Telemetry;
use tempfile::TempDir;
use third_party_transport_service::{TransportConfig, run};
use tokio::{
    net::TcpListener,
    time::{Instant, sleep},
};

const PATIENCE: Duration = Duration::from_secs(20);
const TIMEOUT_MS: u64 = 400;
const ETA: &str = "2030-01-01T10:00:00.000Z";

/// What the company knows and how it behaves.
#[derive(Debug, Default)]
struct Books {
    /// Bookings, each with what it says of it.
    bookings: BTreeMap<String, Value>,
    left: Vec<String>,
    calls: Vec<String>,
    /// Answers in the place of its own, by method.
    answers: BTreeMap<String, u16>,
    /// Whether it does its work and answers too late.
    is_slow: bool,
    tokens: Vec<String>,
}

#[derive(Debug, Clone, Default)]
struct Company(Arc<Mutex<Books>>);

async fn bookings(
    State(company): State<Company>,
    method: Method,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Option<Json<Value>>,
) -> Response {
    let is_slow = company.books().is_slow;
    let answer = company.answer(&method, id, &headers, body.map(|it| it.0));
    if is_slow {
        sleep(Duration::from_millis(TIMEOUT_MS * 2)).await;
    }
    let (status, text) = (StatusCode::from_u16(answer.0).unwrap(), answer.1);
    if text.is_null() { status.into_response() } else { (status, Json(text)).into_response() }
}

async fn departure(State(company): State<Company>, Path(id): Path<String>) -> StatusCode {
    company.books().left.push(id);
    StatusCode::NO_CONTENT
}

impl Company {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap()
    }

    fn answer(
        &self,
        method: &Method,
        id: String,
        headers: &HeaderMap,
        body: Option<Value>,
    ) -> (u16, Value) {
        let mut books = self.books();
        let token = headers.get("authorization").and_then(|it| it.to_str().ok());
        books.tokens.push(token.unwrap_or_default().to_owned());
        books.calls.push(format!("{method} {id}"));
        if let Some(status) = books.answers.get(method.as_str()) {
            return (*status, Value::Null);
        }
        match *method {
            Method::PUT => {
                let said = json!({"phase": "Booked", "sequence": 0, "asked": body});
                books.bookings.entry(id).or_insert(said);
                (201, json!({"deliveryEta": ETA}))
            }
            Method::PATCH => {
                let known = books.bookings.get_mut(&id).unwrap();
                known["moved"] = body.unwrap();
                (204, Value::Null)
            }
            Method::DELETE => {
                let had = books.bookings.remove(&id).is_some();
                (if had { 204 } else { 404 }, Value::Null)
            }
            _ => books.bookings.get(&id).map_or((404, json!({})), |it| (200, it.clone())),
        }
    }

    /// It says so of a booking from now on.
    fn says(&self, id: &str, said: Value) {
        self.books().bookings.insert(id.to_owned(), said);
    }

    fn answers(&self, method: &str, status: u16) {
        self.books().answers.insert(method.to_owned(), status);
    }

    fn heals(&self) {
        let mut books = self.books();
        books.answers.clear();
        books.is_slow = false;
    }

    fn has(&self, id: &str) -> bool {
        self.books().bookings.contains_key(id)
    }

    async fn open(&self, tasks: &Tasks) -> SocketAddr {
        let router = Router::new()
            .route("/bookings/{id}", any(bookings))
            .route("/bookings/{id}/departure", post(departure))
            .with_state(self.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tasks.spawn("company", |shutdown| async move {
            shutdown.or_cancel(axum::serve(listener, router).into_future()).await;
        });
        address
    }
}

struct Town {
    company: Company,
    client: Client,
    tasks: Tasks,
    directory: TempDir,
}

impl Drop for Town {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

impl Town {
    /// A company, and behind it a carrier that is simulated.
    async fn up() -> Self {
        let (directory, tasks) = (TempDir::new().unwrap(), Tasks::new());
        let company = Company::default();
        let url = format!("http://{}", company.open(&tasks).await);
        Self::asking(company, &url, None, (directory, tasks)).await
    }

    /// The same behind TLS, and whether the service believes who vouches for it.
    async fn up_by_tls(is_believed: bool) -> Self {
        let (directory, tasks) = (TempDir::new().unwrap(), Tasks::new());
        let company = Company::default();
        let behind = company.open(&tasks).await;
        let front = Front::open("127.0.0.1", behind, &tasks).await.unwrap();
        let stranger = Front::open("127.0.0.1", behind, &tasks).await.unwrap();
        let path = directory.path().join("authorities.pem");
        let authority = if is_believed { front.authority() } else { stranger.authority() };
        std::fs::write(&path, authority).unwrap();
        let url = format!("https://{}", front.address());
        Self::asking(company, &url, Some(path), (directory, tasks)).await
    }

    async fn asking(
        company: Company,
        url: &str,
        authorities: Option<PathBuf>,
        (directory, tasks): (TempDir, Tasks),
    ) -> Self {
        let carriers = json!([{"name": "acme", "url": url, "token": "t"}, {"name": "vans"}]);
        let config = TransportConfig {
            carriers: serde_json::from_value(carriers).unwrap(),
            company_timeout_ms: TIMEOUT_MS,
            company_look_every_ms: 20,
            ..TransportConfig::default()
        };
        let mut service = ServiceConfig::new("third-party-transport", "one", directory.path());
        service.authorities = authorities;
        let (clock, quiet) = (SystemClock::shared(), Telemetry::disabled());
        let context = ServiceContext::new(service, clock, quiet.clone(), tasks.clone());
        let bound = run(context, FleetConfig::default(), config).await.unwrap();
        let services = ServiceAddresses::new().with("transport", bound.http_url());
        let client = Client::new(services, Duration::from_secs(5), quiet);
        Self { company, client, tasks, directory }
    }

    async fn ask(&self, method: Method, id: &str, body: Option<Value>) -> (u16, Value) {
        let call = Call::new("transport", method, format!("/api/thirdpartydeliveries/{id}"));
        let call = match &body {
            Some(body) => call.json(body),
            None => call,
        };
        let reply = self.client.call(call).await.unwrap();
        (reply.status.as_u16(), reply.json().unwrap_or_default())
    }

    async fn book(&self, id: &str) -> (u16, Value) {
        let body = json!({"pickup": {"latitude": 60.17, "longitude": 24.94}, "weight": 40,
            "dropoff": {"latitude": 60.175, "longitude": 24.945}, "noDrone": true, "made": true});
        self.ask(Method::PUT, id, Some(body)).await
    }

    async fn relocate(&self, id: &str, latitude: f64, revision: u64) -> (u16, Value) {
        let body = json!({"pickup": {"latitude": 60.17, "longitude": 24.94}, "revision": revision,
            "dropoff": {"latitude": latitude, "longitude": 24.945}});
        self.ask(Method::PATCH, id, Some(body)).await
    }

    /// The booking, once it stands so.
    async fn stands(&self, id: &str, state: &str) -> Value {
        until(format!("{id} is {state}"), || async {
            let (_, found) = self.ask(Method::GET, id, None).await;
            (found["state"] == state).then_some(found)
        })
        .await
    }
}

async fn until<T, F: Future<Output = Option<T>>>(what: String, mut probe: impl FnMut() -> F) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// To a second: times pass through the simulated clock.
#[track_caller]
fn check_eta(found: &Value, expected: &str) {
    let time = |text: &str| Timestamp::parse(text).unwrap().as_millis();
    let shown = time(found["eta"].as_str().unwrap());
    assert!((shown - time(expected)).abs() < 1_000, "{found}, not {expected}");
}

#[tokio::test]
async fn a_company_takes_a_package_leaves_when_it_is_told_and_is_shown_where_it_says_it_is() {
    let town = Town::up().await;
    assert_eq!(town.book("d1").await, (200, json!(true)));
    let found = town.stands("d1", "Booked").await;
    assert_eq!(found["carrier"], "acme");
    check_eta(&found, ETA);
    until("the company may leave".to_owned(), || async {
        (town.company.books().left == ["d1"]).then_some(())
    })
    .await;
    let asked = town.company.books().bookings["d1"]["asked"].clone();
    assert_eq!((&asked["weightKg"], &asked["dropoff"]["latitude"]), (&json!(40.0), &json!(60.175)));
    let later = "2030-01-01T11:30:00.000Z";
    let position = json!({"latitude": 60.2, "longitude": 24.9});
    let said = json!({"phase": "PickedUp", "sequence": 1, "position": position,
        "deliveryEta": later});
    town.company.says("d1", said);
    check_eta(&town.stands("d1", "PickedUp").await, later);
    town.company.says("d1", json!({"phase": "DroppedOff", "sequence": 2}));
    town.stands("d1", "DroppedOff").await;
    assert!(town.company.books().tokens.iter().all(|it| it == "Bearer t"));
}

#[tokio::test]
async fn what_a_company_does_not_take_the_next_carrier_does_and_one_without_an_answer_is_waited_for()
 {
    let town = Town::up().await;
    town.company.answers("PUT", 422);
    assert_eq!(town.book("d1").await, (200, json!(true)));
    assert_eq!(town.ask(Method::GET, "d1", None).await.1["carrier"], "vans");
    town.company.answers("PUT", 503);
    let (status, problem) = town.book("d2").await;
    assert_eq!((status, &problem["retryable"]), (503, &json!(true)), "{problem}");
    assert_eq!(town.ask(Method::GET, "d2", None).await.0, 404, "nobody was booked in its place");
    town.company.heals();
    assert_eq!(town.book("d2").await, (200, json!(true)));
    assert_eq!(town.ask(Method::GET, "d2", None).await.1["carrier"], "acme");
}

#[tokio::test]
async fn a_booking_whose_answer_was_lost_is_called_off_with_its_delivery() {
    let town = Town::up().await;
    town.company.books().is_slow = true;
    let (status, _) = town.book("d1").await;
    assert!([502, 503, 504].contains(&status), "{status}");
    assert!(town.company.has("d1"), "it was booked all the same");
    town.company.heals();
    assert_eq!(town.ask(Method::DELETE, "d1", None).await.0, 200);
    assert!(!town.company.has("d1"), "it works for nobody");
    assert_eq!(town.book("d1").await.0, 409, "nor ever will");
}

#[tokio::test]
async fn a_company_decides_whether_it_can_still_be_called_off() {
    let town = Town::up().await;
    town.book("d1").await;
    town.company.answers("DELETE", 409);
    let (status, problem) = town.ask(Method::DELETE, "d1", None).await;
    assert_eq!((status, &problem["code"]), (409, &json!("picked_up")));
    assert_eq!(town.ask(Method::GET, "d1", None).await.0, 200, "it goes on");
    town.company.answers("DELETE", 500);
    assert_eq!(town.ask(Method::DELETE, "d1", None).await.0, 503, "nobody has decided");
    town.company.heals();
    assert_eq!(town.ask(Method::DELETE, "d1", None).await.0, 200);
    assert!(!town.company.has("d1"));
}

#[tokio::test]
async fn a_move_is_done_when_the_company_agrees_and_else_the_trip_stays() {
    let town = Town::up().await;
    town.book("d1").await;
    assert_eq!(town.relocate("d1", 60.19, 1).await.0, 200);
    let moved = town.company.books().bookings["d1"]["moved"].clone();
    assert_eq!((&moved["dropoff"]["latitude"], &moved["revision"]), (&json!(60.19), &json!(1)));
    for (status, answer, code) in [(409, 409, "picked_up"), (422, 422, "no_carrier")] {
        town.company.answers("PATCH", status);
        let (given, problem) = town.relocate("d1", 60.2, 2).await;
        assert_eq!((given, &problem["code"]), (answer, &json!(code)));
        let (_, found) = town.ask(Method::GET, "d1", None).await;
        assert_eq!(found["dropoff"]["latitude"], 60.19);
    }
    let calls = town.company.books().calls.len();
    assert_eq!(town.relocate("d1", 60.2, 1).await.0, 200, "the same again is no news");
    let patched = town.company.books().calls[calls..].iter().any(|it| it.starts_with("PATCH"));
    assert!(!patched, "and the company is not asked");
}

#[tokio::test]
async fn another_carrier_takes_the_place_of_a_company_that_gives_up_or_loses_a_booking() {
    let town = Town::up().await;
    for id in ["gives-up", "loses"] {
        town.book(id).await;
        until(format!("{id} may leave"), || async {
            town.company.books().left.contains(&id.to_owned()).then_some(())
        })
        .await;
    }
    town.company.says("gives-up", json!({"phase": "Failed", "sequence": 1}));
    town.company.books().bookings.remove("loses");
    for id in ["gives-up", "loses"] {
        until(format!("another takes {id}"), || async {
            (town.ask(Method::GET, id, None).await.1["carrier"] == "vans").then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn old_news_of_a_failure_hand_a_booking_to_nobody() {
    let town = Town::up().await;
    town.book("d1").await;
    town.company.says("d1", json!({"phase": "EnRouteToPickup", "sequence": 5}));
    town.stands("d1", "EnRouteToPickup").await;
    town.company.says("d1", json!({"phase": "Failed", "sequence": 4}));
    let asked = || {
        let books = town.company.books();
        books.calls.iter().filter(|it| **it == "GET d1").count()
    };
    let before = asked();
    // The second question comes when the first answer was taken in.
    until("it is asked twice more".to_owned(), || async { (asked() >= before + 2).then_some(()) })
        .await;
    town.company.says("d1", json!({"phase": "PickedUp", "sequence": 6}));
    assert_eq!(town.stands("d1", "PickedUp").await["carrier"], "acme");
}

#[tokio::test]
async fn a_company_that_talks_nonsense_changes_nothing_and_holds_up_no_other_delivery() {
    let town = Town::up().await;
    town.book("a").await;
    town.book("b").await;
    town.company.says("a", json!({"phase": "Lost in space", "sequence": 9}));
    town.company.says("b", json!({"phase": "PickedUp", "sequence": 1}));
    town.stands("b", "PickedUp").await;
    let kept = town.stands("a", "Booked").await;
    assert_eq!(kept["carrier"], "acme", "nonsense is no word that it has lost the booking");
}

#[tokio::test]
async fn a_company_is_asked_over_tls_and_told_nothing_when_it_does_not_prove_who_it_is() {
    let town = Town::up_by_tls(true).await;
    assert_eq!(town.book("d1").await, (200, json!(true)));
    town.stands("d1", "Booked").await;
    until("the company may leave".to_owned(), || async {
        (town.company.books().left == ["d1"]).then_some(())
    })
    .await;
    assert!(town.company.books().tokens.iter().all(|it| it == "Bearer t"));
    let town = Town::up_by_tls(false).await;
    // Nobody has decided: neither this company nor, in its place, the next carrier.
    assert_eq!(town.book("d1").await.0, 503);
    let books = town.company.books();
    assert_eq!((books.calls.len(), books.tokens.len()), (0, 0), "{:?}", books.calls);
}

#[tokio::test]
async fn a_company_that_still_serves_somebody_cannot_be_left_out_of_the_settings() {
    let town = Town::up().await;
    let start = async |carriers| start(town.directory.path(), carriers).await;
    // It serves nobody yet: it may be left out.
    start(json!([{"name": "vans"}])).await.unwrap();
    assert_eq!(town.book("d1").await, (200, json!(true)));
    for carriers in [json!([{"name": "vans"}]), json!([{"name": "acme"}])] {
        let error = start(carriers).await.unwrap_err();
        assert!(error.contains("`acme`") && error.contains("(1, such as `d1`)"), "{error}");
    }
    let url = "http://127.0.0.1:9";
    start(json!([{"name": "acme", "url": url, "vehicles": 0}, {"name": "vans"}])).await.unwrap();
}

/// Starts the service with these carriers; gives why it does not start.
async fn start(directory: &std::path::Path, carriers: Value) -> Result<(), String> {
    let tasks = Tasks::new();
    let carriers = serde_json::from_value(carriers).unwrap();
    let config = TransportConfig { carriers, ..TransportConfig::default() };
    let service = ServiceConfig::new("third-party-transport", "one", directory);
    let clock = SystemClock::shared();
    let context = ServiceContext::new(service, clock, Telemetry::disabled(), tasks.clone());
    let started = run(context, FleetConfig::default(), config).await;
    tasks.stop();
    let why = |error: &dyn std::error::Error| error.source().unwrap().to_string();
    started.map(drop).map_err(|error| why(&error))
}

#[tokio::test]
async fn a_carrier_that_cannot_be_called_is_said_at_the_start() {
    for (carriers, expected) in [
        (json!([{"name": "acme", "url": "acme.example"}]), "acme.example"),
        (json!([{"name": "acme", "url": "ftp://acme.example"}]), "ftp://acme.example"),
        (json!([{"name": "acme", "url": "http://acme.example/api"}]), "/api"),
        (json!([{"name": "acme"}, {"name": "acme"}]), "two carriers are called `acme`"),
    ] {
        let directory = TempDir::new().unwrap();
        let error = start(directory.path(), carriers).await.unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}
