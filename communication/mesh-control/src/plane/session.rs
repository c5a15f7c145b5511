//! One connection: a proxy hears states and says what became of them, instances register.
//!
//! One state is under way to a proxy at a time; what changes meanwhile goes with the next one. So a slow
//! proxy holds up itself alone, and no queue grows.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
};

use identity::{Entrance, Over, SpiffeId};
use runtime::Shutdown;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf, split},
    net::TcpStream,
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout, timeout_at},
};

use super::{Plane, SESSIONS_OF_ONE_MAX, lock};
use crate::{
    alive::{SAY_EVERY, SILENT_MAX},
    instance::Registration,
    metrics::gauge,
    registry::{Change, Connection},
    state::{Numbered, Snapshot},
    wire::{
        self, Lines, NAME_BYTES_MAX, REASON_BYTES_MAX, SAID_BYTES_MAX, Said, Told, WIRE,
        WIRE_BEFORE,
    },
};

/// A proxy that is connected.
#[derive(Debug, Clone, Default)]
pub(super) struct Subscriber {
    pub(super) name: String,
    pub(super) from: String,
    pub(super) identity: Option<SpiffeId>,
    pub(super) sent: u64,
    pub(super) acknowledged: u64,
    /// What it did not take last, and why.
    pub(super) refused: Option<(u64, String)>,
}

/// Serves a connection to its end.
pub(super) async fn run(plane: &Plane, stream: TcpStream, from: SocketAddr, shutdown: &Shutdown) {
    // Lines are small and waited for.
    let _slower = stream.set_nodelay(true);
    let Some(known) = &plane.0.known else {
        return ended(shutdown.or_cancel(serve(plane, stream, from, None)).await, from);
    };
    let entering = known.accept(stream, from.ip(), Entrance::Control);
    // Who is not let in is counted there.
    let Some(Ok(entered)) = shutdown.or_cancel(entering).await else { return };
    let peer = entered.peer.id.clone();
    let over = known.clone().over(entered.peer, entered.valid_for);
    let served = serve(plane, entered.stream, from, Some(peer));
    let both = Box::pin(async {
        tokio::select! {
            it = served => it,
            Over::Expired | Over::Denied = over => Ok(()),
        }
    });
    ended(shutdown.or_cancel(both).await, from);
}

fn ended(how: Option<io::Result<()>>, from: SocketAddr) {
    if let Some(Err(error)) = how {
        tracing::debug!(%from, %error, "a subscriber is gone");
    }
}

/// Takes the subscriber off the list, however its session ends; what it registered is heard no more.
struct Listed<'a> {
    plane: &'a Plane,
    number: Connection,
}

impl<'a> Listed<'a> {
    fn new(plane: &'a Plane, subscriber: Subscriber) -> io::Result<Self> {
        let number = plane.next_session();
        let mut all = lock(&plane.0.subscribers);
        let is_theirs = |it: &&Subscriber| it.identity == subscriber.identity;
        if subscriber.identity.is_some()
            && all.values().filter(is_theirs).count() >= SESSIONS_OF_ONE_MAX
        {
            plane.0.metrics.sessions_refused.inc();
            let what = "as many of this identity are connected as may be";
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, what));
        }
        all.insert(number, subscriber);
        plane.0.metrics.subscribers.set(gauge(all.len()));
        Ok(Self { plane, number })
    }

    fn change(&self, change: impl FnOnce(&mut Subscriber)) {
        if let Some(it) = lock(&self.plane.0.subscribers).get_mut(&self.number) {
            change(it);
        }
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        let mut all = lock(&self.plane.0.subscribers);
        all.remove(&self.number);
        self.plane.0.metrics.subscribers.set(gauge(all.len()));
        drop(all);
        lock(&self.plane.0.registry).hear_no_more(self.number);
    }
}

