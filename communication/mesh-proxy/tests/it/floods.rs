//! The six floods of HTTP/2 (reliability 2.2), frame by frame from a client written by hand: each is
//! ended within its bound and counted by its name, and an honest client is served meanwhile.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use mesh_policy::destination::Protocol;
use mesh_proxy::Limits;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::rig::{Proxy, backend, empty, policy, read, request, text, until};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Fields of a small request: GET or POST, http and / by their index, `:authority: back` in full
/// (RFC 7541 6.1, 6.2.2).
fn fields(method: u8) -> Vec<u8> {
    [&[method, 0x86, 0x84, 0x01, 4][..], b"back"].concat()
}

const GET: u8 = 0x82;
const POST: u8 = 0x83;

fn headers(flags: u8, stream: u32, method: u8) -> Vec<u8> {
    frame(1, flags, stream, &fields(method))
}

/// Sends what `flood` gives for each number until the connection is ended or `most` were sent;
/// answers how many went out, at the most, before it was.
async fn send(proxy: &Proxy, before: &[u8], most: u32, flood: impl Fn(u32) -> Vec<u8>) -> u32 {
    let stream = TcpStream::connect(proxy.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut from, mut to) = stream.into_split();
    to.write_all(&[PREFACE, &frame(4, 0, 0, &[]), before].concat()).await.unwrap();
    let ended = async {
        let mut taken = vec![0; 64 << 10];
        // An end and a reset are the same here.
        while from.read(&mut taken).await.is_ok_and(|it| it > 0) {}
    };
    let mut sent = 0;
    let sending = async {
        for number in 0..most {
            if to.write_all(&flood(number)).await.is_err() {
                break;
            }
            sent = number + 1;
            // Read what came: the count is of frames that could have been answered.
            tokio::task::yield_now().await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        () = ended => {}
        () = sending => {}
    }
    sent
}

/// The flood ends within `bound` frames beyond what a socket holds, and its reason is `reason`.
async fn check(reason: &str, bound: u32, before: Vec<u8>, flood: impl Fn(u32) -> Vec<u8>) {
    let back = backend(Protocol::Http1, |_| async { Response::new(text("ok")) }).await;
    let proxy = Proxy::start(policy(Protocol::Http1, &[back.address]));
    let mut honest = proxy.h2().await;
    let sent = send(&proxy, &before, bound, flood).await;
    println!("{reason}: {sent}");
    let series = format!("mesh_connections_ended_total{{listener=\"door\",reason=\"{reason}\"}}");
    let ended = || {
        let all = proxy.telemetry.metrics().encode();
        let ended = all.lines().filter(|it| it.starts_with("mesh_connections_ended_total{"));
        ended.map(str::to_owned).collect::<Vec<_>>()
    };
    until(|| !ended().is_empty()).await;
    assert_eq!(ended(), [format!("{series} 1")]);
    for _ in 0..3 {
        let answer = honest.send_request(request("GET", "/", empty())).await.unwrap();
        assert_eq!(read(answer).await, (200, Bytes::from("ok"), None));
    }
    assert_eq!(proxy.panics(), 0);
}

fn odd(number: u32) -> u32 {
    number * 2 + 1
}

#[tokio::test]
async fn a_client_that_opens_and_resets_is_ended_within_a_thousand() {
    check("rapid_reset_flood", 1_000, Vec::new(), |number| {
        let reset = frame(3, 0, odd(number), &8_u32.to_be_bytes());
        [headers(END_HEADERS | END_STREAM, odd(number), GET), reset].concat()
    })
    .await;
}

#[tokio::test]
async fn a_client_that_makes_us_reset_is_ended_within_a_thousand() {
    // A window that is widened beyond 2^31 - 1 is an error of its stream (RFC 9113 6.9.1).
    check("made_you_reset_flood", 1_000, Vec::new(), |number| {
        let much = frame(8, 0, odd(number), &0x7fff_ffff_u32.to_be_bytes());
        [headers(END_HEADERS | END_STREAM, odd(number), GET), much].concat()
    })
    .await;
    // And so is one that is widened by nothing (6.9).
    check("made_you_reset_flood", 1_000, Vec::new(), |number| {
        let nothing = frame(8, 0, odd(number), &0_u32.to_be_bytes());
        [headers(END_HEADERS | END_STREAM, odd(number), GET), nothing].concat()
    })
    .await;
    // On the connection's own window that ends it at once.
    check("http2_error", 1_000, Vec::new(), |_| frame(8, 0, 0, &0_u32.to_be_bytes())).await;
}

#[tokio::test]
async fn a_block_of_fields_that_does_not_end_is_ended_within_a_thousand_pieces() {
    // A field that the table of static fields has no value for, again and again.
    let piece = [&[0x00, 1][..], b"a", &[1], b"b"].concat();
    check("continuation_flood", 1_000, headers(0, 1, GET), |_| frame(9, 0, 1, &piece)).await;
}

#[tokio::test]
async fn empty_data_is_ended_within_five_thousand() {
    check("empty_data_flood", 5_000, headers(END_HEADERS, 1, POST), |_| frame(0, 0, 1, &[])).await;
}

#[tokio::test]
async fn ping_is_ended_over_ten_thousand() {
    check("ping_flood", 10_001, Vec::new(), |_| frame(6, 0, 0, &[7; 8])).await;
}

#[tokio::test]
async fn settings_are_ended_over_ten_thousand() {
    check("settings_flood", 10_001, Vec::new(), |_| frame(4, 0, 0, &[])).await;
}

/// It holds what others need: a stream, its answer, and an endpoint that waits to be rid of it.
#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_given_up_in_time() {
    let large = || async { Response::new(text("x".repeat(100_000))) };
    let back = backend(Protocol::Http1, move |_| large()).await;
    let limits = Limits { body_idle_timeout: Duration::from_millis(50), ..Limits::default() };
    let proxy = Proxy::with(policy(Protocol::Http1, &[back.address]), limits);
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    // SETTINGS_INITIAL_WINDOW_SIZE 0.
    let settings = frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let asked = headers(END_HEADERS | END_STREAM, 1, GET);
    stream.write_all(&[PREFACE, &settings, &asked].concat()).await.unwrap();
    let reset = frame(3, 0, 1, &8_u32.to_be_bytes());
    let mut all = Vec::new();
    while !all.windows(reset.len()).any(|it| it == reset) {
        assert!(stream.read_buf(&mut all).await.unwrap() > 0, "the connection was ended");
    }
}

