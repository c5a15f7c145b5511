//! From where a reader begins, and where it goes on.

use base::Timestamp;
use kafka_wire::{
    ApiKey, ErrorCode,
    batch::{self, Record},
    messages::{
        CommitPartition, CommitTopic, ListOffsetsPartition, ListOffsetsRequest,
        ListOffsetsResponse, ListOffsetsTopic, OffsetCommitRequest, OffsetCommitResponse,
        admin::{
            DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopic,
        },
    },
};
use messaging::{AdminError, GroupStart, Subscription};

use crate::{
    capability::{Capability, MAKES},
    judge::{Judged, Stop, eventually, holds, same, short},
    memory::Memory,
    scenario::{Scenario, scenario},
    stage::{Client, Stage, ids, publish},
    wire::Wire,
};

const DESCRIBES: Capability = Capability::Speaks(ApiKey::DescribeGroups);
const REMOVES: Capability = Capability::Speaks(ApiKey::DeleteRecords);

#[rustfmt::skip]
pub(crate) const ALL: &[Scenario] = &[
    scenario!(Consume, a_new_group_begins_at_the_oldest, [MAKES],
        "A group that has committed nothing gets what was there before it.",
        "ten messages from before the subscription"),
    scenario!(Consume, a_group_from_the_latest_gets_what_comes_after, [MAKES],
        "A group that begins at the end gets nothing older and everything newer.",
        "ids before and after the subscription"),
    scenario!(Consume, a_tail_reads_every_partition, [MAKES],
        "A reader without a group gets every partition.",
        "ids over four partitions"),
    scenario!(Consume, a_tail_from_the_latest_gets_what_comes_after, [MAKES],
        "The same from the end on.",
        "ids before and after"),
    scenario!(Consume, two_tails_get_everything_each, [MAKES],
        "Readers without a group take nothing from each other.",
        "ids of both"),
    scenario!(Consume, reading_begins_at_the_offset_that_is_asked, [MAKES],
        "Reading from an offset begins there, within a batch as well.",
        "the offsets read from 3 on"),
    scenario!(Consume, reading_gives_no_more_than_asked, [MAKES],
        "A bound on the number of messages is kept.",
        "two of ten"),
    scenario!(Consume, reading_at_the_end_gives_nothing, [MAKES],
        "At the end there is nothing, and that is no error.",
        "an empty answer"),
    scenario!(Consume, reading_past_the_end_is_refused, [MAKES],
        "An offset that the log does not have is an error, not silence.",
        "the error at offset 100 of 3"),
    scenario!(Consume, a_group_goes_on_behind_what_it_committed, [MAKES],
        "A new member of a group without members goes on where the last one stood.",
        "ids of the second member"),
    scenario!(Consume, a_member_that_ends_commits_what_it_has_done, [MAKES],
        "What was processed when a process is told to end is committed.",
        "lag zero right after the end, with commits once an hour"),
    scenario!(Consume, a_group_set_to_a_time_goes_on_there, [MAKES, DESCRIBES],
        "A group set to a time goes on at the first record that is not older.",
        "ids after a reset between two records"),
    scenario!(Consume, a_group_set_past_the_newest_goes_on_at_the_end, [MAKES, DESCRIBES],
        "A group set to a time after all records gets only what comes.",
        "ids after the reset"),
    scenario!(Consume, a_group_set_to_the_beginning_gets_all_again, [MAKES, DESCRIBES],
        "A group set to the beginning processes everything once more.",
        "ids after the reset"),
    scenario!(Consume, a_group_set_to_the_end_passes_what_waits, [MAKES, DESCRIBES],
        "A group set to the end never sees what waited.",
        "ids after the reset"),
    scenario!(Consume, a_time_is_found_within_a_batch, [MAKES],
        "The offset of a time is that of the record, not of the batch that holds it.",
        "raw look-ups of 2, 4, 6 and 8 in one batch, and of 5"),
    scenario!(Consume, a_time_past_the_newest_has_no_offset, [MAKES],
        "A time after all records has no offset.",
        "a raw look-up"),
    scenario!(Consume, what_was_removed_is_a_gap_and_no_end, [MAKES, REMOVES],
        "A group that begins where records were removed goes on at the first that is kept.",
        "ids after the first four of ten were removed"),
    scenario!(Consume, a_group_whose_place_was_removed_goes_on, [MAKES, REMOVES],
        "A group whose committed offset is gone goes on at the first record that is kept.",
        "ids of a member that comes after the removal"),
    scenario!(Consume, a_group_beyond_the_end_loses_nothing_that_comes, [MAKES],
        "A group whose commit lies beyond the end, where a log lets it commit that, goes on at the end.",
        "ids published after a raw commit of offset 1000, taken or refused as out of range"),
];

