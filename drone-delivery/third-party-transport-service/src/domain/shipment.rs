//! One carrier with one package: booked, sent, moved to other doors, called back, moved on by time,
//! and another carrier in its place when it breaks down before it has the package.

use base::Timestamp;
use contracts::{Location, third_party_transport::CarrierPhase};
use serde::{Deserialize, Serialize};

use super::{
    fate::Fate,
    standing::Outside,
    tour::{Roads, Tour},
    trip::{Move, Trip},
};

/// A package that a carrier takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Shipment {
    pub(crate) delivery_id: String,
    pub(crate) carrier: String,
    pub(crate) trip: Trip,
    /// The phase that was announced last.
    pub(crate) phase: CarrierPhase,
    /// Numbers the announcements.
    pub(crate) sequence: u64,
    /// None until the delivery was made.
    pub(crate) tour: Option<Tour>,
    /// W3C trace context of what caused it.
    pub(crate) trace: Option<String>,
    /// How its tour goes.
    #[serde(default)]
    pub(crate) fate: Fate,
    /// Carriers that broke down before it.
    #[serde(default)]
    pub(crate) tried: Vec<String>,
    /// Of the newest move.
    #[serde(default)]
    pub(crate) revision: u64,
    /// Whether it broke down with the package on board.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_stranded: bool,
    /// Where its carrier is a company outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) outside: Option<Outside>,
}

/// A phase that a carrier reached: to be announced.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PhaseChange {
    pub(crate) phase: CarrierPhase,
    pub(crate) position: Location,
    pub(crate) sequence: u64,
    pub(crate) at: Timestamp,
    pub(crate) delivery_eta: Option<Timestamp>,
}

/// It is too late to call it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the package has been picked up")]
pub(crate) struct PickedUp;

/// Why a carrier does not go elsewhere than it was told first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MoveError {
    /// A later move was seen.
    #[error("revision {known} is agreed already")]
    Stale { known: u64 },
    /// It drives to the door that it was told with the package.
    #[error(transparent)]
    PickedUp(#[from] PickedUp),
    /// It broke down.
    #[error("the carrier broke down")]
    Over,
}

impl Shipment {
    /// Books a carrier. It stays where it is until [`send`](Self::send).
    pub(crate) fn book(
        delivery_id: String,
        (carrier, fate): (String, Fate),
        trip: Trip,
        trace: Option<String>,
        now: Timestamp,
        roads: &Roads,
    ) -> (Self, PhaseChange) {
        let phase = CarrierPhase::Booked;
        let (sequence, tour, tried, revision) = (0, None, Vec::new(), 0);
        let mut booked = Self {
            delivery_id,
            carrier,
            trip,
            phase,
            sequence,
            tour,
            trace,
            fate,
            tried,
            revision,
            is_stranded: false,
            outside: None,
        };
        let change = booked.reach(phase, now, roads);
        (booked, change)
    }

    /// The tour of a simulated carrier, were its delivery made now.
    pub(crate) fn plan(
        &self,
        now: Timestamp,
        not_before: Option<Timestamp>,
        roads: &Roads,
    ) -> Tour {
        let leaves = not_before.unwrap_or(now).max(now);
        Tour::plan(roads.depot, leaves, &self.trip, self.fate, roads)
    }

    /// The delivery was made: the tour is planned, at the trip's time or at once when that is past.
    /// Gives what is to be said of it, if that is news: whom it concerns is there to hear it.
    /// `not_before` is the trip's time as the carriers' clock has it.
    pub(crate) fn send(
        &mut self,
        now: Timestamp,
        not_before: Option<Timestamp>,
        roads: &Roads,
        trace: Option<String>,
    ) -> Option<PhaseChange> {
        if self.tour.is_some() {
            return None;
        }
        if let Some(outside) = &mut self.outside {
            let is_news = !std::mem::replace(&mut outside.may_leave, true);
            return is_news.then(|| self.reach(self.phase, now, roads));
        }
        self.tour = Some(self.plan(now, not_before, roads));
        self.trace = trace.or_else(|| self.trace.take());
        Some(self.reach(self.phase, now, roads))
    }

