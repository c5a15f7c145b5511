//! The plan of one drone: stretches of time that do not overlap.

use std::{sync::Arc, time::Duration};

use base::Timestamp;
use fleet_rules::Sortie;

use super::order::Order;

/// A place in the plan of one drone.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Place {
    pub(crate) order: Arc<Order>,
    pub(crate) sortie: Sortie,
    /// Take-off. Past when it could have been: then it is now.
    pub(crate) start: Timestamp,
}

impl Place {
    /// When the package is fetched.
    pub(crate) fn pickup(&self) -> Timestamp {
        self.start + self.sortie.out
    }

    /// When it is at its door.
    pub(crate) fn arrival(&self) -> Timestamp {
        self.pickup() + self.sortie.carry
    }

    /// When the drone can take off again.
    pub(crate) fn ready(&self) -> Timestamp {
        self.start + self.sortie.whole()
    }

    /// Whether it comes later than it was promised.
    fn misses(&self) -> bool {
        self.order.latest.is_some_and(|latest| self.arrival() > latest)
    }

    /// The earliest take-off of an order, whatever else flies.
    fn wanted(&self) -> Timestamp {
        before(self.order.not_before, self.sortie.out)
    }
}

/// A moment that lies so much before another.
fn before(time: Timestamp, by: Duration) -> Timestamp {
    let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(time.as_millis().saturating_sub(by))
}

/// What is planned for one drone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lane {
    /// When it is on its base with a full battery after what it does now; none out of service.
    free: Option<Timestamp>,
    /// No plan is made for before then.
    floor: Timestamp,
    /// By the time of take-off.
    places: Vec<Place>,
    /// Whether each place follows the one before it without a gap.
    gapless: bool,
    /// The first, when its delivery is not made yet, and since when it could have left.
    stalled: Option<(String, Timestamp)>,
    slack: Duration,
}

impl Lane {
    pub(crate) fn new(slack: Duration) -> Self {
        Self { gapless: true, slack, ..Self::default() }
    }

    /// The places as they are planned, the next first.
    pub(crate) fn places(&self) -> &[Place] {
        &self.places
    }

    /// The rank behind all others that wait here.
    pub(crate) fn last_rank(&self) -> Option<i64> {
        self.places.iter().map(|it| it.order.rank).max()
    }

    /// The drone will be free at another time, or is out of service.
    pub(crate) fn set_free(&mut self, free: Option<Timestamp>) {
        if self.free != free {
            self.free = free;
            self.pack();
        }
    }

    /// The earliest take-off for an order of that key, as those before it leave it. The place that the
    /// same order has now is passed over.
    pub(crate) fn earliest(
        &self,
        order: &Order,
        sortie: &Sortie,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let free = self.free?.max(now);
        let key = order.key();
        let is_before =
            |it: &&Place| it.order.key() < key && it.order.delivery_id != order.delivery_id;
        let others = self.places.iter().filter(is_before);
        Some(self.first_gap(free, before(order.not_before, sortie.out), sortie, others))
    }

