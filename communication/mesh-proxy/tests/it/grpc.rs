//! Calls of gRPC: a status in the trailers counts, and refusals are statuses.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use mesh_policy::{
    Policy, breaker,
    destination::{Attachments, Protocol},
    retry::RouteRetry,
    route::{Backend as To, Match, Parent, Route, RouteKind, Rule},
};
use tokio::sync::mpsc;

use super::{
    rig::{
        Backend, Frames, Proxy, TestBody, backend, empty, map, piped, policy, read, request, text,
        until,
    },
    stage::Nobody,
};

/// A message of gRPC is five bytes of head before its own.
const MESSAGE: &[u8] = &[0, 0, 0, 0, 2, b'o', b'k'];

fn call(path: &str) -> Request<TestBody> {
    let mut call = request("POST", path, text(Bytes::from_static(MESSAGE)));
    call.headers_mut().insert("content-type", "application/grpc+proto".parse().unwrap());
    call.headers_mut().insert("te", "trailers".parse().unwrap());
    call
}

fn answer(status: &str, data: Option<&'static [u8]>) -> Response<TestBody> {
    let mut frames: VecDeque<_> = data.into_iter().map(|it| Frame::data(it.into())).collect();
    frames.push_back(Frame::trailers(map(&[("grpc-status", status)])));
    let body = Frames(frames).boxed();
    Response::builder().header("content-type", "application/grpc").body(body).unwrap()
}

/// A route that says that its calls may be repeated.
fn repeated(mut policy: Policy) -> Policy {
    let retry = RouteRetry {
        codes: vec![503],
        attempts: Some(2),
        backoff: Some(Duration::from_millis(1)),
        is_idempotent: true,
    };
    let backend = To { service: "back".to_owned(), port: None, weight: 1, filters: Vec::new() };
    let rule = Rule {
        name: None,
        matches: vec![Match::default()],
        filters: Vec::new(),
        timeouts: mesh_policy::route::Timeouts::default(),
        retry: Some(retry),
        backends: vec![backend],
    };
    policy.routes.push(Route {
        name: "test/back".to_owned(),
        kind: RouteKind::Grpc,
        created: None,
        parents: vec![Parent::Service { name: "back".to_owned() }],
        hostnames: Vec::new(),
        rules: vec![rule],
    });
    policy
}

/// A backend that fails so many calls and then answers; counts them.
async fn failing(failures: usize, fail: fn() -> Response<TestBody>) -> (Backend, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let back = backend(Protocol::Http2, move |_| {
        let number = count.fetch_add(1, Ordering::Relaxed);
        async move { if number < failures { fail() } else { answer("0", Some(MESSAGE)) } }
    })
    .await;
    (back, calls)
}

/// Two failures of this kind are tried again until the third call answers.
async fn check_repeated(fail: fn() -> Response<TestBody>) {
    let (back, calls) = failing(2, fail).await;
    let proxy = Proxy::start(repeated(policy(Protocol::Http2, &[back.address])));
    let mut client = proxy.h2().await;
    let answered = client.send_request(call("/a.B/C")).await.unwrap();
    let (status, body, trailers) = read(answered).await;
    assert_eq!((status, &body[..]), (200, MESSAGE));
    assert_eq!(trailers.unwrap()["grpc-status"], "0");
    assert_eq!(calls.load(Ordering::Relaxed), 3);
}

/// mesh 12b: 26.
#[tokio::test]
async fn unavailable_in_the_trailers_is_tried_again() {
    check_repeated(|| answer("14", None)).await;
}

#[tokio::test]
async fn unavailable_without_anything_else_is_tried_again() {
    check_repeated(|| {
        let builder = Response::builder().header("content-type", "application/grpc");
        builder.header("grpc-status", "14").body(empty()).unwrap()
    })
    .await;
}

#[tokio::test]
async fn what_has_begun_and_what_is_an_answer_is_not_tried_again() {
    type Fail = fn() -> Response<TestBody>;
    let fails: [(Fail, &str); 2] =
        [(|| answer("14", Some(MESSAGE)), "14"), (|| answer("5", None), "5")];
    for (fail, expected) in fails {
        let (back, calls) = failing(2, fail).await;
        let proxy = Proxy::start(repeated(policy(Protocol::Http2, &[back.address])));
        let mut client = proxy.h2().await;
        let answered = client.send_request(call("/a.B/C")).await.unwrap();
        let (_, _, trailers) = read(answered).await;
        assert_eq!(trailers.unwrap()["grpc-status"], expected);
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }
}

