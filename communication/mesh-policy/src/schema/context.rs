//! One file while it is read: who takes findings and places.

use std::cell::RefCell;

use super::{
    Code, Finding, Level, SourceFile, nearest,
    origin::{self, Origins, Spot},
};

/// Findings that are kept; after that many, one says that there are more.
pub const FINDINGS_MAX: usize = 200;

/// Takes what is found and where things stand.
#[derive(Debug)]
pub(super) struct Context<'a> {
    files: &'a [SourceFile],
    file: usize,
    findings: &'a RefCell<Vec<Finding>>,
    origins: &'a RefCell<Origins>,
}

impl<'a> Context<'a> {
    pub(super) fn new(
        files: &'a [SourceFile],
        file: usize,
        findings: &'a RefCell<Vec<Finding>>,
        origins: &'a RefCell<Origins>,
    ) -> Self {
        Self { files, file, findings, origins }
    }

    pub(super) fn text(&self) -> &'a str {
        self.files.get(self.file).map_or("", |it| &it.text)
    }

    pub(super) fn spot(&self, line: usize, column: usize, width: usize) -> Spot {
        Spot { file: self.file, line, column, width }
    }

    pub(super) fn whole_file(&self) -> Spot {
        self.spot(0, 0, 0)
    }

    pub(super) fn record(&self, subject: &str, path: &str, spot: Spot) {
        self.origins.borrow_mut().record(subject, path, spot);
    }

    /// `file:line` of a place, for a sentence about another one.
    pub(super) fn describe(&self, spot: Spot) -> String {
        let name = self.files.get(spot.file).map_or("", |it| &it.name);
        format!("{name}:{}", spot.line)
    }

    pub(super) fn error(&self, spot: Spot, code: Code, message: String) {
        self.tell(spot, code, message, None);
    }

    pub(super) fn error_with(&self, spot: Spot, code: Code, message: String, suggestion: &str) {
        self.tell(spot, code, message, Some(suggestion.to_owned()));
    }

    /// An error about `word`, with the nearest of the words that may stand there.
    pub(super) fn error_near(
        &self,
        spot: Spot,
        code: Code,
        message: String,
        (word, known): (&str, &[&str]),
    ) {
        let near = nearest::nearest(word, known).map(|it| format!("did you mean `{it}`?"));
        self.tell(spot, code, message, near);
    }

    fn tell(&self, spot: Spot, code: Code, message: String, suggestion: Option<String>) {
        let mut findings = self.findings.borrow_mut();
        if findings.len() > FINDINGS_MAX {
            return;
        }
        let (code, message, suggestion) = if findings.len() == FINDINGS_MAX {
            let message = format!("more than {FINDINGS_MAX} findings; the rest is not shown");
            (Code::TooManyFindings, message, None)
        } else {
            (code, message, suggestion)
        };
        let mut finding = origin::finding(self.files, Some(&spot), Level::Error, code, message);
        finding.suggestion = suggestion;
        findings.push(finding);
    }
}
