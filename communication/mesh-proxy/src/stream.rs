//! A connection's bytes, plain or under TLS: everything above it reads and writes this.

use std::{
    fmt, io,
    mem::MaybeUninit,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::{Buf as _, BytesMut};
use identity::{Over, TlsStream};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, Interest, ReadBuf},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::sleep,
};

/// Room that a read makes when the buffer has none.
pub(crate) const READ_BYTES: usize = 16 << 10;
/// Room for a body that fills whole buffers.
pub(crate) const READ_MORE_BYTES: usize = 64 << 10;

/// How often a peer that has sent more than is read yet is looked after.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A connection as a whole.
#[derive(Debug)]
pub struct Stream(Inner);

#[derive(Debug)]
enum Inner {
    Plain(TcpStream),
    Known(Box<Proved>),
}

/// A connection under TLS.
#[derive(Debug)]
struct Proved {
    tls: TlsStream<TcpStream>,
    /// Where nobody else looks after that: until when it may be read.
    standing: Option<Standing>,
}

/// Resolves once a connection may stand no longer.
pub(crate) struct Standing(Pin<Box<dyn Future<Output = Over> + Send + Sync>>);

impl Standing {
    pub(crate) fn of(over: impl Future<Output = Over> + Send + Sync + 'static) -> Self {
        Self(Box::pin(over))
    }
}

impl Future for Standing {
    type Output = Over;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Over> {
        self.0.as_mut().poll(context)
    }
}

impl fmt::Debug for Standing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Standing")
    }
}

impl Stream {
    /// A plain connection.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn plain(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self(Inner::Plain(stream)))
    }

    /// One under TLS.
    pub(crate) fn known(stream: TlsStream<TcpStream>) -> Self {
        Self(Inner::Known(Box::new(Proved { tls: stream, standing: None })))
    }

    /// The same, which breaks off where it is read after it may stand no longer.
    pub(crate) fn proved(stream: TlsStream<TcpStream>, standing: Standing) -> Self {
        Self(Inner::Known(Box::new(Proved { tls: stream, standing: Some(standing) })))
    }

    fn tcp(&self) -> &TcpStream {
        match &self.0 {
            Inner::Plain(stream) => stream,
            Inner::Known(stream) => stream.tls.get_ref().0.get_ref(),
        }
    }

    /// Connects without TLS. Cancel-safe.
    pub(crate) async fn connect(address: SocketAddr) -> io::Result<Self> {
        Self::plain(TcpStream::connect(address).await?)
    }

    /// Whether nothing has come in and the peer has not closed. Costs no system call while that is so:
    /// the runtime knows from its last look.
    pub(crate) fn is_quiet(&self) -> bool {
        if matches!(&self.0, Inner::Known(stream) if stream.tls.get_ref().0.has_ahead()) {
            return false;
        }
        let mut context = Context::from_waker(Waker::noop());
        if self.tcp().poll_read_ready(&mut context).is_pending() {
            return true;
        }
        // Ready may be old news: look.
        let mut byte = [0];
        matches!(self.tcp().try_read(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Both directions apart.
    #[must_use]
    pub fn split(self) -> (ReadSide, WriteSide) {
        match self.0 {
            Inner::Plain(stream) => {
                let (read, write) = stream.into_split();
                (ReadSide(ReadInner::Plain(read)), WriteSide(WriteInner::Plain(write)))
            }
            Inner::Known(stream) => {
                let both = Both(Arc::new(Mutex::new(*stream)));
                (ReadSide(ReadInner::Known(both.clone())), WriteSide(WriteInner::Known(both)))
            }
        }
    }
}

impl AsyncRead for Proved {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(standing) = &mut self.standing
            && let Poll::Ready(over) = Pin::new(standing).poll(context)
        {
            self.standing = Some(Standing::of(std::future::ready(over)));
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                over.as_str(),
            )));
        }
        Pin::new(&mut self.tls).poll_read(context, buffer)
    }
}

