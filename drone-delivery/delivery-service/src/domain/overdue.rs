//! Whether a delivery has stopped moving. Pure: the time comes in.

use std::time::Duration;

use base::Timestamp;
use contracts::DeliveryStage;

use super::Delivery;

/// How long what is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Patience {
    /// After what was promised.
    pub(crate) grace: Duration,
    /// After the last change, where nothing was promised.
    pub(crate) unpromised: Duration,
    /// For the recipient, with the package at the doorstep.
    pub(crate) recipient: Duration,
}

/// What does not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overdue {
    /// The package is not fetched.
    Pickup,
    /// It does not arrive.
    Dropoff,
    /// Nobody confirms that it did.
    Confirmation,
}

impl Overdue {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Pickup => "pickup",
            Self::Dropoff => "dropoff",
            Self::Confirmation => "confirmation",
        }
    }

    /// What an operator reads.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Pickup => "overdue: its package is not fetched",
            Self::Dropoff => "overdue: its package does not arrive",
            Self::Confirmation => {
                "overdue: nobody confirms the package at the door; ask the recipient"
            }
        }
    }
}

/// What a delivery that last changed at `changed` waits for too long; none while all is well.
pub(crate) fn overdue(
    delivery: &Delivery,
    changed: Timestamp,
    now: Timestamp,
    patience: Patience,
) -> Option<Overdue> {
    let promised = |eta: Option<Timestamp>| match eta {
        // A wish for a time that had passed is no promise older than the wish.
        Some(eta) => eta.max(changed) + patience.grace,
        None => changed + patience.unpromised,
    };
    let (due, what) = match (delivery.stage, delivery.dropped_off_at) {
        (DeliveryStage::Completed | DeliveryStage::Cancelled | DeliveryStage::Failed, _) => {
            return None;
        }
        (DeliveryStage::HeadedToDropoff, Some(at)) => {
            (at + patience.recipient, Overdue::Confirmation)
        }
        (DeliveryStage::HeadedToDropoff, None) => {
            (promised(delivery.delivery_eta), Overdue::Dropoff)
        }
        (
            DeliveryStage::Created | DeliveryStage::Rescheduled | DeliveryStage::HeadedToPickup,
            _,
        ) => (promised(delivery.pickup_eta.max(delivery.order.pickup_time)), Overdue::Pickup),
    };
    (now > due).then_some(what)
}
