//! Files that are looked at as long as a process runs.

use std::time::Duration;

use runtime::Tasks;
use tokio::time::interval;

/// How often: for so long what was taken back may still be good.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Looks now, before whoever asks is served, and each second until the tasks end.
pub(crate) fn look_each_second(
    tasks: &Tasks,
    name: &'static str,
    mut look: impl FnMut() + Send + 'static,
) {
    look();
    tasks.spawn(name, move |shutdown| async move {
        let mut ticks = interval(LOOK_EVERY);
        while shutdown.or_cancel(ticks.tick()).await.is_some() {
            look();
        }
    });
}
