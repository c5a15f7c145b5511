//! What can be set about a store. Durability cannot: every commit is synced before its replies.

use std::num::{NonZeroU32, NonZeroUsize};

use serde::{Deserialize, Serialize};

/// How one service's database runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreSettings {
    /// Writes that may wait for the writer. One more is refused as overloaded.
    pub writes_max: NonZeroUsize,
    /// Writes that one commit may carry.
    pub group_max: NonZeroUsize,
    /// Microseconds that a group waits for more while groups have company; 0: never. It costs each of
    /// them that time, and saves a sync for each that came meanwhile.
    pub group_wait_us: u32,
    /// Reads that may wait for a reader. One more is refused as overloaded.
    pub reads_max: NonZeroUsize,
    /// Threads that read.
    pub readers: NonZeroUsize,
    /// Milliseconds that a commit group waits for another process's lock before it is refused.
    pub lock_wait_ms: NonZeroU32,
    /// Size of the write-ahead log, in bytes, from which it is copied into the database.
    pub checkpoint_bytes: u64,
    /// Size, in bytes, from which the writer itself makes room before its next group. A read that
    /// runs longer than the copying can hold the log above it.
    pub log_bytes_max: u64,
    /// Milliseconds after which a caller should retry when the disk is full or failed.
    pub retry_after_ms: u64,
    /// The boot that monotonic time counts from; read from the kernel when absent.
    #[serde(skip)]
    pub boot_id: Option<String>,
}

const fn count(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).expect("the defaults below are not zero")
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            writes_max: count(4_096),
            group_max: count(256),
            group_wait_us: 1_000,
            reads_max: count(4_096),
            readers: count(2),
            lock_wait_ms: NonZeroU32::new(1_000).expect("the default is not zero"),
            checkpoint_bytes: 16 << 20,
            log_bytes_max: 64 << 20,
            retry_after_ms: 1_000,
            boot_id: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_setting_is_refused() {
        assert!(serde_json::from_str::<StoreSettings>(r#"{"synced":false}"#).is_err());
        assert!(serde_json::from_str::<StoreSettings>(r#"{"group_max":0}"#).is_err());
        let given: StoreSettings = serde_json::from_str(r#"{"group_max":8}"#).unwrap();
        assert_eq!(given.group_max.get(), 8);
    }
}
