//! What a scenario works with: topics, groups and clients of its own, which go with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Deref,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base::{Backoff, SharedClock, Timestamp};
use kafka_wire::{
    ApiKey,
    messages::admin::{
        DeleteGroupsRequest, DeleteGroupsResponse, DeleteTopicsRequest, DeleteTopicsResponse,
    },
};
use messaging::{
    Delivered, ForeignLog, LogEntrance, Message, Messaging, MessagingConfig, Subscription,
    SubscriptionHandle, TopicSpec, dead_letter_topic,
};
use runtime::{SystemClock, Tasks};
use telemetry::Telemetry;

use crate::{
    backend::Backend,
    front::Front,
    judge::{Judged, Stop, eventually},
    memory::Memory,
    wire::Wire,
};

/// Time that the clients of a scenario get to end.
const GRACE: Duration = Duration::from_secs(20);

/// Where one scenario plays.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) backend: Backend,
    /// In front of every name that it gives.
    prefix: String,
    clock: SharedClock,
    tasks: Tasks,
    made: Mutex<Made>,
}

#[derive(Debug, Default)]
struct Made {
    topics: BTreeSet<String>,
    groups: BTreeSet<String>,
    clients: Vec<Tasks>,
}

/// A process as the log sees it.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    messaging: Messaging,
    pub(crate) tasks: Tasks,
}

impl Deref for Client {
    type Target = Messaging;

    fn deref(&self) -> &Messaging {
        &self.messaging
    }
}

impl Client {
    /// Processes on this client's tasks.
    pub(crate) fn join(
        &self,
        subscription: &Subscription,
        memory: &Memory,
    ) -> Result<SubscriptionHandle, Stop> {
        Ok(self.subscribe(subscription, memory.clone(), &self.tasks)?)
    }

    /// Ends as a process does that is told to.
    pub(crate) async fn end(&self) {
        // One that does not end in time is ended with the stage.
        let _drained = self.tasks.drain(GRACE).await;
    }
}

impl Stage {
    pub(crate) fn new(backend: Backend, prefix: String) -> Self {
        Self {
            backend,
            prefix,
            clock: SystemClock::shared(),
            tasks: Tasks::new(),
            made: Mutex::default(),
        }
    }

    fn made(&self) -> MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A time, in milliseconds, that a record of another client may have: not now, and not so long ago
    /// that a log would remove it for its age.
    pub(crate) fn an_hour_ago(&self) -> i64 {
        self.now().as_millis() - 3_600_000
    }

    /// The name of a topic that nobody has made; it goes with the stage all the same.
    pub(crate) fn topic_name(&self, word: &str) -> String {
        let name = format!("{}{word}", self.prefix);
        self.made().topics.insert(name.clone());
        name
    }

    /// The name of a group.
    pub(crate) fn group(&self, word: &str) -> String {
        let name = format!("{}{word}", self.prefix);
        self.made().groups.insert(name.clone());
        name
    }

    /// Makes a topic, and waits until it can be used.
    pub(crate) async fn topic(&self, partitions: u32) -> Result<String, Stop> {
        self.topic_called("orders", partitions).await
    }

    /// The same for a scenario with several topics.
    pub(crate) async fn topic_called(&self, word: &str, partitions: u32) -> Result<String, Stop> {
        let name = self.topic_name(word);
        let client = self.client("maker");
        client.ensure_topics(&[spec(&name, partitions)]).await?;
        eventually("the topic can be used", || async {
            Ok(client.topic(&name).await?.partitions.len() == partitions as usize)
        })
        .await?;
        client.end().await;
        Ok(name)
    }

    /// A client of its own name.
    pub(crate) fn client(&self, name: &str) -> Client {
        self.client_with(name, |_| {})
    }

    /// One that reaches the log through somebody who may do harm.
    pub(crate) fn client_through(&self, name: &str, front: &Front) -> Client {
        self.client_through_with(name, front, |_| {})
    }

    /// The same set differently.
    pub(crate) fn client_through_with(
        &self,
        name: &str,
        front: &Front,
        change: impl FnOnce(&mut MessagingConfig),
    ) -> Client {
        // It enters the log for whoever comes in by it.
        self.client_entering(ForeignLog::default(), name, |it| {
            it.bootstrap = vec![front.address()];
            change(it);
        })
    }

    /// One that is set differently.
    pub(crate) fn client_with(
        &self,
        name: &str,
        change: impl FnOnce(&mut MessagingConfig),
    ) -> Client {
        self.client_entering(self.backend.entrance.clone(), name, change)
    }

