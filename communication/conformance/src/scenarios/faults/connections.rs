//! Connections that are cut, slow or silent between the client and the log.

use std::{collections::BTreeSet, time::Duration};

use kafka_wire::ApiKey;
use messaging::{Message, PublishError};
use tokio::{net::TcpListener, time::timeout};

use crate::{
    capability::{JOINS, MAKES, NUMBERS},
    front::{Front, Harm},
    judge::{Judged, Stop, eventually, holds, same, short},
    memory::Memory,
    scenario::{Scenario, scenario},
    stage::{Stage, ids, message, publish},
};

#[rustfmt::skip]
pub(crate) const ALL: &[Scenario] = &[
    scenario!(Faults, a_publish_whose_answer_is_lost_is_written_once, [MAKES, NUMBERS],
        "A batch that was written and whose answer was lost is sent again and known.",
        "records after three lost answers"),
    scenario!(Faults, a_publish_cut_in_the_middle_arrives_once, [MAKES, NUMBERS],
        "A batch that was cut on its way is sent again.",
        "records after three cut requests"),
    scenario!(Faults, an_answer_cut_in_the_middle_is_no_answer, [MAKES, NUMBERS],
        "Half an acknowledgement is none; the batch is sent again and known.",
        "records after three cut answers"),
    scenario!(Faults, an_answer_that_cannot_be_read_is_no_answer, [MAKES, NUMBERS],
        "An acknowledgement that makes no sense is none; the batch is sent again and known.",
        "records after two answers of noise"),
    scenario!(Faults, order_holds_over_lost_answers, [MAKES, NUMBERS],
        "Batches that are sent again do not pass each other.",
        "order of forty messages with every fourth answer lost"),
    scenario!(Faults, publishing_goes_on_when_topics_cannot_be_asked_about, [MAKES],
        "A cut question about a topic is asked again.",
        "a publish with two cut answers to Metadata"),
    scenario!(Faults, publishing_goes_on_when_no_number_comes, [MAKES, NUMBERS],
        "A cut question for a producer's number is asked again.",
        "a publish with two cut answers to InitProducerId"),
    scenario!(Faults, reading_goes_on_over_cut_answers, [MAKES, JOINS],
        "A reader whose answers are cut goes on where it was.",
        "ids with four cut answers to Fetch"),
    scenario!(Faults, reading_goes_on_over_cut_requests, [MAKES, JOINS],
        "A reader whose requests are cut goes on where it was.",
        "ids with three cut requests"),
    scenario!(Faults, a_lost_answer_to_a_commit_loses_nothing, [MAKES, JOINS],
        "A commit whose answer was lost is made again.",
        "the lag after three lost answers to OffsetCommit"),
    scenario!(Faults, joining_goes_on_over_cuts, [MAKES, JOINS],
        "A member whose joining is cut joins all the same.",
        "ids with cut answers to FindCoordinator, JoinGroup, SyncGroup and OffsetFetch"),
    scenario!(Faults, a_lost_heartbeat_loses_nothing, [MAKES, JOINS],
        "A member whose sign of life is lost goes on.",
        "ids while two answers to Heartbeat are cut"),
    scenario!(Faults, a_slow_log_is_waited_for, [MAKES, JOINS],
        "A log that takes 300 ms for every answer is used like another.",
        "ids and records"),
    scenario!(Faults, answers_in_crumbs_are_put_together, [MAKES, JOINS],
        "Answers may come a few bytes at a time.",
        "ids and bodies of 40 KiB"),
    scenario!(Faults, a_publish_that_nobody_answers_ends_as_unknown, [MAKES],
        "A publish that was sent and never answered ends in time, as one of which nobody knows.",
        "its error with every answer withheld"),
    scenario!(Faults, a_publish_that_was_never_sent_ends_as_such, [],
        "A publish for which no log was there ends in time, as one that was not sent.",
        "its error at an address where nobody listens"),
    scenario!(Faults, publishing_goes_on_after_an_unknown_end, [MAKES, NUMBERS],
        "After a publish of which nobody knows, the next ones arrive, in order, once.",
        "what is read after one withheld answer"),
    scenario!(Faults, more_than_the_bound_is_refused_at_once, [MAKES],
        "What exceeds the bound of publishes under way is refused as too much, and what was begun goes on.",
        "five publishes with a bound of three while no answer comes, then the records"),
    scenario!(Faults, publishing_goes_on_when_a_vanished_log_is_back, [MAKES, NUMBERS],
        "When the log's connections fall silent and it comes back, what was under way arrives once.",
        "records after a silence"),
    scenario!(Faults, reading_goes_on_when_a_vanished_log_is_back, [MAKES, JOINS],
        "The same for a group's member.",
        "ids after a silence"),
    scenario!(Faults, a_dead_address_among_others_is_passed, [MAKES],
        "Of several addresses one that answers is enough.",
        "a publish by a dead address and a living one"),
];

