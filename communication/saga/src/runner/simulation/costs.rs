//! What a saga of five steps writes, counted in pages: accepted, each step, its end and what is said of it.

use std::{
    collections::{BTreeMap, VecDeque},
    path::Path,
    sync::Arc,
    time::Duration,
};

use ::store::{
    OutboxMessage, SqlError, Store, Transaction, WriteError,
    testing::{Load, said, uncopied},
};
use base::{Clock as _, ManualClock, Random, Timestamp};
use serde_json::{Value, json};
use telemetry::Telemetry;

use crate::{
    MIGRATIONS, Observer, SagaView,
    config::{EngineKind, EngineSettings},
    definition::{Call, Definition, Step},
    machine::{Record, Start},
    metrics::Metrics,
    outcome::CallResult,
    runner::{Core, DueCall, Now, Order},
    store::{Append, Appended, Definitions, append},
};

/// Real time of one commit, and the sagas that begin within it: 200 in a second.
const COMMIT: Duration = Duration::from_millis(10);
const LOAD: Load = Load { warm_up: 1_000, counted: 100, begun: 2 };
/// Commits from a call to its answer.
const APART: u64 = 4;
/// Pages that one saga may write, in hundredths.
const HUNDREDTHS_MAX: u64 = 1_710;

/// As long as those of an application: what a step books is told to a later one, one step is left out.
fn definition() -> Definition {
    let item = |step: &str| {
        let body = json!({"id": "{{input.id}}", "from": "{{input.from}}", "to": "{{input.to}}"});
        Step::compensable(step, step, Call::put(format!("/{step}/{{{{input.id}}}}")).body(body))
            .undo(Call::delete(format!("/{step}/{{{{input.id}}}}")))
    };
    let active = Call::get("/account/{{input.owner}}").expect("", true, "suspended");
    let order = json!({"id": "{{input.id}}", "van": "{{steps.van.body.vanId ?? null}}"});
    Definition::builder("order", 1)
        .step(Step::compensable("account", "account", active))
        .step(item("carrier"))
        .step(item("stock"))
        .step(item("van").skip_when("carrier", "", true))
        .step(item("spare").do_when("van", "/declined", true))
        .step(Step::pivot("order", "order", Call::put("/orders/{{input.id}}").body(order)))
        .build()
        .unwrap()
}

fn starts(commit: u64, now: Timestamp) -> Vec<Start> {
    let mut random = Random::with_seed(commit);
    let start = |_| {
        let (id, owner) = (random.uuid_v7(now).to_string(), random.below(1_000));
        let door = |degrees: f64| json!({"altitude": 0.0, "latitude": degrees, "longitude": 24.940_123_456_789_01});
        let input = json!({
            "id": id, "owner": format!("owner-{owner}"), "user": format!("owner-{owner}"),
            "from": door(60.166_012_345_678_91), "to": door(60.171_012_345_678_91),
            "notBefore": null, "deadline": "", "expedited": false, "confirmed": "None",
            "item": {"itemId": id, "size": "Medium", "weight": 3.0, "tag": ""},
        });
        let trace = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned());
        Start { trace, ..Start::new(format!("{id}/create"), "order", input) }.about(id)
    };
    (0..LOAD.begun).map(start).collect()
}

fn answer(step: &str) -> CallResult {
    let body = match step {
        "account" => json!(true),
        "carrier" => json!(false),
        "van" => json!({"vanId": "van-0001", "declined": false,
            "fetched": "2026-01-01T00:00:07.000Z", "brought": "2026-01-01T00:00:42.000Z"}),
        _ => Value::Null,
    };
    CallResult::replied(200, body)
}

/// Says how a saga ended.
#[derive(Debug)]
struct Speaker;

