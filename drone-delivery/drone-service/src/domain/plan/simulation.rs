//! Random histories of a fleet and its plan, from a seed: drones fly by the plan alone while orders
//! come, move and are called off, deliveries are made late, and drones fail and come back.
//!
//! What must hold: no drone has two flights at a time, no delivery two drones; nobody waits behind
//! somebody younger of the same kind; no battery falls below the reserve; each order ends.

use std::{collections::BTreeMap, time::Duration};

use base::{Random, Timestamp};
use contracts::{Location, drone_management::DronePhase};
use fleet_rules::{Rules, base_of, name_of};

use super::super::{
    Activity, Booked, Drone, Fleet, Known, Trip,
    samples::{AIRFRAME, PLAN, rules},
};
use super::{Order, PlanRules, Refusal, Urgency};

const DRONES: u32 = 3;
/// An hour: short, so that a history sees its end.
const LEAD: Duration = Duration::from_secs(3_600);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waits,
    Flies,
    Delivered,
    CalledOff,
    /// Lost with its drone, or nobody could fly.
    Lost,
}

#[derive(Debug, Clone)]
struct Booking {
    order: Order,
    drone: usize,
    state: State,
}

struct World {
    seed: u64,
    rules: Rules,
    plan: PlanRules,
    now: Timestamp,
    fleet: Fleet,
    drones: Vec<Drone>,
    bookings: BTreeMap<String, Booking>,
    changed: u64,
    made: u64,
    /// Whether anything happened that may break a promise.
    disturbed: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let plan = PlanRules { lead: LEAD, ..PLAN };
        let now = Timestamp::from_millis(1_700_000_000_000);
        let drone = |it| Drone::new(name_of(it), base_of(it), AIRFRAME, now);
        let drones: Vec<Drone> = (1..=DRONES).map(drone).collect();
        let mut world = Self {
            seed,
            rules: rules(),
            plan,
            now,
            fleet: Fleet::new(plan),
            drones,
            bookings: BTreeMap::new(),
            changed: 0,
            made: 0,
            disturbed: false,
        };
        (0..world.drones.len()).for_each(|it| world.keep_drone(it));
        world
    }

    fn keep_drone(&mut self, index: usize) {
        self.changed += 1;
        let known = Known { drone: self.drones[index].clone(), changed: self.changed };
        self.fleet.follow((vec![known], Vec::new()), self.now, &self.rules);
    }

    fn keep(&mut self, id: &str) {
        self.changed += 1;
        let it = &self.bookings[id];
        let name = self.drones[it.drone].id.clone();
        let waits = (it.state == State::Waits).then(|| (name, it.order.clone()));
        let booked = Booked { delivery_id: id.to_owned(), waits, changed: self.changed };
        self.fleet.follow((Vec::new(), vec![booked]), self.now, &self.rules);
    }

    fn index_of(&self, drone_id: &str) -> usize {
        self.drones.iter().position(|it| it.id == drone_id).expect("it is of the fleet")
    }

    /// Times of everything that waits and comes before a key, as they are planned.
    fn planned(&self, before: (i64, &str)) -> BTreeMap<String, Timestamp> {
        let lanes = self.drones.iter().flat_map(|it| self.fleet.plan_of(&it.id, self.now));
        let first = lanes.filter(|it| it.order.key() < before);
        first.map(|it| (it.order.delivery_id.clone(), it.pickup())).collect()
    }

    /// What is late by now moves what waits for it.
    fn refresh(&mut self) {
        self.fleet.follow((Vec::new(), Vec::new()), self.now, &self.rules);
    }

    /// Places an order; those that come before it must be where they were, or sooner.
    fn place(&mut self, order: Order) -> Result<(), Refusal> {
        self.refresh();
        let (drone_id, choice) = self.fleet.choose(&order, self.now, &self.rules)?;
        let order = Order { rank: choice.rank, ..order };
        let id = order.delivery_id.clone();
        // What its own old place leaves is for whoever is older; the new one delays nobody.
        if let Some(before) = self.bookings.get_mut(&id) {
            before.state = State::CalledOff;
            self.keep(&id);
        }
        let others = self.planned(order.key());
        let drone = self.index_of(&drone_id);
        let booking = Booking { order: order.clone(), drone, state: State::Waits };
        self.bookings.insert(id.clone(), booking);
        self.keep(&id);
        let after = self.planned(order.key());
        for (other, pickup) in others.iter().filter(|it| *it.0 != id) {
            let now = after[other];
            let at = format!("seed {}: {id} delayed {other}", self.seed);
            assert!(now <= *pickup || self.gives_way(other, &order), "{at}: {pickup} {now}");
        }
        let placed = self.fleet.place_of(&id, self.now).expect("it was just placed");
        assert!(placed.pickup() <= choice.pickup, "seed {}: {id} was told too much", self.seed);
        assert!(placed.pickup() >= order.not_before, "seed {}: {id} is too early", self.seed);
        Ok(())
    }

    fn book(&mut self, random: &mut Random) {
        self.made += 1;
        let later = random.below(6) == 0;
        let not_before = if later {
            self.now + Duration::from_secs(random.below(20_000))
        } else {
            Timestamp::default()
        };
        let urgency = match (later, random.below(4)) {
            (true, _) => Urgency::Held,
            (false, 0) => Urgency::Expedited,
            (false, _) => Urgency::Usual,
        };
        let limit = (random.below(4) == 0)
            .then(|| self.now.max(not_before) + Duration::from_secs(600 + random.below(6_000)));
        let made = random.below(10) > 0;
        self.disturbed |= !made;
        let order = Order {
            delivery_id: format!("d{:03}", self.made),
            errand: trip(random).errand(),
            rank: Order::rank_at(self.now, urgency, &self.plan),
            not_before,
            latest: limit,
            made,
            told: None,
        };
        match self.place(order.clone()) {
            Err(Refusal::PastDeadline { arrival }) => {
                assert!(order.latest.is_some_and(|it| arrival > it), "seed {}", self.seed);
            }
            Ok(()) | Err(Refusal::Never(_) | Refusal::BeyondHorizon { .. }) => {}
        }
    }

    fn any(&self, random: &mut Random, state: State) -> Option<String> {
        let all: Vec<_> = self.bookings.iter().filter(|it| it.1.state == state).collect();
        let count = u64::try_from(all.len()).expect("few");
        let index = usize::try_from(random.below(count.max(1))).expect("few");
        all.get(index).map(|it| it.0.clone())
    }

    fn end(&mut self, id: &str, state: State) {
        self.bookings.get_mut(id).expect("it is booked").state = state;
        self.keep(id);
    }

    fn command(&mut self, random: &mut Random) {
        match random.below(12) {
            0..=4 => self.book(random),
            5 => {
                if let Some(id) = self.any(random, State::Waits) {
                    self.end(&id, State::CalledOff);
                }
            }
            6 => {
                if let Some(id) = self.any(random, State::Waits) {
                    // Moved: a refusal must change nothing.
                    self.disturbed = true;
                    let order = self.bookings[&id].order.clone();
                    let moved = Order { errand: trip(random).errand(), ..order };
                    drop(self.place(moved));
                }
            }
            7 => {
                let waiting = self.bookings.iter().filter(|it| !it.1.order.made);
                let late: Vec<_> = waiting.map(|it| it.0.clone()).collect();
                for id in late {
                    self.bookings.get_mut(&id).expect("it is booked").order.made = true;
                    self.keep(&id);
                }
            }
            8 if random.below(4) == 0 => self.fail(random),
            9 => {
                let failed = |it: &Drone| matches!(it.activity, Activity::Failed { .. });
                if let Some(index) = self.drones.iter().position(failed) {
                    self.drones[index].repair(self.now, &self.rules);
                    self.keep_drone(index);
                }
            }
            _ => self.pass(Duration::from_secs(random.below(600))),
        }
    }

    fn fail(&mut self, random: &mut Random) {
        self.disturbed = true;
        let index = usize::try_from(random.below(u64::from(DRONES))).expect("few");
        if matches!(self.drones[index].activity, Activity::Failed { .. }) {
            return;
        }
        let flies = self.drones[index].delivery_id().map(str::to_owned);
        let (past, done) = (
            self.drones[index].is_past_pickup(),
            self.drones[index].phase == DronePhase::DroppedOff,
        );
        self.drones[index].fail(self.now, &self.rules);
        self.keep_drone(index);
        let mut others: Vec<_> = self
            .bookings
            .iter()
            .filter(|it| it.1.drone == index && it.1.state == State::Waits)
            .map(|it| (it.1.order.rank, it.0.clone()))
            .collect();
        match flies {
            Some(id) if past => self.end(&id, if done { State::Delivered } else { State::Lost }),
            Some(id) => {
                // Nothing was lost: it waits again.
                self.bookings.get_mut(&id).expect("it is booked").state = State::Waits;
                others.push((self.bookings[&id].order.rank, id));
            }
            None => {}
        }
        others.sort();
        for (_, id) in others {
            let order = self.bookings[&id].order.clone();
            if self.place(order).is_err() {
                self.end(&id, State::Lost);
            }
        }
    }

    /// Time goes by: whatever is due happens when it is due.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        let mut rounds = 0;
        while let Some(due) = self.fleet.next_due().filter(|it| *it <= until) {
            self.now = self.now.max(due);
            rounds += 1;
            assert!(rounds < 10_000, "seed {}: what is due at {due} is never done", self.seed);
            for id in self.fleet.due(self.now, 10) {
                let index = self.index_of(&id);
                self.take_off(index);
                self.advance(index);
            }
        }
        self.now = until;
    }

    fn take_off(&mut self, index: usize) {
        self.refresh();
        let name = self.drones[index].id.clone();
        let Some(place) = self.fleet.flight_of(&name, self.now) else { return };
        let order = &place.order;
        let at = format!("seed {}: {} at {}", self.seed, order.delivery_id, self.now);
        let before = self.made_before(order.key());
        let booking = self.bookings.get_mut(&order.delivery_id).expect("it is booked");
        assert_eq!((booking.state, booking.drone), (State::Waits, index), "{at}");
        let trip = Trip {
            pickup: order.errand.pickup,
            dropoff: order.errand.dropoff,
            pickup_time: None,
            weight_kg: order.errand.weight_kg,
        };
        let drone = &mut self.drones[index];
        let battery = drone.battery(self.now, &self.rules);
        assert!(battery > 1.0 - 1e-6, "{at}: it is not full: {battery}");
        let id = order.delivery_id.clone();
        drone.take_off(id.clone(), &trip, self.now, &self.rules, None).expect("it was planned");
        booking.state = State::Flies;
        self.keep_drone(index);
        self.keep(&id);
        // It may fill a gap that nobody older fits into, but nobody older waits longer for it.
        let after = self.made_before(order.key());
        for (other, pickup) in &before {
            let now = after[other];
            let latest = *pickup + self.plan.grace + self.plan.slack;
            assert!(
                now <= latest || self.gives_way(other, order),
                "{at} passed {other}: {pickup} {now}"
            );
        }
    }

    /// When those are fetched that wait, were made, and come before a key.
    fn made_before(&self, key: (i64, &str)) -> BTreeMap<String, Timestamp> {
        let mut planned = self.planned(key);
        planned.retain(|id, _| self.bookings[id].order.made);
        planned
    }

    /// Whether an order comes later because of a promise, but not than it was promised itself: it
    /// gives way to one, or who gave way to one that left has its turn back. Only in a world with
    /// failures, moves and deliveries that are made late.
    fn gives_way(&self, id: &str, left: &Order) -> bool {
        let booking = &self.bookings[id];
        let waits_beside = |it: &Booking| it.state == State::Waits && it.drone == booking.drone;
        let mut beside = self.bookings.values().filter(|it| waits_beside(it));
        let for_promise = left.latest.is_some() || beside.any(|it| it.order.latest.is_some());
        let arrival = self.fleet.place_of(id, self.now).map(|it| it.arrival());
        self.disturbed && for_promise && booking.order.latest.is_none_or(|it| arrival <= Some(it))
    }

    fn advance(&mut self, index: usize) {
        let changes = self.drones[index].advance(self.now, &self.rules);
        for change in changes {
            let at = format!("seed {}: {change:?}", self.seed);
            assert!(change.battery >= self.rules.reserve - 1e-6, "{at}");
            if let Some(served) = &change.served {
                assert_eq!(self.bookings[&served.delivery_id].state, State::Flies, "{at}");
                self.end(&served.delivery_id.clone(), State::Delivered);
            }
            let arrived = change.delivery_id.filter(|_| change.phase == DronePhase::AtDropoff);
            if let Some(id) = arrived.filter(|_| !self.disturbed) {
                let latest = self.bookings[&id].order.latest;
                let kept = latest.is_none_or(|it| change.at <= it + Duration::from_secs(1));
                assert!(kept, "seed {}: {id} came late: {latest:?}, {}", self.seed, change.at);
            }
        }
        self.keep_drone(index);
    }

    /// No two stretches of a drone overlap, and each that waits has exactly one place.
    fn check(&mut self) {
        self.refresh();
        let mut places = BTreeMap::new();
        for drone in &self.drones {
            let mut free = drone.free_from(&self.rules);
            for place in self.fleet.packed_plan_of(&drone.id) {
                let id = place.order.delivery_id.clone();
                let at = format!("seed {}: {id} of {}", self.seed, drone.id);
                if let Some(free) = free {
                    assert!(place.start >= free, "{at} begins before {free}: {}", place.start);
                }
                assert!(place.sortie.energy <= 1.0 - self.rules.reserve + 1e-6, "{at}");
                free = Some(place.ready());
                assert_eq!(places.insert(id, &drone.id), None, "{at} has two places");
            }
        }
        let waiting = self.bookings.values().filter(|it| it.state == State::Waits);
        for it in waiting {
            let name = &self.drones[it.drone].id;
            let found = places.remove(&it.order.delivery_id);
            assert_eq!(found, Some(name), "seed {}: {:?} has no place", self.seed, it.order);
        }
        assert!(places.is_empty(), "seed {}: {places:?} belong to nobody", self.seed);
    }

    /// No more orders come: everything that waits is flown.
    fn finish(&mut self) {
        for index in 0..self.drones.len() {
            if matches!(self.drones[index].activity, Activity::Failed { .. }) {
                self.drones[index].repair(self.now, &self.rules);
                self.keep_drone(index);
            }
        }
        let all: Vec<_> = self.bookings.keys().cloned().collect();
        for id in all {
            self.bookings.get_mut(&id).expect("it is booked").order.made = true;
            self.keep(&id);
        }
        self.pass(Duration::from_secs(60_000));
        let open = |it: &&Booking| matches!(it.state, State::Waits | State::Flies);
        let open: Vec<_> = self.bookings.values().filter(open).collect();
        assert!(open.is_empty(), "seed {}: never ended: {open:?}", self.seed);
    }
}

