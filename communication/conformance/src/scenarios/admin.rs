//! Topics and groups as an operator sees them.

use std::collections::BTreeMap;

use kafka_wire::{
    ApiKey, ErrorCode, asked_in,
    messages::{
        ApiVersionsRequest, ApiVersionsResponse, CreateTopicsRequest, CreateTopicsResponse,
        NewTopic, TopicSetting,
        admin::{CreatePartitionsRequest, CreatePartitionsResponse, MorePartitions},
    },
};
use messaging::{AdminError, TopicSpec};
use tokio::task::JoinSet;

use crate::{
    capability::{Capability, MAKES},
    judge::{Judged, Stop, eventually, holds, same, short},
    scenario::{Scenario, scenario},
    stage::{Stage, publish, spec},
};

const REMOVES: Capability = Capability::Speaks(ApiKey::DeleteTopics);
const WIDENS: Capability = Capability::Speaks(ApiKey::CreatePartitions);
const DESCRIBES: Capability = Capability::Speaks(ApiKey::DescribeConfigs);

/// What the client sends whatever it is used for.
const NEEDED: [ApiKey; 11] = [
    ApiKey::Produce,
    ApiKey::Fetch,
    ApiKey::ListOffsets,
    ApiKey::Metadata,
    ApiKey::OffsetCommit,
    ApiKey::OffsetFetch,
    ApiKey::FindCoordinator,
    ApiKey::JoinGroup,
    ApiKey::Heartbeat,
    ApiKey::LeaveGroup,
    ApiKey::SyncGroup,
];

#[rustfmt::skip]
pub(crate) const ALL: &[Scenario] = &[
    scenario!(Admin, what_the_client_needs_is_spoken, [],
        "A log says that it speaks every request that the client cannot do without, in the version that it sends.",
        "the log's own list"),
    scenario!(Admin, a_log_that_answers_is_alive, [],
        "A client can ask whether the log answers.",
        "a ping"),
    scenario!(Admin, a_topic_is_made_with_its_partitions, [MAKES],
        "A topic has as many partitions as were asked for.",
        "topics of 1, 3 and 12 partitions"),
    scenario!(Admin, a_topic_that_is_made_again_stays_as_it_is, [MAKES],
        "Making a topic that is there is no error, and takes nothing from it.",
        "its records and partitions after it was made again"),
    scenario!(Admin, topics_are_made_together, [MAKES],
        "Several topics may be made in one request.",
        "five topics"),
    scenario!(Admin, a_topic_that_all_make_at_once_is_made_once, [MAKES],
        "Processes that start together may all make the same topic.",
        "eight clients that make one topic at once"),
    scenario!(Admin, a_new_topic_is_empty, [MAKES],
        "A topic begins at 0 and ends there.",
        "begin and end of each partition"),
    scenario!(Admin, begin_and_end_are_told, [MAKES],
        "A topic's begin and end are those of its records.",
        "begin and end after ten publishes"),
    scenario!(Admin, topics_are_listed, [MAKES],
        "A list of topics holds those that were made.",
        "the list after two were made"),
    scenario!(Admin, a_topic_that_is_not_there_is_told_as_such, [],
        "A question about a topic that is none is answered so.",
        "the error of its description, of its lag and of its messages"),
    scenario!(Admin, a_question_makes_no_topic, [],
        "Asking about a topic does not make it, even where topics are made on use.",
        "two questions in a row"),
    scenario!(Admin, a_topic_is_removed, [MAKES, REMOVES],
        "A topic that was removed is not there any more.",
        "its description"),
    scenario!(Admin, a_topic_that_was_removed_can_be_made_again, [MAKES, REMOVES],
        "A topic that is made again after it was removed is empty.",
        "its records, and one that is published then"),
    scenario!(Admin, a_topic_that_is_none_cannot_be_removed, [REMOVES],
        "Removing what is not there is told.",
        "the error"),
    scenario!(Admin, an_impossible_name_is_refused, [MAKES],
        "A name that no topic may have is refused.",
        "the errors of three names"),
    scenario!(Admin, a_topic_without_partitions_is_refused, [MAKES],
        "A topic needs a partition.",
        "the error of none"),
    scenario!(Admin, an_unknown_setting_is_refused, [MAKES],
        "A setting that the log does not know is refused, not ignored.",
        "the answer to a raw request"),
    scenario!(Admin, asking_whether_makes_nothing, [MAKES],
        "A request that only asks whether a topic could be made makes none.",
        "the answer to a raw request, and the topic's description"),
    scenario!(Admin, retention_is_kept_as_set, [MAKES, DESCRIBES],
        "A topic's retention is what was asked for.",
        "its settings"),
    scenario!(Admin, settings_of_a_missing_topic_are_an_error, [DESCRIBES],
        "Settings of a topic that is none are told as such.",
        "the error"),
    scenario!(Admin, a_topic_without_sync_is_made, [MAKES, Capability::UnsyncedTopics],
        "A topic whose records may be lost with the power can be made, and used.",
        "a message read back"),
    scenario!(Admin, a_topic_gets_more_partitions, [MAKES, WIDENS, Capability::WiderTopics],
        "A topic can be widened, and what it holds stays.",
        "its partitions and records after it was widened"),
    scenario!(Admin, a_topic_is_not_narrowed, [MAKES, WIDENS],
        "A topic does not lose partitions.",
        "the answer to a raw request"),
];

