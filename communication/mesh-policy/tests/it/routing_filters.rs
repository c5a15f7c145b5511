//! What filters make of a request and a response.

use mesh_policy::{
    filter::{
        Arrival, Edit, Filter, HeaderChange, PathChange, Redirect, Rewrite, redirect,
        request_edits, response_edits, rewrite,
    },
    route::{Backend, Flaw, Match, Parent, PathMatch, Route, RouteKind, Rule, Table},
};

fn rows(table: &str) -> impl Iterator<Item = Vec<&str>> {
    table.lines().filter(|it| !it.starts_with('#')).map(|it| it.split('\t').collect())
}

fn prefix(path: &str) -> Match {
    Match { path: Some(PathMatch::Prefix(path.to_owned())), ..Match::default() }
}

// mesh 12b: 13
#[test]
fn a_redirect_has_the_port_of_the_table() {
    let mut count = 0;
    for row in rows(include_str!("../../data/redirects.tsv")) {
        let [listener_port, came, scheme, port, location] = row[..] else { panic!("{row:?}") };
        let redirect = Redirect {
            scheme: (scheme != "-").then(|| scheme.to_owned()),
            port: (port != "-").then(|| port.parse().unwrap()),
            status: 302,
            ..Redirect::default()
        };
        let listener_port = listener_port.parse().unwrap();
        let arrival =
            Arrival { scheme: came, host: "h", listener_port, path: "/a", query: Some("q=1") };
        assert_eq!(redirect.location(&arrival, ""), location, "{row:?}");
        count += 1;
    }
    assert_eq!(count, 15);
}

#[test]
fn a_redirect_changes_host_and_path() {
    let arrival =
        Arrival { scheme: "http", host: "h", listener_port: 80, path: "/a/b", query: None };
    let location =
        |redirect: &Redirect, host: &str| redirect.location(&Arrival { host, ..arrival }, "/a");
    let hostname = Some("example.org".to_owned());
    let path = Some(PathChange::Prefix("/x".to_owned()));
    let both = Redirect { hostname, path: path.clone(), ..Redirect::default() };
    assert_eq!(location(&both, "h"), "http://example.org/x/b");
    let full = Some(PathChange::Full("/all".to_owned()));
    assert_eq!(location(&Redirect { path: full, ..Redirect::default() }, "h"), "http://h/all");
    assert_eq!(location(&Redirect { path, ..Redirect::default() }, ""), "/x/b");
}

#[test]
fn a_replaced_prefix_has_the_corners_of_the_table() {
    let mut count = 0;
    for row in rows(include_str!("../../data/rewrites.tsv")) {
        let [path, matched, replacement, expected] = row[..] else { panic!("{row:?}") };
        let replacement = if replacement == "-" { "" } else { replacement };
        let change = PathChange::Prefix(replacement.to_owned());
        assert_eq!(change.apply(path, prefix(matched).prefix()), expected, "{row:?}");
        count += 1;
    }
    assert_eq!(count, 16);
}

