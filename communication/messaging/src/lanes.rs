//! What is processed when, and what may be committed. Pure.
//!
//! Records of one key are processed one after the other, in their order; records of different keys
//! at the same time. A key whose record failed waits alone. An offset may be committed when
//! everything before it is settled, whatever the order in which that happened.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;

/// A partition of a topic.
pub(crate) type Place = (Arc<str>, u32);

/// Where a record stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) place: Place,
    pub(crate) offset: u64,
}

/// A record that is to be processed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item<R> {
    pub(crate) position: Position,
    /// Failed attempts so far.
    pub(crate) failures: u32,
    /// Failures that do not count: something else was down.
    pub(crate) waits: u32,
    pub(crate) record: R,
}

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Processed, or given up for good.
    Settled,
    /// Given again after a wait; it counts.
    Again(Duration),
    /// Given again after a wait; it does not count.
    Wait(Duration),
}

#[derive(Debug)]
struct Lane<R> {
    queue: VecDeque<Item<R>>,
    state: LaneState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LaneState {
    Ready,
    Running,
    Waiting,
}

#[derive(Debug, Default)]
struct Tracker {
    /// Everything before it is settled.
    committed: u64,
    /// Highest offset that was taken in, plus one.
    end: u64,
    /// Taken in and not settled.
    open: BTreeSet<u64>,
    /// What the group has as committed; none when that is not what it should have.
    told: Option<u64>,
}

/// A key in a partition; a record without a key is a lane of its own.
pub(crate) type LaneKey = (Place, Option<Bytes>, u64);

/// The records of one subscription.
#[derive(Debug)]
pub(crate) struct Lanes<R> {
    lanes: BTreeMap<LaneKey, Lane<R>>,
    trackers: BTreeMap<Place, Tracker>,
    /// Lanes that may go on, in the order in which they became so.
    ready: VecDeque<LaneKey>,
    /// Lanes whose record failed, by when they may go on: milliseconds on the caller's clock.
    waiting: BTreeSet<(u64, LaneKey)>,
    running: usize,
    running_max: usize,
    open: usize,
    window: usize,
}

impl<R> Lanes<R> {
    /// So many at a time, and so many taken in and not settled.
    pub(crate) fn new(running_max: usize, window: usize) -> Self {
        Self {
            lanes: BTreeMap::new(),
            trackers: BTreeMap::new(),
            ready: VecDeque::new(),
            waiting: BTreeSet::new(),
            running: 0,
            running_max,
            open: 0,
            window,
        }
    }

    /// Begins with a partition: everything before `offset` was settled before.
    pub(crate) fn assign(&mut self, place: Place, offset: u64) {
        let tracker =
            Tracker { committed: offset, end: offset, open: BTreeSet::new(), told: Some(offset) };
        self.trackers.insert(place, tracker);
    }

    /// Offset that is to be fetched next.
    pub(crate) fn next_offset(&self, place: &Place) -> Option<u64> {
        self.trackers.get(place).map(|it| it.end)
    }

    /// The same of every partition.
    pub(crate) fn next_offsets(&self) -> Vec<(Place, u64)> {
        self.trackers.iter().map(|(place, it)| (place.clone(), it.end)).collect()
    }

    /// How many more records may be taken in.
    pub(crate) fn room(&self) -> usize {
        self.window.saturating_sub(self.open)
    }

    /// Takes a record in. One that is not new is dropped.
    pub(crate) fn add(&mut self, position: Position, key: Option<Bytes>, record: R) {
        let Some(tracker) = self.trackers.get_mut(&position.place) else { return };
        if position.offset < tracker.end {
            return;
        }
        tracker.end = position.offset + 1;
        tracker.open.insert(position.offset);
        self.open += 1;
        let alone = if key.is_some() { 0 } else { position.offset };
        let lane_key = (position.place.clone(), key, alone);
        let item = Item { position, failures: 0, waits: 0, record };
        let lane = self.lanes.entry(lane_key.clone());
        let lane = lane.or_insert_with(|| Lane { queue: VecDeque::new(), state: LaneState::Ready });
        lane.queue.push_back(item);
        if lane.state == LaneState::Ready && lane.queue.len() == 1 {
            self.ready.push_back(lane_key);
        }
    }

