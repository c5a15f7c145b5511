//! One member of a consumer group: joins, shares out when it leads, says that it is alive.
//!
//! Its name outlives the process, so a process that was killed and is back takes its own place
//! at once.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use kafka_wire::{
    ApiKey, ErrorCode, Field, Reader, WireError, Writer,
    messages::{
        ApiVersionsRequest, ApiVersionsResponse, CommitPartition, CommitTopic,
        FindCoordinatorRequest, FindCoordinatorResponse, HeartbeatRequest, HeartbeatResponse,
        JoinGroupRequest, JoinGroupResponse, JoinProtocol, JoinedMember, LeaveGroupRequest,
        LeaveGroupResponse, LeavingMember, OffsetCommitRequest, OffsetCommitResponse,
        OffsetFetchRequest, OffsetFetchResponse, OffsetFetchTopic, SyncAssignment,
        SyncGroupRequest, SyncGroupResponse,
        admin::{DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup},
    },
};

use crate::{
    cluster::{Cluster, Missing, Purpose, Slot},
    connection::CallError,
    lanes::Place,
};

const PROTOCOL_TYPE: &str = "consumer";
const PROTOCOL: &str = "range";
/// A join waits for the other members; so much longer than they get may it take.
const JOIN_MARGIN: Duration = Duration::from_secs(5);
/// Time that members get to finish and join again.
const REBALANCE: Duration = Duration::from_secs(10);
/// Time in which a group is told that we leave.
const LEAVE: Duration = Duration::from_secs(1);
/// The first version in which a member leaves by the name that outlives its process (KIP-345).
const LEAVE_BY_NAME: i16 = 3;

/// Why a question to the group has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GroupError {
    /// The log cannot be reached.
    #[error("{0}")]
    Call(#[from] CallError),
    /// The group says no.
    #[error("{0:?}")]
    Code(ErrorCode),
    /// A member says what cannot be read.
    #[error("a member's words cannot be read: {0}")]
    Malformed(#[from] WireError),
}

/// What an error means for the member that met it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The group gathers anew.
    Gather,
    /// The group does not know it any more.
    Expelled,
    /// Another process has its name and its place.
    Fenced,
    /// The same question may be answered later.
    Passing,
}

/// A member of one group.
#[derive(Debug)]
pub(crate) struct Member {
    cluster: Cluster,
    slot: Slot,
    group: String,
    topics: Vec<String>,
    instance: String,
    member_id: String,
    generation: i32,
    coordinator: Option<i32>,
    /// A join was asked for and has no answer: the group may have us as a member, under an id that we do not
    /// know.
    unanswered: bool,
}

impl Member {
    pub(crate) fn new(cluster: Cluster, slot: Slot, group: String, topics: Vec<String>) -> Self {
        let instance = format!("{}/{group}", cluster.config().client_id);
        Self {
            cluster,
            slot,
            group,
            topics,
            instance,
            member_id: String::new(),
            generation: -1,
            coordinator: None,
            unanswered: false,
        }
    }

    /// Begins anew as a member that nobody knows.
    pub(crate) fn forget(&mut self) {
        self.member_id.clear();
        self.generation = -1;
        self.coordinator = None;
        self.unanswered = false;
    }

    /// What an error means; a coordinator that cannot work, or is none, is looked for anew.
    pub(crate) fn judge(&mut self, error: &GroupError) -> Verdict {
        let GroupError::Code(code) = error else { return Verdict::Passing };
        match code {
            ErrorCode::RebalanceInProgress => Verdict::Gather,
            ErrorCode::IllegalGeneration | ErrorCode::UnknownMemberId => Verdict::Expelled,
            ErrorCode::FencedInstanceId => Verdict::Fenced,
            _ => {
                self.coordinator = None;
                Verdict::Passing
            }
        }
    }

    async fn ask<Q: Field, A: Field>(
        &mut self,
        api: ApiKey,
        question: &Q,
        within: Duration,
    ) -> Result<A, CallError> {
        let node = match self.coordinator {
            Some(node) => node,
            None => {
                let question = FindCoordinatorRequest { key: self.group.clone() };
                let asked = self.cluster.call(
                    Purpose::Ask,
                    None,
                    ApiKey::FindCoordinator,
                    &question,
                    self.cluster.request_timeout(),
                );
                let found: FindCoordinatorResponse = asked.await?;
                if found.error != ErrorCode::None {
                    return Err(CallError::NotSent(format!("{:?}", found.error)));
                }
                self.coordinator = Some(found.node_id);
                found.node_id
            }
        };
        let purpose = Purpose::Coordinate(self.slot);
        let answer = self.cluster.call(purpose, Some(node), api, question, within).await;
        if answer.is_err() {
            self.coordinator = None;
        }
        answer
    }