#[tokio::test]
async fn failures_in_trailers_open_the_breaker_each_counted_once() {
    for (data, is_looked_at) in [(None, true), (None, false), (Some(MESSAGE), false)] {
        let back = backend(Protocol::Http2, move |_| async move { answer("14", data) }).await;
        let mut policy = policy(Protocol::Http2, &[back.address]);
        if is_looked_at {
            policy = repeated(policy);
            policy.routes[0].rules[0].retry.as_mut().unwrap().attempts = Some(0);
        }
        let breaker = breaker::Settings { consecutive_failures: 7, ..breaker::Settings::default() };
        let breaker = breaker::Settings { success_rate_min: 0.0, ..breaker };
        let attachments = Attachments { breaker: Some(breaker), ..Attachments::default() };
        policy.attachments.insert("back".to_owned(), attachments);
        let proxy = Proxy::start(policy);
        let mut client = proxy.h2().await;
        for number in 0..7 {
            let answered = client.send_request(call("/a.B/C")).await.unwrap();
            assert!(!answered.headers().contains_key("skein-error"), "{number}");
            assert_eq!(read(answered).await.2.unwrap()["grpc-status"], "14");
        }
        let answered = client.send_request(call("/a.B/C")).await.unwrap();
        check_refused(answered.headers(), "14", "breaker_open");
    }
}

#[track_caller]
fn check_refused(headers: &HeaderMap, status: &str, code: &str) {
    assert_eq!(headers["content-type"], "application/grpc", "{headers:?}");
    assert_eq!(headers["grpc-status"], status);
    assert_eq!(headers["skein-error"], code);
    assert!(!headers["grpc-message"].is_empty());
}

#[tokio::test]
async fn refusals_are_statuses_without_a_body() {
    // Held, so that no other test gets the port meanwhile.
    let nobody = Nobody::new();
    let gone = nobody.address();
    let mut nowhere = repeated(policy(Protocol::Http2, &[gone]));
    let method = Match { method: Some("PUT".to_owned()), ..Match::default() };
    nowhere.routes[0].rules[0].matches = vec![method];
    let silent = backend(Protocol::Http2, |_| std::future::pending()).await;
    let late = policy(Protocol::Http2, &[silent.address]);
    let cases = [
        (nowhere, "12", "no_route"),
        (policy(Protocol::Http2, &[]), "14", "no_endpoint"),
        (policy(Protocol::Http2, &[gone]), "14", "upstream_unavailable"),
        (late, "4", "upstream_timeout"),
    ];
    for (policy, status, code) in cases {
        let proxy = Proxy::start(policy);
        let mut call = call("/a.B/C");
        call.headers_mut().insert("grpc-timeout", "300m".parse().unwrap());
        let answered = proxy.h2().await.send_request(call).await.unwrap();
        check_refused(answered.headers(), status, code);
        assert_eq!(read(answered).await, (200, Bytes::new(), None));
    }
}

#[tokio::test]
async fn the_time_that_is_left_shrinks() {
    let (told, mut timeouts) = mpsc::unbounded_channel();
    let back = backend(Protocol::Http2, move |request: Request<Incoming>| {
        let value = request.headers()["grpc-timeout"].to_str().unwrap().to_owned();
        told.send(value).unwrap();
        async { answer("0", None) }
    })
    .await;
    let proxy = Proxy::start(policy(Protocol::Http2, &[back.address]));
    let mut call = call("/a.B/C");
    call.headers_mut().insert("grpc-timeout", "5S".parse().unwrap());
    let answered = proxy.h2().await.send_request(call).await.unwrap();
    assert_eq!(read(answered).await.0, 200);
    let left = timeouts.recv().await.unwrap();
    let millis: u64 = left.strip_suffix('m').unwrap().parse().unwrap();
    assert!((1..5_000).contains(&millis), "{left}");
}

#[tokio::test]
async fn a_stream_both_ways_has_its_head_before_its_first_message() {
    let back = backend(Protocol::Http2, |request: Request<Incoming>| async move {
        let (pieces, body) = piped();
        let mut asked = request.into_body();
        let echoing = async move {
            while let Some(Ok(frame)) = asked.frame().await {
                pieces.send(Ok(frame)).await.unwrap();
            }
            // The client may have seen enough.
            let end = Frame::trailers(map(&[("grpc-status", "0")]));
            let _heard = pieces.send(Ok(end)).await;
        };
        hyper::rt::Executor::execute(&hyper_util::rt::TokioExecutor::new(), echoing);
        Response::builder().header("content-type", "application/grpc").body(body).unwrap()
    })
    .await;
    let proxy = Proxy::start(repeated(policy(Protocol::Http2, &[back.address])));
    let (pieces, body) = piped();
    let mut call = call("/a.B/C");
    *call.body_mut() = body;
    // Nothing of the request's body was sent yet.
    let mut answered = proxy.h2().await.send_request(call).await.unwrap();
    for number in 0..100_u8 {
        pieces.send(Ok(Frame::data(Bytes::from(vec![number; 100])))).await.unwrap();
        let frame = answered.body_mut().frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), vec![number; 100]);
    }
    drop(pieces);
    let end = answered.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(end.into_trailers().unwrap()["grpc-status"], "0");
    until(|| proxy.panics() == 0).await;
}
