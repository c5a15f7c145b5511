//! What an engine does with sagas that nobody disturbs, and with people who disturb them.

use base::Direction;
use saga::{
    CallResult, Caller, EngineKind, EngineSettings, ListFilter, OutgoingCall, Signal, SignalKind,
    Signalled, Start, StartError, Status, SubmitError, Submitted,
    machine::{OperatorAction, Verb},
};
use serde_json::json;

use crate::fixture::{Fixture, STEPS, ends, order, order_for, until};

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn operator(verb: Verb) -> SignalKind {
    let (actor, reason) = ("ada".to_owned(), "looked into it".to_owned());
    SignalKind::Operator(OperatorAction { actor, verb, reason })
}

fn word(id: &str, kind: SignalKind) -> Signal {
    Signal { id: id.to_owned(), kind }
}

fn cancel() -> SignalKind {
    let or_else = Start { definition: "stop".to_owned(), ..order("a/stop") };
    SignalKind::Cancel { reason: "asked".to_owned(), or_else: Some(or_else) }
}

#[tokio::test]
async fn a_saga_completes_with_one_effect_a_step_under_its_trace() {
    let fixture = Fixture::new();
    let process = fixture.start("one", EngineKind::Forward).await;
    let start = Start { trace: Some(TRACE.to_owned()), ..order("a/create") };
    assert_eq!(process.engine.submit(start).await, Ok(Submitted::New));
    let view = ends(&process.engine, "a/create", Status::Completed).await;
    for step in STEPS {
        assert_eq!(fixture.services.effects("a/create", step), (1, 0), "{step}");
    }
    assert!(view.steps().iter().all(|it| it.status == "done"), "{:?}", view.steps());
    assert_eq!((view.owner, view.epoch), (None, 1));
    let history = process.engine.history("a/create").await.unwrap();
    assert_eq!(history.len(), 7, "accepted, five steps, closed: {history:?}");

    let calls = fixture.services.0.lock().unwrap().calls.clone();
    let keys: Vec<String> = calls.iter().map(|it| it.operation.to_string()).collect();
    assert_eq!(keys[0], "a/create/account/do/0");
    let (trace, _) = TRACE[3..].split_once('-').unwrap();
    assert!(calls.iter().all(|it| it.trace.as_ref().unwrap().trace_id.to_string() == trace));
    let spans = process.telemetry.take_ready(100);
    assert_eq!(spans.len(), 5);
    assert!(spans[0].attributes.iter().any(|(name, _)| name == "saga.id"));
    let metrics = process.telemetry.metrics().encode();
    assert!(metrics.contains(r#"saga_closed_total{definition="order",outcome="completed"} 1"#));
    assert!(metrics.contains(r#"saga_steps_total{step="mail",direction="do",outcome="done"} 1"#));
}

#[tokio::test]
async fn the_same_start_is_the_same_saga_and_another_input_is_refused() {
    let fixture = Fixture::new();
    let process = fixture.start("one", EngineKind::Forward).await;
    let engine = &process.engine;
    let (first, second) = tokio::join!(engine.submit(order("a")), engine.submit(order("a")));
    assert!(first.is_ok() && second.is_ok(), "{first:?} {second:?}");
    ends(engine, "a", Status::Completed).await;
    let again = engine.submit(order("a")).await;
    assert_eq!(again, Ok(Submitted::Exists { status: Status::Completed }));
    let other = engine.submit(order_for("a", json!({"for": "somebody else"}))).await;
    assert_eq!(other, Err(SubmitError::OtherInput));
    let unknown = Start { definition: "what".to_owned(), ..order("b") };
    let name = "what".to_owned();
    assert_eq!(engine.submit(unknown).await, Err(SubmitError::UnknownDefinition { name }));
    assert_eq!(fixture.services.calls(), 5);
}

#[tokio::test]
async fn a_refused_saga_is_undone_by_the_supervisor_and_a_busy_service_gets_another_try() {
    let fixture = Fixture::new();
    let forward = fixture.start("scheduler", EngineKind::Forward).await;
    let undo = fixture.start("supervisor", EngineKind::Compensating).await;
    let refused = CallResult::problem(409, "taken", false);
    fixture.services.plan("order", Direction::Do, &[refused]);
    forward.engine.submit(order("refused")).await.unwrap();
    let view = ends(&forward.engine, "refused", Status::Compensated).await;
    assert_eq!(view.cause().unwrap().step, "order");
    for step in ["account", "stock", "carrier"] {
        assert_eq!(fixture.services.effects("refused", step), (1, 1), "{step}");
    }
    // Four failures exhaust the attempts; the first hand-back brings fresh ones.
    fixture.services.plan("stock", Direction::Do, &vec![CallResult::REFUSED; 5]);
    forward.engine.submit(order("late")).await.unwrap();
    let view = ends(&undo.engine, "late", Status::Completed).await;
    assert_eq!(view.state.hand_backs, 1);
}

#[tokio::test]
async fn a_parked_saga_is_listed_and_a_person_resumes_it_from_another_process() {
    let fixture = Fixture::new();
    let forward = fixture.start("scheduler", EngineKind::Forward).await;
    let undo = fixture.start("supervisor", EngineKind::Compensating).await;
    fixture.services.plan("mail", Direction::Do, &[CallResult::problem(404, "gone", false)]);
    forward.engine.submit(order("a")).await.unwrap();
    ends(&forward.engine, "a", Status::Parked).await;
    let filter = ListFilter { status: vec![Status::Parked], limit: 10, ..ListFilter::default() };
    assert_eq!(undo.engine.list(filter).await.unwrap().len(), 1);
    until("the gauge shows it", || async {
        undo.telemetry.metrics().encode().contains("saga_parked_count 1").then_some(())
    })
    .await;
    let said = undo.engine.signal("a", word("1", operator(Verb::Retry))).await.unwrap();
    assert_eq!(said, Signalled::Delivered(Status::Parked));
    ends(&undo.engine, "a", Status::Completed).await;
    let history = undo.engine.history("a").await.unwrap();
    assert!(format!("{history:?}").contains("looked into it"));
}

#[tokio::test]
async fn the_pages_of_a_list_hold_each_saga_once_although_newer_ones_come_meanwhile() {
    let fixture = Fixture::new();
    let forward = fixture.start("scheduler", EngineKind::Forward).await;
    let engine = &forward.engine;
    for id in ["a", "b", "c"] {
        engine.submit(order(id)).await.unwrap();
    }
    let page = async |after: Option<&str>| {
        let after = after.map(str::to_owned);
        let filter = ListFilter { after, limit: 2, ..ListFilter::default() };
        let listed = engine.list(filter).await.unwrap();
        listed.iter().map(|it| it.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(page(None).await, ["c", "b"]);
    engine.submit(order("d")).await.unwrap();
    assert_eq!(page(Some("b")).await, ["a"]);
    assert_eq!(page(Some("a")).await, [""; 0]);
    assert_eq!(page(Some("never")).await, [""; 0]);
}

#[tokio::test]
async fn a_word_counts_once_and_one_to_a_saga_that_comes_later_waits_for_it() {
    let fixture = Fixture::new();
    let forward = fixture.start("scheduler", EngineKind::Forward).await;
    let _undo = fixture.start("supervisor", EngineKind::Compensating).await;
    let engine = &forward.engine;
    assert_eq!(engine.signal("a", word("c", cancel())).await.unwrap(), Signalled::Waiting);
    assert_eq!(engine.signal("a", word("c", cancel())).await.unwrap(), Signalled::Known);
    engine.submit(order("a")).await.unwrap();
    ends(engine, "a", Status::Cancelled).await;
    assert_eq!(fixture.services.calls(), 0);
    let nonsense =
        SignalKind::Then { start: Start { definition: "what".to_owned(), ..order("x") } };
    let said = engine.signal("a", word("n", nonsense)).await.unwrap();
    assert_eq!(said, Signalled::UnknownDefinition);
}

#[tokio::test]
async fn a_cancel_that_comes_too_late_starts_what_was_to_be_done_instead() {
    let fixture = Fixture::new();
    let forward = fixture.start("scheduler", EngineKind::Forward).await;
    forward.engine.submit(order("a")).await.unwrap();
    ends(&forward.engine, "a", Status::Completed).await;
    forward.engine.signal("a", word("c", cancel())).await.unwrap();
    ends(&forward.engine, "a/stop", Status::Completed).await;
    assert_eq!(forward.engine.get("a").await.unwrap().unwrap().status(), Status::Completed);
}

#[tokio::test]
async fn past_its_bound_an_engine_refuses_sagas_and_accepts_them_again_later() {
    let fixture = Fixture::new();
    let mut config = fixture.config("one", EngineKind::Forward);
    config.settings.open_sagas_max = 1;
    let process = fixture.start_with(config, fixture.services.clone()).await.unwrap();
    fixture.services.plan("mail", Direction::Do, &vec![CallResult::REFUSED; 8]);
    process.engine.submit(order("a")).await.unwrap();
    let overloaded = SubmitError::Overloaded { open_max: 1 };
    assert_eq!(process.engine.submit(order("b")).await, Err(overloaded));
    ends(&process.engine, "a", Status::Completed).await;
    until("there is room", || async { process.engine.submit(order("b")).await.ok() }).await;
}

#[tokio::test]
async fn a_word_reaches_its_saga_although_the_engine_takes_nothing_more() {
    let fixture = Fixture::new();
    let mut config = fixture.config("one", EngineKind::Forward);
    config.settings.open_sagas_max = 1;
    let process = fixture.start_with(config, fixture.services.clone()).await.unwrap();
    let busy = CallResult::replied(503, json!(null));
    fixture.services.plan("stock", Direction::Do, &vec![busy; 100_000]);
    process.engine.submit(order("a")).await.unwrap();
    process.engine.signal("a", word("c", cancel())).await.unwrap();
    ends(&process.engine, "a", Status::Aborting).await;
}

#[tokio::test]
async fn a_caller_that_panics_leaves_the_step_in_doubt_and_not_the_saga() {
    #[derive(Debug)]
    struct Panics(crate::fixture::Services);
    impl Caller for Panics {
        async fn call(&self, call: OutgoingCall) -> CallResult {
            assert!(call.attempt > 1 || call.operation.step != "stock", "planted");
            self.0.work(&call)
        }
    }
    let fixture = Fixture::new();
    let config = fixture.config("one", EngineKind::Forward);
    let process = fixture.start_with(config, Panics(fixture.services.clone())).await.unwrap();
    process.engine.submit(order("a")).await.unwrap();
    ends(&process.engine, "a", Status::Completed).await;
    assert_eq!(process.tasks.panics(), 1);
}

#[tokio::test]
async fn a_lease_that_one_late_renewal_would_cost_is_refused() {
    let fixture = Fixture::new();
    let mut config = fixture.config("one", EngineKind::Forward);
    config.settings = EngineSettings { lease_ms: 2_000, renewal_ms: 1_000, ..config.settings };
    let refused = fixture.start_with(config, fixture.services.clone()).await.err();
    assert!(matches!(refused, Some(StartError::LeaseTooShort { .. })), "{refused:?}");
}