fn trip(random: &mut Random) -> Trip {
    let spread = if random.below(8) == 0 { 0.12 } else { 0.015 };
    let mut place = || {
        Location::new(
            (random.unit() - 0.5).mul_add(spread, 60.169),
            (random.unit() - 0.5).mul_add(spread, 24.942),
        )
    };
    let (pickup, dropoff) = (place(), place());
    Trip { pickup, dropoff, pickup_time: None, weight_kg: random.unit() * 26.0 }
}

fn history(seed: u64) {
    let mut random = Random::with_seed(seed);
    let mut world = World::new(seed);
    for _ in 0..40 {
        world.command(&mut random);
        world.check();
    }
    world.finish();
}

/// Free half a minute sooner, a drone let an older order into the place of a promised one.
#[test]
fn a_promise_survives_that_a_place_moves_up() {
    history(5_072_254_237_972_173_713);
}

#[test]
fn no_history_of_ten_thousand_books_twice_starves_or_empties_anybody() {
    let first = fastrand::u64(..);
    println!("seeds from {first}");
    let threads = 2;
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                (thread..10_000).step_by(threads).for_each(|it| {
                    history(first.wrapping_add(u64::try_from(it).expect("few")));
                });
            });
        }
    });
}

#[test]
fn a_move_behind_somebody_is_told_the_time_that_it_will_have() {
    // Found by the histories: its own old place stood in the way of whom it was to follow.
    history(11_064_042_748_347_286_663);
}

