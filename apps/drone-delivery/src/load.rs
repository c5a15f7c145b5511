//! An open loop of requests at a fixed rate: each is due at its time, whatever became of the ones
//! before. Latency counts from when a request was due, so that a slow answer cannot hide the ones
//! that had to wait behind it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use base::headers;
use http::{HeaderName, Method, StatusCode};
use runtime::{SystemClock, random_from_os};
use serde::Serialize;
use serde_json::Value;
use service_kit::Call;
use skein::{Exit, Failure, Output, Table};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::{
    cli::LoadArguments,
    sending::{Interrupt, Progress, unknown},
    submit::{read_file, request_of},
    system::System,
};

/// Requests in flight; one that is due past it is counted as not sent.
const OPEN_MAX: usize = 10_000;

/// What came of a load, latencies in milliseconds.
#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    sent: u64,
    accepted: u64,
    /// Answers other than 202, by status.
    other: BTreeMap<u16, u64>,
    unanswered: u64,
    /// Had no answer when somebody stopped it.
    open: usize,
    interrupted: bool,
    /// Were due while too many were in flight.
    not_sent: u64,
    p50: Option<f64>,
    p99: Option<f64>,
    max: Option<f64>,
}

/// Sends requests at a rate, for a time.
pub(crate) async fn load(
    system: System,
    arguments: &LoadArguments,
    output: Output,
) -> Result<Exit, Failure> {
    let requests: Arc<Vec<Value>> =
        Arc::new(read_file(&arguments.file)?.into_iter().map(request_of).collect());
    if requests.is_empty() {
        return Err(Failure::new("bad_file", "the file has no requests"));
    }
    let system = Arc::new(system);
    let run = random_from_os().uuid_v7(SystemClock::shared().now()).to_string();
    let gap = Duration::from_secs(1) / arguments.rate;
    let mut progress = Progress::new(output, arguments.progress);
    let mut interrupt = Interrupt::watch();
    let (started, mut open) = (Instant::now(), JoinSet::new());
    let (mut report, mut took) = (Report::default(), Vec::new());
    let total = arguments.rate.saturating_mul(arguments.seconds);
    let mut number = 0;
    while number < total || !open.is_empty() {
        let due = started + gap * number;
        tokio::select! {
            () = sleep_until(due), if number < total => {}
            joined = open.join_next(), if !open.is_empty() => {
                if let Some(Ok((Some(StatusCode::UNAUTHORIZED), _))) = joined {
                    return Err(unknown("it knows no key or token that is good here"));
                }
                joined.iter().for_each(|it| report.note(&mut took, it));
                continue;
            }
            () = progress.due() => {
                progress.tell(&report.so_far(total, open.len()));
                continue;
            }
            () = interrupt.came() => {
                report.interrupted = true;
                break;
            }
        }
        number += 1;
        if open.len() >= OPEN_MAX {
            report.not_sent += 1;
            continue;
        }
        report.sent += 1;
        let (system, requests) = (Arc::clone(&system), Arc::clone(&requests));
        let key = format!("\"{run}-{number}\"");
        open.spawn(async move {
            let index = usize::try_from(number - 1).unwrap_or(0) % requests.len();
            let status = post(&system, &requests[index], &key).await;
            (status, due.elapsed())
        });
    }
    while let Some(joined) = open.try_join_next() {
        report.note(&mut took, &joined);
    }
    report.open = open.len();
    report.close(took);
    output.result(&report, &report.table());
    Ok(report.exit())
}

/// The status, or nothing when no answer came.
async fn post(system: &System, request: &Value, key: &str) -> Option<StatusCode> {
    let call = Call::new("gateway", Method::POST, "/api/deliveryrequests")
        .header(http::header::CONTENT_TYPE, "application/json")
        .header(HeaderName::from_static(headers::IDEMPOTENCY_KEY), key)
        .json(request);
    system.call(call).await.ok().map(|it| it.status)
}

type Joined = Result<(Option<StatusCode>, Duration), tokio::task::JoinError>;

impl Report {
    fn note(&mut self, took: &mut Vec<f64>, joined: &Joined) {
        match joined {
            Ok((Some(StatusCode::ACCEPTED), latency)) => {
                self.accepted += 1;
                took.push(latency.as_secs_f64() * 1_000.0);
            }
            Ok((Some(status), _)) => *self.other.entry(status.as_u16()).or_default() += 1,
            Ok((None, _)) | Err(_) => self.unanswered += 1,
        }
    }

    fn close(&mut self, mut took: Vec<f64>) {
        took.sort_by(f64::total_cmp);
        let rank = |percent: usize| (took.len() * percent).div_ceil(100).checked_sub(1);
        let at = |index: Option<usize>| took.get(index?).map(|it| (it * 1_000.0).round() / 1_000.0);
        (self.p50, self.p99, self.max) = (at(rank(50)), at(rank(99)), at(rank(100)));
    }

    /// How far it is, in a line.
    fn so_far(&self, total: u32, open: usize) -> String {
        let other: u64 = self.other.values().sum::<u64>() + self.unanswered;
        let other = if other > 0 { format!(", {other} not") } else { String::new() };
        format!("sent {} of {total}: {} accepted{other}, {open} open", self.sent, self.accepted)
    }

    fn exit(&self) -> Exit {
        match self.accepted == self.sent && self.not_sent == 0 {
            _ if self.interrupted => Exit::Interrupted,
            true => Exit::Done,
            false => Exit::Partial,
        }
    }

    fn table(&self) -> Table {
        let mut table = Table::new(&["WHAT", "VALUE"]);
        table.row(["sent".to_owned(), self.sent.to_string()]);
        table.row(["accepted".to_owned(), self.accepted.to_string()]);
        for (status, number) in &self.other {
            table.row([format!("answered {status}"), number.to_string()]);
        }
        table.row(["unanswered".to_owned(), self.unanswered.to_string()]);
        if self.interrupted {
            table.row(["open".to_owned(), self.open.to_string()]);
        }
        table.row(["not sent".to_owned(), self.not_sent.to_string()]);
        for (name, value) in [("p50", self.p50), ("p99", self.p99), ("max", self.max)] {
            table.row([
                name.to_owned(),
                value.map_or_else(|| "–".to_owned(), |it| format!("{it} ms")),
            ]);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_accepted_counts_into_the_latencies() {
        let (mut report, mut took) = (Report::default(), Vec::new());
        for millis in 1..=100 {
            let latency = Duration::from_millis(millis);
            report.note(&mut took, &Ok((Some(StatusCode::ACCEPTED), latency)));
        }
        let late = Duration::from_secs(9);
        report.note(&mut took, &Ok((Some(StatusCode::TOO_MANY_REQUESTS), late)));
        report.note(&mut took, &Ok((None, late)));
        report.close(took);
        assert_eq!((report.p50, report.p99, report.max), (Some(50.0), Some(99.0), Some(100.0)));
        assert_eq!((report.other[&429], report.unanswered), (1, 1));
    }

    #[test]
    fn who_interrupts_learns_what_is_open() {
        let report = Report { sent: 5, accepted: 3, unanswered: 1, ..Report::default() };
        assert_eq!(report.so_far(9, 1), "sent 5 of 9: 3 accepted, 1 not, 1 open");
        assert_eq!(report.exit(), Exit::Partial);
        let report = Report { open: 1, interrupted: true, ..report };
        assert_eq!(report.exit(), Exit::Interrupted);
        assert!(report.table().render("").contains("open        1"));
    }
}
