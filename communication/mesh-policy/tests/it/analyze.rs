//! Every code, by a file that shows it: `data/findings/SK….yaml` and beside it what people read.

use mesh_policy::{
    explain::explain,
    schema::{Code, Finding, Level, Origins, SourceFile, read, read_with_origins},
};

use crate::schema::{data, rendered};

/// Everything there is to say about files.
fn findings(files: &[SourceFile]) -> Vec<Finding> {
    match read_with_origins(files) {
        Ok((policy, origins)) => mesh_policy::analyze::analyze(&policy, &origins),
        Err(findings) => findings,
    }
}

/// Codes whose files would be too large to keep; `schema_bounds` makes them.
const MADE: [Code; 2] = [Code::FileTooLarge, Code::TooManyFindings];

#[test]
fn every_code_is_shown_by_its_file_and_no_other_code_is() {
    for code in Code::ALL.iter().filter(|it| !MADE.contains(it)) {
        let found = findings(&[data(&format!("findings/{code}.yaml"))]);
        let codes: Vec<Code> = found.iter().map(|it| it.code).collect();
        assert!(!codes.is_empty(), "{code}: nothing found");
        assert!(codes.iter().all(|it| it == code), "{code}: {}", rendered(&found));
        let expected = data(&format!("findings/{code}.txt")).text;
        assert_eq!(rendered(&found), expected, "{code}");
    }
}

#[test]
fn every_finding_has_a_place_and_a_page() {
    for code in Code::ALL.iter().filter(|it| !MADE.contains(it)) {
        for finding in findings(&[data(&format!("findings/{code}.yaml"))]) {
            assert!(finding.line > 0 && finding.column > 0, "{finding}");
            assert!(finding.excerpt.iter().any(|(line, _)| *line == finding.line), "{finding}");
            assert!(explain(finding.code.as_str()).is_some(), "{finding}");
        }
    }
}

#[test]
fn nothing_is_said_about_what_newcomers_write() {
    for name in ["proxy", "edge", "canary", "traffic", "versions", "limits", "grpc"] {
        let found = findings(&[data(&format!("examples/{name}.yaml"))]);
        assert!(found.is_empty(), "{name}: {}", rendered(&found));
    }
}

#[test]
fn a_policy_without_origins_is_judged_as_well() {
    let policy = read(&[data("findings/SK2002.yaml")]).unwrap();
    let found = mesh_policy::analyze::analyze(&policy, &Origins::default());
    assert_eq!(found.len(), 1);
    let line = "warning: this rule answers 500: it has no backends and redirects nowhere  [SK2002]";
    assert_eq!(found[0].to_string(), line);
}

/// Pairs of files: what is said about the first is not said about the second.
#[track_caller]
fn check(code: Code, change: (&str, &str)) {
    let mut file = data(&format!("findings/{code}.yaml"));
    assert!(file.text.contains(change.0), "{code}: `{}` is not there", change.0);
    file.text = file.text.replace(change.0, change.1);
    let found = findings(&[file]);
    let is_told = found.iter().any(|it| it.code == code || it.level == Level::Error);
    assert!(!is_told, "{code}: {}", rendered(&found));
}

#[test]
fn what_is_mended_is_not_told_again() {
    check(Code::NoBackend, ("}}]\n", "}}]\n      backendRefs: [{name: orders}]\n"));
    check(Code::ZeroWeights, ("v2, weight: 0", "v2, weight: 1"));
    check(Code::UnknownBackend, ("ordres", "orders"));
    check(Code::RetriesBeyondTimeout, ("request: 5s", "request: 6s"));
    check(Code::UnsafeRetry, ("POST", "PUT"));
    check(Code::UnsafeRetry, ("attempts: 1", "attempts: 0"));
    check(
        Code::OverlappingRoutes,
        ("[{name: stock}]", "[{name: stock}]\n      matches: [{method: GET}]"),
    );
    check(Code::SunsetBeforeDeprecation, ("sunset: 2026", "sunset: 2027"));
    check(Code::UnknownRoute, ("ordres", "orders"));
    check(Code::FaultWithoutExpiry, ("share", "expiresAfter: 1m\n  share"));
    check(Code::BreakerNeverOpens, ("successRateMin: 0", "successRateMin: 1%"));
    check(Code::PortTwice, ("0.0.0.0", "127.0.0.2"));
    check(Code::NoTimeout, ("backendRequest: 0s", "backendRequest: 1s"));
    check(
        Code::RetriesWithoutTryTimeout,
        ("- retry", "- timeouts: {backendRequest: 1s}\n      retry"),
    );
}

/// A route of service `orders` with these rules, on top of what `more` says.
fn with_rules(rules: &str, more: &str) -> Vec<Code> {
    let text = format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: orders}}\n\
         spec:\n  parentRefs: [{{kind: Service, name: orders}}]\n  rules: [{rules}]\n{more}"
    );
    let found = findings(&[SourceFile { name: "a.yaml".to_owned(), text }]);
    let is_judged = |it: &Finding| it.level != Level::Error || it.code == Code::UnknownBackend;
    assert!(found.iter().all(is_judged), "{}", rendered(&found));
    found.iter().map(|it| it.code).collect()
}

