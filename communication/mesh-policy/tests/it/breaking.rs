//! Breakers over time, alone and as the endpoints of one destination.

use std::time::Duration;

use base::Random;
use mesh_policy::{
    Moment,
    breaker::{
        Breaker, Floor, Pass, Reason, Settings, State, Transition, Verdict, excludable_max, floors,
        verdict_of_grpc, verdict_of_status,
    },
};

const START: Moment = Moment::from_millis(100_000);

struct Endpoint {
    settings: Settings,
    /// What its answers say in Retry-After.
    asked: Option<Duration>,
    breaker: Breaker,
    random: Random,
    now: Moment,
}

impl Endpoint {
    fn new(settings: Settings) -> Self {
        let random = Random::with_seed(41);
        Self { settings, asked: None, breaker: Breaker::new(), random, now: START }
    }

    fn record(&mut self, pass: Pass, verdict: Verdict) -> Option<Transition> {
        self.breaker.record(&self.settings, pass, verdict, self.asked, self.now, &mut self.random)
    }

    fn ends(&mut self, verdicts: &[Verdict]) -> Option<Transition> {
        verdicts.iter().find_map(|&it| self.record(Pass::Normal, it))
    }

    fn open(&mut self) -> Duration {
        match self.ends(&[Verdict::Failure; 7]) {
            Some(Transition::Opened { wait, .. }) => wait,
            other => panic!("{other:?}"),
        }
    }

    fn admit(&mut self) -> Option<Pass> {
        self.breaker.admit(Floor::Excludable, self.now)
    }

    fn probe_after(&mut self, wait: Duration, verdict: Verdict) -> Option<Transition> {
        self.now = self.now + wait;
        assert_eq!(self.admit(), Some(Pass::Probe));
        self.record(Pass::Probe, verdict)
    }
}

#[track_caller]
fn check(settings: Settings, verdicts: &[Verdict], expected: Option<Reason>) {
    let found = match Endpoint::new(settings).ends(verdicts) {
        Some(Transition::Opened { reason, .. }) => Some(reason),
        None => None,
        other => panic!("{other:?}"),
    };
    assert_eq!(found, expected, "{verdicts:?}");
}

// mesh 12b: 29
#[test]
fn seven_failures_in_a_row_open_it_and_six_do_not() {
    use Verdict::{Failure, Success};
    check(Settings::default(), &[Failure; 7], Some(Reason::ConsecutiveFailures));
    check(Settings::default(), &[Failure; 6], None);
    let mut interrupted = vec![Failure; 6];
    interrupted.push(Success);
    interrupted.extend([Failure; 6]);
    check(Settings::default(), &interrupted, None);
    let off = Settings { consecutive_failures: 0, requests_min: 1_000, ..Settings::default() };
    check(off, &[Failure; 900], None);
}

// mesh 12b: 31
#[test]
fn alternating_failures_open_it_by_the_rate_alone() {
    let alternating = [Verdict::Success, Verdict::Failure].repeat(10);
    check(Settings::default(), &alternating, Some(Reason::SuccessRate));
    check(Settings::default(), &alternating[..19], None);
    let early = Settings { requests_min: 5, ..Settings::default() };
    check(early, &alternating[..6], Some(Reason::SuccessRate));
    check(Settings { success_rate_min: 0.0, ..early }, &alternating, None);
    let mut four_of_five = [Verdict::Success; 5];
    four_of_five[4] = Verdict::Failure;
    check(Settings::default(), &four_of_five.repeat(20), None);
}

#[test]
fn failures_outside_the_window_do_not_count_against_the_rate() {
    let mut endpoint = Endpoint::new(Settings::default());
    for _ in 0..100 {
        assert_eq!(endpoint.ends(&[Verdict::Success, Verdict::Failure]), None);
        endpoint.now = endpoint.now + Duration::from_secs(2);
    }
}

// mesh 12b: 32
#[test]
fn throttling_counts_neither_against_the_rate_nor_in_the_run() {
    let rate_off = Settings { success_rate_min: 0.0, ..Settings::default() };
    check(Settings::default(), &[Verdict::Throttled; 100], None);
    let mut around = vec![Verdict::Failure; 6];
    around.extend([Verdict::Throttled, Verdict::Failure]);
    check(rate_off, &around, Some(Reason::ConsecutiveFailures));
}

// mesh 12b: 32
#[test]
fn a_throttled_probe_leaves_it_shut() {
    let mut endpoint = Endpoint::new(Settings::default());
    let wait = endpoint.open();
    let after = endpoint.probe_after(wait, Verdict::Throttled);
    assert!(matches!(after, Some(Transition::Reopened { .. })), "{after:?}");
    assert_eq!(endpoint.admit(), None);
}

