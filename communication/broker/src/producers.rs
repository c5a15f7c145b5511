//! Which batches of a numbered producer a partition has, and which are on their way into it. Pure.
//!
//! Not a high-water mark: the last five batches are known one by one, so a batch that is repeated
//! late gets its own offset, and one that is missing is asked for instead of being dropped as old.
//! A batch counts from the moment in which it is handed to the log, so that the next one need not
//! wait for its commit. When one fails, those behind it are cut back with it: the log refuses them
//! too, because they expect the life of the log that ended with the failure.

use std::collections::{BTreeMap, VecDeque};

use kafka_wire::{ErrorCode, batch::Producer};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

/// Batches that a producer may have under way at a time, by the protocol.
const BATCHES_MAX: usize = 5;
/// Producers of a partition that are remembered; past it the one that was silent longest goes.
const PRODUCERS_MAX: usize = 10_000;

/// Who is told where a batch stands, or why it does not.
pub(crate) type Waiter = oneshot::Sender<Result<u64, ErrorCode>>;
/// Stands for one batch that was handed to the log.
pub(crate) type Ticket = u64;

#[derive(Debug)]
enum State {
    At {
        base_offset: u64,
    },
    UnderWay {
        ticket: Ticket,
        /// The life of the log that it was handed in under.
        life: u64,
        /// Those who repeated it meanwhile.
        waiters: Vec<Waiter>,
    },
}

#[derive(Debug)]
struct Known {
    base_sequence: i32,
    last_sequence: i32,
    state: State,
}

#[derive(Debug, Default)]
struct Life {
    epoch: i16,
    batches: VecDeque<Known>,
    touched: u64,
}

/// The producers of one partition.
#[derive(Debug, Default)]
pub(crate) struct Producers {
    lives: BTreeMap<i64, Life>,
    clock: u64,
    /// Where the last batch that is in the log ends.
    noted_to: u64,
}

/// A producer as it is written: its batches that are in the log, oldest first, each with its first and
/// its last number and the offset of its first record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Written {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
    pub(crate) batches: Vec<(i32, i32, u64)>,
}

/// What a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judged {
    /// It comes next, in this life of the log: behind a batch under way in that of the batch.
    Next {
        /// Which life.
        life: u64,
    },
    /// It is there already.
    Repeated {
        /// Where.
        base_offset: u64,
    },
    /// It is on its way already.
    UnderWay(Ticket),
    /// It cannot be taken.
    Refused(ErrorCode),
}

/// How many records have these numbers, both included.
fn count(base_sequence: i32, last_sequence: i32) -> u64 {
    let count =
        (i64::from(last_sequence) - i64::from(base_sequence)).rem_euclid(i64::from(i32::MAX) + 1);
    count.unsigned_abs() + 1
}

/// Sequence numbers go round after the largest.
fn after(sequence: i32, count: u32) -> i32 {
    let next = i64::from(sequence) + i64::from(count);
    i32::try_from(next % (i64::from(i32::MAX) + 1)).unwrap_or(0)
}

impl Producers {
    /// Judges a batch while the log is in a life; nothing is remembered before it is noted.
    pub(crate) fn judge(&self, producer: Producer, records: u32, life: u64) -> Judged {
        let Some(known) = self.lives.get(&producer.id) else { return Judged::Next { life } };
        if producer.epoch < known.epoch {
            return Judged::Refused(ErrorCode::InvalidProducerEpoch);
        }
        if producer.epoch > known.epoch {
            let starts = producer.base_sequence == 0;
            return if starts {
                Judged::Next { life }
            } else {
                Judged::Refused(ErrorCode::OutOfOrderSequenceNumber)
            };
        }
        let last_sequence = after(producer.base_sequence, records - 1);
        let same = |it: &&Known| {
            it.base_sequence == producer.base_sequence && it.last_sequence == last_sequence
        };
        if let Some(known) = known.batches.iter().find(same) {
            return match known.state {
                State::At { base_offset } => Judged::Repeated { base_offset },
                State::UnderWay { ticket, .. } => Judged::UnderWay(ticket),
            };
        }
        match known.batches.back() {
            Some(last) if after(last.last_sequence, 1) != producer.base_sequence => {
                let is_old = producer.base_sequence <= last.last_sequence
                    && last.last_sequence - producer.base_sequence < 1 << 20;
                Judged::Refused(if is_old {
                    ErrorCode::DuplicateSequenceNumber
                } else {
                    ErrorCode::OutOfOrderSequenceNumber
                })
            }
            Some(Known { state: State::UnderWay { life, .. }, .. }) => Judged::Next { life: *life },
            Some(_) | None => Judged::Next { life },
        }
    }

