//! Figures of each caller and callee, from two looks at the counters of their processes.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use service_kit::PLAIN_SOURCE;

use super::metrics::{Distribution, Sample};

/// The figures by caller and callee.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Figures(pub BTreeMap<(String, String), Row>);

/// One caller and one callee, all processes of the caller together.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Row {
    /// Requests in the window, refused ones included.
    pub requests: f64,
    /// Those with an answer below 500.
    pub good: f64,
    /// Requests in a second.
    pub per_second: f64,
    /// Tries in the window.
    pub tries: f64,
    /// Those with an answer below 500.
    pub good_tries: f64,
    /// Tries since the processes began.
    pub tries_ever: f64,
    /// Those by mutual TLS.
    pub secured_ever: f64,
    /// Tries beyond the first, in a second.
    pub retries_per_second: f64,
    /// Time to the head of the answer.
    pub seconds: Distribution,
    /// Endpoints whose breaker is not closed now, as each process of the caller sees it.
    pub open: f64,
    /// Endpoints, counted likewise.
    pub endpoints: f64,
    /// Requests since the processes began.
    pub ever: f64,
}

impl Figures {
    /// Adds one process: what it said before, what it says now, and the time between.
    pub fn add(&mut self, before: &[Sample], after: &[Sample], window: Duration) {
        let known: BTreeMap<_, _> =
            before.iter().map(|it| ((it.name.as_str(), &it.labels), it.value)).collect();
        let seconds = window.as_secs_f64().max(f64::MIN_POSITIVE);
        for sample in after {
            let old = known.get(&(sample.name.as_str(), &sample.labels)).copied().unwrap_or(0.0);
            // A counter that fell began anew: its process was started again.
            let grown = if sample.value < old { sample.value } else { sample.value - old };
            self.count(sample, grown, seconds);
        }
        let of = |name: &'static str| after.iter().filter(move |it| it.name == name);
        let mut callers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for sample in of("mesh_requests_total") {
            let callers = callers.entry(sample.label("destination")).or_default();
            if !callers.contains(&sample.label("source")) {
                callers.push(sample.label("source"));
            }
        }
        // These say whom, not who: who is whoever calls from this process.
        for sample in after {
            let destination = sample.label("destination");
            let old = known.get(&(sample.name.as_str(), &sample.labels)).copied().unwrap_or(0.0);
            let grown = if sample.value < old { sample.value } else { sample.value - old };
            for caller in callers.get(destination).into_iter().flatten() {
                let row = self.row(caller, destination);
                match sample.name.as_str() {
                    "mesh_attempts_total" => {
                        row.tries += grown;
                        row.tries_ever += sample.value;
                        row.secured_ever +=
                            if sample.label("tls") == "true" { sample.value } else { 0.0 };
                        row.good_tries += if is_good(sample.label("class")) { grown } else { 0.0 };
                    }
                    "mesh_retries_total" => row.retries_per_second += grown / seconds,
                    "mesh_breaker_open_state" => row.open += sample.value,
                    "mesh_endpoints_count" => row.endpoints += sample.value,
                    _ => {}
                }
            }
        }
    }

    fn count(&mut self, sample: &Sample, grown: f64, seconds: f64) {
        let (source, destination) = (sample.label("source"), sample.label("destination"));
        match sample.name.as_str() {
            "mesh_requests_total" => {
                let row = self.row(source, destination);
                row.requests += grown;
                row.per_second += grown / seconds;
                row.ever += sample.value;
                row.good += if is_good(sample.label("class")) { grown } else { 0.0 };
            }
            // What was refused on its way to a destination stands among its requests, unanswered.
            // Who asks too much has himself to blame: as with any other 4xx.
            "mesh_refusals_total" if sample.label("code") == "rate_limited" => {
                self.row(source, destination).good += grown;
            }
            // What leads nowhere is no request of anybody else's.
            "mesh_refusals_total" if destination.is_empty() => {
                let row = self.row(source, destination);
                row.requests += grown;
                row.per_second += grown / seconds;
                row.ever += sample.value;
                row.good += if sample.label("code") == "no_route" { grown } else { 0.0 };
            }
            "mesh_request_duration_seconds_bucket" => {
                let bound = sample.label("le").parse().unwrap_or(f64::INFINITY);
                self.row(source, destination).seconds.add(bound, grown);
            }
            _ => {}
        }
    }

