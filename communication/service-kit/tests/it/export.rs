//! Finished spans reach the collector; a collector that is down costs nothing but the spans.

use axum::body::Bytes;
use service_kit::{Change, MutatingRoute, Repetition, Routes, Sample, SampleCall};
use telemetry::otlp;
use tokio::{sync::mpsc, time::timeout};

use crate::fixture::{PATIENCE, start};

fn collector(sender: mpsc::Sender<Bytes>) -> Routes<()> {
    let sample = |_| Sample {
        before: Vec::new(),
        call: SampleCall::new(http::Method::POST, "/v1/traces", None),
        other_body: None,
        undo: None,
    };
    let repetition = Repetition::ProvenBy("a collector for tests");
    let row = MutatingRoute { change: Change::Post, path: "/v1/traces", repetition, sample };
    Routes::new().change(row, move |body: Bytes| async move {
        sender.send(body).await.unwrap();
        "{}"
    })
}

fn work() -> Routes<()> {
    Routes::new().get("/api/work", || async { "done" })
}

#[tokio::test]
async fn spans_are_posted_as_otlp_json() {
    let (sender, mut bodies) = mpsc::channel(8);
    let collector = start(collector(sender), |_| {});
    let service = start(work(), |config| {
        config.trace_endpoint = Some(format!("http://{}", collector.bound.http));
    });
    assert_eq!(service.get("/api/work").await.status, 200);
    let body = timeout(PATIENCE, bodies.recv()).await.unwrap().unwrap();
    let decoded = otlp::decode(&serde_json::from_slice(&body).unwrap()).unwrap();
    assert_eq!(decoded[0].0.service, "orders");
    assert_eq!(decoded[0].1[0].name, "GET /api/work");
}

#[tokio::test]
async fn spans_that_nobody_takes_are_counted_and_forgotten() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let service = start(work(), |config| config.trace_endpoint = Some(format!("http://{free}")));
    assert_eq!(service.get("/api/work").await.status, 200);
    let counted = async {
        while !service.metrics().contains("telemetry_spans_lost_total 1") {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, counted).await.unwrap();
    assert!(service.context.telemetry.take_ready(10).is_empty());
}
