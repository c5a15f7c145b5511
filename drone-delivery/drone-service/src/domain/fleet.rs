//! The fleet as one process knows it: what each drone does, what is planned, what is due next.
//!
//! The database is right and this is a copy of it, at most a moment old. Whoever decides reads first
//! what was changed since, inside the transaction that decides: there the copy is exact, so two
//! processes with two copies cannot plan one drone twice.

use std::collections::{BTreeMap, BTreeSet};

use base::Timestamp;
use fleet_rules::Rules;

use super::{
    drone::Drone,
    plan::{Choice, Order, Place, PlanRules, Refusal, Roster},
};

/// A drone with the number of the change that made it what it is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Known {
    pub(crate) drone: Drone,
    /// Grows with every change of any drone.
    pub(crate) changed: u64,
}

/// A booking as it was decided: an order and whose it is, or that it is none any more.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Booked {
    pub(crate) delivery_id: String,
    /// None once it took off, was called off or ended.
    pub(crate) waits: Option<(String, Order)>,
    /// Of the same row of numbers as those of drones.
    pub(crate) changed: u64,
}

#[derive(Debug)]
struct Slot {
    known: Known,
    due: Option<Timestamp>,
}

/// Every drone that this process knows, and every order.
#[derive(Debug)]
pub(crate) struct Fleet {
    slots: Vec<Slot>,
    by_id: BTreeMap<String, usize>,
    due: BTreeSet<(Timestamp, usize)>,
    airborne: BTreeSet<usize>,
    roster: Roster,
    seen: u64,
}

impl Fleet {
    pub(crate) const fn new(plan: PlanRules) -> Self {
        Self {
            slots: Vec::new(),
            by_id: BTreeMap::new(),
            due: BTreeSet::new(),
            airborne: BTreeSet::new(),
            roster: Roster::new(plan),
            seen: 0,
        }
    }

    /// Forgets everything and takes these in.
    pub(crate) fn replace(
        &mut self,
        all: (Vec<Known>, Vec<Booked>),
        now: Timestamp,
        rules: &Rules,
    ) {
        *self = Self::new(*self.roster.rules());
        self.follow(all, now, rules);
    }

    /// Takes in what was read in the order of its changes: first the drones, then what they fly.
    pub(crate) fn follow(
        &mut self,
        (drones, bookings): (Vec<Known>, Vec<Booked>),
        now: Timestamp,
        rules: &Rules,
    ) {
        for known in drones {
            self.seen = self.seen.max(known.changed);
            self.note(known, rules);
        }
        for booked in bookings {
            self.seen = self.seen.max(booked.changed);
            self.note_booking(booked, now, rules);
        }
        for index in self.roster.refresh(now) {
            self.set_due(index, rules);
        }
    }

    /// The newest change that was read; what came after it is still to be read.
    pub(crate) const fn seen(&self) -> u64 {
        self.seen
    }

    /// Takes in one drone, unless something newer is known.
    pub(crate) fn note(&mut self, known: Known, rules: &Rules) {
        let index = match self.by_id.get(&known.drone.id) {
            Some(index) if self.slots[*index].known.changed >= known.changed => return,
            Some(index) => *index,
            None => self.slots.len(),
        };
        let drone = &known.drone;
        self.roster.set_drone(index, drone.base, drone.airframe, drone.free_from(rules));
        mark(&mut self.airborne, index, drone.is_airborne());
        match self.slots.get_mut(index) {
            Some(slot) => slot.known = known,
            None => {
                self.by_id.insert(known.drone.id.clone(), index);
                self.slots.push(Slot { known, due: None });
            }
        }
        self.set_due(index, rules);
    }

    /// Takes in what became of a booking.
    fn note_booking(&mut self, booked: Booked, now: Timestamp, rules: &Rules) {
        let before = self.roster.drop(&booked.delivery_id);
        let after = booked.waits.and_then(|(drone_id, order)| {
            let index = *self.by_id.get(&drone_id)?;
            self.roster.put(index, order, now, rules);
            Some(index)
        });
        for index in [before, after].into_iter().flatten() {
            self.set_due(index, rules);
        }
    }

    fn set_due(&mut self, index: usize, rules: &Rules) {
        let Some(slot) = self.slots.get(index) else { return };
        let drone = &slot.known.drone;
        let flight = self.roster.lane(index).filter(|_| drone.is_free());
        let flight = flight.and_then(|it| it.next_flight(self.roster.rules().grace));
        let due = [drone.due(rules), flight.map(|it| it.0)].into_iter().flatten().min();
        if slot.due == due {
            return;
        }
        if let Some(old) = slot.due {
            self.due.remove(&(old, index));
        }
        self.due.extend(due.map(|it| (it, index)));
        self.slots[index].due = due;
    }

