//! Families and their series: lock-free to update, a read lock to look up, a write lock to create.

use std::{
    cmp::Ordering,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering::Relaxed},
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
    /// By label values, in order: a look-up compares borrowed values and allocates nothing.
    series: RwLock<Vec<(Vec<String>, Series)>>,
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
        Self(Arc::new(Inner { shape, series: RwLock::default(), budget }))
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
        *write(&self.0.series) = vec![(Vec::new(), Series::Counter(counter))];
    }

    /// The series of those label values; missing ones read as empty, extra ones are ignored.
    fn with(&self, values: &[&str]) -> Series {
        let wanted = |index: usize| bounded(values.get(index).copied().unwrap_or_default());
        let labels = 0..self.0.shape.labels.len();
        let known = read(&self.0.series);
        if let Ok(place) = place_of(&known, &wanted) {
            return known[place].1.clone();
        }
        drop(known);
        let mut all = write(&self.0.series);
        let place = match place_of(&all, &wanted) {
            Ok(place) => return all[place].1.clone(),
            Err(place) => place,
        };
        // Without labels there is one series, which costs nothing.
        if labels.is_empty() || self.0.budget.take(all.len()) {
            let values = labels.map(|it| wanted(it).to_owned()).collect();
            return self.insert(&mut all, place, values);
        }
        self.0.budget.folded.inc();
        match place_of(&all, &|_| OTHER) {
            Ok(place) => all[place].1.clone(),
            Err(place) => self.insert(&mut all, place, vec![OTHER.to_owned(); labels.len()]),
        }
    }

    fn insert(
        &self,
        all: &mut Vec<(Vec<String>, Series)>,
        place: usize,
        values: Vec<String>,
    ) -> Series {
        let series = self.fresh();
        all.insert(place, (values, series.clone()));
        series
    }

    fn fresh(&self) -> Series {
        match &self.0.shape.kind {
            Kind::Counter => Series::Counter(Counter::default()),
            Kind::Gauge => Series::Gauge(Gauge::default()),
            Kind::Histogram(bounds) => Series::Histogram(Histogram::new(Arc::clone(bounds))),
        }
    }
}

/// Where a series stands, or where it belongs.
fn place_of<'a>(
    all: &[(Vec<String>, Series)],
    wanted: &impl Fn(usize) -> &'a str,
) -> Result<usize, usize> {
    all.binary_search_by(|(values, _)| {
        let labels = values.iter().enumerate();
        let mut unlike = labels.map(|(index, value)| value.as_str().cmp(wanted(index)));
        unlike.find(|it| it.is_ne()).unwrap_or(Ordering::Equal)
    })
}

fn bounded(value: &str) -> &str {
    // Bytes are never fewer than characters.
    if value.len() <= VALUE_CHARS_MAX {
        return value;
    }
    value.char_indices().nth(VALUE_CHARS_MAX).map_or(value, |(end, _)| &value[..end])
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
        self.0.fetch_add(by, Relaxed);
    }

    /// What it shows.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Clone, Default)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    /// Shows `value` from now on.
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Relaxed);
    }

    /// Moves by `by`, which may be negative.
    pub fn add(&self, by: f64) {
        add_float(&self.0, by);
    }

    /// What it shows.
    #[must_use]
    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Relaxed))
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
        self.0.counts[slot].fetch_add(1, Relaxed);
        add_float(&self.0.sum, value);
    }

    /// Counts one duration, in seconds.
    pub fn observe_duration(&self, duration: Duration) {
        self.observe(duration.as_secs_f64());
    }

    /// How many values were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.counts.iter().map(|it| it.load(Relaxed)).sum()
    }

    /// The sum of all values.
    #[must_use]
    pub fn sum(&self) -> f64 {
        f64::from_bits(self.0.sum.load(Relaxed))
    }

    /// Each bound with the number of values at or below it; the last bound is infinite.
    pub(crate) fn cumulative(&self) -> Vec<(f64, u64)> {
        let bounds = self.0.bounds.iter().copied().chain([f64::INFINITY]);
        let mut total = 0;
        bounds
            .zip(self.0.counts.iter())
            .map(|(bound, count)| {
                total += count.load(Relaxed);
                (bound, total)
            })
            .collect()
    }
}

fn add_float(bits: &AtomicU64, by: f64) {
    // The closure always gives a value, so the update cannot fail.
    let _previous =
        bits.fetch_update(Relaxed, Relaxed, |it| Some((f64::from_bits(it) + by).to_bits()));
}
