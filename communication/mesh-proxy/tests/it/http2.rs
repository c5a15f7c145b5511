//! HTTP/2 on either side: bodies, trailers, ends that are no ends, balance, drain.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::Response;
use http_body::Frame;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use mesh_policy::{
    balance::{Algorithm, Settings},
    destination::{Attachments, Protocol},
};
use mesh_proxy::Limits;
use runtime::Drained;
use tokio::sync::{Semaphore, mpsc};

use super::rig::{
    Backend, Proxy, TestBody, backend, empty, map, piped, policy, read, request, text, until,
    with_trailers,
};

/// Says what came, and sends trailers back.
async fn echo(protocol: Protocol) -> Backend {
    backend(protocol, |request: http::Request<Incoming>| async move {
        let (head, body) = request.into_parts();
        let collected = body.collect().await.unwrap();
        let sum = collected.trailers().and_then(|it| it.get("x-sum")).cloned();
        let told = format!(
            "{} {} {} {:?}",
            head.method,
            head.uri.path_and_query().unwrap(),
            String::from_utf8(collected.to_bytes().to_vec()).unwrap(),
            sum,
        );
        let frames = [Frame::data(Bytes::from(told)), Frame::trailers(map(&[("x-end", "said")]))];
        let mut response = Response::new(super::rig::Frames(frames.into_iter().collect()).boxed());
        response.headers_mut().insert("trailer", "x-end".parse().unwrap());
        response
    })
    .await
}

const ECHOED: &str = "POST /a?b=c one two Some(\"7\")";

#[track_caller]
fn check_echoed((status, body, trailers): (u16, Bytes, Option<http::HeaderMap>)) {
    assert_eq!((status, &body[..]), (200, ECHOED.as_bytes()));
    assert_eq!(trailers.unwrap()["x-end"], "said");
}

#[tokio::test]
async fn body_and_trailers_go_both_ways_from_http2_to_either() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let back = echo(protocol).await;
        let proxy = Proxy::start(policy(protocol, &[back.address]));
        let mut client = proxy.h2().await;
        for _ in 0..3 {
            let body = with_trailers(&["one ", "two"], &[("x-sum", "7")]);
            let mut asked = request("POST", "/a?b=c", body);
            asked.headers_mut().insert("te", "trailers".parse().unwrap());
            let answer = client.send_request(asked).await.unwrap();
            check_echoed(read(answer).await);
        }
    }
}

#[tokio::test]
async fn a_target_that_http1_refuses_is_refused_in_http2_too() {
    let back = echo(Protocol::Http1).await;
    let proxy = Proxy::start(policy(Protocol::Http1, &[back.address]));
    let mut client = proxy.h2().await;
    for (path, status) in [("/a\"b", 400), ("/a?b`c", 400), ("/a?b\\c", 400), ("/a?b={c}", 200)] {
        let answer = client.send_request(request("GET", path, empty())).await.unwrap();
        assert_eq!(read(answer).await.0, status, "{path}");
    }
}

#[tokio::test]
async fn body_and_trailers_go_both_ways_from_http1_to_http2() {
    let back = echo(Protocol::Http2).await;
    let proxy = Proxy::start(policy(Protocol::Http2, &[back.address]));
    let mut client = proxy.h1().await;
    for _ in 0..3 {
        let body = with_trailers(&["one ", "two"], &[("x-sum", "7")]);
        let mut asked = request("POST", "/a?b=c", body);
        asked.headers_mut().insert("te", "trailers".parse().unwrap());
        asked.headers_mut().insert("trailer", "x-sum".parse().unwrap());
        *asked.uri_mut() = "/a?b=c".parse().unwrap();
        client.ready().await.unwrap();
        check_echoed(read(client.send_request(asked).await.unwrap()).await);
    }
}

#[tokio::test]
async fn head_and_no_content_have_a_head_alone() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let back = backend(protocol, |request: http::Request<Incoming>| async move {
            let builder = Response::builder().header("x-path", request.uri().path());
            match request.uri().path() {
                "/none" => builder.status(204).body(empty()).unwrap(),
                // Over HTTP/2 hyper would send the body of an answer to HEAD.
                _ if request.method() == "HEAD" => {
                    builder.header("content-length", "10").body(text("")).unwrap()
                }
                _ => builder.body(text("0123456789")).unwrap(),
            }
        })
        .await;
        let proxy = Proxy::start(policy(protocol, &[back.address]));
        let mut client = proxy.h2().await;
        let answer = client.send_request(request("HEAD", "/ten", empty())).await.unwrap();
        assert_eq!(answer.headers()["content-length"], "10", "{protocol:?}");
        assert_eq!(read(answer).await, (200, Bytes::new(), None));
        let answer = client.send_request(request("DELETE", "/none", empty())).await.unwrap();
        assert!(!answer.headers().contains_key("content-length"));
        assert_eq!(read(answer).await, (204, Bytes::new(), None));
        let answer = client.send_request(request("GET", "/ten", empty())).await.unwrap();
        assert_eq!(read(answer).await, (200, Bytes::from("0123456789"), None));
    }
}