async fn what_the_client_needs_is_spoken(stage: &Stage) -> Judged {
    let mut wire = stage.wire().await?;
    let answer: ApiVersionsResponse = wire.ask(ApiKey::ApiVersions, &ApiVersionsRequest {}).await?;
    same("the answer", answer.error, ErrorCode::None)?;
    let missing = NEEDED.iter().filter(|it| !answer.speaks(**it, asked_in(**it)));
    let missing: Vec<_> = missing.collect();
    holds(missing.is_empty(), format!("not spoken: {}", short(&missing)))
}

async fn a_log_that_answers_is_alive(stage: &Stage) -> Judged {
    Ok(stage.client("one").ping().await?)
}

async fn a_topic_is_made_with_its_partitions(stage: &Stage) -> Judged {
    let client = stage.client("one");
    for partitions in [1, 3, 12] {
        let topic = stage.topic_called(&format!("wide-{partitions}"), partitions).await?;
        let found: Vec<u32> = client.topic(&topic).await?.partitions.into_keys().collect();
        same("partitions", found, (0..partitions).collect())?;
    }
    Ok(())
}

async fn a_topic_that_is_made_again_stays_as_it_is(stage: &Stage) -> Judged {
    let topic = stage.topic(3).await?;
    let client = stage.client("one");
    publish(&client, &topic, "a", 0..5).await?;
    client.ensure_topics(&[spec(&topic, 3)]).await?;
    client.ensure_topics(&[spec(&topic, 9)]).await?;
    same("records", stage.held(&client, &topic).await?, 5)?;
    same("partitions", client.topic(&topic).await?.partitions.len(), 3)
}

async fn topics_are_made_together(stage: &Stage) -> Judged {
    let client = stage.client("one");
    let names: Vec<String> = (0..5).map(|it| stage.topic_name(&format!("t{it}"))).collect();
    let specs: Vec<TopicSpec> = names.iter().map(|it| spec(it, 2)).collect();
    client.ensure_topics(&specs).await?;
    for name in names {
        eventually("it is there", || async {
            Ok(client.topic(&name).await?.partitions.len() == 2)
        })
        .await?;
    }
    Ok(())
}

async fn a_topic_that_all_make_at_once_is_made_once(stage: &Stage) -> Judged {
    let topic = stage.topic_name("once");
    let mut making = JoinSet::new();
    for number in 0..8 {
        let (client, spec) = (stage.client(&format!("c{number}")), spec(&topic, 4));
        making.spawn(async move { client.ensure_topics(&[spec]).await });
    }
    making.join_all().await.into_iter().collect::<Result<Vec<_>, _>>()?;
    let client = stage.client("one");
    eventually("it is there", || async { Ok(client.topic(&topic).await?.partitions.len() == 4) })
        .await
}

async fn a_new_topic_is_empty(stage: &Stage) -> Judged {
    let topic = stage.topic(3).await?;
    let found = stage.client("one").topic(&topic).await?.partitions;
    same("begin and end", found, BTreeMap::from([(0, (0, 0)), (1, (0, 0)), (2, (0, 0))]))
}

