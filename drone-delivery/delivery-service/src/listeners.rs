//! Who listens to the events of deliveries. Each stream holds a task and looks into the store, so that there
//! are bounds: of one caller, whichever of his keys he shows, and of all.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};
use service_kit::Caller;

/// How many may listen at an instance, and how they hear that it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StreamConfig {
    /// Streams of one caller from outside at a time; more is 429.
    pub per_caller_max: u32,
    /// Streams of everybody at a time; more is 503.
    pub in_all_max: u32,
    /// Seconds of silence after which a stream says that it is there. Proxies, ours among them, cut what is
    /// silent for a minute.
    pub heartbeat_s: u32,
}

impl Default for StreamConfig {
    fn default() -> Self {
        Self { per_caller_max: 20, in_all_max: 500, heartbeat_s: 15 }
    }
}

/// Why somebody may not listen now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Full {
    /// He has as many streams as one may.
    #[error("{0} streams of this caller are open, as many as may be")]
    OfCaller(u32),
    /// As many are open as may be.
    #[error("{0} streams are open, as many as may be")]
    OfAll(u32),
}

/// Those who listen; clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Listeners {
    config: StreamConfig,
    present: Arc<Mutex<Present>>,
}

#[derive(Debug, Default)]
struct Present {
    all: u32,
    /// Of those who have a name; nobody stays here with none.
    by_name: BTreeMap<Arc<str>, u32>,
}

/// A stream's place among them; free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    name: Option<Arc<str>>,
    present: Arc<Mutex<Present>>,
}

impl Listeners {
    pub(crate) fn new(config: StreamConfig) -> Self {
        Self { config, present: Arc::default() }
    }

    pub(crate) const fn config(&self) -> StreamConfig {
        self.config
    }

    /// Whether nobody listens.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.present).all == 0
    }

    /// Takes a place.
    pub(crate) fn enter(&self, caller: &Caller) -> Result<Place, Full> {
        let StreamConfig { per_caller_max, in_all_max, .. } = self.config;
        let name = match caller {
            Caller::Outside { name, .. } => name.clone(),
            Caller::Inside => None,
        };
        let mut present = lock(&self.present);
        if present.all >= in_all_max {
            return Err(Full::OfAll(in_all_max));
        }
        if let Some(name) = &name {
            let his = present.by_name.entry(Arc::clone(name)).or_default();
            if *his >= per_caller_max {
                return Err(Full::OfCaller(per_caller_max));
            }
            *his += 1;
        }
        present.all += 1;
        drop(present);
        Ok(Place { name, present: Arc::clone(&self.present) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut present = lock(&self.present);
        present.all -= 1;
        let Some(name) = &self.name else { return };
        if let Some(his) = present.by_name.get_mut(name) {
            *his -= 1;
            if *his == 0 {
                present.by_name.remove(name);
            }
        }
    }
}

fn lock(present: &Mutex<Present>) -> MutexGuard<'_, Present> {
    // Numbers alone, which are right after each statement that could panic.
    present.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use service_kit::Reach;

    use super::*;

    fn listeners(per_caller_max: u32, in_all_max: u32) -> Listeners {
        Listeners::new(StreamConfig { per_caller_max, in_all_max, ..StreamConfig::default() })
    }

    #[test]
    fn one_caller_has_so_many_streams_and_all_together_have_so_many() {
        let reach = Reach::Own;
        let named = |name: &str| Caller::Outside { name: Some(Arc::from(name)), reach };
        let (alice, bob) = (named("alice"), named("bob"));
        let listeners = listeners(2, 4);
        let first = listeners.enter(&alice).unwrap();
        let _second = listeners.enter(&alice).unwrap();
        assert_eq!(listeners.enter(&alice).unwrap_err(), Full::OfCaller(2));
        let _others = (listeners.enter(&bob).unwrap(), listeners.enter(&Caller::Inside).unwrap());
        assert_eq!(listeners.enter(&bob).unwrap_err(), Full::OfAll(4));
        drop(first);
        let _third = listeners.enter(&alice).unwrap();
        assert_eq!(listeners.enter(&alice).unwrap_err(), Full::OfAll(4));
    }

    #[test]
    fn nothing_is_kept_of_who_has_gone_or_was_turned_away() {
        let listeners = listeners(1, 1);
        let name = Some(Arc::from("alice"));
        let alice = Caller::Outside { name, reach: Reach::Own };
        let place = listeners.enter(&alice).unwrap();
        assert!(listeners.enter(&alice).is_err());
        drop(place);
        let present = lock(&listeners.present);
        assert_eq!((present.all, present.by_name.len()), (0, 0));
    }
}
