//! Server-sent events as a response body: a task writes, the connection reads at its own pace.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes, HttpBody},
    http::{HeaderValue, header},
    response::Response,
};
use serde::Serialize;
use tokio::sync::mpsc;

/// The writing end. The channel holds one event: a slow reader makes the writer wait, and the
/// writer sends what is newest when it is let go, so nothing queues up.
#[derive(Debug)]
pub(crate) struct Writer(mpsc::Sender<Bytes>);

/// The reader is gone.
#[derive(Debug)]
pub(crate) struct Closed;

impl Writer {
    /// Sends one event. Cancel-safe.
    pub(crate) async fn send(&self, name: &str, data: &impl Serialize) -> Result<(), Closed> {
        let Ok(json) = serde_json::to_string(data) else { return Ok(()) };
        let event = format!("event: {name}\ndata: {json}\n\n");
        self.0.send(event.into()).await.map_err(|_| Closed)
    }

    /// Sends a comment, so that a dead connection is noticed.
    pub(crate) async fn ping(&self) -> Result<(), Closed> {
        self.0.send(Bytes::from_static(b": still here\n\n")).await.map_err(|_| Closed)
    }
}

struct Reader(mpsc::Receiver<Bytes>);

impl HttpBody for Reader {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|it| it.map(|bytes| Ok(http_body::Frame::data(bytes))))
    }
}

/// A response that streams, and the end to write to.
pub(crate) fn stream() -> (Writer, Response) {
    let (sender, receiver) = mpsc::channel(1);
    let mut response = Response::new(Body::new(Reader(receiver)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    (Writer(sender), response)
}
