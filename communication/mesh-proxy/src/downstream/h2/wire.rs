//! The bytes of one HTTP/2 connection: what was read to recognise it comes first, everything that
//! comes in is counted, and what goes out is gathered.
//!
//! The library writes each frame of some size by itself. Gathered until it flushes, which it does at
//! the end of each turn, the answers of many streams cost one system call.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use super::budget::{Flood, FrameBudget};
use crate::stream::{Corked, Stream};

/// What came over a wire, for whoever serves the connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Watched(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    budget: FrameBudget,
    flood: Option<Flood>,
}

impl Watched {
    /// Why it was cut, where it was.
    pub(super) fn flood(&self) -> Option<Flood> {
        self.lock().flood
    }

    /// What a bound of the library was most likely passed by.
    pub(super) fn suspect(&self) -> Flood {
        self.lock().budget.suspect()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        // Counters that a panic leaves behind are still counters.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection from which some bytes have been read already.
#[derive(Debug)]
pub(super) struct Wire {
    received: BytesMut,
    stream: Corked<Stream>,
    start: Instant,
    watched: Watched,
}

impl Wire {
    pub(super) fn new(stream: Stream, received: BytesMut) -> (Self, Watched) {
        let watched = Watched::default();
        let wire = Self {
            received,
            stream: Corked::new(stream),
            start: Instant::now(),
            watched: watched.clone(),
        };
        (wire, watched)
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        if this.received.is_empty() {
            ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        } else {
            let here = this.received.len().min(buffer.remaining());
            buffer.put_slice(&this.received[..here]);
            this.received.advance(here);
        }
        let mut seen = this.watched.lock();
        let counted = seen.budget.received(&buffer.filled()[before..], this.start.elapsed());
        Poll::Ready(counted.map_err(|flood| {
            seen.flood = Some(flood);
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
        self.watched.lock().budget.sent(written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, slices))?;
        self.watched.lock().budget.sent(written);
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
