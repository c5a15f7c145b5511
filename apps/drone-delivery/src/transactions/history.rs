//! What happened to a saga, for people: steps by their names, times as times, no digests. Pure; the
//! documents themselves stand in `-o json`.

use base::{Monotonic, Timestamp};
use serde_json::{Map, Value};
use skein::Table;

use super::cell;

/// Both clocks of this machine at one moment: what is due since boot is told in wall time by them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    pub(super) now: Timestamp,
    pub(super) monotonic: Monotonic,
}

/// A time further from now than this was counted since another boot.
const WAKE_WITHIN_MS: i64 = 24 * 60 * 60 * 1_000;

/// Where a failed transaction stands, and why: the undo or the step that is parked, else what failed it.
pub(super) fn trouble(failure: &Value) -> (String, String) {
    if let Some(parked) = failure["parked"].as_str() {
        let at = |step: &&Value| step["status"] == "parked" || step["status"] == "stuck";
        let steps: Vec<_> =
            listed(&failure["steps"]).filter(at).map(|it| cell(&it["name"])).collect();
        let steps = if steps.is_empty() { cell(&Value::Null) } else { steps.join(", ") };
        return (steps, parked.to_owned());
    }
    let reason = match (failure["reason"].as_str(), failure["code"].as_str()) {
        (Some(reason), Some(code)) => format!("{reason}: {code}"),
        (reason, code) => cell(&Value::from(reason.or(code))),
    };
    (cell(&failure["failedStep"]), reason)
}

/// Its records, one a line.
pub(super) fn table(saga: &Value, read: Reading) -> Table {
    let names: Vec<_> = listed(&saga["steps"]).map(|it| cell(&it["name"])).collect();
    let mut table = Table::new(&["AT", "EPOCH", "RECORD", "DETAILS"]);
    for row in listed(&saga["history"]) {
        let details = details(row, &names, read);
        table.row([cell(&row["at"]), cell(&row["epoch"]), cell(&row["record"]), details]);
    }
    table
}

fn listed(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Whatever else a record says.
fn details(row: &Value, names: &[String], read: Reading) -> String {
    let shown = ["at", "epoch", "number", "record"];
    let members = row.as_object().into_iter().flatten();
    // A step that was refused is not tried again.
    let is_over = row["record"] == "step_failed" && row["class"] == "non_transient";
    let is_hidden = |name: &str| shown.contains(&name) || (is_over && name == "wake");
    let rest = members.filter(|(name, _)| !is_hidden(name));
    rest.filter_map(|(name, value)| member(name, value, names, read)).collect::<Vec<_>>().join(" ")
}

/// One member as `name=value`; none for what tells a person nothing.
fn member(name: &str, value: &Value, names: &[String], read: Reading) -> Option<String> {
    let said = match (name, value) {
        ("definition", _) => return None,
        ("wake", _) => return Some(format!("not_before={}", wake(value.as_u64()?, read)?)),
        ("step", Value::Number(_)) => step(value, names),
        ("plan", Value::Array(plan)) => {
            let undo = |it: &Value| match it["certainty"].as_str() {
                Some("in_doubt") => format!("{} (in doubt)", step(&it["step"], names)),
                _ => step(&it["step"], names),
            };
            let plan = plan.iter().map(undo).collect::<Vec<_>>().join(",");
            return Some(format!("undo={}", if plan.is_empty() { "nothing" } else { &plan }));
        }
        ("cause", Value::Object(cause)) => return Some(inner(cause, names, read)),
        ("start" | "or_else", Value::Object(start)) => cell(start.get("id")?),
        _ => cell(value),
    };
    Some(format!("{name}={said}"))
}

fn inner(members: &Map<String, Value>, names: &[String], read: Reading) -> String {
    let told = members.iter().filter_map(|(name, value)| member(name, value, names, read));
    told.collect::<Vec<_>>().join(" ")
}

/// The name at a position.
fn step(position: &Value, names: &[String]) -> String {
    let index = position.as_u64().and_then(|it| usize::try_from(it).ok());
    index.and_then(|it| names.get(it)).cloned().unwrap_or_else(|| cell(position))
}

/// Milliseconds since boot as wall time; none where they were counted since another boot.
fn wake(millis: u64, read: Reading) -> Option<Timestamp> {
    let after = i64::try_from(millis).ok()? - i64::try_from(read.monotonic.as_millis()).ok()?;
    (after.abs() < WAKE_WITHIN_MS)
        .then(|| Timestamp::from_millis(read.now.as_millis().saturating_add(after)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read() -> Reading {
        let now = Timestamp::parse("2026-11-29T10:00:00Z").unwrap();
        Reading { now, monotonic: Monotonic::from_millis(58_688_447) }
    }

    #[test]
    fn what_is_parked_stands_before_what_failed_first() {
        let parked = json!({"failedStep": "drone", "reason": "`drone` was refused", "code": "internal",
            "parked": "undo of `package`: internal", "steps": [
                {"name": "account", "status": "undone"}, {"name": "package", "status": "stuck"}]});
        let expected = ("package".to_owned(), "undo of `package`: internal".to_owned());
        assert_eq!(trouble(&parked), expected);
    }

    #[test]
    fn a_refusal_is_told_with_its_code() {
        let refused = json!({"failedStep": "account", "reason": "`account` was refused",
            "code": "account_suspended", "parked": null, "steps": []});
        let expected =
            ("account".to_owned(), "`account` was refused: account_suspended".to_owned());
        assert_eq!(trouble(&refused), expected);
        assert_eq!(trouble(&json!({})), ("–".to_owned(), "–".to_owned()));
    }

    #[test]
    fn a_record_names_steps_and_times_and_no_digest() {
        let at = "2026-11-29T09:59:59.000Z";
        let saga = json!({"steps": [{"name": "account"}, {"name": "package"}], "history": [
            {"at": at, "epoch": 1, "number": 0, "record": "accepted", "definition": "3f2a"},
            {"at": at, "epoch": 1, "number": 1, "record": "step_failed", "step": 1, "code": "internal",
                "wake": 58_688_847},
            {"at": at, "epoch": 1, "number": 2, "record": "step_failed", "step": 1,
                "class": "non_transient", "wake": 58_688_847},
            {"at": at, "epoch": 1, "number": 2, "record": "aborting",
                "cause": {"step": "package", "code": "internal"},
                "plan": [{"step": 1, "certainty": "in_doubt"}, {"step": 0, "certainty": "applied"}]},
            {"at": at, "epoch": 2, "number": 3, "record": "follow_up",
                "start": {"id": "d/cancel/1", "definition": "cancel", "input": {}}},
            {"at": at, "epoch": 2, "number": 4, "record": "undo_failed", "step": 7, "wake": 5},
        ]});
        let expected = "\
AT                        EPOCH  RECORD       DETAILS
2026-11-29T09:59:59.000Z  1      accepted
2026-11-29T09:59:59.000Z  1      step_failed  code=internal step=package not_before=2026-11-29T10:00:00.400Z
2026-11-29T09:59:59.000Z  1      step_failed  class=non_transient step=package
2026-11-29T09:59:59.000Z  1      aborting     code=internal step=package undo=package (in doubt),account
2026-11-29T09:59:59.000Z  2      follow_up    start=d/cancel/1
2026-11-29T09:59:59.000Z  2      undo_failed  step=7 not_before=2026-11-28T17:41:51.558Z
";
        assert_eq!(table(&saga, read()).render(""), expected);
        let booted = Reading { monotonic: Monotonic::from_millis(2), ..read() };
        assert_eq!(wake(58_688_847_000, booted), None);
    }
}
