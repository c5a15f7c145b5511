//! What is said on the way: hosts, deadlines, depths, what strangers say, what is counted.

use std::time::Duration;

use mesh_policy::{
    destination::{Attachments, Timeouts},
    retry,
};
use runtime::SystemClock;
use telemetry::{AttributeValue, SpanRecord, Telemetry, TelemetryConfig};

use super::stage::{
    Act, Backend, EVERYWHERE, LISTENING, Nobody, Placement, Plan, Stage, ok, status, until, within,
};

// mesh 12b: 15
#[tokio::test]
async fn a_host_is_matched_without_port_and_case_and_an_absolute_target_names_it() {
    let backend = Backend::new(|_, _| ok()).await;
    let plan = Plan::to(&[&backend]);
    let mut policy = plan.policy();
    policy.routes[0].hostnames = vec!["shop.example".to_owned()];
    let stage = Stage::with_policy(Placement::Edge, policy, plan.limits);
    for (bytes, status) in [
        ("GET /a?b=c HTTP/1.1\r\nHost: SHOP.Example:8080\r\n\r\n", 200),
        ("GET http://Shop.EXAMPLE:81/a?b=c HTTP/1.1\r\nHost: Shop.EXAMPLE:81\r\n\r\n", 200),
        ("GET http://shop.example/a HTTP/1.1\r\nHost: other\r\n\r\n", 400),
        ("GET http://shop.example?b=c HTTP/1.1\r\nHost: shop.example\r\n\r\n", 200),
        ("GET http://other/a HTTP/1.1\r\nHost: other\r\n\r\n", 404),
        ("GET /a HTTP/1.1\r\nHost: shop.example.evil\r\n\r\n", 404),
    ] {
        let mut client = stage.client().await;
        client.send(bytes).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, status, "{bytes}");
        if status == 404 {
            assert_eq!(answer.code(), Some("no_route"));
        }
    }
    let seen: Vec<_> = backend.seen().iter().map(|it| it.line.clone()).collect();
    let line = "GET /a?b=c HTTP/1.1".to_owned();
    assert_eq!(seen, [line.clone(), line, "GET /?b=c HTTP/1.1".to_owned()]);
    // What the backend is told is what was judged.
    assert_eq!(backend.seen()[1].field("host"), Some("Shop.EXAMPLE:81"));
}

/// mesh 12b: 11. What Gateway API answers 500 has the word here that every missing endpoint has.
#[tokio::test]
async fn the_share_of_a_backend_that_is_nowhere_is_503_and_no_other_request_is() {
    let backend = Backend::new(|_, _| ok()).await;
    let plan = Plan::to(&[&backend]);
    let mut policy = plan.policy();
    let backends = &mut policy.routes[0].rules[0].backends;
    let mut nowhere = backends[0].clone();
    nowhere.service = "nowhere".to_owned();
    backends.push(nowhere);
    let stage = Stage::with_policy(Placement::Edge, policy, plan.limits);
    let mut refused = 0;
    for _ in 0..400 {
        let answer = stage.get("/").await;
        if answer.status != 200 {
            assert_eq!((answer.status, answer.code()), (503, Some("no_endpoint")));
            refused += 1;
        }
    }
    // Half of them; a coin is further away once in a thousand million runs.
    assert!((139..=261).contains(&refused), "{refused} of 400");
    assert_eq!(backend.hits(), 400 - refused);
}

#[tokio::test]
async fn the_time_left_shrinks_and_none_left_is_504_without_a_connection() {
    for placement in [Placement::Door, Placement::InProcess] {
        let backend = Backend::new(|_, _| ok()).await;
        let stage = Stage::new(placement, &Plan::to(&[&backend]));
        for (told, most) in [("5000", 5_000), ("99999", 10_000), ("18446744073709551615", 10_000)] {
            let answer = stage.call("GET", "/", &[("Skein-Deadline-Ms", told)], "").await;
            assert_eq!(answer.status, 200, "{placement:?} {told}");
            let left: u64 = backend.last().field("skein-deadline-ms").unwrap().parse().unwrap();
            assert!(left < most && left > most / 2, "{left} of {most}");
        }
        let connections = backend.connections();
        let answer = stage.call("GET", "/", &[("Skein-Deadline-Ms", "0")], "").await;
        assert_eq!((answer.status, answer.code()), (504, Some("deadline_expired")));
        for nonsense in ["", "-1", "soon", "1.5", "18446744073709551616"] {
            let answer = stage.call("GET", "/", &[("Skein-Deadline-Ms", nonsense)], "").await;
            assert_eq!(
                (answer.status, answer.code()),
                (400, Some("invalid_request")),
                "{nonsense}"
            );
        }
        assert_eq!((backend.hits(), backend.connections()), (3, connections));
    }
}

