//! Documents that are true: the article map names files and tests that exist, and no link is dead.

use std::path::{Component, Path, PathBuf};

use crate::tree::{files, root, text};

const MAP: &str = "docs/article-map.md";
/// What stands in a cell that names nothing.
const NONE: &str = "–";
const NOT_YET: &str = "**not yet**";

/// The texts between backticks.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// Whether a text has a function of that name with a test's attribute above it.
pub(crate) fn has_test(text: &str, name: &str) -> bool {
    let head = format!("fn {name}(");
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let is_head = |line: &str| line.strip_prefix("async ").unwrap_or(line).starts_with(&head);
    let is_attribute = |line: &str| line.starts_with("#[test") || line.starts_with("#[tokio::test");
    lines.iter().enumerate().any(|(index, line)| {
        let above = lines[..index].iter().rev().take_while(|it| it.starts_with("#["));
        is_head(line) && above.into_iter().any(|it| is_attribute(it))
    })
}

/// What is wrong with one row; empty when it names what exists.
fn faults_of(row: &str) -> Vec<String> {
    let cells: Vec<&str> = row.split('|').map(str::trim).collect();
    let ["", requirement, code, tests, command, ""] = cells[..] else {
        return vec![format!("has {} cells, not four", cells.len().saturating_sub(2))];
    };
    if requirement.is_empty() || command.is_empty() {
        return vec!["has an empty cell".to_owned()];
    }
    if code == NOT_YET {
        let named = [tests, command].into_iter().filter(|it| *it != NONE);
        return named.map(|it| format!("is not built, and names {it}")).collect();
    }
    let mut faults = Vec::new();
    let (code, tests) = (quoted(code), quoted(tests));
    if code.is_empty() || tests.iter().all(|it| it.contains('/')) {
        faults.push(format!("names no code or no test, and does not say {NOT_YET}"));
    }
    let missing = code.into_iter().filter(|it| !root().join(it).is_file());
    faults.extend(missing.map(|it| format!("names {it}, which does not exist")));
    let mut file = None;
    for name in tests {
        if name.contains('/') {
            file = text(name).map(|it| (name, it));
            if file.is_none() {
                faults.push(format!("names {name}, which does not exist"));
            }
        } else if let Some((path, text)) = &file
            && !has_test(text, name)
        {
            faults.push(format!("names `{name}`, which is no test of {path}"));
        }
    }
    if file.is_none() && faults.is_empty() {
        faults.push("names a test without its file".to_owned());
    }
    faults
}

/// The rows of every table, each with its line.
fn rows(map: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_row = |line: &str| line.starts_with('|') && !line.starts_with("|---");
    // The line above the dashes is the heading.
    let is_heading = |line: &str| line.starts_with("| requirement |");
    let numbered = map.lines().enumerate().map(|(index, line)| (index + 1, line));
    numbered.filter(move |(_, line)| is_row(line) && !is_heading(line))
}

