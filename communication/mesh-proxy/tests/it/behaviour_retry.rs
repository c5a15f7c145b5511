//! Retries: when a request is sent again, to whom, how often, and when never.

use std::time::Duration;

use mesh_policy::{
    balance, breaker,
    destination::{Attachments, Timeouts},
    retry,
    route::{Rule, Timeouts as RuleTimeouts},
};
use mesh_proxy::Source;

use super::stage::{
    Act, Backend, EVERYWHERE, Nobody, PATIENCE, Placement, Plan, Stage, ok, status,
};

/// Waits of next to nothing, a budget that is never the reason, endpoints in turn.
fn eager(attempts: u32) -> Attachments {
    let retry = retry::Settings {
        attempts,
        backoff_initial: Duration::from_millis(1),
        backoff_max: Duration::from_millis(2),
        budget_min_per_second: 1_000.0,
        ..retry::Settings::default()
    };
    let balance = balance::Settings {
        algorithm: balance::Algorithm::RoundRobin,
        ..balance::Settings::default()
    };
    Attachments { retry: Some(retry), balance: Some(balance), ..Attachments::default() }
}

fn fails_first(times: usize) -> impl Fn(usize, &super::stage::Seen) -> Act {
    move |hits, _| if hits < times { status(503) } else { ok() }
}

// mesh 12b: 17
#[tokio::test]
async fn a_request_is_tried_again_as_often_as_is_set_and_the_last_answer_stays() {
    for placement in EVERYWHERE {
        for (fails, expected, hits) in [(2, 200, 3), (4, 503, 4)] {
            let backend = Backend::new(fails_first(fails)).await;
            let plan = Plan { settings: eager(3), ..Plan::to(&[&backend]) };
            let stage = Stage::new(placement, &plan);
            let answer = stage.get("/things").await;
            assert_eq!((answer.status, backend.hits()), (expected, hits), "{placement:?}");
            assert_eq!(answer.code(), None, "it is the application's answer");
            let depths: Vec<_> = backend
                .seen()
                .iter()
                .map(|it| it.field("skein-attempt").map(str::to_owned))
                .collect();
            let told: Vec<_> = (0..hits).map(|it| (it > 0).then(|| it.to_string())).collect();
            assert_eq!(depths, told);
        }
    }
}

// mesh 12b: 18
#[tokio::test]
async fn a_post_is_sent_again_with_a_key_or_where_the_route_says_so() {
    for placement in EVERYWHERE {
        let keyed: &[_] = &[("Idempotency-Key", "\"k1\"")];
        // One that is empty tells nothing apart.
        let empty: &[_] = &[("Idempotency-Key", "")];
        let quotes: &[_] = &[("Idempotency-Key", "\"\"")];
        for (fields, route_says, hits) in [
            (&[][..], false, 1),
            (empty, false, 1),
            (quotes, false, 1),
            (keyed, false, 2),
            (&[], true, 2),
        ] {
            let backend = Backend::new(fails_first(1)).await;
            let retry = route_says
                .then(|| retry::RouteRetry { is_idempotent: true, ..retry::RouteRetry::default() });
            let rule = route_says.then(|| Rule { retry, ..Rule::default() });
            let plan = Plan { settings: eager(3), rule, ..Plan::to(&[&backend]) };
            let stage = Stage::new(placement, &plan);
            let answer = stage.call("POST", "/things", fields, "body").await;
            let expected = if hits == 1 { 503 } else { 200 };
            assert_eq!((answer.status, backend.hits()), (expected, hits), "{placement:?}");
            for seen in backend.seen() {
                assert_eq!(seen.field("idempotency-key"), fields.first().map(|it| it.1));
                assert_eq!(seen.body, b"body");
            }
        }
    }
}

// mesh 12b: 19 and 27
#[tokio::test]
async fn a_post_whose_connection_was_refused_goes_to_another_endpoint() {
    for placement in EVERYWHERE {
        let (backend, nobody) = (Backend::new(|_, _| ok()).await, Nobody::new());
        let mut plan = Plan { settings: eager(1), ..Plan::to(&[&backend]) };
        plan.endpoints.push(nobody.address());
        let stage = Stage::new(placement, &plan);
        for request in 1..=20 {
            let answer = stage.call("POST", "/things", &[], "body").await;
            assert_eq!((answer.status, backend.hits()), (200, request), "{placement:?}");
        }
        assert!(stage.count("mesh_attempts_total", &[("class", "none")]) > 0);
    }
}

