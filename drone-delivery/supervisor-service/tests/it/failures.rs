//! What becomes of transactions that fail.

use axum::http::Method;
use contracts::topics;
use saga::{
    Call, Definition, Engine, EngineConfig, EngineKind, EngineParts, EngineSettings, MIGRATIONS,
    Start, Step,
};
use serde_json::{Value, json};
use service_kit::{Bound, SagaCaller};
use store::{Store, StoreSettings};
use supervisor_service::{SupervisorConfig, run};
use telemetry::Telemetry;

use crate::fixture::{Fixture, ask, until};

/// A create with three steps: enough to fail in the middle.
fn create() -> Definition {
    let package = Step::compensable("package", "package", Call::put("/api/packages/p"))
        .undo(Call::delete("/api/packages/p"))
        .undo_attempts_max(2);
    let drone = Step::compensable("drone", "drone", Call::put("/api/dronedeliveries/d"))
        .undo(Call::delete("/api/dronedeliveries/d"))
        .undo_first();
    Definition::builder("create", 1)
        .step(package)
        .step(drone)
        .step(Step::pivot("delivery", "delivery", Call::put("/api/deliveries/d")))
        .build()
        .unwrap()
}

struct Setting {
    fixture: Fixture,
    scheduler: Engine,
    bound: Bound,
}

impl Setting {
    async fn new() -> Self {
        Self::with(SupervisorConfig::default()).await
    }

    async fn with(supervisor: SupervisorConfig) -> Self {
        let fixture = Fixture::new().await;
        let context = fixture.context("scheduler", "scheduler-1");
        let path = fixture.directory.path().join("scheduler").join("saga.db");
        let (clock, settings) = (context.clock.clone(), StoreSettings::default());
        let store = Store::open(&path, MIGRATIONS, settings, clock.clone(), &Telemetry::disabled())
            .unwrap();
        let config = EngineConfig {
            instance: "scheduler-1".to_owned(),
            kind: EngineKind::Forward,
            lock_directory: path.parent().unwrap().join("instances"),
            settings: EngineSettings::default(),
        };
        let parts = EngineParts {
            store,
            definitions: vec![create()],
            caller: SagaCaller::new(context.client().clone()),
            observer: (),
            clock,
            telemetry: Telemetry::disabled(),
        };
        let scheduler = Engine::start(config, parts, &fixture.tasks).await.unwrap();
        let context = fixture.context("supervisor", "supervisor-1");
        let bound = run(context, supervisor).await.unwrap();
        Self { fixture, scheduler, bound }
    }

    async fn submit(&self, delivery: &str) {
        let input = json!({"for": "somebody"});
        let start = Start::new(format!("{delivery}/create"), "create", input);
        self.scheduler.submit(start).await.unwrap();
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        ask(&self.bound.http_url(), Method::GET, path, None).await
    }

    /// The first alert on the list of this severity.
    async fn alert(&self, severity: &str) -> Option<Value> {
        let (_, listed) = self.get("/api/alerts").await;
        listed.as_array()?.iter().find(|it| it["severity"] == severity).cloned()
    }

    async fn act(&self, delivery: &str, action: &str, note: &str) -> (u16, Value) {
        let path = format!("/api/failures/{delivery}/action");
        let body = json!({"action": action, "note": note});
        ask(&self.bound.http_url(), Method::PUT, &path, Some(&body)).await
    }

    async fn stands(&self, delivery: &str, state: &str) -> Value {
        until(&format!("{delivery} is {state}"), || async {
            let (_, body) = self.get(&format!("/api/failures/{delivery}")).await;
            (body["state"] == state).then_some(body)
        })
        .await
    }
}

#[tokio::test]
async fn a_refused_transaction_is_undone_and_everybody_hears_of_it() {
    let setting = Setting::new().await;
    setting.fixture.answer("PUT /api/deliveries", 500, "");
    setting.submit("d1").await;
    let event = setting.fixture.hears(topics::REQUEST_EVENTS, |_| true).await;
    assert_eq!(
        (&event["kind"], &event["failedStep"]),
        (&json!("RequestFailed"), &json!("delivery"))
    );
    let told = setting.fixture.hears(topics::NOTIFICATIONS, |_| true).await;
    assert_eq!((&told["deliveryId"], &told["template"]), (&json!("d1"), &json!("failed")));
    let alert = setting.fixture.hears(topics::ALERTS, |_| true).await;
    assert_eq!(alert["severity"], "warning");
    let undone: Vec<String> = setting
        .fixture
        .got()
        .iter()
        .filter(|it| it.line.starts_with("DELETE"))
        .map(|it| it.key.clone())
        .collect();
    assert_eq!(undone, ["\"d1/create/drone/undo/0\"", "\"d1/create/package/undo/0\""]);
    let shown = setting.stands("d1", "compensated").await;
    assert_eq!(
        (&shown["failedStep"], &shown["failureClass"]),
        (&json!("delivery"), &json!("non_transient"))
    );
    let (_, listed) = setting.get("/api/failures?state=compensated").await;
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!(setting.get("/api/failures/d2").await.0, 404);
    assert_eq!(setting.get("/api/failures?state=happy").await.0, 400);
}

