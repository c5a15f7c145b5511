//! What is known of one endpoint: how long it lately took to the first byte, and how much it has.
//!
//! The latency is a *peak* moving average, after linkerd: a sample above it is believed at once, one
//! below it only as fast as time passes, and without samples it fades, so that an endpoint that was
//! slow is tried again. Failures count as a long latency; otherwise the endpoint that fails fastest
//! would look best and draw all traffic (the black hole of every balancer by latency).

use std::time::Duration;

use super::{Algorithm, Settings};
use crate::Moment;

/// Below this, latencies differ by the scheduler's mood and not by endpoint: they compare as equal.
const LATENCY_FLOOR: Duration = Duration::from_millis(1);
/// No Retry-After makes an endpoint look slower than this (linkerd: 300 s).
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);
/// A new endpoint begins with this share (Envoy: `min_weight_percent` 10).
const WARMTH_MIN: f64 = 0.1;

/// How a request ended, as far as balance cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sample {
    /// The first byte of an answer that is no failure came after so long.
    Answered(Duration),
    /// It failed: no connection, reset, time-out, 5xx, 429, or a gRPC status that says so.
    Failed {
        /// Time until it failed.
        after: Duration,
        /// What a 429 or 503 asked for; it can only raise the penalty, to 300 s at most.
        retry_after: Option<Duration>,
    },
    /// The caller went away after so long. It would have taken *at least* that: it may raise the
    /// average, never lower it.
    Cancelled(Duration),
}

/// What is known of one endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    /// Seconds, as of `updated`.
    latency: f64,
    updated: Moment,
    /// Until a first answer, the latency is a credit, not a measurement.
    is_measured: bool,
    outstanding: u32,
    ramp_began: Moment,
}

impl Load {
    /// An endpoint that is new at `now`.
    #[must_use]
    pub const fn new(settings: &Settings, now: Moment) -> Self {
        Self {
            latency: settings.initial_latency.as_secs_f64(),
            updated: now,
            is_measured: false,
            outstanding: 0,
            ramp_began: now,
        }
    }

    /// One more request is on its way.
    pub const fn begin(&mut self) {
        self.outstanding = self.outstanding.saturating_add(1);
    }

    /// One request less: at its first byte, its failure, or when its caller went away.
    pub fn end(&mut self, settings: &Settings, sample: Sample, now: Moment) {
        self.outstanding = self.outstanding.saturating_sub(1);
        let faded = self.faded(settings, now);
        self.latency = match sample {
            Sample::Answered(after) if !self.is_measured => after.as_secs_f64(),
            Sample::Answered(after) => self.blend(settings, faded, after.as_secs_f64(), now),
            Sample::Failed { after, retry_after } => {
                let asked = retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
                faded.max(after.max(settings.failure_penalty).max(asked).as_secs_f64())
            }
            Sample::Cancelled(after) => faded.max(after.as_secs_f64()),
        };
        self.is_measured |= !matches!(sample, Sample::Cancelled(_));
        self.updated = now;
    }

    /// Starts the slow start anew, as after its breaker closed.
    pub const fn cool(&mut self, now: Moment) {
        self.ramp_began = now;
    }

    /// The estimate of the time to the first byte, faded by the time without samples.
    #[must_use]
    pub fn latency(&self, settings: &Settings, now: Moment) -> Duration {
        Duration::try_from_secs_f64(self.faded(settings, now)).unwrap_or(Duration::MAX)
    }

    /// Whether anything was heard of it; until then its latency is a credit.
    #[must_use]
    pub const fn is_measured(&self) -> bool {
        self.is_measured
    }

    /// Requests without a first byte.
    #[must_use]
    pub const fn outstanding(&self) -> u32 {
        self.outstanding
    }

    /// What [`Algorithm::PeakEwma`] compares: seconds until a further request would be answered if
    /// the endpoint took one at a time. Less is better.
    ///
    /// Zero for an endpoint that was never measured and has nothing to do: among peers that answer
    /// sooner than its credit it would otherwise wait for the credit to fade, 34 s from 30 ms to 1.
    /// One request finds out.
    #[must_use]
    pub fn score(&self, settings: &Settings, now: Moment) -> f64 {
        if !self.is_measured && self.outstanding == 0 {
            return 0.0;
        }
        let latency = self.faded(settings, now).max(LATENCY_FLOOR.as_secs_f64());
        latency * (f64::from(self.outstanding) + 1.0)
    }

    /// What the algorithm of the settings compares; less is better.
    #[must_use]
    pub fn cost(&self, settings: &Settings, now: Moment) -> f64 {
        match settings.algorithm {
            Algorithm::PeakEwma => self.score(settings, now),
            Algorithm::LeastRequest => f64::from(self.outstanding),
            Algorithm::RoundRobin | Algorithm::Random => 0.0,
        }
    }

    /// The share that slow start grants, 0.1 to 1: linear in the time since it was new.
    #[must_use]
    pub fn warmth(&self, settings: &Settings, now: Moment) -> f64 {
        let window = settings.slow_start.as_secs_f64();
        if window <= 0.0 {
            return 1.0;
        }
        (now.saturating_since(self.ramp_began).as_secs_f64() / window).clamp(WARMTH_MIN, 1.0)
    }

