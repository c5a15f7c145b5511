//! What can be set about a log.

use std::collections::BTreeMap;

/// What an acknowledgement is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The record is on stable storage, and nobody saw it before.
    Synced,
    /// The record was written; it survives the process, not the loss of power.
    Buffered,
}

/// How one log is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// Streams with an order of their own. Fixed when the log is made.
    pub partitions: u32,
    /// What an acknowledgement is worth.
    pub durability: Durability,
    /// Size of a segment file in bytes.
    pub segment_bytes: u64,
    /// Milliseconds after which a segment may go; none keeps it for ever.
    pub retention_ms: Option<u64>,
    /// Bytes of segments past which the oldest goes; none sets no bound.
    pub retention_bytes: Option<u64>,
    /// Offsets that partitions begin at, at the least: somebody knows that they were given out. A
    /// log that ends before one has lost records, and goes on at it.
    pub floors: BTreeMap<u32, u64>,
    /// Appends that may wait for the committer. One more is refused as overloaded.
    pub appends_max: usize,
    /// Bytes of them. More is refused as overloaded.
    pub append_bytes_max: usize,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            partitions: 16,
            durability: Durability::Synced,
            segment_bytes: 16 << 20,
            retention_ms: None,
            retention_bytes: None,
            floors: BTreeMap::new(),
            appends_max: 4_096,
            append_bytes_max: 64 << 20,
        }
    }
}
