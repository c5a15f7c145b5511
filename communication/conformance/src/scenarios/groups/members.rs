//! Who a member is: names that outlive processes, fencing, who may commit.

use kafka_wire::{
    ApiKey, ErrorCode,
    messages::{
        CommitPartition, CommitTopic, HeartbeatRequest, HeartbeatResponse, OffsetCommitRequest,
        OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse, OffsetFetchTopic,
    },
};
use messaging::{AdminError, GroupStart};

use crate::{
    capability::{Capability, JOINS, MAKES},
    judge::{Judged, Stop, eventually, holds, same, short, until},
    memory::Memory,
    scenario::{Scenario, scenario},
    stage::{Stage, ids, publish},
    wire::Wire,
};

const BEATS: Capability = Capability::Speaks(ApiKey::Heartbeat);
const DESCRIBES: Capability = Capability::Speaks(ApiKey::DescribeGroups);
const LISTS: Capability = Capability::Speaks(ApiKey::ListGroups);

#[rustfmt::skip]
pub(crate) const ALL: &[Scenario] = &[
    scenario!(Groups, a_second_process_of_a_name_fences_the_first, [MAKES, JOINS, BEATS],
        "Of two processes of one name, the later has the place; the earlier is told and stops.",
        "the earlier one's ping"),
    scenario!(Groups, a_fenced_process_gets_nothing_more, [MAKES, JOINS, BEATS],
        "A fenced process processes nothing more.",
        "who gets what is published after the fencing"),
    scenario!(Groups, a_process_that_is_back_takes_its_own_place, [MAKES, JOINS],
        "A process that died and is back under its name goes on without waiting for its session to end.",
        "ids of its second life, with a session of five minutes"),
    scenario!(Groups, a_group_has_one_subscription_in_a_process, [MAKES, JOINS],
        "A second subscription of a group in one process is refused.",
        "the error"),
    scenario!(Groups, a_commit_of_an_old_generation_is_refused, [MAKES, JOINS],
        "Who belongs to an older generation cannot commit.",
        "the answer to a raw commit with a member's id and another generation"),
    scenario!(Groups, a_commit_of_an_unknown_member_is_refused, [MAKES, JOINS],
        "Who is no member cannot commit while there are members.",
        "the answer to a raw commit"),
    scenario!(Groups, a_refused_commit_changes_nothing, [MAKES, JOINS],
        "A commit that was refused left no trace.",
        "what is committed before and after"),
    scenario!(Groups, an_unknown_member_cannot_stay_alive, [MAKES, JOINS, BEATS],
        "A sign of life of somebody who is no member is refused.",
        "the answer to a raw heartbeat"),
    scenario!(Groups, commits_of_two_groups_are_two, [MAKES, JOINS],
        "A group's commits are its own.",
        "lag of a group that processed and of one that did not"),
    scenario!(Groups, commits_outlive_the_members, [MAKES, JOINS],
        "What was committed stays when every member has left.",
        "lag and offsets after the end of the only member"),
    scenario!(Groups, the_words_of_a_commit_are_kept, [MAKES],
        "What a client writes beside a commit comes back.",
        "a raw commit and a raw look-up"),
    scenario!(Groups, what_was_never_committed_is_told_as_such, [MAKES],
        "A partition that was never committed has no offset, and that is no error.",
        "a raw look-up"),
    scenario!(Groups, members_are_described_by_name, [MAKES, JOINS, DESCRIBES],
        "An operator sees who is in a group.",
        "the description of two members"),
    scenario!(Groups, a_group_without_members_is_empty, [MAKES, JOINS, DESCRIBES],
        "A group whose members have left is known, and empty.",
        "its description"),
    scenario!(Groups, a_group_that_never_was_is_told_as_unknown, [DESCRIBES],
        "A group that nobody knows is told as unknown.",
        "the error of its description"),
    scenario!(Groups, groups_are_listed, [MAKES, JOINS, LISTS],
        "An operator sees which groups there are.",
        "the list holds two groups that were used"),
    scenario!(Groups, a_group_with_members_is_not_set_elsewhere, [MAKES, JOINS, DESCRIBES],
        "A group that somebody takes part in cannot be set to another place.",
        "the error, and that nothing comes again"),
];

