//! What the Scheduler says is what the workflows say: see [`workflows::Announcer`].

/// The role, as it names itself in messages.
pub(crate) const ROLE: &str = "scheduler";
