//! What an operator says about a drone.

use contracts::{Body, Fault, Location, Words};

/// Metres and kilograms past which a number is a mistake.
const RANGE_M_MAX: f64 = 1_000_000.0;
const PAYLOAD_KG_MAX: f64 = 10_000.0;

/// What an operator may make of a drone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Duty {
    /// It can be booked.
    Idle,
    /// It is out of service.
    Failed,
}

impl Words for Duty {
    const WHAT: &'static str = "a state that can be set: Idle or Failed";
    const ALL: &'static [(Self, &'static str)] = &[(Self::Idle, "Idle"), (Self::Failed, "Failed")];
}

/// A request of an operator; what it leaves out stays, or takes the fleet's usual.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Registration {
    pub(crate) base: Option<Location>,
    pub(crate) payload_kg: Option<f64>,
    pub(crate) range_m: Option<f64>,
    pub(crate) duty: Option<Duty>,
}

impl Registration {
    /// Reads a request; unknown members are ignored.
    pub(crate) fn read(body: &Body<'_>) -> Result<Self, Vec<Fault>> {
        let members = body.members();
        let positive = |name, most: f64| {
            let number = members.optional_number(name)?;
            if number <= 0.0 || number > most {
                members.fault(name, format!("more than 0 and at most {most} is expected"));
            }
            Some(number)
        };
        let read = Self {
            base: members.get("base").map(|_| members.location("base")),
            payload_kg: positive("payloadKg", PAYLOAD_KG_MAX),
            range_m: positive("rangeM", RANGE_M_MAX),
            duty: members.get("state").map(|_| members.word("state")),
        };
        body.finish(read)
    }

    /// Whether it changes what the drone is, and not only whether it serves.
    pub(crate) const fn changes_airframe(&self) -> bool {
        self.base.is_some() || self.payload_kg.is_some() || self.range_m.is_some()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn members_that_are_wrong_are_named() {
        let body = json!({"base": {"latitude": 1}, "payloadKg": -1, "rangeM": "far",
            "state": "Returning"});
        let faults = Registration::read(&Body::new(&body)).unwrap_err();
        let pointers: Vec<_> = faults.iter().map(|it| it.pointer.as_str()).collect();
        assert_eq!(pointers, ["/base/longitude", "/payloadKg", "/rangeM", "/state"]);
    }

    #[test]
    fn taking_a_drone_out_changes_nothing_of_what_it_is() {
        let read = Registration::read(&Body::new(&json!({"State": "failed"}))).unwrap();
        assert_eq!((read.duty, read.changes_airframe()), (Some(Duty::Failed), false));
    }
}
