//! Rules about source files: headers, forbidden marks, names of metrics.

use crate::tree::{files, text};

fn rust_files() -> Vec<String> {
    ["communication", "drone-delivery", "apps", "tests", "tools"]
        .into_iter()
        .flat_map(files)
        .filter(|it| it.ends_with(".rs"))
        .collect()
}

#[test]
fn every_crate_and_module_says_what_it_is() {
    for path in rust_files() {
        if path.ends_with("/lib.rs") || path.ends_with("/main.rs") {
            let text = text(&path).unwrap();
            assert!(text.starts_with("//!"), "{path} has no header");
        }
    }
}

#[test]
fn no_test_is_switched_off_and_nothing_is_left_undone() {
    // Written in two halves so that this file does not find itself.
    let marks = [concat!("#[ig", "nore"), concat!("to", "do!("), concat!("unimple", "mented!(")];
    for path in rust_files() {
        let text = text(&path).unwrap();
        for mark in marks {
            assert!(!text.contains(mark), "{path} contains {mark}");
        }
    }
}

#[test]
fn a_note_to_self_names_its_issue() {
    let mark = concat!("TO", "DO");
    for path in rust_files() {
        for (index, line) in text(&path).unwrap().lines().enumerate() {
            let bare = line.contains(mark) && !line.contains(&format!("{mark}(#"));
            assert!(!bare, "{path}:{}: names no issue", index + 1);
        }
    }
}

/// `<area>_<noun>…_<unit>` in snake case; counters end in `_total`.
fn is_metric_name(name: &str) -> bool {
    const UNITS: [&str; 9] =
        ["total", "seconds", "bytes", "ratio", "info", "records", "count", "messages", "rows"];
    name.split('_').count() >= 3
        && name.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'_')
        && name.rsplit('_').next().is_some_and(|unit| UNITS.contains(&unit))
}

#[test]
fn metric_names_say_area_noun_and_unit() {
    // The registry itself names no metric.
    let named =
        |it: &String| it.ends_with("/metrics.rs") && !it.starts_with("communication/telemetry/");
    for path in rust_files().iter().filter(|it| named(it)) {
        for line in text(path).unwrap().lines() {
            let Some(rest) = line
                .trim()
                .strip_prefix("pub const ")
                .or_else(|| line.trim().strip_prefix("pub(crate) const "))
            else {
                continue;
            };
            let Some((_, value)) = rest.split_once("&str = \"") else { continue };
            let name = value.trim_end_matches("\";");
            assert!(is_metric_name(name), "{path}: {name}");
        }
    }
}

#[test]
fn a_metric_without_a_unit_is_found() {
    assert!(is_metric_name("messaging_dead_letters_total"));
    assert!(!is_metric_name("messaging_dead_letters"));
    assert!(!is_metric_name("Messaging_deadLetters_total"));
}
