//! What is well written and hardly meant: judged before anything runs.
//!
//! Each analyzer looks at the whole policy and has codes of its own ([`Code`]); a finding is shown
//! where the thing was written. It refuses to guess: what depends on a request, a backend or the
//! time of day is no finding.

use crate::{
    Policy,
    schema::{Code, FINDINGS_MAX, Finding, Level, Origins},
};

mod backends;
mod doors;
mod limits;
mod listeners;
mod reach;
mod retries;
mod versions;

const ANALYZERS: [fn(&Policy, &mut Report<'_>); 7] = [
    reach::analyze,
    backends::analyze,
    retries::analyze,
    versions::analyze,
    limits::analyze,
    listeners::analyze,
    doors::analyze,
];

/// What is to be said about a policy, by file and line; at most [`FINDINGS_MAX`] findings and one
/// that says that there are more. Without origins ([`Origins::default`]) findings have no place.
#[must_use]
pub fn analyze(policy: &Policy, origins: &Origins) -> Vec<Finding> {
    let mut report = Report { origins, findings: Vec::new() };
    for analyzer in ANALYZERS {
        analyzer(policy, &mut report);
    }
    let mut findings = report.findings;
    findings.sort_by_key(|it| {
        let is_last = it.code == Code::TooManyFindings;
        (is_last, origins.file_order(&it.file), it.line, it.column, it.code)
    });
    findings
}

/// Takes findings.
#[derive(Debug)]
struct Report<'a> {
    origins: &'a Origins,
    findings: Vec<Finding>,
}

impl Report<'_> {
    /// A finding about the thing at `path` of `subject`.
    fn tell(&mut self, at: (&str, &str), level: Level, code: Code, message: String) {
        self.tell_with(at, level, code, message, None);
    }

    fn tell_with(
        &mut self,
        at: (&str, &str),
        level: Level,
        code: Code,
        message: String,
        suggestion: Option<String>,
    ) {
        if self.findings.len() > FINDINGS_MAX {
            return;
        }
        if self.findings.len() == FINDINGS_MAX {
            let message = format!("more than {FINDINGS_MAX} findings; the rest is not shown");
            let code = Code::TooManyFindings;
            self.findings.push(self.origins.finding(("", ""), Level::Info, code, message));
            return;
        }
        let mut finding = self.origins.finding(at, level, code, message);
        finding.suggestion = suggestion;
        self.findings.push(finding);
    }

    /// ` at file:line` of another thing, where that is known.
    fn at(&self, subject: &str, path: &str) -> String {
        self.origins.describe(subject, path).map_or_else(String::new, |it| format!(" at {it}"))
    }
}

/// The subject of a route in the table of places.
fn subject_of(route: &crate::route::Route) -> String {
    format!("route {}", route.name)
}
