//! What is wrong with a file, where, and what to write instead.

use std::fmt;

use base::is_printable;

use super::Code;

/// Characters of a source line that are kept; of a longer one, the piece around the place.
pub(super) const SHOWN_MAX: usize = 100;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// Good to know.
    Info,
    /// It runs, but hardly as meant.
    Warning,
    /// It must not run.
    Error,
}

impl fmt::Display for Level {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What kind of thing, for ever under the same code.
    pub code: Code,
    /// Name of the file; empty where no file is known.
    pub file: String,
    /// Line, from 1; 0 where the whole file is meant.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong, in lower case.
    pub message: String,
    /// What to do, such as "did you mean `retry`?".
    pub suggestion: Option<String>,
    /// Characters that the caret underlines.
    pub width: usize,
    /// The line with its neighbors, each with its number; of long ones a piece.
    pub excerpt: Vec<(usize, String)>,
    /// Characters that are left out before the pieces.
    pub skipped: usize,
}

impl Finding {
    /// The finding as people read it: place, message, code, source lines with a caret.
    #[must_use]
    pub fn render(&self) -> String {
        format!("{self}\n{}", self.source())
    }

    /// The source lines with a caret under the place.
    #[must_use]
    pub fn source(&self) -> String {
        let mut out = String::new();
        let gutter = self.excerpt.last().map_or(0, |(number, _)| number.to_string().len());
        for (number, line) in &self.excerpt {
            let shown: String = line.chars().map(printable).collect();
            push_line(&mut out, &number.to_string(), gutter, &shown);
            if *number == self.line {
                let indent = self.column.saturating_sub(self.skipped + 1);
                let width = self.width.clamp(1, SHOWN_MAX.saturating_sub(indent).max(1));
                let caret = format!("{}{}", " ".repeat(indent), "^".repeat(width));
                push_line(&mut out, "", gutter, &caret);
            }
        }
        out
    }

    /// What is wrong and what to do, in one line: it may quote the file, which may hold anything.
    #[must_use]
    pub fn text(&self) -> String {
        let suggestion = self.suggestion.iter().flat_map(|it| "; ".chars().chain(it.chars()));
        self.message.chars().chain(suggestion).map(printable).collect()
    }
}

/// One line: `file:line:col  message; suggestion  [SK1003]`.
impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.is_empty() {
            write!(out, "{}", self.file)?;
            if self.line > 0 {
                write!(out, ":{}:{}", self.line, self.column)?;
            }
            out.write_str("  ")?;
        }
        if self.level != Level::Error {
            write!(out, "{}: ", self.level)?;
        }
        write!(out, "{}  [{}]", self.text(), self.code)
    }
}

fn push_line(out: &mut String, number: &str, gutter: usize, text: &str) {
    let line = format!("  {number:>gutter$} | {text}");
    out.push_str(line.trim_end());
    out.push('\n');
}

/// A tab or an escape sequence would move the line away from its caret.
fn printable(character: char) -> char {
    match character {
        '\t' => ' ',
        it if is_printable(it) => it,
        _ => '\u{fffd}',
    }
}
