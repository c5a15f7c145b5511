//! Fetching: one round of questions to all leaders at a time, beside everything else.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use kafka_wire::{
    ApiKey, ErrorCode,
    messages::{FetchPartition, FetchRequest, FetchResponse, FetchTopic},
};
use tokio::{task::JoinSet, time::Instant};

use crate::{
    cluster::{Cluster, Missing, Purpose, Slot},
    connection::CallError,
    lanes::Place,
    offsets::{At, list_offsets},
};

/// Wait after the log could not be reached.
const AGAIN_AFTER: Duration = Duration::from_millis(150);
/// Bytes of one partition in one fetch, and of a fetch in all.
const PARTITION_BYTES: i32 = 256 << 10;
const FETCH_BYTES: i32 = 1 << 20;

/// Something that a fetcher comes back with.
#[derive(Debug)]
pub(super) enum Step {
    /// The leaders are known: these are to be asked.
    Planned(Vec<(i32, FetchRequest)>),
    /// A leader's answer, or why there is none.
    Answered(Result<Vec<(Place, Part)>, CallError>),
    /// A partition holds the offsets from the first to before the second; none when that is not known.
    Range(Place, Option<(u64, u64)>),
}

/// What came of one partition.
pub(super) type Part = Result<Records, ErrorCode>;

/// Records of one partition.
#[derive(Debug)]
pub(super) struct Records {
    /// Where the partition ends.
    pub(super) end: Option<u64>,
    pub(super) batches: Bytes,
}

/// The questions of one subscription that are under way. Pausing it is leaving it idle.
#[derive(Debug)]
pub(super) struct Fetcher {
    cluster: Cluster,
    slot: Slot,
    steps: JoinSet<Step>,
    not_before: Instant,
}

impl Fetcher {
    pub(super) fn new(cluster: Cluster, slot: Slot) -> Self {
        Self { cluster, slot, steps: JoinSet::new(), not_before: Instant::now() }
    }

    /// Whether nothing is asked.
    pub(super) fn is_idle(&self) -> bool {
        self.steps.is_empty()
    }

    /// When it may ask again, if that is to come.
    pub(super) fn rests_until(&self) -> Option<Instant> {
        Some(self.not_before).filter(|it| *it > Instant::now())
    }

    /// Leaves the log alone for a moment.
    pub(super) fn rest(&mut self) {
        self.not_before = Instant::now() + AGAIN_AFTER;
    }

    /// Asks for records from these offsets on. Who leads the partitions is found out here, beside the
    /// work, because a log that hangs takes its time.
    pub(super) fn start(&mut self, wanted: Vec<(Place, u64)>) {
        if wanted.is_empty() {
            return;
        }
        let cluster = self.cluster.clone();
        self.steps.spawn(async move { Step::Planned(plan(&cluster, wanted).await) });
    }

    /// Asks the leaders.
    pub(super) fn ask(&mut self, requests: Vec<(i32, FetchRequest)>) {
        if requests.is_empty() {
            self.rest();
        }
        for (leader, request) in requests {
            let (cluster, purpose) = (self.cluster.clone(), Purpose::Fetch(self.slot));
            self.steps.spawn(async move {
                Step::Answered(fetch(&cluster, purpose, leader, request).await)
            });
        }
    }

    /// Finds out what a partition holds.
    pub(super) fn ask_range(&mut self, place: Place) {
        let cluster = self.cluster.clone();
        self.steps.spawn(async move {
            let range = range(&cluster, &place).await;
            Step::Range(place, range)
        });
    }

    /// The next step; none when nothing is asked. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Step> {
        while let Some(ended) = self.steps.join_next().await {
            match ended {
                Ok(step) => return Some(step),
                Err(error) => tracing::error!(%error, "a fetch panicked"),
            }
        }
        None
    }

    /// Gives up what is asked.
    pub(super) async fn stop(&mut self) {
        self.steps.shutdown().await;
    }
}

async fn plan(cluster: &Cluster, wanted: Vec<(Place, u64)>) -> Vec<(i32, FetchRequest)> {
    let mut by_topic: BTreeMap<Arc<str>, Vec<(u32, u64)>> = BTreeMap::new();
    for ((topic, partition), offset) in wanted {
        by_topic.entry(topic).or_default().push((partition, offset));
    }
    let mut by_leader: BTreeMap<i32, Vec<FetchTopic>> = BTreeMap::new();
    for (name, wanted) in by_topic {
        let Ok(map) = cluster.topic(&name, Missing::Create).await else { continue };
        let mut partitions: BTreeMap<i32, Vec<FetchPartition>> = BTreeMap::new();
        for (partition, offset) in wanted {
            let Some(leader) = map.leaders.get(&partition) else { continue };
            partitions.entry(*leader).or_default().push(FetchPartition {
                partition: i32::try_from(partition).unwrap_or(i32::MAX),
                offset: i64::try_from(offset).unwrap_or(i64::MAX),
                bytes_max: PARTITION_BYTES,
            });
        }
        for (leader, partitions) in partitions {
            let topic = FetchTopic { name: name.to_string(), partitions };
            by_leader.entry(leader).or_default().push(topic);
        }
    }
    let wait = cluster.config().fetch_wait_ms;
    let request = |topics| FetchRequest {
        replica_id: -1,
        max_wait_ms: i32::try_from(wait).unwrap_or(i32::MAX),
        bytes_min: 1,
        bytes_max: FETCH_BYTES,
        isolation_level: 0,
        topics,
    };
    by_leader.into_iter().map(|(leader, topics)| (leader, request(topics))).collect()
}

async fn fetch(
    cluster: &Cluster,
    purpose: Purpose,
    leader: i32,
    request: FetchRequest,
) -> Result<Vec<(Place, Part)>, CallError> {
    let within = cluster.request_timeout() + Duration::from_millis(cluster.config().fetch_wait_ms);
    let asked = cluster.call(purpose, Some(leader), ApiKey::Fetch, &request, within);
    let answer: FetchResponse = asked.await?;
    let mut parts = Vec::new();
    for topic in answer.topics {
        let name: Arc<str> = topic.name.into();
        for partition in topic.partitions {
            let Ok(number) = u32::try_from(partition.partition) else { continue };
            let part = match partition.error {
                ErrorCode::None => Ok(Records {
                    end: u64::try_from(partition.high_watermark).ok(),
                    batches: partition.records,
                }),
                code => Err(code),
            };
            parts.push(((Arc::clone(&name), number), part));
        }
    }
    Ok(parts)
}

async fn range(cluster: &Cluster, place: &Place) -> Option<(u64, u64)> {
    let places = std::slice::from_ref(place);
    let begin = list_offsets(cluster, places, At::Beginning).await.ok()?;
    let end = list_offsets(cluster, places, At::End).await.ok()?;
    Some((*begin.get(place)?, *end.get(place)?))
}
