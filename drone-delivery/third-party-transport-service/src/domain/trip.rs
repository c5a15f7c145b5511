//! What a delivery asks to be carried, and how a request says it.

use base::Timestamp;
use contracts::{Body, Fault, Location, Members, parse_time};
use serde::{Deserialize, Serialize};

/// What a delivery asks to be carried.
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
    /// Whether it is the same trip. A number that was written and read again may differ in its
    /// last digit, and a metre makes no other trip.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.pickup.distance_m(&other.pickup) < 1.0
            && self.dropoff.distance_m(&other.dropoff) < 1.0
            && self.pickup_time == other.pickup_time
            && (self.weight_kg - other.weight_kg).abs() < 1e-6
    }

    /// The same with what a move changes.
    pub(crate) fn moved(&self, change: &Move) -> Self {
        Self {
            pickup: change.pickup.unwrap_or(self.pickup),
            dropoff: change.dropoff.unwrap_or(self.dropoff),
            pickup_time: change.pickup_time.or(self.pickup_time),
            weight_kg: self.weight_kg,
        }
    }
}

/// Other doors for a package that is not picked up yet.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Move {
    /// As it was when it is not named.
    pub(crate) pickup: Option<Location>,
    /// As it was when it is not named.
    pub(crate) dropoff: Option<Location>,
    /// As it was when it is not named: wall time.
    pub(crate) pickup_time: Option<Timestamp>,
    /// Grows with the moves of a delivery.
    pub(crate) revision: u64,
}

impl Move {
    /// The same with both doors: a company outside is told the trip as it is to be.
    pub(crate) fn with_doors_of(self, trip: &Trip) -> Self {
        let Trip { pickup, dropoff, .. } = trip.moved(&self);
        Self { pickup: Some(pickup), dropoff: Some(dropoff), ..self }
    }

    /// Reads a move; unknown members are ignored.
    pub(crate) fn read(body: &Body<'_>) -> Result<Self, Vec<Fault>> {
        let members = body.members();
        let revision = members.optional_count("revision").unwrap_or(0);
        if revision == 0 {
            members.fault("revision", "a number is expected, greater than that of the move before");
        }
        body.finish(Self {
            pickup: members.optional_location("pickup"),
            dropoff: members.optional_location("dropoff"),
            pickup_time: members.optional_time("pickupTime"),
            revision,
        })
    }
}

/// A request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Request {
    /// The first generation's client sends one point: there is nothing to judge it by.
    Place,
    /// A trip, with the id in the body when there is one; the one in the path counts.
    Trip { wish: Wish, delivery_id: Option<String> },
}

/// A trip, and how it is asked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wish {
    pub(crate) trip: Trip,
    /// The fleet was asked and has none: only carriers are left.
    pub(crate) no_drone: bool,
    /// When it must be at its door, in wall time; a text that is no time promises nothing.
    pub(crate) deadline: Option<Timestamp>,
    /// Its delivery was made, and said so to nobody here: the carrier leaves.
    pub(crate) made: bool,
}

impl Request {
    /// Reads a request; unknown members are ignored.
    pub(crate) fn read(body: &Body<'_>) -> Result<Self, Vec<Fault>> {
        let members = body.members();
        let is_place = members.get("latitude").is_some() && members.get("pickup").is_none();
        if is_place {
            let _point = members.as_location();
            return body.finish(Self::Place);
        }
        let trip = Trip {
            pickup: members.location("pickup"),
            dropoff: members.location("dropoff"),
            pickup_time: members.optional_time("pickupTime"),
            weight_kg: weight(&members),
        };
        let (no_drone, made) = (members.flag_or("noDrone", false), members.flag_or("made", false));
        let deadline = members.optional_text("deadline").and_then(|it| parse_time(&it));
        let delivery_id = members.optional_name("deliveryId");
        body.finish(Self::Trip { wish: Wish { trip, no_drone, deadline, made }, delivery_id })
    }
}

fn weight(members: &Members<'_>) -> f64 {
    let weight = members.optional_number("weight").unwrap_or(0.0);
    if weight < 0.0 {
        members.fault("weight", "kilograms are expected, not less than 0");
    }
    weight
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_point_alone_is_the_first_generation_s_request() {
        let body = json!({"Altitude": 0, "Latitude": 60.17, "Longitude": 24.94});
        assert_eq!(Request::read(&Body::new(&body)), Ok(Request::Place));
    }

    #[test]
    fn a_trip_is_read_in_any_letter_case_and_without_a_weight() {
        let place = json!({"latitude": 60.17, "longitude": 24.94});
        let body = json!({"Pickup": place, "DROPOFF": place});
        let read = Request::read(&Body::new(&body)).unwrap();
        let Request::Trip { wish, delivery_id: None } = read else { panic!("{read:?}") };
        assert_eq!((wish.trip.weight_kg, wish.no_drone, wish.made), (0.0, false, false));
    }

    #[test]
    fn members_that_are_wrong_are_named() {
        let body = json!({"pickup": {"latitude": 99, "longitude": 1}, "weight": -1});
        let faults = Request::read(&Body::new(&body)).unwrap_err();
        let pointers: Vec<_> = faults.iter().map(|it| it.pointer.as_str()).collect();
        assert_eq!(pointers, ["/pickup/latitude", "/dropoff", "/weight"]);
    }

    #[test]
    fn a_move_names_its_number_and_what_changes() {
        let door = json!({"latitude": 60.2, "longitude": 24.9});
        let change = Move::read(&Body::new(&json!({"dropoff": door, "revision": 2}))).unwrap();
        let place = Location::new(60.1, 24.8);
        let trip = Trip { pickup: place, dropoff: place, pickup_time: None, weight_kg: 1.0 };
        let moved = Trip { dropoff: Location::new(60.2, 24.9), ..trip };
        assert_eq!(trip.moved(&change), moved);
        assert_eq!(trip.moved(&change.with_doors_of(&trip)), moved, "told with both doors");
        let faults = Move::read(&Body::new(&json!({"pickupTime": "soon"}))).unwrap_err();
        let pointers: Vec<_> = faults.iter().map(|it| it.pointer.as_str()).collect();
        assert_eq!(pointers, ["/revision", "/pickupTime"]);
    }
}
