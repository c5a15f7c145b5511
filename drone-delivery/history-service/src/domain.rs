//! What a history is, and how long it is kept. Pure: no clock, no I/O.

use base::Timestamp;
use contracts::shipping::DeliveryEvent;
use serde::Serialize;
use utoipa::ToSchema;

const DAY_MS: i64 = 86_400_000;

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
    /// The history that events of one delivery make, given in their order; `None` without any.
    pub(crate) fn of(events: Vec<DeliveryEvent>) -> Option<Self> {
        let newest = events.last()?;
        let (delivery_id, owner_id) = (newest.delivery_id.clone(), newest.owner_id.clone());
        Some(Self { delivery_id, owner_id, events })
    }
}

/// Events before this moment are forgotten at `now`.
pub(crate) fn kept_since(now: Timestamp, days: u32) -> Timestamp {
    let kept = i64::from(days).saturating_mul(DAY_MS);
    Timestamp::from_millis(now.as_millis().saturating_sub(kept))
}

#[cfg(test)]
pub(crate) mod tests {
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

    #[test]
    fn what_is_kept_begins_so_many_days_ago() {
        let now = Timestamp::from_millis(400 * DAY_MS);
        assert_eq!(kept_since(now, 400), Timestamp::from_millis(0));
        assert_eq!(kept_since(now, 0), now);
        assert!(kept_since(now, u32::MAX) < Timestamp::from_millis(0));
    }
}
