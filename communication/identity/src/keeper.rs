//! Keeps the identity of this process current: joins, renews, learns whom to trust, closes at the end.
//!
//! The key is made here and never leaves; each identity has a new one. While the authority is away,
//! what is held serves to its end. Whoever shows or judges an identity watches [`Current`].
//!
//! Whom to trust comes from the authority, and from whoever carries it here, signed ([`Credentials::offer`]).
//! Of two the newer one is in force, wherever it came from; an authority that has an older one is told.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use base::{Random, SharedClock, Timestamp};
use rcgen::{KeyPair, SigningKey as _};
use runtime::{Shutdown, Tasks};
use serde::Deserialize;
use telemetry::Telemetry;
use tokio::{
    net::UnixStream,
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tracing::{debug, info, warn};

use crate::{
    authority::{proof_of, request},
    bundle::{BundleError, SignedBundle, Trust},
    bytes::Bytes,
    credentials::{Carried, Credentials, Identity, IdentityError},
    handshake::Current,
    metrics::KeeperMetrics,
    name::SpiffeId,
    pem,
    refusal::Refusal,
    renewal::{Renewal, RenewalConfig, RenewalStep},
    token::JoinToken,
    verify::{Purpose, verify},
    wire::{self, REPLY_BYTES_MAX, Reply, Request},
};

/// How an identity is kept.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeeperConfig {
    /// When to renew.
    pub renewal: RenewalConfig,
    /// How often to look whom to trust, in milliseconds.
    pub look_ms: u64,
    /// The authority has so long to answer, in milliseconds.
    pub timeout_ms: u64,
}

impl Default for KeeperConfig {
    fn default() -> Self {
        Self { renewal: RenewalConfig::default(), look_ms: 10_000, timeout_ms: 5_000 }
    }
}

/// Who this process is to be, and how it shows that.
#[derive(Debug)]
pub struct Membership {
    /// The authority's socket.
    pub authority: PathBuf,
    /// The name.
    pub id: SpiffeId,
    /// Why it may have the name.
    pub grounds: Grounds,
}

/// Why a process may have a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grounds {
    /// Whoever started it drew this for it.
    Token(JoinToken),
    /// The user that it runs as may have it.
    User,
}

/// Why no identity came.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error("the authority cannot be reached")]
    Away(#[source] io::Error),
    #[error("the authority did not answer in time")]
    TimedOut,
    #[error("the authority refused: {0}")]
    Refused(String),
    #[error("the authority's answer is not one to this question")]
    Malformed,
    #[error("nobody would accept what the authority sent: {0}")]
    Unacceptable(Refusal),
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("no key could be made")]
    Key(#[from] rcgen::Error),
}

/// Joins and keeps the identity until told to stop; what comes out is nothing until the first one came.
pub fn keep(
    config: KeeperConfig,
    membership: Membership,
    clock: SharedClock,
    random: Random,
    telemetry: &Telemetry,
    tasks: &Tasks,
) -> Current {
    let (current, watched) = watch::channel(None);
    let renewal = Renewal::new(config.renewal, clock.now());
    let metrics = KeeperMetrics::new(telemetry);
    let keeper = Keeper {
        config,
        membership,
        clock,
        random,
        metrics,
        renewal,
        held: None,
        joining: None,
        current,
        carried: watch::Sender::new(None),
    };
    tasks.spawn("identity", |shutdown| keeper.run(shutdown));
    watched
}

/// A key, and the request that was made with it.
type Asked = (KeyPair, Vec<u8>);

struct Keeper {
    config: KeeperConfig,
    membership: Membership,
    clock: SharedClock,
    random: Random,
    metrics: KeeperMetrics,
    renewal: Renewal,
    /// The last identity, also when it is over: a machine that slept renews with it.
    held: Option<(Arc<Identity>, Arc<Trust>)>,
    /// The first request by a token, for as long as no answer came: it is good for one request.
    joining: Option<Asked>,
    current: watch::Sender<Option<Arc<Credentials>>>,
    /// What was carried here. One that is not judged when the next one comes is not judged at all: whoever
    /// carries could as well have held it back.
    carried: Carried,
}

impl Keeper {
    async fn run(mut self, shutdown: Shutdown) {
        // Dropped where it waits, it leaves nothing half done: what came is put in place in one step.
        shutdown.or_cancel(self.keep()).await;
    }

