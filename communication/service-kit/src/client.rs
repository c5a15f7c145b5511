//! Calls to other services: through the mesh, bounded by a deadline, with an honest verdict.
//!
//! There is no retry here and no breaker: the mesh repeats what is provably unprocessed, the saga
//! repeats the rest under its key. What this client owes both is the distinction between *not
//! sent* and *maybe processed*, and the mesh gives it with each answer that it makes itself.

mod call;
mod names;

use std::{
    borrow::Cow, collections::BTreeMap, future::poll_fn, path::Path, sync::Arc, time::Duration,
};

use base::{Code, FailureClass, headers};
use bytes::{Bytes, BytesMut};
use http::{StatusCode, header};
use identity::{PublicTrust, PublicTrustError};
use mesh_policy::{
    Policy, breaker,
    destination::{Attachments, EndpointSet, Timeouts},
    policy::EVERY,
    retry,
};
use mesh_proxy::{
    Context, Door, Mesh, Outbound, Reply, Source,
    body::{Upload, Whole},
    head::{Fields, RequestHead, Version},
};
use telemetry::{HistogramFamily, Telemetry};
use tokio::time::{Instant, timeout_at};

use crate::{config::ServiceAddresses, deadline::Deadline, problem::Problem};

use names::Names;

pub use call::{Call, CallReply, segment};

/// Bytes of a reply that are read; services bound what they take in by the same number.
const REPLY_BYTES_MAX: usize = 1 << 20;
/// Whose calls those of a client outside the mesh are, in measures and pages: no service can be called
/// so. Where a proxy stands beside the program, the proxy's own figures say the same better.
pub const PLAIN_SOURCE: &str = "(client)";

/// Why a call has no reply.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No address is known for the service.
    #[error("no address is known for service {service}")]
    UnknownService {
        /// The name that was asked for.
        service: String,
    },
    /// No time was left, so nothing was sent.
    #[error("the deadline had passed before the call")]
    DeadlineExpired,
    /// Refused, unreachable, or held back by the mesh: the service has not seen it.
    #[error("the service could not be reached: {0}")]
    NotSent(Refused),
    /// No reply in time; the service may have done the work.
    #[error("no reply within {} ms", after.as_millis())]
    TimedOut {
        /// How long it was waited for.
        after: Duration,
    },
    /// The connection ended after the request was sent; the service may have done the work.
    #[error("the connection was lost before the reply was whole: {0}")]
    ConnectionLost(Refused),
    /// The call cannot be written as HTTP: a defect of the caller.
    #[error("the call is not valid HTTP: {0}")]
    Malformed(&'static str),
}

/// Why the mesh answered by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The short code.
    pub code: Code,
    /// What happened.
    pub detail: Cow<'static, str>,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.detail)
    }
}

impl CallError {
    /// Whether the service has certainly not seen the call.
    #[must_use]
    pub const fn is_unprocessed(&self) -> bool {
        match self {
            Self::UnknownService { .. }
            | Self::DeadlineExpired
            | Self::NotSent(_)
            | Self::Malformed(_) => true,
            Self::TimedOut { .. } | Self::ConnectionLost(_) => false,
        }
    }

    /// The article's question.
    #[must_use]
    pub const fn class(&self) -> FailureClass {
        match self {
            Self::UnknownService { .. }
            | Self::DeadlineExpired
            | Self::NotSent(_)
            | Self::TimedOut { .. } => FailureClass::Transient,
            Self::ConnectionLost(_) => FailureClass::Unknown,
            Self::Malformed(_) => FailureClass::NonTransient,
        }
    }

    /// The short code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::UnknownService { .. } => Code::UpstreamUnavailable,
            Self::NotSent(refused) | Self::ConnectionLost(refused) => refused.code,
            Self::DeadlineExpired => Code::DeadlineExpired,
            Self::TimedOut { .. } => Code::UpstreamTimeout,
            Self::Malformed(_) => Code::Internal,
        }
    }
}

impl From<CallError> for Problem {
    fn from(error: CallError) -> Self {
        Self::of(error.code(), error.to_string())
    }
}

/// Calls services by name; a cheap handle.
#[derive(Debug, Clone)]
pub struct Client {
    outbound: Outbound,
    /// What each service is called in Host; its name where nothing stands here.
    hosts: Arc<ServiceAddresses>,
    /// Servers outside; empty for services of ours.
    names: Arc<Names>,
    durations: HistogramFamily,
    timeout: Duration,
}

impl Client {
    /// A client that knows where services are and nothing else of them: one try each, no breaker. For
    /// tools and tests, and where another mesh stands between.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "a handle, given away as everywhere")]
    pub fn new(services: ServiceAddresses, timeout: Duration, telemetry: Telemetry) -> Self {
        // Routes alone can fail to compile, and there are none.
        let mesh = Mesh::new(PLAIN_SOURCE, plain(services.endpoints()), &telemetry)
            .expect("a policy without routes can be compiled");
        let client = Self::over(Outbound::new(mesh), timeout, &telemetry);
        Self { hosts: Arc::new(services), ..client }
    }

