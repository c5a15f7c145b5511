//! Values of pages as cells of tables.

use serde_json::Value;

/// The items of a list; none where it is no list.
pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The items of a list in one cell.
pub(super) fn joined(value: &Value, when_empty: &str) -> String {
    let words: Vec<String> = match value {
        Value::Array(all) => all.iter().map(text).collect(),
        Value::Null => Vec::new(),
        one => vec![text(one)],
    };
    if words.is_empty() { when_empty.to_owned() } else { words.join(", ") }
}

/// A value as text.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => none(),
        Value::String(text) if text.is_empty() => none(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What stands where there is nothing to say.
pub(super) fn none() -> String {
    "–".to_owned()
}
