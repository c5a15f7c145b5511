//! What newcomers write, read.

use std::{collections::BTreeMap, path::Path, time::Duration};

use mesh_policy::{
    Policy,
    authorization::{Authorization, Caller, Mode, Rule as AccessRule, Template},
    balance::Algorithm,
    destination::{Endpoint, EndpointSet, Protocol},
    fault::At,
    filter::{Filter, HeaderChange, PathChange, Redirect},
    proxy::{AccessLog, Certificate, Edge, Inbound, Outbound, Proxy},
    rate::{RateKey, RateLimit},
    retry::RouteRetry,
    route::{Match, Parent, PathMatch, Route, Rule, Timeouts, ValueMatch, ValuePattern},
    schema::{Code, Finding, SourceFile, read, write_endpoints},
    version::VersionSource,
};

/// A file under `data/`.
pub(crate) fn data(path: &str) -> SourceFile {
    let full = Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(path);
    let name = full.file_name().unwrap().to_str().unwrap().to_owned();
    let text = std::fs::read_to_string(&full).unwrap_or_else(|error| panic!("{path}: {error}"));
    SourceFile { name, text }
}

/// What findings say, for a failing test.
pub(crate) fn rendered(findings: &[Finding]) -> String {
    findings.iter().map(Finding::render).collect::<Vec<_>>().join("\n")
}

#[track_caller]
fn example(name: &str) -> Policy {
    read(&[data(&format!("examples/{name}.yaml"))]).unwrap_or_else(|it| panic!("{}", rendered(&it)))
}

fn exact(name: &str, value: &str) -> ValueMatch {
    ValueMatch { name: name.to_owned(), value: ValuePattern::Exact(value.to_owned()) }
}

fn endpoint(address: &str) -> Endpoint {
    Endpoint {
        address: address.parse().unwrap(),
        instance: None,
        version: None,
        weight: 1,
        identity: None,
    }
}

#[test]
fn a_proxy_for_a_foreign_service_is_seven_lines() {
    let policy = example("proxy");
    let inbound = Inbound {
        listen: "127.0.0.1:9200".parse().unwrap(),
        application: "127.0.0.1:9000".parse().unwrap(),
        protocol: None,
        readiness_path: None,
    };
    let outbound = Outbound {
        listen: "127.0.0.1:9101".parse().unwrap(),
        service: Some("stock".to_owned()),
        protocol: None,
    };
    let expected = Proxy {
        name: "orders".to_owned(),
        inbound: vec![inbound],
        outbound: vec![outbound],
        ..Proxy::default()
    };
    assert_eq!(policy.proxies, [expected]);
    let stock =
        EndpointSet { protocol: Protocol::Http1, endpoints: vec![endpoint("127.0.0.1:9001")] };
    assert_eq!(policy.endpoints, BTreeMap::from([("stock".to_owned(), stock)]));
}

#[test]
fn an_edge_has_hosts_routes_and_a_redirect() {
    let policy = example("edge");
    let proxy = &policy.proxies[0];
    let edge = Edge {
        name: "http".to_owned(),
        listen: "0.0.0.0:8080".parse().unwrap(),
        hosts: vec!["shop.example.com".to_owned(), "localhost".to_owned()],
        certificate: None,
    };
    let secure = Edge {
        name: "https".to_owned(),
        listen: "0.0.0.0:8443".parse().unwrap(),
        hosts: Vec::new(),
        certificate: Some(Certificate { chain: "shop.pem".into(), key: "shop.key".into() }),
    };
    assert_eq!(proxy.edges, [edge, secure]);
    let log = AccessLog { per_mille: 10, slow: Duration::from_secs(1) };
    assert_eq!((proxy.workers, proxy.access_log), (2, Some(log)));
    assert_eq!(proxy.files, [Path::new("endpoints.yaml")]);
    let route = &policy.routes[0];
    assert_eq!(route.name, "default/shop");
    assert_eq!(route.parents, [Parent::Gateway { name: "shop".to_owned(), section: None }]);
    let timeouts = Timeouts {
        request: Some(Duration::from_secs(10)),
        backend_request: Some(Duration::from_secs(2)),
    };
    assert_eq!(route.rules[0].timeouts, timeouts);
    let retry = RouteRetry {
        codes: vec![502, 503],
        attempts: Some(2),
        backoff: Some(Duration::from_millis(50)),
        is_idempotent: false,
    };
    assert_eq!(route.rules[0].retry, Some(retry));
    let redirect = Redirect {
        path: Some(PathChange::Prefix("/orders".to_owned())),
        status: 301,
        ..Redirect::default()
    };
    assert_eq!(route.rules[1].filters, [Filter::Redirect(redirect)]);
}