async fn a_second_process_of_a_name_fences_the_first(stage: &Stage) -> Judged {
    let (topic, group) = (stage.topic(2).await?, stage.group("g"));
    let (earlier, later) = (stage.client("twin"), stage.client("twin"));
    publish(&earlier, &topic, "a", 0..1).await?;
    let memory = Memory::default();
    earlier.join(&stage.subscription(&topic, &group), &memory)?;
    memory.has(1).await?;
    earlier.ping().await?;
    later.join(&stage.subscription(&topic, &group), &Memory::default())?;
    eventually("the earlier one is told", || async {
        Ok(matches!(earlier.ping().await, Err(AdminError::Fenced { .. })))
    })
    .await?;
    later.ping().await?;
    Ok(())
}

async fn a_fenced_process_gets_nothing_more(stage: &Stage) -> Judged {
    let (topic, group) = (stage.topic(2).await?, stage.group("g"));
    let (earlier, later) = (stage.client("twin"), stage.client("twin"));
    let (of_earlier, of_later) = (Memory::default(), Memory::default());
    publish(&earlier, &topic, "a", 0..1).await?;
    earlier.join(&stage.subscription(&topic, &group), &of_earlier)?;
    of_earlier.has(1).await?;
    later.join(&stage.subscription(&topic, &group), &of_later)?;
    eventually("the earlier one is told", || async {
        Ok(matches!(earlier.ping().await, Err(AdminError::Fenced { .. })))
    })
    .await?;
    let before = of_earlier.count();
    publish(&later, &topic, "a", 1..20).await?;
    of_later.has_all(&ids("a", 1..20)).await?;
    same("what the fenced one got", of_earlier.count() - before, 0)
}

async fn a_process_that_is_back_takes_its_own_place(stage: &Stage) -> Judged {
    let (topic, group) = (stage.topic(2).await?, stage.group("g"));
    let front = stage.front().await?;
    let session_timeout_ms = 300_000;
    let mortal = stage.client_through_with("mortal", &front, |it| {
        it.session_timeout_ms = session_timeout_ms;
    });
    let publisher = stage.client("publisher");
    publish(&publisher, &topic, "a", 0..3).await?;
    let memory = Memory::default();
    mortal.join(&stage.subscription(&topic, &group), &memory)?;
    memory.has(3).await?;
    stage.committed_all(&publisher, &group, &topic).await?;
    front.vanish();
    let back = stage.client_with("mortal", |it| it.session_timeout_ms = session_timeout_ms);
    let memory = Memory::default();
    back.join(&stage.subscription(&topic, &group), &memory)?;
    publish(&publisher, &topic, "a", 3..6).await?;
    memory.has_all(&ids("a", 3..6)).await
}

async fn a_group_has_one_subscription_in_a_process(stage: &Stage) -> Judged {
    let (topic, group) = (stage.topic(1).await?, stage.group("g"));
    let client = stage.client("one");
    client.join(&stage.subscription(&topic, &group), &Memory::default())?;
    let second = client.join(&stage.subscription(&topic, &group), &Memory::default());
    holds(second.is_err(), "the second subscription was taken")
}

/// A group with one member that has committed three messages, and a connection to its coordinator.
struct Led {
    topic: String,
    group: String,
    wire: Wire,
    member_id: String,
}

impl Led {
    async fn new(stage: &Stage) -> Result<Self, Stop> {
        let (topic, group) = (stage.topic(1).await?, stage.group("g"));
        let client = stage.client("one");
        publish(&client, &topic, "a", 0..3).await?;
        let memory = Memory::default();
        client.join(&stage.subscription(&topic, &group), &memory)?;
        memory.has(3).await?;
        stage.committed_all(&client, &group, &topic).await?;
        let members = client.group(&group).await.map(|it| it.members).unwrap_or_default();
        let member_id = members.into_iter().next().map(|it| it.id).unwrap_or_default();
        let wire = Wire::to_coordinator(&stage.backend, &group).await?;
        Ok(Self { topic, group, wire, member_id })
    }