impl AsyncWrite for Proved {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(context)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Inner::Plain(it) => Pin::new(it).poll_read(context, buffer),
            Inner::Known(it) => Pin::new(it).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Inner::Plain(it) => Pin::new(it).poll_write(context, bytes),
            Inner::Known(it) => Pin::new(it).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Inner::Plain(it) => Pin::new(it).poll_write_vectored(context, slices),
            Inner::Known(it) => Pin::new(it).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Inner::Plain(it) => Pin::new(it).poll_flush(context),
            Inner::Known(it) => Pin::new(it).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Inner::Plain(it) => Pin::new(it).poll_shutdown(context),
            Inner::Known(it) => Pin::new(it).poll_shutdown(context),
        }
    }
}

/// A direction of a connection under TLS. Both have the same keys, so that one is locked for as long as it
/// is polled.
#[derive(Debug, Clone)]
struct Both(Arc<Mutex<Proved>>);

impl Both {
    fn lock(&self) -> MutexGuard<'_, Proved> {
        // A panic in one direction leaves a connection that the other finds broken.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody else writes: there is no waker to be displaced by one that wakes nobody.
    fn write_now(&self, bytes: &[u8]) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        let (mut both, mut all) = (self.lock(), bytes);
        while !all.is_empty() {
            let Poll::Ready(Ok(count @ 1..)) = Pin::new(&mut *both).poll_write(&mut context, all)
            else {
                return false;
            };
            all = &all[count..];
        }
        // What the kernel does not take now goes before whatever is written next.
        !matches!(Pin::new(&mut *both).poll_flush(&mut context), Poll::Ready(Err(_)))
    }
}

impl AsyncRead for Both {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.lock()).poll_read(context, buffer)
    }
}

impl AsyncWrite for Both {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.lock()).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.lock()).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.lock()).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.lock()).poll_shutdown(context)
    }
}

/// The direction that is read.
#[derive(Debug)]
pub struct ReadSide(ReadInner);

#[derive(Debug)]
enum ReadInner {
    Plain(OwnedReadHalf),
    Known(Both),
}

/// The direction that is written.
#[derive(Debug)]
pub struct WriteSide(WriteInner);

#[derive(Debug)]
enum WriteInner {
    Plain(OwnedWriteHalf),
    Known(Both),
}

impl ReadSide {
    /// Writes a few bytes past whoever writes, at once or not at all: for `100 Continue`, before which
    /// nothing else is on its way.
    pub(crate) fn write_now(&self, bytes: &[u8]) -> bool {
        match &self.0 {
            ReadInner::Plain(side) => {
                side.as_ref().try_write(bytes).is_ok_and(|it| it == bytes.len())
            }
            ReadInner::Known(side) => side.write_now(bytes),
        }
    }
}

impl AsyncRead for ReadSide {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.0 {
            ReadInner::Plain(it) => Pin::new(it).poll_read(context, buffer),
            ReadInner::Known(it) => Pin::new(it).poll_read(context, buffer),
        }
    }
}

impl WriteSide {
    /// Waits until nobody is there any more to read an answer: the connection was reset, or the peer
    /// has ended its direction and `half_close_wait` has passed since. Cancel-safe.
    pub(crate) async fn peer_gone(&self, half_close_wait: Duration) {
        let WriteInner::Plain(side) = &self.0 else {
            // Under TLS whoever reads is told.
            return std::future::pending().await;
        };
        loop {
            match side.ready(Interest::READABLE | Interest::ERROR).await {
                Ok(ready) if ready.is_error() => return,
                Ok(ready) if ready.is_read_closed() => return sleep(half_close_wait).await,
                // Bytes that nobody wants yet would be told of again at once.
                Ok(_) => sleep(LOOK_AGAIN).await,
                Err(_) => return,
            }
        }
    }

    /// Says that nothing more comes, where an end alone does not say so: under TLS one without that word is none
    /// in order (RFC 8446, 6.1).
    pub(crate) async fn say_end(&mut self) {
        if matches!(self.0, WriteInner::Known(_)) {
            // Who is gone wants to hear nothing.
            let _gone = self.shutdown().await;
        }
    }

    /// Ends the connection, whose other side is gone already, with a reset.
    pub(crate) fn reset(self) {
        // Under TLS an end without a good-bye is none in order.
        let WriteInner::Plain(side) = self.0 else { return };
        // Who is gone already has seen that it was no end in order.
        let _gone = side.as_ref().set_zero_linger();
        // Dropped, it would end in order first.
        side.forget();
    }
}

