//! The plans of all drones: who fetches an order first.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use base::Timestamp;
use contracts::Location;
use fleet_rules::{Airframe, CannotFly, Rules, Sortie};

use super::{
    lane::{Lane, Place},
    order::{Order, PlanRules, Urgency},
};

/// One drone as the plan sees it.
#[derive(Debug)]
struct Seat {
    base: Location,
    airframe: Airframe,
    /// Shrinks degrees of longitude to those of latitude at its base.
    east_scale: f64,
    lane: Lane,
}

/// Which drone, and when.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Choice {
    /// Its place among the drones.
    pub(crate) index: usize,
    /// Behind those that it may not pass, when that is another than was asked for.
    pub(crate) rank: i64,
    /// When the package is fetched, and when it is at its door.
    pub(crate) pickup: Timestamp,
    pub(crate) arrival: Timestamp,
}

/// Why nobody flies.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Refusal {
    /// No drone in service can, whenever.
    Never(Option<CannotFly>),
    /// It could, but not in time: then at the earliest.
    BeyondHorizon { pickup: Timestamp },
    /// It could, but not by the client's deadline: it is at its door then at the earliest.
    PastDeadline { arrival: Timestamp },
}

/// The plans of all drones.
#[derive(Debug)]
pub(crate) struct Roster {
    rules: PlanRules,
    seats: Vec<Seat>,
    by_delivery: BTreeMap<String, usize>,
    /// Orders that their drone cannot fly any more: others must be asked.
    stranded: BTreeMap<String, Arc<Order>>,
}

/// Metres of a degree of latitude, a little less than any is.
const METRES_PER_DEGREE: f64 = 111_000.0;

impl Seat {
    /// Its plan; where an order has its place, the plan without it.
    fn lane_without<'a>(&'a self, index: usize, own: Option<&'a (usize, Lane)>) -> &'a Lane {
        own.filter(|it| it.0 == index).map_or(&self.lane, |it| &it.1)
    }

    /// A time that the way to a place takes at the least; the exact one is longer by some percent.
    fn way_at_least(&self, place: &Location, rules: &Rules) -> Duration {
        let north = place.latitude - self.base.latitude;
        let east = (place.longitude - self.base.longitude) * self.east_scale;
        rules.time_for(north.mul_add(north, east * east).sqrt() * METRES_PER_DEGREE * 0.98)
    }
}

impl Roster {
    pub(crate) const fn new(rules: PlanRules) -> Self {
        Self { rules, seats: Vec::new(), by_delivery: BTreeMap::new(), stranded: BTreeMap::new() }
    }

    pub(crate) const fn rules(&self) -> &PlanRules {
        &self.rules
    }

    /// What a drone is, and when it is free after what it does now; none out of service. The next
    /// new one has the index that follows.
    pub(crate) fn set_drone(
        &mut self,
        index: usize,
        base: Location,
        airframe: Airframe,
        free: Option<Timestamp>,
    ) {
        if index >= self.seats.len() {
            let (east_scale, lane) =
                (base.latitude.to_radians().cos(), Lane::new(self.rules.slack));
            self.seats.push(Seat { base, airframe, east_scale, lane });
        }
        if let Some(seat) = self.seats.get_mut(index) {
            (seat.base, seat.airframe) = (base, airframe);
            seat.lane.set_free(free);
        }
    }

    /// An order is flown by a drone, as it was decided.
    pub(crate) fn put(&mut self, index: usize, order: Order, now: Timestamp, rules: &Rules) {
        self.drop(&order.delivery_id);
        let Some(seat) = self.seats.get_mut(index) else { return };
        let (id, order) = (order.delivery_id.clone(), Arc::new(order));
        match Sortie::plan(&seat.base, &seat.airframe, &order.errand, rules) {
            Ok(sortie) => {
                seat.lane.put(order, sortie, now);
                self.by_delivery.insert(id, index);
            }
            // The drone, or the rules, changed since.
            Err(_) => drop(self.stranded.insert(id, order)),
        }
    }

    /// An order is none any more: it took off, or was called off. Gives whose it was.
    pub(crate) fn drop(&mut self, delivery_id: &str) -> Option<usize> {
        self.stranded.remove(delivery_id);
        let index = self.by_delivery.remove(delivery_id)?;
        self.seats.get_mut(index)?.lane.drop(delivery_id);
        Some(index)
    }

