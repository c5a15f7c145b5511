//! Moves the bytes of a connection between its machine and its socket, and asks whether the other
//! end lives.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::BytesMut;
use tokio::{
    io::AsyncWrite as _,
    time::{Instant, Sleep, sleep_until},
};

use super::{Fatal, Shared};
use crate::stream::{READ_BYTES, Stream, poll_fill};

/// How long a full socket may take to empty.
const BEHIND: Duration = Duration::from_secs(30);

/// How the other end is asked whether it lives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pings {
    /// Silence before it is asked.
    pub(crate) after: Duration,
    /// Silence before it is asked again, while nothing but answers to PING comes.
    pub(crate) again: Duration,
    /// Longest wait for its answer.
    pub(crate) wait: Duration,
    /// Ask only while a stream is open.
    pub(crate) only_in_use: bool,
}

/// Why a connection came to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum End {
    /// Good-byes were said, and nothing was open any more.
    #[error("the connection is over")]
    Over,
    /// Something was open for longer than a drain may take.
    #[error("streams were open at the end of the drain")]
    DrainTimeout,
    /// The other end closed it.
    #[error("the other end closed the connection")]
    Closed,
    /// The socket failed.
    #[error("the connection failed")]
    Io(#[source] io::Error),
    /// It broke the protocol.
    #[error("the connection was ended: {}", .0.word)]
    Fatal(Fatal),
    /// It does not answer.
    #[error("there was no answer to PING")]
    Silent,
}

/// Reads, lets `answer` do what follows from it, and writes, until nothing more can be done now. Ready
/// when the connection came to its end.
pub(crate) fn poll_turn(
    wire: &mut Wire,
    shared: &Shared,
    context: &mut Context<'_>,
    mut answer: impl FnMut(&mut Context<'_>),
) -> Poll<End> {
    loop {
        answer(context);
        while let Poll::Ready(read) = wire.poll_read(shared, context) {
            if let Err(end) = read {
                return Poll::Ready(end);
            }
            answer(context);
        }
        if let Poll::Ready(end) = wire.poll_silence(shared, context) {
            return Poll::Ready(end);
        }
        let was_deaf = !shared.lock().listens();
        if let Err(end) = ready!(wire.poll_write(shared, context)) {
            return Poll::Ready(end);
        }
        if !was_deaf {
            return Poll::Pending;
        }
    }
}

/// A socket with what came in and makes no whole frame yet.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: Stream,
    input: BytesMut,
    start: Instant,
    heard_at: Instant,
    pings: Pings,
    /// How many heads and pieces of data had come when the other end was last asked.
    asked_at: Option<u64>,
    /// When the socket took no more, lately.
    full_at: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

impl Wire {
    /// `input` is what was read already, behind the preface.
    pub(crate) fn new(stream: Stream, input: BytesMut, pings: Pings) -> Self {
        let now = Instant::now();
        let timer = Box::pin(sleep_until(now + pings.after));
        Self {
            stream,
            input,
            start: now,
            heard_at: now,
            pings,
            asked_at: None,
            full_at: None,
            timer,
        }
    }

    /// Reads once, or what is there already, and lets the machine take it. Ready when it did.
    pub(crate) fn poll_read(
        &mut self,
        shared: &Shared,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), End>> {
        if !shared.lock().listens() {
            return Poll::Pending;
        }
        let read = ready!(poll_fill(&mut self.stream, context, &mut self.input, READ_BYTES));
        if read.map_err(End::Io)? == 0 {
            return Poll::Ready(Err(End::Closed));
        }
        self.heard_at = Instant::now();
        Poll::Ready(self.take(shared))
    }

    /// Lets the machine take what is there.
    pub(crate) fn take(&mut self, shared: &Shared) -> Result<(), End> {
        let now = self.heard_at.duration_since(self.start);
        shared.lock().receive(&mut self.input, now).map_err(End::Fatal)?;
        if self.input.is_empty() {
            // A connection that is quiet holds no buffer.
            self.input = BytesMut::new();
        }
        Ok(())
    }

    /// Writes what waits. Ready when nothing does.
    pub(crate) fn poll_write(
        &mut self,
        shared: &Shared,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), End>> {
        let mut connection = shared.lock();
        while !connection.out().is_empty() {
            let Poll::Ready(written) =
                Pin::new(&mut self.stream).poll_write(context, connection.out())
            else {
                self.full_at = Some(Instant::now());
                return Poll::Pending;
            };
            match written.map_err(End::Io)? {
                0 => return Poll::Ready(Err(End::Io(io::ErrorKind::WriteZero.into()))),
                written => connection.wrote(written),
            }
        }
        // Under TLS what was taken may still wait for the socket.
        Pin::new(&mut self.stream).poll_flush(context).map_err(End::Io)
    }

    /// Asks the other end after a silence. Ready when it did not answer.
    pub(crate) fn poll_silence(&mut self, shared: &Shared, context: &mut Context<'_>) -> Poll<End> {
        while self.timer.as_mut().poll(context).is_ready() {
            let now = Instant::now();
            let mut connection = shared.lock();
            let silence = now.duration_since(self.heard_at);
            let is_asked = connection.is_pinged();
            // Behind megabytes in the socket's buffer the question comes late, and its answer.
            let is_behind = self.full_at.is_some_and(|it| now.duration_since(it) < BEHIND);
            let wait = if is_behind { self.pings.after + BEHIND } else { self.pings.wait };
            if is_asked && silence >= wait {
                return Poll::Ready(End::Silent);
            }
            let is_new = self.asked_at != Some(connection.heard());
            let longest = if is_new { self.pings.after } else { self.pings.again };
            let is_used = !self.pings.only_in_use || connection.streams() > 0;
            let next = if is_asked {
                wait - silence
            } else if is_used && silence >= longest {
                self.asked_at = Some(connection.heard());
                connection.ping();
                self.pings.wait
            } else if is_used {
                longest - silence
            } else {
                longest
            };
            drop(connection);
            self.timer.as_mut().reset(now + next);
        }
        Poll::Pending
    }

    /// Says the last words: what waits goes out, and the end of it. Then what still comes is read and
    /// forgotten until the other end closes: closed with bytes unread, the socket would forget what it
    /// has not sent.
    pub(crate) async fn finish(&mut self, shared: &Shared) -> Result<(), End> {
        poll_fn(|context| self.poll_write(shared, context)).await?;
        poll_fn(|it| Pin::new(&mut self.stream).poll_shutdown(it)).await.map_err(End::Io)?;
        loop {
            self.input.clear();
            let read = poll_fn(|context| {
                poll_fill(&mut self.stream, context, &mut self.input, READ_BYTES)
            });
            if read.await.map_err(End::Io)? == 0 {
                return Ok(());
            }
        }
    }
}
