//! What is not taken, and that what stands beside it is.

use std::time::Duration;

use bytes::Bytes;
use kafka_wire::{
    ApiKey, ErrorCode,
    batch::{self, Codec, Record},
};
use messaging::{Message, PublishError};
use tokio::time::timeout;

use crate::{
    capability::{Capability, MAKES},
    judge::{Judged, Stop, holds, same, short},
    scenario::{Scenario, scenario},
    stage::{Stage, message},
    wire,
};

#[rustfmt::skip]
pub(crate) const ALL: &[Scenario] = &[
    scenario!(Produce, what_is_too_long_is_refused_before_it_is_sent, [MAKES],
        "A message beyond the client's bound is refused with the bound, and not sent.",
        "the error, and an empty topic"),
    scenario!(Produce, what_is_too_long_for_the_log_is_refused_in_its_words, [MAKES],
        "A batch beyond the log's bound is refused as too large, at once, and never silently.",
        "the error of a message of 24 MiB, and an empty topic"),
    scenario!(Produce, what_stands_behind_a_refused_message_arrives, [MAKES],
        "A refused message takes no other with it.",
        "messages of the same key before and after one that is too large"),
    scenario!(Produce, a_name_that_no_topic_may_have_is_refused, [MAKES],
        "A publish to an impossible topic is refused, not kept waiting.",
        "the error of a publish to a name with a slash"),
    scenario!(Produce, a_publish_to_a_missing_topic_ends_in_time, [],
        "A publish to a topic that nobody made ends within its deadline, acknowledged or as not sent.",
        "its end"),
    scenario!(Produce, a_topic_made_on_use_takes_messages, [Capability::MakesTopicsOnUse],
        "Where topics are made on use, the first publish arrives.",
        "the message read back"),
    scenario!(Produce, a_corrupt_batch_is_refused_and_nothing_is_written, [MAKES],
        "A batch whose checksum does not fit is refused as corrupt.",
        "the answer to a raw batch with a flipped bit, and the end of the topic"),
    scenario!(Produce, a_batch_cut_short_is_refused, [MAKES],
        "Half a batch is refused, and nothing of it written.",
        "the answer to half a raw batch, and the end of the topic"),
    scenario!(Produce, an_unknown_partition_is_refused, [MAKES],
        "A batch for a partition that is none is refused as such.",
        "the answer to a raw batch for partition 9 of 1"),
    scenario!(Produce, every_way_of_acknowledging_is_kept, [MAKES],
        "Acknowledged by one and by all arrive alike.",
        "raw batches with acks 1 and -1 read back"),
    scenario!(Produce, a_batch_that_asks_for_no_answer_arrives, [MAKES],
        "A producer that asks for no answer gets none, and its batch arrives.",
        "a raw batch with acks 0: the next answer on the connection is that to the next question"),
    scenario!(Produce, compressed_batches_are_taken, [MAKES],
        "Batches compressed with gzip, snappy, lz4 and zstd are acknowledged.",
        "answers to raw batches, and the end of the topic"),
];

async fn what_is_too_long_is_refused_before_it_is_sent(stage: &Stage) -> Judged {
    let topic = stage.topic(1).await?;
    let client = stage.client("one");
    let bytes_max = base::MESSAGE_BYTES_MAX;
    let long = Message { body: vec![b'x'; bytes_max + 1].into(), ..message("a", 1) };
    let refused = client.publish(&topic, long).await;
    same("the publish", refused, Err(PublishError::TooLarge { bytes_max }))?;
    same("records", stage.held(&client, &topic).await?, 0)
}

async fn what_is_too_long_for_the_log_is_refused_in_its_words(stage: &Stage) -> Judged {
    let topic = stage.topic(1).await?;
    let client = stage.client_with("one", |it| it.message_bytes_max = 64 << 20);
    let long = Message { body: vec![b'x'; 24 << 20].into(), ..message("a", 1) };
    let refused = client.publish(&topic, long).await;
    let code = ErrorCode::MessageTooLarge;
    same("the publish", refused, Err(PublishError::Refused { code }))?;
    same("records", stage.held(&client, &topic).await?, 0)
}

async fn what_stands_behind_a_refused_message_arrives(stage: &Stage) -> Judged {
    let topic = stage.topic(1).await?;
    let client = stage.client_with("one", |it| it.message_bytes_max = 64 << 20);
    client.publish(&topic, message("a", 0)).await?;
    let long = Message { body: vec![b'x'; 24 << 20].into(), ..message("a", 1) };
    let (refused, behind) = tokio::join!(client.publish(&topic, long), async {
        tokio::task::yield_now().await;
        client.publish(&topic, message("a", 2)).await
    });
    holds(refused.is_err(), "24 MiB were acknowledged")?;
    behind?;
    let found = stage.all(&client, &topic).await?;
    let found: Vec<_> = found.into_iter().map(|it| it.message.id).collect();
    same("what arrived", found, vec!["a/0".to_owned(), "a/2".to_owned()])
}

