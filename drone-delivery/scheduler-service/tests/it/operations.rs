//! The failure table over cancel and move, drone- and carrier-served, made from the definitions: who
//! fails how, what each operation is answered, and what is booked afterwards.

use std::collections::BTreeMap;

use axum::http::Method;
use contracts::topics;
use messaging::Message;
use saga::{Definition, Engine, EngineConfig, EngineKind, EngineParts, EngineSettings, MIGRATIONS};
use scheduler_service::{SchedulerConfig, run};
use serde_json::{Value, json};
use service_kit::{Bound, SagaCaller};
use store::{Store, StoreSettings};
use telemetry::Telemetry;
use workflows::Announcer;

use crate::{
    fixture::{Fixture, ask, every_workflow, message, until},
    requests::{cancel, delivery, stands, with},
    town::{CALL_TIMEOUT, Fault, Kept, Services},
};

/// Time that an operation has; long enough for the repetitions of one call that is not answered.
const COMPLETE_BY_MS: u64 = 8_000;

/// The Scheduler, a Supervisor that undoes what is refused, and the services.
pub(crate) struct Setting {
    pub(crate) fixture: Fixture,
    pub(crate) services: Services,
    pub(crate) bound: Bound,
    _supervisor: Engine,
}

fn settings() -> SchedulerConfig {
    SchedulerConfig {
        complete_by_ms: COMPLETE_BY_MS,
        cancel_complete_by_ms: COMPLETE_BY_MS,
        hand_over_complete_by_ms: COMPLETE_BY_MS,
        ..SchedulerConfig::default()
    }
}

impl Setting {
    pub(crate) async fn new() -> Self {
        let services = Services::default();
        let fixture = Fixture::calling(services.router()).await;
        let context = fixture
            .context_with("scheduler", "scheduler-1", |config| config.call_timeout = CALL_TIMEOUT);
        let bound = run(context, settings()).await.unwrap();
        let _supervisor = supervisor(&fixture).await;
        Self { fixture, services, bound, _supervisor }
    }

    pub(crate) async fn ask(&self, message: Message) {
        self.fixture.publish(topics::DELIVERY_REQUESTS, message).await;
    }

    pub(crate) async fn made(&self, id: &str) {
        self.ask(delivery(id)).await;
        stands(&self.bound, id, "completed").await;
    }

    /// The answers to each operation so far, by the id of its message.
    async fn answers(&self) -> BTreeMap<String, Vec<String>> {
        let mut answers: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for event in self.fixture.said(topics::REQUEST_EVENTS).await {
            if let Some(id) = event["operationId"].as_str() {
                let kind = event["kind"].as_str().unwrap().to_owned();
                answers.entry(id.to_owned()).or_default().push(kind);
            }
        }
        answers
    }

    pub(crate) async fn answered(&self, operation: &str) -> String {
        until(&format!("{operation} is answered"), || async {
            self.answers().await.remove(operation).map(|it| it.join(" "))
        })
        .await
    }
}

async fn supervisor(fixture: &Fixture) -> Engine {
    let context = fixture.context("supervisor", "supervisor-1");
    let path = fixture.directory.path().join("scheduler").join("saga.db");
    let clock = context.clock.clone();
    let store = Store::open(
        &path,
        MIGRATIONS,
        StoreSettings::default(),
        clock.clone(),
        &Telemetry::disabled(),
    );
    let store = store.unwrap();
    let config = EngineConfig {
        instance: "supervisor-1".to_owned(),
        kind: EngineKind::Compensating,
        lock_directory: path.parent().unwrap().join("instances"),
        settings: EngineSettings::default(),
    };
    service_kit::start_relay(&context, &store);
    let parts = EngineParts {
        store,
        definitions: Vec::new(),
        caller: SagaCaller::new(context.client().clone()),
        observer: Announcer::new("supervisor"),
        clock,
        telemetry: Telemetry::disabled(),
    };
    Engine::start(config, parts, &fixture.tasks).await.unwrap()
}

pub(crate) fn moved(delivery: &str, message_id: &str, latitude: f64) -> Message {
    let body = json!({"deliveryId": delivery, "pickupLocation": "60.1,24.9",
        "dropOffLocation": format!("{latitude},24.9")});
    with(message(message_id, delivery, &body), "reschedule")
}

fn is_move(workflow: &str) -> bool {
    [workflows::RESCHEDULE, workflows::RESCHEDULE_CARRIER].contains(&workflow)
}

/// The operation of a workflow, as a message.
fn operation(workflow: &str, delivery: &str, message_id: &str, latitude: f64) -> Message {
    if is_move(workflow) {
        return moved(delivery, message_id, latitude);
    }
    Message { id: message_id.to_owned(), ..cancel(delivery) }
}

/// One line of the table.
#[derive(Debug, Clone)]
struct Case {
    workflow: String,
    step: String,
    decides: bool,
    fault: Fault,
    delivery: String,
}

