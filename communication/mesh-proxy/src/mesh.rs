//! The policy in force and everything that is known of destinations: what all stacks of one process
//! share.
//!
//! Policy is replaced as a whole: requests that have begun end under the one that they began with,
//! those that come next see the new one, and breakers, latencies, budgets and connections of
//! endpoints that are still listed live on.

pub(crate) mod destination;
pub(crate) mod endpoint;
pub(crate) mod series;
mod snapshot;

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use base::{Code, Random};
use mesh_policy::{Moment, Policy, destination::EndpointSet, route::table::CompileError};
use telemetry::{Gauge, Telemetry};
use tokio::time::Instant;

use series::Families;
pub use snapshot::Door;
pub(crate) use snapshot::{BackendLane, Lane, Snapshot};

/// Policy and live state of one process; a cheap handle.
#[derive(Debug, Clone)]
pub struct Mesh(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: String,
    snapshot: RwLock<Arc<Snapshot>>,
    /// Held while the next policy is made of the present one.
    replacing: Mutex<()>,
    start: Instant,
    telemetry: Telemetry,
    families: Families,
    generation: Gauge,
}

impl Mesh {
    /// The mesh as `source` sees it: the name of the service or the edge whose calls these are.
    ///
    /// # Errors
    /// The policy has a route that cannot be compiled.
    pub fn new(
        source: impl Into<String>,
        policy: Policy,
        telemetry: &Telemetry,
    ) -> Result<Self, CompileError> {
        let families = Families::new(telemetry.metrics());
        let source = source.into();
        let snapshot = Snapshot::build(&source, policy, None, &families, Moment::default())?;
        let generation = telemetry
            .metrics()
            .gauge("mesh_policy_generation_count", "Times that the policy was replaced.", &[])
            .with(&[]);
        Ok(Self(Arc::new(Inner {
            source,
            snapshot: RwLock::new(Arc::new(snapshot)),
            replacing: Mutex::default(),
            start: Instant::now(),
            telemetry: telemetry.clone(),
            families,
            generation,
        })))
    }

    /// Another policy from now on.
    ///
    /// # Errors
    /// It has a route that cannot be compiled; then the last good one stays.
    pub fn replace(&self, policy: Policy) -> Result<(), CompileError> {
        self.change(|present| *present = policy)
    }

    /// One at a time: two changes at once would each undo the other.
    fn change(&self, change: impl FnOnce(&mut Policy)) -> Result<(), CompileError> {
        let _replacing = self.0.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.snapshot();
        let mut policy = before.policy.clone();
        change(&mut policy);
        let (source, families) = (&self.0.source, &self.0.families);
        let next = Snapshot::build(source, policy, Some(&before), families, self.now())?;
        let mut place = self.0.snapshot.write().unwrap_or_else(PoisonError::into_inner);
        *place = Arc::new(next);
        drop(place);
        self.0.generation.add(1.0);
        Ok(())
    }

    /// Other endpoints of one service from now on.
    ///
    /// # Errors
    /// None that this can cause by itself; see [`Mesh::replace`].
    pub fn set_endpoints(
        &self,
        service: impl Into<String>,
        endpoints: EndpointSet,
    ) -> Result<(), CompileError> {
        let service = service.into();
        self.change(|present| drop(present.endpoints.insert(service, endpoints)))
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.snapshot().policy.clone()
    }

    /// Whether a service of this name is known, be it without an endpoint.
    #[must_use]
    pub fn knows(&self, service: &str) -> bool {
        let snapshot = self.snapshot();
        snapshot.direct(service).is_some()
            || snapshot.lanes(&Door::Service(service.to_owned())).is_some()
    }

    /// Whose calls these are.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.0.source
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.0.snapshot.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn telemetry(&self) -> &Telemetry {
        &self.0.telemetry
    }

    pub(crate) fn now(&self) -> Moment {
        Moment::after_start(self.0.start.elapsed())
    }

    pub(crate) fn refused(&self, destination: &str, code: Code) {
        self.0.families.refused(&self.0.source, destination, code);
    }
}

/// A generator for one worker, seeded by the operating system.
pub(crate) fn random() -> Random {
    Random::with_seed(fastrand::u64(..))
}