#[test]
fn a_canary_has_weights_and_a_header() {
    let policy = example("canary");
    let route = &policy.routes[0];
    assert_eq!(route.parents, [Parent::Service { name: "orders".to_owned() }]);
    let pinned = Match { headers: vec![exact("x-canary", "always")], ..Match::default() };
    assert_eq!(route.rules[0].matches, [pinned]);
    let weights: Vec<_> =
        route.rules[1].backends.iter().map(|it| (it.service.as_str(), it.weight)).collect();
    assert_eq!(weights, [("orders-v1", 90), ("orders-v2", 10)]);
    let second = &policy.endpoints["orders-v2"];
    assert_eq!(second.protocol, Protocol::Http2);
    assert_eq!(second.endpoints[0].weight, 2);
}

#[test]
fn a_setting_comes_from_the_service_then_from_every_service_then_from_the_defaults() {
    let policy = example("traffic");
    let (stock, other) = (policy.destination("stock"), policy.destination("other"));
    assert_eq!(other.balance.algorithm, Algorithm::LeastRequest);
    assert_eq!(stock.balance.algorithm, Algorithm::LeastRequest);
    assert_eq!(stock.breaker.open_max, Duration::from_secs(30));
    assert_eq!(stock.breaker.consecutive_failures, 5);
    assert_eq!(other.breaker.open_max, Duration::from_secs(60));
    assert_eq!(stock.breaker.requests_min, 20);
    assert_eq!(stock.concurrency.queue_wait, Duration::from_millis(500));
    assert_eq!(stock.timeouts.tunnel_idle, Duration::from_mins(5));
    assert_eq!(other.timeouts.tunnel_idle, Duration::from_hours(1));
    assert_eq!(stock.timeouts.idle, Duration::from_secs(60));
    assert_eq!((stock.retry.attempts, &*stock.retry.codes), (1, &[503][..]));
}

#[test]
fn the_retry_budget_of_the_gateway_api_is_laid_over_the_traffic_policy() {
    let retry = example("traffic").destination("stock").retry;
    assert_eq!(retry.budget_window, Duration::from_secs(20));
    assert!((retry.budget_ratio - 0.1).abs() < 1e-9);
    assert!((retry.budget_min_per_second - 2.5).abs() < 1e-9);
}

#[test]
fn a_traffic_policy_calls_a_route_idempotent() {
    let policy = example("traffic");
    assert!(policy.routes[0].rules[0].retry.as_ref().unwrap().is_idempotent);
    assert_eq!(policy.routes[0].created, Some(1_769_860_800));
}

#[test]
fn versions_become_a_route_and_the_old_one_says_when_it_ends() {
    let policy = example("versions");
    let route = &policy.routes[0];
    let wanted = |rule: &Rule| rule.matches[0].version.clone().unwrap();
    let (first, second) = (wanted(&route.rules[0]), wanted(&route.rules[1]));
    let sources = [
        VersionSource::Path,
        VersionSource::Header("api-version".to_owned()),
        VersionSource::MediaType("version".to_owned()),
        VersionSource::Query("api-version".to_owned()),
    ];
    assert_eq!(first.sources, sources);
    assert_eq!((first.version.as_deref(), first.is_default), (Some("v1"), true));
    assert_eq!((second.version.as_deref(), second.is_default), (Some("v2"), false));
    let text = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let farewell = HeaderChange {
        set: vec![
            text("deprecation", "@1767225600"),
            text("sunset", "Fri, 01 Jan 2027 00:00:00 GMT"),
        ],
        add: vec![text("link", "<https://example.com/account-v2>; rel=\"deprecation\"")],
        remove: Vec::new(),
    };
    assert_eq!(route.rules[0].filters, [Filter::ResponseHeaders(farewell)]);
    assert_eq!(route.rules.len(), 2);
}