/// What a client that comes through harm has written: each message once, in its order.
async fn written(stage: &Stage, topic: &str, count: usize) -> Judged {
    let found = stage.all(&stage.client("reader"), topic).await?;
    let found: Vec<_> = found.into_iter().map(|it| it.message.id).collect();
    same("what is in the topic", found, ids("a", 0..count))
}

/// Twelve publishes, with harm done to the first of them.
async fn published(stage: &Stage, harm: Harm, api: ApiKey, times: usize) -> Judged {
    let topic = stage.topic(1).await?;
    let front = stage.front().await?;
    front.arm(harm, api, times);
    publish(&stage.client_through("one", &front), &topic, "a", 0..12).await?;
    front.has_done(times).await?;
    written(stage, &topic, 12).await
}

async fn a_publish_whose_answer_is_lost_is_written_once(stage: &Stage) -> Judged {
    published(stage, Harm::CutBeforeAnswer, ApiKey::Produce, 3).await
}

async fn a_publish_cut_in_the_middle_arrives_once(stage: &Stage) -> Judged {
    published(stage, Harm::CutInRequest, ApiKey::Produce, 3).await
}

async fn an_answer_cut_in_the_middle_is_no_answer(stage: &Stage) -> Judged {
    published(stage, Harm::CutInAnswer, ApiKey::Produce, 3).await
}

async fn an_answer_that_cannot_be_read_is_no_answer(stage: &Stage) -> Judged {
    published(stage, Harm::Garble, ApiKey::Produce, 2).await
}

async fn publishing_goes_on_when_topics_cannot_be_asked_about(stage: &Stage) -> Judged {
    published(stage, Harm::CutInAnswer, ApiKey::Metadata, 2).await
}

async fn publishing_goes_on_when_no_number_comes(stage: &Stage) -> Judged {
    published(stage, Harm::CutBeforeAnswer, ApiKey::InitProducerId, 2).await
}

async fn order_holds_over_lost_answers(stage: &Stage) -> Judged {
    let topic = stage.topic(1).await?;
    let front = stage.front().await?;
    let client = stage.client_through("one", &front);
    for number in 0..40 {
        if number % 4 == 0 {
            front.arm(Harm::CutBeforeAnswer, ApiKey::Produce, 1);
        }
        client.publish(&topic, message("a", number)).await?;
    }
    front.has_done(10).await?;
    written(stage, &topic, 40).await
}

/// A member that comes through harm processes thirty messages; everything is committed.
async fn processed(stage: &Stage, harms: &[(Harm, ApiKey, usize)]) -> Judged {
    let (topic, group) = (stage.topic(2).await?, stage.group("g"));
    let front = stage.front().await?;
    for (harm, api, times) in harms {
        front.arm(*harm, *api, *times);
    }
    let (member, publisher) = (stage.client_through("member", &front), stage.client("publisher"));
    let memory = Memory::default();
    member.join(&stage.subscription(&topic, &group), &memory)?;
    publish(&publisher, &topic, "a", 0..30).await?;
    memory.has_all(&ids("a", 0..30)).await?;
    let strikes: usize = harms.iter().map(|it| it.2).sum();
    // More to read and to commit, so that what is armed strikes.
    let mut next = 30;
    while front.strikes() < strikes {
        publish(&publisher, &topic, "a", next..next + 1).await?;
        memory.has_all(&ids("a", next..next + 1)).await?;
        next += 1;
        tokio::time::sleep(crate::judge::LOOK * 5).await;
        holds(next < 200, "the harm was never done")?;
    }
    stage.committed_all(&publisher, &group, &topic).await?;
    let firsts: Vec<_> = {
        let mut known = BTreeSet::new();
        memory.ids().into_iter().filter(|it| known.insert(it.clone())).collect()
    };
    same("first times", firsts, ids("a", 0..next))
}

