//! Bytes both ways, for connections that are no HTTP, or no longer.

use std::{
    future::pending,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base::{Backoff, Code, Random};
use mesh_policy::{balance::Sample, breaker::Verdict, destination::Protocol};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::{
    closing::Closing,
    gate::Place,
    mesh::{
        destination::{Chosen, Destination},
        series::TcpSeries,
    },
    outbound::bound,
    stream::{ReadSide, Stream, WriteSide},
    upstream::{self, Connected},
    worker::Worker,
};

/// Bytes that one direction holds.
const BUFFER_BYTES: usize = 16 << 10;
/// Endpoints that are tried for one connection before it waits.
const TRIES_MAX: usize = 3;
/// Waits before they are tried again: those of the mesh's retries.
const PAUSES: Backoff =
    Backoff { initial: Duration::from_millis(25), factor: 2, cap: Duration::from_millis(250) };

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the client.
    Up,
    /// To the client.
    Down,
}

/// When a tunnel ends although both sides would go on.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    /// Longest time in which nothing passes in either direction; zero for none.
    pub(crate) idle: Duration,
    pub(crate) closing: Closing,
}

/// Why a tunnel ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Both sides have ended, or one broke, or connections are to end.
    Over,
    /// Nothing passed for too long.
    Idle,
}

/// Copies until both directions have ended, one has failed, nothing passes any more, or connections
/// are to end. An end in one direction is passed on and leaves the other open.
pub(crate) async fn both_ways(
    mut client_read: ReadSide,
    client_write: &mut WriteSide,
    server: Stream,
    mut rules: Rules,
    passed: impl Fn(Direction, usize),
) -> End {
    let clock = IdleClock::start();
    let passed = |direction, bytes| {
        clock.touch();
        passed(direction, bytes);
    };
    let (mut server_read, mut server_write) = server.split();
    let up = async {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let read = client_read.read(&mut buffer).await?;
            if read == 0 {
                return server_write.shutdown().await;
            }
            server_write.write_all(&buffer[..read]).await?;
            server_write.flush().await?;
            passed(Direction::Up, read);
        }
    };
    let down = async {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let read = server_read.read(&mut buffer).await?;
            if read == 0 {
                return client_write.shutdown().await;
            }
            client_write.write_all(&buffer[..read]).await?;
            client_write.flush().await?;
            passed(Direction::Down, read);
        }
    };
    // A failure on either side ends both: there is nobody left to tell.
    tokio::select! {
        _ended = async { tokio::try_join!(up, down) } => End::Over,
        () = rules.closing.said() => End::Over,
        () = clock.quiet_for(rules.idle) => End::Idle,
    }
}

/// When something passed last.
struct IdleClock {
    start: Instant,
    last_ms: AtomicU64,
}

impl IdleClock {
    fn start() -> Self {
        Self { start: Instant::now(), last_ms: AtomicU64::new(0) }
    }

    fn touch(&self) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(now, Ordering::Relaxed);
    }

    /// Waits until nothing has passed for so long. Cancel-safe.
    async fn quiet_for(&self, longest: Duration) {
        let Some(longest) = bound(longest) else { return pending().await };
        loop {
            let last = self.last_ms.load(Ordering::Relaxed);
            sleep_until(self.start + Duration::from_millis(last) + longest).await;
            if self.last_ms.load(Ordering::Relaxed) == last {
                return;
            }
        }
    }
}

/// A service that a door leads bytes to.
#[derive(Debug, Clone)]
pub struct Tunnel {
    worker: Arc<Worker>,
    service: String,
    when: When,
}

/// Which connections a tunnel takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Every one, whatever it says.
    Always,
    /// Those whose client says nothing at first and whose server does. A client that says nothing yet
    /// may still be one of HTTP that connects early, so silence alone decides nothing.
    ServerFirst,
}

impl Tunnel {
    /// A tunnel to a service; `None` where the door is for HTTP alone. `spoken` is what the door says.
    pub(crate) fn of(
        worker: &Arc<Worker>,
        service: &str,
        spoken: Option<Protocol>,
    ) -> Option<Self> {
        let snapshot = worker.mesh.snapshot();
        let behind = snapshot.direct(service)?.backends.first()?.destination.protocol;
        let when = match (spoken, behind) {
            (Some(Protocol::Tcp), _) | (_, Protocol::Tcp) => When::Always,
            (Some(Protocol::Http1 | Protocol::Http2), _) => return None,
            (None, Protocol::Http1 | Protocol::Http2) => When::ServerFirst,
        };
        Some(Self { worker: Arc::clone(worker), service: service.to_owned(), when })
    }

    pub(crate) const fn when(&self) -> When {
        self.when
    }

