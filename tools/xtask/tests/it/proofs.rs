//! Invariant 10: where a route that changes something names the test that proves what it promises
//! about repetition, that test exists.

use crate::{
    documents::has_test,
    tree::{files, text},
};

/// The gateway leads on: each of its routes is proven where it leads to.
const ELSEWHERE: &str = "the service behind the route";

/// The names in `ProvenBy("…")`.
fn named(source: &str) -> Vec<&str> {
    let ends = source.split("ProvenBy(\"").skip(1);
    ends.filter_map(|it| Some(it.split_once('"')?.0)).collect()
}

#[test]
fn every_test_that_a_route_names_as_its_proof_exists() {
    let folders = ["communication", "drone-delivery", "apps", "tests"];
    let sources: Vec<(String, String)> = folders
        .into_iter()
        .flat_map(files)
        .filter(|it| it.ends_with(".rs"))
        .filter_map(|it| text(&it).map(|text| (it, text)))
        .collect();
    let mut promises = 0;
    // What stands in tests promises nothing to anybody.
    for (path, source) in sources.iter().filter(|it| it.0.contains("/src/")) {
        for name in named(source).into_iter().filter(|it| *it != ELSEWHERE) {
            promises += 1;
            let exists = sources.iter().any(|it| has_test(&it.1, name));
            assert!(exists, "{path} names `{name}`, which is no test");
        }
    }
    assert!(promises > 0, "no route names a proof: has the word changed?");
}

#[test]
fn a_name_without_a_test_is_found() {
    let planted = "repetition: Repetition::ProvenBy(\"a_dream\"),";
    assert_eq!(named(planted), ["a_dream"]);
    assert!(has_test("#[test]\nfn a_dream() {}", "a_dream"));
    assert!(!has_test("fn a_dream() {}", "a_dream"));
}
