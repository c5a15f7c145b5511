//! One event as one line of JSON or of text.

use std::fmt::{self, Write as _};

use base::Timestamp;
use serde_json::{Map, Value};
use tracing::{
    Level,
    field::{Field, Visit},
};

use super::redact::{MASK, is_secret, mask_addresses};

/// Characters of one value that are written.
const VALUE_CHARS_MAX: usize = 8_192;
/// What a line says about itself; a field of that name gets an underscore behind it.
const RESERVED: [&str; 5] = ["time", "level", "service", "instance", "target"];

/// The fields of an event or of a span, masked.
#[derive(Debug, Default)]
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    /// Takes what `outer` has and this has not.
    pub(super) fn add_missing(&mut self, outer: &Self) {
        for (name, value) in &outer.0 {
            if !self.0.contains_key(name) {
                self.0.insert(name.clone(), value.clone());
            }
        }
    }

    fn put(&mut self, field: &Field, value: Value) {
        let mut name = field.name().trim_start_matches("r#").to_owned();
        if RESERVED.contains(&name.as_str()) {
            name.push('_');
        }
        let value = if is_secret(&name) { MASK.into() } else { value };
        self.0.insert(name, value);
    }

    fn put_text(&mut self, field: &Field, text: &str) {
        let bounded: String = text.chars().take(VALUE_CHARS_MAX).collect();
        self.put(field, mask_addresses(&bounded).into());
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no word for infinities and what is not a number.
        let value = serde_json::Number::from_f64(value)
            .map_or_else(|| value.to_string().into(), Value::Number);
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put_text(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put_text(field, &format!("{value:?}"));
    }
}

/// One line before it is written.
pub(super) struct Line<'a> {
    pub(super) time: Timestamp,
    pub(super) level: Level,
    pub(super) target: &'a str,
    pub(super) service: &'a str,
    pub(super) instance: &'a str,
    pub(super) fields: &'a Fields,
}

impl Line<'_> {
    pub(super) fn json(&self) -> String {
        let mut object = Map::new();
        object.insert("time".to_owned(), self.time.to_rfc3339().into());
        object.insert("level".to_owned(), self.level.as_str().to_ascii_lowercase().into());
        object.insert("service".to_owned(), self.service.into());
        object.insert("instance".to_owned(), self.instance.into());
        object.insert("target".to_owned(), self.target.into());
        for (name, value) in &self.fields.0 {
            // A field of a reserved name that says the same again says nothing.
            let repeated = name.strip_suffix('_').filter(|it| RESERVED.contains(it));
            if repeated.and_then(|it| object.get(it)) != Some(value) {
                object.insert(name.clone(), value.clone());
            }
        }
        let mut line = ascii(&Value::Object(object).to_string());
        line.push('\n');
        line
    }

    pub(super) fn text(&self) -> String {
        let mut line = format!("{} {:5} {}", self.time, self.level.as_str(), self.target);
        if let Some(Value::String(message)) = self.fields.0.get("message") {
            line.push(' ');
            line.extend(message.escape_debug().filter(|it| !it.is_control()));
        }
        for (name, value) in self.fields.0.iter().filter(|(name, _)| *name != "message") {
            // Writing to a string cannot fail.
            let _written = write!(line, " {name}={}", ascii(&value.to_string()));
        }
        line.push('\n');
        line
    }
}

/// JSON text in printable ASCII: everything else, which can only stand inside strings, is
/// written as `\u` escapes. A reader that splits at other line ends then finds none.
fn ascii(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for character in json.chars() {
        if (' '..='~').contains(&character) {
            escaped.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            // Writing to a string cannot fail.
            let _written = write!(escaped, "\\u{unit:04x}");
        }
    }
    escaped
}
