//! How much is held, how long, and what a chain of proxies makes of a failure.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt as _, Full};
use mesh_policy::route::RequestView as _;
use mesh_policy::{
    concurrency,
    destination::{Attachments, Timeouts},
    retry,
};
use mesh_proxy::{
    Handler, Limits, Peer, Reply, Site,
    body::{RequestBody, Upload},
    downstream::{Sharing, listen, serve},
    head::{RequestHead, ResponseHead},
};
use runtime::Tasks;
use telemetry::Telemetry;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{
    behaviour_retry::never_open,
    stage::{
        Act, Backend, EVERYWHERE, LISTENING, Placement, Plan, Stage, Wire, ok, request, status,
        until, within,
    },
};

const MIB: usize = 1 << 20;
/// What the kernel may hold of two connections, in both directions, whatever it is tuned to.
const KERNEL_BYTES_MAX: usize = 24 * MIB;

/// Waits until a number stands still. That nothing moves can only be seen over time: 50 looks, 2 ms
/// apart.
async fn still(number: &AtomicUsize) -> usize {
    within(async {
        let (mut last, mut same) = (0, 0);
        while same < 50 {
            tokio::time::sleep(Duration::from_millis(2)).await;
            let now = number.load(Ordering::Relaxed);
            same = if now == last && now > 0 { same + 1 } else { 0 };
            last = now;
        }
        last
    })
    .await
}

/// One place, which an answer gives back that says nothing for so long.
fn one_at_a_time(idle: Duration) -> Attachments {
    let one = concurrency::Settings { requests_max: 1, ..concurrency::Settings::default() };
    Attachments {
        timeouts: Some(Timeouts { idle, ..Timeouts::default() }),
        concurrency: Some(one),
        ..Attachments::default()
    }
}

// mesh 12b: 65
#[tokio::test]
async fn a_server_that_closes_behind_each_answer_without_a_word_costs_no_request() {
    for placement in EVERYWHERE {
        let backend = Backend::new(|_, _| {
            Act::SayAndClose("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned())
        });
        let backend = backend.await;
        let stage = Stage::new(placement, &Plan::to(&[&backend]));
        let mut client = stage.client().await;
        for number in 0..300 {
            let method = if number % 3 == 0 { "GET" } else { "POST" };
            let answer = if placement == Placement::InProcess {
                stage.call(method, "/", &[], "x").await
            } else {
                client.send(request(method, "/", &[], b"x")).await;
                client.answer().await
            };
            assert_eq!(answer.status, 200, "{placement:?} {number} {:?}", answer.code());
        }
        assert_eq!(backend.hits(), 300);
        assert_eq!(stage.count("mesh_retries_total", &[]), 0, "{placement:?}");
    }
}

/// Connections are kept where the server keeps them.
#[tokio::test]
async fn calls_one_after_another_share_a_connection() {
    for placement in EVERYWHERE {
        let backend = Backend::new(|_, _| ok()).await;
        let stage = Stage::new(placement, &Plan::to(&[&backend]));
        for _ in 0..50 {
            assert_eq!(stage.call("POST", "/", &[], "x").await.status, 200);
        }
        assert_eq!(backend.connections(), 1, "{placement:?}");
    }
}

// mesh 12b: 66
#[tokio::test]
async fn an_answer_waits_in_its_backend_while_its_reader_is_slow() {
    for placement in LISTENING {
        let written = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&written);
        let backend = Backend::wild(move |stream, _| {
            let count = Arc::clone(&count);
            async move {
                let mut wire = Wire::new(stream);
                wire.head().await.unwrap();
                wire.send("HTTP/1.1 200 OK\r\nContent-Length: 67108864\r\n\r\n").await;
                let piece = vec![7; 64 << 10];
                for _ in 0..1_024 {
                    wire.stream.write_all(&piece).await.unwrap();
                    count.fetch_add(piece.len(), Ordering::Relaxed);
                }
            }
        });
        let backend = backend.await;
        let stage = Stage::new(placement, &Plan::to(&[&backend]));
        let mut client = stage.client().await;
        client.send(request("GET", "/", &[], b"")).await;
        let ahead = still(&written).await;
        assert!(ahead < KERNEL_BYTES_MAX, "{placement:?}: {ahead} bytes are held");
        let answer = client.answer().await;
        assert_eq!((answer.body.len(), answer.is_whole), (64 * MIB, true));
    }
}

