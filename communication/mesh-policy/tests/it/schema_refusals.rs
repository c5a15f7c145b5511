//! Small things that are wrong, each with its code and its column.

use std::collections::BTreeMap;

use mesh_policy::{
    route::{Parent, Table},
    schema::{Code, SourceFile, read},
};

use crate::{routing_request::Request, schema::rendered};

/// A policy with `rule` as the only rule of a route is refused at `at`, and for nothing else.
#[track_caller]
fn check_rule(rule: &str, at: &str, expected: Code) {
    let head = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: a}\n\
                spec:\n  parentRefs: [{name: edge}]\n  rules:\n";
    check(head, &format!("    - {rule}\n"), at, expected);
}

/// A document of ours with this `spec`, likewise.
#[track_caller]
fn check_ours(kind: &str, spec: &str, at: &str, expected: Code) {
    let head = format!("apiVersion: skein/v1\nkind: {kind}\nmetadata: {{name: a}}\n");
    check(&head, &format!("spec: {spec}\n"), at, expected);
}

fn file(head: &str, line: &str) -> SourceFile {
    SourceFile { name: "a.yaml".to_owned(), text: format!("{head}{line}") }
}

#[track_caller]
fn check(head: &str, line: &str, at: &str, expected: Code) {
    let findings = read(&[file(head, line)]).expect_err("nothing was found");
    assert_eq!(findings.len(), 1, "{}", rendered(&findings));
    let column = line.find(at).unwrap() + 1;
    let found = (findings[0].line, findings[0].column, findings[0].code);
    assert_eq!(found, (head.lines().count() + 1, column, expected), "{}", rendered(&findings));
}

#[test]
fn an_edge_with_half_a_certificate_is_no_edge_in_plain_text() {
    let edge = |certificate: &str| {
        format!("{{edge: {{listen: \"127.0.0.1:1\", certificate: {certificate}}}}}")
    };
    check_ours("Proxy", &edge("{chain: a.pem}"), "{chain", Code::MissingMember);
    check_ours("Proxy", &edge("{key: a.key}"), "{key", Code::MissingMember);
    check_ours("Proxy", &edge("a.pem"), "a.pem", Code::WrongType);
}

#[test]
fn a_rule_keeps_to_the_schema_of_the_gateway_api() {
    let path = |value: &str| format!("matches: [{{path: {{value: {value}}}}}]");
    check_rule(&path("orders"), "orders", Code::Malformed);
    check_rule(&path("/a//b"), "/a//b", Code::Malformed);
    check_rule(&path("/a/../b"), "/a/../b", Code::Malformed);
    check_rule(&path("/a%2Fb"), "/a%2Fb", Code::Malformed);
    check_rule("matches: [{headers: [{name: 'a b', value: x}]}]", "'a b'", Code::Malformed);
    check_rule("matches: [{headers: [{name: a}]}]", "{name", Code::MissingMember);
    check_rule("backendRefs: [{name: a, kind: Pod}]", "Pod", Code::UnknownWord);
    check_rule("backendRefs: [{name: a, port: 0}]", "0}", Code::OutOfRange);
    check_rule("backendRefs: [{name: a, weight: -1}]", "-1", Code::OutOfRange);
    check_rule("backendRefs: [{name: a, weight: 1.5}]", "1.5", Code::WrongType);
    check_rule("backendRefs: [{name: a, namespace: b}]", "namespace", Code::NotSupported);
    check_rule("backendRefs: {name: a}", "{name", Code::WrongType);
    check_rule("retry: {codes: [200]}", "200", Code::OutOfRange);
    check_rule("retry: {backoff: soon}", "soon", Code::Duration);
    check_rule("timeouts: {request: '0'}", "'0'", Code::Duration);
}

#[test]
fn the_rules_of_a_route_together_keep_to_it_too() {
    let head =
        "apiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute\nmetadata: {name: a}\nspec:\n";
    let route = |rules: &str| format!("  {{parentRefs: [{{name: edge}}], rules: {rules}}}\n");
    check(head, &route("[]"), "rules", Code::MissingMember);
    check(head, &route("{}"), "{}", Code::WrongType);
    let named = route("[{name: a, backendRefs: [{name: b}]}, {name: a}]");
    check(head, &named, "rules", Code::DuplicateName);
    let rule = format!("{{matches: [{}]}}", vec!["{}"; 64].join(", "));
    assert!(read(&[file(head, &route(&format!("[{rule}, {rule}]")))]).is_ok());
    let three = route(&format!("[{rule}, {rule}, {{matches: [{{}}]}}]"));
    check(head, &three, "rules", Code::TooMany);
}

