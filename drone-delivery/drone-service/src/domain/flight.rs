//! One flight as data: legs with their times, computed when it begins.

mod chain;

use std::time::Duration;

use base::Timestamp;
use contracts::{Location, drone_management::DronePhase};
use fleet_rules::{Airframe, HAIR, Rules};
use serde::{Deserialize, Serialize};

use super::trip::Trip;

/// A part of a flight in one phase.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Leg {
    pub(crate) phase: DronePhase,
    pub(crate) from: Location,
    pub(crate) to: Location,
    pub(crate) starts: Timestamp,
    pub(crate) ends: Timestamp,
    pub(crate) battery_from: f64,
    pub(crate) battery_to: f64,
}

/// A flight from where a drone is until it has landed on its base.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Flight {
    /// The delivery that it serves; none once it was called back.
    pub(crate) delivery_id: Option<String>,
    /// In the order of their times, without gaps; at least one.
    #[serde(with = "chain")]
    pub(crate) legs: Vec<Leg>,
    /// How many of them were announced.
    pub(crate) reached: usize,
    /// When the time in the air began.
    pub(crate) took_off: Timestamp,
    /// W3C trace context of what caused it.
    pub(crate) trace: Option<String>,
}

/// What a flight was for whoever pays.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Service {
    pub(crate) delivery_id: String,
    pub(crate) metres: f64,
    pub(crate) seconds: f64,
}

/// Where a flight begins, and whose it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Departure<'a> {
    pub(crate) from: Location,
    pub(crate) battery: f64,
    pub(crate) now: Timestamp,
    pub(crate) base: Location,
    pub(crate) airframe: &'a Airframe,
    pub(crate) rules: &'a Rules,
}

impl Service {
    /// The same, with the way home.
    pub(crate) fn and_home(self, metres: f64, leaves: Timestamp, lands: Timestamp) -> Self {
        let seconds = lands.saturating_since(leaves).as_secs_f64();
        Self { metres: self.metres + metres, seconds: self.seconds + seconds, ..self }
    }
}

impl Leg {
    /// Share of the leg that is over.
    fn share(&self, now: Timestamp) -> f64 {
        let whole = self.ends.saturating_since(self.starts).as_secs_f64();
        let over = now.saturating_since(self.starts).as_secs_f64();
        if whole > 0.0 { (over / whole).min(1.0) } else { 1.0 }
    }

    fn metres(&self) -> f64 {
        self.from.distance_m(&self.to)
    }

    fn position(&self, now: Timestamp, rules: &Rules) -> Location {
        let share = self.share(now);
        let point = self.from.toward(&self.to, share);
        // Ends stand on the ground; between them it is up.
        let flies = self.phase.is_moving() && share > 0.0 && share < 1.0;
        Location { altitude: if flies { rules.cruise_altitude_m } else { 0.0 }, ..point }
    }

    fn battery(&self, now: Timestamp) -> f64 {
        (self.battery_to - self.battery_from).mul_add(self.share(now), self.battery_from)
    }
}

/// Writes legs one after the other.
struct Pen<'a> {
    departure: Departure<'a>,
    at: Location,
    battery: f64,
    now: Timestamp,
    legs: Vec<Leg>,
}

impl<'a> Pen<'a> {
    fn new(departure: Departure<'a>) -> Self {
        let Departure { from, battery, now, .. } = departure;
        let at = Location { altitude: 0.0, ..from };
        Self { departure, at, battery, now, legs: Vec::with_capacity(8) }
    }

    fn leg(&mut self, phase: DronePhase, to: Location, ends: Timestamp, battery_to: f64) {
        let to = Location { altitude: 0.0, ..to };
        let (from, starts, battery_from) = (self.at, self.now, self.battery);
        self.legs.push(Leg { phase, from, to, starts, ends, battery_from, battery_to });
        (self.at, self.now, self.battery) = (to, ends, battery_to);
    }

