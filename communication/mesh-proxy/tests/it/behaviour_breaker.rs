//! Breakers, caps and changes of policy: who is spared, who is tried, what outlives a reload.

use std::{future::poll_fn, task::Poll, time::Duration};

use mesh_policy::{
    breaker, concurrency,
    destination::{Attachments, Endpoint, EndpointSet, Timeouts},
    retry,
    route::{Match, PathMatch, Rule},
};
use mesh_proxy::{
    Context, Door,
    body::{Upload, Whole},
};
use tokio::task::JoinSet;

use super::stage::{
    Act, Backend, EVERYWHERE, LISTENING, Placement, Plan, SERVICE, Stage, head, ok, status, until,
    within,
};

const SHUT: Duration = Duration::from_secs(3_600);

/// No retries; a breaker that stays open for so long.
fn breaking(open: Duration) -> Attachments {
    let retry = retry::Settings { attempts: 0, ..retry::Settings::default() };
    let breaker = breaker::Settings {
        open_initial: open,
        open_max: open.max(breaker::Settings::default().open_max),
        ..breaker::Settings::default()
    };
    Attachments { retry: Some(retry), breaker: Some(breaker), ..Attachments::default() }
}

/// Sends a request for each status that the backend is to give; how many of them reached it.
#[track_caller]
fn hits_of(
    placement: Placement,
    statuses: &[u16],
    then: usize,
) -> impl Future<Output = (usize, Stage)> {
    let (statuses, sent) = (statuses.to_vec(), statuses.len() + then);
    async move {
        let backend =
            Backend::new(move |hits, _| status(*statuses.get(hits).unwrap_or(&200))).await;
        let plan = Plan { settings: breaking(SHUT), ..Plan::to(&[&backend]) };
        let stage = Stage::new(placement, &plan);
        for _ in 0..sent {
            stage.get("/things").await;
        }
        (backend.hits(), stage)
    }
}

// mesh 12b: 29 and 34
#[tokio::test]
async fn seven_failures_in_a_row_open_a_breaker_and_a_success_between_them_keeps_it_closed() {
    for placement in EVERYWHERE {
        assert_eq!(hits_of(placement, &[500; 6], 3).await.0, 9, "{placement:?}");
        assert_eq!(hits_of(placement, &[500, 500, 500, 500, 500, 500, 200, 500], 3).await.0, 11);
        let (hits, stage) = hits_of(placement, &[500; 7], 3).await;
        assert_eq!(hits, 7, "{placement:?}");
        let answer = stage.get("/things").await;
        assert_eq!((answer.status, answer.code()), (503, Some("breaker_open")));
        let wait: u64 = answer.field("retry-after").unwrap().parse().unwrap();
        assert!((2_390..=3_600).contains(&wait), "{wait}");
        assert_eq!(stage.count("mesh_refusals_total", &[("code", "breaker_open")]), 4);
        assert_eq!(stage.count("mesh_breaker_open_state", &[]), 1);
    }
}

