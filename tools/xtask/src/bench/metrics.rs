//! Counters and histograms of a role, scraped from its admin port.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::{Value, json};

/// Samples by name and labels, as the text format has them: `name{a="b"}`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Scrape(BTreeMap<String, f64>);

/// Asks one role.
pub(crate) fn scrape(port: u16) -> io::Result<Scrape> {
    Ok(Scrape::parse(&exchange(port, "GET", "/metrics", "")?))
}

/// One request to an admin port; gives the whole reply.
pub(crate) fn exchange(port: u16, method: &str, path: &str, body: &str) -> io::Result<String> {
    exchange_as(port, method, path, "", body)
}

/// The same with more fields, each of which ends its line.
pub(crate) fn exchange_as(
    port: u16,
    method: &str,
    path: &str,
    fields: &str,
    body: &str,
) -> io::Result<String> {
    let mut connection = TcpStream::connect(("127.0.0.1", port))?;
    connection.set_read_timeout(Some(Duration::from_secs(5)))?;
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{fields}\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    connection.write_all(request.as_bytes())?;
    let mut reply = String::new();
    connection.read_to_string(&mut reply)?;
    Ok(reply)
}

/// Deliveries that are at the doorstep, as the page has counted them since its topics begin; `fields` show that
/// one may look, each of them ends its line.
pub(crate) fn doorsteps(page: u16, fields: &str) -> io::Result<f64> {
    let mut connection = TcpStream::connect(("127.0.0.1", page))?;
    connection.set_read_timeout(Some(Duration::from_secs(5)))?;
    // In HTTP/1.0 a stream comes as it is, not in chunks.
    let request = format!("GET /api/stream HTTP/1.0\r\nhost: localhost\r\n{fields}\r\n");
    connection.write_all(request.as_bytes())?;
    for line in BufReader::new(connection).lines() {
        if let Some(snapshot) = line?.strip_prefix("data: ") {
            let snapshot: Value = serde_json::from_str(snapshot)?;
            return Ok(snapshot["totals"]["completed"].as_f64().unwrap_or(0.0));
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

impl Scrape {
    fn parse(text: &str) -> Self {
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Self(text.lines().filter(|it| !it.starts_with('#')).filter_map(sample).collect())
    }

    /// Adds the samples of a replica.
    pub(crate) fn add(&mut self, other: Self) {
        for (name, value) in other.0 {
            *self.0.entry(name).or_default() += value;
        }
    }

    /// What was counted after an earlier look.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let grown = |(name, value): (&String, &f64)| {
            (name.clone(), value - before.0.get(name).copied().unwrap_or(0.0))
        };
        Self(self.0.iter().map(grown).collect())
    }

    /// The sum over every label set of `name` that mentions `label`.
    pub(crate) fn sum(&self, name: &str, label: &str) -> f64 {
        self.0
            .iter()
            .filter(|(it, _)| family(it) == name && it.contains(label))
            .map(|(_, value)| value)
            .sum()
    }

    /// Median, 90th and 99th percentile of a histogram, for each value of `label`: upper bounds of buckets.
    pub(crate) fn quantiles(&self, name: &str, label: &str) -> Value {
        let mut buckets: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
        for (sample, count) in &self.0 {
            if family(sample) != format!("{name}_bucket") {
                continue;
            }
            let bound =
                value_of(sample, "le").and_then(|it| it.parse().ok()).unwrap_or(f64::INFINITY);
            let of = value_of(sample, label).unwrap_or_default();
            buckets.entry(of).or_default().push((bound, *count));
        }
        let rows = buckets.into_iter().map(|(of, mut counts)| {
            counts.sort_by(|one, other| one.0.total_cmp(&other.0));
            let at = |share| quantile(&counts, share);
            (of, json!({"p50": at(0.5), "p90": at(0.9), "p99": at(0.99)}))
        });
        Value::Object(rows.collect())
    }
}

fn family(sample: &str) -> &str {
    sample.split('{').next().unwrap_or(sample)
}

fn value_of(sample: &str, label: &str) -> Option<String> {
    let (_, rest) = sample.split_once(&format!("{label}=\""))?;
    rest.split('"').next().map(str::to_owned)
}

/// `counts` are cumulative, by rising bound.
fn quantile(counts: &[(f64, f64)], share: f64) -> Option<f64> {
    let all = counts.last()?.1;
    counts.iter().find(|(_, count)| *count >= all * share).map(|(bound, _)| *bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP a b\nx_total{k=\"a\"} 2\nx_total{k=\"b\"} 3\n\
        d_bucket{step=\"s\",le=\"0.1\"} 50\nd_bucket{step=\"s\",le=\"0.5\"} 99\nd_bucket{step=\"s\",le=\"+Inf\"} 100\n";

    #[test]
    fn label_sets_are_summed() {
        let scrape = Scrape::parse(TEXT);
        assert_eq!(scrape.sum("x_total", ""), 5.0);
        assert_eq!(scrape.sum("x_total", "b"), 3.0);
    }

    #[test]
    fn what_was_counted_before_does_not_count_again() {
        let after = Scrape::parse("x_total{k=\"a\"} 7\ny_total 1\n");
        let since = after.since(&Scrape::parse(TEXT));
        assert_eq!((since.sum("x_total", ""), since.sum("y_total", "")), (5.0, 1.0));
    }

    #[test]
    fn quantiles_are_upper_bounds_of_buckets() {
        let quantiles = Scrape::parse(TEXT).quantiles("d", "step");
        assert_eq!(quantiles, json!({"s": {"p50": 0.1, "p90": 0.5, "p99": 0.5}}));
    }
}