#[test]
fn an_endpoint_that_says_when_to_come_back_is_probed_then_however_often_it_says_so() {
    let bounds =
        |seconds: u64| Duration::from_secs(seconds)..=Duration::from_millis(seconds * 1_500);
    // Not before the first wait of all, and not after the longest.
    for (asked, expected) in [(1, bounds(1)), (5, bounds(5)), (0, bounds(1)), (3_600, bounds(40))] {
        let mut endpoint = Endpoint::new(Settings::default());
        let mut wait = endpoint.open();
        endpoint.asked = Some(Duration::from_secs(asked));
        for verdict in [Verdict::Failure, Verdict::Throttled].repeat(10) {
            let Some(Transition::Reopened { wait: next }) = endpoint.probe_after(wait, verdict)
            else {
                panic!("a probe failed and it did not stay open");
            };
            assert!(expected.contains(&next), "{asked} s were asked for, {next:?} it is");
            wait = next;
        }
        // Silent again: the wait doubles from where it stood before.
        endpoint.asked = None;
        let after = endpoint.probe_after(wait, Verdict::Failure);
        let Some(Transition::Reopened { wait }) = after else { panic!("{after:?}") };
        assert!(bounds(2).contains(&wait), "{wait:?}");
    }
}

// mesh 12b: 33
#[test]
fn what_the_caller_did_wrong_never_opens_it() {
    for status in [400, 401, 403, 404, 409, 412, 422, 499] {
        check(Settings::default(), &[verdict_of_status(status); 1_000], None);
    }
    check(Settings::default(), &[verdict_of_grpc(7); 1_000], None);
}

// mesh 12b: 30
#[test]
fn while_open_nothing_passes_and_then_exactly_one_probe() {
    let mut endpoint = Endpoint::new(Settings::default());
    let wait = endpoint.open();
    assert!((1_000..=1_500).contains(&wait.as_millis()), "{wait:?}");
    assert_eq!(endpoint.breaker.until_next_try(endpoint.now), Some(wait));
    endpoint.now = endpoint.now + (wait - Duration::from_nanos(1));
    assert_eq!(endpoint.breaker.state(endpoint.now), State::Open);
    assert!((0..100).all(|_| endpoint.admit().is_none()));
    endpoint.now = endpoint.now + Duration::from_nanos(1);
    assert_eq!(endpoint.breaker.state(endpoint.now), State::HalfOpen);
    let passes: Vec<_> = (0..100).filter_map(|_| endpoint.admit()).collect();
    assert_eq!(passes, [Pass::Probe]);
    assert!(!endpoint.breaker.would_admit(Floor::Kept, endpoint.now));
    assert_eq!(endpoint.breaker.until_next_try(endpoint.now), None);
    assert_eq!(endpoint.record(Pass::Probe, Verdict::Success), Some(Transition::Closed));
    assert!((0..100).all(|_| endpoint.admit() == Some(Pass::Normal)));
    assert_eq!(endpoint.ends(&[Verdict::Failure; 6]), None, "the run begins anew");
}

// mesh 12b: 30
#[test]
fn each_failed_probe_doubles_the_wait_up_to_the_cap_and_jitter_stays_below_it() {
    let bases = [2_000.0, 4_000.0, 8_000.0, 16_000.0, 32_000.0, 40_000.0, 40_000.0];
    let mut at_the_cap = Vec::new();
    for seed in 0..50 {
        let mut endpoint = Endpoint::new(Settings::default());
        endpoint.random = Random::with_seed(seed);
        let mut wait = endpoint.open();
        for base in bases {
            wait = match endpoint.probe_after(wait, Verdict::Failure) {
                Some(Transition::Reopened { wait }) => wait,
                other => panic!("{other:?}"),
            };
            let millis = wait.as_secs_f64() * 1_000.0;
            assert!((base..=base * 1.5).contains(&millis), "{millis} ms from {base} ms");
        }
        at_the_cap.push(wait);
    }
    at_the_cap.sort_unstable();
    at_the_cap.dedup();
    assert!(at_the_cap.len() > 40, "breakers at the cap must not probe together");
    assert!(at_the_cap.last() <= Some(&Settings::default().open_max));
}

#[test]
fn a_success_from_before_it_opened_does_not_close_it() {
    let mut endpoint = Endpoint::new(Settings::default());
    endpoint.open();
    assert_eq!(endpoint.ends(&[Verdict::Success; 50]), None);
    assert_eq!(endpoint.breaker.state(endpoint.now), State::Open);
}

#[test]
fn a_probe_that_is_given_back_or_says_nothing_is_free_for_the_next() {
    let mut endpoint = Endpoint::new(Settings::default());
    let wait = endpoint.open();
    assert_eq!(endpoint.probe_after(wait, Verdict::Neutral), None);
    assert_eq!(endpoint.admit(), Some(Pass::Probe));
    endpoint.breaker.give_back(Pass::Normal);
    assert_eq!(endpoint.admit(), None);
    endpoint.breaker.give_back(Pass::Probe);
    assert_eq!(endpoint.admit(), Some(Pass::Probe));
}