    fn fly(&mut self, phase: DronePhase, to: Location, load_kg: f64) {
        let Departure { airframe, rules, .. } = self.departure;
        let metres = self.at.distance_m(&to);
        let ends = self.now + rules.time_for(metres);
        let battery = self.battery - rules.flight_energy(airframe, metres, load_kg);
        self.leg(phase, to, ends, battery.max(0.0));
    }

    fn stay(&mut self, phase: DronePhase, time: Duration) {
        let Departure { airframe, rules, .. } = self.departure;
        let battery = self.battery - rules.dwell_energy(airframe, time);
        let (here, ends) = (self.at, self.now + time);
        self.leg(phase, here, ends, battery.max(0.0));
    }

    fn serve(&mut self, trip: &Trip) {
        let (dwell, handling) = (self.departure.rules.dwell, self.departure.rules.handling);
        self.fly(DronePhase::EnRouteToPickup, trip.pickup, 0.0);
        self.stay(DronePhase::AtPickup, dwell);
        self.stay(DronePhase::PickedUp, handling);
        self.fly(DronePhase::EnRouteToDropoff, trip.dropoff, trip.weight_kg);
        self.stay(DronePhase::AtDropoff, dwell);
        self.stay(DronePhase::DroppedOff, handling);
        self.fly(DronePhase::Returning, self.departure.base, 0.0);
    }

    fn finish(self, delivery_id: Option<String>, trace: Option<String>) -> Flight {
        let took_off = self.departure.now;
        Flight { delivery_id, legs: self.legs, reached: 0, took_off, trace }
    }
}

impl Flight {
    /// A flight that serves a delivery, from where the drone is, at once.
    pub(crate) fn serving(
        delivery_id: String,
        trip: &Trip,
        departure: Departure<'_>,
        trace: Option<String>,
    ) -> Self {
        let mut pen = Pen::new(departure);
        pen.serve(trip);
        pen.finish(Some(delivery_id), trace)
    }

    /// The way home of a flight that was called back.
    pub(crate) fn returning(departure: Departure<'_>, trace: Option<String>) -> Self {
        let base = departure.base;
        let mut pen = Pen::new(departure);
        pen.fly(DronePhase::Returning, base, 0.0);
        pen.finish(None, trace)
    }

    /// Whether it lands with the reserve that the rules ask for.
    pub(crate) fn keeps_reserve(&self, rules: &Rules) -> bool {
        self.legs.iter().all(|it| it.battery_to + HAIR >= rules.reserve)
    }

