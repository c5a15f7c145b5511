//! The access log: one line for a request that has ended, with what a tap is told.
//!
//! What went wrong or was slow is always there, of the rest a share: a log of everything is a cost
//! that grows with success.

use base::Code;
use mesh_policy::proxy::AccessLog;

use super::Event;

/// Whether a request is written down; `draw` lies below 1,000.
pub(crate) fn is_kept(log: AccessLog, event: &Event, has_failed: bool, draw: u16) -> bool {
    let is_error = event.status.is_none_or(|it| it.is_server_error());
    let is_slow = !log.slow.is_zero() && event.latency >= log.slow;
    has_failed || is_error || is_slow || draw < log.per_mille
}

pub(crate) fn write(event: &Event) {
    tracing::info!(
        target: "access",
        direction = event.direction.as_str(),
        source = event.source,
        destination = event.destination,
        route = event.route,
        method = event.method.as_str(),
        path = event.path,
        status = event.status.map(|it| it.as_u16()),
        code = event.code.map(Code::as_str),
        latency_ms = event.latency.as_secs_f64() * 1_000.0,
        bytes = event.bytes,
        trace_id = event.trace_id,
        attempts = event.attempts,
        "request"
    );
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{Method, StatusCode};

    use super::*;
    use crate::tap::Direction;

    const LOG: AccessLog = AccessLog { per_mille: 100, slow: Duration::from_millis(500) };

    fn event(status: Option<u16>, latency_ms: u64) -> Event {
        Event {
            direction: Direction::Outbound,
            source: "shop".to_owned(),
            destination: "stock".to_owned(),
            route: String::new(),
            method: Method::GET,
            path: "/".to_owned(),
            status: status.map(|it| StatusCode::from_u16(it).unwrap()),
            code: None,
            latency: Duration::from_millis(latency_ms),
            bytes: 0,
            trace_id: None,
            attempts: 1,
        }
    }

    #[test]
    fn errors_and_slow_ones_are_always_kept_and_of_the_rest_the_share() {
        let kept = |log, status, ms, failed| {
            (0..1_000).filter(|it| is_kept(log, &event(status, ms), failed, *it)).count()
        };
        assert_eq!(kept(LOG, Some(200), 499, false), 100);
        assert_eq!(kept(LOG, Some(404), 0, false), 100);
        assert_eq!(kept(LOG, Some(200), 500, false), 1_000);
        assert_eq!(kept(LOG, Some(503), 0, false), 1_000);
        assert_eq!(kept(LOG, None, 0, false), 1_000);
        assert_eq!(kept(LOG, Some(200), 0, true), 1_000);
        let none_is_slow = AccessLog { per_mille: 0, slow: Duration::ZERO };
        assert_eq!(kept(none_is_slow, Some(200), 9_999, false), 0);
    }
}
