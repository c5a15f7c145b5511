//! The groups that read the log.

use std::collections::{BTreeMap, BTreeSet};

use messaging::{AdminError, GroupInfo, GroupStart, Lag, Messaging};
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
    let lags = log.lags(name, &log.topics().await?).await?;
    let table = described(&group, &lags);
    let topics = lags.iter().map(|(topic, lag)| {
        json!({"topic": topic, "committed": lag.committed, "lag": lag.records,
            "lagSeconds": lag.seconds})
    });
    let members = group.members.iter().map(|it| {
        json!({"id": it.id, "clientId": it.client_id, "host": it.host,
            "partitions": it.partitions})
    });
    let document = json!({"group": name, "state": group.state,
        "members": members.collect::<Vec<_>>(), "topics": topics.collect::<Vec<_>>()});
    output.result(&document, &table);
    if table.is_empty() {
        output.remark(&standing(&group));
    }
    Ok(())
}

/// A row for each topic that the group has committed in or a member has a share of; below them who has which.
fn described(group: &GroupInfo, lags: &BTreeMap<String, Lag>) -> Table {
    let mut table = Table::new(&["TOPIC", "COMMITTED", "LAG", "SECONDS"]);
    let shared = group.members.iter().flat_map(|it| it.partitions.keys());
    for topic in shared.chain(lags.keys()).collect::<BTreeSet<_>>() {
        let cells = match lags.get(topic) {
            Some(lag) => {
                let committed: Vec<u32> = lag.committed.keys().copied().collect();
                [ranges(&committed), lag.records.to_string(), format!("{:.1}", lag.seconds)]
            }
            None => ["none", "–", "–"].map(str::to_owned),
        };
        table.row(std::iter::once(topic.clone()).chain(cells));
    }
    table.note(&standing(group));
    for it in &group.members {
        let share = it.partitions.iter();
        let share = share.map(|(topic, numbers)| format!("{topic} {}", ranges(numbers)));
        let share = share.collect::<Vec<_>>().join(", ");
        // Not every log says it.
        let host = if it.host.is_empty() { "–" } else { &it.host };
        table.note(&format!("{} at {host}: {share}", it.client_id));
    }
    table
}

fn standing(group: &GroupInfo) -> String {
    let members = match group.members.len() {
        0 => "no members".to_owned(),
        1 => "1 member".to_owned(),
        count => format!("{count} members"),
    };
    format!("{} is {} with {members}", group.name, group.state)
}

/// Numbers of partitions as people write them: `[0-3, 7]`.
fn ranges(numbers: &[u32]) -> String {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    let runs = sorted.chunk_by(|one, next| one + 1 == *next).filter_map(|run| match run {
        [] => None,
        [only] => Some(only.to_string()),
        [first, .., last] => Some(format!("{first}-{last}")),
    });
    format!("[{}]", runs.collect::<Vec<_>>().join(", "))
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

#[cfg(test)]
mod tests {
    use messaging::GroupMember;

    use super::*;

    fn member(host: &str, topic: &str, partitions: &[u32]) -> GroupMember {
        GroupMember {
            id: "m".to_owned(),
            client_id: "orders-1".to_owned(),
            host: host.to_owned(),
            partitions: BTreeMap::from([(topic.to_owned(), partitions.to_vec())]),
        }
    }

    #[test]
    fn a_group_shows_which_partitions_it_has_committed_in_and_who_has_which_from_where() {
        let members = vec![member("10.0.0.7", "orders", &[2, 0, 1, 5]), member("", "new", &[0])];
        let group = GroupInfo { name: "orders".to_owned(), state: "Stable".to_owned(), members };
        let committed = BTreeMap::from([(0, 9), (1, 4), (5, 1)]);
        let lag = Lag { committed, records: 3, seconds: 0.25 };
        let expected = "\
TOPIC   COMMITTED  LAG  SECONDS
new     none       –    –
orders  [0-1, 5]   3    0.2
  orders is Stable with 2 members
  orders-1 at 10.0.0.7: orders [0-2, 5]
  orders-1 at –: new [0]
";
        let lags = BTreeMap::from([("orders".to_owned(), lag)]);
        assert_eq!(described(&group, &lags).render(""), expected);
    }
}
