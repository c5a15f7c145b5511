//! `stat` and `edges`: two looks at every process, and what happened between them.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{
    admin::{Admins, Gathered},
    arguments::StatArguments,
    figures::{Figures, Row},
    metrics::{self, Sample},
    names,
};
use crate::{Exit, Failure, Output, Table};

/// Figures of a window, and the last look.
///
/// # Errors
/// No process answers.
pub async fn gather(admins: &Admins, window: Duration) -> Result<(Figures, Gathered), Failure> {
    let (before, from) = (look(admins).await?, Instant::now());
    sleep(window).await;
    let (after, elapsed) = (look(admins).await?, from.elapsed());
    let before: BTreeMap<_, _> =
        before.said.iter().map(|it| (it.process.name.as_str(), samples(&it.body))).collect();
    let mut figures = Figures::default();
    for said in &after.said {
        // One that was silent before would show all that it ever did as if it had been now.
        if let Some(before) = before.get(said.process.name.as_str()) {
            figures.add(before, &samples(&said.body), elapsed);
        }
    }
    Ok((figures, after))
}

async fn look(admins: &Admins) -> Result<Gathered, Failure> {
    admins.get("/metrics").await
}

fn samples(page: &[u8]) -> Vec<Sample> {
    metrics::parse(&String::from_utf8_lossy(page), "mesh_")
}

/// Shows success, rate, latency, retries and breaker.
///
/// # Errors
/// No process answers.
pub async fn stat(
    admins: &Admins,
    arguments: &StatArguments,
    output: Output,
) -> Result<Exit, Failure> {
    let to = names::wanted(admins, arguments.to.as_deref()).await?;
    watching(arguments.window, output);
    let (figures, gathered) = gather(admins, arguments.window).await?;
    let from = arguments.from.as_deref();
    let rows: Vec<Value> = figures
        .shown(from, &to)
        .map(|(from, to, row)| row.to_json(from, to, arguments.window))
        .collect();
    output.result(&rows, &stat_table(&figures, from, &to));
    if rows.is_empty() {
        output.remark(NOTHING);
    }
    Ok(gathered.exit(output))
}

/// The table of `stat`.
#[must_use]
pub fn stat_table(figures: &Figures, from: Option<&str>, to: &[String]) -> Table {
    let mut table =
        Table::new(&["NAME", "FROM", "SUCCESS", "RPS", "P50", "P95", "P99", "RETRIES", "BREAKER"]);
    for (source, destination, row) in figures.shown(from, to) {
        let latency = |share| row.latency_ms(share).map_or_else(none, millis);
        table.row([
            name(destination),
            source.to_owned(),
            success(row),
            format!("{:.1}", row.per_second),
            latency(0.5),
            latency(0.95),
            latency(0.99),
            format!("{:.1}", row.retries_per_second),
            row.breaker(),
        ]);
    }
    table
}

/// Shows who calls whom.
///
/// # Errors
/// No process answers.
pub async fn edges(
    admins: &Admins,
    arguments: &StatArguments,
    output: Output,
) -> Result<Exit, Failure> {
    let to = names::wanted(admins, arguments.to.as_deref()).await?;
    watching(arguments.window, output);
    let (figures, gathered) = gather(admins, arguments.window).await?;
    let mut table = Table::new(&["SRC", "DST", "RPS", "SUCCESS", "SECURED"]);
    let mut rows = Vec::new();
    for (source, destination, row) in figures.shown(arguments.from.as_deref(), &to) {
        let rate = format!("{:.1}", row.per_second);
        table.row([source.to_owned(), name(destination), rate, success(row), secured(row)]);
        rows.push(json!({
            "src": source, "dst": destination, "rps": row.per_second, "success": row.success(),
            "secured": row.is_secured(),
        }));
    }
    output.result(&rows, &table);
    if rows.is_empty() {
        output.remark(NOTHING);
    }
    Ok(gathered.exit(output))
}

/// Says that it takes so long: nothing is shown before.
pub(super) fn watching(window: Duration, output: Output) {
    output.remark(&format!("watching for {window:?} …"));
}

/// What is said where a table stays empty.
pub(super) const NOTHING: &str = "nothing was called in that time";

fn success(row: &Row) -> String {
    row.success().map_or_else(none, |it| format!("{:.2}%", it * 100.0))
}

fn secured(row: &Row) -> String {
    let word = |it| if it { "yes".to_owned() } else { "no".to_owned() };
    row.is_secured().map_or_else(none, word)
}

/// Where no route led on, nobody was called.
fn name(destination: &str) -> String {
    if destination.is_empty() { "(no route)".to_owned() } else { destination.to_owned() }
}

fn none() -> String {
    "–".to_owned()
}

/// Milliseconds for people: three digits that say something.
#[must_use]
pub fn millis(millis: f64) -> String {
    match millis {
        it if it < 10.0 => format!("{it:.2}ms"),
        it if it < 100.0 => format!("{it:.1}ms"),
        it => format!("{it:.0}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_without_requests_shows_no_success_and_no_latency() {
        let text = "mesh_requests_total{source=\"shop\",destination=\"stock\",class=\"2xx\"} 5\n";
        let samples = metrics::parse(text, "mesh_");
        let mut figures = Figures::default();
        figures.add(&samples, &samples, Duration::from_secs(1));
        let expected = "NAME   FROM  SUCCESS  RPS  P50  P95  P99  RETRIES  BREAKER\n\
                        stock  shop  –        0.0  –    –    –    0.0      closed\n";
        assert_eq!(stat_table(&figures, None, &[]).render(""), expected);
    }

    #[test]
    fn requests_that_no_route_took_stand_under_a_name_that_says_so() {
        let text = "mesh_requests_total{source=\"edge\",destination=\"\",class=\"4xx\"} 5\n";
        let samples = metrics::parse(text, "mesh_");
        let mut figures = Figures::default();
        figures.add(&samples, &samples, Duration::from_secs(1));
        let said = stat_table(&figures, None, &[]).render("");
        assert!(said.contains("\n(no route)  edge"), "{said}");
    }

    #[test]
    fn milliseconds_have_three_digits() {
        assert_eq!([0.4, 12.34, 123.4].map(millis), ["0.40ms", "12.3ms", "123ms"]);
    }
}