// mesh 12b: 14
#[test]
fn a_rewrite_keeps_the_query() {
    let change = |path| Rewrite { path: Some(path), hostname: None };
    let full = change(PathChange::Full("/one".to_owned()));
    assert_eq!(full.target("/a/b", Some("q=%20"), "/a"), "/one?q=%20");
    let part = change(PathChange::Prefix("/one".to_owned()));
    assert_eq!(part.target("/a/b", None, "/a"), "/one/b");
    assert_eq!(part.target("/a", None, Match::default().prefix()), "/one/a");
    assert_eq!(Rewrite::default().target("/a", Some(""), prefix("/").prefix()), "/a?");
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn to(filters: Vec<Filter>) -> Backend {
    Backend { service: "a".into(), port: None, weight: 1, filters }
}

#[test]
fn edits_go_from_the_rule_to_the_backend_and_back() {
    let of_rule = HeaderChange {
        set: vec![pair("x", "a")],
        add: vec![pair("x", "b")],
        remove: vec!["y".into()],
    };
    let of_backend = HeaderChange { set: vec![pair("z", "c")], ..HeaderChange::default() };
    let filters = |it: &HeaderChange| {
        vec![Filter::RequestHeaders(it.clone()), Filter::ResponseHeaders(it.clone())]
    };
    let rule = Rule {
        filters: filters(&of_rule),
        backends: vec![to(filters(&of_backend))],
        ..Rule::default()
    };
    let first = [
        Edit::Set { name: "x", value: "a" },
        Edit::Append { name: "x", value: "b" },
        Edit::Remove { name: "y" },
    ];
    let last = Edit::Set { name: "z", value: "c" };
    let request: Vec<_> = request_edits(&rule.filters, &rule.backends[0].filters).collect();
    assert_eq!(request, [&first[..], &[last]].concat());
    let response: Vec<_> = response_edits(&rule.filters, &rule.backends[0].filters).collect();
    assert_eq!(response, [&[last], &first[..]].concat());
}

#[test]
fn the_rewrite_of_a_backend_comes_before_that_of_its_rule() {
    let named = |host: &str| Rewrite { hostname: Some(host.to_owned()), path: None };
    let rule = Rule {
        filters: vec![Filter::Rewrite(named("rule"))],
        backends: vec![to(vec![Filter::Rewrite(named("backend"))]), to(vec![])],
        ..Rule::default()
    };
    assert_eq!(rewrite(&rule.filters, &rule.backends[0].filters), Some(&named("backend")));
    assert_eq!(rewrite(&rule.filters, &rule.backends[1].filters), Some(&named("rule")));
    assert_eq!(redirect(&rule.filters), None);
}

#[track_caller]
fn flaw(rule: Rule) -> Option<Flaw> {
    let parent = Parent::Gateway { name: "edge".into(), section: None };
    let route = Route {
        name: "n/r".into(),
        kind: RouteKind::Http,
        created: None,
        parents: vec![parent.clone()],
        hostnames: Vec::new(),
        rules: vec![rule],
    };
    Table::compile(&[route], &parent).err().map(|it| it.flaw)
}

#[test]
fn a_filter_that_cannot_be_meant_makes_no_table() {
    let with = |filter| flaw(Rule { filters: vec![filter], ..Rule::default() });
    let set = |name: &str, value: &str| {
        let change = HeaderChange { set: vec![pair(name, value)], ..HeaderChange::default() };
        with(Filter::ResponseHeaders(change))
    };
    assert_eq!(set("deprecation", "@1735689600"), None);
    for name in ["content-length", "transfer-encoding", "connection", "host", "te"] {
        assert_eq!(set(name, "1"), Some(Flaw::Field(name.to_owned())));
    }
    for (name, value) in [("x", "a\r\nb: c"), ("x y", "a"), ("X", "a"), ("", "a"), ("x", "\u{e9}")]
    {
        assert_eq!(set(name, value), Some(Flaw::FieldText(name.to_owned())), "{name}: {value}");
    }
    let remove = HeaderChange { remove: vec!["trailer".into()], ..HeaderChange::default() };
    let refused = Some(Flaw::Field("trailer".into()));
    assert_eq!(with(Filter::RequestHeaders(remove)), refused);
    let status = |status| with(Filter::Redirect(Redirect { status, ..Redirect::default() }));
    assert_eq!(status(308), None);
    assert_eq!(status(300), Some(Flaw::RedirectStatus(300)));
}

#[test]
fn a_change_of_the_prefix_needs_a_prefix() {
    let change = Rewrite { hostname: None, path: Some(PathChange::Prefix("/x".into())) };
    let rewrite = Filter::Rewrite(change);
    let with = |path| {
        let matches = vec![Match { path, ..Match::default() }];
        flaw(Rule { matches, filters: vec![rewrite.clone()], ..Rule::default() })
    };
    assert_eq!(with(None), None);
    assert_eq!(with(Some(PathMatch::Prefix("/a".into()))), None);
    assert_eq!(with(Some(PathMatch::Exact("/a".into()))), Some(Flaw::PrefixChange));
    assert_eq!(with(Some(PathMatch::Regex("/a".into()))), Some(Flaw::PrefixChange));
}

#[test]
fn a_redirect_is_alone_and_the_rules() {
    let redirect = Filter::Redirect(Redirect { status: 302, ..Redirect::default() });
    let both = vec![redirect.clone(), Filter::Rewrite(Rewrite::default())];
    let both = flaw(Rule { filters: both, ..Rule::default() });
    assert_eq!(both, Some(Flaw::RedirectAndRewrite));
    let of_backend = flaw(Rule { backends: vec![to(vec![redirect])], ..Rule::default() });
    assert_eq!(of_backend, Some(Flaw::RedirectOfBackend));
    let unclean = Rewrite { hostname: None, path: Some(PathChange::Full("/a/../b".into())) };
    let unclean = flaw(Rule { filters: vec![Filter::Rewrite(unclean)], ..Rule::default() });
    assert!(matches!(unclean, Some(Flaw::PathNotNormal { .. })), "{unclean:?}");
}
