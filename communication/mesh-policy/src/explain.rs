//! The page behind each code of a finding, and behind each reason of a refusal: what it means, what to
//! do, how it looks when it is right.

use std::fmt;

use crate::schema::{Code, nearest};

mod judging;
mod reading;
mod reasons;

pub use reasons::{Reason, reason, reasons};

/// What there is to say about a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explanation {
    /// The code.
    pub code: Code,
    /// In one line.
    pub title: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// How to mend it.
    pub fix: &'static str,
    /// How it looks when it is right.
    pub example: &'static str,
}

impl fmt::Display for Explanation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, title, meaning, fix, example } = self;
        writeln!(out, "{code}: {title}\n\n{meaning}\n\n{fix}\n")?;
        example.lines().try_for_each(|it| writeln!(out, "    {it}"))
    }
}

/// The page of a code, such as `SK1003`, in any case.
#[must_use]
pub fn explain(code: &str) -> Option<&'static Explanation> {
    let mut pages = reading::PAGES.iter().chain(judging::PAGES);
    pages.find(|it| it.code.as_str().eq_ignore_ascii_case(code.trim()))
}

/// The code or reason, of these or of `others`, that was probably meant, if one is near.
#[must_use]
pub fn nearest(code: &str, others: &[&'static str]) -> Option<&'static str> {
    let known: Vec<&'static str> = Code::ALL
        .iter()
        .map(|it| it.as_str())
        .chain(reasons())
        .chain(others.iter().copied())
        .collect();
    nearest::nearest(code.trim(), &known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_page_of_its_own() {
        for code in Code::ALL {
            let page = explain(code.as_str()).unwrap_or_else(|| panic!("no page for {code}"));
            assert_eq!(page.code, *code);
            for text in [page.title, page.meaning, page.fix, page.example] {
                assert!(!text.is_empty(), "{code}");
            }
        }
        assert_eq!(reading::PAGES.len() + judging::PAGES.len(), Code::ALL.len());
    }

    #[test]
    fn a_code_is_found_in_any_case_and_an_unknown_one_is_not() {
        assert_eq!(explain(" sk1003 ").map(|it| it.code), Some(Code::UnknownMember));
        assert_eq!(explain("SK9999"), None);
    }

    #[test]
    fn a_slip_of_the_pen_leads_to_the_nearest_code() {
        assert_eq!(nearest("SK103", &[]), Some("SK1003"));
        assert_eq!(nearest("sk2O13 ", &[]), Some("SK2013"));
        assert_eq!(nearest("braker_open", &[]), Some("breaker_open"));
    }
}
