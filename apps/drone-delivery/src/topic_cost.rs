//! What each topic costs, by what the log counts since it started.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use skein::{
    Exit, Failure, Output, Table,
    commands::{
        Admins,
        metrics::{self, Sample},
    },
};

/// The series of the log, each by topic.
const APPENDS: &str = "durable_log_appends_total";
const BYTES: &str = "durable_log_appended_bytes_total";
const SYNCS: &str = "durable_log_syncs_total";
const SYNC_TIME: &str = "durable_log_sync_time_seconds";
const SEGMENTS: &str = "durable_log_segments_count";

/// What one topic has cost.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Cost {
    appends: f64,
    bytes: f64,
    syncs: f64,
    sync_seconds: f64,
    segments: f64,
}

/// Shows it, the topic with the most bytes first.
pub(crate) async fn show(admins: &Admins, output: Output) -> Result<Exit, Failure> {
    let gathered = admins.get("/metrics").await?;
    let pages = gathered.said.iter().filter(|it| it.status.is_success());
    let samples =
        pages.flat_map(|it| metrics::parse(&String::from_utf8_lossy(&it.body), "durable_log_"));
    let costs = costs(samples);
    if costs.is_empty() {
        let failure = Failure::new("no_log", "no process says what a log costs");
        return Err(failure.exit(Exit::Unreachable).next("drone-delivery ps"));
    }
    output.result(&documents(&costs), &table(&costs));
    Ok(gathered.exit(output))
}

/// By topic, the most bytes first.
fn costs(samples: impl Iterator<Item = Sample>) -> Vec<(String, Cost)> {
    let mut costs: BTreeMap<String, Cost> = BTreeMap::new();
    for sample in samples {
        let cost = costs.entry(sample.label("topic").to_owned()).or_default();
        let figure = match sample.name.as_str() {
            APPENDS => &mut cost.appends,
            BYTES => &mut cost.bytes,
            SYNCS => &mut cost.syncs,
            SYNC_TIME => &mut cost.sync_seconds,
            SEGMENTS => &mut cost.segments,
            _ => continue,
        };
        *figure += sample.value;
    }
    let mut costs: Vec<_> = costs.into_iter().collect();
    costs.sort_by(|one, other| other.1.bytes.total_cmp(&one.1.bytes));
    costs
}

/// A part of a whole; nothing of nothing.
fn each(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

fn table(costs: &[(String, Cost)]) -> Table {
    let columns = [
        "TOPIC",
        "APPENDS",
        "BYTES",
        "BYTES/APPEND",
        "SYNCS",
        "APPENDS/SYNC",
        "MS/SYNC",
        "SEGMENTS",
    ];
    let mut table = Table::new(&columns);
    for (topic, it) in costs {
        table.row([
            topic.clone(),
            format!("{:.0}", it.appends),
            format!("{:.0}", it.bytes),
            format!("{:.0}", each(it.bytes, it.appends)),
            format!("{:.0}", it.syncs),
            format!("{:.1}", each(it.appends, it.syncs)),
            format!("{:.2}", each(it.sync_seconds * 1_000.0, it.syncs)),
            format!("{:.0}", it.segments),
        ]);
    }
    table
}

fn documents(costs: &[(String, Cost)]) -> Vec<Value> {
    let document = |(topic, it): &(String, Cost)| {
        json!({"topic": topic, "appends": it.appends, "bytes": it.bytes, "syncs": it.syncs,
            "syncSeconds": it.sync_seconds, "segments": it.segments})
    };
    costs.iter().map(document).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_has_a_row_and_the_dearest_is_first() {
        let text = r#"durable_log_appends_total{topic="a"} 10
durable_log_appended_bytes_total{topic="a"} 500
durable_log_syncs_total{topic="a"} 4
durable_log_sync_time_seconds{topic="a"} 0.008
durable_log_segments_count{topic="a"} 1
durable_log_appended_bytes_total{topic="b"} 900
durable_log_lost_records_total{topic="b"} 7
"#;
        let costs = costs(metrics::parse(text, "durable_log_").into_iter());
        let expected = "\
TOPIC  APPENDS  BYTES  BYTES/APPEND  SYNCS  APPENDS/SYNC  MS/SYNC  SEGMENTS
b      0        900    0             0      0.0           0.00     0
a      10       500    50            4      2.5           2.00     1
";
        assert_eq!(table(&costs).render(""), expected);
        assert_eq!(documents(&costs)[1]["bytes"], 500.0);
    }
}
