//! What everyone may see of the processes: one status each, and a signal at every change.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

use super::spec::{ProcessSpec, ProcessState, ProcessStatus};

/// Is shown all statuses at every change, in order, before whoever waits for the change: what it
/// writes down is there when a process that depends on it starts, and before one that stops is
/// asked to. It runs under the lock of the statuses, so it is short and asks for nothing here.
#[derive(Clone)]
pub struct Witness(Arc<See>);

type See = dyn Fn(&[ProcessStatus]) + Send + Sync;

impl Witness {
    /// Calls a function.
    #[must_use]
    pub fn new(see: impl Fn(&[ProcessStatus]) + Send + Sync + 'static) -> Self {
        Self(Arc::new(see))
    }
}

/// Nobody looks.
impl Default for Witness {
    fn default() -> Self {
        Self::new(|_| {})
    }
}

impl fmt::Debug for Witness {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Witness")
    }
}

/// The statuses, in the order of the specs; clones share them.
#[derive(Debug, Clone)]
pub(super) struct Board {
    rows: Arc<Mutex<Vec<ProcessStatus>>>,
    witness: Witness,
    changes: watch::Sender<u64>,
}

impl Board {
    pub(super) fn new(specs: &[ProcessSpec], witness: Witness) -> Self {
        let rows = specs
            .iter()
            .map(|spec| ProcessStatus {
                service: spec.role.clone(),
                instance: spec.instance.clone(),
                pid: None,
                state: ProcessState::Pending,
                ports: spec.ports.clone(),
                version: spec.version.clone(),
                restarts: 0,
                last_end: None,
            })
            .collect();
        Self { rows: Arc::new(Mutex::new(rows)), witness, changes: watch::Sender::new(0) }
    }

    pub(super) fn update(&self, index: usize, change: impl FnOnce(&mut ProcessStatus)) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(row) = rows.get_mut(index) {
            change(row);
        }
        (self.witness.0)(&rows);
        drop(rows);
        self.changes.send_modify(|it| *it += 1);
    }

    pub(super) fn rows(&self) -> Vec<ProcessStatus> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until the statuses satisfy `enough`; gives them. Cancel-safe.
    pub(super) async fn until(
        &self,
        enough: impl Fn(&[ProcessStatus]) -> bool,
    ) -> Vec<ProcessStatus> {
        let mut changes = self.changes.subscribe();
        loop {
            let rows = self.rows();
            // The sender lives as long as this board: an error cannot come.
            if enough(&rows) || changes.changed().await.is_err() {
                return rows;
            }
        }
    }
}
