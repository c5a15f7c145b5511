//! The reference of policy in the documents says what the reader reads.

use std::{collections::BTreeSet, fs, path::Path};

use mesh_policy::{
    analyze::analyze,
    destination::Destination,
    schema::{Code, Level, SourceFile, read, read_with_origins},
};

use crate::schema::rendered;

const REFERENCE: &str = include_str!("../../../../docs/policy.md");

/// Each file of the reader with the section that is about it.
const SECTIONS: [(&str, &str); 14] = [
    ("document", "A document"),
    ("gateway", "HTTPRoute"),
    ("http_route", "HTTPRoute"),
    ("filters", "Filters"),
    ("grpc_route", "GRPCRoute"),
    ("budget", "XBackendTrafficPolicy"),
    ("proxy", "Proxy"),
    ("endpoints", "Endpoints"),
    ("traffic_policy", "TrafficPolicy"),
    ("api_versions", "ApiVersions"),
    ("rate_limit", "RateLimit"),
    ("fault", "Fault"),
    ("authorization", "Authorization"),
    ("edge_access", "EdgeAccess"),
];

fn section(title: &str) -> &'static str {
    let (_, text) = REFERENCE
        .split_once(&format!("\n## {title}\n"))
        .unwrap_or_else(|| panic!("there is no section {title}"));
    text.split("\n## ").next().unwrap()
}

/// The blocks of YAML, with the section that they stand in.
fn blocks() -> Vec<SourceFile> {
    let mut blocks = Vec::new();
    for part in REFERENCE.split("\n## ").skip(1) {
        let title = part.lines().next().unwrap();
        for block in part.split("```yaml\n").skip(1) {
            let text = block.split("```").next().unwrap().to_owned();
            blocks.push(SourceFile { name: title.to_owned(), text });
        }
    }
    blocks
}

/// What may stand in files by one source file of the reader: the texts of arrays of nothing else
/// (members that are known), and the first texts in brackets (words of a list, members that are read).
fn known(file: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/schema/{file}.rs"));
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]").next().unwrap();
    let is_word = |it: &str| !it.is_empty() && it.chars().all(|it| it.is_ascii_alphanumeric());
    let quoted = |it: &str| Some(it.strip_prefix('"')?.strip_suffix('"')?.to_owned());
    let mut found = BTreeSet::new();
    for piece in text.split('[').skip(1) {
        let inside = piece.split(']').next().unwrap();
        let items: Vec<_> = inside.split(',').map(str::trim).filter(|it| !it.is_empty()).collect();
        let words: Option<Vec<String>> = items.iter().map(|it| quoted(it)).collect();
        found.extend(words.into_iter().flatten().filter(|it| is_word(it)));
    }
    for piece in text.split("(\"").skip(1) {
        found.extend(piece.split('"').next().filter(|it| is_word(it)).map(str::to_owned));
    }
    found
}

#[test]
fn every_example_of_the_reference_is_read_and_meant() {
    let blocks = blocks();
    assert_eq!(blocks.len(), 12, "each section but the first has one example");
    for block in blocks {
        let files = std::slice::from_ref(&block);
        let (policy, origins) = read_with_origins(files)
            .unwrap_or_else(|it| panic!("{}: {}", block.name, rendered(&it)));
        let findings = analyze(&policy, &origins);
        let errors: Vec<_> = findings.into_iter().filter(|it| it.level > Level::Info).collect();
        assert!(errors.is_empty(), "{}", rendered(&errors));
    }
}

#[test]
fn every_member_and_word_that_is_read_stands_in_its_section() {
    let mut count = 0;
    for (file, title) in SECTIONS {
        let known = known(file);
        assert!(!known.is_empty(), "nothing was found in {file}");
        count += known.len();
        for word in known {
            let is_there = |text: &str| {
                text.split(|it: char| !it.is_ascii_alphanumeric()).any(|it| it == word)
            };
            assert!(is_there(section(title)), "{title} does not name `{word}` of {file}.rs");
        }
    }
    assert!(count > 130, "{count} words were found, the search is broken");
    let all: BTreeSet<String> = SECTIONS.iter().flat_map(|(file, _)| known(file)).collect();
    for word in ["successRateMin", "expiresAfter", "ExternalAuth", "readinessPath", "managedFields"]
    {
        assert!(all.contains(word), "the search does not find `{word}`");
    }
}

#[test]
fn every_kind_has_a_section_with_an_example_of_it() {
    let kinds = [
        "HTTPRoute",
        "GRPCRoute",
        "XBackendTrafficPolicy",
        "Proxy",
        "Endpoints",
        "TrafficPolicy",
        "ApiVersions",
        "RateLimit",
        "Fault",
        "Authorization",
        "EdgeAccess",
    ];
    assert_eq!(kinds_that_are_read(), kinds.map(str::to_owned).into());
    for kind in kinds {
        assert!(section(kind).contains(&format!("\nkind: {kind}\n")), "{kind}");
    }
}

fn kinds_that_are_read() -> BTreeSet<String> {
    let text = include_str!("../../src/schema/document.rs");
    let (_, text) = text.split_once("const KINDS").unwrap();
    let (text, _) = text.split_once("];\n").unwrap();
    let names = text.split("(\"").skip(1).map(|it| it.split('"').next().unwrap().to_owned());
    names.collect()
}

#[test]
fn the_defaults_in_the_reference_are_those_of_the_program() {
    let block = blocks().into_iter().find(|it| it.name == "TrafficPolicy").unwrap();
    let policy = read(&[block]).unwrap();
    assert_eq!(policy.destination("any"), Destination::default());
}

#[test]
fn every_code_stands_in_the_reference() {
    let codes = section("What can be wrong");
    for code in Code::ALL {
        assert!(codes.contains(code.as_str()), "{code}");
    }
}
