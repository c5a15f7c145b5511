//! Balance: which of the endpoints takes a request.
//!
//! What is known of one endpoint is a [`Load`]; [`pick`] chooses among [`Candidates`]. Two draws and
//! the better of them ("The Power of Two Choices in Randomized Load Balancing", Mitzenmacher 2001)
//! cost the same for 3 endpoints as for 300 and never herd onto the one that looked best a moment
//! ago. The draws are distinct, so that of two endpoints both are always compared.
//!
//! It refuses to know health: who may be picked at all is the caller's word (breaker, drain, tried
//! before), and it keeps no table of its own.

use std::time::Duration;

mod load;
mod pick;

pub use load::{Load, Sample};
pub use pick::{Candidates, pick, pick_elsewhere};

/// How an endpoint is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Algorithm {
    /// The better of two distinct draws by observed latency × outstanding requests (default).
    #[default]
    PeakEwma,
    /// The better of two distinct draws by outstanding requests.
    LeastRequest,
    /// In turn, by weight.
    RoundRobin,
    /// By chance, by weight.
    Random,
}

/// Settings of balancing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// How an endpoint is chosen.
    pub algorithm: Algorithm,
    /// Time constant of the moving average (linkerd: 10 s).
    pub decay: Duration,
    /// Latency that an endpoint is credited with before its first answer (linkerd: 30 ms).
    pub initial_latency: Duration,
    /// Latency that a failed answer counts as (linkerd: 5 s).
    pub failure_penalty: Duration,
    /// Time over which a new endpoint grows into its share; zero switches it off.
    pub slow_start: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::PeakEwma,
            decay: Duration::from_secs(10),
            initial_latency: Duration::from_millis(30),
            failure_penalty: Duration::from_secs(5),
            slow_start: Duration::ZERO,
        }
    }
}
