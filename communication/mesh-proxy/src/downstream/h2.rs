//! One HTTP/2 connection of a client: every stream is answered by a future of its own, all of them
//! in the task of the connection.

mod answer;

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use bytes::{Buf as _, BytesMut};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::time::{sleep, sleep_until, timeout};

use super::{Handler, Site, doors::Place};
use crate::{
    closing::Closing,
    h2::{Bounds, Connection, End, Fatal, Handle, PREFACE, Pings, Shared, Side, Wire, poll_turn},
    head::Peer,
    stream::Stream,
};

/// How a client is asked whether it lives.
const PINGS: Pings = Pings {
    after: Duration::from_secs(20),
    again: Duration::from_secs(20),
    wait: Duration::from_secs(10),
    only_in_use: false,
};
/// Longest time for the last words of a connection that fails.
const LAST_WORDS: Duration = Duration::from_secs(1);

pub(super) async fn serve<H: Handler>(
    site: Arc<Site<H>>,
    stream: Stream,
    mut received: BytesMut,
    peer: Peer,
    place: Place,
    closing: Closing,
) {
    let limits = &site.limits;
    let bounds = Bounds { bytes_max: limits.head_bytes_max, fields_max: limits.fields_max };
    let side = Side::Server { streams_max: limits.streams_max };
    let shared = Shared::new(Connection::new(side, bounds), Arc::default());
    received.advance(PREFACE.len());
    let mut wire = Wire::new(stream, received, PINGS);
    let ended = run(&site, &peer, &place, closing, &shared, &mut wire).await;
    let reason = match &ended {
        End::Fatal(fatal) => Some(fatal.word),
        End::Silent => Some("no_pong"),
        End::DrainTimeout => Some("drain_timeout"),
        End::Over | End::Closed | End::Io(_) => None,
    };
    if let Some(reason) = reason {
        site.counts.ended(reason);
    }
    tracing::debug!(listener = site.name, why = %ended, "connection ended");
    let longest = match ended {
        // The last of an answer may still be on its way.
        End::Over => limits.drain,
        End::Fatal(fatal) => {
            shared.lock().end(Some(fatal.reason));
            LAST_WORDS
        }
        End::DrainTimeout | End::Closed | End::Io(_) | End::Silent => return,
    };
    // Who is gone already has no use for it.
    let _said = timeout(longest, wire.finish(&shared)).await;
}

/// Serves until good-byes are said, or the connection fails.
async fn run<H: Handler>(
    site: &Site<H>,
    peer: &Peer,
    place: &Place,
    mut closing: Closing,
    shared: &Arc<Shared>,
    wire: &mut Wire,
) -> End {
    let told = closing.clone();
    let mut leaving = pin!(async {
        tokio::select! {
            () = closing.said() => {}
            () = place.told_to_go() => site.counts.ended("gave_way"),
        }
        shared.lock().leave();
        sleep(site.limits.drain).await;
    });
    // Its settings are what the first head is elsewhere.
    let mut late = pin!(sleep_until(place.since() + site.limits.head_timeout));
    let load = Load { place, streams: AtomicUsize::new(0) };
    let mut answers = FuturesUnordered::new();
    let mut ended = wire.take(shared).err();
    poll_fn(|context| {
        if let Some(end) = ended.take() {
            return Poll::Ready(end);
        }
        // What is said in this turn goes out at its end.
        shared.lock().drive(None);
        if leaving.as_mut().poll(context).is_ready() {
            return Poll::Ready(End::DrainTimeout);
        }
        let turn = poll_turn(wire, shared, context, |context| {
            while let Some((id, request)) = shared.lock().next_opened() {
                let (stream, busy) = (Handle::accepted(Arc::clone(shared), id), load.busy());
                let answer =
                    answer::answer(site, peer.clone(), stream, request, told.clone(), busy);
                answers.push(answer);
            }
            while let Poll::Ready(Some(())) = answers.poll_next_unpin(context) {}
        });
        if let Poll::Ready(end) = turn {
            return Poll::Ready(end);
        }
        let mut connection = shared.lock();
        if connection.is_over() {
            return Poll::Ready(End::Over);
        }
        if !connection.has_settings() && late.as_mut().poll(context).is_ready() {
            return Poll::Ready(End::Fatal(Fatal::late()));
        }
        connection.drive(Some(context.waker()));
        Poll::Pending
    })
    .await
}

/// The streams of a connection: without one it waits, and may have to give way.
#[derive(Debug)]
struct Load<'a> {
    place: &'a Place,
    streams: AtomicUsize,
}

impl Load<'_> {
    fn busy(&self) -> Busy<'_> {
        if self.streams.fetch_add(1, Ordering::Relaxed) == 0 {
            self.place.busy();
        }
        Busy(self)
    }
}

/// One stream, from its head to the last of its answer.
#[derive(Debug)]
struct Busy<'a>(&'a Load<'a>);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        if self.0.streams.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.place.waiting();
        }
    }
}