struct Session<'a, S> {
    plane: &'a Plane,
    /// The version that the proxy speaks.
    wire: u32,
    peer: Option<SpiffeId>,
    to: WriteHalf<S>,
    listed: Listed<'a>,
    current: watch::Receiver<Arc<Numbered>>,
    sent: Option<Arc<Numbered>>,
    /// Whether the one that was sent last is not answered yet.
    is_open: bool,
    /// Before this nothing more is read: too much was changed.
    read_from: Instant,
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    plane: &Plane,
    stream: S,
    from: SocketAddr,
    peer: Option<SpiffeId>,
) -> io::Result<()> {
    let (read, to) = split(stream);
    let mut lines = Lines::new(read, SAID_BYTES_MAX);
    let first = timeout(SILENT_MAX, lines.next()).await.map_err(|_| io::ErrorKind::TimedOut)??;
    let Said::Subscribe { wire: wire @ (WIRE | WIRE_BEFORE), name } = first else {
        let what = format!("it speaks neither version {WIRE} nor {WIRE_BEFORE} of the wire");
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    };
    let (from, identity) = (from.to_string(), peer.clone());
    let name = wire::cut(name, NAME_BYTES_MAX);
    let subscriber = Subscriber { name, from, identity, ..Subscriber::default() };
    let listed = Listed::new(plane, subscriber)?;
    let current = plane.0.current.subscribe();
    let (sent, is_open, read_from) = (None, false, Instant::now());
    let mut session = Session { plane, wire, peer, to, listed, current, sent, is_open, read_from };
    let lease = lock(&plane.0.registry).lease();
    let lease_ms = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
    session.tell(&Told::Welcome { wire, lease_ms }).await?;
    session.run(&mut lines).await
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<'_, S> {
    async fn run(&mut self, lines: &mut Lines<ReadHalf<S>>) -> io::Result<()> {
        let mut heard = Instant::now();
        let mut alive = interval(SAY_EVERY);
        alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.send_next().await?;
            let read_from = self.read_from;
            let reading = async {
                sleep_until(read_from).await;
                timeout_at(heard.max(read_from) + SILENT_MAX, lines.next()).await
            };
            tokio::select! {
                said = reading => {
                    heard = Instant::now();
                    self.answer(said.map_err(|_| io::ErrorKind::TimedOut)??).await?;
                }
                // Where the sender is gone, so are we.
                changed = self.current.changed(), if !self.is_open => {
                    changed.map_err(|_| io::ErrorKind::BrokenPipe)?;
                }
                _ = alive.tick() => drop(self.tell(&Told::Alive {}).await?),
            }
        }
    }

    /// Sends the state in force where the proxy has answered for the one before.
    async fn send_next(&mut self) -> io::Result<()> {
        let next = Arc::clone(&self.current.borrow_and_update());
        let is_sent = self.sent.as_ref().is_some_and(|it| it.version == next.version);
        if self.is_open || is_sent {
            return Ok(());
        }
        let mut snapshot = Snapshot::between(self.sent.as_deref(), &next);
        if self.wire == WIRE_BEFORE {
            snapshot.trust = None;
        }
        let bytes = self.tell(&Told::Snapshot(snapshot)).await? as u64;
        self.plane.0.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.plane.0.metrics.snapshot_bytes.add(bytes);
        self.listed.change(|it| it.sent = next.version);
        (self.sent, self.is_open) = (Some(next), true);
        Ok(())
    }

    async fn tell(&mut self, line: &Told) -> io::Result<usize> {
        let written = timeout(SILENT_MAX, wire::write(&mut self.to, line)).await;
        written.map_err(|_| io::ErrorKind::TimedOut)?
    }

    async fn answer(&mut self, said: Said) -> io::Result<()> {
        match said {
            Said::Register(told) => self.register(told).await?,
            Said::Withdraw { service, instance } => {
                let on = self.listed.number;
                self.plane.withdraw(&service, &instance, self.peer.as_ref(), on);
            }
            Said::Acknowledge { version } => self.is_taken(version, None)?,
            Said::Refuse { version, reason } => self.is_taken(version, Some(reason))?,
            Said::Alive {} => {}
            Said::Subscribe { .. } => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "it subscribed twice"));
            }
        }
        Ok(())
    }

    async fn register(&mut self, told: Registration) -> io::Result<()> {
        let (service, instance) = (told.service.clone(), told.instance.clone());
        let on = self.listed.number;
        let registered = self.plane.register(told, self.peer.as_ref(), on);
        if registered != Ok(Change::Renewed) {
            // Who withdraws without end has to register as often.
            self.read_from = Instant::now() + self.plane.count_change(self.peer.as_ref());
        }
        let Err(error) = registered else { return Ok(()) };
        let by = self.peer.as_ref().map(ToString::to_string);
        tracing::warn!(service, instance, by, %error, "an instance was not registered");
        let reason = error.to_string();
        self.tell(&Told::Rejected { service, instance, reason }).await.map(drop)
    }

    fn is_taken(&mut self, version: u64, refused: Option<String>) -> io::Result<()> {
        if !self.is_open || self.sent.as_ref().is_none_or(|it| it.version != version) {
            let what = "it answered for what it was not sent";
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        self.is_open = false;
        if let Some(reason) = refused.map(|it| wire::cut(it, REASON_BYTES_MAX)) {
            self.plane.0.metrics.snapshots_refused.inc();
            self.listed.change(|it| {
                tracing::error!(subscriber = it.name, version, reason, "a state was refused");
                it.refused = Some((version, reason));
            });
        } else {
            self.listed.change(|it| (it.acknowledged, it.refused) = (version, None));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use base::{ManualClock, Timestamp};
    use telemetry::Telemetry;

    use super::*;
    use crate::registry::RegistryConfig;

    #[test]
    fn one_identity_has_so_many_sessions_and_the_others_have_theirs() {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
        let plane = Plane::new(RegistryConfig::default(), None, clock, &Telemetry::disabled());
        let enter = |service: &str| {
            let identity = SpiffeId::new("mesh", "shop", service).ok();
            Listed::new(&plane, Subscriber { identity, ..Subscriber::default() })
        };
        let mut all: Vec<_> = (0..SESSIONS_OF_ONE_MAX).map(|_| enter("cart").unwrap()).collect();
        assert_eq!(enter("cart").map(drop).unwrap_err().kind(), io::ErrorKind::QuotaExceeded);
        assert_eq!(plane.0.metrics.sessions_refused.get(), 1);
        drop(enter("stock").unwrap());
        drop(all.pop());
        drop(enter("cart").unwrap());
    }
}
