//! One partition's messages on their way: what is the next batch, under which numbers, until when.
//! Pure: time comes in, what is to be sent and answered goes out.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use kafka_wire::batch::{Producer, Record, encode};
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::Instant,
};

use crate::{error::PublishError, message::Receipt};

/// Bytes of one batch; a single longer message is a batch of its own.
const BATCH_BYTES_MAX: usize = 512 << 10;
/// Wait after an attempt that failed.
pub(super) const AGAIN_AFTER: Duration = Duration::from_millis(50);
/// When a caller should try again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

pub(crate) type Reply = oneshot::Sender<Result<Receipt, PublishError>>;

/// A message that is to be published.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) topic: String,
    /// The topic that it came from, when it is a dead letter: its topic may have to be made.
    pub(crate) letter_of: Option<String>,
    pub(crate) record: Record,
    pub(crate) bytes: usize,
    pub(crate) deadline: Instant,
    pub(crate) reply: Reply,
    /// Its place, and that of its bytes, among all that is under way; free when it is answered.
    pub(crate) permits: [OwnedSemaphorePermit; 2],
}

/// A batch that is being sent, again if need be.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) outgoing: Vec<Outgoing>,
    encoded: Bytes,
    records: i32,
    /// Whether it may have reached the broker.
    pub(super) sent: bool,
}

#[derive(Debug, Default)]
pub(super) struct Partition {
    pub(super) queue: VecDeque<Outgoing>,
    batch: Option<Batch>,
    /// The batch is with a request now.
    in_flight: bool,
    /// Not again before then.
    wake: Option<Instant>,
    /// The producer's number and the next record's.
    identity: Option<(i64, i32)>,
}

/// Whether the producer's number can still be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    Good,
    /// A batch that was given up might still turn up under it.
    Spent,
}

impl Partition {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.batch.is_none()
    }

    /// Whether a batch is to be sent.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        !self.in_flight && self.wake.is_none_or(|it| it <= now) && !self.is_empty()
    }

    /// When it must be looked at again although nothing happens.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        if self.in_flight || self.is_empty() {
            return None;
        }
        let oldest = self.batch.as_ref().and_then(|it| it.outgoing.first());
        let oldest = oldest.or_else(|| self.queue.front()).map(|it| it.deadline);
        oldest.into_iter().chain(self.wake).min()
    }

    /// Not again for a moment.
    pub(super) fn rest(&mut self, now: Instant) {
        self.wake = Some(now + AGAIN_AFTER);
    }

    /// What it rested for is there.
    pub(super) const fn go_on(&mut self) {
        self.wake = None;
    }

    /// The batch to send: the one that must be repeated, or what has queued up. It is in flight then.
    pub(super) fn fill(&mut self, producer_id: i64) -> Bytes {
        self.in_flight = true;
        self.wake = None;
        if let Some(batch) = &self.batch {
            return batch.encoded.clone();
        }
        let (id, sequence) = *self.identity.get_or_insert((producer_id, 0));
        let (mut outgoing, mut bytes) = (Vec::new(), 0);
        while let Some(next) = self.queue.front() {
            if bytes + next.bytes > BATCH_BYTES_MAX && !outgoing.is_empty() {
                break;
            }
            bytes += next.bytes;
            outgoing.extend(self.queue.pop_front());
        }
        let records: Vec<Record> = outgoing.iter().map(|it| it.record.clone()).collect();
        let producer = Producer { id, epoch: 0, base_sequence: sequence };
        let encoded = encode(&records, Some(producer));
        let count = i32::try_from(records.len()).unwrap_or(i32::MAX);
        self.identity = Some((id, after(sequence, count)));
        let batch = Batch { outgoing, encoded: encoded.clone(), records: count, sent: false };
        self.batch = Some(batch);
        encoded
    }

    /// The request with the batch has ended; what becomes of it is said with what follows.
    pub(super) const fn landed(&mut self) -> Option<Batch> {
        self.in_flight = false;
        self.batch.take()
    }

    /// The batch is to be sent again, the same under the same number.
    pub(super) fn again(&mut self, batch: Batch, now: Instant) {
        self.batch = Some(batch);
        self.rest(now);
    }

    /// The log took nothing of the batch, and takes nothing under its number: its messages go back to
    /// where they were, and out under another one.
    pub(super) fn anew(&mut self, batch: Batch, now: Instant) {
        for outgoing in batch.outgoing.into_iter().rev() {
            self.queue.push_front(outgoing);
        }
        self.renumber();
        self.rest(now);
    }

    /// The next batch goes out under another number.
    pub(super) const fn renumber(&mut self) {
        self.identity = None;
    }

    /// Gives up what ran out of time.
    pub(super) fn expire(&mut self, now: Instant) -> Number {
        if self.in_flight {
            return Number::Good;
        }
        let mut number = Number::Good;
        let late = |it: &Batch| it.outgoing.iter().any(|it| it.deadline <= now);
        if self.batch.as_ref().is_some_and(late)
            && let Some(batch) = self.batch.take()
        {
            if batch.sent {
                // The batch might still turn up under the old number.
                self.identity = None;
                number = Number::Spent;
            } else if let Some((_, sequence)) = &mut self.identity {
                *sequence = before(*sequence, batch.records);
            }
            for outgoing in batch.outgoing {
                outgoing.give_up(batch.sent);
            }
        }
        expire(&mut self.queue, now);
        number
    }

    /// The topic that what waits here came from, when it is dead letters.
    pub(super) fn letter_of(&self) -> Option<String> {
        let batch = self.batch.iter().flat_map(|it| &it.outgoing);
        batch.chain(&self.queue).next()?.letter_of.clone()
    }
}

