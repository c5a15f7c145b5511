//! Reads in large pieces what the TLS library asks for in small ones.
//!
//! It asks for 4 KiB at a time (`READ_SIZE` in rustls 0.23), so that a body of 100 KiB would cost 26 system
//! calls. The first piece goes straight through: a short message costs nothing more. Where that was filled
//! more is likely there, and the next read takes all of it at once, into a buffer that stands for as long
//! as something is in it.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

/// Bytes of a read where more is likely there: four records of TLS.
const AHEAD_BYTES: usize = 64 << 10;

/// A connection under TLS.
pub type TlsStream<S> = tokio_rustls::TlsStream<ReadAhead<S>>;

/// A stream below a TLS connection.
#[derive(Debug)]
pub struct ReadAhead<S> {
    stream: S,
    /// What was read and not asked for yet.
    ahead: BytesMut,
    /// Whether the last read was filled.
    has_more: bool,
}

impl<S> ReadAhead<S> {
    pub(crate) fn of(stream: S) -> Self {
        Self { stream, ahead: BytesMut::new(), has_more: false }
    }

    /// The stream itself.
    pub const fn get_ref(&self) -> &S {
        &self.stream
    }

    /// Whether something was read that nobody has asked for yet.
    #[must_use]
    pub fn has_ahead(&self) -> bool {
        !self.ahead.is_empty()
    }
}

impl<S: AsyncRead + Unpin> ReadAhead<S> {
    fn read_ahead(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.has_more = false;
        let mut ahead = BytesMut::with_capacity(AHEAD_BYTES);
        let count = ready!(poll_read_buf(Pin::new(&mut self.stream), context, &mut ahead))?;
        self.has_more = count == AHEAD_BYTES;
        self.ahead = ahead;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadAhead<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        wanted: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.ahead.is_empty() {
            if !this.has_more || wanted.remaining() >= AHEAD_BYTES {
                ready!(Pin::new(&mut this.stream).poll_read(context, wanted))?;
                this.has_more = wanted.remaining() == 0;
                return Poll::Ready(Ok(()));
            }
            ready!(this.read_ahead(context))?;
        }
        let count = this.ahead.len().min(wanted.remaining());
        wanted.put_slice(&this.ahead[..count]);
        this.ahead.advance(count);
        if this.ahead.is_empty() {
            this.ahead = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadAhead<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use tokio::io::AsyncReadExt as _;

    use super::*;

    /// Gives of each piece what is asked for, and nothing where one is empty; counts how often it was asked.
    #[derive(Debug)]
    struct Pieces {
        left: VecDeque<Vec<u8>>,
        asked: usize,
    }

    impl AsyncRead for Pieces {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            wanted: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            self.asked += 1;
            let Some(mut piece) = self.left.pop_front() else { return Poll::Ready(Ok(())) };
            if piece.is_empty() {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let rest = piece.split_off(piece.len().min(wanted.remaining()));
            wanted.put_slice(&piece);
            if !rest.is_empty() {
                self.left.push_front(rest);
            }
            Poll::Ready(Ok(()))
        }
    }

    /// Reads pieces of these lengths to their end, 4 KiB at a time as the TLS library does. All came as it was;
    /// gives how often the stream was asked.
    async fn read(lengths: &[usize]) -> usize {
        let mut next = 0_u8;
        let mut piece = |length: &usize| {
            let bytes = std::iter::repeat_with(|| {
                next = next.wrapping_add(1);
                next
            });
            bytes.take(*length).collect::<Vec<u8>>()
        };
        let left: VecDeque<_> = lengths.iter().map(&mut piece).collect();
        let sent: Vec<u8> = left.iter().flatten().copied().collect();
        let (mut stream, mut came) = (ReadAhead::of(Pieces { left, asked: 0 }), Vec::new());
        let mut small = [0; 4 << 10];
        loop {
            let count = stream.read(&mut small).await.unwrap();
            if count == 0 {
                break;
            }
            came.extend_from_slice(&small[..count]);
        }
        assert!(came == sent, "{lengths:?}");
        assert_eq!((stream.has_ahead(), stream.ahead.capacity()), (false, 0), "nothing is held");
        stream.get_ref().asked
    }

    #[tokio::test]
    async fn a_short_message_is_read_as_before_and_a_long_one_in_few_large_pieces() {
        // The last question finds the end.
        assert_eq!(read(&[1_000]).await, 2);
        assert_eq!(read(&[1_000, 0, 3_000, 0, 7]).await, 6);
        assert_eq!(read(&[100 << 10]).await, 4, "4 KiB, 64 KiB, the rest, the end");
        assert_eq!(read(&[4 << 10]).await, 2);
        assert_eq!(read(&[4 << 10, 0, 5]).await, 4);
        assert_eq!(read(&[68 << 10, 0, 9]).await, 5);
    }
}