    /// Passes offsets that hold no record, such as those that retention took.
    pub(crate) fn skip_to(&mut self, place: &Place, offset: u64) {
        if let Some(tracker) = self.trackers.get_mut(place) {
            tracker.end = tracker.end.max(offset);
        }
    }

    /// The partition ends before what was to come next: it goes on at `end`, and the group is told.
    /// What was taken in before is of a log that is gone, and holds up no commit.
    pub(crate) fn move_back(&mut self, place: &Place, end: u64) {
        if let Some(tracker) = self.trackers.get_mut(place) {
            *tracker = Tracker { committed: end, end, open: BTreeSet::new(), told: None };
        }
    }

    /// The next record to process, when there is one and room for it.
    pub(crate) fn start(&mut self) -> Option<(LaneKey, &Item<R>)> {
        if self.running >= self.running_max {
            return None;
        }
        let key = self.ready.pop_front()?;
        let lane = self.lanes.get_mut(&key)?;
        lane.state = LaneState::Running;
        self.running += 1;
        lane.queue.front().map(|item| (key, item))
    }

    /// Takes the end of an attempt in. One of a partition that is not ours any more is dropped.
    pub(crate) fn finish(
        &mut self,
        key: &LaneKey,
        position: &Position,
        outcome: Outcome,
        now: u64,
    ) {
        let Some(lane) = self.lanes.get_mut(key) else { return };
        let current = lane.queue.front().is_some_and(|it| it.position == *position);
        if lane.state != LaneState::Running || !current {
            return;
        }
        self.running -= 1;
        let wait = match outcome {
            Outcome::Settled => {
                lane.queue.pop_front();
                self.open -= 1;
                if let Some(tracker) = self.trackers.get_mut(&position.place) {
                    tracker.open.remove(&position.offset);
                }
                None
            }
            Outcome::Again(wait) => {
                lane.queue.front_mut().into_iter().for_each(|it| it.failures += 1);
                Some(wait)
            }
            Outcome::Wait(wait) => {
                lane.queue.front_mut().into_iter().for_each(|it| it.waits += 1);
                Some(wait)
            }
        };
        let wait = wait.map(|it| now + u64::try_from(it.as_millis()).unwrap_or(u64::MAX >> 1));
        match wait {
            Some(until) => {
                lane.state = LaneState::Waiting;
                self.waiting.insert((until, key.clone()));
            }
            None if lane.queue.is_empty() => {
                self.lanes.remove(key);
            }
            None => {
                lane.state = LaneState::Ready;
                self.ready.push_back(key.clone());
            }
        }
    }

    /// Lets lanes go on whose wait is over; gives when the next one's is.
    pub(crate) fn wake(&mut self, now: u64) -> Option<u64> {
        while self.waiting.first().is_some_and(|it| it.0 <= now) {
            let Some((_, key)) = self.waiting.pop_first() else { break };
            if let Some(lane) = self.lanes.get_mut(&key) {
                lane.state = LaneState::Ready;
                self.ready.push_back(key);
            }
        }
        self.waiting.first().map(|it| it.0)
    }

    /// Drops what is not being processed: somebody else will get it.
    pub(crate) fn stop_starting(&mut self) {
        self.ready.clear();
        self.waiting.clear();
        let Self { lanes, trackers, open, .. } = self;
        for lane in lanes.values_mut() {
            let keep = usize::from(lane.state == LaneState::Running);
            for item in lane.queue.drain(keep..) {
                *open -= 1;
                // It stays open in its tracker, so that nothing past it is committed.
                debug_assert!(trackers.contains_key(&item.position.place), "an unknown partition");
            }
        }
        lanes.retain(|_, it| !it.queue.is_empty());
    }

    /// How many are being processed.
    pub(crate) const fn running(&self) -> usize {
        self.running
    }

