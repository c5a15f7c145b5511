//! What a client on HTTP/1 sees: of its own mistakes, of its pace, of the end of a connection.

use std::time::Duration;

use mesh_policy::{breaker, destination::Attachments, retry};
use mesh_proxy::Limits;
use tokio::io::AsyncWriteExt as _;

use super::stage::{
    Act, Backend, LISTENING, PATIENCE, Placement, Plan, Stage, Wire, ok, request, until, within,
};

const GET: &str = "GET / HTTP/1.1\r\nHost: stock\r\n\r\n";

async fn with_limits(placement: Placement, limits: Limits) -> (Backend, Stage) {
    let backend = Backend::new(|_, _| ok()).await;
    let stage = Stage::new(placement, &Plan { limits, ..Plan::to(&[&backend]) });
    (backend, stage)
}

/// Sends bytes that are refused: the status, then the end of the connection, and no backend sees it.
async fn refused(limits: Limits, bytes: impl AsRef<[u8]>) -> (u16, Option<String>) {
    let mut last = None;
    for placement in LISTENING {
        let (backend, stage) = with_limits(placement, limits).await;
        let mut client = stage.client().await;
        client.send(bytes.as_ref()).await;
        let answer = client.answer().await;
        assert_eq!(answer.field("connection"), Some("close"), "{placement:?}");
        assert_eq!(client.end().await, b"", "{placement:?}");
        assert_eq!(backend.hits(), 0, "{placement:?}");
        last = Some((answer.status, answer.code().map(str::to_owned)));
    }
    last.unwrap()
}

#[track_caller]
fn check(
    limits: Limits,
    bytes: impl AsRef<[u8]>,
    status: u16,
    code: &str,
) -> impl Future<Output = ()> {
    let place = std::panic::Location::caller();
    async move {
        let found = refused(limits, bytes).await;
        assert_eq!(found, (status, Some(code.to_owned())), "{place}");
    }
}

/// L2.
#[tokio::test]
async fn who_names_two_hosts_or_none_or_nonsense_gets_400_and_the_end() {
    let usual = Limits::default();
    for host in ["Host: a\r\nHost: b\r\n", "", "Host: a/b?c@d\r\n", "Host: a\r\nhost: a\r\n"] {
        let bytes = format!("GET / HTTP/1.1\r\n{host}\r\n");
        check(usual, bytes, 400, "invalid_request").await;
    }
}

