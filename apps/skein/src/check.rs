//! What was checked, and how it stands: groups of checks, each with a hint where it is not well.
//!
//! The form for programs is that of `linkerd check -o json`: warnings leave the whole a success.

use serde_json::{Value, json};

use crate::{Exit, Format, Output, table::printable};

/// How one thing stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Well.
    Success,
    /// It works, but hardly as meant.
    Warning(String),
    /// It does not.
    Error(String),
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What should be, such as "every process answers".
    pub description: String,
    /// What is.
    pub verdict: Verdict,
    /// What to do where it is not well.
    pub hint: &'static str,
}

/// Checks that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Category {
    /// What they are about.
    pub name: &'static str,
    /// Each of them.
    pub checks: Vec<Check>,
}

impl Check {
    /// Well where nothing is named; else an error that names them all.
    #[must_use]
    pub fn none_of(description: impl Into<String>, wrong: &[String], hint: &'static str) -> Self {
        let verdict = match wrong {
            [] => Verdict::Success,
            all => Verdict::Error(all.join("; ")),
        };
        Self { description: description.into(), verdict, hint }
    }

    /// The same where it is no more than a warning.
    #[must_use]
    pub fn but_warn(self) -> Self {
        let verdict = match self.verdict {
            Verdict::Error(why) => Verdict::Warning(why),
            other => other,
        };
        Self { verdict, ..self }
    }
}

/// Whether nothing is wrong; warnings are not.
#[must_use]
pub fn is_success(categories: &[Category]) -> bool {
    let mut checks = categories.iter().flat_map(|it| &it.checks);
    !checks.any(|it| matches!(it.verdict, Verdict::Error(_)))
}

/// Shows them; says how the command ends.
#[must_use]
pub fn show(categories: &[Category], output: Output) -> Exit {
    match output.format {
        Format::Json => output.document(&document(categories)),
        Format::Table | Format::Wide => output.text(&text(categories)),
    }
    if is_success(categories) { Exit::Done } else { Exit::Failed }
}

fn document(categories: &[Category]) -> Value {
    let check = |it: &Check| match &it.verdict {
        Verdict::Success => json!({"description": it.description, "result": "success"}),
        Verdict::Warning(why) => json!({
            "description": it.description, "result": "warning", "error": why, "hint": it.hint,
        }),
        Verdict::Error(why) => json!({
            "description": it.description, "result": "error", "error": why, "hint": it.hint,
        }),
    };
    let category = |it: &Category| {
        let checks: Vec<Value> = it.checks.iter().map(check).collect();
        json!({"categoryName": it.name, "checks": checks})
    };
    let categories: Vec<Value> = categories.iter().map(category).collect();
    let success = |it: &Value| {
        it["checks"].as_array().is_some_and(|all| all.iter().all(|it| it["result"] != "error"))
    };
    json!({"success": categories.iter().all(success), "categories": categories})
}

fn text(categories: &[Category]) -> String {
    let mut text = String::new();
    for category in categories {
        text += &format!("{}\n", category.name);
        for check in &category.checks {
            let (mark, why) = match &check.verdict {
                Verdict::Success => ('√', None),
                Verdict::Warning(why) => ('‼', Some(why)),
                Verdict::Error(why) => ('×', Some(why)),
            };
            text += &format!("  {mark} {}\n", printable(&check.description));
            if let Some(why) = why {
                for line in why.lines() {
                    text += &format!("      {}\n", printable(line));
                }
                text += &format!("    → {}\n", check.hint);
            }
        }
    }
    let end = if is_success(categories) { "√ nothing is wrong" } else { "× something is wrong" };
    text + &format!("\n{end}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn categories(wrong: &[&str], is_warning: bool) -> Vec<Category> {
        let wrong: Vec<String> = wrong.iter().map(|it| (*it).to_owned()).collect();
        let check = Check::none_of("every process answers", &wrong, "endpoints");
        let check = if is_warning { check.but_warn() } else { check };
        vec![Category { name: "processes", checks: vec![check] }]
    }

    #[track_caller]
    fn check(categories: &[Category], success: bool, result: &str) {
        let shown = document(categories);
        assert_eq!(shown["success"], success);
        assert_eq!(is_success(categories), success);
        assert_eq!(shown["categories"][0]["categoryName"], "processes");
        assert_eq!(shown["categories"][0]["checks"][0]["result"], result);
    }

    #[test]
    fn an_error_fails_the_whole_and_a_warning_does_not() {
        check(&categories(&[], false), true, "success");
        check(&categories(&["a is down"], true), true, "warning");
        check(&categories(&["a is down"], false), false, "error");
    }

    #[test]
    fn what_is_wrong_stands_below_its_check_with_what_to_do() {
        let shown = text(&categories(&["a\u{1b}[31m is down", "b too"], false));
        let expected = "processes\n  × every process answers\n      a\u{fffd}[31m is down; b too\n    \
                        → endpoints\n\n× something is wrong\n";
        assert_eq!(shown, expected);
    }
}
