//! One taxonomy of short error codes: the same word in the reply, the metric, the log and the trace.

use std::{fmt, time::Duration};

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
    /// The service runs, and a server outside that it has to ask does not answer.
    DependencyUnavailable,
    /// Nobody is known by what the request shows.
    Unauthenticated,
    /// No rule allows this caller to do that.
    Forbidden,
    /// It is only answered over TLS.
    TlsRequired,
    /// The service did not prove who it must be, or does not take us for who we are.
    IdentityRefused,
    /// The service took the request and did not answer in time.
    UpstreamTimeout,
    /// The connection to the service ended before its answer.
    UpstreamReset,
    /// What the service answered is not HTTP.
    UpstreamMalformed,
    /// No instance of the service is known.
    NoEndpoint,
    /// Every instance of the service fails; the breaker lets nobody through.
    BreakerOpen,
    /// More requests than the limit allows.
    RateLimited,
    /// An operator planted this failure.
    PlantedFault,
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
    /// Every code.
    pub const ALL: &[Self] = &[
        Self::InvalidRequest,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Conflict,
        Self::Undone,
        Self::StaleEpoch,
        Self::BodyMismatch,
        Self::InProgress,
        Self::DeadlineExpired,
        Self::Overloaded,
        Self::Backlog,
        Self::LogUnavailable,
        Self::StoreUnavailable,
        Self::UpstreamUnavailable,
        Self::DependencyUnavailable,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::TlsRequired,
        Self::IdentityRefused,
        Self::UpstreamTimeout,
        Self::UpstreamReset,
        Self::UpstreamMalformed,
        Self::NoEndpoint,
        Self::BreakerOpen,
        Self::RateLimited,
        Self::PlantedFault,
        Self::NoRoute,
        Self::BodyTooLarge,
        Self::UnsupportedMediaType,
        Self::HeadTooLarge,
        Self::TargetTooLong,
        Self::RequestTimeout,
        Self::Internal,
    ];

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
            Self::DependencyUnavailable => "dependency_unavailable",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::TlsRequired => "tls_required",
            Self::IdentityRefused => "identity_refused",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::UpstreamReset => "upstream_reset",
            Self::UpstreamMalformed => "upstream_malformed",
            Self::NoEndpoint => "no_endpoint",
            Self::BreakerOpen => "breaker_open",
            Self::RateLimited => "rate_limited",
            Self::PlantedFault => "planted_fault",
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
                | Self::DependencyUnavailable
                | Self::IdentityRefused
                | Self::UpstreamTimeout
                | Self::UpstreamReset
                | Self::NoEndpoint
                | Self::BreakerOpen
                | Self::RateLimited
                | Self::RequestTimeout
        )
    }

    /// The HTTP status that goes with it.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidRequest => 400,
            Self::Unauthenticated => 401,
            Self::Forbidden | Self::TlsRequired => 403,
            Self::NotFound | Self::NoRoute => 404,
            Self::MethodNotAllowed => 405,
            Self::RequestTimeout => 408,
            Self::Conflict | Self::Undone | Self::StaleEpoch | Self::InProgress => 409,
            Self::BodyTooLarge => 413,
            Self::TargetTooLong => 414,
            Self::UnsupportedMediaType => 415,
            Self::BodyMismatch => 422,
            Self::Backlog | Self::RateLimited => 429,
            Self::HeadTooLarge => 431,
            Self::Internal | Self::PlantedFault => 500,
            Self::UpstreamUnavailable
            | Self::IdentityRefused
            | Self::UpstreamReset
            | Self::UpstreamMalformed => 502,
            Self::Overloaded
            | Self::LogUnavailable
            | Self::StoreUnavailable
            | Self::DependencyUnavailable
            | Self::NoEndpoint
            | Self::BreakerOpen => 503,
            Self::DeadlineExpired | Self::UpstreamTimeout => 504,
        }
    }

    /// When to come back: replies that shed load say so, or callers come back at once.
    #[must_use]
    pub const fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Overloaded
            | Self::LogUnavailable
            | Self::StoreUnavailable
            | Self::DependencyUnavailable
            | Self::InProgress
            | Self::NoEndpoint
            | Self::BreakerOpen
            | Self::RateLimited => Some(Duration::from_secs(1)),
            Self::Backlog => Some(Duration::from_secs(5)),
            Self::InvalidRequest
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::Conflict
            | Self::Undone
            | Self::StaleEpoch
            | Self::BodyMismatch
            | Self::DeadlineExpired
            | Self::UpstreamUnavailable
            | Self::Unauthenticated
            | Self::Forbidden
            | Self::TlsRequired
            | Self::IdentityRefused
            | Self::UpstreamTimeout
            | Self::UpstreamReset
            | Self::UpstreamMalformed
            | Self::PlantedFault
            | Self::NoRoute
            | Self::BodyTooLarge
            | Self::UnsupportedMediaType
            | Self::HeadTooLarge
            | Self::TargetTooLong
            | Self::RequestTimeout
            | Self::Internal => None,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_is_listed_once_under_a_word_of_its_own() {
        let words: BTreeSet<_> = Code::ALL.iter().map(|it| it.as_str()).collect();
        assert_eq!(words.len(), Code::ALL.len());
        // The compiler sees to it that `as_str` knows every code; here it stands with its word.
        let (_, text) = include_str!("code.rs").split_once("fn as_str").unwrap();
        let (text, _) = text.split_once("\n    }\n").unwrap();
        assert_eq!(text.matches(" => \"").count(), Code::ALL.len());
    }
}
