//! The table of what holds where, for people.

use std::fmt::Write as _;

use crate::{
    scenario::{Group, Outcome},
    suite::Report,
};

const HEAD: &str = "\
# What our client promises over a log, and where it holds

Written by `cargo xtask conformance`, which runs every scenario of `communication/conformance`
against each log below. Do not edit it. To try a log of your own:
`skein conformance --bootstrap HOST:PORT`.

*holds*: the promised end was seen. *does not hold*: it was not; the reason stands below the tables.
*not offered*: the log lacks something that was probed beforehand; that stands below the tables too.
What a foreign log keeps at times stands in `communication/conformance/tests/it/known.rs`, with the reasons.

Proven here is what these tables say, and nothing else. Apache Kafka, Redpanda and Azure Event Hubs
could not be run where they were written: **nothing is proven about them**. The client speaks plain
text or TLS, and logs in by SASL PLAIN, as Event Hubs asks; that was tried on the embedded broker.
";

/// The document of these reports, which tried the same scenarios.
#[must_use]
pub fn document(reports: &[Report]) -> String {
    let mut text = HEAD.to_owned();
    let mut put = |line: &str| {
        // Writing to a string cannot fail.
        let _written = writeln!(text, "{line}");
    };
    put("\n| log | scenarios | hold | do not hold | not offered |\n|---|---|---|---|---|");
    for report in reports {
        let (holds, broken, lacking) = report.counts();
        let all = report.rows.len();
        put(&format!("| {} | {all} | {holds} | {broken} | {lacking} |", report.backend));
    }
    let names: Vec<&str> = reports.iter().map(|it| it.backend.as_str()).collect();
    let rows = reports.first().map_or(&[][..], |it| it.rows.as_slice());
    for group in Group::ALL {
        put(&format!("\n## {}\n", group.as_str()));
        put(&format!("| scenario | promise | judged by | {} |", names.join(" | ")));
        put(&format!("|---|---|---|{}", "---|".repeat(names.len())));
        for (at, row) in rows.iter().enumerate().filter(|(_, it)| it.scenario.group == group) {
            let scenario = &row.scenario;
            let outcomes = reports.iter().map(|it| it.rows.get(at).map_or("–", word));
            let outcomes: Vec<&str> = outcomes.collect();
            let (promise, judged) = (scenario.promise, scenario.judged);
            let outcomes = outcomes.join(" | ");
            put(&format!("| `{}` | {promise} | {judged} | {outcomes} |", scenario.name));
        }
    }
    for report in reports {
        let others = report.rows.iter().filter(|it| it.outcome != Outcome::Holds);
        let mut others = others.peekable();
        if others.peek().is_none() {
            continue;
        }
        put(&format!("\n## {}: what does not hold, and what is not offered\n", report.backend));
        for row in others {
            let reason = match &row.outcome {
                Outcome::Holds => continue,
                Outcome::DoesNotHold { reason } => format!("does not hold: {}", plain(reason)),
                Outcome::NotOffered { reason, .. } => format!("not offered: {}", plain(reason)),
            };
            put(&format!("- `{}`: {reason}", row.scenario.id()));
        }
    }
    text
}

const fn word(row: &crate::suite::Row) -> &'static str {
    match row.outcome {
        Outcome::Holds => "holds",
        Outcome::DoesNotHold { .. } => "**does not hold**",
        Outcome::NotOffered { .. } => "not offered",
    }
}

/// A reason without what differs from run to run, and without what Markdown reads.
fn plain(reason: &str) -> String {
    let mut words = Vec::new();
    for word in reason.split_whitespace() {
        words.push(match word.split_once("conformance-") {
            // Eight digits of the run, the number of the scenario, then the name that it gave.
            Some((before, name)) => {
                let rest = name.splitn(3, '-').nth(2).unwrap_or(name);
                format!("{before}{rest}")
            }
            None => word.to_owned(),
        });
    }
    words.join(" ").replace('|', "\\|").replace('<', "\\<").replace('`', "'")
}

/// The scenarios that a document lists, as group and name.
#[must_use]
pub fn listed(document: &str) -> Vec<String> {
    let (mut group, mut found) = ("", Vec::new());
    for line in document.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            group = Group::ALL
                .iter()
                .map(|it| it.as_str())
                .find(|it| *it == heading)
                .unwrap_or_default();
        } else if let Some(rest) = line.strip_prefix("| `")
            && let Some((name, _)) = rest.split_once('`')
        {
            found.push(format!("{group}/{name}"));
        }
    }
    found
}
