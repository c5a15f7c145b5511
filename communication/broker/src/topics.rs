//! Topics with their open logs, and the producers that each partition knows.

use std::{
    collections::BTreeMap,
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use base::SharedClock;
use durable_log::{Durability, Log, LogConfig, OpenError};
use kafka_wire::ErrorCode;

use crate::{
    catalog::{Catalog, CatalogError},
    config::{BrokerConfig, TopicConfig},
    producers::Producers,
    remembered,
};

const NAME_CHARS_MAX: usize = 200;

/// One topic that is open.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) config: TopicConfig,
    pub(crate) log: Log,
    /// One for each partition. Held while a batch of a numbered producer is judged and handed to the
    /// log: the next batch of that partition must not be judged before.
    pub(crate) producers: Vec<Mutex<Producers>>,
    /// How much was sent, in batches and records, when the producers were written.
    written: Mutex<u64>,
}

impl Topic {
    /// Writes what is known of producers, if anything was sent since.
    fn remember(&self, data: &Path) -> io::Result<()> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut version, mut partitions) = (0, Vec::with_capacity(self.producers.len()));
        for (partition, producers) in (0..).zip(&self.producers) {
            let producers = producers.lock().unwrap_or_else(PoisonError::into_inner);
            let end = self.log.range(partition).end;
            version += producers.version() + end;
            partitions.push(remembered::remembered(&producers, end));
        }
        if version > *written {
            remembered::write(&remembered::path_of(data, &self.config.name), partitions)?;
            *written = version;
        }
        Ok(())
    }
}

/// Every topic.
#[derive(Debug)]
pub(crate) struct Topics {
    data: PathBuf,
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
            data: config.data.clone(),
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
        let path = remembered::path_of(&self.data, &topic.name);
        let producers = remembered::restore(&log, &path).into_iter().map(Mutex::new).collect();
        let topic = Topic { config: topic, log, producers, written: Mutex::new(0) };
        // What a log that lost its end cannot have must not be believed once it is as long again.
        self.remember_topic(&topic);
        Ok(topic)
    }

    /// Writes what every topic knows of its producers, so that a start need not read their logs.
    pub(crate) fn remember(&self) {
        for topic in self.all() {
            self.remember_topic(&topic);
        }
    }

    fn remember_topic(&self, topic: &Topic) {
        if let Err(error) = topic.remember(&self.data) {
            let topic = &topic.config.name;
            tracing::warn!(topic, %error, "what is known of producers was not written; the next start reads more");
        }
    }

    fn serve(&self, name: String, topic: Topic) {
        self.open.write().unwrap_or_else(PoisonError::into_inner).insert(name, Arc::new(topic));
    }
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