// mesh 12b: 66
#[tokio::test]
async fn a_request_waits_in_its_client_while_its_backend_is_slow() {
    for placement in LISTENING {
        let (go, goes) = tokio::sync::watch::channel(false);
        let read = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&read);
        let backend = Backend::wild(move |stream, _| {
            let (mut goes, count) = (goes.clone(), Arc::clone(&count));
            async move {
                goes.wait_for(|it| *it).await.unwrap();
                let mut wire = Wire::new(stream);
                wire.head().await.unwrap();
                let mut piece = vec![0; 64 << 10];
                // All but what came with the head.
                while count.load(Ordering::Relaxed) < 63 * MIB {
                    let more = wire.stream.read(&mut piece).await.unwrap();
                    count.fetch_add(more, Ordering::Relaxed);
                }
                wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
                wire.end().await;
            }
        });
        let backend = backend.await;
        let limits = Limits { body_bytes_max: u64::MAX, ..Limits::default() };
        let stage = Stage::new(placement, &Plan { limits, ..Plan::to(&[&backend]) });
        let mut client = stage.client().await;
        let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 67108864\r\n\r\n";
        client.send(head).await;
        let sent = Arc::new(AtomicUsize::new(0));
        let sending = async {
            let piece = vec![7; 64 << 10];
            for _ in 0..1_024 {
                within(client.stream.write_all(&piece)).await.unwrap();
                sent.fetch_add(piece.len(), Ordering::Relaxed);
            }
        };
        let watching = async {
            let ahead = still(&sent).await;
            assert!(ahead < KERNEL_BYTES_MAX, "{placement:?}: {ahead} bytes are held");
            go.send_replace(true);
        };
        tokio::join!(sending, watching);
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.text()), (200, "ok"));
    }
}

#[tokio::test]
async fn a_client_that_stops_reading_holds_neither_its_upstream_nor_its_place() {
    for placement in LISTENING {
        let ended = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ended);
        let backend = Backend::wild(move |stream, log| {
            let told = Arc::clone(&told);
            async move {
                let mut wire = Wire::new(stream);
                let (line, _) = wire.head().await.unwrap();
                if line.contains("/short") {
                    return wire.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
                }
                super::stage::lock(&log).ended += 1;
                let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
                let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
                let mut said = wire.stream.write_all(head).await;
                while said.is_ok() {
                    said = wire.stream.write_all(chunk.as_bytes()).await;
                }
                told.store(true, Ordering::Relaxed);
            }
        });
        let backend = backend.await;
        let settings = one_at_a_time(Duration::from_millis(60));
        let stage = Stage::new(placement, &Plan { settings, ..Plan::to(&[&backend]) });
        let mut client = stage.client().await;
        client.send(request("GET", "/endless", &[], b"")).await;
        until(|| ended.load(Ordering::Relaxed)).await;
        assert_eq!(stage.get("/short").await.status, 200, "{placement:?}");
    }
}

/// A listener whose answers are made in this process.
async fn serve_here<H: Handler>(handler: H, limits: Limits) -> (Arc<Site<H>>, Tasks, Wire) {
    let site = Arc::new(Site::new("here", handler, limits, &Telemetry::disabled()));
    let listener = listen("127.0.0.1:0".parse().unwrap(), Sharing::Exclusive).unwrap();
    let (address, tasks) = (listener.local_addr().unwrap(), Tasks::new());
    serve(Arc::clone(&site), listener, Duration::ZERO, &tasks);
    let client = Wire::connect(address).await;
    (site, tasks, client)
}

/// Nothing but the client makes an answer of this process wait.
#[tokio::test]
async fn a_client_that_stops_reading_does_not_hold_an_answer_of_this_process() {
    struct Large;
    impl Handler for Large {
        async fn handle<B: RequestBody>(
            &self,
            _: RequestHead,
            _: Peer,
            _: &mut Upload<B>,
        ) -> Reply {
            Reply::whole(ResponseHead::new(StatusCode::OK), vec![7; 64 * MIB].into())
        }
    }
    let limits = Limits { body_idle_timeout: Duration::from_millis(60), ..Limits::default() };
    let (site, _tasks, mut client) = serve_here(Large, limits).await;
    client.send(request("GET", "/", &[], b"")).await;
    until(|| site.doors.len() == 1).await;
    until(|| site.doors.is_empty()).await;
    assert!(!client.answer().await.is_whole);
    // Who reads gets all of it; a busy machine may keep it from reading for a while.
    let (_site, _tasks, mut client) = serve_here(Large, Limits::default()).await;
    client.send(request("GET", "/", &[], b"")).await;
    let answer = client.answer().await;
    assert_eq!((answer.body.len(), answer.is_whole), (64 * MIB, true));
}

