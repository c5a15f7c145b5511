//! Tables for people: columns as wide as their widest cell, two spaces between them, no borders.

use std::fmt::Write as _;

/// Rows under headings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    #[must_use]
    pub fn new(headings: &[&'static str]) -> Self {
        Self { headings: headings.to_vec(), rows: Vec::new() }
    }

    /// Adds a row. Control characters are replaced: a cell may come from a stranger's message, and
    /// an escape sequence in it must not reach the terminal.
    pub fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        let mut row: Vec<String> = cells.into_iter().map(|it| printable(&it.into())).collect();
        row.resize(self.headings.len(), String::new());
        self.rows.push(row);
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
        for row in std::iter::once(&headings).chain(&self.rows) {
            let mut line = indent.to_owned();
            for (cell, wanted) in row.iter().zip(&widths) {
                let padding = wanted - width(cell) + 2;
                // Writing to a string cannot fail.
                let _written = write!(line, "{cell}{:padding$}", "");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Characters, not columns of a terminal: names here are not wide.
fn width(cell: &str) -> usize {
    cell.chars().count()
}

/// The text with every control character replaced.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars().map(|it| if it.is_control() { '\u{fffd}' } else { it }).collect()
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
    fn an_escape_sequence_does_not_reach_the_terminal() {
        let mut table = Table::new(&["KEY"]);
        table.row(["\u{1b}[31mred\n"]);
        assert!(!table.render("").contains('\u{1b}'));
        assert_eq!(table.render("").lines().count(), 2);
    }
}
