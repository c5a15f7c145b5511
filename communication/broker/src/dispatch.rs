//! From a frame to an answer: which request it is, and who serves it.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use kafka_wire::{
    ApiKey, ErrorCode, Field, Reader, RequestHead, WireError,
    messages::{
        CreateTopicsRequest, CreateTopicsResponse, CreatedTopic, FetchRequest,
        FindCoordinatorRequest, FindCoordinatorResponse, HeartbeatRequest, HeartbeatResponse,
        InitProducerIdRequest, InitProducerIdResponse, JoinGroupRequest, JoinGroupResponse,
        LeaveGroupRequest, LeaveGroupResponse, ListOffsetsRequest, MetadataBroker,
        MetadataPartition, MetadataRequest, MetadataResponse, MetadataTopic, NewTopic,
        OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, ProduceRequest,
        SyncGroupRequest, SyncGroupResponse,
        admin::{
            CreatePartitionsRequest, DeleteGroupsRequest, DeleteRecordsRequest,
            DeleteTopicsRequest, DescribeConfigsRequest, DescribeGroupsRequest,
            IncrementalAlterConfigsRequest, ListGroupsRequest, OffsetDeleteRequest,
        },
    },
    read_request_head, response,
};

use crate::{
    admin,
    deeds::{self, Deeds},
    fetch, group_admin, offsets, produce,
    rights::{Client, Right},
    session::Session,
    shared::Shared,
    topic_error::{TopicError, code_of, refuse},
    topics::Topic,
    turned_away, versions,
};

/// Bytes of a request that appends nothing. A name of a topic has some twenty.
const WORDS_BYTES_MAX: usize = 256 << 10;
/// The number of this broker, which is the only one.
const NODE: i32 = 0;
const CLUSTER: &str = "skein";

/// An answer under way; none when the client wants none.
pub(crate) type Answer = std::pin::Pin<Box<dyn Future<Output = Option<Bytes>> + Send>>;

/// A request that was read.
pub(crate) struct Question {
    pub(crate) api: ApiKey,
    pub(crate) answer: Answer,
}

/// Why a request is not served; its connection must end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BeginError {
    /// The frame is no request.
    #[error(transparent)]
    Malformed(#[from] WireError),
    /// Only who administers the log may ask that.
    #[error("{client:?} may not ask for {}", api.as_str())]
    Forbidden { api: ApiKey, client: Client },
    /// It names more than one request may: each name is judged and answered before anybody else is served.
    #[error("{} has more than {WORDS_BYTES_MAX} bytes without a record in it", .0.as_str())]
    TooMuch(ApiKey),
    /// Who the client is has to be said first, or is being said.
    #[error("nobody may ask for {} before he has said who he is", .0.as_str())]
    Unheard(ApiKey),
}

fn read<T: Field>(mut reader: Reader, version: i16) -> Result<T, WireError> {
    let message = T::read(&mut reader, version)?;
    reader.end()?;
    Ok(message)
}

/// Reads a request whole, and begins to serve it.
///
/// # Errors
/// [`BeginError`].
pub(crate) fn begin(
    shared: &Arc<Shared>,
    session: &mut Session,
    frame: Bytes,
) -> Result<Question, BeginError> {
    let mut reader = Reader::new(frame);
    let head = read_request_head(&mut reader)?;
    let unspoken = WireError::Unspoken { api_key: head.api_key, version: head.version };
    // Nothing that a client of the advertised versions asks.
    let api = ApiKey::of(head.api_key).ok_or(unspoken)?;
    if !api.speaks(head.version) {
        return Ok(unsupported(api, &head)?);
    }
    if !session.hears(api) {
        return Err(BeginError::Unheard(api));
    }
    if api != ApiKey::Produce && reader.left() > WORDS_BYTES_MAX {
        return Err(BeginError::TooMuch(api));
    }
    let (id, version) = (head.correlation_id, head.version);
    let answer = match api {
        ApiKey::SaslHandshake => {
            now(response(id, version, &session.choose(&read(reader, version)?, version)))
        }
        ApiKey::SaslAuthenticate => {
            now(response(id, version, &session.authenticate(&read(reader, version)?)))
        }
        api => judged(shared, session, api, &head, reader)?,
    };
    Ok(Question { api, answer })
}

