//! The control plane as it runs: a state that is made anew whenever something changes, and one session
//! for each proxy.

mod pace;
mod session;
mod shown;

use std::{
    collections::BTreeMap,
    future::pending,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base::{Monotonic, SharedClock};
use identity::{Current, Handshakes, SpiffeId};
use runtime::{Shutdown, Tasks, connections_within_descriptors};
use telemetry::Telemetry;
use tokio::{
    net::TcpListener,
    sync::{Notify, Semaphore, watch},
    time::{Instant, interval, sleep, sleep_until},
};

use crate::{
    instance::Registration,
    metrics::{PlaneMetrics, gauge},
    registry::{Change, Connection, RegisterError, Registry, RegistryConfig},
    sources::{Contribution, Contributions, Source},
    state::Numbered,
};
use pace::{Changes, Pace};
use session::Subscriber;

/// Proxies and instances that are connected; past it a connection is closed at once.
const SESSIONS_MAX: usize = 2_048;
/// Of them those of one identity: whoever is one service cannot keep the others out.
const SESSIONS_OF_ONE_MAX: usize = 1_024;
/// What to do where the system gives no connection, such as for want of descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Why a control plane does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Where nobody proves who he is, nobody from outside may speak.
    #[error(
        "without identities the control plane listens on the loopback interface alone, not on {0}"
    )]
    Open(SocketAddr),
    /// The address cannot be listened on.
    #[error("{address} cannot be listened on")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// A control plane; a cheap handle.
#[derive(Debug, Clone)]
pub struct Plane(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    clock: SharedClock,
    /// Where it is given, everybody proves who he is.
    known: Option<Handshakes>,
    /// Both are locked for one look-up or change, never while anything waits; the registry first.
    registry: Mutex<Registry>,
    contributions: Mutex<Contributions>,
    changed: Notify,
    current: watch::Sender<Arc<Numbered>>,
    subscribers: Mutex<BTreeMap<u64, Subscriber>>,
    sessions: AtomicU64,
    places: Arc<Semaphore>,
    /// Bytes of states that were sent.
    sent_bytes: AtomicU64,
    changes: Changes,
    metrics: PlaneMetrics,
}

impl Plane {
    /// A control plane that nobody hears yet. With handshakes it shows who it is, and lets in those alone
    /// who show who they are.
    #[must_use]
    pub fn new(
        config: RegistryConfig,
        known: Option<Handshakes>,
        clock: SharedClock,
        telemetry: &Telemetry,
    ) -> Self {
        let registry = Registry::new(config, clock.monotonic());
        Self(Arc::new(Shared {
            clock,
            known,
            registry: Mutex::new(registry),
            contributions: Mutex::default(),
            changed: Notify::new(),
            current: watch::Sender::default(),
            subscribers: Mutex::default(),
            sessions: AtomicU64::new(0),
            places: Arc::new(Semaphore::new(connections_within_descriptors(SESSIONS_MAX))),
            sent_bytes: AtomicU64::new(0),
            changes: Changes::default(),
            metrics: PlaneMetrics::new(telemetry),
        }))
    }

    /// Takes in what a source says, from which time on it holds.
    ///
    /// # Errors
    /// Why it cannot be used. What the source said before stays.
    pub fn take(&self, source: &str, said: Result<Contribution, String>) -> Result<(), String> {
        let taken = lock(&self.0.contributions).take(source, said);
        if taken.is_err() {
            self.0.metrics.sources_refused.with(&[source]).inc();
        }
        if taken? {
            self.0.changed.notify_one();
        }
        Ok(())
    }

    /// Looks at a source again and again.
    pub fn follow(&self, mut source: impl Source, tasks: &Tasks) {
        let plane = self.clone();
        tasks.spawn("source of policy", move |shutdown| async move {
            let mut ticks = interval(source.every());
            let mut trouble = None;
            while shutdown.or_cancel(ticks.tick()).await.is_some() {
                let Some(said) = shutdown.or_cancel(source.look()).await else { return };
                let now = plane.take(source.name(), said).err();
                match &now {
                    Some(error) if now != trouble => {
                        tracing::error!(source = source.name(), %error, "a source was refused, its last good state stays");
                    }
                    None if trouble.is_some() => {
                        tracing::info!(source = source.name(), "the source is accepted again");
                    }
                    _ => {}
                }
                trouble = now;
            }
        });
    }

    /// Ends what is over by the clock, now. It is done in time anyway; whoever moves the clock by hand
    /// says so here.
    pub fn look_at_clock(&self) {
        self.0.changed.notify_one();
    }

