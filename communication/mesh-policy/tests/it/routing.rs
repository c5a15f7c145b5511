//! The order of rules: the vectors of `data/vectors.json`, and a plain reading of the order beside
//! the table, over generated tables.

use std::collections::BTreeMap;

use base::Random;
use mesh_policy::{
    route::{
        Backend, Flaw, Match, Mismatch, Parent, PathMatch, Route, RouteKind, Rule, Table,
        ValueMatch, ValuePattern, Verdict, choose_backend,
    },
    version::{VersionMatch, VersionSource},
};
use serde_json::Value;

use crate::routing_request::Request;

fn edge() -> Parent {
    Parent::Gateway { name: "edge".into(), section: Some("http".into()) }
}

fn backend(service: &str, weight: u32) -> Backend {
    Backend { service: service.to_owned(), port: None, weight, filters: Vec::new() }
}

fn rule(to: &str, matches: Vec<Match>) -> Rule {
    Rule { matches, backends: vec![backend(to, 1)], ..Rule::default() }
}

fn route(name: &str, rules: Vec<Rule>) -> Route {
    Route {
        name: name.to_owned(),
        kind: RouteKind::Http,
        created: None,
        parents: vec![Parent::Gateway { name: "edge".into(), section: None }],
        hostnames: Vec::new(),
        rules,
    }
}

fn prefix(path: &str) -> Match {
    Match { path: Some(PathMatch::Prefix(path.to_owned())), ..Match::default() }
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(|it| it.as_str().unwrap().to_owned()).collect()
}

fn value_matches(value: &Value) -> Vec<ValueMatch> {
    let one = |(name, value): (&String, &Value)| ValueMatch {
        name: name.clone(),
        value: match value.as_str() {
            Some(exact) => ValuePattern::Exact(exact.to_owned()),
            None => ValuePattern::Regex(value["regex"].as_str().unwrap().to_owned()),
        },
    };
    value.as_object().into_iter().flatten().map(one).collect()
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn read_match(value: &Value) -> Match {
    let grpc = value.get("grpc");
    let path = text(&value["exact"])
        .map(PathMatch::Exact)
        .or_else(|| text(&value["prefix"]).map(PathMatch::Prefix))
        .or_else(|| text(&value["regex"]).map(PathMatch::Regex))
        .or_else(|| {
            let (service, method) = grpc.map(|it| (text(&it["service"]), text(&it["method"])))?;
            Some(PathMatch::Grpc { service, method })
        });
    let version = value.get("version").map(|it| VersionMatch {
        sources: vec![
            VersionSource::Path,
            VersionSource::Header("api-version".into()),
            VersionSource::MediaType("version".into()),
            VersionSource::Query("api-version".into()),
        ],
        version: text(&it["version"]),
        is_default: it["default"].as_bool().unwrap_or(false),
    });
    Match {
        path,
        method: text(&value["method"]),
        headers: value_matches(&value["headers"]),
        query: value_matches(&value["query"]),
        version,
    }
}

fn read_route(value: &Value) -> Route {
    let rules = value["rules"].as_array().unwrap().iter().map(|it| {
        let matches = it["matches"].as_array().into_iter().flatten().map(read_match).collect();
        rule(it["to"].as_str().unwrap(), matches)
    });
    Route {
        kind: if value["kind"] == "grpc" { RouteKind::Grpc } else { RouteKind::Http },
        created: value["created"].as_i64(),
        hostnames: texts(&value["hostnames"]),
        ..route(value["name"].as_str().unwrap_or("test/route"), rules.collect())
    }
}

// mesh 12b: 9
#[test]
fn every_vector_leads_where_the_gateway_api_says() {
    let suites: Value = serde_json::from_str(include_str!("../../data/vectors.json")).unwrap();
    let mut failed = Vec::new();
    let mut cases = 0;
    for suite in suites.as_array().unwrap() {
        let routes: Vec<Route> =
            suite["routes"].as_array().unwrap().iter().map(read_route).collect();
        let table = Table::compile(&routes, &edge()).unwrap();
        for case in suite["cases"].as_array().unwrap() {
            let mut request = Request::new(case["request"].as_str().unwrap());
            request.host = text(&case["host"]).unwrap_or_else(|| "anything".into());
            for (name, value) in case["headers"].as_object().into_iter().flatten() {
                request.headers.insert(name.clone(), value.as_str().unwrap().to_owned());
            }
            let to = table.find(&request).map(|it| it.rule.backends[0].service.as_str());
            cases += 1;
            if to != case["to"].as_str() || to != taken(&table, &request) {
                let (suite, explained) = (&suite["suite"], taken(&table, &request));
                failed.push(format!("{suite}: {case} -> {to:?}, explained as {explained:?}"));
            }
        }
    }
    assert!(failed.is_empty(), "{} of {cases}:\n{}", failed.len(), failed.join("\n"));
    assert!(cases > 100, "{cases} cases were read");
}

/// What the explanation says is taken.
fn taken<'a>(table: &'a Table, request: &Request) -> Option<&'a str> {
    let candidates = table.explain(request);
    let taken = candidates.iter().find(|it| it.verdict == Verdict::Taken)?;
    Some(taken.found.rule.backends[0].service.as_str())
}

