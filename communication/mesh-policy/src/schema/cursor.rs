//! Reading a tree member by member. Everything that is wrong is noted and reading goes on, so that one
//! look at a file says all of it.

use std::{cell::RefCell, collections::BTreeSet, net::SocketAddr, str::FromStr, time::Duration};

use super::{
    finding::{Finding, Level, nearest},
    tree::{Node, Place, Value},
};

/// Where findings of one file are noted.
#[derive(Debug)]
pub(crate) struct Notes {
    file: String,
    pub(crate) findings: RefCell<Vec<Finding>>,
}

impl Notes {
    pub(crate) fn new(file: &str) -> Self {
        Self { file: file.to_owned(), findings: RefCell::default() }
    }

    pub(crate) fn error(&self, place: Place, code: &'static str, message: impl Into<String>) {
        self.suggest(place, code, message, None);
    }

    pub(crate) fn suggest(
        &self,
        place: Place,
        code: &'static str,
        message: impl Into<String>,
        suggestion: Option<&str>,
    ) {
        self.findings.borrow_mut().push(Finding {
            level: Level::Error,
            code,
            file: self.file.clone(),
            line: place.line,
            column: place.column,
            message: message.into(),
            suggestion: suggestion.map(str::to_owned),
        });
    }
}

/// A map that is being read; what nobody asked for is noted when it goes.
pub(crate) struct Map<'a> {
    pub(crate) place: Place,
    /// What it is, for messages.
    what: &'static str,
    entries: &'a [(String, Place, Node)],
    asked: RefCell<BTreeSet<&'static str>>,
    pub(crate) notes: &'a Notes,
}

/// A node that is being read.
#[derive(Clone, Copy)]
pub(crate) struct Item<'a> {
    pub(crate) node: &'a Node,
    pub(crate) name: &'a str,
    pub(crate) notes: &'a Notes,
}

