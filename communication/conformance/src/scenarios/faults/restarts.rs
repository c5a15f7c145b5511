//! The log is started again.

use bytes::Bytes;
use kafka_wire::{
    ErrorCode,
    batch::{self, Producer, Record},
};

use crate::{
    capability::{Capability, MAKES, NUMBERS},
    judge::{Judged, Stop, eventually, same},
    memory::Memory,
    scenario::{Scenario, scenario},
    stage::{Client, Stage, ids, message, publish},
};

const RESTART: Capability = Capability::Restart;
const KEEPS: Capability = Capability::KeepsOverRestart;

#[rustfmt::skip]
pub(crate) const ALL: &[Scenario] = &[
    scenario!(Faults, a_client_finds_a_log_that_was_started_again, [MAKES, RESTART],
        "A client goes on with a log that was ended and started, without being started again itself.",
        "a publish to a topic that is made after the restart"),
    scenario!(Faults, what_was_acknowledged_outlives_the_log, [MAKES, RESTART, KEEPS],
        "What was acknowledged before a restart is there after it.",
        "ids of 200 messages"),
    scenario!(Faults, what_was_committed_outlives_the_log, [MAKES, RESTART, KEEPS],
        "What a group committed before a restart is committed after it.",
        "the lag, and ids of a member that comes after it"),
    scenario!(Faults, a_publisher_goes_on_over_a_restart, [MAKES, RESTART, KEEPS],
        "A publisher that works while the log is started again loses nothing that was acknowledged, and doubles nothing.",
        "receipts against what is read"),
    scenario!(Faults, a_member_goes_on_over_a_restart, [MAKES, RESTART, KEEPS],
        "A group's member goes on after a restart where it was.",
        "ids from before and after"),
    scenario!(Faults, a_producers_number_is_known_after_a_restart, [MAKES, NUMBERS, RESTART, KEEPS],
        "A batch that was written before a restart and comes again after it is known.",
        "the answer to a raw batch sent again, and the records"),
    scenario!(Faults, topics_outlive_the_log, [MAKES, RESTART, KEEPS],
        "A topic has its partitions after a restart.",
        "its description"),
];

/// Waits until the log answers after it was started again.
async fn started_again(stage: &Stage, client: &Client) -> Judged {
    stage.backend.start_again().await?;
    eventually("the log answers", || async { Ok(client.ping().await.is_ok()) }).await
}

async fn a_client_finds_a_log_that_was_started_again(stage: &Stage) -> Judged {
    let before = stage.topic(1).await?;
    let client = stage.client("one");
    publish(&client, &before, "a", 0..3).await?;
    started_again(stage, &client).await?;
    let topic = stage.topic_called("after", 1).await?;
    publish(&client, &topic, "a", 0..3).await?;
    same("records", stage.held(&client, &topic).await?, 3)
}

async fn what_was_acknowledged_outlives_the_log(stage: &Stage) -> Judged {
    let topic = stage.topic(4).await?;
    let client = stage.client("one");
    for number in 0..200 {
        client.publish(&topic, message(&format!("k{}", number % 10), number)).await?;
    }
    started_again(stage, &client).await?;
    let found = stage.all(&client, &topic).await?;
    let mut found: Vec<_> = found.into_iter().map(|it| it.message.id).collect();
    let mut promised: Vec<_> = (0..200).map(|it| format!("k{}/{it}", it % 10)).collect();
    found.sort_unstable();
    promised.sort_unstable();
    same("messages", found, promised)
}

async fn what_was_committed_outlives_the_log(stage: &Stage) -> Judged {
    let (topic, group) = (stage.topic(1).await?, stage.group("g"));
    let client = stage.client("one");
    publish(&client, &topic, "a", 0..10).await?;
    let memory = Memory::default();
    client.join(&stage.subscription(&topic, &group), &memory)?;
    memory.has(10).await?;
    client.end().await;
    let client = stage.client("two");
    same("lag before", client.lag(&group, &topic).await?.records, 0)?;
    started_again(stage, &client).await?;
    same("lag after", client.lag(&group, &topic).await?.records, 0)?;
    publish(&client, &topic, "a", 10..12).await?;
    let memory = Memory::default();
    client.join(&stage.subscription(&topic, &group), &memory)?;
    memory.has(2).await?;
    same("messages", memory.ids(), ids("a", 10..12))
}

async fn a_publisher_goes_on_over_a_restart(stage: &Stage) -> Judged {
    let topic = stage.topic(1).await?;
    let client = stage.client_with("one", |it| it.publish_timeout_ms = 40_000);
    let publishing = async {
        for number in 0..200 {
            client.publish(&topic, message("a", number)).await?;
        }
        Ok::<_, Stop>(())
    };
    let restarting = async {
        let asker = stage.client("asker");
        eventually("some are published", || async { Ok(stage.held(&asker, &topic).await? >= 20) })
            .await?;
        Ok::<_, Stop>(stage.backend.start_again().await?)
    };
    let (published, restarted) = tokio::join!(publishing, restarting);
    restarted?;
    published?;
    let found = stage.all(&stage.client("reader"), &topic).await?;
    let found: Vec<_> = found.into_iter().map(|it| it.message.id).collect();
    same("messages", found, ids("a", 0..200))
}

async fn a_member_goes_on_over_a_restart(stage: &Stage) -> Judged {
    let (topic, group) = (stage.topic(2).await?, stage.group("g"));
    let client = stage.client("one");
    let memory = Memory::default();
    client.join(&stage.subscription(&topic, &group), &memory)?;
    publish(&client, &topic, "a", 0..10).await?;
    memory.has(10).await?;
    let publisher = stage.client("publisher");
    started_again(stage, &publisher).await?;
    publish(&publisher, &topic, "a", 10..20).await?;
    memory.has_all(&ids("a", 0..20)).await?;
    stage.committed_all(&publisher, &group, &topic).await
}

async fn a_producers_number_is_known_after_a_restart(stage: &Stage) -> Judged {
    let topic = stage.topic(1).await?;
    let mut wire = stage.wire_to(&topic, 0).await?;
    let (id, epoch) = wire.number().await?;
    let producer = Producer { id, epoch, base_sequence: 0 };
    let record = Record {
        value: Some(Bytes::from_static(b"x")),
        timestamp: stage.an_hour_ago(),
        ..Record::default()
    };
    let batch = batch::encode(&[record], Some(producer));
    let produced = wire.produce(&topic, 0, -1, batch.clone()).await?;
    same("the first answer", (produced.error, produced.base_offset), (ErrorCode::None, 0))?;
    started_again(stage, &stage.client("one")).await?;
    let mut wire = stage.wire_to(&topic, 0).await?;
    let produced = wire.produce(&topic, 0, -1, batch).await?;
    same("the second answer", (produced.error, produced.base_offset), (ErrorCode::None, 0))?;
    same("records", wire.records(&topic, 0).await?.len(), 1)
}

async fn topics_outlive_the_log(stage: &Stage) -> Judged {
    let topic = stage.topic(5).await?;
    let client = stage.client("one");
    started_again(stage, &client).await?;
    same("partitions", stage.client("two").topic(&topic).await?.partitions.len(), 5)
}
