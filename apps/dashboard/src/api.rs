//! The page, its data, and the collector that takes spans in.

mod alerts;
mod door;
mod queues;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use base::Code;
use runtime::Tasks;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use service_kit::{
    Change, Client, JsonBody, MutatingRoute, Problem, Query, Repetition, Routes, Sample, SampleCall,
};
use telemetry::otlp;

pub(crate) use door::Door;

use crate::{
    queues::Queues,
    sse::{self, Closed, Writer},
    topology::{Report, Topology},
    traces::{TraceSpan, Traces},
    view::{Story, View},
};

/// Shortest time between two updates of one page: ten a second look smooth, more cost only power.
const UPDATE_EVERY: Duration = Duration::from_millis(100);
/// A page that hears nothing for so long is told that the server is still there.
const PING_EVERY: Duration = Duration::from_secs(15);

/// What every handler shares.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) view: Arc<Mutex<View>>,
    pub(crate) topology: Arc<Mutex<Topology>>,
    traces: Arc<Mutex<Traces>>,
    pub(crate) queues: Queues,
    client: Client,
    tasks: Tasks,
}

impl Shared {
    pub(crate) fn new(spans_max: usize, queues: Queues, client: Client, tasks: Tasks) -> Self {
        let traces = Arc::new(Mutex::new(Traces::new(spans_max)));
        Self { view: Arc::default(), topology: Arc::default(), traces, queues, client, tasks }
    }

    /// The view. A panic elsewhere cannot leave it half-changed in a way that matters to a page.
    fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn traces(&self) -> MutexGuard<'_, Traces> {
        self.traces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Routes of the page.
pub(crate) fn page(shared: Shared) -> Routes {
    Routes::new()
        .get("/", || async { asset(HTML, include_str!("../assets/index.html")) })
        .get("/topology", || async { asset(HTML, include_str!("../assets/topology.html")) })
        .get("/queues", || async { asset(HTML, include_str!("../assets/queues.html")) })
        .get("/app.js", || async { asset(SCRIPT, include_str!("../assets/app.js")) })
        .get("/alerts.js", || async { asset(SCRIPT, include_str!("../assets/alerts.js")) })
        .get("/map.js", || async { asset(SCRIPT, include_str!("../assets/map.js")) })
        .get("/picture.js", || async { asset(SCRIPT, include_str!("../assets/picture.js")) })
        .get("/projection.js", || async { asset(SCRIPT, include_str!("../assets/projection.js")) })
        .get("/trace.js", || async { asset(SCRIPT, include_str!("../assets/trace.js")) })
        .get("/topology.js", || async { asset(SCRIPT, include_str!("../assets/topology.js")) })
        .get("/graph.js", || async { asset(SCRIPT, include_str!("../assets/graph.js")) })
        .get("/queues.js", || async { asset(SCRIPT, include_str!("../assets/queues.js")) })
        .get("/backlog.js", || async { asset(SCRIPT, include_str!("../assets/backlog.js")) })
        .get("/queues.css", || async { asset(STYLE, include_str!("../assets/queues.css")) })
        .get("/topology.css", || async { asset(STYLE, include_str!("../assets/topology.css")) })
        .get("/style.css", || async { asset(STYLE, include_str!("../assets/style.css")) })
        .get("/icon.svg", || async { asset(PICTURE, include_str!("../assets/icon.svg")) })
        .get("/city.json", || async { asset(JSON, include_str!("../assets/city.json")) })
        .get("/api/stream", stream)
        .get("/api/deliveries/{id}", get_delivery)
        .get("/api/traces", list_spans)
        .get("/api/topology", get_topology)
        .get("/api/queues", queues::report)
        .get("/api/alerts", alerts::list)
        .get("/api/alertgroups", alerts::groups)
        .change(alerts::row(), alerts::acknowledge)
        .change(alerts::group_row(), alerts::acknowledge_group)
        .change(queues::row(), queues::redrive)
        .with_state(shared)
}

/// Routes of the collector: OTLP over HTTP, JSON.
pub(crate) fn collector(shared: Shared) -> Routes {
    let row = MutatingRoute {
        change: Change::Post,
        path: "/v1/traces",
        repetition: Repetition::ProvenBy("spans_that_arrive_twice_are_kept_once"),
        sample: |_| Sample {
            before: Vec::new(),
            call: SampleCall::new(Method::POST, "/v1/traces", Some(json!({"resourceSpans": []}))),
            other_body: None,
            undo: None,
        },
    };
    Routes::new().change(row, collect).with_state(shared)
}

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const PICTURE: &str = "image/svg+xml";
const JSON: &str = "application/json";

/// A file of the page. It is asked for again each time: it changes with the program.
fn asset(content_type: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'self'")),
    ];
    (headers, text).into_response()
}

