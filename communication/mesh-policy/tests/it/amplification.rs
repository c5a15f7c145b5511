//! Three hops that all retry, in simulated time: how many calls reach the last service.
//!
//! edge → first → second → third: the edge, the first and the second service each call the next one
//! with retries on. Only the decisions are real; a service either works or fails by a seeded draw.

use std::time::Duration;

use base::Random;
use mesh_policy::{
    Moment,
    retry::{Budget, Decision, Failure, Repeatable, Settings, Situation, decide},
};

const HOPS: usize = 3;
const RATE: u64 = 200;
const SECONDS: u64 = 60;

/// Whether a service calls the next one before it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fails {
    First,
    Last,
}

#[derive(Debug, Clone, Copy)]
struct Scenario {
    /// Percent of calls that fail at each service, from second 0 on and from half time on.
    percents: [[u64; HOPS]; 2],
    fails: Fails,
    /// Whether failed answers carry `Skein-Attempt` back.
    is_marked: bool,
}

struct System {
    scenario: Scenario,
    settings: Settings,
    budgets: [Budget; HOPS],
    calls: [u64; HOPS],
    random: Random,
}

/// How a call ended.
enum End {
    Answered,
    Failed,
    Judged,
}

impl System {
    fn new(scenario: Scenario, seed: u64) -> Self {
        let settings = Settings::default();
        Self {
            scenario,
            budgets: std::array::from_fn(|_| Budget::new(&settings)),
            settings,
            calls: [0; HOPS],
            random: Random::with_seed(seed),
        }
    }

    /// What a client at this hop sees: tries of the service behind it until one succeeds.
    fn call(&mut self, hop: usize, depth: u32, mut now: Moment) -> End {
        self.budgets[hop].arrive(depth, now);
        for tries in 1.. {
            let failure = match self.serve(hop, depth + tries - 1, now) {
                End::Answered => return End::Answered,
                End::Failed => Failure::Status(503),
                End::Judged => Failure::Judged,
            };
            let situation = Situation {
                repeatable: Repeatable::Yes,
                depth,
                tries,
                failure,
                body_is_replayable: true,
                answer_begun: false,
                retry_after: None,
                time_left: Some(Duration::from_secs(2)),
            };
            let Self { settings, budgets, random, .. } = self;
            match decide(settings, None, &situation, &mut budgets[hop], now, random) {
                Decision::Again { after } => now = now + after,
                Decision::Stop(_) => break,
            }
        }
        if self.scenario.is_marked { End::Judged } else { End::Failed }
    }

    /// One call of a service; it passes on what the one behind it says.
    fn serve(&mut self, hop: usize, depth: u32, now: Moment) -> End {
        self.calls[hop] += 1;
        let half = usize::from(now >= Moment::from_millis(SECONDS * 500));
        let is_ill = self.random.below(100) < self.scenario.percents[half][hop];
        if is_ill && self.scenario.fails == Fails::First {
            return End::Failed;
        }
        let behind = if hop + 1 < HOPS { self.call(hop + 1, depth, now) } else { End::Answered };
        if is_ill { End::Failed } else { behind }
    }
}

/// Calls of each service for each request at the edge.
fn amplification(scenario: Scenario, seed: u64) -> [f64; HOPS] {
    let mut system = System::new(scenario, seed);
    for request in 0..RATE * SECONDS {
        system.call(0, 0, Moment::from_millis(request * 1_000 / RATE));
    }
    system.calls.map(|it| it as f64 / (RATE * SECONDS) as f64)
}

/// The floor: ten retries a second, and the ten that each hop starts with.
fn floor() -> f64 {
    (10 * SECONDS + 10 * HOPS as u64) as f64 / (RATE * SECONDS) as f64
}

#[track_caller]
fn check(percents: [[u64; HOPS]; 2], fails: Fails, bound: f64) {
    for is_marked in [true, false] {
        for seed in 0..2 {
            let scenario = Scenario { percents, fails, is_marked };
            let seen = amplification(scenario, seed);
            let most = seen.into_iter().fold(0.0, f64::max);
            assert!(most <= bound + floor(), "{scenario:?}, seed {seed}: {seen:.3?}");
        }
    }
}

// mesh 12b: 28; reliability M2
#[test]
fn three_hops_amplify_a_failing_last_service_by_a_fifth_at_most() {
    for percent in [30, 100] {
        check([[0, 0, percent]; 2], Fails::First, 1.2);
    }
}

// mesh 12b: 28
#[test]
fn three_hops_amplify_by_a_fifth_wherever_and_however_they_fail() {
    for percent in [30, 100] {
        for fails in [Fails::First, Fails::Last] {
            check([[percent; HOPS]; 2], fails, 1.2);
            check([[percent, 0, percent]; 2], fails, 1.2);
        }
    }
}

/// The budget of a hop that retried for the old failure is still spent when retries for the new one
/// arrive: at most one window's share is spent twice, in a minute a sixth of it.
#[test]
fn a_failure_that_moves_costs_one_window_more() {
    let window = 0.2 * 10.0 / SECONDS as f64;
    check([[0, 0, 100], [100, 0, 0]], Fails::Last, 1.2 + window);
    check([[100, 0, 0], [0, 0, 100]], Fails::Last, 1.2 + window);
}

/// The mark is what keeps retries near the failure: with it, the healthy hops are not called twice.
#[test]
fn with_the_mark_only_the_hop_nearest_to_the_failure_retries() {
    let percents = [[0, 0, 100]; 2];
    let marked = Scenario { percents, fails: Fails::First, is_marked: true };
    let [first, second, third] = amplification(marked, 1);
    assert!(first <= 1.0 && second <= 1.0 && third > 1.1, "{first} {second} {third}");
    let unmarked = Scenario { is_marked: false, ..marked };
    let [first, _, third] = amplification(unmarked, 1);
    assert!(first > 1.1 && third <= 1.2 + floor(), "{first} {third}");
}