/// Lets a group process what is there, and end.
async fn processed(stage: &Stage, topic: &str, group: &str, count: usize) -> Judged {
    let client = stage.client("first");
    let memory = Memory::default();
    client.join(&stage.subscription(topic, group), &memory)?;
    memory.has(count).await?;
    stage.committed_all(&client, group, topic).await?;
    client.end().await;
    Ok(())
}

/// Waits until a subscription has found its place: what is published then is new to it.
async fn in_place(client: &Client, subscription: &Subscription, memory: &Memory) -> Judged {
    let handle = client.join(subscription, memory)?;
    eventually("the subscription reads", || async { Ok(handle.behind() == Some(0)) }).await
}

async fn a_new_group_begins_at_the_oldest(stage: &Stage) -> Judged {
    let topic = stage.topic(4).await?;
    let client = stage.client("one");
    for key in ["a", "b"] {
        publish(&client, &topic, key, 0..5).await?;
    }
    let memory = Memory::default();
    client.join(&stage.subscription(&topic, &stage.group("g")), &memory)?;
    memory.has_all(&[ids("a", 0..5), ids("b", 0..5)].concat()).await?;
    same("messages", memory.count(), 10)
}

async fn only_new(stage: &Stage, subscription: impl Fn(&str) -> Subscription) -> Judged {
    let topic = stage.topic(2).await?;
    let client = stage.client("one");
    publish(&client, &topic, "old", 0..5).await?;
    let memory = Memory::default();
    in_place(&client, &subscription(&topic).latest(), &memory).await?;
    publish(&client, &topic, "new", 0..5).await?;
    memory.has_all(&ids("new", 0..5)).await?;
    same("messages", memory.ids(), ids("new", 0..5))
}

async fn a_group_from_the_latest_gets_what_comes_after(stage: &Stage) -> Judged {
    let group = stage.group("g");
    only_new(stage, |topic| stage.subscription(topic, &group)).await
}

async fn a_tail_from_the_latest_gets_what_comes_after(stage: &Stage) -> Judged {
    only_new(stage, |topic| Subscription::tail([topic])).await
}

async fn a_tail_reads_every_partition(stage: &Stage) -> Judged {
    let topic = stage.topic(4).await?;
    let client = stage.client("one");
    let mut all = Vec::new();
    for key in 0..12 {
        publish(&client, &topic, &format!("k{key}"), 0..2).await?;
        all.extend(ids(&format!("k{key}"), 0..2));
    }
    let memory = Memory::default();
    client.join(&Subscription::tail([topic.as_str()]), &memory)?;
    memory.has_all(&all).await
}

async fn two_tails_get_everything_each(stage: &Stage) -> Judged {
    let topic = stage.topic(2).await?;
    let (one, other) = (stage.client("one"), stage.client("other"));
    publish(&one, &topic, "a", 0..10).await?;
    for client in [&one, &other] {
        let memory = Memory::default();
        client.join(&Subscription::tail([topic.as_str()]), &memory)?;
        memory.has(10).await?;
        same("messages", memory.ids(), ids("a", 0..10))?;
    }
    Ok(())
}

async fn offsets(client: &Client, topic: &str, from: u64, max: usize) -> Result<Vec<u64>, Stop> {
    Ok(client.read(topic, 0, from, max).await?.iter().map(|it| it.offset).collect())
}

/// Ten records in one batch.
async fn ten_in_a_batch(stage: &Stage) -> Result<(String, Client), Stop> {
    let topic = stage.topic(1).await?;
    let mut wire = stage.wire_to(&topic, 0).await?;
    let times: Vec<i64> = (0..10).map(|it| stage.an_hour_ago() + it).collect();
    produced(&mut wire, &topic, &times).await?;
    Ok((topic, stage.client("one")))
}

/// One batch with a record for each of these times.
async fn produced(wire: &mut Wire, topic: &str, times: &[i64]) -> Judged {
    let record = |time: &i64| Record {
        value: Some(time.to_string().into()),
        timestamp: *time,
        ..Record::default()
    };
    let batch = batch::encode(&times.iter().map(record).collect::<Vec<_>>(), None);
    same("the answer", wire.produce(topic, 0, -1, batch).await?.error, ErrorCode::None)
}

async fn reading_begins_at_the_offset_that_is_asked(stage: &Stage) -> Judged {
    let (topic, client) = ten_in_a_batch(stage).await?;
    same("offsets", offsets(&client, &topic, 3, 100).await?, (3..10).collect())
}

async fn reading_gives_no_more_than_asked(stage: &Stage) -> Judged {
    let (topic, client) = ten_in_a_batch(stage).await?;
    same("offsets", offsets(&client, &topic, 0, 2).await?, vec![0, 1])
}

