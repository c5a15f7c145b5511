use store::{
    Applied, Migration, OpenError, SqlError, Store, StoreSettings, Unavailable, WriteError,
};
use telemetry::Telemetry;
use tokio::{task::JoinSet, time::timeout};

use crate::fixture::{Fixture, MIGRATIONS, PATIENCE, open};

async fn value(store: &Store, name: &'static str) -> Option<i64> {
    let read = store.read(move |reader| {
        reader.query_optional("SELECT value FROM counters WHERE name = ?1", &[&name], |row| {
            row.get(0)
        })
    });
    read.await.unwrap()
}

async fn set(store: &Store, name: &'static str, value: i64) -> Result<(), WriteError<SqlError>> {
    let write = store.write(move |transaction| {
        transaction
            .execute("INSERT OR REPLACE INTO counters VALUES (?1, ?2)", &[&name, &value])
            .map(|_| ())
    });
    write.await
}

#[tokio::test]
async fn a_refused_closure_is_undone_alone() {
    let fixture = Fixture::new();
    let mut writes = JoinSet::new();
    for number in 0..50_i64 {
        let store = fixture.store.clone();
        writes.spawn(async move {
            let write = store.write(move |transaction| {
                let name = format!("c{number}");
                transaction.execute("INSERT INTO counters VALUES (?1, 1)", &[&name])?;
                if number % 3 == 0 { Err(SqlError::NoRow) } else { Ok(()) }
            });
            write.await
        });
    }
    let kept = writes.join_all().await.into_iter().filter(Result::is_ok).count();
    assert_eq!(kept, 33);
    let rows = fixture.store.read(|reader| {
        reader.query_one("SELECT COUNT(*) FROM counters", &[], |row| row.get::<i64>(0))
    });
    assert_eq!(rows.await, Ok(33));
}

#[tokio::test]
async fn a_panic_is_the_answer_of_its_own_closure() {
    let fixture = Fixture::new();
    let panicking = fixture.store.write(|transaction| {
        transaction.execute("INSERT INTO counters VALUES ('lost', 1)", &[])?;
        if transaction.now().as_millis() > 0 {
            panic!("planted");
        }
        Ok::<_, SqlError>(())
    });
    let (panicked, kept) = tokio::join!(panicking, set(&fixture.store, "kept", 7));
    assert!(
        matches!(panicked, Err(WriteError::Failed { applied: Applied::No, .. })),
        "{panicked:?}"
    );
    assert_eq!(kept, Ok(()));
    assert_eq!(value(&fixture.store, "lost").await, None);
    assert_eq!(value(&fixture.store, "kept").await, Some(7));
}

#[tokio::test]
async fn a_broken_constraint_is_named() {
    let fixture = Fixture::new();
    let refused = set(&fixture.store, "big", 100).await.unwrap_err();
    assert!(matches!(refused, WriteError::Refused(SqlError::Constraint { .. })), "{refused:?}");
}

#[tokio::test]
async fn what_was_acknowledged_is_in_a_copy_of_the_files() {
    let fixture = Fixture::new();
    for number in 0..20 {
        set(&fixture.store, "a", number).await.unwrap();
        let copy = tempfile::TempDir::new().unwrap();
        for file in ["test.db", "test.db-wal"] {
            std::fs::copy(fixture.directory.path().join(file), copy.path().join(file)).unwrap();
        }
        let after_the_crash = open(copy.path(), &fixture.clock, StoreSettings::default());
        assert_eq!(value(&after_the_crash, "a").await, Some(number));
    }
}

#[tokio::test]
async fn the_log_is_copied_away_and_does_not_grow_for_ever() {
    let settings = StoreSettings {
        checkpoint_bytes: 64 << 10,
        log_bytes_max: 256 << 10,
        ..StoreSettings::default()
    };
    let fixture = Fixture::with(settings);
    for round in 0..600 {
        set(&fixture.store, "a", round % 100).await.unwrap();
    }
    let log = std::fs::metadata(fixture.directory.path().join("test.db-wal")).unwrap().len();
    assert!(log <= 1 << 20, "{log}");
}

