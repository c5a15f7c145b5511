//! The circuit breaker of one endpoint: closed while it works, open while it does not.
//!
//! It opens for failures in a row or for a low share of successes in a window. While it is open no
//! request reaches the endpoint; after a wait that doubles with each failed probe, exactly one
//! request is let through, and its end decides. An answer that fails and says when to come back
//! (`Retry-After`) sets that wait itself. Results of requests that began before it opened change
//! nothing: only the probe closes it.
//!
//! Two limits keep a breaker from becoming the outage. Failures that the caller caused (4xx,
//! `PERMISSION_DENIED`, too many requests) never count: one caller over its limit must not take the
//! endpoint from the others. (linkerd counts 429 against the share of successes.) And at most half of a destination's endpoints are excluded at a
//! time ([`floors`]): those beyond stay in rotation with one request at a time each, so that a whole
//! service that is slow to recover is always tried and never stampeded.
//!
//! State lives apart from settings, so a reload changes the numbers and not what is known.

use std::time::Duration;

use base::Random;

use crate::Moment;

mod floor;
mod verdict;
mod window;

pub use floor::{Floor, excludable_max, floors};
pub use verdict::{Verdict, verdict_of_grpc, verdict_of_status};

use window::Window;

/// Settings of a breaker.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Failures in a row that open it; 0 switches this reason off.
    pub consecutive_failures: u32,
    /// Share of successes below which it opens; 0 switches this reason off.
    pub success_rate_min: f64,
    /// Requests in the window before the share counts.
    pub requests_min: u32,
    /// The window of the share.
    pub window: Duration,
    /// First time of being open.
    pub open_initial: Duration,
    /// Longest time of being open.
    pub open_max: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            consecutive_failures: 7,
            success_rate_min: 0.8,
            requests_min: 20,
            window: Duration::from_secs(10),
            open_initial: Duration::from_secs(1),
            open_max: Duration::from_secs(60),
        }
    }
}

/// Where a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Traffic flows.
    Closed,
    /// Nothing flows.
    Open,
    /// Its wait is over: one probe may go, or is on its way.
    HalfOpen,
}

/// The leave to send one request. Whoever has it gives it back once: [`Breaker::record`] with what
/// became of the request, or [`Breaker::give_back`] when that will never be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// One of many.
    Normal,
    /// The only one; the endpoint is shut for others until it is given back.
    Probe,
}

/// A change of state, for metric and log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// It opened.
    Opened {
        /// Why.
        reason: Reason,
        /// Time until a probe.
        wait: Duration,
    },
    /// A probe failed.
    Reopened {
        /// Time until the next one.
        wait: Duration,
    },
    /// A probe succeeded.
    Closed,
}

/// Why it opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Failures in a row.
    ConsecutiveFailures,
    /// Too low a share of successes.
    SuccessRate,
}

impl Reason {
    /// The word in metric and log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConsecutiveFailures => "consecutive_failures",
            Self::SuccessRate => "success_rate",
        }
    }
}

/// The breaker of one endpoint.
#[derive(Debug, Clone, Default)]
pub struct Breaker {
    phase: Phase,
}

#[derive(Debug, Clone)]
enum Phase {
    Closed { failures_in_a_row: u32, window: Window },
    Open(Outage),
}

impl Default for Phase {
    fn default() -> Self {
        Self::Closed { failures_in_a_row: 0, window: Window::default() }
    }
}

#[derive(Debug, Clone)]
struct Outage {
    since: Moment,
    /// From when on a probe may go.
    until: Moment,
    failed_probes: u32,
    probe_is_out: bool,
}

impl Outage {
    fn may_probe(&self, floor: Floor, now: Moment) -> bool {
        !self.probe_is_out && (floor == Floor::Kept || now >= self.until)
    }
}

