//! The reasons of refusals, which a caller reads in `skein-error`, in `details` of `Proxy-Status` and
//! in the body, and operators in metrics, traces and logs.

use std::fmt;

use base::Code;

use crate::retry::StopReason;

/// What there is to say about a reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The word.
    pub code: &'static str,
    /// What the caller is answered with; `None` where the reason is told to operators alone.
    pub answer: Option<Code>,
    /// The metric that counts it, where nothing else tells of it.
    pub metric: Option<&'static str>,
    /// What it means.
    pub meaning: &'static str,
    /// Where to look, and what to do.
    pub fix: &'static str,
}

impl Reason {
    /// What a caller sees, in one line.
    #[must_use]
    pub fn title(&self) -> String {
        let Some(code) = self.answer else {
            return format!("in metrics alone: {}", self.metric.unwrap_or_default());
        };
        let again = if code.is_retryable() { "may work later, unchanged" } else { "fails again" };
        let wait = code.retry_after().map(|it| format!(", Retry-After {} s", it.as_secs()));
        format!("status {}, {again}{}", code.status(), wait.unwrap_or_default())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, meaning, fix, .. } = self;
        writeln!(out, "{code}: {}\n\n{meaning}\n\n{fix}", self.title())
    }
}

/// The page of a reason, such as `no_endpoint`, in any case.
#[must_use]
pub fn reason(word: &str) -> Option<Reason> {
    let is_it = |it: &str| it.eq_ignore_ascii_case(word.trim());
    let code = Code::ALL.iter().find(|it| is_it(it.as_str())).map(|it| of_code(*it));
    let stop = || StopReason::ALL.iter().find(|it| is_it(it.as_str())).map(|it| of_stop(*it));
    let end = || ENDS.into_iter().find(|(it, ..)| is_it(it)).map(of_end);
    code.or_else(stop).or_else(end)
}

/// Every word that has a page.
pub fn reasons() -> impl Iterator<Item = &'static str> {
    let codes = Code::ALL.iter().map(|it| it.as_str());
    let stops = StopReason::ALL.iter().map(|it| it.as_str());
    codes.chain(stops).chain(ENDS.iter().map(|it| it.0))
}

fn of_code(code: Code) -> Reason {
    let (meaning, fix) = match code {
        Code::NoRoute
        | Code::NoEndpoint
        | Code::BreakerOpen
        | Code::RateLimited
        | Code::Overloaded
        | Code::PlantedFault
        | Code::Unauthenticated
        | Code::Forbidden
        | Code::TlsRequired
        | Code::DeadlineExpired => of_decision(code),
        Code::UpstreamUnavailable
        | Code::DependencyUnavailable
        | Code::IdentityRefused
        | Code::UpstreamTimeout
        | Code::UpstreamReset
        | Code::UpstreamMalformed => of_endpoint(code),
        Code::InvalidRequest
        | Code::BodyTooLarge
        | Code::UnsupportedMediaType
        | Code::HeadTooLarge
        | Code::TargetTooLong
        | Code::RequestTimeout => of_request(code),
        Code::NotFound
        | Code::MethodNotAllowed
        | Code::Conflict
        | Code::Undone
        | Code::StaleEpoch
        | Code::BodyMismatch
        | Code::InProgress
        | Code::Backlog
        | Code::LogUnavailable
        | Code::StoreUnavailable
        | Code::Internal => of_service(code),
    };
    Reason { code: code.as_str(), answer: Some(code), metric: None, meaning, fix }
}

