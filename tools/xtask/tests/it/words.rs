//! Invariant 1: the communication storey has never heard of what is delivered with it.

use crate::tree::{files, text};

const BUSINESS_NOUNS: [&str; 5] = ["drone", "parcel", "pickup", "dropoff", "ingestion"];

fn business_noun_in(text: &str) -> Option<&'static str> {
    let lower = text.to_lowercase();
    BUSINESS_NOUNS.into_iter().find(|noun| lower.contains(noun))
}

#[test]
fn no_business_noun_occurs_in_communication() {
    for path in files("communication") {
        assert_eq!(business_noun_in(&path), None, "in the name of {path}");
        for (index, line) in text(&path).unwrap_or_default().lines().enumerate() {
            assert_eq!(business_noun_in(line), None, "{path}:{}: {line}", index + 1);
        }
    }
}

#[test]
fn a_business_noun_is_found_in_any_case() {
    assert_eq!(business_noun_in("fn book_Drone()"), Some("drone"));
    assert_eq!(business_noun_in("fn book()"), None);
}
