//! Order of a key, and work on many keys at the same time.

use messaging::Failure;

use crate::{
    capability::{JOINS, MAKES},
    judge::{Judged, holds, same, until},
    memory::{Memory, all_seen},
    scenario::{Scenario, scenario},
    stage::{Stage, ids, message, publish},
};

#[rustfmt::skip]
pub(crate) const ALL: &[Scenario] = &[
    scenario!(Queues, messages_of_a_key_come_in_their_order, [MAKES, JOINS],
        "Messages of a key are processed in the order of their publishing.",
        "ids of five keys in one partition"),
    scenario!(Queues, a_key_is_never_worked_on_twice_at_a_time, [MAKES, JOINS],
        "Of a key, one message is worked on at a time.",
        "most at a time of one key among 100 messages"),
    scenario!(Queues, keys_of_one_partition_are_worked_on_together, [MAKES, JOINS],
        "Keys do not wait for each other, even in one partition.",
        "eight messages of eight keys that all wait for each other"),
    scenario!(Queues, a_failing_key_holds_up_itself_alone, [MAKES, JOINS],
        "While a key's message fails, other keys of its partition go on.",
        "all messages of other keys while one fails"),
    scenario!(Queues, what_stands_behind_a_failing_message_of_its_key_waits, [MAKES, JOINS],
        "No message of a key passes one that failed.",
        "what was given of the key while its first message fails, and after"),
    scenario!(Queues, what_stands_behind_a_dead_letter_goes_on, [MAKES, JOINS],
        "When a message was given up, its key goes on behind it.",
        "ids of the key"),
    scenario!(Queues, messages_without_a_key_wait_for_nobody, [MAKES, JOINS],
        "A message without a key has an order with no other.",
        "all others while one without a key fails"),
    scenario!(Queues, competing_members_keep_the_order_of_a_key, [MAKES, JOINS],
        "Three members that compete keep the order of every key.",
        "the common order of processing of twelve keys"),
    scenario!(Queues, a_settled_group_gives_each_message_to_one_member, [MAKES, JOINS],
        "Members that compete do not do each other's work.",
        "how often each message was given"),
];

async fn messages_of_a_key_come_in_their_order(stage: &Stage) -> Judged {
    let topic = stage.topic(1).await?;
    let client = stage.client("one");
    for number in 0..20 {
        for key in 0..5 {
            client.publish(&topic, message(&format!("k{key}"), number)).await?;
        }
    }
    let memory = Memory::default();
    client.join(&stage.subscription(&topic, &stage.group("g")), &memory)?;
    memory.has(100).await?;
    for key in 0..5 {
        in_order(&memory, &format!("k{key}"), 20)?;
    }
    Ok(())
}

/// Messages of a key were given in their order, each once.
fn in_order(memory: &Memory, key: &str, count: usize) -> Judged {
    let seen = memory.seen().into_iter().filter(|it| it.message.key.as_deref() == Some(key));
    same("messages of a key", seen.map(|it| it.message.id).collect::<Vec<_>>(), ids(key, 0..count))
}

async fn a_key_is_never_worked_on_twice_at_a_time(stage: &Stage) -> Judged {
    let topic = stage.topic(2).await?;
    let client = stage.client("one");
    for number in 0..20 {
        for key in 0..5 {
            client.publish(&topic, message(&format!("k{key}"), number)).await?;
        }
    }
    let memory = Memory::default();
    memory.shut();
    client.join(&stage.subscription(&topic, &stage.group("g")), &memory)?;
    // One of each key waits at the gate.
    memory.has(5).await?;
    memory.open();
    memory.has(100).await?;
    same("most at a time, and of one key", memory.most_at_a_time(), (5, 1))
}

async fn keys_of_one_partition_are_worked_on_together(stage: &Stage) -> Judged {
    let topic = stage.topic(1).await?;
    let client = stage.client("one");
    for key in 0..8 {
        publish(&client, &topic, &format!("k{key}"), 0..1).await?;
    }
    let memory = Memory::default();
    memory.shut();
    client.join(&stage.subscription(&topic, &stage.group("g")), &memory)?;
    memory.has(8).await?;
    same("at a time", memory.most_at_a_time().0, 8)?;
    memory.open();
    Ok(())
}

fn unavailable() -> Failure {
    Failure::Unavailable("not yet".to_owned())
}

async fn a_failing_key_holds_up_itself_alone(stage: &Stage) -> Judged {
    let topic = stage.topic(1).await?;
    let client = stage.client("one");
    let memory = Memory::default();
    memory.fail("bad/0", unavailable());
    publish(&client, &topic, "bad", 0..1).await?;
    let mut others = Vec::new();
    for key in 0..10 {
        publish(&client, &topic, &format!("k{key}"), 0..5).await?;
        others.extend(ids(&format!("k{key}"), 0..5));
    }
    client.join(&stage.subscription(&topic, &stage.group("g")), &memory)?;
    memory.has_all(&others).await
}

