//! People are told: customers by mail, text message, webhook and file, operators by a webhook.
//!
//! A context of its own with tables of its own, which a service runs. What is to be said is a row
//! before anything is sent; each channel is tried until it took it, refused it for good, or the
//! deadline passed. An address is looked up when it is needed and never kept here, in no row and
//! no log. It refuses to know what a delivery is beyond its id, and who may hear of it: its owner's
//! service says where people want to be told.

pub mod alerts;
mod config;
mod courier;
mod journal;
mod mail;
mod notice;
mod outbox;
mod post;
mod posts;
mod signature;
pub mod testing;
mod text;
mod verdict;

pub use config::{
    AlertConfig, ConfigError, NotificationConfig, Patience, SmsConfig, SmtpConfig, SmtpTls,
    WebhookConfig,
};
pub use courier::{AddressBook, Courier, NotNow};
pub use notice::{Channel, Contact, Language, Notice};
pub use outbox::{Entry, Outbox, OutboxError, State, forget_old};