async fn reading_at_the_end_gives_nothing(stage: &Stage) -> Judged {
    let (topic, client) = ten_in_a_batch(stage).await?;
    same("offsets", offsets(&client, &topic, 10, 100).await?, vec![])
}

async fn reading_past_the_end_is_refused(stage: &Stage) -> Judged {
    let topic = stage.topic(1).await?;
    let client = stage.client("one");
    publish(&client, &topic, "a", 0..3).await?;
    let read = client.read(&topic, 0, 100, 10).await;
    let code = ErrorCode::OffsetOutOfRange;
    let is_refused = matches!(&read, Err(AdminError::Refused { code: it, .. }) if *it == code);
    holds(is_refused, format!("it ended as {}", short(&read.map(|it| it.len()))))
}

async fn a_group_goes_on_behind_what_it_committed(stage: &Stage) -> Judged {
    let (topic, group) = (stage.topic(2).await?, stage.group("g"));
    let client = stage.client("publisher");
    publish(&client, &topic, "old", 0..10).await?;
    processed(stage, &topic, &group, 10).await?;
    publish(&client, &topic, "new", 0..10).await?;
    let memory = Memory::default();
    stage.client("second").join(&stage.subscription(&topic, &group), &memory)?;
    memory.has_all(&ids("new", 0..10)).await?;
    same("messages", memory.ids(), ids("new", 0..10))
}

async fn a_member_that_ends_commits_what_it_has_done(stage: &Stage) -> Judged {
    let (topic, group) = (stage.topic(1).await?, stage.group("g"));
    let client = stage.client_with("first", |it| it.commit_every_ms = 3_600_000);
    publish(&client, &topic, "a", 0..10).await?;
    let memory = Memory::default();
    client.join(&stage.subscription(&topic, &group), &memory)?;
    memory.has(10).await?;
    client.end().await;
    same("lag", stage.client("other").lag(&group, &topic).await?.records, 0)
}

/// What a group gets after it was set to another place; ten messages `old`, then five `new`.
async fn after_reset(
    stage: &Stage,
    start: impl FnOnce(Timestamp) -> GroupStart,
    promised: Vec<String>,
) -> Judged {
    let (topic, group) = (stage.topic(1).await?, stage.group("g"));
    let client = stage.client("publisher");
    publish(&client, &topic, "old", 0..10).await?;
    // Milliseconds tell records apart: the next ones are younger than `between`.
    let last = client.read(&topic, 0, 9, 1).await?.first().map(|it| it.published_at);
    let last = last.ok_or_else(|| Stop("the last one cannot be read".to_owned()))?;
    eventually("the clock goes on", || async { Ok(stage.now() > last) }).await?;
    let between = stage.now();
    publish(&client, &topic, "mid", 0..5).await?;
    processed(stage, &topic, &group, 15).await?;
    eventually("the group has no members", || async {
        Ok(client.group(&group).await?.members.is_empty())
    })
    .await?;
    client.reset_group(&group, &topic, start(between)).await?;
    publish(&client, &topic, "new", 0..5).await?;
    let memory = Memory::default();
    stage.client("second").join(&stage.subscription(&topic, &group), &memory)?;
    memory.has_all(&promised).await?;
    // Keys are processed beside each other.
    same("messages", sorted(memory.ids()), sorted(promised))
}

fn sorted(mut ids: Vec<String>) -> Vec<String> {
    ids.sort_unstable();
    ids
}

async fn a_group_set_to_a_time_goes_on_there(stage: &Stage) -> Judged {
    let promised = [ids("mid", 0..5), ids("new", 0..5)].concat();
    after_reset(stage, GroupStart::Time, promised).await
}

async fn a_group_set_past_the_newest_goes_on_at_the_end(stage: &Stage) -> Judged {
    let in_a_day = |it: Timestamp| it + std::time::Duration::from_secs(86_400);
    after_reset(stage, |it| GroupStart::Time(in_a_day(it)), ids("new", 0..5)).await
}

async fn a_group_set_to_the_beginning_gets_all_again(stage: &Stage) -> Judged {
    let promised = [ids("old", 0..10), ids("mid", 0..5), ids("new", 0..5)].concat();
    after_reset(stage, |_| GroupStart::Beginning, promised).await
}

async fn a_group_set_to_the_end_passes_what_waits(stage: &Stage) -> Judged {
    after_reset(stage, |_| GroupStart::End, ids("new", 0..5)).await
}