    /// The earliest take-off that others, in the order of theirs, leave.
    fn first_gap<'a>(
        &self,
        free: Timestamp,
        wanted: Timestamp,
        sortie: &Sortie,
        others: impl Iterator<Item = &'a Place>,
    ) -> Timestamp {
        let length = sortie.whole() + self.slack;
        let mut end = free;
        for place in others {
            // What is late begins when what is before it has ended.
            let begins = place.start.max(end);
            if end.max(wanted) + length <= begins {
                break;
            }
            end = begins + place.sortie.whole() + self.slack;
        }
        end.max(wanted)
    }

    /// A moment before which no order of that key takes off; cheap, to pass most drones over.
    pub(crate) fn bound(&self, order: &Order, now: Timestamp) -> Option<Timestamp> {
        let free = self.free?.max(now);
        match self.places.last() {
            Some(last) if self.gapless && order.key() > last.order.key() => {
                Some(free.max(last.ready() + self.slack))
            }
            Some(_) | None => Some(free),
        }
    }

    /// Takes an order in, or what became of one.
    pub(crate) fn put(&mut self, order: Arc<Order>, sortie: Sortie, now: Timestamp) {
        let id = &order.delivery_id;
        let before = self.places.len();
        self.places.retain(|it| it.order.delivery_id != *id);
        let leaves_gap = self.places.len() != before;
        let is_last = self.places.iter().all(|it| it.order.key() < order.key());
        self.floor = self.floor.max(now);
        let start = self.earliest(&order, &sortie, self.floor).unwrap_or(now);
        let place = Place { order, sortie, start };
        let misses = place.misses();
        self.insert(place);
        if leaves_gap || !is_last || misses {
            self.pack();
        }
        self.watch_first();
    }

    /// What could have left by now and has not moves what waits for it, but never what is held for a
    /// time of its own. Gives whether anything moved.
    pub(crate) fn refresh(&mut self, now: Timestamp) -> bool {
        let Some(free) = self.free else { return false };
        let is_late = self.places.first().is_some_and(|it| it.start < free.max(now));
        if is_late {
            self.floor = self.floor.max(now);
            self.pack();
        }
        is_late
    }

    fn watch_first(&mut self) {
        let first = self.places.first().filter(|it| !it.order.made);
        let before = self.stalled.take();
        self.stalled = first.map(|it| {
            let id = it.order.delivery_id.clone();
            let since = before.filter(|it| it.0 == id).map_or(it.start, |it| it.1);
            (id, since)
        });
    }

    /// An order is none any more, or another drone's.
    pub(crate) fn drop(&mut self, delivery_id: &str) {
        let before = self.places.len();
        self.places.retain(|it| it.order.delivery_id != delivery_id);
        if self.places.len() != before {
            self.pack();
        }
    }

    /// The same without an order.
    pub(crate) fn without(&self, delivery_id: &str) -> Self {
        let mut lane = self.clone();
        lane.drop(delivery_id);
        lane
    }

    /// Places every order anew, in the order of their ranks. That alone would break promises: when a
    /// drone is free sooner, or somebody is gone, an order moves up into a gap that a younger one
    /// had, which then waits for the next (Graham, "Bounds on multiprocessing timing anomalies",
    /// 1969). So who was promised nothing gives way to who would miss what they were promised.
    fn pack(&mut self) {
        let mut turns = self.places.clone();
        turns.sort_by(|a, b| a.order.key().cmp(&b.order.key()));
        self.place_in(&turns);
        let missed: Vec<_> = self.missed().map(|it| Arc::clone(&it.order)).collect();
        for order in missed {
            if let Some((lane, kept)) = self.keeping(&turns, &order) {
                (*self, turns) = (lane, kept);
            }
        }
        self.watch_first();
    }

    /// Places orders one after the other, each where those before it leave it a gap.
    fn place_in(&mut self, turns: &[Place]) {
        self.places.clear();
        self.gapless = true;
        for place in turns {
            let wanted = place.wanted();
            let start = match (self.gapless, self.places.last(), self.free) {
                // Nothing to look for: all before it stand one behind the other.
                (true, Some(last), _) => (last.ready() + self.slack).max(wanted),
                (_, _, Some(free)) => {
                    let free = free.max(self.floor);
                    self.first_gap(free, wanted, &place.sortie, self.places.iter())
                }
                (_, _, None) => place.start,
            };
            self.insert(Place { start, ..place.clone() });
        }
    }

    /// The lane and the turns in which an order is in time: as few as it takes pass their turn to it,
    /// the youngest first, none with a promise or a time of its own. None when that keeps no more
    /// promises.
    fn keeping(&self, turns: &[Place], order: &Order) -> Option<(Self, Vec<Place>)> {
        let gives_way = |it: &Place| it.order.latest.is_none() && it.wanted() <= self.floor;
        let (mut lane, mut turns) = (self.clone(), turns.to_vec());
        let mut at = turns.iter().position(|it| it.order.delivery_id == order.delivery_id)?;
        while let Some(other) = turns[..at].iter().rposition(gives_way) {
            turns[other..=at].rotate_left(1);
            at -= 1;
            lane.place_in(&turns);
            if lane.missed().count() < self.missed().count() {
                return Some((lane, turns));
            }
        }
        None
    }

    /// The places whose orders come later than they were promised.
    fn missed(&self) -> impl Iterator<Item = &Place> {
        self.places.iter().filter(|it| it.misses())
    }

    fn insert(&mut self, place: Place) {
        let at = self.places.partition_point(|it| it.start <= place.start);
        let follows = match self.places.last() {
            Some(last) => at == self.places.len() && place.start <= last.ready() + self.slack,
            None => self.free.is_some_and(|it| place.start <= it.max(self.floor)),
        };
        self.gapless &= follows;
        self.places.insert(at, place);
    }

    /// The next flight, and when it is due: the first whose delivery was made. It leaves early when
    /// the drone is free early, and passes one whose delivery is still not made.
    pub(crate) fn next_flight(&self, grace: Duration) -> Option<(Timestamp, &Place)> {
        let free = self.free?;
        let next = self.places.iter().find(|it| it.order.made)?;
        // Only behind one that is not made is there somebody to wait for.
        let waited = self.stalled.as_ref().map(|it| it.1 + grace);
        Some((next.wanted().max(free).max(waited.unwrap_or(free)), next))
    }

    /// What is planned, with the times as they are when nothing more is late than now.
    pub(crate) fn expected(&self, now: Timestamp) -> impl Iterator<Item = Place> + '_ {
        let mut end = self.free.unwrap_or(now).max(now);
        self.places.iter().map(move |it| {
            let start = it.start.max(end);
            let place = Place { start, ..it.clone() };
            end = place.ready() + self.slack;
            place
        })
    }

    /// Whether an order would make somebody miss a promised time, or, since others give way to those,
    /// delay an older one or get a later place than it asked for.
    pub(crate) fn would_suffer(&self, order: &Arc<Order>, sortie: &Sortie, now: Timestamp) -> bool {
        let key = order.key();
        if self.places.iter().all(|it| it.order.latest.is_none() || it.order.key() < key) {
            return false;
        }
        let mut other = self.clone();
        other.put(Arc::clone(order), *sortie, now);
        let start_of = |lane: &Self, id: &str| {
            lane.places.iter().find(|it| it.order.delivery_id == id).map(|it| it.start)
        };
        let is_later = |it: &Place| start_of(&other, &it.order.delivery_id) > Some(it.start);
        let mut older = self.places.iter().filter(|it| it.order.key() < key);
        other.missed().count() > self.missed().count()
            || older.any(is_later)
            || start_of(&other, &order.delivery_id) > self.earliest(order, sortie, now)
    }
}