// mesh 12b: 35
#[test]
fn other_settings_change_the_numbers_and_not_what_is_known() {
    let mut endpoint = Endpoint::new(Settings::default());
    assert_eq!(endpoint.ends(&[Verdict::Failure; 4]), None);
    endpoint.settings.consecutive_failures = 5;
    assert!(endpoint.ends(&[Verdict::Failure]).is_some());
    let until = endpoint.breaker.until_next_try(endpoint.now);
    endpoint.settings = Settings { open_initial: Duration::from_secs(9), ..Settings::default() };
    assert_eq!(endpoint.breaker.until_next_try(endpoint.now), until);
}

// mesh 12b: 8
#[test]
fn a_kept_endpoint_is_tried_before_its_time_with_one_request_at_a_time() {
    let mut endpoint = Endpoint::new(Settings::default());
    let wait = endpoint.open();
    for _ in 0..20 {
        assert_eq!(endpoint.breaker.admit(Floor::Kept, endpoint.now), Some(Pass::Probe));
        assert_eq!(endpoint.breaker.admit(Floor::Kept, endpoint.now), None);
        assert_eq!(endpoint.record(Pass::Probe, Verdict::Failure), None);
    }
    assert_eq!(endpoint.breaker.until_next_try(endpoint.now), Some(wait), "the schedule stands");
    assert_eq!(endpoint.breaker.admit(Floor::Kept, endpoint.now), Some(Pass::Probe));
    assert_eq!(endpoint.record(Pass::Probe, Verdict::Success), Some(Transition::Closed));
}

// mesh 12b: 8, 30
#[test]
fn over_any_history_one_probe_at_a_time_and_never_more_than_the_bound_excluded() {
    let (mut opened, mut closed) = (0, 0);
    for seed in 0..42 {
        let mut history = History::new(seed);
        for _ in 0..4_000 {
            history.step();
        }
        opened += history.opened;
        closed += history.closed;
    }
    assert!(opened > 500 && closed > 500, "{opened} opened and {closed} closed say nothing");
}

/// A destination whose endpoints fall ill and recover.
struct History {
    seed: u64,
    random: Random,
    now: Moment,
    endpoints: Vec<Breaker>,
    /// Endpoint and pass of each request on its way.
    outstanding: Vec<(usize, Pass)>,
    opened: u32,
    closed: u32,
}

impl History {
    fn new(seed: u64) -> Self {
        let count = usize::try_from(seed % 7).unwrap() + 1;
        Self {
            seed,
            random: Random::with_seed(seed),
            now: START,
            endpoints: vec![Breaker::new(); count],
            outstanding: Vec::new(),
            opened: 0,
            closed: 0,
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.random.below(bound as u64)).unwrap()
    }

    fn step(&mut self) {
        self.now = self.now + Duration::from_millis(self.random.below(200));
        if self.random.below(2) == 0 && self.outstanding.len() < 200 {
            self.send();
        } else if !self.outstanding.is_empty() {
            self.end();
        }
        let mut probes = vec![0; self.endpoints.len()];
        for (index, pass) in &self.outstanding {
            probes[*index] += u32::from(*pass == Pass::Probe);
        }
        assert!(probes.iter().all(|&it| it <= 1), "seed {}: {probes:?}", self.seed);
    }

    fn floors(&self) -> Vec<Floor> {
        floors(&self.endpoints.iter().map(Breaker::open_since).collect::<Vec<_>>())
    }

    fn send(&mut self) {
        let floors = self.floors();
        let excluded = (0..floors.len())
            .filter(|&it| self.endpoints[it].open_since().is_some())
            .filter(|&it| floors[it] == Floor::Excludable)
            .count();
        let bound = excludable_max(self.endpoints.len());
        assert!(excluded <= bound, "seed {}: {excluded} of {bound}", self.seed);
        let index = self.below(self.endpoints.len());
        let would = self.endpoints[index].would_admit(floors[index], self.now);
        let pass = self.endpoints[index].admit(floors[index], self.now);
        assert_eq!(would, pass.is_some(), "seed {}", self.seed);
        self.outstanding.extend(pass.map(|pass| (index, pass)));
    }

    fn end(&mut self) {
        let which = self.below(self.outstanding.len());
        let (index, pass) = self.outstanding.swap_remove(which);
        // Half of the time everything is ill.
        let is_ill = (self.now.saturating_since(START).as_secs() / 30).is_multiple_of(2);
        let verdict = match self.random.below(10) {
            0 => return self.endpoints[index].give_back(pass),
            1 => Verdict::Neutral,
            2 => Verdict::Throttled,
            _ if is_ill => Verdict::Failure,
            _ => Verdict::Success,
        };
        let settings = Settings::default();
        let breaker = &mut self.endpoints[index];
        match breaker.record(&settings, pass, verdict, None, self.now, &mut self.random) {
            Some(Transition::Opened { .. }) => self.opened += 1,
            Some(Transition::Closed) => self.closed += 1,
            Some(Transition::Reopened { .. }) | None => {}
        }
    }
}
