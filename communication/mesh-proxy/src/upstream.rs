//! Connections to endpoints: made within a bound, kept while they rest, one request at a time on
//! HTTP/1 and many on HTTP/2.

pub(crate) mod h1;
pub(crate) mod h2;
mod pool;

use std::{io, time::Duration};

use identity::{Known, Protocol, Refusal};
use tokio::{net::TcpStream, time::timeout};

pub(crate) use pool::{Pool, Rested};

use crate::{
    mesh::{
        Mesh,
        endpoint::{Endpoint, Who},
    },
    stream::{Standing, Stream},
};

/// A new connection.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) stream: Stream,
    /// Both identities are good for so long; `None` where none was shown.
    pub(crate) valid_for: Option<Duration>,
}

/// A new connection to an endpoint, on which it has proved who it must be. Cancel-safe.
///
/// # Errors
/// The endpoint refuses, is not there, or does not answer within `longest` (zero: for ever); or it is
/// not who it must be, which [`refusal_of`] tells.
pub(crate) async fn connect(
    mesh: &Mesh,
    endpoint: &Endpoint,
    protocol: Protocol,
    longest: Duration,
) -> io::Result<Connected> {
    let connecting = connect_at_leisure(mesh, endpoint, protocol);
    if longest.is_zero() {
        return connecting.await;
    }
    timeout(longest, connecting).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn connect_at_leisure(
    mesh: &Mesh,
    endpoint: &Endpoint,
    protocol: Protocol,
) -> io::Result<Connected> {
    let service = match &endpoint.target().who {
        Who::Anybody => {
            let stream = Stream::connect(endpoint.address()).await?;
            return Ok(Connected { stream, valid_for: None });
        }
        Who::Proved(service) => service,
        Who::Named(name) => {
            // As below: without anybody to believe nobody is called.
            let trust = mesh.public_trust().ok_or_else(|| refused(Refusal::NoIdentity))?;
            let stream = TcpStream::connect(endpoint.address()).await?;
            stream.set_nodelay(true)?;
            let stream = trust.connect(stream, name).await.map_err(refused)?;
            return Ok(Connected { stream: Stream::known(stream), valid_for: None });
        }
        Who::Nobody => return Err(refused(Refusal::MalformedName)),
    };
    // Closed rather than open: who has nothing to show does not ask in plain text instead.
    let handshakes = mesh.handshakes().ok_or_else(|| refused(Refusal::NoIdentity))?;
    let stream = TcpStream::connect(endpoint.address()).await?;
    stream.set_nodelay(true)?;
    let known = handshakes.connect(stream, service, protocol).await.map_err(refused)?;
    let Known { stream, peer, valid_for, .. } = known;
    let standing = Standing::of(handshakes.clone().over(peer, valid_for));
    Ok(Connected { stream: Stream::proved(stream, standing), valid_for: Some(valid_for) })
}

/// Why identities stood in the way, where it was that.
pub(crate) fn refusal_of(error: &io::Error) -> Option<Refusal> {
    error.get_ref()?.downcast_ref::<Refusal>().copied()
}

pub(crate) fn refused(refusal: Refusal) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, refusal)
}
