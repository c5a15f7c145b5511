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

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use base::{Code, Random, SharedClock, Timestamp};
use callers::{Callers, Principal, Refused};
use identity::{Handshakes, PublicTrust};
use mesh_policy::{
    Moment, Policy,
    destination::EndpointSet,
    fault::{Abort, Call, Fault, Faults, TooManyFaultsError},
    proxy::AccessLog,
    route::{CompileError, RequestView},
};
use telemetry::{Gauge, Telemetry};
use tokio::time::Instant;

use crate::tap::{Direction, Filter, Tap, Taps, TooManyTapsError};
use series::Families;
pub use snapshot::Door;
pub(crate) use snapshot::{BackendLane, Lane, Snapshot};

/// What is kept current from outside, and may be wrong there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// The newest policy is not in force.
    Policy,
    /// Whoever may come in at an edge is known from an older state.
    Callers,
    /// The certificate that is shown outside is an older one.
    Certificate,
    /// The control plane is not heard.
    ControlPlane,
}

impl Subject {
    /// Its name on the pages for operators.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Callers => "callers",
            Self::Certificate => "certificate",
            Self::ControlPlane => "control_plane",
        }
    }
}

/// Policy and live state of one process; a cheap handle.
#[derive(Debug, Clone)]
pub struct Mesh(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: String,
    role: Role,
    snapshot: RwLock<Arc<Snapshot>>,
    /// Held while the next policy is made of the present one.
    replacing: Mutex<()>,
    start: Instant,
    telemetry: Telemetry,
    families: Families,
    generation: Gauge,
    /// What is not as whoever runs it wants it.
    troubles: RwLock<BTreeMap<(Subject, String), String>>,
    /// Planted by the policy or by hand.
    faults: RwLock<Faults>,
    /// Whether any stands: looked at for each request.
    has_faults: AtomicBool,
    taps: Arc<Taps>,
    view: Option<View>,
    access_log: OnceLock<AccessLog>,
    handshakes: OnceLock<Handshakes>,
    public_trust: OnceLock<PublicTrust>,
    /// Nobody is known at an edge until somebody says who is.
    recognition: RwLock<Option<Recognition>>,
}

/// Whom an edge knows, and the clock by which their time is over.
#[derive(Debug, Clone)]
struct Recognition {
    callers: Arc<Callers>,
    clock: SharedClock,
}

/// Where its requests go.
#[derive(Debug)]
enum Role {
    /// To other services.
    Outward,
    /// To this one, behind its door.
    Door(String),
    /// To the proxy beside this process, which sends them on.
    ToProxy,
}

/// What a mesh makes of each policy that it is given.
struct View(Box<dyn Fn(&Policy) -> Policy + Send + Sync>);

