//! What a call's end means: done, rejected or unknown, by one table.
//!
//! | end of the call | verdict | counts against | what it says about the effect |
//! |---|---|---|---|
//! | a success status, and the reply says what is expected | done | | applied |
//! | a success status, and the reply says otherwise | non-transient | | answered |
//! | 409 `stale_epoch` | the owner stops itself | | |
//! | 503, 429, a problem with `retryable: true` | transient | complete-by | 503: answered; else untouched |
//! | 504 `deadline_expired` | transient | complete-by | untouched |
//! | no time left before sending | transient | complete-by | unsent |
//! | 408 | transient | attempts | answered |
//! | 502, 504 | transient | attempts | silent |
//! | held back by the mesh, which is full or knows nobody to ask | transient | complete-by | unsent |
//! | not connected, held back otherwise, lost before anything was sent | transient | attempts | unsent |
//! | timed out | transient | attempts | silent |
//! | connection lost after the request was sent | unknown | attempts | silent |
//! | 500, any other 5xx, 1xx, 3xx | non-transient | | answered |
//! | any other 4xx | non-transient | | untouched |
//!
//! Two limits, because there are two reasons to wait. A service that *answers* that it is busy asks
//! for patience, and so does one of which no instance can be asked now, because it is being started or
//! its breakers are open: only the saga's complete-by ends that. Such answers come at once, and attempts
//! would be over before anybody could be there. A call that *fails* is tried `attempts_max` times. An undo has no complete-by, so there every failure counts.
//!
//! *Untouched* is provable: the step is not put in doubt. *Unsent* is more: no service saw the call, so that even
//! the pivot leaves nothing to undo. *Silent* means that the effect may have
//! happened or may still happen; a pivot in that state is repeated until somebody answers.

use std::time::Duration;

use base::{Code, FailureClass, is_printable};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::definition::Call;

/// How one call ended, as the transport saw it.
#[derive(Debug, Clone, PartialEq)]
pub enum CallResult {
    /// The service, or somebody on the way to it, answered.
    Replied(Reply),
    /// No connection could be made, or the mesh held the call back: provably unprocessed.
    Refused {
        /// Why, in the word of whoever kept it.
        code: Code,
    },
    /// No answer in time.
    TimedOut,
    /// The connection broke.
    ConnectionLost {
        /// Whether any byte of the request had left.
        sent: bool,
    },
    /// No time was left, so nothing was sent.
    DeadlineExpired,
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// The `Retry-After` header.
    pub retry_after: Option<Duration>,
    /// Member `code` of a problem document.
    pub code: Option<String>,
    /// Member `retryable` of a problem document.
    pub retryable: bool,
    /// The JSON body; null when there is none.
    pub body: Value,
}

impl CallResult {
    /// Nobody listens where the service should be.
    pub const REFUSED: Self = Self::Refused { code: Code::UpstreamUnavailable };

    /// An answer with a status and a body and nothing else.
    #[must_use]
    pub fn replied(status: u16, body: Value) -> Self {
        Self::Replied(Reply { status, retry_after: None, code: None, retryable: false, body })
    }

    /// A problem document: `code` and whether the same call may succeed later.
    #[must_use]
    pub fn problem(status: u16, code: impl Into<String>, retryable: bool) -> Self {
        let code = Some(code.into());
        Self::Replied(Reply { status, retry_after: None, code, retryable, body: Value::Null })
    }

    /// The same answer with a `Retry-After`. Does nothing to what is not an answer.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        if let Self::Replied(reply) = &mut self {
            reply.retry_after = Some(wait);
        }
        self
    }
}

/// What the end of a call says about the effect at the service, from harmless to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// Provably nothing happened.
    #[default]
    Untouched,
    /// The service answered that it failed; something may have been left behind.
    Answered,
    /// Nobody answered: the effect may have happened, or may still happen.
    Silent,
}

/// Which limit ends the patience with a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Patience {
    /// It is one of `attempts_max`.
    Attempts,
    /// The service asked to wait, or none of its instances could be asked; only the saga's complete-by
    /// ends that.
    CompleteBy,
}

/// A failed call, judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The article's class.
    pub class: FailureClass,
    /// What it says about the effect.
    pub evidence: Evidence,
    /// Whether no service can have seen the call.
    pub unsent: bool,
    /// Which limit it counts against.
    pub patience: Patience,
    /// Whether the service has decided, so that asking again gives the same answer.
    pub refused: bool,
    /// Short reason code.
    pub code: String,
    /// Text for people: member `detail` of a problem document, cut to 300 characters.
    pub detail: Option<String>,
    /// How long the service asked to wait at least.
    pub retry_after: Option<Duration>,
}

/// What the end of a call means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is done.
    Done,
    /// It is not done, or nobody knows.
    Failed(Failure),
    /// A higher epoch was seen: the caller is no longer the owner and must stop itself.
    StaleEpoch,
}

