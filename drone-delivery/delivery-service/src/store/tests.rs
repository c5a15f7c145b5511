use std::{sync::Arc, time::Duration};

use base::ManualClock;
use contracts::{ConfirmationType, DeliveryStage};
use service_kit::forget;
use store::{Migration, Store, StoreSettings, WriteError};
use telemetry::Telemetry;
use tempfile::TempDir;

use super::{
    notify_requests::{EARLY_MAX, EARLY_OF_ONE_MAX},
    *,
};
use crate::{
    domain::{Ending, Order, Owner},
    events::{self, Audience, Voice},
};

const QUIET: Voice<'static> = Voice { audience: Audience::Askers, trace: None };
const DAY: Duration = Duration::from_secs(86_400);

struct Fixture {
    clock: Arc<ManualClock>,
    store: Store,
    directory: TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self::of(MIGRATIONS, tempfile::tempdir().unwrap())
    }

    fn of(migrations: &[Migration], directory: TempDir) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
        let path = directory.path().join("delivery.db");
        let (settings, telemetry) = (StoreSettings::default(), Telemetry::disabled());
        let store = Store::open(path, migrations, settings, clock.clone(), &telemetry);
        Self { clock, store: store.unwrap(), directory }
    }

    async fn write(
        &self,
        write: impl FnOnce(&mut Transaction<'_>) -> Result<(), SqlError> + Send + 'static,
    ) {
        let written: Result<(), WriteError<SqlError>> = self.store.write(write).await;
        written.unwrap();
    }

    /// A delivery with an event, a position and an address.
    async fn begin(&self, id: &'static str) {
        self.write(move |transaction| {
            let delivery = Delivery::create(id.to_owned(), order());
            insert(transaction, &delivery)?;
            events::announce(transaction, &delivery, &vec![delivery.stage], QUIET)?;
            keep_position(transaction, id, &Location::new(1.0, 2.0))?;
            // Of columns that every history of the tables has.
            let address = "INSERT INTO notify_requests (delivery_id, sms, asked_at)
                VALUES (?1, '+358 40 1234567', 0)";
            transaction.execute(address, &[&id]).map(drop)
        })
        .await;
    }

    async fn end(&self, id: &'static str) {
        self.write(move |transaction| {
            let mut delivery = find(transaction, id)?.unwrap();
            let reached = delivery.call_off(Ending::Cancelled, None).unwrap();
            events::commit(transaction, &delivery, &reached, QUIET)
        })
        .await;
    }

    async fn stages(&self, id: &'static str) -> Vec<DeliveryStage> {
        let events = self.store.read(move |reader| events(reader, id, 0)).await.unwrap();
        events.into_iter().map(|it| it.stage).collect()
    }

    /// Rows of each table that are about deliveries; events stand beside them too.
    async fn rows(&self) -> Vec<u64> {
        let tables = ["deliveries", "delivery_events", "delivery_positions", "notify_requests"];
        let count = |reader: &Reader<'_>, table: &str| {
            let beside = "(SELECT COALESCE(SUM(json_array_length(events)), 0) FROM deliveries)";
            let beside = if table == "delivery_events" { beside } else { "0" };
            let sql = format!("SELECT COUNT(*) + {beside} FROM {table}");
            reader.query_one(&sql, &[], |row| row.get(0))
        };
        let counted = self.store.read(move |reader| {
            tables.iter().map(|table| count(reader, table)).collect::<Result<Vec<u64>, _>>()
        });
        counted.await.unwrap()
    }
}

#[tokio::test]
async fn a_database_from_before_rows_had_numbers_keeps_its_deliveries_and_events() {
    let old = Fixture::of(&MIGRATIONS[..5], tempfile::tempdir().unwrap());
    old.write(|transaction| {
        let (running, mut ended) = (made("running"), made("ended"));
        of_old(transaction, &running, 1)?;
        ended.call_off(Ending::Cancelled, None).unwrap();
        of_old(transaction, &ended, 2)
    })
    .await;
    let directory = old.directory;
    drop(old.store);
    let new = Fixture::of(MIGRATIONS, directory);
    assert_eq!(new.rows().await, [2, 3, 0, 0]);
    let read = |reader: &Reader<'_>| Ok((find(reader, "running")?, under_way(reader, "", 9)?));
    let (running, under_way) = new.store.read(read).await.unwrap();
    assert_eq!(running, Some(made("running")));
    assert_eq!(under_way.len(), 1);
    assert_eq!(new.stages("ended").await, [DeliveryStage::Created, DeliveryStage::Cancelled]);
    // What was begun before goes on: its later events stand in another place.
    new.end("running").await;
    assert_eq!(new.stages("running").await, [DeliveryStage::Created, DeliveryStage::Cancelled]);
    assert_eq!(forget(&new.store, 0, forget_ended).await, Ok(0), "nothing is older than now");
    new.clock.advance(DAY);
    assert_eq!(forget(&new.store, 0, forget_ended).await, Ok(2));
    assert_eq!(new.rows().await, [0, 0, 0, 0]);
}

