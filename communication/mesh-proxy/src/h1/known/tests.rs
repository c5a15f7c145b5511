use super::*;

#[track_caller]
fn check(name: &str, known: Known) {
    assert_eq!(Known::of(name.as_bytes()), known, "{name}");
    assert_eq!(Known::of(name.to_ascii_uppercase().as_bytes()), known, "{name} in upper case");
    let longer = format!("{name}x");
    let is_prefix = matches!(known, Known::XForwarded | Known::SkeinOther | Known::Proxy);
    if !is_prefix && known != Known::Other {
        assert_ne!(Known::of(longer.as_bytes()), known, "{longer}");
    }
}

#[test]
fn names_are_known_in_either_case_and_no_others() {
    for (name, known) in [
        ("authorization", Known::Authorization),
        ("baggage", Known::Baggage),
        ("connection", Known::Connection),
        ("content-encoding", Known::ContentEncoding),
        ("content-length", Known::ContentLength),
        ("content-type", Known::ContentType),
        ("cookie", Known::Cookie),
        ("date", Known::Date),
        ("expect", Known::Expect),
        ("forwarded", Known::Forwarded),
        ("grpc-status", Known::GrpcStatus),
        ("grpc-timeout", Known::GrpcTimeout),
        ("host", Known::Host),
        ("http2-settings", Known::Http2Settings),
        ("idempotency-key", Known::IdempotencyKey),
        ("keep-alive", Known::KeepAlive),
        ("origin", Known::Origin),
        ("proxy", Known::Proxy),
        ("proxy-authorization", Known::Proxy),
        ("proxy-authentication-info", Known::Proxy),
        ("proxy-status", Known::ProxyStatus),
        ("retry-after", Known::RetryAfter),
        ("server", Known::Server),
        ("set-cookie", Known::SetCookie),
        ("skein-attempt", Known::SkeinAttempt),
        ("skein-deadline-ms", Known::SkeinDeadlineMs),
        ("skein-epoch", Known::SkeinEpoch),
        ("skein-something-that-is-long", Known::SkeinOther),
        ("te", Known::Te),
        ("traceparent", Known::Traceparent),
        ("tracestate", Known::Tracestate),
        ("trailer", Known::Trailer),
        ("transfer-encoding", Known::TransferEncoding),
        ("upgrade", Known::Upgrade),
        ("user-agent", Known::UserAgent),
        ("via", Known::Via),
        ("x-forwarded-for", Known::XForwarded),
        ("x-forwarded-client-cert", Known::XForwarded),
        ("x-request-id", Known::XRequestId),
    ] {
        check(name, known);
    }
    for name in
        ["x", "hos", "accept", "content_length", "transfer_encoding", "x-forwarded", "skein"]
    {
        check(name, Known::Other);
    }
}