    /// Offsets that the group is to be told of.
    pub(crate) fn commits(&mut self) -> Vec<(Place, u64)> {
        let mut commits = Vec::new();
        for (place, tracker) in &mut self.trackers {
            tracker.committed = tracker.open.first().copied().unwrap_or(tracker.end);
            if tracker.told != Some(tracker.committed) {
                commits.push((place.clone(), tracker.committed));
            }
        }
        commits
    }

    /// The group was told.
    pub(crate) fn committed(&mut self, commits: &[(Place, u64)]) {
        for (place, offset) in commits {
            if let Some(tracker) = self.trackers.get_mut(place) {
                tracker.told = Some(*offset);
            }
        }
    }

    /// The oldest record of each partition that is taken in and not settled.
    pub(crate) fn oldest(&self) -> impl Iterator<Item = &Item<R>> {
        self.lanes.values().filter_map(|it| it.queue.front())
    }

    /// How far each partition is taken in.
    pub(crate) fn ends(&self) -> impl Iterator<Item = (&Place, u64)> {
        self.trackers.iter().map(|(place, it)| (place, it.open.first().copied().unwrap_or(it.end)))
    }
}

#[cfg(test)]
mod tests {
    use base::Random;

    use super::*;

    fn place(partition: u32) -> Place {
        (Arc::from("orders"), partition)
    }

    fn position(partition: u32, offset: u64) -> Position {
        Position { place: place(partition), offset }
    }

    fn lanes(records: &[(u64, Option<&str>)]) -> Lanes<u64> {
        let mut lanes = Lanes::new(8, 100);
        lanes.assign(place(0), 0);
        for (offset, key) in records {
            lanes.add(
                position(0, *offset),
                key.map(|it| Bytes::copy_from_slice(it.as_bytes())),
                *offset,
            );
        }
        lanes
    }

    fn start_all(lanes: &mut Lanes<u64>) -> Vec<(LaneKey, u64)> {
        std::iter::from_fn(|| lanes.start().map(|(key, item)| (key, item.record))).collect()
    }

    #[test]
    fn a_key_is_processed_in_its_order_and_others_beside_it() {
        let mut lanes =
            lanes(&[(0, Some("a")), (1, Some("a")), (2, Some("b")), (3, None), (4, None)]);
        let started = start_all(&mut lanes);
        assert_eq!(started.iter().map(|it| it.1).collect::<Vec<_>>(), [0, 2, 3, 4]);
        lanes.finish(&started[0].0, &position(0, 0), Outcome::Settled, 0);
        assert_eq!(start_all(&mut lanes)[0].1, 1);
    }

    #[test]
    fn a_commit_never_passes_a_record_that_is_not_settled() {
        let mut lanes = lanes(&[(0, Some("a")), (1, Some("b")), (2, Some("c"))]);
        let started = start_all(&mut lanes);
        lanes.finish(&started[1].0, &position(0, 1), Outcome::Settled, 0);
        assert_eq!(lanes.commits(), []);
        lanes.finish(&started[0].0, &position(0, 0), Outcome::Settled, 0);
        assert_eq!(lanes.commits(), [(place(0), 2)]);
        assert_eq!(lanes.commits(), [(place(0), 2)], "nobody was told yet");
        lanes.committed(&[(place(0), 2)]);
        assert_eq!(lanes.commits(), []);
    }

    #[test]
    fn a_failing_key_waits_alone_and_counts() {
        let mut lanes = lanes(&[(0, Some("a")), (1, Some("a")), (2, Some("b"))]);
        let started = start_all(&mut lanes);
        lanes.finish(&started[0].0, &position(0, 0), Outcome::Again(Duration::from_millis(5)), 100);
        lanes.finish(&started[1].0, &position(0, 2), Outcome::Settled, 100);
        assert_eq!(lanes.wake(104), Some(105));
        assert_eq!(start_all(&mut lanes), []);
        assert_eq!(lanes.wake(105), None);
        let (_, item) = lanes.start().unwrap();
        assert_eq!((item.record, item.failures, item.waits), (0, 1, 0));
    }

