//! The groups that this process is in: one subscription has the process's place in each.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::error::SubscribeError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Taken,
    /// Another process has the place, and the name.
    Lost,
}

/// The places of a process; clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seats(Arc<Mutex<BTreeMap<String, State>>>);

/// A place in a group; free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    seats: Seats,
    group: String,
}

impl Seats {
    /// Takes the place in a group.
    pub(crate) fn take(&self, group: &str) -> Result<Seat, SubscribeError> {
        let before = self.all().insert(group.to_owned(), State::Taken);
        if before == Some(State::Taken) {
            return Err(SubscribeError { group: group.to_owned() });
        }
        Ok(Seat { seats: self.clone(), group: group.to_owned() })
    }

    /// A group whose place another process has taken.
    pub(crate) fn lost(&self) -> Option<String> {
        let all = self.all();
        all.iter().find(|(_, state)| **state == State::Lost).map(|(group, _)| group.clone())
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Another process has it.
    pub(crate) fn lose(&mut self) {
        self.seats.all().insert(self.group.clone(), State::Lost);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut all = self.seats.all();
        if all.get(&self.group) == Some(&State::Taken) {
            all.remove(&self.group);
        }
    }
}
