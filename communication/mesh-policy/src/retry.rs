//! Retry: whether a request is tried again, when, and within which budget.
//!
//! A request is tried again if it may be ([`Repeatable`]), if another try can help, if tries, time
//! and budget are left, and if nobody else is doing it. It refuses to hedge, and to repeat on trust
//! what may have been done: a POST without a key and every call of a saga only when it provably was
//! not processed.
//!
//! **Nothing retries a retry.** Where each of three hops adds 20 % for itself, the last one gets
//! 1.2³ = 1.73 times the requests just when it is ill. Three rules keep it at 1.2:
//!
//! 1. Each try carries its depth, `Skein-Attempt` = depth of the request that it serves + tries
//!    before it. A request of a depth above 0 is tried once ([`StopReason::NestedRetry`]).
//! 2. Such a request is *charged* to the budget of the hop that it arrives at, as if that hop had
//!    retried ([`Budget::arrive`]). A hop so passes on its requests of depth 0 plus the larger of
//!    what arrives as a retry and its own 20 %, never the sum; over any number of hops that stays
//!    at 20 %. This bound needs nothing but the request header.
//! 3. A failed answer that a hop gives up on carries `Skein-Attempt` back, so that the hops above
//!    see that one nearer to the failure has decided ([`Failure::Judged`]) and leave it at that.
//!    Without it the bound holds as well, but the retries are made far from the failure and cost
//!    more work.
//!
//! In rule 2, a failure that moves from one hop to another may cost the new and the old 20 % within
//! one window; the seeded simulation in `tests/it/amplification.rs` states what it saw.

use std::time::Duration;

use base::{OperationKey, Random};

use crate::Moment;

mod budget;

pub use budget::Budget;

/// A Retry-After beyond this is not waited for, whatever the time left (Envoy: 300 s).
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// What a route says about retries: the `retry` member of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RouteRetry {
    /// Statuses that are tried again.
    pub codes: Vec<u16>,
    /// Extra tries; absent takes the destination's.
    pub attempts: Option<u32>,
    /// Shortest wait before another try.
    pub backoff: Option<Duration>,
    /// Our own: tries again whatever the method.
    pub is_idempotent: bool,
}

/// Settings of retries of one destination.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Extra tries.
    pub attempts: u32,
    /// Statuses that are tried again where the request may be.
    pub codes: Vec<u16>,
    /// Shortest first wait; the longest is twice that. Doubles with each try.
    pub backoff_initial: Duration,
    /// Longest wait.
    pub backoff_max: Duration,
    /// Bytes of a body that are kept for another try.
    pub body_bytes_max: usize,
    /// Retries as a share of requests.
    pub budget_ratio: f64,
    /// Time over which the share is counted.
    pub budget_window: Duration,
    /// Retries a second that are always there.
    pub budget_min_per_second: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            attempts: 2,
            codes: vec![502, 503, 504],
            backoff_initial: Duration::from_millis(25),
            backoff_max: Duration::from_millis(250),
            body_bytes_max: 64 << 10,
            budget_ratio: 0.2,
            budget_window: Duration::from_secs(10),
            budget_min_per_second: 10.0,
        }
    }
}

/// Whether a request may be sent twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeatable {
    /// Not at all.
    Never,
    /// Only when it provably was not processed.
    WhenUnprocessed,
    /// Once more does the same as once.
    Yes,
}

/// Whether a request may be sent twice. Methods: RFC 9110, 9.2.2.
#[must_use]
pub fn repeatable(
    method: &str,
    has_idempotency_key: bool,
    is_saga_operation: bool,
    route_says: bool,
) -> Repeatable {
    match method {
        // A tunnel has no end to repeat from.
        "CONNECT" => Repeatable::Never,
        // The saga counts its own tries and tells done from unknown; neither key nor route nor
        // method makes that the mesh's.
        _ if is_saga_operation => Repeatable::WhenUnprocessed,
        "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE" => Repeatable::Yes,
        _ if has_idempotency_key || route_says => Repeatable::Yes,
        _ => Repeatable::WhenUnprocessed,
    }
}

/// Whether a request is a saga's: its `Idempotency-Key` is an operation key, or it has a fencing
/// epoch (`Skein-Epoch`).
#[must_use]
pub fn is_saga_operation(idempotency_key: Option<&str>, has_epoch: bool) -> bool {
    has_epoch || idempotency_key.is_some_and(|it| it.parse::<OperationKey>().is_ok())
}

/// How a try failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Nobody has begun to work on it: connection refused, TLS failed, `REFUSED_STREAM`, `GOAWAY`
    /// with a last stream below its own, a pooled connection that was closed before a byte went out.
    Unprocessed,
    /// This status, by the hop that we called.
    Status(u16),
    /// This gRPC status, by the hop that we called; in headers or trailers.
    Grpc(u32),
    /// A failed answer that carries `Skein-Attempt`: a hop nearer to the failure has decided.
    Judged,
    /// The connection or stream broke after bytes were sent.
    Reset,
    /// The try took too long.
    TryTimeout,
}

