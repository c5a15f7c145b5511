//! Listening and accepting. A failed accept never ends the loop.

use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use identity::{Handshakes, Known, Over, PublicHandshakes, SpiffeId};
use runtime::{Shutdown, Tasks};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::{Entrance, Handler, Site, detect, doors::Place};
use crate::{
    closing::Closing,
    head::{Peer, Transport},
    stream::{Standing, Stream},
};

/// Connections that the kernel holds for us.
const BACKLOG: u32 = 1_024;
/// Wait after a failed accept, which means that file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// What a panic of a connection's task is logged under.
const TASK: &str = "http connection";
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

    /// Two kinds of task, so that a connection that shows nothing has no room for what it would show.
    fn serve(&self, stream: TcpStream, peer: SocketAddr, place: Place) {
        let (site, closed) = (Arc::clone(&self.site), self.closed.clone());
        match site.entrance.clone() {
            Entrance::Known(handshakes) => self.tasks.spawn(TASK, move |_| async move {
                site.counts.open.add(1.0);
                serve_known(&site, &handshakes, stream, peer, place, closed).await;
                site.counts.open.add(-1.0);
            }),
            Entrance::Public(handshakes) => self.tasks.spawn(TASK, move |_| async move {
                site.counts.open.add(1.0);
                serve_public(&site, &handshakes, stream, peer, place, closed).await;
                site.counts.open.add(-1.0);
            }),
            Entrance::Plain => self.tasks.spawn(TASK, move |_| async move {
                site.counts.open.add(1.0);
                if let Ok(stream) = Stream::plain(stream) {
                    let transport = Transport::Plain;
                    let peer = Peer { address: peer, identity: None, transport };
                    detect::serve(&site, stream, peer, place, closed).await;
                }
                site.counts.open.add(-1.0);
            }),
        }
    }
}

/// Serves a client that shows nothing, once the connection is one that nobody listens to.
async fn serve_public<H: Handler>(
    site: &Arc<Site<H>>,
    handshakes: &PublicHandshakes,
    stream: TcpStream,
    address: SocketAddr,
    place: Place,
    mut closed: Closing,
) {
    let stream = tokio::select! {
        // Boxed, as the handshake of a client that shows who it is.
        stream = Box::pin(presenting(handshakes, stream, address)) => stream,
        () = place.told_to_go() => return site.counts.ended("gave_way"),
        () = closed.said() => return,
    };
    // Why it was refused is counted where it was judged.
    let Some(stream) = stream else { return };
    let peer = Peer { address, identity: None, transport: Transport::Tls };
    detect::serve(site, stream, peer, place, closed).await;
}

async fn presenting(
    handshakes: &PublicHandshakes,
    stream: TcpStream,
    address: SocketAddr,
) -> Option<Stream> {
    let _gone = stream.set_nodelay(true);
    handshakes.accept(stream, address.ip()).await.ok().map(Stream::known)
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
    let known = tokio::select! {
        // Boxed, so that nothing of the handshake is held once it is over.
        known = Box::pin(knowing(handshakes, stream, address)) => known,
        () = place.told_to_go() => return site.counts.ended("gave_way"),
        () = closed.said() => return,
    };
    // Why it was refused is counted where it was judged.
    let Some((stream, id, standing)) = known else { return };
    let peer = Peer { address, identity: Some(id), transport: Transport::Tls };
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
        () = detect::serve(site, stream, peer, place, Closing::of(ends)) => {}
        // Dropped, everything that was under way for it ends with it.
        () = over => {}
    }
}

/// The handshake: the connection, who the client is, and what resolves when it may stand no longer.
async fn knowing(
    handshakes: &Handshakes,
    stream: TcpStream,
    address: SocketAddr,
) -> Option<(Stream, Arc<SpiffeId>, Standing)> {
    // Answers are small pieces; waiting for more of them only delays. A connection that is gone says so.
    let _gone = stream.set_nodelay(true);
    let known = handshakes.accept(stream, address.ip(), identity::Entrance::Service).await;
    let Known { stream, peer, valid_for, .. } = known.ok()?;
    let standing = Standing::of(handshakes.clone().over(peer.clone(), valid_for));
    Some((Stream::known(stream), Arc::new(peer.id), standing))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        body::{RequestBody, Upload},
        head::RequestHead,
        reply::Reply,
    };

    struct Nobody;

    impl Handler for Nobody {
        async fn handle<B: RequestBody>(
            &self,
            _head: RequestHead,
            _peer: Peer,
            _upload: &mut Upload<B>,
        ) -> Reply {
            Reply::reset()
        }
    }

    /// What a task of this kind takes for as long as its connection is open.
    fn bytes_of<A, F: Future>(_task: impl FnOnce(A) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_connection_that_waits_holds_nothing_of_requests_handshakes_and_rare_ways() {
        type Plain<'a> = (&'a Arc<Site<Nobody>>, Stream, Peer, Place, Closing);
        let plain = bytes_of(|(site, stream, peer, place, closing): Plain<'static>| {
            detect::serve(site, stream, peer, place, closing)
        });
        assert!(plain <= 2 << 10, "{plain} bytes");
        type Known<'a> = (&'a Arc<Site<Nobody>>, &'a Handshakes, TcpStream, Place, Closing);
        let known = bytes_of(|(site, handshakes, stream, place, closing): Known<'static>| {
            let address = SocketAddr::from(([127, 0, 0, 1], 0));
            serve_known(site, handshakes, stream, address, place, closing)
        });
        assert!(known <= 3 << 10, "{known} bytes");
        type Public<'a> = (&'a Arc<Site<Nobody>>, &'a PublicHandshakes, TcpStream, Place, Closing);
        let public = bytes_of(|(site, handshakes, stream, place, closing): Public<'static>| {
            let address = SocketAddr::from(([127, 0, 0, 1], 0));
            serve_public(site, handshakes, stream, address, place, closing)
        });
        assert!(public <= 3 << 10, "{public} bytes");
    }
}