    fn client_entering(
        &self,
        entrance: ForeignLog,
        name: &str,
        change: impl FnOnce(&mut MessagingConfig),
    ) -> Client {
        let mut config = MessagingConfig {
            bootstrap: self.backend.bootstrap.clone(),
            client_id: format!("{}{name}", self.prefix),
            publish_timeout_ms: 10_000,
            session_timeout_ms: self.backend.session_timeout_ms,
            heartbeat_ms: (self.backend.session_timeout_ms / 6).max(200),
            commit_every_ms: 50,
            fetch_wait_ms: 500,
            ..MessagingConfig::default()
        };
        change(&mut config);
        let tasks = Tasks::new();
        self.made().clients.push(tasks.clone());
        let entrance = LogEntrance::Foreign(entrance);
        let (clock, telemetry) = (self.clock.clone(), Telemetry::disabled());
        let messaging = Messaging::entering(entrance, config, clock, telemetry, &tasks);
        Client { messaging, tasks }
    }

    /// Somebody between clients and the log.
    pub(crate) async fn front(&self) -> Result<Front, Stop> {
        Front::start(&self.backend, &self.tasks).await
    }

    /// A connection of a client that is not ours.
    pub(crate) async fn wire(&self) -> Result<Wire, Stop> {
        Wire::open(&self.backend).await
    }

    /// The same to the broker that leads a partition.
    pub(crate) async fn wire_to(&self, topic: &str, partition: u32) -> Result<Wire, Stop> {
        Wire::to_leader(&self.backend, topic, partition).await
    }

    /// A group's subscription that tries again soon, and whose dead letters go with the stage.
    pub(crate) fn subscription(&self, topic: &str, group: &str) -> Subscription {
        self.made().topics.insert(dead_letter_topic(topic, group));
        Subscription::new([topic], group).backoff(Backoff {
            initial: Duration::from_millis(20),
            factor: 2,
            cap: Duration::from_millis(200),
        })
    }

    /// Every message of a topic, partition after partition.
    pub(crate) async fn all(&self, client: &Client, topic: &str) -> Result<Vec<Delivered>, Stop> {
        let mut all = Vec::new();
        for (partition, (begin, end)) in client.topic(topic).await?.partitions {
            let mut next = begin;
            while next < end {
                let read = client.read(topic, partition, next, usize::MAX).await?;
                let Some(last) = read.last() else {
                    let what =
                        format!("{topic}/{partition} gives nothing at {next}, ends at {end}");
                    return Err(Stop(what));
                };
                next = last.offset + 1;
                all.extend(read);
            }
        }
        Ok(all)
    }

    /// How many records a topic holds.
    pub(crate) async fn held(&self, client: &Client, topic: &str) -> Result<u64, Stop> {
        let partitions = client.topic(topic).await?.partitions;
        Ok(partitions.values().map(|(begin, end)| end - begin).sum())
    }

    /// Waits until everything in a topic is committed by a group.
    pub(crate) async fn committed_all(&self, client: &Client, group: &str, topic: &str) -> Judged {
        eventually("everything is committed", || async {
            Ok(client.lag(group, topic).await?.records == 0)
        })
        .await
    }

    /// Ends what runs, and takes away what was made, as far as the backend can.
    pub(crate) async fn clear(&self) {
        let Made { topics, groups, clients } = std::mem::take(&mut *self.made());
        let mut ending = tokio::task::JoinSet::new();
        for tasks in clients.into_iter().chain([self.tasks.clone()]) {
            ending.spawn(async move { tasks.drain(GRACE).await });
        }
        ending.join_all().await;
        let Ok(mut wire) = self.wire().await else { return };
        // What a backend cannot remove stays: the scenario that asks for it says so.
        let question =
            DeleteTopicsRequest { names: topics.into_iter().collect(), timeout_ms: 10_000 };
        let removed: Result<DeleteTopicsResponse, _> =
            wire.ask(ApiKey::DeleteTopics, &question).await;
        let question = DeleteGroupsRequest { groups: groups.into_iter().collect() };
        let forgotten: Result<DeleteGroupsResponse, _> =
            wire.ask(ApiKey::DeleteGroups, &question).await;
        drop((removed, forgotten));
    }
}

/// A topic that is to be made.
pub(crate) fn spec(name: &str, partitions: u32) -> TopicSpec {
    TopicSpec { name: name.to_owned(), partitions, synced: true, retention_ms: None }
}

/// A message of a key, with a number.
pub(crate) fn message(key: &str, number: usize) -> Message {
    Message {
        id: format!("{key}/{number}"),
        source: "/conformance".to_owned(),
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

/// The ids of so many messages of a key.
pub(crate) fn ids(key: &str, numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|it| format!("{key}/{it}")).collect()
}

/// Publishes messages of a key, one after the other.
pub(crate) async fn publish(
    client: &Client,
    topic: &str,
    key: &str,
    numbers: std::ops::Range<usize>,
) -> Judged {
    for number in numbers {
        client.publish(topic, message(key, number)).await?;
    }
    Ok(())
}