    fn row(&mut self, source: &str, destination: &str) -> &mut Row {
        self.0.entry((source.to_owned(), destination.to_owned())).or_default()
    }

    /// Those that have ever called, as far as they are asked for; `to` empty means everybody. What a proxy hands over to its own
    /// program is no call between services, nor what a program hands over to its proxy.
    pub fn shown<'a>(
        &'a self,
        from: Option<&'a str>,
        to: &'a [String],
    ) -> impl Iterator<Item = (&'a str, &'a str, &'a Row)> {
        let rows = self.0.iter().map(|((source, it), row)| (source.as_str(), it.as_str(), row));
        rows.filter(move |(source, destination, row)| {
            let is_own = source.ends_with("-inbound") && destination.starts_with("application");
            let is_told_by_its_proxy =
                *source == PLAIN_SOURCE && self.is_called_by_name(destination);
            row.ever > 0.0
                && !is_own
                && !is_told_by_its_proxy
                && from.is_none_or(|it| it == *source)
                && (to.is_empty() || to.iter().any(|it| it == destination))
        })
    }
}

impl Figures {
    /// Whether anybody who is known by name has called it.
    fn is_called_by_name(&self, destination: &str) -> bool {
        let mut rows = self.0.iter();
        rows.any(|((source, it), row)| {
            it == destination && source != PLAIN_SOURCE && row.ever > 0.0
        })
    }
}

fn is_good(class: &str) -> bool {
    !matches!(class, "5xx" | "none")
}

impl Row {
    /// Share of requests that their caller saw succeed; `None` where there were none.
    #[must_use]
    pub fn success(&self) -> Option<f64> {
        (self.requests > 0.0).then(|| self.good / self.requests)
    }

    /// Share of tries that succeeded.
    #[must_use]
    pub fn success_of_tries(&self) -> Option<f64> {
        (self.tries > 0.0).then(|| self.good_tries / self.tries)
    }

    /// Whether every try was by mutual TLS; `None` where there was none.
    #[must_use]
    pub fn is_secured(&self) -> Option<bool> {
        (self.tries_ever > 0.0).then_some(self.secured_ever >= self.tries_ever)
    }

    /// A percentile of the latency in milliseconds.
    #[must_use]
    pub fn latency_ms(&self, share: f64) -> Option<f64> {
        self.seconds.quantile(share).map(|it| it * 1_000.0)
    }

    /// `closed`, `open`, or how many of them are open.
    #[must_use]
    pub fn breaker(&self) -> String {
        if self.open <= 0.0 {
            "closed".to_owned()
        } else if self.open >= self.endpoints {
            "open".to_owned()
        } else {
            format!("{}/{} open", self.open, self.endpoints)
        }
    }

