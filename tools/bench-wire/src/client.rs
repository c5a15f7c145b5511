//! The in-process placement: a client library asks from inside this process, and what this process
//! costs is what the library costs. `hyper` alone is the floor that ours is compared with.

use std::{io, net::SocketAddr};

use bytes::Bytes;
use clap::ValueEnum;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, StatusCode, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{self, Instant},
};

use crate::{
    broken,
    exchange::{AUTHORITY, Exchange, HEADERS, PATH},
    say,
    tally::{ANSWER_WITHIN, Tally, Window},
};

/// Which library asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// A bare connection of hyper for each of the callers, on this thread.
    Hyper,
    /// The in-process client of the mesh, every feature on.
    Skein,
}

/// Asks in a closed loop, one caller for each connection; HTTP/1.1, 1 KiB.
pub(crate) async fn run(
    kind: Kind,
    targets: &[SocketAddr],
    connections: usize,
    window: Window,
) -> io::Result<Tally> {
    let mut asking = JoinSet::new();
    match kind {
        Kind::Hyper => {
            for target in targets.iter().cycle().take(connections) {
                asking.spawn(hyper(*target, window));
            }
        }
        // The seam for the mesh's client: callers of one shared client, spread by its balancer.
        Kind::Skein => return Err(broken("not run: the in-process client is not built in yet")),
    }
    time::sleep_until(window.counts_from).await;
    say("measuring");
    let mut all = Tally::new(window);
    while let Some(tally) = asking.join_next().await {
        match tally {
            Ok(tally) => all.add(tally),
            Err(reason) => all.failed(&reason.to_string()),
        }
    }
    Ok(all)
}

async fn hyper(target: SocketAddr, window: Window) -> Tally {
    let mut tally = Tally::new(window);
    if let Err(reason) = hyper_until_the_end(target, window, &mut tally).await {
        tally.failed(&reason.to_string());
    }
    tally
}

async fn hyper_until_the_end(
    target: SocketAddr,
    window: Window,
    tally: &mut Tally,
) -> io::Result<()> {
    let stream = TcpStream::connect(target).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    let mut driving = JoinSet::new();
    driving.spawn(connection);
    let expected = Exchange::Small.reply();
    while window.is_open() {
        let due = Instant::now();
        time::timeout(ANSWER_WITHIN, exchange(&mut sender, &expected)).await??;
        tally.verified(due);
    }
    Ok(())
}

async fn exchange(sender: &mut SendRequest<Empty<Bytes>>, expected: &[u8]) -> io::Result<()> {
    let mut request = Request::get(PATH).header("host", AUTHORITY);
    for (name, value) in HEADERS {
        request = request.header(name, value);
    }
    let request = request.body(Empty::new()).map_err(io::Error::other)?;
    sender.ready().await.map_err(io::Error::other)?;
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    if response.status() != StatusCode::OK {
        return Err(broken(format!("answered {}", response.status())));
    }
    let body = response.into_body().collect().await.map_err(io::Error::other)?;
    if body.to_bytes() != expected {
        return Err(broken("another body"));
    }
    Ok(())
}