/// Each callee of each workflow that changes a delivery, with each fault.
fn cases() -> Vec<Case> {
    let all = every_workflow();
    let asked = |it: &&Definition| ![workflows::CREATE, workflows::HAND_OVER].contains(&it.name());
    let changes = all.iter().filter(asked);
    let mut cases = Vec::new();
    for definition in changes {
        for (position, step) in definition.steps().iter().enumerate() {
            for fault in Fault::ALL {
                cases.push(case(definition, position, &step.name, fault));
            }
        }
    }
    cases
}

fn case(definition: &Definition, position: usize, step: &str, fault: Fault) -> Case {
    let workflow = definition.name().to_owned();
    let carriers = [workflows::CANCEL_CARRIER, workflows::RESCHEDULE_CARRIER];
    let who = if carriers.contains(&workflow.as_str()) { "carrier" } else { "drone" };
    let delivery = format!("{who}-{workflow}-{step}-{fault:?}");
    let decides = definition.pivot() == Some(position);
    Case { workflow, step: step.to_owned(), decides, fault, delivery }
}

impl Case {
    /// What the operation is answered, and how often the step was called until then.
    fn expected(&self) -> (&'static str, std::ops::RangeInclusive<usize>) {
        let done = if is_move(&self.workflow) { "RequestRescheduled" } else { "RequestCancelled" };
        match (self.fault, self.decides) {
            (Fault::Refused, true) => ("RequestRefused", 1..=1),
            // A decision that nobody made, or a step after it that was refused, is for a person.
            (Fault::Exception, _) | (Fault::Refused, false) => ("RequestParked", 1..=1),
            (Fault::BusyForEver, true) => ("RequestParked", 3..=200),
            (Fault::BusyForEver, false) => (done, 4..=200),
            (Fault::BusyForAWhile, _) => (done, 3..=3),
            // What comes too late is repeated once, or twice on a machine that is busy.
            (Fault::LostReply | Fault::Delayed, _) => (done, 2..=4),
        }
    }

    fn first(&self) -> String {
        format!("{}-1", self.delivery)
    }

    fn again(&self) -> String {
        format!("{}-2", self.delivery)
    }

    fn calls(&self, setting: &Setting, operation: &str) -> usize {
        let all = setting.services.called(&format!("{}/", self.delivery));
        let of = |it: &str| it.contains(&format!("/{operation}/{}/do/", self.step));
        all.iter().filter(|it| of(&it.0)).count()
    }
}

/// Nothing is booked after a cancel, everything after one that was refused; after a move the door
/// that is flown to is the one that is shown.
fn check_kept(case: &Case, kept: &Kept, refused: bool) {
    let context = format!("{case:?}: {kept:?}");
    if is_move(&case.workflow) {
        assert_eq!(kept.flown_to, kept.shown, "{context}");
        let latitude = if refused { 60.18 } else { 61.0 };
        assert_eq!(kept.shown["latitude"], latitude, "{context}");
        assert!(kept.drone != kept.carrier && kept.delivery && kept.package, "{context}");
    } else if refused {
        assert!(kept.drone != kept.carrier && kept.delivery && kept.package, "{context}");
    } else {
        let nothing = !kept.drone && !kept.carrier && !kept.delivery && !kept.package;
        assert!(nothing, "{context}");
    }
}

/// Waits until each of these operations is answered.
async fn all_answered(setting: &Setting, operations: &[String]) -> BTreeMap<String, Vec<String>> {
    for operation in operations {
        setting.answered(operation).await;
    }
    setting.answers().await
}

