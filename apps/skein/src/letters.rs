//! What an operator does with topics and dead letters.

use std::ops::Range;

use messaging::{AdminError, DeadLetter, Delivered, Messaging, PublishError};
use serde_json::{Value, json};

/// The end of the name of every dead-letter topic.
const DEAD: &str = ".dead";
/// Messages that one look reads from one partition.
const PAGE: usize = 1_000;

/// Why letters were not sent back.
#[derive(Debug, thiserror::Error)]
pub enum RedriveError {
    /// The log cannot be asked.
    #[error(transparent)]
    Ask(#[from] AdminError),
    /// A message was not taken.
    #[error("after {sent} messages: {source}")]
    Publish {
        /// How many were.
        sent: u64,
        /// Why not.
        source: PublishError,
    },
}

/// Dead-letter topics with how many letters each keeps.
///
/// # Errors
/// The log cannot be asked.
pub async fn topics(messaging: &Messaging) -> Result<Vec<(String, u64)>, AdminError> {
    let dead = messaging.topics().await?.into_iter().filter(|it| it.name.ends_with(DEAD));
    Ok(dead
        .map(|it| (it.name, it.partitions.values().map(|(start, end)| end - start).sum()))
        .collect())
}

/// Messages of a topic, oldest first in each partition.
///
/// # Errors
/// The log cannot be asked, or has no such topic.
pub async fn read(messaging: &Messaging, topic: &str) -> Result<Vec<Delivered>, AdminError> {
    let mut found = Vec::new();
    for (partition, (start, end)) in messaging.topic(topic).await?.partitions {
        found.extend(read_range(messaging, topic, partition, start..end).await?);
    }
    Ok(found)
}

/// Messages of a partition whose offsets lie in a range.
///
/// # Errors
/// The log cannot be asked, or does not have the range.
pub async fn read_range(
    messaging: &Messaging,
    topic: &str,
    partition: u32,
    offsets: Range<u64>,
) -> Result<Vec<Delivered>, AdminError> {
    let (mut found, mut offset) = (Vec::new(), offsets.start);
    while offset < offsets.end {
        let page = messaging.read(topic, partition, offset, PAGE).await?;
        let Some(last) = page.last() else { break };
        offset = last.offset + 1;
        found.extend(page.into_iter().filter(|it| offsets.contains(&it.offset)));
    }
    Ok(found)
}

/// Sends every letter of a topic back to where it came from, byte for byte and so under its own id: a
/// consumer that has seen it drops it. The letters stay where they are until their retention ends.
///
/// # Errors
/// [`RedriveError`].
pub async fn redrive(messaging: &Messaging, topic: &str) -> Result<u64, RedriveError> {
    let mut sent = 0;
    for (partition, (mut offset, end)) in messaging.topic(topic).await?.partitions {
        while offset < end {
            let page = messaging.letters(topic, partition, offset, PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            offset = last + 1;
            for letter in page.into_iter().filter(|it| it.0 < end).filter_map(|it| it.1) {
                let published = messaging.send_back(letter).await;
                published.map_err(|source| RedriveError::Publish { sent, source })?;
                sent += 1;
            }
        }
    }
    Ok(sent)
}

/// A message as the commands show it.
#[must_use]
pub fn show(delivered: &Delivered) -> Value {
    let message = &delivered.message;
    let letter = DeadLetter::read(message);
    json!({
        "topic": delivered.topic, "partition": delivered.partition, "offset": delivered.offset,
        "publishedAt": delivered.published_at, "id": message.id, "source": message.source,
        "type": message.kind, "key": message.key,
        "body": serde_json::from_slice::<Value>(&message.body)
            .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&message.body).into_owned())),
        "deadLetter": letter.map(|it| json!({
            "reason": it.reason, "class": it.class, "attempts": it.attempts,
            "firstTime": it.first_time, "lastTime": it.last_time,
            "source": {"topic": it.source.0, "partition": it.source.1, "offset": it.source.2},
        })),
    })
}
