//! The bound on connections, and who gives way at it.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{sync::Notify, time::Instant};

/// A connection that serves a request and does not give way.
const BUSY: u64 = u64::MAX;

/// The connections of one listener.
#[derive(Debug)]
pub struct Doors {
    connections_max: usize,
    start: Instant,
    open: Arc<Mutex<Open>>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    connections: HashMap<u64, Arc<Connection>>,
}

#[derive(Debug)]
struct Connection {
    /// Milliseconds since the start at which it began to wait for a request; [`BUSY`] while it serves.
    waiting_since: AtomicU64,
    give_way: Notify,
}

/// A connection's place; it is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    number: u64,
    connection: Arc<Connection>,
    start: Instant,
    since: Instant,
    open: Arc<Mutex<Open>>,
}

impl Doors {
    pub(crate) fn new(connections_max: usize) -> Self {
        Self {
            connections_max: connections_max.max(1),
            start: Instant::now(),
            open: Arc::default(),
        }
    }

    /// A place for a new connection. At the bound, the one that has waited longest is told to give way;
    /// `None` when every one of them is busy.
    pub(crate) fn enter(&self) -> Option<Place> {
        let mut open = self.lock();
        if open.connections.len() >= self.connections_max {
            let waiting = |it: &&Arc<Connection>| it.waiting_since.load(Ordering::Relaxed);
            let oldest = open.connections.values().min_by_key(waiting)?;
            if waiting(&oldest) == BUSY {
                return None;
            }
            // Told once: the next one that comes finds another.
            oldest.waiting_since.store(BUSY, Ordering::Relaxed);
            oldest.give_way.notify_one();
        }
        // Those that give way overlap with those that come, by as many as come in one turn; past
        // a second bound nobody enters until they are gone.
        if open.connections.len() >= self.connections_max.saturating_mul(2) {
            return None;
        }
        let number = open.next;
        open.next += 1;
        let connection = Arc::new(Connection {
            waiting_since: AtomicU64::new(self.millis()),
            give_way: Notify::new(),
        });
        open.connections.insert(number, Arc::clone(&connection));
        let (start, since) = (self.start, Instant::now());
        Some(Place { number, connection, start, since, open: Arc::clone(&self.open) })
    }

    /// How many connections there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().connections.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn millis(&self) -> u64 {
        millis(self.start)
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // Entries are put in and taken out in one step.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn millis(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_millis()).unwrap_or(BUSY - 1).min(BUSY - 1)
}

impl Place {
    /// From now on it serves a request.
    pub(crate) fn busy(&self) {
        self.connection.waiting_since.store(BUSY, Ordering::Relaxed);
    }

    /// From now on, which is answered, it waits for one.
    pub(crate) fn waiting(&self) -> Instant {
        self.connection.waiting_since.store(millis(self.start), Ordering::Relaxed);
        Instant::now()
    }

    /// When it was taken.
    pub(crate) const fn since(&self) -> Instant {
        self.since
    }

    /// Waits until it has to give way. Cancel-safe.
    pub(crate) async fn told_to_go(&self) {
        self.connection.give_way.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.connections.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn at_the_bound_the_one_that_waited_longest_gives_way_and_a_busy_one_does_not() {
        let doors = Doors::new(2);
        let busy = doors.enter().unwrap();
        busy.busy();
        tokio::time::advance(Duration::from_millis(5)).await;
        let idle = doors.enter().unwrap();
        let newcomer = doors.enter().unwrap();
        idle.told_to_go().await;
        newcomer.busy();
        assert!(doors.enter().is_none(), "nobody waits any more");
        drop((idle, busy));
        assert_eq!(doors.len(), 1);
        assert!(doors.enter().is_some());
    }
}