impl AsyncWrite for WriteSide {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            WriteInner::Plain(it) => Pin::new(it).poll_write(context, bytes),
            WriteInner::Known(it) => Pin::new(it).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            WriteInner::Plain(it) => Pin::new(it).poll_write_vectored(context, slices),
            WriteInner::Known(it) => Pin::new(it).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            WriteInner::Plain(it) => Pin::new(it).poll_flush(context),
            WriteInner::Known(it) => Pin::new(it).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            WriteInner::Plain(it) => Pin::new(it).poll_shutdown(context),
            WriteInner::Known(it) => Pin::new(it).poll_shutdown(context),
        }
    }
}

/// Reads what is there into the buffer; answers how much, 0 at the end.
///
/// Small reads go over the stack: a connection that waits then holds no buffer, and one that has
/// said something holds just that.
pub(crate) fn poll_fill<R: AsyncRead + Unpin>(
    from: &mut R,
    context: &mut Context<'_>,
    buffer: &mut BytesMut,
    room: usize,
) -> Poll<io::Result<usize>> {
    if room > READ_BYTES {
        buffer.reserve(room);
        return tokio_util::io::poll_read_buf(Pin::new(from), context, buffer);
    }
    let mut scratch = [const { MaybeUninit::uninit() }; READ_BYTES];
    let mut read = ReadBuf::uninit(&mut scratch);
    std::task::ready!(Pin::new(from).poll_read(context, &mut read))?;
    buffer.extend_from_slice(read.filled());
    Poll::Ready(Ok(read.filled().len()))
}

/// What is to be written: a buffer of small things, then perhaps one large piece.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    pub(crate) small: BytesMut,
    large: bytes::Bytes,
    /// What stands behind the large piece.
    tail: &'static [u8],
    /// Bytes that were written so far.
    pub(crate) written: u64,
}

/// A piece below this is copied behind what waits already: one system call, no second slice.
pub(crate) const COPY_BYTES_MAX: usize = 2 << 10;

impl Outgoing {
    /// Begins with a buffer that was used before.
    pub(crate) fn reusing(small: BytesMut) -> Self {
        Self { small, ..Self::default() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.small.is_empty() && self.large.is_empty() && self.tail.is_empty()
    }

    /// Appends a piece. Nothing may be appended while a large one waits.
    pub(crate) fn push(&mut self, piece: bytes::Bytes) {
        debug_assert!(self.has_room(), "a large piece waits");
        if piece.len() <= COPY_BYTES_MAX {
            self.small.extend_from_slice(&piece);
        } else {
            self.large = piece;
        }
    }

    /// Appends a piece as a chunk.
    pub(crate) fn push_chunk(&mut self, piece: bytes::Bytes) {
        crate::h1::write::chunk_head(&mut self.small, piece.len() as u64);
        self.push(piece);
        if self.large.is_empty() {
            self.small.extend_from_slice(b"\r\n");
        } else {
            self.tail = b"\r\n";
        }
    }

    /// Appends the last chunk.
    pub(crate) fn push_end(&mut self, trailers: Option<&http::HeaderMap>) {
        self.small.extend_from_slice(b"0\r\n");
        if let Some(trailers) = trailers {
            crate::head::Fields::from_map(trailers).write(&mut self.small);
        }
        self.small.extend_from_slice(b"\r\n");
    }

    /// Whether more may be appended before it is written.
    pub(crate) fn has_room(&self) -> bool {
        self.large.is_empty() && self.tail.is_empty() && self.small.len() < READ_BYTES
    }

    /// Writes until nothing is left. Cancel-safe: what was written is gone from it.
    pub(crate) fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        to: &mut W,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let written = if self.large.is_empty() && self.tail.is_empty() {
                Pin::new(&mut *to).poll_write(context, &self.small)
            } else {
                let slices = [&self.small[..], &self.large[..], self.tail].map(io::IoSlice::new);
                Pin::new(&mut *to).poll_write_vectored(context, &slices)
            };
            match std::task::ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.advance(written),
            }
        }
        // Under TLS what was taken may still wait for the socket.
        Pin::new(to).poll_flush(context)
    }

    fn advance(&mut self, written: usize) {
        self.written += written as u64;
        let small = written.min(self.small.len());
        self.small.advance(small);
        let large = (written - small).min(self.large.len());
        self.large.advance(large);
        self.tail = &self.tail[written - small - large..];
    }
}
