//! Tasks with an owner: spawned here or nowhere, told to stop together, waited for together.

use std::{
    any::Any,
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt as _;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::error;

/// Owns tasks. Clones share the same set; a [`child`](Self::child) is told to stop with its parent
/// and can be drained alone.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
    panics: Arc<AtomicU64>,
    /// What these tasks stand on: stopped when they have ended.
    later: Arc<Mutex<Vec<Self>>>,
}

/// Tells a task to stop. Every loop of a task listens to it.
#[derive(Debug, Clone)]
pub struct Shutdown(CancellationToken);

/// What a drain found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Every task has ended.
    Complete,
    /// The grace passed first; so many tasks were still running.
    TimedOut {
        /// Tasks that had not ended.
        running: usize,
    },
}

impl Tasks {
    /// An owner without tasks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a task. A panic in it is logged under `name` and counted; it never goes unheard.
    pub fn spawn<F>(&self, name: &'static str, task: impl FnOnce(Shutdown) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let panics = Arc::clone(&self.panics);
        // What a panic leaves behind is dropped with the task.
        let running = AssertUnwindSafe(task(self.shutdown_signal())).catch_unwind();
        self.tracker.spawn(running.map(move |ended| {
            if let Err(panic) = ended {
                panics.fetch_add(1, Ordering::Relaxed);
                error!(task = name, error = words_of(&panic), "task panicked");
            }
        }));
    }

    /// A set that stops when this one does, and that can be stopped and drained by itself.
    #[must_use]
    pub fn child(&self) -> Self {
        let child = Self {
            tracker: TaskTracker::new(),
            stop: self.stop.child_token(),
            panics: Arc::clone(&self.panics),
            later: Arc::default(),
        };
        // The parent's drain waits for the child's tasks too.
        let own = child.clone();
        self.tracker.spawn(async move {
            own.stop.cancelled().await;
            own.end().await;
        });
        child
    }

    /// A set for what these tasks stand on, such as the connections that they use: a drain stops it
    /// when they have ended, or when their time is over.
    #[must_use]
    pub fn later(&self) -> Self {
        let later = Self { panics: Arc::clone(&self.panics), ..Self::default() };
        self.later_ones().push(later.clone());
        later
    }

    fn later_ones(&self) -> MutexGuard<'_, Vec<Self>> {
        self.later.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for every task, and then ends what they stand on.
    fn end(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let (own, later) = (self.clone(), self.later_ones().clone());
        Box::pin(async move {
            own.tracker.close();
            own.tracker.wait().await;
            for set in later {
                set.stop.cancel();
                set.end().await;
            }
        })
    }

    /// The signal that [`drain`](Self::drain) gives.
    #[must_use]
    pub fn shutdown_signal(&self) -> Shutdown {
        Shutdown(self.stop.clone())
    }

    /// Tells every task to stop, without waiting.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Tells every task to stop and waits for them, `grace` at the longest.
    pub async fn drain(&self, grace: Duration) -> Drained {
        self.stop.cancel();
        if tokio::time::timeout(grace, self.end()).await.is_ok() {
            return Drained::Complete;
        }
        let later = self.later_ones().clone();
        later.iter().for_each(Self::stop);
        let running = self.tracker.len() + later.iter().map(|it| it.tracker.len()).sum::<usize>();
        Drained::TimedOut { running }
    }

    /// How many tasks panicked, children included.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }
}

/// What a panic said.
fn words_of(panic: &Box<dyn Any + Send>) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it said nothing")
}

impl Shutdown {
    /// Waits for the signal. Cancel-safe.
    pub async fn cancelled(&self) {
        self.0.cancelled().await;
    }

    /// Whether the signal was given.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    /// A signal that nobody gives, for code that runs outside an owner.
    #[must_use]
    pub fn never() -> Self {
        Self(CancellationToken::new())
    }

    /// Runs `work` until it ends or the signal comes; `None` when the signal came first.
    ///
    /// `work` is dropped where it waits, so it must be cancel-safe.
    pub async fn or_cancel<F: Future>(&self, work: F) -> Option<F::Output> {
        self.0.run_until_cancelled(work).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn a_drain_waits_for_tasks_that_listen() {
        let tasks = Tasks::new();
        let (ended, mut seen) = tokio::sync::mpsc::channel(1);
        tasks.spawn("listener", |shutdown| async move {
            shutdown.cancelled().await;
            ended.send(()).await.unwrap();
        });
        assert_eq!(tasks.drain(GRACE).await, Drained::Complete);
        assert!(seen.try_recv().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_names_how_many_did_not_end() {
        let tasks = Tasks::new();
        tasks.spawn("deaf", |_| std::future::pending());
        assert_eq!(tasks.drain(GRACE).await, Drained::TimedOut { running: 1 });
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_heard_and_harms_no_other_task() {
        let tasks = Tasks::new();
        tasks.spawn("bad", |_| async { panic!("planted") });
        tasks.spawn("good", |shutdown| async move { shutdown.cancelled().await });
        assert_eq!(tasks.drain(GRACE).await, Drained::Complete);
        assert_eq!(tasks.panics(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_child_stops_alone_and_with_its_parent() {
        let parent = Tasks::new();
        let (first, second) = (parent.child(), parent.child());
        first.spawn("first", |shutdown| async move { shutdown.cancelled().await });
        second.spawn("second", |shutdown| async move { shutdown.cancelled().await });
        assert_eq!(first.drain(GRACE).await, Drained::Complete);
        assert!(!second.shutdown_signal().is_cancelled());
        assert_eq!(parent.drain(GRACE).await, Drained::Complete);
        assert!(second.shutdown_signal().is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn what_tasks_stand_on_stops_when_they_have_ended() {
        let tasks = Tasks::new();
        let below = tasks.later();
        below.spawn("connection", |shutdown| async move { shutdown.cancelled().await });
        let seen = below.shutdown_signal();
        let (told, mut heard) = tokio::sync::mpsc::channel(1);
        tasks.spawn("request", |shutdown| async move {
            shutdown.cancelled().await;
            tokio::time::sleep(GRACE / 2).await;
            told.send(seen.is_cancelled()).await.unwrap();
        });
        assert_eq!(tasks.drain(GRACE).await, Drained::Complete);
        assert_eq!(heard.try_recv(), Ok(false), "the connection went first");
        assert!(below.shutdown_signal().is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_child_stands_on_ends_with_its_parent() {
        let parent = Tasks::new();
        let below = parent.child().later();
        below.spawn("connection", |shutdown| async move { shutdown.cancelled().await });
        assert_eq!(parent.drain(GRACE).await, Drained::Complete);
        assert!(below.shutdown_signal().is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn what_deaf_tasks_stand_on_is_told_to_stop_all_the_same() {
        let tasks = Tasks::new();
        let below = tasks.later();
        below.spawn("connection", |shutdown| async move { shutdown.cancelled().await });
        tasks.spawn("deaf", |_| std::future::pending());
        assert_eq!(tasks.drain(GRACE).await, Drained::TimedOut { running: 2 });
        assert!(below.shutdown_signal().is_cancelled());
    }
}