/// Judges the end of a call by the table above.
#[must_use]
pub fn classify(call: &Call, result: &CallResult) -> Verdict {
    match result {
        CallResult::Replied(reply) => judge(call, reply),
        CallResult::Refused { code } => {
            // What the service itself says when it is full, from before its door; or nobody is behind it.
            let asks_to_wait = matches!(
                code,
                Code::Overloaded | Code::RateLimited | Code::NoEndpoint | Code::BreakerOpen
            );
            let limit = if asks_to_wait { Patience::CompleteBy } else { Patience::Attempts };
            unsent(code.as_str(), limit)
        }
        CallResult::TimedOut => {
            Verdict::Failed(failure("timed_out", Evidence::Silent, Patience::Attempts))
        }
        CallResult::ConnectionLost { sent: false } => unsent("connection_lost", Patience::Attempts),
        CallResult::ConnectionLost { sent: true } => Verdict::Failed(Failure {
            class: FailureClass::Unknown,
            ..failure("connection_lost", Evidence::Silent, Patience::Attempts)
        }),
        CallResult::DeadlineExpired => unsent(Code::DeadlineExpired.as_str(), Patience::CompleteBy),
    }
}

fn judge(call: &Call, reply: &Reply) -> Verdict {
    if call.is_success(reply.status) {
        return expected(call, reply);
    }
    let code = reply.code.clone().unwrap_or_else(|| format!("http_{}", reply.status));
    let is = |it: Code| code == it.as_str();
    if reply.status == 409 && is(Code::StaleEpoch) {
        return Verdict::StaleEpoch;
    }
    let busy = |evidence| failure(&code, evidence, Patience::CompleteBy);
    let judged = match reply.status {
        504 if is(Code::DeadlineExpired) => busy(Evidence::Untouched),
        503 => busy(Evidence::Answered),
        429 => busy(Evidence::Untouched),
        408 => failure(&code, Evidence::Answered, Patience::Attempts),
        502 | 504 => failure(&code, Evidence::Silent, Patience::Attempts),
        400..500 if reply.retryable => busy(Evidence::Untouched),
        status => {
            let refused = (400..500).contains(&status);
            let evidence = if refused { Evidence::Untouched } else { Evidence::Answered };
            let class = FailureClass::NonTransient;
            Failure { class, refused, ..failure(&code, evidence, Patience::Attempts) }
        }
    };
    let (detail, retry_after) = (detail_of(reply), reply.retry_after);
    Verdict::Failed(Failure { detail, retry_after, ..judged })
}

/// Characters of a text of others that are kept.
const DETAIL_CHARS_MAX: usize = 300;

/// What a service says to people about its refusal, where it says it in a problem document.
fn detail_of(reply: &Reply) -> Option<String> {
    reply.code.as_ref()?;
    let detail = reply.body.get("detail")?.as_str()?;
    let kept = detail.chars().filter(|it| is_printable(*it)).take(DETAIL_CHARS_MAX);
    Some(kept.collect()).filter(|it: &String| !it.is_empty())
}

fn expected(call: &Call, reply: &Reply) -> Verdict {
    let Some(expect) = &call.expect else { return Verdict::Done };
    if reply.body.pointer(&expect.pointer) == Some(&expect.equals) {
        return Verdict::Done;
    }
    Verdict::Failed(Failure {
        class: FailureClass::NonTransient,
        refused: true,
        ..failure(&expect.otherwise, Evidence::Answered, Patience::Attempts)
    })
}

/// The call never left.
fn unsent(code: &str, patience: Patience) -> Verdict {
    let failure = failure(code, Evidence::Untouched, patience);
    Verdict::Failed(Failure { unsent: true, ..failure })
}