async fn begin_and_end_are_told(stage: &Stage) -> Judged {
    let topic = stage.topic(1).await?;
    let client = stage.client("one");
    publish(&client, &topic, "a", 0..10).await?;
    same("begin and end", client.topic(&topic).await?.partitions.remove(&0), Some((0, 10)))
}

async fn topics_are_listed(stage: &Stage) -> Judged {
    let topics = [stage.topic(1).await?, stage.topic_called("bills", 2).await?];
    let client = stage.client("one");
    // Others' topics may go between the list and the questions about each.
    eventually("both are listed", || async {
        let listed: Vec<String> = client.topics().await?.into_iter().map(|it| it.name).collect();
        Ok(topics.iter().all(|it| listed.contains(it)))
    })
    .await
}

async fn a_topic_that_is_not_there_is_told_as_such(stage: &Stage) -> Judged {
    let topic = stage.topic_name("missing");
    let client = stage.client("one");
    let promised = AdminError::UnknownTopic { topic: topic.clone() };
    same("its description", client.topic(&topic).await.err(), Some(promised.clone()))?;
    let lag = client.lag(&stage.group("g"), &topic).await.err();
    same("its lag", lag, Some(promised))?;
    holds(client.read(&topic, 0, 0, 1).await.is_err(), "its messages can be read")
}

async fn a_question_makes_no_topic(stage: &Stage) -> Judged {
    let topic = stage.topic_name("asked");
    let client = stage.client("one");
    for _ in 0..2 {
        let promised = AdminError::UnknownTopic { topic: topic.clone() };
        same("its description", client.topic(&topic).await.err(), Some(promised))?;
    }
    Ok(())
}

async fn removed(stage: &Stage) -> Result<(String, crate::stage::Client), Stop> {
    let topic = stage.topic(2).await?;
    let client = stage.client("one");
    publish(&client, &topic, "a", 0..5).await?;
    client.delete_topic(&topic).await?;
    let other = stage.client("other");
    eventually("it is gone", || async {
        Ok(matches!(other.topic(&topic).await, Err(AdminError::UnknownTopic { .. })))
    })
    .await?;
    Ok((topic, other))
}

async fn a_topic_is_removed(stage: &Stage) -> Judged {
    removed(stage).await.map(drop)
}

async fn a_topic_that_was_removed_can_be_made_again(stage: &Stage) -> Judged {
    let (topic, client) = removed(stage).await?;
    eventually("it is made again", || async {
        client.ensure_topics(&[spec(&topic, 1)]).await?;
        Ok(client.topic(&topic).await?.partitions.len() == 1)
    })
    .await?;
    same("records", stage.held(&client, &topic).await?, 0)?;
    publish(&client, &topic, "b", 0..1).await?;
    let found = stage.all(&client, &topic).await?;
    let found: Vec<_> = found.into_iter().map(|it| it.message.id).collect();
    same("what it holds", found, vec!["b/0".to_owned()])
}

async fn a_topic_that_is_none_cannot_be_removed(stage: &Stage) -> Judged {
    let topic = stage.topic_name("missing");
    let removed = stage.client("one").delete_topic(&topic).await;
    same("the removal", removed, Err(AdminError::UnknownTopic { topic }))
}

async fn an_impossible_name_is_refused(stage: &Stage) -> Judged {
    let client = stage.client("one");
    for name in ["no/slash", "", "no blank"] {
        let made = client.ensure_topics(&[spec(name, 1)]).await;
        let is_refused = matches!(made, Err(AdminError::Refused { .. }));
        holds(is_refused, format!("`{name}` ended as {}", short(&made)))?;
    }
    Ok(())
}

async fn a_topic_without_partitions_is_refused(stage: &Stage) -> Judged {
    let made = stage.client("one").ensure_topics(&[spec(&stage.topic_name("none"), 0)]).await;
    let code = ErrorCode::InvalidPartitions;
    let is_refused = matches!(&made, Err(AdminError::Refused { code: it, .. }) if *it == code);
    holds(is_refused, format!("it ended as {}", short(&made)))
}

