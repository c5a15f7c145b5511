//! What the page shows, folded from the events of every topic. Pure: no clock, no I/O.
//!
//! Events of different topics arrive in no order among each other, so what a fold makes of them
//! must not depend on it. Everything is bounded: what changed least recently is forgotten first.

mod delivery;
mod drone;
mod vehicle;

use std::collections::{BTreeMap, BTreeSet};

use base::Timestamp;
use contracts::{
    DeliveryStage,
    shipping::{DeliveryEvent, Operation, RequestEvent},
};
use serde::Serialize;

use self::delivery::Delivery;
pub(crate) use self::{
    delivery::{Standing, Story, Summary},
    drone::Drone,
    vehicle::Vehicle,
};

/// Deliveries that are remembered; past it the one that changed least recently is forgotten.
const DELIVERIES_MAX: usize = 5_000;
/// Drones that are remembered; events of others are ignored past it.
const DRONES_MAX: usize = 20_000;

/// Vehicles that are remembered; past it those that are done make room, and others are ignored.
const VEHICLES_MAX: usize = 5_000;

/// How many deliveries stand where: of those that are over all since the topics begin, of the rest
/// those that are remembered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Totals {
    pub(crate) flying: u64,
    pub(crate) open: u64,
    pub(crate) completed: u64,
    pub(crate) cancelled: u64,
    pub(crate) failed: u64,
    pub(crate) parked: u64,
}

/// The whole view. Each change gets a number, so that a reader asks for what is newer than it has.
#[derive(Debug, Default)]
pub(crate) struct View {
    version: u64,
    drones: BTreeMap<String, (u64, Drone)>,
    vehicles: BTreeMap<String, (u64, Vehicle)>,
    deliveries: BTreeMap<String, (u64, Delivery)>,
    /// Deliveries by the number of their newest change: the oldest is forgotten first.
    by_change: BTreeSet<(u64, String)>,
    totals: Totals,
}

/// Everything newer than one version.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Changes {
    #[serde(skip)]
    pub(crate) version: u64,
    pub(crate) drones: Vec<Drone>,
    /// With those that are done since: they leave the map.
    pub(crate) vehicles: Vec<Vehicle>,
    pub(crate) deliveries: Vec<Summary>,
    pub(crate) totals: Totals,
}

impl Totals {
    fn place_of(&mut self, standing: Standing) -> &mut u64 {
        match standing {
            Standing::Parked => &mut self.parked,
            Standing::At(DeliveryStage::Completed) => &mut self.completed,
            Standing::At(DeliveryStage::Cancelled) => &mut self.cancelled,
            Standing::At(DeliveryStage::Failed) => &mut self.failed,
            Standing::Accepted
            | Standing::At(
                DeliveryStage::Created
                | DeliveryStage::Rescheduled
                | DeliveryStage::HeadedToPickup
                | DeliveryStage::HeadedToDropoff,
            ) => &mut self.open,
        }
    }

    fn add(&mut self, standing: Standing) {
        *self.place_of(standing) += 1;
    }

    fn take(&mut self, standing: Standing) {
        let count = self.place_of(standing);
        *count = count.saturating_sub(1);
    }
}

impl View {
    /// Number of the newest change.
    pub(crate) const fn version(&self) -> u64 {
        self.version
    }

    /// A drone moved or changed its phase. What is older than what is known of it changes nothing.
    pub(crate) fn heard_of_drone(&mut self, drone: Drone) {
        let known = self.drones.get(&drone.id).map(|(_, it)| it);
        let is_late = known.is_some_and(|it| it.is_newer_than(&drone));
        if is_late || (known.is_none() && self.drones.len() >= DRONES_MAX) {
            return;
        }
        let flew = known.is_some_and(Drone::is_flying);
        self.totals.flying = self.totals.flying.saturating_sub(u64::from(flew));
        self.totals.flying += u64::from(drone.is_flying());
        self.version += 1;
        self.drones.insert(drone.id.clone(), (self.version, drone));
    }

    /// A carrier's vehicle reached a phase. What is older than what is known of it changes nothing.
    pub(crate) fn heard_of_vehicle(&mut self, vehicle: Vehicle) {
        let known = self.vehicles.get(&vehicle.delivery_id).map(|(_, it)| it);
        let is_late = known.is_some_and(|it| it.is_newer_than(&vehicle));
        let is_new = known.is_none();
        if is_new && self.vehicles.len() >= VEHICLES_MAX {
            self.vehicles.retain(|_, (_, it)| !it.is_done());
        }
        if is_late || (is_new && self.vehicles.len() >= VEHICLES_MAX) {
            return;
        }
        self.version += 1;
        self.vehicles.insert(vehicle.delivery_id.clone(), (self.version, vehicle));
    }

    /// A client asked for a delivery, or for something about one.
    pub(crate) fn asked(&mut self, id: &str, operation: Operation, at: Timestamp) {
        self.change(id, |delivery| delivery.asked(operation, at));
    }

    /// A delivery reached a stage.
    pub(crate) fn heard_of_delivery(&mut self, event: &DeliveryEvent) {
        self.change(&event.delivery_id, |delivery| delivery.heard_of_delivery(event));
    }

    /// A workflow ended or was parked.
    pub(crate) fn heard_of_request(&mut self, event: &RequestEvent) {
        self.change(&event.delivery_id, |delivery| delivery.heard_of_request(event));
    }

    /// One delivery with its story.
    pub(crate) fn find(&self, id: &str) -> Option<Story> {
        self.deliveries.get(id).map(|(_, it)| it.story())
    }

    /// What is newer than `version`, deliveries in the order in which they changed.
    pub(crate) fn since(&self, version: u64) -> Changes {
        let drones = self.drones.values().filter(|(at, _)| *at > version);
        // A reader that begins has none to take away.
        let vehicles = self
            .vehicles
            .values()
            .filter(|(at, it)| *at > version && (version > 0 || !it.is_done()));
        let deliveries = self
            .by_change
            .range((version + 1, String::new())..)
            .filter_map(|(_, id)| self.deliveries.get(id))
            .map(|(_, it)| it.summary());
        Changes {
            version: self.version,
            drones: drones.map(|(_, it)| it.clone()).collect(),
            vehicles: vehicles.map(|(_, it)| it.clone()).collect(),
            deliveries: deliveries.collect(),
            totals: self.totals,
        }
    }

    fn change(&mut self, id: &str, change: impl FnOnce(&mut Delivery)) {
        self.version += 1;
        let mut delivery = match self.deliveries.remove(id) {
            Some((changed, delivery)) => {
                self.by_change.remove(&(changed, id.to_owned()));
                self.totals.take(delivery.standing());
                delivery
            }
            None => Delivery::new(id.to_owned()),
        };
        change(&mut delivery);
        self.totals.add(delivery.standing());
        self.by_change.insert((self.version, id.to_owned()));
        self.deliveries.insert(id.to_owned(), (self.version, delivery));
        if self.deliveries.len() > DELIVERIES_MAX {
            self.forget_stalest();
        }
    }

    fn forget_stalest(&mut self) {
        let stalest = self.by_change.pop_first();
        let forgotten = stalest.and_then(|(_, id)| self.deliveries.remove(&id));
        if let Some((_, delivery)) = forgotten
            && !delivery.standing().is_end()
        {
            self.totals.take(delivery.standing());
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
