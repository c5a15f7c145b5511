//! The authority at work: its file, its socket, its calendar.
//!
//! Who calls, the kernel says (`SO_PEERCRED`). The socket belongs in a directory that only its owner
//! enters. Every connection has a deadline and a place among few; when all are taken, callers wait
//! in the kernel. What changes the state is on disk before it is answered.

mod orders;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use base::{SharedClock, Timestamp};
use runtime::{Shutdown, Tasks};
use rustls::crypto::ring;
use telemetry::{CounterFamily, Telemetry};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tracing::{info, warn};

use crate::{
    authority::{
        Authority, AuthorityConfig, Change, FoundError, IssueError, Issued, ReadStateError,
        RotateError,
    },
    bundle::{AnchorId, Bundle},
    certificate::Serial,
    claims::Claims,
    files::{FileError, read_state, write_state},
    metrics,
    name::SpiffeId,
    order::Order,
    pem,
    public::PublicName,
    rotation::{AnchorUse, RotationStep},
    token::{Caller, JoinToken, TokenError},
    wire::{self, REQUEST_BYTES_MAX, Reply, Request},
};

/// Callers that are served at once; the next ones wait in the kernel.
const CALLERS_MAX: usize = 64;
/// A caller that has not said its request, or taken its reply, by then is left.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the calendar is looked at.
const TICK: Duration = Duration::from_secs(1);
/// Pause after a failure of `accept`: most often descriptors are short, and looking at once costs a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The authority as its owner uses it; a cheap handle. Methods that change something wait for the disk.
#[derive(Debug, Clone)]
pub struct Office(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Locked for one decision and its way to the disk, never across an await.
    authority: Mutex<Authority>,
    path: PathBuf,
    clock: SharedClock,
    requests: CounterFamily,
    /// The user whose orders are taken over the socket.
    orders_of: OnceLock<u32>,
}

/// Why the authority does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is no state of this authority.
    #[error(transparent)]
    State(#[from] ReadStateError),
    /// No authority can be made.
    #[error(transparent)]
    Found(#[from] FoundError),
}

/// Why something was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The authority refuses.
    #[error(transparent)]
    Rotate(#[from] RotateError),
    /// It is done, and not on disk: a restart may not know of it.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Why an order was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// The authority refuses, or its disk.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// No certificate has such a number.
    #[error("`{0}` is no number")]
    NoNumber(String),
}

/// Why no token was drawn.
#[derive(Debug, thiserror::Error)]
pub enum DrawError {
    /// The authority refuses.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The system has no chance to give.
    #[error("the system gives no random bytes")]
    Random,
}

/// What the authority stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The anchors, from the oldest to the newest.
    pub anchors: Vec<AnchorUse>,
    /// The one that signs.
    pub signs: AnchorId,
    /// From when until when the issuer may sign.
    pub issuer: (Timestamp, Timestamp),
    /// What happens next to the anchors.
    pub next: RotationStep,
    /// Whom processes are told to trust.
    pub bundle: Bundle,
}

impl Office {
    /// Opens the authority that the file holds; makes one, and the file, where there is none.
    ///
    /// # Errors
    /// The file is not readable, open to others, or no state of this trust domain.
    pub fn open(
        config: AuthorityConfig,
        trust_domain: &str,
        path: PathBuf,
        clock: SharedClock,
        telemetry: &Telemetry,
    ) -> Result<Self, OpenError> {
        let now = clock.now();
        let authority = match read_state(&path)? {
            Some(state) => Authority::resume(config, trust_domain, &state, now)?,
            None => {
                let founded = Authority::found(config, trust_domain, now)?;
                write_state(&path, &founded.state())?;
                founded
            }
        };
        let requests = metrics::requests(telemetry);
        Ok(Self(Arc::new(Shared {
            authority: Mutex::new(authority),
            path,
            clock,
            requests,
            orders_of: OnceLock::new(),
        })))
    }

