//! What everyone may see of the processes: one status each, and a signal at every change.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::spec::{ProcessSpec, ProcessState, ProcessStatus};

/// The statuses, in the order of the specs; clones share them.
#[derive(Debug, Clone)]
pub(super) struct Board {
    rows: Arc<Mutex<Vec<ProcessStatus>>>,
    changes: watch::Sender<u64>,
}

impl Board {
    pub(super) fn new(specs: &[ProcessSpec]) -> Self {
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
            })
            .collect();
        Self { rows: Arc::new(Mutex::new(rows)), changes: watch::Sender::new(0) }
    }

    pub(super) fn update(&self, index: usize, change: impl FnOnce(&mut ProcessStatus)) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(row) = rows.get_mut(index) {
            change(row);
        }
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
