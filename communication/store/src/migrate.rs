//! Migrations: numbered SQL that runs once, in order, and may never change afterwards.
//!
//! The file remembers the number, name and checksum of each. A file that a newer program has
//! changed, or one whose history differs from ours, is refused with both sides named: an older
//! program must not write into tables that it does not understand.

use std::path::Path;

use base::Timestamp;
use rusqlite::{Connection, OptionalExtension as _};
use sha2::{Digest as _, Sha256};

use crate::{
    error::{MigrationName, OpenError, SqlError},
    schema,
};

/// One step of a schema's history.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// Its number: 1, 2, 3, … without gaps.
    pub version: u32,
    /// What it is about, for people.
    pub name: &'static str,
    /// Statements, separated by semicolons. They run in one transaction with all that is pending.
    pub sql: &'static str,
}

/// The format of the store itself. Another one in the file is refused.
pub(crate) const FORMAT: u32 = 1;
/// Marks the file as a store for `file` and for [`check_identity`]: "SKEN" in ASCII.
const APPLICATION_ID: i32 = 0x534b_454e;

/// A migration as the file remembers it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ran {
    name: MigrationName,
    checksum: String,
}

impl Migration {
    fn named(&self) -> MigrationName {
        MigrationName { version: self.version, name: self.name.to_owned() }
    }

    fn checksum(&self) -> String {
        let digest: [u8; 32] = Sha256::digest(self.sql.as_bytes()).into();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Refuses a list that is not 1, 2, 3, … or whose statements could break a whole commit group.
fn check_given(given: &[Migration]) -> Result<(), OpenError> {
    for (expected, migration) in (1..).zip(given) {
        if migration.version != expected {
            return Err(OpenError::MigrationOrder { expected, found: migration.named() });
        }
        // A deferred constraint is checked at the commit, which carries other requests too.
        if migration.sql.to_ascii_uppercase().contains("INITIALLY DEFERRED") {
            return Err(OpenError::DeferredConstraint { migration: migration.named() });
        }
    }
    Ok(())
}

/// Compares what ran with what is given; returns what is still to run.
fn pending<'g>(
    group: &'static str,
    ran: &[Ran],
    given: &'g [Migration],
) -> Result<&'g [Migration], OpenError> {
    for (index, done) in ran.iter().enumerate() {
        let Some(migration) = given.get(index) else {
            let none = MigrationName { version: 0, name: "none".to_owned() };
            return Err(OpenError::UnknownMigration {
                group,
                found: done.name.clone(),
                known: given.last().map_or(none, Migration::named),
            });
        };
        if done.checksum != migration.checksum() || done.name.version != migration.version {
            return Err(OpenError::ChangedMigration {
                group,
                found: done.name.clone(),
                found_checksum: done.checksum.as_str().into(),
                given: migration.named(),
                given_checksum: migration.checksum().into(),
            });
        }
    }
    Ok(&given[ran.len()..])
}

/// Brings the file up to date, or refuses it untouched. Safe while other processes do the same.
pub(crate) fn run(
    connection: &Connection,
    path: &Path,
    service: &[Migration],
    now: Timestamp,
) -> Result<(), OpenError> {
    check_given(service)?;
    let refuse = |source| match source {
        SqlError::Locked => OpenError::Locked { path: path.to_owned() },
        other => OpenError::Sql { path: path.to_owned(), source: other },
    };
    let sql = |error| refuse(SqlError::of(error));
    connection.execute_batch("BEGIN IMMEDIATE").map_err(sql)?;
    let result = check_identity(connection, path, &refuse)
        .and_then(|()| apply(connection, "store", &schema::MIGRATIONS, now, &refuse))
        .and_then(|()| apply(connection, "service", service, now, &refuse))
        .and_then(|()| connection.execute_batch("COMMIT").map_err(sql));
    if result.is_err() && !connection.is_autocommit() {
        connection.execute_batch("ROLLBACK").map_err(sql)?;
    }
    result
}

fn check_identity(
    connection: &Connection,
    path: &Path,
    refuse: &impl Fn(SqlError) -> OpenError,
) -> Result<(), OpenError> {
    let sql = |error| refuse(SqlError::of(error));
    let exists = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'skein_meta'";
    let ours: i64 = connection.query_row(exists, [], |row| row.get(0)).map_err(sql)?;
    if ours == 0 {
        let tables = "SELECT count(*) FROM sqlite_schema";
        let others: i64 = connection.query_row(tables, [], |row| row.get(0)).map_err(sql)?;
        if others > 0 {
            return Err(OpenError::NotAStore { path: path.to_owned() });
        }
        return connection
            .execute_batch(&format!(
                "PRAGMA application_id = {APPLICATION_ID};
                 CREATE TABLE skein_meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
                 INSERT INTO skein_meta VALUES ('format', '{FORMAT}');
                 CREATE TABLE skein_migrations (
                   of TEXT NOT NULL, version INTEGER NOT NULL, name TEXT NOT NULL,
                   checksum TEXT NOT NULL, ran_at INTEGER NOT NULL,
                   PRIMARY KEY (of, version)
                 ) STRICT;"
            ))
            .map_err(sql);
    }
    let format = "SELECT value FROM skein_meta WHERE name = 'format'";
    let found: Option<String> =
        connection.query_row(format, [], |row| row.get(0)).optional().map_err(sql)?;
    match found {
        Some(found) if found == FORMAT.to_string() => Ok(()),
        other => Err(OpenError::Format {
            path: path.to_owned(),
            found: other.unwrap_or_else(|| "none".to_owned()),
            known: FORMAT,
        }),
    }
}

