//! What the outbox holds, and what becomes of messages that the log refused.

use axum::{extract::State, response::Response};
use base::Code;
use http::{Method, StatusCode};
use serde_json::json;
use store::{Parked, ParkedMessage, Store};

use super::reply;
use crate::{
    parameters::{Pairs, Parameters},
    problem::Problem,
    query::Query,
    routes::Routes,
};

/// Parked messages of one page; each of them stops a key, so that a person looks long before.
const PAGE_ROWS: u32 = 1_000;

#[derive(Debug, Clone)]
struct Outbox {
    service: String,
    store: Store,
}

pub(super) fn routes(service: &str, store: Store) -> Routes<()> {
    Routes::new()
        .get("/admin/outbox", look)
        .operator(Method::POST, "/admin/outbox/release", release)
        .operator(Method::POST, "/admin/outbox/discard", discard)
        .with_state(Outbox { service: service.to_owned(), store })
}

async fn look(State(outbox): State<Outbox>) -> Result<Response, Problem> {
    let read = outbox.store.read(|it| Ok((it.outbox_depth()?, it.outbox_parked(0, PAGE_ROWS)?)));
    let (waiting, parked) = read.await?;
    let parked: Vec<_> = parked.into_iter().map(row).collect();
    reply(&json!({"service": outbox.service, "waiting": waiting, "parked": parked}))
}

fn row(parked: ParkedMessage) -> serde_json::Value {
    let ParkedMessage { sequence, topic, key, id, kind, bytes, parked_at, reason } = parked;
    json!({"sequence": sequence, "topic": topic, "key": key, "id": id, "type": kind,
        "bytes": bytes, "parkedAt": parked_at, "reason": reason})
}

async fn release(
    State(outbox): State<Outbox>,
    Query(pairs): Query<Pairs>,
) -> Result<StatusCode, Problem> {
    settle(outbox, pairs, Parked::Release).await
}

async fn discard(
    State(outbox): State<Outbox>,
    Query(pairs): Query<Pairs>,
) -> Result<StatusCode, Problem> {
    settle(outbox, pairs, Parked::Discard).await
}

async fn settle(outbox: Outbox, pairs: Pairs, how: Parked) -> Result<StatusCode, Problem> {
    let asked = Parameters::read(pairs, &["sequence"], &[])?;
    let number = asked.get("sequence").and_then(|it| it.parse::<i64>().ok());
    let invalid = || Problem::of(Code::InvalidRequest, "`sequence` is the number of a message");
    let sequence = number.ok_or_else(invalid)?;
    let write =
        outbox.store.write(move |it| it.settle_parked(sequence, how).map_err(Problem::from));
    if !write.await? {
        let detail = format!("no parked message has the number {sequence}");
        return Err(Problem::of(Code::NotFound, detail));
    }
    tracing::warn!(sequence, ?how, "a person decided about a parked message");
    Ok(StatusCode::NO_CONTENT)
}
