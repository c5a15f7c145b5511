//! Tasks whose end is their owner's.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::task::JoinSet;

/// Owns tasks; dropped, it cancels them.
#[derive(Debug, Default)]
pub(crate) struct Owner(Mutex<JoinSet<()>>);

impl Owner {
    /// Starts a task under a name in the log.
    pub(crate) fn start(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let mut tasks = lock(&self.0);
        // Those that have ended are forgotten here, so that there are never more of them than came
        // since the last one began.
        while let Some(ended) = tasks.try_join_next() {
            if let Err(error) = ended
                && error.is_panic()
            {
                tracing::error!(task = name, %error, "task panicked");
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
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn tasks_end_with_their_owner() {
        let owner = Owner::default();
        let (held, ended) = oneshot::channel::<()>();
        owner.start("test", async move {
            std::future::pending::<()>().await;
            drop(held);
        });
        drop(owner);
        assert!(ended.await.is_err(), "it was cancelled");
    }
}
