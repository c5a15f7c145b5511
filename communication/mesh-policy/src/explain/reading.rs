//! The codes of reading.

use super::Explanation;
use crate::schema::Code;

pub(super) const PAGES: &[Explanation] = &[
    Explanation {
        code: Code::Syntax,
        title: "the text is no YAML",
        meaning: "The scanner met something that YAML 1.2 has no place for. What stands behind it \
                  in this file was not read, so more errors may follow once it is mended.",
        fix: "Look at the place and just before it: a tab as indent, a bracket or quote that is \
              not closed, a colon without a space.",
        example: "spec: {endpoints: []}     # not: spec: {endpoints: []",
    },
    Explanation {
        code: Code::FileTooLarge,
        title: "the file is too large",
        meaning: "A policy file has at most 1 MiB. A larger one is refused unread, so that a wrong \
                  path does not fill memory.",
        fix: "Split the file; any number of files is read as one policy.",
        example: "files: [routes.yaml, endpoints.yaml]",
    },
    Explanation {
        code: Code::UnknownMember,
        title: "nobody reads this member",
        meaning: "The member is none of those that may stand here. It is refused rather than \
                  passed over: its author expects an effect that nothing would have.",
        fix: "Take the member that is suggested, or move it to where it belongs; members are \
              case-sensitive.",
        example: "retry: {codes: [503]}     # not: Retry:",
    },
    Explanation {
        code: Code::UnknownKind,
        title: "nobody reads this kind",
        meaning: "Read are HTTPRoute, GRPCRoute, XBackendTrafficPolicy, Proxy, Endpoints, \
                  TrafficPolicy, ApiVersions, RateLimit and Fault.",
        fix: "Take the kind that is suggested. What only a cluster needs, such as Service or \
              Deployment, belongs into another file.",
        example: "kind: HTTPRoute",
    },
    Explanation {
        code: Code::UnknownApiVersion,
        title: "the kind is read in another version",
        meaning: "The kind is known, but in another group or version than the one that the file \
                  names.",
        fix: "Write the version that is suggested.",
        example: "apiVersion: gateway.networking.k8s.io/v1",
    },
    Explanation {
        code: Code::WrongType,
        title: "another type belongs here",
        meaning: "A number, a text, a list or a mapping stands where another of them belongs. \
                  Without quotes `1`, `1.0`, `true` and `null` are no text.",
        fix: "Put text that looks like a number into quotes; take numbers out of them.",
        example: "version: \"1.0\"",
    },
    Explanation {
        code: Code::OutOfRange,
        title: "the value is out of bounds",
        meaning: "The value is of the right type, but smaller or larger than what may stand here. \
                  The bounds of the Gateway API are those of its own schema.",
        fix: "Take a value within the bounds that the message names.",
        example: "weight: 90     # 0 to 1000000",
    },
    Explanation {
        code: Code::MissingMember,
        title: "a member is missing",
        meaning: "The mapping cannot mean anything without this member.",
        fix: "Add the member that the message names.",
        example: "metadata: {name: orders}",
    },
    Explanation {
        code: Code::DuplicateName,
        title: "the name is taken",
        meaning: "Two things have one name, or one thing is set twice: two routes, two endpoints \
                  of one address, the breaker of one service in two policies. Routes share their \
                  names whatever their kind is, because limits and faults name them without it.",
        fix: "Rename one, or put both into one document.",
        example: "metadata: {name: orders-canary}",
    },
    Explanation {
        code: Code::DuplicateMember,
        title: "the member stands twice in one mapping",
        meaning: "YAML forbids it, and which of the two would count depends on the reader.",
        fix: "Remove one of them.",
        example: "retry: {attempts: 2}     # not: {attempts: 2, attempts: 3}",
    },
    Explanation {
        code: Code::Anchor,
        title: "anchors, aliases and tags are not read",
        meaning: "With them a file of a kilobyte can stand for gigabytes, and a value can depend \
                  on a line far away.",
        fix: "Write the value out. A text that begins with `*`, `&` or `!` goes into quotes.",
        example: "targetRef: {name: \"*\"}",
    },
    Explanation {
        code: Code::TooDeep,
        title: "the file is nested too deep",
        meaning: "Lists and mappings stand in each other up to 64 levels; nothing that is read \
                  here needs more than a dozen.",
        fix: "Look for brackets that are not closed.",
        example: "rules: [{backendRefs: [{name: orders}]}]",
    },
    Explanation {
        code: Code::NotSupported,
        title: "this part of the Gateway API is not served here",
        meaning: "The member is right on a cluster, but nothing here does it: RequestMirror, CORS, \
                  ExternalAuth, ExtensionRef, sessionPersistence, backends of another namespace, \
                  filters where they would have no effect. It is refused because a policy that is \
                  not kept is worse than one that is not there.",
        fix: "Remove it, or serve the route by something that does it.",
        example: "filters: [{type: RequestHeaderModifier, requestHeaderModifier: {remove: \
                  [x-debug]}}]",
    },
    Explanation {
        code: Code::Duration,
        title: "no duration",
        meaning: "Durations are those of GEP-2257: up to four times a number of up to five digits \
                  with `h`, `m`, `s` or `ms`. There is no fraction and no bare number; zero is \
                  `0s`.",
        fix: "Write the number with its unit.",
        example: "timeouts: {request: 1m30s, backendRequest: 500ms}",
    },
    Explanation {
        code: Code::UnknownWord,
        title: "none of the words that may stand here",
        meaning: "The value is one of a few words, in exactly this case.",
        fix: "Take one of the words that the message lists.",
        example: "path: {type: PathPrefix, value: /orders}",
    },
    Explanation {
        code: Code::Malformed,
        title: "the text has the wrong form",
        meaning: "A name, address, path, URL, date or header field is written as its standard does \
                  not have it.",
        fix: "Follow the form that the message names. Addresses have a port and no host name.",
        example: "listen: 127.0.0.1:9101     # not: localhost:9101",
    },
    Explanation {
        code: Code::Contradiction,
        title: "two members exclude each other",
        meaning: "Each is right alone, both together say two things: a try longer than the whole \
                  request, a redirect with backends, a filter of one type with the member of \
                  another.",
        fix: "Remove one of them, or change one so that both can hold.",
        example: "timeouts: {request: 10s, backendRequest: 2s}",
    },
    Explanation {
        code: Code::Pattern,
        title: "no regular expression",
        meaning: "The expression cannot be compiled. Expressions are those of the crate \
                  regex-lite, anchored at both ends: no look-around, no references back, no \
                  classes of Unicode.",
        fix: "Mend what the message names; `\\\\` in double quotes is one backslash, single quotes \
              need none.",
        example: "value: '/orders/[0-9]+'",
    },
    Explanation {
        code: Code::TooMany,
        title: "more of a thing than may be",
        meaning: "Lists are bounded, those of the Gateway API by its own schema: 16 rules, 64 \
                  matches of a rule, 16 backends, 16 header conditions.",
        fix: "Split the route into two of the same parent and hosts; they are one table.",
        example: "rules: []     # 16 at most",
    },
    Explanation {
        code: Code::TooManyFindings,
        title: "more findings than are shown",
        meaning: "After 200 findings the rest is left out.",
        fix: "Mend those that are shown and look again; often one cause stands behind many.",
        example: "# the first finding of a file first",
    },
    Explanation {
        code: Code::UnknownName,
        title: "the name is in no file",
        meaning: "Something is named here that none of the files has: a route, a version.",
        fix: "Correct the name, or read the file as well that has it. A route without namespace is \
              in `default`.",
        example: "idempotentRoutes: [shop/orders]",
    },
];
