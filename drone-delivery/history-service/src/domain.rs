//! What a history is. Pure: no clock, no I/O.

use contracts::shipping::DeliveryEvent;
use serde::Serialize;
use utoipa::ToSchema;

/// Everything that happened to one delivery.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct History {
    delivery_id: String,
    /// The account that ships, as the newest event names it.
    owner_id: String,
    /// In the order in which it happened.
    events: Vec<DeliveryEvent>,
}

impl History {
    /// The account that ships.
    pub(crate) fn owner_id(&self) -> &str {
        &self.owner_id
    }

    /// The history that events of one delivery make, given in their order; `None` without any.
    pub(crate) fn of(events: Vec<DeliveryEvent>) -> Option<Self> {
        let newest = events.last()?;
        let (delivery_id, owner_id) = (newest.delivery_id.clone(), newest.owner_id.clone());
        Some(Self { delivery_id, owner_id, events })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use base::Timestamp;
    use contracts::{ConfirmationType, DeliveryStage, Location};

    use super::*;

    /// An event of `owner`, which happened so many milliseconds after 1970.
    pub(crate) fn event(delivery_id: &str, sequence: u64, at_ms: i64) -> DeliveryEvent {
        DeliveryEvent {
            event_id: format!("{delivery_id}/{sequence}"),
            delivery_id: delivery_id.to_owned(),
            stage: DeliveryStage::Created,
            location: None,
            sequence,
            occurred_at: Timestamp::from_millis(at_ms),
            owner_id: "owner".to_owned(),
            drone_id: None,
            pickup: Location::default(),
            dropoff: Location::default(),
            pickup_time: None,
            confirmation_required: ConfirmationType::None,
            eta: None,
            reason: None,
        }
    }

    #[test]
    fn a_history_belongs_to_whom_its_newest_event_names() {
        let sold = DeliveryEvent { owner_id: "buyer".to_owned(), ..event("d1", 2, 0) };
        let history = History::of(vec![event("d1", 1, 0), sold]).unwrap();
        assert_eq!((history.delivery_id.as_str(), history.owner_id.as_str()), ("d1", "buyer"));
        assert_eq!(History::of(Vec::new()), None);
    }
}
