//! Tables for people, and every burst for whoever reads the file later.

use serde_json::{Value, json};

use super::{Case, FLOOR, Kind, Row, burst::Burst};
use crate::bench::middle;

impl Row {
    /// The median over the rounds.
    pub(super) fn median(&self, figure: impl Fn(&Burst) -> f64) -> f64 {
        median(self.bursts.iter().map(figure).collect())
    }

    /// The median of what each round says of two: what the machine does beside hits both.
    pub(super) fn against(&self, other: &Self, compare: impl Fn(&Burst, &Burst) -> f64) -> f64 {
        median(self.bursts.iter().zip(&other.bursts).map(|(a, b)| compare(a, b)).collect())
    }

    /// Messages in a second as a multiple of another's.
    pub(super) fn times(&self, other: &Self) -> f64 {
        self.against(other, |a, b| a.per_second() / b.per_second())
    }

    fn errors(&self) -> u64 {
        self.bursts.iter().map(Burst::errors).sum()
    }

    /// Whether every burst had messages, and nothing went wrong.
    pub(super) fn is_valid(&self) -> bool {
        self.errors() == 0 && self.bursts.iter().all(|it| it.verified() > 0)
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    middle(&figures)
}

pub(super) fn named<'a>(rows: &'a [Row], name: &str) -> Option<&'a Row> {
    rows.iter().find(|it| it.name == name)
}

/// A table of one case.
pub(super) fn print(case: Case, rows: &[Row]) {
    let what = match case.kind {
        Kind::Publish { publishers: 1 } => "one publisher, durable".to_owned(),
        Kind::Publish { publishers } => format!("{publishers} publishers, durable"),
        Kind::Deliver { subscribers: 1, rate: Some(rate) } => {
            format!("published to received, {rate} a second")
        }
        Kind::Deliver { subscribers, .. } => {
            format!("{subscribers} subscribers, 64 publishes under way; each delivery counts")
        }
        Kind::Work { batch } => {
            format!("{batch} under way, one consumer that acknowledges {batch} at a time")
        }
    };
    crate::say(&format!("\n{}: {what}", case.name));
    crate::say(&format!(
        "{:<20} {:>9} {:>7} {:>11} {:>8} {:>8} {:>8} {:>8} {:>7} {:>8} {:>6}",
        "",
        "msg/s",
        "x nats",
        "x fdatasync",
        "p50 us",
        "p99 us",
        "log us",
        "client us",
        "flushes",
        "bytes",
        "errors"
    ));
    for row in rows {
        crate::say(&line(row, rows));
    }
}

fn line(row: &Row, rows: &[Row]) -> String {
    let times = |name| named(rows, name).map_or(f64::NAN, |it| row.times(it));
    let verdict = if row.is_valid() { "" } else { "  INVALID" };
    format!(
        "{:<20} {:>9.0} {:>7.2} {:>11.2} {:>8.0} {:>8.0} {:>8.1} {:>9.1} {:>7.3} {:>8.0} {:>6}{verdict}",
        row.name,
        row.median(Burst::per_second),
        times("nats"),
        times(FLOOR),
        row.median(|it| it.latency_us("p50Us")),
        row.median(|it| it.latency_us("p99Us")),
        row.median(Burst::log_us),
        row.median(Burst::clients_us),
        row.median(Burst::flushes),
        row.median(Burst::written_bytes),
        row.errors(),
    )
}

/// Every figure of a case, and each burst as it was seen.
pub(super) fn json(rows: &[Row]) -> Value {
    let all = rows.iter().map(|row| {
        let rounds: Vec<Value> = row
            .bursts
            .iter()
            .map(|it| {
                json!({
                    "logUs": it.log_us(),
                    "clientsUs": it.clients_us(),
                    "flushes": it.flushes(),
                    "writtenBytes": it.written_bytes(),
                    "seen": it.seen,
                })
            })
            .collect();
        let times = |name: &str| named(rows, name).map(|it| row.times(it));
        let summary = json!({
            "isValid": row.is_valid(),
            "messagesPerSecond": row.median(Burst::per_second),
            "timesNats": times("nats"),
            "timesFdatasync": times(FLOOR),
            "p50Us": row.median(|it| it.latency_us("p50Us")),
            "p99Us": row.median(|it| it.latency_us("p99Us")),
            "logUs": row.median(Burst::log_us),
            "clientsUs": row.median(Burst::clients_us),
            "flushes": row.median(Burst::flushes),
            "writtenBytes": row.median(Burst::written_bytes),
            "rounds": rounds,
        });
        (row.name.clone(), summary)
    });
    Value::Object(all.collect())
}

#[cfg(test)]
pub(super) mod tests {
    use super::{super::burst::Used, *};

    pub(in crate::bench::messaging) fn row(name: &str, bursts: &[(u64, f64)]) -> Row {
        let burst = |(verified, p50): &(u64, f64)| Burst {
            seen: json!({"verified": verified, "errors": 0, "seconds": 1.0, "p50Us": p50}),
            used: Used::default(),
        };
        Row { name: name.to_owned(), bursts: bursts.iter().map(burst).collect() }
    }

    #[test]
    fn a_ratio_compares_within_a_round() {
        // The machine was four times as slow in round two.
        let ours = row("skein", &[(400, 1.0), (100, 1.0), (420, 1.0)]);
        let theirs = row("nats", &[(100, 1.0), (25, 1.0), (105, 1.0)]);
        assert_eq!(ours.times(&theirs), 4.0);
    }

    #[test]
    fn a_lost_burst_makes_its_row_invalid_and_has_no_figures() {
        let lost = Row { name: "nats".to_owned(), bursts: vec![Burst::lost("gone")] };
        assert!(!lost.is_valid());
        assert!(lost.median(Burst::log_us).is_nan());
        assert!(line(&lost, &[]).contains("INVALID"));
    }
}
