//! Messages as an operator reads them, dead letters among them.

use std::ops::Range;

use messaging::{AdminError, DeadLetter, Delivered, Messaging};
use serde_json::{Value, json};

/// Messages that one look reads from one partition.
const PAGE: usize = 1_000;

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

/// A message as the commands show it.
#[must_use]
pub fn show(delivered: &Delivered) -> Value {
    let message = &delivered.message;
    let letter = DeadLetter::read(message);
    json!({
        "topic": &*delivered.topic, "partition": delivered.partition, "offset": delivered.offset,
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
