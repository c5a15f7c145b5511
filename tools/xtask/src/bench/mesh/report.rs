//! Tables for people, and every burst for whoever reads the file later.

use serde_json::{Value, json};

use super::{REFERENCES, Row, burst::Burst};
use crate::bench::middle;

/// Median, least and most of one figure over the rounds.
fn spread(bursts: &[Burst], figure: impl Fn(&Burst) -> f64) -> [f64; 3] {
    let mut figures: Vec<f64> = bursts.iter().map(figure).collect();
    figures.sort_unstable_by(f64::total_cmp);
    let (low, high) = (figures.first().copied(), figures.last().copied());
    [middle(&figures), low.unwrap_or(f64::NAN), high.unwrap_or(f64::NAN)]
}

impl Row {
    fn errors(&self) -> u64 {
        self.bursts.iter().map(Burst::errors).sum()
    }

    /// Whether every burst was answered, and nothing was answered wrong.
    fn is_valid(&self) -> bool {
        self.errors() == 0 && self.bursts.iter().all(|it| it.verified() > 0)
    }

    fn verified(&self) -> u64 {
        self.bursts.iter().map(Burst::verified).sum()
    }

    /// CPU as a multiple of another's: the median of what each round says.
    fn times(&self, other: &Self) -> f64 {
        let pairs = self.bursts.iter().zip(&other.bursts);
        let mut ratios: Vec<f64> = pairs.map(|(a, b)| a.cpu_us() / b.cpu_us()).collect();
        ratios.sort_unstable_by(f64::total_cmp);
        middle(&ratios)
    }

    fn latency_us(&self, quantile: &str) -> f64 {
        spread(&self.bursts, |it| it.latency_us(quantile))[0]
    }
}

fn named<'a>(rows: &'a [Row], name: &str) -> Option<&'a Row> {
    rows.iter().find(|it| it.name == name)
}

/// Those that the others are compared with, of the ones that took part.
fn references(rows: &[Row]) -> impl Iterator<Item = &Row> {
    REFERENCES.into_iter().filter_map(|it| named(rows, it))
}

/// A table of one case; with a fixed rate also what the contender adds to a direct call.
pub(super) fn print(case: &str, is_fixed_rate: bool, rows: &[Row]) {
    crate::say(&format!("\n{case}: CPU of one core in microseconds a request"));
    let mut head = format!("{:<12} {:>8} {:>8} {:>8}", "", "median", "min", "max");
    for reference in references(rows) {
        head.push_str(&format!(" {:>10}", format!("x {}", reference.name)));
    }
    head.push_str(&format!(" {:>8} {:>5} {:>8} {:>8}", "req/s", "busy", "p50 us", "p99 us"));
    if is_fixed_rate {
        head.push_str(&format!(" {:>8} {:>8}", "+p50 us", "+p99 us"));
    }
    crate::say(&format!("{head} {:>9} {:>6}", "verified", "errors"));
    for row in rows {
        crate::say(&line(row, is_fixed_rate, rows));
    }
}

fn line(row: &Row, is_fixed_rate: bool, rows: &[Row]) -> String {
    let [cpu, low, high] = spread(&row.bursts, Burst::cpu_us);
    let [rate, ..] = spread(&row.bursts, Burst::per_second);
    let [busy, ..] = spread(&row.bursts, Burst::busy);
    let (p50, p99) = (row.latency_us("p50Us"), row.latency_us("p99Us"));
    let mut line = format!("{:<12} {cpu:>8.2} {low:>8.2} {high:>8.2}", row.name);
    for reference in references(rows) {
        line.push_str(&format!(" {:>10.2}", row.times(reference)));
    }
    line.push_str(&format!(" {rate:>8.0} {busy:>5.2} {p50:>8.0} {p99:>8.0}"));
    if is_fixed_rate {
        let [a, b] = added(row, rows);
        line.push_str(&format!(" {a:>8.0} {b:>8.0}"));
    }
    let verdict = if row.is_valid() { "" } else { "  INVALID" };
    format!("{line} {:>9} {:>6}{verdict}", row.verified(), row.errors())
}

/// Median and 99th percentile above those of a direct call; in a process that is one by the bare
/// library.
fn added(row: &Row, rows: &[Row]) -> [f64; 2] {
    let direct = named(rows, "direct").or_else(|| named(rows, "hyper"));
    ["p50Us", "p99Us"].map(|quantile| {
        let direct = direct.map_or(f64::NAN, |it| it.latency_us(quantile));
        row.latency_us(quantile) - direct
    })
}

