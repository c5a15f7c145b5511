//! The relay over a log that is told what to do.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex},
};

use base::{Random, Timestamp};
use runtime::{SystemClock, Tasks};
use store::{Migration, OutboxPage, Parked, StoreSettings};
use tempfile::TempDir;

use super::*;

const MIGRATIONS: &[Migration] =
    &[Migration { version: 1, name: "none", sql: "CREATE TABLE none (id INTEGER) STRICT;" }];
/// Nothing here takes so long; a test that hangs fails instead.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the log does with a message, by its id.
type Answer = Arc<dyn Fn(&str) -> Result<Receipt, PublishError> + Send + Sync>;

#[derive(Clone)]
struct ToldLog {
    answer: Arc<Mutex<Answer>>,
    takes: Duration,
    /// Ids, as they were taken.
    has: Arc<Mutex<Vec<String>>>,
}

impl Log for ToldLog {
    async fn publish(&self, _: &str, message: Message) -> Result<Receipt, PublishError> {
        sleep(self.takes).await;
        let answer = Arc::clone(&self.answer.lock().unwrap());
        let result = answer(&message.id);
        if result.is_ok() {
            self.has.lock().unwrap().push(message.id);
        }
        result
    }

    fn publish_within(&self) -> Duration {
        Duration::from_secs(1)
    }
}

struct Fixture {
    directory: TempDir,
    store: Store,
    log: ToldLog,
    telemetry: Telemetry,
    tasks: Tasks,
}

fn open(directory: &TempDir) -> Store {
    let path = directory.path().join("test.db");
    let telemetry = Telemetry::disabled();
    Store::open(path, MIGRATIONS, StoreSettings::default(), SystemClock::shared(), &telemetry)
        .unwrap()
}

fn taken() -> Result<Receipt, PublishError> {
    Ok(Receipt { partition: 0, offset: 0 })
}

fn down() -> Result<Receipt, PublishError> {
    Err(PublishError::Unavailable { retry_after: Duration::ZERO })
}

fn refused() -> Result<Receipt, PublishError> {
    Err(PublishError::TooLarge { bytes_max: 0 })
}

impl Fixture {
    fn new(answer: impl Fn(&str) -> Result<Receipt, PublishError> + Send + Sync + 'static) -> Self {
        let directory = TempDir::new().unwrap();
        let store = open(&directory);
        let answer: Answer = Arc::new(answer);
        let log = ToldLog {
            answer: Arc::new(Mutex::new(answer)),
            takes: Duration::ZERO,
            has: Arc::default(),
        };
        let telemetry =
            Telemetry::new(telemetry::TelemetryConfig::default(), SystemClock::shared());
        Self { directory, store, log, telemetry, tasks: Tasks::new() }
    }

    fn answer(
        &self,
        answer: impl Fn(&str) -> Result<Receipt, PublishError> + Send + Sync + 'static,
    ) {
        *self.log.answer.lock().unwrap() = Arc::new(answer);
    }

    /// Starts a relay on a store of its own over the same file, as a replica has it.
    fn relay(&self, owner: &str, tasks: &Tasks) {
        let store = open(&self.directory);
        let relay = Relay::new(store, self.log.clone(), owner.to_owned(), &self.telemetry);
        tasks.spawn("relay", |shutdown| relay.run(shutdown));
    }

    fn start(&self) {
        self.relay("one", &self.tasks);
    }