    async fn keep(&mut self) {
        let look = Duration::from_millis(self.config.look_ms);
        let mut looked = Instant::now();
        let mut carried = self.carried.subscribe();
        loop {
            let now = self.clock.now();
            match self.renewal.step(now) {
                RenewalStep::Renew => self.renew().await,
                RenewalStep::Close => self.close(),
                RenewalStep::Wait { until } => {
                    // Never past the next look: wall time may have jumped meanwhile.
                    let next_look = look.saturating_sub(looked.elapsed());
                    tokio::select! {
                        Ok(()) = carried.changed() => {
                            let signed = carried.borrow_and_update().clone();
                            self.hear(signed).await;
                        }
                        () = sleep(until.saturating_since(now).min(next_look)) => {}
                    }
                    if looked.elapsed() >= look {
                        looked = Instant::now();
                        self.look().await;
                    }
                }
            }
        }
    }

    async fn renew(&mut self) {
        let outcome = self.ask_for_identity().await;
        let (now, unit) = (self.clock.now(), self.random.unit());
        match outcome {
            Ok(not_after) => {
                self.joining = None;
                self.metrics.renewal("issued");
                self.renewal.issued(now, not_after, unit);
                self.look_signed().await;
            }
            Err(error) => {
                self.metrics.renewal("failed");
                warn!(%error, id = %self.membership.id, "no identity was issued");
                self.renewal.failed(now, unit);
            }
        }
    }

    fn close(&self) {
        warn!(id = %self.membership.id, "the identity is over: closed");
        self.current.send_replace(None);
        self.metrics.expiry.set(0.0);
    }

    /// Asks, checks what came, and puts it in place; the end of the new identity.
    async fn ask_for_identity(&mut self) -> Result<Timestamp, AskError> {
        let (key, asked) = match (&self.held, &self.membership.grounds) {
            // An authority that has started anew does not know what is over; the user is known to the kernel.
            (Some((identity, _)), Grounds::User) if self.clock.now() >= identity.validity().1 => {
                self.claim_request()?
            }
            (Some((identity, _)), _) => renewal_request(&self.membership.id, identity)?,
            (None, Grounds::User) => self.claim_request()?,
            (None, Grounds::Token(token)) => self.join_request(token.clone())?,
        };
        let reply = self.call(&asked).await?;
        let Reply::Issued { chain, bundle, now } = reply else { return Err(AskError::Malformed) };
        let chain = pem::certificates(&chain).ok_or(AskError::Malformed)?;
        let mut trust = Arc::new(Trust::read(bundle)?);
        // What is known stays where the authority knows less, or has nothing new to say.
        if let Some((_, known)) = &self.held
            && known.bundle().version >= trust.bundle().version
        {
            trust = Arc::clone(known);
        }
        self.measure_skew(now);
        let judged = verify(&chain, &trust, Purpose::Serve, self.clock.now());
        let own = judged.map_err(AskError::Unacceptable)?;
        if own.id != self.membership.id {
            return Err(AskError::Unacceptable(Refusal::WrongService));
        }
        let identity = Arc::new(Identity::new(chain, key)?);
        self.put_in_place(identity, trust)?;
        Ok(own.not_after)
    }

    /// The same request each time, until it is answered.
    fn join_request(&mut self, token: JoinToken) -> Result<(KeyPair, Request), AskError> {
        let (key, request) = match self.joining.take() {
            Some(asked) => asked,
            None => ask(&self.membership.id)?,
        };
        self.joining = Some((copy(&key)?, request.clone()));
        Ok((key, Request::Join { token, request: Bytes(request) }))
    }

    fn claim_request(&self) -> Result<(KeyPair, Request), AskError> {
        let id = self.membership.id.clone();
        let (key, request) = ask(&id)?;
        Ok((key, Request::Claim { id, request: Bytes(request) }))
    }

    /// Learns whom to trust. What is held stays where nothing comes.
    async fn look(&mut self) {
        let Some((identity, trust)) = self.held.clone() else { return };
        let version = trust.bundle().version;
        match self.call(&Request::Look { version }).await {
            Ok(Reply::Trust { bundle: Some(bundle), now }) => {
                self.measure_skew(now);
                // Of two the higher one is in force.
                if bundle.version < version {
                    self.tell(trust.signed().cloned()).await;
                    return;
                }
                let read = Trust::read(bundle).map_err(AskError::from);
                if let Err(error) = read.and_then(|it| self.trust(identity, it)) {
                    warn!(%error, "whom to trust cannot be used; what was stays");
                }
            }
            Ok(Reply::Trust { bundle: None, now }) => self.measure_skew(now),
            Ok(_) => warn!("the authority's answer is not one to this question"),
            Err(error) => {
                warn!(%error, "the authority was not asked whom to trust");
                return;
            }
        }
        self.look_signed().await;
    }

