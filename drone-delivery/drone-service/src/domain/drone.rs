//! One drone: booked, sent, called back, moved on by time, taken out and put back.

use base::Timestamp;
use contracts::{Location, drone_management::DronePhase};
use serde::{Deserialize, Serialize};

use super::{
    airframe::{Airframe, HAIR, Rules},
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
    /// Waits on its base and its charger for the delivery to be made.
    Booked {
        delivery_id: String,
        battery: f64,
        since: Timestamp,
        /// W3C trace context of the booking.
        trace: Option<String>,
    },
    /// On its way, or waits for the time to take off.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChangeError {
    /// The package is on board, or was.
    #[error("the package has been picked up")]
    PickedUp,
    /// It is not free.
    #[error("the drone is busy")]
    Busy,
    /// It cannot fly that trip.
    #[error("the drone that is booked cannot fly this trip")]
    Infeasible,
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
            Activity::Based { .. } | Activity::Booked { .. } => self.base,
            Activity::Flying(flight) => flight.position(now, rules),
            Activity::Failed { position, .. } => *position,
        }
    }

    /// What is left in its battery, 0 to 1.
    pub(crate) fn battery(&self, now: Timestamp, rules: &Rules) -> f64 {
        match &self.activity {
            Activity::Based { battery, since } | Activity::Booked { battery, since, .. } => {
                rules.charged(*battery, now.saturating_since(*since))
            }
            Activity::Flying(flight) => flight.battery(now, rules),
            Activity::Failed { battery, .. } => *battery,
        }
    }

    /// The delivery that it works for.
    pub(crate) fn delivery_id(&self) -> Option<&str> {
        match &self.activity {
            Activity::Booked { delivery_id, .. } => Some(delivery_id),
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

    /// Whether it could serve the trip with a full battery.
    pub(crate) fn can_ever_serve(&self, trip: &Trip, rules: &Rules) -> bool {
        self.airframe.carries(trip.weight_kg)
            && trip.battery(&self.base, &self.airframe, rules) <= 1.0 - rules.reserve + HAIR
    }

    /// Whether it is free and could take off now.
    pub(crate) fn can_serve(&self, trip: &Trip, now: Timestamp, rules: &Rules) -> bool {
        let left = self.battery(now, rules) - rules.reserve + HAIR;
        self.is_free()
            && self.airframe.carries(trip.weight_kg)
            && trip.battery(&self.base, &self.airframe, rules) <= left
    }

    /// When its next phase is due, without anybody telling it.
    pub(crate) fn due(&self, rules: &Rules) -> Option<Timestamp> {
        match &self.activity {
            Activity::Based { battery, since } if self.phase == DronePhase::Charging => {
                Some(*since + rules.time_to_ready(*battery))
            }
            Activity::Flying(flight) => Some(flight.due()),
            Activity::Based { .. } | Activity::Booked { .. } | Activity::Failed { .. } => None,
        }
    }

    /// Books it for a delivery. It stays where it is until [`send`](Self::send).
    pub(crate) fn book(
        &mut self,
        delivery_id: String,
        now: Timestamp,
        rules: &Rules,
        trace: Option<String>,
    ) -> Result<PhaseChange, ChangeError> {
        if !self.is_free() {
            return Err(ChangeError::Busy);
        }
        let battery = self.battery(now, rules);
        self.activity = Activity::Booked { delivery_id, battery, since: now, trace };
        Ok(self.reach(DronePhase::Assigned, now, rules))
    }

    /// The delivery was made: the flight is planned. Gives whether anything changed; a repeated
    /// message changes nothing.
    pub(crate) fn send(
        &mut self,
        trip: &Trip,
        now: Timestamp,
        rules: &Rules,
        trace: Option<String>,
    ) -> bool {
        let Activity::Booked { delivery_id, trace: booked, .. } = &self.activity else {
            return false;
        };
        let (delivery_id, trace) = (delivery_id.clone(), trace.or_else(|| booked.clone()));
        let departure = self.departure(now, rules);
        let flight = Flight::serving(delivery_id, trip, departure, false, trace);
        self.activity = Activity::Flying(flight);
        true
    }

    /// Gives its delivery another trip. Possible until the package is picked up, if it can fly it.
    pub(crate) fn reroute(
        &mut self,
        trip: &Trip,
        now: Timestamp,
        rules: &Rules,
    ) -> Result<(), ChangeError> {
        if self.is_past_pickup() {
            return Err(ChangeError::PickedUp);
        }
        if !self.airframe.carries(trip.weight_kg) {
            return Err(ChangeError::Infeasible);
        }
        let (delivery_id, trace, is_planned) = match &self.activity {
            Activity::Booked { delivery_id, trace, .. } => (delivery_id, trace, false),
            Activity::Flying(Flight { delivery_id: Some(id), trace, .. }) => (id, trace, true),
            Activity::Flying(_) | Activity::Based { .. } | Activity::Failed { .. } => {
                return Err(ChangeError::Busy);
            }
        };
        let departure = self.departure(now, rules);
        let airborne = self.is_airborne();
        let flight = Flight::serving(delivery_id.clone(), trip, departure, airborne, trace.clone());
        if !flight.keeps_reserve(rules) {
            return Err(ChangeError::Infeasible);
        }
        if is_planned {
            self.activity = Activity::Flying(flight);
        }
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
            Activity::Based { .. } | Activity::Booked { .. } | Activity::Failed { .. } => None,
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

    /// An operator takes it out, whatever it does; the delivery that it served is named.
    pub(crate) fn fail(&mut self, now: Timestamp, rules: &Rules) -> PhaseChange {
        let (delivery_id, trace) =
            (self.delivery_id().map(str::to_owned), self.trace().map(str::to_owned));
        let (position, battery) = (self.position(now, rules), self.battery(now, rules));
        self.activity = Activity::Failed { position, battery };
        let change = self.reach(DronePhase::Failed, now, rules);
        PhaseChange { delivery_id, trace, ..change }
    }

    /// An operator puts it back: on its base, with a full battery.
    pub(crate) fn repair(&mut self, now: Timestamp, rules: &Rules) -> PhaseChange {
        self.settle(1.0, now, rules)
    }

    /// The trace that its work belongs to.
    fn trace(&self) -> Option<&str> {
        match &self.activity {
            Activity::Booked { trace, .. } | Activity::Flying(Flight { trace, .. }) => {
                trace.as_deref()
            }
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
            Activity::Flying(_)
            | Activity::Based { .. }
            | Activity::Booked { .. }
            | Activity::Failed { .. } => (None, None),
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
mod tests {
    use super::{
        super::airframe::tests::{AIRFRAME, RULES},
        *,
    };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn drone() -> Drone {
        Drone::new("drone-0001".to_owned(), Location::new(60.17, 24.94), AIRFRAME, at(0))
    }

    fn trip() -> Trip {
        Trip {
            pickup: Location::new(60.172, 24.945),
            dropoff: Location::new(60.165, 24.935),
            pickup_time: None,
            weight_kg: 5.0,
        }
    }

    fn sent(trip: &Trip) -> Drone {
        let mut drone = drone();
        drone.book("d1".to_owned(), at(0), &RULES, None).unwrap();
        assert!(drone.send(trip, at(0), &RULES, None));
        drone
    }

    fn phases(changes: &[PhaseChange]) -> Vec<DronePhase> {
        changes.iter().map(|it| it.phase).collect()
    }

    /// The drone at the moment when it reached a phase.
    fn at_phase(trip: &Trip, phase: DronePhase) -> (Drone, Timestamp) {
        let mut drone = sent(trip);
        while drone.phase != phase {
            let due = drone.due(&RULES).expect("the phase is on the way");
            drone.advance(due, &RULES);
        }
        let now = drone.due(&RULES).map_or(at(0), |it| it);
        (drone, Timestamp::from_millis(now.as_millis() - 1_000))
    }

    #[test]
    fn a_flight_goes_through_every_phase_in_the_article_s_order() {
        let mut drone = sent(&trip());
        let changes = drone.advance(at(86_400), &RULES);
        assert_eq!(
            phases(&changes),
            [
                DronePhase::EnRouteToPickup,
                DronePhase::AtPickup,
                DronePhase::PickedUp,
                DronePhase::EnRouteToDropoff,
                DronePhase::AtDropoff,
                DronePhase::DroppedOff,
                DronePhase::Returning,
                DronePhase::Idle,
            ]
        );
        let served = changes[6].served.as_ref().unwrap();
        assert_eq!(served.delivery_id, "d1");
        assert!(served.metres > 1_500.0 && served.seconds > 100.0, "{served:?}");
        assert!(drone.is_free());
        let sequences: Vec<_> = changes.iter().map(|it| it.sequence).collect();
        assert_eq!(sequences, [2, 3, 4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn it_is_where_the_plan_says_and_the_times_add_up() {
        let (drone, _) = at_phase(&trip(), DronePhase::AtPickup);
        let now = drone.due(&RULES).unwrap();
        assert!(drone.position(now, &RULES).distance_m(&trip().pickup) < 0.1);
        let metres = drone.base.distance_m(&trip().pickup);
        let expected = metres / RULES.cruise_speed_mps + RULES.dwell.as_secs_f64();
        let took = now.saturating_since(at(0)).as_secs_f64();
        assert!((took - expected).abs() < 0.01, "{took} {expected}");
    }

    #[test]
    fn it_waits_on_its_base_until_the_pickup_time() {
        let far = Timestamp::parse("2099-01-01T00:00:00Z").unwrap();
        let later = Trip { pickup_time: Some(far), ..trip() };
        let mut drone = sent(&later);
        let changes = drone.advance(at(1_000_000), &RULES);
        assert_eq!(phases(&changes), [DronePhase::Assigned]);
        assert!(changes[0].pickup_eta.unwrap() > far);
        assert_eq!(drone.due(&RULES), Some(far));
        assert_eq!(drone.release(at(2_000_000), &RULES).unwrap().phase, DronePhase::Idle);
    }

    #[test]
    fn a_release_in_flight_flies_home_from_where_it_is() {
        let (mut drone, now) = at_phase(&trip(), DronePhase::EnRouteToPickup);
        let away = drone.position(now, &RULES);
        assert!(away.distance_m(&drone.base) > 10.0);
        let change = drone.release(now, &RULES).unwrap();
        assert_eq!((change.phase, change.delivery_id), (DronePhase::Returning, None));
        assert!(change.position.distance_m(&away) < 1.0);
        let flown = change.served.unwrap().metres;
        assert!((flown - 2.0 * away.distance_m(&drone.base)).abs() < 1.0, "{flown}");
        assert_eq!(phases(&drone.advance(at(86_400), &RULES)), [DronePhase::Idle]);
        assert!(drone.is_free());
    }

    #[test]
    fn nothing_calls_it_back_once_the_package_is_on_board() {
        for phase in [DronePhase::PickedUp, DronePhase::EnRouteToDropoff, DronePhase::DroppedOff] {
            let (mut drone, now) = at_phase(&trip(), phase);
            assert_eq!(drone.release(now, &RULES), Err(ChangeError::PickedUp));
            assert_eq!(drone.reroute(&trip(), now, &RULES), Err(ChangeError::PickedUp));
        }
    }

    #[test]
    fn a_reroute_in_flight_goes_to_the_new_place_and_numbers_go_on() {
        let (mut drone, now) = at_phase(&trip(), DronePhase::EnRouteToPickup);
        let before = drone.sequence;
        let other = Trip { pickup: Location::new(60.165, 24.93), ..trip() };
        drone.reroute(&other, now, &RULES).unwrap();
        let changes = drone.advance(at(86_400), &RULES);
        assert_eq!(changes[0].sequence, before + 1);
        assert!(changes[1].position.distance_m(&other.pickup) < 0.1);
        assert_eq!(changes.last().unwrap().phase, DronePhase::Idle);
    }

    #[test]
    fn a_reroute_to_a_later_day_goes_home_and_waits_there() {
        let (mut drone, now) = at_phase(&trip(), DronePhase::EnRouteToPickup);
        let later = Trip { pickup_time: Some(at(90_000)), ..trip() };
        drone.reroute(&later, now, &RULES).unwrap();
        let changes = drone.advance(at(90_000), &RULES);
        let expected = [DronePhase::Returning, DronePhase::Assigned, DronePhase::EnRouteToPickup];
        assert_eq!(phases(&changes), expected);
        assert_eq!(changes[2].at, at(90_000));
        assert_eq!(changes[1].delivery_id.as_deref(), Some("d1"));
    }

    #[test]
    fn a_reroute_that_the_drone_cannot_fly_changes_nothing() {
        let mut drone = sent(&trip());
        let before = drone.clone();
        let far = Trip { dropoff: Location::new(60.3172, 24.9633), ..trip() };
        assert_eq!(drone.reroute(&far, at(1), &RULES), Err(ChangeError::Infeasible));
        let heavy = Trip { weight_kg: 26.0, ..trip() };
        assert_eq!(drone.reroute(&heavy, at(1), &RULES), Err(ChangeError::Infeasible));
        assert_eq!(drone, before);
    }

    #[test]
    fn an_empty_drone_charges_before_it_is_idle() {
        let long = Trip { dropoff: Location::new(60.245, 24.94), ..trip() };
        let mut drone = sent(&long);
        let changes = drone.advance(at(86_400), &RULES);
        let last = &phases(&changes)[6..];
        assert_eq!(last, [DronePhase::Returning, DronePhase::Charging, DronePhase::Idle]);
        assert!(changes[7].battery < RULES.ready_battery);
        assert!(changes[8].battery >= RULES.ready_battery);
    }

    #[test]
    fn what_is_out_of_reach_or_too_heavy_is_never_served() {
        let airport = Trip { dropoff: Location::new(60.3172, 24.9633), ..trip() };
        assert!(!drone().can_ever_serve(&airport, &RULES));
        assert!(!drone().can_ever_serve(&Trip { weight_kg: 30.0, ..trip() }, &RULES));
        assert!(drone().can_ever_serve(&trip(), &RULES));
    }

    #[test]
    fn a_drone_that_just_landed_is_not_sent_far_before_it_has_charged() {
        let long = Trip { dropoff: Location::new(60.245, 24.94), ..trip() };
        let mut drone = sent(&long);
        while !drone.is_free() {
            let due = drone.due(&RULES).unwrap();
            drone.advance(due, &RULES);
        }
        let Activity::Based { since: landed, .. } = drone.activity else { panic!("it landed") };
        assert!(!drone.can_serve(&long, landed, &RULES));
        assert!(drone.can_serve(&trip(), landed, &RULES), "a short trip is within what is left");
        assert!(drone.can_serve(&long, landed + RULES.full_charge, &RULES));
    }

    #[test]
    fn a_drone_that_fails_in_flight_names_its_delivery_and_can_be_repaired() {
        let (mut drone, now) = at_phase(&trip(), DronePhase::EnRouteToDropoff);
        let change = drone.fail(now, &RULES);
        assert_eq!(change.phase, DronePhase::Failed);
        assert_eq!(change.delivery_id.as_deref(), Some("d1"));
        assert_eq!((drone.due(&RULES), drone.is_free()), (None, false));
        assert_eq!(drone.repair(now, &RULES).phase, DronePhase::Idle);
        assert!(drone.can_serve(&trip(), now, &RULES));
    }

    #[test]
    fn a_repeated_message_sends_it_once() {
        let mut drone = sent(&trip());
        let before = drone.clone();
        assert!(!drone.send(&trip(), at(5), &RULES, None));
        assert_eq!(drone, before);
    }
}
