//! What can be set about an engine.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::machine::Status;

/// Which part of a saga's life an engine works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineKind {
    /// Does steps. It cannot undo: a saga that fails is given up with a record that says so.
    Forward,
    /// Takes the sagas that failed: hands them back for another try, or undoes them.
    Compensating,
}

/// Where an engine stands: the part that differs between instances.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Name of this instance, the same after every restart: a restart finds its own sagas by it.
    pub instance: String,
    /// What it works on.
    pub kind: EngineKind,
    /// Directory of the lock files by which two processes of one name exclude each other.
    pub lock_directory: PathBuf,
    /// The numbers.
    pub settings: EngineSettings,
}

/// The numbers of an engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineSettings {
    /// Milliseconds after which an instance that gives no sign of life loses its sagas.
    pub lease_ms: u64,
    /// Milliseconds between two signs of life; less than half of the lease.
    pub renewal_ms: u64,
    /// Milliseconds between two looks for sagas to take and for words from other processes.
    pub poll_ms: u64,
    /// Sagas that this instance owns at the most; past it nothing is accepted or claimed.
    pub open_sagas_max: usize,
    /// Calls in flight; past it they wait in order.
    pub calls_max: usize,
    /// Calls in flight to one service; past it they wait in order. Two instances together stay
    /// below the hundred requests that a service works on at a time.
    pub calls_per_service_max: usize,
    /// Tries that a transiently failed saga gets after its first, before it is undone. Acts in a
    /// compensating engine alone: sagas that failed are there, and it hands them back.
    pub hand_backs_max: u32,
    /// Sagas of one subject that may wait for their turn; the next one is accepted and ends at
    /// once, as one that failed with code `line_full`.
    pub waiting_max: usize,
    /// Milliseconds for which a word waits for a saga that does not exist yet; then it is given up,
    /// and a saga that comes later does not hear it. Looked at once a minute, oftener when it is less.
    pub unheard_ms: u64,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            lease_ms: 3_000,
            renewal_ms: 1_000,
            poll_ms: 200,
            open_sagas_max: 10_000,
            calls_max: 512,
            calls_per_service_max: 48,
            hand_backs_max: 3,
            waiting_max: 32,
            unheard_ms: 60_000,
        }
    }
}

impl EngineSettings {
    pub(crate) const fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }

    pub(crate) const fn unheard(&self) -> Duration {
        Duration::from_millis(self.unheard_ms)
    }

    /// Whether two signs of life fit into a lease, so that one may be late.
    #[must_use]
    pub const fn lease_outlives_two_renewals(&self) -> bool {
        self.renewal_ms > 0 && self.lease_ms > self.renewal_ms.saturating_mul(2)
    }
}

impl EngineKind {
    /// The word in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Compensating => "compensating",
        }
    }

    /// What a saga must stand like to be owned by such an engine.
    pub(crate) const fn statuses(self) -> &'static [Status] {
        match self {
            Self::Forward => &[Status::Running],
            Self::Compensating => &[Status::Aborting, Status::Compensating],
        }
    }

    /// Words to sagas that stand like this and have no owner are answered by such an engine: those
    /// about what comes after a completed saga by one that goes forward, all others by one that
    /// can undo.
    pub(crate) const fn answers_for(self) -> &'static [Status] {
        match self {
            Self::Forward => &[Status::Completed],
            Self::Compensating => {
                &[Status::Parked, Status::Compensated, Status::Cancelled, Status::Resolved]
            }
        }
    }

    pub(crate) fn runs(self, status: Status) -> bool {
        self.statuses().contains(&status)
    }
}