fn failure(code: &str, evidence: Evidence, patience: Patience) -> Failure {
    let class = FailureClass::Transient;
    let code = code.to_owned();
    let (unsent, refused, detail, retry_after) = (false, false, None, None);
    Failure { class, evidence, unsent, patience, refused, code, detail, retry_after }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(result: &CallResult, class: FailureClass, evidence: Evidence, patience: Patience) {
        let Verdict::Failed(failure) = classify(&Call::put("/x"), result) else {
            panic!("{result:?} is not a failure")
        };
        assert_eq!(
            (failure.class, failure.evidence, failure.patience),
            (class, evidence, patience),
            "{result:?}"
        );
    }

    use Evidence::{Answered, Silent, Untouched};
    use FailureClass::{NonTransient, Transient, Unknown};
    use Patience::{Attempts, CompleteBy};

    #[test]
    fn what_a_service_says_of_its_refusal_is_kept_within_a_bound() {
        let says = |code: Option<&str>, body: Value| {
            let retry_after = None;
            let code = code.map(str::to_owned);
            let reply = Reply { status: 409, retry_after, code, retryable: false, body };
            match classify(&Call::put("/x"), &CallResult::Replied(reply)) {
                Verdict::Failed(failure) => failure.detail,
                other => panic!("{other:?} is not a failure"),
            }
        };
        let late = Some("past_deadline");
        assert_eq!(says(late, json!({"detail": "at\nten"})).as_deref(), Some("atten"));
        assert_eq!(says(late, json!({"detail": "x".repeat(5_000)})).unwrap().len(), 300);
        assert_eq!(says(late, json!({"detail": 7})), None);
        assert_eq!(says(late, Value::Null), None);
        assert_eq!(says(None, json!({"detail": "no problem document"})), None);
    }

    #[test]
    fn a_call_that_could_not_be_made_is_transient_and_leaves_no_doubt() {
        check(&CallResult::REFUSED, Transient, Untouched, Attempts);
        check(&CallResult::ConnectionLost { sent: false }, Transient, Untouched, Attempts);
        check(&CallResult::DeadlineExpired, Transient, Untouched, CompleteBy);
    }

    #[test]
    fn a_call_that_the_mesh_keeps_is_unsent_and_asks_for_patience_where_nobody_can_take_it() {
        for (code, patience) in [
            (Code::UpstreamUnavailable, Attempts),
            (Code::BreakerOpen, CompleteBy),
            (Code::NoEndpoint, CompleteBy),
            (Code::Overloaded, CompleteBy),
            (Code::RateLimited, CompleteBy),
        ] {
            let kept = classify(&Call::put("/x"), &CallResult::Refused { code });
            let Verdict::Failed(failure) = kept else { panic!("{code:?} is no failure") };
            assert_eq!((&*failure.code, failure.patience), (code.as_str(), patience));
            assert!(failure.unsent);
        }
        let busy = classify(&Call::put("/x"), &CallResult::replied(503, Value::Null));
        assert!(matches!(busy, Verdict::Failed(Failure { unsent: false, .. })));
    }

    #[test]
    fn a_call_that_nobody_answered_leaves_the_step_in_doubt() {
        check(&CallResult::TimedOut, Transient, Silent, Attempts);
        check(&CallResult::ConnectionLost { sent: true }, Unknown, Silent, Attempts);
        check(&CallResult::replied(502, Value::Null), Transient, Silent, Attempts);
        check(&CallResult::replied(504, Value::Null), Transient, Silent, Attempts);
    }

    #[test]
    fn a_busy_service_is_waited_for_until_complete_by() {
        check(&CallResult::replied(503, Value::Null), Transient, Answered, CompleteBy);
        check(&CallResult::replied(429, Value::Null), Transient, Untouched, CompleteBy);
        check(&CallResult::problem(409, "none_free", true), Transient, Untouched, CompleteBy);
        let expired = CallResult::problem(504, "deadline_expired", true);
        check(&expired, Transient, Untouched, CompleteBy);
    }

    #[test]
    fn an_unhandled_exception_or_a_refusal_gets_no_second_call() {
        check(&CallResult::replied(500, Value::Null), NonTransient, Answered, Attempts);
        check(&CallResult::problem(500, "internal", true), NonTransient, Answered, Attempts);
        check(&CallResult::replied(404, Value::Null), NonTransient, Untouched, Attempts);
        check(&CallResult::problem(409, "undone", false), NonTransient, Untouched, Attempts);
    }

    #[test]
    fn a_stale_epoch_stops_the_owner_and_an_other_conflict_does_not() {
        let stale = CallResult::problem(409, "stale_epoch", false);
        assert_eq!(classify(&Call::put("/x"), &stale), Verdict::StaleEpoch);
    }

    #[test]
    fn a_reply_that_says_otherwise_is_a_rejection_with_the_given_code() {
        let call = Call::get("/x").expect("/active", true, "suspended");
        let active = CallResult::replied(200, json!({"active": true}));
        assert_eq!(classify(&call, &active), Verdict::Done);
        for body in [json!({"active": false}), json!({}), Value::Null] {
            let Verdict::Failed(failure) = classify(&call, &CallResult::replied(200, body)) else {
                panic!("accepted")
            };
            assert_eq!((failure.class, failure.code.as_str()), (NonTransient, "suspended"));
        }
    }

    #[test]
    fn a_definition_may_name_its_own_successes() {
        let call = Call::delete("/x").success([204, 404]);
        assert_eq!(classify(&call, &CallResult::replied(404, Value::Null)), Verdict::Done);
        assert_ne!(classify(&call, &CallResult::replied(200, Value::Null)), Verdict::Done);
    }

    #[test]
    fn a_wish_to_wait_is_kept() {
        let busy = CallResult::replied(503, Value::Null).retry_after(Duration::from_secs(7));
        let Verdict::Failed(failure) = classify(&Call::put("/x"), &busy) else { panic!("done") };
        assert_eq!(failure.retry_after, Some(Duration::from_secs(7)));
    }
}