/// What the mesh decides before an endpoint has seen the request.
const fn of_decision(code: Code) -> (&'static str, &'static str) {
    match code {
        Code::NoRoute => (
            "No rule of the door takes the request. A service with routes is called by these alone, \
             and at an edge what no route names does not exist. 421 instead of 404 says that the \
             host is none of the edge's.",
            "`why SERVICE METHOD PATH`, with `--edge NAME` for a call from outside, lists each rule \
             with what it lacks; `routes` lists them all.",
        ),
        Code::NoEndpoint => (
            "No instance of the service is listed: the name is wrong, or none of them runs and is \
             ready.",
            "`endpoints` shows who is known. Beside a program of its own, see the \
             Endpoints in the `files` of its Proxy.",
        ),
        Code::BreakerOpen => (
            "Every instance of the service failed so often in a row, or so large a share of its \
             answers, that nobody is sent to it until a probe succeeds.",
            "Mend the service: its own log says why it fails. `endpoints SERVICE` shows each breaker \
             and when its next probe goes; `breaker` in its TrafficPolicy says when one opens.",
        ),
        Code::Unauthenticated => (
            "An edge asks who calls, and nobody is known by what the request shows: no credential, several, \
             or one that is not good. The caller is told nothing further.",
            "`mesh_unauthenticated_requests_total` counts by reason. A request carries one \
             `Authorization: Bearer` with a key (`key list`), or with a token of an issuer that an EdgeAccess \
             names.",
        ),
        Code::Forbidden => (
            "No Authorization of the service has a rule that allows this caller to do that, or at an edge no \
             EdgeAccess allows it to one of his roles. At a service `detail` of the \
             answer says how near it came: `no_policy`, `no_identity`, `caller_not_allowed`, \
             `path_not_allowed` or `method_not_allowed_for_caller`. The service did not see the request.",
            "`why SERVICE METHOD PATH --from CALLER` names the rule that decides; `mesh_denied_requests_total` \
             counts. Add a rule, or `mode: audit` to let everybody through and count.",
        ),
        Code::TlsRequired => (
            "The plain port of an edge that answers over TLS alone: what came shows a credential, or is no \
             question, so that it is not sent on to the other port. Who was on the way has read it.",
            "Ask by `https`. Take a key back that was sent so (`key revoke`): it is not secret any more. \
             `mesh_plain_requests_total` counts.",
        ),
        Code::RateLimited => (
            "The caller asked more often than a RateLimit allows. `RateLimit-Policy` in the answer \
             names the limit, `Retry-After` when the next request is free.",
            "Ask less often, or raise `requests` or `burst` of that limit.",
        ),
        Code::Overloaded => (
            "All places for requests at a time are taken, and so is the queue behind them, or the \
             wait in it was too long. At an edge the status is 429.",
            "Come back later. `in_flight` in `/endpoints` shows how full it is; `concurrency` in the \
             TrafficPolicy of the service says how many may be there.",
        ),
        Code::PlantedFault => (
            "An operator planted a fault that hits a share of the calls; its status may be another \
             one.",
            "`fault list` shows it, those of files (of kind Fault) as well; `fault clear` takes it away. \
             A planted one ends by itself.",
        ),
        _ => (
            "The time that the caller gives, in `skein-deadline-ms` or `grpc-timeout`, or that the \
             route allows, was over before anything was sent.",
            "Look for the hop that used the time up: `trace`, or `latency_ms` of `tap`. Give more \
             time where the work needs it.",
        ),
    }
}

/// What became of tries.
const fn of_endpoint(code: Code) -> (&'static str, &'static str) {
    match code {
        Code::UpstreamUnavailable => (
            "No connection to an instance could be opened, or it closed the connection before it \
             read the request. No instance has seen it, however often it was tried.",
            "See whether the instance runs and listens where Endpoints says, and whether \
             `timeouts.connect` is long enough.",
        ),
        Code::DependencyUnavailable => (
            "The service runs, and a server outside that it has to ask for this request does not answer. It \
             says so itself: its breaker stays closed, since what needs nobody outside goes on.",
            "See the log of the service for who was asked; the same request may succeed later.",
        ),
        Code::IdentityRefused => (
            "The instance did not prove to be who its Endpoints say, or did not take us for who we are, or \
             we have no identity to show. No request was sent, however often it was tried.",
            "`identity_refused_handshakes_total` counts the reason on each side. See `identity` in its \
             Endpoints, whether both clocks are right, and whether the authority runs: an identity that \
             is over is not renewed without it.",
        ),
        Code::UpstreamTimeout => (
            "The request was sent and no answer came in time. The service may have done the work: a \
             request that is not idempotent is not repeated.",
            "See what the service waits for. `timeouts.backendRequest` bounds one try, \
             `timeouts.request` all of them.",
        ),
        Code::UpstreamReset => (
            "The connection ended after the request was sent and before its answer was there. The \
             service may have done the work.",
            "See whether the instance was ended or crashed: stop the proxy beside it first, then \
             the program.",
        ),
        _ => (
            "What the instance answered is not HTTP as the standard has it, or is another protocol.",
            "See `protocol` in its Endpoints: `http`, `h2c` or `tcp`. The detail of the answer names \
             what was wrong.",
        ),
    }
}

/// What is wrong with the request.
const fn of_request(code: Code) -> (&'static str, &'static str) {
    match code {
        Code::InvalidRequest => (
            "The request is malformed or can be read in two ways: a bad field, a bad length, a path \
             that hides a slash or a dot segment, a member of the body that is missing.",
            "Mend the client; the detail of the answer names what was wrong.",
        ),
        Code::BodyTooLarge => (
            "The body is longer than the limit, 1 MiB where nothing else is said.",
            "Send less, or in pieces.",
        ),
        Code::UnsupportedMediaType => (
            "The body is of a form that is not read at this path.",
            "Send `content-type: application/json`, or what the service's document names.",
        ),
        Code::HeadTooLarge => (
            "The head is longer than 32 KiB or has more than 100 fields.",
            "Look for a cookie or token that grew.",
        ),
        Code::TargetTooLong => {
            ("The request target is longer than 8 KiB.", "Send what is long in the body.")
        }
        _ => (
            "The head was not there within 10 s, or no piece of the body came for 10 s.",
            "Look at the network of the client; a client that opens connections ahead may meet this \
             without harm.",
        ),
    }
}

