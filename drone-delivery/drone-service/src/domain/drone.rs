//! One drone: sent, called back, moved on by time, taken out and put back.
//!
//! Whom it flies for next is the plan's; a drone knows only what it does now.

use base::Timestamp;
use contracts::{Location, drone_management::DronePhase};
use fleet_rules::{Airframe, CannotFly, Rules};
use serde::{Deserialize, Serialize};

use super::{
    flight::{Departure, Flight, PhaseRules as _, Service},
    trip::Trip,
};

/// What a drone is busy with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Activity {
    /// Free, on its base and its charger.
    Based {
        /// What the battery held then.
        battery: f64,
        /// When that was.
        since: Timestamp,
    },
    /// On its way.
    Flying(Flight),
    /// An operator took it out.
    Failed { position: Location, battery: f64 },
}

/// A drone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Drone {
    pub(crate) id: String,
    pub(crate) base: Location,
    pub(crate) airframe: Airframe,
    /// The phase that was announced last.
    pub(crate) phase: DronePhase,
    /// Numbers the announcements.
    pub(crate) sequence: u64,
    pub(crate) activity: Activity,
}

/// A phase that a drone reached: to be announced.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PhaseChange {
    pub(crate) delivery_id: Option<String>,
    pub(crate) phase: DronePhase,
    pub(crate) position: Location,
    pub(crate) battery: f64,
    pub(crate) sequence: u64,
    pub(crate) at: Timestamp,
    pub(crate) pickup_eta: Option<Timestamp>,
    pub(crate) delivery_eta: Option<Timestamp>,
    pub(crate) trace: Option<String>,
    /// Set when this phase ends the service of a delivery.
    pub(crate) served: Option<Service>,
}

/// Why a drone did not do what it was told.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum ChangeError {
    /// The package is on board, or was.
    #[error("the package has been picked up")]
    PickedUp,
    /// It is not free.
    #[error("the drone is busy")]
    Busy,
    /// It cannot fly that trip from where it is.
    #[error("the drone cannot fly this trip: {0}")]
    Infeasible(CannotFly),
    /// It would be there before the time that is asked for.
    #[error("the drone would be there too early")]
    TooEarly,
}

impl Drone {
    /// A full drone on its base.
    pub(crate) fn new(id: String, base: Location, airframe: Airframe, now: Timestamp) -> Self {
        let activity = Activity::Based { battery: 1.0, since: now };
        Self { id, base, airframe, phase: DronePhase::Idle, sequence: 0, activity }
    }

    /// Where it is.
    pub(crate) fn position(&self, now: Timestamp, rules: &Rules) -> Location {
        match &self.activity {
            Activity::Based { .. } => self.base,
            Activity::Flying(flight) => flight.position(now, rules),
            Activity::Failed { position, .. } => *position,
        }
    }

    /// What is left in its battery, 0 to 1.
    pub(crate) fn battery(&self, now: Timestamp, rules: &Rules) -> f64 {
        match &self.activity {
            Activity::Based { battery, since } => {
                rules.charged(*battery, now.saturating_since(*since))
            }
            Activity::Flying(flight) => flight.battery(now),
            Activity::Failed { battery, .. } => *battery,
        }
    }

    /// The delivery that it works for.
    pub(crate) fn delivery_id(&self) -> Option<&str> {
        match &self.activity {
            Activity::Flying(flight) => flight.serves(self.phase),
            Activity::Based { .. } | Activity::Failed { .. } => None,
        }
    }

    /// Whether it could be booked at all.
    pub(crate) const fn is_free(&self) -> bool {
        matches!(self.activity, Activity::Based { .. })
    }

    /// Whether nobody relies on what it is: free on its base, or taken out.
    pub(crate) const fn is_idle(&self) -> bool {
        matches!(self.activity, Activity::Based { .. } | Activity::Failed { .. })
    }

    /// When the package of its flight is expected to be fetched, and to be at the drop-off.
    pub(crate) fn expected(&self) -> Option<(Timestamp, Timestamp)> {
        match &self.activity {
            Activity::Flying(flight) => flight.expected().0.zip(flight.expected().1),
            Activity::Based { .. } | Activity::Failed { .. } => None,
        }
    }

