//! The table of events: one row for each stage that a delivery reached.

use base::Timestamp;
use contracts::{Words as _, shipping::DeliveryEvent};
use store::{Migration, Reader, Row, SqlError, Transaction};

/// History of the tables. Never edit one: append.
pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "events", sql: FIRST },
    Migration { version: 2, name: "events by number", sql: SECOND },
    Migration { version: 3, name: "no index of ages", sql: THIRD },
];

const FIRST: &str = "
CREATE TABLE events (
  event_id TEXT PRIMARY KEY,
  delivery_id TEXT NOT NULL,
  sequence INTEGER NOT NULL,
  owner_id TEXT NOT NULL,
  stage TEXT NOT NULL,
  occurred_at INTEGER NOT NULL,
  body TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX events_delivery ON events (delivery_id, sequence);
CREATE INDEX events_owner ON events (owner_id, occurred_at);
CREATE INDEX events_age ON events (occurred_at);
";

// The id of an event is its delivery and its number there, so one index serves both; a row is added at the end
// of the table, not somewhere within it.
const SECOND: &str = "
CREATE TABLE events_2 (
  number INTEGER PRIMARY KEY,
  event_id TEXT NOT NULL,
  delivery_id TEXT NOT NULL,
  sequence INTEGER NOT NULL,
  owner_id TEXT NOT NULL,
  stage TEXT NOT NULL,
  occurred_at INTEGER NOT NULL,
  body TEXT NOT NULL,
  UNIQUE (delivery_id, sequence)
) STRICT;
INSERT OR IGNORE INTO events_2
  SELECT NULL, event_id, delivery_id, sequence, owner_id, stage, occurred_at, body
  FROM events ORDER BY occurred_at;
DROP TABLE events;
ALTER TABLE events_2 RENAME TO events;
CREATE INDEX events_owner ON events (owner_id, occurred_at);
CREATE INDEX events_age ON events (occurred_at);
";

// Events come about in the order in which they happened, so the oldest are those with the lowest numbers.
const THIRD: &str = "DROP INDEX events_age;";

/// Rows that one transaction forgets, so that it holds the lock for a moment only.
pub(crate) const SLICE: u64 = 1_000;

/// Keeps an event. One that was kept before changes nothing.
pub(crate) fn keep(
    transaction: &mut Transaction<'_>,
    event: &DeliveryEvent,
) -> Result<(), SqlError> {
    let body = serde_json::to_string(event).map_err(|it| unreadable(&it))?;
    transaction.execute(
        "INSERT INTO events (event_id, delivery_id, sequence, owner_id, stage, occurred_at, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (delivery_id, sequence) DO NOTHING",
        &[
            &event.event_id,
            &event.delivery_id,
            &event.sequence,
            &event.owner_id,
            &event.stage.word(),
            &event.occurred_at,
            &body,
        ],
    )?;
    Ok(())
}

/// The events of a delivery, in order.
pub(crate) fn of_delivery(reader: &Reader<'_>, id: &str) -> Result<Vec<DeliveryEvent>, SqlError> {
    reader.query_all(
        "SELECT body FROM events WHERE delivery_id = ?1 ORDER BY sequence LIMIT 1000",
        &[&id],
        event,
    )
}

/// The events of an account's deliveries, the newest first, behind one of them where it is named.
pub(crate) fn of_owner(
    reader: &Reader<'_>,
    owner_id: &str,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<DeliveryEvent>, SqlError> {
    // `<delivery>/<sequence>`; one that is not of this form is nobody's.
    let place = after.and_then(|it| it.rsplit_once('/'));
    let sequence = place.and_then(|it| it.1.parse::<u64>().ok());
    reader.query_all(
        "SELECT body FROM events WHERE owner_id = ?1
         AND (?2 IS NULL OR (occurred_at, sequence, event_id)
              < (SELECT occurred_at, sequence, event_id FROM events
                 WHERE delivery_id = ?3 AND sequence = ?4))
         ORDER BY occurred_at DESC, sequence DESC, event_id DESC LIMIT ?5",
        &[&owner_id, &after, &place.map(|it| it.0), &sequence, &limit],
        event,
    )
}

/// Forgets events from before `before`, a slice at a time. Gives how many. It looks at those that came
/// first: one that came out of its time is forgotten with those around it.
pub(crate) fn forget_old(
    transaction: &mut Transaction<'_>,
    before: Timestamp,
) -> Result<u64, SqlError> {
    transaction.execute(
        "DELETE FROM events WHERE number IN
         (SELECT number FROM (SELECT number, occurred_at FROM events ORDER BY number LIMIT ?2)
          WHERE occurred_at < ?1)",
        &[&before, &SLICE],
    )
}

fn event(row: &Row<'_>) -> Result<DeliveryEvent, SqlError> {
    serde_json::from_str(&row.get::<String>(0)?).map_err(|it| unreadable(&it))
}

fn unreadable(error: &serde_json::Error) -> SqlError {
    SqlError::Damaged { message: format!("an event's row: {error}") }
}

#[cfg(test)]
mod costs;

#[cfg(test)]
pub(crate) mod tests {
    use base::SharedClock;
    use store::{Store, StoreSettings, WriteError};
    use telemetry::Telemetry;
    use tempfile::TempDir;

    use super::*;
    use crate::domain::tests::event;

    pub(crate) fn open(directory: &TempDir, clock: SharedClock) -> Store {
        let path = directory.path().join("history.db");
        let settings = StoreSettings::default();
        Store::open(path, MIGRATIONS, settings, clock, &Telemetry::disabled()).unwrap()
    }

    pub(crate) async fn kept(store: &Store, events: Vec<DeliveryEvent>) {
        let all = store.write(move |it| events.iter().try_for_each(|event| keep(it, event)));
        let all: Result<(), WriteError<SqlError>> = all.await;
        all.unwrap();
    }

    pub(crate) async fn ids(store: &Store, delivery: &'static str) -> Vec<String> {
        let found = store.read(move |it| of_delivery(it, delivery)).await.unwrap();
        found.into_iter().map(|it| it.event_id).collect()
    }

    fn fixture() -> (TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = open(&directory, runtime::SystemClock::shared());
        (directory, store)
    }

    #[tokio::test]
    async fn events_that_come_out_of_order_are_shown_in_order() {
        let (_directory, store) = fixture();
        kept(&store, vec![event("d1", 3, 30), event("d1", 1, 10), event("d1", 2, 20)]).await;
        kept(&store, vec![event("d2", 1, 10)]).await;
        assert_eq!(ids(&store, "d1").await, ["d1/1", "d1/2", "d1/3"]);
    }

    #[tokio::test]
    async fn what_was_said_first_under_an_id_stands() {
        let (_directory, store) = fixture();
        let other = DeliveryEvent { reason: Some("again".to_owned()), ..event("d1", 1, 99) };
        kept(&store, vec![event("d1", 1, 10), other]).await;
        let found = store.read(|it| of_delivery(it, "d1")).await.unwrap();
        assert_eq!(found, [event("d1", 1, 10)]);
    }

    #[tokio::test]
    async fn a_database_from_before_rows_had_numbers_keeps_its_events() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history.db");
        let (settings, clock) = (StoreSettings::default(), runtime::SystemClock::shared());
        let first = &MIGRATIONS[..1];
        let old = Store::open(path, first, settings, clock, &Telemetry::disabled()).unwrap();
        let written: Result<(), WriteError<SqlError>> = old
            .write(|it| {
                let sql = "INSERT INTO events VALUES ('d1/1', 'd1', 1, 'owner', 'Created', 10, ?1)";
                let body = serde_json::to_string(&event("d1", 1, 10)).unwrap();
                it.execute(sql, &[&body]).map(|_| ())
            })
            .await;
        written.unwrap();
        drop(old);
        let store = open(&directory, runtime::SystemClock::shared());
        kept(&store, vec![event("d1", 1, 10), event("d1", 2, 20)]).await;
        assert_eq!(ids(&store, "d1").await, ["d1/1", "d1/2"]);
        let of_owner = store.read(|it| of_owner(it, "owner", None, 9)).await.unwrap();
        assert_eq!(of_owner, [event("d1", 2, 20), event("d1", 1, 10)]);
    }

    #[tokio::test]
    async fn an_account_sees_its_own_events_newest_first_and_no_more_than_it_asks_for() {
        let (_directory, store) = fixture();
        let foreign = DeliveryEvent { owner_id: "other".to_owned(), ..event("d9", 1, 90) };
        kept(&store, vec![event("d1", 1, 10), event("d2", 1, 30), event("d1", 2, 20), foreign])
            .await;
        let found = store.read(|it| of_owner(it, "owner", None, 2)).await.unwrap();
        assert_eq!(found, [event("d2", 1, 30), event("d1", 2, 20)]);
    }

    #[tokio::test]
    async fn the_pages_of_an_account_hold_each_event_once_also_those_of_one_time() {
        let (_directory, store) = fixture();
        // At one time, and with one number: only their ids tell them apart.
        kept(&store, ["d1", "d2", "d3"].map(|it| event(it, 1, 10)).to_vec()).await;
        kept(&store, vec![event("d1", 2, 10)]).await;
        let (mut seen, mut after) = (Vec::new(), None::<String>);
        loop {
            let from = after.clone();
            let page = store.read(move |it| of_owner(it, "owner", from.as_deref(), 1)).await;
            let Some(event) = page.unwrap().pop() else { break };
            after = Some(event.event_id.clone());
            seen.push(event.event_id);
        }
        assert_eq!(seen, ["d1/2", "d3/1", "d2/1", "d1/1"]);
    }

    #[tokio::test]
    async fn only_old_events_are_forgotten_and_only_a_slice_at_once() {
        let (_directory, store) = fixture();
        let old = (1..=SLICE + 1).map(|it| event("d1", it, 10)).collect();
        kept(&store, old).await;
        kept(&store, vec![event("d2", 1, 20)]).await;
        for expected in [SLICE, 1, 0] {
            let forgotten = store.write(|it| forget_old(it, Timestamp::from_millis(20))).await;
            assert_eq!(forgotten, Ok(expected));
        }
        assert_eq!(ids(&store, "d2").await, ["d2/1"]);
    }
}
