//! The bytes of one HTTP/2 connection: what was read to recognise it comes first, everything that
//! comes in is counted, and what goes out is gathered.
//!
//! The library writes each frame of some size by itself. Gathered until it flushes, which it does at
//! the end of each turn, the answers of many streams cost one system call.

use std::{
    io,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use super::budget::{Flood, FrameBudget};
use crate::stream::{Corked, Stream};

/// Why the wire was cut, for whoever served the connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Verdict(Arc<OnceLock<Flood>>);

impl Verdict {
    pub(super) fn get(&self) -> Option<Flood> {
        self.0.get().copied()
    }
}

/// A connection from which some bytes have been read already.
#[derive(Debug)]
pub(super) struct Wire {
    received: BytesMut,
    stream: Corked<Stream>,
    budget: FrameBudget,
    start: Instant,
    verdict: Verdict,
}

impl Wire {
    pub(super) fn new(stream: Stream, received: BytesMut) -> (Self, Verdict) {
        let verdict = Verdict::default();
        let wire = Self {
            received,
            stream: Corked::new(stream),
            budget: FrameBudget::default(),
            start: Instant::now(),
            verdict: verdict.clone(),
        };
        (wire, verdict)
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.verdict.get().is_some() {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        let before = buffer.filled().len();
        if this.received.is_empty() {
            ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        } else {
            let here = this.received.len().min(buffer.remaining());
            buffer.put_slice(&this.received[..here]);
            this.received.advance(here);
        }
        let counted = this.budget.received(&buffer.filled()[before..], this.start.elapsed());
        Poll::Ready(counted.map_err(|flood| {
            // Told once: after it nothing is read.
            let _told = this.verdict.0.set(flood);
            io::ErrorKind::InvalidData.into()
        }))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        self.budget.sent(written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, slices))?;
        self.budget.sent(written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
