//! Latencies by log-linear buckets: 32 to an octave, so that a quantile is right within 3.2 %.

use std::time::Duration;

const PER_OCTAVE: u64 = 32;
/// Nanoseconds up to 2^40 (18 minutes); anything longer counts in the last bucket.
const BUCKETS: usize = 36 * 32;

/// Counts by bucket; quantiles are upper bounds of buckets.
#[derive(Debug, Clone)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS] }
    }
}

impl Histogram {
    pub(crate) fn record(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanos).min(BUCKETS - 1)] += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
    }

    /// Microseconds that this share of the latencies, in thousandths, does not exceed.
    pub(crate) fn quantile_us(&self, per_mille: u64) -> Option<f64> {
        let all: u64 = self.counts.iter().sum();
        let wanted = (all * per_mille).div_ceil(1_000).max(1);
        let mut seen = 0;
        let reached = self.counts.iter().position(|it| {
            seen += it;
            seen >= wanted
        })?;
        Some(upper_bound(reached) as f64 / 1_000.0)
    }
}

/// Below 32 each value has its bucket; above, the five bits behind the leading one choose.
fn bucket(value: u64) -> usize {
    let index = match value.checked_ilog2() {
        Some(octave) if value >= PER_OCTAVE => {
            let shift = u64::from(octave) - 5;
            shift * PER_OCTAVE + (value >> shift)
        }
        _ => value,
    };
    usize::try_from(index).unwrap_or(usize::MAX)
}

fn upper_bound(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < PER_OCTAVE * 2 {
        return bucket;
    }
    let shift = bucket / PER_OCTAVE - 1;
    ((bucket % PER_OCTAVE + PER_OCTAVE + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_lies_in_a_bucket_whose_bound_is_near() {
        for value in (0..2_000).chain([4_095, 4_096, 123_456_789, 1 << 39]) {
            let bound = upper_bound(bucket(value));
            assert!(bound >= value && bound - value <= value / 32, "{value}: {bound}");
            assert!(bucket(value) == 0 || upper_bound(bucket(value) - 1) < value, "{value}");
        }
    }

    #[test]
    fn quantiles_count_all_latencies() {
        let mut histogram = Histogram::default();
        for micros in 1..=100 {
            histogram.record(Duration::from_micros(micros));
        }
        let near = |per_mille: u64, micros: f64| {
            let seen = histogram.quantile_us(per_mille).unwrap();
            assert!((micros..=micros * 1.032).contains(&seen), "{per_mille}: {seen}");
        };
        near(500, 50.0);
        near(990, 99.0);
        near(1_000, 100.0);
        assert_eq!(Histogram::default().quantile_us(500), None);
    }

    #[test]
    fn a_latency_beyond_the_last_bucket_is_not_lost() {
        let mut histogram = Histogram::default();
        histogram.record(Duration::from_secs(1 << 20));
        assert!(histogram.quantile_us(500).is_some());
    }
}