#[tokio::test]
async fn what_is_not_http_gets_400_and_the_end() {
    let usual = Limits::default();
    check(usual, [0_u8, 255, 1, 2, 13, 10, 13, 10], 400, "invalid_request").await;
    check(usual, "hello\r\n\r\n", 400, "invalid_request").await;
    check(usual, "GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505, "invalid_request").await;
    check(usual, "GET /../etc HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid_request").await;
    check(usual, "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 501, "invalid_request").await;
    let both = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\
        Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    check(usual, both, 400, "invalid_request").await;
}

#[tokio::test]
async fn tls_on_a_plain_port_gets_an_alert() {
    for placement in LISTENING {
        let (_backend, stage) = with_limits(placement, Limits::default()).await;
        let mut client = stage.client().await;
        client.send([0x16, 3, 1, 0, 5, 1, 0, 0, 1, 3]).await;
        assert_eq!(client.end().await, [0x15, 3, 3, 0, 2, 2, 70]);
    }
}

// mesh 12b: 41
#[tokio::test]
async fn a_head_beyond_its_bounds_gets_431_and_a_target_414() {
    let usual = Limits::default();
    let long = "x".repeat(33 << 10);
    check(usual, format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"), 431, "head_too_large")
        .await;
    let many = "X: y\r\n".repeat(100);
    check(usual, format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"), 431, "head_too_large").await;
    let target = "x".repeat(8 << 10);
    check(usual, format!("GET /{target} HTTP/1.1\r\nHost: a\r\n\r\n"), 414, "target_too_long")
        .await;
    let huge = "x".repeat(10 << 20);
    check(usual, format!("GET / HTTP/1.1\r\nHost: a\r\nX: {huge}\r\n\r\n"), 431, "head_too_large")
        .await;
}

#[tokio::test]
async fn a_body_longer_than_may_be_gets_413_and_the_end() {
    let limits = Limits { body_bytes_max: 1_000, ..Limits::default() };
    // What is told to be too long is refused before anybody is asked.
    let told = request("POST", "/", &[], &[7; 1_001]);
    check(limits, told, 413, "body_too_large").await;
    let expecting =
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\nExpect: 100-continue\r\n\r\n";
    check(limits, expecting, 413, "body_too_large").await;
    for placement in LISTENING {
        let (_backend, stage) = with_limits(placement, limits).await;
        let mut client = stage.client().await;
        let chunk = "1f4\r\n".to_owned() + &"x".repeat(500) + "\r\n";
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        client.send(format!("{head}{chunk}{chunk}{chunk}0\r\n\r\n")).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.code()), (413, Some("body_too_large")), "{placement:?}");
        client.end().await;
        let answer = stage.call("POST", "/", &[], [7; 1_000]).await;
        assert_eq!(answer.status, 200, "what is as long as may be passes");
    }
}

/// Most clients write all of a body before they read: a reset meanwhile would cost them the answer.
#[tokio::test]
async fn who_writes_all_of_a_body_too_long_before_reading_still_gets_413() {
    for placement in LISTENING {
        let (_backend, stage) = with_limits(placement, Limits::default()).await;
        let mut client = stage.client().await;
        client.send(request("POST", "/", &[], &vec![7; 12 << 20])).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.code()), (413, Some("body_too_large")), "{placement:?}");
        assert_eq!(client.end().await, b"");
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_gets_408_and_is_not_the_backends_fault() {
    for placement in LISTENING {
        let backend = Backend::new(|_, _| ok()).await;
        let limits = Limits { body_idle_timeout: Duration::from_millis(30), ..Limits::default() };
        let breaker = breaker::Settings { consecutive_failures: 1, ..breaker::Settings::default() };
        let settings = Attachments { breaker: Some(breaker), ..Attachments::default() };
        let stage = Stage::new(placement, &Plan { limits, settings, ..Plan::to(&[&backend]) });
        let mut client = stage.client().await;
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345").await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.code()), (408, Some("request_timeout")), "{placement:?}");
        assert_eq!(answer.field("connection"), Some("close"));
        client.end().await;
        until(|| backend.ended() == 1).await;
        assert_eq!(stage.get("/").await.status, 200, "its breaker is closed");
    }
}

// mesh 12b: 40
#[tokio::test]
async fn a_head_that_does_not_come_in_time_ends_the_connection() {
    for placement in LISTENING {
        let limits = Limits { head_timeout: Duration::from_millis(40), ..Limits::default() };
        let (backend, stage) = with_limits(placement, limits).await;
        for begun in ["GET / HTTP/1.1\r\nHost: a\r\nX: ", "G"] {
            let mut client = stage.client().await;
            client.send(begun).await;
            let answer = client.answer().await;
            assert_eq!((answer.status, answer.code()), (408, Some("request_timeout")));
            client.end().await;
        }
        // Nothing was asked, so nothing is answered.
        assert_eq!(stage.client().await.end().await, b"");
        // A drop now and then is no head either.
        let mut client = stage.client().await;
        client.send("GET / HTTP/1.1\r\nX: ").await;
        within(async {
            while client.stream.write_all(b"x").await.is_ok() {
                // The attack's own shape: a byte far more often than any time-out.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        assert_eq!(backend.hits(), 0);
    }
}

/// Time is the runtime's own here: it moves on when nothing else can.
// mesh 12b: 40
#[tokio::test(start_paused = true)]
async fn the_wait_for_the_first_byte_is_part_of_the_time_for_a_head() {
    let limits = Limits { head_timeout: Duration::from_secs(10), ..Limits::default() };
    let backend = Backend::new(|_, _| ok()).await;
    let stage = Stage::new(Placement::Door, &Plan { limits, ..Plan::to(&[&backend]) });
    let mut client = stage.client().await;
    let began = tokio::time::Instant::now();
    tokio::time::sleep(Duration::from_secs(9)).await;
    client.stream.write_all(b"GET").await.unwrap();
    let mut answer = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut client.stream, &mut answer).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
}

/// M4.
#[tokio::test]
async fn those_who_hold_connections_and_say_nothing_keep_nobody_out() {
    for placement in LISTENING {
        let limits = Limits { connections_max: 8, ..Limits::default() };
        let (_backend, stage) = with_limits(placement, limits).await;
        let mut held = Vec::new();
        for number in 0..40 {
            let mut client = stage.client().await;
            if number % 2 == 0 {
                client.send("G").await;
            }
            held.push(client);
            if number % 10 == 9 {
                assert_eq!(stage.get("/").await.status, 200, "{placement:?}");
            }
        }
        assert!(stage.site.doors.len() <= 16, "{}", stage.site.doors.len());
        // One that works is not what gives way.
        let mut client = stage.client().await;
        for _ in 0..40 {
            client.send(GET).await;
            assert_eq!(client.answer().await.status, 200);
            held.push(stage.client().await);
        }
    }
}

/// L1.
#[tokio::test]
async fn who_ends_its_direction_behind_a_request_gets_the_answer() {
    for placement in LISTENING {
        let (backend, stage) = with_limits(placement, Limits::default()).await;
        for bytes in [GET.as_bytes().to_vec(), request("POST", "/", &[], b"body")] {
            let mut client = stage.client().await;
            client.send(bytes).await;
            client.stream.shutdown().await.unwrap();
            let answer = client.answer().await;
            assert_eq!((answer.status, answer.text()), (200, "ok"), "{placement:?}");
            assert_eq!(client.end().await, b"");
        }
        // Behind half a request there is nothing to answer.
        let mut client = stage.client().await;
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab").await;
        client.stream.shutdown().await.unwrap();
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.code()), (400, Some("invalid_request")));
        assert_eq!(backend.hits(), 2 + backend.seen().iter().filter(|it| !it.is_whole).count());
    }
}

#[tokio::test]
async fn who_waits_for_a_word_gets_it_when_there_is_somebody_to_read_the_body() {
    const ASKING: &str =
        "POST / HTTP/1.1\r\nHost: stock\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
    for placement in LISTENING {
        let (backend, stage) = with_limits(placement, Limits::default()).await;
        let mut client = stage.client().await;
        for body in ["body", "next"] {
            client.send(ASKING).await;
            assert_eq!(client.answer().await.status, 100, "{placement:?}");
            client.send(body).await;
            assert_eq!(client.answer().await.status, 200);
            let seen = backend.last();
            assert_eq!((seen.body.as_slice(), seen.field("expect")), (body.as_bytes(), None));
        }
        // Without an endpoint there is nobody: the final status, no word, the end.
        let stage = Stage::new(placement, &Plan::default());
        let mut client = stage.client().await;
        client.send(ASKING).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.field("connection")), (503, Some("close")));
        assert_eq!(client.end().await, b"");
    }
}

