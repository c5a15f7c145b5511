//! Receiving ends for tests: a mail server that keeps what it takes, and an HTTP server that does.
//! Both listen on a free port of the loopback interface, until they are dropped.

mod mailbox;
mod postbox;

pub use mailbox::{Mail, Mailbox};
pub use postbox::{Postbox, Posted};
