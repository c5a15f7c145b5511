//! What is tried again, when, and how often.

use std::time::Duration;

use base::Random;
use mesh_policy::{
    Moment,
    retry::{
        Budget, Decision, Failure, Repeatable, RouteRetry, Settings, Situation, StopReason, decide,
        is_saga_operation, repeatable,
    },
};

const NOW: Moment = Moment::from_millis(100_000);

fn situation() -> Situation {
    Situation {
        repeatable: Repeatable::Yes,
        depth: 0,
        tries: 1,
        failure: Failure::Status(503),
        body_is_replayable: true,
        answer_begun: false,
        retry_after: None,
        time_left: Some(Duration::from_secs(2)),
    }
}

fn outcome(route: Option<&RouteRetry>, situation: Situation) -> Result<Duration, StopReason> {
    let settings = Settings::default();
    let mut budget = Budget::new(&settings);
    let mut random = Random::with_seed(41);
    match decide(&settings, route, &situation, &mut budget, NOW, &mut random) {
        Decision::Again { after } => Ok(after),
        Decision::Stop(reason) => Err(reason),
    }
}

/// `None` means again.
#[track_caller]
fn check(situation: Situation, expected: Option<StopReason>) {
    assert_eq!(outcome(None, situation).err(), expected, "{situation:?}");
}

// mesh 12b: 17, 18, 19, 20, 26
#[test]
fn each_failure_is_tried_again_only_where_it_may_be() {
    use Failure::{Grpc, Judged, Reset, Status, TryTimeout, Unprocessed};
    use Repeatable::{Never, WhenUnprocessed, Yes};
    use StopReason::{NestedRetry, NotRepeatable, NotRetryable};
    let rows = [
        (Unprocessed, Yes, None),
        (Unprocessed, WhenUnprocessed, None),
        (Unprocessed, Never, Some(NotRepeatable)),
        (Reset, Yes, None),
        (Reset, WhenUnprocessed, Some(NotRepeatable)),
        (TryTimeout, Yes, None),
        (TryTimeout, WhenUnprocessed, Some(NotRepeatable)),
        (Status(502), Yes, None),
        (Status(503), Yes, None),
        (Status(503), WhenUnprocessed, Some(NotRepeatable)),
        (Status(504), Yes, None),
        (Status(500), Yes, Some(NotRetryable)),
        (Status(429), Yes, Some(NotRetryable)),
        (Status(404), Yes, Some(NotRetryable)),
        (Grpc(14), Yes, None),
        (Grpc(4), Yes, None),
        (Grpc(14), WhenUnprocessed, Some(NotRepeatable)),
        (Grpc(1), Yes, Some(NotRetryable)),
        (Grpc(7), Yes, Some(NotRetryable)),
        (Grpc(13), Yes, Some(NotRetryable)),
        (Judged, Yes, Some(NestedRetry)),
    ];
    for (failure, repeatable, expected) in rows {
        check(Situation { failure, repeatable, ..situation() }, expected);
    }
}

#[test]
fn one_obstacle_is_enough() {
    check(situation(), None);
    check(Situation { depth: 1, ..situation() }, Some(StopReason::NestedRetry));
    check(Situation { answer_begun: true, ..situation() }, Some(StopReason::NotRetryable));
    let body_is_gone = Situation { body_is_replayable: false, ..situation() };
    check(body_is_gone, Some(StopReason::BodyNotReplayable));
    check(Situation { tries: 2, ..situation() }, None);
    check(Situation { tries: 3, ..situation() }, Some(StopReason::AttemptsExhausted));
    // mesh 12b: 24
    let late = Situation { time_left: Some(Duration::from_millis(25)), ..situation() };
    check(late, Some(StopReason::NoTimeLeft));
    check(
        Situation { time_left: Some(Duration::ZERO), ..situation() },
        Some(StopReason::NoTimeLeft),
    );
}

