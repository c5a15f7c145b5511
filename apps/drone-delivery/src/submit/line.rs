//! One line of a file of requests: what is asked for, and what is expected of it.

use std::time::Duration;

use base::Timestamp;
use serde::Deserialize;
use serde_json::Value;

/// A request with its expected end.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Line {
    /// Counted from 1.
    pub(super) number: usize,
    pub(super) request: Value,
    pub(super) cancel_after: Option<Duration>,
    pub(super) expect: Option<Expected>,
}

/// How a line should end.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Expected {
    /// A state of a request, or `Rejected`.
    pub(super) outcome: String,
    #[serde(default)]
    pub(super) failed_step: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Annotated {
    request: Value,
    #[serde(default)]
    expect: Option<Expected>,
    #[serde(default)]
    cancel_after_ms: Option<u64>,
    /// In place of a `pickupTime`: nobody plans for a date that a file can name for ever.
    #[serde(default)]
    pickup_after_days: Option<u32>,
}

/// A day in seconds.
const DAY: u64 = 86_400;

/// Reads every line that is not blank; what lies some days ahead does so from now on.
pub(super) fn read_lines(text: &str, now: Timestamp) -> Result<Vec<Line>, String> {
    let numbered = text.lines().enumerate().filter(|(_, it)| !it.trim().is_empty());
    numbered.map(|(index, text)| read_line(index + 1, text, now)).collect()
}

fn read_line(number: usize, text: &str, now: Timestamp) -> Result<Line, String> {
    let bad = |error: serde_json::Error| format!("line {number}: {error}");
    let value: Value = serde_json::from_str(text).map_err(bad)?;
    if value.get("request").is_none() {
        return Ok(Line { number, request: value, cancel_after: None, expect: None });
    }
    let Annotated { mut request, expect, cancel_after_ms, pickup_after_days } =
        serde_json::from_value(value).map_err(bad)?;
    if let (Some(days), Some(members)) = (pickup_after_days, request.as_object_mut()) {
        let pickup = now + Duration::from_secs(u64::from(days) * DAY);
        members.insert("pickupTime".to_owned(), Value::from(pickup.to_rfc3339()));
    }
    let cancel_after = cancel_after_ms.map(Duration::from_millis);
    Ok(Line { number, request, cancel_after, expect })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_is_a_request_alone_or_one_with_what_is_expected() {
        let text = "{\"ownerId\": \"o\"}\n\n{\"request\": {}, \"cancelAfterMs\": 5, \
                    \"pickupAfterDays\": 2, \"expect\": {\"outcome\": \"Cancelled\"}}\n";
        let lines = read_lines(text, Timestamp::from_millis(0)).unwrap();
        assert_eq!((lines[0].number, &lines[0].request), (1, &json!({"ownerId": "o"})));
        assert_eq!(lines[1].number, 3);
        assert_eq!(lines[1].request["pickupTime"], "1970-01-03T00:00:00.000Z");
        assert_eq!(lines[1].cancel_after, Some(Duration::from_millis(5)));
        assert_eq!(lines[1].expect.as_ref().unwrap().outcome, "Cancelled");
    }

    #[test]
    fn a_line_that_cannot_be_read_is_named() {
        let error = read_lines("{}\n{", Timestamp::default()).unwrap_err();
        assert!(error.starts_with("line 2: "), "{error}");
        assert!(read_lines(r#"{"request": {}, "expct": {}}"#, Timestamp::default()).is_err());
    }
}
