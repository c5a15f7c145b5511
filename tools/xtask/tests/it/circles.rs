//! Inside a crate, modules form no circle.
//!
//! Counted are the modules that stand side by side in one module, each with all that stands below
//! it: of two of them at the most one may know the other, also by way of third ones. A module and
//! what stands in it may know each other: they are read as one idea, and a child that was in nobody's
//! way would be a sibling. A name that the crate's root hands on counts as the module it comes from.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    modules::{Graph, Module},
    tree::{files, text},
};

/// Circles that stand: root of the crate, the module they stand in, who takes part. The list may only
/// get shorter.
#[rustfmt::skip]
const KNOWN: &[(&str, &str, &[&str])] = &[
    ("apps/drone-delivery/src/main.rs", "", &["endpoints", "instances", "mesh", "processes", "role", "sidecars"]),
    ("communication/saga/src/lib.rs", "", &["engine", "runner"]),
    ("communication/saga/src/lib.rs", "machine", &["operate", "record", "state"]),
    ("communication/service-kit/src/lib.rs", "", &["context", "export", "service"]),
    ("communication/store/src/lib.rs", "", &["migrate", "schema"]),
    ("communication/telemetry/src/lib.rs", "", &["hub", "span"]),
    ("drone-delivery/drone-service/src/lib.rs", "", &["booking", "events"]),
    ("drone-delivery/third-party-transport-service/src/lib.rs", "", &["booking", "events"]),
];

/// A circle: the module that it stands in, and the names of those that take part.
type Circle = (String, Vec<String>);

/// The circles of one crate.
fn circles(edges: &BTreeSet<(Module, Module)>) -> Vec<Circle> {
    // For each module, which of its children know which.
    let mut levels: BTreeMap<&[String], BTreeSet<(&str, &str)>> = BTreeMap::new();
    for (from, to) in edges {
        let shared = from.iter().zip(to).take_while(|(a, b)| a == b).count();
        let pair = (from[shared].as_str(), to[shared].as_str());
        levels.entry(&from[..shared]).or_default().insert(pair);
    }
    let mut found = Vec::new();
    for (module, edges) in levels {
        let reach = reach(&edges);
        let mut left: BTreeSet<&str> = reach.keys().copied().collect();
        while let Some(first) = left.pop_first() {
            let is_mutual = |it: &&&str| reach[first].contains(**it) && reach[**it].contains(first);
            let others: Vec<&str> = left.iter().filter(is_mutual).copied().collect();
            left.retain(|it| !others.contains(it));
            if !others.is_empty() {
                let names = [first].into_iter().chain(others).map(str::to_owned).collect();
                found.push((module.join("::"), names));
            }
        }
    }
    found
}

/// Whom each of them knows, also by way of others.
fn reach<'a>(edges: &BTreeSet<(&'a str, &'a str)>) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
    let mut reach: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (from, to) in edges {
        reach.entry(from).or_default().insert(to);
        reach.entry(to).or_default();
    }
    loop {
        let before = reach.clone();
        for known in reach.values_mut() {
            let further: Vec<&str> = known.iter().flat_map(|it| &before[it]).copied().collect();
            known.extend(further);
        }
        if reach == before {
            return reach;
        }
    }
}

/// Roots of crates: of their libraries and programs.
fn roots() -> Vec<String> {
    let folders = ["communication", "drone-delivery", "apps", "tools"];
    let all = folders.into_iter().flat_map(files);
    all.filter(|it| it.ends_with("/src/lib.rs") || it.ends_with("/src/main.rs")).collect()
}

