//! Dead letters: looked at, sent back, discarded; all of a topic, or those of a query.

use std::time::Duration;

use messaging::{AdminError, Delivered, DiscardError, LetterQuery, Messaging, RedriveError};
use serde_json::{Value, json};
use skein::{Exit, Failure, Output, Table, failure, letters};

use crate::{cli::LetterCommand, messages::log_failure, system::System};

/// Runs one of the commands.
pub(crate) async fn run(
    system: System,
    command: LetterCommand,
    output: Output,
) -> Result<Exit, Failure> {
    let log = system.messaging().await;
    match command {
        LetterCommand::List => list(&log, output).await?,
        LetterCommand::Show { topic, which } => {
            let found = meant(&log, &topic, &which.into()).await?;
            if found.is_empty() {
                output.remark("no letters");
            }
            show(&found, output);
        }
        LetterCommand::Redrive { topic, which, dry_run: true, .. }
        | LetterCommand::Discard { topic, which, dry_run: true, .. } => {
            let found = meant(&log, &topic, &which.into()).await?;
            show(&found, output);
            output.remark(&format!("{} letters are meant; nothing was done", found.len()));
        }
        LetterCommand::Redrive { topic, which, rate, .. } => {
            let every = rate.map_or(Duration::ZERO, |it| Duration::from_secs(1) / it.get());
            let sent = log.redrive(&topic, &which.into(), every).await;
            told("redriven", "REDRIVEN", &topic, sent.map_err(redrive_failure)?, output);
        }
        LetterCommand::Discard { topic, which, yes, .. } => {
            let query = which.into();
            if !yes {
                let number = meant(&log, &topic, &query).await?.len();
                return Err(Failure::new("not_meant", format!("{number} letters would be lost"))
                    .at(&topic)
                    .exit(Exit::Usage)
                    .next("the same with --yes; --dry-run shows them"));
            }
            let gone = log.discard_letters(&topic, &query).await.map_err(discard_failure)?;
            told("discarded", "DISCARDED", &topic, gone, output);
        }
    }
    Ok(Exit::Done)
}

async fn list(log: &Messaging, output: Output) -> Result<(), Failure> {
    let topics = log.letter_topics().await.map_err(|it| log_failure(&it))?;
    let mut table = Table::new(&["TOPIC", "LETTERS"]);
    let mut rows = Vec::new();
    for (topic, number) in topics.into_iter().filter(|it| it.1 > 0) {
        table.row([topic.clone(), number.to_string()]);
        rows.push(json!({"topic": topic, "letters": number}));
    }
    output.result(&rows, &table);
    Ok(())
}

/// Whether what the letters would have come from is there.
async fn has_source(log: &Messaging, topic: &str) -> Result<bool, Failure> {
    let Some(source) = source_of(topic) else { return Ok(false) };
    match log.topic(source).await {
        Ok(_) => Ok(true),
        Err(AdminError::UnknownTopic { .. }) => Ok(false),
        Err(error) => Err(log_failure(&error)),
    }
}

/// The topic that the letters of a topic, `TOPIC.GROUP.dead`, come from.
fn source_of(topic: &str) -> Option<&str> {
    topic.strip_suffix(".dead")?.rsplit_once('.').map(|it| it.0)
}

/// The letters that a query takes.
async fn meant(
    log: &Messaging,
    topic: &str,
    query: &LetterQuery,
) -> Result<Vec<Delivered>, Failure> {
    let mut found = match letters::read(log, topic).await {
        // It is made with the first letter.
        Err(AdminError::UnknownTopic { .. }) if has_source(log, topic).await? => Vec::new(),
        found => found.map_err(|it| log_failure(&it))?,
    };
    found.retain(|it| query.takes(&it.message));
    Ok(found)
}

fn show(found: &[Delivered], output: Output) {
    let mut table = Table::new(&["PARTITION", "OFFSET", "KEY", "TYPE", "CLASS", "REASON"]);
    let shown: Vec<Value> = found.iter().map(letters::show).collect();
    for letter in &shown {
        let dead = &letter["deadLetter"];
        let cells = ["partition", "offset", "key", "type"].map(|it| &letter[it]);
        table.row(cells.into_iter().chain([&dead["class"], &dead["reason"]]).map(cell));
    }
    output.result(&shown, &table);
}

fn told(what: &'static str, heading: &'static str, topic: &str, number: u64, output: Output) {
    let mut table = Table::new(&[heading]);
    table.row([number.to_string()]);
    output.result(&json!({"topic": topic, what: number}), &table);
}

fn cell(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn redrive_failure(error: RedriveError) -> Failure {
    match error {
        RedriveError::Ask(error) => log_failure(&error),
        RedriveError::Publish { .. } => {
            Failure::new("not_published", failure::chain(&error)).exit(Exit::Partial)
        }
    }
}

fn discard_failure(error: DiscardError) -> Failure {
    match error {
        DiscardError::Ask(error) => log_failure(&error),
        DiscardError::NotKept(_) => {
            Failure::new("not_discarded", failure::chain(&error)).exit(Exit::Partial)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_of_letters_names_where_they_come_from() {
        assert_eq!(source_of("delivery-requests.scheduler.dead"), Some("delivery-requests"));
        assert_eq!(source_of("a.b.group.dead"), Some("a.b"));
        assert_eq!(source_of("delivery-requests"), None);
        assert_eq!(source_of("dead"), None);
    }
}
