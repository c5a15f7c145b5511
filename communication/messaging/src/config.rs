//! What can be set about a client.

use serde::{Deserialize, Serialize};

/// How one process talks to the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MessagingConfig {
    /// Addresses to begin with, `host:port`.
    pub bootstrap: Vec<String>,
    /// Name of this process, and of no other: it keeps its place in its groups over a restart. A
    /// process that is given none makes one up, and comes to its groups as a stranger every time.
    pub client_id: String,
    /// Milliseconds that a request may take.
    pub request_timeout_ms: u64,
    /// Milliseconds that a publish may take, repetitions included.
    pub publish_timeout_ms: u64,
    /// Publishes that may be under way. One more is refused as overloaded.
    pub publishes_max: usize,
    /// Bytes of them. At the least one longest message with its envelope of 2 KiB.
    pub publish_bytes_max: usize,
    /// Longest message, in bytes.
    pub message_bytes_max: usize,
    /// Milliseconds of silence after which a group gives this process up.
    pub session_timeout_ms: u64,
    /// Milliseconds between two signs of life.
    pub heartbeat_ms: u64,
    /// Milliseconds between two commits of the same group.
    pub commit_every_ms: u64,
    /// Milliseconds that a fetch waits for something to come.
    pub fetch_wait_ms: u64,
    /// Milliseconds that dead letters are kept; asked of the log when the first letter makes the topic.
    pub dead_letter_retention_ms: u64,
}

impl Default for MessagingConfig {
    fn default() -> Self {
        Self {
            bootstrap: Vec::new(),
            client_id: String::new(),
            request_timeout_ms: 5_000,
            publish_timeout_ms: 2_000,
            publishes_max: 4_096,
            publish_bytes_max: 64 << 20,
            message_bytes_max: base::MESSAGE_BYTES_MAX,
            session_timeout_ms: 6_000,
            heartbeat_ms: 1_000,
            commit_every_ms: 100,
            fetch_wait_ms: 1_000,
            dead_letter_retention_ms: 30 * 24 * 3_600_000,
        }
    }
}
