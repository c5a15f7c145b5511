//! Wiring of the page's process: one listener for people, one for spans.

use std::{net::SocketAddr, path::PathBuf};

use callers::ApiKey;
use runtime::Shutdown;
use serde::{Deserialize, Serialize};
use service_kit::{Bound, Limits, PortSharing, Service, ServiceConfig, ServiceContext, StartError};
use telemetry::Telemetry;

use crate::{
    api::{self, Door, Shared},
    feed,
    queues::Queues,
    topology,
};

/// Settings of the role.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DashboardConfig {
    /// Spans that are kept in all; one takes about a kilobyte of memory.
    pub spans_max: usize,
    /// Whether who opens the page shows a token.
    pub auth: Asking,
}

/// Whether the page asks who opens it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Asking {
    /// Nobody sees it without the link that was printed.
    #[default]
    Required,
    /// Whoever reaches the port sees everything, and acts.
    Off,
}

impl Default for DashboardConfig {
    fn default() -> Self {
        Self { spans_max: 200_000, auth: Asking::default() }
    }
}

/// What the role is told by whoever starts it.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Where spans come in.
    pub collector: SocketAddr,
    /// The file that lists the [`Processes`](crate::Processes) of the system.
    pub processes: PathBuf,
    /// What opens the page, where it asks.
    pub token: Option<ApiKey>,
}

/// Bytes of one request of spans. Exporters send 512 at a time; the limit of other bodies would
/// leave two kilobytes to each, and refuse all of them for the long texts of a few.
const SPAN_BODY_BYTES_MAX: usize = 8 << 20;
/// Spans of the process itself that are dropped at a time.
const OWN_SPANS: usize = 512;

/// Starts the page on the context's address, and the collector of spans on its own, on the
/// context's tasks.
///
/// # Errors
/// There is no log, or an address cannot be listened on.
pub async fn run(
    context: ServiceContext,
    surroundings: Surroundings,
    config: DashboardConfig,
) -> Result<Bound, StartError> {
    let (page, _collector) = start(&context, surroundings, &config)?;
    Ok(page)
}

/// Gives where the page listens, and where the collector does.
fn start(
    context: &ServiceContext,
    surroundings: Surroundings,
    config: &DashboardConfig,
) -> Result<(Bound, SocketAddr), StartError> {
    let messaging = context.require_messaging()?;
    let queues = Queues::new(messaging.clone());
    let (client, tasks) = (context.client().clone(), context.tasks.clone());
    let shared = Shared::new(config.spans_max, queues, client, tasks);
    let own = context.telemetry.clone();
    context.tasks.spawn("own spans", |shutdown| forget_own_spans(own, shutdown));
    // The collector first: whoever waits for the page may send spans when it is ready.
    let spans = Service::new(api::collector(shared.clone()));
    let collector = spans.serve_beside(&beside(context, surroundings.collector))?;
    feed::start(&messaging, &shared.view, &context.tasks)?;
    topology::start(surroundings.processes, shared.topology.clone(), &context.tasks);
    let token = match config.auth {
        Asking::Off => None,
        Asking::Required => {
            let missing =
                || StartError::Part { what: "the door of the page", source: "no token".into() };
            Some(surroundings.token.as_ref().ok_or_else(missing)?)
        }
    };
    let door = Door::new(token, context.config.http.port());
    let page = Service::new(api::page(shared))
        .health(context.health(None))
        .for_operators(move |method, uri, headers| door.stop(method, uri, headers));
    Ok((page.serve(&unexported(context))?, collector))
}

/// The process sends no spans: it reads the topics anew at every start, and each time would add
/// another reading to every trace that it keeps.
fn unexported(context: &ServiceContext) -> ServiceContext {
    let config = ServiceConfig { trace_endpoint: None, ..(*context.config).clone() };
    context.with_config(config)
}

/// The same surroundings at another address, with room for bodies of spans.
fn beside(context: &ServiceContext, address: SocketAddr) -> ServiceContext {
    let unexported = unexported(context);
    let body_bytes_max = context.config.limits.body_bytes_max.max(SPAN_BODY_BYTES_MAX);
    let config = ServiceConfig {
        http: address,
        sharing: PortSharing::Exclusive,
        limits: Limits { body_bytes_max, ..context.config.limits.clone() },
        ..(*unexported.config).clone()
    };
    unexported.with_config(config)
}

async fn forget_own_spans(own: Telemetry, shutdown: Shutdown) {
    while shutdown.or_cancel(own.take_batch(OWN_SPANS)).await.is_some() {}
}

#[cfg(test)]
mod tests;