/// The answer to the wish for a topic with this setting.
async fn asked(
    stage: &Stage,
    name: &str,
    (setting, value): (&str, &str),
    validate_only: bool,
) -> Result<ErrorCode, Stop> {
    let setting = TopicSetting { name: setting.to_owned(), value: Some(value.to_owned()) };
    let topic = NewTopic {
        name: name.to_owned(),
        partitions: 1,
        replication: 1,
        assignments: Vec::new(),
        settings: vec![setting],
    };
    let question = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, validate_only };
    let mut wire = stage.wire().await?;
    let answer: CreateTopicsResponse = wire.ask(ApiKey::CreateTopics, &question).await?;
    let found = answer.topics.first().map(|it| it.error);
    found.ok_or_else(|| Stop("the answer names no topic".to_owned()))
}

async fn an_unknown_setting_is_refused(stage: &Stage) -> Judged {
    let name = stage.topic_name("odd");
    let answer = asked(stage, &name, ("nobody.has.this", "1"), false).await?;
    same("the answer", answer, ErrorCode::InvalidConfig)
}

async fn asking_whether_makes_nothing(stage: &Stage) -> Judged {
    let name = stage.topic_name("asked");
    let answer = asked(stage, &name, ("retention.ms", "3600000"), true).await?;
    same("the answer", answer, ErrorCode::None)?;
    let found = stage.client("one").topic(&name).await.err();
    same("its description", found, Some(AdminError::UnknownTopic { topic: name }))
}

async fn retention_is_kept_as_set(stage: &Stage) -> Judged {
    let topic = stage.topic_name("short");
    let client = stage.client("one");
    let wanted = TopicSpec { retention_ms: Some(7_200_000), ..spec(&topic, 1) };
    client.ensure_topics(&[wanted]).await?;
    eventually("it is described", || async { Ok(client.topic_settings(&topic).await.is_ok()) })
        .await?;
    let found = client.topic_settings(&topic).await?.remove("retention.ms");
    same("retention.ms", found, Some("7200000".to_owned()))
}

async fn settings_of_a_missing_topic_are_an_error(stage: &Stage) -> Judged {
    let topic = stage.topic_name("missing");
    let found = stage.client("one").topic_settings(&topic).await;
    same("its settings", found, Err(AdminError::UnknownTopic { topic }))
}

async fn a_topic_without_sync_is_made(stage: &Stage) -> Judged {
    let topic = stage.topic_name("unsynced");
    let client = stage.client("one");
    client.ensure_topics(&[TopicSpec { synced: false, ..spec(&topic, 1) }]).await?;
    publish(&client, &topic, "a", 0..5).await?;
    eventually("it is read", || async { Ok(stage.all(&client, &topic).await?.len() == 5) }).await
}

async fn widened(stage: &Stage, topic: &str, count: i32) -> Result<ErrorCode, Stop> {
    let topics =
        vec![MorePartitions { name: topic.to_owned(), count, ..MorePartitions::default() }];
    let question = CreatePartitionsRequest { topics, timeout_ms: 10_000, validate_only: false };
    let mut wire = stage.wire().await?;
    let answer: CreatePartitionsResponse = wire.ask(ApiKey::CreatePartitions, &question).await?;
    let found = answer.topics.first().map(|it| it.error);
    found.ok_or_else(|| Stop("the answer names no topic".to_owned()))
}

async fn a_topic_gets_more_partitions(stage: &Stage) -> Judged {
    let topic = stage.topic(2).await?;
    publish(&stage.client("one"), &topic, "a", 0..5).await?;
    same("the answer", widened(stage, &topic, 6).await?, ErrorCode::None)?;
    // One that has not heard of the two.
    let client = stage.client("other");
    eventually("it is wider", || async {
        let fresh = stage.client("fresh");
        Ok(fresh.topic(&topic).await?.partitions.len() == 6)
    })
    .await?;
    same("records", stage.held(&client, &topic).await?, 5)
}

async fn a_topic_is_not_narrowed(stage: &Stage) -> Judged {
    let topic = stage.topic(4).await?;
    same("the answer", widened(stage, &topic, 2).await?, ErrorCode::InvalidPartitions)?;
    same("partitions", stage.client("one").topic(&topic).await?.partitions.len(), 4)
}
