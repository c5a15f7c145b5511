//! Definitions by hash: those that this process offers, and those that sagas in flight are pinned to.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use ::store::{Reader, SqlError, Transaction, params};

use crate::definition::Definition;

/// Every definition that was met so far. Few: a process meets some per version that it runs.
#[derive(Debug, Default)]
pub(crate) struct Definitions {
    /// The newest of each name that this process was given.
    offered: BTreeMap<String, Arc<Definition>>,
    by_hash: RwLock<BTreeMap<String, Arc<Definition>>>,
}

impl Definitions {
    pub(crate) fn new(given: Vec<Definition>) -> Self {
        let mut offered: BTreeMap<String, Arc<Definition>> = BTreeMap::new();
        let mut by_hash = BTreeMap::new();
        for definition in given.into_iter().map(Arc::new) {
            by_hash.insert(definition.hash().to_owned(), Arc::clone(&definition));
            let newest = offered.get(definition.name());
            if newest.is_none_or(|it| it.version() < definition.version()) {
                offered.insert(definition.name().to_owned(), definition);
            }
        }
        Self { offered, by_hash: RwLock::new(by_hash) }
    }

    /// Writes down those that this process offers.
    pub(crate) fn keep(&self, transaction: &mut Transaction<'_>) -> Result<(), SqlError> {
        for definition in self.known() {
            transaction.execute(
                "INSERT INTO saga_definitions (hash, name, version, document, added_at)
                 VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (hash) DO NOTHING",
                params![
                    definition.hash(),
                    definition.name(),
                    definition.version(),
                    definition.to_json(),
                    transaction.now()
                ],
            )?;
        }
        Ok(())
    }

    fn known(&self) -> Vec<Arc<Definition>> {
        let by_hash = self.by_hash.read().unwrap_or_else(PoisonError::into_inner);
        by_hash.values().cloned().collect()
    }

    /// The newest of that name that this process offers.
    pub(crate) fn offered(&self, name: &str) -> Option<Arc<Definition>> {
        self.offered.get(name).cloned()
    }

    /// The newest of that name: offered here, else the newest that anybody offered.
    pub(crate) fn newest(
        &self,
        reader: &Reader<'_>,
        name: &str,
    ) -> Result<Option<Arc<Definition>>, SqlError> {
        if let Some(offered) = self.offered(name) {
            return Ok(Some(offered));
        }
        let newest = reader.query_optional(
            "SELECT hash FROM saga_definitions WHERE name = ?1
             ORDER BY version DESC, added_at DESC LIMIT 1",
            params![name],
            |row| row.get::<String>(0),
        )?;
        newest.map_or(Ok(None), |hash| self.pinned(reader, &hash).map(Some))
    }

    /// The one with that hash.
    ///
    /// Fails when nobody wrote it down, or when this program cannot read it: then it must leave
    /// the saga alone.
    pub(crate) fn pinned(
        &self,
        reader: &Reader<'_>,
        hash: &str,
    ) -> Result<Arc<Definition>, SqlError> {
        let known = {
            let by_hash = self.by_hash.read().unwrap_or_else(PoisonError::into_inner);
            by_hash.get(hash).cloned()
        };
        if let Some(known) = known {
            return Ok(known);
        }
        let document = reader.query_one(
            "SELECT document FROM saga_definitions WHERE hash = ?1",
            params![hash],
            |row| row.get::<String>(0),
        )?;
        let read = Definition::from_stored(&document)
            .map_err(|it| SqlError::Damaged { message: format!("definition {hash}: {it}") })?;
        if read.hash() != hash {
            let message = format!("definition {hash} reads as {}", read.hash());
            return Err(SqlError::Damaged { message });
        }
        let read = Arc::new(read);
        let mut by_hash = self.by_hash.write().unwrap_or_else(PoisonError::into_inner);
        by_hash.insert(hash.to_owned(), Arc::clone(&read));
        Ok(read)
    }
}
