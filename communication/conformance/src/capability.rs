//! What a backend may lack: each has a name, and is probed before any scenario runs.

use std::collections::{BTreeMap, BTreeSet};

use kafka_wire::{
    ApiKey, ErrorCode,
    messages::{
        ApiVersionsRequest, ApiVersionsResponse, CreateTopicsRequest, CreateTopicsResponse,
        MetadataRequest, MetadataResponse, NewTopic, TopicSetting,
        admin::{CreatePartitionsRequest, CreatePartitionsResponse, MorePartitions},
    },
};

use crate::{
    backend::{Backend, Keeps},
    judge::{LOOK, Stop},
    wire::Wire,
};

/// Something that a scenario needs and a backend may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Capability {
    /// It advertises the request in the version that our client sends.
    Speaks(ApiKey),
    /// A topic that somebody asks about comes about by that.
    MakesTopicsOnUse,
    /// A topic may say that its records are acknowledged before they are synced.
    UnsyncedTopics,
    /// A topic can be given more partitions.
    WiderTopics,
    /// Whoever started it can start it again.
    Restart,
    /// What it acknowledged outlives its process.
    KeepsOverRestart,
}

/// Topics can be made.
pub(crate) const MAKES: Capability = Capability::Speaks(ApiKey::CreateTopics);
/// Groups can be taken part in.
pub(crate) const JOINS: Capability = Capability::Speaks(ApiKey::JoinGroup);
/// Producers get a number.
pub(crate) const NUMBERS: Capability = Capability::Speaks(ApiKey::InitProducerId);

impl Capability {
    /// Its name.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Speaks(api) => format!("{} in version {}", api.as_str(), api.latest()),
            Self::MakesTopicsOnUse => "topics made on use".to_owned(),
            Self::UnsyncedTopics => "topics without sync (`skein.synced`)".to_owned(),
            Self::WiderTopics => "more partitions for a topic that is there".to_owned(),
            Self::Restart => "started again by the suite".to_owned(),
            Self::KeepsOverRestart => "keeps its records over a restart".to_owned(),
        }
    }
}

/// What a backend offers, by what it said and did when it was probed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Offer {
    spoken: BTreeMap<i16, (i16, i16)>,
    others: BTreeSet<Capability>,
}

impl Offer {
    /// Asks the backend. Topics that it makes for that begin with `prefix`.
    pub(crate) async fn probe(backend: &Backend, prefix: &str) -> Result<Self, Stop> {
        let mut wire = Wire::open(backend).await?;
        let versions: ApiVersionsResponse =
            wire.ask(ApiKey::ApiVersions, &ApiVersionsRequest {}).await?;
        let spoken = versions.apis.iter().map(|it| (it.api_key, (it.min_version, it.max_version)));
        let mut offer = Self { spoken: spoken.collect(), others: BTreeSet::new() };
        if makes_on_use(&mut wire, &format!("{prefix}on-use")).await? {
            offer.others.insert(Capability::MakesTopicsOnUse);
        }
        if offer.has(Capability::Speaks(ApiKey::CreateTopics)) {
            let topic = format!("{prefix}probed");
            if takes_unsynced(&mut wire, &topic).await? {
                offer.others.insert(Capability::UnsyncedTopics);
            }
            if offer.has(Capability::Speaks(ApiKey::CreatePartitions))
                && widens(&mut wire, &topic).await?
            {
                offer.others.insert(Capability::WiderTopics);
            }
        }
        match &backend.restart {
            Some((_, Keeps::Acknowledged)) => {
                offer.others.extend([Capability::Restart, Capability::KeepsOverRestart]);
            }
            Some((_, Keeps::Nothing)) => {
                offer.others.insert(Capability::Restart);
            }
            None => {}
        }
        Ok(offer)
    }

    pub(crate) fn has(&self, capability: Capability) -> bool {
        match capability {
            Capability::Speaks(api) => self
                .spoken
                .get(&api.key())
                .is_some_and(|(min, max)| (*min..=*max).contains(&api.latest())),
            other => self.others.contains(&other),
        }
    }

    /// What is said of the lack of one.
    pub(crate) fn lack(&self, capability: Capability) -> String {
        let name = capability.name();
        match capability {
            Capability::Speaks(api) => match self.spoken.get(&api.key()) {
                Some((min, max)) => format!("{name}: it speaks {min} to {max}"),
                None => format!("{name}: it does not speak it at all"),
            },
            _ => name,
        }
    }
}

async fn makes_on_use(wire: &mut Wire, name: &str) -> Result<bool, Stop> {
    let question =
        MetadataRequest { topics: vec![name.to_owned()], allow_auto_topic_creation: true };
    // The first answer may still say that it is being made.
    for _ in 0..20 {
        let answer: MetadataResponse = wire.ask(ApiKey::Metadata, &question).await?;
        match answer.topics.first() {
            Some(topic) if topic.error == ErrorCode::None && !topic.partitions.is_empty() => {
                return Ok(true);
            }
            Some(topic) if topic.error == ErrorCode::UnknownTopicOrPartition => {}
            Some(topic) if topic.error == LEADER_NOT_AVAILABLE => {}
            _ => return Ok(false),
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(false)
}

/// The topic is there, and its leader not yet.
const LEADER_NOT_AVAILABLE: ErrorCode = ErrorCode::Other(5);

/// Only asked, not made: one that takes any setting would say yes all the same, so the answer is
/// compared with that to a setting that nobody has.
async fn takes_unsynced(wire: &mut Wire, name: &str) -> Result<bool, Stop> {
    let ours = create(wire, name, Some("skein.synced"), true).await?;
    let nobodys = create(wire, name, Some("conformance.nobody.has.this"), true).await?;
    Ok(ours == ErrorCode::None && nobodys != ErrorCode::None)
}

async fn widens(wire: &mut Wire, name: &str) -> Result<bool, Stop> {
    let made = create(wire, name, None, false).await?;
    if made != ErrorCode::None {
        return Ok(false);
    }
    let more = MorePartitions { name: name.to_owned(), count: 2, assignments: Vec::new() };
    let question =
        CreatePartitionsRequest { topics: vec![more], timeout_ms: 5_000, validate_only: true };
    let answer: CreatePartitionsResponse = wire.ask(ApiKey::CreatePartitions, &question).await?;
    Ok(answer.topics.first().is_some_and(|it| it.error == ErrorCode::None))
}

/// What a log says to a topic with this setting switched off.
async fn create(
    wire: &mut Wire,
    name: &str,
    setting: Option<&str>,
    validate_only: bool,
) -> Result<ErrorCode, Stop> {
    let off = |name: &str| TopicSetting { name: name.to_owned(), value: Some("false".to_owned()) };
    let topic = NewTopic {
        name: name.to_owned(),
        partitions: 1,
        replication: 1,
        assignments: Vec::new(),
        settings: setting.map(off).into_iter().collect(),
    };
    let question = CreateTopicsRequest { topics: vec![topic], timeout_ms: 5_000, validate_only };
    let answer: CreateTopicsResponse = wire.ask(ApiKey::CreateTopics, &question).await?;
    Ok(answer.topics.first().map_or(ErrorCode::UnknownServerError, |it| it.error))
}
