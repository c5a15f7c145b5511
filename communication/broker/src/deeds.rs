//! What is told of those who administer the log: what they change, and what became of it. Who keeps it
//! running by producing and reading is told of by figures alone.

use callers::{Undecided, Witness};
use kafka_wire::{
    ErrorCode,
    messages::{
        CommitTopic, CommittedTopic, CreateTopicsRequest, OffsetCommitRequest,
        OffsetCommitResponse,
        admin::{
            AlteredResource, DeleteGroupsRequest, DeleteRecordsRequest, DeleteRecordsResponse,
            DeleteTopicsRequest, IncrementalAlterConfigsRequest, OffsetDeleteRequest,
        },
    },
};

use crate::rights::{Client, Right};

/// Of who is in no group.
const NO_GENERATION: i32 = -1;

/// Deeds of one request, in the order of its answers.
#[derive(Debug)]
pub(crate) struct Deeds(Vec<Undecided>);

impl Deeds {
    /// A client begins these, each told by its words.
    pub(crate) fn begin(witness: Option<&Witness>, client: &Client, words: Vec<String>) -> Self {
        let Some(witness) = witness else { return Self(Vec::new()) };
        Self(words.into_iter().map(|it| witness.begin(client.actor(), it)).collect())
    }

    /// The same of what everybody may do with his own: told of those alone who may do it with anybody's.
    pub(crate) fn begin_by_administrator(
        witness: Option<&Witness>,
        client: &Client,
        words: Vec<String>,
    ) -> Self {
        if words.is_empty() {
            return Self(Vec::new());
        }
        let is_one = matches!(client, Client::Known { .. }) && client.might(Right::Administer, "");
        Self::begin(witness.filter(|_| is_one), client, words)
    }

    /// Tells what became of each, and waits until that is noted.
    pub(crate) async fn end(self, errors: Vec<ErrorCode>) {
        for (deed, error) in self.0.into_iter().zip(errors) {
            let decision = match error {
                ErrorCode::None => "done".to_owned(),
                error => format!("refused: {error:?}"),
            };
            deed.end(decision).await;
        }
    }
}

pub(crate) fn of_new_topics(request: &CreateTopicsRequest) -> Vec<String> {
    let topics = request.topics.iter().filter(|_| !request.validate_only);
    topics.map(|it| format!("create topic {}", it.name)).collect()
}

pub(crate) fn of_topics(request: &DeleteTopicsRequest) -> Vec<String> {
    request.names.iter().map(|it| format!("delete topic {it}")).collect()
}

pub(crate) fn of_records(request: &DeleteRecordsRequest) -> Vec<String> {
    let words = request.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|it| {
            let (name, partition, offset) = (&topic.name, it.partition, it.offset);
            format!("delete records of topic {name}, partition {partition}, before {offset}")
        })
    });
    words.collect()
}

pub(crate) fn ends_of_records(answer: &DeleteRecordsResponse) -> Vec<ErrorCode> {
    answer.topics.iter().flat_map(|it| &it.partitions).map(|it| it.error).collect()
}

pub(crate) fn of_settings(request: &IncrementalAlterConfigsRequest) -> Vec<String> {
    let words = |it: &AlteredResource| {
        let settings = it.settings.iter().map(|it| match &it.value {
            Some(value) => format!("{}={value}", it.name),
            None => format!("{} to its default", it.name),
        });
        format!("set of topic {}: {}", it.name, settings.collect::<Vec<_>>().join(", "))
    };
    request.resources.iter().filter(|_| !request.validate_only).map(words).collect()
}

pub(crate) fn of_groups(request: &DeleteGroupsRequest) -> Vec<String> {
    request.groups.iter().map(|it| format!("delete group {it}")).collect()
}

pub(crate) fn of_offsets(request: &OffsetDeleteRequest) -> Vec<String> {
    let topics: Vec<_> = request.topics.iter().map(|it| it.name.as_str()).collect();
    vec![format!("delete what group {} committed in {}", request.group_id, topics.join(", "))]
}

/// A place that is moved from outside of its group.
pub(crate) fn of_places(request: &OffsetCommitRequest) -> Vec<String> {
    let words = |it: &CommitTopic| {
        let places = it.partitions.iter().map(|it| format!("{}:{}", it.partition, it.offset));
        let places = places.collect::<Vec<_>>().join(", ");
        format!("move group {} in topic {} to {places}", request.group_id, it.name)
    };
    let is_outside = request.generation_id == NO_GENERATION;
    request.topics.iter().filter(|_| is_outside).map(words).collect()
}

pub(crate) fn ends_of_places(answer: &OffsetCommitResponse) -> Vec<ErrorCode> {
    let end = |it: &CommittedTopic| {
        let mut errors = it.partitions.iter().map(|it| it.error);
        errors.find(|it| *it != ErrorCode::None).unwrap_or_default()
    };
    answer.topics.iter().map(end).collect()
}
