//! Reading while others write: pauses, bounds, waiting, many partitions and topics.

use std::time::Duration;

use bytes::Bytes;
use kafka_wire::{ErrorCode, batch};
use messaging::Message;
use tokio::time::Instant;

use crate::{
    capability::MAKES,
    judge::{Judged, eventually, holds, same},
    memory::{Memory, all_seen},
    scenario::{Scenario, scenario},
    stage::{Stage, ids, message, publish, spec},
};

#[rustfmt::skip]
pub(crate) const ALL: &[Scenario] = &[
    scenario!(Consume, a_message_is_told_with_its_place, [MAKES],
        "A message comes with the topic, the partition and the offset of its receipt, at the first attempt.",
        "twenty receipts against what the handler was given"),
    scenario!(Consume, what_is_published_is_read_at_the_same_time, [MAKES],
        "Reading while others write loses nothing and keeps the order of each key.",
        "500 messages of ten keys, published while a group reads"),
    scenario!(Consume, sixteen_partitions_are_read, [MAKES],
        "Every partition of a wide topic is read.",
        "160 messages over 16 partitions"),
    scenario!(Consume, several_topics_are_read_by_one_subscription, [MAKES],
        "One subscription may read several topics.",
        "ids of three topics"),
    scenario!(Consume, a_topic_that_comes_later_is_read, [MAKES],
        "A subscription to a topic that is not there yet reads it when it is.",
        "ids of a topic that was made after the subscription"),
    scenario!(Consume, what_is_paused_takes_nothing_in, [MAKES],
        "A paused subscription begins nothing new.",
        "of eleven messages that another reader gets one by one, at most an answer that was under way comes in"),
    scenario!(Consume, what_is_resumed_misses_nothing, [MAKES],
        "What was published during a pause comes after it.",
        "all ids after the end of the pause"),
    scenario!(Consume, a_window_bounds_what_is_taken_in, [MAKES],
        "No more is worked on than was asked for.",
        "most at a time with four lanes and forty keys"),
    scenario!(Consume, a_small_window_passes_a_long_backlog, [MAKES],
        "A backlog far longer than the window is processed whole.",
        "2,000 messages through a window of 16"),
    scenario!(Consume, large_messages_are_read_by_a_group, [MAKES],
        "Messages that together are longer than one answer are all read.",
        "twelve messages of 700 KiB"),
    scenario!(Consume, a_message_larger_than_the_answer_that_was_asked_is_given, [MAKES],
        "A record longer than the bytes that a reader asks for is given all the same, or it would stop there.",
        "a raw fetch of 1 KiB at a record of 300 KiB"),
    scenario!(Consume, a_long_poll_ends_when_something_comes, [MAKES],
        "A reader that waits is told as soon as there is something.",
        "a raw fetch that may wait 25 s, answered with the record that came meanwhile"),
    scenario!(Consume, a_long_poll_ends_without_anything, [MAKES],
        "A reader that waits in vain gets an empty answer.",
        "a raw fetch of 300 ms: not before its time, and empty"),
    scenario!(Consume, lag_counts_what_waits, [MAKES],
        "Lag is the number of records that are not processed, and the age of the oldest.",
        "lag before, while messages wait, and after"),
    scenario!(Consume, caught_up_is_told, [MAKES],
        "A subscription says when nothing is behind.",
        "what it says after the backlog against what the handler was given"),
    scenario!(Consume, a_late_subscriber_reads_everything, [MAKES],
        "Who comes late reads what all others have read before.",
        "ids of a second group after the first has finished"),
    scenario!(Consume, groups_take_nothing_from_each_other, [MAKES],
        "Each group gets every message.",
        "ids of three groups at the same time"),
];

async fn a_message_is_told_with_its_place(stage: &Stage) -> Judged {
    let topic = stage.topic(4).await?;
    let client = stage.client("one");
    let memory = Memory::default();
    client.join(&stage.subscription(&topic, &stage.group("g")), &memory)?;
    let mut promised = Vec::new();
    for number in 0..20 {
        let sent = message(&format!("k{}", number % 5), number);
        let (id, receipt) = (sent.id.clone(), client.publish(&topic, sent).await?);
        promised.push((id, topic.clone(), receipt.partition, receipt.offset, 1));
    }
    memory.has(20).await?;
    let found = memory.seen().into_iter();
    let found =
        found.map(|it| (it.message.id, it.topic.to_string(), it.partition, it.offset, it.attempt));
    let mut found: Vec<_> = found.collect();
    found.sort();
    promised.sort();
    same("places", found, promised)
}

async fn what_is_published_is_read_at_the_same_time(stage: &Stage) -> Judged {
    let topic = stage.topic(3).await?;
    let client = stage.client("one");
    let memory = Memory::default();
    client.join(&stage.subscription(&topic, &stage.group("g")), &memory)?;
    for number in 0..50 {
        for key in 0..10 {
            client.publish(&topic, message(&format!("k{key}"), number)).await?;
        }
    }
    memory.has(500).await?;
    for key in 0..10 {
        let key = format!("k{key}");
        let found = memory.seen().into_iter().filter(|it| it.message.key.as_ref() == Some(&key));
        let found: Vec<_> = found.map(|it| it.message.id).collect();
        same("messages of a key", found, ids(&key, 0..50))?;
    }
    Ok(())
}

