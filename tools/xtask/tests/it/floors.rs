//! No import runs upward or sideways: each crate names its floor, and depends on lower ones only.

use std::{collections::BTreeMap, process::Command};

use serde_json::Value;

use crate::tree::root;

pub(crate) fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Dependencies that do not run downward, as `(crate, floor, dependency, floor)`.
fn violations(metadata: &Value) -> Vec<(String, u64, String, u64)> {
    let packages = metadata["packages"].as_array().unwrap();
    let floor = |package: &Value| package["metadata"]["floor"]["number"].as_u64();
    let floors: BTreeMap<&str, u64> = packages
        .iter()
        .map(|it| {
            let name = it["name"].as_str().unwrap();
            (name, floor(it).unwrap_or_else(|| panic!("{name} names no floor")))
        })
        .collect();
    let mut found = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap();
        for dependency in package["dependencies"].as_array().unwrap() {
            let lower = dependency["name"].as_str().unwrap();
            if let Some(&floor) = floors.get(lower)
                && floor >= floors[name]
            {
                found.push((name.to_owned(), floors[name], lower.to_owned(), floor));
            }
        }
    }
    found
}

#[test]
fn every_dependency_is_on_a_lower_floor() {
    assert_eq!(violations(&metadata()), []);
}

#[test]
fn a_sideways_dependency_is_found() {
    let planted = serde_json::json!({"packages": [
        {"name": "a", "metadata": {"floor": {"number": 3}}, "dependencies": [{"name": "b"}]},
        {"name": "b", "metadata": {"floor": {"number": 3}}, "dependencies": [{"name": "serde"}]},
    ]});
    assert_eq!(violations(&planted), [("a".to_owned(), 3, "b".to_owned(), 3)]);
}
