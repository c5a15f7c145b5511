//! The log's topics.

use std::{collections::BTreeMap, path::Path, time::Duration};

use base::SharedClock;
use messaging::{AdminError, Delivered, Message, Messaging, TopicSpec};
use runtime::{SystemClock, random_from_os};
use serde_json::json;
use skein::{Exit, Failure, Output, Table, failure, letters};
use tokio::time::sleep;

use crate::{cli::TopicCommand, system::System, topic_cost, up};

/// Pause between two looks for new messages.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Runs one of the commands about topics.
pub(crate) async fn topics(
    data: &Path,
    system: System,
    command: TopicCommand,
    output: Output,
) -> Result<Exit, Failure> {
    let log = system.messaging().await;
    match command {
        TopicCommand::List => list(&log, output).await.map_err(|it| log_failure(&it))?,
        TopicCommand::Tail { topic, last, follow } => {
            let tailed = tail(&log, &topic, last, output).await;
            let places = tailed.map_err(|it| log_failure(&it))?;
            if follow {
                let followed = follow_on(&log, &topic, places, output).await;
                followed.map_err(|it| log_failure(&it))?;
            }
        }
        TopicCommand::Cost => return topic_cost::show(&up::admins(data).await?, output).await,
        TopicCommand::Describe { topic } => {
            describe(&log, &topic, output).await.map_err(|it| log_failure(&it))?;
        }
        TopicCommand::Create { topic, partitions, retention_hours } => {
            let retention_ms = retention_hours.map(|it| it.saturating_mul(3_600_000));
            let spec = TopicSpec { name: topic.clone(), partitions, synced: true, retention_ms };
            log.ensure_topics(&[spec]).await.map_err(|it| log_failure(&it))?;
            describe(&log, &topic, output).await.map_err(|it| log_failure(&it))?;
        }
        TopicCommand::Delete { topic, yes } => delete(&log, &topic, yes, output).await?,
        TopicCommand::Publish { topic, create, key, body, headers, kind } => {
            if !create {
                // The log would make one of any name, and the message would wait there for nobody.
                log.topic(&topic).await.map_err(|it| log_failure(&it).at(&topic))?;
            }
            let message = message(&SystemClock::shared(), key, body, headers, kind);
            let id = message.id.clone();
            let receipt = log.publish(&topic, message).await.map_err(|error| {
                Failure::new("not_published", "the log did not take the message")
                    .at(&topic)
                    .because(failure::chain(&error))
            })?;
            let mut table = Table::new(&["TOPIC", "PARTITION", "OFFSET", "ID"]);
            let (partition, offset) = (receipt.partition, receipt.offset);
            table.row([topic.clone(), partition.to_string(), offset.to_string(), id.clone()]);
            let document =
                json!({"topic": topic, "partition": partition, "offset": offset, "id": id});
            output.result(&document, &table);
        }
    }
    Ok(Exit::Done)
}

pub(crate) fn log_failure(error: &AdminError) -> Failure {
    let failure = |code, what: &str| Failure::new(code, what).because(failure::chain(error));
    match error {
        AdminError::Unreachable { .. } => failure("unreachable", "the log does not answer")
            .exit(Exit::Unreachable)
            .next("drone-delivery restart broker"),
        AdminError::UnknownTopic { .. } => failure("no_such_topic", "the log has no such topic")
            .exit(Exit::NotFound)
            .next("drone-delivery topics list"),
        AdminError::UnknownGroup { .. } => failure("no_such_group", "the log has no such group")
            .exit(Exit::NotFound)
            .next("drone-delivery groups list"),
        AdminError::Occupied { .. } => failure("log_refused", "the log refuses")
            .next("end the programs that `groups describe` names; a service of this system goes on where it is"),
        AdminError::Refused { .. } | AdminError::Fenced { .. } => {
            failure("log_refused", "the log did not answer as asked")
        }
    }
}

