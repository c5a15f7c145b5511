//! A metric registry with a hard cap on label sets, written out as OpenMetrics 1.0 or, for those who
//! do not name it, as Prometheus text 0.0.4.
//!
//! Labels that come from a request (a host, a path) can take any number of values; a proxy that
//! kept them all was brought down by it (linkerd, CVE-2025-43915). Here the cap is part of the
//! registry: past it every further label set of a metric is folded into one whose values are all
//! `other`, and `telemetry_series_dropped_total` counts. One metric may use a quarter of the cap,
//! so that it cannot starve the rest. Own code, because the families of `prometheus-client`
//! create series behind a lock that leaves no place for a cap.

mod encode;
mod exposition;
mod family;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
};

pub use exposition::Exposition;
pub use family::{Counter, CounterFamily, Gauge, GaugeFamily, Histogram, HistogramFamily};
use family::{Family, Kind, Shape, read, write};

/// Bounds of histograms in seconds, as the OpenTelemetry HTTP conventions advise (14 values).
pub const SECONDS_BUCKETS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// Bounds of histograms of a proxy in seconds, 1-2-5 from 0.5 ms to a minute (17 values). A hop adds
/// less than a millisecond and a deadline ends at a minute; steps of two to two and a half keep a
/// percentile within that factor of the truth over the whole of it.
pub const MESH_SECONDS_BUCKETS: [f64; 17] = [
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0,
    60.0,
];

/// Bounds of histograms of bodies and records in bytes, powers of four from 64 B to 64 MiB (11
/// values): from below an empty JSON body's head to beyond the largest body that is taken.
pub const MESH_BYTES_BUCKETS: [f64; 11] = [
    64.0,
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

/// The registry; a cheap handle.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Registry>);

#[derive(Debug)]
struct Registry {
    families: RwLock<BTreeMap<String, Family>>,
    budget: Arc<Budget>,
}

/// What all families draw label sets from.
#[derive(Debug)]
pub(crate) struct Budget {
    series: AtomicUsize,
    series_max: usize,
    pub(crate) folded: Counter,
}

impl Budget {
    /// Takes one label set for a family that has `own` of them.
    fn take(&self, own: usize) -> bool {
        let family_max = (self.series_max / 4).max(1);
        let taken = self.series.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |it| {
            (it < self.series_max).then_some(it + 1)
        });
        if own >= family_max || taken.is_err() {
            if taken.is_ok() {
                self.series.fetch_sub(1, Ordering::Relaxed);
            }
            return false;
        }
        true
    }
}

impl Metrics {
    /// A registry that keeps at most `series_max` label sets, plus one `other` a metric.
    #[must_use]
    pub fn new(series_max: usize) -> Self {
        let folded = Counter::default();
        let budget = Budget { series: AtomicUsize::new(0), series_max, folded: folded.clone() };
        let registry = Self(Arc::new(Registry {
            families: RwLock::new(BTreeMap::new()),
            budget: Arc::new(budget),
        }));
        let dropped = registry.counter(
            "telemetry_series_dropped_total",
            "Label sets folded into other because the cap was reached.",
            &[],
        );
        dropped.0.insert_first(folded);
        registry
    }

    /// A number that only grows; the name ends in `_total`.
    #[must_use]
    pub fn counter(&self, name: &str, help: &str, labels: &[&str]) -> CounterFamily {
        CounterFamily(self.family(name, help, labels, Kind::Counter))
    }

    /// A number that goes up and down.
    #[must_use]
    pub fn gauge(&self, name: &str, help: &str, labels: &[&str]) -> GaugeFamily {
        GaugeFamily(self.family(name, help, labels, Kind::Gauge))
    }

    /// A distribution of seconds over [`SECONDS_BUCKETS`].
    #[must_use]
    pub fn histogram(&self, name: &str, help: &str, labels: &[&str]) -> HistogramFamily {
        self.histogram_with(name, help, labels, &SECONDS_BUCKETS)
    }

    /// A distribution over other bounds, in ascending order.
    #[must_use]
    pub fn histogram_with(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        bounds: &[f64],
    ) -> HistogramFamily {
        HistogramFamily(self.family(name, help, labels, Kind::Histogram(bounds.into())))
    }

    /// Everything in OpenMetrics 1.0 text, ending in `# EOF`.
    #[must_use]
    pub fn encode(&self) -> String {
        self.encode_as(Exposition::OpenMetrics)
    }

