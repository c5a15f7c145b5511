//! Messages that were given up: kept as they were, with the reason, and sent back on request.
//!
//! What is kept and what is sent back is the record, byte for byte: the key and the headers of a
//! foreign producer need be no text, and a missing value is none.

use base::Timestamp;
use bytes::Bytes;
use kafka_wire::batch::Record;

use crate::{
    message::{Delivered, Message},
    subscription::dead_letter_topic,
};

const REASON: &str = "skein_reason";
const CLASS: &str = "skein_class";
const ATTEMPTS: &str = "skein_attempts";
const FIRST_TIME: &str = "skein_first_time";
const LAST_TIME: &str = "skein_last_time";
const SOURCE_TOPIC: &str = "skein_source_topic";
const SOURCE_PARTITION: &str = "skein_source_partition";
const SOURCE_OFFSET: &str = "skein_source_offset";
const OURS: &str = "skein_";

/// A message that was given up, as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The message as it was.
    pub message: Message,
    /// Why it was given up.
    pub reason: String,
    /// `rejected`, `exhausted` or `unreadable`.
    pub class: String,
    /// How often it was given.
    pub attempts: u32,
    /// When it was published.
    pub first_time: Option<Timestamp>,
    /// When it was given up.
    pub last_time: Option<Timestamp>,
    /// Topic, partition and offset that it came from.
    pub source: (String, u32, u64),
}

/// A dead letter as it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// The topic that it came from.
    pub source: String,
    /// The record as it was.
    pub(crate) record: Record,
}

/// The topic and the record by which a record is kept as dead.
pub(crate) fn bury(
    mut record: Record,
    delivered: &Delivered,
    group: &str,
    class: &str,
    reason: &str,
    now: Timestamp,
) -> (String, Record) {
    // Of a letter that died before, the first death is history.
    record.headers.retain(|(name, _)| !name.starts_with(OURS));
    let facts = [
        (REASON, reason.to_owned()),
        (CLASS, class.to_owned()),
        (ATTEMPTS, delivered.attempt.to_string()),
        (FIRST_TIME, delivered.published_at.to_rfc3339()),
        (LAST_TIME, now.to_rfc3339()),
        (SOURCE_TOPIC, delivered.topic.to_string()),
        (SOURCE_PARTITION, delivered.partition.to_string()),
        (SOURCE_OFFSET, delivered.offset.to_string()),
    ];
    let facts = facts.into_iter().map(|(name, value)| (name.to_owned(), Some(value.into())));
    record.headers.extend(facts);
    record.timestamp = now.as_millis();
    (dead_letter_topic(&delivered.topic, group), record)
}

impl Letter {
    /// The letter of a record; `None` when it is none of ours.
    pub(crate) fn of_record(mut record: Record) -> Option<Self> {
        let is_source = |it: &&(String, Option<Bytes>)| it.0 == SOURCE_TOPIC;
        let source = record.headers.iter().find(is_source)?.1.clone()?;
        let source = String::from_utf8(source.to_vec()).ok()?;
        record.headers.retain(|(name, _)| !name.starts_with(OURS));
        Some(Self { source, record })
    }
}

impl DeadLetter {
    /// Reads a message of a dead-letter topic; `None` when it is none of ours.
    #[must_use]
    pub fn read(message: &Message) -> Option<Self> {
        let get = |name: &str| message.headers.get(name);
        let time = |name: &str| get(name).and_then(|it| Timestamp::parse(it));
        let source = (
            get(SOURCE_TOPIC)?.clone(),
            get(SOURCE_PARTITION)?.parse().ok()?,
            get(SOURCE_OFFSET)?.parse().ok()?,
        );
        let mut original = message.clone();
        original.headers.retain(|name, _| !name.starts_with(OURS));
        Some(Self {
            reason: get(REASON)?.clone(),
            class: get(CLASS).cloned().unwrap_or_default(),
            attempts: get(ATTEMPTS).and_then(|it| it.parse().ok()).unwrap_or(0),
            first_time: time(FIRST_TIME),
            last_time: time(LAST_TIME),
            source,
            message: original,
        })
    }
}

#[cfg(test)]
mod tests {
    use telemetry::TraceContext;

    use super::*;

    #[test]
    fn what_was_buried_is_told_and_comes_back_byte_for_byte() {
        let foreign = Record {
            key: Some(Bytes::from_static(b"\xff\x00\x80")),
            value: None,
            headers: vec![
                ("x".to_owned(), Some(Bytes::from_static(b"\xfe"))),
                ("x".to_owned(), None),
                ("x".to_owned(), Some(Bytes::from_static(b"again"))),
            ],
            timestamp: 1_000,
        };
        let delivered = Delivered {
            message: Message::of_record(&foreign, "orders", 3, 7),
            topic: "orders".into(),
            partition: 3,
            offset: 7,
            attempt: 5,
            published_at: Timestamp::from_millis(1_000),
            trace: TraceContext::root(&mut base::Random::with_seed(1), false),
            stopping: runtime::Shutdown::never(),
        };
        let now = Timestamp::from_millis(2_000);
        let mut died_before = foreign.clone();
        died_before.headers.push((REASON.to_owned(), Some(Bytes::from_static(b"long ago"))));
        let (topic, buried) =
            bury(died_before, &delivered, "billing", "exhausted", "it broke", now);
        assert_eq!(topic, "orders.billing.dead");
        let shown = Message::of_record(&buried, &topic, 0, 0);
        let told = DeadLetter::read(&shown).unwrap();
        assert_eq!((told.reason.as_str(), told.attempts), ("it broke", 5));
        assert_eq!(told.source, ("orders".to_owned(), 3, 7));
        let times = (told.first_time, told.last_time);
        assert_eq!(times, (Some(delivered.published_at), Some(now)));
        let letter = Letter::of_record(buried).unwrap();
        assert_eq!(letter.source, "orders");
        assert_eq!(letter.record, Record { timestamp: 2_000, ..foreign.clone() });
        assert_eq!(Letter::of_record(foreign), None);
        assert_eq!(DeadLetter::read(&delivered.message), None);
    }
}