#[tokio::test]
async fn a_small_write_costs_small_pages() {
    let fixture = Fixture::new();
    let log = || std::fs::metadata(fixture.directory.path().join("test.db-wal")).unwrap().len();
    set(&fixture.store, "a", 1).await.unwrap();
    let before = log();
    set(&fixture.store, "a", 2).await.unwrap();
    // A page of the row and one of its key, each with a header.
    assert_eq!(log() - before, 2 * (1_024 + 24));
}

#[tokio::test]
async fn the_queue_is_bounded() {
    let one = std::num::NonZeroUsize::MIN;
    let settings = StoreSettings { writes_max: one, group_max: one, ..StoreSettings::default() };
    let fixture = Fixture::with(settings);
    let mut writes = JoinSet::new();
    for _ in 0..100 {
        let store = fixture.store.clone();
        writes.spawn(async move { set(&store, "a", 1).await });
    }
    let refused = writes.join_all().await.into_iter().filter(Result::is_err).count();
    assert!(refused > 0, "a hundred writes found room in a queue of one");
}

#[tokio::test]
async fn waiting_for_messages_ends_with_the_commit_that_pushed_one() {
    let fixture = Fixture::new();
    let seen = fixture.store.outbox_changed(0);
    let push =
        fixture.store.write(|transaction| transaction.push(&crate::sharing::message("a", 1)));
    let (seen, pushed) = timeout(PATIENCE, async { tokio::join!(seen, push) }).await.unwrap();
    pushed.unwrap();
    assert_eq!(seen, 1);
}

#[test]
fn a_file_with_another_history_is_refused() {
    let fixture = Fixture::new();
    let path = fixture.directory.path().join("test.db");
    let reopen = |migrations: &[Migration]| {
        let telemetry = Telemetry::disabled();
        let settings = StoreSettings::default();
        Store::open(&path, migrations, settings, fixture.clock.clone(), &telemetry).map(|_| ())
    };
    assert!(matches!(reopen(&[]), Err(OpenError::UnknownMigration { .. })));
    let changed = [Migration { sql: "CREATE TABLE other (a INTEGER) STRICT;", ..MIGRATIONS[0] }];
    assert!(matches!(reopen(&changed), Err(OpenError::ChangedMigration { .. })));
    assert!(reopen(MIGRATIONS).is_ok());
}

/// Pushes a message; the commits that pushed some are counted by `outbox_changed`.
async fn push(store: &Store, number: u64) {
    store.write(move |it| it.push(&crate::sharing::message("a", number))).await.unwrap();
}

#[tokio::test]
async fn while_groups_have_company_each_waits_for_more() {
    // In a queue of two a third finds room when the first was taken: it comes too late for that group,
    // if the group does not wait.
    let writes_max = std::num::NonZeroUsize::new(2).unwrap();
    let settings =
        StoreSettings { writes_max, group_wait_us: 3_000_000, ..StoreSettings::default() };
    let fixture = Fixture::with(settings);
    let store = &fixture.store;
    let (open, gate) = std::sync::mpsc::channel::<()>();
    let (inside, is_held) = tokio::sync::oneshot::channel();
    let held = store.write(move |_| {
        inside.send(()).unwrap();
        gate.recv().unwrap();
        Ok::<_, SqlError>(())
    });
    let company = async {
        is_held.await.unwrap();
        let opened = async { open.send(()).unwrap() };
        tokio::join!(push(store, 1), push(store, 2), opened);
    };
    let (held, ()) = tokio::join!(held, company);
    held.unwrap();
    let so_far = store.outbox_changed(0).await;
    let late = async {
        while let Err(error) = store.write(|it| it.push(&crate::sharing::message("a", 5))).await {
            let reason = Unavailable::Overloaded;
            assert!(matches!(error, WriteError::Unavailable { reason: it, .. } if it == reason));
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(push(store, 3), push(store, 4), late);
    assert_eq!(store.outbox_changed(0).await, so_far + 1);
}

#[tokio::test]
async fn who_writes_alone_never_waits() {
    let group_wait_us = u32::MAX;
    let fixture = Fixture::with(StoreSettings { group_wait_us, ..StoreSettings::default() });
    let alone = async {
        for number in 0..20 {
            push(&fixture.store, number).await;
        }
    };
    timeout(PATIENCE, alone).await.unwrap();
}
