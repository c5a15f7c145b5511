//! Listening and accepting. A failed accept never ends the loop.

use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use identity::{Entrance, Handshakes, Known, Over};
use runtime::{Shutdown, Tasks};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::{Handler, Site, detect, doors::Place};
use crate::{closing::Closing, head::Peer, stream::Stream};

/// Connections that the kernel holds for us.
const BACKLOG: u32 = 1_024;
/// Wait after a failed accept, which means that file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Wait when every place is busy.
const FULL_PAUSE: Duration = Duration::from_millis(5);

/// Whether several threads of one process listen on the same port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sharing {
    /// The port is ours alone; a second listener fails to start.
    #[default]
    Exclusive,
    /// `SO_REUSEPORT`: the kernel spreads connections over the workers.
    Workers,
}

/// Binds an address.
///
/// # Errors
/// The address cannot be listened on; most often another process has the port.
pub fn listen(address: SocketAddr, sharing: Sharing) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    if sharing == Sharing::Workers {
        socket.set_reuseport(true)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts until the tasks are told to stop, and `drain_delay` longer: a balancer learns late. Then
/// the listener closes, requests in flight end, waiting connections end.
pub fn serve<H: Handler>(
    site: Arc<Site<H>>,
    listener: TcpListener,
    drain_delay: Duration,
    tasks: &Tasks,
) {
    let (name, owner) = (site.name, tasks.clone());
    tasks.spawn(name, move |shutdown| accept_all(site, listener, drain_delay, owner, shutdown));
}

async fn accept_all<H: Handler>(
    site: Arc<Site<H>>,
    listener: TcpListener,
    drain_delay: Duration,
    tasks: Tasks,
    shutdown: Shutdown,
) {
    let (closing, closed) = watch::channel(false);
    let entry = Entry { site, listener, tasks, closed: Closing::of(closed) };
    entry.accept_until(shutdown.cancelled()).await;
    entry.accept_until(sleep_until(Instant::now() + drain_delay)).await;
    closing.send_replace(true);
}

struct Entry<H> {
    site: Arc<Site<H>>,
    listener: TcpListener,
    tasks: Tasks,
    closed: Closing,
}

impl<H: Handler> Entry<H> {
    async fn accept_until(&self, end: impl Future<Output = ()>) {
        let mut end = pin!(end);
        loop {
            // Cancel-safe: an accepted connection is returned by the poll that accepts it.
            tokio::select! {
                () = end.as_mut() => return,
                accepted = self.accept() => match accepted {
                    Ok((stream, peer, place)) => self.serve(stream, peer, place),
                    Err(error) => {
                        tracing::warn!(listener = self.site.name, %error, "accept failed");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }

    /// The place is taken first: when all are busy, connections wait in the kernel.
    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr, Place)> {
        // A connection must be there before anybody gives way to it.
        let (stream, peer) = self.listener.accept().await?;
        loop {
            if let Some(place) = self.site.doors.enter() {
                return Ok((stream, peer, place));
            }
            sleep(FULL_PAUSE).await;
        }
    }

    fn serve(&self, stream: TcpStream, peer: SocketAddr, place: Place) {
        let (site, closed) = (Arc::clone(&self.site), self.closed.clone());
        self.tasks.spawn("http connection", move |_| async move {
            site.counts.open.add(1.0);
            match site.handshakes.clone() {
                Some(handshakes) => {
                    serve_known(&site, &handshakes, stream, peer, place, closed).await;
                }
                None => {
                    if let Ok(stream) = Stream::plain(stream) {
                        let peer = Peer { address: peer, identity: None };
                        detect::serve(&site, stream, peer, place, closed).await;
                    }
                }
            }
            site.counts.open.add(-1.0);
        });
    }
}

/// Serves a client that shows who it is, for as long as it is that.
async fn serve_known<H: Handler>(
    site: &Arc<Site<H>>,
    handshakes: &Handshakes,
    stream: TcpStream,
    address: SocketAddr,
    place: Place,
    mut closed: Closing,
) {
    // Answers are small pieces; waiting for more of them only delays. A connection that is gone says so.
    let _gone = stream.set_nodelay(true);
    let known = tokio::select! {
        known = handshakes.accept(stream, address.ip(), Entrance::Service) => known,
        () = place.told_to_go() => return site.counts.ended("gave_way"),
        () = closed.said() => return,
    };
    // Why it was refused is counted where it was judged.
    let Ok(Known { stream, peer, valid_for, .. }) = known else { return };
    let standing = handshakes.clone().over(peer.clone(), valid_for);
    let peer = Peer { address, identity: Some(Arc::new(peer.id)) };
    let (ending, ends) = watch::channel(false);
    let over = async {
        tokio::select! {
            () = closed.said() => {}
            // A connection that stood on would outlive the identities that it was opened under.
            over = standing => {
                site.counts.ended(over.as_str());
                if over == Over::Denied {
                    return;
                }
            }
        }
        ending.send_replace(true);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = detect::serve(site, Stream::known(stream), peer, place, Closing::of(ends)) => {}
        // Dropped, everything that was under way for it ends with it.
        () = over => {}
    }
}