#[test]
fn filters_that_would_do_nothing_are_refused() {
    let modifier = "{type: RequestHeaderModifier, requestHeaderModifier: {remove: [x]}}";
    check_rule(
        &format!("filters: [{modifier}, {modifier}]"),
        "type: RequestHeaderModifier, requestHeaderModifier: {remove: [x]}}]",
        Code::DuplicateName,
    );
    check_rule("filters: [{type: URLRewrite}]", "{type", Code::MissingMember);
    let cors = "filters: [{type: CORS, cors: {}}]";
    check_rule(cors, "CORS", Code::NotSupported);
    let mixed = "filters: [{type: URLRewrite, urlRewrite: {hostname: a}, requestRedirect: {}}]";
    check_rule(mixed, "requestRedirect", Code::Contradiction);
    let both = "filters: [{type: RequestRedirect, requestRedirect: {port: 1}}]\n      \
                backendRefs: [{name: a}]";
    check_rule(both, "filters", Code::Contradiction);
    let prefix = "filters: [{type: URLRewrite, urlRewrite: \
                  {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}]\n      \
                  matches: [{path: {type: Exact, value: /a}}]";
    check_rule(prefix, "filters", Code::Contradiction);
    let backend = "backendRefs: [{name: a, filters: [{type: URLRewrite, urlRewrite: {}}]}]";
    check_rule(backend, "URLRewrite", Code::NotSupported);
    let split = "filters: [{type: ResponseHeaderModifier, responseHeaderModifier: \
                 {set: [{name: a, value: \"b\\r\\nc: d\"}]}}]";
    check_rule(split, "\"b", Code::Malformed);
    let status = "filters: [{type: RequestRedirect, requestRedirect: {statusCode: 304}}]";
    check_rule(status, "304", Code::OutOfRange);
}