impl Observer for Speaker {
    fn recorded(
        &self,
        transaction: &mut Transaction<'_>,
        saga: &SagaView,
        record: &Record,
    ) -> Result<(), SqlError> {
        let Record::Closed { .. } = record else { return Ok(()) };
        let body = json!({"orderId": saga.subject.as_deref(), "operation": "order", "operationId": null,
            "failedStep": null, "reason": null, "occurredAt": "2026-01-01T00:00:42.000Z"});
        let time = transaction.now();
        transaction.push(&OutboxMessage {
            topic: "request-events".to_owned(),
            key: saga.subject.as_deref().map(str::to_owned),
            id: format!("{}/{}/RequestScheduled", saga.id, saga.state.records),
            kind: "com.example.shop.RequestScheduled.v1".to_owned(),
            source: "/services/scheduler".to_owned(),
            subject: saga.subject.as_deref().map(str::to_owned),
            time,
            headers: BTreeMap::new(),
            traceparent: saga.trace.as_deref().map(str::to_owned),
            tracestate: None,
            body: body.to_string().into_bytes(),
        })
    }
}

/// One engine, its calls under way, and the commit in which each is answered.
struct Office {
    core: Core,
    calls: VecDeque<(u64, Box<DueCall>)>,
    store: Store,
    definitions: Arc<Definitions>,
    clock: Arc<ManualClock>,
}

impl Office {
    async fn open(path: &Path) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_700_000_000_000)));
        let quiet = Telemetry::disabled();
        let store = Store::open(path, MIGRATIONS, uncopied(), clock.clone(), &quiet).unwrap();
        let definitions = Arc::new(Definitions::new(vec![definition()]));
        let kept = Arc::clone(&definitions);
        store.write(move |it| kept.keep(it)).await.unwrap();
        let core = Core::new(
            "forward-1".into(),
            EngineKind::Forward,
            EngineSettings::default(),
            Arc::clone(&definitions),
            Metrics::new(&quiet),
            Random::with_seed(1),
        );
        Self { core, calls: VecDeque::new(), store, definitions, clock }
    }

    fn now(&self) -> Now {
        Now { wall: self.clock.now(), monotonic: self.clock.monotonic() }
    }

    /// Calls that are due leave; gives what is to be written.
    fn plan(&mut self, commit: u64) -> Vec<Arc<Append>> {
        self.core.start_calls(self.now());
        let mut appends = Vec::new();
        for order in self.core.take_orders() {
            match order {
                Order::Append(append) => appends.push(append),
                Order::Call(due) => self.calls.push_back((commit + APART, due)),
                Order::Poll | Order::Look(_) => {}
            }
        }
        appends
    }

    /// One commit: some begin, those before go on, and what was said in the last one leaves.
    async fn round(&mut self, commit: u64) {
        self.clock.advance(COMMIT);
        let now = self.now();
        for start in starts(commit, now.wall) {
            self.core.submit(start, tokio::sync::oneshot::channel().0, now);
        }
        while self.calls.front().is_some_and(|it| it.0 <= commit) {
            let (_, due) = self.calls.pop_front().unwrap();
            let result = answer(&due.call.operation.step);
            self.core.answered(&due, result, COMMIT, now);
        }
        let (appends, said) = (self.plan(commit), said(&self.store).await.unwrap());
        let (batch, definitions) = (appends.clone(), Arc::clone(&self.definitions));
        let written: Result<Vec<Appended>, WriteError<SqlError>> = self
            .store
            .write(move |it| {
                it.take_from_outbox(&said)?;
                batch.iter().map(|one| append(it, &definitions, &Speaker, one)).collect()
            })
            .await;
        for (append, result) in appends.iter().zip(written.unwrap()) {
            assert!(matches!(result, Appended::Done { .. }), "{result:?}");
            self.core.appended(append, Some(result), now);
        }
        assert!(self.plan(commit).is_empty());
    }
}

#[tokio::test]
async fn a_saga_writes_so_many_pages_and_no_more() {
    let directory = super::world::directory();
    let path = directory.path().join("saga.db");
    let mut office = Office::open(&path).await;
    let store = office.store.clone();
    let cost = LOAD.cost((&store, &path), async |commit| office.round(commit).await).await.unwrap();
    assert!(office.core.open_count() < 100, "those that began have ended");
    cost.check(HUNDREDTHS_MAX);
}
