//! What a person reads when a command did not work: what, where, why, and what to do next.

use std::{
    borrow::Cow,
    fmt::{self, Write as _},
};

use serde_json::{Value, json};

use crate::exit::Exit;

/// Why a command ended without its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// How the process ends.
    pub exit: Exit,
    /// One short word, the same in every release.
    pub code: Cow<'static, str>,
    /// What happened, after `error: `.
    pub what: Box<str>,
    /// The file, address or argument that it happened at.
    pub place: Option<Box<str>>,
    /// The cause.
    pub why: Option<Box<str>>,
    /// A command or a change that helps.
    pub next: Option<Box<str>>,
}

impl Failure {
    /// A failure with exit code 1.
    #[must_use]
    pub fn new(code: impl Into<Cow<'static, str>>, what: impl Into<String>) -> Self {
        let code = code.into();
        Self {
            exit: Exit::Failed,
            code,
            what: what.into().into(),
            place: None,
            why: None,
            next: None,
        }
    }

    /// With another exit code.
    #[must_use]
    pub fn exit(self, exit: Exit) -> Self {
        Self { exit, ..self }
    }

    /// With the place.
    #[must_use]
    pub fn at(self, place: impl fmt::Display) -> Self {
        Self { place: Some(place.to_string().into()), ..self }
    }

    /// With the cause.
    #[must_use]
    pub fn because(self, why: impl fmt::Display) -> Self {
        Self { why: Some(why.to_string().into()), ..self }
    }

    /// With what to do next.
    #[must_use]
    pub fn next(self, next: impl Into<String>) -> Self {
        Self { next: Some(next.into().into()), ..self }
    }

    /// The form for people: a headline with the code, then one line for each thing that is known. Where
    /// nothing better helps, the page of the code does.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = format!("error: {}  [{}]\n", self.what, self.code);
        let page = format!("`explain {}` says more", self.code);
        let next = self.next.as_deref().unwrap_or(&page);
        let lines =
            [("where", self.place.as_deref()), ("why", self.why.as_deref()), ("next", Some(next))];
        for (label, line) in lines {
            if let Some(line) = line {
                // What has several lines stands below itself. Writing to a string cannot fail.
                let line = line.replace('\n', "\n         ");
                let _written = writeln!(text, "  {label:<5}  {line}");
            }
        }
        text
    }

    /// The form for programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({"error": {
            "code": self.code, "exit": self.exit.code(), "what": self.what,
            "where": self.place, "why": self.why, "next": self.next,
        }})
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.what)?;
        match &self.why {
            Some(why) => write!(formatter, ": {why}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

/// The causes of an error, outermost first, in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Writing to a string cannot fail.
        let _written = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_where_why_and_what_next() {
        let failure = Failure::new("port_busy", "port 7101 is taken")
            .at("127.0.0.1:7101")
            .because("process 4211 (nginx) listens there")
            .next("stop it, or choose other ports with --port-base");
        assert_eq!(
            failure.render(),
            "error: port 7101 is taken  [port_busy]\n  \
             where  127.0.0.1:7101\n  \
             why    process 4211 (nginx) listens there\n  \
             next   stop it, or choose other ports with --port-base\n"
        );
        assert_eq!(failure.to_json()["error"]["code"], "port_busy");
    }

    #[test]
    fn what_has_several_lines_stands_below_itself() {
        let failure = Failure::new("bad_policy", "it cannot be used").because("a:1  no\na:2  no");
        let said = "error: it cannot be used  [bad_policy]\n  why    a:1  no\n         a:2  no\n  next   \
                    `explain bad_policy` says more\n";
        assert_eq!(failure.render(), said);
        assert_eq!(failure.to_json()["error"]["why"], "a:1  no\na:2  no");
    }
}
