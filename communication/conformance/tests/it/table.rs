//! The table for people lists what there is.

use std::{collections::BTreeSet, path::Path};

use conformance::{Group, Scenario, all, listed};

fn document() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/conformance.md");
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn the_document_lists_every_scenario_and_no_other() {
    let promised: Vec<String> = all().iter().map(Scenario::id).collect();
    let listed = listed(&document());
    let missing: Vec<_> = promised.iter().filter(|it| !listed.contains(it)).collect();
    let gone: Vec<_> = listed.iter().filter(|it| !promised.contains(it)).collect();
    let command = "`cargo xtask conformance` writes it";
    assert!(
        missing.is_empty() && gone.is_empty(),
        "{command}: not in it {missing:?}, gone {gone:?}"
    );
}

#[test]
fn the_document_says_what_each_scenario_promises_and_by_what_it_is_judged() {
    let document = document();
    for scenario in all() {
        let row = format!("| `{}` | {} | {} |", scenario.name, scenario.promise, scenario.judged);
        assert!(document.contains(&row), "`cargo xtask conformance` writes it: {}", scenario.id());
    }
}

#[test]
fn there_are_a_hundred_scenarios_at_the_least_and_no_two_of_a_name() {
    let all = all();
    let ids: BTreeSet<String> = all.iter().map(Scenario::id).collect();
    assert_eq!(ids.len(), all.len());
    assert!(all.len() >= 100, "{}", all.len());
    for group in Group::ALL {
        assert!(all.iter().any(|it| it.group == group), "{group:?} is empty");
    }
}

#[test]
fn a_promise_is_one_sentence() {
    for scenario in all() {
        let promise = scenario.promise;
        let is_sentence = promise.ends_with('.') && !promise[..promise.len() - 1].contains(". ");
        assert!(is_sentence && !promise.contains('|'), "{}: {promise}", scenario.id());
        let judged = scenario.judged;
        assert!(!judged.ends_with('.') && !judged.contains('|'), "{}: {judged}", scenario.id());
    }
}
