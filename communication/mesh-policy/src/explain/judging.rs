//! The codes of judging.

use super::Explanation;
use crate::schema::Code;

pub(super) const PAGES: &[Explanation] = &[
    Explanation {
        code: Code::UnreachableRule,
        title: "no request reaches this rule or match",
        meaning: "An earlier rule of the route has the same match, or a regular expression that \
                  takes every path goes before. A more specific match goes before a general one \
                  wherever it stands, so the order of rules decides only among equals.",
        fix: "Remove one of the two, or add what tells them apart: a method, a header.",
        example: "matches: [{path: {value: /orders}, headers: [{name: x-canary, value: always}]}]",
    },
    Explanation {
        code: Code::NoBackend,
        title: "the rule leads nowhere",
        meaning: "A rule without backends answers 500 to every request, as the Gateway API wants, \
                  unless it redirects.",
        fix: "Add `backendRefs` or a redirect.",
        example: "backendRefs: [{name: orders}]",
    },
    Explanation {
        code: Code::ZeroWeights,
        title: "the weights sum to zero",
        meaning: "The share of a backend is its weight by the sum of all; where that is zero \
                  nobody takes the request, and it is answered by 500.",
        fix: "Give at least one backend a weight above zero.",
        example: "backendRefs: [{name: orders-v1, weight: 100}, {name: orders-v2, weight: 0}]",
    },
    Explanation {
        code: Code::UnknownBackend,
        title: "nobody says where the service is",
        meaning: "Endpoints of other services are in the files, of this one they are not. Each \
                  request to it is answered by 503.",
        fix: "Correct the name, or add its Endpoints.",
        example: "kind: Endpoints\nmetadata: {name: orders}\nspec: {endpoints: [{address: \
                  127.0.0.1:9000}]}",
    },
    Explanation {
        code: Code::RetriesBeyondTimeout,
        title: "the retries do not fit into the request",
        meaning: "All tries together take longer than the request may. The last ones are cut off \
                  or never begin, so the retries that were asked for do not happen when they are \
                  needed.",
        fix: "Shorten `backendRequest`, lengthen `request`, or ask for fewer attempts.",
        example: "timeouts: {request: 10s, backendRequest: 3s}\nretry: {attempts: 2}",
    },
    Explanation {
        code: Code::UnsafeRetry,
        title: "what may not be repeated would be retried",
        meaning: "POST and PATCH are not idempotent (RFC 9110, 9.2.2): once more may do it twice. \
                  The mesh repeats them only with an Idempotency-Key or where provably nothing was \
                  processed, whatever the route says of codes.",
        fix: "Let clients send a key. If once more does the same as once, name the route in \
              `idempotentRoutes` of a TrafficPolicy.",
        example: "idempotentRoutes: [orders]",
    },
    Explanation {
        code: Code::OverlappingRoutes,
        title: "two routes are for the same requests",
        meaning: "Both have the same parent, host and match. The older one takes every request, \
                  among equally old ones the first by name; the other one looks as if it were in \
                  force.",
        fix: "Remove one, or tell them apart by host, path or header.",
        example: "hostnames: [orders.example.com]",
    },
    Explanation {
        code: Code::SunsetBeforeDeprecation,
        title: "the version ends before it is deprecated",
        meaning: "By RFC 9745 the sunset is never before the deprecation; clients that read both \
                  cannot plan.",
        fix: "Exchange the dates, or correct one.",
        example: "deprecation: 2026-01-01\nsunset: 2027-01-01",
    },
    Explanation {
        code: Code::UnknownRoute,
        title: "the route is in no file",
        meaning: "A rate limit or a fault is bound to a route that none of the files has, so it \
                  does nothing.",
        fix: "Correct the name, or analyze the file as well that has it. A route without namespace \
              is in `default`.",
        example: "targetRef: {kind: HTTPRoute, name: orders}",
    },
    Explanation {
        code: Code::FaultWithoutExpiry,
        title: "the fault stands for ever",
        meaning: "A fault without an end stays after the experiment is forgotten, and is then an \
                  outage.",
        fix: "Say how long it stands.",
        example: "expiresAfter: 10m",
    },
    Explanation {
        code: Code::BreakerNeverOpens,
        title: "nothing opens the breaker",
        meaning: "Failures in a row and the share of successes are both switched off, so an \
                  endpoint that fails keeps its traffic.",
        fix: "Set one of the two above zero, or leave the breaker out: its defaults open it.",
        example: "breaker: {consecutiveFailures: 7, successRateMin: 80%}",
    },
    Explanation {
        code: Code::PortTwice,
        title: "two listeners want one port",
        meaning: "Two doors of one proxy listen on the same address, or one of them on every \
                  address of the machine. The second cannot be opened, and the proxy does not \
                  start.",
        fix: "Give one of them another port.",
        example: "outbound: [{listen: 127.0.0.1:9101, service: stock}, {listen: 127.0.0.1:9102, \
                  service: prices}]",
    },
    Explanation {
        code: Code::RetriesWithoutTryTimeout,
        title: "nothing bounds one try",
        meaning: "Retries are asked for, but one try may take as long as the whole request. A \
                  backend that fails is tried again, one that hangs never.",
        fix: "Set `backendRequest` so that all tries fit into the request.",
        example: "timeouts: {request: 10s, backendRequest: 3s}",
    },
    Explanation {
        code: Code::DoorShut,
        title: "nobody may call the service",
        meaning: "The policies of the service have no rule, and what no rule allows is denied: every \
                  request at its door is answered by 403.",
        fix: "Add a rule for whoever is to call it. Where nobody is meant to, say so with a rule for \
              one caller that does nothing else.",
        example: "rules: [{callers: [spiffe://example.com/ns/shop/svc/till], methods: [GET]}]",
    },
    Explanation {
        code: Code::DoorOpen,
        title: "every known caller may do everything",
        meaning: "The rule names neither callers nor methods nor paths, so one service that was taken \
                  over can do at this one whatever it likes.",
        fix: "Name the callers, or what everybody may do.",
        example: "rules: [{callers: [\"*\"], methods: [GET], paths: [/api/items/{id}]}]",
    },
    Explanation {
        code: Code::RepeatedCondition,
        title: "the condition is not looked at",
        meaning: "Two conditions of one match name the same header or parameter. The first counts, as \
                  the Gateway API has it, so requests pass that the second was to keep out.",
        fix: "Take one of them away. For either value write two matches; for both write one regular \
              expression.",
        example: "matches: [{headers: [{name: tier, value: gold}]}, {headers: [{name: tier, value: \
                  silver}]}]",
    },
    Explanation {
        code: Code::NoTimeout,
        title: "nothing bounds a call",
        meaning: "Both time-outs are zero, which is none: a callee that hangs holds its callers until \
                  their own deadline, where they have one, and no breaker ever hears of it.",
        fix: "Set `request`. For answers that stream for hours it may be long.",
        example: "timeouts: {request: 1h, backendRequest: 0s}",
    },
];