    /// Serves callers and keeps the calendar until told to stop.
    pub fn serve(&self, listener: UnixListener, tasks: &Tasks) {
        let (office, callers) = (self.clone(), tasks.child());
        tasks.spawn("authority", |shutdown| office.accept_all(listener, callers, shutdown));
        let office = self.clone();
        tasks.spawn("authority calendar", |shutdown| office.keep_calendar(shutdown));
    }

    /// A token for a process that a user is about to run as a service.
    ///
    /// # Errors
    /// Too many tokens wait.
    pub fn draw_token(&self, id: SpiffeId, uid: u32) -> Result<JoinToken, DrawError> {
        let mut secret = [0; 32];
        let random = ring::default_provider().secure_random;
        random.fill(&mut secret).map_err(|_| DrawError::Random)?;
        Ok(self.lock().draw_token(id, uid, &secret, self.0.clock.now())?)
    }

    /// Says which process a token is for.
    ///
    /// # Errors
    /// The token is not known, or is for another process.
    pub fn bind_token(&self, token: &JoinToken, pid: u32) -> Result<(), TokenError> {
        self.lock().bind_token(token, pid)
    }

    /// Says who may have which names without a token; see [`Authority::admit`].
    pub fn admit(&self, claims: Claims) {
        self.lock().admit(claims);
    }

    /// Takes orders over the socket, of this user and of root alone. Without it nobody's are taken there.
    pub fn obey(&self, uid: u32) {
        self.0.orders_of.get_or_init(|| uid);
    }

    /// Vouches for what strangers call this service as well; see [`Authority::call_also`].
    pub fn call_also(&self, id: SpiffeId, hosts: Vec<PublicName>) {
        self.lock().call_also(id, hosts);
    }

