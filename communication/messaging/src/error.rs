//! Why a message was not published, a question not answered, a message not processed.

use std::time::Duration;

use base::FailureClass;
use kafka_wire::ErrorCode;

/// Why a publish was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The log could not be reached: it has not got the message.
    #[error("the log cannot be reached")]
    Unavailable {
        /// When to try again.
        retry_after: Duration,
    },
    /// Too much is under way in this process: not sent.
    #[error("too many messages are being published")]
    Overloaded,
    /// Longer than a message may be: not sent.
    #[error("a message holds at most {bytes_max} bytes")]
    TooLarge {
        /// The bound.
        bytes_max: usize,
    },
    /// It was sent and not acknowledged in time: it may be in the log.
    #[error("nobody knows whether the log has the message: {message}")]
    Unknown {
        /// What happened.
        message: String,
    },
    /// The log will not take it.
    #[error("the log refused the message: {code:?}")]
    Refused {
        /// Its reason.
        code: ErrorCode,
    },
}

impl PublishError {
    /// The article's class.
    #[must_use]
    pub const fn class(&self) -> FailureClass {
        match self {
            Self::Unavailable { .. } | Self::Overloaded => FailureClass::Transient,
            Self::Unknown { .. } => FailureClass::Unknown,
            Self::TooLarge { .. } | Self::Refused { .. } => FailureClass::NonTransient,
        }
    }

    /// Whether the same publish may succeed later, unchanged.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        !matches!(self.class(), FailureClass::NonTransient)
    }
}

/// Why a question about topics or groups has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// The log could not be reached, or did not answer in time.
    #[error("the log cannot be reached: {message}")]
    Unreachable {
        /// What happened.
        message: String,
    },
    /// The log has its reasons.
    #[error("the log refused: {code:?}{}", message.as_ref().map(|it| format!(": {it}")).unwrap_or_default())]
    Refused {
        /// Which.
        code: ErrorCode,
        /// In its words.
        message: Option<String>,
    },
    /// Another process of the same name has this one's place in a group, where it gets nothing more.
    #[error("another process of this name has taken the place in group {group}")]
    Fenced {
        /// The group.
        group: String,
    },
    /// There is no such group.
    #[error("there is no group {group}")]
    UnknownGroup {
        /// Its name.
        group: String,
    },
    /// A group that somebody takes part in goes on where its members are.
    #[error("{members} members take part in group {group}: stop them first")]
    Occupied {
        /// The group.
        group: String,
        /// How many.
        members: usize,
    },
    /// There is no such topic.
    #[error("there is no topic {topic}")]
    UnknownTopic {
        /// Its name.
        topic: String,
    },
}

/// A group has one subscription in a process: a second one would have the same place in it, and the
/// two would drive each other out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this process has a subscription of group {group} already")]
pub struct SubscribeError {
    /// The group.
    pub group: String,
}

/// Why a message was not processed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It may go away: the message is given again, a bounded number of times.
    Transient(String),
    /// Something that the work needs is down: the message is given again until it is back.
    Unavailable(String),
    /// It will not go away: the message goes to the dead letters now.
    Rejected(String),
    /// It is about something that this program has never heard of: it is passed over, and counted.
    Unknown(String),
}

impl Failure {
    /// Why, for people.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Transient(reason)
            | Self::Unavailable(reason)
            | Self::Rejected(reason)
            | Self::Unknown(reason) => reason,
        }
    }
}
