//! Tables of packages and of the deliveries that refer to them.

use base::Timestamp;
use contracts::{PackageSize, Words};
use store::{Migration, Reader, Row, SqlError, Transaction};

use crate::domain::{Package, PackageChange};

/// History of the tables. Never edit one: append.
pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "packages and their references", sql: FIRST },
    Migration { version: 2, name: "when a package was touched", sql: SECOND },
    Migration { version: 3, name: "what each delivery said of a package", sql: THIRD },
];

const FIRST: &str = "
CREATE TABLE packages (
  id TEXT PRIMARY KEY,
  size INTEGER NOT NULL,
  weight REAL NOT NULL,
  tag TEXT NOT NULL,
  owner_id TEXT,
  created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX packages_owner ON packages (owner_id, created_at) WHERE owner_id IS NOT NULL;

CREATE TABLE package_references (
  package_id TEXT NOT NULL,
  delivery_id TEXT NOT NULL,
  PRIMARY KEY (package_id, delivery_id)
) STRICT, WITHOUT ROWID;
";

const SECOND: &str = "
ALTER TABLE packages ADD COLUMN touched_at INTEGER NOT NULL DEFAULT 0;
UPDATE packages SET touched_at = created_at;
CREATE INDEX packages_age ON packages (touched_at);
";

// What was said before has no values here, and stays as it was until somebody says something.
const THIRD: &str = "
ALTER TABLE package_references ADD COLUMN size INTEGER;
ALTER TABLE package_references ADD COLUMN weight REAL;
ALTER TABLE package_references ADD COLUMN tag TEXT;
ALTER TABLE package_references ADD COLUMN turn INTEGER NOT NULL DEFAULT 0;
";

/// Packages that one transaction forgets.
const SLICE: u32 = 500;

/// Stands for the client that registered a package by hand.
const BY_HAND: &str = "";

/// Whether a package was there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Put {
    Created,
    Replaced,
    /// It is another account's: nothing was changed.
    OtherOwner,
}

/// One package.
pub(crate) fn find(reader: &Reader<'_>, id: &str) -> Result<Option<Package>, SqlError> {
    reader.query_optional(
        "SELECT id, size, weight, tag FROM packages WHERE id = ?1",
        &[&id],
        package,
    )
}

/// Kilograms of one account's packages, registered from `from` to before `to`.
pub(crate) fn total_weight(
    reader: &Reader<'_>,
    owner_id: &str,
    from: Timestamp,
    to: Timestamp,
) -> Result<f64, SqlError> {
    reader.query_one(
        "SELECT COALESCE(SUM(weight), 0.0) FROM packages
         WHERE owner_id = ?1 AND created_at >= ?2 AND created_at < ?3",
        &[&owner_id, &from, &to],
        |row| row.get(0),
    )
}

/// Registers a package, or replaces what it is, and remembers who refers to it and what it said.
/// A package is its first owner's: that of another account is left as it is.
pub(crate) fn put(
    transaction: &mut Transaction<'_>,
    id: &str,
    change: PackageChange,
) -> Result<(Put, Package), SqlError> {
    let owner_id = change.owner_id.clone();
    let put = match find(transaction, id)? {
        Some(known) if is_another_s(transaction, id, owner_id.as_deref())? => {
            return Ok((Put::OtherOwner, known));
        }
        Some(_) => Put::Replaced,
        None => Put::Created,
    };
    let delivery_id = change.delivery_id.clone();
    let package = change.into_package(id.to_owned());
    let (size, now) = (i64::from(package.size.ordinal()), transaction.now());
    transaction.execute(
        "INSERT INTO packages (id, size, weight, tag, owner_id, created_at, touched_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)
         ON CONFLICT (id) DO UPDATE SET size = ?2, weight = ?3, tag = ?4,
           owner_id = COALESCE(?5, owner_id), touched_at = ?6",
        &[&package.id, &size, &package.weight, &package.tag, &owner_id, &now],
    )?;
    transaction.execute(
        "INSERT INTO package_references (package_id, delivery_id, size, weight, tag, turn)
         SELECT ?1, ?2, ?3, ?4, ?5, COALESCE(MAX(turn), 0) + 1 FROM package_references
           WHERE package_id = ?1
         ON CONFLICT (package_id, delivery_id) DO UPDATE SET size = excluded.size,
           weight = excluded.weight, tag = excluded.tag, turn = excluded.turn",
        &[&id, &delivery_id.as_deref().unwrap_or(BY_HAND), &size, &package.weight, &package.tag],
    )?;
    Ok((put, package))
}