#[tokio::test]
async fn an_undo_that_is_refused_waits_for_a_person_and_the_audit_keeps_why() {
    let setting = Setting::new().await;
    setting.fixture.answer("PUT /api/dronedeliveries", 409, "");
    setting.fixture.answer("DELETE /api/packages", 500, "");
    setting.submit("d1").await;
    let parked = setting.stands("d1", "parked").await;
    assert_eq!(parked["parked"], "undo of `package`: http_500");
    setting.fixture.hears(topics::REQUEST_EVENTS, |it| it["kind"] == "RequestParked").await;
    let alert = setting.fixture.hears(topics::ALERTS, |_| true).await;
    assert_eq!(alert["severity"], "critical");
    let alert = until("the alert is on the list", || setting.alert("critical")).await;
    assert_eq!((&alert["deliveryId"], &alert["count"]), (&json!("d1"), &json!(1)));
    let text = alert["text"].as_str().unwrap();
    assert!(text.contains("d1/create: undo of `package`"), "{text}");

    setting.fixture.answer("DELETE /api/packages", 200, "");
    let (status, _) = setting.act("d1", "compensate", "the store is back").await;
    assert_eq!(status, 202);
    let shown = setting.stands("d1", "compensated").await;
    assert_eq!(shown["audit"][0]["note"], "the store is back");
    setting.fixture.hears(topics::REQUEST_EVENTS, |it| it["kind"] == "RequestFailed").await;
    assert_eq!(setting.alert("critical").await, None, "whoever acts looks after it");
}

#[tokio::test]
async fn an_alert_leaves_the_list_when_somebody_looks_after_it() {
    let setting = Setting::new().await;
    setting.fixture.answer("PUT /api/dronedeliveries", 409, "");
    setting.submit("d1").await;
    let alert = until("the alert is on the list", || setting.alert("warning")).await;
    let path = format!("/api/alerts/{}/acknowledgement", alert["id"].as_str().unwrap());
    let base = setting.bound.http_url();
    for _ in 0..2 {
        let (status, _) = ask(&base, Method::PUT, &path, Some(&json!({"actor": "ann"}))).await;
        assert_eq!(status, 204);
    }
    assert_eq!(setting.get("/api/alerts").await.1, json!([]));
    let (_, all) = setting.get("/api/alerts?all=true").await;
    assert_eq!(all[0]["acknowledgedBy"], "ann", "{all}");
    let unknown = "/api/alerts/none/acknowledgement";
    assert_eq!(ask(&base, Method::PUT, unknown, Some(&json!({}))).await.0, 404);
}

#[tokio::test]
async fn an_action_that_is_sent_again_and_again_is_taken_once() {
    let setting = Setting::new().await;
    setting.fixture.answer("PUT /api/dronedeliveries", 409, "");
    setting.fixture.answer("DELETE /api/packages", 409, "");
    setting.submit("d1").await;
    setting.stands("d1", "parked").await;
    for _ in 0..16 {
        // Taken, known, or too late: never taken twice.
        let (status, body) = setting.act("d1", "resolve", "settled by hand").await;
        assert!([202, 409].contains(&status), "{status} {body}");
    }
    let shown = setting.stands("d1", "resolved").await;
    assert_eq!(shown["audit"].as_array().unwrap().len(), 1, "{shown}");
    assert_eq!(setting.act("d1", "resolve", "again").await.0, 409);
    assert_eq!(setting.act("d1", "forget", "").await.0, 400);
}

#[tokio::test]
async fn a_service_that_was_away_gets_another_try_before_anything_is_undone() {
    let setting = Setting::new().await;
    setting.fixture.answer("PUT /api/dronedeliveries", 502, "");
    setting.submit("d1").await;
    until("it was given up once", || async {
        let found = setting.scheduler.get("d1/create").await.unwrap()?;
        (found.state.hand_backs == 1).then_some(())
    })
    .await;
    setting.fixture.answer("PUT /api/dronedeliveries", 200, "d-7");
    until("it completes", || async {
        let found = setting.scheduler.get("d1/create").await.unwrap()?;
        (found.status() == saga::Status::Completed).then_some(())
    })
    .await;
    assert!(setting.fixture.got().iter().all(|it| !it.line.starts_with("DELETE")));
}

#[tokio::test]
async fn without_further_rounds_a_service_that_is_away_is_undone_at_once() {
    let mut config = SupervisorConfig::default();
    config.engine.hand_backs_max = 0;
    let setting = Setting::with(config).await;
    setting.fixture.answer("PUT /api/dronedeliveries", 502, "");
    setting.submit("d1").await;
    setting.stands("d1", "compensated").await;
    let found = setting.scheduler.get("d1/create").await.unwrap().unwrap();
    assert_eq!(found.state.hand_backs, 0);
    let tries = setting.fixture.got();
    let tries = tries.iter().filter(|it| it.line.starts_with("PUT /api/dronedeliveries"));
    assert_eq!(tries.count(), 4, "one round of tries");
}
