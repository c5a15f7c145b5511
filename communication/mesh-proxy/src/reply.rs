//! An answer on its way back: from an endpoint, from an application in this process, or our own.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};

use crate::{
    body::{BodyError, RequestBody, Upload},
    event_stream::Ends,
    h2::Handle,
    head::{ResponseHead, grpc_status},
    mesh::endpoint::Target,
    stream::Stream,
    upstream::{Pool, h1::Exchange, h2::Sending},
    watch::Watch,
};

/// A body that some library or application gives.
pub type BoxedBody = Pin<Box<dyn Body<Data = Bytes, Error = BodyError> + Send>>;

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// Its head.
    pub head: ResponseHead,
    /// Its body.
    pub body: ReplyBody,
    /// Where it is from.
    pub source: Source,
}

/// Where an answer is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The application behind.
    Application,
    /// The mesh itself: no application answered.
    Mesh {
        /// Why.
        code: base::Code,
        /// Whether certainly no application has seen the request.
        is_unprocessed: bool,
    },
    /// No answer is to be given: the connection is reset (a planted fault).
    Reset,
}

impl Source {
    /// Why the mesh answered by itself; `None` where it did not.
    #[must_use]
    pub const fn code(self) -> Option<base::Code> {
        match self {
            Self::Mesh { code, .. } => Some(code),
            Self::Application | Self::Reset => None,
        }
    }
}

impl Reply {
    /// An answer of an application whose body is there.
    #[must_use]
    pub fn whole(mut head: ResponseHead, body: Bytes) -> Self {
        head.length = head.length.or(Some(body.len() as u64));
        Self { head, body: ReplyBody::of(Kind::Whole(body)), source: Source::Application }
    }

    /// No answer: the connection is reset.
    #[must_use]
    pub fn reset() -> Self {
        let head = ResponseHead::new(http::StatusCode::INTERNAL_SERVER_ERROR);
        Self { head, body: ReplyBody::empty(), source: Source::Reset }
    }

    /// An answer of an application that streams.
    #[must_use]
    pub fn streamed(head: ResponseHead, body: BoxedBody) -> Self {
        Self { head, body: ReplyBody::of(Kind::Boxed(body)), source: Source::Application }
    }
}

/// The body of an answer.
#[derive(Debug)]
pub struct ReplyBody {
    kind: Kind,
    /// The first piece, where somebody looked ahead.
    peeked: Option<Piece>,
    /// Longest wait for the next piece; zero for none.
    pub(crate) idle: Duration,
    pub(crate) watch: Option<Box<Watch>>,
    /// The connection is cut after so many further bytes: a planted fault.
    pub(crate) cut_after: Option<u64>,
    /// What ends it, where it would go on by itself.
    pub(crate) ends: Ends,
}

/// A piece of a body.
type Piece = Result<Frame<Bytes>, BodyError>;

enum Kind {
    Empty,
    Whole(Bytes),
    Http1 {
        exchange: Box<Exchange>,
        pool: Pool,
        target: Arc<Target>,
    },
    Http2 {
        stream: Handle,
        sending: Sending,
    },
    Boxed(BoxedBody),
    /// The connection speaks another protocol from here on.
    Upgraded {
        stream: Stream,
        received: BytesMut,
    },
}

impl ReplyBody {
    const fn of(kind: Kind) -> Self {
        let ends = Ends::NONE;
        Self { kind, peeked: None, idle: Duration::ZERO, watch: None, cut_after: None, ends }
    }

    /// No body.
    #[must_use]
    pub const fn empty() -> Self {
        Self::of(Kind::Empty)
    }

    /// The rest of an exchange; its connection goes back to the pool when all was taken.
    pub(crate) fn http1(exchange: Exchange, pool: Pool, target: Arc<Target>) -> Self {
        let mut body = Self::of(Kind::Http1 { exchange: Box::new(exchange), pool, target });
        body.rest();
        body
    }

    /// The rest of a stream.
    pub(crate) const fn http2(stream: Handle, sending: Sending) -> Self {
        Self::of(Kind::Http2 { stream, sending })
    }

    /// A connection that has changed its protocol.
    pub(crate) const fn upgraded(stream: Stream, received: BytesMut) -> Self {
        Self::of(Kind::Upgraded { stream, received })
    }

    /// The connection, when it has changed its protocol.
    pub(crate) fn into_upgraded(self) -> Option<(Stream, BytesMut)> {
        match self.kind {
            Kind::Upgraded { stream, received } => Some((stream, received)),
            Kind::Empty
            | Kind::Whole(_)
            | Kind::Http1 { .. }
            | Kind::Http2 { .. }
            | Kind::Boxed(_) => None,
        }
    }