// mesh 12b: 20
#[tokio::test]
async fn a_post_whose_connection_was_reset_is_not_sent_again() {
    for placement in EVERYWHERE {
        for act in [Act::SayAndReset(String::new()), Act::SayAndClose(String::new())] {
            let backend = Backend::new(move |_, _| act.clone()).await;
            let stage =
                Stage::new(placement, &Plan { settings: eager(3), ..Plan::to(&[&backend]) });
            let answer = stage.call("POST", "/things", &[], "body").await;
            assert_eq!((answer.status, backend.hits()), (502, 1), "{placement:?}");
            assert_eq!(answer.code(), Some("upstream_reset"));
        }
    }
}

/// An operation of a saga counts its own tries: the mesh may not even repeat what failed as a GET.
#[tokio::test]
async fn an_operation_of_a_saga_is_repeated_only_when_its_connection_was_refused() {
    let operation: &[_] = &[("Idempotency-Key", "\"d1/create/book/do/0\"")];
    let fenced: &[_] = &[("Skein-Epoch", "7"), ("Idempotency-Key", "\"plain\"")];
    for placement in EVERYWHERE {
        for (fields, method) in [(operation, "POST"), (operation, "PUT"), (fenced, "PUT")] {
            // The edge takes the epoch of strangers off.
            if placement == Placement::Edge && fields == fenced {
                continue;
            }
            for (act, status) in [(status(503), 503), (Act::SayAndReset(String::new()), 502)] {
                let backend = Backend::new(move |_, _| act.clone()).await;
                let plan = Plan { settings: eager(3), ..Plan::to(&[&backend]) };
                let stage = Stage::new(placement, &plan);
                let answer = stage.call(method, "/things", fields, "x").await;
                assert_eq!((answer.status, backend.hits()), (status, 1), "{placement:?}");
            }
            let (backend, nobody) = (Backend::new(|_, _| ok()).await, Nobody::new());
            let mut plan = Plan { settings: eager(1), ..Plan::to(&[&backend]) };
            plan.endpoints.push(nobody.address());
            let stage = Stage::new(placement, &plan);
            for _ in 0..10 {
                assert_eq!(stage.call(method, "/things", fields, "x").await.status, 200);
            }
        }
    }
}

// mesh 12b: 21
#[tokio::test]
async fn retries_are_a_fifth_of_requests_and_a_reserve_whatever_fails() {
    for placement in EVERYWHERE {
        let backend = Backend::new(|_, _| status(503)).await;
        let mut settings = eager(3);
        let retry = settings.retry.as_mut().unwrap();
        retry.budget_min_per_second = 10.0;
        // The breaker must not be what helps.
        settings.breaker = Some(never_open());
        let stage = Stage::new(placement, &Plan { settings, ..Plan::to(&[&backend]) });
        let began = tokio::time::Instant::now();
        for _ in 0..500 {
            assert_eq!(stage.get("/things").await.status, 503);
        }
        let seconds = usize::try_from(began.elapsed().as_secs()).unwrap() + 1;
        let (hits, most) = (backend.hits(), 600 + 10 * (seconds + 1));
        assert!((600..=most).contains(&hits), "{placement:?}: {hits}");
        let retries = stage.count("mesh_retries_total", &[]);
        assert_eq!(retries, hits as u64 - 500);
    }
}

pub(crate) fn never_open() -> breaker::Settings {
    breaker::Settings {
        consecutive_failures: 0,
        success_rate_min: 0.0,
        ..breaker::Settings::default()
    }
}

// mesh 12b: 22
#[tokio::test]
async fn a_body_of_64_kib_is_sent_again_and_one_byte_more_is_not() {
    for placement in EVERYWHERE {
        for (bytes, expected, hits) in [(64 << 10, 200, 2), ((64 << 10) + 1, 503, 1)] {
            let backend = Backend::new(fails_first(1)).await;
            let stage =
                Stage::new(placement, &Plan { settings: eager(3), ..Plan::to(&[&backend]) });
            let body: Vec<u8> = (0..bytes).map(|it| u8::try_from(it % 251).unwrap()).collect();
            let answer = stage.call("PUT", "/things", &[], &body).await;
            assert_eq!((answer.status, backend.hits()), (expected, hits), "{placement:?} {bytes}");
            assert!(backend.seen().iter().all(|it| it.is_whole && it.body == body));
        }
    }
}

