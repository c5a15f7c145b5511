//! Where results go: data on standard output, everything else on standard error.

use std::io::{self, IsTerminal as _, Write as _};

use clap::ValueEnum;
use serde::Serialize;

use crate::{exit::Exit, failure::Failure, table::Table};

/// The form of results, as the command line names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For people with wide windows, where a command has more to tell; else a table.
    Wide,
    /// For programs: one document; one object a line where results stream.
    Json,
}

/// What the environment says about colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Color {
    /// No escape sequences.
    #[default]
    Never,
    /// Escape sequences on standard error.
    Always,
}

impl Color {
    /// `NO_COLOR` (any value but the empty one) wins, then `CLICOLOR_FORCE`, then whether standard
    /// error is a terminal.
    #[must_use]
    pub fn choose(no_color: Option<&str>, force: Option<&str>, terminal: bool) -> Self {
        let set = |value: Option<&str>| value.is_some_and(|it| !it.is_empty());
        match (set(no_color), set(force) && force != Some("0"), terminal) {
            (true, _, _) | (false, false, false) => Self::Never,
            (false, true, _) | (false, false, true) => Self::Always,
        }
    }

    /// The choice for this process.
    #[must_use]
    pub fn from_environment() -> Self {
        let no_color = std::env::var("NO_COLOR").ok();
        let force = std::env::var("CLICOLOR_FORCE").ok();
        Self::choose(no_color.as_deref(), force.as_deref(), io::stderr().is_terminal())
    }
}

/// Writes results and remarks. A reader that closed its end early is not an error: `| head` works.
#[derive(Debug, Clone, Copy, Default)]
pub struct Output {
    /// The form of results.
    pub format: Format,
    /// Whether remarks may be coloured. Results never are.
    pub color: Color,
}

impl Output {
    /// A result with both forms.
    pub fn result(&self, document: &impl Serialize, table: &Table) {
        match self.format {
            Format::Json => self.document(document),
            Format::Table | Format::Wide => self.text(&table.render("")),
        }
    }

    /// One JSON document on a line of its own.
    pub fn document(&self, document: &impl Serialize) {
        // The documents of this program are text, numbers and lists: they always serialize.
        self.text(&(serde_json::to_string(document).unwrap_or_default() + "\n"));
    }

    /// Text on standard output, as it is.
    pub fn text(&self, text: &str) {
        let mut output = io::stdout().lock();
        // The reader may have gone away.
        let _written = output.write_all(text.as_bytes()).and_then(|()| output.flush());
    }

    /// A remark on standard error, with a line end.
    pub fn remark(&self, text: &str) {
        // Nowhere is left to report that standard error is gone.
        let _written = io::stderr().lock().write_all(format!("{text}\n").as_bytes());
    }

    /// Reports a failure on standard error; gives how the process ends.
    #[must_use]
    pub fn failure(&self, failure: &Failure) -> Exit {
        let text = match (self.format, self.color) {
            (Format::Json, _) => format!("{}\n", failure.to_json()),
            (Format::Table | Format::Wide, Color::Never) => failure.render(),
            (Format::Table | Format::Wide, Color::Always) => {
                failure.render().replacen("error:", "\u{1b}[1;31merror:\u{1b}[0m", 1)
            }
        };
        // Nowhere is left to report that standard error is gone.
        let _written = io::stderr().lock().write_all(text.as_bytes());
        failure.exit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_color_wins_over_force_and_terminal() {
        assert_eq!(Color::choose(Some("1"), Some("1"), true), Color::Never);
        assert_eq!(Color::choose(Some(""), None, true), Color::Always);
        assert_eq!(Color::choose(None, Some("1"), false), Color::Always);
        assert_eq!(Color::choose(None, Some("0"), false), Color::Never);
        assert_eq!(Color::choose(None, None, false), Color::Never);
    }
}
