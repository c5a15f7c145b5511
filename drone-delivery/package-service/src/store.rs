//! Tables of packages and of the deliveries that refer to them.

use base::Timestamp;
use contracts::{PackageSize, Words};
use store::{Migration, Reader, Row, SqlError, Transaction};

use crate::domain::{Package, PackageChange};

/// History of the tables. Never edit one: append.
pub(crate) const MIGRATIONS: &[Migration] =
    &[Migration { version: 1, name: "packages and their references", sql: FIRST }];

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

/// Stands for the client that registered a package by hand.
const BY_HAND: &str = "";

/// Whether a package was there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Put {
    Created,
    Replaced,
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

/// Registers a package, or replaces what it is, and remembers who refers to it.
pub(crate) fn put(
    transaction: &mut Transaction<'_>,
    id: &str,
    change: PackageChange,
) -> Result<(Put, Package), SqlError> {
    let put = if find(transaction, id)?.is_some() { Put::Replaced } else { Put::Created };
    let (owner_id, delivery_id) = (change.owner_id.clone(), change.delivery_id.clone());
    let package = change.into_package(id.to_owned());
    let now = transaction.now();
    transaction.execute(
        "INSERT INTO packages (id, size, weight, tag, owner_id, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (id) DO UPDATE SET size = ?2, weight = ?3, tag = ?4,
           owner_id = COALESCE(?5, owner_id)",
        &[
            &package.id,
            &i64::from(package.size.ordinal()),
            &package.weight,
            &package.tag,
            &owner_id,
            &now,
        ],
    )?;
    transaction.execute(
        "INSERT OR IGNORE INTO package_references (package_id, delivery_id) VALUES (?1, ?2)",
        &[&id, &delivery_id.as_deref().unwrap_or(BY_HAND)],
    )?;
    Ok((put, package))
}

/// Changes what is named; `None` when there is no such package.
pub(crate) fn merge(
    transaction: &mut Transaction<'_>,
    id: &str,
    change: PackageChange,
) -> Result<Option<Package>, SqlError> {
    let Some(before) = find(transaction, id)? else { return Ok(None) };
    let after = change.merge_into(before);
    transaction.execute(
        "UPDATE packages SET size = ?2, weight = ?3, tag = ?4 WHERE id = ?1",
        &[&after.id, &i64::from(after.size.ordinal()), &after.weight, &after.tag],
    )?;
    Ok(Some(after))
}

/// Takes one reference away; the last takes the package with it. Nothing happens where there is none.
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
    }
    Ok(())
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
