//! What a delivery asks of a drone, and how a request says it.

use base::Timestamp;
use contracts::{Body, Fault, Location, Members, parse_time};
use fleet_rules::Errand;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a delivery asks of a drone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Trip {
    pub(crate) pickup: Location,
    pub(crate) dropoff: Location,
    /// Not before then: wall time, as clients say it.
    pub(crate) pickup_time: Option<Timestamp>,
    /// Kilograms; 0 when the client did not say.
    pub(crate) weight_kg: f64,
}

impl Trip {
    /// What is to be carried.
    pub(crate) const fn errand(&self) -> Errand {
        Errand { pickup: self.pickup, dropoff: self.dropoff, weight_kg: self.weight_kg }
    }

    /// Whether it is the same trip. A number that was written and read again may differ in its
    /// last digit, and a metre makes no other trip.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.pickup.distance_m(&other.pickup) < 1.0
            && self.dropoff.distance_m(&other.dropoff) < 1.0
            && self.pickup_time == other.pickup_time
            && (self.weight_kg - other.weight_kg).abs() < 1e-6
    }
}

/// A request for a drone, as the saga or a client of the original sends it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BookingRequest {
    /// The id in the body; the one in the path counts.
    pub(crate) delivery_id: Option<String>,
    /// A booking names both doors, a change those that are others.
    pub(crate) pickup: Option<Location>,
    pub(crate) dropoff: Option<Location>,
    pub(crate) pickup_time: Option<Timestamp>,
    /// Kilograms of everything that is named; none is named when a trip is moved.
    pub(crate) weight_kg: Option<f64>,
    /// Whether a package is named: then it is a booking, else at most a change of one.
    pub(crate) names_package: bool,
    /// The account that ships, when the client says it.
    pub(crate) owner_id: Option<String>,
    /// Whether it goes before those that wait.
    pub(crate) expedited: bool,
    /// When it must be at its door, in wall time: none within says that no time is promised, which
    /// a text that is no time asks for; a change that says nothing leaves it as it was.
    pub(crate) deadline: Option<Option<Timestamp>>,
    /// Grows when the trip of a booking is to be replaced.
    pub(crate) revision: u64,
}

impl BookingRequest {
    /// Reads a request; unknown members are ignored.
    pub(crate) fn read(body: &Body<'_>) -> Result<Self, Vec<Fault>> {
        let members = body.members();
        let (names_package, weight_kg) = read_packages(&members);
        let revision = members.optional_count("revision").unwrap_or(0);
        let is_change = revision > 0 && !names_package;
        let door = |name| match is_change {
            true => members.optional_location(name),
            false => Some(members.location(name)),
        };
        let read = Self {
            delivery_id: members.optional_name("deliveryId"),
            pickup: door("pickup"),
            dropoff: door("dropoff"),
            pickup_time: members.optional_time("pickupTime"),
            weight_kg,
            names_package,
            owner_id: members.optional_name("ownerId"),
            expedited: members.flag_or("expedited", false),
            deadline: members.optional_text("deadline").map(|it| parse_time(&it)),
            revision,
        };
        body.finish(read)
    }

    /// The trip that is asked for; what a change leaves out stays as it was. `None` where nothing was.
    pub(crate) fn trip(&self, before: Option<&Trip>) -> Option<Trip> {
        Some(Trip {
            pickup: self.pickup.or(before.map(|it| it.pickup))?,
            dropoff: self.dropoff.or(before.map(|it| it.dropoff))?,
            pickup_time: self.pickup_time.or(before.and_then(|it| it.pickup_time)),
            weight_kg: self.weight_kg.or(before.map(|it| it.weight_kg)).unwrap_or(0.0),
        })
    }
}

