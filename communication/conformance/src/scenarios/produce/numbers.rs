//! Numbers of producers: what is sent again is written once.

use bytes::Bytes;
use kafka_wire::{
    ErrorCode,
    batch::{self, Producer, Record},
    messages::ProducedPartition,
};

use crate::{
    capability::{MAKES, NUMBERS},
    judge::{Judged, Stop, holds, same, short},
    scenario::{Scenario, scenario},
    stage::Stage,
    wire::Wire,
};

#[rustfmt::skip]
pub(crate) const ALL: &[Scenario] = &[
    scenario!(Produce, two_producers_have_two_numbers, [NUMBERS],
        "No two producers get one number.",
        "sixteen numbers"),
    scenario!(Produce, a_batch_sent_twice_is_written_once, [MAKES, NUMBERS],
        "A batch that comes again under its number is acknowledged at its first place.",
        "two answers to one raw batch, and the records"),
    scenario!(Produce, the_last_five_batches_are_known_again, [MAKES, NUMBERS],
        "Of a producer, five batches may be under way: each is known when it comes again.",
        "the first of five raw batches sent again"),
    scenario!(Produce, a_batch_that_skips_a_number_is_refused, [MAKES, NUMBERS],
        "A batch before which one is missing is refused as out of order.",
        "the answer to a raw batch, and the records"),
    scenario!(Produce, a_refused_number_may_come_in_its_turn, [MAKES, NUMBERS],
        "A batch that came too early is taken in its turn.",
        "three raw batches, the third before the second"),
    scenario!(Produce, numbers_count_in_each_partition_alone, [MAKES, NUMBERS],
        "A producer's numbers begin anew in each partition.",
        "raw batches of one producer in two partitions"),
    scenario!(Produce, a_repeated_batch_is_known_on_another_connection, [MAKES, NUMBERS],
        "A number belongs to the producer, not to its connection.",
        "a raw batch, again over a new connection"),
    scenario!(Produce, batches_without_a_number_are_all_written, [MAKES],
        "Who numbers nothing gets what was sent, twice if it was sent twice.",
        "the records of one raw batch sent twice"),
];

/// A producer of its own number.
struct Numbered {
    wire: Wire,
    topic: String,
    id: i64,
    epoch: i16,
    /// When each record was made.
    time: i64,
}

impl Numbered {
    async fn new(stage: &Stage, partitions: u32) -> Result<Self, Stop> {
        let topic = stage.topic(partitions).await?;
        let mut wire = stage.wire_to(&topic, 0).await?;
        let (id, epoch) = wire.number().await?;
        Ok(Self { wire, topic, id, epoch, time: stage.an_hour_ago() })
    }

    /// Sends the one record of this number.
    async fn send(&mut self, partition: u32, number: i32) -> Result<ProducedPartition, Stop> {
        let record = Record {
            value: Some(number.to_string().into()),
            timestamp: self.time,
            ..Record::default()
        };
        let producer = Producer { id: self.id, epoch: self.epoch, base_sequence: number };
        let records = batch::encode(&[record], Some(producer));
        self.wire.produce(&self.topic, partition, -1, records).await
    }

    async fn sent(&mut self, partition: u32, number: i32, offset: i64) -> Judged {
        let produced = self.send(partition, number).await?;
        let found = (produced.error, produced.base_offset);
        same(&format!("the answer to number {number}"), found, (ErrorCode::None, offset))
    }

    /// What the partition holds.
    async fn values(&mut self, partition: u32) -> Result<Vec<Bytes>, Stop> {
        let records = self.wire.records(&self.topic, partition).await?;
        Ok(records.into_iter().filter_map(|(_, it)| it.value).collect())
    }
}

fn numbers(range: std::ops::Range<i32>) -> Vec<Bytes> {
    range.map(|it| it.to_string().into()).collect()
}

async fn two_producers_have_two_numbers(stage: &Stage) -> Judged {
    let mut wire = stage.wire().await?;
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..16 {
        let (id, epoch) = wire.number().await?;
        holds(id >= 0 && epoch >= 0, format!("number {id}, life {epoch}"))?;
        seen.insert((id, epoch));
    }
    same("numbers", seen.len(), 16)
}

async fn a_batch_sent_twice_is_written_once(stage: &Stage) -> Judged {
    let mut producer = Numbered::new(stage, 1).await?;
    producer.sent(0, 0, 0).await?;
    producer.sent(0, 0, 0).await?;
    producer.sent(0, 1, 1).await?;
    same("records", producer.values(0).await?, numbers(0..2))
}

async fn the_last_five_batches_are_known_again(stage: &Stage) -> Judged {
    let mut producer = Numbered::new(stage, 1).await?;
    for number in 0..5 {
        producer.sent(0, number, number.into()).await?;
    }
    for number in 0..5 {
        producer.sent(0, number, number.into()).await?;
    }
    same("records", producer.values(0).await?, numbers(0..5))
}

async fn skips(producer: &mut Numbered, number: i32) -> Judged {
    let skipped = producer.send(0, number).await?;
    let is_refused = skipped.error == ErrorCode::OutOfOrderSequenceNumber;
    holds(is_refused, format!("the answer is {}", short(&skipped.error)))
}

async fn a_batch_that_skips_a_number_is_refused(stage: &Stage) -> Judged {
    let mut producer = Numbered::new(stage, 1).await?;
    producer.sent(0, 0, 0).await?;
    skips(&mut producer, 5).await?;
    same("records", producer.values(0).await?, numbers(0..1))
}

async fn a_refused_number_may_come_in_its_turn(stage: &Stage) -> Judged {
    let mut producer = Numbered::new(stage, 1).await?;
    producer.sent(0, 0, 0).await?;
    skips(&mut producer, 2).await?;
    producer.sent(0, 1, 1).await?;
    producer.sent(0, 2, 2).await?;
    same("records", producer.values(0).await?, numbers(0..3))
}

async fn numbers_count_in_each_partition_alone(stage: &Stage) -> Judged {
    let mut producer = Numbered::new(stage, 2).await?;
    // One broker leads both here, or the second says that it does not: then nothing is proven.
    for number in 0..3 {
        producer.sent(0, number, number.into()).await?;
    }
    let topic = producer.topic.clone();
    producer.wire = stage.wire_to(&topic, 1).await?;
    for number in 0..3 {
        producer.sent(1, number, number.into()).await?;
    }
    same("records", producer.values(1).await?, numbers(0..3))
}

async fn a_repeated_batch_is_known_on_another_connection(stage: &Stage) -> Judged {
    let mut producer = Numbered::new(stage, 1).await?;
    producer.sent(0, 0, 0).await?;
    let topic = producer.topic.clone();
    producer.wire = stage.wire_to(&topic, 0).await?;
    producer.sent(0, 0, 0).await?;
    same("records", producer.values(0).await?, numbers(0..1))
}

async fn batches_without_a_number_are_all_written(stage: &Stage) -> Judged {
    let topic = stage.topic(1).await?;
    let mut wire = stage.wire_to(&topic, 0).await?;
    let record = Record {
        value: Some(Bytes::from_static(b"x")),
        timestamp: stage.an_hour_ago(),
        ..Record::default()
    };
    let batch = batch::encode(&[record], None);
    for offset in 0..2 {
        let produced = wire.produce(&topic, 0, -1, batch.clone()).await?;
        let found = (produced.error, produced.base_offset);
        same("the answer", found, (ErrorCode::None, offset))?;
    }
    Ok(())
}
