//! A broker in a directory of its own, clients of it, and handlers that remember.

use std::{
    collections::BTreeMap,
    future::Future,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use base::Timestamp;
use broker::{BoundBroker, Broker, BrokerConfig, TopicConfig};
use bytes::Bytes;
use kafka_wire::{
    ApiKey, ErrorCode, Field, Reader,
    batch::{self, Record},
    messages::{
        FetchPartition, FetchRequest, FetchResponse, FetchTopic, ProducePartition, ProduceRequest,
        ProduceResponse, ProduceTopic,
    },
    request,
};
use messaging::{Delivered, Failure, Handler, Message, Messaging, MessagingConfig};
use runtime::{SystemClock, Tasks};
use telemetry::Telemetry;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep},
};

use crate::between::Between;

pub(crate) const DEAD_LETTER_RETENTION_MS: u64 = 86_400_000;
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Fixture {
    directory: TempDir,
    address: SocketAddr,
    pub(crate) tasks: Tasks,
    broker_tasks: Tasks,
    broker: Option<BoundBroker>,
    between: Option<(Between, Arc<Mutex<SocketAddr>>)>,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let mut fixture = Self {
            directory,
            address: ([127, 0, 0, 1], 0).into(),
            tasks: Tasks::new(),
            broker_tasks: Tasks::new(),
            broker: None,
            between: None,
        };
        fixture.start_broker();
        fixture
    }

    /// A broker that clients reach through somebody who may change its answers.
    pub(crate) async fn between() -> Self {
        let mut fixture = Self::new();
        fixture.stop_broker().await;
        let address = Arc::new(Mutex::new(fixture.address));
        let between = Between::start(Arc::clone(&address), &fixture.tasks).await;
        fixture.between = Some((between, address));
        fixture.start_broker();
        fixture
    }

    /// From now on the connections that stand carry nothing, and no new one comes about.
    pub(crate) async fn vanish(&mut self) {
        self.meddler().silence(true);
        self.stop_broker().await;
    }

    /// New connections are served again; those that stood stay silent.
    pub(crate) fn come_back(&mut self) {
        self.start_broker();
        self.meddler().silence(false);
    }

    pub(crate) fn meddler(&self) -> &Between {
        &self.between.as_ref().unwrap().0
    }

    /// Starts the broker, on the port that it had before.
    pub(crate) fn start_broker(&mut self) {
        let topic = |name: &str| TopicConfig {
            name: name.to_owned(),
            partitions: 4,
            synced: true,
            retention_ms: None,
            retention_bytes: None,
        };
        let config = BrokerConfig {
            listen: self.address,
            topics: vec![topic("orders"), topic("bills")],
            partitions_default: 7,
            segment_bytes: 1 << 20,
            advertised: self
                .between
                .as_ref()
                .map(|(it, _)| (it.address.ip().to_string(), it.address.port())),
            ..BrokerConfig::new(self.directory.path())
        };
        self.broker_tasks = Tasks::new();
        let clock = SystemClock::shared();
        let broker =
            Broker::start(config, clock, &Telemetry::disabled(), &self.broker_tasks).unwrap();
        self.address = broker.address;
        if let Some((_, address)) = &self.between {
            *address.lock().unwrap() = broker.address;
        }
        self.broker = Some(broker);
    }

    /// Ends the broker without a word to anybody.
    pub(crate) async fn stop_broker(&mut self) {
        self.broker_tasks.drain(PATIENCE).await;
        self.broker = None;
    }

    /// Milliseconds that the broker keeps a topic's records; none when it keeps them for ever.
    pub(crate) fn retention_ms(&self, topic: &str) -> Option<u64> {
        let catalog = std::fs::read(self.directory.path().join("catalog.json")).unwrap();
        let catalog: serde_json::Value = serde_json::from_slice(&catalog).unwrap();
        let topics = catalog["topics"].as_array().unwrap();
        topics.iter().find(|it| it["name"] == topic).unwrap()["retention_ms"].as_u64()
    }

    /// Files of a topic, oldest segment first.
    pub(crate) fn segments(&self, topic: &str) -> Vec<PathBuf> {
        let directory = self.directory.path().join("topics").join(topic);
        let mut names: Vec<_> =
            std::fs::read_dir(directory).unwrap().map(|it| it.unwrap().path()).collect();
        names.sort();
        names
    }

    /// Asks the broker as a client that is not ours.
    async fn ask<Q: Field, A: Field>(&self, api: ApiKey, question: &Q) -> A {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(&request(api, 1, "foreign", question)).await.unwrap();
        let length = usize::try_from(stream.read_i32().await.unwrap()).unwrap();
        let mut frame = vec![0; length];
        stream.read_exact(&mut frame).await.unwrap();
        let mut reader = Reader::new(Bytes::from(frame).split_off(4));
        A::read(&mut reader, api.latest()).unwrap()
    }

    /// Puts a record into a partition.
    pub(crate) async fn produce(&self, topic: &str, partition: u32, record: &Record) {
        let partition = i32::try_from(partition).unwrap();
        let records = batch::encode(std::slice::from_ref(record), None);
        let partitions = vec![ProducePartition { partition, records }];
        let topics = vec![ProduceTopic { name: topic.to_owned(), partitions }];
        let question =
            ProduceRequest { transactional_id: None, acks: -1, timeout_ms: 5_000, topics };
        let answer: ProduceResponse = self.ask(ApiKey::Produce, &question).await;
        assert_eq!(answer.topics[0].partitions[0].error, ErrorCode::None);
    }

    /// Every record of a partition.
    pub(crate) async fn records(&self, topic: &str, partition: u32) -> Vec<Record> {
        let partition = i32::try_from(partition).unwrap();
        let partitions = vec![FetchPartition { partition, offset: 0, bytes_max: 1 << 20 }];
        let question = FetchRequest {
            replica_id: -1,
            max_wait_ms: 0,
            bytes_min: 0,
            bytes_max: 1 << 20,
            isolation_level: 0,
            topics: vec![FetchTopic { name: topic.to_owned(), partitions }],
        };
        let answer: FetchResponse = self.ask(ApiKey::Fetch, &question).await;
        let set = answer.topics[0].partitions[0].records.clone();
        batch::split(set).flat_map(|it| batch::decode(&it).unwrap()).map(|it| it.1).collect()
    }

    /// Where clients come in.
    fn door(&self) -> SocketAddr {
        self.between.as_ref().map_or(self.address, |(it, _)| it.address)
    }

    pub(crate) fn client(&self, name: &str, tasks: &Tasks) -> Messaging {
        self.measured_client(name, tasks, &Telemetry::disabled())
    }

    pub(crate) fn measured_client(
        &self,
        name: &str,
        tasks: &Tasks,
        telemetry: &Telemetry,
    ) -> Messaging {
        self.configured_client(|it| it.client_id = name.to_owned(), tasks, telemetry)
    }

    pub(crate) fn configured_client(
        &self,
        change: impl FnOnce(&mut MessagingConfig),
        tasks: &Tasks,
        telemetry: &Telemetry,
    ) -> Messaging {
        let mut config = MessagingConfig {
            bootstrap: vec![self.door().to_string()],
            request_timeout_ms: u64::try_from(REQUEST_TIMEOUT.as_millis()).unwrap(),
            session_timeout_ms: 1_500,
            heartbeat_ms: 100,
            commit_every_ms: 20,
            dead_letter_retention_ms: DEAD_LETTER_RETENTION_MS,
            ..MessagingConfig::default()
        };
        change(&mut config);
        Messaging::new(config, SystemClock::shared(), telemetry.clone(), tasks)
    }
}