// mesh 12b: 18
#[test]
fn a_request_is_repeatable_by_method_key_or_route_and_never_by_them_when_a_saga_calls() {
    use Repeatable::{Never, WhenUnprocessed, Yes};
    for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"] {
        assert_eq!(repeatable(method, false, false, false), Yes, "{method}");
        assert_eq!(repeatable(method, true, true, true), WhenUnprocessed, "{method}");
    }
    for method in ["POST", "PATCH", "get", "PURGE"] {
        assert_eq!(repeatable(method, false, false, false), WhenUnprocessed, "{method}");
        assert_eq!(repeatable(method, true, false, false), Yes, "{method}");
        assert_eq!(repeatable(method, false, false, true), Yes, "{method}");
        assert_eq!(repeatable(method, true, true, true), WhenUnprocessed, "{method}");
    }
    assert_eq!(repeatable("CONNECT", true, false, true), Never);
    assert!(is_saga_operation(Some("7f/create/book/do/0"), false));
    assert!(is_saga_operation(None, true));
    assert!(!is_saga_operation(Some("7f/create/book/perhaps/0"), false));
    assert!(!is_saga_operation(None, false));
}

// mesh 12b: 23
#[test]
fn waits_double_from_25_to_50_ms_and_stay_jittered_below_the_cap() {
    let settings = Settings { attempts: 9, ..Settings::default() };
    for (tries, lowest, highest) in
        [(1, 25, 50), (2, 50, 100), (3, 100, 200), (4, 125, 250), (9, 125, 250)]
    {
        let mut random = Random::with_seed(tries);
        let mut waits: Vec<Duration> = (0..200)
            .map(|_| {
                let situation = Situation { tries: u32::try_from(tries).unwrap(), ..situation() };
                let mut budget = Budget::new(&settings);
                match decide(&settings, None, &situation, &mut budget, NOW, &mut random) {
                    Decision::Again { after } => after,
                    Decision::Stop(reason) => panic!("{reason:?}"),
                }
            })
            .collect();
        waits.sort_unstable();
        let (least, most) = (waits[0], waits[199]);
        let span = Duration::from_millis(highest - lowest);
        assert!(least >= Duration::from_millis(lowest), "{tries}: {least:?}");
        assert!(most <= Duration::from_millis(highest), "{tries}: {most:?}");
        assert!(most - least > span.mul_f64(0.9), "{tries}: {least:?} to {most:?}");
    }
}

#[test]
fn a_routes_codes_attempts_and_backoff_win() {
    let route = RouteRetry {
        codes: vec![500],
        attempts: Some(3),
        backoff: Some(Duration::from_millis(400)),
        is_idempotent: false,
    };
    let again = |failure, tries| outcome(Some(&route), Situation { failure, tries, ..situation() });
    let after = again(Failure::Status(500), 3).unwrap();
    assert!((400..=800).contains(&after.as_millis()), "{after:?}");
    assert_eq!(again(Failure::Status(500), 4), Err(StopReason::AttemptsExhausted));
    assert_eq!(again(Failure::Status(503), 1), Err(StopReason::NotRetryable));
    assert!(again(Failure::Grpc(13), 1).is_ok());
    assert!(again(Failure::Unprocessed, 1).is_ok());
    let bare = RouteRetry::default();
    assert!(outcome(Some(&bare), situation()).unwrap() <= Duration::from_millis(50));
}

// mesh 12b: 25
#[test]
fn retry_after_is_a_lower_bound_where_it_fits_and_else_the_end() {
    let asked = |seconds, left| {
        let retry_after = Some(Duration::from_secs(seconds));
        let time_left = Some(Duration::from_millis(left));
        outcome(None, Situation { retry_after, time_left, ..situation() })
    };
    assert_eq!(asked(1, 2_000), Ok(Duration::from_secs(1)));
    assert_eq!(asked(1, 1_000), Err(StopReason::NoTimeLeft));
    assert_eq!(asked(86_400, 100_000_000), Err(StopReason::NoTimeLeft));
    assert!(asked(0, 2_000).unwrap() >= Duration::from_millis(25));
}

