//! Which batches of a numbered producer a partition has. Pure.
//!
//! Not a high-water mark: the last five batches are known one by one, so a batch that is repeated
//! late gets its own offset, and one that is missing is asked for instead of being dropped as old.

use std::collections::{BTreeMap, VecDeque};

use kafka_wire::{ErrorCode, batch::Producer};

/// Batches that a producer may have under way at a time, by the protocol.
const BATCHES_MAX: usize = 5;
/// Producers of a partition that are remembered; past it the one that was silent longest goes.
const PRODUCERS_MAX: usize = 10_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    base_sequence: i32,
    last_sequence: i32,
    base_offset: u64,
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
}

/// What a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judged {
    /// It comes next.
    Next,
    /// It is there already.
    Repeated {
        /// Where.
        base_offset: u64,
    },
    /// It cannot be taken.
    Refused(ErrorCode),
}

/// Sequence numbers go round after the largest.
fn after(sequence: i32, count: u32) -> i32 {
    let next = i64::from(sequence) + i64::from(count);
    i32::try_from(next % (i64::from(i32::MAX) + 1)).unwrap_or(0)
}

impl Producers {
    /// Judges a batch; nothing is remembered before [`note`](Self::note).
    pub(crate) fn judge(&self, producer: Producer, records: u32) -> Judged {
        let Some(life) = self.lives.get(&producer.id) else { return Judged::Next };
        if producer.epoch < life.epoch {
            return Judged::Refused(ErrorCode::InvalidProducerEpoch);
        }
        if producer.epoch > life.epoch {
            let starts = producer.base_sequence == 0;
            return if starts {
                Judged::Next
            } else {
                Judged::Refused(ErrorCode::OutOfOrderSequenceNumber)
            };
        }
        let last_sequence = after(producer.base_sequence, records - 1);
        let same = |it: &&Known| {
            it.base_sequence == producer.base_sequence && it.last_sequence == last_sequence
        };
        if let Some(known) = life.batches.iter().find(same) {
            return Judged::Repeated { base_offset: known.base_offset };
        }
        match life.batches.back() {
            Some(last) if after(last.last_sequence, 1) != producer.base_sequence => {
                let is_old = producer.base_sequence <= last.last_sequence
                    && last.last_sequence - producer.base_sequence < 1 << 20;
                Judged::Refused(if is_old {
                    ErrorCode::DuplicateSequenceNumber
                } else {
                    ErrorCode::OutOfOrderSequenceNumber
                })
            }
            Some(_) | None => Judged::Next,
        }
    }

    /// Remembers a batch that is in the log.
    pub(crate) fn note(&mut self, producer: Producer, records: u32, base_offset: u64) {
        self.clock += 1;
        let life = self.lives.entry(producer.id).or_default();
        if life.epoch != producer.epoch {
            life.batches.clear();
        }
        (life.epoch, life.touched) = (producer.epoch, self.clock);
        life.batches.push_back(Known {
            base_sequence: producer.base_sequence,
            last_sequence: after(producer.base_sequence, records - 1),
            base_offset,
        });
        if life.batches.len() > BATCHES_MAX {
            life.batches.pop_front();
        }
        if self.lives.len() > PRODUCERS_MAX
            && let Some(id) = self.lives.iter().min_by_key(|it| it.1.touched).map(|it| *it.0)
        {
            self.lives.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn producer(epoch: i16, base_sequence: i32) -> Producer {
        Producer { id: 7, epoch, base_sequence }
    }

    fn with_three() -> Producers {
        let mut producers = Producers::default();
        for (sequence, offset) in [(0, 100), (10, 110), (20, 120)] {
            assert_eq!(producers.judge(producer(0, sequence), 10), Judged::Next);
            producers.note(producer(0, sequence), 10, offset);
        }
        producers
    }

    #[test]
    fn a_repeated_batch_has_the_offset_that_it_had() {
        let producers = with_three();
        for (sequence, base_offset) in [(0, 100), (10, 110), (20, 120)] {
            let judged = producers.judge(producer(0, sequence), 10);
            assert_eq!(judged, Judged::Repeated { base_offset });
        }
    }

    #[test]
    fn a_gap_is_refused_and_not_taken_for_new() {
        let refused = Judged::Refused(ErrorCode::OutOfOrderSequenceNumber);
        assert_eq!(with_three().judge(producer(0, 40), 10), refused);
        assert_eq!(with_three().judge(producer(0, 30), 10), Judged::Next);
    }

    #[test]
    fn an_older_life_is_fenced_and_a_newer_one_starts_at_zero() {
        let mut producers = with_three();
        assert_eq!(producers.judge(producer(1, 0), 1), Judged::Next);
        producers.note(producer(1, 0), 1, 200);
        let fenced = Judged::Refused(ErrorCode::InvalidProducerEpoch);
        assert_eq!(producers.judge(producer(0, 30), 1), fenced);
        let refused = Judged::Refused(ErrorCode::OutOfOrderSequenceNumber);
        assert_eq!(producers.judge(producer(2, 5), 1), refused);
    }

    #[test]
    fn sequence_numbers_go_round() {
        let mut producers = Producers::default();
        producers.note(producer(0, i32::MAX - 1), 2, 1);
        assert_eq!(producers.judge(producer(0, 0), 1), Judged::Next);
    }
}