async fn what_stands_behind_a_failing_message_of_its_key_waits(stage: &Stage) -> Judged {
    let topic = stage.topic(1).await?;
    let client = stage.client("one");
    let memory = Memory::default();
    memory.fail("a/0", unavailable());
    publish(&client, &topic, "a", 0..5).await?;
    client.join(&stage.subscription(&topic, &stage.group("g")), &memory)?;
    memory.has(6).await?;
    holds(memory.ids().iter().all(|it| it == "a/0"), "one has passed it")?;
    memory.heal("a/0");
    memory.has_all(&ids("a", 0..5)).await?;
    let behind = memory.ids().into_iter().filter(|it| it != "a/0").collect::<Vec<_>>();
    same("those behind it", behind, ids("a", 1..5))
}

async fn what_stands_behind_a_dead_letter_goes_on(stage: &Stage) -> Judged {
    let (topic, group) = (stage.topic(1).await?, stage.group("g"));
    let client = stage.client("one");
    let memory = Memory::default();
    memory.fail("a/1", Failure::Rejected("never".to_owned()));
    publish(&client, &topic, "a", 0..4).await?;
    client.join(&stage.subscription(&topic, &group), &memory)?;
    stage.committed_all(&client, &group, &topic).await?;
    same("messages", memory.ids(), ids("a", 0..4))
}

async fn messages_without_a_key_wait_for_nobody(stage: &Stage) -> Judged {
    let topic = stage.topic(1).await?;
    let client = stage.client("one");
    let memory = Memory::default();
    memory.fail("none/0", unavailable());
    for number in 0..10 {
        let sent = messaging::Message { key: None, ..message("none", number) };
        client.publish(&topic, sent).await?;
    }
    client.join(&stage.subscription(&topic, &stage.group("g")), &memory)?;
    memory.has_all(&ids("none", 1..10)).await
}

async fn competing_members_keep_the_order_of_a_key(stage: &Stage) -> Judged {
    let (topic, group) = (stage.topic(6).await?, stage.group("g"));
    let publisher = stage.client("publisher");
    for number in 0..20 {
        for key in 0..12 {
            publisher.publish(&topic, message(&format!("k{key}"), number)).await?;
        }
    }
    // One memory for all: what stands there is the order of processing.
    let memory = Memory::default();
    for name in ["one", "two", "three"] {
        stage.client(name).join(&stage.subscription(&topic, &group), &memory)?;
    }
    let promised = (0..12).flat_map(|key| ids(&format!("k{key}"), 0..20));
    memory.has_all(&promised.collect::<Vec<_>>()).await?;
    for key in 0..12 {
        let key = format!("k{key}");
        let mut known = std::collections::BTreeSet::new();
        let seen = memory.seen().into_iter().filter(|it| it.message.key.as_ref() == Some(&key));
        let firsts = seen.map(|it| it.message.id).filter(|it| known.insert(it.clone()));
        same("first times of a key", firsts.collect::<Vec<_>>(), ids(&key, 0..20))?;
    }
    Ok(())
}

async fn a_settled_group_gives_each_message_to_one_member(stage: &Stage) -> Judged {
    let (topic, group) = (stage.topic(6).await?, stage.group("g"));
    let publisher = stage.client("publisher");
    let memories = [(); 3].map(|()| Memory::default());
    for (number, memory) in memories.iter().enumerate() {
        let client = stage.client(&format!("member-{number}"));
        client.join(&stage.subscription(&topic, &group), memory)?;
    }
    // When each has had something, and all of it is committed, nobody is coming any more.
    let mut round = 0;
    while memories.iter().any(|it| it.count() == 0) {
        for key in 0..24 {
            publish(&publisher, &topic, &format!("w{key}"), round..round + 1).await?;
        }
        round += 1;
        holds(round < 100, "a member got nothing")?;
        stage.committed_all(&publisher, &group, &topic).await?;
    }
    let mut promised = Vec::new();
    for key in 0..24 {
        publish(&publisher, &topic, &format!("k{key}"), 0..2).await?;
        promised.extend(ids(&format!("k{key}"), 0..2));
    }
    all_seen(&memories.each_ref(), &promised).await?;
    let times = |id: &String| memories.iter().map(|it| it.times(id)).sum::<usize>();
    until("each was given once", || promised.iter().all(|it| times(it) == 1)).await
}
