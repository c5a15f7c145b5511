//! Where partitions begin and end.

use std::{collections::BTreeMap, sync::Arc};

use kafka_wire::{
    ApiKey, ErrorCode,
    messages::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic},
};

use crate::{
    cluster::{Cluster, Missing, Purpose},
    connection::CallError,
    lanes::Place,
};

/// The offset that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    /// The oldest record that is kept.
    Beginning,
    /// The next record to come.
    End,
    /// The first record that is not older than so many milliseconds since 1970; none where no record
    /// is so young.
    Time(i64),
}

impl At {
    /// The protocol's number for it, where a time would stand.
    fn timestamp(self) -> i64 {
        match self {
            Self::Beginning => -2,
            Self::End => -1,
            Self::Time(millis) => millis.max(0),
        }
    }
}

/// Offsets of partitions; those without a leader are missing.
pub(crate) async fn list_offsets(
    cluster: &Cluster,
    places: &[Place],
    at: At,
) -> Result<BTreeMap<Place, u64>, CallError> {
    let timestamp = at.timestamp();
    let mut by_leader: BTreeMap<i32, BTreeMap<&str, Vec<ListOffsetsPartition>>> = BTreeMap::new();
    for (topic, number) in places {
        let map = cluster.topic(topic, Missing::Create).await;
        let map = map.map_err(|it| CallError::NotSent(format!("{topic}: {it:?}")))?;
        let Some(leader) = map.leaders.get(number) else { continue };
        let partition = i32::try_from(*number).unwrap_or(i32::MAX);
        let topics = by_leader.entry(*leader).or_default();
        let asked = ListOffsetsPartition { partition, timestamp };
        topics.entry(topic).or_default().push(asked);
    }
    let mut offsets = BTreeMap::new();
    for (leader, topics) in by_leader {
        let topics = topics.into_iter();
        let topics = topics.map(|(name, partitions)| {
            let name = name.to_owned();
            ListOffsetsTopic { name, partitions }
        });
        let request = ListOffsetsRequest { replica_id: -1, topics: topics.collect() };
        let within = cluster.request_timeout();
        let asked = cluster.call(Purpose::Ask, Some(leader), ApiKey::ListOffsets, &request, within);
        let answer: ListOffsetsResponse = asked.await?;
        for topic in answer.topics {
            let name: Arc<str> = topic.name.into();
            for partition in topic.partitions {
                if partition.error != ErrorCode::None {
                    cluster.doubt(&name);
                    return Err(CallError::NotSent(format!("{:?}", partition.error)));
                }
                let number = u32::try_from(partition.partition).ok();
                let offset = u64::try_from(partition.offset).ok();
                let known = number.zip(offset);
                offsets.extend(known.map(|(it, offset)| ((Arc::clone(&name), it), offset)));
            }
        }
    }
    Ok(offsets)
}
