//! Calls to other services: one attempt, bounded by a deadline, with an honest verdict.
//!
//! There is no retry here and no breaker: the mesh repeats what is provably unprocessed, the saga
//! repeats the rest under its key. What this client owes both is the distinction between *not
//! sent* and *maybe processed*. Hyper gives it: a failed connect and a request that the connection
//! task never took are not sent; whatever fails later may have been processed.

mod call;

use std::{error::Error as _, sync::Arc, time::Duration};

use base::{Code, FailureClass, headers};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::{
    client::legacy::{Client as Pool, Error as PoolError, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use telemetry::{HistogramFamily, Span, SpanKind, Telemetry};
use tokio::time::{Instant, timeout_at};

use crate::{config::ServiceAddresses, deadline::Deadline, problem::Problem};

pub use call::{Call, CallReply, segment};

/// Bytes of a reply that are read; services bound what they take in by the same number.
const REPLY_BYTES_MAX: usize = 1 << 20;
/// Idle connections are dropped before the server (10 s) does it, which avoids lost requests.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// Idle connections kept for each service.
const POOL_IDLE_MAX: usize = 128;
/// Longest wait for a connection on a local network.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

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
    /// Refused, unreachable, or the pooled connection ended before it took the request: the
    /// service has not seen it.
    #[error("the service could not be reached")]
    NotSent(#[source] PoolError),
    /// No reply in time; the service may have done the work.
    #[error("no reply within {} ms", after.as_millis())]
    TimedOut {
        /// How long it was waited for.
        after: Duration,
    },
    /// The connection ended after the request was sent; the service may have done the work.
    #[error("the connection was lost before the reply was whole")]
    ConnectionLost(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The call cannot be written as HTTP: a defect of the caller.
    #[error("the call is not valid HTTP")]
    Malformed(#[source] http::Error),
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
            Self::UnknownService { .. } | Self::NotSent(_) | Self::ConnectionLost(_) => {
                Code::UpstreamUnavailable
            }
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
    pool: Pool<HttpConnector, Full<Bytes>>,
    services: Arc<ServiceAddresses>,
    telemetry: Telemetry,
    durations: HistogramFamily,
    timeout: Duration,
}

impl Client {
    /// A client with its own connections. A call waits `timeout` at the longest.
    #[must_use]
    pub fn new(services: ServiceAddresses, timeout: Duration, telemetry: Telemetry) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        // Connection tasks of the pool end with the pool; they hold nothing that a drain must save.
        let pool = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .pool_max_idle_per_host(POOL_IDLE_MAX)
            .retry_canceled_requests(false)
            .build(connector);
        let durations = telemetry.metrics().histogram(
            "http_client_request_duration_seconds",
            "Calls to other services, by outcome: a status class or an error code.",
            &["service", "method", "outcome"],
        );
        Self { pool, services: Arc::new(services), telemetry, durations, timeout }
    }

    /// Makes one attempt.
    ///
    /// Cancel-safe in the sense that dropping it closes the connection; the service may still
    /// have done the work.
    ///
    /// # Errors
    /// [`CallError`] when there is no reply; any status is a reply.
    pub async fn call(&self, call: Call) -> Result<CallReply, CallError> {
        let name = call.span_name();
        let mut span = self.telemetry.span(name, SpanKind::Client, call.trace.as_ref());
        span.attribute("http.request.method", call.method.as_str());
        span.attribute("peer.service", call.service.as_ref());
        let started = Instant::now();
        let result = self.attempt(&call, &span).await;
        let outcome = match &result {
            Ok(reply) => {
                span.attribute("http.response.status_code", reply.status.as_u16());
                if reply.status.as_u16() >= 400 {
                    span.fail(reply.status.as_str());
                }
                status_class(reply.status)
            }
            Err(error) => {
                span.attribute("error.type", error.code().as_str());
                span.fail(error.to_string());
                error.code().as_str()
            }
        };
        self.durations
            .with(&[call.service.as_ref(), call.method.as_str(), outcome])
            .observe_duration(started.elapsed());
        result
    }

    async fn attempt(&self, call: &Call, span: &Span) -> Result<CallReply, CallError> {
        let base = self.services.get(&call.service).ok_or_else(|| CallError::UnknownService {
            service: call.service.clone().into_owned(),
        })?;
        let wait = call.timeout.unwrap_or(self.timeout);
        let own = Deadline::after(wait);
        let deadline = call.deadline.map_or(own, |it| it.min(own));
        if deadline.header_value() == 0 {
            return Err(CallError::DeadlineExpired);
        }
        let request = call.request(base, deadline, &span.context())?;
        self.send(request, deadline).await
    }

    /// Sends a request to an absolute address, without span and headers of ours.
    pub(crate) async fn send(
        &self,
        request: Request<Full<Bytes>>,
        deadline: Deadline,
    ) -> Result<CallReply, CallError> {
        let began = Instant::now();
        let exchange = async {
            let response = self.pool.request(request).await.map_err(classify)?;
            let (head, body) = response.into_parts();
            // The service has answered; a lost body still leaves its work done.
            let body = Limited::new(body, REPLY_BYTES_MAX).collect().await;
            let body = body.map_err(CallError::ConnectionLost)?.to_bytes();
            Ok(CallReply { status: head.status, headers: head.headers, body })
        };
        let reply = timeout_at(deadline.instant(), exchange).await;
        reply.unwrap_or_else(|_| Err(CallError::TimedOut { after: began.elapsed() }))
    }
}

/// Not sent only where hyper says so; everything else may have been processed.
fn classify(error: PoolError) -> CallError {
    let source = error.source().and_then(|it| it.downcast_ref::<hyper::Error>());
    if error.is_connect() || source.is_some_and(hyper::Error::is_canceled) {
        CallError::NotSent(error)
    } else {
        CallError::ConnectionLost(Box::new(error))
    }
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
    fn request(
        &self,
        base: &str,
        deadline: Deadline,
        trace: &telemetry::TraceContext,
    ) -> Result<Request<Full<Bytes>>, CallError> {
        let target = format!("{base}{}", self.path);
        let uri: Uri = target.parse().map_err(|it| CallError::Malformed(http::Error::from(it)))?;
        let mut request = Request::builder()
            .method(self.method.clone())
            .uri(uri)
            .body(Full::new(self.body.clone()))
            .map_err(CallError::Malformed)?;
        *request.headers_mut() = self.headers.clone();
        let fields = request.headers_mut();
        put(fields, headers::SKEIN_DEADLINE_MS, &deadline.header_value().to_string())?;
        put(fields, headers::TRACEPARENT, &trace.traceparent())?;
        if let Some(state) = trace.tracestate() {
            put(fields, headers::TRACESTATE, state)?;
        }
        if self.attempt > 0 {
            put(fields, headers::SKEIN_ATTEMPT, &self.attempt.to_string())?;
        }
        if let Some((key, epoch)) = &self.operation {
            // A structured-field string, as the Idempotency-Key draft asks.
            put(fields, headers::IDEMPOTENCY_KEY, &format!("\"{key}\""))?;
            if let Some(epoch) = epoch {
                put(fields, headers::SKEIN_EPOCH, &epoch.to_string())?;
            }
        }
        if !self.body.is_empty() && !fields.contains_key(header::CONTENT_TYPE) {
            put(fields, "content-type", "application/json")?;
        }
        Ok(request)
    }
}

fn put(fields: &mut HeaderMap, name: &'static str, value: &str) -> Result<(), CallError> {
    let value = HeaderValue::from_str(value);
    let value = value.map_err(|it| CallError::Malformed(http::Error::from(it)))?;
    fields.insert(name, value);
    Ok(())
}
