//! Names of the headers that calls and messages carry, in the lower case that HTTP/2 demands.

/// Public: the client's key for one request. Saga calls: the [`OperationKey`](crate::OperationKey).
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// `true` on a reply that was stored by an earlier request with the same key.
pub const IDEMPOTENT_REPLAYED: &str = "idempotent-replayed";
/// Fencing epoch of the caller; lower than one seen for the key is refused.
pub const SKEIN_EPOCH: &str = "skein-epoch";
/// Milliseconds left for the whole request; shrinks with each hop.
pub const SKEIN_DEADLINE_MS: &str = "skein-deadline-ms";
/// How many attempts lie above this one, so that nothing retries a retry.
pub const SKEIN_ATTEMPT: &str = "skein-attempt";
/// The short code of a refusal or an error, for those who do not read bodies.
pub const SKEIN_ERROR: &str = "skein-error";
/// Who asks, as the edge has found out: set by it alone, taken off whatever comes from outside.
pub const SKEIN_PRINCIPAL: &str = "skein-principal";
/// The roles of who asks, with commas between them.
pub const SKEIN_ROLES: &str = "skein-roles";
/// How far who asks reaches: `own`, `all` or `nothing`. The edge says it of every request.
pub const SKEIN_REACH: &str = "skein-reach";
/// The identity that a caller has shown at the proxy beside a service, which alone says it.
pub const SKEIN_CALLER: &str = "skein-caller";
/// W3C trace context: version, trace id, parent span id, flags.
pub const TRACEPARENT: &str = "traceparent";
/// W3C trace context: vendor state.
pub const TRACESTATE: &str = "tracestate";
/// W3C baggage; stripped where it comes from outside.
pub const BAGGAGE: &str = "baggage";
