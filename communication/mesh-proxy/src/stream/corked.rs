//! A writer that gathers small writes until it is told to flush.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are gathered. At the bound they go out before more are taken.
const GATHERED_BYTES_MAX: usize = 32 << 10;
/// A write this large goes out as it is: to copy it would cost more than it saves.
const LARGE_BYTES: usize = 8 << 10;

/// A connection whose small writes go out together, when it is flushed.
#[derive(Debug)]
pub(crate) struct Corked<S> {
    inner: S,
    gathered: BytesMut,
}

impl<S: AsyncWrite + Unpin> Corked<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner, gathered: BytesMut::new() }
    }

    fn poll_out(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.gathered.is_empty() {
            let written = Pin::new(&mut self.inner).poll_write(context, &self.gathered);
            match ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.gathered.advance(written),
            }
        }
        // A connection that is quiet holds no buffer.
        self.gathered = BytesMut::new();
        Poll::Ready(Ok(()))
    }

    /// Makes room for so many bytes; whether they are to be gathered.
    fn poll_room(&mut self, context: &mut Context<'_>, bytes: usize) -> Poll<io::Result<bool>> {
        if bytes < LARGE_BYTES && self.gathered.len() + bytes <= GATHERED_BYTES_MAX {
            return Poll::Ready(Ok(true));
        }
        ready!(self.poll_out(context))?;
        Poll::Ready(Ok(bytes < LARGE_BYTES))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Corked<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Corked<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if ready!(this.poll_room(context, bytes.len()))? {
            this.gathered.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut this.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let length = slices.iter().map(|it| it.len()).sum();
        if ready!(this.poll_room(context, length))? {
            for slice in slices {
                this.gathered.extend_from_slice(slice);
            }
            return Poll::Ready(Ok(length));
        }
        Pin::new(&mut this.inner).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_out(context))?;
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_out(context))?;
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn small_writes_wait_for_the_flush_and_all_of_them_arrive_in_order() {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let mut corked = Corked::new(near);
        corked.write_all(b"one ").await.unwrap();
        corked.write_all(b"two ").await.unwrap();
        let mut byte = [0];
        let mut context = Context::from_waker(std::task::Waker::noop());
        let read = Pin::new(&mut far).poll_read(&mut context, &mut ReadBuf::new(&mut byte));
        assert!(read.is_pending(), "nothing went out yet");
        corked.write_all(&vec![b'x'; LARGE_BYTES]).await.unwrap();
        corked.write_all(&[b'y'; 100]).await.unwrap();
        corked.shutdown().await.unwrap();
        drop(corked);
        let mut all = Vec::new();
        far.read_to_end(&mut all).await.unwrap();
        assert_eq!(all.len(), 8 + LARGE_BYTES + 100);
        assert!(all.starts_with(b"one two xx") && all.ends_with(b"yyyy"));
    }
}