    /// Joins the next generation; gives the partitions that are ours in it.
    pub(crate) async fn join(&mut self) -> Result<Vec<Place>, GroupError> {
        let joined = self.join_group().await?;
        self.member_id.clone_from(&joined.member_id);
        self.generation = joined.generation_id;
        let assignments = if joined.leader == joined.member_id {
            self.share_out(&joined.members).await?
        } else {
            Vec::new()
        };
        let request = SyncGroupRequest {
            group_id: self.group.clone(),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            group_instance_id: Some(self.instance.clone()),
            assignments,
        };
        let synced: SyncGroupResponse =
            self.ask(ApiKey::SyncGroup, &request, REBALANCE + JOIN_MARGIN).await?;
        check(synced.error)?;
        Ok(read_assignment(synced.assignment)?)
    }

    async fn join_group(&mut self) -> Result<JoinGroupResponse, GroupError> {
        let millis = |it: Duration| i32::try_from(it.as_millis()).unwrap_or(i32::MAX);
        let session = Duration::from_millis(self.cluster.config().session_timeout_ms);
        let request = JoinGroupRequest {
            group_id: self.group.clone(),
            session_timeout_ms: millis(session),
            rebalance_timeout_ms: millis(REBALANCE),
            member_id: self.member_id.clone(),
            group_instance_id: Some(self.instance.clone()),
            protocol_type: PROTOCOL_TYPE.to_owned(),
            protocols: vec![JoinProtocol {
                name: PROTOCOL.to_owned(),
                metadata: write_subscription(&self.topics),
            }],
        };
        self.unanswered = true;
        let joined: JoinGroupResponse =
            self.ask(ApiKey::JoinGroup, &request, REBALANCE + JOIN_MARGIN).await?;
        self.unanswered = false;
        check(joined.error)?;
        Ok(joined)
    }

    /// Every member's share, as the leader gives it.
    async fn share_out(&self, members: &[JoinedMember]) -> Result<Vec<SyncAssignment>, GroupError> {
        let mut wanted: BTreeMap<String, Vec<String>> = BTreeMap::new();
        // By the name that outlives the process: a restart moves no partition.
        let mut members: Vec<_> = members.iter().collect();
        members.sort_by_key(|it| (it.group_instance_id.clone(), it.member_id.clone()));
        for member in members {
            for topic in read_subscription(member.metadata.clone())? {
                wanted.entry(topic).or_default().push(member.member_id.clone());
            }
        }
        let mut shares: BTreeMap<String, BTreeMap<String, Vec<u32>>> = BTreeMap::new();
        for (topic, members) in wanted {
            let partitions = match self.cluster.topic(&topic, Missing::Create).await {
                Ok(map) => map.leaders.keys().copied().collect(),
                Err(fault) => {
                    tracing::warn!(topic, ?fault, "a topic cannot be shared out");
                    Vec::new()
                }
            };
            for (member, share) in ranges(&partitions, &members) {
                shares.entry(member).or_default().insert(topic.clone(), share);
            }
        }
        let share = |(member_id, topics)| SyncAssignment {
            member_id,
            assignment: write_assignment(&topics),
        };
        Ok(shares.into_iter().map(share).collect())
    }

    /// Says that we are alive.
    pub(crate) async fn heartbeat(&mut self) -> Result<(), GroupError> {
        let request = HeartbeatRequest {
            group_id: self.group.clone(),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            group_instance_id: Some(self.instance.clone()),
        };
        let within = Duration::from_millis(self.cluster.config().heartbeat_ms * 2);
        let beaten: HeartbeatResponse = self.ask(ApiKey::Heartbeat, &request, within).await?;
        check(beaten.error)
    }

