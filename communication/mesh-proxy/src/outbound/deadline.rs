//! When a request's caller stops waiting. It shrinks at each hop.

use std::time::Duration;

use base::Code;
use mesh_policy::{destination::Timeouts, route::Rule};
use tokio::time::Instant;

use super::bound;
use crate::{h1::Known, head::RequestHead, refusal::Refusal};

/// A deadline, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// The earliest of what the caller says, in whichever word, and what policy allows.
    pub(crate) fn of(
        head: &RequestHead,
        told: Option<Instant>,
        rule: Option<&Rule>,
        timeouts: Timeouts,
        now: Instant,
    ) -> Result<Self, Refusal> {
        let by_policy = longest(rule, timeouts).map(|it| now + it);
        let by_header = header(head)?.map(|it| now + it);
        let end = [by_policy, by_header, told].into_iter().flatten().min();
        match end {
            // What the next hop would read as zero.
            Some(end) if end < now + Duration::from_millis(1) => Err(expired()),
            end => Ok(Self(end)),
        }
    }

    /// The moment.
    #[must_use]
    pub const fn instant(self) -> Option<Instant> {
        self.0
    }

    /// Time left at a moment.
    #[must_use]
    pub fn left(self, now: Instant) -> Option<Duration> {
        self.0.map(|it| it.saturating_duration_since(now))
    }
}

/// How long a request may take with all its tries, whatever its caller says.
pub(super) fn longest(rule: Option<&Rule>, timeouts: Timeouts) -> Option<Duration> {
    bound(rule.and_then(|it| it.timeouts.request).unwrap_or(timeouts.request))
}

/// Before anything was sent: the caller may rely on it that nothing was done.
pub(super) fn expired() -> Refusal {
    Refusal::new(Code::DeadlineExpired, "the deadline passed before the request was sent")
}

fn header(head: &RequestHead) -> Result<Option<Duration>, Refusal> {
    if let Some(value) = head.fields.get(Known::SkeinDeadlineMs) {
        let millis = std::str::from_utf8(value).ok().and_then(|it| it.trim().parse().ok());
        let invalid = || {
            let detail = "Skein-Deadline-Ms is not a number of milliseconds";
            Refusal::new(Code::InvalidRequest, detail)
        };
        return millis.map(Duration::from_millis).map(Some).ok_or_else(invalid);
    }
    let timeout = head.fields.text(Known::GrpcTimeout);
    // gRPC over HTTP/2: at most eight digits and a unit; what is malformed is the server's to refuse.
    Ok(timeout.and_then(grpc_timeout))
}

fn grpc_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let is_short = (1..=8).contains(&digits.len()) && digits.bytes().all(|it| it.is_ascii_digit());
    let count: u64 = digits.parse().ok().filter(|_| is_short)?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3_600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

/// `grpc-timeout` of a duration: milliseconds while they fit eight digits, else seconds.
pub(super) fn write_grpc_timeout(left: Duration) -> String {
    let millis = left.as_millis();
    if millis < 100_000_000 { format!("{millis}m") } else { format!("{}S", left.as_secs()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grpc_timeout_is_read_in_every_unit_and_nonsense_is_none() {
        for (text, millis) in [("1H", 3_600_000), ("2M", 120_000), ("3S", 3_000), ("250m", 250)] {
            assert_eq!(grpc_timeout(text), Some(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(grpc_timeout("7u"), Some(Duration::from_micros(7)));
        assert_eq!(grpc_timeout("99999999n"), Some(Duration::from_nanos(99_999_999)));
        for text in ["", "m", "123456789m", "1x", "-1m", "1é"] {
            assert_eq!(grpc_timeout(text), None, "{text}");
        }
        assert_eq!(write_grpc_timeout(Duration::from_millis(1_500)), "1500m");
    }
}
