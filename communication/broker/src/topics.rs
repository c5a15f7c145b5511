//! Topics with their open logs, and the producers that each partition knows.

use std::{
    collections::BTreeMap,
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use base::SharedClock;
use durable_log::{Durability, Log, LogConfig};
use kafka_wire::ErrorCode;

use crate::{
    catalog::Catalog,
    config::{BrokerConfig, TopicConfig},
    files,
    producers::Producers,
    remembered, settings,
    topic_error::{TopicError, refuse},
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
    /// What clients have set since it was made.
    kept: RwLock<TopicConfig>,
    /// First offsets that clients have asked for.
    starts: RwLock<BTreeMap<u32, u64>>,
    /// How much was sent, in batches and records, when the producers were written.
    written: Mutex<u64>,
}

impl Topic {
    /// What is set about it now.
    pub(crate) fn config_now(&self) -> TopicConfig {
        self.kept.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// First offset of a partition to the next that will be readable.
    pub(crate) fn range(&self, partition: u32) -> Range<u64> {
        let Range { start, end } = self.log.range(partition);
        let starts = self.starts.read().unwrap_or_else(PoisonError::into_inner);
        starts.get(&partition).map_or(start, |it| start.max(*it)).min(end)..end
    }

    /// Retires what is past what is set now.
    pub(crate) fn retire(&self) -> io::Result<usize> {
        let TopicConfig { retention_ms, retention_bytes, .. } = self.config_now();
        self.log.enforce_retention_of(retention_ms, retention_bytes)
    }

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
    committed: Mutex<Floors>,
}

/// Offsets that were given out, by topic and partition.
pub(crate) type Floors = BTreeMap<String, BTreeMap<u32, u64>>;

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
            committed: Mutex::new(committed),
        };
        topics.clean_up();
        for topic in known {
            let name = topic.name.clone();
            let starts = topics.catalog().starts_of(&name);
            let opened = topics.open_log(topic, starts)?;
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

    fn committed(&self) -> MutexGuard<'_, Floors> {
        self.committed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes a topic with all that is in it. Once the catalog does not name it, it stays removed.
    pub(crate) async fn delete(&self, name: &str) -> Result<(), TopicError> {
        self.catalog().remove(name).map_err(TopicError::Catalog)?;
        self.committed().remove(name);
        let served = {
            let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
            open.remove(name)
        };
        if let Some(topic) = served {
            topic.log.close().await;
        }
        self.clear(&mut self.catalog(), name)
    }

    /// Removes the files of a topic that is removed.
    fn clear(&self, catalog: &mut Catalog, name: &str) -> Result<(), TopicError> {
        let there = [
            files::remove(&remembered::path_of(&self.data, name)),
            files::remove_directory(&self.directory.join(name)),
        ];
        for removed in there {
            removed.map_err(TopicError::Files)?;
        }
        catalog.forget(name).map_err(TopicError::Catalog)
    }

    /// Removes what a stop or a crash left of removed topics.
    fn clean_up(&self) {
        let mut catalog = self.catalog();
        for name in catalog.removed().to_vec() {
            if let Err(error) = self.clear(&mut catalog, &name) {
                tracing::warn!(topic = name, %error, "the files of a removed topic are still there");
            }
        }
    }

    /// Lets a partition begin at an offset; that is durable when this returns.
    pub(crate) fn move_start(
        &self,
        topic: &Topic,
        partition: u32,
        offset: u64,
    ) -> Result<(), TopicError> {
        let moved = self.catalog().move_start(&topic.config.name, partition, offset);
        moved.map_err(TopicError::Catalog)?;
        let mut starts = topic.starts.write().unwrap_or_else(PoisonError::into_inner);
        starts.insert(partition, offset);
        Ok(())
    }

    /// Changes what is set about a topic; that is durable when this returns.
    pub(crate) fn alter(&self, topic: &Topic, config: TopicConfig) -> Result<(), TopicError> {
        self.catalog().alter(&config).map_err(TopicError::Catalog)?;
        *topic.kept.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
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
        settings::described(name, partitions.unwrap_or(self.partitions_default), settings)
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
        if catalog.removed().contains(&topic.name) {
            self.clear(&mut catalog, &topic.name)?;
        }
        // The log first: a topic that the catalog names must have one.
        let name = topic.name.clone();
        let log = self.open_log(topic.clone(), BTreeMap::new())?;
        catalog.add(topic).map_err(TopicError::Catalog)?;
        // Served last: what is acknowledged in it must be found after a restart.
        self.serve(name, log);
        Ok(())
    }

    fn open_log(
        &self,
        topic: TopicConfig,
        starts: BTreeMap<u32, u64>,
    ) -> Result<Topic, TopicError> {
        let config = LogConfig {
            partitions: topic.partitions,
            durability: if topic.synced { Durability::Synced } else { Durability::Buffered },
            segment_bytes: self.segment_bytes,
            retention_ms: topic.retention_ms,
            retention_bytes: topic.retention_bytes,
            floors: self.committed().get(&topic.name).cloned().unwrap_or_default(),
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
        let topic = Topic {
            kept: RwLock::new(topic.clone()),
            config: topic,
            log,
            producers,
            starts: RwLock::new(starts),
            written: Mutex::new(0),
        };
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

    #[tokio::test]
    async fn a_bound_that_is_set_later_takes_effect() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
        let config =
            BrokerConfig { segment_bytes: 64 << 10, ..BrokerConfig::new(directory.path()) };
        let topics = Topics::open(&config, clock, Floors::new()).unwrap();
        let topic = topics.described("orders".to_owned(), Some(1), &BTreeMap::new()).unwrap();
        topics.create(topic).unwrap();
        let topic = topics.find("orders").unwrap();
        for _ in 0..20 {
            let body = vec![0; 10_000].into();
            let append =
                durable_log::Append { partition: 0, records: 1, time: Timestamp::default(), body };
            topic.log.append(append).await.unwrap();
        }
        assert_eq!(topic.retire().unwrap(), 0);
        let config = TopicConfig { retention_bytes: Some(130_000), ..topic.config_now() };
        topics.alter(&topic, config).unwrap();
        assert!(topic.retire().unwrap() > 0, "nothing was retired");
        assert!(topic.range(0).start > 0);
    }
}
