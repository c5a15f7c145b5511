//! The cap of one destination: so many requests at a time, a few wait, the rest are refused.
//!
//! It counts; who waits, and in which order, is the caller's queue. A place that becomes free while
//! somebody waits is handed over without being free in between, so a newcomer cannot overtake.

use std::time::Duration;

/// Settings of a cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Requests at a time.
    pub requests_max: usize,
    /// Requests that wait for a place; more is 503 `overloaded`.
    pub queue_max: usize,
    /// Longest wait for a place or for an endpoint; then 503.
    pub queue_wait: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { requests_max: 100, queue_max: 25, queue_wait: Duration::from_secs(3) }
    }
}

/// What becomes of a request that comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It has a place: [`Places::leave`] when it is done.
    Enter,
    /// It waits, for `queue_wait` at most: until a place is handed to it, or [`Places::give_up`].
    Wait,
    /// 503 `overloaded`, at once.
    Refuse,
}

/// Who has the place that was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a place that is handed over and not taken is lost"]
pub enum Handover {
    /// The one that waits longest; it has entered.
    Waiter,
    /// Nobody.
    Nobody,
}

/// The places of one destination.
#[derive(Debug, Clone, Default)]
pub struct Places {
    taken: usize,
    waiting: usize,
}

impl Places {
    /// Takes in a request.
    pub const fn admit(&mut self, settings: &Settings) -> Admission {
        if self.taken < settings.requests_max && self.waiting == 0 {
            self.taken += 1;
            Admission::Enter
        } else if self.waiting < settings.queue_max {
            self.waiting += 1;
            Admission::Wait
        } else {
            Admission::Refuse
        }
    }

    /// A request is done. Where settings grew, more than one waiter may enter: see
    /// [`hand_over`](Self::hand_over).
    pub const fn leave(&mut self, settings: &Settings) -> Handover {
        self.taken = self.taken.saturating_sub(1);
        self.hand_over(settings)
    }

    /// Lets one that waits enter, if there is a place; to be repeated after a reload until it says
    /// nobody.
    pub const fn hand_over(&mut self, settings: &Settings) -> Handover {
        if self.waiting > 0 && self.taken < settings.requests_max {
            self.waiting -= 1;
            self.taken += 1;
            Handover::Waiter
        } else {
            Handover::Nobody
        }
    }

    /// One that waits goes away. One that a place was handed to in the meantime leaves instead.
    pub const fn give_up(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
    }

    /// Requests that have a place.
    #[must_use]
    pub const fn taken(&self) -> usize {
        self.taken
    }

    /// Requests that wait.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(requests_max: usize, queue_max: usize) -> Settings {
        Settings { requests_max, queue_max, ..Settings::default() }
    }

    // mesh 12b: 36
    #[test]
    fn beyond_places_and_queue_it_refuses_at_once() {
        let settings = Settings::default();
        let mut places = Places::default();
        let mut count = |expected, times| {
            for _ in 0..times {
                assert_eq!(places.admit(&settings), expected);
            }
        };
        count(Admission::Enter, 100);
        count(Admission::Wait, 25);
        count(Admission::Refuse, 1_000);
        assert_eq!((places.taken(), places.waiting()), (100, 25));
    }

    #[test]
    fn a_place_that_is_left_goes_to_a_waiter_and_not_to_a_newcomer() {
        let settings = settings(1, 1);
        let mut places = Places::default();
        assert_eq!(places.admit(&settings), Admission::Enter);
        assert_eq!(places.admit(&settings), Admission::Wait);
        assert_eq!(places.leave(&settings), Handover::Waiter);
        assert_eq!(places.admit(&settings), Admission::Wait);
        places.give_up();
        assert_eq!(places.leave(&settings), Handover::Nobody);
        assert_eq!((places.taken(), places.waiting()), (0, 0));
        assert_eq!(places.admit(&settings), Admission::Enter);
    }

    #[test]
    fn other_settings_hold_from_the_next_request_on() {
        let mut places = Places::default();
        let mut enter =
            |most| (0..5).filter(|_| places.admit(&settings(most, 9)) == Admission::Enter).count();
        assert_eq!(enter(3), 3);
        assert_eq!(places.leave(&settings(1, 9)), Handover::Nobody, "2 of 1 places are taken");
        let newcomer = places.admit(&settings(4, 9));
        assert_eq!(newcomer, Admission::Wait, "others wait for the new places");
        assert_eq!(places.hand_over(&settings(4, 9)), Handover::Waiter);
        assert_eq!(places.hand_over(&settings(4, 9)), Handover::Waiter);
        assert_eq!(places.hand_over(&settings(4, 9)), Handover::Nobody);
    }
}