#[test]
fn who_moves_up_when_an_order_is_moved_is_not_delayed_by_it() {
    // Found by the histories: an older one took the place that it left, and a younger one waited.
    history(17_112_268_725_214_824_480);
    history(17_112_268_725_214_828_661);
}

#[test]
fn an_endless_stream_of_expedited_orders_starves_nobody() {
    let (mut world, mut random) = (World::new(1), Random::with_seed(1));
    let usual = Order {
        delivery_id: "usual".to_owned(),
        errand: near(&mut random),
        rank: Order::rank_at(world.now, Urgency::Usual, &world.plan),
        not_before: Timestamp::default(),
        latest: None,
        made: true,
        told: None,
    };
    let begun = world.now;
    // More than three drones fly, from before it came.
    for number in 0..2_000 {
        let rank = Order::rank_at(world.now, Urgency::Expedited, &world.plan);
        let (delivery_id, errand) = (format!("x{number}"), near(&mut random));
        world.place(Order { delivery_id, errand, rank, ..usual.clone() }).unwrap();
        if number == 20 {
            world.place(usual.clone()).unwrap();
        }
        world.pass(Duration::from_secs(60));
        if world.bookings.get("usual").is_some_and(|it| it.state == State::Delivered) {
            let waited = world.now.saturating_since(begun);
            assert!(waited > LEAD, "it passed those that were expedited: {waited:?}");
            return;
        }
    }
    panic!("it was never flown");
}

