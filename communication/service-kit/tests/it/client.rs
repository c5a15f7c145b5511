//! The client's verdicts: what was certainly not processed, and what may have been.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::mpsc::{Receiver, Sender, channel},
    time::Duration,
};

use base::{Direction, FailureClass, OperationKey};
use http::Method;
use mesh_policy::schema::{SourceFile, read};
use mesh_proxy::{Mesh, Outbound};
use service_kit::{
    Call, CallError, Client, Deadline, Health, PLAIN_SOURCE, Routes, Service, ServiceAddresses,
    ServiceContext,
};
use telemetry::{SpanStatus, Telemetry, TelemetryConfig};
use tokio::io::AsyncReadExt as _;

use super::fixture::context;

/// A server on its own thread, so that it goes on while the test's runtime stands still.
fn server(work: impl FnOnce(TcpListener) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || work(listener));
    address
}

fn read_request(stream: &mut TcpStream) -> String {
    let (mut text, mut buffer) = (String::new(), [0; 4_096]);
    while !text.contains("\r\n\r\n") {
        let count = stream.read(&mut buffer).unwrap();
        if count == 0 {
            break;
        }
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    text
}

fn client(address: SocketAddr) -> (Client, Telemetry) {
    let settings = TelemetryConfig { seed: Some(3), ..TelemetryConfig::default() };
    let telemetry = Telemetry::new(settings, runtime::SystemClock::shared());
    let services = ServiceAddresses::new().with("orders", format!("http://{address}"));
    (Client::new(services, Duration::from_secs(20), telemetry.clone()), telemetry)
}

fn reply(stream: &mut TcpStream, body: &str) {
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
}

#[track_caller]
fn check(error: &CallError, unprocessed: bool, class: FailureClass) {
    assert_eq!((error.is_unprocessed(), error.class()), (unprocessed, class), "{error:?}");
}

#[tokio::test]
async fn a_refused_connection_is_certainly_unprocessed() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = client(free).0.call(Call::get("orders", "/a")).await.unwrap_err();
    assert!(matches!(error, CallError::NotSent(_)), "{error:?}");
    check(&error, true, FailureClass::Transient);
}

#[tokio::test]
async fn an_unknown_service_is_certainly_unprocessed() {
    let (client, _) = client(([127, 0, 0, 1], 1).into());
    let error = client.call(Call::get("nobody", "/a")).await.unwrap_err();
    check(&error, true, FailureClass::Transient);
}

#[tokio::test]
async fn a_connection_lost_after_the_request_may_have_been_processed() {
    let address = server(|listener| {
        let mut stream = listener.accept().unwrap().0;
        read_request(&mut stream);
    });
    let error = client(address).0.call(Call::get("orders", "/a")).await.unwrap_err();
    assert!(matches!(error, CallError::ConnectionLost(_)), "{error:?}");
    check(&error, false, FailureClass::Unknown);
}

#[tokio::test]
async fn a_reply_that_breaks_off_may_have_been_processed() {
    let address = server(|listener| {
        let mut stream = listener.accept().unwrap().0;
        read_request(&mut stream);
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").unwrap();
    });
    let error = client(address).0.call(Call::get("orders", "/a")).await.unwrap_err();
    check(&error, false, FailureClass::Unknown);
}

#[tokio::test]
async fn silence_is_a_timeout_that_may_have_been_processed() {
    let (_keep, kept): (Sender<()>, Receiver<()>) = channel();
    let address = server(move |listener| {
        let mut stream = listener.accept().unwrap().0;
        read_request(&mut stream);
        let _closed = kept.recv();
    });
    let call = Call { timeout: Some(Duration::from_millis(100)), ..Call::get("orders", "/a") };
    let error = client(address).0.call(call).await.unwrap_err();
    assert!(matches!(error, CallError::TimedOut { .. }), "{error:?}");
    check(&error, false, FailureClass::Transient);
}

/// The end of the pooled connection and the test's signal become readable together; the client looks
/// before it sends, and takes a fresh connection.
#[tokio::test]
async fn a_pooled_connection_that_died_is_not_used() {
    let (end, told) = channel();
    let (ended, wait) = channel();
    let address = server(move |listener| {
        let mut signal = listener.accept().unwrap().0;
        let mut stream = listener.accept().unwrap().0;
        read_request(&mut stream);
        reply(&mut stream, "one");
        told.recv().unwrap();
        drop(stream);
        signal.write_all(b"x").unwrap();
        ended.send(()).unwrap();
        let mut stream = listener.accept().unwrap().0;
        let target = read_request(&mut stream).split(' ').nth(1).unwrap().to_owned();
        reply(&mut stream, &format!("two {target}"));
    });
    let mut signal = tokio::net::TcpStream::connect(address).await.unwrap();
    let (client, _) = client(address);
    assert_eq!(client.call(Call::get("orders", "/a")).await.unwrap().body, "one");
    end.send(()).unwrap();
    wait.recv().unwrap();
    signal.read_u8().await.unwrap();
    assert_eq!(client.call(Call::get("orders", "/b")).await.unwrap().body, "two /b");
}