/// The original's client sends one `packageDetail`, its server expected an array of them.
fn read_packages(members: &Members<'_>) -> (bool, Option<f64>) {
    let one = members.optional_inner("packageDetail");
    let many = members.get("packageDetails").and_then(Value::as_array);
    if many.is_none() && members.get("packageDetails").is_some() {
        members.fault("packageDetails", "an array is expected");
    }
    let mut weights: Vec<f64> = Vec::new();
    if let Some(package) = &one {
        weights.extend(read_weight(package));
    }
    for package in many.into_iter().flatten() {
        let body = Body::new(package);
        weights.extend(read_weight(&body.members()));
        for fault in body.finish(()).err().into_iter().flatten() {
            members.fault(&format!("packageDetails{}", fault.pointer), fault.detail);
        }
    }
    let sum = (!weights.is_empty()).then(|| weights.iter().sum());
    (one.is_some() || many.is_some(), sum)
}

fn read_weight(package: &Members<'_>) -> Option<f64> {
    let weight = package.optional_number("weight")?;
    if weight < 0.0 {
        package.fault("weight", "kilograms are expected, not less than 0");
    }
    Some(weight)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn read(body: &Value) -> BookingRequest {
        BookingRequest::read(&Body::new(body)).unwrap()
    }

    fn place(latitude: f64) -> Value {
        json!({"Altitude": 0, "Latitude": latitude, "Longitude": 24.94})
    }

    #[test]
    fn the_original_s_body_is_read() {
        let request = read(&json!({"DeliveryId": "d1", "Pickup": place(60.17),
            "Dropoff": place(60.18), "PackageDetail": {"Id": "p1", "Size": 0}, "Expedited": false}));
        assert_eq!(request.delivery_id.as_deref(), Some("d1"));
        assert_eq!((request.names_package, request.weight_kg, request.revision), (true, None, 0));
        assert_eq!(request.trip(None).unwrap().weight_kg, 0.0);
    }

    #[test]
    fn a_deadline_is_a_time_or_promises_nothing() {
        let ask = |deadline: &str| {
            read(&json!({"pickup": place(60.17), "dropoff": place(60.18), "deadline": deadline}))
        };
        assert_eq!(ask("ByTheEndOfDay").deadline, Some(None));
        assert_eq!(ask("").deadline, Some(None));
        assert!(ask("2026-05-14T20:00:00Z").deadline.flatten().is_some());
        let silent = json!({"pickup": place(60.17), "dropoff": place(60.18), "deadline": null});
        assert_eq!(read(&silent).deadline, None);
    }

    #[test]
    fn several_packages_weigh_together() {
        let request = read(&json!({"pickup": place(60.17), "dropoff": place(60.18),
            "packageDetails": [{"id": "a", "weight": "2.5"}, {"id": "b", "weight": 3}]}));
        assert_eq!(request.weight_kg, Some(5.5));
    }

    #[test]
    fn a_change_keeps_what_it_leaves_out() {
        let moved = json!({"pickup": place(60.17), "dropoff": place(60.18), "revision": 2});
        let tomorrow = Timestamp::parse("2099-01-01T09:00:00Z");
        let before =
            Trip { weight_kg: 7.0, pickup_time: tomorrow, ..read(&moved).trip(None).unwrap() };
        assert_eq!(read(&moved).trip(Some(&before)).as_ref(), Some(&before));
        assert!(!read(&moved).names_package);
        let other = place(60.2);
        let to_another_door = read(&json!({"dropoff": other, "revision": 3}));
        let dropoff = to_another_door.dropoff.unwrap();
        assert_eq!(to_another_door.trip(Some(&before)), Some(Trip { dropoff, ..before }));
        assert_eq!(to_another_door.trip(None), None, "there is nothing to change");
    }

    #[test]
    fn members_that_are_wrong_are_named() {
        let body = json!({"pickup": {"latitude": 99, "longitude": 1}, "pickupTime": "soon",
            "packageDetails": [{"weight": -1}], "revision": -2});
        let faults = BookingRequest::read(&Body::new(&body)).unwrap_err();
        let pointers: Vec<_> = faults.iter().map(|it| it.pointer.as_str()).collect();
        assert_eq!(
            pointers,
            ["/packageDetails/weight", "/revision", "/pickup/latitude", "/dropoff", "/pickupTime"]
        );
    }
}