fn near(random: &mut Random) -> fleet_rules::Errand {
    let mut place =
        || Location::new(random.unit().mul_add(0.005, 60.166), random.unit().mul_add(0.005, 24.94));
    fleet_rules::Errand { pickup: place(), dropoff: place(), weight_kg: 3.0 }
}

#[test]
fn a_burst_of_five_thousand_on_twenty_drones_is_answered_in_a_moment() {
    let now = Timestamp::from_millis(1_700_000_000_000);
    let rules = rules();
    let mut fleet = Fleet::new(PLAN);
    let drones = (1..=20)
        .map(|it| Known { drone: Drone::new(name_of(it), base_of(it), AIRFRAME, now), changed: 1 });
    fleet.follow((drones.collect(), Vec::new()), now, &rules);
    let mut random = Random::with_seed(5);
    let mut last = now;
    for number in 0..5_000 {
        let order = Order {
            delivery_id: format!("d{number:04}"),
            errand: near(&mut random),
            rank: (now + PLAN.lead).as_millis() + number,
            not_before: Timestamp::default(),
            latest: None,
            made: true,
            told: None,
        };
        let (drone_id, choice) = fleet.choose(&order, now, &rules).unwrap();
        assert!(choice.pickup + Duration::from_secs(900) >= last, "the plan has holes");
        last = last.max(choice.pickup);
        let delivery_id = order.delivery_id.clone();
        let booked = Booked { delivery_id, waits: Some((drone_id, order)), changed: 2 };
        fleet.follow((Vec::new(), vec![booked]), now, &rules);
    }
    assert_eq!(fleet.waiting(), 5_000);
}
