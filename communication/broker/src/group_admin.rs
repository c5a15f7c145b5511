//! What administrators ask about groups.

use kafka_wire::{
    ErrorCode,
    messages::admin::{
        DeleteGroupsRequest, DeleteGroupsResponse, DeletedOffset, DeletedOffsets,
        DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup, ListGroupsResponse,
        ListedGroup, OffsetDeletePartition, OffsetDeleteRequest, OffsetDeleteResponse, Outcome,
    },
};

use crate::{commits::Commits, groups::Groups};

/// How groups are. One that only committed is empty, and one that nobody knows is dead.
pub(crate) fn describe(
    groups: &Groups,
    commits: &Commits,
    request: &DescribeGroupsRequest,
) -> DescribeGroupsResponse {
    let committed = commits.groups();
    let described = request.groups.iter().map(|name| {
        groups.describe(name).unwrap_or_else(|| DescribedGroup {
            group_id: name.clone(),
            state: if committed.contains(name) { "Empty" } else { "Dead" }.to_owned(),
            ..DescribedGroup::default()
        })
    });
    DescribeGroupsResponse { throttle_ms: 0, groups: described.collect() }
}

/// Which groups have members or have committed something.
pub(crate) fn list(groups: &Groups, commits: &Commits) -> ListGroupsResponse {
    let mut known = groups.list();
    for name in commits.groups() {
        known.entry(name).or_default();
    }
    let listed =
        known.into_iter().map(|(group_id, protocol_type)| ListedGroup { group_id, protocol_type });
    ListGroupsResponse { groups: listed.collect(), ..ListGroupsResponse::default() }
}

/// Forgets groups without members, with what they committed.
pub(crate) async fn delete(
    groups: &Groups,
    commits: &Commits,
    request: DeleteGroupsRequest,
) -> DeleteGroupsResponse {
    let mut outcomes = Vec::with_capacity(request.groups.len());
    for name in request.groups {
        let error = delete_one(groups, commits, &name).await;
        outcomes.push(Outcome { name, error });
    }
    DeleteGroupsResponse { throttle_ms: 0, groups: outcomes }
}

async fn delete_one(groups: &Groups, commits: &Commits, name: &str) -> ErrorCode {
    if groups.has_members(name) {
        return ErrorCode::NonEmptyGroup;
    }
    if groups.describe(name).is_none() && !commits.groups().contains(name) {
        return ErrorCode::GroupIdNotFound;
    }
    match commits.clear(|group, _, _| group == name).await {
        Ok(()) => {
            groups.forget(name);
            tracing::info!(group = name, "a group was removed at the wish of a client");
            ErrorCode::None
        }
        Err(error) => {
            tracing::warn!(group = name, %error, "a group was not removed");
            ErrorCode::CoordinatorNotAvailable
        }
    }
}

/// Forgets what a group without members committed in some partitions.
pub(crate) async fn delete_offsets(
    groups: &Groups,
    commits: &Commits,
    request: OffsetDeleteRequest,
) -> OffsetDeleteResponse {
    let (group, topics) = (request.group_id, request.topics);
    let answer = |error, of_each| {
        let partition =
            |it: &OffsetDeletePartition| DeletedOffset { partition: it.partition, error: of_each };
        let topics = topics.iter().map(|it| DeletedOffsets {
            name: it.name.clone(),
            partitions: it.partitions.iter().map(partition).collect(),
        });
        OffsetDeleteResponse { error, throttle_ms: 0, topics: topics.collect() }
    };
    if groups.describe(&group).is_none() && !commits.groups().contains(&group) {
        return answer(ErrorCode::GroupIdNotFound, ErrorCode::None);
    }
    // What its members say that they read is theirs to understand: none of it is forgotten.
    if groups.has_members(&group) {
        return answer(ErrorCode::None, ErrorCode::GroupSubscribedToTopic);
    }
    let is_asked = |of: &str, topic: &str, partition: i32| {
        let mut asked = topics.iter().filter(|it| it.name == topic).flat_map(|it| &it.partitions);
        of == group && asked.any(|it| it.partition == partition)
    };
    match commits.clear(is_asked).await {
        Ok(()) => answer(ErrorCode::None, ErrorCode::None),
        Err(error) => {
            tracing::warn!(group, %error, "commits were not removed");
            answer(ErrorCode::CoordinatorNotAvailable, ErrorCode::None)
        }
    }
}