async fn a_name_that_no_topic_may_have_is_refused(stage: &Stage) -> Judged {
    let client = stage.client("one");
    let refused = client.publish("no/such topic", message("a", 1)).await;
    let is_refused = matches!(refused, Err(PublishError::Refused { .. }));
    holds(is_refused, format!("the publish ended as {}", short(&refused)))
}

async fn a_publish_to_a_missing_topic_ends_in_time(stage: &Stage) -> Judged {
    let client = stage.client_with("one", |it| it.publish_timeout_ms = 3_000);
    let topic = stage.topic_name("missing");
    let publish = client.publish(&topic, message("a", 1));
    let ended = timeout(client.publish_within() + Duration::from_secs(2), publish).await;
    let ended = ended.map_err(|_| Stop("it did not end".to_owned()))?;
    let is_told = matches!(
        ended,
        Ok(_) | Err(PublishError::Unavailable { .. } | PublishError::Refused { .. })
    );
    holds(is_told, format!("it ended as {}", short(&ended)))
}

async fn a_topic_made_on_use_takes_messages(stage: &Stage) -> Judged {
    let topic = stage.topic_name("on-use");
    let client = stage.client("one");
    let receipt = client.publish(&topic, message("a", 1)).await?;
    let read = client.read(&topic, receipt.partition, receipt.offset, 1).await?;
    same("what was read", read.first().map(|it| it.message.id.as_str()), Some("a/1"))
}

fn batch_of(stage: &Stage, count: i64) -> Bytes {
    let timestamp = stage.an_hour_ago();
    let record = |number: i64| Record {
        key: Some(Bytes::from_static(b"a")),
        value: Some(number.to_string().into()),
        timestamp,
        ..Record::default()
    };
    batch::encode(&(0..count).map(record).collect::<Vec<_>>(), None)
}

async fn a_corrupt_batch_is_refused_and_nothing_is_written(stage: &Stage) -> Judged {
    let topic = stage.topic(1).await?;
    let mut bytes = batch_of(stage, 3).to_vec();
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
    let mut wire = stage.wire_to(&topic, 0).await?;
    let produced = wire.produce(&topic, 0, -1, bytes.into()).await?;
    same("the answer", produced.error, ErrorCode::CorruptMessage)?;
    same("records", stage.held(&stage.client("one"), &topic).await?, 0)
}

async fn a_batch_cut_short_is_refused(stage: &Stage) -> Judged {
    let topic = stage.topic(1).await?;
    let whole = batch_of(stage, 3);
    let mut wire = stage.wire_to(&topic, 0).await?;
    let produced = wire.produce(&topic, 0, -1, whole.slice(..whole.len() - 5)).await;
    // A log may as well end a connection on which such a thing came.
    let is_taken = produced.is_ok_and(|it| it.error == ErrorCode::None);
    holds(!is_taken, "half a batch was acknowledged")?;
    same("records", stage.held(&stage.client("one"), &topic).await?, 0)
}

async fn an_unknown_partition_is_refused(stage: &Stage) -> Judged {
    let topic = stage.topic(1).await?;
    let mut wire = stage.wire_to(&topic, 0).await?;
    let produced = wire.produce(&topic, 9, -1, batch_of(stage, 1)).await?;
    same("the answer", produced.error, ErrorCode::UnknownTopicOrPartition)
}

async fn every_way_of_acknowledging_is_kept(stage: &Stage) -> Judged {
    let topic = stage.topic(1).await?;
    let mut wire = stage.wire_to(&topic, 0).await?;
    for acks in [1, -1] {
        let produced = wire.produce(&topic, 0, acks, batch_of(stage, 2)).await?;
        same("the answer", produced.error, ErrorCode::None)?;
    }
    same("records", wire.records(&topic, 0).await?.len(), 4)
}

async fn a_batch_that_asks_for_no_answer_arrives(stage: &Stage) -> Judged {
    let topic = stage.topic(1).await?;
    let mut wire = stage.wire_to(&topic, 0).await?;
    let question = wire::produce(&topic, 0, 0, batch_of(stage, 2));
    wire.tell(ApiKey::Produce, &question).await?;
    // Behind it in the log, and its answer the first that comes.
    let produced = wire.produce(&topic, 0, -1, batch_of(stage, 1)).await?;
    same("the answer", produced.error, ErrorCode::None)?;
    same("records", wire.records(&topic, 0).await?.len(), 3)
}

async fn compressed_batches_are_taken(stage: &Stage) -> Judged {
    let topic = stage.topic(1).await?;
    let mut wire = stage.wire_to(&topic, 0).await?;
    for codec in Codec::ALL {
        let packed = batch::compress(&batch_of(stage, 5), codec)?;
        let produced = wire.produce(&topic, 0, -1, packed).await?;
        same(&format!("the answer to {codec:?}"), produced.error, ErrorCode::None)?;
    }
    same("records", stage.held(&stage.client("one"), &topic).await?, 20)
}
