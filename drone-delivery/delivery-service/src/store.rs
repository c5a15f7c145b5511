//! Tables of deliveries, their events, and what hangs on them.

mod kept;

use base::Timestamp;
use contracts::{DeliveryStage, Location, Words as _, shipping::DeliveryEvent};
use store::{Migration, Reader, SqlError, Transaction};

use crate::domain::Delivery;

/// History of the tables. Never edit one: append.
pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "deliveries and their events", sql: FIRST },
    Migration { version: 2, name: "ages of what is forgotten", sql: SECOND },
    Migration { version: 3, name: "languages of who asked", sql: THIRD },
    Migration { version: 4, name: "what is overdue", sql: FOURTH },
    Migration { version: 5, name: "who asks before there is a delivery", sql: FIFTH },
    Migration { version: 6, name: "deliveries and events by number", sql: SIXTH },
    Migration { version: 7, name: "who asks to be told", sql: SEVENTH },
    Migration { version: 8, name: "events beside the delivery", sql: EIGHTH },
];

// The state is one JSON text: it is read and written whole. What is asked for stands in columns: the stage, for
// one, whether a delivery is over, and how it ended.
const FIRST: &str = "
CREATE TABLE deliveries (
  id TEXT PRIMARY KEY,
  state TEXT NOT NULL,
  stage INTEGER NOT NULL,
  owner_id TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  changed_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX deliveries_owner ON deliveries (owner_id, created_at);

CREATE TABLE delivery_events (
  delivery_id TEXT NOT NULL,
  sequence INTEGER NOT NULL,
  event TEXT NOT NULL,
  PRIMARY KEY (delivery_id, sequence)
) STRICT, WITHOUT ROWID;

CREATE TABLE delivery_positions (
  delivery_id TEXT PRIMARY KEY,
  latitude REAL NOT NULL,
  longitude REAL NOT NULL,
  altitude REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE delivery_tombstones (
  delivery_id TEXT PRIMARY KEY,
  since INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE notify_requests (
  delivery_id TEXT PRIMARY KEY,
  email_address TEXT,
  sms TEXT,
  asked_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX notify_requests_age ON notify_requests (asked_at);
";

// Nothing changes a delivery after its end (stages from Completed on), so its last change is its end.
const SECOND: &str = "
CREATE INDEX deliveries_ended ON deliveries (changed_at) WHERE stage >= 4;
CREATE INDEX delivery_tombstones_age ON delivery_tombstones (since);
";

const THIRD: &str = "ALTER TABLE notify_requests ADD COLUMN language TEXT NOT NULL DEFAULT '';";

// What is under way is looked at again and again; what was said about it is not said again.
const FOURTH: &str = "
CREATE INDEX deliveries_open ON deliveries (id) WHERE stage < 4;
CREATE TABLE overdue (
  delivery_id TEXT NOT NULL,
  what TEXT NOT NULL,
  since INTEGER NOT NULL,
  PRIMARY KEY (delivery_id, what)
) STRICT, WITHOUT ROWID;
";

// Who asks before there is a delivery may ask for one that never comes: these have a bound.
const FIFTH: &str = "
ALTER TABLE notify_requests ADD COLUMN early INTEGER NOT NULL DEFAULT 0;
CREATE INDEX notify_requests_early ON notify_requests (asked_at) WHERE early = 1;
";

// Rows of this length in a table without row numbers stand in the inner pages of its tree too, and
// each change writes more pages.
const SIXTH: &str = "
CREATE TABLE deliveries_6 (
  number INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  state TEXT NOT NULL,
  stage INTEGER NOT NULL,
  owner_id TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  changed_at INTEGER NOT NULL
) STRICT;
INSERT INTO deliveries_6
  SELECT NULL, id, state, stage, owner_id, created_at, changed_at FROM deliveries ORDER BY created_at;
DROP TABLE deliveries;
ALTER TABLE deliveries_6 RENAME TO deliveries;
CREATE INDEX deliveries_owner ON deliveries (owner_id, created_at);
CREATE INDEX deliveries_ended ON deliveries (changed_at) WHERE stage >= 4;
CREATE INDEX deliveries_open ON deliveries (id) WHERE stage < 4;

CREATE TABLE delivery_events_6 (
  number INTEGER PRIMARY KEY,
  delivery_id TEXT NOT NULL,
  sequence INTEGER NOT NULL,
  event TEXT NOT NULL,
  UNIQUE (delivery_id, sequence)
) STRICT;
INSERT INTO delivery_events_6
  SELECT NULL, delivery_id, sequence, event FROM delivery_events ORDER BY delivery_id, sequence;
DROP TABLE delivery_events;
ALTER TABLE delivery_events_6 RENAME TO delivery_events;
";

// Who asks early asks for a delivery whose owner is not known yet: he is told if it is himself.
const SEVENTH: &str = "ALTER TABLE notify_requests ADD COLUMN asker TEXT;";

// With each event the row of its delivery is written: what is kept of the event stands in it and costs no page
// of its own, nor one of an index. Events from before stay where they are.
const EIGHTH: &str = "ALTER TABLE deliveries ADD COLUMN events TEXT;";

/// Deliveries, tombstones or addresses that one transaction forgets.
const SLICE: u32 = 200;

/// Where a customer wants to hear of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotifyRequest {
    pub(crate) email_address: Option<String>,
    pub(crate) sms: Option<String>,
    /// As a language tag; empty for English.
    pub(crate) language: String,
    /// The account of who asked, where he asked for himself.
    pub(crate) asker: Option<String>,
}

/// One delivery.
pub(crate) fn find(reader: &Reader<'_>, id: &str) -> Result<Option<Delivery>, SqlError> {
    let state =
        reader.query_optional("SELECT state FROM deliveries WHERE id = ?1", &[&id], |row| {
            row.get::<String>(0)
        })?;
    state.map(|it| kept::read_delivery(id.to_owned(), &it)).transpose()
}

/// Deliveries under way after this id, in the order of their ids, each with when it last changed.
pub(crate) fn under_way(
    reader: &Reader<'_>,
    after: &str,
    limit: u32,
) -> Result<Vec<(Delivery, Timestamp)>, SqlError> {
    // The stage is a literal, as in the index: only so is the index used.
    let rows = reader.query_all(
        "SELECT id, state, changed_at FROM deliveries
         WHERE stage < 4 AND id > ?1 ORDER BY id LIMIT ?2",
        &[&after, &limit],
        |row| Ok((row.get(0)?, row.get::<String>(1)?, row.get(2)?)),
    )?;
    let read = |(id, state, changed): (String, String, Timestamp)| {
        Ok((kept::read_delivery(id, &state)?, changed))
    };
    rows.into_iter().map(read).collect()
}

/// Notes that something is overdue; false when it was noted before.
pub(crate) fn note_overdue(
    transaction: &mut Transaction<'_>,
    id: &str,
    what: &str,
) -> Result<bool, SqlError> {
    let now = transaction.now();
    let noted = transaction.execute(
        "INSERT OR IGNORE INTO overdue (delivery_id, what, since) VALUES (?1, ?2, ?3)",
        &[&id, &what, &now],
    )?;
    Ok(noted == 1)
}

/// When a delivery last changed.
pub(crate) fn changed_at(reader: &Reader<'_>, id: &str) -> Result<Timestamp, SqlError> {
    let sql = "SELECT changed_at FROM deliveries WHERE id = ?1";
    reader.query_one(sql, &[&id], |row| row.get(0))
}

/// The newest position in flight.
pub(crate) fn position(reader: &Reader<'_>, id: &str) -> Result<Option<Location>, SqlError> {
    reader.query_optional(
        "SELECT latitude, longitude, altitude FROM delivery_positions WHERE delivery_id = ?1",
        &[&id],
        |row| {
            let (latitude, longitude) = (row.get(0)?, row.get(1)?);
            Ok(Location { altitude: row.get(2)?, latitude, longitude })
        },
    )
}

/// The events of a delivery that are newer than `after`, in order.
pub(crate) fn events(
    reader: &Reader<'_>,
    id: &str,
    after: u64,
) -> Result<Vec<DeliveryEvent>, SqlError> {
    let texts = reader.query_all(
        "SELECT event FROM delivery_events WHERE delivery_id = ?1 AND sequence > ?2
         ORDER BY sequence LIMIT 1000",
        &[&id, &after],
        |row| row.get::<String>(0),
    )?;
    let old = texts.iter().map(|it| kept::read_old_event(it));
    let mut events = old.collect::<Result<Vec<_>, _>>()?;
    let kept = kept_events(reader, id)?.into_iter().filter(|it| it.sequence > after);
    events.extend(kept);
    // While replicas of both programs work on a file, each adds where it knows.
    events.sort_by_key(|it| it.sequence);
    Ok(events)
}

/// The events that stand beside their delivery.
fn kept_events(reader: &Reader<'_>, id: &str) -> Result<Vec<DeliveryEvent>, SqlError> {
    let text =
        reader.query_optional("SELECT events FROM deliveries WHERE id = ?1", &[&id], |row| {
            row.get::<Option<String>>(0)
        })?;
    text.flatten().map_or_else(|| Ok(Vec::new()), |it| kept::read_events(id, &it))
}

/// How many deliveries an account made from `from` to before `to`.
pub(crate) fn count(
    reader: &Reader<'_>,
    owner_id: &str,
    from: Timestamp,
    to: Timestamp,
) -> Result<u64, SqlError> {
    reader.query_one(
        "SELECT COUNT(*) FROM deliveries
         WHERE owner_id = ?1 AND created_at >= ?2 AND created_at < ?3",
        &[&owner_id, &from, &to],
        |row| row.get(0),
    )
}

/// Writes a new delivery.
pub(crate) fn insert(
    transaction: &mut Transaction<'_>,
    delivery: &Delivery,
) -> Result<(), SqlError> {
    let now = transaction.now();
    transaction.execute(
        "INSERT INTO deliveries (id, state, stage, owner_id, created_at, changed_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?5)",
        &[
            &delivery.id,
            &kept::write_delivery(delivery)?,
            &ordinal(delivery.stage),
            &delivery.order.owner.account_id,
            &now,
        ],
    )?;
    let came = "UPDATE notify_requests SET early = 0 WHERE delivery_id = ?1 AND early = 1";
    transaction.execute(came, &[&delivery.id])?;
    Ok(())
}

/// Writes a delivery that is there, but for its owner: to name that column would write its index, and so would
/// the stage of one that is under way.
pub(crate) fn update(
    transaction: &mut Transaction<'_>,
    delivery: &Delivery,
) -> Result<(), SqlError> {
    let now = transaction.now();
    transaction.execute(
        "UPDATE deliveries SET state = ?2, changed_at = ?3 WHERE id = ?1",
        &[&delivery.id, &kept::write_delivery(delivery)?, &now],
    )?;
    if delivery.stage.is_end() {
        transaction.execute(
            "UPDATE deliveries SET stage = ?2 WHERE id = ?1 AND stage <> ?2",
            &[&delivery.id, &ordinal(delivery.stage)],
        )?;
    }
    Ok(())
}

/// Writes a delivery that was asked for anew, perhaps for another owner.
pub(crate) fn replace(
    transaction: &mut Transaction<'_>,
    delivery: &Delivery,
) -> Result<(), SqlError> {
    update(transaction, delivery)?;
    let sql = "UPDATE deliveries SET owner_id = ?2 WHERE id = ?1 AND owner_id <> ?2";
    transaction.execute(sql, &[&delivery.id, &delivery.order.owner.account_id]).map(|_| ())
}

/// Keeps an event for those who ask later.
pub(crate) fn keep_event(
    transaction: &mut Transaction<'_>,
    event: &DeliveryEvent,
) -> Result<(), SqlError> {
    let id = &event.delivery_id;
    let mut events = kept_events(transaction, id)?;
    if events.iter().any(|it| it.sequence == event.sequence) {
        let message = format!("event {} is kept already", event.event_id);
        return Err(SqlError::Statement { message });
    }
    events.push(event.clone());
    let kept = transaction.execute(
        "UPDATE deliveries SET events = ?2 WHERE id = ?1",
        &[id, &kept::write_events(&events)?],
    )?;
    if kept == 1 { Ok(()) } else { Err(SqlError::NoRow) }
}

/// Keeps the newest position in flight; nothing where there is no delivery that is under way: a
/// row of its own would outlive every delivery.
pub(crate) fn keep_position(
    transaction: &mut Transaction<'_>,
    id: &str,
    location: &Location,
) -> Result<(), SqlError> {
    transaction.execute(
        "INSERT INTO delivery_positions (delivery_id, latitude, longitude, altitude)
         SELECT ?1, ?2, ?3, ?4
         WHERE EXISTS (SELECT 1 FROM deliveries WHERE id = ?1 AND stage < ?5)
         ON CONFLICT (delivery_id) DO UPDATE SET latitude = ?2, longitude = ?3, altitude = ?4",
        &[&id, &location.latitude, &location.longitude, &location.altitude, &first_end()],
    )?;
    Ok(())
}

/// Remembers that a delivery must never be made.
pub(crate) fn bury(transaction: &mut Transaction<'_>, id: &str) -> Result<(), SqlError> {
    let now = transaction.now();
    transaction.execute(
        "INSERT OR IGNORE INTO delivery_tombstones (delivery_id, since) VALUES (?1, ?2)",
        &[&id, &now],
    )?;
    Ok(())
}

/// Whether a delivery must never be made.
pub(crate) fn is_buried(reader: &Reader<'_>, id: &str) -> Result<bool, SqlError> {
    let found = reader.query_optional(
        "SELECT 1 FROM delivery_tombstones WHERE delivery_id = ?1",
        &[&id],
        |row| row.get::<i64>(0),
    )?;
    Ok(found.is_some())
}

/// Addresses that are kept for deliveries that are not made yet; of more, the oldest go. A stranger who
/// makes ids up costs no more than that.
const EARLY_MAX: u32 = 10_000;
/// Those of one customer among them: whoever asks for more loses his own, and nobody another's.
const EARLY_OF_ONE_MAX: u32 = 100;

/// Remembers where a customer wants to hear of a delivery, which may be still to come: how its request
/// ends is told also when none does.
pub(crate) fn keep_notify_request(
    transaction: &mut Transaction<'_>,
    id: &str,
    request: &NotifyRequest,
) -> Result<(), SqlError> {
    let (now, is_early) = (transaction.now(), find(transaction, id)?.is_none());
    transaction.execute(
        "INSERT INTO notify_requests
           (delivery_id, email_address, sms, asked_at, language, early, asker)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (delivery_id) DO UPDATE
         SET email_address = ?2, sms = ?3, asked_at = ?4, language = ?5, early = ?6, asker = ?7",
        &[
            &id,
            &request.email_address,
            &request.sms,
            &now,
            &request.language,
            &is_early,
            &request.asker,
        ],
    )?;
    if is_early {
        transaction.execute(
            "DELETE FROM notify_requests WHERE delivery_id IN (
               SELECT delivery_id FROM notify_requests WHERE early = 1
               ORDER BY asked_at DESC LIMIT ?1 OFFSET ?2)",
            &[&SLICE, &EARLY_MAX],
        )?;
        transaction.execute(
            "DELETE FROM notify_requests WHERE delivery_id IN (
               SELECT delivery_id FROM notify_requests WHERE early = 1 AND asker = ?3
               ORDER BY asked_at DESC LIMIT ?1 OFFSET ?2)",
            &[&SLICE, &EARLY_OF_ONE_MAX, &request.asker],
        )?;
    }
    Ok(())
}

/// Whether somebody wants to hear of a delivery.
pub(crate) fn is_asked_for(reader: &Reader<'_>, id: &str) -> Result<bool, SqlError> {
    let sql = "SELECT 1 FROM notify_requests WHERE delivery_id = ?1";
    Ok(reader.query_optional(sql, &[&id], |row| row.get::<i64>(0))?.is_some())
}

/// Where a customer wants to hear of a delivery.
pub(crate) fn notify_request(
    reader: &Reader<'_>,
    id: &str,
) -> Result<Option<NotifyRequest>, SqlError> {
    reader.query_optional(
        "SELECT email_address, sms, language, asker FROM notify_requests WHERE delivery_id = ?1",
        &[&id],
        |row| {
            let (email_address, sms) = (row.get(0)?, row.get(1)?);
            Ok(NotifyRequest { email_address, sms, language: row.get(2)?, asker: row.get(3)? })
        },
    )
}

/// Forgets the addresses of one customer.
pub(crate) fn erase_notify_request(
    transaction: &mut Transaction<'_>,
    id: &str,
) -> Result<(), SqlError> {
    transaction.execute("DELETE FROM notify_requests WHERE delivery_id = ?1", &[&id]).map(|_| ())
}

/// Forgets the addresses of customers whose delivery ended before `before`, and of those who had asked
/// by then for one that never came, a slice at a time.
pub(crate) fn erase_old_notify_requests(
    transaction: &mut Transaction<'_>,
    before: Timestamp,
) -> Result<u64, SqlError> {
    let in_vain = transaction.execute(
        "DELETE FROM notify_requests WHERE delivery_id IN (
           SELECT delivery_id FROM notify_requests WHERE early = 1 AND asked_at < ?1 LIMIT ?2)",
        &[&before, &SLICE],
    )?;
    let ended = transaction.execute(
        "DELETE FROM notify_requests WHERE delivery_id IN (
           SELECT notify_requests.delivery_id FROM notify_requests
           JOIN deliveries ON deliveries.id = notify_requests.delivery_id
           WHERE asked_at < ?1 AND stage >= ?2 AND changed_at < ?1 LIMIT ?3)",
        &[&before, &first_end(), &SLICE],
    )?;
    Ok(in_vain + ended)
}