    /// The same for servers outside. One whose address says `https` proves that it is the one of this
    /// name, by an authority of the machine's own list or of a file; else nothing is said to it.
    ///
    /// # Errors
    /// An address says `https`, and nobody can be believed.
    pub fn outside(
        services: ServiceAddresses,
        timeout: Duration,
        telemetry: Telemetry,
        authorities: Option<&Path>,
    ) -> Result<Self, PublicTrustError> {
        let is_asked = services.places().any(|(_, place)| place.is_some_and(|it| it.is_proved));
        let trust = is_asked.then(|| PublicTrust::load(authorities)).transpose()?;
        Ok(Self::believing(services, timeout, telemetry, trust))
    }

    /// The same where those who are believed are known already; without any, nobody who would have to prove a
    /// name is called.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "a handle, given away as everywhere")]
    pub fn believing(
        services: ServiceAddresses,
        timeout: Duration,
        telemetry: Telemetry,
        trust: Option<PublicTrust>,
    ) -> Self {
        let nowhere = services.places().map(|(name, _)| (name.to_owned(), EndpointSet::default()));
        let mesh = Mesh::new(PLAIN_SOURCE, plain(nowhere.collect()), &telemetry)
            .expect("a policy without routes can be compiled");
        if let Some(trust) = trust {
            mesh.believe(trust);
        }
        let client = Self::over(Outbound::new(mesh), timeout, &telemetry);
        let names = Arc::new(Names::of(&services));
        Self { hosts: Arc::new(services), names, ..client }
    }

    /// The same through a proxy beside this process, which tells services apart by the names in Host.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "a handle, given away as everywhere")]
    pub fn beside(services: ServiceAddresses, timeout: Duration, telemetry: Telemetry) -> Self {
        let mesh = Mesh::to_proxy(PLAIN_SOURCE, plain(services.endpoints()), &telemetry)
            .expect("a policy without routes can be compiled");
        Self::over(Outbound::new(mesh), timeout, &telemetry)
    }

    /// A client of a mesh. A call waits `timeout` at the longest.
    #[must_use]
    pub fn over(outbound: Outbound, timeout: Duration, telemetry: &Telemetry) -> Self {
        let durations = telemetry.metrics().histogram(
            "http_client_request_duration_seconds",
            "Calls to other services, by outcome: a status class or an error code.",
            &["service", "method", "outcome"],
        );
        Self { outbound, hosts: Arc::default(), names: Arc::default(), durations, timeout }
    }

    /// The mesh that its calls go through.
    #[must_use]
    pub fn mesh(&self) -> &Mesh {
        self.outbound.mesh()
    }

    /// Makes a call.
    ///
    /// Cancel-safe in the sense that dropping it closes the connection; the service may still
    /// have done the work.
    ///
    /// # Errors
    /// [`CallError`] when there is no reply; any status is a reply.
    pub async fn call(&self, call: Call) -> Result<CallReply, CallError> {
        let started = Instant::now();
        let result = self.attempt(&call, started).await;
        let outcome = match &result {
            Ok(reply) => status_class(reply.status),
            Err(error) => error.code().as_str(),
        };
        self.durations
            .with(&[call.service.as_ref(), call.method.as_str(), outcome])
            .observe_duration(started.elapsed());
        result
    }

    async fn attempt(&self, call: &Call, started: Instant) -> Result<CallReply, CallError> {
        if !self.outbound.mesh().knows(&call.service) {
            return Err(CallError::UnknownService { service: call.service.clone().into_owned() });
        }
        let own = Deadline::since(started, call.timeout.unwrap_or(self.timeout));
        let deadline = call.deadline.map_or(own, |it| it.min(own));
        // Whoever cannot be found in time is called where it was before.
        if let Ok(Some(endpoints)) =
            timeout_at(deadline.instant(), self.names.look_up(&call.service)).await
            && let Err(error) = self.mesh().set_endpoints(&*call.service, endpoints)
        {
            tracing::warn!(service = %call.service, %error, "a server outside was not found anew");
        }
        let context = Context {
            route: call.route,
            parent: call.trace.clone(),
            deadline: Some(deadline.instant()),
            peer: None,
        };
        let mut upload = Upload::new(Whole::new(call.body.clone()));
        let door = Door::Service(call.service.clone().into_owned());
        let head = call.head(self.hosts.authority(&call.service))?;
        // Boxed: the path through the mesh is large, and whoever calls holds it.
        let reply = Box::pin(self.outbound.call(&door, head, context, &mut upload)).await;
        if let Source::Mesh { code, is_unprocessed } = reply.source {
            return Err(refused(code, is_unprocessed, started.elapsed()));
        }
        let whole = timeout_at(deadline.instant(), whole(reply, &mut upload)).await;
        whole.unwrap_or_else(|_| Err(CallError::TimedOut { after: started.elapsed() }))
    }
}

