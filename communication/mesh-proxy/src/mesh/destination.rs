//! A destination at work: its endpoints, its cap, its budget, and the choice among them.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base::{Code, Random};
use mesh_policy::{
    Moment,
    balance::{self, Algorithm, Candidates},
    breaker::{self, Floor, Pass},
    destination::{self, Protocol},
    retry::Budget,
};

use super::{endpoint::Endpoint, series::DestinationSeries};
use crate::gate::Gate;

/// A destination as one policy sees it. What must outlive a reload is shared with the next one.
#[derive(Debug)]
pub(crate) struct Destination {
    pub(crate) name: String,
    pub(crate) settings: destination::Destination,
    pub(crate) protocol: Protocol,
    pub(crate) endpoints: Vec<Arc<Endpoint>>,
    pub(crate) gate: Gate,
    pub(crate) shared: Arc<Shared>,
}

/// What outlives a reload.
#[derive(Debug)]
pub(crate) struct Shared {
    budget: Mutex<Budget>,
    turn: AtomicU64,
    pub(crate) series: DestinationSeries,
}

/// Why no endpoint takes the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nobody {
    /// None is known.
    NoEndpoint,
    /// Every one of them fails; the first may be tried again after this long.
    BreakerOpen { next_try: Option<Duration> },
}

impl Nobody {
    pub(crate) const fn code(self) -> Code {
        match self {
            Self::NoEndpoint => Code::NoEndpoint,
            Self::BreakerOpen { .. } => Code::BreakerOpen,
        }
    }
}

/// An endpoint that was chosen, with the way through its breaker.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) index: usize,
    pub(crate) pass: Pass,
}

impl Shared {
    pub(crate) fn new(settings: &destination::Destination, series: DestinationSeries) -> Self {
        let budget = Mutex::new(Budget::new(&settings.retry));
        Self { budget, turn: AtomicU64::new(0), series }
    }

    pub(crate) fn budget(&self) -> MutexGuard<'_, Budget> {
        // A panic in a decision leaves a value that is still one.
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Destination {
    /// Chooses an endpoint that was not tried yet, or any when all were.
    pub(crate) fn choose(
        &self,
        tried: &[usize],
        now: Moment,
        random: &mut Random,
    ) -> Result<Chosen, Nobody> {
        if self.endpoints.is_empty() {
            return Err(Nobody::NoEndpoint);
        }
        let floors = self.floors();
        let algorithm = self.settings.balance.algorithm;
        let turn = match algorithm {
            Algorithm::RoundRobin => self.shared.turn.fetch_add(1, Ordering::Relaxed),
            Algorithm::PeakEwma | Algorithm::LeastRequest | Algorithm::Random => 0,
        };
        let field = Field { destination: self, floors: &floors, now };
        // Twice as many draws as endpoints: another thread may take the probe that was seen.
        for _ in 0..self.endpoints.len().saturating_mul(2) {
            let Some(index) = balance::pick_elsewhere(algorithm, &field, tried, turn, random)
            else {
                break;
            };
            let endpoint = &self.endpoints[index];
            if let Some(pass) = endpoint.begin(field.floor(index), now) {
                return Ok(Chosen { endpoint: Arc::clone(endpoint), index, pass });
            }
        }
        let waits = self.endpoints.iter().filter_map(|it| it.live().breaker.until_next_try(now));
        Err(Nobody::BreakerOpen { next_try: waits.min() })
    }

    /// Which endpoints stay in rotation although their breaker is open; empty while none is.
    fn floors(&self) -> Vec<Floor> {
        let since = |it: &Arc<Endpoint>| it.live().breaker.open_since();
        if self.endpoints.iter().all(|it| since(it).is_none()) {
            return Vec::new();
        }
        let since: Vec<Option<Moment>> = self.endpoints.iter().map(since).collect();
        breaker::floors(&since)
    }
}

/// The endpoints as the balancer sees them.
struct Field<'a> {
    destination: &'a Destination,
    floors: &'a [Floor],
    now: Moment,
}

impl Field<'_> {
    fn floor(&self, index: usize) -> Floor {
        self.floors.get(index).copied().unwrap_or_default()
    }
}

impl Candidates for Field<'_> {
    fn len(&self) -> usize {
        self.destination.endpoints.len()
    }

    fn is_eligible(&self, index: usize) -> bool {
        let live = self.destination.endpoints[index].live();
        live.breaker.would_admit(self.floor(index), self.now)
    }

    fn score(&self, index: usize) -> f64 {
        let settings = &self.destination.settings.balance;
        self.destination.endpoints[index].live().load.cost(settings, self.now)
    }

    fn weight(&self, index: usize) -> f64 {
        let endpoint = &self.destination.endpoints[index];
        let settings = &self.destination.settings.balance;
        f64::from(endpoint.listed.weight) * endpoint.live().load.warmth(settings, self.now)
    }
}