/// Gives up what was never sent and ran out of time.
pub(super) fn expire(queue: &mut VecDeque<Outgoing>, now: Instant) {
    while queue.front().is_some_and(|it| it.deadline <= now) {
        if let Some(outgoing) = queue.pop_front() {
            outgoing.give_up(false);
        }
    }
}

impl Outgoing {
    pub(super) fn answer(self, result: Result<Receipt, PublishError>) {
        // Free before whoever waits goes on: he may publish at once.
        drop(self.permits);
        // Whoever asked may have stopped waiting.
        self.reply.send(result).ok();
    }

    fn give_up(self, sent: bool) {
        self.answer(Err(if sent {
            PublishError::Unknown { message: "no answer in time".to_owned() }
        } else {
            PublishError::Unavailable { retry_after: RETRY_AFTER }
        }));
    }
}

fn after(sequence: i32, count: i32) -> i32 {
    let next = (i64::from(sequence) + i64::from(count)) % (i64::from(i32::MAX) + 1);
    i32::try_from(next).unwrap_or(0)
}

fn before(sequence: i32, count: i32) -> i32 {
    let round = i64::from(i32::MAX) + 1;
    i32::try_from((i64::from(sequence) - i64::from(count) + round) % round).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use base::Random;
    use kafka_wire::batch::{check, decode};
    use tokio::sync::Semaphore;

    use super::*;

    type Answer = oneshot::Receiver<Result<Receipt, PublishError>>;

    fn outgoing(number: u32, deadline: Instant) -> (Outgoing, Answer) {
        let (reply, answer) = oneshot::channel();
        let permit = || Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let value = Some(number.to_string().into());
        let outgoing = Outgoing {
            topic: "t".to_owned(),
            letter_of: None,
            record: Record { value, ..Record::default() },
            bytes: 100_000,
            deadline,
            reply,
            permits: [permit(), permit()],
        };
        (outgoing, answer)
    }

    #[test]
    fn sequence_numbers_go_round_and_back() {
        assert_eq!(after(i32::MAX, 1), 0);
        assert_eq!(after(5, 3), 8);
        assert_eq!(before(after(i32::MAX - 1, 7), 7), i32::MAX - 1);
    }

    /// A partition and what must hold of it.
    #[derive(Default)]
    struct History {
        partition: Partition,
        /// The number of the producer, as the log gives it.
        producer: i64,
        published: u32,
        answers: Vec<Answer>,
        /// What the log took, in order.
        taken: Vec<u32>,
        in_flight: Option<Bytes>,
        /// The batch that must come again as it was.
        repeated: Option<Bytes>,
        /// Under which numbers the next new batch must come.
        expected: Option<(i64, i32)>,
    }

    impl History {
        fn publish(&mut self, now: Instant) {
            let (message, answer) = outgoing(self.published, now + Duration::from_millis(200));
            self.partition.queue.push_back(message);
            self.answers.push(answer);
            self.published += 1;
        }

        fn send(&mut self) {
            let batch = self.partition.fill(self.producer);
            let head = check(&batch).unwrap().producer.unwrap();
            if let Some(before) = self.repeated.take() {
                assert_eq!(batch, before);
            } else {
                let numbers = (head.id, head.base_sequence);
                assert_eq!(numbers, self.expected.unwrap_or(numbers));
                let count = i32::try_from(decode(&batch).unwrap().len()).unwrap();
                self.expected = Some((head.id, after(head.base_sequence, count)));
            }
            self.in_flight = Some(batch);
        }

        fn hear(&mut self, random: &mut Random, now: Instant) {
            let Some(bytes) = self.in_flight.take() else { return };
            let mut batch = self.partition.landed().unwrap();
            match random.below(3) {
                0 => {
                    for outgoing in batch.outgoing {
                        let value = outgoing.record.value.clone().unwrap();
                        self.taken.push(std::str::from_utf8(&value).unwrap().parse().unwrap());
                        outgoing.answer(Ok(Receipt { partition: 0, offset: 0 }));
                    }
                }
                1 if !batch.sent => {
                    self.spend_number();
                    self.partition.anew(batch, now);
                }
                _ => {
                    batch.sent |= random.below(2) == 0;
                    self.repeated = Some(bytes);
                    self.partition.again(batch, now);
                }
            }
        }

        fn expire(&mut self, now: Instant) {
            let had_batch = self.partition.batch.is_some();
            match self.partition.expire(now) {
                Number::Spent => self.spend_number(),
                // Never sent: its numbers are the next batch's.
                Number::Good if had_batch && self.partition.batch.is_none() => {
                    self.repeated = None;
                    self.expected = self.partition.identity;
                }
                Number::Good => {}
            }
        }

        fn spend_number(&mut self) {
            self.producer += 1;
            (self.expected, self.repeated) = (Some((self.producer, 0)), None);
        }

        /// What is in flight comes back, and everything runs out of time.
        fn end(&mut self, now: Instant) {
            if self.in_flight.is_some() {
                let batch = self.partition.landed().unwrap();
                self.partition.again(batch, now);
            }
            self.partition.expire(now);
        }
    }

    /// Any history: each message is answered once; what is taken is in order; a repetition is the same
    /// batch; numbers have no gap under one producer, and a number that is spent is not used again.
    #[test]
    fn no_history_loses_an_answer_or_leaves_a_gap_in_the_numbers() {
        for seed in 0..300 {
            let mut random = Random::with_seed(seed);
            let mut now = Instant::now();
            let mut history = History::default();
            for _ in 0..300 {
                now += Duration::from_millis(10);
                match random.below(5) {
                    0 => history.publish(now),
                    1 if history.partition.is_due(now) => history.send(),
                    2 => history.hear(&mut random, now),
                    3 => history.expire(now),
                    _ => {}
                }
                if let Some(wake) = history.partition.next_wake() {
                    assert!(wake <= now + Duration::from_millis(200), "seed {seed}: it sleeps");
                }
            }
            history.end(now + Duration::from_secs(1));
            let unanswered =
                history.answers.iter_mut().filter_map(|it| it.try_recv().err()).count();
            assert_eq!((unanswered, history.partition.is_empty()), (0, true), "seed {seed}");
            assert!(history.taken.is_sorted(), "seed {seed}: out of order");
        }
    }
}
