//! Topics with their open logs, and the producers that each partition knows.

use std::{
    collections::BTreeMap,
    ops::Range,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use base::SharedClock;
use durable_log::{Durability, Log, LogConfig, OpenError};
use kafka_wire::{ErrorCode, batch};

use crate::{
    catalog::{Catalog, CatalogError},
    config::{BrokerConfig, TopicConfig},
    producers::Producers,
};

/// Bytes of a partition's newest frames that are read at a start to know its producers.
const REMEMBERED_BYTES: usize = 1 << 20;
const NAME_CHARS_MAX: usize = 200;

/// One topic that is open.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) config: TopicConfig,
    pub(crate) log: Log,
    /// One for each partition. Held while a batch of a numbered producer is judged and handed to the
    /// log: the next batch of that partition must not be judged before.
    pub(crate) producers: Vec<Mutex<Producers>>,
}

/// Every topic.
#[derive(Debug)]
pub(crate) struct Topics {
    directory: PathBuf,
    clock: SharedClock,
    segment_bytes: u64,
    partitions_default: u32,
    topics_max: usize,
    catalog: Mutex<Catalog>,
    open: RwLock<BTreeMap<String, Arc<Topic>>>,
    /// Offsets that groups have committed, by topic and partition, when the broker was started.
    committed: Floors,
}

/// Offsets that were given out, by topic and partition.
pub(crate) type Floors = BTreeMap<String, BTreeMap<u32, u64>>;