fn made(id: &str) -> Delivery {
    Delivery::create(id.to_owned(), order())
}

/// The rows of a delivery as the program before kept them.
fn of_old(
    transaction: &mut Transaction<'_>,
    delivery: &Delivery,
    events: u64,
) -> Result<(), SqlError> {
    transaction.execute(
        "INSERT INTO deliveries VALUES (?1, ?2, ?3, 'a', 0, 0)",
        &[&delivery.id, &serde_json::to_string(delivery).unwrap(), &ordinal(delivery.stage)],
    )?;
    for sequence in 1..=events {
        let stage = if sequence == 1 { DeliveryStage::Created } else { delivery.stage };
        let event = events::event_of(delivery, stage, sequence, Timestamp::from_millis(0));
        transaction.execute(
            "INSERT INTO delivery_events VALUES (?1, ?2, ?3)",
            &[&delivery.id, &sequence, &serde_json::to_string(&event).unwrap()],
        )?;
    }
    Ok(())
}

#[tokio::test]
async fn a_delivery_that_is_asked_for_anew_is_counted_for_its_new_owner() {
    let fixture = Fixture::new();
    fixture.begin("d").await;
    let owner = Owner { user_id: "u".to_owned(), account_id: "b".to_owned() };
    let order = Order { owner, ..order() };
    fixture
        .write(move |transaction| {
            let mut delivery = find(transaction, "d")?.unwrap();
            delivery.replace(order).unwrap();
            replace(transaction, &delivery)
        })
        .await;
    let of = |reader: &Reader<'_>, owner| {
        count(reader, owner, Timestamp::from_millis(0), Timestamp::from_millis(1))
    };
    let counted = fixture.store.read(move |it| Ok((of(it, "a")?, of(it, "b")?))).await;
    assert_eq!(counted.unwrap(), (0, 1));
}

fn order() -> Order {
    Order {
        owner: Owner { user_id: "u".to_owned(), account_id: "a".to_owned() },
        pickup: Location::default(),
        dropoff: Location::default(),
        pickup_time: None,
        deadline: String::new(),
        expedited: false,
        confirmation_required: ConfirmationType::None,
        package_id: None,
        drone_id: None,
    }
}

#[tokio::test]
async fn an_ended_delivery_is_forgotten_with_all_that_hangs_on_it_and_others_stay() {
    let fixture = Fixture::new();
    fixture.begin("flies on").await;
    fixture.begin("ended early").await;
    fixture.end("ended early").await;
    fixture.clock.advance(DAY * 3);
    fixture.begin("ended late").await;
    fixture.end("ended late").await;
    fixture.clock.advance(DAY * 2);
    assert_eq!(forget(&fixture.store, 5, forget_ended).await, Ok(0), "none is so old");
    assert_eq!(fixture.rows().await, [3, 5, 3, 3]);
    assert_eq!(forget(&fixture.store, 4, forget_ended).await, Ok(1));
    assert_eq!(fixture.rows().await, [2, 3, 2, 2]);
    let gone = fixture.store.read(|it| find(it, "ended early")).await.unwrap();
    assert_eq!(gone, None);
    assert_eq!(forget(&fixture.store, 0, forget_ended).await, Ok(1));
    assert_eq!(fixture.rows().await, [1, 1, 1, 1], "one that did not end is never forgotten");
}

#[tokio::test]
async fn a_tombstone_is_forgotten_when_its_days_are_over() {
    let fixture = Fixture::new();
    fixture.write(|transaction| bury(transaction, "d1")).await;
    fixture.clock.advance(DAY * 37);
    assert_eq!(forget(&fixture.store, 37, forget_tombstones).await, Ok(0));
    fixture.clock.advance(Duration::from_millis(1));
    assert_eq!(forget(&fixture.store, 37, forget_tombstones).await, Ok(1));
    assert!(!fixture.store.read(|it| is_buried(it, "d1")).await.unwrap());
}

#[tokio::test]
async fn more_than_a_slice_is_forgotten_at_once() {
    let fixture = Fixture::new();
    fixture.write(|it| (0..=SLICE).try_for_each(|number| bury(it, &number.to_string()))).await;
    fixture.clock.advance(DAY * 38);
    let forgotten = forget(&fixture.store, 37, forget_tombstones).await;
    assert_eq!(forgotten, Ok(u64::from(SLICE) + 1));
}

