//! Where requests go while endpoints are slow, broken, new or dead.

use std::time::Duration;

use base::Random;
use mesh_policy::{
    Moment,
    balance::{Algorithm, Candidates, Load, Sample, Settings, pick},
    breaker, retry,
};

use crate::simulation::{Outcome, Setup, Trouble, run};

const SECOND: Duration = Duration::from_secs(1);
const NOW: Moment = Moment::from_millis(1_000);

fn settings(algorithm: Algorithm) -> Settings {
    Settings { algorithm, ..Settings::default() }
}

#[track_caller]
fn check_success(algorithm: Algorithm, lowest: f64, highest: f64) {
    for seed in 41..43 {
        let outcome = run(&Setup { seed, ..Setup::buoyant(settings(algorithm)) });
        assert_eq!(outcome.answers.len(), 60_000);
        let percent = outcome.success_percent();
        let median = outcome.percentile(50, Duration::ZERO, 60 * SECOND);
        assert!((160..175).contains(&median.as_millis()), "{algorithm:?}: {median:?}");
        assert!((lowest..=highest).contains(&percent), "{algorithm:?}, seed {seed}: {percent} %");
    }
}

// mesh 12b: 5
#[test]
fn one_slow_backend_of_eleven_costs_round_robin_a_twentieth() {
    check_success(Algorithm::RoundRobin, 93.5, 96.5);
    check_success(Algorithm::Random, 93.5, 96.5);
}

// mesh 12b: 5
#[test]
fn one_slow_backend_of_eleven_costs_least_request_a_hundredth() {
    check_success(Algorithm::LeastRequest, 98.5, 99.9);
}

// mesh 12b: 5
#[test]
fn one_slow_backend_of_eleven_costs_peak_ewma_next_to_nothing() {
    check_success(Algorithm::PeakEwma, 99.7, 100.0);
}

struct Pair<'a>(&'a [Load; 2], &'a Settings);

impl Candidates for Pair<'_> {
    fn len(&self) -> usize {
        2
    }
    fn is_eligible(&self, _: usize) -> bool {
        true
    }
    fn score(&self, index: usize) -> f64 {
        self.0[index].cost(self.1, NOW)
    }
    fn weight(&self, index: usize) -> f64 {
        self.0[index].warmth(self.1, NOW)
    }
}

// mesh 12b: 3
#[test]
fn a_fast_endpoint_is_preferred_until_its_queue_costs_more() {
    let settings = Settings::default();
    let mut random = Random::with_seed(41);
    let mut loads = [10, 100].map(|millis| {
        let mut load = Load::new(&settings, NOW);
        load.end(&settings, Sample::Answered(Duration::from_millis(millis)), NOW);
        load
    });
    for outstanding in 0..20 {
        for _ in 0..100 {
            let picked = pick(Algorithm::PeakEwma, &Pair(&loads, &settings), 0, &mut random);
            match outstanding {
                0..=8 => assert_eq!(picked, Some(0), "with {outstanding} outstanding"),
                // 10 × 10 ms and 100 ms are the same.
                9 => {}
                _ => assert_eq!(picked, Some(1), "with {outstanding} outstanding"),
            }
        }
        loads[0].begin();
    }
}

fn steady(endpoints: usize, trouble: Trouble, balance: Settings) -> Setup {
    Setup {
        endpoints,
        requests_per_second: 500,
        length: 20 * SECOND,
        mean: Duration::from_millis(20),
        deviation: Duration::from_millis(2),
        trouble,
        ..Setup::buoyant(balance)
    }
}

fn shares(outcome: &Outcome, from: u32, until: u32) -> Vec<f64> {
    (0..outcome.calls.len()).map(|it| outcome.share(it, from * SECOND, until * SECOND)).collect()
}

/// The credit of 30 ms must not keep those out that were not the first to be measured.
#[test]
fn equal_endpoints_get_equal_shares_however_fast_they_are() {
    for algorithm in [Algorithm::PeakEwma, Algorithm::LeastRequest, Algorithm::RoundRobin] {
        for (requests_per_second, micros) in [(500, 20_000), (200, 500), (3_000, 2_000)] {
            let mean = Duration::from_micros(micros);
            let setup = Setup {
                requests_per_second,
                mean,
                deviation: mean / 4,
                length: 5 * SECOND,
                ..steady(3, Trouble::FailsFast { count: 0 }, settings(algorithm))
            };
            let shares = shares(&run(&setup), 0, 5);
            let is_fair = |it: &f64| (it - 1.0 / 3.0).abs() < 0.07;
            assert!(shares.iter().all(is_fair), "{algorithm:?}, {micros} µs: {shares:.3?}");
        }
    }
}

// mesh 12b: 4
#[test]
fn an_endpoint_that_fails_fast_draws_no_traffic() {
    let trouble = Trouble::FailsFast { count: 1 };
    let with_penalty = run(&steady(3, trouble, Settings::default()));
    assert!(shares(&with_penalty, 1, 20)[0] < 0.05, "{:?}", shares(&with_penalty, 1, 20));
    // What it would be if failing were taken for answering.
    let penalty = Settings { failure_penalty: Duration::ZERO, ..Settings::default() };
    let without = run(&steady(3, trouble, penalty));
    assert!(shares(&without, 1, 20)[0] > 1.0 / 3.0, "{:?}", shares(&without, 1, 20));
}

// mesh 12b: 6
#[test]
fn a_new_endpoint_grows_into_its_share() {
    for algorithm in [Algorithm::PeakEwma, Algorithm::LeastRequest, Algorithm::RoundRobin] {
        let balance = Settings { slow_start: 30 * SECOND, ..settings(algorithm) };
        let added = Trouble::Added { at: 10 * SECOND };
        let setup =
            Setup { length: 70 * SECOND, requests_per_second: 1_000, ..steady(10, added, balance) };
        let outcome = run(&setup);
        let of_fair = |from, until| shares(&outcome, from, until)[9] * 10.0;
        assert!(of_fair(10, 14) <= 0.15, "{algorithm:?}: {}", of_fair(10, 14));
        assert!((of_fair(40, 70) - 1.0).abs() <= 0.1, "{algorithm:?}: {}", of_fair(40, 70));
    }
}

// reliability M10
#[test]
fn an_endpoint_ten_times_slower_gets_a_tenth_of_the_calls_at_most() {
    let latency = Duration::from_millis(200);
    let trouble = Trouble::Slow { from: Duration::ZERO, until: 60 * SECOND, latency };
    let outcome = run(&steady(4, trouble, Settings::default()));
    assert!(shares(&outcome, 2, 20)[0] < 0.1, "{:?}", shares(&outcome, 2, 20));
}

// mesh 12b: 27
#[test]
fn twenty_of_two_hundred_killed_at_once_cost_no_request_with_retries() {
    let killed = Trouble::Killed { count: 20, at: 5 * SECOND };
    let setup = |algorithm, retry| Setup {
        breaker: Some(breaker::Settings::default()),
        retry,
        ..steady(200, killed, settings(algorithm))
    };
    let failed = |algorithm, retry| run(&setup(algorithm, retry)).failed();
    assert_eq!(failed(Algorithm::PeakEwma, Some(retry::Settings::default())), 0);
    let (chosen, by_chance) = (failed(Algorithm::PeakEwma, None), failed(Algorithm::Random, None));
    assert!(chosen > 0 && chosen * 3 / 2 < by_chance, "{chosen} and {by_chance}");
}
