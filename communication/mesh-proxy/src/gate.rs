//! A cap with a short queue: so many requests at a time, a few wait in order, the rest are refused.
//!
//! A short queue absorbs bursts; a long one would only make every answer late.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A cap; a cheap handle.
#[derive(Debug, Clone)]
pub struct Gate {
    places: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    places_max: usize,
    queue_max: usize,
}

/// The queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("all places and the queue are taken")]
pub struct Full;

/// A place; free again when it is dropped.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
}

struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Gate {
    /// A cap of `places_max` with a queue of `queue_max`.
    #[must_use]
    pub fn new(places_max: usize, queue_max: usize) -> Self {
        let places_max = places_max.min(Semaphore::MAX_PERMITS);
        Self {
            places: Arc::new(Semaphore::new(places_max)),
            waiting: Arc::default(),
            places_max,
            queue_max,
        }
    }

    /// A place, where one is free.
    #[must_use]
    pub fn enter_now(&self) -> Option<Place> {
        let permit = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(Place { _permit: permit })
    }

    /// A place, at once or after a wait in order of arrival. Cancel-safe.
    ///
    /// # Errors
    /// [`Full`] when the queue is, at once.
    pub async fn enter(&self) -> Result<Place, Full> {
        if let Some(place) = self.enter_now() {
            return Ok(place);
        }
        let waiting = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        if waiting >= self.queue_max {
            return Err(Full);
        }
        // The semaphore is never closed.
        let permit = Arc::clone(&self.places).acquire_owned().await.map_err(|_| Full)?;
        Ok(Place { _permit: permit })
    }

    /// Requests in flight.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.places_max.saturating_sub(self.places.available_permits())
    }

    /// Whether it has these bounds.
    #[must_use]
    pub const fn is_of(&self, places_max: usize, queue_max: usize) -> bool {
        self.places_max == places_max && self.queue_max == queue_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{pin::pin, task::Poll};

    async fn poll<F: Future + Unpin>(mut future: F) -> Poll<F::Output> {
        std::future::poll_fn(|context| Poll::Ready(std::pin::Pin::new(&mut future).poll(context)))
            .await
    }

    /// mesh 12b: 36.
    #[tokio::test]
    async fn what_exceeds_places_and_queue_is_turned_away_and_places_come_back() {
        let gate = Gate::new(1, 1);
        let first = gate.enter().await.unwrap();
        let mut second = pin!(gate.enter());
        assert!(matches!(poll(second.as_mut()).await, Poll::Pending));
        assert!(matches!(poll(pin!(gate.enter())).await, Poll::Ready(Err(Full))));
        drop(first);
        drop(second.await.unwrap());
        assert!(gate.enter().await.is_ok());
    }

    #[tokio::test]
    async fn who_gives_up_waiting_frees_the_queue() {
        let gate = Gate::new(1, 1);
        let _first = gate.enter().await.unwrap();
        {
            let mut second = pin!(gate.enter());
            assert!(matches!(poll(second.as_mut()).await, Poll::Pending));
        }
        let mut third = pin!(gate.enter());
        assert!(matches!(poll(third.as_mut()).await, Poll::Pending));
        assert_eq!(gate.taken(), 1);
    }
}
