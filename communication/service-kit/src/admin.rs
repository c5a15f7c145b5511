//! The operators' side of a service, on its own port: planted faults.

use axum::{
    body::Bytes,
    extract::{Query, State},
    response::{IntoResponse, Response},
};
use base::Code;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use store::{Effect, Store};

use crate::{
    config::FaultHook,
    faults::{Fault, Faults},
    json as body,
    problem::Problem,
    routes::Routes,
};

/// Nesting of a fault.
const DEPTH_MAX: usize = 4;
/// Rows of one page of the ledger.
const PAGE_ROWS: u32 = 1_000;

pub(crate) fn routes(hook: FaultHook, faults: Faults, store: Option<Store>) -> Routes<()> {
    let routes = Routes::new();
    let routes = match hook {
        FaultHook::Off => routes,
        FaultHook::On => routes
            .get("/admin/faults", list)
            .operator(Method::PUT, "/admin/faults", plant)
            .operator(Method::DELETE, "/admin/faults", clear),
    };
    let routes = routes.with_state(faults);
    match store {
        None => routes,
        Some(store) => routes.merge(
            Routes::new()
                .get("/admin/effects", effects)
                .get("/admin/effects/summary", summarize)
                .with_state(store),
        ),
    }
}

#[derive(Debug, Deserialize)]
struct Page {
    #[serde(default)]
    after: String,
}

/// The ledger of effects, a page at a time.
async fn effects(
    State(store): State<Store>,
    Query(page): Query<Page>,
) -> Result<Response, Problem> {
    let rows = store.read(move |it| it.effects(&page.after, PAGE_ROWS)).await?;
    reply(&rows.iter().map(row).collect::<Vec<_>>())
}

/// How much the ledger holds, and what took effect twice: there must be none.
async fn summarize(State(store): State<Store>) -> Result<Response, Problem> {
    let read = store.read(|it| Ok((it.ledger_totals()?, it.doubled_effects()?)));
    let (totals, doubled) = read.await?;
    let doubled: Vec<_> = doubled.iter().map(row).collect();
    reply(&json!({"keys": totals.keys, "effects": totals.effects, "undos": totals.undos,
        "doubled": doubled}))
}

fn row(effect: &Effect) -> Value {
    let Effect { key, state, effects, undos } = effect;
    json!({"key": key, "state": state, "effects": effects, "undos": undos})
}

async fn list(State(faults): State<Faults>) -> Result<Response, Problem> {
    reply(&json!({"faults": faults.list()}))
}

async fn plant(State(faults): State<Faults>, body: Bytes) -> Result<StatusCode, Problem> {
    let value = body::parse(&body, DEPTH_MAX)?;
    let fault: Fault = serde_json::from_value(value)
        .map_err(|error| Problem::of(Code::InvalidRequest, error.to_string()))?;
    tracing::warn!(route = fault.route, effect = ?fault.effect, count = fault.count, "fault planted");
    faults.plant(fault).map_err(|error| Problem::of(Code::InvalidRequest, error.to_string()))?;
    Ok(StatusCode::NO_CONTENT)
}

async fn clear(State(faults): State<Faults>) -> StatusCode {
    faults.clear();
    StatusCode::NO_CONTENT
}

pub(crate) fn reply<T: serde::Serialize>(value: &T) -> Result<Response, Problem> {
    let body = body::write(value)?;
    Ok(([(http::header::CONTENT_TYPE, "application/json")], body).into_response())
}
