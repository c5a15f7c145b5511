//! The fields that a proxy asks about.

/// Which field a name is. Whatever no proxy asks about is [`Known::Other`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "a variant is the field of its name")]
pub enum Known {
    Other,
    Authorization,
    Baggage,
    Connection,
    ContentEncoding,
    ContentLength,
    ContentType,
    Cookie,
    Date,
    Expect,
    Forwarded,
    GrpcStatus,
    GrpcTimeout,
    Host,
    Http2Settings,
    IdempotencyKey,
    KeepAlive,
    Origin,
    /// `proxy-authenticate`, `proxy-authorization`, `proxy-connection`, every other `proxy-*`
    /// except [`Known::ProxyStatus`], and `proxy` itself, which CGI takes for a setting.
    Proxy,
    ProxyStatus,
    RetryAfter,
    Server,
    SetCookie,
    SkeinAttempt,
    SkeinDeadlineMs,
    SkeinEpoch,
    /// Any other `skein-*`.
    SkeinOther,
    Te,
    Traceparent,
    Tracestate,
    Trailer,
    TransferEncoding,
    Upgrade,
    UserAgent,
    Via,
    /// Any `x-forwarded-*`.
    XForwarded,
    XRequestId,
}

/// No known name is longer; prefixes are looked at in the first bytes alone.
const NAME_BYTES_MAX: usize = 20;

impl Known {
    /// Which field `name` is, in upper or lower case. `name` must be a token.
    #[inline]
    #[must_use]
    pub fn of(name: &[u8]) -> Self {
        // Setting this bit lowers letters. Of the token characters only a letter becomes a letter
        // by it and only a hyphen a hyphen, so that nothing else can look like a known name.
        let mut lower = [0_u8; NAME_BYTES_MAX];
        let length = name.len().min(NAME_BYTES_MAX);
        for (to, from) in lower.iter_mut().zip(name) {
            *to = from | 0x20;
        }
        let known = if name.len() <= NAME_BYTES_MAX {
            Self::of_lower(&lower[..length])
        } else {
            Self::Other
        };
        if known == Self::Other { Self::of_prefix(&lower[..length]) } else { known }
    }

    #[inline]
    fn of_lower(name: &[u8]) -> Self {
        match name.len() {
            2..=6 => Self::of_short(name),
            7..=11 => Self::of_middle(name),
            12..=20 => Self::of_long(name),
            _ => Self::Other,
        }
    }

    fn of_short(name: &[u8]) -> Self {
        match name {
            b"te" => Self::Te,
            b"via" => Self::Via,
            b"date" => Self::Date,
            b"host" => Self::Host,
            b"proxy" => Self::Proxy,
            b"cookie" => Self::Cookie,
            b"expect" => Self::Expect,
            b"origin" => Self::Origin,
            b"server" => Self::Server,
            _ => Self::Other,
        }
    }

    fn of_middle(name: &[u8]) -> Self {
        match name {
            b"baggage" => Self::Baggage,
            b"trailer" => Self::Trailer,
            b"upgrade" => Self::Upgrade,
            b"forwarded" => Self::Forwarded,
            b"connection" => Self::Connection,
            b"keep-alive" => Self::KeepAlive,
            b"set-cookie" => Self::SetCookie,
            b"tracestate" => Self::Tracestate,
            b"user-agent" => Self::UserAgent,
            b"grpc-status" => Self::GrpcStatus,
            b"retry-after" => Self::RetryAfter,
            b"skein-epoch" => Self::SkeinEpoch,
            b"traceparent" => Self::Traceparent,
            _ => Self::Other,
        }
    }

    fn of_long(name: &[u8]) -> Self {
        match name {
            b"content-type" => Self::ContentType,
            b"grpc-timeout" => Self::GrpcTimeout,
            b"proxy-status" => Self::ProxyStatus,
            b"x-request-id" => Self::XRequestId,
            b"authorization" => Self::Authorization,
            b"skein-attempt" => Self::SkeinAttempt,
            b"content-length" => Self::ContentLength,
            b"http2-settings" => Self::Http2Settings,
            b"idempotency-key" => Self::IdempotencyKey,
            b"content-encoding" => Self::ContentEncoding,
            b"skein-deadline-ms" => Self::SkeinDeadlineMs,
            b"transfer-encoding" => Self::TransferEncoding,
            _ => Self::Other,
        }
    }

    fn of_prefix(lower: &[u8]) -> Self {
        match lower {
            [b'x', b'-', b'f', ..] if lower.starts_with(b"x-forwarded-") => Self::XForwarded,
            [b's', b'k', ..] if lower.starts_with(b"skein-") => Self::SkeinOther,
            [b'p', b'r', ..] if lower.starts_with(b"proxy-") => Self::Proxy,
            _ => Self::Other,
        }
    }

    /// Whether the field is meant for everybody on the way: a Connection field must not remove it.
    ///
    /// They say who asks (identity, authorization), on whose behalf (trace), until when (deadline),
    /// how often (idempotency) or where and what (host, length, type).
    #[must_use]
    pub const fn is_end_to_end(self) -> bool {
        match self {
            Self::Authorization
            | Self::Baggage
            | Self::ContentEncoding
            | Self::ContentLength
            | Self::ContentType
            | Self::Cookie
            | Self::Forwarded
            | Self::GrpcStatus
            | Self::GrpcTimeout
            | Self::Host
            | Self::IdempotencyKey
            | Self::Origin
            | Self::RetryAfter
            | Self::SetCookie
            | Self::SkeinAttempt
            | Self::SkeinDeadlineMs
            | Self::SkeinEpoch
            | Self::SkeinOther
            | Self::Traceparent
            | Self::Tracestate
            | Self::XForwarded
            | Self::XRequestId => true,
            Self::Other
            | Self::Connection
            | Self::Date
            | Self::Expect
            | Self::Http2Settings
            | Self::KeepAlive
            | Self::Proxy
            | Self::ProxyStatus
            | Self::Server
            | Self::Te
            | Self::Trailer
            | Self::TransferEncoding
            | Self::Upgrade
            | Self::UserAgent
            | Self::Via => false,
        }
    }

    /// Whether the field may come after the body: nothing that frames, routes, authorises or limits the
    /// message, as all of that was decided before (RFC 9110 6.5.1).
    #[must_use]
    pub const fn is_trailer(self) -> bool {
        matches!(self, Self::GrpcStatus) || !(self.is_end_to_end() || self.is_hop_by_hop())
    }

    /// Whether the field speaks to the next program only, whatever Connection lists.
    ///
    /// RFC 9110 7.6.1, and RFC 7540 3.2.1 for `http2-settings`. Trailer is none: what it
    /// announces is carried on.
    #[must_use]
    pub const fn is_hop_by_hop(self) -> bool {
        matches!(
            self,
            Self::Connection
                | Self::Http2Settings
                | Self::KeepAlive
                | Self::Proxy
                | Self::Te
                | Self::TransferEncoding
                | Self::Upgrade
        )
    }
}

#[cfg(test)]
mod tests;
