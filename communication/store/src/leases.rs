//! Leases: one owner at a time, by the clock that all processes of a machine share.
//!
//! Each taking has a higher epoch than the one before, so that a later owner can be told from an
//! earlier one that does not know yet that it is none. After a boot every lease is free.

use std::time::Duration;

use crate::{
    error::SqlError,
    query::{Reader, Row, Transaction},
};

/// What came of asking for a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lease {
    /// It is the asker's.
    Taken {
        /// Higher than that of any owner before.
        epoch: u64,
    },
    /// Somebody else has it.
    Held {
        /// Who.
        owner: String,
        /// How much longer at the least.
        left: Duration,
    },
}

/// A lease as its row has it.
struct Found {
    owner: String,
    epoch: u64,
    boot_id: String,
    expires: u64,
}

impl Transaction<'_> {
    /// Takes a lease that is free, expired, or already the asker's; in the last case its epoch
    /// grows too, because the asker may be a new life of the same name.
    ///
    /// # Errors
    /// What a statement failed with.
    pub fn take_lease(
        &mut self,
        name: &str,
        owner: &str,
        duration: Duration,
    ) -> Result<Lease, SqlError> {
        let found = find(self, name)?;
        let now = self.monotonic().as_millis();
        if let Some(lease) = &found
            && lease.owner != owner
            && lease.boot_id == self.boot_id()
            && lease.expires > now
        {
            let left = Duration::from_millis(lease.expires - now);
            return Ok(Lease::Held { owner: lease.owner.clone(), left });
        }
        let epoch = found.map_or(0, |it| it.epoch) + 1;
        let expires = (self.monotonic() + duration).as_millis();
        let boot_id = self.boot_id().to_owned();
        self.execute(
            "INSERT OR REPLACE INTO skein_leases (name, owner, epoch, boot_id, expires)
             VALUES (?1, ?2, ?3, ?4, ?5)",
            &[&name, &owner, &epoch, &boot_id, &expires],
        )?;
        Ok(Lease::Taken { epoch })
    }

    /// Makes a lease last for `duration` from now. False when it is not the asker's any more, or
    /// has expired.
    ///
    /// # Errors
    /// What the statement failed with.
    pub fn renew_lease(
        &mut self,
        name: &str,
        owner: &str,
        epoch: u64,
        duration: Duration,
    ) -> Result<bool, SqlError> {
        let now = self.monotonic();
        let (expires, now) = ((now + duration).as_millis(), now.as_millis());
        let boot_id = self.boot_id().to_owned();
        let renewed = self.execute(
            "UPDATE skein_leases SET expires = ?5
             WHERE name = ?1 AND owner = ?2 AND epoch = ?3 AND boot_id = ?4 AND expires > ?6",
            &[&name, &owner, &epoch, &boot_id, &expires, &now],
        )?;
        Ok(renewed == 1)
    }

    /// Gives a lease back, if it is still the asker's.
    ///
    /// # Errors
    /// What the statement failed with.
    pub fn release_lease(&mut self, name: &str, owner: &str, epoch: u64) -> Result<(), SqlError> {
        self.execute(
            "UPDATE skein_leases SET expires = 0 WHERE name = ?1 AND owner = ?2 AND epoch = ?3",
            &[&name, &owner, &epoch],
        )?;
        Ok(())
    }

    /// Whether the lease is the asker's now.
    ///
    /// # Errors
    /// What the statement failed with.
    pub fn holds_lease(&self, name: &str, owner: &str, epoch: u64) -> Result<bool, SqlError> {
        let now = self.monotonic().as_millis();
        Ok(find(self, name)?.is_some_and(|it| {
            it.owner == owner
                && it.epoch == epoch
                && it.boot_id == self.boot_id()
                && it.expires > now
        }))
    }
}

fn find(reader: &Reader<'_>, name: &str) -> Result<Option<Found>, SqlError> {
    reader.query_optional(
        "SELECT owner, epoch, boot_id, expires FROM skein_leases WHERE name = ?1",
        &[&name],
        |row: &Row<'_>| {
            let (owner, epoch) = (row.get(0)?, row.get(1)?);
            Ok(Found { owner, epoch, boot_id: row.get(2)?, expires: row.get(3)? })
        },
    )
}
