//! The brokers: where each partition is led, and a connection for each purpose.
//!
//! Publishing, fetching and coordinating have connections of their own: answers come in the order
//! of their questions, and a long poll must not hold up a publish.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kafka_wire::{
    ApiKey, ErrorCode, Field,
    messages::{
        CreateTopicsRequest, CreateTopicsResponse, MetadataRequest, MetadataResponse, NewTopic,
        TopicSetting,
    },
};
use runtime::Tasks;
use tokio::time::Instant;

use crate::{
    config::MessagingConfig,
    connection::{CallError, Connection},
    entrance::LogEntrance,
};

/// How long what was heard of a topic is believed, unless an error says otherwise.
const BELIEVED_FOR: Duration = Duration::from_secs(300);
/// Another broker makes topics now; the next answer about topics names it.
const NOT_CONTROLLER: ErrorCode = ErrorCode::Other(41);
/// Connections of fetchers: one for each subscription.
pub(crate) type Slot = u32;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    Publish,
    Ask,
    Fetch(Slot),
    Coordinate(Slot),
}

/// Whether a topic that is missing may be made by asking for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    Create,
    Leave,
}

/// One topic: the broker that leads each partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopicMap {
    pub(crate) leaders: Arc<BTreeMap<u32, i32>>,
    /// Brokers that have each partition.
    replication: usize,
}

#[derive(Debug, Default)]
struct Known {
    brokers: BTreeMap<i32, String>,
    controller: Option<i32>,
    topics: BTreeMap<String, (TopicMap, Instant)>,
}

/// Where a connection stands, or is being made: those who come together share one, and wait for no
/// other broker's.
type Place = Arc<tokio::sync::Mutex<Option<Connection>>>;

/// The brokers; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Cluster(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: MessagingConfig,
    entrance: LogEntrance,
    tasks: Tasks,
    known: Mutex<Known>,
    connections: Mutex<BTreeMap<(Purpose, Option<i32>), Place>>,
    next_slot: std::sync::atomic::AtomicU32,
}

impl Cluster {
    pub(crate) fn new(config: MessagingConfig, entrance: LogEntrance, tasks: Tasks) -> Self {
        Self(Arc::new(Inner {
            config,
            entrance,
            tasks,
            known: Mutex::default(),
            connections: Mutex::default(),
            next_slot: std::sync::atomic::AtomicU32::new(0),
        }))
    }

    pub(crate) fn config(&self) -> &MessagingConfig {
        &self.0.config
    }

    pub(crate) fn tasks(&self) -> &Tasks {
        &self.0.tasks
    }

    /// A number for the connections of one subscription.
    pub(crate) fn slot(&self) -> Slot {
        self.0.next_slot.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
    }