async fn sixteen_partitions_are_read(stage: &Stage) -> Judged {
    let topic = stage.topic(16).await?;
    let client = stage.client("one");
    let mut promised = Vec::new();
    for key in 0..160 {
        publish(&client, &topic, &format!("k{key}"), 0..1).await?;
        promised.push(format!("k{key}/0"));
    }
    let memory = Memory::default();
    client.join(&stage.subscription(&topic, &stage.group("g")), &memory)?;
    memory.has_all(&promised).await?;
    let partitions = memory.seen().into_iter().map(|it| it.partition);
    same("partitions", partitions.collect::<std::collections::BTreeSet<_>>().len(), 16)
}

async fn several_topics_are_read_by_one_subscription(stage: &Stage) -> Judged {
    let topics = [
        stage.topic_called("orders", 2).await?,
        stage.topic_called("bills", 1).await?,
        stage.topic_called("letters", 3).await?,
    ];
    let client = stage.client("one");
    let (mut promised, memory) = (Vec::new(), Memory::default());
    let subscription = messaging::Subscription::new(topics.clone(), stage.group("g"));
    client.join(&subscription, &memory)?;
    for (number, topic) in topics.iter().enumerate() {
        publish(&client, topic, &format!("t{number}"), 0..10).await?;
        promised.extend(ids(&format!("t{number}"), 0..10));
    }
    memory.has_all(&promised).await?;
    same("messages", memory.count(), 30)
}

async fn a_topic_that_comes_later_is_read(stage: &Stage) -> Judged {
    let topic = stage.topic_name("later");
    let client = stage.client("one");
    let memory = Memory::default();
    client.join(&stage.subscription(&topic, &stage.group("g")), &memory)?;
    // Made by whoever asks about it, or by this: either way it is there now.
    client.ensure_topics(&[spec(&topic, 2)]).await?;
    eventually("the topic can be used", || async { Ok(client.topic(&topic).await.is_ok()) })
        .await?;
    publish(&client, &topic, "a", 0..5).await?;
    memory.has_all(&ids("a", 0..5)).await
}

async fn what_is_paused_takes_nothing_in(stage: &Stage) -> Judged {
    let topic = stage.topic(1).await?;
    let client = stage.client("one");
    let memory = Memory::default();
    let handle = client.join(&stage.subscription(&topic, &stage.group("g")), &memory)?;
    publish(&client, &topic, "a", 0..1).await?;
    memory.has(1).await?;
    handle.pause();
    let other = Memory::default();
    stage.client("other").join(&stage.subscription(&topic, &stage.group("h")), &other)?;
    // Another reader gets each of them before the next one is published: this one could, too. But for an
    // answer that was under way, which brings what was there then, and is the last.
    for number in 1..12 {
        publish(&client, &topic, "a", number..number + 1).await?;
        other.has(number + 1).await?;
    }
    let taken = memory.count();
    same("messages", memory.ids(), ids("a", 0..taken))?;
    holds(taken < 12, "it took everything in")
}

async fn what_is_resumed_misses_nothing(stage: &Stage) -> Judged {
    let topic = stage.topic(2).await?;
    let client = stage.client("one");
    let memory = Memory::default();
    let handle = client.join(&stage.subscription(&topic, &stage.group("g")), &memory)?;
    publish(&client, &topic, "a", 0..5).await?;
    memory.has(5).await?;
    handle.pause();
    publish(&client, &topic, "a", 5..30).await?;
    handle.resume();
    memory.has_all(&ids("a", 0..30)).await?;
    same("messages", memory.ids(), ids("a", 0..30))
}

async fn a_window_bounds_what_is_taken_in(stage: &Stage) -> Judged {
    let topic = stage.topic(2).await?;
    let client = stage.client("one");
    for key in 0..40 {
        publish(&client, &topic, &format!("k{key}"), 0..1).await?;
    }
    let memory = Memory::default();
    memory.shut();
    let subscription = stage.subscription(&topic, &stage.group("g")).lanes(4).window(64);
    client.join(&subscription, &memory)?;
    memory.has(4).await?;
    memory.open();
    memory.has(40).await?;
    same("most at a time", memory.most_at_a_time().0, 4)
}

async fn a_small_window_passes_a_long_backlog(stage: &Stage) -> Judged {
    let topic = stage.topic(2).await?;
    let client = stage.client("one");
    let mut publishing = tokio::task::JoinSet::new();
    for key in 0..20 {
        let (client, topic) = (client.clone(), topic.clone());
        publishing.spawn(async move { publish(&client, &topic, &format!("k{key}"), 0..100).await });
    }
    publishing.join_all().await.into_iter().collect::<Result<Vec<_>, _>>()?;
    let memory = Memory::default();
    let subscription = stage.subscription(&topic, &stage.group("g")).lanes(4).window(16);
    client.join(&subscription, &memory)?;
    memory.has(2_000).await?;
    let mut found = memory.ids();
    found.sort_unstable();
    found.dedup();
    same("different messages", found.len(), 2_000)
}