#[tokio::test]
async fn without_a_bound_on_time_nothing_is_said_of_it() {
    for placement in EVERYWHERE {
        let backend = Backend::new(|_, _| ok()).await;
        let timeouts = Timeouts { request: Duration::ZERO, ..Timeouts::default() };
        let settings = Attachments { timeouts: Some(timeouts), ..Attachments::default() };
        let stage = Stage::new(placement, &Plan { settings, ..Plan::to(&[&backend]) });
        assert_eq!(stage.get("/").await.status, 200, "{placement:?}");
        assert_eq!(backend.last().field("skein-deadline-ms"), None);
        assert_eq!(backend.last().field("skein-attempt"), None);
    }
}

#[tokio::test]
async fn a_request_that_is_a_retry_is_not_retried_and_an_answer_says_who_has_decided() {
    for placement in [Placement::Door, Placement::InProcess] {
        let backend = Backend::new(|_, _| status(503)).await;
        let stage = Stage::new(placement, &Plan::to(&[&backend]));
        let answer = stage.call("GET", "/", &[("Skein-Attempt", "1")], "").await;
        assert_eq!((answer.status, backend.hits()), (503, 1), "{placement:?}");
        assert_eq!(backend.last().field("skein-attempt"), Some("1"));
        assert_eq!(answer.field("skein-attempt"), Some("2"));
        // Somebody nearer to the failure has tried already.
        let backend = Backend::new(|_, _| {
            Act::Say("HTTP/1.1 503 No\r\nSkein-Attempt: 3\r\nContent-Length: 0\r\n\r\n".to_owned())
        });
        let backend = backend.await;
        let stage = Stage::new(placement, &Plan::to(&[&backend]));
        assert_eq!((stage.get("/").await.status, backend.hits()), (503, 1));
    }
}

#[tokio::test]
async fn the_largest_number_of_tries_above_stays_the_largest() {
    for placement in [Placement::Door, Placement::InProcess] {
        let backend = Backend::new(|_, _| status(503)).await;
        let stage = Stage::new(placement, &Plan::to(&[&backend]));
        let most = u32::MAX.to_string();
        let answer = stage.call("GET", "/", &[("Skein-Attempt", &most)], "").await;
        assert_eq!((answer.status, answer.field("skein-attempt")), (503, Some(&*most)));
    }
}