/// A small alphabet, so that rules meet requests and each other.
fn any<'a>(random: &mut Random, of: &[&'a str]) -> &'a str {
    let place = random.below(of.len() as u64);
    of[usize::try_from(place).unwrap()]
}

const PATHS: [&str; 8] = ["/", "/a", "/a/", "/a/b", "/a/b/c", "/ab", "/b", "/a/b/"];

fn random_match(random: &mut Random) -> Match {
    let path = any(random, &PATHS).to_owned();
    let path = match random.below(6) {
        0 => None,
        1 => Some(PathMatch::Exact(path)),
        2 => Some(PathMatch::Regex(any(random, &["/a.*", "/a/b", "/[ab]", ".*"]).to_owned())),
        3 => Some(PathMatch::Grpc {
            service: Some(any(random, &["a", "b"]).to_owned()),
            method: (random.below(2) == 0).then(|| "b".to_owned()),
        }),
        4 => Some(PathMatch::Grpc { service: None, method: Some("b".to_owned()) }),
        _ => Some(PathMatch::Prefix(path)),
    };
    let values = |random: &mut Random| {
        let some = ["x", "y"].into_iter().filter(|_| random.below(3) == 0);
        let one = |name: &str| ValueMatch {
            name: name.to_owned(),
            value: ValuePattern::Exact("1".to_owned()),
        };
        some.map(one).collect()
    };
    let version = (random.below(4) == 0).then(|| VersionMatch {
        sources: vec![VersionSource::Header("v".to_owned())],
        version: (random.below(3) > 0).then(|| any(random, &["1", "2"]).to_owned()),
        is_default: random.below(2) == 0,
    });
    let method = (random.below(3) == 0).then(|| any(random, &["GET", "PUT"]).to_owned());
    Match { path, method, headers: values(random), query: values(random), version }
}

const HOSTS: [&str; 5] = ["a.com", "b.a.com", "*.a.com", "*.com", "*.b.a.com"];

fn random_routes(random: &mut Random) -> Vec<Route> {
    let count = 1 + random.below(8);
    let mut routes = Vec::new();
    for place in 0..count {
        let rules = 0..1 + random.below(4);
        let rules = rules.map(|number| {
            let matches = (0..random.below(3)).map(|_| random_match(random)).collect();
            rule(&format!("{place}/{number}"), matches)
        });
        let mut route = route(&format!("n/{place}"), rules.collect());
        let hosts = 0..random.below(3);
        route.hostnames = hosts.map(|_| any(random, &HOSTS).to_owned()).collect();
        route.created = (random.below(2) == 0).then(|| i64::from(random.below(2) == 0));
        routes.push(route);
    }
    routes
}

fn random_request(random: &mut Random) -> Request {
    let method = any(random, &["GET", "PUT"]);
    let query = any(random, &["", "?x=1", "?y=1&x=1", "?x=2"]);
    let mut request = Request::new(&format!("{method} {}{query}", any(random, &PATHS)));
    request.host = any(random, &["a.com", "b.a.com", "c.b.a.com", "com", "c.com", ""]).to_owned();
    let headers = ["x", "y"].into_iter().filter(|_| random.below(2) == 0);
    request.headers = headers.map(|it| (it.to_owned(), "1".to_owned())).collect();
    if random.below(2) == 0 {
        request.headers.insert("v".to_owned(), any(random, &["1", "v2", "3"]).to_owned());
    }
    request
}

