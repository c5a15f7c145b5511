//! What became of a file of requests, counted.

use std::time::Duration;

use serde::Serialize;
use skein::{Exit, Table};

use super::line::{Expected, Line};

/// How one line ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    /// It was taken; nobody waited for more.
    Accepted { id: String },
    /// It was refused for good.
    Rejected { status: u16, detail: String },
    /// Nobody took it in time.
    Unanswered,
    /// It was taken, and came to its end.
    At {
        id: String,
        state: String,
        failed_step: Option<String>,
        reason: Option<String>,
        /// From the acceptance to the end.
        took: Duration,
    },
    /// It was taken, and had not come to its end in time.
    TooLate { id: String },
}

/// A line that did not end as it should.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Mismatch {
    line: usize,
    delivery_id: Option<String>,
    expected: String,
    found: String,
}

/// The counts, and the latencies of what came to an end, in milliseconds.
#[derive(Debug, Default, Serialize)]
pub(super) struct Summary {
    #[serde(skip)]
    waited: bool,
    accepted: u64,
    completed: u64,
    cancelled: u64,
    failed: u64,
    parked: u64,
    rejected: u64,
    /// Had not ended when the wait did.
    open: u64,
    /// Got no answer.
    unanswered: u64,
    p50: Option<u64>,
    p99: Option<u64>,
    mismatches: Vec<Mismatch>,
    #[serde(skip)]
    took_ms: Vec<u64>,
}

impl Summary {
    pub(super) fn new(waited: bool) -> Self {
        Self { waited, ..Self::default() }
    }

    pub(super) fn add(&mut self, line: &Line, ended: Ended) {
        let (id, found, step) = match ended {
            Ended::Rejected { status, detail } => {
                self.rejected += 1;
                (None, format!("Rejected ({status} {detail})"), None)
            }
            Ended::Unanswered => {
                self.unanswered += 1;
                (None, "no answer".to_owned(), None)
            }
            Ended::Accepted { id } => {
                self.accepted += 1;
                (Some(id), "Accepted".to_owned(), None)
            }
            Ended::TooLate { id } => {
                self.accepted += 1;
                self.open += 1;
                (Some(id), "no end in time".to_owned(), None)
            }
            Ended::At { id, state, failed_step, reason, took } => {
                self.accepted += 1;
                self.count(&state, took);
                let why = reason.map(|it| format!(" ({it})")).unwrap_or_default();
                (Some(id), format!("{state}{why}"), failed_step)
            }
        };
        let Some(expected) = line.expect.as_ref().filter(|it| self.is_missed(it, &found, &step))
        else {
            return;
        };
        let at = |step: &Option<String>| step.as_ref().map(|it| format!(" at {it}"));
        self.mismatches.push(Mismatch {
            line: line.number,
            delivery_id: id,
            expected: expected.outcome.clone() + &at(&expected.failed_step).unwrap_or_default(),
            found: found + &at(&step).unwrap_or_default(),
        });
    }

    fn is_missed(&self, expected: &Expected, found: &str, step: &Option<String>) -> bool {
        // An end that nobody waited for is not missed.
        let is_open = !self.waited && found == "Accepted" && expected.outcome != "Rejected";
        let is_same = found.split(' ').next() == Some(expected.outcome.as_str());
        let is_there = expected.failed_step.is_none() || expected.failed_step == *step;
        !(is_open || (is_same && is_there))
    }

    fn count(&mut self, state: &str, took: Duration) {
        match state {
            "Completed" => self.completed += 1,
            "Cancelled" => self.cancelled += 1,
            "Failed" => self.failed += 1,
            _ => self.parked += 1,
        }
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let place = self.took_ms.partition_point(|it| *it <= took_ms);
        self.took_ms.insert(place, took_ms);
        (self.p50, self.p99) = (self.percentile(50), self.percentile(99));
    }

    /// The smallest value that so many in a hundred do not pass.
    fn percentile(&self, percent: usize) -> Option<u64> {
        let rank = (self.took_ms.len() * percent).div_ceil(100);
        self.took_ms.get(rank.checked_sub(1)?).copied()
    }

    /// How the command ends.
    pub(super) fn exit(&self) -> Exit {
        match (self.mismatches.len(), self.unanswered) {
            (0, 0) => Exit::Done,
            _ if self.accepted == 0 => Exit::Failed,
            _ => Exit::Partial,
        }
    }

    pub(super) fn table(&self) -> Table {
        let mut table = Table::new(&["OUTCOME", "DELIVERIES"]);
        let rows = [
            ("accepted", self.accepted),
            ("completed", self.completed),
            ("cancelled", self.cancelled),
            ("failed", self.failed),
            ("parked", self.parked),
            ("rejected", self.rejected),
            ("open", self.open),
            ("unanswered", self.unanswered),
        ];
        for (outcome, number) in rows {
            table.row([outcome.to_owned(), number.to_string()]);
        }
        for (name, took) in [("p50", self.p50), ("p99", self.p99)] {
            if let Some(took) = took {
                table.row([name.to_owned(), format!("{took} ms")]);
            }
        }
        for it in &self.mismatches {
            let found = format!("expected {}, found {}", it.expected, it.found);
            table.row([format!("line {}", it.line), found]);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn line(outcome: &str, failed_step: Option<&str>) -> Line {
        let failed_step = failed_step.map(str::to_owned);
        let expect = Some(Expected { outcome: outcome.to_owned(), failed_step });
        Line { number: 1, request: Value::Null, cancel_after: None, expect }
    }

    fn at(state: &str, failed_step: Option<&str>, took_ms: u64) -> Ended {
        Ended::At {
            id: "d".to_owned(),
            state: state.to_owned(),
            failed_step: failed_step.map(str::to_owned),
            reason: Some("why".to_owned()),
            took: Duration::from_millis(took_ms),
        }
    }

    fn rejected() -> Ended {
        Ended::Rejected { status: 400, detail: "no".to_owned() }
    }

    #[test]
    fn a_line_that_ends_otherwise_than_it_says_is_named() {
        let mut summary = Summary::new(true);
        summary.add(&line("Completed", None), at("Completed", None, 5));
        summary.add(&line("Rejected", None), rejected());
        summary.add(&line("Failed", Some("account")), at("Failed", Some("account"), 5));
        assert_eq!((&summary.mismatches[..], summary.exit()), (&[][..], Exit::Done));
        summary.add(&line("Failed", Some("account")), at("Failed", Some("drone"), 5));
        summary.add(&line("Completed", None), Ended::TooLate { id: "d".to_owned() });
        summary.add(&line("Completed", None), rejected());
        let found: Vec<_> = summary.mismatches.iter().map(|it| it.found.as_str()).collect();
        assert_eq!(found, ["Failed (why) at drone", "no end in time", "Rejected (400 no)"]);
        assert_eq!(summary.exit(), Exit::Partial);
    }

    #[test]
    fn without_waiting_only_what_is_known_at_once_is_judged() {
        let mut summary = Summary::new(false);
        let accepted = || Ended::Accepted { id: "d".to_owned() };
        summary.add(&line("Completed", None), accepted());
        assert_eq!(summary.mismatches, []);
        summary.add(&line("Rejected", None), accepted());
        assert_eq!(summary.mismatches.len(), 1);
    }

    #[test]
    fn a_percentile_is_a_latency_that_was_seen() {
        let mut summary = Summary::new(true);
        for took in (1..=200).rev() {
            summary.add(&line("Completed", None), at("Completed", None, took));
        }
        assert_eq!((summary.p50, summary.p99), (Some(100), Some(198)));
    }
}