/// Serves what the client may ask for.
fn judged(
    shared: &Arc<Shared>,
    session: &Session,
    api: ApiKey,
    head: &RequestHead,
    reader: Reader,
) -> Result<Answer, BeginError> {
    let client = session.client();
    let is_denied = match about_anybody(api) {
        // Who may change it may look at it, as with Kafka's own rights.
        Some(Right::Describe) => {
            !client.might(Right::Administer, "") && !client.may(Right::Describe, "")
        }
        Some(right) => !client.may(right, ""),
        None => false,
    };
    if is_denied {
        return Err(BeginError::Forbidden { api, client: client.clone() });
    }
    Ok(serve(shared, session, api, head, reader)?)
}

/// Only the question for versions has an answer in a version that is not spoken: it is asked first.
fn unsupported(api: ApiKey, head: &RequestHead) -> Result<Question, WireError> {
    if api != ApiKey::ApiVersions {
        return Err(WireError::Unspoken { api_key: head.api_key, version: head.version });
    }
    Ok(Question { api, answer: now(versions::unsupported(head.correlation_id)) })
}

/// The right that a question about topics and groups of anybody needs.
const fn about_anybody(api: ApiKey) -> Option<Right> {
    match api {
        ApiKey::DescribeGroups | ApiKey::ListGroups | ApiKey::DescribeConfigs => {
            Some(Right::Describe)
        }
        ApiKey::DeleteGroups
        | ApiKey::OffsetDelete
        | ApiKey::DeleteTopics
        | ApiKey::DeleteRecords
        | ApiKey::CreatePartitions
        | ApiKey::IncrementalAlterConfigs => Some(Right::Administer),
        _ => None,
    }
}

fn serve(
    shared: &Arc<Shared>,
    session: &Session,
    api: ApiKey,
    head: &RequestHead,
    reader: Reader,
) -> Result<Answer, WireError> {
    let (id, version) = (head.correlation_id, head.version);
    let client = session.client();
    let shared = Arc::clone(shared);
    Ok(match api {
        ApiKey::Produce => {
            let mut request: ProduceRequest = read(reader, version)?;
            let silent = request.acks == 0;
            let denied = client.denied(Right::Produce, &mut request.topics, |it| &it.name);
            // Begun now, so that requests of one connection share commits.
            let produced = produce::produce(&shared.topics, request);
            Box::pin(async move {
                let mut produced = produced.await;
                produced.topics.extend(denied.iter().map(turned_away::producer));
                (!silent).then(|| response(id, version, &produced))
            })
        }
        ApiKey::Fetch => {
            let mut request: FetchRequest = read(reader, version)?;
            let denied = client.denied(Right::Consume, &mut request.topics, |it| &it.name);
            if !denied.is_empty() {
                // The client should hear of it now.
                request.max_wait_ms = 0;
            }
            later(id, version, async move {
                let mut fetched = fetch::fetch(&shared.topics, &shared.config, request).await;
                fetched.topics.extend(denied.iter().map(turned_away::consumer));
                fetched
            })
        }
        ApiKey::ListOffsets => {
            let mut request: ListOffsetsRequest = read(reader, version)?;
            let denied = client.denied(Right::Consume, &mut request.topics, |it| &it.name);
            let mut listed = offsets::list(&shared.topics, &request);
            listed.topics.extend(denied.iter().map(turned_away::lister));
            now(response(id, version, &listed))
        }
        ApiKey::Metadata => {
            let request: MetadataRequest = read(reader, version)?;
            now(response(id, version, &metadata(&shared, client, request)))
        }
        ApiKey::OffsetCommit
        | ApiKey::OffsetFetch
        | ApiKey::FindCoordinator
        | ApiKey::JoinGroup
        | ApiKey::SyncGroup
        | ApiKey::Heartbeat
        | ApiKey::LeaveGroup => serve_group(shared, session, api, head, reader)?,
        ApiKey::DescribeGroups
        | ApiKey::ListGroups
        | ApiKey::DeleteGroups
        | ApiKey::OffsetDelete => serve_group_admin(shared, client, api, head, reader)?,
        ApiKey::CreateTopics
        | ApiKey::DeleteTopics
        | ApiKey::DeleteRecords
        | ApiKey::CreatePartitions
        | ApiKey::DescribeConfigs
        | ApiKey::IncrementalAlterConfigs => serve_admin(shared, client, api, head, reader)?,
        // What a client says about itself from version 3 on changes nothing.
        ApiKey::ApiVersions => now(versions::answer(id, version)),
        ApiKey::InitProducerId => {
            let request: InitProducerIdRequest = read(reader, version)?;
            now(response(id, version, &shared.producer_id(&request)))
        }
        ApiKey::SaslHandshake | ApiKey::SaslAuthenticate => {
            return Err(WireError::Left(reader.left()));
        }
    })
}

