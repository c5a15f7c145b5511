//! Who comes in.
//!
//! Without a door whoever reaches the port may do everything. With one, a client shows an identity in a
//! handshake, or says a name and a secret inside it where there are users, and every request is judged by
//! that; a connection ends with what it was opened under.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use identity::{Entrance, Known, Over, Refusal, TlsStream, Visitor};
use runtime::Shutdown;
use tokio::{io, net::TcpStream, time::timeout};

use crate::{
    connection,
    rights::{Client, LogDoor, PlainClients},
    session::{Entered, Session},
    shared::Shared,
    users::Users,
};

/// The first byte of a TLS handshake. A request begins with its length, and none is as long.
const TLS: u8 = 0x16;

/// Lets a client in, and serves it until either side ends it.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    stream: TcpStream,
    from: SocketAddr,
    shutdown: Shutdown,
) {
    let Some(door) = shared.door.clone() else {
        // A secret in plain text stays on this machine.
        let entered = match shared.users.clone().filter(|_| from.ip().to_canonical().is_loopback())
        {
            Some(users) => Entered::Unasked { users, from },
            None => Entered::As(Client::Anybody { from }),
        };
        return carry(shared, stream.into_split(), (entered, from), shutdown).await;
    };
    if door.plain == PlainClients::Trusted && !speaks_tls(&shared, &stream).await {
        let entered = Entered::As(Client::Anybody { from });
        return carry(shared, stream.into_split(), (entered, from), shutdown).await;
    }
    // As long as there are no users a handshake without a certificate fails.
    let refused = match shared.users.clone().filter(|it| !it.is_empty()) {
        None => {
            let entering = door.handshakes.accept(stream, from.ip(), Entrance::Log);
            match shutdown.or_cancel(entering).await {
                Some(Ok(known)) => return serve_known(shared, door, (known, from), shutdown).await,
                Some(Err(refusal)) => Some(refusal),
                None => None,
            }
        }
        Some(users) => {
            let entering = door.handshakes.hear(stream, from.ip(), Entrance::LogOfOthers);
            match shutdown.or_cancel(entering).await {
                Some(Ok(Visitor::Known(known))) => {
                    return serve_known(shared, door, (known, from), shutdown).await;
                }
                Some(Ok(Visitor::Stranger { stream, .. })) => {
                    return serve_stranger(shared, door, (users, from), stream, shutdown).await;
                }
                Some(Err(refusal)) => Some(refusal),
                None => None,
            }
        }
    };
    told(refused);
}

fn told(refused: Option<Refusal>) {
    if let Some(refusal) = refused {
        tracing::debug!(%refusal, "a client was not let in");
    }
}

/// Serves who has shown an identity, for as long as both are good.
async fn serve_known(
    shared: Arc<Shared>,
    door: LogDoor,
    (known, from): (Known<TcpStream>, SocketAddr),
    shutdown: Shutdown,
) {
    let client = Client::Known { id: known.peer.id.clone(), judge: door.judge };
    let over = door.handshakes.over(known.peer, known.valid_for);
    let entered = (Entered::As(client), from);
    let serving = carry(shared, io::split(known.stream), entered, shutdown);
    tokio::select! {
        () = serving => {}
        over = over => tracing::debug!(reason = Over::as_str(over), "a connection was ended"),
    }
}

/// Serves who is to say who he is. There are few places for those, and who comes takes that of one who has
/// been silent for long: nobody keeps others out by saying nothing.
async fn serve_stranger(
    shared: Arc<Shared>,
    door: LogDoor,
    (users, from): (Users, SocketAddr),
    stream: TlsStream<TcpStream>,
    shutdown: Shutdown,
) {
    let place = shared.strangers.enter(from.ip());
    let entered = Entered::Stranger { users, judge: door.judge, place };
    carry(shared, io::split(stream), (entered, from), shutdown).await;
}

async fn carry(
    shared: Arc<Shared>,
    halves: (impl io::AsyncRead + Unpin, impl io::AsyncWrite + Unpin),
    (entered, from): (Entered, SocketAddr),
    shutdown: Shutdown,
) {
    let session = Session::new(entered, from.ip().to_canonical(), shared.metrics.clone());
    // Boxed: it is large, and held by all of the above.
    Box::pin(connection::serve(shared, halves, session, shutdown)).await;
}

/// Whether a client begins with a handshake; one that says nothing does not.
async fn speaks_tls(shared: &Shared, stream: &TcpStream) -> bool {
    let mut first = [0];
    let longest = Duration::from_millis(shared.config.idle_timeout_ms);
    matches!(timeout(longest, stream.peek(&mut first)).await, Ok(Ok(1)) if first[0] == TLS)
}