pub(crate) fn message(key: &str, number: u32) -> Message {
    Message {
        id: format!("{key}/{number}"),
        source: "/services/orders".to_owned(),
        kind: "com.example.Ordered.v1".to_owned(),
        subject: Some(key.to_owned()),
        time: Timestamp::from_millis(1_000),
        key: Some(key.to_owned()),
        content_type: "application/json".to_owned(),
        headers: BTreeMap::from([("operation".to_owned(), "order".to_owned())]),
        trace: None,
        body: number.to_string().into(),
    }
}

/// Remembers what it was given, and fails as it is told.
#[derive(Clone, Default)]
pub(crate) struct Memory {
    seen: Arc<Mutex<Vec<Delivered>>>,
    failures: Arc<Mutex<BTreeMap<String, Failure>>>,
}

impl Memory {
    pub(crate) fn fail(&self, id: &str, failure: Failure) {
        self.failures.lock().unwrap().insert(id.to_owned(), failure);
    }

    pub(crate) fn heal(&self, id: &str) {
        self.failures.lock().unwrap().remove(id);
    }

    pub(crate) fn seen(&self) -> Vec<Delivered> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn ids(&self) -> Vec<String> {
        self.seen().into_iter().map(|it| it.message.id).collect()
    }

    pub(crate) async fn has(&self, count: usize) {
        until(&format!("{count} messages are seen"), || self.seen.lock().unwrap().len() >= count)
            .await;
    }
}

impl Handler for Memory {
    async fn handle(&self, delivered: &Delivered) -> Result<(), Failure> {
        self.seen.lock().unwrap().push(delivered.clone());
        let failure = self.failures.lock().unwrap().get(&delivered.message.id).cloned();
        failure.map_or(Ok(()), Err)
    }
}

pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    eventually(what, || async { condition() }).await;
}

pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "never: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}
