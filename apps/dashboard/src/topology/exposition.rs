//! The text of metrics, Prometheus 0.0.4, as far as the page needs it: names, labels, values.
//!
//! What cannot be read is passed over: a process of another version must not hide the others.

use std::borrow::Cow;

/// One value of one series.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line<'a> {
    pub(super) name: &'a str,
    labels: Vec<(&'a str, Cow<'a, str>)>,
    pub(super) value: f64,
}

impl Line<'_> {
    /// The value of a label; empty where there is none, which is what the format means by that.
    pub(super) fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|it| it.0 == name).map_or("", |it| &it.1)
    }
}

/// The lines of the metrics whose names begin so.
pub(super) fn lines<'a>(text: &'a str, prefix: &'a str) -> impl Iterator<Item = Line<'a>> {
    text.lines().filter(move |it| it.starts_with(prefix)).filter_map(line)
}

fn line(text: &str) -> Option<Line<'_>> {
    let end = text.find(['{', ' '])?;
    let (name, rest) = text.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    // A time may follow the value.
    let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
    Some(Line { name, labels, value })
}

type Labels<'a> = Vec<(&'a str, Cow<'a, str>)>;

/// The labels up to the closing brace, and what follows it.
fn labels(mut rest: &str) -> Option<(Labels<'_>, &str)> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, quoted) = rest.split_once("=\"")?;
        let end = closing_quote(quoted)?;
        labels.push((name, plain(&quoted[..end])));
        rest = &quoted[end + 1..];
    }
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    for (index, letter) in text.char_indices() {
        match letter {
            '"' if !is_escaped => return Some(index),
            letter => is_escaped = letter == '\\' && !is_escaped,
        }
    }
    None
}

fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some('n') => plain.push('\n'),
                Some(other) => plain.push(other),
                None => {}
            },
            letter => plain.push(letter),
        }
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(&str, &str, f64)]) {
        let found: Vec<_> = lines(text, "mesh_").collect();
        let found: Vec<_> = found.iter().map(|it| (it.name, it.label("to"), it.value)).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn names_labels_and_values_are_read_and_a_time_is_not_the_value() {
        check("mesh_a 1", &[("mesh_a", "", 1.0)]);
        check("mesh_a{to=\"b\"} 2.5 1700000000", &[("mesh_a", "b", 2.5)]);
        check("mesh_a{from=\"x\",to=\"b\",} +Inf", &[("mesh_a", "b", f64::INFINITY)]);
        check("mesh_a{} 3\n# TYPE mesh_a counter\nother{to=\"b\"} 4\n", &[("mesh_a", "", 3.0)]);
    }

    #[test]
    fn a_label_may_hold_every_letter() {
        check(r#"mesh_a{x="}{, \\",to="say \"b\"\n"} 1"#, &[("mesh_a", "say \"b\"\n", 1.0)]);
    }

    #[test]
    fn what_cannot_be_read_hides_nothing_else() {
        let broken = ["mesh_a", "mesh_a{to=\"b\" 1", "mesh_a{to=b} 1", "mesh_a one", "mesh_a{"];
        for text in broken {
            check(&format!("{text}\nmesh_b 7"), &[("mesh_b", "", 7.0)]);
        }
    }
}