// mesh 12b: 16
#[test]
fn an_unknown_version_is_served_by_the_default_one_where_it_is_said() {
    let mut file = data("examples/versions.yaml");
    file.text = file.text.replace("notFound", "default");
    let policy = read(&[file]).unwrap();
    let rules = &policy.routes[0].rules;
    assert_eq!(rules[2].backends, rules[0].backends);
    assert_eq!(rules[2].filters, rules[0].filters);
    assert_eq!(rules[2].matches[0].version.as_ref().unwrap().version, None);
}

#[test]
fn a_limit_and_a_fault_are_read() {
    let policy = example("limits");
    let limit = RateLimit {
        roles: Vec::new(),

        name: "per-client".to_owned(),
        gateway: Some("shop".to_owned()),
        route: None,
        service: None,
        requests: 10,
        period: Duration::from_secs(1),
        burst: 20,
        key: RateKey::Client,
    };
    assert_eq!(policy.rate_limits, [limit]);
    let fault = &policy.faults[0];
    assert!((fault.share - 0.3).abs() < 1e-9);
    assert_eq!(fault.delay, Some(Duration::from_millis(250)));
    assert_eq!(fault.expires_after, Some(Duration::from_mins(10)));
    assert_eq!(fault.header, Some(("x-test".to_owned(), "chaos".to_owned())));
}

#[test]
fn what_stands_at_the_door_of_a_service_is_read_and_is_that_services_alone() {
    let ours = |kind: &str, name: &str, spec: &str| {
        format!(
            "apiVersion: skein/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n---\n"
        )
    };
    let limit = |name: &str, target: &str| {
        ours("RateLimit", name, &format!("{{targetRef: {target}, requests: 5, period: 1s}}"))
    };
    let fault =
        |name: &str, at: &str| ours("Fault", name, &format!("{{service: stock, {at} delay: 1s}}"));
    let text = [
        limit("own", "{kind: Service, name: stock}"),
        limit("others", "{kind: Service, name: orders}"),
        limit("every", "{kind: Gateway, name: shop}"),
        fault("inside", "at: service,"),
        fault("outside", "at: caller,"),
        fault("unsaid", ""),
    ];
    let policy = read(&[SourceFile { name: "a.yaml".to_owned(), text: text.concat() }]);
    let policy = policy.unwrap_or_else(|it| panic!("{}", rendered(&it)));
    let (limits, faults) = policy.at_door_of("stock", "application");
    let names = |of: Vec<&str>| of.join(" ");
    assert_eq!(names(limits.iter().map(|it| it.name.as_str()).collect()), "own");
    assert_eq!(names(faults.iter().map(|it| it.name.as_str()).collect()), "inside@application");
    assert_eq!((faults[0].service.as_str(), faults[0].at), ("application", At::Caller));
    assert_eq!(policy.at_door_of("other", "application"), (vec![], vec![]));
}

#[test]
fn a_proxy_says_what_it_writes_down_and_how_long_it_drains() {
    let proxy = |members: &str| {
        let text = format!(
            "apiVersion: skein/v1\nkind: Proxy\nmetadata: {{name: a}}\n\
             spec: {{edge: {{listen: '[::1]:1'}}{members}}}\n"
        );
        let policy = read(&[SourceFile { name: "a.yaml".to_owned(), text }]);
        policy.unwrap_or_else(|it| panic!("{}", rendered(&it))).proxies.remove(0)
    };
    let said = proxy(", accessLog: {share: 2.5%, slow: 500ms}, drainDelay: 5s");
    let log = AccessLog { per_mille: 25, slow: Duration::from_millis(500) };
    assert_eq!((said.access_log, said.drain_delay), (Some(log), Some(Duration::from_secs(5))));
    assert_eq!(proxy(", accessLog: {}").access_log, Some(AccessLog::default()));
    let unsaid = proxy("");
    assert_eq!((unsaid.access_log, unsaid.drain_delay), (None, None));
}