/// What is known when a try has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Situation {
    /// Whether the request may be sent twice.
    pub repeatable: Repeatable,
    /// `Skein-Attempt` of the request that this one serves; 0 where it has none.
    pub depth: u32,
    /// Tries done so far, the failed one included.
    pub tries: u32,
    /// How it failed.
    pub failure: Failure,
    /// Whether the whole body is there to be sent again. True as well when none of it was taken.
    pub body_is_replayable: bool,
    /// Whether bytes of an answer went on to the caller.
    pub answer_begun: bool,
    /// What the answer's Retry-After asked for.
    pub retry_after: Option<Duration>,
    /// Time left for the whole request; `None` where nothing bounds it.
    pub time_left: Option<Duration>,
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Another try after this wait, elsewhere if there is an elsewhere. The budget has paid for it.
    Again {
        /// The wait.
        after: Duration,
    },
    /// The failure is the answer.
    Stop(StopReason),
}

/// Why there is no other try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StopReason {
    /// It may have been processed, and twice is not once.
    NotRepeatable,
    /// So many tries were made.
    AttemptsExhausted,
    /// So many retries were made by everybody together.
    BudgetExhausted,
    /// The wait would not end in time.
    NoTimeLeft,
    /// Its body is gone.
    BodyNotReplayable,
    /// It is a retry, or somebody nearer to the failure has decided.
    NestedRetry,
    /// Another try would get the same answer, or the answer is on its way.
    NotRetryable,
}

impl StopReason {
    /// Every reason.
    pub const ALL: [Self; 7] = [
        Self::NotRepeatable,
        Self::AttemptsExhausted,
        Self::BudgetExhausted,
        Self::NoTimeLeft,
        Self::BodyNotReplayable,
        Self::NestedRetry,
        Self::NotRetryable,
    ];

    /// The word in metric, log and header.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotRepeatable => "not_repeatable",
            Self::AttemptsExhausted => "retry_exhausted",
            Self::BudgetExhausted => "budget_exhausted",
            Self::NoTimeLeft => "no_time_left",
            Self::BodyNotReplayable => "body_not_replayable",
            Self::NestedRetry => "nested_retry",
            Self::NotRetryable => "not_retryable",
        }
    }
}

/// Whether and when a failed request is tried again. Takes from the budget only when it is.
pub fn decide(
    settings: &Settings,
    route: Option<&RouteRetry>,
    situation: &Situation,
    budget: &mut Budget,
    now: Moment,
    random: &mut Random,
) -> Decision {
    if let Some(reason) = obstacle(settings, route, situation) {
        return Decision::Stop(reason);
    }
    let asked = situation.retry_after.unwrap_or_default();
    let after = wait(settings, route, situation.tries, random).max(asked);
    if asked > RETRY_AFTER_MAX || situation.time_left.is_some_and(|left| after >= left) {
        return Decision::Stop(StopReason::NoTimeLeft);
    }
    if !budget.withdraw(now) {
        return Decision::Stop(StopReason::BudgetExhausted);
    }
    Decision::Again { after }
}

/// What forbids another try, whatever time and budget are left.
fn obstacle(
    settings: &Settings,
    route: Option<&RouteRetry>,
    situation: &Situation,
) -> Option<StopReason> {
    let codes = route.map(|it| &it.codes).filter(|it| !it.is_empty()).unwrap_or(&settings.codes);
    let can_help = match situation.failure {
        Failure::Judged => return Some(StopReason::NestedRetry),
        Failure::Status(status) => codes.contains(&status),
        Failure::Grpc(status) => http_status(status).is_some_and(|it| codes.contains(&it)),
        Failure::Unprocessed | Failure::Reset | Failure::TryTimeout => true,
    };
    let may_repeat = match situation.repeatable {
        Repeatable::Never => false,
        Repeatable::WhenUnprocessed => situation.failure == Failure::Unprocessed,
        Repeatable::Yes => true,
    };
    let attempts = route.and_then(|it| it.attempts).unwrap_or(settings.attempts);
    let facts = [
        (can_help && !situation.answer_begun, StopReason::NotRetryable),
        (may_repeat, StopReason::NotRepeatable),
        (situation.depth == 0, StopReason::NestedRetry),
        (situation.body_is_replayable, StopReason::BodyNotReplayable),
        (situation.tries <= attempts, StopReason::AttemptsExhausted),
    ];
    facts.into_iter().find(|(holds, _)| !holds).map(|(_, reason)| reason)
}

/// The HTTP status that means the same, so that one list of codes serves both. Source: the mapping
/// of `google.rpc.Code`.
const fn http_status(grpc: u32) -> Option<u16> {
    match grpc {
        4 => Some(504),
        8 => Some(429),
        2 | 13 | 15 => Some(500),
        14 => Some(503),
        _ => None,
    }
}

/// The wait before the next try: uniform between the doubled base and twice that, the whole range
/// below the cap. A draw that is capped afterwards would bring all of them back at the same time.
fn wait(
    settings: &Settings,
    route: Option<&RouteRetry>,
    tries: u32,
    random: &mut Random,
) -> Duration {
    let asked = route.and_then(|it| it.backoff);
    let initial = asked.unwrap_or(settings.backoff_initial).as_secs_f64();
    let longest =
        settings.backoff_max.as_secs_f64().max(asked.unwrap_or_default().as_secs_f64() * 2.0);
    let growth = 2_f64.powi(tries.saturating_sub(1).min(62).cast_signed());
    let shortest = (initial * growth).min(longest / 2.0);
    Duration::try_from_secs_f64(shortest * (1.0 + random.unit())).unwrap_or(settings.backoff_max)
}