/// P7.
#[tokio::test]
async fn what_strangers_say_of_themselves_does_not_pass_the_edge_in_any_spelling() {
    const WORDS: &[&str] = &[
        "Skein-Epoch",
        "SKEIN-ATTEMPT",
        "Skein-Deadline-Ms",
        "skein-identity",
        "Skein-Owner",
        "skein_epoch",
        "Skein_Identity",
        "skein-deadline_ms",
        "skein_deadline-ms",
        "Baggage",
        "Forwarded",
        "Via",
        "X-Forwarded-For",
        "X-Forwarded-Client-Cert",
        "X_Forwarded_For",
        "x-forwarded_for",
        "x_forwarded-proto",
        "X-Real-IP",
        "x_real_ip",
        "x-real_ip",
        "L5d-Client-Id",
        "l5d_client_id",
        "X-Envoy-Max-Retries",
        "x_envoy_max_retries",
        "X-Client-Cert",
        "x_client_cert",
    ];
    let backend = Backend::new(|_, _| ok()).await;
    let stage = Stage::new(Placement::Edge, &Plan::to(&[&backend]));
    for word in WORDS {
        // A number, so that a deadline that is believed would be seen as one.
        let answer = stage.call("GET", "/", &[(word, "0"), ("X-Other", "1")], "").await;
        assert_eq!(answer.status, 200, "{word}");
        let seen = backend.last();
        let same = |name: &str| name.replace('_', "-") == word.to_lowercase().replace('_', "-");
        for (name, value) in &seen.fields {
            assert!(!same(name) || value != "0", "{word} passed");
        }
        assert_eq!(seen.field("x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!((seen.field("x-other"), seen.field("via")), (Some("1"), Some("1.1 skein")));
    }
    // Who has them stripped further on says so with Connection; that is refused.
    for word in ["x-forwarded-for", "skein-identity", "Via"] {
        let answer = stage.call("GET", "/", &[("Connection", word)], "").await;
        let passed = backend.last();
        assert!(answer.status == 400 || passed.field("x-forwarded-for") == Some("127.0.0.1"));
        assert!(answer.status == 400 || passed.field("via") == Some("1.1 skein"));
    }
    // Between services the same words count.
    let stage = Stage::new(Placement::Door, &Plan::to(&[&backend]));
    stage.call("GET", "/", &[("Skein-Epoch", "7"), ("Baggage", "a=b")], "").await;
    let seen = backend.last();
    assert_eq!((seen.field("skein-epoch"), seen.field("baggage")), (Some("7"), Some("a=b")));
}

// mesh 12b: 57
#[tokio::test]
async fn each_try_has_a_span_that_says_which_one_it_is() {
    for placement in EVERYWHERE {
        let backend = Backend::new(|hits, _| if hits < 2 { status(503) } else { ok() }).await;
        let plan = Plan::to(&[&backend]);
        let telemetry = Telemetry::new(TelemetryConfig::default(), SystemClock::shared());
        let stage = Stage::observed(telemetry, placement, plan.policy(), plan.limits);
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let parent = format!("00-{trace}-00f067aa0ba902b7-01");
        let answer = stage.call("GET", "/", &[("traceparent", &parent)], "").await;
        assert_eq!(answer.status, 200, "{placement:?}");
        within(until(|| backend.hits() == 3)).await;
        let mut spans = Vec::new();
        while spans.len() < 3 {
            spans.extend(within(stage.telemetry.take_batch(3)).await);
        }
        spans.sort_by_key(|it| it.start_ns);
        let attribute = |span: &SpanRecord, name: &str| {
            span.attributes.iter().find(|it| it.0 == name).map(|it| it.1.clone())
        };
        let tries = spans.iter().map(|it| {
            let status = attribute(it, "http.response.status_code");
            (attribute(it, "http.request.resend_count"), status)
        });
        let expected = [(None, 503), (Some(1), 503), (Some(2), 200_i64)]
            .map(|(number, status)| (number.map(AttributeValue::Int), Some(status.into())));
        assert_eq!(tries.collect::<Vec<_>>(), expected);
        // Each was told its own span, below the one that asked.
        for (span, seen) in spans.iter().zip(backend.seen()) {
            let told = format!("00-{trace}-{}-01", span.span_id);
            assert_eq!(seen.field("traceparent"), Some(told.as_str()));
            assert_eq!(span.parent.map(|it| it.to_string()).as_deref(), Some("00f067aa0ba902b7"));
        }
    }
}

// mesh 12b: 53
#[tokio::test]
async fn requests_attempts_and_bytes_are_counted_as_they_were() {
    for placement in EVERYWHERE {
        let backend = Backend::new(|hits, seen| {
            let bytes = hits * 1_000;
            let body = "x".repeat(bytes);
            match seen.line.split(' ').nth(1).unwrap() {
                "/known" => {
                    Act::Say(format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n{body}"))
                }
                "/chunked" if bytes > 0 => Act::Say(format!(
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{bytes:x}\r\n{body}\r\n0\r\n\r\n"
                )),
                "/missing" => status(404),
                "/broken" => status(503),
                _ => ok(),
            }
        });
        let backend = backend.await;
        let stage = Stage::new(placement, &Plan::to(&[&backend]));
        let mut bytes = 0;
        for target in ["/known", "/chunked", "/missing", "/known", "/chunked", "/broken", "/known"]
        {
            bytes += stage.get(target).await.body.len();
        }
        let requests = |class| stage.count("mesh_requests_total", &[("class", class)]);
        assert_eq!((requests("2xx"), requests("4xx"), requests("5xx")), (5, 1, 1), "{placement:?}");
        assert_eq!(stage.count("mesh_requests_total", &[("source", "client")]), 7);
        let attempts = |class| stage.count("mesh_attempts_total", &[("class", class)]);
        assert_eq!((attempts("2xx"), attempts("4xx"), attempts("5xx")), (5, 1, 3));
        assert_eq!(backend.hits(), 9);
        within(until(|| stage.count("mesh_response_size_bytes_count", &[]) == 7)).await;
        assert_eq!(stage.count("mesh_response_size_bytes_sum", &[]), bytes as u64);
        assert_eq!(stage.count("mesh_retries_withheld_total", &[("reason", "retry_exhausted")]), 1);
        // What the mesh answers by itself is a request too.
        let nobody = Nobody::new();
        let plan = Plan { endpoints: vec![nobody.address()], ..Plan::default() };
        let stage = Stage::new(placement, &plan);
        stage.get("/").await;
        assert_eq!(stage.count("mesh_requests_total", &[("class", "none")]), 1);
        assert_eq!(stage.count("mesh_attempts_total", &[("class", "none")]), 3);
        assert_eq!(stage.count("mesh_refusals_total", &[("code", "upstream_unavailable")]), 1);
    }
}

#[tokio::test]
async fn a_refusal_after_a_try_names_the_trace_that_the_try_began() {
    let nobody = Nobody::new();
    let plan = Plan { endpoints: vec![nobody.address()], ..Plan::default() };
    let stage = Stage::new(Placement::Door, &plan);
    let trace_of = |answer: &super::stage::Answer| {
        let body: serde_json::Value = serde_json::from_str(answer.text()).unwrap();
        assert_eq!(body["code"], "upstream_unavailable");
        body["trace_id"].as_str().unwrap_or_default().to_owned()
    };
    let answer = stage.get("/").await;
    assert_eq!(trace_of(&answer).len(), 32, "{}", answer.text());
    let came = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let answer = stage.call("GET", "/", &[("traceparent", came)], "").await;
    assert_eq!(trace_of(&answer), "0af7651916cd43dd8448eb211c80319c");
}

#[tokio::test]
async fn a_refusal_before_any_try_names_the_trace_under_which_the_log_has_it() {
    for placement in EVERYWHERE {
        let mut policy = Plan::default().policy();
        policy.routes.clear();
        let telemetry = Telemetry::new(TelemetryConfig::default(), SystemClock::shared());
        let stage = Stage::observed(telemetry, placement, policy, mesh_proxy::Limits::default());
        let mut tap = stage.mesh.tap(mesh_proxy::tap::Filter::default()).unwrap();
        let came = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let mut seen = Vec::new();
        for fields in [&[][..], &[], &[("traceparent", came)]] {
            let answer = stage.call("GET", "/nowhere", fields, "").await;
            assert!([404, 503].contains(&answer.status), "{placement:?}: {}", answer.status);
            let body: serde_json::Value = serde_json::from_str(answer.text()).unwrap();
            let named = body["trace_id"].as_str().unwrap_or_default().to_owned();
            assert_eq!(named.len(), 32, "{placement:?}: {}", answer.text());
            assert_eq!(within(tap.next()).await.trace_id, Some(named.clone()), "{placement:?}");
            seen.push(named);
        }
        assert_ne!(seen[0], seen[1]);
        assert_eq!(seen[2], came[3..35]);
        assert!(stage.telemetry.take_ready(1).is_empty(), "strangers make no spans");
    }
}

/// A stack beside another one: what the first refuses is refused once.
#[tokio::test]
async fn the_meshs_own_answers_pass_another_stack_unchanged() {
    let first = Stage::new(Placement::Door, &Plan::default());
    for placement in LISTENING {
        let retry = retry::Settings { attempts: 0, ..retry::Settings::default() };
        let settings = Attachments { retry: Some(retry), ..Attachments::default() };
        let plan = Plan { endpoints: vec![first.address], settings, ..Plan::default() };
        let second = Stage::new(placement, &plan);
        let answer = second.get("/").await;
        assert_eq!((answer.status, answer.code()), (503, Some("no_endpoint")), "{placement:?}");
        assert!(answer.field("proxy-status").is_some());
        assert_eq!(answer.fields.iter().filter(|(name, _)| name == "skein-error").count(), 1);
    }
}

/// Sixteen, as the table of bounds says: an endpoint that never comes to its answer has none.
#[tokio::test]
async fn answers_before_the_answer_are_passed_over_and_without_end_they_are_malformed() {
    for placement in EVERYWHERE {
        for (early, expected) in [(16, (200, None)), (17, (502, Some("upstream_malformed")))] {
            let early = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(early);
            let said = format!("{early}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            let backend = Backend::new(move |_, _| Act::Say(said.clone())).await;
            let retry = retry::Settings { attempts: 0, ..retry::Settings::default() };
            let settings = Attachments { retry: Some(retry), ..Attachments::default() };
            let stage = Stage::new(placement, &Plan { settings, ..Plan::to(&[&backend]) });
            let answer = stage.get("/").await;
            assert_eq!((answer.status, answer.code()), expected, "{placement:?}");
        }
    }
}