    /// The row for programs.
    #[must_use]
    pub fn to_json(&self, source: &str, destination: &str, window: Duration) -> Value {
        json!({
            "name": destination, "from": source, "kind": "sync",
            "window_s": window.as_secs_f64(),
            "requests": self.requests,
            "rps": self.per_second,
            "success": self.success(),
            "success_tries": self.success_of_tries(),
            "retries_rps": self.retries_per_second,
            "latency_ms": {
                "p50": self.latency_ms(0.5),
                "p95": self.latency_ms(0.95),
                "p99": self.latency_ms(0.99),
            },
            "breaker": self.breaker(),
            "tls": self.is_secured(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{super::metrics::parse, *};

    const BEFORE: &str = r#"
mesh_requests_total{source="shop",route="",destination="stock",class="2xx"} 100
mesh_requests_total{source="shop",route="r",destination="stock",class="5xx"} 1
mesh_requests_total{source="shop",route="",destination="idle",class="2xx"} 0
mesh_requests_total{source="shop-inbound",route="",destination="application",class="2xx"} 9
mesh_request_duration_seconds_bucket{source="shop",route="",destination="stock",le="0.001"} 100
mesh_request_duration_seconds_bucket{source="shop",route="",destination="stock",le="+Inf"} 101
mesh_retries_total{destination="stock"} 5
"#;
    const AFTER: &str = r#"
mesh_requests_total{source="shop",route="",destination="stock",class="2xx"} 180
mesh_requests_total{source="shop",route="r",destination="stock",class="5xx"} 11
mesh_requests_total{source="shop",route="",destination="stock",class="none"} 10
mesh_requests_total{source="shop",route="",destination="idle",class="2xx"} 0
mesh_requests_total{source="shop-inbound",route="",destination="application",class="2xx"} 99
mesh_refusals_total{source="shop",destination="stock",code="planted_fault"} 6
mesh_refusals_total{source="shop",destination="stock",code="upstream_reset"} 4
mesh_request_duration_seconds_bucket{source="shop",route="",destination="stock",le="0.001"} 190
mesh_request_duration_seconds_bucket{source="shop",route="",destination="stock",le="+Inf"} 191
mesh_attempts_total{destination="stock",endpoint="a",tls="true",class="2xx"} 80
mesh_attempts_total{destination="stock",endpoint="b",tls="true",class="none"} 20
mesh_retries_total{destination="stock"} 15
mesh_breaker_open_state{destination="stock",endpoint="a"} 0
mesh_breaker_open_state{destination="stock",endpoint="b"} 1
mesh_endpoints_count{destination="stock"} 2
"#;

    fn figures(before: &str, after: &str) -> Figures {
        let mut figures = Figures::default();
        let (before, after) = (parse(before, "mesh_"), parse(after, "mesh_"));
        figures.add(&before, &after, Duration::from_secs(10));
        figures
    }

    #[test]
    fn figures_are_what_grew_between_two_looks() {
        let figures = figures(BEFORE, AFTER);
        let rows: Vec<_> = figures.shown(None, &[]).collect();
        let [("shop", "stock", row)] = rows.as_slice() else { panic!("{rows:?}") };
        // 80 were answered, 10 with 5xx, 10 not, of which the mesh itself refused 6 and lost 4.
        assert_eq!((row.requests, row.good, row.per_second), (100.0, 80.0, 10.0));
        assert_eq!((row.success(), row.success_of_tries()), (Some(0.8), Some(0.8)));
        assert_eq!(row.retries_per_second, 1.0);
        assert_eq!(row.is_secured(), Some(true));
        assert_eq!(row.breaker(), "1/2 open");
        assert!(row.latency_ms(0.99).unwrap() <= 1.0);
    }

    #[test]
    fn a_process_that_began_anew_counts_from_nothing() {
        let figures = figures(AFTER, BEFORE);
        assert_eq!(figures.0[&("shop".to_owned(), "stock".to_owned())].requests, 101.0);
    }

    #[test]
    fn processes_of_one_caller_add_up() {
        let mut figures = figures(BEFORE, AFTER);
        let (before, after) = (parse(BEFORE, "mesh_"), parse(AFTER, "mesh_"));
        figures.add(&before, &after, Duration::from_secs(5));
        let row = &figures.0[&("shop".to_owned(), "stock".to_owned())];
        assert_eq!((row.requests, row.per_second), (200.0, 30.0));
        assert_eq!(row.breaker(), "2/4 open");
    }

    #[test]
    fn what_a_program_hands_to_its_proxy_is_not_counted_beside_it() {
        let plain = |text: &str| text.replace("\"shop\"", "\"(client)\"");
        let mut figures = figures(&plain(BEFORE), &plain(AFTER));
        assert_eq!(figures.shown(None, &[]).next().map(|it| it.0), Some("(client)"));
        let (before, after) = (parse(BEFORE, "mesh_"), parse(AFTER, "mesh_"));
        figures.add(&before, &after, Duration::from_secs(10));
        let callers: Vec<_> = figures.shown(None, &[]).map(|it| it.0).collect();
        assert_eq!(callers, ["shop"]);
    }

    #[test]
    fn only_who_is_asked_for_is_shown() {
        let figures = figures(BEFORE, AFTER);
        assert_eq!(figures.shown(Some("shop"), &["stock".to_owned()]).count(), 1);
        assert_eq!(figures.shown(Some("other"), &[]).count(), 0);
        assert_eq!(figures.shown(None, &["idle".to_owned()]).count(), 0);
    }
}