/// A backend that says how each request's body ended.
async fn witness() -> (Backend, mpsc::UnboundedReceiver<Result<usize, String>>) {
    let (ended, ends) = mpsc::unbounded_channel();
    let back = backend(Protocol::Http2, move |request: http::Request<Incoming>| {
        let ended = ended.clone();
        async move {
            let mut body = request.into_body();
            let mut bytes = 0;
            let end = loop {
                match body.frame().await {
                    Some(Ok(frame)) => {
                        bytes += frame.data_ref().map_or(0, Bytes::len);
                        ended.send(Ok(bytes)).unwrap();
                    }
                    Some(Err(error)) => break Err(error.to_string()),
                    None => break Ok(usize::MAX),
                }
            };
            // The test may have seen enough.
            let _heard = ended.send(end);
            Response::new(empty())
        }
    })
    .await;
    (back, ends)
}

#[tokio::test]
async fn a_client_that_goes_away_within_its_body_resets_the_stream_behind() {
    let (back, mut ends) = witness().await;
    let proxy = Proxy::start(policy(Protocol::Http2, &[back.address]));
    let mut client = proxy.h2().await;
    let (pieces, body) = piped();
    let sending = client.send_request(request("POST", "/", body));
    let mut sending = Box::pin(sending);
    pieces.send(Ok(Frame::data(Bytes::from_static(b"half")))).await.unwrap();
    let first = tokio::select! {
        _ = &mut sending => panic!("nobody has answered"),
        first = ends.recv() => first,
    };
    assert_eq!(first, Some(Ok(4)));
    drop((sending, pieces, client));
    let end = ends.recv().await.unwrap();
    assert!(end.is_err(), "half a body was taken for a whole one: {end:?}");
}

#[tokio::test]
async fn an_http1_client_that_goes_away_within_its_body_resets_the_stream_behind() {
    use tokio::io::AsyncWriteExt as _;
    let (back, mut ends) = witness().await;
    let proxy = Proxy::start(policy(Protocol::Http2, &[back.address]));
    let mut client = tokio::net::TcpStream::connect(proxy.address).await.unwrap();
    let head = b"POST / HTTP/1.1\r\nhost: back\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n";
    client.write_all(head).await.unwrap();
    assert_eq!(ends.recv().await, Some(Ok(4)));
    drop(client);
    let end = ends.recv().await.unwrap();
    assert!(end.is_err(), "half a body was taken for a whole one: {end:?}");
}

#[tokio::test]
async fn a_client_that_goes_away_after_the_answer_has_begun_resets_the_stream_behind() {
    let (ended, mut ends) = mpsc::unbounded_channel();
    let back = backend(Protocol::Http2, move |request: http::Request<Incoming>| {
        let ended = ended.clone();
        async move {
            let reading = async move {
                let end = request.into_body().collect().await.map(|it| it.to_bytes());
                ended.send(end.map_err(|it| it.to_string())).unwrap();
            };
            hyper::rt::Executor::execute(&hyper_util::rt::TokioExecutor::new(), reading);
            let (pieces, body) = piped();
            // The answer does not end by itself.
            std::mem::forget(pieces);
            Response::new(body)
        }
    })
    .await;
    let proxy = Proxy::start(policy(Protocol::Http2, &[back.address]));
    let mut client = proxy.h2().await;
    let (pieces, body) = piped();
    let asked = client.send_request(request("POST", "/", body));
    pieces.send(Ok(Frame::data(Bytes::from_static(b"half")))).await.unwrap();
    let answer = asked.await.unwrap();
    // The client breaks its own body, which resets its stream.
    pieces.send(Err(std::io::ErrorKind::Other.into())).await.unwrap();
    drop((answer, pieces, client));
    let end = ends.recv().await.unwrap();
    assert!(end.is_err(), "half a body was taken for a whole one: {end:?}");
}