#[cfg(test)]
mod tests {
    use contracts::Location;
    use fleet_rules::Errand;

    use super::*;

    const SLACK: Duration = Duration::from_secs(10);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn order(id: &str, rank: i64) -> Order {
        let place = Location::new(60.17, 24.94);
        Order {
            delivery_id: id.to_owned(),
            errand: Errand { pickup: place, dropoff: place, weight_kg: 1.0 },
            rank,
            not_before: at(0),
            latest: None,
            made: true,
            told: None,
        }
    }

    /// A hundred seconds with its slack.
    fn sortie() -> Sortie {
        let part = |it| Duration::from_secs(it);
        Sortie { out: part(20), carry: part(30), home: part(20), charge: part(20), energy: 0.2 }
    }

    fn lane(orders: &[Order]) -> Lane {
        let mut lane = Lane::new(SLACK);
        lane.set_free(Some(at(0)));
        orders.iter().for_each(|it| lane.put(Arc::new(it.clone()), sortie(), at(0)));
        lane
    }

    #[track_caller]
    fn check(lane: &Lane, expected: &[(&str, i64)]) {
        let expected: Vec<_> = expected.iter().map(|it| (it.0, at(it.1))).collect();
        let found = lane.places().iter().map(|it| (it.order.delivery_id.as_str(), it.start));
        assert_eq!(found.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn each_follows_the_one_before_it_and_one_of_a_lower_rank_goes_first() {
        let mut lane = lane(&[order("a", 10), order("b", 11)]);
        check(&lane, &[("a", 0), ("b", 100)]);
        lane.put(Arc::new(order("x", 5)), sortie(), at(0));
        check(&lane, &[("x", 0), ("a", 100), ("b", 200)]);
        lane.drop("x");
        check(&lane, &[("a", 0), ("b", 100)]);
    }

    #[test]
    fn a_held_place_stays_and_what_fits_before_it_is_filled() {
        let held = Order { not_before: at(270), ..order("held", 1) };
        let lane = lane(&[held, order("a", 10), order("b", 11), order("c", 12)]);
        check(&lane, &[("a", 0), ("b", 100), ("held", 250), ("c", 350)]);
        assert_eq!(lane.earliest(&order("d", 13), &sortie(), at(0)), Some(at(450)));
        assert_eq!(lane.bound(&order("d", 13), at(0)), Some(at(0)), "it must not pass a gap over");
    }

    #[test]
    fn a_late_drone_moves_what_waits_for_it_and_nobody_out_of_service_is_asked() {
        let mut lane = lane(&[order("a", 10), order("b", 11)]);
        lane.set_free(Some(at(50)));
        check(&lane, &[("a", 50), ("b", 150)]);
        assert_eq!(lane.earliest(&order("c", 12), &sortie(), at(400)), Some(at(600)));
        lane.set_free(None);
        assert_eq!(lane.earliest(&order("c", 12), &sortie(), at(400)), None);
        assert!(lane.next_flight(SLACK).is_none());
    }

    #[test]
    fn a_flight_whose_delivery_is_not_made_gives_way_after_a_moment() {
        let mut lane = lane(&[Order { made: false, ..order("a", 10) }, order("b", 11)]);
        let (due, next) = lane.next_flight(SLACK).unwrap();
        assert_eq!((due, next.order.delivery_id.as_str()), (at(10), "b"));
        lane.put(Arc::new(order("a", 10)), sortie(), at(0));
        let (due, next) = lane.next_flight(SLACK).unwrap();
        assert_eq!((due, next.order.delivery_id.as_str()), (at(0), "a"));
    }

    #[test]
    fn a_drone_that_is_free_sooner_breaks_no_promise() {
        let held = Order { not_before: at(270), ..order("held", 1) };
        let promised = Order { latest: Some(at(200)), ..order("p", 12) };
        let longer = Sortie { charge: Duration::from_secs(65), ..sortie() };
        let mut lane = lane(&[held]);
        lane.set_free(Some(at(10)));
        for (order, sortie) in
            [(order("a", 10), sortie()), (order("b", 11), longer), (promised, sortie())]
        {
            lane.put(Arc::new(order), sortie, at(0));
        }
        check(&lane, &[("a", 10), ("p", 110), ("held", 250), ("b", 350)]);
        // By ranks alone the longer one would go before the held one now, and the promised one behind.
        lane.set_free(Some(at(0)));
        check(&lane, &[("a", 0), ("p", 100), ("held", 250), ("b", 350)]);
        lane.drop("p");
        check(&lane, &[("a", 0), ("b", 100), ("held", 250)]);
    }

    #[test]
    fn a_promised_time_is_not_missed_for_somebody_else() {
        let promised = Order { latest: Some(at(100)), ..order("a", 10) };
        let lane = lane(&[promised]);
        assert!(lane.would_suffer(&Arc::new(order("x", 5)), &sortie(), at(0)));
        assert!(!lane.would_suffer(&Arc::new(order("y", 11)), &sortie(), at(0)));
    }
}