    /// Learns the form of what is held in which it can be carried, where that is not known.
    async fn look_signed(&mut self) {
        let Some((identity, trust)) = self.held.clone() else { return };
        if trust.signed().is_some() {
            return;
        }
        match self.call(&Request::LookSigned {}).await {
            Ok(Reply::Signed { signed }) => {
                // One that is newer already comes with the next look.
                let Some(trust) = trust.with_signed(Arc::new(signed)) else { return };
                if let Err(error) = self.put_in_place(identity, Arc::new(trust)) {
                    warn!(%error, "whom to trust cannot be used; what was stays");
                }
            }
            // An authority of the version before knows no such question.
            answer => debug!(?answer, "the authority does not say what can be carried"),
        }
    }

    /// Judges whom to trust, as somebody carried it here. What is held stays where it is not believed.
    async fn hear(&mut self, signed: Option<Arc<SignedBundle>>) {
        let Some(((identity, trust), signed)) = self.held.clone().zip(signed) else { return };
        match trust.carried(signed) {
            Ok(None) => {}
            Ok(Some(trust)) => match self.trust(identity, trust) {
                // The authority may know less.
                Ok(()) => self.look().await,
                Err(error) => warn!(%error, "whom to trust cannot be used; what was stays"),
            },
            Err(error) => {
                self.metrics.bundle_refused(error);
                warn!(%error, "whom to trust was carried here, and is not believed");
            }
        }
    }

    /// Tells the authority what it does not know.
    async fn tell(&self, signed: Option<Arc<SignedBundle>>) {
        let Some(signed) = signed.map(Arc::unwrap_or_clone) else { return };
        match self.call(&Request::Tell { signed }).await {
            Ok(_) => debug!("the authority was told whom to trust"),
            Err(error) => warn!(%error, "the authority was not told whom to trust"),
        }
    }

    fn trust(&mut self, identity: Arc<Identity>, trust: Trust) -> Result<(), AskError> {
        let version = trust.bundle().version;
        self.put_in_place(identity, Arc::new(trust))?;
        info!(version, "whom to trust has changed");
        Ok(())
    }

    fn put_in_place(&mut self, identity: Arc<Identity>, trust: Arc<Trust>) -> Result<(), AskError> {
        let (_, not_after) = identity.validity();
        let clock = Arc::clone(&self.clock);
        let credentials = Credentials::new(Arc::clone(&identity), Arc::clone(&trust), clock)?;
        let credentials = credentials.kept(self.carried.clone());
        self.held = Some((identity, trust));
        // One that is over is not shown again because somebody else is trusted.
        if self.clock.now() < not_after {
            self.metrics.expiry.set(seconds(not_after.as_millis()));
            self.current.send_replace(Some(Arc::new(credentials)));
        }
        Ok(())
    }

    fn measure_skew(&self, authority: Timestamp) {
        let ahead = authority.as_millis().saturating_sub(self.clock.now().as_millis());
        self.metrics.skew.set(seconds(ahead));
    }

    async fn call(&self, request: &Request) -> Result<Reply, AskError> {
        let longest = Duration::from_millis(self.config.timeout_ms);
        let calling = async {
            let mut stream = UnixStream::connect(&self.membership.authority).await?;
            wire::write(&mut stream, request).await?;
            wire::read(&mut stream, REPLY_BYTES_MAX).await
        };
        match timeout(longest, calling).await {
            Ok(Ok(Reply::Refused { reason })) => Err(AskError::Refused(reason)),
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(error)) => Err(AskError::Away(error)),
            Err(_) => Err(AskError::TimedOut),
        }
    }
}

/// A new key, and the request for a certificate of it.
fn ask(id: &SpiffeId) -> Result<Asked, rcgen::Error> {
    let key = KeyPair::generate()?;
    let request = request(id, &key)?;
    Ok((key, request))
}

/// A request for the identity after this one, signed by its key.
fn renewal_request(id: &SpiffeId, identity: &Identity) -> Result<(KeyPair, Request), AskError> {
    let (key, request) = ask(id)?;
    let proof = Bytes(identity.key().sign(&proof_of(&request))?);
    let chain = identity.chain().iter().map(pem::certificate).collect();
    Ok((key, Request::Renew { chain, request: Bytes(request), proof }))
}

/// A second handle on a key, in memory.
fn copy(key: &KeyPair) -> Result<KeyPair, rcgen::Error> {
    KeyPair::try_from(key.serialized_der())
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; no time is as long")]
fn seconds(millis: i64) -> f64 {
    millis as f64 / 1_000.0
}