    async fn push(&self, ids: impl IntoIterator<Item = (Option<&'static str>, u32)>) {
        let messages: Vec<_> = ids.into_iter().map(|(key, number)| message(key, number)).collect();
        let write = self.store.write(move |it| messages.iter().try_for_each(|one| it.push(one)));
        let written: Result<(), WriteError<SqlError>> = write.await;
        written.unwrap();
    }

    fn has(&self) -> Vec<String> {
        self.log.has.lock().unwrap().clone()
    }

    async fn depth(&self) -> u64 {
        self.store.read(|it| it.outbox_depth()).await.unwrap()
    }

    async fn until(&self, what: &str, condition: impl AsyncFn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(self).await {
            assert!(Instant::now() < deadline, "never: {what}; the log has {:?}", self.has());
            sleep(Duration::from_millis(5)).await;
        }
    }

    async fn parked(&self) -> Vec<String> {
        let parked = self.store.read(|it| it.outbox_parked(0, 100)).await.unwrap();
        parked.into_iter().map(|it| it.id).collect()
    }

    async fn settle(&self, how: Parked) {
        let write = self.store.write(move |it| {
            let first = it.outbox_parked(0, 1)?.remove(0).sequence;
            it.settle_parked(first, how)
        });
        assert_eq!(write.await, Ok(true));
    }

    fn gauge(&self, name: &str) -> Option<f64> {
        let page = self.telemetry.metrics().encode();
        page.lines().find_map(|it| it.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }
}

fn message(key: Option<&str>, number: u32) -> OutboxMessage {
    OutboxMessage {
        topic: "orders".to_owned(),
        key: key.map(str::to_owned),
        id: format!("{}/{number}", key.unwrap_or("none")),
        kind: "com.example.Ordered.v1".to_owned(),
        source: "/services/orders".to_owned(),
        subject: None,
        time: Timestamp::from_millis(5),
        headers: BTreeMap::new(),
        traceparent: None,
        tracestate: None,
        body: b"{}".to_vec(),
    }
}

fn ids(key: &str, numbers: impl IntoIterator<Item = u32>) -> Vec<String> {
    numbers.into_iter().map(|it| format!("{key}/{it}")).collect()
}

#[tokio::test]
async fn a_message_stays_until_the_log_has_it() {
    let fixture = Fixture::new(|_| down());
    let tries = Arc::new(Mutex::new(0));
    let tried = Arc::clone(&tries);
    fixture.answer(move |_| {
        *tried.lock().unwrap() += 1;
        down()
    });
    fixture.push([(Some("a"), 0), (Some("a"), 1), (None, 0)]).await;
    fixture.start();
    fixture.until("it is tried again", async |_| *tries.lock().unwrap() >= 4).await;
    assert_eq!(fixture.depth().await, 3);
    fixture.answer(|_| taken());
    fixture.until("the outbox is empty", async |it| it.depth().await == 0).await;
    let (mut has, mut all) = (fixture.has(), ids("a", 0..2));
    all.push("none/0".to_owned());
    has.sort();
    assert_eq!(has, all);
}

#[tokio::test]
async fn a_key_that_is_not_taken_holds_up_no_other_however_much_it_has() {
    let fixture = Fixture::new(|id| if id.starts_with("stuck") { down() } else { taken() });
    fixture.push((0..2_000).map(|it| (Some("stuck"), it))).await;
    fixture.push((0..20).map(|it| (Some("a"), it))).await;
    fixture.start();
    fixture.until("the other key is through", async |it| it.has().len() == 20).await;
    assert_eq!(fixture.has(), ids("a", 0..20));
    fixture.answer(|_| taken());
    fixture.until("all are through", async |it| it.depth().await == 0).await;
    let stuck: Vec<_> = fixture.has().into_iter().filter(|it| it.starts_with("stuck")).collect();
    assert_eq!(stuck, ids("stuck", 0..2_000));
}

#[tokio::test]
async fn a_refused_message_is_parked_with_its_key_behind_it_and_a_person_releases_both() {
    let fixture = Fixture::new(|id| if id == "a/1" { refused() } else { taken() });
    fixture.push((0..4).map(|it| (Some("a"), it))).await;
    fixture.push([(None, 0), (Some("b"), 0)]).await;
    fixture.start();
    fixture.until("it is parked", async |it| it.parked().await == ["a/1"]).await;
    fixture.push([(Some("a"), 4), (Some("b"), 1)]).await;
    fixture.until("all others are through", async |it| it.has().len() == 4).await;
    fixture.until("the outbox holds the key", async |it| it.depth().await == 4).await;
    fixture
        .until("it is counted", async |it| it.gauge("store_outbox_parked_count") == Some(1.0))
        .await;
    // Refused again, it is parked again.
    fixture.settle(Parked::Release).await;
    fixture.until("it is parked", async |it| it.parked().await == ["a/1"]).await;
    fixture.answer(|_| taken());
    fixture.settle(Parked::Release).await;
    fixture.until("the outbox is empty", async |it| it.depth().await == 0).await;
    let of_key: Vec<_> = fixture.has().into_iter().filter(|it| it.starts_with("a/")).collect();
    assert_eq!(of_key, ids("a", 0..5));
}

#[tokio::test]
async fn a_discarded_message_lets_its_key_go_on() {
    let fixture = Fixture::new(|id| if id == "a/0" { refused() } else { taken() });
    fixture.push((0..3).map(|it| (Some("a"), it))).await;
    fixture.start();
    fixture.until("it is parked", async |it| it.parked().await == ["a/0"]).await;
    fixture.settle(Parked::Discard).await;
    fixture.until("the outbox is empty", async |it| it.depth().await == 0).await;
    assert_eq!(fixture.has(), ids("a", 1..3));
}

#[tokio::test]
async fn a_message_that_shared_a_refused_batch_is_not_parked() {
    let refusals = Mutex::new(0);
    let fixture = Fixture::new(move |_| {
        let mut refusals = refusals.lock().unwrap();
        *refusals += 1;
        let code = kafka_wire::ErrorCode::CorruptMessage;
        if *refusals < 3 { Err(PublishError::Refused { code }) } else { taken() }
    });
    fixture.push([(Some("a"), 0)]).await;
    fixture.start();
    fixture.until("the outbox is empty", async |it| it.depth().await == 0).await;
    assert_eq!(fixture.has(), ids("a", 0..1));
}

#[tokio::test]
async fn work_that_outlasts_the_lease_is_not_done_twice() {
    let mut fixture = Fixture::new(|_| taken());
    fixture.log.takes = Duration::from_millis(100);
    fixture.push((0..50).map(|it| (Some("slow"), it))).await;
    fixture.relay("one", &fixture.tasks);
    fixture.relay("two", &fixture.tasks);
    fixture.until("all are through", async |it| it.has().len() >= 50).await;
    fixture.until("the outbox is empty", async |it| it.depth().await == 0).await;
    assert_eq!(fixture.has(), ids("slow", 0..50));
}

#[tokio::test]
async fn a_relay_whose_lease_is_taken_stops() {
    let mut fixture = Fixture::new(|_| taken());
    fixture.log.takes = Duration::from_millis(20);
    fixture.push((0..1_000).map(|it| (Some("slow"), it))).await;
    fixture.start();
    fixture.until("it works", async |it| !it.has().is_empty()).await;
    let theft = "UPDATE skein_leases SET owner = 'thief', epoch = epoch + 1,
                   expires = expires + 60000 WHERE name = 'outbox'";
    assert_eq!(fixture.store.write(|it| it.execute(theft, &[])).await, Ok(1));
    // A renewal takes a second; then nothing more comes.
    let (seen, since) = (Mutex::new(0), Mutex::new(Instant::now()));
    fixture
        .until("it stands still", async |it| {
            let count = it.has().len();
            if *seen.lock().unwrap() != count {
                (*seen.lock().unwrap(), *since.lock().unwrap()) = (count, Instant::now());
            }
            since.lock().unwrap().elapsed() > Duration::from_millis(500)
        })
        .await;
    assert!(fixture.has().len() < 1_000, "it went on to the end");
}

#[tokio::test]
async fn a_relay_that_stops_leaves_nothing_that_the_log_has() {
    let fixture = Fixture::new(|_| taken());
    fixture.push((0..100).map(|it| (Some("a"), it))).await;
    fixture.start();
    fixture.until("it works", async |it| !it.has().is_empty()).await;
    fixture.tasks.drain(PATIENCE).await;
    assert_eq!(fixture.depth().await, 100 - fixture.has().len() as u64);
    // And the lease is free at once.
    let next = Tasks::new();
    fixture.relay("two", &next);
    fixture.until("the outbox is empty", async |it| it.depth().await == 0).await;
    assert_eq!(fixture.has(), ids("a", 0..100));
}

#[tokio::test]
async fn the_backlog_is_counted_whole() {
    let fixture = Fixture::new(|_| down());
    fixture.push((0..1_500).map(|it| (Some("a"), it))).await;
    fixture.start();
    let name = "store_outbox_messages_count";
    fixture.until("all are counted", async |it| it.gauge(name) == Some(1_500.0)).await;
}

#[tokio::test]
async fn messages_beyond_what_is_held_in_memory_are_read_again_in_order() {
    let fixture = Fixture::new(|_| down());
    let keys = ["a", "b", "c", "d", "e"];
    for number in 0..40 {
        let big = keys
            .map(|key| OutboxMessage { body: vec![b' '; 200_000], ..message(Some(key), number) });
        let write = fixture.store.write(move |it| big.iter().try_for_each(|one| it.push(one)));
        let written: Result<(), WriteError<SqlError>> = write.await;
        written.unwrap();
    }
    fixture.start();
    fixture.answer(|_| taken());
    fixture.until("the outbox is empty", async |it| it.depth().await == 0).await;
    for key in keys {
        let has = fixture.has();
        let of_key: Vec<_> = has.into_iter().filter(|it| it.starts_with(key)).collect();
        assert_eq!(of_key, ids(key, 0..40));
    }
}

/// While the log was away more came than is held.
#[test]
fn a_backlog_is_read_again_many_at_a_time() {
    let all: BTreeMap<i64, OutboxMessage> = (1..=12_000)
        .map(|it| (i64::from(it), OutboxMessage { body: vec![b' '; 1_000], ..message(None, it) }))
        .collect();
    let (mut turns, mut read_to, mut reads) = (Turns::default(), 0, 0);
    let mut step = |turns: &mut Turns, now: u64, reads: &mut usize| {
        while let Some(after) = turns.read_after().filter(|it| *it < 12_000) {
            let messages: Vec<_> = all.range(after + 1..=after + 256).collect();
            let messages: Vec<_> = messages.into_iter().map(|it| (*it.0, it.1.clone())).collect();
            read_to = messages.last().map_or(read_to, |it| it.0);
            turns.add(OutboxPage { messages, read_to, is_full: true });
        }
        let missing = turns.missing();
        *reads += usize::from(!missing.is_empty());
        turns.fill(missing.into_iter().map(|it| (it, all.get(&it).cloned())).collect());
        std::iter::from_fn(|| turns.start(now)).collect::<Vec<_>>()
    };
    let mut known = 0;
    loop {
        let tried = step(&mut turns, 0, &mut reads);
        if tried.is_empty() {
            break;
        }
        known += tried.len();
        tried.iter().for_each(|it| turns.not_taken(it.line, 0));
    }
    assert_eq!(known, 12_000, "each was tried");
    assert!(turns.held_bytes() < 9 << 20, "what rests is held: {} bytes", turns.held_bytes());
    // The log is back, and takes one after the other.
    let (mut under_way, mut published, reads_before) = (VecDeque::new(), 0, reads);
    while published < 12_000 {
        under_way.extend(step(&mut turns, 10_000, &mut reads));
        let turn: Turn = under_way.pop_front().expect("something is under way until the end");
        assert_eq!(turns.published(turn.line), Some(turn.sequence));
        published += 1;
    }
    let reads = reads - reads_before;
    assert!((1..=100).contains(&reads), "{reads} reads for a backlog of 12,000");
}

/// Histories of a log that takes, does not take and refuses by chance.
#[test]
fn each_message_is_published_once_in_the_order_of_its_key_in_any_history() {
    for seed in 0..200 {
        let mut random = Random::with_seed(seed);
        let mut turns = Turns::default();
        let keys = ["a", "b", "c"];
        let all: Vec<(i64, OutboxMessage)> = (1..200)
            .map(|it| (i64::from(it), message(keys.get(it as usize * 7 % 4).copied(), it)))
            .collect();
        let (mut now, mut read_to, mut under_way) = (0, 0, Vec::new());
        let (mut published, mut started) = (Vec::new(), BTreeSet::new());
        while published.len() < all.len() {
            match random.below(4) {
                0 if turns.read_after() == Some(read_to) => {
                    let from = usize::try_from(read_to).unwrap();
                    let messages: Vec<_> = all.iter().skip(from).take(20).cloned().collect();
                    read_to = messages.last().map_or(read_to, |it| it.0);
                    turns.add(OutboxPage { messages, read_to, is_full: true });
                }
                1 => {
                    while let Some(turn) = turns.start(now) {
                        assert!(started.insert(turn.line), "seed {seed}: two of one key");
                        under_way.push(turn);
                    }
                }
                2 if !under_way.is_empty() => {
                    let at = usize::try_from(random.below(under_way.len() as u64)).unwrap();
                    let turn: Turn = under_way.swap_remove(at);
                    started.remove(&turn.line);
                    if random.below(3) == 0 {
                        turns.not_taken(turn.line, now);
                    } else {
                        assert_eq!(turns.published(turn.line), Some(turn.sequence));
                        published.push(turn);
                    }
                }
                _ => now += 100,
            }
        }
        for key in keys {
            let of_key = published.iter().filter(|it| it.message.key.as_deref() == Some(key));
            assert!(of_key.is_sorted_by_key(|it| it.sequence), "seed {seed}: {key}");
        }
    }
}
