//! What companies say, read with care: it comes from elsewhere. Pure.

use base::Timestamp;
use contracts::{Body, Location, third_party_transport::CarrierPhase};
use serde_json::Value;

/// What one says of a booking, in wall time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Said {
    pub(super) number: u64,
    pub(super) phase: CarrierPhase,
    pub(super) position: Option<Location>,
    pub(super) at: Option<Timestamp>,
    pub(super) delivery_eta: Option<Timestamp>,
}

/// When one expects to be at the drop-off; none where it does not say, or says nothing that is a time.
pub(super) fn eta(value: &Value) -> Option<Timestamp> {
    let body = Body::new(value);
    let read = body.members().optional_time("deliveryEta");
    body.finish(read).ok().flatten()
}

/// What one says of a booking; the faults where it cannot be read.
pub(super) fn news(value: &Value) -> Result<Said, String> {
    let body = Body::new(value);
    let members = body.members();
    let phase = members.get("phase").and_then(|it| serde_json::from_value(it.clone()).ok());
    if phase.is_none() {
        members
            .fault("phase", "Booked, EnRouteToPickup, PickedUp, DroppedOff or Failed is expected");
    }
    let said = Said {
        number: members.optional_count("sequence").unwrap_or(0),
        phase: phase.unwrap_or(CarrierPhase::Booked),
        position: members.get("position").is_some().then(|| members.location("position")),
        at: members.optional_time("occurredAt"),
        delivery_eta: members.optional_time("deliveryEta"),
    };
    body.finish(said).map_err(|faults| {
        let texts: Vec<_> =
            faults.iter().map(|it| format!("{}: {}", it.pointer, it.detail)).collect();
        texts.join("; ")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_cannot_be_read_is_no_news() {
        let place = json!({"latitude": 60.2, "longitude": 24.9});
        let good = json!({"phase": "PickedUp", "sequence": 3, "position": place});
        let said = news(&good).unwrap();
        assert_eq!((said.phase, said.number, said.at), (CarrierPhase::PickedUp, 3, None));
        for (wrong, pointer) in [
            (json!({"phase": "Lost", "sequence": 3}), "/phase"),
            (
                json!({"phase": "PickedUp", "position": {"latitude": 91, "longitude": 0}}),
                "/position",
            ),
            (json!({"phase": "PickedUp", "deliveryEta": "soon"}), "/deliveryEta"),
            (json!("PickedUp"), ""),
        ] {
            let faults = news(&wrong).unwrap_err();
            assert!(faults.starts_with(pointer), "{wrong}: {faults}");
        }
        assert_eq!(eta(&json!({"deliveryEta": "soon"})), None);
        assert_eq!(eta(&json!(7)), None);
    }
}