#[tokio::test]
async fn a_client_that_cancels_while_it_waits_resets_the_stream_behind() {
    let (gone, mut seen) = mpsc::unbounded_channel::<()>();
    let (arrived, mut arrivals) = mpsc::unbounded_channel::<()>();
    let back = backend(Protocol::Http2, move |_| {
        let (gone, arrived) = (gone.clone(), arrived.clone());
        async move {
            let _dropped_with_the_stream = Told(gone);
            arrived.send(()).unwrap();
            std::future::pending::<Response<TestBody>>().await
        }
    })
    .await;
    let proxy = Proxy::start(policy(Protocol::Http2, &[back.address]));
    let mut client = proxy.h2().await;
    let sending = client.send_request(request("GET", "/", empty()));
    tokio::select! {
        _ = sending => panic!("nobody has answered"),
        _ = arrivals.recv() => {}
    }
    assert_eq!(seen.recv().await, Some(()));
}

struct Told(mpsc::UnboundedSender<()>);

impl Drop for Told {
    fn drop(&mut self) {
        // Whoever listens may be gone.
        let _told = self.0.send(());
    }
}

#[tokio::test]
async fn a_body_that_nobody_reads_stops_its_sender() {
    let back = backend(Protocol::Http2, |request: http::Request<Incoming>| async move {
        let held = request.into_body();
        std::future::pending::<()>().await;
        drop(held);
        Response::new(empty())
    })
    .await;
    let limits = Limits { body_bytes_max: 1 << 30, ..Limits::default() };
    let proxy = Proxy::with(policy(Protocol::Http2, &[back.address]), limits);
    let mut client = proxy.h2().await;
    let (pieces, body) = piped();
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let feeding = async move {
        while pieces.send(Ok(Frame::data(Bytes::from(vec![0; 16 << 10])))).await.is_ok() {
            counted.fetch_add(16 << 10, Ordering::Relaxed);
        }
    };
    let stalled = async {
        // Nothing more goes for a while: it is the window that holds it, not the pace.
        let mut before = usize::MAX;
        while sent.load(Ordering::Relaxed) != before || before == 0 {
            before = sent.load(Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        before
    };
    let asked = client.send_request(request("POST", "/", body));
    tokio::select! {
        () = feeding => panic!("it never stopped"),
        _ = asked => panic!("nobody has answered"),
        bytes = stalled => assert!(bytes < 8 << 20, "{bytes} bytes on their way"),
    }
}

#[tokio::test]
async fn at_a_drain_streams_in_flight_end_and_no_new_one_begins() {
    let places = Arc::new(Semaphore::new(0));
    let arrived = Arc::new(AtomicUsize::new(0));
    let (gate, count) = (Arc::clone(&places), Arc::clone(&arrived));
    let back = backend(Protocol::Http2, move |request: http::Request<Incoming>| {
        let gate = Arc::clone(&gate);
        let is_held = request.uri().path() == "/held";
        count.fetch_add(usize::from(is_held), Ordering::Relaxed);
        async move {
            if is_held {
                gate.acquire().await.unwrap().forget();
            }
            Response::new(text("late"))
        }
    })
    .await;
    let proxy = Proxy::start(policy(Protocol::Http2, &[back.address]));
    let client = proxy.h2().await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let mut client = client.clone();
        calls.spawn(async move {
            read(client.send_request(request("GET", "/held", empty())).await.unwrap()).await
        });
    }
    until(|| arrived.load(Ordering::Relaxed) == 10).await;
    proxy.tell_to_stop();
    // Once the GOAWAY is there, the client's side of the connection takes nothing more.
    while client.clone().send_request(request("GET", "/", empty())).await.is_ok() {}
    places.add_permits(10);
    while let Some(call) = calls.join_next().await {
        assert_eq!(call.unwrap(), (200, Bytes::from("late"), None));
    }
    assert_eq!(proxy.drain().await, Drained::Complete);
    assert_eq!(arrived.load(Ordering::Relaxed), 10);
}

/// Calls by endpoint of 3,000 over one connection of a client, 30 at a time.
async fn spread(algorithm: Algorithm, to: Protocol) -> Vec<usize> {
    let counts: Vec<_> = (0..3).map(|_| Arc::new(AtomicUsize::new(0))).collect();
    let mut backs = Vec::new();
    for count in &counts {
        let count = Arc::clone(count);
        let answer = move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            async { Response::new(text("ok")) }
        };
        backs.push(backend(to, answer).await);
    }
    let addresses: Vec<_> = backs.iter().map(|it| it.address).collect();
    let mut policy = policy(to, &addresses);
    let balance = Some(Settings { algorithm, ..Settings::default() });
    let attachments = Attachments { balance, ..Attachments::default() };
    policy.attachments.insert("back".to_owned(), attachments);
    let proxy = Proxy::start(policy);
    let client = proxy.h2().await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..30 {
        let mut client = client.clone();
        calls.spawn(async move {
            for _ in 0..100 {
                let answer = client.send_request(request("GET", "/", empty())).await.unwrap();
                assert_eq!(read(answer).await.0, 200);
            }
        });
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap();
    }
    counts.iter().map(|it| it.load(Ordering::Relaxed)).collect()
}