async fn reading_goes_on_over_cut_answers(stage: &Stage) -> Judged {
    processed(stage, &[(Harm::CutInAnswer, ApiKey::Fetch, 4)]).await
}

async fn reading_goes_on_over_cut_requests(stage: &Stage) -> Judged {
    processed(stage, &[(Harm::CutInRequest, ApiKey::Fetch, 3)]).await
}

async fn a_lost_answer_to_a_commit_loses_nothing(stage: &Stage) -> Judged {
    processed(stage, &[(Harm::CutBeforeAnswer, ApiKey::OffsetCommit, 3)]).await
}

async fn joining_goes_on_over_cuts(stage: &Stage) -> Judged {
    let apis = [ApiKey::FindCoordinator, ApiKey::JoinGroup, ApiKey::SyncGroup, ApiKey::OffsetFetch];
    processed(stage, &apis.map(|api| (Harm::CutBeforeAnswer, api, 1))).await
}

async fn a_lost_heartbeat_loses_nothing(stage: &Stage) -> Judged {
    processed(stage, &[(Harm::CutBeforeAnswer, ApiKey::Heartbeat, 2)]).await
}

/// A client that comes through a front publishes and processes ten messages with this body.
async fn there_and_back(stage: &Stage, front: &Front, body: &[u8]) -> Judged {
    let (topic, group) = (stage.topic(2).await?, stage.group("g"));
    let client = stage.client_through("one", front);
    let memory = Memory::default();
    client.join(&stage.subscription(&topic, &group), &memory)?;
    for number in 0..10 {
        let sent = Message { body: body.to_vec().into(), ..message("a", number) };
        client.publish(&topic, sent).await?;
    }
    memory.has_all(&ids("a", 0..10)).await?;
    holds(memory.seen().iter().all(|it| it.message.body == body), "a body is another")?;
    written(stage, &topic, 10).await
}

async fn a_slow_log_is_waited_for(stage: &Stage) -> Judged {
    let front = stage.front().await?;
    front.delay(Duration::from_millis(300));
    there_and_back(stage, &front, b"x").await
}

async fn answers_in_crumbs_are_put_together(stage: &Stage) -> Judged {
    let front = stage.front().await?;
    front.crumble();
    there_and_back(stage, &front, &vec![b'x'; 40 << 10]).await
}

async fn a_publish_that_nobody_answers_ends_as_unknown(stage: &Stage) -> Judged {
    let topic = stage.topic(1).await?;
    let front = stage.front().await?;
    front.arm(Harm::Withhold, ApiKey::Produce, usize::MAX);
    let client = stage.client_through_with("one", &front, |it| {
        it.publish_timeout_ms = 2_000;
    });
    let ended = client.publish(&topic, message("a", 1)).await;
    holds(matches!(ended, Err(PublishError::Unknown { .. })), format!("ended as {}", short(&ended)))
}

/// An address where nobody listens: it was ours a moment ago.
async fn dead_address() -> Result<String, Stop> {
    Ok(TcpListener::bind("127.0.0.1:0").await?.local_addr()?.to_string())
}

async fn a_publish_that_was_never_sent_ends_as_such(stage: &Stage) -> Judged {
    let dead = dead_address().await?;
    let client = stage.client_with("one", |it| {
        it.bootstrap = vec![dead];
        it.publish_timeout_ms = 1_000;
    });
    let topic = stage.topic_name("nowhere");
    let publish = client.publish(&topic, message("a", 1));
    let ended = timeout(client.publish_within() + Duration::from_secs(5), publish).await;
    let ended = ended.map_err(|_| Stop("it did not end".to_owned()))?;
    let is_told = matches!(ended, Err(PublishError::Unavailable { .. }));
    holds(is_told, format!("ended as {}", short(&ended)))
}