    /// The ticket of the batch that is noted next.
    pub(crate) const fn next_ticket(&self) -> Ticket {
        self.clock + 1
    }

    /// Remembers a batch that is in the log.
    pub(crate) fn note(&mut self, producer: Producer, records: u32, base_offset: u64) {
        self.noted_to = self.noted_to.max(base_offset + u64::from(records));
        self.remember(producer, records, |_| State::At { base_offset });
    }

    /// The producers that were written, but their batches that a log which ends at `end` cannot have.
    pub(crate) fn restored(written: Vec<Written>, end: u64) -> Self {
        let mut producers = Self::default();
        for Written { id, epoch, batches } in written {
            for (base_sequence, last_sequence, base_offset) in batches {
                let records = count(base_sequence, last_sequence);
                let is_there = base_offset.checked_add(records).is_some_and(|it| it <= end);
                if let Some(records) = u32::try_from(records).ok().filter(|_| is_there) {
                    producers.note(Producer { id, epoch, base_sequence }, records, base_offset);
                }
            }
        }
        producers
    }

    /// Up to which offset all is noted, of a log that ends at `end`, and so many of the producers,
    /// those that sent last behind the others.
    pub(crate) fn written(&self, end: u64, producers_max: usize) -> (u64, Vec<Written>) {
        let is_under_way = |it: &Known| matches!(it.state, State::UnderWay { .. });
        let waits = self.lives.values().any(|it| it.batches.iter().any(is_under_way));
        let mut lives: Vec<_> = self.lives.iter().collect();
        lives.sort_unstable_by_key(|it| it.1.touched);
        let oldest = lives.len().saturating_sub(producers_max);
        let written = lives[oldest..].iter().map(|(id, life)| Written {
            id: **id,
            epoch: life.epoch,
            batches: life.batches.iter().filter_map(Known::written).collect(),
        });
        let written = written.filter(|it| !it.batches.is_empty()).collect();
        (if waits { self.noted_to } else { end }, written)
    }

    /// Grows with every batch.
    pub(crate) const fn version(&self) -> u64 {
        self.clock
    }

    /// Remembers a batch that was handed to the log in a life of it; how it ends is said under the
    /// ticket.
    pub(crate) fn note_under_way(
        &mut self,
        producer: Producer,
        records: u32,
        life: u64,
        waiter: Waiter,
    ) -> Ticket {
        let state = |ticket| State::UnderWay { ticket, life, waiters: vec![waiter] };
        self.remember(producer, records, state)
    }

    /// Tells one who repeated a batch under way how that ends, too.
    pub(crate) fn wait(&mut self, id: i64, ticket: Ticket, waiter: Waiter) {
        let batches = self.lives.get_mut(&id).into_iter().flat_map(|it| &mut it.batches);
        for known in batches {
            if let State::UnderWay { ticket: it, waiters, .. } = &mut known.state
                && *it == ticket
            {
                waiters.push(waiter);
                return;
            }
        }
    }

