//! The real clock and the real entropy: the one place that reads them.

use std::{
    fs,
    hash::{BuildHasher, Hasher, RandomState},
    io::{self, Read as _},
    sync::Arc,
};

use base::{Clock, Monotonic, Random, SharedClock, Timestamp};
use rustix::time::{ClockId, clock_gettime};

/// Wall time and time since boot, from the kernel.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl SystemClock {
    /// The clock as the components take it.
    #[must_use]
    pub fn shared() -> SharedClock {
        Arc::new(Self)
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let time = clock_gettime(ClockId::Realtime);
        Timestamp::from_millis(
            time.tv_sec.saturating_mul(1_000).saturating_add(time.tv_nsec / 1_000_000),
        )
    }

    // Time asleep counts: a machine that slept past a lease must not believe that it still holds it.
    fn monotonic(&self) -> Monotonic {
        let time = clock_gettime(ClockId::Boottime);
        let millis = time.tv_sec.saturating_mul(1_000).saturating_add(time.tv_nsec / 1_000_000);
        Monotonic::from_millis(u64::try_from(millis).unwrap_or(0))
    }
}

/// The id that the kernel drew at this boot; monotonic readings compare only within one.
///
/// # Errors
/// The kernel does not show one (not Linux, or `/proc` is not mounted).
pub fn boot_id() -> io::Result<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|it| it.trim().to_owned())
}

/// Bytes that nobody can guess, from the operating system.
///
/// # Errors
/// It has none to give.
pub fn secret_from_os() -> io::Result<[u8; 32]> {
    let mut secret = [0; 32];
    fs::File::open("/dev/urandom")?.read_exact(&mut secret)?;
    Ok(secret)
}

/// A generator with a seed that no other process has.
#[must_use]
pub fn random_from_os() -> Random {
    // The standard library seeds its hash keys from the operating system: no crate is needed for it.
    Random::with_seed(RandomState::new().build_hasher().finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotonic_time_is_the_same_scale_for_every_reader() {
        let (one, other) = (SystemClock.monotonic(), SystemClock::shared().monotonic());
        assert!(one <= other);
        assert!(other.saturating_since(one).as_secs() < 60);
    }

    #[test]
    fn two_generators_differ() {
        assert_ne!(random_from_os().bits(), random_from_os().bits());
    }

    #[test]
    fn the_boot_id_stays_the_same() {
        assert_eq!(boot_id().unwrap(), boot_id().unwrap());
    }
}