/// Forgets deliveries that ended before `before` with all that hangs on them, a slice at a time.
/// Gives how many deliveries.
pub(crate) fn forget_ended(
    transaction: &mut Transaction<'_>,
    before: Timestamp,
) -> Result<u64, SqlError> {
    // The stage is a literal, as in the index: only so is the index used.
    let ended = transaction.query_all(
        "SELECT id FROM deliveries WHERE stage >= 4 AND changed_at < ?1 LIMIT ?2",
        &[&before, &SLICE],
        |row| row.get::<String>(0),
    )?;
    for id in &ended {
        for sql in [
            "DELETE FROM delivery_events WHERE delivery_id = ?1",
            "DELETE FROM delivery_positions WHERE delivery_id = ?1",
            "DELETE FROM notify_requests WHERE delivery_id = ?1",
            "DELETE FROM overdue WHERE delivery_id = ?1",
            "DELETE FROM deliveries WHERE id = ?1",
        ] {
            transaction.execute(sql, &[id])?;
        }
    }
    Ok(u64::try_from(ended.len()).unwrap_or(u64::MAX))
}

/// Forgets tombstones from before `before`, a slice at a time.
pub(crate) fn forget_tombstones(
    transaction: &mut Transaction<'_>,
    before: Timestamp,
) -> Result<u64, SqlError> {
    transaction.execute(
        "DELETE FROM delivery_tombstones WHERE delivery_id IN
         (SELECT delivery_id FROM delivery_tombstones WHERE since < ?1 LIMIT ?2)",
        &[&before, &SLICE],
    )
}

fn first_end() -> i64 {
    ordinal(DeliveryStage::Completed)
}

fn ordinal(stage: DeliveryStage) -> i64 {
    i64::from(stage.ordinal())
}

#[cfg(test)]
mod costs;

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use base::ManualClock;
    use contracts::ConfirmationType;
    use service_kit::forget;
    use store::{Store, StoreSettings, WriteError};
    use telemetry::Telemetry;
    use tempfile::TempDir;

    use super::*;
    use crate::events::{Audience, Voice};

    const QUIET: Voice<'static> = Voice { audience: Audience::Askers, trace: None };
    use crate::{
        domain::{Ending, Order, Owner},
        events,
    };

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
    async fn who_makes_ids_up_costs_a_bounded_number_of_rows_and_nothing_of_what_was_asked_in_time()
    {
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
}