impl Breaker {
    /// A closed one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self, now: Moment) -> State {
        match &self.phase {
            Phase::Closed { .. } => State::Closed,
            Phase::Open(outage) if now < outage.until => State::Open,
            Phase::Open(_) => State::HalfOpen,
        }
    }

    /// Since when it has not been closed; what [`floors`] asks.
    #[must_use]
    pub const fn open_since(&self) -> Option<Moment> {
        match &self.phase {
            Phase::Closed { .. } => None,
            Phase::Open(outage) => Some(outage.since),
        }
    }

    /// Leave to send a request now; takes the probe where that is all there is.
    #[must_use = "a probe that is not given back shuts the endpoint for ever"]
    pub fn admit(&mut self, floor: Floor, now: Moment) -> Option<Pass> {
        match &mut self.phase {
            Phase::Closed { .. } => Some(Pass::Normal),
            Phase::Open(outage) if outage.may_probe(floor, now) => {
                outage.probe_is_out = true;
                Some(Pass::Probe)
            }
            Phase::Open(_) => None,
        }
    }

    /// Whether [`admit`](Self::admit) would grant it.
    #[must_use]
    pub fn would_admit(&self, floor: Floor, now: Moment) -> bool {
        match &self.phase {
            Phase::Closed { .. } => true,
            Phase::Open(outage) => outage.may_probe(floor, now),
        }
    }

    /// Takes in what became of a request. `retry_after` is what a failed answer itself asked for: the
    /// endpoint is there and says when it can work again, so the next probe goes then (not before
    /// `open_initial`, not after `open_max`) instead of after a wait that doubles.
    pub fn record(
        &mut self,
        settings: &Settings,
        pass: Pass,
        verdict: Verdict,
        retry_after: Option<Duration>,
        now: Moment,
        random: &mut Random,
    ) -> Option<Transition> {
        match (&mut self.phase, pass) {
            (Phase::Closed { failures_in_a_row, window }, _) => {
                let reason = count(settings, failures_in_a_row, window, verdict, now)?;
                let wait = open_wait(settings, 0, random);
                let until = now + wait;
                let outage = Outage { since: now, until, failed_probes: 0, probe_is_out: false };
                self.phase = Phase::Open(outage);
                Some(Transition::Opened { reason, wait })
            }
            // It began before the breaker opened: old news.
            (Phase::Open(_), Pass::Normal) => None,
            (Phase::Open(outage), Pass::Probe) => {
                outage.probe_is_out = false;
                match verdict {
                    Verdict::Neutral => None,
                    Verdict::Success => {
                        self.phase = Phase::default();
                        Some(Transition::Closed)
                    }
                    // One that the floor sent ahead of time says nothing new about the schedule.
                    Verdict::Failure | Verdict::Throttled if now < outage.until => None,
                    Verdict::Failure | Verdict::Throttled => {
                        let wait = if let Some(asked) = retry_after {
                            asked_wait(settings, asked, random)
                        } else {
                            outage.failed_probes = outage.failed_probes.saturating_add(1);
                            open_wait(settings, outage.failed_probes, random)
                        };
                        outage.until = now + wait;
                        Some(Transition::Reopened { wait })
                    }
                }
            }
        }
    }

    /// Takes back the leave for a request whose end says nothing, such as a cancelled one; a probe
    /// is free again at once.
    pub const fn give_back(&mut self, pass: Pass) {
        if let (Phase::Open(outage), Pass::Probe) = (&mut self.phase, pass) {
            outage.probe_is_out = false;
        }
    }

    /// Time until a request may go, for Retry-After and for waking those who wait; zero when one may
    /// go now. `None` when it is closed, and when a probe is out: then its end is to be awaited.
    #[must_use]
    pub const fn until_next_try(&self, now: Moment) -> Option<Duration> {
        match &self.phase {
            Phase::Open(outage) if !outage.probe_is_out => Some(outage.until.saturating_since(now)),
            Phase::Closed { .. } | Phase::Open(_) => None,
        }
    }
}

/// Counts one end; the reason to open, if there is one now.
fn count(
    settings: &Settings,
    failures_in_a_row: &mut u32,
    window: &mut Window,
    verdict: Verdict,
    now: Moment,
) -> Option<Reason> {
    match verdict {
        // Being told to slow down is no outage, and no proof of health either.
        Verdict::Neutral | Verdict::Throttled => return None,
        Verdict::Success => *failures_in_a_row = 0,
        Verdict::Failure => *failures_in_a_row = failures_in_a_row.saturating_add(1),
    }
    window.count(settings.window, verdict == Verdict::Success, now);
    if settings.consecutive_failures > 0 && *failures_in_a_row >= settings.consecutive_failures {
        return Some(Reason::ConsecutiveFailures);
    }
    let (successes, requests) = window.totals();
    let too_few = f64::from(successes) < settings.success_rate_min * f64::from(requests);
    // Only an end that was no success may open it.
    let is_success = verdict == Verdict::Success;
    (!is_success && requests >= settings.requests_min.max(1) && too_few)
        .then_some(Reason::SuccessRate)
}

/// The wait before a probe that nobody asked for.
fn open_wait(settings: &Settings, failed_probes: u32, random: &mut Random) -> Duration {
    let doubled = 2_f64.powi(failed_probes.min(62).cast_signed());
    spread(settings, settings.open_initial.as_secs_f64() * doubled, random)
}

/// The wait before a probe for which the endpoint named the time.
fn asked_wait(settings: &Settings, asked: Duration, random: &mut Random) -> Duration {
    spread(settings, asked.max(settings.open_initial).as_secs_f64(), random)
}

/// Uniform between once and one and a half times so many seconds, the whole range below the cap.
/// Capping after the draw would make every breaker at the cap probe in the same instant.
fn spread(settings: &Settings, seconds: f64, random: &mut Random) -> Duration {
    const JITTER: f64 = 0.5;
    let shortest = seconds.min(settings.open_max.as_secs_f64() / (1.0 + JITTER));
    Duration::try_from_secs_f64(shortest * (1.0 + JITTER * random.unit()))
        .unwrap_or(settings.open_max)
}