/// Why a topic was not opened or made.
#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    /// The log cannot be used.
    #[error("the log of a topic cannot be opened")]
    Log(#[source] OpenError),
    /// The catalog cannot be written.
    #[error("the catalog of topics cannot be used")]
    Catalog(#[source] CatalogError),
    /// It makes no topic.
    #[error("{reason}")]
    Refused {
        /// The code for the client.
        code: i16,
        /// Why.
        reason: String,
    },
}

impl Topics {
    /// Opens every topic of the catalog and makes those of the settings that are missing.
    /// A log that ends before what a group has committed has lost records: it goes on behind that,
    /// or what comes next would be taken for processed.
    pub(crate) fn open(
        config: &BrokerConfig,
        clock: SharedClock,
        committed: Floors,
    ) -> Result<Self, TopicError> {
        let directory = config.data.join("topics");
        let catalog = Catalog::open(config.data.join("catalog.json"), &directory)
            .map_err(TopicError::Catalog)?;
        let known = catalog.topics().to_vec();
        let topics = Self {
            directory,
            clock,
            segment_bytes: config.segment_bytes,
            partitions_default: config.partitions_default,
            topics_max: config.topics_max,
            catalog: Mutex::new(catalog),
            open: RwLock::default(),
            committed,
        };
        for topic in known {
            let name = topic.name.clone();
            let opened = topics.open_log(topic)?;
            topics.serve(name, opened);
        }
        for topic in &config.topics {
            match topics.create(topic.clone()) {
                Ok(()) => {}
                Err(TopicError::Refused { code, .. })
                    if code == ErrorCode::TopicAlreadyExists.code() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(topics)
    }

    /// How often a broker was started on these files.
    pub(crate) fn starts(&self) -> u64 {
        self.catalog().starts()
    }

    fn catalog(&self) -> MutexGuard<'_, Catalog> {
        self.catalog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One topic.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<Topic>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Every topic, by name.
    pub(crate) fn all(&self) -> Vec<Arc<Topic>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// A topic as a client asks for it, with our defaults.
    pub(crate) fn described(
        &self,
        name: String,
        partitions: Option<u32>,
        settings: &BTreeMap<String, String>,
    ) -> Result<TopicConfig, TopicError> {
        let number = |key: &str| match settings.get(key).map(String::as_str) {
            None | Some("-1") => Ok(None),
            Some(text) => {
                let refused = |_| refuse(ErrorCode::InvalidConfig, format!("`{key}` is no number"));
                text.parse().map(Some).map_err(refused)
            }
        };
        Ok(TopicConfig {
            name,
            partitions: partitions.unwrap_or(self.partitions_default),
            synced: settings.get("skein.synced").is_none_or(|it| it != "false"),
            retention_ms: number("retention.ms")?,
            retention_bytes: number("retention.bytes")?,
        })
    }

    /// Makes a topic; it is durable when this returns.
    pub(crate) fn create(&self, topic: TopicConfig) -> Result<(), TopicError> {
        check(&topic)?;
        let mut catalog = self.catalog();
        if catalog.topics().iter().any(|it| it.name == topic.name) {
            return Err(refuse(ErrorCode::TopicAlreadyExists, "the topic is there already"));
        }
        if catalog.topics().len() >= self.topics_max {
            return Err(refuse(ErrorCode::ThrottlingQuotaExceeded, "there are too many topics"));
        }
        // The log first: a topic that the catalog names must have one.
        let name = topic.name.clone();
        let log = self.open_log(topic.clone())?;
        catalog.add(topic).map_err(TopicError::Catalog)?;
        // Served last: what is acknowledged in it must be found after a restart.
        self.serve(name, log);
        Ok(())
    }

    fn open_log(&self, topic: TopicConfig) -> Result<Topic, TopicError> {
        let config = LogConfig {
            partitions: topic.partitions,
            durability: if topic.synced { Durability::Synced } else { Durability::Buffered },
            segment_bytes: self.segment_bytes,
            retention_ms: topic.retention_ms,
            retention_bytes: topic.retention_bytes,
            floors: self.committed.get(&topic.name).cloned().unwrap_or_default(),
            ..LogConfig::default()
        };
        let directory = self.directory.join(&topic.name);
        let (log, recovery) =
            Log::open(&directory, config, self.clock.clone()).map_err(TopicError::Log)?;
        for (partition, lost) in recovery.raised {
            let Range { start, end } = lost;
            tracing::error!(
                topic = topic.name,
                partition,
                from = start,
                to = end,
                "the log ends before what a group has committed: records are lost; it goes on behind that"
            );
        }
        let producers = (0..topic.partitions).map(|it| Mutex::new(remember(&log, it))).collect();
        Ok(Topic { config: topic, log, producers })
    }

    fn serve(&self, name: String, topic: Topic) {
        self.open.write().unwrap_or_else(PoisonError::into_inner).insert(name, Arc::new(topic));
    }
}

/// The producers of a partition, from its newest frames: a batch that was acknowledged before the
/// last start and is repeated now must be known.
fn remember(log: &Log, partition: u32) -> Producers {
    let mut producers = Producers::default();
    let range = log.range(partition);
    // Frames hold one record at the least, so this many offsets back is far enough back in time
    // for a client that still repeats, and few enough to read.
    let mut offset = range.end.saturating_sub(4_096).max(range.start);
    while offset < range.end {
        let Ok(frames) = log.read_past_gaps(partition, offset, REMEMBERED_BYTES) else { break };
        let Some(last) = frames.last() else { break };
        offset = last.base_offset + u64::from(last.records);
        for frame in &frames {
            if let Ok(head) = batch::check(&frame.body)
                && let Some(producer) = head.producer
            {
                producers.note(producer, head.records, frame.base_offset);
            }
        }
    }
    producers
}

fn refuse(code: ErrorCode, reason: impl Into<String>) -> TopicError {
    TopicError::Refused { code: code.code(), reason: reason.into() }
}

fn check(topic: &TopicConfig) -> Result<(), TopicError> {
    let allowed = |it: char| it.is_ascii_alphanumeric() || matches!(it, '.' | '_' | '-');
    let name = &topic.name;
    let named = !name.is_empty()
        && name.len() <= NAME_CHARS_MAX
        && name.chars().all(allowed)
        && !matches!(name.as_str(), "." | "..");
    if !named {
        return Err(refuse(ErrorCode::InvalidTopicException, "a name has letters, digits, . _ -"));
    }
    if topic.partitions == 0 || topic.partitions > 500 {
        return Err(refuse(ErrorCode::InvalidPartitions, "a topic has 1 to 500 partitions"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use base::{ManualClock, Timestamp};

    use super::*;

    #[test]
    fn a_topic_that_the_catalog_could_not_take_is_not_served() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
        let config = BrokerConfig::new(directory.path());
        let topics = Topics::open(&config, clock, Floors::new()).unwrap();
        let topic = || topics.described("orders".to_owned(), Some(2), &BTreeMap::new()).unwrap();
        let in_the_way = directory.path().join("catalog.new");
        std::fs::create_dir(&in_the_way).unwrap();
        assert!(matches!(topics.create(topic()), Err(TopicError::Catalog(_))));
        assert!(topics.find("orders").is_none(), "it would be gone after a restart");
        std::fs::remove_dir(&in_the_way).unwrap();
        topics.create(topic()).unwrap();
        assert!(topics.find("orders").is_some());
    }
}
