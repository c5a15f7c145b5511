//! Planted faults: refused unless allowed, and exact when they are.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use service_kit::{FaultHook, Routes};

use crate::fixture::{Fixture, start};

fn counted() -> (Routes<()>, Arc<AtomicU32>) {
    let calls = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&calls);
    let handler = move || async move {
        seen.fetch_add(1, Ordering::SeqCst);
        "done"
    };
    (Routes::new().get("/api/work", handler), calls)
}

async fn plant(service: &Fixture, effect: &str) -> u16 {
    let body = format!(r#"{{"route":"GET /api/work",{effect},"count":1}}"#);
    service.admin("PUT", "/admin/faults", &body).await.status
}

#[tokio::test]
async fn faults_cannot_be_planted_where_the_configuration_does_not_say_so() {
    let service = start(counted().0, |_| {});
    assert_eq!(plant(&service, r#""status":503"#).await, 404);
    let refused = service.admin("GET", "/admin/faults", "").await;
    assert_eq!(refused.status, 404);
    assert!(refused.json()["detail"].as_str().unwrap().contains("--enable-faults"));
    assert_eq!(service.get("/admin/faults").await.status, 404);
}

#[tokio::test]
async fn a_planted_status_is_answered_without_work_as_often_as_said() {
    let (routes, calls) = counted();
    let service = start(routes, |config| config.faults = FaultHook::On);
    assert_eq!(plant(&service, r#""status":503"#).await, 204);
    assert_eq!(service.admin("GET", "/admin/faults", "").await.json()["faults"][0]["count"], 1);
    assert_eq!(service.get("/api/work").await.status, 503);
    assert_eq!(calls.load(Ordering::SeqCst), 0);
    assert_eq!(service.get("/api/work").await.status, 200);
}

#[tokio::test]
async fn a_dropped_reply_leaves_the_work_done() {
    let (routes, calls) = counted();
    let service = start(routes, |config| config.faults = FaultHook::On);
    assert_eq!(plant(&service, r#""drop_reply":true"#).await, 204);
    assert_eq!(service.get("/api/work").await.status, 0);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_delay_counts_against_the_deadline_and_faults_can_be_cleared() {
    let (routes, calls) = counted();
    let service = start(routes, |config| {
        config.faults = FaultHook::On;
        config.limits.request_timeout_ms = 50;
    });
    assert_eq!(plant(&service, r#""delay_ms":60000"#).await, 204);
    assert_eq!(service.get("/api/work").await.status, 504);
    assert_eq!(calls.load(Ordering::SeqCst), 0);
    assert_eq!(plant(&service, r#""delay_ms":60000"#).await, 204);
    assert_eq!(service.admin("DELETE", "/admin/faults", "").await.status, 204);
    assert_eq!(service.get("/api/work").await.status, 200);
}

#[tokio::test]
async fn nonsense_is_refused_with_the_reason() {
    let service = start(counted().0, |config| config.faults = FaultHook::On);
    assert_eq!(plant(&service, r#""status":9"#).await, 400);
    assert_eq!(plant(&service, r#""explode":true"#).await, 400);
}
