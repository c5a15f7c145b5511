//! A Scheduler finishes what one of before began, by the steps that it was begun with.

use std::time::Duration;

use contracts::topics;
use runtime::Tasks;
use saga::{
    Call, Definition, Engine, EngineConfig, EngineKind, EngineParts, EngineSettings, MIGRATIONS,
    Start, Step,
};
use scheduler_service::SchedulerConfig;
use serde_json::json;
use service_kit::SagaCaller;
use store::{Store, StoreSettings};
use telemetry::Telemetry;
use workflows::Announcer;

use crate::{
    fixture::{Fixture, until},
    requests::{cancel, stands, start},
};

/// Create as it was before the fleet could decline, from where the transport is decided on.
fn first_create() -> Definition {
    let transport = "/api/thirdpartydeliveries/{{input.deliveryId}}";
    let drone = "/api/dronedeliveries/{{input.deliveryId}}";
    let delivery = Call::put("/api/deliveries/{{input.deliveryId}}")
        .body(json!({"droneId": "{{steps.drone.body ?? null}}"}));
    let carrier = "third-party-transport";
    Definition::builder(workflows::CREATE, 1)
        .step(
            Step::compensable(carrier, carrier, Call::put(transport)).undo(Call::delete(transport)),
        )
        .step(
            Step::compensable("drone", "drone", Call::put(drone))
                .skip_when(carrier, "", true)
                .undo(Call::delete(drone)),
        )
        .step(Step::pivot("delivery", "delivery", delivery))
        .build()
        .unwrap()
}

/// A Scheduler of then, which ends as soon as the drone was asked for.
async fn begun_before(fixture: &Fixture) {
    let context = fixture.context("scheduler", "scheduler-1");
    let directory = fixture.directory.path().join("scheduler");
    std::fs::create_dir_all(&directory).unwrap();
    let (path, clock) = (directory.join("saga.db"), context.clock.clone());
    let quiet = Telemetry::disabled();
    let settings = StoreSettings::default();
    let store = Store::open(&path, MIGRATIONS, settings, clock.clone(), &quiet).unwrap();
    let config = EngineConfig {
        instance: "scheduler-1".to_owned(),
        kind: EngineKind::Forward,
        lock_directory: directory.join("instances"),
        settings: EngineSettings::default(),
    };
    let parts = EngineParts {
        store,
        definitions: vec![first_create()],
        caller: SagaCaller::new(context.client().clone()),
        observer: Announcer::new("scheduler"),
        clock,
        telemetry: quiet,
    };
    let tasks = Tasks::new();
    let engine = Engine::start(config, parts, &tasks).await.unwrap();
    let input = json!({"deliveryId": "d1", "packageInfo": {"packageId": "p1"}});
    let create = Start::new(workflows::create_id("d1"), workflows::CREATE, input);
    engine.submit(Start { subject: Some("d1".to_owned()), ..create }).await.unwrap();
    until("the drone is asked for", || async {
        fixture.got().iter().any(|it| it.line.contains("dronedeliveries")).then_some(())
    })
    .await;
    tasks.drain(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn a_create_that_an_older_scheduler_began_ends_by_its_own_steps_and_can_be_cancelled() {
    let fixture = Fixture::new().await;
    fixture.answer("PUT /api/dronedeliveries", 503, "");
    begun_before(&fixture).await;
    fixture.answer("PUT /api/dronedeliveries", 200, "d-7");
    let bound = start(&fixture, SchedulerConfig::default()).await;
    let view = stands(&bound, "d1", "completed").await;
    assert_eq!(view["steps"].as_array().unwrap().len(), 3, "{view}");
    let got = fixture.got();
    assert_eq!(got.last().unwrap().body["droneId"], "d-7", "{got:?}");
    assert!(got.iter().all(|it| !it.line.contains("decline")), "{got:?}");
    fixture.publish(topics::DELIVERY_REQUESTS, cancel("d1")).await;
    let answer = fixture.hears(topics::REQUEST_EVENTS, |it| it["operationId"] == "c-d1").await;
    assert_eq!(answer["kind"], "RequestCancelled");
    let asked = &fixture.got()[got.len()];
    assert_eq!(asked.line, "DELETE /api/dronedeliveries/d1", "the drone decides");
}