#[test]
fn a_grpc_route_matches_services_and_methods() {
    let policy = example("grpc");
    let route: &Route = &policy.routes[0];
    assert_eq!(route.name, "shop/inventory");
    let reserve = PathMatch::Grpc {
        service: Some("shop.v1.Inventory".to_owned()),
        method: Some("Reserve".to_owned()),
    };
    let any = PathMatch::Regex("/(?:shop[.]v[0-9]+[.].*)/[^/]+".to_owned());
    let paths: Vec<_> = route.rules.iter().map(|it| it.matches[0].path.clone().unwrap()).collect();
    assert_eq!(paths, [reserve, any]);
}

#[test]
fn written_endpoints_are_read_as_they_were() {
    let full = Endpoint {
        instance: Some("a \"quoted\" \\ name: ü".to_owned()),
        version: Some("1.0".to_owned()),
        weight: 0,
        identity: Some("spiffe://example.com/ns/shop/svc/stock".to_owned()),
        ..endpoint("[::1]:9001")
    };
    let set = |protocol, endpoints| EndpointSet { protocol, endpoints };
    let endpoints = BTreeMap::from([
        ("b".to_owned(), set(Protocol::Http2, vec![full, endpoint("127.0.0.1:1")])),
        ("a".to_owned(), set(Protocol::Tcp, Vec::new())),
        ("null".to_owned(), set(Protocol::Http1, vec![endpoint("10.0.0.1:80")])),
    ]);
    let text = write_endpoints(&endpoints);
    let file = SourceFile { name: "endpoints.yaml".to_owned(), text: text.clone() };
    let policy = read(&[file]).unwrap_or_else(|it| panic!("{}", rendered(&it)));
    assert_eq!(policy.endpoints, endpoints);
    assert_eq!(write_endpoints(&policy.endpoints), text);
    assert_eq!(write_endpoints(&BTreeMap::new()), "");
}

#[test]
fn errors_of_all_files_are_told_at_once_and_in_order() {
    let file = |name: &str, text: &str| SourceFile { name: name.to_owned(), text: text.to_owned() };
    let files = [
        file("b.yaml", "kind: Fault\n---\nkind: Fault2\napiVersion: skein/v1\n"),
        file("a.yaml", "a: [\n"),
    ];
    let findings = read(&files).unwrap_err();
    let places: Vec<_> = findings.iter().map(|it| (it.file.as_str(), it.line, it.code)).collect();
    let expected = [
        ("b.yaml", 1, Code::MissingMember),
        ("b.yaml", 3, Code::UnknownKind),
        ("a.yaml", 2, Code::Syntax),
    ];
    assert_eq!(places, expected);
}

#[test]
fn who_may_call_what_is_read_as_it_is_written() {
    let text = "apiVersion: skein/v1\nkind: Authorization\nmetadata: {name: till}\nspec:\n  \
        service: stock\n  mode: audit\n  rules:\n  \
        - {callers: [spiffe://m/ns/shop/svc/till], methods: [PUT, CONSUME], paths: [\"/items/{id}\"]}\n  \
        - {callers: [\"*\"]}\n";
    let file = SourceFile { name: "till.yaml".to_owned(), text: text.to_owned() };
    let policy = read(&[file]).unwrap_or_else(|it| panic!("{}", rendered(&it)));
    let rule = |callers, methods: &[&str], paths: &[&str]| AccessRule {
        callers,
        methods: methods.iter().map(|it| (*it).to_owned()).collect(),
        paths: paths.iter().map(|it| Template::parse(it).unwrap()).collect(),
    };
    let till = Caller::Identity("spiffe://m/ns/shop/svc/till".to_owned());
    let expected = Authorization {
        name: "till".to_owned(),
        service: "stock".to_owned(),
        mode: Mode::Audit,
        rules: vec![
            rule(vec![till], &["PUT", "CONSUME"], &["/items/{id}"]),
            rule(vec![Caller::AnyIdentity], &[], &[]),
        ],
    };
    assert_eq!(policy.authorizations, [expected]);
}