/// Every figure of a case, and each burst as it was seen.
pub(super) fn json(is_fixed_rate: bool, rows: &[Row]) -> Value {
    let all = rows.iter().map(|row| {
        let [median, min, max] = spread(&row.bursts, Burst::cpu_us);
        let rounds: Vec<Value> = row
            .bursts
            .iter()
            .map(|it| json!({"cpuUs": it.cpu_us(), "busy": it.busy(), "load": it.load}))
            .collect();
        let mut summary = json!({
            "isValid": row.is_valid(),
            "cpuUs": {"median": median, "min": min, "max": max},
            "times": times(row, rows),
            "requestsPerSecond": spread(&row.bursts, Burst::per_second)[0],
            "p50Us": row.latency_us("p50Us"),
            "p99Us": row.latency_us("p99Us"),
            "verified": row.verified(),
            "errors": row.errors(),
            "rounds": rounds,
        });
        if is_fixed_rate {
            let [p50, p99] = added(row, rows);
            summary["addedP50Us"] = json!(p50);
            summary["addedP99Us"] = json!(p99);
        }
        (row.name.clone(), summary)
    });
    Value::Object(all.collect())
}

/// CPU as a multiple of each reference's, by its name.
fn times(row: &Row, rows: &[Row]) -> Value {
    Value::Object(references(rows).map(|it| (it.name.clone(), json!(row.times(it)))).collect())
}

/// Memory of each contender in MiB.
pub(super) fn print_memory(memory: &Value) {
    crate::say("\nmemory: proportional set size in MiB with so many connections");
    crate::say(&format!("{:<12} {:>8} {:>8} {:>8}", "", "0", "100", "1000"));
    for (name, seen) in memory.as_object().into_iter().flatten() {
        let [idle, hundred, thousand] =
            ["idle", "at100", "at1000"].map(|it| seen[it].as_f64().unwrap_or(f64::NAN) / 1_024.0);
        crate::say(&format!("{name:<12} {idle:>8.1} {hundred:>8.1} {thousand:>8.1}"));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn row(name: &str, cpu_us: &[u64], errors: u64) -> Row {
        let burst = |cpu: &u64| Burst {
            load: json!({"verified": 10, "errors": errors, "seconds": 1.0, "p50Us": *cpu}),
            cpu: Duration::from_micros(cpu * 10),
        };
        Row { name: name.to_owned(), bursts: cpu_us.iter().map(burst).collect() }
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_ones() {
        assert_eq!(spread(&row("a", &[4, 1, 2, 9], 0).bursts, Burst::cpu_us), [3.0, 1.0, 9.0]);
        assert_eq!(spread(&row("a", &[4, 1, 2], 0).bursts, Burst::cpu_us), [2.0, 1.0, 4.0]);
    }

    #[test]
    fn a_ratio_compares_within_a_round() {
        // The machine was four times as slow in round two; medians alone would say 12 to 20.
        let (ours, theirs) = (row("skein", &[10, 40, 12], 0), row("haproxy", &[20, 80, 12], 0));
        assert_eq!(ours.times(&theirs), 0.5);
    }

    #[test]
    fn a_lost_burst_has_no_cost_and_makes_its_row_invalid() {
        let rows = [Row { name: "envoy".to_owned(), bursts: vec![Burst::lost("gone")] }];
        assert!(line(&rows[0], false, &rows).contains("INVALID"));
        assert_eq!(json(false, &rows)["envoy"]["cpuUs"]["median"], Value::Null);
    }

    #[test]
    fn a_burst_without_an_answer_makes_its_row_invalid() {
        let mut rows = [row("envoy", &[1, 2], 0)];
        assert!(rows[0].is_valid());
        rows[0].bursts[1].load = json!({"verified": 0, "errors": 0, "seconds": 0.0});
        assert!(line(&rows[0], false, &rows).contains("INVALID"));
        assert!(rows[0].bursts[1].busy().is_nan(), "nothing says how long it took");
    }

    #[test]
    fn a_row_with_errors_is_marked() {
        let rows = [row("haproxy", &[1], 0), row("envoy", &[1], 1)];
        assert!(!line(&rows[0], false, &rows).contains("INVALID"));
        assert!(line(&rows[1], false, &rows).contains("INVALID"));
        assert_eq!(json(false, &rows)["envoy"]["isValid"], json!(false));
    }

    #[test]
    fn each_reference_that_took_part_is_compared_with() {
        let rows = [row("haproxy", &[20], 0), row("envoy", &[40], 0), row("skein", &[10], 0)];
        assert_eq!(times(&rows[2], &rows), json!({"haproxy": 0.5, "envoy": 0.25}));
        assert_eq!(times(&rows[2], &rows[1..]), json!({"envoy": 0.25}));
        let rows = [row("hyper", &[10], 0), row("skein", &[12], 0)];
        assert_eq!(times(&rows[1], &rows), json!({"hyper": 1.2}));
        assert_eq!(added(&rows[1], &rows)[0], 2.0);
    }

    #[test]
    fn what_is_added_is_counted_from_a_direct_call() {
        let rows = [row("direct", &[5], 0), row("envoy", &[30], 0)];
        assert_eq!(added(&rows[1], &rows)[0], 25.0);
    }
}