    /// Everything in the text of that form.
    #[must_use]
    pub fn encode_as(&self, form: Exposition) -> String {
        encode::encode(&read(&self.0.families), form)
    }

    /// How many label sets exist, `other` included.
    #[must_use]
    pub fn series(&self) -> usize {
        read(&self.0.families).values().map(Family::series).sum()
    }

    /// The family of that name; the same name gives the same family wherever it is asked for.
    fn family(&self, name: &str, help: &str, labels: &[&str], kind: Kind) -> Family {
        let shape = Shape {
            name: name.to_owned(),
            help: help.to_owned(),
            labels: labels.iter().map(|it| (*it).to_owned()).collect(),
            kind,
        };
        let mut families = write(&self.0.families);
        if let Some(known) = families.get(name) {
            if known.has_shape(&shape) {
                return known.clone();
            }
            // A defect of ours: the second user gets a metric that nobody sees, never a crash.
            tracing::error!(metric = name, "metric registered twice with different shapes");
            return Family::new(shape, Arc::clone(&self.0.budget));
        }
        if !encode::is_name(name) || !labels.iter().all(|it| encode::is_name(it)) {
            tracing::error!(metric = name, "metric or label name is not a name");
            return Family::new(shape, Arc::clone(&self.0.budget));
        }
        let family = Family::new(shape, Arc::clone(&self.0.budget));
        families.insert(name.to_owned(), family.clone());
        family
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_of_the_mesh_ascend_by_the_steps_that_they_name() {
        let (first, last) = (MESH_SECONDS_BUCKETS[0], MESH_SECONDS_BUCKETS[16]);
        assert_eq!((first, last), (0.0005, 60.0));
        let step = |it: &[f64]| it[1] / it[0];
        assert!(MESH_SECONDS_BUCKETS.windows(2).all(|it| step(it) > 1.0 && step(it) < 2.501));
        assert_eq!((MESH_BYTES_BUCKETS[0], MESH_BYTES_BUCKETS[10]), (64.0, 64.0 * 1024.0 * 1024.0));
        assert!(MESH_BYTES_BUCKETS.windows(2).all(|it| step(it) == 4.0));
    }

    // mesh 12b: 55
    #[test]
    fn a_hundred_thousand_label_values_keep_the_series_flat() {
        let metrics = Metrics::new(2_000);
        let hosts = metrics.counter("proxy_requests_total", "Requests.", &["host"]);
        for index in 0..100_000 {
            hosts.with(&[&format!("host-{index}.example")]).inc();
        }
        assert!(metrics.series() <= 502, "{}", metrics.series());
        let text = metrics.encode();
        assert!(text.len() < 64_000, "{}", text.len());
        assert!(text.contains(r#"proxy_requests_total{host="other"} 99500"#));
        assert!(text.contains("telemetry_series_dropped_total 99500"));
    }

    #[test]
    fn one_exploding_metric_does_not_starve_another() {
        let metrics = Metrics::new(100);
        let bad = metrics.gauge("bad_value_ratio", "Bad.", &["id"]);
        for index in 0..1_000 {
            bad.with(&[&index.to_string()]).set(1.0);
        }
        let good = metrics.counter("good_total", "Good.", &["route"]);
        good.with(&["/a"]).inc();
        assert!(metrics.encode().contains(r#"good_total{route="/a"} 1"#));
    }

    #[test]
    fn all_metrics_together_stay_below_the_cap() {
        let metrics = Metrics::new(100);
        for family in 0..50 {
            let counter = metrics.counter(&format!("m{family}_total"), "M.", &["id"]);
            for index in 0..50 {
                counter.with(&[&index.to_string()]).inc();
            }
        }
        assert!(metrics.series() <= 100 + 50 + 1, "{}", metrics.series());
    }

    #[test]
    fn the_same_name_gives_the_same_metric_and_another_shape_never_panics() {
        let metrics = Metrics::new(100);
        metrics.counter("a_total", "A.", &["x"]).with(&["1"]).inc();
        metrics.counter("a_total", "A.", &["x"]).with(&["1"]).inc();
        metrics.gauge("a_total", "A.", &["x"]).with(&["1"]).set(9.0);
        assert!(metrics.encode().contains(r#"a_total{x="1"} 2"#));
    }
}
