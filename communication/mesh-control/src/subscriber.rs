//! The proxy's end: hears states, has them put in force, keeps the last good one, registers instances.
//!
//! While the control plane is away nothing changes; the connection is tried again with back-off and
//! jitter, for ever, [`AGAIN`] apart at the most.
//!
//! Whom to trust is given to whoever keeps our identity, and judged there: a control plane carries it, and need
//! not be believed.

use std::{future::pending, io, net::SocketAddr, time::Duration};

use base::Backoff;
use identity::{Handshakes, Protocol, SignedBundle, SpiffeId};
use runtime::{Shutdown, Tasks, random_from_os};
use telemetry::Telemetry;
use tokio::{
    io::{AsyncRead, AsyncWrite, WriteHalf, split},
    net::TcpStream,
    sync::watch,
    time::{Instant, Interval, MissedTickBehavior, interval, sleep, timeout, timeout_at},
};

use crate::{
    alive::{SAY_EVERY, SILENT_MAX},
    instance::Registration,
    metrics::{SubscriberMetrics, gauge},
    state::{Snapshot, State},
    wire::{self, Lines, REASON_BYTES_MAX, Said, TOLD_BYTES_MAX, Told, WIRE, WIRE_BEFORE},
};

/// Between two tries to connect. A control plane that is back is heard within the cap.
const AGAIN: Backoff =
    Backoff { initial: Duration::from_millis(50), factor: 2, cap: Duration::from_secs(1) };
/// The time that a connection gets.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// Renewals in the time of a lease: two may be lost.
const RENEWALS_PER_LEASE: u32 = 3;

/// The end of a connection in words: of TLS it is an error with a page about it.
fn told(error: io::Error) -> io::Error {
    match error.kind() {
        kind @ io::ErrorKind::UnexpectedEof => io::Error::new(kind, "the connection has ended"),
        _ => error,
    }
}

/// Where the control plane is, and who it must be.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it must prove, and how that is asked; nothing in plain text on loopback.
    pub identity: Option<(Handshakes, SpiffeId)>,
}

/// What a control plane says, as its proxy hears it.
pub trait Hearer: Send {
    /// Puts a state in force.
    ///
    /// # Errors
    /// Why it cannot be; the last good one stays.
    fn apply(&mut self, state: &State) -> Result<(), String>;

    /// Learns why it is not heard, and by nothing that it is.
    fn is_away(&mut self, _why: Option<String>) {}
}

impl<F: FnMut(&State) -> Result<(), String> + Send> Hearer for F {
    fn apply(&mut self, state: &State) -> Result<(), String> {
        self(state)
    }
}

/// Follows a control plane from now on: each state that it tells is put in force by the hearer. Those of
/// `instances` are registered as long as they stand there.
pub fn subscribe(
    upstream: Upstream,
    name: String,
    instances: watch::Receiver<Vec<Registration>>,
    hearer: impl Hearer + 'static,
    telemetry: &Telemetry,
    tasks: &Tasks,
) {
    let metrics = SubscriberMetrics::new(telemetry);
    let follower = Follower {
        upstream,
        name,
        instances,
        hearer: Box::new(hearer),
        told: State::default(),
        held: State::default(),
        wire: WIRE,
        is_connected: false,
        metrics,
    };
    tasks.spawn("control plane's states", |shutdown| follower.run(shutdown));
}

struct Follower {
    upstream: Upstream,
    name: String,
    instances: watch::Receiver<Vec<Registration>>,
    hearer: Box<dyn Hearer>,
    /// What the control plane says.
    told: State,
    /// What is in force.
    held: State,
    /// The version that is spoken on the next connection.
    wire: u32,
    is_connected: bool,
    metrics: SubscriberMetrics,
}

impl Follower {
    async fn run(mut self, shutdown: Shutdown) {
        let (mut random, mut attempt) = (random_from_os(), 0);
        while !shutdown.is_cancelled() {
            let Err(error) = self.connect(&shutdown).await else { return };
            let error = told(error);
            self.metrics.lost.inc();
            self.metrics.connected.set(0.0);
            if std::mem::take(&mut self.is_connected) || attempt == 0 {
                attempt = 0;
                let why = format!("the one at {} is away: {error}", self.upstream.address);
                self.hearer.is_away(Some(why));
                tracing::warn!(control = %self.upstream.address, %error, "the control plane is away; what holds stays");
            }
            attempt += 1;
            let wait = AGAIN.delay(attempt, random.unit());
            if shutdown.or_cancel(sleep(wait)).await.is_none() {
                return;
            }
        }
    }

    /// One connection to its end; well only where we end it.
    async fn connect(&mut self, shutdown: &Shutdown) -> io::Result<()> {
        let connecting = timeout(CONNECT_WITHIN, TcpStream::connect(self.upstream.address));
        let Some(connected) = shutdown.or_cancel(connecting).await else { return Ok(()) };
        let stream = connected.map_err(|_| io::ErrorKind::TimedOut)??;
        stream.set_nodelay(true)?;
        let Some((handshakes, id)) = self.upstream.identity.clone() else {
            return self.hear(stream, shutdown).await;
        };
        let opening = handshakes.connect(stream, &id, Protocol::Control);
        let Some(opened) = shutdown.or_cancel(opening).await else { return Ok(()) };
        let known = opened.map_err(|it| io::Error::other(it.to_string()))?;
        let over = handshakes.clone().over(known.peer, known.valid_for);
        tokio::select! {
            it = self.hear(known.stream, shutdown) => it,
            over = over => Err(io::Error::other(over.as_str())),
        }
    }

