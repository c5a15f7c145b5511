//! Connections whose bytes are passed on as they are.

use bytes::{Bytes, BytesMut};
use std::future::poll_fn;

use super::{Handler, Site};
use crate::{
    closing::Closing,
    stream::{READ_BYTES, Stream, poll_fill},
    tunnel::{End, Opened, Tunnel},
};

/// A tunnel whose server has spoken first.
#[derive(Debug)]
pub(super) struct Greeted {
    opened: Opened,
    greeting: Bytes,
}

/// Passes bytes on from the first one.
pub(super) async fn serve<H: Handler>(
    site: &Site<H>,
    stream: Stream,
    tunnel: &Tunnel,
    mut closing: Closing,
) {
    let opened = tokio::select! {
        opened = tunnel.open() => opened,
        () = closing.said() => return,
    };
    match opened {
        Ok(opened) => {
            let end = opened.carry(stream, &[], &[], closing).await;
            count(site, end);
        }
        // There is no word for it: the connection ends.
        Err(code) => site.counts.ended(code.as_str()),
    }
}

fn count<H: Handler>(site: &Site<H>, end: End) {
    if end == End::Idle {
        site.counts.ended("tunnel_idle");
    }
}

impl Greeted {
    /// Connects and waits for the server's first bytes; `None` where it ends or cannot be reached.
    /// Dropped, it closes the connection.
    pub(super) async fn wait(tunnel: &Tunnel) -> Option<Self> {
        let mut opened = tunnel.open().await.ok()?;
        let mut greeting = BytesMut::new();
        let stream = &mut opened.stream;
        let read = poll_fn(|context| poll_fill(stream, context, &mut greeting, READ_BYTES)).await;
        let greeting = greeting.freeze();
        read.is_ok_and(|it| it > 0).then_some(Self { opened, greeting })
    }

    pub(super) async fn carry<H: Handler>(self, site: &Site<H>, stream: Stream, closing: Closing) {
        let end = self.opened.carry(stream, &[], &self.greeting, closing).await;
        count(site, end);
    }
}
