//! A reader of files that people edit meets everything: none of it may end the program.

use base::Random;
use mesh_policy::{
    analyze::analyze,
    schema::{SourceFile, read_with_origins},
};

use crate::schema::data;

const MUTATIONS: u64 = 10_000;

/// Pieces that mean something to YAML or to us.
const PIECES: [&str; 25] = [
    "{",
    "}",
    "[",
    "]",
    ":",
    ": ",
    "-",
    "- ",
    "\n",
    "\n  ",
    "\t",
    "\"",
    "'",
    "&a ",
    "*a",
    "!!str ",
    "|",
    ">",
    "---\n",
    "#",
    "? ",
    "ü",
    "99999999999999999999",
    "\0",
    "日本語の長い名前はどこで切れるのか",
];

fn place(random: &mut Random, text: &str) -> usize {
    let mut at = usize::try_from(random.below(text.len() as u64 + 1)).unwrap();
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn mutate(random: &mut Random, text: &mut String) {
    let (one, other) = (place(random, text), place(random, text));
    let (from, to) = (one.min(other), one.max(other));
    match random.below(5) {
        0 => text
            .insert_str(from, PIECES[usize::try_from(random.below(PIECES.len() as u64)).unwrap()]),
        1 => {
            let end = (from..=to).rev().find(|it| *it <= from + 8 && text.is_char_boundary(*it));
            text.replace_range(from..end.unwrap_or(from), "");
        }
        2 => text.replace_range(from..to, ""),
        3 => {
            let copy = text[from..to].to_owned();
            text.insert_str(from, &copy);
        }
        _ => text.truncate(to),
    }
}

#[test]
fn no_mutation_of_a_good_file_ends_the_program() {
    let names = ["proxy", "edge", "canary", "traffic", "versions", "limits", "grpc"];
    let files = names.map(|it| data(&format!("examples/{it}.yaml")).text);
    let mut readable = 0;
    for seed in 0..MUTATIONS {
        let mut random = Random::with_seed(seed);
        let mut text = files[usize::try_from(random.below(7)).unwrap()].clone();
        for _ in 0..=random.below(4) {
            mutate(&mut random, &mut text);
        }
        let file = SourceFile { name: format!("seed-{seed}"), text };
        match read_with_origins(&[file]) {
            Ok((policy, origins)) => {
                readable += 1;
                let findings = analyze(&policy, &origins);
                assert!(findings.iter().all(|it| !it.render().is_empty()), "seed {seed}");
            }
            Err(findings) => {
                assert!(!findings.is_empty(), "seed {seed}");
                for finding in findings {
                    assert!(finding.line > 0 && finding.column > 0, "seed {seed}: {finding}");
                    assert!(finding.render().ends_with('\n'), "seed {seed}");
                }
            }
        }
    }
    // Both ends were visited.
    assert!((100..MUTATIONS - 100).contains(&readable), "{readable}");
}