/// Whether a package has an owner, and that is another.
fn is_another_s(reader: &Reader<'_>, id: &str, owner_id: Option<&str>) -> Result<bool, SqlError> {
    let known = reader.query_one("SELECT owner_id FROM packages WHERE id = ?1", &[&id], |row| {
        row.get::<Option<String>>(0)
    })?;
    Ok(owner_id.is_some() && known.is_some() && known.as_deref() != owner_id)
}

/// Changes what is named; `None` when there is no such package.
pub(crate) fn merge(
    transaction: &mut Transaction<'_>,
    id: &str,
    change: PackageChange,
) -> Result<Option<Package>, SqlError> {
    let Some(before) = find(transaction, id)? else { return Ok(None) };
    let after = change.merge_into(before);
    let now = transaction.now();
    transaction.execute(
        "UPDATE packages SET size = ?2, weight = ?3, tag = ?4, touched_at = ?5 WHERE id = ?1",
        &[&after.id, &i64::from(after.size.ordinal()), &after.weight, &after.tag, &now],
    )?;
    // Whoever refers to it: it is what it is from now on.
    transaction.execute(
        "UPDATE package_references SET size = ?2, weight = ?3, tag = ?4 WHERE package_id = ?1",
        &[&after.id, &i64::from(after.size.ordinal()), &after.weight, &after.tag],
    )?;
    Ok(Some(after))
}

/// Takes one reference away; the last takes the package with it, otherwise it is what the last of the
/// others said. Nothing happens where there is none.
pub(crate) fn release(
    transaction: &mut Transaction<'_>,
    id: &str,
    delivery_id: Option<&str>,
) -> Result<(), SqlError> {
    let removed = transaction.execute(
        "DELETE FROM package_references WHERE package_id = ?1 AND delivery_id = ?2",
        &[&id, &delivery_id.unwrap_or(BY_HAND)],
    )?;
    if removed > 0 {
        transaction.execute(
            "DELETE FROM packages WHERE id = ?1
             AND NOT EXISTS (SELECT 1 FROM package_references WHERE package_id = ?1)",
            &[&id],
        )?;
        transaction.execute(
            "UPDATE packages SET (size, weight, tag) = (
               SELECT size, weight, tag FROM package_references
               WHERE package_id = ?1 AND size IS NOT NULL ORDER BY turn DESC LIMIT 1)
             WHERE id = ?1 AND EXISTS (
               SELECT 1 FROM package_references WHERE package_id = ?1 AND size IS NOT NULL)",
            &[&id],
        )?;
    }
    Ok(())
}

/// Forgets packages that were not touched since `before`, a slice at a time. Gives how many.
///
/// A delivery that refers to a package touches it. A reference is taken away when its delivery is
/// undone, not when it ends, of which this service does not hear; so one as old as `before` is of
/// a delivery that is over, and goes with the package.
pub(crate) fn forget_old(
    transaction: &mut Transaction<'_>,
    before: Timestamp,
) -> Result<u64, SqlError> {
    let old = transaction.query_all(
        "SELECT id FROM packages WHERE touched_at < ?1 LIMIT ?2",
        &[&before, &SLICE],
        |row| row.get::<String>(0),
    )?;
    for id in &old {
        transaction.execute("DELETE FROM package_references WHERE package_id = ?1", &[id])?;
        transaction.execute("DELETE FROM packages WHERE id = ?1", &[id])?;
    }
    Ok(u64::try_from(old.len()).unwrap_or(u64::MAX))
}