#[test]
fn kinds_of_our_own_are_as_strict() {
    check_ours("Proxy", "{workers: 1}", "{", Code::MissingMember);
    let edges = "{edge: [{listen: '[::1]:1'}, {listen: '[::1]:2'}]}";
    check_ours("Proxy", edges, "{listen: '[::1]:2'", Code::DuplicateName);
    check_ours("Proxy", "{edge: {listen: '[::1]:1'}, accessLog: 0.01%}", "0.01%", Code::OutOfRange);
    let log = "{edge: {listen: '[::1]:1'}, accessLog: {share: 1%, slwo: 1s}}";
    check_ours("Proxy", log, "slwo", Code::UnknownMember);
    let routed = "{service: a, at: service, route: b, delay: 1s}";
    check_ours("Fault", routed, "route", Code::Contradiction);
    check_ours("Fault", "{service: a, at: server, delay: 1s}", "server", Code::UnknownWord);
    let twice = "{endpoints: [{address: '[::1]:1'}, {address: '[::1]:1', weight: 2}]}";
    check_ours("Endpoints", twice, "{address: '[::1]:1', weight", Code::DuplicateName);
    for uncallable in ["'[::1]:0'", "0.0.0.0:80", "'[::]:80'"] {
        let endpoints = format!("{{endpoints: [{{address: {uncallable}}}]}}");
        check_ours("Endpoints", &endpoints, uncallable, Code::OutOfRange);
    }
    check_ours("Endpoints", "{endpoints: [], protocol: h2}", "h2", Code::UnknownWord);
    check_ours("Fault", "{service: a}", "{service", Code::MissingMember);
    check_ours("Fault", "{service: a, delay: 1s, share: 101%}", "101%", Code::OutOfRange);
    let abort = "{service: a, abort: {status: 500, resetAfterBytes: 1}}";
    check_ours("Fault", abort, "{status", Code::Contradiction);
    let rules = |rule: &str| format!("{{service: a, rules: [{{{rule}}}]}}");
    let one = "callers: [spiffe://m/ns/a/svc/b]";
    check_ours("Authorization", "{service: a}", "{service", Code::MissingMember);
    check_ours("Authorization", "{rules: []}", "{rules", Code::MissingMember);
    check_ours("Authorization", "{service: a, mode: warn, rules: []}", "warn", Code::UnknownWord);
    check_ours("Authorization", &rules("methods: [GET]"), "{methods", Code::MissingMember);
    check_ours("Authorization", &rules("callers: []"), "[]", Code::OutOfRange);
    check_ours("Authorization", &rules("callers: [b]"), "b]", Code::Malformed);
    let everybody = "callers: ['spiffe://m/ns/a/svc/*']";
    check_ours("Authorization", &rules(everybody), "'spiffe", Code::Malformed);
    check_ours("Authorization", &rules(&format!("{one}, paths: []")), "[]", Code::OutOfRange);
    let path = |it: &str| rules(&format!("{one}, paths: ['{it}']"));
    check_ours("Authorization", &path("/a/*"), "'/a/*", Code::Malformed);
    check_ours("Authorization", &path("/a/x{id}"), "'/a/x", Code::Malformed);
    check_ours("Authorization", &path("/a/../b"), "'/a/..", Code::Malformed);
    let method = rules(&format!("{one}, methods: [get]"));
    check_ours("Authorization", &method, "get", Code::UnknownWord);
    let member = rules(&format!("{one}, path: [/a]"));
    check_ours("Authorization", &member, "path", Code::UnknownMember);
    let access = |rule: &str| format!("{{gateway: e, keys: k, rules: [{{{rule}}}]}}");
    check_ours("EdgeAccess", "{gateway: e, keys: k}", "{gateway", Code::MissingMember);
    check_ours("EdgeAccess", "{gateway: e, rules: []}", "{gateway", Code::MissingMember);
    check_ours("EdgeAccess", &access("reach: own"), "{reach", Code::MissingMember);
    check_ours("EdgeAccess", &access("roles: [a]"), "{roles", Code::MissingMember);
    check_ours("EdgeAccess", &access("roles: [], reach: own"), "[]", Code::OutOfRange);
    check_ours("EdgeAccess", &access("roles: [A], reach: own"), "A]", Code::Malformed);
    check_ours("EdgeAccess", &access("roles: [a], reach: nothing"), "nothing", Code::UnknownWord);
    check_ours(
        "EdgeAccess",
        &access("roles: [a], reach: all, methods: [get]"),
        "get",
        Code::UnknownWord,
    );
    check_ours(
        "EdgeAccess",
        &access("roles: [a], reach: all, paths: [/a]"),
        "paths",
        Code::UnknownMember,
    );
    let token = "{gateway: e, rules: [], tokens: [{issuer: i, audience: a}]}";
    check_ours("EdgeAccess", token, "{issuer", Code::MissingMember);
    let issuer = |more: &str| {
        format!("{{gateway: e, rules: [], tokens: [{{issuer: i, audience: a, {more}}}]}}")
    };
    let of_url = |more: &str| issuer(&format!("keysUrl: \"https://who.example/keys\", {more}"));
    check_ours("EdgeAccess", &issuer("keys: k, refresh: 5m"), "refresh", Code::Contradiction);
    check_ours("EdgeAccess", &of_url("keys: k"), "keys: k", Code::Contradiction);
    check_ours("EdgeAccess", &of_url("refresh: 500ms"), "500ms", Code::OutOfRange);
    check_ours("EdgeAccess", &of_url("timeout: 2m"), "2m", Code::OutOfRange);
    let early = of_url("refresh: 5m, staleMax: 4m");
    check_ours("EdgeAccess", &early, "staleMax", Code::Contradiction);
    for url in [
        "http://who.example/keys",
        "http://127.0.0.1.example/keys",
        "http://localhost/keys",
        "http://10.0.0.1/keys",
        "https://a@who.example/keys",
        "https://who.example/keys?for=me",
    ] {
        let keys = issuer(&format!("keysUrl: \"{url}\""));
        check_ours("EdgeAccess", &keys, &format!("\"{url}"), Code::Malformed);
    }
    let target = "targetRef: {kind: Gateway, name: a}";
    let limit = |more: &str| format!("{{{target}, requests: 1, {more}}}");
    check_ours("RateLimit", &limit("period: 0s"), "0s", Code::OutOfRange);
    check_ours("RateLimit", &limit("period: 1s, key: {client: yes}"), "yes", Code::WrongType);
    check_ours("RateLimit", &limit("period: 1s, roles: [A]"), "A]", Code::Malformed);
    let inside = "{targetRef: {kind: Service, name: a}, requests: 1, period: 1s, roles: [a]}";
    check_ours("RateLimit", inside, "roles", Code::Contradiction);
    let policy = |more: &str| format!("{{targetRef: {{name: a}}, {more}}}");
    let breaker = policy("breaker: {openInitial: 2m}");
    check_ours("TrafficPolicy", &breaker, "openInitial", Code::Contradiction);
    let balancer = policy("balancer: {algorithm: fastest}");
    check_ours("TrafficPolicy", &balancer, "fastest", Code::UnknownWord);
    check_ours("TrafficPolicy", &policy("idempotentRoutes: [b]"), "b]", Code::UnknownName);
}