#[test]
fn the_trees_find_what_asking_every_rule_finds() {
    let mut found: BTreeMap<bool, u32> = BTreeMap::new();
    for seed in 0..2_000 {
        let mut random = Random::with_seed(seed);
        let routes = random_routes(&mut random);
        let table = Table::compile(&routes, &edge()).unwrap();
        for _ in 0..20 {
            let request = random_request(&mut random);
            let to = table.find(&request).map(|it| it.rule.backends[0].service.as_str());
            assert_eq!(to, taken(&table, &request), "seed {seed}: {request:?} in {routes:#?}");
            *found.entry(to.is_some()).or_default() += 1;
        }
    }
    assert!(found[&true] > 5_000 && found[&false] > 1_000, "{found:?} says too little");
}

#[test]
fn an_explanation_names_the_first_reason_of_each_rule() {
    let host =
        Route { hostnames: vec!["other".into()], ..route("n/host", vec![rule("host", vec![])]) };
    let method = Match { method: Some("PUT".into()), ..prefix("/a") };
    let header = ValueMatch { name: "X-Pin".into(), value: ValuePattern::Exact("1".into()) };
    let header = Match { headers: vec![header], ..prefix("/a") };
    let main = route(
        "n/main",
        vec![
            rule("path", vec![prefix("/b")]),
            rule("method", vec![method]),
            rule("header", vec![header]),
            rule("taken", vec![prefix("/a")]),
            rule("outranked", vec![]),
        ],
    );
    let table = Table::compile(&[host, main], &edge()).unwrap();
    let request = Request::new("GET /a");
    let explained = table.explain(&request);
    let told: Vec<_> = explained
        .iter()
        .map(|it| (it.found.rule.backends[0].service.as_str(), it.verdict))
        .collect();
    let expected = [
        ("method", Verdict::Refused(Mismatch::Method)),
        ("header", Verdict::Refused(Mismatch::Header("x-pin"))),
        ("path", Verdict::Refused(Mismatch::Path)),
        ("taken", Verdict::Taken),
        ("outranked", Verdict::Outranked),
        ("host", Verdict::Refused(Mismatch::Host)),
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_table_holds_the_routes_of_its_parent_alone() {
    let gateway = |name: &str, section: Option<&str>| Parent::Gateway {
        name: name.into(),
        section: section.map(str::to_owned),
    };
    let service = |name: &str| Parent::Service { name: name.into() };
    let attached = |parents: &[Parent]| Route { parents: parents.to_vec(), ..route("n/r", vec![]) };
    let counts = |own: &[Parent], asked: &Parent| {
        Table::compile(&[attached(own)], asked).unwrap().routes().len()
    };
    let edge = edge();
    assert_eq!(counts(&[gateway("edge", None)], &edge), 1);
    assert_eq!(counts(&[gateway("edge", Some("http"))], &edge), 1);
    assert_eq!(counts(&[gateway("edge", Some("https"))], &edge), 0);
    assert_eq!(counts(&[gateway("edge", Some("https"))], &gateway("edge", None)), 1);
    assert_eq!(counts(&[gateway("other", None)], &edge), 0);
    assert_eq!(counts(&[service("edge")], &edge), 0);
    assert_eq!(counts(&[service("edge")], &service("edge")), 1);
    assert_eq!(counts(&[gateway("edge", None), service("a")], &service("a")), 1);
    assert!(Table::compile(&[attached(&[service("b")])], &service("a")).unwrap().is_empty());
}

#[test]
fn calls_to_a_service_do_not_ask_for_hostnames() {
    let service = Parent::Service { name: "account".into() };
    let route = Route {
        parents: vec![service.clone()],
        hostnames: vec!["example.com".into()],
        ..route("n/r", vec![rule("v2", vec![])])
    };
    let table = Table::compile(&[route], &service).unwrap();
    let request = Request { host: "account".into(), ..Request::new("GET /") };
    assert_eq!(taken(&table, &request), Some("v2"));
    assert!(table.find(&request).is_some());
}

#[track_caller]
fn refused(route: Route) -> Flaw {
    Table::compile(&[route], &edge()).expect_err("it cannot be meant").flaw
}

#[test]
fn a_route_that_cannot_be_meant_makes_no_table() {
    let with_path = |path| {
        refused(route("n/r", vec![rule("a", vec![Match { path: Some(path), ..Match::default() }])]))
    };
    let regex = |pattern: &str| with_path(PathMatch::Regex(pattern.into()));
    assert!(matches!(regex("("), Flaw::Regex { .. }));
    assert!(matches!(regex("a)|(b"), Flaw::Regex { .. }), "it would not be over the whole path");
    assert!(matches!(regex(&"(a{100}){100}{100}".repeat(9)), Flaw::Regex { .. }), "too large");
    let grpc = |service: Option<&str>| {
        with_path(PathMatch::Grpc { service: service.map(str::to_owned), method: None })
    };
    assert_eq!(grpc(None), Flaw::Grpc);
    assert_eq!(grpc(Some("a/b")), Flaw::Grpc);
    for path in ["/a%2fb", "a", "/a;b/../../..", "/\u{e9}"] {
        assert!(matches!(with_path(PathMatch::Exact(path.into())), Flaw::Path { .. }), "{path}");
    }
    for path in ["/a//b", "/a/../b", "/%61", "/%c3%a9"] {
        let flaw = with_path(PathMatch::Prefix(path.into()));
        assert!(matches!(flaw, Flaw::PathNotNormal { .. }), "{path}");
    }
    for host in ["", "*", "*.", "a.*.com", "a:80", "*a.com", "a..com", "a/b"] {
        // Hostnames of a route without rules are looked at too.
        let route = Route { hostnames: vec![host.into()], ..route("n/r", vec![]) };
        assert_eq!(refused(route), Flaw::Hostname(host.into()));
    }
}

#[test]
fn an_error_says_where_and_what() {
    let path = Some(PathMatch::Prefix("/a//b".into()));
    let bad = rule("a", vec![Match { path, ..Match::default() }]);
    let error =
        Table::compile(&[route("shop/edge", vec![rule("b", vec![]), bad])], &edge()).unwrap_err();
    assert_eq!(error.to_string(), "route `shop/edge`, rule 2: path `/a//b` is written `/a/b`");
}

fn weighted(weights: &[u32]) -> Rule {
    let backends = weights.iter().enumerate().map(|(place, it)| backend(&place.to_string(), *it));
    Rule { backends: backends.collect(), ..Rule::default() }
}

// mesh 12b: 10
#[test]
fn each_backend_gets_its_share() {
    for seed in 0..20 {
        let (rule, mut random) = (weighted(&[70, 30, 0]), Random::with_seed(seed));
        let mut counts = [0_i32; 3];
        for _ in 0..500 {
            let chosen = choose_backend(&rule, random.unit()).unwrap();
            counts[chosen.service.parse::<usize>().unwrap()] += 1;
        }
        // Five points of 500 to each side: conformance allows ten tries, we one for each seed.
        assert!((counts[0] - 350).abs() <= 25, "seed {seed}: {counts:?}");
        assert_eq!(counts[2], 0, "seed {seed}");
    }
}

#[test]
fn a_weight_of_zero_is_never_chosen() {
    let chosen = |weights: &[u32], draw| {
        choose_backend(&weighted(weights), draw).map(|it| it.service.clone())
    };
    for draw in [0.0, 0.5, 1.0 - f64::EPSILON, 1.0, f64::NAN] {
        assert_eq!(chosen(&[0, 1, 0], draw).as_deref(), Some("1"), "draw {draw}");
        assert_eq!(chosen(&[0, 0], draw), None);
        assert_eq!(chosen(&[], draw), None);
    }
    assert_eq!(chosen(&[1, 1], 0.5).as_deref(), Some("1"));
    assert_eq!(chosen(&[u32::MAX, u32::MAX], 0.499_999).as_deref(), Some("0"));
}
