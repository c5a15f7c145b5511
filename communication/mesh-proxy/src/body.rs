//! Bodies on their way: what a client uploads, and what is kept of it for another try.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// Why a body ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// Its connection ended.
    #[error("the connection ended within the body")]
    Cut,
    /// Its connection failed.
    #[error("the connection failed within the body")]
    Io(#[source] io::Error),
    /// Its framing is broken.
    #[error("the framing of the body is broken: {0}")]
    Malformed(&'static str),
    /// It is longer than may be.
    #[error("the body is longer than may be")]
    TooLong,
    /// No piece of it came in time.
    #[error("no piece of the body came in time")]
    TimedOut,
    /// A library that carries it said so.
    #[error("the body failed")]
    Other(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What a request's body must be able to do.
pub trait RequestBody: Body<Data = Bytes, Error = BodyError> + Unpin + Send {}

impl<B: Body<Data = Bytes, Error = BodyError> + Unpin + Send> RequestBody for B {}

/// A body that is there as a whole.
#[derive(Debug, Clone, Default)]
pub struct Whole(Option<Bytes>);

impl Whole {
    /// These bytes.
    #[must_use]
    pub fn new(bytes: Bytes) -> Self {
        Self((!bytes.is_empty()).then_some(bytes))
    }
}

impl Body for Whole {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(self.0.take().map(|it| Ok(Frame::data(it))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |it| it.len() as u64))
    }
}

/// A request's body with what went out of it already, for another try.
///
/// At most `keep_max` bytes are kept; what is longer is sent once.
#[derive(Debug)]
pub struct Upload<B> {
    body: B,
    length: Option<u64>,
    kept: Vec<Bytes>,
    kept_bytes: usize,
    keep_max: usize,
    /// Pieces that this try has sent again.
    resent: usize,
    is_ended: bool,
    is_whole_kept: bool,
    /// What was asked for last has not come.
    is_awaited: bool,
}

impl<B: RequestBody> Upload<B> {
    /// Nothing of it has gone out yet.
    pub fn new(body: B) -> Self {
        let is_ended = body.is_end_stream();
        let length = if is_ended { Some(0) } else { body.size_hint().exact() };
        Self {
            body,
            length,
            kept: Vec::new(),
            kept_bytes: 0,
            keep_max: 0,
            resent: 0,
            is_ended,
            is_whole_kept: true,
            is_awaited: false,
        }
    }

    /// Keeps so many bytes for another try.
    pub fn keep(&mut self, keep_max: usize) {
        self.keep_max = keep_max;
    }

    /// Bytes of the whole body, where they are known.
    #[must_use]
    pub const fn length(&self) -> Option<u64> {
        self.length
    }

    /// Whether there is no body at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == Some(0)
    }

    /// Whether all of it has gone out in this try.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.is_ended && self.resent == self.kept.len()
    }

    /// Whether the client is who keeps the request waiting: a piece could go out and has not come.
    #[must_use]
    pub const fn is_awaited(&self) -> bool {
        self.is_awaited
    }

    /// Whether it could go out once more from its beginning.
    #[must_use]
    pub const fn is_replayable(&self) -> bool {
        self.is_whole_kept
    }

    /// Begins from the beginning; answers whether it can.
    pub fn rewind(&mut self) -> bool {
        self.resent = 0;
        self.is_whole_kept
    }

    /// The next piece.
    pub fn poll_piece(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(piece) = self.kept.get(self.resent) {
            self.resent += 1;
            return Poll::Ready(Some(Ok(Frame::data(piece.clone()))));
        }
        if self.is_ended {
            return Poll::Ready(None);
        }
        let piece = Pin::new(&mut self.body).poll_frame(context);
        self.is_awaited = piece.is_pending();
        let piece = std::task::ready!(piece);
        match &piece {
            Some(Ok(frame)) => self.remember(frame),
            // A body that broke cannot be sent again.
            Some(Err(_)) => (self.is_ended, self.is_whole_kept) = (true, false),
            None => self.is_ended = true,
        }
        self.is_ended |= self.body.is_end_stream();
        Poll::Ready(piece)
    }

    fn remember(&mut self, frame: &Frame<Bytes>) {
        let fits = |data: &Bytes| self.kept_bytes + data.len() <= self.keep_max;
        match frame.data_ref() {
            Some(data) if self.is_whole_kept && fits(data) => {
                self.kept_bytes += data.len();
                self.kept.push(data.clone());
                self.resent = self.kept.len();
            }
            // Too long, or trailers: these go out once.
            Some(_) | None => {
                self.is_whole_kept = false;
                self.kept.clear();
                self.resent = 0;
            }
        }
    }

    /// The body itself.
    pub fn into_inner(self) -> B {
        self.body
    }

    /// The body itself.
    pub const fn inner_mut(&mut self) -> &mut B {
        &mut self.body
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    struct Pieces(VecDeque<Bytes>);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = BodyError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
            Poll::Ready(self.0.pop_front().map(|it| Ok(Frame::data(it))))
        }
    }

    fn read(upload: &mut Upload<Pieces>) -> Vec<u8> {
        let mut context = Context::from_waker(std::task::Waker::noop());
        let mut all = Vec::new();
        while let Poll::Ready(Some(Ok(frame))) = upload.poll_piece(&mut context) {
            all.extend_from_slice(frame.data_ref().unwrap());
        }
        assert!(upload.is_done());
        all
    }

    /// mesh 12b: 22.
    #[test]
    fn what_is_as_long_as_may_be_kept_is_sent_again_and_one_byte_more_is_not() {
        for (bytes, expected) in [(65_536, true), (65_537, false)] {
            let pieces = vec![7_u8; bytes].chunks(10_000).map(Bytes::copy_from_slice).collect();
            let mut upload = Upload::new(Pieces(pieces));
            upload.keep(64 << 10);
            assert_eq!(read(&mut upload).len(), bytes);
            assert_eq!(upload.rewind(), expected, "{bytes}");
            assert_eq!(read(&mut upload).len(), if expected { bytes } else { 0 });
        }
    }

    #[test]
    fn a_try_that_ended_within_the_kept_part_goes_on_with_the_rest() {
        let pieces = ["a", "b", "c"].map(Bytes::from).into();
        let mut upload = Upload::new(Pieces(pieces));
        upload.keep(100);
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert!(upload.poll_piece(&mut context).is_ready());
        assert!(upload.rewind());
        assert_eq!(read(&mut upload), b"abc");
    }
}