fn package(row: &Row<'_>) -> Result<Package, SqlError> {
    let size: u64 = row.get(1)?;
    Ok(Package {
        id: row.get(0)?,
        size: PackageSize::from_ordinal(size).unwrap_or_default(),
        weight: row.get(2)?,
        tag: row.get(3)?,
    })
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use base::ManualClock;
    use service_kit::forget;
    use store::{Store, StoreSettings, WriteError};
    use telemetry::Telemetry;

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    async fn write(
        store: &Store,
        write: impl FnOnce(&mut Transaction<'_>) -> Result<(), SqlError> + Send + 'static,
    ) {
        let written: Result<(), WriteError<SqlError>> = store.write(write).await;
        written.unwrap();
    }

    fn of_delivery(id: &str) -> PackageChange {
        PackageChange { delivery_id: Some(id.to_owned()), ..PackageChange::default() }
    }

    #[tokio::test]
    async fn a_package_is_forgotten_with_its_references_when_nobody_touched_it_for_the_days_that_were_set()
     {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
        let path = directory.path().join("package.db");
        let (settings, telemetry) = (StoreSettings::default(), Telemetry::disabled());
        let store = Store::open(path, MIGRATIONS, settings, clock.clone(), &telemetry).unwrap();
        write(&store, |it| {
            for id in ["left alone", "referred to again", "changed"] {
                put(it, id, of_delivery("d1"))?;
            }
            Ok(())
        })
        .await;
        clock.advance(DAY * 3);
        write(&store, |it| {
            put(it, "referred to again", of_delivery("d2"))?;
            let change = PackageChange { weight: Some(1.0), ..PackageChange::default() };
            merge(it, "changed", change)?;
            Ok(())
        })
        .await;
        clock.advance(DAY * 2);
        assert_eq!(forget(&store, 5, forget_old).await, Ok(0), "none is so old");
        assert_eq!(forget(&store, 4, forget_old).await, Ok(1));
        for (id, is_kept) in [("left alone", false), ("referred to again", true), ("changed", true)]
        {
            let found = store.read(move |it| find(it, id)).await.unwrap();
            assert_eq!(found.is_some(), is_kept, "{id}");
        }
        let references = store.read(|it| {
            it.query_one("SELECT COUNT(*) FROM package_references", &[], |row| row.get::<u64>(0))
        });
        assert_eq!(references.await, Ok(3));
    }

    fn said(delivery: &str, owner: &str, weight: f64) -> PackageChange {
        PackageChange {
            weight: Some(weight),
            owner_id: Some(owner.to_owned()),
            ..of_delivery(delivery)
        }
    }

    #[tokio::test]
    async fn an_undo_restores_what_the_others_had_said_and_nobody_touches_what_is_another_s() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
        let path = directory.path().join("package.db");
        let (settings, telemetry) = (StoreSettings::default(), Telemetry::disabled());
        let store = Store::open(path, MIGRATIONS, settings, clock, &telemetry).unwrap();
        let weight = async || store.read(|it| find(it, "p")).await.unwrap().unwrap().weight;
        write(&store, |it| {
            put(it, "p", said("d1", "a", 1.0))?;
            put(it, "p", said("d2", "a", 2.0))?;
            put(it, "p", said("d3", "a", 3.0))?;
            assert_eq!(put(it, "p", said("d4", "b", 4.0))?.0, Put::OtherOwner);
            release(it, "p", Some("d4"))
        })
        .await;
        assert_eq!(weight().await, 3.0);
        write(&store, |it| release(it, "p", Some("d3"))).await;
        assert_eq!(weight().await, 2.0);
        write(&store, |it| release(it, "p", Some("d1"))).await;
        assert_eq!(weight().await, 2.0, "what was said before the last changes nothing");
        write(&store, |it| release(it, "p", Some("d2"))).await;
        assert_eq!(store.read(|it| find(it, "p")).await, Ok(None));
    }

    #[tokio::test]
    async fn more_than_a_slice_is_forgotten_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
        let path = directory.path().join("package.db");
        let (settings, telemetry) = (StoreSettings::default(), Telemetry::disabled());
        let store = Store::open(path, MIGRATIONS, settings, clock.clone(), &telemetry).unwrap();
        write(&store, |it| {
            (0..=SLICE).try_for_each(|number| {
                put(it, &number.to_string(), PackageChange::default()).map(|_| ())
            })
        })
        .await;
        clock.advance(DAY * 2);
        assert_eq!(forget(&store, 1, forget_old).await, Ok(u64::from(SLICE) + 1));
    }
}
