//! The text of all metrics: OpenMetrics 1.0, and Prometheus text 0.0.4, which is the same but for
//! what is said about a family. The older form types a counter under the name of its samples, knows
//! no units and no end, and leaves quotes in a help text as they are.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{
    Exposition,
    family::{Family, Kind, Series, Shape},
};

/// Units that the format knows and that we use; the unit is the end of the name.
const UNITS: [&str; 3] = ["seconds", "bytes", "ratio"];

/// Whether the text may name a metric or a label: lower-case letters, digits, underscores.
pub(super) fn is_name(text: &str) -> bool {
    text.starts_with(|it: char| it.is_ascii_lowercase())
        && text.bytes().all(|it| matches!(it, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

pub(super) fn encode(families: &BTreeMap<String, Family>, form: Exposition) -> String {
    let mut text = String::with_capacity(4_096);
    for family in families.values() {
        // Writing to a string cannot fail.
        let _written = encode_family(&mut text, family, form);
    }
    if form == Exposition::OpenMetrics {
        text.push_str("# EOF\n");
    }
    text
}

fn encode_family(text: &mut String, family: &Family, form: Exposition) -> std::fmt::Result {
    let shape = family.shape();
    let (kind, name) = match shape.kind {
        Kind::Counter => ("counter", shape.name.strip_suffix("_total").unwrap_or(&shape.name)),
        Kind::Gauge => ("gauge", shape.name.as_str()),
        Kind::Histogram(_) => ("histogram", shape.name.as_str()),
    };
    match form {
        Exposition::OpenMetrics => describe_open_metrics(text, name, kind, shape)?,
        Exposition::Prometheus => describe_prometheus(text, name, kind, shape)?,
    }
    let mut result = Ok(());
    family.each(|values, series| {
        let labels = labels(&shape.labels, values);
        if result.is_ok() {
            result = encode_series(text, name, &labels, series);
        }
    });
    result
}

fn describe_open_metrics(
    text: &mut String,
    name: &str,
    kind: &str,
    shape: &Shape,
) -> std::fmt::Result {
    writeln!(text, "# TYPE {name} {kind}")?;
    if let Some(unit) = UNITS.iter().find(|it| name.ends_with(&format!("_{it}"))) {
        writeln!(text, "# UNIT {name} {unit}")?;
    }
    writeln!(text, "# HELP {name} {}", escape(&shape.help))
}

fn describe_prometheus(
    text: &mut String,
    name: &str,
    kind: &str,
    shape: &Shape,
) -> std::fmt::Result {
    // The samples of a counter end in it, and here the family has the name of its samples.
    let total = if shape.kind == Kind::Counter { "_total" } else { "" };
    let help = shape.help.replace('\\', "\\\\").replace('\n', "\\n");
    writeln!(text, "# HELP {name}{total} {help}")?;
    writeln!(text, "# TYPE {name}{total} {kind}")
}

fn encode_series(text: &mut String, name: &str, labels: &str, series: &Series) -> std::fmt::Result {
    let braced = |labels: &str| {
        if labels.is_empty() { String::new() } else { format!("{{{labels}}}") }
    };
    match series {
        Series::Counter(counter) => {
            writeln!(text, "{name}_total{} {}", braced(labels), counter.get())
        }
        Series::Gauge(gauge) => writeln!(text, "{name}{} {}", braced(labels), number(gauge.get())),
        Series::Histogram(histogram) => {
            let comma = if labels.is_empty() { "" } else { "," };
            let mut count = 0;
            for (bound, total) in histogram.cumulative() {
                let bound = number(bound);
                writeln!(text, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {total}")?;
                count = total;
            }
            writeln!(text, "{name}_sum{} {}", braced(labels), number(histogram.sum()))?;
            writeln!(text, "{name}_count{} {count}", braced(labels))
        }
    }
}

fn labels(names: &[String], values: &[String]) -> String {
    let pairs = names.iter().zip(values);
    let pairs: Vec<String> =
        pairs.map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
    pairs.join(",")
}

fn number(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() };
    }
    // `{:?}` keeps a decimal point: OpenMetrics wants `1.0`, not `1`, as a bucket bound.
    if value.is_nan() { "NaN".to_owned() } else { format!("{value:?}") }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' => escaped.push_str("\\\\"),
            '"' => escaped.push_str("\\\""),
            '\n' => escaped.push_str("\\n"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use crate::{Metrics, metrics::Exposition};

    #[test]
    fn the_text_is_open_metrics_1_0() {
        let metrics = Metrics::new(100);
        metrics.counter("jobs_total", "Jobs.", &["kind"]).with(&["a\"b\\c\nd"]).add(2);
        metrics.gauge("queue_depth", "Waiting.", &[]).with(&[]).set(1.5);
        let latency = metrics.histogram_with("call_seconds", "Calls.", &["to"], &[0.1, 1.0]);
        latency.with(&["x"]).observe(0.05);
        latency.with(&["x"]).observe(0.1);
        latency.with(&["x"]).observe(7.0);
        assert_eq!(
            metrics.encode(),
            "# TYPE call_seconds histogram\n\
             # UNIT call_seconds seconds\n\
             # HELP call_seconds Calls.\n\
             call_seconds_bucket{to=\"x\",le=\"0.1\"} 2\n\
             call_seconds_bucket{to=\"x\",le=\"1.0\"} 2\n\
             call_seconds_bucket{to=\"x\",le=\"+Inf\"} 3\n\
             call_seconds_sum{to=\"x\"} 7.15\n\
             call_seconds_count{to=\"x\"} 3\n\
             # TYPE jobs counter\n\
             # HELP jobs Jobs.\n\
             jobs_total{kind=\"a\\\"b\\\\c\\nd\"} 2\n\
             # TYPE queue_depth gauge\n\
             # HELP queue_depth Waiting.\n\
             queue_depth 1.5\n\
             # TYPE telemetry_series_dropped counter\n\
             # HELP telemetry_series_dropped Label sets folded into other because the cap was reached.\n\
             telemetry_series_dropped_total 0\n\
             # EOF\n"
        );
    }

    #[test]
    fn the_older_text_types_a_counter_under_the_name_of_its_samples() {
        let metrics = Metrics::new(100);
        metrics.counter("jobs_total", "\"Jobs\",\n\\.", &["kind"]).with(&["a\"b\\c\nd"]).add(2);
        metrics.histogram_with("call_seconds", "Calls.", &[], &[0.1]).with(&[]).observe(7.0);
        assert_eq!(
            metrics.encode_as(Exposition::Prometheus),
            "# HELP call_seconds Calls.\n\
             # TYPE call_seconds histogram\n\
             call_seconds_bucket{le=\"0.1\"} 0\n\
             call_seconds_bucket{le=\"+Inf\"} 1\n\
             call_seconds_sum 7.0\n\
             call_seconds_count 1\n\
             # HELP jobs_total \"Jobs\",\\n\\\\.\n\
             # TYPE jobs_total counter\n\
             jobs_total{kind=\"a\\\"b\\\\c\\nd\"} 2\n\
             # HELP telemetry_series_dropped_total Label sets folded into other because the cap was reached.\n\
             # TYPE telemetry_series_dropped_total counter\n\
             telemetry_series_dropped_total 0\n"
        );
    }

    #[test]
    fn a_name_that_is_not_one_never_reaches_the_text() {
        let metrics = Metrics::new(100);
        metrics.counter("Bad Name\n_total", "Bad.", &[]).with(&[]).inc();
        metrics.gauge("good", "Good.", &["bad\"label"]).with(&["x"]).set(1.0);
        assert!(!metrics.encode().contains("ad Name") && !metrics.encode().contains("good"));
    }
}