/// What a client learns of topics: asked for all, of those that it sees.
fn metadata(shared: &Shared, client: &Client, mut request: MetadataRequest) -> MetadataResponse {
    // A name that comes again has its answer.
    let mut named = HashSet::new();
    request.topics.retain(|it| named.insert(it.clone()));
    request.allow_auto_topic_creation &= makes(shared, client, &request);
    let mut told = shared.metadata(&request);
    if request.topics.is_empty() {
        told.topics.retain(|it| sees(client, &it.name));
    }
    told
}

/// Whether a topic is in a list for this client, as with Kafka: who may use it, or look at anybody's.
fn sees(client: &Client, topic: &str) -> bool {
    let about_anybody = [Right::Describe, Right::Administer];
    [Right::Produce, Right::Consume].iter().any(|it| client.might(*it, topic))
        || about_anybody.iter().any(|it| client.might(*it, ""))
}

/// Whether a question about topics may make those that are missing. A name that somebody knows already is
/// no secret.
fn makes(shared: &Shared, client: &Client, request: &MetadataRequest) -> bool {
    let is_there = |it: &String| shared.topics.find(it).is_some();
    let may_make = |it: &String| is_there(it) || client.may(Right::Produce, it);
    request.allow_auto_topic_creation && request.topics.iter().all(may_make)
}

/// The requests of consumer groups.
fn serve_group(
    shared: Arc<Shared>,
    session: &Session,
    api: ApiKey,
    head: &RequestHead,
    reader: Reader,
) -> Result<Answer, WireError> {
    let (id, version) = (head.correlation_id, head.version);
    let client = session.client();
    let may = |group: &str| client.may(Right::Group, group);
    Ok(match api {
        ApiKey::OffsetCommit => {
            let mut request: OffsetCommitRequest = read(reader, version)?;
            if !may(&request.group_id) {
                let denied = turned_away::committer(request.topics, turned_away::OF_GROUP);
                return Ok(now(response(id, version, &OffsetCommitResponse { topics: denied })));
            }
            // A place in a topic tells how long it is.
            let denied = client.denied(Right::Consume, &mut request.topics, |it| &it.name);
            let words = deeds::of_places(&request);
            let deeds = Deeds::begin_by_administrator(shared.witness.as_ref(), client, words);
            later(id, version, async move {
                let (groups, topics, commits) = (&shared.groups, &shared.topics, &shared.commits);
                let mut committed = offsets::commit(groups, topics, commits, request).await;
                deeds.end(deeds::ends_of_places(&committed)).await;
                let denied = turned_away::committer(denied, turned_away::OF_TOPIC);
                committed.topics.extend(denied);
                committed
            })
        }
        ApiKey::OffsetFetch => {
            let mut request: OffsetFetchRequest = read(reader, version)?;
            // Who may read a topic may know how far others have.
            let denied = client.denied(Right::Consume, &mut request.topics, |it| &it.name);
            let mut found = offsets::committed(&shared.commits, &request);
            found.topics.extend(denied.into_iter().map(turned_away::asker));
            now(response(id, version, &found))
        }
        ApiKey::FindCoordinator => {
            let _request: FindCoordinatorRequest = read(reader, version)?;
            now(response(id, version, &shared.coordinator()))
        }
        ApiKey::JoinGroup => {
            let request: JoinGroupRequest = read(reader, version)?;
            if !may(&request.group_id) {
                let denied =
                    JoinGroupResponse { error: turned_away::OF_GROUP, ..Default::default() };
                return Ok(now(response(id, version, &denied)));
            }
            let from = (head.client_id.as_deref(), session.host());
            later(id, version, shared.groups.join(request, version, from))
        }
        ApiKey::SyncGroup => {
            let request: SyncGroupRequest = read(reader, version)?;
            if !may(&request.group_id) {
                let denied =
                    SyncGroupResponse { error: turned_away::OF_GROUP, ..Default::default() };
                return Ok(now(response(id, version, &denied)));
            }
            later(id, version, shared.groups.sync(request))
        }
        ApiKey::Heartbeat => {
            let request: HeartbeatRequest = read(reader, version)?;
            let error = match may(&request.group_id) {
                true => shared.groups.heartbeat(&request),
                false => turned_away::OF_GROUP,
            };
            now(response(id, version, &HeartbeatResponse { throttle_ms: 0, error }))
        }
        ApiKey::LeaveGroup => {
            let request: LeaveGroupRequest = read(reader, version)?;
            let answer = match may(&request.group_id) {
                true => shared.groups.leave(request),
                false => LeaveGroupResponse { error: turned_away::OF_GROUP, ..Default::default() },
            };
            now(response(id, version, &answer))
        }
        _ => return Err(WireError::Left(reader.left())),
    })
}

