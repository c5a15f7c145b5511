//! Dead letters of a topic: found by query, sent back at a rate, discarded.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::{
    dead_letter::DeadLetter,
    discard::DiscardError,
    error::{AdminError, PublishError},
    message::{Delivered, Message},
    messaging::Messaging,
};

/// The end of the name of every dead-letter topic.
const DEAD: &str = ".dead";
/// Letters that are read at once.
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

/// Which letters are meant: those that everything given applies to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LetterQuery {
    /// The key of the message.
    pub key: Option<String>,
    /// Its `CloudEvents` type.
    pub kind: Option<String>,
    /// Why it was given up: `rejected`, `exhausted` or `unreadable`.
    pub class: Option<String>,
    /// A part of the reason.
    pub reason: Option<String>,
}

impl LetterQuery {
    /// Whether a message of a dead-letter topic is a letter that is meant.
    #[must_use]
    pub fn takes(&self, message: &Message) -> bool {
        fn is(wanted: Option<&String>, seen: &str) -> bool {
            wanted.is_none_or(|it| it == seen)
        }
        let Some(letter) = DeadLetter::read(message) else { return false };
        is(self.key.as_ref(), message.key.as_deref().unwrap_or_default())
            && is(self.kind.as_ref(), &message.kind)
            && is(self.class.as_ref(), &letter.class)
            && self.reason.as_ref().is_none_or(|it| letter.reason.contains(it.as_str()))
    }
}

impl Messaging {
    /// Dead-letter topics with how many letters each keeps.
    ///
    /// # Errors
    /// The log cannot be asked.
    pub async fn letter_topics(&self) -> Result<Vec<(String, u64)>, AdminError> {
        let dead = self.topics().await?.into_iter().filter(|it| it.name.ends_with(DEAD));
        Ok(dead
            .map(|it| (it.name, it.partitions.values().map(|(start, end)| end - start).sum()))
            .collect())
    }

    /// Sends letters of a topic back to where they came from, byte for byte and so under their own ids: a
    /// consumer that has seen one drops it. The letters stay where they are until their retention ends.
    /// `every` is the time from one to the next.
    ///
    /// # Errors
    /// [`RedriveError`].
    pub async fn redrive(
        &self,
        topic: &str,
        query: &LetterQuery,
        every: Duration,
    ) -> Result<u64, RedriveError> {
        let mut sent = 0;
        let mut due = interval(every.max(Duration::from_micros(1)));
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for (partition, (mut offset, end)) in self.topic(topic).await?.partitions {
            while offset < end {
                let page = self.letters(topic, partition, offset, PAGE).await?;
                let Some((last, _)) = page.last() else { break };
                offset = last.offset + 1;
                let meant = page.into_iter().filter(|(it, _)| it.offset < end);
                for letter in meant.filter(|(it, _)| query.takes(&it.message)).filter_map(|it| it.1)
                {
                    if !every.is_zero() {
                        due.tick().await;
                    }
                    let published = self.send_back(letter).await;
                    published.map_err(|source| RedriveError::Publish { sent, source })?;
                    sent += 1;
                }
            }
        }
        Ok(sent)
    }

    /// Removes letters of a topic for good; the others get new places in it. Gives how many are gone.
    ///
    /// # Errors
    /// [`DiscardError`]: no letter is lost that is not meant.
    pub async fn discard_letters(
        &self,
        topic: &str,
        query: &LetterQuery,
    ) -> Result<u64, DiscardError> {
        let mut gone = 0;
        for (partition, (_, end)) in self.topic(topic).await?.partitions {
            let meant = |it: &Delivered| query.takes(&it.message);
            gone += self.discard(topic, partition, end, meant).await?;
        }
        Ok(gone)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use base::Timestamp;

    use super::*;

    fn letter(key: Option<&str>, class: &str, reason: &str) -> Message {
        let facts = [
            ("skein_reason", reason),
            ("skein_class", class),
            ("skein_source_topic", "orders"),
            ("skein_source_partition", "0"),
            ("skein_source_offset", "7"),
        ];
        Message {
            id: "1".to_owned(),
            source: "/services/orders".to_owned(),
            kind: "com.example.Ordered.v1".to_owned(),
            subject: None,
            time: Timestamp::from_millis(0),
            key: key.map(str::to_owned),
            content_type: "application/json".to_owned(),
            headers: facts.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            trace: None,
            body: "{}".into(),
        }
    }

    #[test]
    fn a_query_takes_what_everything_in_it_applies_to() {
        let query = |key: Option<&str>, class: Option<&str>, reason: Option<&str>| LetterQuery {
            key: key.map(str::to_owned),
            kind: None,
            class: class.map(str::to_owned),
            reason: reason.map(str::to_owned),
        };
        let seen = letter(Some("a"), "rejected", "no such account");
        assert!(LetterQuery::default().takes(&seen));
        assert!(query(Some("a"), Some("rejected"), Some("account")).takes(&seen));
        assert!(!query(Some("b"), Some("rejected"), Some("account")).takes(&seen));
        assert!(!query(Some("a"), Some("exhausted"), None).takes(&seen));
        assert!(!query(None, None, Some("timeout")).takes(&seen));
        assert!(!query(Some("a"), None, None).takes(&letter(None, "rejected", "")), "no key");
        let kind = Some("com.example.Other.v1".to_owned());
        assert!(!LetterQuery { kind, ..LetterQuery::default() }.takes(&seen));
    }

    #[test]
    fn what_is_no_letter_is_never_meant() {
        let plain = Message { headers: BTreeMap::new(), ..letter(None, "", "") };
        assert!(!LetterQuery::default().takes(&plain));
    }
}