    /// Moves it to other doors, until it has the package: one that is on its way turns where it is.
    /// `not_before` is the trip's new time as the carriers' clock has it. A move that was agreed
    /// before is no news.
    pub(crate) fn relocate(
        &mut self,
        change: &Move,
        now: Timestamp,
        not_before: Option<Timestamp>,
        roads: &Roads,
    ) -> Result<Option<PhaseChange>, MoveError> {
        if change.revision < self.revision {
            return Err(MoveError::Stale { known: self.revision });
        }
        if change.revision == self.revision {
            return Ok(None);
        }
        self.check_recall()?;
        if self.phase == CarrierPhase::Failed {
            return Err(MoveError::Over);
        }
        let here = self.position(now, roads);
        self.revision = change.revision;
        self.trip = self.trip.moved(change);
        if let Some(tour) = self.tour {
            let leaves = match self.phase {
                CarrierPhase::Booked => not_before.unwrap_or(tour.leaves).max(now),
                _ => now,
            };
            self.tour = Some(Tour::plan(here, leaves, &self.trip, self.fate, roads));
        }
        Ok(Some(self.reach(self.phase, now, roads)))
    }

    /// Another carrier takes its place, and leaves at once.
    pub(crate) fn hand_to(
        &mut self,
        (carrier, fate): (String, Fate),
        at: Timestamp,
        roads: &Roads,
    ) -> PhaseChange {
        self.tried.push(std::mem::replace(&mut self.carrier, carrier));
        (self.fate, self.outside) = (fate, None);
        self.tour = Some(Tour::plan(roads.depot, at, &self.trip, fate, roads));
        self.reach(CarrierPhase::Booked, at, roads)
    }

    /// When it is expected at the drop-off, on the carriers' clock.
    pub(crate) fn eta(&self) -> Option<Timestamp> {
        let said = self.outside.and_then(|it| it.delivery_eta);
        self.tour.map(|it| it.drops_off).or(said)
    }

    /// Whether it has the package, or had it.
    pub(crate) const fn has_package(&self) -> bool {
        matches!(self.phase, CarrierPhase::PickedUp | CarrierPhase::DroppedOff)
    }

    /// Whether it can still be called back.
    pub(crate) fn check_recall(&self) -> Result<(), PickedUp> {
        match self.phase {
            CarrierPhase::PickedUp | CarrierPhase::DroppedOff => Err(PickedUp),
            // What broke down carries nothing on: the booking is over.
            CarrierPhase::Booked | CarrierPhase::EnRouteToPickup | CarrierPhase::Failed => Ok(()),
        }
    }

    /// When its next phase is due.
    pub(crate) fn due(&self) -> Option<Timestamp> {
        Some(self.next()?.1)
    }

    fn next(&self) -> Option<(CarrierPhase, Timestamp)> {
        let tour = self.tour?;
        let next = match self.phase {
            CarrierPhase::Booked => Some((CarrierPhase::EnRouteToPickup, tour.leaves)),
            CarrierPhase::EnRouteToPickup => Some((CarrierPhase::PickedUp, tour.picks_up)),
            CarrierPhase::PickedUp => Some((CarrierPhase::DroppedOff, tour.drops_off)),
            CarrierPhase::DroppedOff | CarrierPhase::Failed => None,
        };
        let fails = tour.breaks_down.filter(|at| {
            self.phase != CarrierPhase::Booked && next.is_some_and(|(_, due)| *at <= due)
        });
        fails.map(|at| (CarrierPhase::Failed, at)).or(next)
    }

    /// Whether it still takes a vehicle of its carrier.
    pub(crate) const fn is_open(&self) -> bool {
        !matches!(self.phase, CarrierPhase::DroppedOff | CarrierPhase::Failed)
    }

    /// The next phase, when it is due.
    pub(crate) fn due_by(&self, now: Timestamp) -> Option<(CarrierPhase, Timestamp)> {
        self.next().filter(|it| it.1 <= now)
    }

    /// Where the vehicle is.
    pub(crate) fn position(&self, at: Timestamp, roads: &Roads) -> Location {
        if let Some(seen) = self.outside.and_then(|it| it.position) {
            return seen;
        }
        let Some(tour) = self.tour else { return roads.depot };
        match self.phase {
            CarrierPhase::Booked => tour.from.unwrap_or(roads.depot),
            CarrierPhase::EnRouteToPickup => tour.approaching(&self.trip, at, roads),
            CarrierPhase::PickedUp => tour.carrying(&self.trip, at, roads),
            CarrierPhase::DroppedOff => self.trip.dropoff,
            CarrierPhase::Failed => tour.breaks_down.map_or(roads.depot, |broke_down| {
                if broke_down < tour.picks_up {
                    tour.approaching(&self.trip, broke_down, roads)
                } else {
                    tour.carrying(&self.trip, broke_down, roads)
                }
            }),
        }
    }