    /// Whether it is away from its base.
    pub(crate) fn is_airborne(&self) -> bool {
        self.phase.is_airborne()
    }

    /// Whether it moves: then it has a position worth telling.
    pub(crate) fn is_moving(&self) -> bool {
        self.phase.is_moving()
    }

    /// Whether the package is on board, or was.
    pub(crate) fn is_past_pickup(&self) -> bool {
        self.phase.is_past_pickup()
    }

    /// When it stands on its base with a full battery after what it does now; none out of service.
    pub(crate) fn free_from(&self, rules: &Rules) -> Option<Timestamp> {
        match &self.activity {
            Activity::Based { battery, since } => Some(*since + rules.time_to_full(*battery)),
            Activity::Flying(flight) => {
                Some(flight.ends() + rules.time_to_full(flight.lands_with()))
            }
            Activity::Failed { .. } => None,
        }
    }

    /// When its next phase is due, without anybody telling it.
    pub(crate) fn due(&self, rules: &Rules) -> Option<Timestamp> {
        match &self.activity {
            Activity::Based { battery, since } if self.phase == DronePhase::Charging => {
                Some(*since + rules.time_to_ready(*battery))
            }
            Activity::Flying(flight) => Some(flight.due()),
            Activity::Based { .. } | Activity::Failed { .. } => None,
        }
    }

    /// Sends it off for a delivery: the flight is planned from now on.
    pub(crate) fn take_off(
        &mut self,
        delivery_id: String,
        trip: &Trip,
        now: Timestamp,
        rules: &Rules,
        trace: Option<String>,
    ) -> Result<(), ChangeError> {
        if !self.is_free() {
            return Err(ChangeError::Busy);
        }
        let flight = Flight::serving(delivery_id, trip, self.departure(now, rules), trace);
        self.check(&flight, trip, rules)?;
        self.activity = Activity::Flying(flight);
        Ok(())
    }

    /// Whether it can fly all of that, over no zone, and lands with the reserve.
    fn check(&self, flight: &Flight, trip: &Trip, rules: &Rules) -> Result<(), ChangeError> {
        let payload_kg = self.airframe.payload_kg;
        let cannot = if !self.airframe.carries(trip.weight_kg) {
            CannotFly::TooHeavy { payload_kg }
        } else if let Some(zone) = flight.zone(rules) {
            CannotFly::NoFly { zone: zone.to_owned() }
        } else if !flight.keeps_reserve(rules) {
            CannotFly::OutOfReach
        } else {
            return Ok(());
        };
        Err(ChangeError::Infeasible(cannot))
    }

    /// Gives its delivery another trip, in flight. Possible until the package is picked up, if it
    /// can fly it from where it is and is not there before `not_before`.
    pub(crate) fn reroute(
        &mut self,
        trip: &Trip,
        not_before: Timestamp,
        now: Timestamp,
        rules: &Rules,
    ) -> Result<(), ChangeError> {
        if self.is_past_pickup() {
            return Err(ChangeError::PickedUp);
        }
        // On its way home it serves nobody any more.
        let Some(id) = self.delivery_id().map(str::to_owned) else {
            return Err(ChangeError::Busy);
        };
        let (departure, trace) = (self.departure(now, rules), self.trace().map(str::to_owned));
        let flight = Flight::serving(id, trip, departure, trace);
        self.check(&flight, trip, rules)?;
        if flight.expected().0.is_some_and(|it| it < not_before) {
            return Err(ChangeError::TooEarly);
        }
        self.activity = Activity::Flying(flight);
        Ok(())
    }

    /// Calls it back. Possible until the package is picked up; one in the air flies home.
    pub(crate) fn release(
        &mut self,
        now: Timestamp,
        rules: &Rules,
    ) -> Result<PhaseChange, ChangeError> {
        if self.is_past_pickup() {
            return Err(ChangeError::PickedUp);
        }
        let trace = self.trace().map(str::to_owned);
        if !self.is_airborne() {
            let battery = self.battery(now, rules);
            let mut change = self.settle(battery, now, rules);
            change.trace = trace;
            return Ok(change);
        }
        let served = self.flown_until(now);
        let flight = Flight::returning(self.departure(now, rules), trace);
        let home = (flight.metres(), flight.ends());
        self.activity = Activity::Flying(flight);
        let change = self.step(now, rules);
        let served = served.map(|it| it.and_home(home.0, now, home.1));
        Ok(PhaseChange { served, ..change })
    }

