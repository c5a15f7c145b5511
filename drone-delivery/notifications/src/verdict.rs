//! What became of a try, and when the next one is due. Pure: time and chance come in.

use std::time::Duration;

use base::Timestamp;

use crate::config::Patience;

/// What became of one try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Taken.
    Sent,
    /// Not taken, and may be later. Why, without an address.
    Later(String),
    /// The address does not exist or refuses us for good.
    Bounced(String),
    /// It will never be taken as it is.
    Refused(String),
}

/// When the next try is due after `attempts` that failed; none when it is given up.
pub(crate) fn next_try(
    patience: &Patience,
    attempts: u32,
    since: Timestamp,
    now: Timestamp,
    unit: f64,
) -> Option<Timestamp> {
    if attempts >= patience.attempts_max {
        return None;
    }
    let ceiling = patience.backoff().ceiling(attempts);
    // Half of it at the least: a provider that is down is not asked at once again.
    let wait = ceiling / 2 + (ceiling / 2).mul_f64(unit.clamp(0.0, 1.0));
    let next = now + wait;
    let deadline = since + Duration::from_secs(u64::from(patience.give_up_after_s));
    (next < deadline).then_some(next)
}

/// What a status of HTTP says about a try. Whose address it was is the only thing that can bounce.
pub(crate) fn of_status(status: u16, is_personal: bool) -> Verdict {
    let text = format!("status {status}");
    match status {
        200..=299 => Verdict::Sent,
        // Ours to mend (401, 403), or theirs; the message is as good as before.
        401 | 403 | 408 | 425 | 429 | 500.. => Verdict::Later(text),
        404 | 410 | 422 if is_personal => Verdict::Bounced(text),
        _ => Verdict::Refused(text),
    }
}

/// What a reply code of SMTP (RFC 5321 4.2) says: 550, 551 and 553 are about the recipient.
pub(crate) fn of_smtp(code: u16) -> Verdict {
    let text = format!("the mail server says {code}");
    match code {
        200..=399 => Verdict::Sent,
        550 | 551 | 553 => Verdict::Bounced(text),
        // 552 and 554 are about the mail; others of 5xx about how we log in, which can be mended.
        552 | 554 => Verdict::Refused(text),
        _ => Verdict::Later(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patience() -> Patience {
        Patience {
            attempts_max: 4,
            first_wait_ms: 1_000,
            wait_ms_max: 5_000,
            give_up_after_s: 60,
            ..Patience::default()
        }
    }

    #[track_caller]
    fn check(attempts: u32, at_ms: i64, unit: f64, expected_ms: Option<i64>) {
        let now = Timestamp::from_millis(at_ms);
        let next = next_try(&patience(), attempts, Timestamp::from_millis(0), now, unit);
        assert_eq!(next.map(Timestamp::as_millis), expected_ms, "{attempts} tries at {at_ms}");
    }

    #[test]
    fn waits_grow_from_half_a_ceiling_to_the_cap_and_end_with_the_tries() {
        check(1, 0, 0.0, Some(500));
        check(1, 0, 1.0, Some(1_000));
        check(2, 0, 1.0, Some(3_000));
        check(3, 0, 1.0, Some(5_000));
        check(4, 0, 1.0, None);
    }

    #[test]
    fn nothing_is_tried_past_the_deadline() {
        check(1, 58_000, 1.0, Some(59_000));
        check(1, 59_500, 1.0, None);
    }

    #[test]
    fn only_what_is_about_the_recipient_bounces() {
        assert!(matches!(of_smtp(550), Verdict::Bounced(_)));
        assert!(matches!(of_smtp(535), Verdict::Later(_)), "a wrong password can be mended");
        assert!(matches!(of_smtp(451), Verdict::Later(_)));
        assert!(matches!(of_smtp(554), Verdict::Refused(_)));
        assert!(matches!(of_status(404, true), Verdict::Bounced(_)));
        assert!(matches!(of_status(404, false), Verdict::Refused(_)));
        assert!(matches!(of_status(503, true), Verdict::Later(_)));
        assert_eq!(of_status(202, true), Verdict::Sent);
    }
}