#[tokio::test]
async fn an_expired_deadline_sends_nothing() {
    let (connected, seen) = channel();
    let address = server(move |listener| {
        drop(listener.accept());
        connected.send(()).unwrap();
    });
    let call = Call::get("orders", "/a").within(Deadline::after(Duration::ZERO));
    let error = client(address).0.call(call).await.unwrap_err();
    assert!(matches!(error, CallError::DeadlineExpired), "{error:?}");
    check(&error, true, FailureClass::Transient);
    assert!(seen.try_recv().is_err());
}

#[tokio::test]
async fn a_call_carries_key_epoch_attempt_deadline_and_trace() {
    let (sender, request) = channel();
    let address = server(move |listener| {
        let mut stream = listener.accept().unwrap().0;
        sender.send(read_request(&mut stream)).unwrap();
        reply(&mut stream, "{}");
    });
    let (client, telemetry) = client(address);
    let key = OperationKey {
        saga: "d1/create".to_owned(),
        step: "book".to_owned(),
        direction: Direction::Do,
        revision: 0,
    };
    let call = Call::new("orders", Method::PUT, "/api/orders/1")
        .route("/api/orders/{id}")
        .json(&serde_json::json!({ "a": 1 }))
        .operation(key, Some(7))
        .within(Deadline::after(Duration::from_millis(1_500)));
    client.call(Call { attempt: 2, ..call }).await.unwrap();
    let text = request.recv().unwrap();
    for line in [
        "idempotency-key: \"d1/create/book/do/0\"",
        "skein-epoch: 7",
        "skein-attempt: 2",
        "content-type: application/json",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    let field = |name: &str| text.lines().find_map(|it| it.strip_prefix(name)).unwrap();
    let left: u64 = field("skein-deadline-ms: ").parse().unwrap();
    assert!((1..=1_500).contains(&left), "{left}");
    let span = &telemetry.take_batch(1).await[0];
    assert_eq!((span.name.as_ref(), &span.status), ("PUT /api/orders/{id}", &SpanStatus::Unset));
    assert!(field("traceparent: ").contains(&span.span_id.to_string()));
}

#[tokio::test]
async fn no_call_is_made_twice() {
    let (sender, requests) = channel();
    let address = server(move |listener| {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            sender.send(read_request(&mut stream)).unwrap();
            write!(stream, "HTTP/1.1 503 Busy\r\nretry-after: 3\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
        }
    });
    let (client, _) = client(address);
    let answer = client.call(Call::get("orders", "/a")).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.retry_after()), (503, Some(Duration::from_secs(3))));
    assert_eq!(requests.try_iter().count(), 1);
}

/// Addresses of one service, and the measures of the process that calls it.
fn caller() -> ServiceContext {
    context(|config| {
        config.services = ServiceAddresses::new().with("stock", "http://127.0.0.1:9");
    })
}

#[tokio::test]
async fn a_client_that_nobody_uses_has_no_series() {
    let mut context = caller();
    let text = "apiVersion: skein/v1\nkind: Endpoints\nmetadata: {name: stock}\n\
                spec: {endpoints: [{address: \"127.0.0.1:9\"}]}\n";
    let file = SourceFile { name: "stock.yaml".to_owned(), text: text.to_owned() };
    let policy = read(&[file]).unwrap();
    let mesh = Mesh::new("orders", policy, &context.telemetry).unwrap();
    let timeout = context.config.call_timeout;
    context.call_by(Client::over(Outbound::new(mesh), timeout, &context.telemetry));
    Service::new(Routes::new()).health(Health::new()).serve(&context).unwrap();
    assert!(context.client().call(Call::get("stock", "/")).await.is_err());
    let measures = context.telemetry.metrics().encode();
    assert!(measures.contains(r#"source="orders""#), "{measures}");
    assert!(!measures.contains(PLAIN_SOURCE), "{measures}");
    context.tasks.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_context_that_is_told_of_no_client_calls_by_a_plain_one() {
    let context = caller();
    assert!(!context.telemetry.metrics().encode().contains(PLAIN_SOURCE));
    assert!(context.client().call(Call::get("stock", "/")).await.is_err());
    let measures = context.telemetry.metrics().encode();
    assert!(measures.contains(r#"source="(client)""#), "{measures}");
    assert!(std::ptr::eq(context.client().mesh(), context.clone().client().mesh()));
}