    /// Listens from now on; answers where.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn serve(
        &self,
        address: SocketAddr,
        tasks: &Tasks,
    ) -> Result<SocketAddr, StartError> {
        if self.0.known.is_none() && !address.ip().is_loopback() {
            return Err(StartError::Open(address));
        }
        let bind = |source| StartError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(bind)?;
        let bound = listener.local_addr().map_err(bind)?;
        self.publish();
        let plane = self.clone();
        tasks.spawn("control plane: state", |shutdown| async move { plane.keep(&shutdown).await });
        let (plane, sessions) = (self.clone(), tasks.clone());
        tasks.spawn("control plane: listener", |shutdown| async move {
            plane.accept(&listener, &shutdown, &sessions).await;
        });
        Ok(bound)
    }

    async fn accept(&self, listener: &TcpListener, shutdown: &Shutdown, tasks: &Tasks) {
        while let Some(accepted) = shutdown.or_cancel(listener.accept()).await {
            let (stream, from) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "no connection was accepted");
                    sleep(ACCEPT_AGAIN).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&self.0.places).try_acquire_owned() else { continue };
            let plane = self.clone();
            tasks.spawn("control plane: session", move |shutdown| async move {
                let _place = place;
                session::run(&plane, stream, from, &shutdown).await;
            });
        }
    }

    /// Makes the state anew at a change, when a lease ends, and when others are to be trusted. What changes
    /// soon after another goes with it.
    async fn keep(&self, shutdown: &Shutdown) {
        let mut shown = self.0.known.as_ref().map(Handshakes::current);
        let sent_bytes = || self.0.sent_bytes.load(Ordering::Relaxed);
        let mut pace = Pace::default();
        loop {
            let wait = self.until_next_end();
            let woken = async {
                tokio::select! {
                    () = self.0.changed.notified() => {}
                    () = changed(&mut shown) => {}
                    () = sleep(wait) => {}
                }
                sleep_until(pace.next(sent_bytes())).await;
            };
            if shutdown.or_cancel(woken).await.is_none() {
                return;
            }
            self.expire();
            pace = Pace::since(Instant::now(), sent_bytes());
            self.publish();
        }
    }

    fn until_next_end(&self) -> Duration {
        const LONGEST: Duration = Duration::from_mins(1);
        let now = self.now();
        let end = lock(&self.0.registry).next_end(now);
        // A timer rounds down, and an end that is not quite there would be looked at again at once.
        end.map_or(LONGEST, |it| it.saturating_since(now) + Duration::from_millis(1)).min(LONGEST)
    }

    fn expire(&self) {
        let gone = lock(&self.0.registry).expire(self.now());
        for it in &gone {
            self.0.metrics.expired.inc();
            tracing::warn!(
                service = it.told.service,
                instance = it.told.instance,
                "a lease was not renewed"
            );
        }
    }

    fn publish(&self) {
        let now = self.now();
        let registry = lock(&self.0.registry);
        let (sets, is_settled) = (registry.endpoints(now), registry.is_settled(now));
        self.0.metrics.instances.set(gauge(registry.instances(now).count()));
        let mut state = lock(&self.0.contributions).state(sets, is_settled);
        drop(registry);
        let shown = self.0.known.as_ref().and_then(Handshakes::shown);
        state.trust = shown.and_then(|it| it.trust().signed().cloned());
        self.0.current.send_if_modified(|current| {
            // For a moment, or while this process is closed, it is not known: what was told stays.
            state.trust = state.trust.take().or_else(|| current.state.trust.clone());
            let is_new = current.version == 0 || current.state != state;
            if is_new {
                *current = Arc::new(Numbered { version: current.version + 1, state });
            }
            is_new
        });
        self.0.metrics.version.set(gauge(self.0.current.borrow().version));
    }

    /// Registers an instance; a refusal is counted.
    fn register(
        &self,
        told: Registration,
        peer: Option<&SpiffeId>,
        on: Connection,
    ) -> Result<Change, RegisterError> {
        let registered = self.try_register(told, peer, on);
        match registered {
            Ok(Change::Changed) => self.0.changed.notify_one(),
            Ok(Change::Renewed) => {}
            Err(reason) => self.0.metrics.registrations_refused.with(&[reason.as_str()]).inc(),
        }
        registered
    }

    fn try_register(
        &self,
        told: Registration,
        peer: Option<&SpiffeId>,
        on: Connection,
    ) -> Result<Change, RegisterError> {
        if let (Some(known), Some(peer)) = (&self.0.known, peer) {
            // Names are flat here: a service of the same name elsewhere is another one.
            let own = known.identity().ok_or(RegisterError::WrongService)?;
            if (own.trust_domain(), own.namespace()) != (peer.trust_domain(), peer.namespace()) {
                return Err(RegisterError::WrongService);
            }
        }
        lock(&self.0.registry).register(told, peer.cloned(), on, self.now())
    }

    fn withdraw(&self, service: &str, instance: &str, peer: Option<&SpiffeId>, on: Connection) {
        if lock(&self.0.registry).withdraw(service, instance, peer, on) {
            self.0.changed.notify_one();
        }
    }

    /// Counts a change, or what was refused as one; answers how long nothing more is to be read of who made
    /// it.
    fn count_change(&self, peer: Option<&SpiffeId>) -> Duration {
        self.0.changes.count(peer, self.now())
    }

    fn now(&self) -> Monotonic {
        self.0.clock.monotonic()
    }

    fn next_session(&self) -> Connection {
        self.0.sessions.fetch_add(1, Ordering::Relaxed)
    }
}

/// Waits for another identity, or for others to trust; for ever where nobody shows who he is. Cancel-safe.
async fn changed(shown: &mut Option<Current>) {
    let Some(shown) = shown else { return pending().await };
    if shown.changed().await.is_err() {
        pending::<()>().await;
    }
}

/// What it guards is whole after each statement.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