    pub(crate) fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.0.config.request_timeout_ms)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection to a broker, or to any when `node` is `None`.
    pub(crate) async fn connect(
        &self,
        purpose: Purpose,
        node: Option<i32>,
    ) -> Result<Connection, CallError> {
        let place = Arc::clone(self.connections().entry((purpose, node)).or_default());
        let mut place = place.lock().await;
        if let Some(connection) = place.as_ref().filter(|it| !it.is_over()) {
            return Ok(connection.clone());
        }
        let connection = self.open(node).await?;
        *place = Some(connection.clone());
        Ok(connection)
    }

    fn connections(&self) -> MutexGuard<'_, BTreeMap<(Purpose, Option<i32>), Place>> {
        self.0.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn open(&self, node: Option<i32>) -> Result<Connection, CallError> {
        let known = node.and_then(|it| self.known().brokers.get(&it).cloned());
        let addresses = match known {
            Some(address) => vec![address],
            // Those that were heard of serve as well when those that were given are gone.
            None => {
                let mut all = self.0.config.bootstrap.clone();
                all.extend(self.known().brokers.values().cloned());
                all.dedup();
                all
            }
        };
        let (client_id, patience) = (&self.0.config.client_id, self.request_timeout());
        let mut last = CallError::NotSent("no address of the log is known".to_owned());
        for address in addresses {
            let (entrance, tasks) = (&self.0.entrance, &self.0.tasks);
            match Connection::open(&address, client_id, patience, entrance, tasks).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Forgets the connections of a purpose that is over.
    pub(crate) fn forget(&self, slot: Slot) {
        self.connections().retain(|(purpose, _), _| {
            !matches!(purpose, Purpose::Fetch(it) | Purpose::Coordinate(it) if *it == slot)
        });
    }

    /// Asks a broker.
    pub(crate) async fn call<Q: Field, A: Field>(
        &self,
        purpose: Purpose,
        node: Option<i32>,
        api: ApiKey,
        question: &Q,
        within: Duration,
    ) -> Result<A, CallError> {
        self.connect(purpose, node).await?.call(api, question, within).await
    }

    /// Where a topic's partitions are; asks when that is not known, or long ago.
    pub(crate) async fn topic(&self, name: &str, missing: Missing) -> Result<TopicMap, TopicFault> {
        let believed = self.known().topics.get(name).cloned();
        if let Some((map, since)) = believed
            && since.elapsed() < BELIEVED_FOR
        {
            return Ok(map);
        }
        let request = MetadataRequest {
            topics: vec![name.to_owned()],
            allow_auto_topic_creation: missing == Missing::Create,
        };
        let answer = self.metadata(&request).await.map_err(TopicFault::Call)?;
        let found = answer.topics.into_iter().find(|it| it.name == name);
        let found = found.ok_or(TopicFault::Code(ErrorCode::UnknownTopicOrPartition))?;
        if found.error != ErrorCode::None || found.partitions.is_empty() {
            return Err(TopicFault::Code(found.error));
        }
        let leaders: BTreeMap<u32, i32> = found
            .partitions
            .iter()
            .filter_map(|it| Some((u32::try_from(it.partition).ok()?, it.leader)))
            .collect();
        let replication = found.partitions.iter().map(|it| it.replicas.len()).max().unwrap_or(1);
        let map = TopicMap { leaders: leaders.into(), replication };
        self.known().topics.insert(name.to_owned(), (map.clone(), Instant::now()));
        Ok(map)
    }

    /// Where the partitions of a dead-letter topic are. One that is missing is made as wide and as
    /// replicated as the topic that its letters come from, and with an end to what it keeps: made
    /// by asking for it, it would keep letters for as long as the log likes, ours for ever.
    pub(crate) async fn topic_of_letters(
        &self,
        name: &str,
        source: &str,
    ) -> Result<TopicMap, TopicFault> {
        match self.topic(name, Missing::Leave).await {
            Err(TopicFault::Code(ErrorCode::UnknownTopicOrPartition)) => {}
            known => return known,
        }
        let source = self.topic(source, Missing::Leave).await?;
        let retention = self.0.config.dead_letter_retention_ms.to_string();
        let topic = NewTopic {
            name: name.to_owned(),
            partitions: i32::try_from(source.leaders.len()).unwrap_or(i32::MAX),
            replication: i16::try_from(source.replication).unwrap_or(i16::MAX),
            assignments: Vec::new(),
            settings: vec![TopicSetting {
                name: "retention.ms".to_owned(),
                value: Some(retention),
            }],
        };
        let made = self.create(vec![topic]).await.map_err(TopicFault::Call)?;
        let code = made.topics.first().map_or(ErrorCode::UnknownServerError, |it| it.error);
        match code {
            // Another process may have buried its first letter at the same time.
            ErrorCode::None | ErrorCode::TopicAlreadyExists => {
                self.topic(name, Missing::Leave).await
            }
            ErrorCode::RequestTimedOut | NOT_CONTROLLER => Err(TopicFault::Code(code)),
            code => {
                let message = made.topics.first().and_then(|it| it.message.as_deref());
                tracing::warn!(topic = name, ?code, message, "a dead-letter topic was not made");
                Err(TopicFault::Refused(code))
            }
        }
    }

    /// Asks for topics to be made.
    pub(crate) async fn create(
        &self,
        topics: Vec<NewTopic>,
    ) -> Result<CreateTopicsResponse, CallError> {
        let request = CreateTopicsRequest {
            topics,
            timeout_ms: i32::try_from(self.0.config.request_timeout_ms).unwrap_or(i32::MAX),
            validate_only: false,
        };
        self.administer(ApiKey::CreateTopics, &request).await
    }

    /// Asks about topics, and learns of the brokers.
    pub(crate) async fn metadata(
        &self,
        request: &MetadataRequest,
    ) -> Result<MetadataResponse, CallError> {
        let within = self.request_timeout();
        let answer: MetadataResponse =
            self.call(Purpose::Ask, None, ApiKey::Metadata, request, within).await?;
        let brokers = answer.brokers.iter();
        let brokers = brokers.map(|it| (it.node_id, format!("{}:{}", it.host, it.port)));
        let mut known = self.known();
        known.brokers = brokers.collect();
        known.controller = Some(answer.controller_id).filter(|it| known.brokers.contains_key(it));
        drop(known);
        Ok(answer)
    }

    /// The numbers of all brokers.
    pub(crate) async fn brokers(&self) -> Result<Vec<i32>, CallError> {
        // A topic that cannot exist: what is asked about topics does not count.
        let request =
            MetadataRequest { topics: vec![".".to_owned()], allow_auto_topic_creation: false };
        let answer = self.metadata(&request).await?;
        Ok(answer.brokers.into_iter().map(|it| it.node_id).collect())
    }

    /// Asks whoever makes and removes topics: older clusters have one broker for it.
    pub(crate) async fn administer<Q: Field, A: Field>(
        &self,
        api: ApiKey,
        question: &Q,
    ) -> Result<A, CallError> {
        let controller = self.known().controller;
        self.call(Purpose::Ask, controller, api, question, self.request_timeout()).await
    }

    /// Forgets where a topic is: the next question asks anew.
    pub(crate) fn doubt(&self, topic: &str) {
        self.known().topics.remove(topic);
    }
}

/// Why a topic is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TopicFault {
    Call(CallError),
    Code(ErrorCode),
    /// It cannot be made.
    Refused(ErrorCode),
}
