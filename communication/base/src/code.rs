//! One taxonomy of short error codes: the same word in the reply, the metric, the log and the trace.

use std::fmt;

/// Why a request was not served, as one short word that machines and people share.
///
/// Business refusals have codes of their own; these are the ones that the platform gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    /// A member is missing or malformed.
    InvalidRequest,
    /// Nothing stands under that name.
    NotFound,
    /// The method is not known on that path.
    MethodNotAllowed,
    /// The state of the thing forbids the operation.
    Conflict,
    /// A `do` came after the `undo` of the same operation.
    Undone,
    /// The caller's fencing epoch is lower than one already seen: it must stop itself.
    StaleEpoch,
    /// The idempotency key was used before with another body.
    BodyMismatch,
    /// The same idempotency key is being served right now.
    InProgress,
    /// No time was left, so no work was begun.
    DeadlineExpired,
    /// A bound on concurrent work or on a queue was reached.
    Overloaded,
    /// The backlog is longer than the limit.
    Backlog,
    /// The log cannot take records.
    LogUnavailable,
    /// The database cannot take writes.
    StoreUnavailable,
    /// No address, or none that answers, is known for the service.
    UpstreamUnavailable,
    /// The service took the request and did not answer in time.
    UpstreamTimeout,
    /// No route leads anywhere from that path.
    NoRoute,
    /// The body is longer than the limit.
    BodyTooLarge,
    /// The body is of another form than is read here.
    UnsupportedMediaType,
    /// The head of the request is longer than the limit.
    HeadTooLarge,
    /// The request target is longer than the limit.
    TargetTooLong,
    /// The body did not arrive in time.
    RequestTimeout,
    /// A defect of ours.
    Internal,
}

impl Code {
    /// The word on the wire, in metrics and in logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Conflict => "conflict",
            Self::Undone => "undone",
            Self::StaleEpoch => "stale_epoch",
            Self::BodyMismatch => "body_mismatch",
            Self::InProgress => "in_progress",
            Self::DeadlineExpired => "deadline_expired",
            Self::Overloaded => "overloaded",
            Self::Backlog => "backlog",
            Self::LogUnavailable => "log_unavailable",
            Self::StoreUnavailable => "store_unavailable",
            Self::UpstreamUnavailable => "upstream_unavailable",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::NoRoute => "no_route",
            Self::BodyTooLarge => "body_too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::HeadTooLarge => "head_too_large",
            Self::TargetTooLong => "target_too_long",
            Self::RequestTimeout => "request_timeout",
            Self::Internal => "internal",
        }
    }

    /// Whether the same request may succeed later, unchanged.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::InProgress
                | Self::DeadlineExpired
                | Self::Overloaded
                | Self::Backlog
                | Self::LogUnavailable
                | Self::StoreUnavailable
                | Self::UpstreamUnavailable
                | Self::UpstreamTimeout
                | Self::RequestTimeout
        )
    }
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
