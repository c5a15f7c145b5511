//! The operators' side of a service, on its own port: what the mesh knows, planted faults, the ledger, the outbox.

mod outbox;

use std::time::Duration;

use axum::{
    body::Bytes,
    extract::State,
    response::{IntoResponse, Response},
};
use base::Code;
use http::{Method, StatusCode};
use mesh_policy::fault::{self, Abort};
use mesh_proxy::{Door, Mesh, view};
use runtime::Shutdown;
use serde::Deserialize;
use serde_json::{Value, json};
use store::{Effect, Store};

use crate::{
    config::FaultHook,
    faults::{Fault, Faults},
    json as body,
    parameters::{Pairs, Parameters},
    problem::Problem,
    query::Query,
    routes::Routes,
    tap,
};

/// Nesting of a fault.
const DEPTH_MAX: usize = 4;
/// Rows of one page of the ledger.
const PAGE_ROWS: u32 = 1_000;

pub(crate) fn routes(
    service: &str,
    hook: FaultHook,
    faults: Faults,
    store: Option<Store>,
) -> Routes<()> {
    let routes = Routes::new();
    let routes = match hook {
        FaultHook::Off => routes
            .get("/admin/faults", no_faults)
            .operator(Method::PUT, "/admin/faults", no_faults)
            .operator(Method::DELETE, "/admin/faults", no_faults),
        FaultHook::On => routes
            .get("/admin/faults", list)
            .operator(Method::PUT, "/admin/faults", plant)
            .operator(Method::DELETE, "/admin/faults", clear),
    };
    let routes = routes.with_state(faults);
    match store {
        None => routes,
        Some(store) => routes.merge(outbox::routes(service, store.clone())).merge(
            Routes::new()
                .get("/admin/effects", effects)
                .get("/admin/effects/summary", summarize)
                .with_state(store),
        ),
    }
}

/// What is said where nobody may plant any.
async fn no_faults() -> Problem {
    Problem::not_found("faults can be planted where the system was started with --enable-faults")
}

/// What the mesh knows, and its planted faults.
pub(crate) fn mesh_routes(
    hook: FaultHook,
    mesh: Mesh,
    inbound: Option<Mesh>,
    guarded: Option<Guarded>,
    shutdown: Shutdown,
) -> Routes<()> {
    let guards = guarded.as_ref().map(|it| it.service.clone());
    let meshes = std::iter::once(mesh.clone()).chain(inbound).collect();
    let source = tap::Source { meshes, shutdown };
    let live = Routes::new().get("/tap", tap::page).with_state(source);
    let routes = Routes::new()
        .get("/routes", move |State(mesh): State<Mesh>| async move {
            let mut page = view::routes(&mesh);
            page["guards"] = json!(guards);
            reply(&page)
        })
        .get("/endpoints", |State(mesh): State<Mesh>| async move { reply(&view::endpoints(&mesh)) })
        .get("/explain", explain)
        .get("/authorizations", |State(mesh): State<Mesh>| async move {
            reply(&view::authorizations(&mesh))
        })
        .get("/identity", |State(mesh): State<Mesh>| async move { reply(&view::identity(&mesh)) })
        // To look is always allowed: files may hold some.
        .get("/faults", list_mesh);
    let routes = match hook {
        FaultHook::Off => routes,
        FaultHook::On => routes.operator(Method::PUT, "/faults", plant_mesh).operator(
            Method::DELETE,
            "/faults",
            clear_mesh,
        ),
    };
    let routes = routes.with_state(mesh).merge(live);
    match guarded {
        Some(it) => routes.merge(Routes::new().get("/authorization", authorization).with_state(it)),
        None => routes,
    }
}

/// A door of this process, and by whose policy it is judged who may come in.
#[derive(Debug, Clone)]
pub(crate) struct Guarded {
    pub(crate) mesh: Mesh,
    pub(crate) service: String,
}

/// Which rule decides: `?caller=spiffe://…&method=GET&path=/x`; nobody in particular without a caller.
async fn authorization(
    State(door): State<Guarded>,
    Query(pairs): Query<Pairs>,
) -> Result<Response, Problem> {
    let asked = Parameters::read(pairs, &["caller", "method", "path"], &[])?;
    let (method, path) = (asked.get("method").unwrap_or("GET"), asked.get("path").unwrap_or("/"));
    let head =
        view::asked(method, "", path, &[]).map_err(|it| Problem::of(Code::InvalidRequest, it))?;
    reply(&view::authorization(&door.mesh, &door.service, asked.get("caller"), &head))
}

