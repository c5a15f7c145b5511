//! The groups that read the log.

use messaging::{AdminError, GroupStart, Messaging};
use serde_json::json;
use skein::{Exit, Failure, Output, Table};

use crate::{cli::GroupCommand, messages::log_failure, system::System};

/// Runs one of the commands.
pub(crate) async fn run(
    system: System,
    command: GroupCommand,
    output: Output,
) -> Result<Exit, Failure> {
    let log = system.messaging().await;
    let done = match command {
        GroupCommand::List => list(&log, output).await,
        GroupCommand::Describe { group } => describe(&log, &group, output).await,
        GroupCommand::Reset { group, topic, to } => reset(&log, &group, &topic, to, output).await,
    };
    done.map_err(|it| log_failure(&it))?;
    Ok(Exit::Done)
}

async fn list(log: &Messaging, output: Output) -> Result<(), AdminError> {
    let mut table = Table::new(&["GROUP", "STATE", "MEMBERS", "LAG", "SECONDS"]);
    let mut rows = Vec::new();
    let topics = log.topics().await?;
    for name in log.groups().await? {
        let group = log.group(&name).await?;
        let lags = log.lags(&name, &topics).await?;
        let records: u64 = lags.values().map(|it| it.records).sum();
        let seconds = lags.values().map(|it| it.seconds).fold(0.0, f64::max);
        let members = group.members.len();
        table.row([
            name.clone(),
            group.state.clone(),
            members.to_string(),
            records.to_string(),
            format!("{seconds:.1}"),
        ]);
        rows.push(json!({"group": name, "state": group.state, "members": members,
            "lag": records, "lagSeconds": seconds}));
    }
    output.result(&rows, &table);
    Ok(())
}

async fn describe(log: &Messaging, name: &str, output: Output) -> Result<(), AdminError> {
    let group = log.group(name).await?;
    let mut table = Table::new(&["TOPIC", "PARTITIONS", "LAG", "SECONDS"]);
    let mut topics = Vec::new();
    for (topic, lag) in log.lags(name, &log.topics().await?).await? {
        table.row([
            topic.clone(),
            lag.committed.len().to_string(),
            lag.records.to_string(),
            format!("{:.1}", lag.seconds),
        ]);
        topics.push(json!({"topic": topic, "committed": lag.committed, "lag": lag.records,
            "lagSeconds": lag.seconds}));
    }
    table.note(&format!("{name} is {} with {} members", group.state, group.members.len()));
    let mut members = Vec::new();
    for it in group.members {
        let share = it.partitions.iter().map(|(topic, numbers)| format!("{topic} {numbers:?}"));
        let share = share.collect::<Vec<_>>().join(", ");
        table.note(&format!("{} at {}: {share}", it.client_id, it.host));
        members.push(json!({"id": it.id, "clientId": it.client_id, "host": it.host,
            "partitions": it.partitions}));
    }
    let document =
        json!({"group": name, "state": group.state, "members": members, "topics": topics});
    output.result(&document, &table);
    Ok(())
}

async fn reset(
    log: &Messaging,
    group: &str,
    topic: &str,
    to: GroupStart,
    output: Output,
) -> Result<(), AdminError> {
    let places = log.reset_group(group, topic, to).await?;
    let mut table = Table::new(&["PARTITION", "GOES ON AT"]);
    for (partition, offset) in &places {
        table.row([partition.to_string(), offset.to_string()]);
    }
    output.result(&json!({"group": group, "topic": topic, "goesOnAt": places}), &table);
    Ok(())
}