/// What administrators ask about groups.
fn serve_group_admin(
    shared: Arc<Shared>,
    client: &Client,
    api: ApiKey,
    head: &RequestHead,
    reader: Reader,
) -> Result<Answer, WireError> {
    let (id, version) = (head.correlation_id, head.version);
    let begin = |words| Deeds::begin(shared.witness.as_ref(), client, words);
    Ok(match api {
        ApiKey::DescribeGroups => {
            let request: DescribeGroupsRequest = read(reader, version)?;
            let described = group_admin::describe(&shared.groups, &shared.commits, &request);
            now(response(id, version, &described))
        }
        ApiKey::ListGroups => {
            let _request: ListGroupsRequest = read(reader, version)?;
            now(response(id, version, &group_admin::list(&shared.groups, &shared.commits)))
        }
        ApiKey::DeleteGroups => {
            let request: DeleteGroupsRequest = read(reader, version)?;
            let deeds = begin(deeds::of_groups(&request));
            later(id, version, async move {
                let answer = group_admin::delete(&shared.groups, &shared.commits, request).await;
                deeds.end(answer.groups.iter().map(|it| it.error).collect()).await;
                answer
            })
        }
        ApiKey::OffsetDelete => {
            let request: OffsetDeleteRequest = read(reader, version)?;
            let deeds = begin(deeds::of_offsets(&request));
            later(id, version, async move {
                let (groups, commits) = (&shared.groups, &shared.commits);
                let answer = group_admin::delete_offsets(groups, commits, request).await;
                deeds.end(vec![answer.error]).await;
                answer
            })
        }
        _ => return Err(WireError::Left(reader.left())),
    })
}

/// What is asked about topics as such: who may produce to one makes it, the rest is for administrators.
fn serve_admin(
    shared: Arc<Shared>,
    client: &Client,
    api: ApiKey,
    head: &RequestHead,
    reader: Reader,
) -> Result<Answer, WireError> {
    let (id, version) = (head.correlation_id, head.version);
    let begin = |words| Deeds::begin(shared.witness.as_ref(), client, words);
    Ok(match api {
        ApiKey::CreateTopics => {
            let mut request: CreateTopicsRequest = read(reader, version)?;
            let denied = client.denied(Right::Produce, &mut request.topics, |it| &it.name);
            let words = deeds::of_new_topics(&request);
            let deeds = Deeds::begin_by_administrator(shared.witness.as_ref(), client, words);
            let mut made = shared.create_topics(request);
            later(id, version, async move {
                deeds.end(made.topics.iter().map(|it| it.error).collect()).await;
                made.topics.extend(denied.into_iter().map(turned_away::maker));
                made
            })
        }
        ApiKey::DeleteTopics => {
            let request: DeleteTopicsRequest = read(reader, version)?;
            let deeds = begin(deeds::of_topics(&request));
            later(id, version, async move {
                let answer = admin::delete_topics(&shared.topics, &shared.commits, request).await;
                deeds.end(answer.topics.iter().map(|it| it.error).collect()).await;
                answer
            })
        }
        ApiKey::DeleteRecords => {
            let request: DeleteRecordsRequest = read(reader, version)?;
            let deeds = begin(deeds::of_records(&request));
            let answer = admin::delete_records(&shared.topics, &request);
            later(id, version, async move {
                deeds.end(deeds::ends_of_records(&answer)).await;
                answer
            })
        }
        ApiKey::CreatePartitions => {
            let request: CreatePartitionsRequest = read(reader, version)?;
            now(response(id, version, &admin::create_partitions(&shared.topics, request)))
        }
        ApiKey::DescribeConfigs => {
            let request: DescribeConfigsRequest = read(reader, version)?;
            now(response(id, version, &admin::describe_configs(&shared.topics, request)))
        }
        ApiKey::IncrementalAlterConfigs => {
            let request: IncrementalAlterConfigsRequest = read(reader, version)?;
            let deeds = begin(deeds::of_settings(&request));
            let answer = admin::alter_configs(&shared.topics, request);
            later(id, version, async move {
                deeds.end(answer.resources.iter().map(|it| it.error).collect()).await;
                answer
            })
        }
        _ => return Err(WireError::Left(reader.left())),
    })
}

/// An answer that is there already.
fn now(bytes: Bytes) -> Answer {
    Box::pin(async move { Some(bytes) })
}