    /// Denies a certificate.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn revoke(&self, serial: Serial) -> Result<(), ChangeError> {
        let mut authority = self.lock();
        authority.revoke(serial, self.0.clock.now());
        self.save(&authority)
    }

    /// Makes a new issuer.
    ///
    /// # Errors
    /// The authority or the disk refuses.
    pub fn rotate_issuer(&self) -> Result<(), ChangeError> {
        let mut authority = self.lock();
        authority.rotate_issuer(self.0.clock.now())?;
        self.save(&authority)
    }

    /// Begins to replace the anchor; the calendar does the rest.
    ///
    /// # Errors
    /// The authority or the disk refuses.
    pub fn rotate_anchor(&self) -> Result<AnchorId, ChangeError> {
        let mut authority = self.lock();
        let anchor = authority.rotate_anchor(self.0.clock.now())?;
        self.save(&authority)?;
        Ok(anchor)
    }

    /// Drops an anchor that nobody needs.
    ///
    /// # Errors
    /// It is in use, or the disk refuses.
    pub fn drop_anchor(&self, anchor: &AnchorId) -> Result<(), ChangeError> {
        let mut authority = self.lock();
        authority.drop_anchor(anchor, self.0.clock.now())?;
        self.save(&authority)
    }

    /// What it stands on.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let authority = self.lock();
        let (anchors, signs) = authority.anchors();
        Standing {
            anchors,
            signs: signs.clone(),
            issuer: authority.issuer_validity(),
            next: authority.next_step(self.0.clock.now()),
            bundle: authority.bundle(),
        }
    }

    fn save(&self, authority: &Authority) -> Result<(), ChangeError> {
        Ok(write_state(&self.0.path, &authority.state())?)
    }

    fn lock(&self) -> MutexGuard<'_, Authority> {
        // A panic in a decision leaves what was decided before it.
        self.0.authority.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn keep_calendar(self, shutdown: Shutdown) {
        while shutdown.or_cancel(sleep(TICK)).await.is_some() {
            match self.advance() {
                Ok(None) => {}
                Ok(Some(Change::Issuer)) => info!("a new issuer signs"),
                Ok(Some(Change::Switched(anchor))) => info!(anchor, "another anchor signs"),
                Ok(Some(Change::Dropped(anchor))) => info!(anchor, "an anchor was dropped"),
                Err(error) => warn!(%error, "the authority could not be brought up to date"),
            }
        }
    }

    fn advance(&self) -> Result<Option<Change>, ChangeError> {
        let mut authority = self.lock();
        let change = authority.advance(self.0.clock.now())?;
        if change.is_some() {
            self.save(&authority)?;
        }
        Ok(change)
    }

    async fn accept_all(self, listener: UnixListener, callers: Tasks, shutdown: Shutdown) {
        let places = Arc::new(Semaphore::new(CALLERS_MAX));
        loop {
            // Cancel-safe: an accepted connection is returned by the poll that accepts it.
            let accepting = async {
                let place = Arc::clone(&places).acquire_owned().await.ok()?;
                Some((listener.accept().await, place))
            };
            let Some(Some((accepted, place))) = shutdown.or_cancel(accepting).await else { return };
            let (stream, _) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, "accept failed");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let office = self.clone();
            callers.spawn("authority caller", |_| async move {
                let _place = place;
                if timeout(CALL_TIMEOUT, office.serve_one(stream)).await.is_err() {
                    office.0.requests.with(&["unknown", "timed_out"]).inc();
                }
            });
        }
    }

    async fn serve_one(&self, mut stream: UnixStream) {
        let credentials = stream.peer_cred().ok();
        let caller = credentials
            .and_then(|it| Some(Caller { uid: it.uid(), pid: u32::try_from(it.pid()?).ok()? }));
        let request = wire::read::<Request>(&mut stream, REQUEST_BYTES_MAX).await;
        let (Some(caller), Ok(request)) = (caller, request) else {
            self.0.requests.with(&["unknown", "malformed"]).inc();
            return;
        };
        let asked = request.as_str();
        let reply = self.answer(caller, request);
        let outcome = if matches!(reply, Reply::Refused { .. }) { "refused" } else { "done" };
        self.0.requests.with(&[asked, outcome]).inc();
        // A caller that is gone asks again.
        let _gone = wire::write(&mut stream, &reply).await;
    }

    fn takes_orders_of(&self, uid: u32) -> bool {
        self.0.orders_of.get().is_some_and(|it| [*it, 0].contains(&uid))
    }

    fn ordered(&self, caller: Caller, order: &Order) -> Reply {
        let done = match self.takes_orders_of(caller.uid) {
            true => self.carry_out(order).map_err(|it| it.to_string()),
            false => {
                Err("orders are taken of the user alone that the authority runs as".to_owned())
            }
        };
        if let Some(deed) = order.deed() {
            let refused = done.as_ref().err();
            info!(deed, pid = caller.pid, uid = caller.uid, refused, "an order");
        }
        match done {
            Ok(on) => Reply::Stands { on },
            Err(reason) => Reply::Refused { reason },
        }
    }

    fn answer(&self, caller: Caller, request: Request) -> Reply {
        let now = self.0.clock.now();
        let asked = request.as_str();
        let issued = match request {
            Request::Order { order } => return self.ordered(caller, &order),
            Request::Look { version } => {
                let bundle = self.lock().bundle();
                let bundle = (bundle.version != version).then_some(bundle);
                return Reply::Trust { bundle, now };
            }
            Request::Join { token, request } => self.lock().join(caller, &token, &request.0, now),
            Request::Claim { id, request } => self.lock().claim(caller, id, &request.0, now),
            Request::Renew { chain, request, proof } => match pem::certificates(&chain) {
                Some(chain) => self.lock().renew(caller, &chain, &request.0, &proof.0, now),
                None => Err(IssueError::Refused(crate::refusal::Refusal::Malformed)),
            },
        };
        match issued {
            Ok(Issued { chain, bundle }) => {
                let chain = chain.iter().map(pem::certificate).collect();
                Reply::Issued { chain, bundle, now }
            }
            Err(error) => {
                warn!(asked, pid = caller.pid, uid = caller.uid, %error, "no identity was issued");
                Reply::Refused { reason: error.to_string() }
            }
        }
    }
}
