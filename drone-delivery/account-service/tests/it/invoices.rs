//! What an account used in a month, where those who know answer, and where they do not.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use account_service::{AccountConfig, run};
use axum::extract::State;
use http::{HeaderName, StatusCode, Uri};
use runtime::{SystemClock, Tasks};
use serde_json::{Value, json};
use service_kit::{
    Bound, Call, Client, Problem, Routes, Service, ServiceAddresses, ServiceConfig, ServiceContext,
};
use telemetry::Telemetry;
use tokio::sync::Barrier;

/// What one of those who know says.
#[derive(Clone)]
enum Says {
    Json(Value),
    /// Once all three are asked.
    Together(Value, Arc<Barrier>),
    Text(&'static str),
    Status(u16),
    Nothing,
}

async fn answer(State(says): State<Says>) -> Result<String, Problem> {
    match says {
        Says::Json(value) => Ok(value.to_string()),
        Says::Together(value, all) => {
            all.wait().await;
            Ok(value.to_string())
        }
        Says::Text(text) => Ok(text.to_owned()),
        Says::Status(404) => Err(Problem::not_found("nothing")),
        Says::Status(status) => {
            Err(Problem::refusal(StatusCode::from_u16(status).unwrap(), "such", "it is so"))
        }
        Says::Nothing => std::future::pending().await,
    }
}

const PATHS: [(&str, &str); 3] = [
    ("delivery", "/api/deliveries/summary"),
    ("package", "/api/packages/summary/{owner}"),
    ("drone", "/api/dronedeliveries/utilization"),
];

fn context(
    name: &'static str,
    services: ServiceAddresses,
    data: &std::path::Path,
) -> ServiceContext {
    let config = ServiceConfig { services, ..ServiceConfig::new(name, name, data) };
    ServiceContext::new(config, SystemClock::shared(), Telemetry::disabled(), Tasks::new())
}

struct Stage {
    client: Client,
    _directory: tempfile::TempDir,
}

impl Stage {
    /// Account, beside those of Delivery, Package and Drone who say this; the others are not there.
    async fn new(says: [Option<Says>; 3]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut services = ServiceAddresses::new();
        for ((name, path), says) in PATHS.into_iter().zip(says) {
            let Some(says) = says else { continue };
            let routes = Routes::new().get(path, answer).with_state(says);
            let own = context(name, ServiceAddresses::new(), directory.path());
            let bound: Bound = Service::new(routes).serve(&own).unwrap();
            services = services.with(name, bound.http_url());
        }
        let own = context("account", services, directory.path());
        let bound = run(own, AccountConfig::default()).await.unwrap();
        let services = ServiceAddresses::new().with("account", bound.http_url());
        let client = Client::new(services, Duration::from_secs(10), Telemetry::disabled());
        Self { client, _directory: directory }
    }

