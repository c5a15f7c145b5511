//! Where in the files each thing was written, so that what is found later can be shown there.

use std::collections::BTreeMap;

use super::{Code, Finding, Level, SourceFile, finding::SHOWN_MAX};

/// A place in one of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Spot {
    /// Which file.
    pub(crate) file: usize,
    /// From 1.
    pub(crate) line: usize,
    /// From 1, in characters.
    pub(crate) column: usize,
    /// Characters.
    pub(crate) width: usize,
}

/// The files, with the place of each thing that a [`Policy`](crate::Policy) holds.
///
/// A thing is named by its subject, such as `route default/orders`, and a path inside it, such as
/// `rules[0].retry`. The table has at most one entry for each node of the files.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    files: Vec<SourceFile>,
    places: BTreeMap<String, BTreeMap<String, Spot>>,
}

impl Origins {
    pub(super) fn of(files: &[SourceFile]) -> Self {
        Self { files: files.to_vec(), places: BTreeMap::new() }
    }

    pub(super) fn record(&mut self, subject: &str, path: &str, spot: Spot) {
        let places = self.places.entry(subject.to_owned()).or_default();
        places.entry(path.to_owned()).or_insert(spot);
    }

    /// Where this was written; else what it stands in.
    fn spot(&self, subject: &str, path: &str) -> Option<Spot> {
        let places = self.places.get(subject)?;
        let mut path = path;
        loop {
            if let Some(spot) = places.get(path) {
                return Some(*spot);
            }
            if path.is_empty() {
                return None;
            }
            path = path.rfind(['.', '[']).map_or("", |it| &path[..it]);
        }
    }

    /// Which of the files has this name.
    pub(crate) fn file_order(&self, name: &str) -> Option<usize> {
        self.files.iter().position(|it| it.name == name)
    }

    /// `file:line` of a thing, for a sentence about another one.
    pub(crate) fn describe(&self, subject: &str, path: &str) -> Option<String> {
        let spot = self.spot(subject, path)?;
        Some(format!("{}:{}", self.files.get(spot.file)?.name, spot.line))
    }

    /// A finding about a thing, at its place where that is known.
    pub(crate) fn finding(
        &self,
        (subject, path): (&str, &str),
        level: Level,
        code: Code,
        message: String,
    ) -> Finding {
        let spot = self.spot(subject, path);
        finding(&self.files, spot.as_ref(), level, code, message)
    }
}

/// A finding at a place, with the line and its neighbors.
pub(super) fn finding(
    files: &[SourceFile],
    spot: Option<&Spot>,
    level: Level,
    code: Code,
    message: String,
) -> Finding {
    let file = spot.and_then(|it| files.get(it.file));
    let spot = spot.copied().unwrap_or_default();
    let spot = file.map_or(spot, |it| within(&it.text, spot));
    let first = spot.line.saturating_sub(1).max(1);
    let shown = if spot.line == 0 { 0 } else { spot.line + 2 - first };
    let is_far = spot.column > SHOWN_MAX;
    let skipped = if is_far { spot.column.saturating_sub(SHOWN_MAX / 2 + 1) } else { 0 };
    let lines = file.iter().flat_map(|it| lines(&it.text)).enumerate();
    let excerpt = lines
        .skip(first - 1)
        .take(shown)
        .map(|(index, line)| (index + 1, piece(line, skipped)))
        .filter(|(number, line)| *number == spot.line || !line.is_empty());
    Finding {
        level,
        code,
        file: file.map(|it| it.name.clone()).unwrap_or_default(),
        line: spot.line,
        column: spot.column,
        message,
        suggestion: None,
        width: spot.width,
        excerpt: excerpt.collect(),
        skipped,
    }
}

/// The lines of a text as YAML counts them (YAML 1.2.2, 5.4): a lone carriage return ends one too.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').flat_map(|it| it.strip_suffix('\r').unwrap_or(it).split('\r'))
}

/// The place, or the nearest that the text has: to the scanner the end of a text begins one more line,
/// and some columns that it tells are counted in bytes.
fn within(text: &str, spot: Spot) -> Spot {
    if spot.line == 0 {
        return spot;
    }
    let end = |line: &str| line.chars().count() + 1;
    match lines(text).nth(spot.line - 1) {
        Some(line) => Spot { column: spot.column.min(end(line)), ..spot },
        None => {
            let (line, column) = (lines(text).count(), lines(text).last().map_or(1, end));
            Spot { line, column, ..spot }
        }
    }
}

/// So much of a line as is shown: a line may be as long as the file, and there are many findings.
fn piece(line: &str, skipped: usize) -> String {
    let mut characters = line.chars();
    if skipped > 0 {
        characters.nth(skipped - 1);
    }
    let piece: String = characters.take(SHOWN_MAX).collect();
    piece.trim_end().to_owned()
}
