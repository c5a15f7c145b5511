//! What operators should look at: each thing once, with when it was first heard of and how often,
//! until somebody says that they look after it. A webhook in Alertmanager's form hears of each. What
//! has one cause is one group: a thousand deliveries that one callee fails are one thing to do.

mod desk;
mod form;
mod groups;
mod rows;

pub use desk::{AlertDesk, OpenDeskError, SHOWN_MAX};
pub use groups::{AlertGroup, LatestAlert};
pub use rows::{AlertPlace, AlertRow, forget_old};

use base::Timestamp;

/// A word that something needs a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raised {
    /// Who said it, and under which id: the same message counts once.
    pub source: String,
    /// Its id.
    pub message_id: String,
    /// `warning` or `critical`.
    pub severity: String,
    /// Who raised it.
    pub service: String,
    /// The delivery, when it is about one.
    pub delivery_id: Option<String>,
    /// The same of all that have the same cause; where nobody says it, the text.
    pub reason: Option<String>,
    /// What happened and what may help.
    pub text: String,
    /// When.
    pub occurred_at: Timestamp,
}