#[tokio::test]
async fn calls_of_one_connection_are_spread_one_by_one() {
    for to in [Protocol::Http1, Protocol::Http2] {
        for algorithm in [Algorithm::RoundRobin, Algorithm::LeastRequest] {
            let counts = spread(algorithm, to).await;
            println!("{algorithm:?} {to:?}: {counts:?}");
            let is_fair = counts.iter().all(|it| (950..=1_050).contains(it));
            assert!(is_fair, "{algorithm:?} {to:?}: {counts:?}");
        }
    }
}

#[tokio::test]
async fn by_latency_every_endpoint_has_its_share() {
    let counts = spread(Algorithm::PeakEwma, Protocol::Http2).await;
    println!("{counts:?}");
    assert_eq!(counts.iter().sum::<usize>(), 3_000);
    assert!(counts.iter().all(|it| *it > 300), "{counts:?}");
}

#[tokio::test]
async fn a_hundred_calls_at_once_go_over_one_connection_to_an_endpoint() {
    let places = Arc::new(Semaphore::new(0));
    let arrived = Arc::new(AtomicUsize::new(0));
    let (gate, count) = (Arc::clone(&places), Arc::clone(&arrived));
    let (dialled, mut connections) = mpsc::unbounded_channel();
    let back = backend(Protocol::Http2, move |_| {
        let gate = Arc::clone(&gate);
        count.fetch_add(1, Ordering::Relaxed);
        async move {
            gate.acquire().await.unwrap().forget();
            Response::new(text("ok"))
        }
    })
    .await;
    let relay = super::rig::counted_relay(back.address, dialled).await;
    let proxy = Proxy::start(policy(Protocol::Http2, &[relay.address]));
    let client = proxy.h2().await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let mut client = client.clone();
        calls.spawn(async move {
            read(client.send_request(request("GET", "/", empty())).await.unwrap()).await.0
        });
    }
    until(|| arrived.load(Ordering::Relaxed) == 100).await;
    places.add_permits(100);
    while let Some(call) = calls.join_next().await {
        assert_eq!(call.unwrap(), 200);
    }
    assert_eq!(connections.recv().await, Some(()));
    assert!(connections.try_recv().is_err(), "more than one connection");
    assert_eq!(proxy.panics(), 0);
}

#[tokio::test]
async fn a_connection_without_a_stream_gives_way_and_a_busy_one_does_not() {
    let places = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&places);
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    let back = backend(Protocol::Http2, move |request: http::Request<Incoming>| {
        let (gate, is_held) = (Arc::clone(&gate), request.uri().path() == "/held");
        arrived.send(()).unwrap();
        async move {
            if is_held {
                gate.acquire().await.unwrap().forget();
            }
            Response::new(text("ok"))
        }
    })
    .await;
    let limits = Limits { connections_max: 2, ..Limits::default() };
    let proxy = Proxy::with(policy(Protocol::Http2, &[back.address]), limits);
    let (mut busy, mut quiet) = (proxy.h2().await, proxy.h2().await);
    let mut held = Box::pin(busy.send_request(request("GET", "/held", empty())));
    tokio::select! {
        _ = &mut held => panic!("nobody has answered"),
        _ = arrivals.recv() => {}
    }
    let asked = quiet.send_request(request("GET", "/", empty())).await.unwrap();
    assert_eq!(read(asked).await.0, 200);
    let mut third = proxy.h2().await;
    let asked = third.send_request(request("GET", "/", empty())).await.unwrap();
    assert_eq!(read(asked).await.0, 200);
    until(|| quiet.is_closed()).await;
    assert!(!busy.is_closed());
    places.add_permits(1);
    assert_eq!(read(held.await.unwrap()).await.0, 200);
}