    /// The zone that one of its legs crosses.
    pub(crate) fn zone<'a>(&self, rules: &'a Rules) -> Option<&'a str> {
        let crossed = |it: &Leg| rules.zone_between(&it.from, &it.to);
        self.legs.iter().find_map(crossed).map(|it| it.name.as_str())
    }

    /// The leg that was announced last.
    fn current(&self) -> Option<&Leg> {
        self.legs.get(self.reached.checked_sub(1)?)
    }

    /// Where it is. Never ahead of what was announced.
    pub(crate) fn position(&self, now: Timestamp, rules: &Rules) -> Location {
        match self.current() {
            Some(leg) => leg.position(now, rules),
            None => self.legs.first().map_or_else(Location::default, |it| it.from),
        }
    }

    /// What is left in the battery.
    pub(crate) fn battery(&self, now: Timestamp) -> f64 {
        match self.current() {
            Some(leg) => leg.battery(now),
            None => self.legs.first().map_or(0.0, |it| it.battery_from),
        }
    }

    /// When the next phase is due: the next leg, or the landing.
    pub(crate) fn due(&self) -> Timestamp {
        self.legs.get(self.reached).map_or_else(|| self.ends(), |it| it.starts)
    }

    /// When it lands.
    pub(crate) fn ends(&self) -> Timestamp {
        self.legs.last().map_or(self.took_off, |it| it.ends)
    }

    /// What is left in the battery then.
    pub(crate) fn lands_with(&self) -> f64 {
        self.legs.last().map_or(0.0, |it| it.battery_to)
    }

    /// The next leg is reached; `None` when there is none left and it lands.
    pub(crate) fn reach_next(&mut self) -> Option<Leg> {
        let leg = self.legs.get(self.reached).copied()?;
        self.reached += 1;
        Some(leg)
    }

    /// The delivery that a leg of this phase serves.
    pub(crate) fn serves(&self, phase: DronePhase) -> Option<&str> {
        self.delivery_id.as_deref().filter(|_| phase.is_service())
    }

    /// When the package is expected to be fetched, and to be at the drop-off.
    pub(crate) fn expected(&self) -> (Option<Timestamp>, Option<Timestamp>) {
        let start = |phase| self.legs.iter().find(|it| it.phase == phase).map(|it| it.starts);
        (start(DronePhase::AtPickup), start(DronePhase::AtDropoff))
    }

    /// Whether the phase that follows ends the service of the delivery.
    pub(crate) fn service_ends_with(&self, leg: &Leg) -> Option<Service> {
        let delivered = leg.phase == DronePhase::Returning
            && self.reached.checked_sub(2).and_then(|it| self.legs.get(it)).map(|it| it.phase)
                == Some(DronePhase::DroppedOff);
        let delivery_id = self.delivery_id.clone().filter(|_| delivered)?;
        Some(Service { delivery_id, metres: self.metres(), seconds: self.seconds_in_service() })
    }

    /// Metres of all its legs.
    pub(crate) fn metres(&self) -> f64 {
        self.legs.iter().map(Leg::metres).sum()
    }

    /// What was flown for the delivery up to now.
    pub(crate) fn service_until(&self, now: Timestamp) -> Option<Service> {
        let flown = self.legs.iter().take(self.reached);
        Some(Service {
            delivery_id: self.delivery_id.clone()?,
            metres: flown.map(|it| it.metres() * it.share(now)).sum(),
            seconds: now.saturating_since(self.took_off).as_secs_f64(),
        })
    }

    /// Seconds from take-off to landing.
    fn seconds_in_service(&self) -> f64 {
        self.ends().saturating_since(self.took_off).as_secs_f64()
    }
}

/// Words about phases that only the fleet's own rules need.
pub(crate) trait PhaseRules {
    /// Whether the drone works for a delivery.
    fn is_service(&self) -> bool;
    /// Whether the package is on board, or was.
    fn is_past_pickup(&self) -> bool;
    /// Whether it is away from its base.
    fn is_airborne(&self) -> bool;
    /// Whether it moves.
    fn is_moving(&self) -> bool;
}

impl PhaseRules for DronePhase {
    fn is_service(&self) -> bool {
        match self {
            Self::Assigned
            | Self::EnRouteToPickup
            | Self::AtPickup
            | Self::PickedUp
            | Self::EnRouteToDropoff
            | Self::AtDropoff
            | Self::DroppedOff => true,
            Self::Idle | Self::Returning | Self::Charging | Self::Failed => false,
        }
    }

    fn is_past_pickup(&self) -> bool {
        match self {
            Self::PickedUp | Self::EnRouteToDropoff | Self::AtDropoff | Self::DroppedOff => true,
            Self::Assigned
            | Self::EnRouteToPickup
            | Self::AtPickup
            | Self::Idle
            | Self::Returning
            | Self::Charging
            | Self::Failed => false,
        }
    }

    fn is_airborne(&self) -> bool {
        match self {
            Self::EnRouteToPickup
            | Self::AtPickup
            | Self::PickedUp
            | Self::EnRouteToDropoff
            | Self::AtDropoff
            | Self::DroppedOff
            | Self::Returning => true,
            Self::Idle | Self::Assigned | Self::Charging | Self::Failed => false,
        }
    }

    fn is_moving(&self) -> bool {
        match self {
            Self::EnRouteToPickup | Self::EnRouteToDropoff | Self::Returning => true,
            Self::Idle
            | Self::Assigned
            | Self::AtPickup
            | Self::PickedUp
            | Self::AtDropoff
            | Self::DroppedOff
            | Self::Charging
            | Self::Failed => false,
        }
    }
}
