//! What can be set about a broker.

use std::{net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

/// One topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicConfig {
    /// Its name: letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// Its partitions.
    pub partitions: u32,
    /// Whether a record is on stable storage before it is acknowledged and before anyone reads it.
    pub synced: bool,
    /// Milliseconds that records are kept at the least; none keeps them for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_ms: Option<u64>,
    /// Bytes past which the oldest go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_bytes: Option<u64>,
}

/// How a broker runs.
#[derive(Debug, Clone)]
pub struct BrokerConfig {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Host and port that clients are told; what it listens on when absent.
    pub advertised: Option<(String, u16)>,
    /// Where its files are.
    pub data: PathBuf,
    /// Topics that are made at the start when they are missing.
    pub topics: Vec<TopicConfig>,
    /// Partitions of a topic that a client makes without saying how many.
    pub partitions_default: u32,
    /// Size of a segment in bytes.
    pub segment_bytes: u64,
    /// Longest frame that is taken.
    pub frame_bytes_max: usize,
    /// Connections at a time, fewer where the system gives few descriptors; more wait in the kernel.
    pub connections_max: usize,
    /// Connections of those who have yet to say who they are; past it one gives way to each new
    /// one, the oldest of the address that holds most.
    pub strangers_max: usize,
    /// Time that they have for it, in milliseconds.
    pub login_timeout_ms: u64,
    /// Longest silence of a connection between two requests, and within one, in milliseconds.
    pub idle_timeout_ms: u64,
    /// Longest that a client may take for 16 KiB of an answer, or for its rest, in milliseconds.
    pub write_timeout_ms: u64,
    /// Milliseconds that commits of a group without members are kept.
    pub commits_kept_ms: u64,
    /// Topics that there may be.
    pub topics_max: usize,
    /// Members of all groups that there may be.
    pub members_max: usize,
    /// Longest wait of a fetch, in milliseconds.
    pub fetch_wait_max_ms: u64,
    /// Largest answer to a fetch, in bytes; one batch is always given.
    pub fetch_bytes_max: usize,
    /// Milliseconds that a new group waits for more members before it shares out.
    pub initial_rebalance_delay_ms: u64,
    /// Shortest silence after which a member may be given up, in milliseconds.
    pub session_timeout_min_ms: u64,
    /// Longest.
    pub session_timeout_max_ms: u64,
}

impl BrokerConfig {
    /// Defaults, on a free port of the loopback interface.
    #[must_use]
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            listen: ([127, 0, 0, 1], 0).into(),
            advertised: None,
            data: data.into(),
            topics: Vec::new(),
            partitions_default: 16,
            segment_bytes: 8 << 20,
            frame_bytes_max: 8 << 20,
            connections_max: 1_024,
            // As many as handshakes that may be under way, and as long as the header of a request may take.
            strangers_max: 256,
            login_timeout_ms: 10_000,
            // As Kafka's `connections.max.idle.ms`.
            idle_timeout_ms: 600_000,
            // 16 KiB in it, as the mesh asks of those who read a reply.
            write_timeout_ms: 10_000,
            // As Kafka's `offsets.retention.minutes`.
            commits_kept_ms: 7 * 24 * 3_600_000,
            topics_max: 500,
            members_max: 10_000,
            fetch_wait_max_ms: 30_000,
            fetch_bytes_max: 4 << 20,
            initial_rebalance_delay_ms: 20,
            session_timeout_min_ms: 500,
            session_timeout_max_ms: 300_000,
        }
    }
}
