//! Who answers when a delivery at the doorstep needs a confirmation.

use base::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::{Delivery, Evidence, Reached};

/// The recipient at the doorstep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Recipient {
    /// Is simulated: gives at once what was asked for, so that a demo ends by itself.
    Simulated,
    /// Confirms over the API.
    Real,
}

impl Recipient {
    /// What the recipient's presence makes of a delivery that waits for one, at that time.
    pub(crate) fn answer(self, delivery: &mut Delivery, at: Timestamp) -> Reached {
        if self == Self::Real || !delivery.awaits_confirmation() {
            return Vec::new();
        }
        // It gives what was asked for, which no delivery that waits for it refuses.
        let (kind, place) = (delivery.order.confirmation_required, Some(delivery.order.dropoff));
        delivery.confirm(Evidence { kind, at, place, hash: None }).unwrap_or_default()
    }
}
