//! Successes and requests of the last while, in ten slices.

use std::time::Duration;

use crate::Moment;

const SLICES: usize = 10;

/// A ring of slices, each a tenth of the window; the oldest is dropped as a whole, so what is
/// counted is between nine and ten tenths of the window.
#[derive(Debug, Clone, Default)]
pub(super) struct Window {
    slices: [Slice; SLICES],
    /// Number of the newest slice since the start of time.
    newest: u64,
    /// What a slice was when they were counted.
    slice_nanos: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slice {
    successes: u32,
    requests: u32,
}

impl Window {
    pub(super) fn count(&mut self, window: Duration, is_success: bool, now: Moment) {
        let nanos = now.saturating_since(Moment::default()).as_nanos();
        let slice_nanos = (window.as_nanos() / SLICES as u128).max(1);
        let slice_nanos = u64::try_from(slice_nanos).unwrap_or(u64::MAX);
        let number = u64::try_from(nanos / u128::from(slice_nanos)).unwrap_or(u64::MAX);
        if slice_nanos != self.slice_nanos {
            // Another setting: slices of two lengths cannot be added.
            *self = Self { slice_nanos, newest: number, ..Self::default() };
        }
        let passed = number.saturating_sub(self.newest).min(SLICES as u64);
        self.newest = self.newest.max(number);
        for back in 0..passed {
            *self.slice(self.newest - back) = Slice::default();
        }
        let slice = self.slice(self.newest);
        slice.requests = slice.requests.saturating_add(1);
        slice.successes = slice.successes.saturating_add(u32::from(is_success));
    }

    /// Successes and requests, as of the last count.
    pub(super) fn totals(&self) -> (u32, u32) {
        self.slices.iter().fold((0, 0), |(successes, requests), it| {
            (
                u32::saturating_add(successes, it.successes),
                u32::saturating_add(requests, it.requests),
            )
        })
    }

    fn slice(&mut self, number: u64) -> &mut Slice {
        let index = usize::try_from(number % SLICES as u64).unwrap_or(0);
        &mut self.slices[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(10);

    fn totals_at(ends: &[(u64, bool)]) -> (u32, u32) {
        let mut window = Window::default();
        for &(millis, is_success) in ends {
            window.count(WINDOW, is_success, Moment::from_millis(millis));
        }
        window.totals()
    }

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        assert_eq!(totals_at(&[(0, true), (500, false), (9_999, true)]), (2, 3));
        assert_eq!(totals_at(&[(0, true), (500, false), (10_000, true)]), (1, 1));
        assert_eq!(totals_at(&[(0, true), (1_500, false), (10_000, true)]), (1, 2));
        assert_eq!(totals_at(&[(0, true), (86_400_000, false)]), (0, 1));
    }

    #[test]
    fn an_end_from_before_the_newest_counts_as_new() {
        assert_eq!(totals_at(&[(20_000, true), (1, false)]), (1, 2));
    }
}