async fn list(log: &Messaging, output: Output) -> Result<(), AdminError> {
    let mut table = Table::new(&["TOPIC", "PARTITIONS", "RECORDS", "EVER"]);
    let mut rows = Vec::new();
    for topic in log.topics().await? {
        let kept: u64 = topic.partitions.values().map(|(start, end)| end - start).sum();
        let ever: u64 = topic.partitions.values().map(|(_, end)| end).sum();
        let partitions = topic.partitions.len();
        table.row([topic.name.clone(), partitions.to_string(), kept.to_string(), ever.to_string()]);
        rows.push(json!({"topic": topic.name, "partitions": partitions,
            "records": kept, "ever": ever}));
    }
    output.result(&rows, &table);
    Ok(())
}

async fn describe(log: &Messaging, topic: &str, output: Output) -> Result<(), AdminError> {
    let (settings, found) = (log.topic_settings(topic).await?, log.topic(topic).await?);
    let mut table = Table::new(&["PARTITION", "FIRST", "NEXT", "RECORDS"]);
    let mut rows = Vec::new();
    for (partition, (start, end)) in found.partitions {
        let records = end - start;
        table.row([u64::from(partition), start, end, records].map(|it| it.to_string()));
        rows.push(json!({"partition": partition, "first": start, "next": end, "records": records}));
    }
    for (name, value) in &settings {
        table.note(&format!("{name} = {value}"));
    }
    output.result(&json!({"topic": topic, "settings": settings, "partitions": rows}), &table);
    Ok(())
}

async fn delete(
    log: &Messaging,
    topic: &str,
    is_meant: bool,
    output: Output,
) -> Result<(), Failure> {
    let found = log.topic(topic).await.map_err(|it| log_failure(&it))?;
    let records: u64 = found.partitions.values().map(|(start, end)| end - start).sum();
    if !is_meant {
        return Err(Failure::new("not_meant", format!("{records} records would be lost"))
            .at(topic)
            .exit(Exit::Usage)
            .next(format!("drone-delivery topics delete {topic} --yes")));
    }
    log.delete_topic(topic).await.map_err(|it| log_failure(&it))?;
    let mut table = Table::new(&["TOPIC", "LOST"]);
    table.row([topic.to_owned(), records.to_string()]);
    output.result(&json!({"topic": topic, "lost": records}), &table);
    Ok(())
}

/// Where each partition was read to.
type Places = BTreeMap<u32, u64>;

/// Prints the last messages. One JSON object a line, in both forms: bodies have no columns.
async fn tail(
    log: &Messaging,
    topic: &str,
    last: usize,
    output: Output,
) -> Result<Places, AdminError> {
    let back = u64::try_from(last).unwrap_or(u64::MAX);
    let (mut places, mut found) = (Places::new(), Vec::new());
    for (partition, (start, end)) in log.topic(topic).await?.partitions {
        let from = end.saturating_sub(back).max(start);
        found.extend(letters::read_range(log, topic, partition, from..end).await?);
        places.insert(partition, end);
    }
    found.sort_by_key(|it: &Delivered| it.published_at);
    let surplus = found.len().saturating_sub(last);
    for delivered in &found[surplus..] {
        output.document(&letters::show(delivered));
    }
    Ok(places)
}

/// Prints messages as they come, until the command is interrupted.
async fn follow_on(
    log: &Messaging,
    topic: &str,
    mut places: Places,
    output: Output,
) -> Result<(), AdminError> {
    loop {
        sleep(LOOK_EVERY).await;
        for (partition, (_, end)) in log.topic(topic).await?.partitions {
            let from = places.insert(partition, end).unwrap_or(0);
            for delivered in letters::read_range(log, topic, partition, from..end).await? {
                output.document(&letters::show(&delivered));
            }
        }
    }
}

fn message(
    clock: &SharedClock,
    key: Option<String>,
    body: String,
    headers: Vec<(String, String)>,
    kind: String,
) -> Message {
    let now = clock.now();
    Message {
        id: random_from_os().uuid_v7(now).to_string(),
        source: "/commands/publish".to_owned(),
        kind,
        subject: key.clone(),
        time: now,
        key,
        content_type: "application/json".to_owned(),
        headers: headers.into_iter().collect(),
        trace: None,
        body: body.into(),
    }
}
