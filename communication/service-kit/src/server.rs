//! Listeners and connections: HTTP/1.1 with keep-alive, bounded, ended in order.
//!
//! Ending: `/readyz` says no first; connections are still accepted for a short while, because a
//! balancer learns late; then the listener closes, requests in flight finish, idle connections end.

use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::response::Response;
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use runtime::{Shutdown, Tasks};
use telemetry::metrics::Gauge;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::{
    config::{Limits, PortSharing},
    stack::{Dropped, Stack},
    system::System,
};

/// Connections that the kernel holds for us while we are at our limit.
const BACKLOG: u32 = 1_024;
/// Wait after a failed accept, which means that file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What one listener serves.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) name: &'static str,
    pub(crate) stack: Stack,
    pub(crate) system: System,
    pub(crate) limits: Limits,
    pub(crate) drain_delay: Duration,
    pub(crate) connections: Gauge,
}

/// Binds the address and serves until the tasks are told to stop. Answers the address it got.
pub(crate) fn listen(
    site: Arc<Site>,
    address: SocketAddr,
    sharing: PortSharing,
    tasks: &Tasks,
) -> io::Result<SocketAddr> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    if sharing == PortSharing::Replicas {
        socket.set_reuseport(true)?;
    }
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?;
    let bound = listener.local_addr()?;
    let (name, owner) = (site.name, tasks.clone());
    tasks.spawn(name, move |shutdown| accept_all(site, listener, owner, shutdown));
    Ok(bound)
}

async fn accept_all(site: Arc<Site>, listener: TcpListener, tasks: Tasks, shutdown: Shutdown) {
    let (closing, closed) = watch::channel(false);
    let doors = Doors {
        places: Arc::new(Semaphore::new(site.limits.connections_max.min(Semaphore::MAX_PERMITS))),
        site,
        listener,
        tasks,
        closed,
    };
    doors.accept_until(shutdown.cancelled()).await;
    doors.site.system.health.begin_draining();
    doors.accept_until(sleep_until(Instant::now() + doors.site.drain_delay)).await;
    closing.send_replace(true);
}

struct Doors {
    site: Arc<Site>,
    listener: TcpListener,
    tasks: Tasks,
    places: Arc<Semaphore>,
    closed: watch::Receiver<bool>,
}

impl Doors {
    async fn accept_until(&self, end: impl Future<Output = ()>) {
        let mut end = pin!(end);
        loop {
            // Cancel-safe: an accepted connection is returned by the poll that accepts it.
            tokio::select! {
                () = end.as_mut() => return,
                accepted = self.accept() => match accepted {
                    Ok((stream, place)) => self.serve(stream, place),
                    Err(error) => {
                        tracing::warn!(listener = self.site.name, %error, "accept failed");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }

    /// The place is taken first: at the limit, connections wait in the kernel.
    async fn accept(&self) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(io::Error::other)?;
        let (stream, _peer) = self.listener.accept().await?;
        Ok((stream, place))
    }

    fn serve(&self, stream: TcpStream, place: OwnedSemaphorePermit) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "connection was gone before it was served");
            return;
        }
        let (site, closed) = (Arc::clone(&self.site), self.closed.clone());
        self.tasks.spawn("http connection", move |_| async move {
            site.connections.add(1.0);
            serve_connection(&site, stream, closed).await;
            site.connections.add(-1.0);
            drop(place);
        });
    }
}

async fn serve_connection(site: &Arc<Site>, stream: TcpStream, mut closed: watch::Receiver<bool>) {
    let shared = Arc::clone(site);
    let service = service_fn(move |request| {
        let site = Arc::clone(&shared);
        async move { site.answer(request).await }
    });
    let limits = &site.limits;
    // Hyper's own limits stand a little above ours: ours answer with a problem, its with a bare
    // status, and beyond both nothing is read.
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(limits.head_timeout_ms))
        .max_buf_size((limits.header_bytes_max + limits.target_bytes_max).max(8 << 10) * 2)
        .max_headers(limits.header_fields_max * 2)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = until_closed(&mut closed) => {
            connection.as_mut().graceful_shutdown();
            // A stream without an end would keep the process alive: it gets a request's time.
            let grace = Duration::from_millis(limits.request_timeout_ms);
            timeout(grace, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        // Callers that vanish or send nonsense are no event for an operator.
        tracing::debug!(listener = site.name, %error, "connection ended early");
    }
}

/// Waits for the word, or for the end of whoever would give it. Cancel-safe.
async fn until_closed(closed: &mut watch::Receiver<bool>) {
    while !*closed.borrow_and_update() {
        if closed.changed().await.is_err() {
            return;
        }
    }
}

impl Site {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response, Dropped> {
        // Health and metrics stand outside every cap: an overloaded process is alive.
        match self.system.answer(&request).await {
            Some(response) => Ok(response),
            None => self.stack.answer(request).await,
        }
    }
}
