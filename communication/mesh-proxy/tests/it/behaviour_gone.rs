//! Clients that are gone before their answer came: what they asked for is not worked on for nobody.

use std::time::Duration;

use mesh_policy::{concurrency, destination::Attachments};
use mesh_proxy::Limits;

use super::stage::{Act, Backend, LISTENING, Placement, Plan, Stage, ok, request, until, within};

const NEVER: Duration = Duration::from_hours(1);

/// A stage with one place, in front of a backend that answers `/short` alone.
async fn stage(placement: Placement, half_close_wait: Duration) -> (Backend, Stage) {
    let backend = Backend::new(|_, seen| match seen.line.contains("/short") {
        true => ok(),
        false => Act::Hang,
    });
    let backend = backend.await;
    let concurrency = concurrency::Settings { requests_max: 1, ..concurrency::Settings::default() };
    let settings = Attachments { concurrency: Some(concurrency), ..Attachments::default() };
    let limits = Limits { half_close_wait, ..Limits::default() };
    let stage = Stage::new(placement, &Plan { settings, limits, ..Plan::to(&[&backend]) });
    (backend, stage)
}

/// The call behind is cancelled, its place is free, and it is counted: once by its reason, and as a
/// request without an answer.
async fn is_cancelled(stage: &Stage, backend: &Backend) {
    until(|| backend.ended() == 1).await;
    until(|| stage.count("mesh_connections_ended_total", &[("reason", "client_gone")]) == 1).await;
    assert_eq!(stage.count("mesh_requests_total", &[("class", "none")]), 1);
    assert_eq!(stage.get("/short").await.status, 200, "{:?}", stage.placement);
}

#[tokio::test]
async fn a_call_whose_client_has_closed_is_cancelled_before_any_time_out() {
    for placement in LISTENING {
        for body in ["", "a body that was read"] {
            let (backend, stage) = stage(placement, Duration::from_millis(20)).await;
            let mut client = stage.client().await;
            client.send(request("POST", "/hangs", &[], body.as_bytes())).await;
            until(|| backend.hits() == 1).await;
            drop(client);
            is_cancelled(&stage, &backend).await;
        }
    }
}

#[tokio::test]
async fn what_a_client_sent_ahead_does_not_hide_that_it_is_gone() {
    for placement in LISTENING {
        let (backend, stage) = stage(placement, Duration::from_millis(20)).await;
        let mut client = stage.client().await;
        client.send(request("GET", "/hangs", &[], b"")).await;
        until(|| backend.hits() == 1).await;
        client.send(request("GET", "/hangs", &[], b"")).await;
        drop(client);
        is_cancelled(&stage, &backend).await;
    }
}

#[tokio::test]
async fn a_reset_cancels_the_call_at_once() {
    for placement in LISTENING {
        let (backend, stage) = stage(placement, NEVER).await;
        let mut client = stage.client().await;
        client.send(request("GET", "/hangs", &[], b"")).await;
        until(|| backend.hits() == 1).await;
        client.stream.set_zero_linger().unwrap();
        drop(client);
        is_cancelled(&stage, &backend).await;
    }
}

/// It cannot be told from one that closed until something is written to it: it has its time.
#[tokio::test]
async fn a_client_that_ended_its_direction_alone_gets_its_answer_within_its_time() {
    let (go, goes) = tokio::sync::watch::channel(false);
    let backend = Backend::wild(move |stream, log| {
        let mut goes = goes.clone();
        async move {
            let mut wire = super::stage::Wire::new(stream);
            let (line, fields) = wire.head().await.unwrap();
            let seen = super::stage::Seen { line, fields, body: Vec::new(), is_whole: true };
            super::stage::lock(&log).requests.push(seen);
            goes.wait_for(|it| *it).await.unwrap();
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate").await;
        }
    });
    let backend = backend.await;
    let limits = Limits { half_close_wait: NEVER, ..Limits::default() };
    let stage = Stage::new(Placement::Door, &Plan { limits, ..Plan::to(&[&backend]) });
    let mut client = stage.client().await;
    client.send(request("GET", "/", &[], b"")).await;
    within(tokio::io::AsyncWriteExt::shutdown(&mut client.stream)).await.unwrap();
    until(|| backend.hits() == 1).await;
    go.send_replace(true);
    assert_eq!(client.answer().await.text(), "late");
}