    /// Leaves; a failure only makes the group wait for our session to end.
    pub(crate) async fn leave(&mut self) {
        let left = match (self.member_id.is_empty(), self.unanswered) {
            (true, false) => return,
            (true, true) => self.leave_by_name().await,
            (false, false) => self.leave_by_id().await,
            (false, true) => match self.leave_by_id().await {
                Ok(()) => Ok(()),
                // On that connection the log still owes the join, and some answer in order.
                Err(_) => {
                    self.cluster.forget(self.slot);
                    self.leave_by_id().await
                }
            },
        };
        if let Err(error) = left {
            tracing::debug!(group = self.group, %error, "the group was not told of our leaving");
        }
        self.forget();
    }

    async fn leave_by_id(&mut self) -> Result<(), CallError> {
        let request = LeaveGroupRequest {
            group_id: self.group.clone(),
            member_id: self.member_id.clone(),
            members: Vec::new(),
        };
        let left: Result<LeaveGroupResponse, _> =
            self.ask(ApiKey::LeaveGroup, &request, LEAVE).await;
        left.map(drop)
    }

    /// For whom the group took in and never told so: without a word of ours it would share its work out to
    /// somebody who is gone, or have it shared out by them. Over another connection than the one on which the
    /// log still owes the join.
    async fn leave_by_name(&mut self) -> Result<(), CallError> {
        self.cluster.forget(self.slot);
        let purpose = Purpose::Coordinate(self.slot);
        let connection = self.cluster.connect(purpose, self.coordinator).await?;
        let spoken: ApiVersionsResponse =
            connection.call(ApiKey::ApiVersions, &ApiVersionsRequest {}, LEAVE).await?;
        if !spoken.speaks(ApiKey::LeaveGroup, LEAVE_BY_NAME) {
            return Err(CallError::NotSent("the log lets nobody leave by name".to_owned()));
        }
        let me = LeavingMember {
            member_id: String::new(),
            group_instance_id: Some(self.instance.clone()),
        };
        let request = LeaveGroupRequest {
            group_id: self.group.clone(),
            member_id: String::new(),
            members: vec![me],
        };
        let left = connection.call_in(ApiKey::LeaveGroup, LEAVE_BY_NAME, &request, LEAVE);
        left.await.map(|_: LeaveGroupResponse| ())
    }

    /// How the group is.
    pub(crate) async fn describe(&mut self) -> Result<DescribedGroup, GroupError> {
        let request = DescribeGroupsRequest { groups: vec![self.group.clone()] };
        let within = self.cluster.request_timeout();
        let answer: DescribeGroupsResponse =
            self.ask(ApiKey::DescribeGroups, &request, within).await?;
        let found = answer.groups.into_iter().find(|it| it.group_id == self.group);
        Ok(found.ok_or(CallError::NotSent("the answer names another group".to_owned()))?)
    }

    /// Where the group stands in these partitions; those that it never committed are missing.
    pub(crate) async fn committed(
        &mut self,
        places: &[Place],
    ) -> Result<BTreeMap<Place, u64>, GroupError> {
        let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for (topic, partition) in places {
            let partition = i32::try_from(*partition).unwrap_or(i32::MAX);
            topics.entry(topic).or_default().push(partition);
        }
        let topics = topics.into_iter();
        let topics = topics.map(|(name, partitions)| {
            let name = name.to_owned();
            OffsetFetchTopic { name, partitions }
        });
        let request = OffsetFetchRequest { group_id: self.group.clone(), topics: topics.collect() };
        let within = self.cluster.request_timeout();
        let answer: OffsetFetchResponse = self.ask(ApiKey::OffsetFetch, &request, within).await?;
        let mut committed = BTreeMap::new();
        for topic in answer.topics {
            let name: Arc<str> = topic.name.into();
            for partition in topic.partitions {
                check(partition.error)?;
                let place = u32::try_from(partition.partition).ok();
                let offset = u64::try_from(partition.offset).ok();
                let known = place.zip(offset);
                committed.extend(known.map(|(it, offset)| ((Arc::clone(&name), it), offset)));
            }
        }
        Ok(committed)
    }