    /// Reaches a phase: what is to be announced.
    pub(crate) fn reach(
        &mut self,
        phase: CarrierPhase,
        at: Timestamp,
        roads: &Roads,
    ) -> PhaseChange {
        self.is_stranded = phase == CarrierPhase::Failed && self.phase == CarrierPhase::PickedUp;
        self.phase = phase;
        self.sequence += 1;
        let expected = |tour: Tour| match phase {
            CarrierPhase::Booked | CarrierPhase::EnRouteToPickup => {
                tour.promised.unwrap_or(tour.drops_off)
            }
            _ => tour.drops_off,
        };
        let said = self.outside.and_then(|it| it.delivery_eta);
        let (position, delivery_eta) = (self.position(at, roads), self.tour.map(expected).or(said));
        PhaseChange { phase, position, sequence: self.sequence, at, delivery_eta }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{super::rule::tests::trip, *};

    const ROADS: Roads = Roads {
        speed_mps: 12.0,
        handling: Duration::from_secs(120),
        depot: Location::new(60.169, 24.9425),
    };
    const AIRPORT: (f64, f64) = (60.3172, 24.9633);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    /// Everything that is due, oldest first.
    fn advance(shipment: &mut Shipment, now: Timestamp) -> Vec<PhaseChange> {
        let mut changes = Vec::new();
        while let Some((phase, at)) = shipment.due_by(now) {
            changes.push(shipment.reach(phase, at, &ROADS));
        }
        changes
    }

    fn booked(trip: Trip) -> Shipment {
        fated(trip, Fate::default())
    }

    fn fated(trip: Trip, fate: Fate) -> Shipment {
        let carrier = ("van".to_owned(), fate);
        Shipment::book("d1".to_owned(), carrier, trip, None, at(0), &ROADS).0
    }

    #[test]
    fn a_tour_goes_through_every_phase_in_order_and_takes_its_time() {
        let mut shipment = booked(trip(AIRPORT, 40.0));
        assert_eq!((shipment.sequence, shipment.due()), (1, None));
        let promise = shipment.send(at(10), None, &ROADS, None).unwrap();
        assert_eq!((promise.phase, promise.sequence), (CarrierPhase::Booked, 2));
        assert!(shipment.send(at(99), None, &ROADS, None).is_none(), "a repeated message");
        let changes = advance(&mut shipment, at(86_400));
        let phases: Vec<_> = changes.iter().map(|it| it.phase).collect();
        let expected =
            [CarrierPhase::EnRouteToPickup, CarrierPhase::PickedUp, CarrierPhase::DroppedOff];
        assert_eq!(phases, expected);
        assert_eq!(changes.iter().map(|it| it.sequence).collect::<Vec<_>>(), [3, 4, 5]);
        let took = changes[2].at.saturating_since(changes[1].at).as_secs_f64();
        let way = shipment.trip.pickup.distance_m(&shipment.trip.dropoff);
        assert!((took - (way / 12.0 + 120.0)).abs() < 0.01, "{took}");
        assert_eq!(changes[0].delivery_eta, Some(changes[2].at));
        assert_eq!(promise.delivery_eta, changes[0].delivery_eta, "said before it leaves");
    }

    #[test]
    fn it_waits_for_the_pickup_time_and_can_be_called_back_until_then() {
        let far = Timestamp::parse("2099-01-01T00:00:00Z").unwrap();
        let mut shipment = booked(Trip { pickup_time: Some(far), ..trip(AIRPORT, 40.0) });
        shipment.send(at(0), Some(far), &ROADS, None);
        assert_eq!(advance(&mut shipment, at(1_000_000)), []);
        assert_eq!((shipment.due(), shipment.check_recall()), (Some(far), Ok(())));
    }

    #[test]
    fn a_late_one_says_so_when_it_has_the_package() {
        let late = Fate { late_ms: 60_000, breaks_down: None };
        let mut shipment = fated(trip(AIRPORT, 40.0), late);
        shipment.send(at(0), None, &ROADS, None);
        let changes = advance(&mut shipment, at(86_400));
        let etas: Vec<_> = changes.iter().map(|it| it.delivery_eta.unwrap()).collect();
        assert_eq!(etas[1], changes[2].at);
        assert_eq!(etas[1].saturating_since(etas[0]), Duration::from_secs(60));
    }

    #[test]
    fn one_that_breaks_down_says_so_once_and_takes_no_vehicle_any_more() {
        for (share, reached) in [(0.0, 2), (0.999, 3)] {
            let fate = Fate { late_ms: 0, breaks_down: Some(share) };
            let mut shipment = fated(trip(AIRPORT, 40.0), fate);
            shipment.send(at(0), None, &ROADS, None);
            assert!(shipment.is_open());
            let changes = advance(&mut shipment, at(86_400));
            assert_eq!(changes.len(), reached, "after {share}");
            assert_eq!(changes.last().unwrap().phase, CarrierPhase::Failed);
            assert!(changes.is_sorted_by_key(|it| it.at));
            assert_eq!((shipment.due(), shipment.is_open()), (None, false));
        }
    }

    #[test]
    fn it_cannot_be_called_back_with_the_package_on_board() {
        let mut shipment = booked(trip(AIRPORT, 40.0));
        shipment.send(at(0), None, &ROADS, None);
        let picks_up = shipment.tour.unwrap().picks_up;
        advance(&mut shipment, picks_up);
        assert_eq!(shipment.check_recall(), Err(PickedUp));
    }

    fn move_to(latitude: f64, revision: u64) -> Move {
        let dropoff = Location::new(latitude, 24.95);
        Move {
            pickup: Some(Location::new(60.2, 24.9)),
            dropoff: Some(dropoff),
            pickup_time: None,
            revision,
        }
    }

    #[test]
    fn one_on_its_way_turns_where_it_is_and_goes_to_the_new_doors() {
        let mut shipment = booked(trip(AIRPORT, 40.0));
        shipment.send(at(0), None, &ROADS, None);
        advance(&mut shipment, at(0));
        let here = shipment.position(at(1), &ROADS);
        assert!(ROADS.depot.distance_m(&here) > 10.0, "it has driven a second: {here:?}");
        let told = shipment.relocate(&move_to(60.25, 7), at(1), None, &ROADS).unwrap().unwrap();
        assert_eq!((told.phase, told.sequence), (CarrierPhase::EnRouteToPickup, 4));
        assert_eq!(shipment.tour.unwrap().from, Some(here));
        let changes = advance(&mut shipment, at(86_400));
        assert_eq!(changes[0].position, Location::new(60.2, 24.9));
        assert_eq!(changes[1].position, Location::new(60.25, 24.95));
        assert_eq!(told.delivery_eta, Some(changes[1].at));
    }

    #[test]
    fn a_move_counts_once_an_older_one_not_at_all_and_none_with_the_package_on_board() {
        let mut shipment = booked(trip(AIRPORT, 40.0));
        assert!(shipment.relocate(&move_to(60.25, 7), at(0), None, &ROADS).unwrap().is_some());
        assert_eq!(shipment.relocate(&move_to(60.26, 7), at(0), None, &ROADS), Ok(None));
        let stale = shipment.relocate(&move_to(60.26, 6), at(0), None, &ROADS);
        assert_eq!(stale, Err(MoveError::Stale { known: 7 }));
        shipment.send(at(0), None, &ROADS, None);
        let picks_up = shipment.tour.unwrap().picks_up;
        advance(&mut shipment, picks_up);
        let late = shipment.relocate(&move_to(60.26, 8), at(0), None, &ROADS);
        assert_eq!(late, Err(MoveError::PickedUp(PickedUp)));
        assert_eq!(shipment.trip.dropoff, Location::new(60.25, 24.95));
    }

    #[test]
    fn a_move_keeps_the_time_that_it_does_not_name() {
        let far = Timestamp::parse("2099-01-01T00:00:00Z").unwrap();
        let mut shipment = booked(Trip { pickup_time: Some(far), ..trip(AIRPORT, 40.0) });
        shipment.send(at(0), Some(far), &ROADS, None);
        shipment.relocate(&move_to(60.25, 1), at(5), None, &ROADS).unwrap();
        assert_eq!((shipment.due(), shipment.trip.pickup_time), (Some(far), Some(far)));
        let soon = at(1_000);
        let earlier = Move { pickup_time: Some(soon), ..move_to(60.25, 2) };
        shipment.relocate(&earlier, at(5), Some(soon), &ROADS).unwrap();
        assert_eq!((shipment.due(), shipment.trip.pickup_time), (Some(soon), Some(soon)));
    }

    #[test]
    fn one_that_broke_down_with_the_package_says_where_it_stands() {
        let fate = Fate { late_ms: 0, breaks_down: Some(0.8) };
        let mut shipment = fated(trip(AIRPORT, 40.0), fate);
        shipment.send(at(0), None, &ROADS, None);
        let stands = advance(&mut shipment, at(86_400)).last().unwrap().position;
        let trip = &shipment.trip;
        let way = trip.pickup.distance_m(&trip.dropoff);
        for end in [&trip.pickup, &trip.dropoff] {
            let off = stands.distance_m(end);
            assert!(off > 100.0 && off < way, "{off} m from an end of {way} m");
        }
    }
}