#[tokio::test]
async fn a_position_is_kept_for_a_delivery_that_is_under_way_alone() {
    let fixture = Fixture::new();
    fixture.begin("flies").await;
    fixture.begin("ended").await;
    fixture.end("ended").await;
    fixture
        .write(|transaction| {
            let place = Location::new(9.0, 9.0);
            for id in ["flies", "ended", "unheard of"] {
                keep_position(transaction, id, &place)?;
            }
            Ok(())
        })
        .await;
    for (id, latitude) in [("flies", Some(9.0)), ("ended", Some(1.0)), ("unheard of", None)] {
        let kept = fixture.store.read(move |it| position(it, id)).await.unwrap();
        assert_eq!(kept.map(|it| it.latitude), latitude, "{id}");
    }
}

fn wish_of(asker: Option<&str>) -> NotifyRequest {
    NotifyRequest {
        email_address: Some("a@example.org".to_owned()),
        sms: None,
        language: String::new(),
        asker: asker.map(str::to_owned),
    }
}

async fn asks(fixture: &Fixture, ids: impl Iterator<Item = String> + Send + 'static) {
    let wish = wish_of(None);
    fixture
        .write(move |transaction| {
            ids.into_iter().try_for_each(|id| keep_notify_request(transaction, &id, &wish))
        })
        .await;
}

#[tokio::test]
async fn who_asked_for_what_never_came_is_forgotten_and_who_asked_early_only_after_its_end() {
    let fixture = Fixture::new();
    asks(&fixture, ["comes".to_owned(), "never".to_owned()].into_iter()).await;
    fixture.write(|it| insert(it, &Delivery::create("comes".to_owned(), order()))).await;
    fixture.clock.advance(DAY * 31);
    assert_eq!(forget(&fixture.store, 32, erase_old_notify_requests).await, Ok(0));
    assert_eq!(forget(&fixture.store, 30, erase_old_notify_requests).await, Ok(1));
    let kept = fixture.store.read(|it| notify_request(it, "comes")).await.unwrap();
    assert!(kept.is_some(), "it is under way");
    fixture.end("comes").await;
    fixture.clock.advance(DAY);
    assert_eq!(forget(&fixture.store, 0, erase_old_notify_requests).await, Ok(1));
    assert_eq!(fixture.rows().await[3], 0);
}

#[tokio::test]
async fn who_makes_ids_up_costs_a_bounded_number_of_rows_and_nothing_of_what_was_asked_in_time() {
    let fixture = Fixture::new();
    fixture.begin("flies").await;
    fixture
        .write(|transaction| {
            let many = "INSERT INTO notify_requests (delivery_id, asked_at, early)
                WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
                SELECT 'made-up-' || i, 0, 1 FROM n";
            transaction.execute(many, &[&EARLY_MAX]).map(drop)
        })
        .await;
    fixture.clock.advance(Duration::from_secs(1));
    asks(&fixture, (0..20).map(|it| format!("newer-{it}"))).await;
    assert_eq!(fixture.rows().await[3], u64::from(EARLY_MAX) + 1);
    for (id, stays) in [("flies", true), ("newer-0", true), ("newer-19", true)] {
        let kept = fixture.store.read(move |it| notify_request(it, id)).await.unwrap();
        assert_eq!(kept.is_some(), stays, "{id}");
    }
}

#[tokio::test]
async fn who_asks_for_many_that_are_not_there_loses_his_own_and_nobody_anothers() {
    let fixture = Fixture::new();
    fixture.write(|it| keep_notify_request(it, "of bob", &wish_of(Some("bob")))).await;
    for number in 0..=EARLY_OF_ONE_MAX {
        fixture.clock.advance(Duration::from_millis(1));
        let id = format!("of ann {number}");
        fixture.write(move |it| keep_notify_request(it, &id, &wish_of(Some("ann")))).await;
    }
    assert_eq!(fixture.rows().await[3], u64::from(EARLY_OF_ONE_MAX) + 1);
    for (id, stays) in [("of bob", true), ("of ann 0", false), ("of ann 1", true)] {
        let kept = fixture.store.read(move |it| notify_request(it, id)).await.unwrap();
        assert_eq!(kept.is_some(), stays, "{id}");
    }
}

#[tokio::test]
async fn old_deliveries_are_found_by_an_index() {
    let fixture = Fixture::new();
    let plan = fixture.store.read(|reader| {
        reader.query_all(
            "EXPLAIN QUERY PLAN SELECT id FROM deliveries
             WHERE stage >= 4 AND changed_at < ?1 LIMIT ?2",
            &[&0_i64, &SLICE],
            |row| row.get::<String>(3),
        )
    });
    let plan = plan.await.unwrap().join(" ");
    assert!(plan.contains("deliveries_ended"), "{plan}");
    assert_eq!(first_end(), 4, "the number in the index");
}