#[tokio::test]
async fn ten_requests_at_once_are_answered_in_order() {
    for placement in LISTENING {
        let backend = Backend::new(|_, seen| {
            let path = seen.line.split(' ').nth(1).unwrap();
            let body = format!("{path} {}", String::from_utf8_lossy(&seen.body));
            Act::Say(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
        });
        let backend = backend.await;
        let stage = Stage::new(placement, &Plan::to(&[&backend]));
        let mut client = stage.client().await;
        let mut bytes = Vec::new();
        for number in 0..10 {
            let method = if number % 2 == 0 { "GET" } else { "POST" };
            let body = if number % 2 == 0 { String::new() } else { format!("body{number}") };
            bytes.extend(request(method, &format!("/{number}"), &[], body.as_bytes()));
        }
        client.send(bytes).await;
        for number in 0..10 {
            let body = if number % 2 == 0 { String::new() } else { format!("body{number}") };
            assert_eq!(client.answer().await.text(), format!("/{number} {body}"));
        }
        assert_eq!(backend.connections(), 1, "one at a time needs one connection");
    }
}

#[tokio::test]
async fn answers_without_a_body_leave_the_connection_in_step() {
    let answers = [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n", Some("1234")),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", None),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", None),
        (
            "GET",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\nETag: \"x\"\r\n\r\n",
            Some("77"),
        ),
        (
            "GET",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            Some("0"),
        ),
    ];
    for placement in LISTENING {
        let backend =
            Backend::new(move |hits, _| Act::Say(answers[hits % answers.len()].1.to_owned()));
        let backend = backend.await;
        let stage = Stage::new(placement, &Plan::to(&[&backend]));
        let mut client = stage.client().await;
        for _ in 0..2 {
            for (method, _, length) in answers {
                client.send(request(method, "/", &[], b"")).await;
                let answer = client.answer_to(method).await;
                assert_eq!((answer.field("content-length"), answer.body.len()), (length, 0));
                assert_eq!(answer.field("connection"), None, "{placement:?}");
            }
        }
        assert_eq!(backend.connections(), 1);
    }
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_what_it_can_read() {
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
        5\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n";
    for placement in LISTENING {
        let backend = Backend::new(|_, seen| {
            let chunked = seen.line.contains("chunked");
            if chunked { Act::Say(CHUNKED.to_owned()) } else { ok() }
        });
        let backend = backend.await;
        let stage = Stage::new(placement, &Plan::to(&[&backend]));
        let mut client = stage.client().await;
        client.send("GET /chunked HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
        let answer = client.answer().await;
        assert_eq!((answer.text(), answer.is_whole), ("hello world", true), "{placement:?}");
        assert_eq!(answer.field("transfer-encoding"), None);
        assert_eq!(answer.field("connection"), Some("close"));
        let mut client = stage.client().await;
        client.send("GET / HTTP/1.0\r\n\r\n").await;
        let answer = client.answer().await;
        assert_eq!((answer.text(), answer.field("connection")), ("ok", Some("close")));
        assert_eq!(client.end().await, b"");
        let mut client = stage.client().await;
        for _ in 0..2 {
            client.send("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").await;
            assert_eq!(client.answer().await.field("connection"), Some("keep-alive"));
        }
    }
}

#[tokio::test]
async fn an_answer_that_was_cut_is_never_complete() {
    let cut = [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nshort",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\nnonsense\r\n",
    ];
    for placement in super::stage::EVERYWHERE {
        for answer in cut {
            for act in [Act::SayAndClose(answer.to_owned()), Act::SayAndReset(answer.to_owned())] {
                let backend = Backend::new(move |_, _| act.clone()).await;
                let stage = Stage::new(placement, &Plan::to(&[&backend]));
                let answer = stage.get("/").await;
                assert!(!answer.is_whole || answer.status == 502, "{placement:?} {answer:?}");
                if placement == Placement::InProcess {
                    continue;
                }
                let mut client = stage.client().await;
                client.send("GET / HTTP/1.0\r\n\r\n").await;
                let answer = client.answer().await;
                assert!(!answer.is_whole || answer.status == 502, "1.0 {answer:?}");
            }
        }
        // An end that the endpoint means is one; a reset is none.
        let open = "HTTP/1.1 200 OK\r\n\r\nall".to_owned();
        let backend = Backend::new(move |hits, _| match hits {
            0 => Act::SayAndClose(open.clone()),
            _ => Act::SayAndReset(open.clone()),
        });
        let backend = backend.await;
        let stage = Stage::new(placement, &Plan::to(&[&backend]));
        let answer = stage.get("/").await;
        assert_eq!((answer.text(), answer.is_whole), ("all", true), "{placement:?}");
        let answer = stage.get("/").await;
        assert!(!answer.is_whole || answer.status == 502, "{placement:?} {answer:?}");
    }
}

#[tokio::test]
async fn an_answer_that_comes_before_all_was_sent_is_handed_on_at_once() {
    const SAID: &[u8] = b"HTTP/1.1 403 No\r\nContent-Length: 4\r\n\r\nnope";
    for placement in LISTENING {
        for closes in [false, true] {
            let backend = Backend::wild(move |stream, _| async move {
                let mut wire = Wire::new(stream);
                wire.head().await.unwrap();
                wire.stream.write_all(SAID).await.unwrap();
                if closes {
                    // With bytes unread: a reset behind the answer.
                    return;
                }
                wire.end().await;
            });
            let backend = backend.await;
            let limits = Limits { body_bytes_max: 64 << 20, ..Limits::default() };
            let stage = Stage::new(placement, &Plan { limits, ..Plan::to(&[&backend]) });
            let mut client = stage.client().await;
            client
                .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 30000000\r\n\r\nbegun")
                .await;
            let answer = client.answer().await;
            assert_eq!((answer.status, answer.text()), (403, "nope"), "{placement:?} {closes}");
            assert_eq!(answer.field("connection"), Some("close"), "too much is left to be read");
        }
    }
}

/// The client's body breaks while the answer is on its way: what the endpoint said is still true.
#[tokio::test]
async fn an_answer_is_whole_although_the_rest_of_the_request_never_comes() {
    for placement in LISTENING {
        let backend = Backend::wild(|stream, _| async move {
            let mut wire = Wire::new(stream);
            wire.head().await.unwrap();
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc").await;
            // The proxy says here that no more will come.
            wire.end().await;
            wire.send("def").await;
        });
        let backend = backend.await;
        let limits = Limits { body_idle_timeout: Duration::from_millis(30), ..Limits::default() };
        let stage = Stage::new(placement, &Plan { limits, ..Plan::to(&[&backend]) });
        let mut client = stage.client().await;
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc").await;
        let answer = client.answer().await;
        assert_eq!((answer.text(), answer.is_whole), ("abcdef", true), "{placement:?}");
    }
}

// mesh 12b: 63
#[tokio::test]
async fn when_told_to_stop_what_is_in_flight_ends_well_and_what_waits_ends() {
    for placement in LISTENING {
        let (go, goes) = tokio::sync::watch::channel(false);
        let backend = Backend::wild(move |stream, log| {
            let mut goes = goes.clone();
            async move {
                let mut wire = Wire::new(stream);
                wire.head().await.unwrap();
                super::stage::lock(&log).ended += 1;
                goes.wait_for(|it| *it).await.unwrap();
                wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
                wire.end().await;
            }
        });
        let backend = backend.await;
        let stage = Stage::new(placement, &Plan::to(&[&backend]));
        let (mut waiting, mut working) = (stage.client().await, stage.client().await);
        working.send(GET).await;
        until(|| backend.ended() == 1).await;
        stage.tasks.stop();
        assert_eq!(waiting.end().await, b"");
        go.send_replace(true);
        let answer = working.answer().await;
        assert_eq!((answer.status, answer.field("connection")), (200, Some("close")));
        assert_eq!(working.end().await, b"");
        let drained = within(stage.tasks.drain(PATIENCE)).await;
        assert_eq!(drained, runtime::Drained::Complete, "{placement:?}");
        assert!(tokio::net::TcpStream::connect(stage.address).await.is_err());
        assert_eq!(stage.count("http_server_connections", &[]), 0);
    }
}

// mesh 12b: 67
#[tokio::test]
async fn what_speaks_to_the_next_program_alone_goes_no_further_in_either_direction() {
    const ANSWER: &str = "HTTP/1.1 200 OK\r\nConnection: keep-alive, x-mine\r\nX-Mine: 1\r\n\
        Keep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nX-Yours: 2\r\nContent-Length: 0\r\n\r\n";
    for placement in super::stage::EVERYWHERE {
        let backend = Backend::new(|_, _| Act::Say(ANSWER.to_owned())).await;
        let stage = Stage::new(placement, &Plan::to(&[&backend]));
        if placement != Placement::InProcess {
            let fields = [
                ("Connection", "keep-alive, x-hop"),
                ("X-Hop", "1"),
                ("Keep-Alive", "5"),
                ("TE", "gzip, trailers"),
                ("Proxy-Authorization", "secret"),
                ("Upgrade", "h2c"),
                ("X-End", "2"),
            ];
            stage.call("GET", "/", &fields, "").await;
            let seen = backend.last();
            for (name, _) in seen.fields.iter().filter(|(name, _)| name != "host") {
                let of_edge = ["via", "skein-reach"].contains(&name.as_str());
                let is_ours = of_edge || name.starts_with("x-forwarded-");
                let expected = ["connection", "te", "x-end", "traceparent", "skein-deadline-ms"];
                assert!(is_ours || expected.contains(&name.as_str()), "{name}");
            }
            assert_eq!(
                (seen.field("te"), seen.field("connection")),
                (Some("trailers"), Some("te"))
            );
        }
        let answer = stage.get("/").await;
        for (name, _) in &answer.fields {
            assert!(["x-yours", "content-length"].contains(&name.as_str()), "{placement:?} {name}");
        }
    }
}

/// Other statuses than 200 are the application's to give.
#[tokio::test]
async fn a_status_of_the_application_passes_with_its_fields_and_body() {
    for placement in super::stage::EVERYWHERE {
        for code in [201, 301, 400, 404, 409, 410, 418, 422, 429, 451, 500, 501, 507] {
            let text = format!(
                "HTTP/1.1 {code} Own\r\nX-Mine: a\r\nx-mine: b\r\nSet-Cookie: c=1\r\n\
                Content-Type: application/problem+json\r\nContent-Length: 4\r\n\r\nbody"
            );
            let backend = Backend::new(move |_, _| Act::Say(text.clone())).await;
            let stage = Stage::new(placement, &Plan::to(&[&backend]));
            let answer = stage.get("/").await;
            assert_eq!((answer.status, answer.text()), (code, "body"), "{placement:?}");
            let mine: Vec<_> = answer.fields.iter().filter(|(name, _)| name == "x-mine").collect();
            assert_eq!(mine.len(), 2);
            assert_eq!(answer.field("set-cookie"), Some("c=1"));
            assert_eq!((answer.code(), answer.field("proxy-status")), (None, None));
        }
        let stage = Stage::new(placement, &Plan::default());
        let own = stage.get("/").await;
        assert_eq!(own.code(), Some("no_endpoint"));
        assert!(own.field("proxy-status").unwrap().contains("error=destination_unavailable"));
        assert_eq!(own.field("content-type"), Some("application/problem+json"));
    }
}

#[tokio::test]
async fn a_refusal_leaves_the_connection_in_step_where_the_rest_can_be_read() {
    for placement in LISTENING {
        let stage = Stage::new(placement, &Plan::default());
        let mut client = stage.client().await;
        client.send(request("HEAD", "/", &[], b"")).await;
        assert_eq!(client.answer_to("HEAD").await.status, 503, "{placement:?}");
        client.send(request("POST", "/", &[], &[7; 10_000])).await;
        client.send(GET).await;
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        client.send("5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n").await;
        client.send(GET).await;
        for _ in 0..4 {
            let answer = client.answer().await;
            assert_eq!((answer.status, answer.field("connection")), (503, None), "{placement:?}");
        }
        // Too much to be read for nothing: the end.
        client.send(request("POST", "/", &[], &[7; 100_000])).await;
        assert_eq!(client.answer().await.field("connection"), Some("close"));
    }
}

/// A drop now and then is no reason to wait for the rest of a body that nobody wanted.
#[tokio::test]
async fn a_body_that_nobody_wanted_is_not_waited_for_for_ever() {
    for placement in LISTENING {
        let limits = Limits { body_idle_timeout: Duration::from_millis(50), ..Limits::default() };
        let stage = Stage::new(placement, &Plan { limits, ..Plan::default() });
        let mut client = stage.client().await;
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n").await;
        assert_eq!(client.answer().await.status, 503, "{placement:?}");
        let mut sent = 0;
        within(async {
            while client.stream.write_all(b"x").await.is_ok() {
                sent += 1;
                // The attack's own shape, as above.
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
        assert!(sent < 59_000, "{sent}");
    }
}

/// What an endpoint says that nobody asked for must not become the answer to another request.
#[tokio::test]
async fn what_an_endpoint_says_too_much_is_nobodys_answer() {
    const TWICE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmine\
        HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother";
    for placement in super::stage::EVERYWHERE {
        let backend = Backend::wild(|stream, log| async move {
            let mut wire = Wire::new(stream);
            wire.head().await.unwrap();
            super::stage::lock(&log).ended += 1;
            wire.send(TWICE).await;
            wire.end().await;
        });
        let backend = backend.await;
        let late = Backend::wild(|stream, _| async move {
            let mut wire = Wire::new(stream);
            wire.head().await.unwrap();
            let (mine, other) = TWICE.split_at(TWICE.len() / 2 - 1);
            wire.send(mine).await;
            // So that it comes apart from the answer, as a segment of its own.
            tokio::time::sleep(Duration::from_millis(3)).await;
            wire.send(other).await;
            wire.end().await;
        });
        let late = late.await;
        for plan in [Plan::to(&[&backend]), Plan::to(&[&late])] {
            let stage = Stage::new(placement, &plan);
            for _ in 0..10 {
                let answer = stage.get("/").await;
                assert_eq!((answer.status, answer.text()), (200, "mine"), "{placement:?}");
                // A caller's pace in which what is too much has come, and rests with the connection.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

/// Bytes of both sides, changed at random places: nothing panics, nobody waits for ever, and the next
/// request is served.
#[tokio::test]
async fn whatever_bytes_come_from_either_side_the_next_request_is_served() {
    const ANSWER: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n\
        5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n";
    let seed = fastrand::u64(..);
    let spoil = move |text: &str, number: u64| {
        let mut random = fastrand::Rng::with_seed(seed ^ number);
        let mut bytes = text.as_bytes().to_vec();
        for _ in 0..random.usize(1..4) {
            if bytes.is_empty() {
                break;
            }
            let at = random.usize(..bytes.len());
            match random.u8(..4) {
                0 => bytes[at] = random.u8(..),
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, b"\r\n :0x\t,"[random.usize(..8)]),
                _ => bytes.truncate(at.max(1)),
            }
        }
        bytes
    };
    let number = std::sync::atomic::AtomicU64::new(0);
    let number = std::sync::Arc::new(number);
    let backend = Backend::wild(move |stream, _| {
        let number = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        async move {
            let mut wire = Wire::new(stream);
            if wire.head().await.is_some() {
                drop(wire.stream.write_all(&spoil(ANSWER, number)).await);
            }
        }
    });
    let (backend, good) = (backend.await, Backend::new(|_, _| ok()).await);
    let limits = Limits {
        head_timeout: Duration::from_millis(60),
        body_idle_timeout: Duration::from_millis(60),
        ..Limits::default()
    };
    for placement in LISTENING {
        let breaker = Some(super::behaviour_retry::never_open());
        let retry = Some(retry::Settings { attempts: 0, ..retry::Settings::default() });
        let settings = Attachments { breaker, retry, ..Attachments::default() };
        let plan = Plan { limits, settings, ..Plan::to(&[&backend]) };
        let stage = Stage::new(placement, &plan);
        for _ in 0..100 {
            stage.get("/").await;
        }
        let stage = Stage::new(placement, &Plan { limits, ..Plan::to(&[&good]) });
        for number in 0..200 {
            let text = if number % 2 == 0 {
                "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nX: y\r\n\r\nabcGET / HTTP/1.1\r\nHost: b\r\n\r\n"
            } else {
                "PUT /a?b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
            };
            let mut client = stage.client().await;
            drop(client.stream.write_all(&spoil(text, number)).await);
            drop(client.stream.shutdown().await);
            client.end().await;
        }
        assert_eq!(stage.get("/").await.status, 200, "seed {seed}");
        assert_eq!(stage.tasks.panics(), 0, "seed {seed}");
    }
}