/// An application that miscounts must not put the connection out of step.
#[tokio::test]
async fn an_answer_longer_or_shorter_than_told_ends_the_connection() {
    struct Miscounted;
    impl Handler for Miscounted {
        async fn handle<B: RequestBody>(
            &self,
            head: RequestHead,
            _: Peer,
            _: &mut Upload<B>,
        ) -> Reply {
            let mut answer = ResponseHead::new(StatusCode::OK);
            answer.length = head.path()[1..].parse().ok();
            let body = Full::new(Bytes::from_static(b"hello")).map_err(|it| match it {});
            Reply::streamed(answer, Box::pin(body))
        }
    }
    for (told, came, is_whole) in [(5, "hello", true), (9, "hello", false), (3, "", false)] {
        let (_site, _tasks, mut client) = serve_here(Miscounted, Limits::default()).await;
        client.send(request("GET", &format!("/{told}"), &[], b"")).await;
        client.send(request("GET", "/5", &[], b"")).await;
        let answer = client.answer().await;
        assert_eq!((answer.text(), answer.is_whole), (came, is_whole), "{told}");
        if is_whole {
            assert_eq!(client.answer().await.text(), "hello");
        } else {
            assert_eq!(client.end().await, b"", "{told}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_stands_still_is_cut_and_frees_its_place() {
    for placement in LISTENING {
        let backend = Backend::wild(|stream, log| async move {
            let mut wire = Wire::new(stream);
            while let Some((line, _)) = wire.head().await {
                let length = if line.contains("/stalls") { 4 } else { 2 };
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nok");
                wire.send(head).await;
            }
            super::stage::lock(&log).ended += 1;
        });
        let backend = backend.await;
        let settings = one_at_a_time(Duration::from_millis(40));
        let stage = Stage::new(placement, &Plan { settings, ..Plan::to(&[&backend]) });
        let answer = stage.get("/stalls").await;
        assert_eq!((answer.status, answer.is_whole), (200, false), "{placement:?}");
        until(|| backend.ended() == 1).await;
        assert_eq!(stage.get("/").await.text(), "ok");
    }
}

#[tokio::test]
async fn a_client_that_goes_within_an_answer_frees_its_upstream_and_its_place() {
    for placement in LISTENING {
        let backend = Backend::wild(|stream, log| async move {
            let mut wire = Wire::new(stream);
            let (line, _) = wire.head().await.unwrap();
            if line.contains("/short") {
                return wire.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
            }
            let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            let mut said = wire.stream.write_all(head).await;
            while said.is_ok() {
                said = wire.stream.write_all(b"4\r\ntick\r\n").await;
                // The pace of a backend that has something to say now and then, for ever.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            super::stage::lock(&log).ended += 1;
        });
        let backend = backend.await;
        let concurrency =
            concurrency::Settings { requests_max: 1, ..concurrency::Settings::default() };
        let settings = Attachments { concurrency: Some(concurrency), ..Attachments::default() };
        let stage = Stage::new(placement, &Plan { settings, ..Plan::to(&[&backend]) });
        let mut client = stage.client().await;
        client.send(request("GET", "/endless", &[], b"")).await;
        assert!(within(client.head()).await.unwrap().0.ends_with("200 OK"));
        drop(client);
        until(|| backend.ended() == 1).await;
        assert_eq!(stage.get("/short").await.status, 200, "{placement:?}");
    }
}

/// Three proxies in a row through sockets, a backend at their end.
struct Chain {
    hops: Vec<Stage>,
}

impl Chain {
    fn before(backend: &Backend) -> Self {
        let mut hops: Vec<Stage> = Vec::new();
        for placement in [Placement::Door, Placement::Door, Placement::Edge] {
            let to = hops.last().map_or(backend.address, |it| it.address);
            let retry = retry::Settings {
                backoff_initial: Duration::from_millis(1),
                backoff_max: Duration::from_millis(2),
                ..retry::Settings::default()
            };
            // The breaker must not be what helps.
            let settings = Attachments {
                breaker: Some(never_open()),
                retry: Some(retry),
                ..Attachments::default()
            };
            let plan = Plan { endpoints: vec![to], settings, ..Plan::default() };
            hops.push(Stage::new(placement, &plan));
        }
        Self { hops }
    }

    fn first(&self) -> &Stage {
        self.hops.last().unwrap()
    }
}

// mesh 12b: 28
#[tokio::test]
async fn three_hops_make_no_more_of_a_failure_than_one() {
    for per_cent in [100, 30] {
        let drawn = AtomicU32::new(0);
        let backend = Backend::new(move |_, _| {
            // Spread evenly: each of a hundred in a row falls to another number.
            let draw = drawn.fetch_add(37, Ordering::Relaxed) % 100;
            status(if draw < per_cent { 503 } else { 200 })
        });
        let backend = backend.await;
        let chain = Chain::before(&backend);
        let began = tokio::time::Instant::now();
        let (requests, mut served) = (600, 0);
        let mut client = chain.first().client().await;
        for _ in 0..requests {
            client.send(request("GET", "/", &[], b"")).await;
            served += usize::from(client.answer().await.status == 200);
        }
        let seconds = usize::try_from(began.elapsed().as_secs()).unwrap() + 1;
        // Each hop has a reserve for its first second, and refills it.
        let reserve = 3 * 10 * (seconds + 1);
        let hits = backend.hits();
        let most = requests * 12 / 10 + reserve;
        assert!(hits <= most, "{per_cent} %: {hits} for {requests} in {seconds} s");
        if per_cent == 30 {
            assert!(served > requests * 8 / 10, "retries help: {served}");
        } else {
            assert!(hits > requests, "retries are made: {hits}");
        }
    }
}

#[tokio::test]
async fn a_backend_that_failed_once_is_hidden_by_the_hop_next_to_it() {
    let backend = Backend::new(|hits, _| status(if hits == 0 { 503 } else { 200 })).await;
    let chain = Chain::before(&backend);
    assert_eq!(chain.first().get("/").await.status, 200);
    let retries: Vec<u64> =
        chain.hops.iter().map(|it| it.count("mesh_retries_total", &[])).collect();
    assert_eq!((backend.hits(), retries), (2, vec![1, 0, 0]));
}
