//! Whether the disk has room for more requests. New ones are refused while there is still some: it
//! is kept for what ends deliveries, such as cancels, and for the work on what was accepted.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use runtime::Shutdown;
use rustix::fs::statvfs;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The newest look at the disk. Until the first one nothing is refused.
#[derive(Debug)]
pub(crate) struct Disk {
    directory: PathBuf,
    /// Bytes that must be free for more requests.
    free_bytes_min: u64,
    is_low: AtomicBool,
}

impl Disk {
    pub(crate) const fn new(directory: PathBuf, free_bytes_min: u64) -> Self {
        Self { directory, free_bytes_min, is_low: AtomicBool::new(false) }
    }

    /// Whether more may be taken in.
    pub(crate) fn has_room(&self) -> bool {
        !self.is_low.load(Ordering::Relaxed)
    }

    /// Looks again and again until the service stops.
    pub(crate) async fn watch(&self, shutdown: Shutdown) {
        while shutdown.or_cancel(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
            self.look();
        }
    }

    /// A look that fails leaves the last one.
    fn look(&self) {
        let free = match statvfs(&self.directory) {
            Ok(it) => it.f_bavail.saturating_mul(it.f_frsize),
            Err(error) => return tracing::debug!(%error, "the disk cannot be looked at"),
        };
        let is_low = free < self.free_bytes_min;
        if self.is_low.swap(is_low, Ordering::Relaxed) != is_low {
            let free_bytes_min = self.free_bytes_min;
            tracing::warn!(is_low, free, free_bytes_min, "the room on the disk crossed its limit");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_with_less_than_the_limit_has_no_room() {
        let directory = tempfile::tempdir().unwrap();
        for (free_bytes_min, has_room) in [(0, true), (u64::MAX, false)] {
            let disk = Disk::new(directory.path().to_owned(), free_bytes_min);
            assert!(disk.has_room(), "before the first look");
            disk.look();
            assert_eq!(disk.has_room(), has_room);
        }
    }

    #[test]
    fn a_look_that_fails_changes_nothing() {
        let disk = Disk::new("/nowhere/at/all".into(), u64::MAX);
        disk.look();
        assert!(disk.has_room());
    }
}