impl<'a> Map<'a> {
    /// A member, if it is there and not empty.
    pub(crate) fn get(&self, name: &'static str) -> Option<Item<'a>> {
        self.asked.borrow_mut().insert(name);
        let (key, _, node) = self.entries.iter().find(|(key, ..)| key == name)?;
        let is_nothing = matches!(
            &node.value,
            Value::Scalar { text, is_plain: true } if matches!(text.as_str(), "" | "~" | "null")
        );
        (!is_nothing).then_some(Item { node, name: key, notes: self.notes })
    }

    /// A member that must be there.
    pub(crate) fn need(&self, name: &'static str) -> Option<Item<'a>> {
        let item = self.get(name);
        if item.is_none() {
            let what = self.what;
            self.notes.error(self.place, "SK1005", format!("{what} has no `{name}`"));
        }
        item
    }

    /// Says that members of these names are known and not supported here.
    pub(crate) fn unsupported(&self, names: &[&'static str]) {
        for name in names {
            if let Some(item) = self.get(name) {
                item.error("SK1008", format!("`{name}` is not supported here"));
            }
        }
    }

    /// Skips a member.
    pub(crate) fn skip(&self, name: &'static str) {
        let _skipped = self.get(name);
    }

    pub(crate) fn text(&self, name: &'static str) -> Option<String> {
        self.get(name)?.text()
    }

    pub(crate) fn duration(&self, name: &'static str) -> Option<Duration> {
        self.get(name)?.duration()
    }

    pub(crate) fn number<T: FromStr>(&self, name: &'static str) -> Option<T> {
        self.get(name)?.number()
    }

    pub(crate) fn map(&self, name: &'static str, what: &'static str) -> Option<Self> {
        self.get(name)?.map(what)
    }

    /// The items of a list; none where there is no such member.
    pub(crate) fn list(&self, name: &'static str) -> Vec<Item<'a>> {
        self.get(name).map(|it| it.list()).unwrap_or_default()
    }

    /// The items of a list, or the one item that stands in its place.
    pub(crate) fn one_or_more(&self, name: &'static str) -> Vec<Item<'a>> {
        match self.get(name) {
            Some(item) if matches!(item.node.value, Value::List(_)) => item.list(),
            Some(item) => vec![item],
            None => Vec::new(),
        }
    }
}

impl Drop for Map<'_> {
    fn drop(&mut self) {
        let asked = self.asked.borrow();
        for (key, place, _) in self.entries {
            if !asked.contains(key.as_str()) {
                let meant = nearest(key, asked.iter().copied());
                let message = format!("unknown key `{key}` in {}", self.what);
                self.notes.suggest(*place, "SK1003", message, meant);
            }
        }
    }
}

impl<'a> Item<'a> {
    pub(crate) fn error(&self, code: &'static str, message: impl Into<String>) {
        self.notes.error(self.node.place, code, message);
    }

    fn other(&self, wanted: &str) {
        let (name, kind) = (self.name, self.node.value.kind());
        self.error("SK1004", format!("`{name}` is {wanted}, and here stands {kind}"));
    }

    pub(crate) fn map(&self, what: &'static str) -> Option<Map<'a>> {
        let Value::Map(entries) = &self.node.value else {
            self.other("a map");
            return None;
        };
        let (place, notes) = (self.node.place, self.notes);
        Some(Map { place, what, entries, asked: RefCell::default(), notes })
    }

    pub(crate) fn list(&self) -> Vec<Self> {
        let Value::List(items) = &self.node.value else {
            self.other("a list");
            return Vec::new();
        };
        items.iter().map(|node| Item { node, ..*self }).collect()
    }

    fn scalar(&self) -> Option<&'a str> {
        let Value::Scalar { text, .. } = &self.node.value else {
            self.other("a value");
            return None;
        };
        Some(text)
    }

    pub(crate) fn text(&self) -> Option<String> {
        let text = self.scalar()?;
        if text.is_empty() {
            self.error("SK1006", format!("`{}` is empty", self.name));
            return None;
        }
        Some(text.to_owned())
    }

    /// One of some words.
    pub(crate) fn word<T: Copy>(&self, known: &[(&'static str, T)]) -> Option<T> {
        let text = self.scalar()?;
        let found = known.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let words: Vec<_> = known.iter().map(|(word, _)| *word).collect();
            let message = format!("`{}` is one of {}, not `{text}`", self.name, words.join(", "));
            let meant = nearest(text, words.iter().copied());
            self.notes.suggest(self.node.place, "SK1006", message, meant);
        }
        found
    }

    pub(crate) fn number<T: FromStr>(&self) -> Option<T> {
        let text = self.scalar()?;
        let number = text.parse().ok();
        if number.is_none() {
            self.error("SK1006", format!("`{}` is a number that fits, not `{text}`", self.name));
        }
        number
    }

    /// A number within bounds.
    pub(crate) fn within(&self, least: u64, most: u64) -> Option<u64> {
        let number = self.number()?;
        if !(least..=most).contains(&number) {
            let message = format!("`{}` is {least} to {most}, not {number}", self.name);
            self.error("SK1006", message);
            return None;
        }
        Some(number)
    }

    pub(crate) fn boolean(&self) -> Option<bool> {
        self.word(&[("true", true), ("false", false)])
    }

    pub(crate) fn address(&self) -> Option<SocketAddr> {
        let text = self.scalar()?;
        let address = text.parse().ok();
        if address.is_none() {
            let message =
                format!("`{}` is an address such as 127.0.0.1:7104, not `{text}`", self.name);
            self.error("SK1006", message);
        }
        address
    }

    /// A share: `30%` or `0.3`.
    pub(crate) fn share(&self) -> Option<f64> {
        let text = self.scalar()?;
        let share = match text.strip_suffix('%') {
            Some(percent) => percent.parse::<f64>().ok().map(|it| it / 100.0),
            None => text.parse::<f64>().ok(),
        };
        let share = share.filter(|it| (0.0..=1.0).contains(it));
        if share.is_none() {
            self.error("SK1006", format!("`{}` is a share such as 30%, not `{text}`", self.name));
        }
        share
    }

    pub(crate) fn duration(&self) -> Option<Duration> {
        let text = self.scalar()?;
        let duration = duration(text);
        if duration.is_none() {
            let message =
                format!("`{}` is a duration such as 250ms or 1m30s, not `{text}`", self.name);
            self.error("SK1006", message);
        }
        duration
    }

    /// RFC 3339, as seconds since 1970.
    pub(crate) fn time(&self) -> Option<i64> {
        let text = self.scalar()?;
        let time = base::Timestamp::parse(text).map(|it| it.as_millis().div_euclid(1_000));
        if time.is_none() {
            let message = format!("`{}` is a time such as 2026-05-14T20:00:00Z", self.name);
            self.error("SK1006", message);
        }
        time
    }
}

/// The Gateway API's durations (GEP-2257): up to four units, each of up to five digits.
fn duration(text: &str) -> Option<Duration> {
    let mut whole = Duration::ZERO;
    let (mut rest, mut units) = (text, 0);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.bytes().take_while(u8::is_ascii_lowercase).count();
        let (unit, tail) = tail.split_at(letters);
        let number: u64 = number.parse().ok().filter(|_| (1..=5).contains(&digits))?;
        whole += match unit {
            "h" => Duration::from_secs(number * 3_600),
            "m" => Duration::from_secs(number * 60),
            "s" => Duration::from_secs(number),
            "ms" => Duration::from_millis(number),
            _ => return None,
        };
        (rest, units) = (tail, units + 1);
    }
    (1..=4).contains(&units).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_read_as_the_gateway_api_writes_it() {
        let check = |text: &str, millis: Option<u64>| {
            assert_eq!(duration(text), millis.map(Duration::from_millis), "{text}");
        };
        check("0s", Some(0));
        check("250ms", Some(250));
        check("1h30m10s500ms", Some(5_410_500));
        check("99999h", Some(359_996_400_000));
        for text in ["", "1", "s", "1.5s", "-1s", "100000s", "1d", "1s 2s", "1s1s1s1s1s"] {
            check(text, None);
        }
    }
}
