//! Messages that were given up: kept as they were, with the reason, and sent back on request.

use base::Timestamp;

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

/// The topic and the message by which a message is kept as dead.
pub(crate) fn bury(
    delivered: &Delivered,
    group: &str,
    class: &str,
    reason: &str,
    now: Timestamp,
) -> (String, Message) {
    let mut message = delivered.message.clone();
    // Of a letter that died before, the first death is history.
    message.headers.retain(|name, _| !name.starts_with(OURS));
    let facts = [
        (REASON, reason.to_owned()),
        (CLASS, class.to_owned()),
        (ATTEMPTS, delivered.attempt.to_string()),
        (FIRST_TIME, delivered.published_at.to_rfc3339()),
        (LAST_TIME, now.to_rfc3339()),
        (SOURCE_TOPIC, delivered.topic.clone()),
        (SOURCE_PARTITION, delivered.partition.to_string()),
        (SOURCE_OFFSET, delivered.offset.to_string()),
    ];
    message.headers.extend(facts.map(|(name, value)| (name.to_owned(), value)));
    (dead_letter_topic(&delivered.topic, group), message)
}

/// The topic that a dead letter came from; `None` for a message that is no letter.
pub(crate) fn source_topic(message: &Message) -> Option<&str> {
    message.headers.get(SOURCE_TOPIC).map(String::as_str)
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
    fn a_buried_message_comes_back_as_it_was() {
        let record = kafka_wire::batch::Record::default();
        let message = Message::of_record(record, "orders", 3, 7);
        let delivered = Delivered {
            message: message.clone(),
            topic: "orders".to_owned(),
            partition: 3,
            offset: 7,
            attempt: 5,
            published_at: Timestamp::from_millis(1_000),
            trace: TraceContext::root(&mut base::Random::with_seed(1), false),
        };
        let now = Timestamp::from_millis(2_000);
        let (topic, buried) = bury(&delivered, "billing", "exhausted", "it broke", now);
        assert_eq!(topic, "orders.billing.dead");
        let letter = DeadLetter::read(&buried).unwrap();
        assert_eq!(letter.message, message);
        assert_eq!((letter.reason.as_str(), letter.attempts), ("it broke", 5));
        assert_eq!(letter.source, ("orders".to_owned(), 3, 7));
        assert_eq!(letter.last_time, Some(now));
        assert_eq!(DeadLetter::read(&message), None);
    }
}