#[test]
fn the_modules_of_a_crate_form_no_circle() {
    let mut found = BTreeSet::new();
    let mut shown = Vec::new();
    for root in roots() {
        let edges = Graph::read(&root, &text).edges();
        for (module, names) in circles(&edges) {
            shown.push(format!("{root}: in `{module}`: {}", names.join(", ")));
            found.insert((root.clone(), module, names));
        }
    }
    let known = KNOWN.iter().map(|(root, module, names)| {
        let names = names.iter().map(|it| (*it).to_owned()).collect();
        ((*root).to_owned(), (*module).to_owned(), names)
    });
    let known: BTreeSet<(String, String, Vec<String>)> = known.collect();
    let fresh: Vec<_> = found.difference(&known).collect();
    assert!(fresh.is_empty(), "a circle that was not there: {fresh:#?}\nall: {shown:#?}");
    let gone: Vec<_> = known.difference(&found).collect();
    assert!(gone.is_empty(), "no circle any more, strike it from the list: {gone:#?}");
}

#[track_caller]
fn check(files: &[(&str, &str)], expected: &[(&str, &[&str])]) {
    let text = |path: &str| {
        let file = files.iter().find(|(name, _)| format!("src/{name}") == path);
        file.map(|(_, text)| (*text).to_owned())
    };
    let found = circles(&Graph::read("src/lib.rs", &text).edges());
    let expected: Vec<Circle> = expected
        .iter()
        .map(|(module, names)| {
            ((*module).to_owned(), names.iter().map(|it| (*it).to_owned()).collect())
        })
        .collect();
    assert_eq!(found, expected);
}

const ROOT: (&str, &str) = ("lib.rs", "mod a;\nmod b;\nmod c;\npub use b::Thing;\n");

#[test]
fn a_circle_is_found_however_it_is_written() {
    for back in [
        "use crate::a;",
        "use crate::{a::Thing as Other, c};",
        "pub(crate) use super::a::*;",
        "fn f() -> u8 { crate::a::f() }",
        "fn f() -> u8 { super::a::f() }",
    ] {
        check(&[ROOT, ("a.rs", "use crate::b;"), ("b.rs", back)], &[("", &["a", "b"])]);
    }
    // By way of a third one; by a name that the root hands on.
    let three = [("a.rs", "use super::b;"), ("b.rs", "use super::c;"), ("c.rs", "use super::a;")];
    check(&[&[ROOT], &three[..]].concat(), &[("", &["a", "b", "c"])]);
    check(&[ROOT, ("a.rs", "use crate::Thing;"), ("b.rs", "use crate::a;")], &[("", &["a", "b"])]);
}

#[test]
fn what_stands_below_a_module_counts_as_the_module() {
    let below = [("b.rs", "mod d;\nmod e;"), ("b/d.rs", "use crate::a;"), ("b/e.rs", "")];
    check(&[&[ROOT, ("a.rs", "use crate::b::e;")], &below[..]].concat(), &[("", &["a", "b"])]);
    let inside =
        [("b.rs", "mod d;\nmod e;"), ("b/d.rs", "use super::e;"), ("b/e.rs", "use super::d;")];
    check(&[&[ROOT, ("a.rs", "")], &inside[..]].concat(), &[("b", &["d", "e"])]);
}

#[test]
fn parents_children_tests_and_comments_make_no_circle() {
    let family = [("b.rs", "mod d;\nuse d::f;"), ("b/d.rs", "use super::Thing;\nuse crate::a;")];
    check(&[&[ROOT, ("a.rs", "// use crate::b;")], &family[..]].concat(), &[]);
    let tests = "#[cfg(test)]\nmod tests {\n    use crate::a;\n    fn f() {}\n}\n";
    check(&[ROOT, ("a.rs", "use crate::b;"), ("b.rs", tests)], &[]);
    let texts = "const A: &str = \"use crate::a;\";\nconst B: &str = r#\"\"crate::a\"#;\nconst C: char = '\"';";
    check(&[ROOT, ("a.rs", "use crate::b;"), ("b.rs", texts)], &[]);
    check(&[ROOT, ("a.rs", "use crate::b;"), ("b.rs", "use std::c;\nuse c::a;")], &[]);
}