// mesh 12b: 24
#[tokio::test]
async fn when_the_time_is_over_the_answer_is_504_and_no_try_begins() {
    for placement in EVERYWHERE {
        let backend = Backend::new(|_, _| Act::Hang).await;
        let timeouts = RuleTimeouts {
            request: Some(Duration::from_millis(120)),
            backend_request: Some(Duration::from_millis(50)),
        };
        let rule = Some(Rule { timeouts, ..Rule::default() });
        let plan = Plan { settings: eager(5), rule, ..Plan::to(&[&backend]) };
        let stage = Stage::new(placement, &plan);
        let answer = stage.get("/things").await;
        assert_eq!(
            (answer.status, answer.code()),
            (504, Some("upstream_timeout")),
            "{placement:?}"
        );
        let hits = backend.hits();
        assert!((1..=3).contains(&hits), "{hits}");
        // Every connection that was begun is ended, and nothing else comes.
        super::stage::until(|| backend.ended() == hits).await;
        assert_eq!(backend.hits(), hits);
        if let Some(source) = answer.source {
            assert!(matches!(source, Source::Mesh { is_unprocessed: false, .. }));
        }
    }
}

// mesh 12b: 25
#[tokio::test]
async fn a_time_to_come_back_is_waited_for_where_it_fits_and_is_the_answer_where_not() {
    const LATER: &str = "HTTP/1.1 503 No\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n";
    for placement in EVERYWHERE {
        for (request, expected, hits) in [(PATIENCE, 200, 2), (Duration::from_millis(900), 503, 1)]
        {
            let backend =
                Backend::new(|hits, _| if hits == 0 { Act::Say(LATER.to_owned()) } else { ok() });
            let backend = backend.await;
            let timeouts = Timeouts { request, ..Timeouts::default() };
            let settings = Attachments { timeouts: Some(timeouts), ..eager(3) };
            let stage = Stage::new(placement, &Plan { settings, ..Plan::to(&[&backend]) });
            let answer = stage.get("/things").await;
            assert_eq!((answer.status, backend.hits()), (expected, hits), "{placement:?}");
            if hits == 1 {
                assert_eq!(answer.field("retry-after"), Some("1"));
            }
        }
    }
}

/// It says when to come back, which nobody else knows.
#[tokio::test]
async fn what_the_last_endpoint_said_is_the_answer_where_nobody_is_left_to_ask() {
    const FULL: &str = "HTTP/1.1 503 Full\r\nRetry-After: 0\r\nContent-Length: 4\r\n\r\nfull";
    for placement in EVERYWHERE {
        let backend = Backend::new(|_, _| Act::Say(FULL.to_owned())).await;
        let breaker = breaker::Settings { consecutive_failures: 1, ..Default::default() };
        let settings = Attachments { breaker: Some(breaker), ..eager(3) };
        let stage = Stage::new(placement, &Plan { settings, ..Plan::to(&[&backend]) });
        let answer = stage.get("/things").await;
        assert_eq!((answer.status, backend.hits()), (503, 1), "{placement:?}");
        assert_eq!((answer.field("retry-after"), answer.code()), (Some("0"), None));
        assert_eq!(answer.body, b"full");
    }
}

// mesh 12b: 27
#[tokio::test]
async fn another_try_goes_to_another_endpoint() {
    for placement in EVERYWHERE {
        let bad = Backend::new(|_, _| status(503)).await;
        let good = Backend::new(|_, _| ok()).await;
        let mut settings = eager(1);
        settings.breaker = Some(never_open());
        // By chance, a quarter would meet the bad one twice.
        settings.balance = Some(balance::Settings {
            algorithm: balance::Algorithm::Random,
            ..balance::Settings::default()
        });
        let stage = Stage::new(placement, &Plan { settings, ..Plan::to(&[&bad, &good]) });
        for _ in 0..30 {
            assert_eq!(stage.get("/things").await.status, 200, "{placement:?}");
        }
        assert!(bad.hits() > 0, "it is looked at at least once");
        assert_eq!(good.hits(), 30);
    }
}

/// What may have been processed by an earlier try is not "not processed" because the last one failed
/// to connect.
#[tokio::test]
async fn a_request_that_one_try_may_have_done_is_not_called_unprocessed_by_the_next() {
    let backend = Backend::new(|_, _| Act::SayAndReset(String::new())).await;
    let nobody = Nobody::new();
    let mut plan = Plan { settings: eager(1), ..Plan::to(&[&backend]) };
    plan.endpoints.push(nobody.address());
    let stage = Stage::new(Placement::InProcess, &plan);
    let answer = stage.get("/things").await;
    assert_eq!((answer.status, backend.hits()), (502, 1));
    assert!(
        matches!(answer.source, Some(Source::Mesh { is_unprocessed: false, .. })),
        "{:?}",
        answer.source
    );
    // Alone, a refused connection is one.
    let plan = Plan { endpoints: vec![nobody.address()], ..Plan::default() };
    let answer = Stage::new(Placement::InProcess, &plan).get("/things").await;
    assert!(matches!(answer.source, Some(Source::Mesh { is_unprocessed: true, .. })));
}
