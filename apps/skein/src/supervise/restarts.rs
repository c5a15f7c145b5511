//! When a process that died is started again. Pure: it is told how long the process lived.

use std::time::Duration;

use base::Backoff;

/// How restarts are paced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartPolicy {
    /// Pauses before the restarts of a row, without jitter: one machine has no crowd to spread.
    pub backoff: Backoff,
    /// A process that lived so long begins a new row.
    pub healthy_after: Duration,
    /// Deaths in a row from which on it counts as a crash loop.
    pub loop_after: u32,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            backoff: Backoff {
                initial: Duration::from_millis(100),
                factor: 2,
                cap: Duration::from_secs(5),
            },
            // Restarts that far apart cost little; a longer time would make a process wait that was
            // killed from outside now and then.
            healthy_after: Duration::from_secs(2),
            loop_after: 5,
        }
    }
}

/// What follows a death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    /// Time until the next start.
    pub wait: Duration,
    /// Whether it keeps dying.
    pub is_loop: bool,
}

/// The row of deaths of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restarts {
    policy: RestartPolicy,
    deaths: u32,
}

impl Restarts {
    /// No death yet.
    #[must_use]
    pub const fn new(policy: RestartPolicy) -> Self {
        Self { policy, deaths: 0 }
    }

    /// The process died after it had lived for `lived`.
    pub fn died(&mut self, lived: Duration) -> Pause {
        if lived >= self.policy.healthy_after {
            self.deaths = 0;
        }
        self.deaths = self.deaths.saturating_add(1);
        Pause {
            wait: self.policy.backoff.ceiling(self.deaths),
            is_loop: self.deaths >= self.policy.loop_after,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_ONCE: Duration = Duration::ZERO;

    #[test]
    fn pauses_double_from_100_ms_to_5_s() {
        let mut restarts = Restarts::new(RestartPolicy::default());
        let waits: Vec<u128> = (0..8).map(|_| restarts.died(AT_ONCE).wait.as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
    }

    #[test]
    fn two_healthy_seconds_begin_a_new_row() {
        let mut restarts = Restarts::new(RestartPolicy::default());
        for _ in 0..6 {
            restarts.died(AT_ONCE);
        }
        assert_eq!(restarts.died(Duration::from_millis(1_999)).wait, Duration::from_secs(5));
        let fresh = restarts.died(Duration::from_secs(2));
        assert_eq!(fresh, Pause { wait: Duration::from_millis(100), is_loop: false });
    }

    #[test]
    fn the_fifth_death_in_a_row_is_a_crash_loop() {
        let mut restarts = Restarts::new(RestartPolicy::default());
        let loops: Vec<bool> = (0..6).map(|_| restarts.died(AT_ONCE).is_loop).collect();
        assert_eq!(loops, [false, false, false, false, true, true]);
    }
}
