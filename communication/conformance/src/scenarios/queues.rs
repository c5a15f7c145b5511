//! Queues above streams: each message is settled by itself, whatever the log below.

pub(super) mod lanes;
pub(super) mod letters;
pub(super) mod settling;
