//! What an operator asks about consumer groups, and how one is set to another place.

use std::collections::{BTreeMap, BTreeSet};

use base::Timestamp;
use kafka_wire::{
    ApiKey,
    messages::admin::{DescribedGroup, ListGroupsRequest, ListGroupsResponse},
};

use crate::{
    admin::refused,
    cluster::Purpose,
    error::AdminError,
    group::{Member, read_assignment},
    messaging::Messaging,
    offsets::{At, list_offsets},
};

/// The state of a group that nobody knows, in the protocol's word.
const UNKNOWN: &str = "Dead";

/// A group as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupInfo {
    /// Its name.
    pub name: String,
    /// The protocol's word: `Empty`, `PreparingRebalance`, `CompletingRebalance` or `Stable`.
    pub state: String,
    /// Who takes part.
    pub members: Vec<GroupMember>,
}

/// One member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// The id that the group gave it.
    pub id: String,
    /// How it calls itself.
    pub client_id: String,
    /// Its address.
    pub host: String,
    /// Its share: partitions by topic. Empty while the group gathers.
    pub partitions: BTreeMap<String, Vec<u32>>,
}

/// Where a group is to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupStart {
    /// At the oldest record that is kept.
    Beginning,
    /// Behind the newest: what waits is passed over.
    End,
    /// At the first record of each partition that is not older; at its end where there is none.
    Time(Timestamp),
}

impl Messaging {
    /// The names of all groups, in order.
    ///
    /// # Errors
    /// A broker cannot be reached, or refused.
    pub async fn groups(&self) -> Result<BTreeSet<String>, AdminError> {
        let mut names = BTreeSet::new();
        // Each broker knows the groups that it coordinates.
        for broker in self.cluster().brokers().await? {
            let within = self.cluster().request_timeout();
            let asked = self.cluster().call(
                Purpose::Ask,
                Some(broker),
                ApiKey::ListGroups,
                &ListGroupsRequest {},
                within,
            );
            let answer: ListGroupsResponse = asked.await?;
            refused(answer.error, None)?;
            names.extend(answer.groups.into_iter().map(|it| it.group_id));
        }
        Ok(names)
    }

    /// One group with its members.
    ///
    /// # Errors
    /// The log cannot be reached, or there is no such group.
    pub async fn group(&self, name: &str) -> Result<GroupInfo, AdminError> {
        let found = self.stranger(name).describe().await?;
        refused(found.error, None)?;
        if found.state == UNKNOWN {
            return Err(AdminError::UnknownGroup { group: name.to_owned() });
        }
        Ok(info(found))
    }

    /// Sets a group to another place in a topic. Gives where it goes on, by partition.
    ///
    /// What lies between is processed again, or never: a group that took part in something that may
    /// happen only once is set back at one's own risk.
    ///
    /// # Errors
    /// The log cannot be reached, there is no such topic or group, or somebody takes part in the group
    /// now: then nothing is changed.
    pub async fn reset_group(
        &self,
        name: &str,
        topic: &str,
        start: GroupStart,
    ) -> Result<BTreeMap<u32, u64>, AdminError> {
        let members = self.group(name).await?.members.len();
        if members > 0 {
            return Err(AdminError::Occupied { group: name.to_owned(), members });
        }
        let places = self.places(topic).await?;
        let ends = list_offsets(self.cluster(), &places, At::End).await?;
        let found = match start {
            GroupStart::Beginning => list_offsets(self.cluster(), &places, At::Beginning).await?,
            GroupStart::End => ends.clone(),
            GroupStart::Time(time) => {
                list_offsets(self.cluster(), &places, At::Time(time.as_millis())).await?
            }
        };
        // A partition with nothing so young has no offset for the time.
        let commits: Vec<_> = ends
            .into_iter()
            .map(|(place, end)| {
                let offset = found.get(&place).copied().unwrap_or(end);
                (place, offset)
            })
            .collect();
        self.stranger(name).commit(&commits).await?;
        Ok(commits.into_iter().map(|((_, partition), offset)| (partition, offset)).collect())
    }

    /// Somebody who asks a group and takes no part in it.
    pub(crate) fn stranger(&self, group: &str) -> Member {
        Member::new(self.cluster().clone(), u32::MAX, group.to_owned(), Vec::new())
    }
}

fn info(group: DescribedGroup) -> GroupInfo {
    let members = group.members.into_iter().map(|it| {
        let mut partitions: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        // Members of another kind may share in words of their own.
        for (topic, partition) in read_assignment(it.assignment).unwrap_or_default() {
            partitions.entry(topic.to_string()).or_default().push(partition);
        }
        GroupMember { id: it.member_id, client_id: it.client_id, host: it.client_host, partitions }
    });
    GroupInfo { name: group.group_id, state: group.state, members: members.collect() }
}
