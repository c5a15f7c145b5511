//! One carrier with one package: booked, sent, called back, moved on by time.

use std::time::Duration;

use base::Timestamp;
use contracts::{Location, third_party_transport::CarrierPhase};
use serde::{Deserialize, Serialize};

use super::{fate::Fate, trip::Trip};

/// How carriers drive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Roads {
    pub(crate) speed_mps: f64,
    /// To take a package, or to hand it over.
    pub(crate) handling: Duration,
    pub(crate) depot: Location,
}

/// When a tour reaches what.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tour {
    pub(crate) leaves: Timestamp,
    pub(crate) picks_up: Timestamp,
    pub(crate) drops_off: Timestamp,
    /// When it was expected there, as it left: late ones say so at the pick-up.
    #[serde(default)]
    pub(crate) promised: Option<Timestamp>,
    /// When it breaks down.
    #[serde(default)]
    pub(crate) breaks_down: Option<Timestamp>,
}

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

impl Roads {
    fn time_for(&self, from: &Location, to: &Location) -> Duration {
        let seconds = from.distance_m(to) / self.speed_mps;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }
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
        let (sequence, tour) = (0, None);
        let mut booked = Self { delivery_id, carrier, trip, phase, sequence, tour, trace, fate };
        let change = booked.reach(phase, now, roads);
        (booked, change)
    }

    /// The delivery was made: the tour is planned, at the trip's time or at once when that is past.
    /// Gives whether that is news.
    /// `not_before` is the trip's time as the carriers' clock has it.
    pub(crate) fn send(
        &mut self,
        now: Timestamp,
        not_before: Option<Timestamp>,
        roads: &Roads,
        trace: Option<String>,
    ) -> bool {
        if self.tour.is_some() {
            return false;
        }
        let Trip { pickup, dropoff, .. } = &self.trip;
        let leaves = not_before.unwrap_or(now).max(now);
        let picks_up = leaves + roads.time_for(&roads.depot, pickup) + roads.handling;
        let promised = picks_up + roads.time_for(pickup, dropoff) + roads.handling;
        let drops_off = promised + Duration::from_millis(self.fate.late_ms);
        let lasts = drops_off.saturating_since(leaves);
        let breaks_down = self.fate.breaks_down.map(|share| leaves + lasts.mul_f64(share));
        let promised = Some(promised);
        self.tour = Some(Tour { leaves, picks_up, drops_off, promised, breaks_down });
        self.trace = trace.or_else(|| self.trace.take());
        true
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

    /// Reaches every phase that is due, oldest first.
    pub(crate) fn advance(&mut self, now: Timestamp, roads: &Roads) -> Vec<PhaseChange> {
        let mut changes = Vec::new();
        while let Some((phase, due)) = self.next().filter(|it| it.1 <= now) {
            changes.push(self.reach(phase, due, roads));
        }
        changes
    }

    fn reach(&mut self, phase: CarrierPhase, at: Timestamp, roads: &Roads) -> PhaseChange {
        let has_package = self.phase == CarrierPhase::PickedUp;
        self.phase = phase;
        self.sequence += 1;
        let position = match phase {
            // Somewhere on the leg: told is where it was last.
            CarrierPhase::Failed if has_package => self.trip.pickup,
            CarrierPhase::Booked | CarrierPhase::EnRouteToPickup | CarrierPhase::Failed => {
                roads.depot
            }
            CarrierPhase::PickedUp => self.trip.pickup,
            CarrierPhase::DroppedOff => self.trip.dropoff,
        };
        let expected = |tour: Tour| match phase {
            CarrierPhase::Booked | CarrierPhase::EnRouteToPickup => {
                tour.promised.unwrap_or(tour.drops_off)
            }
            _ => tour.drops_off,
        };
        let delivery_eta = self.tour.map(expected);
        PhaseChange { phase, position, sequence: self.sequence, at, delivery_eta }
    }
}

#[cfg(test)]
mod tests {
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
        assert!(shipment.send(at(10), None, &ROADS, None));
        assert!(!shipment.send(at(99), None, &ROADS, None), "a repeated message");
        let changes = shipment.advance(at(86_400), &ROADS);
        let phases: Vec<_> = changes.iter().map(|it| it.phase).collect();
        let expected =
            [CarrierPhase::EnRouteToPickup, CarrierPhase::PickedUp, CarrierPhase::DroppedOff];
        assert_eq!(phases, expected);
        assert_eq!(changes.iter().map(|it| it.sequence).collect::<Vec<_>>(), [2, 3, 4]);
        let took = changes[2].at.saturating_since(changes[1].at).as_secs_f64();
        let way = shipment.trip.pickup.distance_m(&shipment.trip.dropoff);
        assert!((took - (way / 12.0 + 120.0)).abs() < 0.01, "{took}");
        assert_eq!(changes[0].delivery_eta, Some(changes[2].at));
    }

    #[test]
    fn it_waits_for_the_pickup_time_and_can_be_called_back_until_then() {
        let far = Timestamp::parse("2099-01-01T00:00:00Z").unwrap();
        let mut shipment = booked(Trip { pickup_time: Some(far), ..trip(AIRPORT, 40.0) });
        shipment.send(at(0), Some(far), &ROADS, None);
        assert_eq!(shipment.advance(at(1_000_000), &ROADS), []);
        assert_eq!((shipment.due(), shipment.check_recall()), (Some(far), Ok(())));
    }

    #[test]
    fn a_late_one_says_so_when_it_has_the_package() {
        let late = Fate { late_ms: 60_000, breaks_down: None };
        let mut shipment = fated(trip(AIRPORT, 40.0), late);
        shipment.send(at(0), None, &ROADS, None);
        let changes = shipment.advance(at(86_400), &ROADS);
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
            let changes = shipment.advance(at(86_400), &ROADS);
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
        shipment.advance(picks_up, &ROADS);
        assert_eq!(shipment.check_recall(), Err(PickedUp));
    }
}
