//! One connection: requests in, answers out in their order, within bounds.

mod oversized;

use std::{io, pin::pin, sync::Arc, time::Duration};

use bytes::{Buf as _, Bytes, BytesMut};
use kafka_wire::{FRAME_HEAD_BYTES, WireError, frame_bytes};
use runtime::Shutdown;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::mpsc,
    time::{Instant, timeout, timeout_at},
};

use self::oversized::PASSED_BYTES_MAX;
use crate::{
    dispatch::{BeginError, Question, begin},
    session::{Over, Session},
    shared::Shared,
};

/// Requests of one connection that may wait for their answers. Past it nothing more is read.
const PIPELINE: usize = 64;
/// A frame is given so much memory at first, whatever it claims; more as its bytes arrive.
const FIRST_BYTES: usize = 64 << 10;

/// Longest frame of who has yet to say who he is. A name and a secret of ours have 110 bytes; what a
/// client says of itself comes before.
const LOGIN_BYTES_MAX: usize = 8 << 10;
/// Bytes of an answer that a client must take within the write time-out, as much as a client of the
/// mesh must of a reply.
const TAKEN_BYTES_MIN: usize = 16 << 10;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum ConnectionError {
    #[error("the connection broke")]
    Io(#[from] io::Error),
    #[error("a frame is malformed")]
    Malformed(#[from] WireError),
    #[error("{0}")]
    Forbidden(String),
    #[error("nothing was asked for too long")]
    Idle,
    #[error("an answer was taken too slowly")]
    Deaf,
    #[error("nobody has said in time who he is")]
    Late,
    #[error("others came who are to say who they are, and it has not said so for longest")]
    GaveWay,
    #[error("the secret that it was opened by is not good any more")]
    Over,
}

impl From<BeginError> for ConnectionError {
    fn from(error: BeginError) -> Self {
        match error {
            BeginError::Malformed(error) => Self::Malformed(error),
            BeginError::Forbidden { .. } | BeginError::Unheard(_) | BeginError::TooMuch(_) => {
                Self::Forbidden(error.to_string())
            }
        }
    }
}

/// Serves a connection until either side ends it.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    (reading, writing): (impl AsyncRead + Unpin, impl AsyncWrite + Unpin),
    session: Session,
    shutdown: Shutdown,
) {
    // Holds whole questions; when it is full the reader waits.
    let (questions, answers) = mpsc::channel(PIPELINE);
    let metrics = shared.metrics.clone();
    let served = async {
        let mut reading = pin!(take_in(&shared, session, reading, questions));
        let mut writing = pin!(answer(&shared, writing, answers));
        tokio::select! {
            // The client asks no more, but waits for what it asked.
            read = reading.as_mut() => {
                read?;
                writing.await?;
            }
            written = writing.as_mut() => written?,
        }
        Ok(())
    };
    match shutdown.or_cancel(served).await {
        Some(Err(ConnectionError::Malformed(error))) => {
            metrics.errors.with(&["malformed"]).inc();
            tracing::warn!(%error, "a connection was ended");
        }
        Some(Err(error @ ConnectionError::Forbidden(_))) => {
            metrics.errors.with(&["forbidden"]).inc();
            tracing::warn!(%error, "a connection was ended");
        }
        Some(Err(error @ ConnectionError::Deaf)) => {
            metrics.errors.with(&["deaf"]).inc();
            tracing::warn!(%error, "a connection was ended");
        }
        Some(Err(error @ ConnectionError::Late)) => {
            metrics.logins.with(&["late"]).inc();
            tracing::debug!(%error, "a connection was ended");
        }
        Some(Err(error @ ConnectionError::GaveWay)) => {
            metrics.logins.with(&["crowded"]).inc();
            tracing::debug!(%error, "a connection was ended");
        }
        Some(Err(error @ ConnectionError::Over)) => {
            tracing::info!(%error, "a connection was ended");
        }
        Some(Err(ConnectionError::Idle)) => tracing::debug!("an idle connection was ended"),
        Some(Err(ConnectionError::Io(error))) => tracing::debug!(%error, "a connection broke"),
        Some(Ok(())) | None => {}
    }
}

async fn take_in(
    shared: &Arc<Shared>,
    mut session: Session,
    mut stream: impl AsyncRead + Unpin,
    questions: mpsc::Sender<(Question, Instant)>,
) -> Result<(), ConnectionError> {
    let mut buffer = BytesMut::with_capacity(FIRST_BYTES);
    let (bytes_max, idle) = (shared.config.frame_bytes_max, shared.config.idle_timeout_ms);
    let late = Instant::now() + Duration::from_millis(shared.config.login_timeout_ms);
    let mut over: Over = Box::pin(std::future::pending());
    loop {
        let is_stranger = session.is_stranger();
        let frame = async {
            // What a stranger says is short, and nothing of him is read past.
            let (bytes_max, passed_max) = match is_stranger {
                true => (LOGIN_BYTES_MAX.min(bytes_max), 0),
                false => (bytes_max, PASSED_BYTES_MAX),
            };
            let frame = next_frame(&mut stream, &mut buffer, bytes_max, passed_max);
            if is_stranger {
                return timeout_at(late, frame).await.map_err(|_| ConnectionError::Late)?;
            }
            let frame = timeout(Duration::from_millis(idle), frame).await;
            frame.map_err(|_| ConnectionError::Idle)?
        };
        let frame = tokio::select! {
            biased;
            () = &mut over => return Err(ConnectionError::Over),
            () = session.told_to_go() => return Err(ConnectionError::GaveWay),
            frame = frame => frame?,
        };
        let question = match frame {
            None => return Ok(()),
            Some(Frame::Whole(frame)) => begin(shared, &mut session, frame)?,
            Some(Frame::TooLong(refused)) => refused,
        };
        if let Some(end) = session.take_over() {
            over = end;
        }
        // The writer ends first only when the connection broke.
        let sent = tokio::select! {
            biased;
            () = &mut over => return Err(ConnectionError::Over),
            () = session.told_to_go() => return Err(ConnectionError::GaveWay),
            sent = questions.send((question, Instant::now())) => sent,
        };
        if sent.is_err() || session.is_refused() {
            return Ok(());
        }
    }
}

/// What came.
enum Frame {
    Whole(Bytes),
    /// It was read past; with its answer.
    TooLong(Question),
}

/// The next frame; `None` when the client ended the connection between two. A longer one is refused, and
/// where it is no longer than `passed_max` read past.
async fn next_frame(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    bytes_max: usize,
    passed_max: usize,
) -> Result<Option<Frame>, ConnectionError> {
    while buffer.len() < FRAME_HEAD_BYTES {
        if stream.read_buf(buffer).await? == 0 {
            let whole = buffer.is_empty();
            return if whole { Ok(None) } else { Err(WireError::Short.into()) };
        }
    }
    let head = [buffer[0], buffer[1], buffer[2], buffer[3]];
    let claimed = frame_bytes(head, bytes_max.max(passed_max))?;
    if claimed > bytes_max {
        buffer.advance(FRAME_HEAD_BYTES);
        let refused = oversized::refuse(stream, buffer, claimed).await?;
        return Ok(Some(Frame::TooLong(refused)));
    }
    let bytes = FRAME_HEAD_BYTES + claimed;
    while buffer.len() < bytes {
        // Grows with what has arrived, never to what is claimed.
        buffer.reserve(bytes.saturating_sub(buffer.len()).min(buffer.len().max(FIRST_BYTES)));
        if stream.read_buf(buffer).await? == 0 {
            return Err(WireError::Short.into());
        }
    }
    let mut frame = buffer.split_to(bytes);
    Ok(Some(Frame::Whole(frame.split_off(FRAME_HEAD_BYTES).freeze())))
}

async fn answer(
    shared: &Shared,
    mut stream: impl AsyncWrite + Unpin,
    mut questions: mpsc::Receiver<(Question, Instant)>,
) -> Result<(), ConnectionError> {
    let longest = Duration::from_millis(shared.config.write_timeout_ms);
    while let Some((question, asked)) = questions.recv().await {
        let answer = question.answer.await;
        let took = asked.elapsed();
        shared.metrics.requests.with(&[question.api.as_str()]).observe_duration(took);
        give(&mut stream, answer.unwrap_or_default(), longest).await?;
    }
    Ok(stream.shutdown().await?)
}

/// Writes an answer to a client that takes it at no less than a rate: a byte now and then is no
/// reading, and would hold the answer, and the place, for as long as the client likes.
async fn give(
    stream: &mut (impl AsyncWrite + Unpin),
    mut answer: Bytes,
    longest: Duration,
) -> Result<(), ConnectionError> {
    while !answer.is_empty() {
        let mut part = answer.split_to(answer.len().min(TAKEN_BYTES_MIN));
        let written = timeout(longest, stream.write_all_buf(&mut part)).await;
        written.map_err(|_| ConnectionError::Deaf)??;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    const LONGEST: Duration = Duration::from_secs(10);

    /// How an answer of 64 KiB ends whose reader takes so many bytes each second.
    async fn read_by(bytes: usize) -> Result<(), ConnectionError> {
        let (mut server, mut client) = tokio::io::duplex(1);
        let reading = async {
            let mut taken = 0;
            while taken < 64 << 10 {
                let mut part = vec![0; bytes];
                client.read_exact(&mut part).await.unwrap();
                taken += bytes;
                sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::select! {
            given = give(&mut server, vec![0; 64 << 10].into(), LONGEST) => given,
            () = reading => Ok(()),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_drop_by_drop_is_ended_and_a_slow_one_is_served() {
        assert!(matches!(read_by(64).await, Err(ConnectionError::Deaf)));
        assert!(matches!(read_by(1 << 10).await, Err(ConnectionError::Deaf)));
        assert!(read_by(2 << 10).await.is_ok(), "16 KiB in 8 s");
    }
}
