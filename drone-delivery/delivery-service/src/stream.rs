//! Events of one delivery as they happen: server-sent events, resumed by the event's number.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    response::Response,
};
use contracts::shipping::DeliveryEvent;
use http::{HeaderValue, header};
use http_body::Frame;
use runtime::Shutdown;
use store::Store;
use tokio::sync::{mpsc, watch};

use crate::store as table;

/// Another process may have made the change: look without being told.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Tells readers that something changed in this process; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Changes(watch::Sender<()>);

impl Default for Changes {
    fn default() -> Self {
        Self(watch::Sender::new(()))
    }
}

impl Changes {
    /// Something changed.
    pub(crate) fn notify(&self) {
        self.0.send_replace(());
    }
}

struct Reader(mpsc::Receiver<Bytes>);

impl HttpBody for Reader {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|it| it.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// A response that streams, and the end to write to. The channel holds one event: a slow reader
/// makes the writer wait, and nothing queues up.
pub(crate) fn open() -> (mpsc::Sender<Bytes>, Response) {
    let (sender, receiver) = mpsc::channel(1);
    let mut response = Response::new(Body::new(Reader(receiver)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    (sender, response)
}

/// Writes every event after `seen` until the delivery is over, the reader leaves or the service
/// stops.
pub(crate) async fn feed(
    store: Store,
    changes: Changes,
    id: String,
    mut seen: u64,
    sender: mpsc::Sender<Bytes>,
    shutdown: Shutdown,
) {
    let mut changed = changes.0.subscribe();
    loop {
        let (delivery, after) = (id.clone(), seen);
        let Ok(newer) = store.read(move |it| table::events(it, &delivery, after)).await else {
            return;
        };
        for event in &newer {
            if sender.send(frame(event)).await.is_err() || event.stage.is_end() {
                return;
            }
            seen = event.sequence;
        }
        // An error cannot come: `changes` holds the sender. Either way it is time to look.
        let wait = tokio::time::timeout(LOOK_EVERY, changed.changed());
        tokio::select! {
            () = sender.closed() => return,
            waited = shutdown.or_cancel(wait) => if waited.is_none() { return },
        }
    }
}

fn frame(event: &DeliveryEvent) -> Bytes {
    let name = contracts::shipping::delivery_event_type(event.stage).name;
    // Text, numbers and options always serialize.
    let data = serde_json::to_string(event).unwrap_or_default();
    format!("id: {}\nevent: {name}\ndata: {data}\n\n", event.sequence).into()
}
