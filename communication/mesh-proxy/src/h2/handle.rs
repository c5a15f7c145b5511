//! How the rest of the program holds a connection and its streams.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::Notify;

use super::{
    block::Response,
    connection::{Connection, Then},
    frame::Reason,
    stream::Reset,
};
use crate::body::BodyError;

/// A connection that several hold: whoever moves its bytes, and a handle for each stream.
#[derive(Debug)]
pub(crate) struct Shared {
    connection: Mutex<Connection>,
    /// A stream has ended: there may be room for another, on this connection or on one beside it.
    room: Arc<Notify>,
}

impl Shared {
    /// A connection that says by `room` when one of its streams has ended.
    pub(crate) fn new(connection: Connection, room: Arc<Notify>) -> Arc<Self> {
        Arc::new(Self { connection: Mutex::new(connection), room })
    }

    /// Never held over a wait.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic in the machine is a defect that must not spread to the other streams.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There may be room, or never again: who waits for it looks.
    pub(crate) fn tell_room(&self) {
        self.room.notify_waiters();
    }
}

/// A stream. Dropped before it is over, it is reset.
#[derive(Debug)]
pub(crate) struct Handle {
    shared: Arc<Shared>,
    id: u32,
}

impl Handle {
    /// A stream that the other end has opened.
    pub(crate) fn accepted(shared: Arc<Shared>, id: u32) -> Self {
        Self { shared, id }
    }

    /// A new stream with the fields that `write` appends; `None` where there is no room.
    pub(crate) fn open(
        shared: &Arc<Shared>,
        is_head_request: bool,
        then: Then,
        write: impl FnOnce(&mut bytes::BytesMut),
    ) -> Option<Self> {
        let mut connection = shared.lock();
        if !connection.has_room() {
            return None;
        }
        let id = connection.request(is_head_request, then, write);
        drop(connection);
        Some(Self { shared: Arc::clone(shared), id })
    }

    pub(crate) fn respond(&self, then: Then, write: impl FnOnce(&mut bytes::BytesMut)) {
        self.shared.lock().respond(self.id, then, write);
    }

    pub(crate) fn trailers(&self, trailers: &HeaderMap) {
        self.shared.lock().trailers(self.id, trailers);
    }

    pub(crate) fn poll_data(
        &self,
        data: &mut Bytes,
        then: Then,
        context: &Context<'_>,
    ) -> Poll<Result<(), Reset>> {
        self.shared.lock().poll_data(self.id, data, then, context)
    }

    pub(crate) fn poll_response(&self, context: &Context<'_>) -> Poll<Result<Response, Reset>> {
        self.shared.lock().poll_response(self.id, context)
    }

    pub(crate) fn poll_reset(&self, context: &Context<'_>) -> Poll<Reset> {
        self.shared.lock().poll_reset(self.id, context)
    }

    /// What the other end sends, for as long as this handle lives.
    pub(crate) fn incoming(&self) -> Incoming {
        Incoming { shared: Arc::clone(&self.shared), id: self.id }
    }

    /// Ends the stream at once, where it is not over.
    pub(crate) fn reset(&self, reason: Reason) {
        self.shared.lock().reset(self.id, reason);
    }

    /// Whether all that the other end sends was taken, and it was right.
    pub(crate) fn is_taken(&self) -> bool {
        self.shared.lock().is_taken(self.id)
    }

    pub(crate) fn poll_piece(
        &self,
        context: &Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        poll_piece(&self.shared, self.id, context)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.lock().drop_stream(self.id);
        self.shared.tell_room();
    }
}

/// The body that the other end sends on a stream. Once nobody holds the stream, it is cut.
#[derive(Debug)]
pub(crate) struct Incoming {
    shared: Arc<Shared>,
    id: u32,
}

impl Incoming {
    /// Tells a client that waits for a word that it may send its body.
    pub(crate) fn go_on(&self) {
        self.shared.lock().go_on(self.id);
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        poll_piece(&self.shared, self.id, context)
    }

    fn is_end_stream(&self) -> bool {
        self.shared.lock().is_taken(self.id)
    }

    fn size_hint(&self) -> SizeHint {
        let length = self.shared.lock().length_left(self.id);
        length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

fn poll_piece(
    shared: &Shared,
    id: u32,
    context: &Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
    shared.lock().poll_piece(id, context).map_err(|reset| match reset {
        Reset::Ours(_) => BodyError::Malformed("its stream breaks the rules of HTTP/2"),
        Reset::Theirs(_) | Reset::Lost | Reset::Unprocessed => BodyError::Cut,
    })
}
