//! Connections to endpoints: made within a bound, kept while they rest, one request at a time on
//! HTTP/1 and many on HTTP/2.

pub(crate) mod h1;
pub(crate) mod h2;
mod pool;

use std::{io, time::Duration};

use tokio::time::timeout;

pub(crate) use pool::{Pool, Rested};

use crate::{mesh::endpoint::Endpoint, stream::Stream};

/// A new connection to an endpoint. The seam where TLS and identity will stand. Cancel-safe.
///
/// # Errors
/// The endpoint refuses, is not there, or does not answer within `longest` (zero: for ever).
pub(crate) async fn connect(endpoint: &Endpoint, longest: Duration) -> io::Result<Stream> {
    let connecting = Stream::connect(endpoint.address());
    if longest.is_zero() {
        return connecting.await;
    }
    timeout(longest, connecting).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
