//! Who comes in.
//!
//! Without a door whoever reaches the port may do everything. With one, a client shows an identity in a
//! handshake, and every request is judged by it; a connection ends with the identities that it was
//! opened under.

use std::{net::IpAddr, sync::Arc, time::Duration};

use identity::Entrance;
use runtime::Shutdown;
use tokio::{io, net::TcpStream, time::timeout};

use crate::{
    connection,
    rights::{Client, PlainClients},
    shared::Shared,
};

/// The first byte of a TLS handshake. A request begins with its length, and none is as long.
const TLS: u8 = 0x16;

/// Lets a client in, and serves it until either side ends it.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    stream: TcpStream,
    from: IpAddr,
    shutdown: Shutdown,
) {
    let Some(door) = shared.door.clone() else {
        return connection::serve(shared, stream.into_split(), Client::Anybody, shutdown).await;
    };
    if door.plain == PlainClients::Trusted && !speaks_tls(&shared, &stream).await {
        return connection::serve(shared, stream.into_split(), Client::Anybody, shutdown).await;
    }
    let entering = door.handshakes.accept(stream, from, Entrance::Log);
    match shutdown.or_cancel(entering).await {
        Some(Ok(known)) => {
            let client = Client::Known { id: known.peer.id.clone(), judge: door.judge };
            let over = door.handshakes.over(known.peer, known.valid_for);
            let halves = io::split(known.stream);
            tokio::select! {
                () = connection::serve(shared, halves, client, shutdown) => {}
                over = over => tracing::debug!(reason = over.as_str(), "a connection was ended"),
            }
        }
        Some(Err(refusal)) => tracing::debug!(%refusal, "a client was not let in"),
        None => {}
    }
}

/// Whether a client begins with a handshake; one that says nothing does not.
async fn speaks_tls(shared: &Shared, stream: &TcpStream) -> bool {
    let mut first = [0];
    let longest = Duration::from_millis(shared.config.idle_timeout_ms);
    matches!(timeout(longest, stream.peek(&mut first)).await, Ok(Ok(1)) if first[0] == TLS)
}
