//! What one drone can do.

use serde::{Deserialize, Serialize};

/// What one drone can do.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Airframe {
    /// Heaviest load in kilograms.
    pub payload_kg: f64,
    /// Metres of level flight without a load that a full battery gives without touching the reserve.
    pub range_m: f64,
}

impl Airframe {
    /// Whether it lifts so much.
    #[must_use]
    pub fn carries(&self, weight_kg: f64) -> bool {
        weight_kg <= self.payload_kg
    }
}
