//! Connections that rest between requests, by endpoint. One pool a worker: no lock is contended.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::h1::Buffers;
use crate::{mesh::endpoint::Target, stream::Stream};

/// Resting connections that one endpoint keeps in one pool; the oldest one is closed at it.
const IDLE_MAX: usize = 128;
/// A connection that rested longer is not used: servers close theirs after 5 s (Node) or later, and
/// a request that meets the close is lost (the most reported trouble of Istio: 503 UC).
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// A request that may not be repeated takes only a connection that rested less than this.
const FRESH: Duration = Duration::from_millis(500);

/// Which connections a request may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rested {
    /// Any that is still quiet.
    Any,
    /// One that was in use a moment ago.
    Moment,
}

#[derive(Debug)]
struct Idle {
    stream: Stream,
    buffers: Buffers,
    since: Instant,
}

/// The pool of one worker; a cheap handle.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pool(Arc<Mutex<HashMap<Arc<Target>, VecDeque<Idle>>>>);

impl Pool {
    /// The connection that was used last, when it is still good; worse ones are closed.
    pub(crate) fn take(
        &self,
        target: &Target,
        rested: Rested,
        now: Instant,
    ) -> Option<(Stream, Buffers)> {
        let longest = match rested {
            Rested::Any => IDLE_TIMEOUT,
            Rested::Moment => FRESH,
        };
        let mut all = self.lock();
        let idle = all.get_mut(target)?;
        while let Some(Idle { stream, buffers, since }) = idle.pop_back() {
            let rested = now.saturating_duration_since(since);
            if rested >= IDLE_TIMEOUT {
                // The others rested longer still.
                idle.clear();
                return None;
            }
            if !stream.is_quiet() {
                continue;
            }
            if rested >= longest {
                idle.push_back(Idle { stream, buffers, since });
                return None;
            }
            return Some((stream, buffers));
        }
        None
    }

    /// Lets a connection rest.
    ///
    /// One to a proxy of ours ends instead: requests share an HTTP/2 connection there, and
    /// this one was made for a change of protocol that was refused.
    pub(crate) fn put(&self, target: Arc<Target>, stream: Stream, buffers: Buffers) {
        if target.is_ours() {
            return;
        }
        let now = Instant::now();
        let mut all = self.lock();
        let idle = all.entry(target).or_default();
        let is_old = |it: &Idle| now.saturating_duration_since(it.since) >= IDLE_TIMEOUT;
        while idle.len() >= IDLE_MAX || idle.front().is_some_and(is_old) {
            idle.pop_front();
        }
        idle.push_back(Idle { stream, buffers, since: now });
    }

    /// Closes what rested too long, and everything to endpoints that are no more.
    pub(crate) fn sweep(&self, is_known: impl Fn(&Target) -> bool) {
        let now = Instant::now();
        self.lock().retain(|target, idle| {
            idle.retain(|it| now.saturating_duration_since(it.since) < IDLE_TIMEOUT);
            !idle.is_empty() && is_known(target)
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<Target>, VecDeque<Idle>>> {
        // Whole entries alone are moved in and out.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
