//! The table of accounts.

use contracts::Words as _;
use store::{Migration, Reader, Row, SqlError, Transaction};

use crate::domain::{Account, AccountId, AccountStatus};

/// History of the tables. Never edit one: append.
pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "accounts", sql: FIRST },
    Migration { version: 2, name: "languages", sql: SECOND },
    Migration { version: 3, name: "erased accounts", sql: THIRD },
];

// Of an erased account its id is left, so that nobody ships under it who did not register anew.
const THIRD: &str = "ALTER TABLE accounts ADD COLUMN erased_at INTEGER;";

const SECOND: &str = "ALTER TABLE accounts ADD COLUMN language TEXT NOT NULL DEFAULT '';";

// Accounts are master data: none is forgotten by age, and there are as many as there are customers.
const FIRST: &str = "
CREATE TABLE accounts (
  id TEXT PRIMARY KEY,
  display_name TEXT NOT NULL,
  email_address TEXT NOT NULL,
  sms TEXT NOT NULL,
  status TEXT NOT NULL,
  registered_business INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX accounts_status ON accounts (status);
";

const COLUMNS: &str = "id, display_name, email_address, sms, status, registered_business,
  language";

/// One account.
pub(crate) fn find(reader: &Reader<'_>, id: &AccountId) -> Result<Option<Account>, SqlError> {
    let sql = format!("SELECT {COLUMNS} FROM accounts WHERE id = ?1 AND erased_at IS NULL");
    reader.query_optional(&sql, &[&id.as_str()], account)
}

/// Whether there was an account of this id that was erased.
pub(crate) fn is_erased(reader: &Reader<'_>, id: &AccountId) -> Result<bool, SqlError> {
    let sql = "SELECT 1 FROM accounts WHERE id = ?1 AND erased_at IS NOT NULL";
    Ok(reader.query_optional(sql, &[&id.as_str()], |row| row.get::<i64>(0))?.is_some())
}

/// Accounts behind an id in the order of their ids, with a status where one is asked for.
pub(crate) fn list(
    reader: &Reader<'_>,
    status: Option<AccountStatus>,
    after: &str,
    limit: u32,
) -> Result<Vec<Account>, SqlError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM accounts
         WHERE id > ?2 AND erased_at IS NULL AND (?1 IS NULL OR status = ?1) ORDER BY id LIMIT ?3"
    );
    reader.query_all(&sql, &[&status.map(|it| it.word().to_owned()), &after, &limit], account)
}

/// Registers or replaces an account. True when it is new.
pub(crate) fn put(transaction: &mut Transaction<'_>, account: &Account) -> Result<bool, SqlError> {
    let is_new = find(transaction, &account.id)?.is_none();
    let sql =
        format!("INSERT OR REPLACE INTO accounts ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)");
    transaction.execute(
        &sql,
        &[
            &account.id.as_str(),
            &account.display_name,
            &account.email_address,
            &account.sms,
            &account.status.word(),
            &account.registered_business,
            &account.language,
        ],
    )?;
    Ok(is_new)
}

/// Suspends an account, or lifts that. False when there is no such account.
pub(crate) fn set_status(
    transaction: &mut Transaction<'_>,
    id: &AccountId,
    status: AccountStatus,
) -> Result<bool, SqlError> {
    let changed = transaction.execute(
        "UPDATE accounts SET status = ?2 WHERE id = ?1 AND erased_at IS NULL",
        &[&id.as_str(), &status.word()],
    )?;
    Ok(changed == 1)
}

/// Forgets everything of an account but its id. False when there never was one.
pub(crate) fn erase(transaction: &mut Transaction<'_>, id: &AccountId) -> Result<bool, SqlError> {
    let now = transaction.now();
    let erased = transaction.execute(
        "UPDATE accounts SET display_name = '', email_address = '', sms = '', language = '',
           registered_business = 0, erased_at = COALESCE(erased_at, ?2)
         WHERE id = ?1",
        &[&id.as_str(), &now],
    )?;
    Ok(erased == 1)
}

fn account(row: &Row<'_>) -> Result<Account, SqlError> {
    let damaged = |what: &str| SqlError::Damaged { message: format!("an account's {what}") };
    let (id, status): (String, String) = (row.get(0)?, row.get(4)?);
    Ok(Account {
        id: AccountId::new(id).map_err(|_| damaged("id"))?,
        display_name: row.get(1)?,
        email_address: row.get(2)?,
        sms: row.get(3)?,
        status: AccountStatus::from_word(&status).ok_or_else(|| damaged("status"))?,
        registered_business: row.get(5)?,
        language: row.get(6)?,
    })
}