#[test]
fn every_row_of_the_article_map_names_what_exists() {
    let map = text(MAP).unwrap();
    let found: Vec<String> = rows(&map)
        .flat_map(|(line, row)| faults_of(row).into_iter().map(move |it| (line, it)))
        .map(|(line, fault)| format!("{MAP}:{line}: {fault}"))
        .collect();
    assert!(rows(&map).count() > 50, "the map has lost its rows");
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[track_caller]
fn check_broken(row: &str, expected: &str) {
    let faults = faults_of(row);
    assert!(faults.iter().any(|it| it.contains(expected)), "{row}: {faults:?}");
}

#[test]
fn a_broken_row_is_found() {
    let here = "`tools/xtask/tests/it/documents.rs`";
    let good = format!("| a | {here} | {here} `a_broken_row_is_found` | `ls` |");
    assert_eq!(faults_of(&good), [""; 0]);
    assert_eq!(faults_of("| a | **not yet** | – | – |"), [""; 0]);
    let test = format!("{here} `a_broken_row_is_found`");
    check_broken(&format!("| a | `nowhere.rs` | {test} | – |"), "names nowhere.rs");
    check_broken(&format!("| a | {here} | {here} `no_such_test` | – |"), "is no test of");
    check_broken(&format!("| a | {here} | {here} `check_broken` | – |"), "is no test of");
    check_broken(&format!("| a | {here} | `no/such.rs` `a` | – |"), "names no/such.rs");
    check_broken(&format!("| a | {here} | `a_broken_row_is_found` | – |"), "without its file");
    check_broken(&format!("| a | {here} | – | – |"), "names no code or no test");
    check_broken(&format!("| a | **not yet** | {test} | – |"), "is not built");
    check_broken(&format!("| a | {here} | {here} | – |"), "names no code or no test");
    check_broken("| a | b | c |", "has 3 cells");
}

/// Targets of the links in a document, each with its line; what stands in code is none.
fn links(document: &str) -> Vec<(usize, &str)> {
    let (mut found, mut in_code) = (Vec::new(), false);
    for (index, line) in document.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        } else if !in_code {
            for plain in line.split('`').step_by(2) {
                let targets = plain.split("](").skip(1).filter_map(|it| it.split_once(')'));
                found.extend(targets.map(|(target, _)| (index + 1, target)));
            }
        }
    }
    found
}

/// How a heading is named in links to it.
fn anchor(heading: &str) -> String {
    let kept = |it: &char| it.is_alphanumeric() || matches!(it, ' ' | '-' | '_');
    heading
        .trim()
        .to_lowercase()
        .chars()
        .filter(kept)
        .map(|it| if it == ' ' { '-' } else { it })
        .collect()
}

fn anchors(document: &str) -> Vec<String> {
    let headings = document.lines().filter(|it| it.starts_with('#'));
    headings.map(|it| anchor(it.trim_start_matches('#'))).collect()
}

/// The path without `..`, so that git's and ours compare.
fn plain(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut path, part| {
        match part {
            Component::ParentDir => {
                path.pop();
            }
            other => path.push(other),
        }
        path
    })
}

/// Why a link of a document leads nowhere; none when it does not.
fn dead(document: &str, content: &str, target: &str) -> Option<&'static str> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (path, wanted) = target.split_once('#').map_or((target, None), |(it, at)| (it, Some(at)));
    let folder = Path::new(document).parent().unwrap_or(Path::new(""));
    let there = plain(&folder.join(path));
    if !path.is_empty() && !root().join(&there).exists() {
        return Some("does not exist");
    }
    let other = if path.is_empty() { None } else { there.to_str().and_then(text) };
    let content = if path.is_empty() { Some(content) } else { other.as_deref() };
    let is_there = |at: &str| content.is_some_and(|it| anchors(it).iter().any(|it| it == at));
    wanted.is_some_and(|at| !is_there(at)).then_some("has no such heading")
}

#[test]
fn every_relative_link_leads_to_something() {
    let top = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"].map(str::to_owned);
    let below = files("docs").into_iter().filter(|it| it.ends_with(".md"));
    let mut found = Vec::new();
    for document in top.into_iter().chain(below) {
        let content = text(&document).unwrap();
        for (line, target) in links(&content) {
            if let Some(why) = dead(&document, &content, target) {
                found.push(format!("{document}:{line}: {target} {why}"));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_dead_link_is_found() {
    let content = "# One\n[a](#one) `[code](nowhere)` [b](operations.md)\n```\n[c](nowhere)\n```\n";
    assert_eq!(links(content), [(2, "#one"), (2, "operations.md")]);
    let check = |target| dead("docs/article-map.md", content, target);
    assert_eq!(check("#one"), None);
    assert_eq!(check("#two"), Some("has no such heading"));
    assert_eq!(check("operations.md#planting-faults"), None);
    assert_eq!(check("operations.md#nothing"), Some("has no such heading"));
    assert_eq!(check("../README.md"), None);
    assert_eq!(check("../docs"), None);
    assert_eq!(check("nowhere.md"), Some("does not exist"));
    assert_eq!(check("https://example.org/nowhere"), None);
}