    /// Whether nothing more will come.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.peeked.is_none() && self.has_ended()
    }

    fn has_ended(&self) -> bool {
        match &self.kind {
            Kind::Empty | Kind::Upgraded { .. } => true,
            Kind::Whole(bytes) => bytes.is_empty(),
            Kind::Http1 { exchange, .. } => exchange.is_done(),
            Kind::Http2 { stream, .. } => stream.is_taken(),
            Kind::Boxed(body) => body.is_end_stream(),
        }
    }

    /// The next piece. The rest of the request goes on being sent meanwhile.
    pub fn poll_piece<B: RequestBody>(
        &mut self,
        context: &mut Context<'_>,
        upload: &mut Upload<B>,
    ) -> Poll<Option<Piece>> {
        let piece = match self.peeked.take() {
            Some(piece) => Some(piece),
            None if self.ends.poll_any(context).is_ready() => {
                // Whoever sends it hears that nobody listens any more.
                (self.kind, self.ends) = (Kind::Empty, Ends::NONE);
                None
            }
            None => ready!(self.poll_kind(context, upload)),
        };
        let piece = self.cut(piece);
        if let Some(watch) = &mut self.watch {
            match &piece {
                Some(Ok(frame)) => watch.saw(frame),
                Some(Err(error)) => watch.broke(error),
                None => {}
            }
        }
        self.rest();
        if self.is_done()
            && !matches!(piece, Some(Err(_)))
            && let Some(watch) = &mut self.watch
        {
            watch.ended();
        }
        Poll::Ready(piece)
    }

    fn poll_kind<B: RequestBody>(
        &mut self,
        context: &mut Context<'_>,
        upload: &mut Upload<B>,
    ) -> Poll<Option<Piece>> {
        Poll::Ready(match &mut self.kind {
            Kind::Empty | Kind::Upgraded { .. } => None,
            Kind::Whole(bytes) if bytes.is_empty() => None,
            Kind::Whole(bytes) => Some(Ok(Frame::data(std::mem::take(bytes)))),
            Kind::Http1 { exchange, .. } => ready!(exchange.poll_piece(context, upload)),
            Kind::Http2 { stream, sending } => {
                // What becomes of the rest of the request no longer matters to the answer.
                let _sent = sending.poll(stream, context, upload);
                ready!(stream.poll_piece(context))
            }
            Kind::Boxed(body) => ready!(body.as_mut().poll_frame(context)),
        })
    }

    /// Waits for the first piece, which stays where it is. Cancel-safe.
    pub(crate) async fn peek<B: RequestBody>(&mut self, upload: &mut Upload<B>) {
        if self.peeked.is_none() {
            self.peeked = std::future::poll_fn(|context| self.poll_kind(context, upload)).await;
        }
    }

    /// The status of a gRPC call in trailers that were looked at.
    pub(crate) fn peeked_grpc_status(&self) -> Option<u32> {
        let trailers = self.peeked.as_ref()?.as_ref().ok()?.trailers_ref()?;
        grpc_status(trailers)
    }

    /// Whether it broke before its first piece.
    pub(crate) const fn is_broken_at_once(&self) -> bool {
        matches!(self.peeked, Some(Err(_)))
    }

    fn cut(&mut self, piece: Option<Piece>) -> Option<Piece> {
        let (Some(left), Some(Ok(frame))) = (&mut self.cut_after, &piece) else { return piece };
        let length = frame.data_ref().map_or(0, |it| it.len() as u64);
        if length < *left {
            *left -= length;
            return piece;
        }
        Some(Err(BodyError::Cut))
    }

    /// Lets the connection of an exchange that is over rest in the pool.
    fn rest(&mut self) {
        if !matches!(&self.kind, Kind::Http1 { exchange, .. } if exchange.is_done()) {
            return;
        }
        if let Kind::Http1 { exchange, pool, target } =
            std::mem::replace(&mut self.kind, Kind::Empty)
            && let Some((stream, buffers)) = exchange.into_idle()
        {
            pool.put(target, stream, buffers);
        }
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Empty => "Empty",
            Self::Whole(_) => "Whole",
            Self::Http1 { .. } => "Http1",
            Self::Http2 { .. } => "Http2",
            Self::Boxed(_) => "Boxed",
            Self::Upgraded { .. } => "Upgraded",
        })
    }
}
