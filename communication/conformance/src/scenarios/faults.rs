//! Connections that break, peers that fall silent, a log that is started again.

pub(super) mod connections;
pub(super) mod restarts;
pub(super) mod strangers;