#[track_caller]
fn check_hidden(first: &str, second: &str, expected: &[Code]) {
    let rule = |it: &str| format!("{{matches: [{it}], backendRefs: [{{name: a}}]}}");
    let rules = format!("{}, {}", rule(first), rule(second));
    assert_eq!(with_rules(&rules, ""), expected, "{rules}");
}

#[test]
fn a_rule_is_hidden_by_the_same_match_or_by_an_expression_for_every_path() {
    let hidden = [Code::UnreachableRule];
    let every = "{path: {type: RegularExpression, value: '/.*'}}";
    check_hidden(every, "{path: {value: /orders}, method: GET}", &hidden);
    check_hidden(every, "{path: {type: Exact, value: /orders}}", &[]);
    check_hidden("{path: {value: /orders}}", every, &hidden);
    let of_get = "{method: GET, path: {type: RegularExpression, value: '.*'}}";
    check_hidden(of_get, "{path: {value: /orders}}", &[]);
    check_hidden(of_get, "{path: {value: /orders}, method: GET}", &hidden);
    check_hidden("{}", "{path: {value: /}}", &hidden);
    check_hidden("{}", "{path: {value: /orders}}", &[]);
    check_hidden("{method: GET}", "{method: HEAD}", &[]);
    let (one, other) = ("{name: a, value: '1'}", "{name: b, value: '2'}");
    let headers = |one, other| format!("{{headers: [{one}, {other}]}}");
    check_hidden(&headers(one, other), &headers(other, one), &hidden);
    let same = "{path: {value: /orders}}";
    check_hidden(&format!("{same}, {same}"), "{path: {value: /stock}}", &hidden);
}

#[test]
fn a_service_is_known_by_its_endpoints_or_by_a_route() {
    let more = |document: &str| {
        format!(
            "---\napiVersion: skein/v1\nkind: Endpoints\nmetadata: {{name: a}}\n\
             spec: {{endpoints: []}}\n---\napiVersion: skein/v1\nmetadata: {{name: x}}\n\
             {document}\n"
        )
    };
    let rule = "{backendRefs: [{name: a}]}";
    let door = |service: &str| {
        let door = format!("{{listen: '[::1]:1', service: {service}}}");
        more(&format!("kind: Proxy\nspec: {{outbound: {door}}}"))
    };
    assert_eq!(with_rules(rule, &door("a")), []);
    assert_eq!(with_rules(rule, &door("orders")), []);
    assert_eq!(with_rules(rule, &door("b")), [Code::UnknownBackend]);
    let fault = |service: &str| {
        more(&format!("kind: Fault\nspec: {{service: {service}, delay: 1s, expiresAfter: 1m}}"))
    };
    assert_eq!(with_rules(rule, &fault("a")), []);
    assert_eq!(with_rules(rule, &fault("b")), [Code::UnknownBackend]);
    let settings = |target: &str| {
        more(&format!(
            "kind: TrafficPolicy\nspec: {{targetRef: {{name: {target}}}, timeouts: {{request: 3s}}}}"
        ))
    };
    // A service with routes, one with Endpoints, every one, one behind a proxy's own door, a typo.
    assert_eq!(with_rules(rule, &settings("orders")), []);
    assert_eq!(with_rules(rule, &settings("a")), []);
    assert_eq!(with_rules(rule, &settings("'*'")), []);
    assert_eq!(with_rules(rule, &settings("b")), [Code::UnknownBackend]);
}

#[test]
fn a_destination_is_judged_like_a_rule() {
    let policy = |sections: &str| {
        format!(
            "---\napiVersion: skein/v1\nkind: TrafficPolicy\nmetadata: {{name: a}}\n\
             spec: {{targetRef: {{name: a}}, {sections}}}\n"
        )
    };
    let rule = "{backendRefs: [{name: a}]}";
    let tight = policy("timeouts: {request: 2s, backendRequest: 1s}");
    assert_eq!(with_rules(rule, &tight), [Code::RetriesBeyondTimeout]);
    let once = policy("timeouts: {request: 2s, backendRequest: 1s}, retry: {attempts: 0}");
    assert_eq!(with_rules(rule, &once), []);
    let hangs = policy("timeouts: {request: 2s}, retry: {attempts: 1}");
    assert_eq!(with_rules(rule, &hangs), [Code::RetriesWithoutTryTimeout]);
    let post = "{matches: [{method: POST}], timeouts: {backendRequest: 1s}, \
                retry: {attempts: 1}, backendRefs: [{name: a}]}";
    assert_eq!(with_rules(post, ""), [Code::UnsafeRetry]);
    assert_eq!(with_rules(post, &policy("idempotentRoutes: [orders]")), []);
}