    /// Which drone flies an order, and when.
    pub(crate) fn choose(
        &self,
        order: &Order,
        now: Timestamp,
        rules: &Rules,
    ) -> Result<(String, Choice), Refusal> {
        let choice = self.roster.choose(order, now, rules)?;
        let slot = self.slots.get(choice.index).ok_or(Refusal::Never(None))?;
        Ok((slot.known.drone.id.clone(), choice))
    }

    /// A drone as it is known.
    pub(crate) fn known(&self, drone_id: &str) -> Option<Known> {
        self.by_id.get(drone_id).and_then(|it| self.slots.get(*it)).map(|it| it.known.clone())
    }

    /// The flight that a drone is to begin by now.
    pub(crate) fn flight_of(&self, drone_id: &str, now: Timestamp) -> Option<Place> {
        let lane = self.roster.lane(*self.by_id.get(drone_id)?)?;
        let (due, place) = lane.next_flight(self.roster.rules().grace)?;
        (due <= now).then(|| place.clone())
    }

    /// What is planned for a drone, with the times of now.
    pub(crate) fn plan_of(&self, drone_id: &str, now: Timestamp) -> Vec<Place> {
        let index = self.by_id.get(drone_id);
        let lane = index.and_then(|it| self.roster.lane(*it));
        lane.map(|it| it.expected(now).collect()).unwrap_or_default()
    }

    /// What is planned for a drone as it was packed: nothing late was moved out of its way.
    #[cfg(test)]
    pub(crate) fn packed_plan_of(&self, drone_id: &str) -> Vec<Place> {
        let index = self.by_id.get(drone_id);
        let lane = index.and_then(|it| self.roster.lane(*it));
        lane.map(|it| it.places().to_vec()).unwrap_or_default()
    }

    /// The place of an order, with the times of now.
    pub(crate) fn place_of(&self, delivery_id: &str, now: Timestamp) -> Option<Place> {
        self.roster.place_of(delivery_id, now).map(|it| it.1)
    }

    /// Every order whose drone cannot fly it any more.
    pub(crate) fn stranded(&self) -> Vec<String> {
        self.roster.stranded().map(|it| it.delivery_id.clone()).collect()
    }

    /// Orders whose times have moved so far that the customer should hear of it, at most so many.
    pub(crate) fn moved(&self, now: Timestamp, orders_max: usize) -> Vec<Place> {
        let lanes = (0..self.slots.len()).filter_map(|it| self.roster.lane(it));
        let places = lanes.filter(|it| !it.places().is_empty()).flat_map(|it| it.expected(now));
        places.filter(|it| it.order.made && has_moved(it, now)).take(orders_max).collect()
    }

    /// How many orders wait.
    pub(crate) fn waiting(&self) -> usize {
        self.roster.orders()
    }

    /// The first moment at which something is due.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|it| it.0)
    }

    /// The drones that have something to do by now, at most so many, the most overdue first.
    pub(crate) fn due(&self, now: Timestamp, drones_max: usize) -> Vec<String> {
        let due = self.due.iter().take_while(|it| it.0 <= now).take(drones_max);
        due.map(|it| self.slots[it.1].known.drone.id.clone()).collect()
    }

    /// The drones in the air, in a fixed order, from one place of that order on, once around.
    pub(crate) fn airborne_from(&self, place: usize) -> impl Iterator<Item = (usize, &Drone)> {
        let (before, after) = (self.airborne.range(..place), self.airborne.range(place..));
        after.chain(before).map(|index| (*index, &self.slots[*index].known.drone))
    }

    /// How many are in the air.
    pub(crate) fn airborne(&self) -> usize {
        self.airborne.len()
    }
}

/// A move of the pickup by less than this, or by less than a tenth of the wait, is no news.
const NEWS: std::time::Duration = std::time::Duration::from_secs(60);

fn has_moved(place: &Place, now: Timestamp) -> bool {
    let Some(told) = place.order.told else { return false };
    let pickup = place.pickup();
    let by = pickup.saturating_since(told).max(told.saturating_since(pickup));
    by > NEWS.max(told.max(pickup).saturating_since(now) / 10)
}

fn mark(set: &mut BTreeSet<usize>, index: usize, belongs: bool) {
    if belongs {
        set.insert(index);
    } else {
        set.remove(&index);
    }
}

#[cfg(test)]
mod tests;
