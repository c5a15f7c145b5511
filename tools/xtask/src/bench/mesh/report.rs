//! Tables for people, and every burst for whoever reads the file later.

use serde_json::{Value, json};

use super::{REFERENCE, Row, burst::Burst};

/// Median, least and most of one figure over the rounds.
fn spread(bursts: &[Burst], figure: impl Fn(&Burst) -> f64) -> [f64; 3] {
    let mut figures: Vec<f64> = bursts.iter().map(figure).collect();
    figures.sort_unstable_by(f64::total_cmp);
    let (low, high) = (figures.first().copied(), figures.last().copied());
    [median(&figures), low.unwrap_or(f64::NAN), high.unwrap_or(f64::NAN)]
}

/// The middle of sorted figures.
fn median(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    match (sorted.len() % 2, sorted.get(half)) {
        (1, Some(middle)) => *middle,
        (_, Some(upper)) => f64::midpoint(sorted[half - 1], *upper),
        (_, None) => f64::NAN,
    }
}

impl Row {
    fn errors(&self) -> u64 {
        self.bursts.iter().map(Burst::errors).sum()
    }

    fn verified(&self) -> u64 {
        self.bursts.iter().map(Burst::verified).sum()
    }

    /// CPU as a multiple of another's: the median of what each round says.
    fn times(&self, other: &Self) -> f64 {
        let pairs = self.bursts.iter().zip(&other.bursts);
        let mut ratios: Vec<f64> = pairs.map(|(a, b)| a.cpu_us() / b.cpu_us()).collect();
        ratios.sort_unstable_by(f64::total_cmp);
        median(&ratios)
    }

    fn latency_us(&self, quantile: &str) -> f64 {
        spread(&self.bursts, |it| it.latency_us(quantile))[0]
    }
}

fn named<'a>(rows: &'a [Row], name: &str) -> Option<&'a Row> {
    rows.iter().find(|it| it.name == name)
}

/// In the table of client libraries the bare one is the reference.
fn reference(rows: &[Row]) -> Option<&Row> {
    named(rows, REFERENCE).or_else(|| named(rows, "hyper"))
}

/// A table of one case; with a fixed rate also what the proxy adds to a direct call.
pub(super) fn print(case: &str, is_fixed_rate: bool, rows: &[Row]) {
    let versus = reference(rows).map_or("-", |it| it.name.as_str());
    crate::say(&format!("\n{case}: CPU of one core in microseconds a request"));
    let mut head = format!(
        "{:<12} {:>8} {:>8} {:>8} {:>10} {:>8} {:>5} {:>8} {:>8}",
        "",
        "median",
        "min",
        "max",
        format!("x {versus}"),
        "req/s",
        "busy",
        "p50 us",
        "p99 us"
    );
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
    let times = reference(rows).map_or(f64::NAN, |it| row.times(it));
    let [rate, ..] = spread(&row.bursts, Burst::per_second);
    let [busy, ..] = spread(&row.bursts, Burst::busy);
    let (p50, p99) = (row.latency_us("p50Us"), row.latency_us("p99Us"));
    let mut line = format!(
        "{:<12} {cpu:>8.2} {low:>8.2} {high:>8.2} {times:>10.2} {rate:>8.0} {busy:>5.2} \
         {p50:>8.0} {p99:>8.0}",
        row.name
    );
    if is_fixed_rate {
        let [a, b] = added(row, rows);
        line.push_str(&format!(" {a:>8.0} {b:>8.0}"));
    }
    let verdict = if row.errors() == 0 { "" } else { "  INVALID" };
    format!("{line} {:>9} {:>6}{verdict}", row.verified(), row.errors())
}

/// Median and 99th percentile above those of a direct call.
fn added(row: &Row, rows: &[Row]) -> [f64; 2] {
    ["p50Us", "p99Us"].map(|quantile| {
        let direct = named(rows, "direct").map_or(f64::NAN, |it| it.latency_us(quantile));
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
            "isValid": row.errors() == 0,
            "cpuUs": {"median": median, "min": min, "max": max},
            "timesReference": reference(rows).map(|it| row.times(it)),
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
        let (ours, theirs) = (row("skein", &[10, 40, 12], 0), row(REFERENCE, &[20, 80, 12], 0));
        assert_eq!(ours.times(&theirs), 0.5);
    }

    #[test]
    fn a_lost_burst_has_no_cost_and_makes_its_row_invalid() {
        let rows = [Row { name: "envoy".to_owned(), bursts: vec![Burst::lost("gone")] }];
        assert!(line(&rows[0], false, &rows).contains("INVALID"));
        assert_eq!(json(false, &rows)["envoy"]["cpuUs"]["median"], Value::Null);
    }

    #[test]
    fn a_row_with_errors_is_marked() {
        let rows = [row(REFERENCE, &[1], 0), row("envoy", &[1], 1)];
        assert!(!line(&rows[0], false, &rows).contains("INVALID"));
        assert!(line(&rows[1], false, &rows).contains("INVALID"));
        assert_eq!(json(false, &rows)["envoy"]["isValid"], json!(false));
    }

    #[test]
    fn what_is_added_is_counted_from_a_direct_call() {
        let rows = [row("direct", &[5], 0), row("envoy", &[30], 0)];
        assert_eq!(added(&rows[1], &rows)[0], 25.0);
    }
}
