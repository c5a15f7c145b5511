//! Topics and subscriptions over the Kafka protocol: keyed publishing, processing in the order of
//! each key, dead letters.
//!
//! The same client speaks to our broker, to Kafka and to Event Hubs. A publish whose fate is
//! unknown says so; an offset is committed after the work is done, never before; a message that
//! cannot be processed holds up its own key alone, and then goes to a dead-letter topic with the
//! reason. Everything is bounded. It refuses to hide a double: consumers are told of each message
//! at least once, and drop what they have seen.

mod admin;
mod cluster;
mod config;
mod connection;
mod consumer;
mod dead_letter;
mod discard;
mod entrance;
mod error;
mod group;
mod groups;
mod lanes;
mod message;
mod messaging;
mod metrics;
mod offsets;
mod outlet;
mod publisher;
mod redrive;
mod seats;
mod subscription;

pub use admin::{Lag, TopicInfo, TopicSpec};
pub use config::MessagingConfig;
pub use dead_letter::{DeadLetter, Letter};
pub use discard::DiscardError;
pub use entrance::{EnterError, Entered, EnteredStream, ForeignLog, LogEntrance, LogLogin, LogTls};
pub use error::{AdminError, Failure, PublishError, SubscribeError};
pub use groups::{GroupInfo, GroupMember, GroupStart};
pub use message::{Delivered, Message, Receipt};
pub use messaging::Messaging;
pub use redrive::{LetterQuery, RedriveError};
pub use subscription::{Handler, Start, Subscription, SubscriptionHandle, dead_letter_topic};
