//! What one process has counted of its calls, and the difference between two of its pages.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
};

use super::exposition::lines;

/// Calls of one process to one destination, or what was added to them in some time.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Counts {
    pub(super) requests: f64,
    /// Answers of class 5xx, and requests without any.
    pub(super) errors: f64,
    /// Requests that the mesh answered by itself.
    pub(super) refusals: f64,
    /// Tries beyond the first.
    pub(super) retries: f64,
    /// Answers that came in so many seconds or less, by that bound.
    buckets: BTreeMap<Bound, f64>,
}

/// The upper bound of a bucket.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Bound(f64);

impl Eq for Bound {}

impl Ord for Bound {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Bound {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Counts {
    /// Whether anything was asked at all.
    pub(super) fn is_empty(&self) -> bool {
        self.requests + self.refusals == 0.0
    }

    /// What was added since; all of it where a count went back, because the process began anew.
    pub(super) fn since(&self, before: &Self) -> Self {
        let began_anew = self.requests < before.requests || self.refusals < before.refusals;
        let added = |now: f64, then: f64| if began_anew { now } else { (now - then).max(0.0) };
        let bucket = |(bound, now): (&Bound, &f64)| {
            (*bound, added(*now, before.buckets.get(bound).copied().unwrap_or(0.0)))
        };
        Self {
            requests: added(self.requests, before.requests),
            errors: added(self.errors, before.errors),
            refusals: added(self.refusals, before.refusals),
            retries: added(self.retries, before.retries),
            buckets: self.buckets.iter().map(bucket).collect(),
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.refusals += other.refusals;
        self.retries += other.retries;
        for (bound, count) in &other.buckets {
            *self.buckets.entry(*bound).or_default() += count;
        }
    }

    /// The time in seconds within which this share of the answers came, on the assumption that those
    /// of a bucket are spread evenly over it, as Prometheus' `histogram_quantile` does. Beyond the
    /// last bound it is that bound: the truth is at least as much.
    pub(super) fn quantile(&self, share: f64) -> Option<f64> {
        let total = *self.buckets.last_key_value()?.1;
        if total <= 0.0 {
            return None;
        }
        let rank = share * total;
        let (mut below, mut lower) = (0.0, 0.0);
        for (Bound(upper), count) in &self.buckets {
            if *count >= rank {
                if upper.is_infinite() {
                    return Some(lower);
                }
                let within = (count - below).max(f64::MIN_POSITIVE);
                return Some(lower + (upper - lower) * ((rank - below) / within).clamp(0.0, 1.0));
            }
            (below, lower) = (*count, *upper);
        }
        Some(lower)
    }
}

/// One page of metrics, as far as it tells of calls.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Page {
    /// By destination.
    pub(super) calls: BTreeMap<String, Counts>,
    /// Whether the breaker is open or half open, by destination and endpoint. Of endpoints that were
    /// tried: of others it says nothing.
    pub(super) breakers: BTreeMap<String, BTreeMap<String, bool>>,
}

impl Page {
    /// What the service counted as the caller. Others' series stand on the same page: a proxy counts
    /// what it lets in, too, and that is an edge of whoever called.
    pub(super) fn read(text: &str, service: &str) -> Self {
        let mut page = Self::default();
        let mut retries = BTreeMap::<String, f64>::new();
        let mut tried = BTreeSet::new();
        for line in lines(text, "mesh_") {
            let destination = line.label("destination");
            if line.name == "mesh_breaker_open_state" {
                let breakers = page.breakers.entry(destination.to_owned()).or_default();
                breakers.insert(line.label("endpoint").to_owned(), line.value > 0.0);
            } else if line.name == "mesh_attempts_total" && line.value > 0.0 {
                tried.insert((destination.to_owned(), line.label("endpoint").to_owned()));
            } else if line.name == "mesh_retries_total" {
                *retries.entry(destination.to_owned()).or_default() += line.value;
            } else if line.label("source") == service {
                let counts = page.calls.entry(destination.to_owned()).or_default();
                match line.name {
                    "mesh_requests_total" => {
                        counts.requests += line.value;
                        if matches!(line.label("class"), "5xx" | "none") {
                            counts.errors += line.value;
                        }
                    }
                    "mesh_refusals_total" => counts.refusals += line.value,
                    "mesh_request_duration_seconds_bucket" => {
                        if let Ok(bound) = line.label("le").parse() {
                            *counts.buckets.entry(Bound(bound)).or_default() += line.value;
                        }
                    }
                    _ => {}
                }
            }
        }
        // The mesh knows every service and endpoint; those that were never called are no edges.
        page.calls.retain(|_, it| !it.is_empty());
        for (destination, breakers) in &mut page.breakers {
            breakers.retain(|it, _| tried.contains(&(destination.clone(), it.clone())));
        }
        for (destination, count) in retries {
            if let Entry::Occupied(mut counts) = page.calls.entry(destination) {
                counts.get_mut().retries = count;
            }
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# TYPE mesh_requests_total counter
mesh_requests_total{source="shop",route="",destination="stock",class="2xx"} 90
mesh_requests_total{source="shop",route="canary",destination="stock",class="5xx"} 6
mesh_requests_total{source="shop",route="",destination="stock",class="none"} 4
mesh_requests_total{source="shop",route="",destination="idle",class="2xx"} 0
mesh_requests_total{source="shop-inbound",route="",destination="application",class="2xx"} 7
mesh_refusals_total{source="shop",destination="full",code="overloaded"} 3
mesh_request_duration_seconds_bucket{source="shop",route="",destination="stock",le="0.05"} 0
mesh_request_duration_seconds_bucket{source="shop",route="",destination="stock",le="0.1"} 50
mesh_request_duration_seconds_bucket{source="shop",route="",destination="stock",le="0.2"} 90
mesh_request_duration_seconds_bucket{source="shop",route="",destination="stock",le="+Inf"} 100
mesh_breaker_open_state{destination="stock",endpoint="stock-1"} 1
mesh_breaker_open_state{destination="stock",endpoint="stock-2"} 0
mesh_breaker_open_state{destination="stock",endpoint="stock-3"} 0
mesh_attempts_total{destination="stock",endpoint="stock-1",class="5xx"} 20
mesh_attempts_total{destination="stock",endpoint="stock-2",class="2xx"} 85
mesh_attempts_total{destination="stock",endpoint="stock-3",class="2xx"} 0
mesh_retries_total{destination="stock"} 5
mesh_retries_total{destination="idle"} 0
"#;

    #[test]
    fn a_page_tells_whom_the_service_called_and_nothing_else() {
        let page = Page::read(TEXT, "shop");
        let found: Vec<_> = page.calls.iter().map(|(name, it)| (name.as_str(), it)).collect();
        let [("full", full), ("stock", stock)] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((full.requests, full.refusals), (0.0, 3.0));
        assert_eq!((stock.requests, stock.errors, stock.retries), (100.0, 10.0, 5.0));
        let breakers = [("stock-1".to_owned(), true), ("stock-2".to_owned(), false)];
        // An empty bucket says that nothing was so fast.
        assert!(stock.quantile(0.25).is_some_and(|it| it > 0.07));
        assert_eq!(page.breakers["stock"], BTreeMap::from(breakers));
        assert!(Page::read(TEXT, "other").calls.is_empty());
    }

    #[track_caller]
    fn check_quantile(buckets: &[(f64, f64)], share: f64, expected: Option<f64>) {
        let buckets = buckets.iter().map(|(bound, count)| (Bound(*bound), *count)).collect();
        let found = Counts { buckets, ..Counts::default() }.quantile(share);
        let is_near = match (found, expected) {
            (Some(found), Some(expected)) => (found - expected).abs() < 1e-9,
            (found, expected) => found == expected,
        };
        assert!(is_near, "{found:?} instead of {expected:?}");
    }

    #[test]
    fn a_percentile_lies_in_its_bucket_in_proportion() {
        const LAST: f64 = f64::INFINITY;
        let buckets = [(0.1, 50.0), (0.2, 90.0), (0.5, 100.0), (LAST, 100.0)];
        check_quantile(&buckets, 0.5, Some(0.1));
        check_quantile(&buckets, 0.25, Some(0.05));
        check_quantile(&buckets, 0.7, Some(0.15));
        check_quantile(&buckets, 0.99, Some(0.47));
        check_quantile(&[(0.1, 0.0), (0.2, 0.0), (LAST, 8.0)], 0.5, Some(0.2));
        check_quantile(&[(0.1, 0.0), (LAST, 0.0)], 0.5, None);
        check_quantile(&[], 0.5, None);
    }

    #[test]
    fn a_process_that_began_anew_counts_from_nothing() {
        let counts = |requests, errors| {
            let buckets = BTreeMap::from([(Bound(0.1), requests)]);
            Counts { requests, errors, buckets, ..Counts::default() }
        };
        assert_eq!(counts(30.0, 3.0).since(&counts(20.0, 1.0)), counts(10.0, 2.0));
        assert_eq!(counts(5.0, 2.0).since(&counts(20.0, 1.0)), counts(5.0, 2.0));
        assert_eq!(counts(5.0, 2.0).since(&Counts::default()), counts(5.0, 2.0));
    }
}