    async fn ask(&self, path: &str, principal: Option<(&str, &str)>) -> (u16, Value) {
        let mut call = Call::get("account", path.to_owned());
        if let Some((name, reach)) = principal {
            call = call
                .header(HeaderName::from_static("skein-principal"), name)
                .header(HeaderName::from_static("skein-reach"), reach);
        }
        let reply = self.client.call(call).await.unwrap();
        (reply.status.as_u16(), reply.json().unwrap_or_default())
    }
}

const INVOICE: &str = "/api/invoices/alice?year=2026&month=11";

fn deliveries() -> Value {
    json!({"count": 3})
}

fn packages() -> Value {
    json!({"totalWeight": 12.5})
}

fn drones() -> Value {
    json!({"traveledMiles": 7.5, "assignedHours": 0.5})
}

fn all() -> [Option<Says>; 3] {
    [deliveries(), packages(), drones()].map(|it| Some(Says::Json(it)))
}

#[tokio::test]
async fn the_three_are_asked_at_once() {
    // Each answers when all have been asked: one after the other, nobody would.
    let barrier = Arc::new(Barrier::new(3));
    let parts = [deliveries(), packages(), drones()];
    let stage = Stage::new(parts.map(|it| Some(Says::Together(it, Arc::clone(&barrier))))).await;
    let whole = json!({"ownerId": "alice", "year": 2026, "month": 11, "deliveries": deliveries(),
        "packages": packages(), "drones": drones(), "missing": []});
    assert_eq!(stage.ask(INVOICE, None).await, (200, whole));
}

#[tokio::test]
async fn what_could_not_be_had_is_null_and_named_and_the_rest_is_there() {
    let gaps = [
        (Some(Says::Status(500)), "such"),
        (Some(Says::Text("{\"count\": -1}")), "upstream_malformed"),
        (Some(Says::Text("<html>")), "upstream_malformed"),
        (Some(Says::Nothing), "upstream_timeout"),
        (None, "upstream_unavailable"),
    ];
    let names = ["deliveries", "packages", "drones"];
    for gap in 0..3 {
        for (says, code) in gaps.clone() {
            let mut parts = all();
            parts[gap] = says;
            let (status, said) = Stage::new(parts).await.ask(INVOICE, None).await;
            assert_eq!(status, 200, "{said}");
            let whole: BTreeMap<_, _> =
                names.into_iter().zip([deliveries(), packages(), drones()]).collect();
            for (number, name) in names.into_iter().enumerate() {
                let expected = if number == gap { &Value::Null } else { &whole[name] };
                assert_eq!(&said[name], expected, "{name} of {said}");
            }
            let [missing] = said["missing"].as_array().unwrap().as_slice() else {
                panic!("one is missing: {said}");
            };
            assert_eq!(
                (&missing["part"], &missing["service"]),
                (&names[gap].into(), &PATHS[gap].0.into())
            );
            assert_eq!(missing["code"], code, "{said}");
        }
    }
}

#[tokio::test]
async fn where_nothing_was_flown_it_is_nothing_and_not_a_gap() {
    let mut parts = all();
    parts[2] = Some(Says::Status(404));
    let (_, said) = Stage::new(parts).await.ask(INVOICE, None).await;
    assert_eq!(said["drones"], json!({"traveledMiles": 0.0, "assignedHours": 0.0}));
    assert_eq!(said["missing"], json!([]));
}

#[tokio::test]
async fn api1_broken_object_level_authorization_an_invoice_is_its_account_s_alone() {
    let stage = Stage::new(all()).await;
    let of = async |name, reach| stage.ask(INVOICE, Some((name, reach))).await.0;
    assert_eq!((of("alice", "own").await, of("otto", "all").await), (200, 200));
    assert_eq!((of("bob", "own").await, of("alice", "nothing").await), (404, 404));
    for wrong in
        ["year=2026&month=13", "year=0&month=1", "year=2026", "month=1", "", "year=x&month=1"]
    {
        let path = format!("/api/invoices/alice?{wrong}");
        assert_eq!(stage.ask(&path, Some(("alice", "own"))).await.0, 400, "{wrong}");
    }
}

#[tokio::test]
async fn a_name_with_signs_of_a_query_is_asked_for_as_it_is() {
    async fn echo(uri: Uri) -> String {
        let is_whole = uri.query() == Some("ownerId=a%26b%2F%3Fc&year=2026&month=1");
        json!({"count": u64::from(is_whole)}).to_string()
    }
    let directory = tempfile::tempdir().unwrap();
    let own = context("delivery", ServiceAddresses::new(), directory.path());
    let bound = Service::new(Routes::new().get(PATHS[0].1, echo)).serve(&own).unwrap();
    let services = ServiceAddresses::new().with("delivery", bound.http_url());
    let bound = run(context("account", services, directory.path()), AccountConfig::default()).await;
    let services = ServiceAddresses::new().with("account", bound.unwrap().http_url());
    let client = Client::new(services, Duration::from_secs(10), Telemetry::disabled());
    let path = "/api/invoices/a%26b%2F%3Fc?year=2026&month=1";
    let said = client.call(Call::get("account", path)).await.unwrap().json().unwrap();
    assert_eq!((&said["ownerId"], &said["deliveries"]["count"]), (&json!("a&b/?c"), &json!(1)));
}