    /// Moves what is late by now. Gives the drones whose plan has changed.
    pub(crate) fn refresh(&mut self, now: Timestamp) -> Vec<usize> {
        let late = self
            .seats
            .iter_mut()
            .enumerate()
            .filter_map(|(index, seat)| seat.lane.refresh(now).then_some(index));
        late.collect()
    }

    /// What is planned for a drone.
    pub(crate) fn lane(&self, index: usize) -> Option<&Lane> {
        self.seats.get(index).map(|it| &it.lane)
    }

    /// How many orders wait.
    pub(crate) fn orders(&self) -> usize {
        self.by_delivery.len() + self.stranded.len()
    }

    /// Every order that its drone cannot fly.
    pub(crate) fn stranded(&self) -> impl Iterator<Item = &Arc<Order>> {
        self.stranded.values()
    }

    /// The place of an order, with the times of now.
    pub(crate) fn place_of(&self, delivery_id: &str, now: Timestamp) -> Option<(usize, Place)> {
        let index = *self.by_delivery.get(delivery_id)?;
        let mut places = self.lane(index)?.expected(now);
        places.find(|it| it.order.delivery_id == delivery_id).map(|it| (index, it))
    }

    /// Who fetches an order first. Its own place, if it has one, does not stand in its way.
    pub(crate) fn choose(
        &self,
        order: &Order,
        now: Timestamp,
        rules: &Rules,
    ) -> Result<Choice, Refusal> {
        // Others that stand behind its own place move up when it leaves.
        let own = self.by_delivery.get(&order.delivery_id).copied();
        let own = own.and_then(|it| Some((it, self.lane(it)?.without(&order.delivery_id))));
        let first = self.first(order, own.as_ref(), now, rules)?;
        let Some(seat) = self.seats.get(first.index) else { return Err(Refusal::Never(None)) };
        let lane = seat.lane_without(first.index, own.as_ref());
        let sortie = Sortie::plan(&seat.base, &seat.airframe, &order.errand, rules);
        let sortie = sortie.map_err(|it| Refusal::Never(Some(it)))?;
        if !lane.would_suffer(&Arc::new(order.clone()), &sortie, now) {
            return self.in_time(order, now, first);
        }
        // Somebody was promised a time, or would give way to who was: then behind everybody.
        let last = self.seats.iter().filter_map(|it| it.lane.last_rank()).max();
        let usual = Order::rank_at(now, Urgency::Usual, &self.rules);
        let rank = order.rank.max(usual).max(last.map_or(usual, |it| it + 1));
        let behind = Order { rank, ..order.clone() };
        let last = self.first(&behind, own.as_ref(), now, rules)?;
        self.in_time(order, now, Choice { rank, ..last })
    }

    fn first(
        &self,
        order: &Order,
        own: Option<&(usize, Lane)>,
        now: Timestamp,
        rules: &Rules,
    ) -> Result<Choice, Refusal> {
        let mut best: Option<Choice> = None;
        let mut reason = None;
        for (index, seat) in self.seats.iter().enumerate() {
            let lane = seat.lane_without(index, own);
            let Some(bound) = lane.bound(order, now) else { continue };
            // The exact question is asked only of those that could win: a handful of thousands.
            let least =
                (bound + seat.way_at_least(&order.errand.pickup, rules)).max(order.not_before);
            if best.as_ref().is_some_and(|it| it.pickup <= least) {
                continue;
            }
            match Sortie::plan(&seat.base, &seat.airframe, &order.errand, rules) {
                Ok(sortie) => {
                    let Some(start) = lane.earliest(order, &sortie, now) else { continue };
                    let pickup = start + sortie.out;
                    if best.as_ref().is_none_or(|it| pickup < it.pickup) {
                        let arrival = pickup + sortie.carry;
                        best = Some(Choice { index, rank: order.rank, pickup, arrival });
                    }
                }
                Err(cannot) => reason = Some(cannot),
            }
        }
        best.ok_or(Refusal::Never(reason))
    }

    fn in_time(&self, order: &Order, now: Timestamp, choice: Choice) -> Result<Choice, Refusal> {
        let Choice { pickup, arrival, .. } = choice;
        let is_far = order.not_before > now + self.rules.ahead;
        if is_far || pickup > now.max(order.not_before) + self.rules.horizon {
            return Err(Refusal::BeyondHorizon { pickup });
        }
        if order.latest.is_some_and(|latest| arrival > latest) {
            return Err(Refusal::PastDeadline { arrival });
        }
        Ok(choice)
    }
}
