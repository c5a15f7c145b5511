//! Stages as they stand in columns, and how much is forgotten at once.

use contracts::{DeliveryStage, Words as _};

/// Deliveries, tombstones or addresses that one transaction forgets.
pub(super) const SLICE: u32 = 200;

/// The first stage that ends a delivery.
pub(super) fn first_end() -> i64 {
    ordinal(DeliveryStage::Completed)
}

/// A stage as its number: it only grows.
pub(super) fn ordinal(stage: DeliveryStage) -> i64 {
    i64::from(stage.ordinal())
}
