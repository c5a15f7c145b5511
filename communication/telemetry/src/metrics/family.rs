//! Families and their series: lock-free to update, a read lock to look up, a write lock to create.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::Budget;

/// Characters of a label value that are kept.
const VALUE_CHARS_MAX: usize = 128;
/// What label values become past the cap.
const OTHER: &str = "other";

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram(Arc<[f64]>),
}

#[derive(Debug, PartialEq)]
pub(crate) struct Shape {
    pub(crate) name: String,
    pub(crate) help: String,
    pub(crate) labels: Vec<String>,
    pub(crate) kind: Kind,
}

/// One metric with all its label sets.
#[derive(Debug, Clone)]
pub(crate) struct Family(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shape: Shape,
    series: RwLock<BTreeMap<Vec<String>, Series>>,
    budget: Arc<Budget>,
}

#[derive(Debug, Clone)]
pub(crate) enum Series {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
}

impl Family {
    pub(crate) fn new(shape: Shape, budget: Arc<Budget>) -> Self {
        Self(Arc::new(Inner { shape, series: RwLock::new(BTreeMap::new()), budget }))
    }

    pub(crate) fn shape(&self) -> &Shape {
        &self.0.shape
    }

    pub(crate) fn has_shape(&self, shape: &Shape) -> bool {
        self.0.shape.kind == shape.kind && self.0.shape.labels == shape.labels
    }

    pub(crate) fn series(&self) -> usize {
        read(&self.0.series).len()
    }

    pub(crate) fn each(&self, mut visit: impl FnMut(&[String], &Series)) {
        for (values, series) in read(&self.0.series).iter() {
            visit(values, series);
        }
    }

    pub(crate) fn insert_first(&self, counter: Counter) {
        write(&self.0.series).insert(Vec::new(), Series::Counter(counter));
    }

    /// The series of those label values; missing ones read as empty, extra ones are ignored.
    fn with(&self, values: &[&str]) -> Series {
        let key = |index: usize| values.get(index).copied().unwrap_or_default();
        let wanted: Vec<String> =
            (0..self.0.shape.labels.len()).map(|it| bounded(key(it))).collect();
        if let Some(known) = read(&self.0.series).get(&wanted) {
            return known.clone();
        }
        let mut all = write(&self.0.series);
        // Without labels there is one series, which costs nothing.
        let free = wanted.is_empty() || all.contains_key(&wanted) || self.0.budget.take(all.len());
        let wanted = if free { wanted } else { vec![OTHER.to_owned(); wanted.len()] };
        if !free {
            self.0.budget.folded.inc();
        }
        all.entry(wanted).or_insert_with(|| self.fresh()).clone()
    }

    fn fresh(&self) -> Series {
        match &self.0.shape.kind {
            Kind::Counter => Series::Counter(Counter::default()),
            Kind::Gauge => Series::Gauge(Gauge::default()),
            Kind::Histogram(bounds) => Series::Histogram(Histogram::new(Arc::clone(bounds))),
        }
    }
}

fn bounded(value: &str) -> String {
    value.chars().take(VALUE_CHARS_MAX).collect()
}

// A panic in a reader or writer of these maps leaves them whole: entries are inserted in one step.
pub(crate) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// A counter with labels.
#[derive(Debug, Clone)]
pub struct CounterFamily(pub(crate) Family);

impl CounterFamily {
    /// The counter of these label values, in the order of the label names. Keep it where the
    /// values are known beforehand: the look-up costs more than the count.
    #[must_use]
    pub fn with(&self, values: &[&str]) -> Counter {
        match self.0.with(values) {
            Series::Counter(counter) => counter,
            Series::Gauge(_) | Series::Histogram(_) => Counter::default(),
        }
    }
}

/// A gauge with labels.
#[derive(Debug, Clone)]
pub struct GaugeFamily(pub(crate) Family);

impl GaugeFamily {
    /// The gauge of these label values, in the order of the label names.
    #[must_use]
    pub fn with(&self, values: &[&str]) -> Gauge {
        match self.0.with(values) {
            Series::Gauge(gauge) => gauge,
            Series::Counter(_) | Series::Histogram(_) => Gauge::default(),
        }
    }
}

/// A histogram with labels.
#[derive(Debug, Clone)]
pub struct HistogramFamily(pub(crate) Family);

impl HistogramFamily {
    /// The histogram of these label values, in the order of the label names.
    #[must_use]
    pub fn with(&self, values: &[&str]) -> Histogram {
        match self.0.with(values) {
            Series::Histogram(histogram) => histogram,
            Series::Counter(_) | Series::Gauge(_) => Histogram::new(Arc::from([])),
        }
    }
}

/// A number that only grows.
#[derive(Debug, Clone, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `by`.
    pub fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    /// What it shows.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Clone, Default)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    /// Shows `value` from now on.
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    /// Moves by `by`, which may be negative.
    pub fn add(&self, by: f64) {
        add_float(&self.0, by);
    }

    /// What it shows.
    #[must_use]
    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

/// A distribution.
#[derive(Debug, Clone)]
pub struct Histogram(Arc<Distribution>);

#[derive(Debug)]
struct Distribution {
    bounds: Arc<[f64]>,
    /// One a bound, and the last for what lies above all of them.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    fn new(bounds: Arc<[f64]>) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self(Arc::new(Distribution { bounds, counts, sum: AtomicU64::new(0) }))
    }

    /// Counts one value; not a number and negative ones count as zero.
    pub fn observe(&self, value: f64) {
        let value = if value > 0.0 { value } else { 0.0 };
        let slot = self.0.bounds.partition_point(|bound| *bound < value);
        self.0.counts[slot].fetch_add(1, Ordering::Relaxed);
        add_float(&self.0.sum, value);
    }

    /// Counts one duration, in seconds.
    pub fn observe_duration(&self, duration: Duration) {
        self.observe(duration.as_secs_f64());
    }

    /// How many values were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.counts.iter().map(|it| it.load(Ordering::Relaxed)).sum()
    }

    /// The sum of all values.
    #[must_use]
    pub fn sum(&self) -> f64 {
        f64::from_bits(self.0.sum.load(Ordering::Relaxed))
    }

    /// Each bound with the number of values at or below it; the last bound is infinite.
    pub(crate) fn cumulative(&self) -> Vec<(f64, u64)> {
        let bounds = self.0.bounds.iter().copied().chain([f64::INFINITY]);
        let mut total = 0;
        bounds
            .zip(self.0.counts.iter())
            .map(|(bound, count)| {
                total += count.load(Ordering::Relaxed);
                (bound, total)
            })
            .collect()
    }
}

fn add_float(bits: &AtomicU64, by: f64) {
    // The closure always gives a value, so the update cannot fail.
    let _previous = bits.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |it| {
        Some((f64::from_bits(it) + by).to_bits())
    });
}
