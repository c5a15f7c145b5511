//! Every limit is a setting, and every setting takes effect.

use axum::body::Bytes;
use service_kit::{
    Change, JsonBody, Limits, MutatingRoute, Repetition, Routes, Sample, SampleCall, ServiceConfig,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::fixture::{Fixture, exchange, start};

const JSON: &str = "content-type: application/json\r\n";

fn row(path: &'static str) -> MutatingRoute {
    let sample = |_| Sample {
        before: Vec::new(),
        call: SampleCall::new(http::Method::PUT, "/", None),
        other_body: None,
        undo: None,
    };
    let repetition = Repetition::ProvenBy("it changes nothing");
    MutatingRoute { change: Change::Put, path, repetition, sample }
}

fn length() -> Routes<()> {
    Routes::new().change(row("/api/length"), |body: Bytes| async move { body.len().to_string() })
}

fn value() -> Routes<()> {
    let parse = |body: JsonBody| async move { body.parse().map(|it| it.to_string()) };
    Routes::new().change(row("/api/value"), parse)
}

async fn put(service: &Fixture, target: &str, fields: &str, body: &str) -> u16 {
    let request = format!(
        "PUT {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{fields}content-length: {}\r\n\r\n{body}",
        body.len()
    );
    service.send(&request).await.status
}

#[tokio::test]
async fn a_head_beyond_32_kib_or_100_fields_is_431() {
    let service = start(length(), |_| {});
    let field = |size: usize| format!("x-big: {}\r\n", "a".repeat(size));
    assert_eq!(put(&service, "/api/length", &field(32_000), "").await, 200);
    assert_eq!(put(&service, "/api/length", &field(33_000), "").await, 431);
    assert_eq!(put(&service, "/api/length", &field(900_000), "").await, 431);
    // Three fields are always there: host, connection, content-length.
    assert_eq!(put(&service, "/api/length", &"x-a: 1\r\n".repeat(97), "").await, 200);
    assert_eq!(put(&service, "/api/length", &"x-a: 1\r\n".repeat(98), "").await, 431);
    assert_eq!(put(&service, "/api/length", &"x-a: 1\r\n".repeat(1_000), "").await, 431);
}

#[tokio::test]
async fn a_target_beyond_8_kib_is_414() {
    let service = start(length(), |_| {});
    let target = |size: usize| format!("/api/length?{}", "a".repeat(size - "/api/length?".len()));
    assert_eq!(put(&service, &target(8 << 10), "", "").await, 200);
    assert_eq!(put(&service, &target((8 << 10) + 1), "", "").await, 414);
    assert_eq!(put(&service, &target(70_000), "", "").await, 414);
}

#[tokio::test]
async fn a_body_beyond_1_mib_is_413_announced_or_not() {
    let service = start(length(), |_| {});
    assert_eq!(put(&service, "/api/length", "", &"a".repeat(1 << 20)).await, 200);
    assert_eq!(put(&service, "/api/length", "", &"a".repeat((1 << 20) + 1)).await, 413);
    let chunk = format!("{:x}\r\n{}\r\n", 65_536, "a".repeat(65_536));
    let chunked = format!(
        "PUT /api/length HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n{}0\r\n\r\n",
        chunk.repeat(17)
    );
    assert_eq!(service.send(&chunked).await.status, 413);
}

#[tokio::test]
async fn a_body_may_be_as_large_as_was_set() {
    let service = start(length(), |config| config.limits.body_bytes_max = 4 << 20);
    assert_eq!(put(&service, "/api/length", "", &"a".repeat(4 << 20)).await, 200);
    assert_eq!(put(&service, "/api/length", "", &"a".repeat((4 << 20) + 1)).await, 413);
}

#[tokio::test]
async fn nesting_beyond_32_or_what_was_set_is_400() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let service = start(value(), |_| {});
    assert_eq!(put(&service, "/api/value", JSON, &nested(32)).await, 200);
    assert_eq!(put(&service, "/api/value", JSON, &nested(33)).await, 400);
    for depth_max in [3, 50] {
        let service = start(value(), |config| config.limits.json_depth_max = depth_max);
        assert_eq!(put(&service, "/api/value", JSON, &nested(depth_max)).await, 200);
        assert_eq!(put(&service, "/api/value", JSON, &nested(depth_max + 1)).await, 400);
    }
}

#[tokio::test]
async fn all_bodies_together_are_bounded_and_memory_comes_back() {
    let service = start(length(), |config| config.limits.buffered_bytes_max = 1_000);
    assert_eq!(put(&service, "/api/length", "", &"a".repeat(2_000)).await, 503);
    assert_eq!(put(&service, "/api/length", "", &"a".repeat(1_000)).await, 200);
    assert_eq!(put(&service, "/api/length", "", &"a".repeat(1_000)).await, 200);
}

#[tokio::test]
async fn a_body_that_stops_arriving_is_408() {
    let service = start(length(), |config| config.limits.body_idle_timeout_ms = 100);
    let reply = service
        .send("PUT /api/length HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 10\r\n\r\nabc")
        .await;
    assert_eq!((reply.status, reply.json()["code"].as_str()), (408, Some("request_timeout")));
}

#[tokio::test]
async fn a_head_that_stops_arriving_ends_the_connection() {
    let service = start(length(), |config| config.limits.head_timeout_ms = 100);
    let reply = exchange(service.bound.http, "GET /api/length HTTP/1.1\r\nhost:").await;
    assert!(!reply.contains("200"), "{reply}");
}

#[tokio::test]
async fn at_the_limit_a_connection_that_says_nothing_gives_way() {
    let service = start(length(), |config: &mut ServiceConfig| config.limits.connections_max = 1);
    let mut first = TcpStream::connect(service.bound.http).await.unwrap();
    first.write_all(b"PUT /api/length HTTP/1.1\r\nhost: x\r\n").await.unwrap();
    while !service.metrics().contains(r#"http_server_connections{listener="http"} 1.0"#) {
        tokio::task::yield_now().await;
    }
    assert_eq!(service.get("/api/length").await.status, 405);
    let mut rest = Vec::new();
    first.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"");
}

#[test]
fn the_defaults_are_those_of_the_page() {
    let limits = Limits::default();
    assert_eq!((limits.header_bytes_max, limits.header_fields_max), (32_768, 100));
    assert_eq!((limits.target_bytes_max, limits.body_bytes_max), (8_192, 1_048_576));
    assert_eq!((limits.head_timeout_ms, limits.body_idle_timeout_ms), (10_000, 10_000));
    assert_eq!((limits.concurrency_max, limits.queue_max, limits.json_depth_max), (100, 25, 32));
}