/// Why a request goes where it goes: `?service=account&method=GET&path=/x`, or `?edge=edge&…`, with
/// `host=…`, any number of `header=name: value`, and at an edge of `role=…`.
async fn explain(
    State(mesh): State<Mesh>,
    Query(pairs): Query<Pairs>,
) -> Result<Response, Problem> {
    const ONCE: [&str; 5] = ["service", "edge", "method", "path", "host"];
    let invalid = |detail: &str| Problem::of(Code::InvalidRequest, detail);
    let asked = Parameters::read(pairs, &ONCE, &["header", "role"])?;
    let door = match (asked.get("service"), asked.get("edge")) {
        (Some(service), None) => Door::Service(service.to_owned()),
        (None, Some(edge)) => Door::Edge(edge.to_owned()),
        _ => return Err(invalid("name either a service or an edge")),
    };
    let method = asked.get("method").unwrap_or("GET");
    let path = asked.get("path").unwrap_or("/");
    let host = asked.get("host").unwrap_or_default();
    let mut fields = Vec::new();
    for field in asked.all("header") {
        let parts = field.split_once(':').ok_or_else(|| invalid("a header is `name: value`"))?;
        fields.push((parts.0.trim(), parts.1.trim()));
    }
    let head = view::asked(method, host, path, &fields).map_err(|it| invalid(&it))?;
    let roles: Vec<&str> = asked.all("role").collect();
    reply(&view::explain(&mesh, &door, &head, &roles))
}

async fn list_mesh(State(mesh): State<Mesh>) -> Result<Response, Problem> {
    reply(&view::faults(&mesh))
}

/// Longest time that a planted fault stands, in ms, and so the longest wait in one: a forgotten
/// experiment ends by itself.
const FAULT_TIME_MAX: u64 = 3_600_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MeshFault {
    name: String,
    service: String,
    #[serde(default)]
    route: Option<String>,
    #[serde(default)]
    header: Option<(String, String)>,
    #[serde(default)]
    share: Option<f64>,
    #[serde(default)]
    delay_ms: Option<u64>,
    #[serde(default)]
    status: Option<u16>,
    #[serde(default)]
    reset_after_bytes: Option<u64>,
    #[serde(default)]
    for_ms: Option<u64>,
}

async fn plant_mesh(State(mesh): State<Mesh>, body: Bytes) -> Result<StatusCode, Problem> {
    let invalid = |detail: String| Problem::of(Code::InvalidRequest, detail);
    let value = body::parse(&body, DEPTH_MAX)?;
    let told: MeshFault = serde_json::from_value(value).map_err(|it| invalid(it.to_string()))?;
    let abort = match (told.status, told.reset_after_bytes) {
        (Some(status), None) if (200..600).contains(&status) => Some(Abort::Status(status)),
        (None, Some(bytes)) => Some(Abort::ResetAfter(bytes)),
        (None, None) => None,
        _ => return Err(invalid("an abort is a status of 200 to 599, or a reset".to_owned())),
    };
    let share = told.share.unwrap_or(1.0);
    if !(0.0..=1.0).contains(&share) {
        return Err(invalid("a share lies between 0 and 1".to_owned()));
    }
    for (member, time) in [("for_ms", told.for_ms), ("delay_ms", told.delay_ms)] {
        if time.is_some_and(|it| it > FAULT_TIME_MAX) {
            return Err(invalid(format!("`{member}` is {FAULT_TIME_MAX} at the most")));
        }
    }
    let stands = told.for_ms.unwrap_or(FAULT_TIME_MAX);
    let planted = fault::Fault {
        name: told.name,
        service: told.service,
        at: fault::At::Caller,
        route: told.route,
        header: told.header.map(|(name, value)| (name.to_ascii_lowercase(), value)),
        share,
        delay: told.delay_ms.map(Duration::from_millis),
        abort,
        expires_after: Some(Duration::from_millis(stands)),
    };
    tracing::warn!(fault = planted.name, service = planted.service, "fault planted at the mesh");
    mesh.plant(planted).map_err(|it| invalid(it.to_string()))?;
    Ok(StatusCode::NO_CONTENT)
}

async fn clear_mesh(
    State(mesh): State<Mesh>,
    Query(pairs): Query<Pairs>,
) -> Result<StatusCode, Problem> {
    let asked = Parameters::read(pairs, &["name"], &[])?;
    let stood = mesh.clear_faults(asked.get("name"));
    let is_done = stood || asked.get("name").is_none();
    Ok(if is_done { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND })
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