    async fn commit(&mut self, member_id: &str, generation: i32) -> Result<ErrorCode, Stop> {
        commit(&mut self.wire, &self.group, &self.topic, (member_id, generation), (1, None)).await
    }

    async fn committed(&mut self) -> Result<(i64, Option<String>), Stop> {
        committed(&mut self.wire, &self.group, &self.topic).await
    }
}

async fn commit(
    wire: &mut Wire,
    group: &str,
    topic: &str,
    (member_id, generation_id): (&str, i32),
    (offset, metadata): (i64, Option<String>),
) -> Result<ErrorCode, Stop> {
    let partitions = vec![CommitPartition { partition: 0, offset, metadata }];
    let question = OffsetCommitRequest {
        group_id: group.to_owned(),
        generation_id,
        member_id: member_id.to_owned(),
        retention_ms: -1,
        topics: vec![CommitTopic { name: topic.to_owned(), partitions }],
    };
    let answer: OffsetCommitResponse = wire.ask(ApiKey::OffsetCommit, &question).await?;
    let found = answer.topics.first().and_then(|it| it.partitions.first()).map(|it| it.error);
    found.ok_or_else(|| Stop("the answer names no partition".to_owned()))
}

async fn committed(
    wire: &mut Wire,
    group: &str,
    topic: &str,
) -> Result<(i64, Option<String>), Stop> {
    let topics = vec![OffsetFetchTopic { name: topic.to_owned(), partitions: vec![0] }];
    let question = OffsetFetchRequest { group_id: group.to_owned(), topics };
    let answer: OffsetFetchResponse = wire.ask(ApiKey::OffsetFetch, &question).await?;
    let found = answer.topics.into_iter().flat_map(|it| it.partitions).next();
    let found = found.ok_or_else(|| Stop("the answer names no partition".to_owned()))?;
    same("the answer", found.error, ErrorCode::None)?;
    Ok((found.offset, found.metadata))
}

async fn a_commit_of_an_old_generation_is_refused(stage: &Stage) -> Judged {
    let mut led = Led::new(stage).await?;
    let member_id = led.member_id.clone();
    holds(!member_id.is_empty(), "the group shows no member")?;
    same("the answer", led.commit(&member_id, 1_000).await?, ErrorCode::IllegalGeneration)
}

async fn a_commit_of_an_unknown_member_is_refused(stage: &Stage) -> Judged {
    let mut led = Led::new(stage).await?;
    same("the answer", led.commit("nobody", 1).await?, ErrorCode::UnknownMemberId)
}

async fn a_refused_commit_changes_nothing(stage: &Stage) -> Judged {
    let mut led = Led::new(stage).await?;
    let before = led.committed().await?.0;
    let refused = led.commit("nobody", 1).await?;
    holds(refused != ErrorCode::None, "the commit of nobody was taken")?;
    same("what is committed", (before, led.committed().await?.0), (3, 3))
}

async fn an_unknown_member_cannot_stay_alive(stage: &Stage) -> Judged {
    let mut led = Led::new(stage).await?;
    let question = HeartbeatRequest {
        group_id: led.group.clone(),
        generation_id: 1,
        member_id: "nobody".to_owned(),
        group_instance_id: None,
    };
    let answer: HeartbeatResponse = led.wire.ask(ApiKey::Heartbeat, &question).await?;
    same("the answer", answer.error, ErrorCode::UnknownMemberId)
}

async fn commits_of_two_groups_are_two(stage: &Stage) -> Judged {
    let led = Led::new(stage).await?;
    let client = stage.client("asker");
    same("lag of the one", client.lag(&led.group, &led.topic).await?.records, 0)?;
    same("lag of the other", client.lag(&stage.group("h"), &led.topic).await?.records, 3)
}

async fn commits_outlive_the_members(stage: &Stage) -> Judged {
    let (topic, group) = (stage.topic(1).await?, stage.group("g"));
    let client = stage.client("one");
    publish(&client, &topic, "a", 0..7).await?;
    let memory = Memory::default();
    client.join(&stage.subscription(&topic, &group), &memory)?;
    memory.has(7).await?;
    client.end().await;
    let lag = stage.client("other").lag(&group, &topic).await?;
    same("lag, and the offset", (lag.records, lag.committed.get(&0).copied()), (0, Some(7)))
}