    /// A connection to an endpoint; where one cannot be reached, to another; where none can, it waits
    /// for one as long as the queue lets it. Cancel-safe.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn open(&self) -> Result<Opened, Code> {
        let opened = self.try_open().await;
        if let Err(code) = opened {
            self.worker.mesh.refused(&self.service, code);
        }
        opened
    }

    async fn try_open(&self) -> Result<Opened, Code> {
        let destination = self.destination()?;
        let longest = destination.settings.concurrency.queue_wait;
        let end = Instant::now() + longest;
        let place = timeout(longest, destination.gate.enter()).await;
        let place = place.map_err(|_| Code::Overloaded)?.map_err(|_| Code::Overloaded)?;
        let mut first = None;
        let mut round = 0;
        loop {
            // Looked at anew: an endpoint that comes while this one waits is as good as any.
            let code = match self.try_each().await {
                Ok(found) => return Ok(found.opened(place)),
                Err(Code::NoEndpoint) => return Err(Code::NoEndpoint),
                Err(code) => *first.get_or_insert(code),
            };
            round += 1;
            let pause = PAUSES.delay(round, self.worker.draw(Random::unit));
            if Instant::now() + pause >= end {
                return Err(code);
            }
            sleep(pause).await;
        }
    }

    fn destination(&self) -> Result<Arc<Destination>, Code> {
        let snapshot = self.worker.mesh.snapshot();
        let lane = snapshot.direct(&self.service).ok_or(Code::NoEndpoint)?;
        let first = lane.backends.first().ok_or(Code::NoEndpoint)?;
        if first.destination.endpoints.is_empty() {
            return Err(Code::NoEndpoint);
        }
        Ok(Arc::clone(&first.destination))
    }

    /// Tries a few endpoints, each once.
    async fn try_each(&self) -> Result<Reached, Code> {
        let destination = self.destination()?;
        let series = destination.shared.series.tcp();
        let mut tried = Vec::new();
        while tried.len() < TRIES_MAX.min(destination.endpoints.len()) {
            let mut load = Load::choose(&self.worker, &destination, &tried)?;
            tried.push(load.chosen.index);
            let longest = destination.settings.timeouts.connect;
            let (mesh, protocol) = (&self.worker.mesh, identity::Protocol::Opaque);
            match upstream::connect(mesh, &load.chosen.endpoint, protocol, longest).await {
                Ok(Connected { stream, .. }) => {
                    load.connected();
                    series.opened.inc();
                    return Ok(Reached { stream, series, load });
                }
                Err(error) => {
                    series.failed.inc();
                    load.failed(&error);
                }
            }
        }
        Err(Code::UpstreamUnavailable)
    }
}

/// A connection to an endpoint.
struct Reached {
    stream: Stream,
    series: TcpSeries,
    load: Load,
}

impl Reached {
    fn opened(self, place: Place) -> Opened {
        let Self { stream, series, load } = self;
        Opened { stream, series, load, _place: place }
    }
}

/// A connection to an endpoint, with everything that ends with it.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) stream: Stream,
    pub(crate) series: TcpSeries,
    load: Load,
    _place: Place,
}

impl Opened {
    /// Passes bytes on until both sides have ended; `up` and `down` were read already.
    pub(crate) async fn carry(
        self,
        client: Stream,
        up: &[u8],
        down: &[u8],
        closing: Closing,
    ) -> End {
        let Self { mut stream, series, load, _place } = self;
        let (read, mut write) = client.split();
        let begun = async {
            write.write_all(down).await?;
            write.flush().await?;
            stream.write_all(up).await?;
            stream.flush().await
        };
        if begun.await.is_err() {
            return End::Over;
        }
        let passed = |direction, bytes: usize| match direction {
            Direction::Up => series.up.add(bytes as u64),
            Direction::Down => series.down.add(bytes as u64),
        };
        passed(Direction::Up, up.len());
        passed(Direction::Down, down.len());
        let rules = Rules { idle: load.destination.settings.timeouts.tunnel_idle, closing };
        both_ways(read, &mut write, stream, rules, passed).await
    }
}

/// An endpoint's load by one connection, while it is open.
#[derive(Debug)]
struct Load {
    worker: Arc<Worker>,
    destination: Arc<Destination>,
    chosen: Chosen,
    began: Instant,
    /// How long it took to connect.
    connected_in: Option<Duration>,
    has_failed: bool,
}

impl Load {
    fn choose(
        worker: &Arc<Worker>,
        destination: &Arc<Destination>,
        tried: &[usize],
    ) -> Result<Self, Code> {
        let now = worker.mesh.now();
        let chosen = worker.draw(|random| destination.choose(tried, now, random));
        let chosen = chosen.map_err(|it| it.code())?;
        Ok(Self {
            worker: Arc::clone(worker),
            destination: Arc::clone(destination),
            chosen,
            began: Instant::now(),
            connected_in: None,
            has_failed: false,
        })
    }

    fn connected(&mut self) {
        self.connected_in = Some(self.began.elapsed());
        self.record(Some(Verdict::Success));
    }

    fn failed(mut self, error: &io::Error) {
        let endpoint = self.chosen.endpoint.name();
        tracing::debug!(endpoint, %error, "endpoint could not be reached");
        self.has_failed = true;
        self.record(Some(Verdict::Failure));
    }

    fn record(&self, verdict: Option<Verdict>) {
        let now = self.worker.mesh.now();
        let (endpoint, settings) = (&self.chosen.endpoint, &self.destination.settings.breaker);
        self.worker.draw(|random| {
            endpoint.record(settings, self.chosen.pass, verdict, None, now, random);
        });
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let after = self.began.elapsed();
        // How long a connection lasts says nothing about its endpoint; how long it took to open does.
        let sample = match self.connected_in {
            Some(after) => Sample::Answered(after),
            None if self.has_failed => Sample::Failed { after, retry_after: None },
            None => Sample::Cancelled(after),
        };
        if self.connected_in.is_none() && !self.has_failed {
            self.record(None);
        }
        let balance = &self.destination.settings.balance;
        self.chosen.endpoint.end_load(balance, sample, self.worker.mesh.now());
    }
}