// mesh 12b: 30
#[tokio::test]
async fn when_the_wait_is_over_one_of_a_hundred_requests_probes_and_closes_it() {
    let (open, opens) = tokio::sync::watch::channel(false);
    let backend = Backend::wild(move |stream, log| {
        let mut opens = opens.clone();
        async move {
            let mut wire = super::stage::Wire::new(stream);
            while let Some((line, fields)) = wire.head().await {
                let seen = super::stage::Seen { line, fields, body: Vec::new(), is_whole: true };
                let hits = {
                    let mut log = super::stage::lock(&log);
                    log.requests.push(seen);
                    log.requests.len()
                };
                if hits > 7 {
                    opens.wait_for(|it| *it).await.unwrap();
                }
                let status = if hits > 8 { 200 } else { 503 };
                wire.send(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n")).await;
            }
        }
    });
    let backend = backend.await;
    let mut settings = breaking(Duration::from_millis(40));
    settings.concurrency =
        Some(concurrency::Settings { requests_max: 200, ..concurrency::Settings::default() });
    let stage = Stage::new(Placement::InProcess, &Plan { settings, ..Plan::to(&[&backend]) });
    for _ in 0..7 {
        stage.get("/").await;
    }
    // One probe that fails.
    let stage = std::sync::Arc::new(stage);
    probe_among_a_hundred(&stage, &backend, 8, &open).await;
    assert_eq!(stage.count("mesh_breaker_open_state", &[]), 1);
    // One probe that succeeds; then all of them flow.
    open.send_replace(false);
    probe_among_a_hundred(&stage, &backend, 9, &open).await;
    assert_eq!(stage.count("mesh_breaker_open_state", &[]), 0);
    for _ in 0..5 {
        assert_eq!(stage.get("/").await.status, 200);
    }
}

#[tokio::test]
async fn a_probe_that_is_told_when_to_come_back_sets_the_wait_for_the_next_one() {
    let shut = "HTTP/1.1 503 X\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n";
    let backend = Backend::new(move |_, _| Act::Say(shut.to_owned())).await;
    for placement in EVERYWHERE {
        let mut settings = breaking(Duration::from_millis(40));
        settings.breaker = settings.breaker.map(|it| breaker::Settings { open_max: SHUT, ..it });
        let before = backend.hits();
        let stage = Stage::new(placement, &Plan { settings, ..Plan::to(&[&backend]) });
        within(async {
            while backend.hits() < before + 8 {
                stage.get("/").await;
            }
        })
        .await;
        // Seven that opened it, one probe. Doubled, its wait would be a tenth of a second.
        let answer = stage.get("/").await;
        assert_eq!(answer.code(), Some("breaker_open"), "{placement:?}");
        let wait: u64 = answer.field("retry-after").unwrap().parse().unwrap();
        assert!((2_390..=3_600).contains(&wait), "{placement:?}: {wait}");
    }
}

/// Asks until the next probe is out, then lets a hundred come while it is.
async fn probe_among_a_hundred(
    stage: &std::sync::Arc<Stage>,
    backend: &Backend,
    hits: usize,
    open: &tokio::sync::watch::Sender<bool>,
) {
    let mut asking = JoinSet::new();
    within(async {
        while backend.hits() < hits {
            let stage = std::sync::Arc::clone(stage);
            asking.spawn(async move { stage.get("/").await.status });
            // The rate of the asking, not a wait: the probe comes when the breaker's own time is over.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    let mut refused = JoinSet::new();
    for _ in 0..100 {
        let stage = std::sync::Arc::clone(stage);
        refused.spawn(async move { stage.get("/").await });
    }
    while let Some(answer) = within(refused.join_next()).await {
        assert_eq!(answer.unwrap().code(), Some("breaker_open"));
    }
    assert_eq!(backend.hits(), hits, "one probe at a time");
    open.send_replace(true);
    within(asking.join_all()).await;
}

/// A probe that nobody waits for any more lets the next one go.
#[tokio::test]
async fn a_probe_that_was_dropped_on_its_way_gives_way_to_the_next() {
    let backend = Backend::new(|hits, _| match hits {
        0..7 => status(500),
        7 => Act::Hang,
        _ => ok(),
    });
    let backend = backend.await;
    let settings = breaking(Duration::from_millis(1));
    let stage = Stage::new(Placement::InProcess, &Plan { settings, ..Plan::to(&[&backend]) });
    for _ in 0..7 {
        stage.get("/").await;
    }
    let mut upload = Upload::new(Whole::default());
    let door = Door::Service(SERVICE.to_owned());
    within(async {
        while backend.hits() < 8 {
            let calling =
                stage.outbound.call(&door, head("GET", "/", &[]), Context::default(), &mut upload);
            // Boxed: a request on its way is large.
            let mut calling = Box::pin(calling);
            while backend.hits() < 8 {
                let polled = poll_fn(|context| Poll::Ready(calling.as_mut().poll(context))).await;
                if polled.is_ready() {
                    break;
                }
                // Lets the backend see the request, on whose side nothing can be waited for: dropped
                // here, it may be unseen, and then the next one is the probe.
                tokio::task::yield_now().await;
            }
        }
    })
    .await;
    assert_eq!(stage.get("/").await.status, 200);
    // Two things ended with it: the request that it was, and its connection.
    until(|| backend.ended() == 1).await;
    let sent = stage.count("mesh_requests_total", &[]);
    assert_eq!(sent, 8 + stage.count("mesh_refusals_total", &[]) + 1);
}

// mesh 12b: 31
#[tokio::test]
async fn a_low_share_of_successes_opens_it_and_failures_in_a_row_alone_would_not() {
    for placement in EVERYWHERE {
        let alternating: Vec<u16> = (0..30).map(|it| if it % 2 == 0 { 200 } else { 500 }).collect();
        // The twentieth request is a failure, and the tenth of twenty.
        assert_eq!(hits_of(placement, &alternating, 10).await.0, 20, "{placement:?}");
    }
}

// mesh 12b: 32
#[tokio::test]
async fn being_told_to_slow_down_is_no_failure_in_a_row_and_no_success_of_a_probe() {
    for placement in EVERYWHERE {
        assert_eq!(hits_of(placement, &[429; 100], 0).await.0, 100, "{placement:?}");
    }
    let backend = Backend::new(|hits, _| match hits {
        0..7 => status(500),
        7 => status(429),
        _ => ok(),
    });
    let backend = backend.await;
    let settings = breaking(Duration::from_millis(20));
    let stage = Stage::new(Placement::InProcess, &Plan { settings, ..Plan::to(&[&backend]) });
    within(async {
        while backend.hits() < 8 {
            stage.get("/").await;
        }
    })
    .await;
    assert_eq!(stage.count("mesh_breaker_open_state", &[]), 1);
    assert_eq!(stage.get("/").await.code(), Some("breaker_open"));
}

/// What a stack in front of a service says when all its places are taken, and a service when who must
/// be asked outside is away.
#[tokio::test]
async fn a_service_that_says_why_it_cannot_take_this_one_is_told_from_one_that_fails() {
    let codes = ["overloaded", "dependency_unavailable"];
    for (placement, code) in EVERYWHERE.into_iter().flat_map(|it| codes.map(|code| (it, code))) {
        let says = format!("HTTP/1.1 503 X\r\nskein-error: {code}\r\nContent-Length: 0\r\n\r\n");
        let backend = Backend::new(move |_, _| Act::Say(says.clone())).await;
        let settings = breaking(SHUT);
        let stage = Stage::new(placement, &Plan { settings, ..Plan::to(&[&backend]) });
        for _ in 0..100 {
            stage.get("/").await;
        }
        assert_eq!(backend.hits(), 100, "{placement:?} {code}");
    }
}

// mesh 12b: 33
#[tokio::test]
async fn what_the_caller_did_wrong_never_opens_it() {
    for placement in EVERYWHERE {
        let statuses: Vec<u16> = [400, 401, 403, 404, 409, 422].repeat(8);
        assert_eq!(hits_of(placement, &statuses, 0).await.0, 48, "{placement:?}");
    }
}

// mesh 12b: 35 and 60
#[tokio::test]
async fn an_open_breaker_outlives_another_policy_and_a_bad_policy_changes_nothing() {
    let bad = Backend::new(|_, _| status(500)).await;
    let plan = Plan { settings: breaking(SHUT), ..Plan::to(&[&bad]) };
    let stage = Stage::new(Placement::InProcess, &plan);
    for _ in 0..7 {
        stage.get("/").await;
    }
    let other = Plan { rule: Some(Rule::default()), ..plan.clone() };
    stage.mesh.replace(other.policy()).unwrap();
    assert_eq!(stage.get("/").await.code(), Some("breaker_open"));
    // Another weight is no other endpoint.
    let endpoint =
        Endpoint { address: bad.address, instance: None, version: None, weight: 7, identity: None };
    let set = EndpointSet { endpoints: vec![endpoint], ..EndpointSet::default() };
    stage.mesh.set_endpoints(SERVICE, set).unwrap();
    assert_eq!(stage.get("/").await.code(), Some("breaker_open"));
    let before = stage.mesh.policy();
    let rule = Rule {
        matches: vec![Match { path: Some(PathMatch::Regex("(".to_owned())), ..Match::default() }],
        ..Rule::default()
    };
    let broken = Plan { rule: Some(rule), endpoints: Vec::new(), ..plan.clone() };
    let error = stage.mesh.replace(broken.policy()).unwrap_err();
    assert_eq!((error.route.as_str(), error.rule), ("shop/stock", Some(0)), "{error}");
    assert_eq!(stage.mesh.policy(), before);
    assert_eq!(stage.get("/").await.code(), Some("breaker_open"));
    assert_eq!(
        stage.count("mesh_endpoints_count", &[]),
        1,
        "{}",
        stage.telemetry.metrics().encode()
    );
}

// mesh 12b: 61
#[tokio::test]
async fn requests_do_not_fail_while_the_policy_changes() {
    for placement in EVERYWHERE {
        let backend = Backend::new(|_, _| ok()).await;
        let plan = Plan::to(&[&backend]);
        let stage = Stage::new(placement, &plan);
        let replacing = async {
            for round in 0..50 {
                let rule = (round % 2 == 0).then(Rule::default);
                stage.mesh.replace(Plan { rule, ..plan.clone() }.policy()).unwrap();
                let asked = backend.hits();
                until(|| backend.hits() > asked || backend.hits() == 300).await;
            }
        };
        let asking = async {
            for _ in 0..300 {
                assert_eq!(stage.call("POST", "/", &[], "x").await.status, 200, "{placement:?}");
            }
        };
        tokio::join!(replacing, asking);
        assert_eq!(backend.hits(), 300);
    }
}

// mesh 12b: 36
#[tokio::test]
async fn what_exceeds_places_and_queue_is_refused_at_once_and_the_rest_is_served() {
    for placement in EVERYWHERE {
        let (go, goes) = tokio::sync::watch::channel(false);
        let backend = Backend::wild(move |stream, log| {
            let mut goes = goes.clone();
            async move {
                let mut wire = super::stage::Wire::new(stream);
                while let Some((line, fields)) = wire.head().await {
                    let seen =
                        super::stage::Seen { line, fields, body: Vec::new(), is_whole: true };
                    super::stage::lock(&log).requests.push(seen);
                    goes.wait_for(|it| *it).await.unwrap();
                    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
                }
            }
        });
        let backend = backend.await;
        let concurrency = concurrency::Settings {
            requests_max: 3,
            queue_max: 2,
            queue_wait: Duration::from_secs(60),
        };
        let settings = Attachments { concurrency: Some(concurrency), ..Attachments::default() };
        let stage = Stage::new(placement, &Plan { settings, ..Plan::to(&[&backend]) });
        let stage = std::sync::Arc::new(stage);
        let mut asking = JoinSet::new();
        for _ in 0..5 {
            let stage = std::sync::Arc::clone(&stage);
            asking.spawn(async move { stage.get("/").await.status });
        }
        until(|| backend.hits() == 3).await;
        // Until both of the queue wait, the sixth may be one of them.
        let mut refused = 0;
        while refused < 3 {
            let answer = tokio::time::timeout(Duration::from_millis(200), stage.get("/")).await;
            if let Ok(answer) = answer {
                let told = if placement == Placement::Edge { 429 } else { 503 };
                assert_eq!((answer.status, answer.code()), (told, Some("overloaded")));
                assert!(answer.field("retry-after").is_some());
                refused += 1;
            }
        }
        assert_eq!(backend.hits(), 3, "{placement:?}");
        go.send_replace(true);
        assert!(within(asking.join_all()).await.iter().all(|it| *it == 200));
    }
}

// mesh 12b: 42
#[tokio::test]
async fn without_an_endpoint_the_answer_is_503_at_once() {
    for placement in EVERYWHERE {
        let stage = Stage::new(placement, &Plan::default());
        let answer = stage.get("/").await;
        assert_eq!((answer.status, answer.code()), (503, Some("no_endpoint")), "{placement:?}");
        assert_eq!(stage.count("mesh_requests_total", &[("class", "none")]), 1);
    }
}

#[tokio::test]
async fn clients_that_send_their_bodies_too_slowly_shut_no_endpoint_for_others() {
    for placement in LISTENING {
        let backend = Backend::new(|_, _| ok()).await;
        let timeouts = Timeouts { request: Duration::from_millis(100), ..Timeouts::default() };
        let settings = Attachments { timeouts: Some(timeouts), ..breaking(SHUT) };
        let stage = Stage::new(placement, &Plan { settings, ..Plan::to(&[&backend]) });
        for _ in 0..8 {
            let mut client = stage.client().await;
            client.send("POST /things HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc").await;
            let answer = client.answer().await;
            assert_eq!((answer.status, answer.code()), (408, Some("request_timeout")));
        }
        assert_eq!(stage.get("/things").await.status, 200, "{placement:?}");
        assert_eq!(stage.count("mesh_breaker_open_state", &[]), 0, "{placement:?}");
    }
}

#[tokio::test]
async fn callers_in_a_hurry_shut_no_endpoint_for_others() {
    // At an edge nobody says how long he waits.
    for placement in [Placement::Door, Placement::InProcess] {
        let hangs = |line: &str| line.contains("/slow");
        let backend = Backend::new(move |_, it| if hangs(&it.line) { Act::Hang } else { ok() });
        let backend = backend.await;
        let plan = Plan { settings: breaking(SHUT), ..Plan::to(&[&backend]) };
        let stage = Stage::new(placement, &plan);
        for _ in 0..8 {
            let answer = stage.call("GET", "/slow", &[("skein-deadline-ms", "20")], "").await;
            assert_eq!((answer.status, answer.code()), (504, Some("upstream_timeout")));
        }
        assert_eq!(stage.get("/things").await.status, 200, "{placement:?}");
    }
}