/// What a service says by itself.
const fn of_service(code: Code) -> (&'static str, &'static str) {
    match code {
        Code::NotFound => ("Nothing stands under that name.", "Correct the name."),
        Code::MethodNotAllowed => {
            ("The path is served, the method is not.", "`Allow` in the answer lists the methods.")
        }
        Code::Conflict => (
            "The thing stands so that the operation may not be done.",
            "Read where it stands; the detail of the answer says what forbids it.",
        ),
        Code::Undone => (
            "The operation was undone before it was asked for: its order came late.",
            "Nothing is to be done; the transaction goes on without it.",
        ),
        Code::StaleEpoch => (
            "Another instance has taken the transaction over; the caller's epoch is lower than one \
             that was seen.",
            "Nothing is to be done: the caller stops itself and the new owner goes on.",
        ),
        Code::BodyMismatch => (
            "The idempotency key was used before with another body.",
            "Take a new key for each new request, and the same key only for the same bytes.",
        ),
        Code::InProgress => (
            "A request with this idempotency key is being served right now.",
            "Wait, and ask again with the same key.",
        ),
        Code::Backlog => (
            "More requests wait than may.",
            "Come back after `Retry-After`; see the lag of the consumers.",
        ),
        Code::LogUnavailable => (
            "The log takes no records, so nothing can be accepted.",
            "See whether the log runs and whether its disk is full.",
        ),
        Code::StoreUnavailable => (
            "The database of the service takes no writes.",
            "See whether its disk is full and what the service's log says.",
        ),
        _ => (
            "A defect of the program, or a rule that leads nowhere.",
            "See the log of the process that answered; `analyze` finds rules without backends.",
        ),
    }
}

/// Why connections ended, with what it means and what to do.
const ENDS: [(&str, &str, &str); 4] = [
    (
        "client_gone",
        "An HTTP/1 client closed its connection before the head of its answer was there; the call \
         behind was cancelled.",
        "See how long the client waits, and which requests take longer: `stat` shows p99.",
    ),
    (
        "tunnel_idle",
        "A WebSocket or a TCP connection was ended because nothing passed in it for \
         `timeouts.tunnelIdle` of its service, an hour where nothing is said.",
        "Let the programs send something now and then, or set `tunnelIdle` in the TrafficPolicy of \
         the service; `0s` is for ever.",
    ),
    (
        "head_timeout",
        "A client had not sent the whole head of a request in time.",
        "Look at the network of the client; one that opens connections ahead may meet this without \
         harm.",
    ),
    (
        "gave_way",
        "All places for connections were taken, and this one, which waited for its next request, \
         made room for a new one.",
        "Nothing is to be done unless it grows: then clients keep more connections than they use.",
    ),
];

const fn of_end((code, meaning, fix): (&'static str, &'static str, &'static str)) -> Reason {
    let metric = Some("mesh_connections_ended_total");
    Reason { code, answer: None, metric, meaning, fix }
}

fn of_stop(reason: StopReason) -> Reason {
    let (meaning, fix) = match reason {
        StopReason::NotRepeatable => (
            "The request may have been processed, and it is none that may be repeated: no GET, PUT \
             or the like, without an Idempotency-Key.",
            "Let clients send `Idempotency-Key`, or name the route in `idempotentRoutes`.",
        ),
        StopReason::AttemptsExhausted => (
            "As many further tries were made as may be.",
            "See why every one failed; `retry.attempts` says how many are made.",
        ),
        StopReason::BudgetExhausted => (
            "All callers together had used the budget of retries up, so that retries do not drown a \
             service that fails.",
            "See why so much fails; `retry.budgetRatio` and `budgetMinPerSecond` say how much may be.",
        ),
        StopReason::NoTimeLeft => (
            "The wait before the next try would not have ended in time.",
            "Shorten `timeouts.backendRequest`, so that a try that hangs leaves time for another.",
        ),
        StopReason::BodyNotReplayable => (
            "The body was too long to be kept for another try.",
            "Raise `retry.bodyBytesMax` where memory allows.",
        ),
        StopReason::NestedRetry => (
            "The request is a retry itself, or a hop nearer to the failure has decided: nothing \
             retries a retry.",
            "Nothing is to be done.",
        ),
        StopReason::NotRetryable => (
            "Another try would get the same answer, or the answer is on its way already.",
            "Nothing is to be done; statuses that are tried again stand in `retry.codes`.",
        ),
    };
    let metric = Some("mesh_retries_withheld_total");
    Reason { code: reason.as_str(), answer: None, metric, meaning, fix }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_page_of_its_own() {
        let mut meanings = std::collections::BTreeSet::new();
        for word in reasons() {
            let page = reason(word).unwrap_or_else(|| panic!("no page for {word}"));
            assert_eq!(page.code, word);
            assert!(!page.fix.is_empty() && meanings.insert(page.meaning), "{word}");
        }
    }

    #[test]
    fn a_page_says_what_the_caller_sees() {
        let page = reason(" No_Endpoint ").unwrap();
        assert_eq!(page.title(), "status 503, may work later, unchanged, Retry-After 1 s");
        let title = |word| reason(word).unwrap().title();
        assert_eq!(title("budget_exhausted"), "in metrics alone: mesh_retries_withheld_total");
        assert_eq!(title("client_gone"), "in metrics alone: mesh_connections_ended_total");
        assert_eq!(reason("no_idea"), None);
    }
}
