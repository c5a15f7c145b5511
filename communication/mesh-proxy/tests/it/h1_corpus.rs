//! The corpus of each fuzz target, replayed by the same checks without a fuzzer.

use std::{fs, path::Path};

#[path = "../../fuzz/checks.rs"]
mod checks;

type Check = fn(&[u8]);

const TARGETS: &[(&str, Check)] = &[
    ("h1_request", checks::h1_request),
    ("chunk", checks::chunk),
    ("trace_headers", checks::trace_headers),
    ("path", checks::paths::path),
    ("policy", checks::policies::policy),
    ("h2_budget", checks::frames::h2_budget),
];

#[test]
fn what_fuzzing_found_holds() {
    for (target, check) in TARGETS {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
        let (mut replayed, mut bytes) = (0, 0);
        for entry in fs::read_dir(&corpus).unwrap() {
            let input = fs::read(entry.unwrap().path()).unwrap();
            check(&input);
            replayed += 1;
            bytes += input.len();
        }
        assert!((4..300).contains(&replayed), "{target} has {replayed} inputs");
        assert!(bytes < 300_000, "{target} has {bytes} bytes of inputs");
    }
}

#[test]
fn each_corpus_belongs_to_a_target() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for entry in fs::read_dir(corpora).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(TARGETS.iter().any(|(target, _)| *target == name), "{name}");
    }
}