async fn publishing_goes_on_after_an_unknown_end(stage: &Stage) -> Judged {
    let topic = stage.topic(1).await?;
    let front = stage.front().await?;
    let client = stage.client_through_with("one", &front, |it| {
        it.publish_timeout_ms = 1_500;
    });
    publish(&client, &topic, "a", 0..3).await?;
    front.arm(Harm::Withhold, ApiKey::Produce, usize::MAX);
    let ended = client.publish(&topic, message("a", 3)).await;
    holds(
        matches!(ended, Err(PublishError::Unknown { .. })),
        format!("ended as {}", short(&ended)),
    )?;
    front.arm(Harm::Withhold, ApiKey::Produce, 0);
    let mut number = 4;
    eventually("one arrives again", || async {
        Ok(client.publish(&topic, message("a", 4)).await.is_ok())
    })
    .await?;
    while number < 8 {
        number += 1;
        client.publish(&topic, message("a", number)).await?;
    }
    let found = stage.all(&stage.client("reader"), &topic).await?;
    let mut found: Vec<_> = found.into_iter().map(|it| it.message.id).collect();
    // The unknown one is there or not; the one behind it may have been tried more than once.
    found.retain(|it| it != "a/3");
    found.dedup();
    let promised = [ids("a", 0..3), ids("a", 4..9)].concat();
    same("what is in the topic", found, promised)
}

async fn more_than_the_bound_is_refused_at_once(stage: &Stage) -> Judged {
    let topic = stage.topic(1).await?;
    let front = stage.front().await?;
    let client = stage.client_through_with("one", &front, |it| {
        it.publishes_max = 3;
    });
    publish(&client, &topic, "a", 0..1).await?;
    front.arm(Harm::Withhold, ApiKey::Produce, 1);
    let mut under_way = tokio::task::JoinSet::new();
    for number in 1..4 {
        let (client, topic) = (client.clone(), topic.clone());
        under_way.spawn(async move { client.publish(&topic, message("a", number)).await });
    }
    front.has_done(1).await?;
    for number in 4..6 {
        let refused = client.publish(&topic, message("a", number)).await;
        same("one too many", refused, Err(PublishError::Overloaded))?;
    }
    let ended = under_way.join_all().await;
    let taken = ended.iter().filter(|it| it.is_ok()).count();
    same("what was begun", taken, 3)
}

async fn publishing_goes_on_when_a_vanished_log_is_back(stage: &Stage) -> Judged {
    let topic = stage.topic(1).await?;
    let front = stage.front().await?;
    let client = stage.client_through_with("one", &front, |it| {
        it.request_timeout_ms = 1_000;
        it.publish_timeout_ms = 20_000;
    });
    publish(&client, &topic, "a", 0..3).await?;
    front.vanish();
    let (published, ()) = tokio::join!(publish(&client, &topic, "a", 3..8), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        front.come_back();
    });
    published?;
    written(stage, &topic, 8).await
}

async fn reading_goes_on_when_a_vanished_log_is_back(stage: &Stage) -> Judged {
    let (topic, group) = (stage.topic(1).await?, stage.group("g"));
    let front = stage.front().await?;
    let member = stage.client_through_with("member", &front, |it| {
        it.request_timeout_ms = 1_000;
    });
    let (publisher, memory) = (stage.client("publisher"), Memory::default());
    member.join(&stage.subscription(&topic, &group), &memory)?;
    publish(&publisher, &topic, "a", 0..3).await?;
    memory.has(3).await?;
    front.vanish();
    publish(&publisher, &topic, "a", 3..8).await?;
    front.come_back();
    memory.has_all(&ids("a", 0..8)).await
}

async fn a_dead_address_among_others_is_passed(stage: &Stage) -> Judged {
    let topic = stage.topic(1).await?;
    let dead = dead_address().await?;
    let client = stage.client_with("one", |it| it.bootstrap.insert(0, dead));
    publish(&client, &topic, "a", 0..3).await?;
    written(stage, &topic, 3).await
}