    /// What it flew for its delivery up to now.
    fn flown_until(&self, now: Timestamp) -> Option<Service> {
        match &self.activity {
            Activity::Flying(flight) => flight.service_until(now),
            Activity::Based { .. } | Activity::Failed { .. } => None,
        }
    }

    /// Reaches every phase that is due, oldest first.
    pub(crate) fn advance(&mut self, now: Timestamp, rules: &Rules) -> Vec<PhaseChange> {
        let mut changes = Vec::new();
        while let Some(due) = self.due(rules).filter(|it| *it <= now) {
            changes.push(self.step(due, rules));
        }
        changes
    }

    /// An operator takes it out, whatever it does; a delivery whose package it has is named.
    pub(crate) fn fail(&mut self, now: Timestamp, rules: &Rules) -> PhaseChange {
        let lost = self.delivery_id().filter(|_| self.is_past_pickup());
        let (delivery_id, trace) = (lost.map(str::to_owned), self.trace().map(str::to_owned));
        let (position, battery) = (self.position(now, rules), self.battery(now, rules));
        self.activity = Activity::Failed { position, battery };
        let change = self.reach(DronePhase::Failed, now, rules);
        PhaseChange { delivery_id, trace, ..change }
    }

    /// An operator puts it back: on its base and its charger, with what its battery held.
    pub(crate) fn repair(&mut self, now: Timestamp, rules: &Rules) -> PhaseChange {
        let battery = self.battery(now, rules);
        self.settle(battery, now, rules)
    }

    /// The trace that its work belongs to.
    fn trace(&self) -> Option<&str> {
        match &self.activity {
            Activity::Flying(Flight { trace, .. }) => trace.as_deref(),
            Activity::Based { .. } | Activity::Failed { .. } => None,
        }
    }

    fn departure<'a>(&'a self, now: Timestamp, rules: &'a Rules) -> Departure<'a> {
        Departure {
            from: self.position(now, rules),
            battery: self.battery(now, rules),
            now,
            base: self.base,
            airframe: &self.airframe,
            rules,
        }
    }

    /// The phase that is due is reached.
    fn step(&mut self, due: Timestamp, rules: &Rules) -> PhaseChange {
        let Activity::Flying(flight) = &mut self.activity else {
            let battery = self.battery(due, rules);
            return self.settle(battery, due, rules);
        };
        if let Some(leg) = flight.reach_next() {
            let served = flight.service_ends_with(&leg);
            let change = self.reach(leg.phase, leg.starts, rules);
            // A leg of no length would otherwise be announced where it ends.
            return PhaseChange { served, position: leg.from, ..change };
        }
        let (battery, trace) = (flight.lands_with(), flight.trace.clone());
        let change = self.settle(battery, due, rules);
        PhaseChange { trace, ..change }
    }

    /// It stands on its base and is free.
    fn settle(&mut self, battery: f64, now: Timestamp, rules: &Rules) -> PhaseChange {
        self.activity = Activity::Based { battery, since: now };
        let ready = battery >= rules.ready_battery;
        self.reach(if ready { DronePhase::Idle } else { DronePhase::Charging }, now, rules)
    }

    fn reach(&mut self, phase: DronePhase, at: Timestamp, rules: &Rules) -> PhaseChange {
        self.phase = phase;
        self.sequence += 1;
        let (pickup_eta, delivery_eta) = match &self.activity {
            Activity::Flying(flight) if phase.is_service() => flight.expected(),
            Activity::Flying(_) | Activity::Based { .. } | Activity::Failed { .. } => (None, None),
        };
        PhaseChange {
            delivery_id: self.delivery_id().map(str::to_owned),
            phase,
            position: self.position(at, rules),
            battery: self.battery(at, rules),
            sequence: self.sequence,
            at,
            pickup_eta,
            delivery_eta,
            trace: self.trace().map(str::to_owned),
            served: None,
        }
    }
}

#[cfg(test)]
mod tests;
