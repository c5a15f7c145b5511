//! The authority at work: its file, its socket, its calendar.
//!
//! Who calls, the kernel says (`SO_PEERCRED`). The socket belongs in a directory that only its owner
//! enters. Every connection has a deadline and a place among few; when all are taken, callers wait
//! in the kernel. What changes the state is on disk before it is answered.

mod callers;
mod orders;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use base::{SharedClock, Timestamp};
use runtime::{Shutdown, Tasks};
use rustls::crypto::ring;
use telemetry::{CounterFamily, Telemetry};
use tokio::{net::UnixListener, time::sleep};
use tracing::{info, warn};

use crate::{
    authority::{
        Authority, AuthorityConfig, BranchError, BranchFileError, BranchMade, Change, FoundError,
        Given, ReadStateError, RotateError,
    },
    bundle::{AnchorId, Bundle},
    certificate::Serial,
    claims::Claims,
    files::{FileError, read_state, write_state},
    metrics,
    name::SpiffeId,
    public::PublicName,
    rotation::{AnchorUse, RotationStep},
    token::{JoinToken, TokenError},
};

/// How often the calendar is looked at.
const TICK: Duration = Duration::from_secs(1);

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
    /// The file of a branch is none, or not for this authority.
    #[error("the file of the branch cannot be used")]
    Branch(#[from] BranchFileError),
}

/// Why something was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The authority refuses.
    #[error(transparent)]
    Rotate(#[from] RotateError),
    /// It makes no branch.
    #[error(transparent)]
    Branch(#[from] BranchError),
    /// The disk did not take it, and what the disk has is in force.
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
    /// The anchors whose keys it has, from the oldest to the newest; a branch has none.
    pub anchors: Vec<AnchorUse>,
    /// The one that signs.
    pub signs: AnchorId,
    /// From when until when the issuer may sign.
    pub issuer: (Timestamp, Timestamp),
    /// What happens next to the anchors.
    pub next: RotationStep,
    /// Whom processes are told to trust.
    pub bundle: Bundle,
    /// Which branch it is; nothing where it has the anchors' keys.
    pub branch: Option<u64>,
    /// The branches that it made.
    pub branches: Vec<Given>,
    /// Whose the denied certificates are, where it has issued them since its start.
    pub denied: BTreeMap<Serial, SpiffeId>,
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
        Ok(Self::with(authority, path, clock, telemetry))
    }

    /// The same for a branch: `file` is what [`branch`](Self::branch) gave elsewhere, and is good once it is
    /// newer than what `path` holds.
    ///
    /// # Errors
    /// As there, the text is of no branch, or `path` holds an authority with keys of anchors.
    pub fn open_branch(
        config: AuthorityConfig,
        trust_domain: &str,
        path: PathBuf,
        file: &str,
        clock: SharedClock,
        telemetry: &Telemetry,
    ) -> Result<Self, OpenError> {
        let now = clock.now();
        let (authority, is_new) = match read_state(&path)? {
            Some(state) => {
                let mut held = Authority::resume(config, trust_domain, &state, now)?;
                let is_new = held.take_branch(file)?;
                (held, is_new)
            }
            None => (Authority::found_branch(config, trust_domain, file, now)?, true),
        };
        if is_new {
            write_state(&path, &authority.state())?;
        }
        Ok(Self::with(authority, path, clock, telemetry))
    }

    fn with(
        authority: Authority,
        path: PathBuf,
        clock: SharedClock,
        telemetry: &Telemetry,
    ) -> Self {
        let (requests, orders_of) = (metrics::requests(telemetry), OnceLock::new());
        let authority = Mutex::new(authority);
        Self(Arc::new(Shared { authority, path, clock, requests, orders_of }))
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
    /// The authority or the disk refuses.
    pub fn revoke(&self, serial: Serial) -> Result<(), ChangeError> {
        let mut authority = self.lock();
        authority.revoke(serial, self.0.clock.now())?;
        self.save(&mut authority)
    }

    /// Makes a new issuer.
    ///
    /// # Errors
    /// The authority or the disk refuses.
    pub fn rotate_issuer(&self) -> Result<(), ChangeError> {
        let mut authority = self.lock();
        authority.rotate_issuer(self.0.clock.now())?;
        self.save(&mut authority)
    }

    /// Begins to replace the anchor; the calendar does the rest.
    ///
    /// # Errors
    /// The authority or the disk refuses.
    pub fn rotate_anchor(&self) -> Result<AnchorId, ChangeError> {
        let mut authority = self.lock();
        let anchor = authority.rotate_anchor(self.0.clock.now())?;
        self.save(&mut authority)?;
        Ok(anchor)
    }

    /// Drops an anchor that nobody needs.
    ///
    /// # Errors
    /// It is in use, or the disk refuses.
    pub fn drop_anchor(&self, anchor: &AnchorId) -> Result<(), ChangeError> {
        let mut authority = self.lock();
        authority.drop_anchor(anchor, self.0.clock.now())?;
        self.save(&mut authority)
    }

    /// Makes a branch for another machine, whose issuer signs for so long. It is known on disk before anybody
    /// has it: the anchor that signed it stays as long.
    ///
    /// # Errors
    /// The authority or the disk refuses.
    pub fn branch(&self, life: Duration) -> Result<BranchMade, ChangeError> {
        let mut authority = self.lock();
        let made = authority.branch(life, self.0.clock.now())?;
        self.save(&mut authority)?;
        Ok(made)
    }

    /// What it stands on.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let authority = self.lock();
        let (anchors, signs) = authority.anchors();
        let bundle = authority.bundle();
        let denied = authority.issued().filter(|it| bundle.revoked.contains_key(it.0));
        Standing {
            denied: denied.map(|(serial, id)| (serial.clone(), id.clone())).collect(),
            anchors,
            signs: signs.clone(),
            issuer: authority.issuer_validity(),
            next: authority.next_step(self.0.clock.now()),
            bundle,
            branch: authority.branch_number(),
            branches: authority.branches().to_vec(),
        }
    }

    /// Keeps what was changed. Where that fails it stands on what the disk has, so that what it refuses is not in
    /// force all the same.
    fn save(&self, authority: &mut Authority) -> Result<(), ChangeError> {
        let written = write_state(&self.0.path, &authority.state());
        if written.is_err()
            && let Ok(Some(kept)) = read_state(&self.0.path)
            && let Err(error) = authority.stand_on(&kept)
        {
            warn!(%error, "what the disk has of the authority cannot be used; what is in memory holds");
        }
        Ok(written?)
    }

    fn lock(&self) -> MutexGuard<'_, Authority> {
        // A panic in a decision leaves what was decided before it.
        self.0.authority.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn keep_calendar(self, shutdown: Shutdown) {
        let mut is_told = false;
        while shutdown.or_cancel(sleep(TICK)).await.is_some() {
            let ageing = self.lock().ageing(self.0.clock.now());
            if let Some(until) = ageing.filter(|_| !is_told) {
                is_told = true;
                warn!(%until, "half of the branch's time is over: bring a newer file of it");
            }
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
            self.save(&mut authority)?;
        }
        Ok(change)
    }
}