async fn stream(State(shared): State<Shared>) -> Response {
    let (writer, response) = sse::stream();
    let tasks = shared.tasks.clone();
    tasks.spawn("page", |shutdown| async move {
        // The reader left, or the process stops: either ends it.
        shutdown.or_cancel(show_changes(shared, writer)).await;
    });
    response
}

/// Shows everything, and from then on what is newer. Cancel-safe: whoever drops it is done with
/// the page.
async fn show_changes(shared: Shared, writer: Writer) -> Result<(), Closed> {
    let all = shared.view().since(0);
    let mut seen = all.version;
    writer.send("snapshot", &all).await?;
    let mut silent = Duration::ZERO;
    loop {
        tokio::time::sleep(UPDATE_EVERY).await;
        if shared.view().version() == seen {
            silent += UPDATE_EVERY;
            if silent >= PING_EVERY {
                silent = Duration::ZERO;
                writer.ping().await?;
            }
            continue;
        }
        silent = Duration::ZERO;
        let newer = shared.view().since(seen);
        seen = newer.version;
        if !newer.vehicles.is_empty() {
            writer.send("vehicles", &newer.vehicles).await?;
        }
        if !newer.drones.is_empty() {
            writer.send("drones", &newer.drones).await?;
        }
        if !newer.deliveries.is_empty() {
            writer.send("deliveries", &newer.deliveries).await?;
        }
        writer.send("totals", &newer.totals).await?;
    }
}

async fn get_delivery(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<Story>, Problem> {
    let found = shared.view().find(&id);
    found.map(Json).ok_or_else(|| Problem::not_found("the page has not heard of this delivery"))
}

#[derive(Debug, Deserialize)]
struct Wanted {
    delivery: String,
}

#[derive(Debug, Serialize)]
struct Spans {
    spans: Vec<TraceSpan>,
}

async fn list_spans(State(shared): State<Shared>, Query(wanted): Query<Wanted>) -> Json<Spans> {
    Json(Spans { spans: shared.traces().of_delivery(&wanted.delivery) })
}

async fn get_topology(State(shared): State<Shared>) -> Json<Report> {
    let topology = shared.topology.lock().unwrap_or_else(PoisonError::into_inner);
    Json(topology.report())
}

async fn collect(
    State(shared): State<Shared>,
    headers: HeaderMap,
    body: Result<JsonBody, Problem>,
) -> Result<Json<Value>, Problem> {
    check_form(&headers)?;
    let body = body?;
    let refuse = |detail: String| Problem::of(Code::InvalidRequest, detail);
    let groups = otlp::decode(&body.parse()?).map_err(|it| refuse(it.to_string()))?;
    let mut traces = shared.traces();
    for (resource, spans) in groups {
        let resource = Arc::new(resource);
        spans.into_iter().for_each(|it| traces.add(&resource, it));
    }
    Ok(Json(json!({})))
}

/// Senders of protobuf learn what to set instead of why their bytes are no JSON.
fn check_form(headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name| headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default();
    let form = text(header::CONTENT_TYPE).split(';').next().unwrap_or_default().trim();
    let is_plain = matches!(text(header::CONTENT_ENCODING), "" | "identity");
    if is_plain && form.eq_ignore_ascii_case(JSON) {
        return Ok(());
    }
    let detail = "only OTLP in JSON is taken, not compressed: protocol http/json";
    Err(Problem::refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail))
}
