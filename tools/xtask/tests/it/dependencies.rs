//! A crate names only what it uses: each dependency occurs in the code that it is a dependency of.

use std::path::Path;

use serde_json::Value;

use crate::{floors::metadata, tree::root};

/// Crates that the code calls otherwise than their package is called.
const CALLED: [(&str, &str); 1] = [("rustls-webpki", "webpki")];

/// What only a file outside the crate uses, which one of its modules reads by `#[path]`.
const ELSEWHERE: [(&str, &str); 1] = [("xtask", "base")];

/// The folders of a crate's code by the kind of its dependencies, as Cargo's metadata calls the kind.
fn folders(kind: Option<&str>) -> &'static [&'static str] {
    match kind {
        None => &["src"],
        Some("build") => &["build.rs"],
        // Unit tests stand in the sources.
        Some(_) => &["src", "tests", "benches", "examples"],
    }
}

/// Whether the code says `name::…`, `use name…` or `extern crate name`.
fn is_used(code: &str, name: &str) -> bool {
    let is_word = |it: char| it.is_alphanumeric() || it == '_';
    code.match_indices(name).any(|(at, _)| {
        let (before, after) = (&code[..at], &code[at + name.len()..]);
        let stands_alone = !before.ends_with(is_word) && !after.starts_with(is_word);
        let is_named = before.ends_with("use ") || before.ends_with("extern crate ");
        stands_alone && (after.starts_with("::") || is_named)
    })
}

/// Dependencies that the code never names, as `crate: dependency`. `code` reads a file or a folder.
fn unused(metadata: &Value, code: impl Fn(&Path) -> String) -> Vec<String> {
    let mut found = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let manifest = Path::new(package["manifest_path"].as_str().unwrap());
        for dependency in package["dependencies"].as_array().unwrap() {
            let kind = dependency["kind"].as_str();
            let name = dependency["rename"].as_str().or(dependency["name"].as_str()).unwrap();
            let called = CALLED.iter().find(|it| it.0 == name).map_or(name, |it| it.1);
            let word = called.replace('-', "_");
            let read = |it: &&str| is_used(&code(&manifest.with_file_name(it)), &word);
            let is_known = ELSEWHERE.contains(&(package["name"].as_str().unwrap(), name));
            if !is_known && !folders(kind).iter().any(read) {
                found.push(format!("{}: {name}", package["name"].as_str().unwrap()));
            }
        }
    }
    found
}

/// Every line of Rust in a file or below a folder; nothing where there is none.
fn code(path: &Path) -> String {
    if path.is_dir() {
        let entries = std::fs::read_dir(path).unwrap().map(|it| it.unwrap().path());
        return entries.map(|it| code(&it)).collect();
    }
    let is_rust = path.extension().is_some_and(|it| it == "rs");
    if is_rust && path.exists() { std::fs::read_to_string(path).unwrap() } else { String::new() }
}

#[test]
fn every_dependency_is_used() {
    assert!(root().join("Cargo.toml").exists());
    assert_eq!(unused(&metadata(), code), Vec::<String>::new());
}

#[test]
fn an_unused_dependency_is_found() {
    let dependency =
        |name: &str, kind: Option<&str>| serde_json::json!({"name": name, "kind": kind});
    let planted = serde_json::json!({"packages": [{
        "name": "a",
        "manifest_path": "/a/Cargo.toml",
        "dependencies": [
            dependency("base-64", None), dependency("used", None), dependency("tried", Some("dev")),
            dependency("idle", Some("dev")), dependency("misused", None),
        ],
    }]});
    let code = |path: &Path| match path.to_str().unwrap() {
        "/a/src" => "use used; fn f() { base_64::encode() } // misused".to_owned(),
        "/a/tests" => "use tried::Tried;".to_owned(),
        _ => String::new(),
    };
    assert_eq!(unused(&planted, code), ["a: idle", "a: misused"]);
}
