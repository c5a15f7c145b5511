//! Tasks that a connection starts: they end with whoever owns them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::task::JoinSet;

/// Owns tasks; dropped, it cancels them.
#[derive(Debug, Default)]
pub(crate) struct Owner(Arc<Mutex<JoinSet<()>>>);

/// Starts tasks of an owner for a library. Once the owner is gone it starts nothing.
#[derive(Debug, Clone)]
pub(crate) struct Starter {
    // A task of the owner may hold this: a strong one would keep the owner for ever.
    tasks: Weak<Mutex<JoinSet<()>>>,
    name: &'static str,
}

impl Owner {
    /// Starts tasks under a name in the log.
    pub(crate) fn starter(&self, name: &'static str) -> Starter {
        Starter { tasks: Arc::downgrade(&self.0), name }
    }
}

impl<F> hyper::rt::Executor<F> for Starter
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        let Some(tasks) = self.tasks.upgrade() else { return };
        let mut tasks = lock(&tasks);
        // Those that have ended are forgotten here, so that there are never more of them than came
        // since the last one began.
        while let Some(ended) = tasks.try_join_next() {
            if let Err(error) = ended
                && error.is_panic()
            {
                tracing::error!(task = self.name, %error, "task panicked");
            }
        }
        tasks.spawn(task);
    }
}

fn lock(tasks: &Mutex<JoinSet<()>>) -> MutexGuard<'_, JoinSet<()>> {
    // Whole tasks alone are put in and taken out.
    tasks.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::rt::Executor as _;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn tasks_end_with_their_owner_and_none_begins_after_it() {
        let owner = Owner::default();
        let starter = owner.starter("test");
        let (held, ended) = oneshot::channel::<()>();
        let keeps_its_owner = starter.clone();
        starter.execute(async move {
            std::future::pending::<()>().await;
            drop((held, keeps_its_owner));
        });
        drop(owner);
        assert!(ended.await.is_err(), "it was cancelled");
        let (held, ended) = oneshot::channel::<()>();
        starter.execute(async move { held.send(()).unwrap() });
        assert!(ended.await.is_err(), "it never ran");
    }
}
