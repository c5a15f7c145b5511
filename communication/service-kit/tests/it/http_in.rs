//! Requests in: routes, traces, deadlines, overload, panics, drain.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::extract::{Path, Query};
use service_kit::{
    Bound, Health, PortSharing, Problem, RequestContext, Routes, Service, ServiceContext,
    StartError,
};
use tokio::sync::{Notify, Semaphore};

use crate::fixture::{Fixture, PATIENCE, Reply, context, start};

fn echo() -> Routes<()> {
    Routes::new()
        .get("/api/orders/{id}", |Path(id): Path<String>| async move { id })
        .get("/api/refused", || async { Problem::conflict("no").into_response_in_test() })
}

trait InTest {
    fn into_response_in_test(self) -> axum::response::Response;
}
impl InTest for Problem {
    fn into_response_in_test(self) -> axum::response::Response {
        axum::response::IntoResponse::into_response(self)
    }
}

#[tokio::test]
async fn fixed_segments_are_found_in_any_case_and_ids_keep_theirs() {
    let service = start(echo(), |_| {});
    assert_eq!(service.get("/API/Orders/AbC%2Fd").await.body, "AbC/d");
    assert_eq!(service.get("/v0.1.0/api/orders/x").await.body, "x");
    assert_eq!(service.get("/api/other").await.json()["code"], "no_route");
    let refused = service.send("PUT /api/orders/x HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!((refused.status, refused.header("allow")), (405, Some("get")));
}

#[tokio::test]
async fn a_refusal_is_a_problem_with_the_callers_trace_id() {
    let service = start(echo(), |_| {});
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let reply = service
        .send(&format!("GET /api/refused HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntraceparent: 00-{trace}-00f067aa0ba902b7-01\r\n\r\n"))
        .await;
    assert_eq!(reply.status, 409);
    assert_eq!(reply.header("content-type"), Some("application/problem+json"));
    assert_eq!(reply.header("skein-error"), Some("conflict"));
    assert_eq!(reply.json()["trace_id"], trace);
    assert!(reply.header("traceparent").unwrap().contains(trace));
    let spans = service.context.telemetry.take_batch(10).await;
    assert_eq!(spans[0].name, "GET /api/refused");
    assert_eq!(spans[0].parent.map(|it| it.to_string()), Some("00f067aa0ba902b7".to_owned()));
}

#[tokio::test]
async fn a_malformed_trace_starts_a_new_one() {
    let service = start(echo(), |_| {});
    let reply = service
        .send("GET /api/orders/x HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntraceparent: 00-XX-00f067aa0ba902b7-01\r\ntracestate: a=1\r\n\r\n")
        .await;
    let span = &service.context.telemetry.take_batch(10).await[0];
    assert_eq!((span.parent, &span.state), (None, &None));
    assert!(reply.header("traceparent").unwrap().contains(&span.trace_id.to_string()));
}

#[tokio::test]
async fn an_extractors_own_refusal_becomes_a_problem() {
    #[derive(serde::Deserialize)]
    struct Month {
        month: u32,
    }
    let handler = |Query(it): Query<Month>| async move { it.month.to_string() };
    let service = start(Routes::new().get("/api/summary", handler), |_| {});
    assert_eq!(service.get("/api/summary?month=3").await.body, "3");
    let refused = service.get("/api/summary?month=x").await;
    assert_eq!((refused.status, refused.json()["code"].as_str()), (400, Some("invalid_request")));
}

#[tokio::test]
async fn metrics_are_labelled_by_template_and_never_by_path() {
    let service = start(echo(), |_| {});
    for id in 0..5 {
        service.get(&format!("/api/orders/order-{id}")).await;
        service.get(&format!("/unknown/{id}")).await;
    }
    let metrics = service.admin("GET", "/metrics", "").await.body;
    let wanted = r#"http_server_request_duration_seconds_count{route="/api/orders/{id}",method="GET",status="2xx"} 5"#;
    assert!(metrics.contains(wanted), "{metrics}");
    assert!(metrics.contains(r#"route="unmatched",method="GET",status="4xx"} 5"#), "{metrics}");
    assert!(!metrics.contains("order-1"));
}

#[tokio::test]
async fn a_public_service_shows_strangers_its_health_alone_and_operators_everything() {
    let context = context(|_| {});
    let health = Health::new().check("store", || async { Ok(()) });
    let service = Service::new(echo()).health(health).openapi(&"a document").public();
    let bound = service.serve(&context).unwrap();
    let fixture = Fixture { bound, context };
    for path in ["/livez", "/readyz", "/healthz"] {
        assert_eq!(fixture.get(path).await.status, 200, "{path}");
    }
    assert_eq!(fixture.get("/api/orders/x").await.body, "x");
    assert_eq!(fixture.get("/readyz?verbose").await.body, "ok", "no names of dependencies");
    for path in ["/metrics", "/openapi.json", "/swagger/v1/swagger.json", "/readyz/store"] {
        assert_eq!(fixture.get(path).await.json()["code"], "no_route", "{path}");
        assert_eq!(fixture.admin("GET", path, "").await.status, 200, "{path}");
    }
    assert_eq!(fixture.admin("GET", "/readyz?verbose", "").await.body, "store: ok\n");
}

#[tokio::test]
async fn a_request_without_time_left_is_refused_before_any_work() {
    let calls = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&calls);
    let handler = move || async move {
        seen.fetch_add(1, Ordering::SeqCst);
        "done"
    };
    let service = start(Routes::new().get("/api/work", handler), |_| {});
    let with = |left: &str| {
        format!(
            "GET /api/work HTTP/1.1\r\nhost: x\r\nconnection: close\r\nskein-deadline-ms: {left}\r\n\r\n"
        )
    };
    let refused = service.send(&with("0")).await;
    assert_eq!((refused.status, refused.json()["code"].as_str()), (504, Some("deadline_expired")));
    assert_eq!(calls.load(Ordering::SeqCst), 0);
    assert_eq!(service.send(&with("soon")).await.status, 400);
    assert_eq!(service.send(&with("5000")).await.status, 200);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn work_that_outlasts_the_deadline_is_given_up() {
    let handler = || async {
        std::future::pending::<()>().await;
        "never"
    };
    let service = start(Routes::new().get("/api/work", handler), |_| {});
    let reply = service
        .send("GET /api/work HTTP/1.1\r\nhost: x\r\nconnection: close\r\nskein-deadline-ms: 50\r\n\r\n")
        .await;
    // Not `deadline_expired`, which promises that nothing was done.
    assert_eq!((reply.status, reply.json()["code"].as_str()), (504, Some("upstream_timeout")));
}

#[tokio::test]
async fn the_handler_sees_the_time_left_and_the_attempt() {
    let handler = |context: RequestContext| async move {
        format!(
            "{} {}",
            context.deadline.remaining() <= Duration::from_millis(700),
            context.attempt
        )
    };
    let service = start(Routes::new().get("/api/work", handler), |_| {});
    let reply = service
        .send("GET /api/work HTTP/1.1\r\nhost: x\r\nconnection: close\r\nskein-deadline-ms: 700\r\nskein-attempt: 2\r\n\r\n")
        .await;
    assert_eq!(reply.body, "true 2");
}

/// Fills a service that has one place and no queue; gives what the next request is answered with.
async fn refused_when_full(serve: impl FnOnce(Routes<()>, &ServiceContext) -> Bound) -> Reply {
    let (open, entered) = (Arc::new(Semaphore::new(0)), Arc::new(Notify::new()));
    let (gate, began) = (Arc::clone(&open), Arc::clone(&entered));
    let handler = move || async move {
        began.notify_one();
        drop(gate.acquire().await);
        "done"
    };
    let context = context(|config| {
        config.limits.concurrency_max = 1;
        config.limits.queue_max = 0;
    });
    let bound = serve(Routes::new().get("/api/work", handler), &context);
    let service = Fixture { bound, context };
    let second = async {
        entered.notified().await;
        let refused = service.get("/api/work").await;
        // Health answers even when every place is taken.
        let alive = service.get("/livez").await;
        open.add_permits(1);
        (refused, alive)
    };
    let (first, (refused, alive)) = tokio::join!(service.get("/api/work"), second);
    assert_eq!((first.status, alive.status), (200, 200));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(refused.json()["code"], "overloaded");
    assert_eq!(refused.json()["retryable"], true);
    refused
}

#[tokio::test]
async fn requests_beyond_places_and_queue_are_told_to_come_back() {
    let inside =
        refused_when_full(|routes, context| Service::new(routes).serve(context).unwrap()).await;
    assert_eq!(inside.status, 503);
    let outside =
        refused_when_full(|routes, context| Service::new(routes).public().serve(context).unwrap());
    assert_eq!(outside.await.status, 429);
}

#[tokio::test]
async fn a_panic_is_a_500_with_a_trace_id_and_the_process_lives() {
    async fn broken() -> &'static str {
        panic!("planted")
    }
    let service = start(echo().get("/api/broken", broken), |_| {});
    let reply = service.get("/api/broken").await;
    assert_eq!((reply.status, reply.json()["code"].as_str()), (500, Some("internal")));
    assert!(!reply.body.contains("planted"));
    assert_eq!(reply.json()["trace_id"].as_str().map(str::len), Some(32));
    assert_eq!(service.get("/api/orders/x").await.status, 200);
}

#[tokio::test]
async fn a_drain_says_not_ready_first_and_finishes_what_is_in_flight() {
    let (open, entered) = (Arc::new(Semaphore::new(0)), Arc::new(Notify::new()));
    let (gate, began) = (Arc::clone(&open), Arc::clone(&entered));
    let handler = move || async move {
        began.notify_one();
        drop(gate.acquire().await);
        "done"
    };
    let service = start(Routes::new().get("/api/work", handler), |config| {
        config.drain_delay = Duration::from_secs(60);
    });
    let ending = async {
        entered.notified().await;
        assert_eq!(service.get("/readyz").await.status, 200);
        service.context.tasks.stop();
        // Still accepting, so that a balancer can see it.
        while service.get("/readyz").await.status != 503 {}
        assert_eq!(service.get("/livez").await.status, 200);
        open.add_permits(1);
    };
    let (reply, ()) = tokio::join!(service.get("/api/work"), ending);
    assert_eq!((reply.status, reply.body.as_str()), (200, "done"));
}

#[tokio::test]
async fn a_drained_service_has_ended_all_its_tasks() {
    let service = start(echo(), |_| {});
    assert_eq!(service.get("/api/orders/x").await.status, 200);
    assert_eq!(service.context.tasks.drain(PATIENCE).await, runtime::Drained::Complete);
    assert!(tokio::net::TcpStream::connect(service.bound.http).await.is_err());
}

#[tokio::test]
async fn replicas_share_a_port_and_others_do_not() {
    let share = |config: &mut service_kit::ServiceConfig| config.sharing = PortSharing::Replicas;
    let first = start(echo(), share);
    let address = first.bound.http;
    let second = context(|config| {
        share(config);
        config.http = address;
    });
    assert!(Service::new(echo()).serve(&second).is_ok());
    let third = context(|config| config.http = address);
    let refused = Service::new(echo()).serve(&third);
    assert!(matches!(refused, Err(StartError::Bind { address: at, .. }) if at == address));
}

#[tokio::test]
async fn the_document_is_served_where_tools_look_for_it() {
    let context = context(|_| {});
    let document = serde_json::json!({ "openapi": "3.1.0" });
    let bound = Service::new(echo()).openapi(&document).serve(&context).unwrap();
    let service = Fixture { bound, context };
    assert_eq!(service.get("/openapi.json").await.json()["openapi"], "3.1.0");
    assert_eq!(service.get("/swagger/v1/swagger.json").await.status, 200);
    assert_eq!(service.get("/healthz").await.body, "Healthy");
}
