//! What the end of a request says about the endpoint that it came from.

/// What the end of a request says about its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It works, whatever it thinks of the request.
    Success,
    /// It does not: 5xx, no connection, reset, time-out.
    Failure,
    /// It wants less: 429. Fails a probe, and says nothing else.
    Throttled,
    /// Nothing.
    Neutral,
}

/// The verdict of an HTTP status.
#[must_use]
pub const fn verdict_of_status(status: u16) -> Verdict {
    match status {
        429 => Verdict::Throttled,
        500..=599 => Verdict::Failure,
        _ => Verdict::Success,
    }
}

/// The verdict of a gRPC status, from headers or trailers. Numbers that the protocol does not know
/// are `UNKNOWN`, as it says.
#[must_use]
pub const fn verdict_of_grpc(status: u32) -> Verdict {
    match status {
        // OK, and everything that is about the request: INVALID_ARGUMENT, NOT_FOUND,
        // ALREADY_EXISTS, PERMISSION_DENIED, FAILED_PRECONDITION, ABORTED, OUT_OF_RANGE,
        // UNIMPLEMENTED, UNAUTHENTICATED.
        0 | 3 | 5..=7 | 9..=12 | 16 => Verdict::Success,
        // CANCELLED: somebody went away.
        1 => Verdict::Neutral,
        // RESOURCE_EXHAUSTED.
        8 => Verdict::Throttled,
        // UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE, DATA_LOSS.
        _ => Verdict::Failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // mesh 12b: 33
    #[test]
    fn only_the_endpoints_own_failures_count() {
        let statuses = [200, 204, 302, 400, 401, 403, 404, 408, 409, 499];
        assert!(statuses.into_iter().all(|it| verdict_of_status(it) == Verdict::Success));
        assert!(
            [500, 501, 502, 503, 504, 599]
                .into_iter()
                .all(|it| verdict_of_status(it) == Verdict::Failure)
        );
        assert_eq!(verdict_of_status(429), Verdict::Throttled);
        let failures: Vec<u32> =
            (0..20).filter(|&it| verdict_of_grpc(it) == Verdict::Failure).collect();
        assert_eq!(failures, [2, 4, 13, 14, 15, 17, 18, 19]);
        assert_eq!(verdict_of_grpc(7), Verdict::Success);
        assert_eq!(verdict_of_grpc(8), Verdict::Throttled);
    }
}
