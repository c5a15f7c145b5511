//! Handlers: what they were given, and what they are told to make of it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use messaging::{Delivered, Failure, Handler};
use tokio::sync::watch;

use crate::judge::{Judged, Stop, short, until};

/// Remembers what it was given, and fails as it is told; a cheap clone.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    state: Arc<Mutex<State>>,
    /// While it is shut, nothing that was begun ends.
    open: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    seen: Vec<Delivered>,
    failures: BTreeMap<String, Failure>,
    running: BTreeMap<String, usize>,
    most: usize,
    most_of_a_key: usize,
}

impl Default for Memory {
    fn default() -> Self {
        Self { state: Arc::default(), open: watch::Sender::new(true) }
    }
}

impl Memory {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every attempt at this message fails so.
    pub(crate) fn fail(&self, id: &str, failure: Failure) {
        self.state().failures.insert(id.to_owned(), failure);
    }

    /// From now on it succeeds.
    pub(crate) fn heal(&self, id: &str) {
        self.state().failures.remove(id);
    }

    /// What was begun does not end.
    pub(crate) fn shut(&self) {
        self.open.send_replace(false);
    }

    /// It ends.
    pub(crate) fn open(&self) {
        self.open.send_replace(true);
    }

    /// What it was given, oldest first.
    pub(crate) fn seen(&self) -> Vec<Delivered> {
        self.state().seen.clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.state().seen.len()
    }

    /// The ids of what it was given.
    pub(crate) fn ids(&self) -> Vec<String> {
        self.state().seen.iter().map(|it| it.message.id.clone()).collect()
    }

    /// How often it was given this message.
    pub(crate) fn times(&self, id: &str) -> usize {
        self.state().seen.iter().filter(|it| it.message.id == id).count()
    }

    /// Most that it worked on at a time, in all and of one key.
    pub(crate) fn most_at_a_time(&self) -> (usize, usize) {
        let state = self.state();
        (state.most, state.most_of_a_key)
    }

    /// Waits until it was given so many.
    pub(crate) async fn has(&self, count: usize) -> Judged {
        let waited = until("", || self.count() >= count).await;
        waited.map_err(|_| {
            let (found, ids) = (self.count(), short(&self.ids()));
            Stop(format!("{found} messages came, promised {count}: {ids}"))
        })
    }

    /// Waits until it was given each of these.
    pub(crate) async fn has_all(&self, ids: &[String]) -> Judged {
        all_seen(&[self], ids).await
    }
}

/// Waits until each of these was given to one of them.
pub(crate) async fn all_seen(memories: &[&Memory], ids: &[String]) -> Judged {
    let missing = || {
        let seen: Vec<_> = memories.iter().flat_map(|it| it.ids()).collect();
        ids.iter().filter(|it| !seen.contains(it)).cloned().collect::<Vec<_>>()
    };
    let waited = until("", || missing().is_empty()).await;
    waited.map_err(|_| {
        let missing = missing();
        Stop(format!(
            "{} of {} messages did not come: {}",
            missing.len(),
            ids.len(),
            short(&missing)
        ))
    })
}

/// Leaves the count of what runs as it was, however the work ends.
struct Counted<'a>(&'a Memory, String);

impl<'a> Counted<'a> {
    fn begin(memory: &'a Memory, key: String) -> Self {
        let mut state = memory.state();
        let of_key = state.running.entry(key.clone()).or_default();
        *of_key += 1;
        let of_key = *of_key;
        state.most_of_a_key = state.most_of_a_key.max(of_key);
        let all = state.running.values().sum();
        state.most = state.most.max(all);
        drop(state);
        Self(memory, key)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        if let Some(count) = self.0.state().running.get_mut(&self.1) {
            *count -= 1;
        }
    }
}

impl Handler for Memory {
    async fn handle(&self, delivered: &Delivered) -> Result<(), Failure> {
        let key = delivered.message.key.clone().unwrap_or_default();
        let _counted = Counted::begin(self, key);
        self.state().seen.push(delivered.clone());
        // The sender is in `self`: it cannot be gone.
        self.open.subscribe().wait_for(|it| *it).await.ok();
        let failure = self.state().failures.get(&delivered.message.id).cloned();
        failure.map_or(Ok(()), Err)
    }
}
