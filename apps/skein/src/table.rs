//! Tables for people: columns as wide as their widest cell, two spaces between them, no borders.

use std::fmt::Write as _;

use base::is_printable;

/// Rows under headings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    /// Lines below each row.
    notes: Vec<Vec<String>>,
}

/// Columns of an ordinary terminal; longer notes go on in the next line.
const COLUMNS: usize = 80;
/// How far a note stands behind its row, and its further lines behind its first.
const NOTE_INDENT: usize = 2;

impl Table {
    /// A table without rows.
    #[must_use]
    pub fn new(headings: &[&'static str]) -> Self {
        Self { headings: headings.to_vec(), rows: Vec::new(), notes: Vec::new() }
    }

    /// Adds a row. Control characters are replaced: a cell may come from a stranger's message, and
    /// an escape sequence in it must not reach the terminal.
    pub fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        let mut row: Vec<String> = cells.into_iter().map(|it| printable(&it.into())).collect();
        row.resize(self.headings.len(), String::new());
        self.rows.push(row);
        self.notes.push(Vec::new());
    }

    /// Adds a line below the last row, which makes no column wider.
    pub fn note(&mut self, line: &str) {
        if let Some(notes) = self.notes.last_mut() {
            notes.push(printable(line));
        }
    }

    /// Whether there is nothing below the headings.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The text, each line behind `indent`.
    #[must_use]
    pub fn render(&self, indent: &str) -> String {
        let widths: Vec<usize> = (0..self.headings.len())
            .map(|column| {
                let cells = self.rows.iter().map(|it| width(&it[column]));
                cells.chain([width(self.headings[column])]).max().unwrap_or(0)
            })
            .collect();
        let mut text = String::new();
        let headings: Vec<String> = self.headings.iter().map(|it| (*it).to_owned()).collect();
        let notes = std::iter::once(&[][..]).chain(self.notes.iter().map(Vec::as_slice));
        for (row, notes) in std::iter::once(&headings).chain(&self.rows).zip(notes) {
            let mut line = indent.to_owned();
            for (cell, wanted) in row.iter().zip(&widths) {
                let padding = wanted - width(cell) + 2;
                // Writing to a string cannot fail.
                let _written = write!(line, "{cell}{:padding$}", "");
            }
            text.push_str(line.trim_end());
            text.push('\n');
            for note in notes {
                push_folded(&mut text, indent, note);
            }
        }
        text
    }
}

/// The note in lines that fit: broken where it has a mark, else where the line ends.
fn push_folded(text: &mut String, indent: &str, note: &str) {
    let mut before = NOTE_INDENT;
    let mut rest: Vec<char> = note.chars().collect();
    while !rest.is_empty() {
        let most = COLUMNS.saturating_sub(width(indent) + before).max(1);
        let end = if rest.len() <= most {
            rest.len()
        } else {
            let mark = rest[..most].iter().rposition(|it| matches!(it, ' ' | '/' | '|' | ','));
            mark.map_or(most, |it| it + 1)
        };
        let behind = rest.split_off(end);
        let line: String = rest.into_iter().collect();
        // Writing to a string cannot fail.
        let _written = writeln!(text, "{indent}{:before$}{}", "", line.trim_end());
        (rest, before) = (behind, 2 * NOTE_INDENT);
    }
}

/// Characters, not columns of a terminal: names here are not wide.
fn width(cell: &str) -> usize {
    cell.chars().count()
}

/// The text with every character replaced that moves others.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars().map(|it| if is_printable(it) { it } else { '\u{fffd}' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["NAME", "STATE"]);
        table.row(["a", "ready"]);
        table.row(["a-long-name", "–"]);
        let expected = "  NAME         STATE\n  a            ready\n  a-long-name  –\n";
        assert_eq!(table.render("  "), expected);
    }

    #[test]
    fn a_note_widens_no_column_and_is_folded_to_an_ordinary_terminal() {
        let mut table = Table::new(&["NAME"]);
        table.row(["a"]);
        table.note("short");
        let long = "GET /aaaaaaaaa".to_owned() + &"/bbbbbbbbb".repeat(20);
        table.note(&long);
        let text = table.render("");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[..3], ["NAME", "a", "  short"]);
        assert!(lines.iter().all(|it| it.chars().count() <= COLUMNS), "{text}");
        let joined: String = lines[3..].iter().map(|it| it.trim_start()).collect();
        assert_eq!(joined, long);
    }

    #[test]
    fn an_escape_sequence_does_not_reach_the_terminal() {
        let mut table = Table::new(&["KEY"]);
        table.row(["\u{1b}[31mred\n"]);
        assert!(!table.render("").contains('\u{1b}'));
        assert_eq!(table.render("").lines().count(), 2);
    }
}