    /// Seconds: `v × e^(−dt/τ)`.
    fn faded(&self, settings: &Settings, now: Moment) -> f64 {
        self.latency * self.retention(settings, now)
    }

    /// A sample above the faded average replaces it; one below pulls by `1 − e^(−dt/τ)`.
    fn blend(&self, settings: &Settings, faded: f64, sample: f64, now: Moment) -> f64 {
        if sample > faded {
            return sample;
        }
        let retention = self.retention(settings, now);
        faded * retention + sample * (1.0 - retention)
    }

    fn retention(&self, settings: &Settings, now: Moment) -> f64 {
        let decay = settings.decay.as_secs_f64();
        if decay <= 0.0 {
            return 0.0;
        }
        (-now.saturating_since(self.updated).as_secs_f64() / decay).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Moment = Moment::from_millis(1_000);

    fn measured(millis: u64) -> Load {
        let settings = Settings::default();
        let mut load = Load::new(&settings, START);
        load.begin();
        load.end(&settings, Sample::Answered(Duration::from_millis(millis)), START);
        load
    }

    #[track_caller]
    fn check_millis(load: &Load, after: Duration, expected: f64) {
        let latency = load.latency(&Settings::default(), START + after).as_secs_f64() * 1_000.0;
        assert!((latency - expected).abs() < 0.1, "{latency} ms, not {expected} ms");
    }

    // mesh 12b: 2
    #[test]
    fn the_average_fades_by_e_in_each_time_constant() {
        let load = measured(100);
        check_millis(&load, Duration::from_secs(10), 36.79);
        check_millis(&load, Duration::from_secs(20), 13.53);
    }

    // mesh 12b: 2
    #[test]
    fn a_peak_is_believed_at_once_and_a_dip_as_time_passes() {
        let settings = Settings::default();
        let mut load = measured(100);
        load.end(&settings, Sample::Answered(Duration::from_millis(200)), START);
        check_millis(&load, Duration::ZERO, 200.0);

        let mut load = measured(100);
        let later = Duration::from_secs(10);
        load.end(&settings, Sample::Answered(Duration::from_millis(10)), START + later);
        let (faded, weight) = (100.0 * (-1_f64).exp(), 1.0 - (-1_f64).exp());
        check_millis(&load, later, faded * (1.0 - weight) + 10.0 * weight);
    }

    #[test]
    fn the_first_answer_replaces_the_credit() {
        check_millis(&Load::new(&Settings::default(), START), Duration::ZERO, 30.0);
        check_millis(&measured(2), Duration::ZERO, 2.0);
    }

    #[test]
    fn a_failure_counts_as_the_penalty_and_retry_after_only_raises_it() {
        let settings = Settings::default();
        let check = |retry_after: Option<u64>, expected| {
            let mut load = measured(2);
            let retry_after = retry_after.map(Duration::from_secs);
            let sample = Sample::Failed { after: Duration::from_millis(1), retry_after };
            load.end(&settings, sample, START);
            check_millis(&load, Duration::ZERO, expected);
        };
        check(None, 5_000.0);
        check(Some(1), 5_000.0);
        check(Some(30), 30_000.0);
        check(Some(86_400), 300_000.0);
    }

    #[test]
    fn a_cancelled_request_never_lowers_the_average() {
        let settings = Settings::default();
        let mut load = measured(100);
        load.end(&settings, Sample::Cancelled(Duration::from_millis(1)), START);
        check_millis(&load, Duration::ZERO, 100.0);
        load.end(&settings, Sample::Cancelled(Duration::from_millis(900)), START);
        check_millis(&load, Duration::ZERO, 900.0);
    }

    #[test]
    fn outstanding_counts_up_and_down_and_not_below_zero() {
        let settings = Settings::default();
        let mut load = Load::new(&settings, START);
        load.begin();
        load.begin();
        assert_eq!(load.outstanding(), 2);
        for _ in 0..3 {
            load.end(&settings, Sample::Cancelled(Duration::ZERO), START);
        }
        assert_eq!(load.outstanding(), 0);
    }

    #[test]
    fn warmth_grows_from_a_tenth_to_one_and_begins_anew_when_cooled() {
        let settings = Settings { slow_start: Duration::from_secs(30), ..Settings::default() };
        let mut load = Load::new(&settings, START);
        let check = |load: &Load, at: u64, expected: f64| {
            let warmth = load.warmth(&settings, START + Duration::from_secs(at));
            assert!((warmth - expected).abs() < 1e-9, "{warmth} after {at} s");
        };
        check(&load, 0, 0.1);
        check(&load, 15, 0.5);
        check(&load, 30, 1.0);
        check(&load, 90, 1.0);
        load.cool(START + Duration::from_secs(90));
        assert!(load.warmth(&settings, START + Duration::from_secs(91)) < 0.2);
        assert!(load.warmth(&Settings::default(), START) >= 1.0);
    }
}