/// The offset of the first record that is not older.
async fn offset_at(wire: &mut Wire, topic: &str, time: i64) -> Result<i64, Stop> {
    let partitions = vec![ListOffsetsPartition { partition: 0, timestamp: time }];
    let topics = vec![ListOffsetsTopic { name: topic.to_owned(), partitions }];
    let question = ListOffsetsRequest { replica_id: -1, topics };
    let answer: ListOffsetsResponse = wire.ask(ApiKey::ListOffsets, &question).await?;
    let found = answer.topics.first().and_then(|it| it.partitions.first());
    let found = found.ok_or_else(|| Stop("the answer names no partition".to_owned()))?;
    same("the answer", found.error, ErrorCode::None)?;
    Ok(found.offset)
}

async fn a_time_is_found_within_a_batch(stage: &Stage) -> Judged {
    let topic = stage.topic(1).await?;
    let mut wire = stage.wire_to(&topic, 0).await?;
    let began = stage.an_hour_ago();
    produced(&mut wire, &topic, &[2, 4, 6, 8].map(|it| began + it)).await?;
    for (time, offset) in [(2, 0), (4, 1), (5, 2), (6, 2), (8, 3)] {
        let found = offset_at(&mut wire, &topic, began + time).await?;
        same(&format!("the offset of time {time}"), found, offset)?;
    }
    Ok(())
}

async fn a_time_past_the_newest_has_no_offset(stage: &Stage) -> Judged {
    let topic = stage.topic(1).await?;
    let mut wire = stage.wire_to(&topic, 0).await?;
    let began = stage.an_hour_ago();
    produced(&mut wire, &topic, &[began + 2, began + 4]).await?;
    same("the offset", offset_at(&mut wire, &topic, began + 5).await?, -1)
}

async fn remove_before(wire: &mut Wire, topic: &str, offset: i64) -> Judged {
    let partitions = vec![DeleteRecordsPartition { partition: 0, offset }];
    let topics = vec![DeleteRecordsTopic { name: topic.to_owned(), partitions }];
    let question = DeleteRecordsRequest { topics, timeout_ms: 10_000 };
    let answer: DeleteRecordsResponse = wire.ask(ApiKey::DeleteRecords, &question).await?;
    let found = answer.topics.first().and_then(|it| it.partitions.first());
    let found = found.map(|it| (it.error, it.low_watermark));
    same("the answer", found, Some((ErrorCode::None, offset)))
}

async fn what_was_removed_is_a_gap_and_no_end(stage: &Stage) -> Judged {
    let topic = stage.topic(1).await?;
    let client = stage.client("one");
    publish(&client, &topic, "a", 0..10).await?;
    remove_before(&mut stage.wire_to(&topic, 0).await?, &topic, 4).await?;
    let memory = Memory::default();
    client.join(&stage.subscription(&topic, &stage.group("g")), &memory)?;
    memory.has_all(&ids("a", 4..10)).await?;
    same("messages", memory.ids(), ids("a", 4..10))
}

async fn a_group_whose_place_was_removed_goes_on(stage: &Stage) -> Judged {
    let (topic, group) = (stage.topic(1).await?, stage.group("g"));
    let client = stage.client("publisher");
    publish(&client, &topic, "a", 0..3).await?;
    processed(stage, &topic, &group, 3).await?;
    publish(&client, &topic, "a", 3..10).await?;
    remove_before(&mut stage.wire_to(&topic, 0).await?, &topic, 6).await?;
    let memory = Memory::default();
    stage.client("second").join(&stage.subscription(&topic, &group), &memory)?;
    memory.has_all(&ids("a", 6..10)).await?;
    same("messages", memory.ids(), ids("a", 6..10))
}

async fn a_group_beyond_the_end_loses_nothing_that_comes(stage: &Stage) -> Judged {
    let (topic, group) = (stage.topic(1).await?, stage.group("g"));
    let client = stage.client("one");
    publish(&client, &topic, "old", 0..3).await?;
    let partitions = vec![CommitPartition { partition: 0, offset: 1_000, metadata: None }];
    let question = OffsetCommitRequest {
        group_id: group.clone(),
        generation_id: -1,
        member_id: String::new(),
        retention_ms: -1,
        topics: vec![CommitTopic { name: topic.clone(), partitions }],
    };
    let mut wire = Wire::to_coordinator(&stage.backend, &group).await?;
    let answer: OffsetCommitResponse = wire.ask(ApiKey::OffsetCommit, &question).await?;
    let found = answer.topics.first().and_then(|it| it.partitions.first()).map(|it| it.error);
    let is_judged = matches!(found, Some(ErrorCode::None | ErrorCode::OffsetOutOfRange));
    holds(is_judged, format!("the answer is {}", short(&found)))?;
    let memory = Memory::default();
    in_place(&client, &stage.subscription(&topic, &group), &memory).await?;
    publish(&client, &topic, "new", 0..5).await?;
    memory.has_all(&ids("new", 0..5)).await
}