async fn the_words_of_a_commit_are_kept(stage: &Stage) -> Judged {
    let (topic, group) = (stage.topic(1).await?, stage.group("g"));
    publish(&stage.client("one"), &topic, "a", 0..3).await?;
    let mut wire = Wire::to_coordinator(&stage.backend, &group).await?;
    let words = Some("until noon".to_owned());
    let taken = commit(&mut wire, &group, &topic, ("", -1), (2, words.clone())).await?;
    same("the answer", taken, ErrorCode::None)?;
    same("what is committed", committed(&mut wire, &group, &topic).await?, (2, words))
}

async fn what_was_never_committed_is_told_as_such(stage: &Stage) -> Judged {
    let (topic, group) = (stage.topic(1).await?, stage.group("g"));
    let mut wire = Wire::to_coordinator(&stage.backend, &group).await?;
    same("the offset", committed(&mut wire, &group, &topic).await?.0, -1)
}

async fn members_are_described_by_name(stage: &Stage) -> Judged {
    let (topic, group) = (stage.topic(2).await?, stage.group("g"));
    for name in ["one", "two"] {
        stage.client(name).join(&stage.subscription(&topic, &group), &Memory::default())?;
    }
    let asker = stage.client("asker");
    let names = || async {
        let info = asker.group(&group).await?;
        let mut names: Vec<_> = info.members.into_iter().map(|it| it.client_id).collect();
        names.sort_unstable();
        Ok::<_, Stop>(names)
    };
    eventually("both are members", || async { Ok(names().await?.len() == 2) }).await?;
    let found = names().await?;
    let ends = |at: usize, name: &str| found.get(at).is_some_and(|it| it.ends_with(name));
    holds(ends(0, "one") && ends(1, "two"), format!("names: {}", short(&found)))
}

async fn a_group_without_members_is_empty(stage: &Stage) -> Judged {
    let (topic, group) = (stage.topic(1).await?, stage.group("g"));
    let client = stage.client("one");
    publish(&client, &topic, "a", 0..2).await?;
    let memory = Memory::default();
    client.join(&stage.subscription(&topic, &group), &memory)?;
    memory.has(2).await?;
    client.end().await;
    let asker = stage.client("asker");
    eventually("it is empty", || async {
        let info = asker.group(&group).await?;
        Ok(info.state == "Empty" && info.members.is_empty())
    })
    .await
}

async fn a_group_that_never_was_is_told_as_unknown(stage: &Stage) -> Judged {
    let group = stage.group("never");
    let described = stage.client("one").group(&group).await;
    same("its description", described, Err(AdminError::UnknownGroup { group }))
}

async fn groups_are_listed(stage: &Stage) -> Judged {
    let topic = stage.topic(1).await?;
    let client = stage.client("one");
    publish(&client, &topic, "a", 0..2).await?;
    let groups = [stage.group("g"), stage.group("h")];
    let memories = [Memory::default(), Memory::default()];
    for (group, memory) in groups.iter().zip(&memories) {
        client.join(&stage.subscription(&topic, group), memory)?;
        memory.has(2).await?;
    }
    let listed = client.groups().await?;
    holds(groups.iter().all(|it| listed.contains(it)), "one is not listed")
}

async fn a_group_with_members_is_not_set_elsewhere(stage: &Stage) -> Judged {
    let (topic, group) = (stage.topic(1).await?, stage.group("g"));
    let client = stage.client("one");
    publish(&client, &topic, "a", 0..3).await?;
    let memory = Memory::default();
    client.join(&stage.subscription(&topic, &group), &memory)?;
    memory.has(3).await?;
    stage.committed_all(&client, &group, &topic).await?;
    let reset = client.reset_group(&group, &topic, GroupStart::Beginning).await;
    let is_refused = matches!(reset, Err(AdminError::Occupied { members: 1, .. }));
    holds(is_refused, format!("it ended as {}", short(&reset)))?;
    publish(&client, &topic, "a", 3..6).await?;
    until("the next ones come", || memory.count() >= 6).await?;
    same("messages", memory.ids(), ids("a", 0..6))
}