    async fn hear<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        stream: S,
        shutdown: &Shutdown,
    ) -> io::Result<()> {
        let (read, mut to) = split(stream);
        let mut lines = Lines::new(read, TOLD_BYTES_MAX);
        // One of the version before closes without a word: it is asked by its own version then, once.
        let wire = self.wire;
        self.wire = if wire == WIRE { WIRE_BEFORE } else { WIRE };
        say(&mut to, &Said::Subscribe { wire, name: self.name.clone() }).await?;
        let welcomed = timeout(SILENT_MAX, lines.next());
        let Some(first) = shutdown.or_cancel(welcomed).await else { return Ok(()) };
        let first = first.map_err(|_| io::ErrorKind::TimedOut)??;
        let lease_ms = match first {
            Told::Welcome { wire: spoken, lease_ms } if spoken == wire => lease_ms,
            _ => {
                let what = format!("it does not speak version {wire} of the wire");
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
        };
        (self.is_connected, self.wire) = (true, WIRE);
        self.hearer.is_away(None);
        self.metrics.connected.set(1.0);
        tracing::info!(control = %self.upstream.address, "the control plane is heard");
        let mut renewals = ticks(
            (Duration::from_millis(lease_ms) / RENEWALS_PER_LEASE).max(Duration::from_millis(1)),
        );
        let (mut alive, mut heard) = (ticks(SAY_EVERY), Instant::now());
        let mut registered = Vec::new();
        loop {
            tokio::select! {
                told = timeout_at(heard + SILENT_MAX, lines.next()) => {
                    heard = Instant::now();
                    self.take(told.map_err(|_| io::ErrorKind::TimedOut)??, &mut to).await?;
                }
                () = changed(&mut self.instances) => self.register(&mut to, &mut registered).await?,
                _ = renewals.tick() => self.register(&mut to, &mut registered).await?,
                _ = alive.tick() => say(&mut to, &Said::Alive {}).await?,
                () = shutdown.cancelled() => {
                    // Nobody is to be called any more who is about to end.
                    self.instances = watch::channel(Vec::new()).1;
                    return self.register(&mut to, &mut registered).await;
                }
            }
        }
    }

    async fn take<W: AsyncRead + AsyncWrite>(
        &mut self,
        told: Told,
        to: &mut WriteHalf<W>,
    ) -> io::Result<()> {
        match told {
            Told::Snapshot(snapshot) => {
                let answer = self.put_in_force(snapshot);
                say(to, &answer).await
            }
            Told::Rejected { service, instance, reason } => {
                self.metrics.rejected.inc();
                tracing::error!(
                    service,
                    instance,
                    reason,
                    "the control plane did not register an instance"
                );
                Ok(())
            }
            Told::Alive {} => Ok(()),
            Told::Welcome { .. } => {
                Err(io::Error::new(io::ErrorKind::InvalidData, "it welcomed us twice"))
            }
        }
    }

    fn put_in_force(&mut self, snapshot: Snapshot) -> Said {
        let version = snapshot.version;
        if let Some(signed) = &snapshot.trust {
            self.offer(signed.clone());
        }
        // Also what is refused: the next one is counted from it.
        snapshot.apply(&mut self.told);
        let next = self.told.over(&self.held);
        match self.hearer.apply(&next) {
            Ok(()) => {
                self.held = next;
                self.metrics.version.set(gauge(version));
                Said::Acknowledge { version }
            }
            Err(reason) => {
                tracing::error!(
                    version,
                    reason,
                    "a state cannot be put in force, the last good one stays"
                );
                Said::Refuse { version, reason: wire::cut(reason, REASON_BYTES_MAX) }
            }
        }
    }

    /// Has whoever keeps our identity judge whom to trust. While we are closed nobody does, and the connection
    /// ends; the next one begins with it again.
    fn offer(&self, signed: SignedBundle) {
        let known = self.upstream.identity.as_ref();
        if let Some(shown) = known.and_then(|(handshakes, _)| handshakes.shown()) {
            shown.offer(signed);
        }
    }

    /// Registers those that stand there, and withdraws those that do not any more.
    async fn register<W: AsyncRead + AsyncWrite>(
        &mut self,
        to: &mut WriteHalf<W>,
        registered: &mut Vec<Registration>,
    ) -> io::Result<()> {
        let now = self.instances.borrow_and_update().clone();
        let here = |it: &Registration| {
            now.iter().any(|one| (&one.service, &one.instance) == (&it.service, &it.instance))
        };
        for gone in registered.iter().filter(|it| !here(it)) {
            let (service, instance) = (gone.service.clone(), gone.instance.clone());
            say(to, &Said::Withdraw { service, instance }).await?;
        }
        for instance in &now {
            say(to, &Said::Register(instance.clone())).await?;
        }
        *registered = now;
        Ok(())
    }
}

async fn say<W: AsyncRead + AsyncWrite>(to: &mut WriteHalf<W>, line: &Said) -> io::Result<()> {
    let written = timeout(SILENT_MAX, wire::write(to, line)).await;
    written.map_err(|_| io::ErrorKind::TimedOut)?.map(drop)
}

/// Waits for a change; for ever where nobody is left to make one. Cancel-safe.
async fn changed(instances: &mut watch::Receiver<Vec<Registration>>) {
    if instances.changed().await.is_err() {
        pending::<()>().await;
    }
}

fn ticks(every: Duration) -> Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
