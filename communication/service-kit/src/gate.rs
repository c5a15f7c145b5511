//! The concurrency cap: so many requests are served, a few wait, the rest are told to come back.
//!
//! A short queue absorbs bursts; a long one would only make every answer late.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

#[derive(Debug)]
pub(crate) struct Gate {
    places: Semaphore,
    waiting: AtomicUsize,
    queue_max: usize,
}

/// The queue is full.
#[derive(Debug)]
pub(crate) struct Full;

struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Gate {
    pub(crate) fn new(concurrency_max: usize, queue_max: usize) -> Self {
        let places = concurrency_max.min(Semaphore::MAX_PERMITS);
        Self { places: Semaphore::new(places), waiting: AtomicUsize::new(0), queue_max }
    }

    /// A place, at once or after a wait in order of arrival. Cancel-safe.
    pub(crate) async fn enter(&self) -> Result<SemaphorePermit<'_>, Full> {
        if let Ok(place) = self.places.try_acquire() {
            return Ok(place);
        }
        let waiting = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        if waiting >= self.queue_max {
            return Err(Full);
        }
        // The semaphore is never closed.
        self.places.acquire().await.map_err(|_| Full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{pin::pin, task::Poll};

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
    }

    async fn poll<F: Future + Unpin>(mut future: F) -> Poll<F::Output> {
        std::future::poll_fn(|context| Poll::Ready(std::pin::Pin::new(&mut future).poll(context)))
            .await
    }
}
