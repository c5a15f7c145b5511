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
    /// Nobody waited any longer: taken, where it has an id, and open.
    Left { id: Option<String> },
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
#[serde(rename_all = "camelCase")]
pub(super) struct Summary {
    #[serde(skip)]
    waited: bool,
    /// Lines of the file.
    lines: usize,
    /// Those that were sent; all of them where nobody stopped it.
    sent: usize,
    interrupted: bool,
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
    /// Lines that ended as they say; a line that says nothing is to be taken.
    as_expected: usize,
    mismatches: Vec<Mismatch>,
    #[serde(skip)]
    took_ms: Vec<u64>,
}

impl Summary {
    pub(super) fn new(waited: bool, lines: usize) -> Self {
        Self { waited, lines, ..Self::default() }
    }

    /// One more line is on its way.
    pub(super) fn sends(&mut self) {
        self.sent += 1;
    }

    /// Somebody does not want to wait for more.
    pub(super) fn interrupt(&mut self) {
        self.interrupted = true;
    }

    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupted
    }

    /// How far it is, in a line.
    pub(super) fn so_far(&self, accepted: usize) -> String {
        let ended = self.completed + self.cancelled + self.failed + self.parked;
        let ended = if self.waited { format!(", {ended} ended") } else { String::new() };
        let rejected = self.rejected;
        let rejected = if rejected > 0 { format!(", {rejected} rejected") } else { String::new() };
        format!("sent {} of {}: {accepted} accepted{rejected}{ended}", self.sent, self.lines)
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
            // Who stopped it expects nothing.
            Ended::Left { id: Some(_) } => {
                self.accepted += 1;
                self.open += 1;
                return;
            }
            Ended::Left { id: None } => {
                self.unanswered += 1;
                return;
            }
            Ended::At { id, state, failed_step, reason, took } => {
                self.accepted += 1;
                self.count(&state, took);
                let why = reason.map(|it| format!(" ({it})")).unwrap_or_default();
                (Some(id), format!("{state}{why}"), failed_step)
            }
        };
        if !self.is_missed(line.expect.as_ref(), &found, step.as_ref()) {
            self.as_expected += 1;
            return;
        }
        let at = |step: Option<&String>| step.map(|it| format!(" at {it}")).unwrap_or_default();
        let expected = line.expect.as_ref().map_or_else(
            || if self.waited { "an end" } else { "Accepted" }.to_owned(),
            |it| it.outcome.clone() + &at(it.failed_step.as_ref()),
        );
        let found = found + &at(step.as_ref());
        self.mismatches.push(Mismatch { line: line.number, delivery_id: id, expected, found });
    }

    fn is_missed(&self, expected: Option<&Expected>, found: &str, step: Option<&String>) -> bool {
        let word = found.split(' ').next();
        let Some(expected) = expected else {
            // Whatever it came to is an end, if only it was taken.
            return ["Rejected", "no"].contains(&word.unwrap_or_default());
        };
        // An end that nobody waited for is not missed.
        let is_open = !self.waited && found == "Accepted" && expected.outcome != "Rejected";
        let is_same = word == Some(expected.outcome.as_str());
        let is_there = expected.failed_step.is_none() || expected.failed_step.as_ref() == step;
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
            _ if self.interrupted => Exit::Interrupted,
            (0, 0) => Exit::Done,
            _ if self.accepted == 0 => Exit::Failed,
            _ => Exit::Partial,
        }
    }

    pub(super) fn table(&self) -> Table {
        let mut table = Table::new(&["OUTCOME", "DELIVERIES"]);
        let of = |number: usize| match self.lines {
            lines if lines == number => number.to_string(),
            lines => format!("{number} of {lines}"),
        };
        table.row(["sent".to_owned(), of(self.sent)]);
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
        if self.waited {
            table.row(["as expected".to_owned(), of(self.as_expected)]);
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
        let mut summary = Summary::new(true, 6);
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
        let mut summary = Summary::new(false, 2);
        let accepted = || Ended::Accepted { id: "d".to_owned() };
        summary.add(&line("Completed", None), accepted());
        assert_eq!(summary.mismatches, []);
        summary.add(&line("Rejected", None), accepted());
        assert_eq!(summary.mismatches.len(), 1);
    }

    #[test]
    fn a_line_that_says_nothing_is_to_be_taken() {
        let plain = Line { expect: None, ..line("", None) };
        let mut summary = Summary::new(true, 2);
        summary.add(&plain, at("Failed", Some("account"), 5));
        assert_eq!((summary.exit(), summary.as_expected), (Exit::Done, 1));
        summary.add(&plain, rejected());
        assert_eq!((summary.exit(), summary.mismatches.len()), (Exit::Partial, 1));
        let mut summary = Summary::new(true, 1);
        summary.add(&plain, Ended::TooLate { id: "d".to_owned() });
        assert_eq!(summary.mismatches[0].expected, "an end");
    }

    #[test]
    fn who_interrupts_learns_what_was_sent_and_what_is_open() {
        let mut summary = Summary::new(true, 6);
        for _ in 0..4 {
            summary.sends();
        }
        summary.add(&line("Completed", None), at("Completed", None, 5));
        summary.add(&line("Rejected", None), rejected());
        assert_eq!(summary.so_far(2), "sent 4 of 6: 2 accepted, 1 rejected, 1 ended");
        summary.interrupt();
        summary.add(&line("Completed", None), Ended::Left { id: Some("d".to_owned()) });
        summary.add(&line("Completed", None), Ended::Left { id: None });
        assert_eq!((&summary.mismatches[..], summary.exit()), (&[][..], Exit::Interrupted));
        let said = summary.table().render("");
        for row in ["sent         4 of 6", "accepted     2", "open         1", "unanswered   1"] {
            assert!(said.contains(row), "{said}");
        }
    }

    #[test]
    fn a_percentile_is_a_latency_that_was_seen() {
        let mut summary = Summary::new(true, 6);
        for took in (1..=200).rev() {
            summary.add(&line("Completed", None), at("Completed", None, took));
        }
        assert_eq!((summary.p50, summary.p99), (Some(100), Some(198)));
    }
}