fn apply(
    connection: &Connection,
    group: &'static str,
    given: &[Migration],
    now: Timestamp,
    refuse: &impl Fn(SqlError) -> OpenError,
) -> Result<(), OpenError> {
    let sql = |error| refuse(SqlError::of(error));
    let mut statement = connection
        .prepare(
            "SELECT version, name, checksum FROM skein_migrations WHERE of = ?1 ORDER BY version",
        )
        .map_err(sql)?;
    let ran = statement
        .query_map([group], |row| {
            let name = MigrationName { version: row.get(0)?, name: row.get(1)? };
            Ok(Ran { name, checksum: row.get(2)? })
        })
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(sql)?;
    for migration in pending(group, &ran, given)? {
        let failed = |source| OpenError::Migration { migration: migration.named(), source };
        connection.execute_batch(migration.sql).map_err(|error| failed(SqlError::of(error)))?;
        if connection.is_autocommit() {
            let message = "it ended the transaction".to_owned();
            return Err(failed(SqlError::Statement { message }));
        }
        connection
            .execute(
                "INSERT INTO skein_migrations VALUES (?1, ?2, ?3, ?4, ?5)",
                rusqlite::params![
                    group,
                    migration.version,
                    migration.name,
                    migration.checksum(),
                    now.as_millis()
                ],
            )
            .map_err(sql)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Migration = Migration { version: 1, name: "first", sql: "CREATE TABLE a (b)" };
    const SECOND: Migration = Migration { version: 2, name: "second", sql: "CREATE TABLE c (d)" };

    fn ran(migration: &Migration) -> Ran {
        Ran { name: migration.named(), checksum: migration.checksum() }
    }

    #[test]
    fn only_what_has_not_run_is_pending() {
        let given = [FIRST, SECOND];
        assert_eq!(pending("service", &[], &given).unwrap().len(), 2);
        assert_eq!(pending("service", &[ran(&FIRST)], &given).unwrap()[0].version, 2);
        assert!(pending("service", &[ran(&FIRST), ran(&SECOND)], &given).unwrap().is_empty());
    }

    #[test]
    fn a_newer_files_migration_is_named_with_our_last_one() {
        let refused = pending("service", &[ran(&FIRST), ran(&SECOND)], &[FIRST]).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the file has service migration 2 `second`, this program ends at 1 `first`"
        );
    }

    #[test]
    fn a_changed_migration_is_refused_with_both_checksums() {
        let changed = Migration { sql: "CREATE TABLE a (b, c)", ..FIRST };
        let refused = pending("service", &[ran(&FIRST)], &[changed]).unwrap_err().to_string();
        assert!(refused.contains(&FIRST.checksum()), "{refused}");
        assert!(refused.contains(&changed.checksum()), "{refused}");
    }

    #[test]
    fn a_gap_in_the_numbers_is_refused() {
        assert!(matches!(
            check_given(&[SECOND]),
            Err(OpenError::MigrationOrder { expected: 1, .. })
        ));
    }

    #[test]
    fn a_constraint_that_is_checked_at_the_commit_is_refused() {
        let sql = "CREATE TABLE a (b REFERENCES c DEFERRABLE INITIALLY deferred)";
        let given = [Migration { sql, ..FIRST }];
        assert!(matches!(check_given(&given), Err(OpenError::DeferredConstraint { .. })));
    }

    /// A file whose own tables are those of the first so many migrations, with a row in them.
    fn file_of(migrations: usize, row: &str) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        let (path, now) = (Path::new("old.db"), Timestamp::from_millis(1));
        let refuse = |source| OpenError::Sql { path: path.to_owned(), source };
        connection.execute_batch("BEGIN").unwrap();
        check_identity(&connection, path, &refuse).unwrap();
        apply(&connection, "store", &schema::MIGRATIONS[..migrations], now, &refuse).unwrap();
        connection.execute(row, []).unwrap();
        connection.execute_batch("COMMIT").unwrap();
        connection
    }

    fn brought_up_to_date(connection: &Connection) -> crate::query::Reader<'_> {
        run(connection, Path::new("old.db"), &[], Timestamp::from_millis(2)).unwrap();
        crate::query::Reader::new(connection)
    }

    #[test]
    fn a_file_of_an_older_program_keeps_its_messages_and_learns_to_park_them() {
        let old = file_of(
            1,
            "INSERT INTO skein_outbox VALUES
             (7, 't', 'k', 'id', 'kind', 's', NULL, 1, '', NULL, NULL, x'7b7d', 1)",
        );
        let reader = brought_up_to_date(&old);
        let page = reader.outbox_page(0, 10).unwrap();
        assert_eq!((page.messages.len(), page.read_to), (1, 7));
        assert_eq!(reader.outbox_parked_count(), Ok(0));
    }

    #[test]
    fn a_file_of_an_older_program_keeps_its_operations() {
        let old = file_of(
            2,
            "INSERT INTO skein_operations VALUES
             ('s', 'step', 0, 'done', 4, x'00', 201, '[]', x'7b7d', 1, 0, 9)",
        );
        let effects = brought_up_to_date(&old).effects("", 9).unwrap();
        let seen: Vec<_> = effects.iter().map(|it| (&*it.key, &*it.state, it.effects)).collect();
        assert_eq!(seen, [("s/step/0", "done", 1)]);
        let again = "INSERT INTO skein_operations (saga, step, revision, state, updated_at)
            VALUES ('s', 'step', 0, 'seen', 1)";
        assert!(old.execute(again, []).is_err(), "an operation stands once");
    }
}