    /// A batch under way has ended: it is at an offset, or it is cut back with all behind it. Gives
    /// those who are to be told of it.
    pub(crate) fn settle(
        &mut self,
        id: i64,
        ticket: Ticket,
        base_offset: Option<u64>,
    ) -> Vec<Waiter> {
        let Some(life) = self.lives.get_mut(&id) else { return Vec::new() };
        let is_it =
            |it: &Known| matches!(it.state, State::UnderWay { ticket: own, .. } if own == ticket);
        let Some(at) = life.batches.iter().position(is_it) else { return Vec::new() };
        match base_offset {
            Some(base_offset) => {
                let state = State::At { base_offset };
                let known = &mut life.batches[at];
                let records = count(known.base_sequence, known.last_sequence);
                self.noted_to = self.noted_to.max(base_offset + records);
                std::mem::replace(&mut known.state, state).waiters()
            }
            None => {
                let cut = life.batches.drain(at..);
                cut.flat_map(|it| it.state.waiters()).collect()
            }
        }
    }

    fn remember(
        &mut self,
        producer: Producer,
        records: u32,
        state: impl FnOnce(Ticket) -> State,
    ) -> Ticket {
        self.clock += 1;
        let ticket = self.clock;
        let life = self.lives.entry(producer.id).or_default();
        if life.epoch != producer.epoch {
            life.batches.clear();
        }
        (life.epoch, life.touched) = (producer.epoch, ticket);
        life.batches.push_back(Known {
            base_sequence: producer.base_sequence,
            last_sequence: after(producer.base_sequence, records - 1),
            state: state(ticket),
        });
        let is_there = |it: &Known| matches!(it.state, State::At { .. });
        // One under way is never forgotten: how it ends must find it.
        if life.batches.len() > BATCHES_MAX && life.batches.front().is_some_and(is_there) {
            life.batches.pop_front();
        }
        if self.lives.len() > PRODUCERS_MAX
            && let Some(id) = self.lives.iter().min_by_key(|it| it.1.touched).map(|it| *it.0)
        {
            self.lives.remove(&id);
        }
        ticket
    }
}

impl Known {
    fn written(&self) -> Option<(i32, i32, u64)> {
        match self.state {
            State::At { base_offset } => {
                Some((self.base_sequence, self.last_sequence, base_offset))
            }
            State::UnderWay { .. } => None,
        }
    }
}

impl State {
    fn waiters(self) -> Vec<Waiter> {
        match self {
            Self::At { .. } => Vec::new(),
            Self::UnderWay { waiters, .. } => waiters,
        }
    }
}

#[cfg(test)]
mod tests {
    use base::Random;

    use super::*;

    fn producer(epoch: i16, base_sequence: i32) -> Producer {
        Producer { id: 7, epoch, base_sequence }
    }

    fn with_three() -> Producers {
        let mut producers = Producers::default();
        for (sequence, offset) in [(0, 100), (10, 110), (20, 120)] {
            assert_eq!(producers.judge(producer(0, sequence), 10, 0), Judged::Next { life: 0 });
            producers.note(producer(0, sequence), 10, offset);
        }
        producers
    }

    #[test]
    fn a_repeated_batch_has_the_offset_that_it_had() {
        let producers = with_three();
        for (sequence, base_offset) in [(0, 100), (10, 110), (20, 120)] {
            let judged = producers.judge(producer(0, sequence), 10, 0);
            assert_eq!(judged, Judged::Repeated { base_offset });
        }
    }

    #[test]
    fn a_gap_is_refused_and_not_taken_for_new() {
        let refused = Judged::Refused(ErrorCode::OutOfOrderSequenceNumber);
        assert_eq!(with_three().judge(producer(0, 40), 10, 0), refused);
        assert_eq!(with_three().judge(producer(0, 30), 10, 0), Judged::Next { life: 0 });
    }

