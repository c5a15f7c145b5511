//! What is said to whom, and by which channel.

use base::Timestamp;
use serde::{Deserialize, Serialize};

/// A way to reach somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// A line in a file of this machine.
    File,
    /// A mail.
    Email,
    /// A text message.
    Sms,
    /// A signed call of the customer's program.
    Webhook,
}

impl Channel {
    /// Each of them.
    pub const ALL: [Self; 4] = [Self::File, Self::Email, Self::Sms, Self::Webhook];

    /// Its word, in rows and documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Email => "email",
            Self::Sms => "sms",
            Self::Webhook => "webhook",
        }
    }

    /// The channel of a word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == word)
    }
}

/// The language that somebody reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// English.
    #[default]
    En,
    /// Finnish.
    Fi,
}

impl Language {
    /// The language of a tag such as `fi` or `fi-FI`; English for one that has no texts here.
    #[must_use]
    pub fn of(tag: &str) -> Self {
        let first = tag.split(['-', '_']).next().unwrap_or_default();
        if first.trim().eq_ignore_ascii_case("fi") { Self::Fi } else { Self::En }
    }

    /// Its tag.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Fi => "fi",
        }
    }
}

/// Something that somebody should hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Makes it one: the same is told once however often it is asked for.
    pub id: String,
    /// The delivery that it is about.
    pub delivery_id: String,
    /// The account that ships, where it is known.
    pub owner_id: Option<String>,
    /// Which text.
    pub template: String,
    /// Why, for people.
    pub reason: Option<String>,
    /// When it happened.
    pub occurred_at: Timestamp,
}

/// Where somebody wants to be told, and in which language.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Contact {
    /// Mail address.
    pub email: Option<String>,
    /// Phone number.
    pub sms: Option<String>,
    /// What they read.
    pub language: Language,
}

impl Contact {
    /// Whether there is any way to reach them.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.email.is_none() && self.sms.is_none()
    }

    /// The address of a channel.
    #[must_use]
    pub fn address(&self, channel: Channel) -> Option<&str> {
        match channel {
            Channel::Email => self.email.as_deref(),
            Channel::Sms => self.sms.as_deref(),
            Channel::File | Channel::Webhook => None,
        }
    }

    /// The channels that have an address.
    #[must_use]
    pub fn channels(&self) -> Vec<Channel> {
        let personal = [Channel::Email, Channel::Sms];
        personal.into_iter().filter(|it| self.address(*it).is_some()).collect()
    }
}

/// Addresses are for the channels alone: a line of a log must not show them.
impl std::fmt::Debug for Contact {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let channels = self.channels();
        formatter.debug_struct("Contact").field("channels", &channels).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contact_that_is_printed_shows_no_address() {
        let contact = Contact {
            email: Some("a.customer@example.com".to_owned()),
            sms: Some("+358401234567".to_owned()),
            language: Language::Fi,
        };
        let shown = format!("{contact:?}");
        assert!(!shown.contains("customer") && !shown.contains("358"), "{shown}");
        assert_eq!(contact.channels(), [Channel::Email, Channel::Sms]);
    }

    #[test]
    fn a_language_without_texts_reads_english() {
        for (tag, expected) in [
            ("fi", Language::Fi),
            ("FI-fi", Language::Fi),
            ("sv", Language::En),
            ("", Language::En),
        ] {
            assert_eq!(Language::of(tag), expected, "{tag}");
        }
    }
}