#[test]
fn a_stop_costs_nothing_and_an_unprocessed_try_costs_as_any() {
    let settings = Settings::default();
    let mut budget = Budget::new(&settings);
    let mut random = Random::with_seed(1);
    let mut again = |situation: Situation| {
        let decision = decide(&settings, None, &situation, &mut budget, NOW, &mut random);
        (decision, budget.balance(NOW))
    };
    let (_, left) = again(Situation { time_left: Some(Duration::ZERO), ..situation() });
    assert!((left - 10.0).abs() < 1e-9);
    let unprocessed = Situation { failure: Failure::Unprocessed, ..situation() };
    for used in 1..=10 {
        let (decision, left) = again(unprocessed);
        assert!(matches!(decision, Decision::Again { .. }));
        assert!((left - (10.0 - f64::from(used))).abs() < 1e-9);
    }
    assert_eq!(again(unprocessed).0, Decision::Stop(StopReason::BudgetExhausted));
}

// mesh 12b: 21; reliability M1
#[test]
fn of_a_thousand_failing_requests_a_second_a_fifth_and_ten_are_tried_again() {
    let settings = Settings { attempts: 3, ..Settings::default() };
    let mut budget = Budget::new(&settings);
    let mut random = Random::with_seed(3);
    let mut retries = 0;
    for request in 0..60_000_u64 {
        let now = Moment::from_millis(request);
        budget.arrive(0, now);
        for tries in 1..=4 {
            let situation = Situation { tries, ..situation() };
            match decide(&settings, None, &situation, &mut budget, now, &mut random) {
                Decision::Again { .. } => retries += 1,
                Decision::Stop(_) => break,
            }
        }
    }
    assert!((10_000..=12_000 + 600 + 10).contains(&retries), "{retries} retries of 60,000");
}

/// Share and reserve are paid apart, so each is held to its own bound: of the ten seconds before any
/// retry for the share, of any time for the reserve.
#[test]
fn retries_are_at_most_a_fifth_of_ten_seconds_requests_and_ten_a_second_beside() {
    let share = Settings { budget_min_per_second: 0.0, ..Settings::default() };
    let reserve = Settings { budget_ratio: 0.0, ..Settings::default() };
    for seed in 0..8 {
        let (requests, retries) = history(&share, seed);
        assert!(retries.len() > 200, "seed {seed}: {} retries say nothing", retries.len());
        for (index, &end) in retries.iter().enumerate() {
            let retried = within(&retries[..=index], end, 10);
            let requested = within(&requests, end, 10);
            assert!(retried * 5 <= requested, "seed {seed}: {retried} of {requested}");
        }
        let (_, retries) = history(&reserve, seed);
        for (index, &end) in retries.iter().enumerate() {
            for seconds in [1, 10] {
                let retried = within(&retries[..=index], end, seconds);
                assert!(retried as u64 <= 10 * seconds + 10, "seed {seed}: {retried}");
            }
        }
    }
}

fn within(moments: &[Moment], end: Moment, seconds: u64) -> usize {
    let is_before = |it: &Moment| end.saturating_since(*it) > Duration::from_secs(seconds);
    let (first, last) =
        (moments.partition_point(is_before), moments.partition_point(|it| *it <= end));
    last - first
}

/// Requests and retries of a load whose rate and failures change every few seconds.
fn history(settings: &Settings, seed: u64) -> (Vec<Moment>, Vec<Moment>) {
    let mut budget = Budget::new(settings);
    let mut random = Random::with_seed(seed);
    let (mut requests, mut retries) = (Vec::new(), Vec::new());
    let (mut now, mut phase_ends, mut rate, mut failing) = (NOW, NOW, 1, 0);
    for _ in 0..30_000 {
        if now >= phase_ends {
            phase_ends = now + Duration::from_millis(500 + random.below(20_000));
            rate = 1 + random.below(1_000);
            failing = [0, 3, 10][usize::try_from(random.below(3)).unwrap()];
        }
        now = now + Duration::from_micros(2 * random.below(1_000_000 / rate) + 1);
        budget.arrive(0, now);
        requests.push(now);
        for _ in 0..2 {
            if random.below(10) < failing && budget.withdraw(now) {
                retries.push(now);
            }
        }
    }
    (requests, retries)
}