    #[test]
    fn an_older_life_is_fenced_and_a_newer_one_starts_at_zero() {
        let mut producers = with_three();
        assert_eq!(producers.judge(producer(1, 0), 1, 0), Judged::Next { life: 0 });
        producers.note(producer(1, 0), 1, 200);
        let fenced = Judged::Refused(ErrorCode::InvalidProducerEpoch);
        assert_eq!(producers.judge(producer(0, 30), 1, 0), fenced);
        let refused = Judged::Refused(ErrorCode::OutOfOrderSequenceNumber);
        assert_eq!(producers.judge(producer(2, 5), 1, 0), refused);
    }

    #[test]
    fn sequence_numbers_go_round() {
        let mut producers = Producers::default();
        producers.note(producer(0, i32::MAX - 1), 2, 1);
        assert_eq!(producers.judge(producer(0, 0), 1, 0), Judged::Next { life: 0 });
    }

    fn waiter() -> Waiter {
        oneshot::channel().0
    }

    #[test]
    fn a_batch_behind_one_under_way_expects_the_same_life_and_falls_with_it() {
        let mut producers = with_three();
        let first = producers.note_under_way(producer(0, 30), 10, 4, waiter());
        // The log is in its next life already, and nobody has said so here.
        assert_eq!(producers.judge(producer(0, 40), 10, 5), Judged::Next { life: 4 });
        let second = producers.note_under_way(producer(0, 40), 10, 4, waiter());
        assert_eq!(producers.judge(producer(0, 40), 10, 5), Judged::UnderWay(second));
        assert_eq!(producers.settle(7, first, None).len(), 2, "both are told");
        assert_eq!(producers.judge(producer(0, 30), 10, 5), Judged::Next { life: 5 });
        let again = producers.note_under_way(producer(0, 30), 10, 5, waiter());
        assert!(producers.settle(7, second, None).is_empty(), "its end harms no later one");
        producers.settle(7, again, Some(130));
        let there = Judged::Repeated { base_offset: 130 };
        assert_eq!(producers.judge(producer(0, 30), 10, 5), there);
    }

    /// A log of groups that fail by chance, and a client with up to five batches under way that
    /// repeats what was refused: every batch is there once, in order.
    #[test]
    fn no_history_of_failing_groups_doubles_a_batch_or_leaves_a_gap() {
        for seed in 0..300 {
            let mut random = Random::with_seed(seed);
            let mut producers = Producers::default();
            let (mut life, mut log) = (0, Vec::new());
            // Handed in: ticket, expected life, sequence. With the client: sequence, ticket.
            let mut queue: VecDeque<(Ticket, u64, i32)> = VecDeque::new();
            let (mut acknowledged, mut next) = (0, 0);
            while acknowledged < 60 {
                if random.below(2) == 0 && next < acknowledged + 5 {
                    match producers.judge(producer(0, next), 1, life) {
                        Judged::Next { life } => {
                            let it = producers.note_under_way(producer(0, next), 1, life, waiter());
                            queue.push_back((it, life, next));
                            next += 1;
                        }
                        Judged::Repeated { .. } | Judged::UnderWay(_) => next += 1,
                        Judged::Refused(code) => {
                            assert_eq!(code, ErrorCode::OutOfOrderSequenceNumber, "seed {seed}");
                            next = acknowledged;
                        }
                    }
                    continue;
                }
                let count = usize::try_from(random.below(4)).unwrap().min(queue.len());
                let fails = random.below(3) == 0;
                let group: Vec<_> = queue.drain(..count).collect();
                let taken = life;
                life += u64::from(fails && group.iter().any(|it| it.1 == taken));
                for (ticket, expected, sequence) in group {
                    if fails || expected != taken {
                        producers.settle(7, ticket, None);
                        next = acknowledged;
                    } else {
                        log.push(sequence);
                        producers.settle(7, ticket, u64::try_from(log.len()).ok());
                        acknowledged = acknowledged.max(sequence + 1);
                    }
                }
            }
            assert!(log.iter().copied().eq(0..i32::try_from(log.len()).unwrap()), "seed {seed}");
        }
    }
}
