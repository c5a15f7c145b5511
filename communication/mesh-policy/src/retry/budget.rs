//! The budget: retries are a share of requests, plus a few a second for quiet times.
//!
//! The share is counted over a sliding window in slices, after tower's `TpsBudget`, with two
//! differences. Requests and retries are kept apart, so that the sum of a window can be stated: of
//! the window that ends with a retry that the share paid for, retries are at most
//! `ratio × requests`. For that, retries are counted over one slice more than requests. And what is
//! always there is not the whole window's at once (100 retries in the first instant), but one
//! second's, refilled as time passes.

use std::time::Duration;

use super::Settings;
use crate::Moment;

const SLICES: usize = 10;
/// One more than the requests': a partial slice must not hide a retry.
const KEPT: usize = SLICES + 1;

/// What one destination may spend on retries.
#[derive(Debug, Clone)]
pub struct Budget {
    ratio: f64,
    min_per_second: f64,
    slice: Duration,
    slices: [Slice; KEPT],
    newest: u64,
    /// Retries that are there without requests, as of `refilled`.
    reserve: f64,
    refilled: Moment,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slice {
    requests: u32,
    retries: u32,
}

impl Budget {
    /// A fresh one: one second's reserve.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self {
            ratio: settings.budget_ratio,
            min_per_second: settings.budget_min_per_second,
            slice: (settings.budget_window / 10).max(Duration::from_nanos(1)),
            slices: [Slice::default(); KEPT],
            newest: 0,
            reserve: settings.budget_min_per_second,
            refilled: Moment::default(),
        }
    }

    /// Takes on other settings. What was counted stays, unless the window is another.
    pub fn set(&mut self, settings: &Settings) {
        let new = Self::new(settings);
        if new.slice == self.slice {
            (self.ratio, self.min_per_second) = (new.ratio, new.min_per_second);
        } else {
            // An empty window grants nothing, so forgetting errs on the side of fewer retries.
            *self = Self { reserve: self.reserve, refilled: self.refilled, ..new };
        }
    }

    /// A request of this depth (`Skein-Attempt`; 0 where there is none) is about to be sent first.
    ///
    /// One that nobody retried is deposited. One that is a retry is charged, whatever the balance.
    pub fn arrive(&mut self, depth: u32, now: Moment) {
        if depth == 0 {
            self.deposit(now);
        } else if !self.withdraw(now) {
            self.spend_from_share();
        }
    }

    /// A request of depth 0 is sent first.
    pub fn deposit(&mut self, now: Moment) {
        self.advance(now);
        let slice = self.slice_of(self.newest);
        slice.requests = slice.requests.saturating_add(1);
    }

    /// Pays for one retry; false when there is nothing to pay it with.
    #[must_use = "a retry that is not paid for must not be made"]
    pub fn withdraw(&mut self, now: Moment) -> bool {
        self.advance(now);
        if self.share_left() >= 1.0 {
            self.spend_from_share();
            return true;
        }
        if self.reserve >= 1.0 {
            self.reserve -= 1.0;
            return true;
        }
        false
    }

    /// Whole retries that could be paid for now.
    #[must_use]
    pub fn balance(&self, now: Moment) -> f64 {
        let mut then = self.clone();
        then.advance(now);
        then.share_left().max(0.0).floor() + then.reserve.floor()
    }

    fn spend_from_share(&mut self) {
        let slice = self.slice_of(self.newest);
        slice.retries = slice.retries.saturating_add(1);
    }

    /// What the share of the window leaves; below zero when more retries arrived than it allows.
    fn share_left(&self) -> f64 {
        // The slice after the newest in the ring is the oldest; its requests have left the window.
        let oldest = index(self.newest.wrapping_add(1));
        let requests: f64 = self
            .slices
            .iter()
            .enumerate()
            .filter(|(index, _)| *index != oldest)
            .map(|(_, it)| f64::from(it.requests))
            .sum();
        let retries: f64 = self.slices.iter().map(|it| f64::from(it.retries)).sum();
        // 0.2 has no exact double: 0.2 × 5 must still be 1.
        requests.mul_add(self.ratio, 1e-9) - retries
    }

    fn advance(&mut self, now: Moment) {
        let passed = now.saturating_since(self.refilled).as_secs_f64();
        self.reserve = (self.min_per_second.mul_add(passed, self.reserve)).min(self.min_per_second);
        self.refilled = self.refilled.max(now);
        let nanos = now.saturating_since(Moment::default()).as_nanos();
        let number = u64::try_from(nanos / self.slice.as_nanos()).unwrap_or(u64::MAX);
        let passed = number.saturating_sub(self.newest).min(KEPT as u64);
        self.newest = self.newest.max(number);
        for back in 0..passed {
            *self.slice_of(self.newest.wrapping_sub(back)) = Slice::default();
        }
    }

    fn slice_of(&mut self, number: u64) -> &mut Slice {
        &mut self.slices[index(number)]
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number % KEPT as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paid(budget: &mut Budget, tries: u32, now: Moment) -> u32 {
        (0..tries).map(|_| u32::from(budget.withdraw(now))).sum()
    }

    #[test]
    fn a_fresh_budget_pays_one_seconds_reserve_and_then_as_time_passes() {
        let mut budget = Budget::new(&Settings::default());
        let start = Moment::from_millis(5_000);
        assert_eq!(paid(&mut budget, 100, start), 10);
        assert_eq!(paid(&mut budget, 100, start + Duration::from_millis(350)), 3);
        assert_eq!(paid(&mut budget, 100, start + Duration::from_secs(60)), 10);
    }

    #[test]
    fn requests_pay_for_a_fifth_of_their_number_while_they_are_in_the_window() {
        let settings = Settings { budget_min_per_second: 0.0, ..Settings::default() };
        let fill = || {
            let mut budget = Budget::new(&settings);
            for _ in 0..100 {
                budget.arrive(0, Moment::from_millis(500));
            }
            budget
        };
        assert_eq!(paid(&mut fill(), 100, Moment::from_millis(500)), 20);
        assert_eq!(paid(&mut fill(), 100, Moment::from_millis(9_900)), 20);
        assert_eq!(paid(&mut fill(), 100, Moment::from_millis(10_001)), 0);
    }

    #[test]
    fn an_arriving_retry_is_charged_and_deposits_nothing() {
        let settings = Settings { budget_min_per_second: 0.0, ..Settings::default() };
        let now = Moment::from_millis(1);
        let mut budget = Budget::new(&settings);
        for _ in 0..100 {
            budget.arrive(0, now);
        }
        for _ in 0..15 {
            budget.arrive(1, now);
        }
        assert!((budget.balance(now) - 5.0).abs() < 1e-9);
        for _ in 0..15 {
            budget.arrive(2, now);
        }
        assert!(!budget.withdraw(now), "what arrived beyond the share is owed");
    }

    #[test]
    fn other_settings_take_effect_and_keep_the_count() {
        let now = Moment::from_millis(1);
        let mut budget =
            Budget::new(&Settings { budget_min_per_second: 0.0, ..Settings::default() });
        for _ in 0..10 {
            budget.deposit(now);
        }
        assert!(budget.withdraw(now));
        budget.set(&Settings {
            budget_ratio: 0.5,
            budget_min_per_second: 0.0,
            ..Settings::default()
        });
        assert_eq!(paid(&mut budget, 100, now), 4);
    }
}