impl fmt::Debug for View {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("View")
    }
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
        Self::build(source.into(), Role::Outward, policy, telemetry, None)
    }

    /// The same for a process whose calls the proxy beside it sends on: they are told of there.
    ///
    /// # Errors
    /// The policy has a route that cannot be compiled.
    pub fn to_proxy(
        source: impl Into<String>,
        policy: Policy,
        telemetry: &Telemetry,
    ) -> Result<Self, CompileError> {
        Self::build(source.into(), Role::ToProxy, policy, telemetry, None)
    }

    /// The mesh behind the door of a service. It takes from each policy what concerns it, now and at
    /// each [`replace`](Self::replace).
    ///
    /// # Errors
    /// What it takes has a route that cannot be compiled.
    pub fn at_door(
        service: &str,
        policy: &Policy,
        telemetry: &Telemetry,
        view: impl Fn(&Policy) -> Policy + Send + Sync + 'static,
    ) -> Result<Self, CompileError> {
        let (seen, view) = (view(policy), Some(View(Box::new(view))));
        let source = format!("{service}-inbound");
        Self::build(source, Role::Door(service.to_owned()), seen, telemetry, view)
    }

    fn build(
        source: String,
        role: Role,
        policy: Policy,
        telemetry: &Telemetry,
        view: Option<View>,
    ) -> Result<Self, CompileError> {
        let families = Families::new(telemetry.metrics());
        let snapshot = Snapshot::build(&source, policy, None, &families, Moment::default())?;
        let generation = telemetry
            .metrics()
            .gauge("mesh_policy_generation_count", "Times that the policy was replaced.", &[])
            .with(&[]);
        let faults = snapshot.policy.faults.clone();
        let mesh = Self(Arc::new(Inner {
            source,
            role,
            snapshot: RwLock::new(Arc::new(snapshot)),
            replacing: Mutex::default(),
            start: Instant::now(),
            telemetry: telemetry.clone(),
            families,
            generation,
            troubles: RwLock::default(),
            faults: RwLock::default(),
            has_faults: AtomicBool::new(false),
            taps: Arc::default(),
            view,
            access_log: OnceLock::new(),
            handshakes: OnceLock::new(),
            public_trust: OnceLock::new(),
            recognition: RwLock::default(),
        }));
        mesh.plant_all(faults);
        Ok(mesh)
    }

    /// Another policy from now on.
    ///
    /// # Errors
    /// It has a route that cannot be compiled; then the last good one stays.
    pub fn replace(&self, policy: Policy) -> Result<(), CompileError> {
        let seen = self.0.view.as_ref().map(|it| it.0(&policy));
        self.change(|present| *present = seen.unwrap_or(policy))
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
        let planted = next.policy.faults.clone();
        *place = Arc::new(next);
        drop(place);
        // One that sees a part sees the same change as the one that sees all.
        if self.0.view.is_none() {
            self.0.generation.add(1.0);
        }
        // One that stood in the policy before has its time from then.
        let stood = |fault: &Fault| before.policy.faults.contains(fault);
        let gone = before.policy.faults.iter().filter(|it| !planted.contains(it));
        self.change_faults(|faults, _| {
            for fault in gone {
                faults.clear(&fault.name);
            }
        });
        self.plant_all(planted.iter().filter(|it| !stood(it)).cloned().collect());
        Ok(())
    }

    fn plant_all(&self, faults: Vec<Fault>) {
        for fault in faults {
            let name = fault.name.clone();
            if let Err(error) = self.plant(fault) {
                tracing::error!(fault = name, %error, "a fault was not planted");
            }
        }
    }

    /// Plants a fault, in the place of one of its name.
    ///
    /// # Errors
    /// Too many stand.
    pub fn plant(&self, fault: Fault) -> Result<(), TooManyFaultsError> {
        self.change_faults(|faults, now| faults.plant(fault, now))
    }

    /// Takes a fault away, or all where no name is given; answers whether one stood.
    pub fn clear_faults(&self, name: Option<&str>) -> bool {
        self.change_faults(|faults, now| match name {
            Some(name) => faults.clear(name),
            None => {
                let some = faults.standing(now).next().is_some();
                faults.clear_all();
                some
            }
        })
    }

    /// The faults that stand, each with the time that it has left.
    #[must_use]
    pub fn faults(&self) -> Vec<(Fault, Option<Duration>)> {
        let faults = self.0.faults.read().unwrap_or_else(PoisonError::into_inner);
        faults.standing(self.now()).map(|(fault, left)| (fault.clone(), left)).collect()
    }

    fn change_faults<T>(&self, change: impl FnOnce(&mut Faults, Moment) -> T) -> T {
        let now = self.now();
        let mut faults = self.0.faults.write().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut faults, now);
        self.0.has_faults.store(faults.standing(now).next().is_some(), Ordering::Relaxed);
        changed
    }

    /// What a fault does to a call, as its delay and its abort.
    pub(crate) fn strike(
        &self,
        call: Call<'_>,
        request: &impl RequestView,
        random: &mut Random,
    ) -> Option<(Option<Duration>, Option<Abort>)> {
        if !self.0.has_faults.load(Ordering::Relaxed) {
            return None;
        }
        let faults = self.0.faults.read().unwrap_or_else(PoisonError::into_inner);
        let strike = faults.strike(call, request, self.now(), random)?;
        Some((strike.delay, strike.abort))
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

    /// Says what is wrong with something that is kept current from outside; `None` when nothing is.
    pub fn set_trouble(&self, subject: Subject, trouble: Option<String>) {
        self.set_trouble_of(subject, "", trouble);
    }

    /// The same where there are several of a subject, each with a name.
    pub fn set_trouble_of(&self, subject: Subject, name: &str, trouble: Option<String>) {
        let mut troubles = self.0.troubles.write().unwrap_or_else(PoisonError::into_inner);
        match trouble {
            Some(trouble) => drop(troubles.insert((subject, name.to_owned()), trouble)),
            None => {
                if troubles.remove(&(subject, name.to_owned())).is_some() {
                    tracing::info!(subject = subject.as_str(), name, "well again");
                }
            }
        }
    }

    /// What is wrong: what was good last holds meanwhile.
    #[must_use]
    pub fn troubles(&self) -> BTreeMap<Subject, String> {
        let mut all = BTreeMap::<Subject, String>::new();
        let troubles = self.0.troubles.read().unwrap_or_else(PoisonError::into_inner);
        for ((subject, _), trouble) in &*troubles {
            let told = all.entry(*subject).or_default();
            if !told.is_empty() {
                told.push('\n');
            }
            told.push_str(trouble);
        }
        all
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

    /// Which hop of a request its own are.
    #[must_use]
    pub fn direction(&self) -> Direction {
        match &self.0.role {
            Role::Outward => Direction::Outbound,
            Role::Door(_) => Direction::Inbound,
            Role::ToProxy => Direction::Handover,
        }
    }

    /// The service behind it, where it is the mesh of a door.
    #[must_use]
    pub fn behind(&self) -> Option<&str> {
        match &self.0.role {
            Role::Door(service) => Some(service),
            Role::Outward | Role::ToProxy => None,
        }
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.0.snapshot.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes requests down from now on; the first setting stays.
    pub fn log_accesses(&self, which: AccessLog) {
        self.0.access_log.get_or_init(|| which);
    }

    pub(crate) fn access_log(&self) -> Option<AccessLog> {
        self.0.access_log.get().copied()
    }

    /// Shows who we are, and has endpoints prove who they are, from now on; the first setting stays.
    /// Without it an endpoint that must prove something is not called at all.
    pub fn know(&self, handshakes: Handshakes) {
        self.0.handshakes.get_or_init(|| handshakes);
    }

    /// What [`know`](Self::know) was given.
    #[must_use]
    pub fn handshakes(&self) -> Option<&Handshakes> {
        self.0.handshakes.get()
    }

    /// Whose word counts about servers outside, from now on; the first setting stays. Without it an
    /// endpoint that must prove a public name is not called at all.
    pub fn believe(&self, trust: PublicTrust) {
        self.0.public_trust.get_or_init(|| trust);
    }

    pub(crate) fn public_trust(&self) -> Option<&PublicTrust> {
        self.0.public_trust.get()
    }

    /// These are whom an edge knows from now on. Before the first word it knows nobody.
    pub fn recognize(&self, callers: Callers, clock: SharedClock) {
        let recognition = Recognition { callers: Arc::new(callers), clock };
        let mut place = self.0.recognition.write().unwrap_or_else(PoisonError::into_inner);
        *place = Some(recognition);
    }

    /// Who a request at an edge comes from, by its credentials; a refusal is counted.
    pub(crate) fn identify<'a>(
        &self,
        edge: &str,
        credentials: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Principal, Refused> {
        let place = self.0.recognition.read().unwrap_or_else(PoisonError::into_inner);
        let known = place.clone();
        drop(place);
        let identified = match known {
            Some(known) => known.callers.identify(credentials, known.clock.now()),
            None => Callers::default().identify(credentials, Timestamp::default()),
        };
        identified.inspect_err(|reason| self.0.families.unauthenticated(edge, reason.as_str()))
    }

    /// Listens to its requests from now on.
    ///
    /// # Errors
    /// As many listen already as may, [`LISTENERS_MAX`](crate::tap::LISTENERS_MAX).
    pub fn tap(&self, filter: Filter) -> Result<Tap, TooManyTapsError> {
        Tap::open(Arc::clone(&self.0.taps), filter)
    }

    pub(crate) fn taps(&self) -> &Taps {
        &self.0.taps
    }

    pub(crate) fn telemetry(&self) -> &Telemetry {
        &self.0.telemetry
    }

    pub(crate) fn now(&self) -> Moment {
        self.moment(Instant::now())
    }

    /// An instant as policy sees it.
    pub(crate) fn moment(&self, at: Instant) -> Moment {
        Moment::after_start(at.saturating_duration_since(self.0.start))
    }

    pub(crate) fn refused(&self, destination: &str, code: Code) {
        self.0.families.refused(&self.0.source, destination, code);
    }
}

/// A generator for one worker, seeded by the operating system.
pub(crate) fn random() -> Random {
    Random::with_seed(fastrand::u64(..))
}