async fn large_messages_are_read_by_a_group(stage: &Stage) -> Judged {
    let topic = stage.topic(2).await?;
    let client = stage.client("one");
    for number in 0..12 {
        let body = vec![b'x'; 700 << 10].into();
        let key = format!("k{}", number % 4);
        client.publish(&topic, Message { body, ..message(&key, number) }).await?;
    }
    let memory = Memory::default();
    client.join(&stage.subscription(&topic, &stage.group("g")), &memory)?;
    memory.has(12).await?;
    let whole = memory.seen().iter().all(|it| it.message.body.len() == 700 << 10);
    holds(whole, "a body is not whole")
}

async fn a_message_larger_than_the_answer_that_was_asked_is_given(stage: &Stage) -> Judged {
    let topic = stage.topic(1).await?;
    let body: Bytes = vec![b'x'; 300 << 10].into();
    let sent = Message { body, ..message("a", 1) };
    stage.client("one").publish(&topic, sent).await?;
    let mut wire = stage.wire_to(&topic, 0).await?;
    let part = wire.fetch_bytes(&topic, 0, 0, Duration::from_secs(5), 1 << 10).await?;
    let whole = batch::split(part.records).next().map(|it| batch::decode(&it).map(|it| it.len()));
    same("records", whole.transpose()?, Some(1))
}

async fn a_long_poll_ends_when_something_comes(stage: &Stage) -> Judged {
    let topic = stage.topic(1).await?;
    let mut wire = stage.wire_to(&topic, 0).await?;
    let client = stage.client("one");
    let (part, published) = tokio::join!(
        wire.fetch(&topic, 0, 0, Duration::from_secs(25)),
        client.publish(&topic, message("a", 1))
    );
    published?;
    let part = part?;
    same("the answer", part.error, ErrorCode::None)?;
    let records: usize = batch::split(part.records)
        .map(|it| batch::decode(&it).map(|it| it.len()))
        .sum::<Result<_, _>>()?;
    same("records", records, 1)
}

async fn a_long_poll_ends_without_anything(stage: &Stage) -> Judged {
    let wait = Duration::from_millis(300);
    let topic = stage.topic(1).await?;
    let mut wire = stage.wire_to(&topic, 0).await?;
    let asked = Instant::now();
    let part = wire.fetch(&topic, 0, 0, wait).await?;
    same("the answer", (part.error, part.records.len()), (ErrorCode::None, 0))?;
    // A clock of the other side may count a little less.
    holds(asked.elapsed() >= wait * 9 / 10, "it did not wait")
}

async fn lag_counts_what_waits(stage: &Stage) -> Judged {
    let (topic, group) = (stage.topic(2).await?, stage.group("g"));
    let client = stage.client("one");
    publish(&client, &topic, "a", 0..10).await?;
    let before = client.lag(&group, &topic).await?;
    same("lag of a group that never was", (before.records, before.committed.len()), (10, 0))?;
    eventually("the oldest ages", || async { Ok(client.lag(&group, &topic).await?.seconds > 0.0) })
        .await?;
    let memory = Memory::default();
    client.join(&stage.subscription(&topic, &group), &memory)?;
    memory.has(10).await?;
    stage.committed_all(&client, &group, &topic).await?;
    let after = client.lag(&group, &topic).await?;
    holds(after.seconds == 0.0, "nothing waits, and it has an age")?;
    same("the sum of what is committed", after.committed.values().sum(), 10_u64)
}

async fn caught_up_is_told(stage: &Stage) -> Judged {
    let topic = stage.topic(2).await?;
    let client = stage.client("one");
    publish(&client, &topic, "a", 0..30).await?;
    let memory = Memory::default();
    let handle = client.join(&stage.subscription(&topic, &stage.group("g")), &memory)?;
    eventually("it says so", || async { Ok(handle.behind() == Some(0)) }).await?;
    same("messages", memory.count(), 30)
}

async fn a_late_subscriber_reads_everything(stage: &Stage) -> Judged {
    let topic = stage.topic(2).await?;
    let client = stage.client("one");
    publish(&client, &topic, "a", 0..20).await?;
    for group in ["first", "late"] {
        let memory = Memory::default();
        client.join(&stage.subscription(&topic, &stage.group(group)), &memory)?;
        memory.has(20).await?;
        same("messages", memory.ids(), ids("a", 0..20))?;
    }
    Ok(())
}

async fn groups_take_nothing_from_each_other(stage: &Stage) -> Judged {
    let topic = stage.topic(2).await?;
    let client = stage.client("one");
    let memories = [(); 3].map(|()| Memory::default());
    for (number, memory) in memories.iter().enumerate() {
        let group = stage.group(&format!("g{number}"));
        client.join(&stage.subscription(&topic, &group), memory)?;
    }
    publish(&client, &topic, "a", 0..20).await?;
    for memory in &memories {
        all_seen(&[memory], &ids("a", 0..20)).await?;
    }
    Ok(())
}
