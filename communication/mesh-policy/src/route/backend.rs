//! Which backend of a rule a request goes to.

use super::{Backend, Rule};

/// Chooses by weight: the share of each backend is its weight / the sum. `draw` is uniform in
/// `[0, 1)`. A weight of 0 is never chosen; `None` when the sum is 0 or there is no backend, which
/// the Gateway API answers with 500.
///
/// Whether the chosen one exists or answers is not asked here, and its share is not given to the
/// others: the Gateway API wants exactly the share of a missing backend answered 500 (one without
/// a ready endpoint 503), so that a typing error does not become load elsewhere.
#[must_use]
pub fn choose_backend(rule: &Rule, draw: f64) -> Option<&Backend> {
    let sum: u64 = rule.backends.iter().map(|it| u64::from(it.weight)).sum();
    let point = draw * precise(sum);
    let mut below = 0;
    let mut last = None;
    for backend in rule.backends.iter().filter(|it| it.weight > 0) {
        below += u64::from(backend.weight);
        if point < precise(below) {
            return Some(backend);
        }
        // A draw of 1 or more, or none at all, is the last one's.
        last = Some(backend);
    }
    last
}

/// Exact: a rule has few backends, and the sum of as many 32-bit weights is far below 2^53.
#[expect(clippy::cast_precision_loss, reason = "sums of weights are far below 2^53")]
const fn precise(sum: u64) -> f64 {
    sum as f64
}