#[tokio::test]
async fn every_callee_of_every_operation_may_fail_in_every_way() {
    let setting = Setting::new().await;
    let (services, cases) = (&setting.services, cases());
    assert_eq!(cases.len(), (3 + 3 + 2 + 2) * Fault::ALL.len());
    for case in &cases {
        setting.ask(delivery(&case.delivery)).await;
    }
    for case in &cases {
        stands(&setting.bound, &case.delivery, "completed").await;
    }
    for case in &cases {
        services.fail(&case.delivery, &case.step, case.fault);
        setting.ask(operation(&case.workflow, &case.delivery, &case.first(), 61.0)).await;
    }
    // A step after the decision is repeated until the service is well; a person is told.
    let lasting: Vec<&Case> =
        cases.iter().filter(|it| it.fault == Fault::BusyForEver && !it.decides).collect();
    for case in &lasting {
        let alerted = |it: &Value| it["text"].as_str().unwrap().contains(&case.first());
        setting.fixture.hears(topics::ALERTS, alerted).await;
        assert!(!setting.answers().await.contains_key(&case.first()), "{case:?}");
        services.mend(&case.delivery);
    }
    let first: Vec<String> = cases.iter().map(Case::first).collect();
    let answers = all_answered(&setting, &first).await;
    for case in &cases {
        let (answer, calls) = case.expected();
        assert_eq!(answers[&case.first()], [answer], "{case:?}");
        let called = case.calls(&setting, &case.first());
        assert!(calls.contains(&called), "{case:?}: {called} calls");
        services.mend(&case.delivery);
    }
    ask_again(&setting, &cases).await;
    for case in &cases {
        let refused = case.expected().0 == "RequestRefused";
        check_kept(case, &services.kept(&case.delivery), refused);
    }
    let answers = setting.answers().await;
    let twice: Vec<_> = answers.iter().filter(|it| it.1.len() != 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
}

/// What was parked can be asked for again at once, and is done.
async fn ask_again(setting: &Setting, cases: &[Case]) {
    let parked: Vec<&Case> = cases.iter().filter(|it| it.expected().0 == "RequestParked").collect();
    for case in &parked {
        setting.ask(operation(&case.workflow, &case.delivery, &case.again(), 61.0)).await;
    }
    let again: Vec<String> = parked.iter().map(|it| it.again()).collect();
    let answers = all_answered(setting, &again).await;
    for case in parked {
        let done = ["RequestCancelled", "RequestRescheduled"];
        assert!(done.contains(&answers[&case.again()][0].as_str()), "{case:?}: {answers:?}");
    }
}

/// No call of the second operation came before the last of the first.
#[track_caller]
fn check_order(setting: &Setting, first: &str, second: &str) {
    let called = setting.services.called("d1/");
    let of = |it: &str, operation: &str| it.contains(&format!("/{operation}/"));
    let last_of_first = called.iter().rposition(|it| of(&it.0, first)).unwrap();
    let first_of_second = called.iter().position(|it| of(&it.0, second)).unwrap();
    assert!(last_of_first < first_of_second, "{called:?}");
}

#[tokio::test]
async fn of_two_moves_at_once_the_later_one_counts_although_the_earlier_is_delayed() {
    let setting = Setting::new().await;
    setting.made("d1").await;
    setting.services.fail("d1", "delivery", Fault::Delayed);
    setting.ask(moved("d1", "m1", 61.0)).await;
    setting.ask(moved("d1", "m2", 62.0)).await;
    for id in ["m1", "m2"] {
        assert_eq!(setting.answered(id).await, "RequestRescheduled");
    }
    let kept = setting.services.kept("d1");
    assert_eq!((&kept.flown_to["latitude"], &kept.shown["latitude"]), (&json!(62.0), &json!(62.0)));
    check_order(&setting, "m1", "m2");
}

#[tokio::test]
async fn a_cancel_behind_a_move_waits_for_it_and_leaves_nothing_booked() {
    let setting = Setting::new().await;
    setting.made("d1").await;
    setting.services.fail("d1", "delivery", Fault::Delayed);
    setting.ask(moved("d1", "m1", 61.0)).await;
    setting.ask(Message { id: "c1".to_owned(), ..cancel("d1") }).await;
    assert_eq!(setting.answered("c1").await, "RequestCancelled");
    assert_eq!(setting.answered("m1").await, "RequestRescheduled");
    check_order(&setting, "m1", "c1");
    let kept = setting.services.kept("d1");
    assert!(!kept.drone && !kept.delivery && !kept.package, "{kept:?}");
}

#[tokio::test]
async fn a_cancel_overtakes_its_create_and_the_move_between_them_and_each_has_its_answer() {
    let setting = Setting::new().await;
    setting.services.fail("d1", "package", Fault::BusyForEver);
    setting.ask(delivery("d1")).await;
    stands(&setting.bound, "d1", "running").await;
    setting.ask(moved("d1", "m1", 61.0)).await;
    for id in ["c1", "c2"] {
        setting.ask(Message { id: id.to_owned(), ..cancel("d1") }).await;
    }
    for id in ["c1", "c2"] {
        assert_eq!(setting.answered(id).await, "RequestCancelled");
    }
    assert_eq!(setting.answered("m1").await, "RequestRefused", "there is nothing to move");
    assert_eq!(setting.services.kept("d1"), Kept { flown_to: Value::Null, ..Kept::default() });
}

#[tokio::test]
async fn a_line_that_is_full_turns_the_next_operation_away_with_its_answer() {
    let services = Services::default();
    let fixture = Fixture::calling(services.router()).await;
    let mut config = settings();
    config.engine.waiting_max = 1;
    let bound = run(fixture.context("scheduler", "scheduler-1"), config).await.unwrap();
    services.fail("d1", "package", Fault::BusyForEver);
    fixture.publish(topics::DELIVERY_REQUESTS, delivery("d1")).await;
    stands(&bound, "d1", "running").await;
    // One may wait as a word to the create, while that does not know who serves the delivery.
    fixture.publish(topics::DELIVERY_REQUESTS, moved("d1", "m1", 61.0)).await;
    until("the first waits as a word", || async {
        let (_, create) = ask(&bound.http_url(), Method::GET, "/api/sagas/d1%2Fcreate", None).await;
        create["history"].to_string().contains("d1/reschedule/m1").then_some(())
    })
    .await;
    for id in ["m2", "m3"] {
        fixture.publish(topics::DELIVERY_REQUESTS, moved("d1", id, 61.0)).await;
    }
    let refused = fixture.hears(topics::REQUEST_EVENTS, |it| it["operationId"] == "m3").await;
    assert_eq!(refused["kind"], "RequestRefused");
    assert!(refused["reason"].as_str().unwrap().contains("line_full"), "{refused}");
}