/// A byte now and then is hardly more.
#[tokio::test]
async fn a_client_that_takes_a_byte_at_a_time_is_given_up_in_time() {
    let large = || async { Response::new(text("x".repeat(100_000))) };
    let back = backend(Protocol::Http1, move |_| large()).await;
    let limits = Limits { body_idle_timeout: Duration::from_millis(200), ..Limits::default() };
    let proxy = Proxy::with(policy(Protocol::Http1, &[back.address]), limits);
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    let settings = frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let asked = headers(END_HEADERS | END_STREAM, 1, GET);
    stream.write_all(&[PREFACE, &settings, &asked].concat()).await.unwrap();
    let (mut from, mut to) = stream.split();
    let dripping = async {
        // The load: well within its time, again and again.
        loop {
            to.write_all(&frame(8, 0, 1, &1_u32.to_be_bytes())).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let reset = frame(3, 0, 1, &8_u32.to_be_bytes());
    let given_up = async {
        let mut all = Vec::new();
        while !all.windows(reset.len()).any(|it| it == reset) {
            assert!(from.read_buf(&mut all).await.unwrap() > 0, "the connection was ended");
        }
    };
    let given_up = tokio::time::timeout(Duration::from_secs(20), given_up);
    tokio::select! {
        given_up = given_up => given_up.expect("it still holds its stream"),
        () = dripping => {}
    }
}

#[tokio::test]
async fn ten_thousand_pings_are_no_flood() {
    let back = backend(Protocol::Http1, |_| async { Response::new(text("ok")) }).await;
    let proxy = Proxy::start(policy(Protocol::Http1, &[back.address]));
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    stream.write_all(&[PREFACE, &frame(4, 0, 0, &[])].concat()).await.unwrap();
    let (mut from, mut to) = stream.split();
    let pings = frame(6, 0, 0, &[7; 8]).repeat(10_000);
    let asked = headers(END_HEADERS | END_STREAM, 1, GET);
    let sending = async { to.write_all(&[pings, asked].concat()).await.unwrap() };
    let answered = async {
        let mut all = Vec::new();
        // `ok` is the whole of the answer's data, behind a frame header of two bytes on stream 1.
        let data = [0, 0, 2, 0, 0, 0, 0, 0, 1, b'o', b'k'];
        let is_there = |all: &[u8]| {
            let mut ends = data;
            ends[4] = END_STREAM;
            all.windows(11).any(|it| it == data || it == ends)
        };
        while !is_there(&all) {
            assert!(from.read_buf(&mut all).await.unwrap() > 0, "the connection was ended");
        }
    };
    tokio::join!(sending, answered);
}

#[tokio::test]
async fn a_client_that_does_not_say_its_settings_in_time_is_ended() {
    let back = backend(Protocol::Http1, |_| async { Response::new(text("ok")) }).await;
    let limits = Limits { head_timeout: Duration::from_millis(40), ..Limits::default() };
    let proxy = Proxy::with(policy(Protocol::Http1, &[back.address]), limits);
    let mut patient = proxy.h2().await;
    for begun in [PREFACE.to_vec(), [PREFACE, &frame(4, 0, 0, &[])[..5]].concat()] {
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        stream.write_all(&begun).await.unwrap();
        let mut told = Vec::new();
        stream.read_to_end(&mut told).await.unwrap();
        // GOAWAY: no stream was looked at, SETTINGS_TIMEOUT (RFC 9113 6.8, 7).
        assert!(told.ends_with(&frame(7, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 4])), "{told:?}");
    }
    let ended = r#"mesh_connections_ended_total{listener="door",reason="head_timeout"}"#;
    assert_eq!(proxy.metric(ended), 2.0);
    // Who has said them may wait longer with a request.
    let answer = patient.send_request(request("GET", "/", empty())).await.unwrap();
    assert_eq!(read(answer).await, (200, Bytes::from("ok"), None));
}