    #[test]
    fn the_window_bounds_what_is_taken_in() {
        let mut lanes: Lanes<u64> = Lanes::new(1, 3);
        lanes.assign(place(0), 10);
        for offset in 10..12 {
            lanes.add(position(0, offset), None, offset);
        }
        assert_eq!(lanes.room(), 1);
        lanes.add(position(0, 5), None, 5);
        assert_eq!(lanes.room(), 1, "what was settled before is dropped");
        let (key, _) = lanes.start().unwrap();
        assert!(lanes.start().is_none(), "one at a time");
        lanes.finish(&key, &position(0, 10), Outcome::Settled, 0);
        assert_eq!((lanes.room(), lanes.next_offset(&place(0))), (2, Some(12)));
    }

    #[test]
    fn what_was_not_begun_is_left_to_the_next_owner() {
        let mut lanes = lanes(&[(0, Some("a")), (1, Some("b")), (2, Some("a"))]);
        let (key, _) = lanes.start().unwrap();
        lanes.stop_starting();
        assert!(lanes.start().is_none());
        lanes.finish(&key, &position(0, 0), Outcome::Settled, 0);
        assert_eq!(lanes.running(), 0);
        assert_eq!(lanes.commits(), [(place(0), 1)], "1 was never processed");
    }

    #[test]
    fn a_log_that_ends_too_early_is_followed_back_and_the_group_is_told() {
        let mut lanes: Lanes<u64> = Lanes::new(8, 100);
        lanes.assign(place(0), 100);
        lanes.add(position(0, 100), None, 100);
        let (key, _) = lanes.start().unwrap();
        lanes.move_back(&place(0), 0);
        assert_eq!((lanes.next_offset(&place(0)), lanes.commits()), (Some(0), vec![(place(0), 0)]));
        lanes.finish(&key, &position(0, 100), Outcome::Settled, 0);
        lanes.committed(&[(place(0), 0)]);
        assert_eq!((lanes.room(), lanes.commits()), (100, vec![]));
        lanes.add(position(0, 0), None, 0);
        assert_eq!(lanes.start().map(|it| it.1.record), Some(0));
    }

    /// Any history: each key in its order, commits only grow and never pass an open record.
    #[test]
    fn no_history_breaks_the_order_of_a_key_or_commits_too_far() {
        for seed in 0..200 {
            let mut random = Random::with_seed(seed);
            let mut lanes: Lanes<u64> = Lanes::new(4, 50);
            lanes.assign(place(0), 0);
            let (mut next, mut now, mut committed) = (0_u64, 0_u64, 0_u64);
            let mut running: Vec<(LaneKey, u64)> = Vec::new();
            let mut settled: BTreeMap<Bytes, u64> = BTreeMap::new();
            let mut done: BTreeSet<u64> = BTreeSet::new();
            for _ in 0..400 {
                now += 1;
                match random.below(4) {
                    0 if lanes.room() > 0 => {
                        let key = Bytes::from(vec![u8::try_from(random.below(5)).unwrap()]);
                        lanes.add(position(0, next), Some(key), next);
                        next += 1;
                    }
                    1 => running.extend(lanes.start().map(|(key, it)| (key, it.record))),
                    2 if !running.is_empty() => {
                        let at = usize::try_from(random.below(running.len() as u64)).unwrap();
                        let (key, offset) = running.swap_remove(at);
                        let fails = random.below(3) == 0;
                        let wait = Duration::from_millis(random.below(5));
                        let outcome = if fails { Outcome::Again(wait) } else { Outcome::Settled };
                        if !fails {
                            let last = settled.insert(key.1.clone().unwrap(), offset);
                            assert!(last.is_none_or(|it| it < offset), "seed {seed}: order");
                            done.insert(offset);
                        }
                        lanes.finish(&key, &position(0, offset), outcome, now);
                    }
                    _ => {
                        lanes.wake(now);
                    }
                }
                let due = lanes.commits();
                lanes.committed(&due);
                for (_, offset) in due {
                    assert!(offset > committed, "seed {seed}: a commit went back");
                    assert!(
                        (committed..offset).all(|it| done.contains(&it)),
                        "seed {seed}: too far"
                    );
                    committed = offset;
                }
            }
        }
    }
}