/// An answer that must be waited for.
fn later<T: Field>(
    id: i32,
    version: i16,
    answer: impl Future<Output = T> + Send + 'static,
) -> Answer {
    Box::pin(async move { Some(response(id, version, &answer.await)) })
}

impl Shared {
    fn metadata(&self, request: &MetadataRequest) -> MetadataResponse {
        let (host, port) = self.advertised.clone();
        let broker = MetadataBroker { node_id: NODE, host, port: i32::from(port), rack: None };
        let topics = if request.topics.is_empty() {
            self.topics.all().iter().map(|it| describe(it)).collect()
        } else {
            request.topics.iter().map(|it| self.describe_or_create(it, request)).collect()
        };
        MetadataResponse {
            throttle_ms: 0,
            brokers: vec![broker],
            cluster_id: Some(CLUSTER.to_owned()),
            controller_id: NODE,
            topics,
        }
    }

    fn describe_or_create(&self, name: &str, request: &MetadataRequest) -> MetadataTopic {
        if let Some(topic) = self.topics.find(name) {
            return describe(&topic);
        }
        let missing =
            |error| MetadataTopic { error, name: name.to_owned(), ..MetadataTopic::default() };
        // A dead-letter topic and the like comes into being when it is first written to.
        if !request.allow_auto_topic_creation {
            return missing(ErrorCode::UnknownTopicOrPartition);
        }
        let made = self
            .topics
            .described(name.to_owned(), None, &BTreeMap::new())
            .and_then(|it| self.topics.create(it));
        match (made, self.topics.find(name)) {
            (_, Some(topic)) => describe(&topic),
            (Err(error), None) => missing(code_of(&error)),
            (Ok(()), None) => missing(ErrorCode::UnknownServerError),
        }
    }

    fn coordinator(&self) -> FindCoordinatorResponse {
        let (host, port) = self.advertised.clone();
        let error = ErrorCode::None;
        FindCoordinatorResponse { error, node_id: NODE, host, port: i32::from(port) }
    }

    fn create_topics(&self, request: CreateTopicsRequest) -> CreateTopicsResponse {
        let validate_only = request.validate_only;
        let made = request.topics.into_iter().map(|it| {
            let name = it.name.clone();
            match self.create_topic(it, validate_only) {
                Ok(()) => CreatedTopic { name, ..CreatedTopic::default() },
                Err(error) => {
                    let message = Some(error.to_string());
                    CreatedTopic { name, error: code_of(&error), message }
                }
            }
        });
        CreateTopicsResponse { throttle_ms: 0, topics: made.collect() }
    }

    fn create_topic(&self, topic: NewTopic, validate_only: bool) -> Result<(), TopicError> {
        let partitions = match topic.partitions {
            -1 => None,
            asked => Some(u32::try_from(asked).unwrap_or(0)),
        };
        if !matches!(topic.replication, -1 | 1) {
            let reason = "there is one broker, and so one copy";
            return Err(refuse(ErrorCode::InvalidReplicationFactor, reason));
        }
        if !topic.assignments.is_empty() {
            let reason = "there is one broker: name no others";
            return Err(refuse(ErrorCode::InvalidReplicaAssignment, reason));
        }
        let settings = topic.settings.into_iter().filter_map(|it| Some((it.name, it.value?)));
        let described = self.topics.described(topic.name, partitions, &settings.collect())?;
        if validate_only { Ok(()) } else { self.topics.create(described) }
    }

    fn producer_id(&self, request: &InitProducerIdRequest) -> InitProducerIdResponse {
        // Transactions would need what we do not keep.
        if request.transactional_id.is_some() {
            tracing::warn!("a client asked for transactions, which are not spoken");
            let error = ErrorCode::UnsupportedVersion;
            return InitProducerIdResponse {
                error,
                producer_id: -1,
                producer_epoch: -1,
                ..InitProducerIdResponse::default()
            };
        }
        InitProducerIdResponse { producer_id: self.next_producer_id(), ..Default::default() }
    }
}

fn describe(topic: &Topic) -> MetadataTopic {
    let partition = |it: u32| MetadataPartition {
        error: ErrorCode::None,
        partition: i32::try_from(it).unwrap_or(i32::MAX),
        leader: NODE,
        replicas: vec![NODE],
        in_sync: vec![NODE],
    };
    MetadataTopic {
        error: ErrorCode::None,
        name: topic.config.name.clone(),
        is_internal: false,
        partitions: (0..topic.config.partitions).map(partition).collect(),
    }
}