#[test]
fn versions_name_each_other_right() {
    let versions = |more: &str| {
        format!(
            "{{parentRefs: [{{name: a}}], sources: [path], \
             versions: [{{name: v1, backend: a}}], {more}}}"
        )
    };
    check_ours("ApiVersions", &versions("default: v2"), "v2", Code::UnknownName);
    check_ours("ApiVersions", &versions("unknown: default"), "unknown", Code::MissingMember);
    let link = "{parentRefs: [{name: a}], sources: [path], versions: [{name: v1, backend: a, link: 'http://a>'}]}";
    check_ours("ApiVersions", link, "'http", Code::Malformed);
    let twins = "{parentRefs: [{name: a}], sources: [path], \
                 versions: [{name: v1, backend: a}, {name: '1', backend: b}]}";
    check_ours("ApiVersions", twins, "{name: '1'", Code::DuplicateName);
}

#[test]
fn two_policies_do_not_set_one_thing() {
    let policy = |name: &str, section: &str| {
        format!(
            "apiVersion: skein/v1\nkind: TrafficPolicy\nmetadata: {{name: {name}}}\n\
             spec: {{targetRef: {{name: a}}, {section}: {{}}}}\n---\n"
        )
    };
    let read = |one: &str, other: &str| {
        let text = policy("one", one) + &policy("other", other);
        read(&[SourceFile { name: "a.yaml".to_owned(), text }])
    };
    assert!(read("retry", "breaker").is_ok());
    let findings = read("retry", "retry").unwrap_err();
    assert_eq!(findings[0].code, Code::DuplicateName);
}

#[test]
fn what_a_cluster_adds_to_an_object_is_passed_over() {
    let text = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata:\n  \
                name: a\n  uid: 4b1c\n  generation: 2\n  managedFields: [{manager: kubectl}]\n  \
                annotations: {a: b}\nspec:\n  parentRefs: [{group: gateway.networking.k8s.io, \
                kind: Gateway, name: edge, namespace: infra, sectionName: http}]\n  rules: \
                [{backendRefs: [{group: '', kind: Service, name: a, namespace: default}]}]\n\
                status: {parents: []}\n";
    let file = SourceFile { name: "a.yaml".to_owned(), text: text.to_owned() };
    let policy = read(&[file]).unwrap_or_else(|it| panic!("{}", rendered(&it)));
    assert_eq!(policy.routes[0].rules[0].backends[0].weight, 1);
}

#[test]
fn of_two_conditions_on_one_header_the_first_counts() {
    let text = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: a}\n\
                spec:\n  parentRefs: [{name: edge}]\n  rules:\n    - matches:\n        - headers: \
                [{name: Color, value: red}, {name: color, value: blue}]\n";
    let policy = read(&[file(text, "")]).unwrap_or_else(|it| panic!("{}", rendered(&it)));
    let edge = Parent::Gateway { name: "edge".to_owned(), section: None };
    let table = Table::compile(&policy.routes, &edge).unwrap();
    let is_met = |color: &str| {
        let headers = BTreeMap::from([("color".to_owned(), color.to_owned())]);
        table.find(&Request { headers, ..Request::new("GET /") }).is_some()
    };
    assert_eq!((is_met("red"), is_met("blue")), (true, false));
}

#[test]
fn files_of_other_editors_have_the_same_places() {
    let text = "\u{feff}apiVersion: skein/v1\r\nkind: Endpoints\r\nmetadata: {name: a}\r\n\
                spec: {endpoints: [], protocol: h3}\r\n";
    let findings = read(&[file(text, "")]).unwrap_err();
    let expected = "a.yaml:4:33  `h3` is none of http, h2c, tcp  [SK1015]\n  \
                    3 | metadata: {name: a}\n  4 | spec: {endpoints: [], protocol: h3}\n    | \
                    \u{20}                               ^^\n";
    assert_eq!(findings[0].render(), expected);
}
