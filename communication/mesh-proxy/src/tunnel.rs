//! Bytes both ways, for connections that are no HTTP, or no longer.

use std::{io, sync::Arc, time::Duration};

use base::Code;
use mesh_policy::{balance::Sample, breaker::Verdict, destination::Protocol};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{Instant, timeout},
};

use crate::{
    downstream::Closing,
    gate::Place,
    mesh::{
        destination::{Chosen, Destination},
        series::TcpSeries,
    },
    outbound::Outbound,
    stream::{ReadSide, Stream, WriteSide},
    upstream,
};

/// Bytes that one direction holds.
const BUFFER_BYTES: usize = 16 << 10;
/// Endpoints that are tried for one connection.
const TRIES_MAX: usize = 3;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the client.
    Up,
    /// To the client.
    Down,
}

/// Copies until both directions have ended, one has failed, or connections are to end. An end in one
/// direction is passed on and leaves the other open.
pub(crate) async fn both_ways(
    mut client_read: ReadSide,
    client_write: &mut WriteSide,
    server: Stream,
    mut closing: Closing,
    passed: impl Fn(Direction, usize),
) {
    let (mut server_read, mut server_write) = server.split();
    let up = async {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let read = client_read.read(&mut buffer).await?;
            if read == 0 {
                return server_write.shutdown().await;
            }
            server_write.write_all(&buffer[..read]).await?;
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
            passed(Direction::Down, read);
        }
    };
    // A failure on either side ends both: there is nobody left to tell.
    tokio::select! {
        _ended = async { tokio::try_join!(up, down) } => {}
        () = closing.said() => {}
    }
}

/// A service that a door leads bytes to.
#[derive(Debug, Clone)]
pub struct Tunnel {
    outbound: Outbound,
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
    pub(crate) fn of(outbound: &Outbound, service: &str, spoken: Option<Protocol>) -> Option<Self> {
        let snapshot = outbound.mesh().snapshot();
        let behind = snapshot.direct(service)?.backends.first()?.destination.protocol;
        let when = match (spoken, behind) {
            (Some(Protocol::Tcp), _) | (_, Protocol::Tcp) => When::Always,
            (Some(Protocol::Http1 | Protocol::Http2), _) => return None,
            (None, Protocol::Http1 | Protocol::Http2) => When::ServerFirst,
        };
        Some(Self { outbound: outbound.clone(), service: service.to_owned(), when })
    }

    pub(crate) const fn when(&self) -> When {
        self.when
    }

    /// A connection to an endpoint; where one cannot be reached, to another. Cancel-safe.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn open(&self) -> Result<Opened, Code> {
        let opened = self.try_open().await;
        if let Err(code) = opened {
            self.outbound.mesh().refused(&self.service, code);
        }
        opened
    }

    async fn try_open(&self) -> Result<Opened, Code> {
        let snapshot = self.outbound.mesh().snapshot();
        let lane = snapshot.direct(&self.service).ok_or(Code::NoEndpoint)?;
        let destination = &lane.backends.first().ok_or(Code::NoEndpoint)?.destination;
        let wait = destination.settings.concurrency.queue_wait;
        let place = timeout(wait, destination.gate.enter()).await;
        let place = place.map_err(|_| Code::Overloaded)?.map_err(|_| Code::Overloaded)?;
        let series = destination.shared.series.tcp();
        let mut tried = Vec::new();
        while tried.len() < TRIES_MAX.min(destination.endpoints.len()) {
            let mut load = Load::choose(&self.outbound, destination, &tried)?;
            tried.push(load.chosen.index);
            let longest = destination.settings.timeouts.connect;
            match upstream::connect(&load.chosen.endpoint, longest).await {
                Ok(stream) => {
                    load.connected();
                    series.opened.inc();
                    return Ok(Opened { stream, series, _load: load, _place: place });
                }
                Err(error) => {
                    series.failed.inc();
                    load.failed(&error);
                }
            }
        }
        let none = destination.endpoints.is_empty();
        Err(if none { Code::NoEndpoint } else { Code::UpstreamUnavailable })
    }
}

/// A connection to an endpoint, with everything that ends with it.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) stream: Stream,
    pub(crate) series: TcpSeries,
    _load: Load,
    _place: Place,
}

impl Opened {
    /// Passes bytes on until both sides have ended; `up` and `down` were read already.
    pub(crate) async fn carry(self, client: Stream, up: &[u8], down: &[u8], closing: Closing) {
        let Self { mut stream, series, _load, _place } = self;
        let (read, mut write) = client.split();
        let begun = async {
            write.write_all(down).await?;
            stream.write_all(up).await
        };
        if begun.await.is_err() {
            return;
        }
        let passed = |direction, bytes: usize| match direction {
            Direction::Up => series.up.add(bytes as u64),
            Direction::Down => series.down.add(bytes as u64),
        };
        passed(Direction::Up, up.len());
        passed(Direction::Down, down.len());
        both_ways(read, &mut write, stream, closing, passed).await;
    }
}

/// An endpoint's load by one connection, while it is open.
#[derive(Debug)]
struct Load {
    outbound: Outbound,
    destination: Arc<Destination>,
    chosen: Chosen,
    began: Instant,
    /// How long it took to connect.
    connected_in: Option<Duration>,
    has_failed: bool,
}

impl Load {
    fn choose(
        outbound: &Outbound,
        destination: &Arc<Destination>,
        tried: &[usize],
    ) -> Result<Self, Code> {
        let now = outbound.mesh().now();
        let chosen = outbound.draw(|random| destination.choose(tried, now, random));
        let chosen = chosen.map_err(|it| it.code())?;
        Ok(Self {
            outbound: outbound.clone(),
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
        let now = self.outbound.mesh().now();
        let (endpoint, settings) = (&self.chosen.endpoint, &self.destination.settings.breaker);
        self.outbound.draw(|random| {
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
        self.chosen.endpoint.end_load(balance, sample, self.outbound.mesh().now());
    }
}