/// Endpoints, and a policy that lets every call go out once, whatever came of the others.
fn plain(endpoints: BTreeMap<String, EndpointSet>) -> Policy {
    let once = retry::Settings { attempts: 0, ..retry::Settings::default() };
    let never = breaker::Settings {
        consecutive_failures: 0,
        success_rate_min: 0.0,
        ..breaker::Settings::default()
    };
    let unbounded = mesh_policy::concurrency::Settings {
        requests_max: usize::MAX,
        ..mesh_policy::concurrency::Settings::default()
    };
    let every = Attachments {
        breaker: Some(never),
        retry: Some(once),
        concurrency: Some(unbounded),
        // The call says how long.
        timeouts: Some(Timeouts { request: Duration::ZERO, ..Timeouts::default() }),
        ..Attachments::default()
    };
    Policy { endpoints, attachments: [(EVERY.to_owned(), every)].into(), ..Policy::default() }
}

fn refused(code: Code, is_unprocessed: bool, after: Duration) -> CallError {
    let refused = |detail: &'static str| Refused { code, detail: detail.into() };
    match code {
        Code::DeadlineExpired => CallError::DeadlineExpired,
        _ if is_unprocessed => CallError::NotSent(refused(code.as_str())),
        Code::UpstreamTimeout => CallError::TimedOut { after },
        _ => CallError::ConnectionLost(refused(code.as_str())),
    }
}

/// The reply with its whole body. The service has answered; a lost body still leaves its work done.
async fn whole(mut reply: Reply, upload: &mut Upload<Whole>) -> Result<CallReply, CallError> {
    let lost = |detail: String| {
        CallError::ConnectionLost(Refused { code: Code::UpstreamReset, detail: detail.into() })
    };
    let mut body = BytesMut::new();
    while let Some(piece) = poll_fn(|context| reply.body.poll_piece(context, upload)).await {
        let piece = piece.map_err(|it| lost(it.to_string()))?;
        let Ok(data) = piece.into_data() else { continue };
        if body.is_empty() && reply.body.is_done() {
            // The common case: all of it came at once.
            return Ok(reply_of(reply, data));
        }
        if body.len() + data.len() > REPLY_BYTES_MAX {
            return Err(lost(format!("a reply holds at most {REPLY_BYTES_MAX} bytes")));
        }
        body.extend_from_slice(&data);
    }
    Ok(reply_of(reply, body.freeze()))
}

fn reply_of(reply: Reply, body: Bytes) -> CallReply {
    CallReply { status: reply.head.status, fields: reply.head.fields, body }
}

/// `2xx` and so on: a label with few values.
pub(crate) const fn status_class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}

impl Call {
    fn head(&self, authority: Option<&str>) -> Result<RequestHead, CallError> {
        // What a path may hold (RFC 3986 3.3); anything else would change where it leads.
        let is_path = |it: u8| it.is_ascii_graphic() && it != b'#';
        if !self.path.starts_with('/') || !self.path.bytes().all(is_path) {
            return Err(CallError::Malformed("the path is not a path"));
        }
        let authority = match (authority, &self.service) {
            (Some(authority), _) => Bytes::copy_from_slice(authority.as_bytes()),
            (None, Cow::Borrowed(name)) => Bytes::from_static(name.as_bytes()),
            (None, Cow::Owned(name)) => Bytes::copy_from_slice(name.as_bytes()),
        };
        let target = Bytes::copy_from_slice(self.path.as_bytes());
        let mut head = RequestHead::new(self.method.clone(), Version::Http11, authority, target);
        head.fields = Fields::from_map(&self.headers);
        let fields = &mut head.fields;
        if self.attempt > 0 {
            fields.set(headers::SKEIN_ATTEMPT, self.attempt.to_string().as_bytes());
        }
        if let Some((key, epoch)) = &self.operation {
            let key = key.to_string();
            if !key.bytes().all(|it| it.is_ascii_graphic() && it != b'"') {
                return Err(CallError::Malformed("the operation key is not a header value"));
            }
            // A structured-field string, as the Idempotency-Key draft asks.
            fields.set(headers::IDEMPOTENCY_KEY, format!("\"{key}\"").as_bytes());
            if let Some(epoch) = epoch {
                fields.set(headers::SKEIN_EPOCH, epoch.to_string().as_bytes());
            }
        }
        if !self.body.is_empty() && !self.headers.contains_key(header::CONTENT_TYPE) {
            fields.set("content-type", b"application/json");
        }
        Ok(head)
    }
}