    /// Commits that everything before these offsets is done.
    pub(crate) async fn commit(&mut self, commits: &[(Place, u64)]) -> Result<(), GroupError> {
        let mut topics: BTreeMap<&str, Vec<CommitPartition>> = BTreeMap::new();
        for ((topic, partition), offset) in commits {
            topics.entry(topic).or_default().push(CommitPartition {
                partition: i32::try_from(*partition).unwrap_or(i32::MAX),
                offset: i64::try_from(*offset).unwrap_or(i64::MAX),
                metadata: None,
            });
        }
        let topics = topics.into_iter();
        let topics =
            topics.map(|(name, partitions)| CommitTopic { name: name.to_owned(), partitions });
        let request = OffsetCommitRequest {
            group_id: self.group.clone(),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            retention_ms: -1,
            topics: topics.collect(),
        };
        let within = self.cluster.request_timeout();
        let answer: OffsetCommitResponse = self.ask(ApiKey::OffsetCommit, &request, within).await?;
        let mut partitions = answer.topics.iter().flat_map(|it| &it.partitions);
        partitions.try_for_each(|it| check(it.error))
    }
}

fn check(error: ErrorCode) -> Result<(), GroupError> {
    if error == ErrorCode::None { Ok(()) } else { Err(GroupError::Code(error)) }
}

/// Neighbouring partitions for each member; the first ones get one more where it does not divide.
fn ranges(partitions: &[u32], members: &[String]) -> Vec<(String, Vec<u32>)> {
    let (each, rest) = (partitions.len() / members.len(), partitions.len() % members.len());
    let mut from = 0;
    let mut shares = Vec::with_capacity(members.len());
    for (at, member) in members.iter().enumerate() {
        let to = from + each + usize::from(at < rest);
        shares.push((member.clone(), partitions[from..to].to_vec()));
        from = to;
    }
    shares
}

fn write_subscription(topics: &[String]) -> Bytes {
    let mut writer = Writer::part();
    writer.i16(0);
    topics.to_vec().write(&mut writer, 0);
    writer.nullable_bytes(None);
    writer.into_bytes()
}

/// Later versions only add behind what is read here.
fn read_subscription(bytes: Bytes) -> Result<Vec<String>, WireError> {
    let mut reader = Reader::new(bytes);
    let _version = reader.i16()?;
    Vec::read(&mut reader, 0)
}

fn write_assignment(topics: &BTreeMap<String, Vec<u32>>) -> Bytes {
    let mut writer = Writer::part();
    writer.i16(0);
    writer.count(topics.len());
    for (topic, partitions) in topics {
        writer.nullable_string(Some(topic));
        let numbers = partitions.iter().map(|it| i32::try_from(*it).unwrap_or(i32::MAX));
        numbers.collect::<Vec<i32>>().write(&mut writer, 0);
    }
    writer.nullable_bytes(None);
    writer.into_bytes()
}

pub(crate) fn read_assignment(bytes: Bytes) -> Result<Vec<Place>, WireError> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let mut reader = Reader::new(bytes);
    let _version = reader.i16()?;
    let mut places = Vec::new();
    // A topic takes two bytes for its name and four for its count at the least.
    for _ in 0..reader.count(6)? {
        let topic: Arc<str> = String::read(&mut reader, 0)?.into();
        let partitions: Vec<i32> = Vec::read(&mut reader, 0)?;
        let numbers = partitions.into_iter().filter_map(|it| u32::try_from(it).ok());
        places.extend(numbers.map(|it| (Arc::clone(&topic), it)));
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_has_one_member_and_shares_differ_by_one() {
        for (partitions, members) in [(16, 3), (2, 3), (16, 1), (0, 2)] {
            let partitions: Vec<u32> = (0..partitions).collect();
            let members: Vec<String> = (0..members).map(|it: u32| it.to_string()).collect();
            let shares = ranges(&partitions, &members);
            let all: Vec<u32> = shares.iter().flat_map(|it| it.1.clone()).collect();
            assert_eq!(all, partitions);
            let sizes: Vec<usize> = shares.iter().map(|it| it.1.len()).collect();
            assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1, "{sizes:?}");
        }
    }

    #[test]
    fn what_members_say_to_each_other_is_read_as_written() {
        let topics = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(read_subscription(write_subscription(&topics)), Ok(topics));
        let share = BTreeMap::from([("a".to_owned(), vec![1, 2])]);
        let expected = vec![("a".into(), 1), ("a".into(), 2)];
        assert_eq!(read_assignment(write_assignment(&share)), Ok(expected));
        assert_eq!(read_assignment(Bytes::new()), Ok(Vec::new()));
    }
}
