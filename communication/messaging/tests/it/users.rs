//! Users of the log: a name and a secret in the place of a certificate (SASL PLAIN).

use std::fmt::Debug;

use broker::PlainClients;
use bytes::Bytes;
use identity::{PublicName, TlsStream};
use kafka_wire::{
    ApiKey, ErrorCode, Field, Reader, asked_in,
    messages::{
        ApiVersionsRequest, ApiVersionsResponse, CommitPartition, CommitTopic, MetadataRequest,
        MetadataResponse, OffsetCommitRequest, OffsetCommitResponse,
        sasl::{
            SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest,
            SaslHandshakeResponse, Secret,
        },
    },
    request, request_in,
};
use messaging::{ForeignLog, LogEntrance, LogLogin, PublishError, Subscription};
use runtime::Tasks;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    fixture::{Memory, PATIENCE, message},
    world::World,
};

fn login(world: &World, user: &str, secret: &str) -> LogEntrance {
    let login = LogLogin { user: user.to_owned(), secret: secret.to_owned() };
    LogEntrance::Foreign(ForeignLog { trust: Some(world.trust()), login: Some(login) })
}

/// A connection as any client makes it.
async fn plain(world: &World) -> TcpStream {
    TcpStream::connect(world.address()).await.unwrap()
}

async fn tls(world: &World) -> TlsStream<TcpStream> {
    let name = PublicName::of_host("127.0.0.1").unwrap();
    world.trust().connect_unnamed(plain(world).await, &name).await.unwrap()
}

/// The answer to a question; none where the connection ended instead.
async fn ask<A: Field + Debug>(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    api: ApiKey,
    question: &impl Field,
) -> Option<A> {
    stream.write_all(&request(api, 1, "client", question)).await.ok()?;
    let mut reader = Reader::new(next(stream).await?);
    reader.i32().unwrap();
    Some(A::read(&mut reader, asked_in(api)).unwrap())
}

/// The next frame; none where the connection ends.
async fn next(stream: &mut (impl AsyncRead + Unpin)) -> Option<Bytes> {
    let reading = async {
        let bytes = stream.read_u32().await.ok()?;
        let mut frame = vec![0; usize::try_from(bytes).unwrap()];
        stream.read_exact(&mut frame).await.ok()?;
        Some(Bytes::from(frame))
    };
    timeout(PATIENCE, reading).await.expect("the connection neither answers nor ends")
}

async fn choose(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), how: &str) -> ErrorCode {
    let chosen = SaslHandshakeRequest { mechanism: how.to_owned() };
    let chosen = ask::<SaslHandshakeResponse>(stream, ApiKey::SaslHandshake, &chosen).await;
    chosen.unwrap().error
}

async fn say(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    user: &str,
    secret: &str,
) -> Option<ErrorCode> {
    let said = Secret(format!("\0{user}\0{secret}").into());
    let said = SaslAuthenticateRequest { auth_bytes: said };
    let said = ask::<SaslAuthenticateResponse>(stream, ApiKey::SaslAuthenticate, &said).await;
    said.map(|it| it.error)
}

async fn topics(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Option<usize> {
    let asked = MetadataRequest { topics: Vec::new(), allow_auto_topic_creation: false };
    let answer = ask::<MetadataResponse>(stream, ApiKey::Metadata, &asked).await;
    answer.map(|it| it.topics.len())
}

/// How many logins ended so.
fn counted(world: &World, outcome: &str) -> u64 {
    let shown = world.telemetry.metrics().encode();
    let begin = format!("broker_logins_total{{outcome=\"{outcome}\"}} ");
    let line = shown.lines().find_map(|it| it.strip_prefix(&begin));
    line.map_or(0, |it| it.parse().unwrap())
}

/// mesh 12b: 43.
#[tokio::test]
async fn a_user_does_what_policy_lets_him_and_nothing_else() {
    let world = World::new(PlainClients::Refused).await;
    let orders = world.client("a", login(&world, "orders", &world.user("orders")));
    orders.publish("orders", message("a", 1)).await.unwrap();
    let (memory, tasks) = (Memory::default(), Tasks::new());
    orders.subscribe(&Subscription::new(["orders"], "orders"), memory.clone(), &tasks).unwrap();
    memory.has(1).await;
    let reader = world.client("b", login(&world, "reader", &world.user("reader")));
    let refused = reader.publish("orders", message("a", 2)).await.unwrap_err();
    let code = ErrorCode::TopicAuthorizationFailed;
    assert_eq!(refused, PublishError::Refused { code });
    // A service shows its certificate at the same door.
    world.known("orders", "log").await.publish("orders", message("a", 3)).await.unwrap();
    memory.has(2).await;
}

#[tokio::test]
async fn who_says_a_wrong_secret_is_told_so_and_gets_nothing() {
    let world = World::new(PlainClients::Refused).await;
    let (secret, others) = (world.user("orders"), world.user("reader"));
    for wrong in ["", "guess", &others, &secret[..secret.len() - 1]] {
        let mut stream = tls(&world).await;
        assert_eq!(choose(&mut stream, "PLAIN").await, ErrorCode::None);
        let said = say(&mut stream, "orders", wrong).await;
        assert_eq!(said, Some(ErrorCode::SaslAuthenticationFailed), "{wrong}");
        assert_eq!(topics(&mut stream).await, None, "one wrong word ends it");
    }
    assert_eq!(counted(&world, "unknown"), 4);
    let wrong = world.client("a", login(&world, "orders", &others));
    assert!(wrong.publish("orders", message("a", 1)).await.is_err());
    let right = world.client("b", login(&world, "orders", &secret));
    right.publish("orders", message("a", 1)).await.unwrap();
}

/// mesh 12b: 43. A list of topics, and a place in one, are things that not everybody may know.
#[tokio::test]
async fn a_user_sees_the_topics_that_he_may_use_and_commits_in_those_that_he_may_read() {
    let world = World::new(PlainClients::Refused).await;
    let orders = world.client("a", login(&world, "orders", &world.user("orders")));
    orders.publish("orders", message("a", 1)).await.unwrap();
    orders.publish("orders-done", message("a", 1)).await.unwrap();
    let mut seen = Vec::new();
    for user in ["orders", "reader", "watcher", "nobody"] {
        let mut stream = entered(&world, user).await;
        seen.push(topics(&mut stream).await);
    }
    assert_eq!(seen, [Some(2), Some(1), Some(2), Some(0)]);
    let mut stream = entered(&world, "watcher").await;
    assert_eq!(commit(&mut stream, "orders").await, ErrorCode::GroupAuthorizationFailed);
    let mut stream = entered(&world, "committer").await;
    assert_eq!(commit(&mut stream, "orders").await, ErrorCode::TopicAuthorizationFailed);
    let mut stream = entered(&world, "orders").await;
    assert_eq!(commit(&mut stream, "orders").await, ErrorCode::None);
}

/// A connection on which somebody has logged in.
async fn entered(world: &World, user: &str) -> impl AsyncRead + AsyncWrite + Unpin + use<> {
    let secret = world.user(user);
    let mut stream = asked(world).await;
    assert_eq!(say(&mut stream, user, &secret).await, Some(ErrorCode::None));
    stream
}

/// Commits the beginning of a topic for a group of its name.
async fn commit(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), topic: &str) -> ErrorCode {
    let partitions = vec![CommitPartition { partition: 0, offset: 0, metadata: None }];
    let asked = OffsetCommitRequest {
        group_id: "orders".to_owned(),
        generation_id: -1,
        member_id: String::new(),
        retention_ms: -1,
        topics: vec![CommitTopic { name: topic.to_owned(), partitions }],
    };
    let version = asked_in(ApiKey::OffsetCommit);
    stream
        .write_all(&request_in(ApiKey::OffsetCommit, version, 1, "client", &asked))
        .await
        .unwrap();
    let mut reader = Reader::new(next(stream).await.unwrap());
    reader.i32().unwrap();
    OffsetCommitResponse::read(&mut reader, version).unwrap().topics[0].partitions[0].error
}

#[tokio::test]
async fn a_stranger_is_asked_who_he_is_before_anything_else() {
    let world = World::new(PlainClients::Refused).await;
    world.user("reader");
    let mut stream = tls(&world).await;
    let versions =
        ask::<ApiVersionsResponse>(&mut stream, ApiKey::ApiVersions, &ApiVersionsRequest {});
    assert!(versions.await.unwrap().speaks(ApiKey::SaslAuthenticate, 1));
    assert_eq!(topics(&mut stream).await, None);
    for other in ["SCRAM-SHA-256", "GSSAPI", "", "plain"] {
        let mut stream = tls(&world).await;
        assert_eq!(choose(&mut stream, other).await, ErrorCode::UnsupportedSaslMechanism);
        assert_eq!(topics(&mut stream).await, None);
    }
    // The first version of the question is there for who looks for it, and lets nobody in.
    let mut old = tls(&world).await;
    let asked = SaslHandshakeRequest { mechanism: "PLAIN".to_owned() };
    let question = request_in(ApiKey::SaslHandshake, 0, 1, "client", &asked);
    old.write_all(&question).await.unwrap();
    let mut reader = Reader::new(next(&mut old).await.unwrap());
    reader.i32().unwrap();
    let answer = SaslHandshakeResponse::read(&mut reader, 0).unwrap();
    assert_eq!(answer.error, ErrorCode::UnsupportedSaslMechanism);
    assert_eq!(next(&mut old).await, None);
    // More names than a question may have, of who is in.
    let mut many = entered(&world, "reader").await;
    let topics = (0..40_000).map(|it| format!("topic-{it}")).collect();
    let asked = MetadataRequest { topics, allow_auto_topic_creation: false };
    assert!(ask::<MetadataResponse>(&mut many, ApiKey::Metadata, &asked).await.is_none());
    let mut unchosen = tls(&world).await;
    assert_eq!(say(&mut unchosen, "orders", &world.user("orders")).await, None);
    // As much as a record may have, from nobody.
    let mut long = tls(&world).await;
    long.write_all(&(1_u32 << 20).to_be_bytes()).await.unwrap();
    assert_eq!(next(&mut long).await, None);
    assert_eq!(counted(&world, "late"), 0, "at once");
}

#[tokio::test]
async fn a_secret_that_is_taken_back_ends_the_connections_that_it_opened() {
    let world = World::new(PlainClients::Refused).await;
    let secret = world.user("orders");
    let mut stream = tls(&world).await;
    assert_eq!(choose(&mut stream, "PLAIN").await, ErrorCode::None);
    assert_eq!(say(&mut stream, "orders", &secret).await, Some(ErrorCode::None));
    assert_eq!(topics(&mut stream).await, Some(1));
    // Another one changes nothing.
    world.user("reader");
    assert_eq!(topics(&mut stream).await, Some(1));
    world.revoke_all();
    assert_eq!(next(&mut stream).await, None);
    // Nobody is left who could say who he is: no stranger comes as far as being asked.
    assert_eq!(next(&mut tls(&world).await).await, None);
    world.user("reader");
    let mut again = tls(&world).await;
    assert_eq!(choose(&mut again, "PLAIN").await, ErrorCode::None);
    let said = say(&mut again, "orders", &secret).await;
    assert_eq!(said, Some(ErrorCode::SaslAuthenticationFailed));
    assert_eq!(counted(&world, "revoked"), 1);
}

#[tokio::test]
async fn who_is_longest_in_saying_who_he_is_gives_way_and_nobody_else() {
    let bounds = |it| broker::BrokerConfig { strangers_max: 2, ..it };
    let world = World::open(Some(PlainClients::Refused), bounds).await;
    world.user("reader");
    let (mut one, mut two) = (asked(&world).await, asked(&world).await);
    let mut three = asked(&world).await;
    assert_eq!(next(&mut one).await, None);
    assert_eq!(counted(&world, "crowded"), 1);
    // Who shows a certificate needs no such place, who has said it has none.
    world.known("orders", "log").await.publish("orders", message("a", 1)).await.unwrap();
    assert_eq!(say(&mut two, "orders", &world.user("orders")).await, Some(ErrorCode::None));
    let mut four = asked(&world).await;
    let _five = asked(&world).await;
    assert_eq!(next(&mut three).await, None);
    assert_eq!(topics(&mut two).await, Some(1));
    assert_eq!(say(&mut four, "orders", "guess").await, Some(ErrorCode::SaslAuthenticationFailed));
    assert_eq!(counted(&world, "crowded"), 2);
}

/// A connection on which somebody is to say who he is.
async fn asked(world: &World) -> TlsStream<TcpStream> {
    let mut stream = tls(world).await;
    assert_eq!(choose(&mut stream, "PLAIN").await, ErrorCode::None);
    stream
}

#[tokio::test]
async fn a_stranger_who_says_nothing_is_left() {
    let bounds = |it| broker::BrokerConfig { login_timeout_ms: 100, ..it };
    let world = World::open(Some(PlainClients::Refused), bounds).await;
    world.user("reader");
    assert_eq!(next(&mut tls(&world).await).await, None);
    assert_eq!(counted(&world, "late"), 1);
}

#[tokio::test]
async fn a_secret_is_said_in_plain_text_only_where_nobody_is_asked() {
    // Where clients in plain text are trusted, a secret in plain text is not.
    let world = World::new(PlainClients::Trusted).await;
    let mut stream = plain(&world).await;
    assert_eq!(choose(&mut stream, "PLAIN").await, ErrorCode::UnsupportedSaslMechanism);
    let world = World::new(PlainClients::Refused).await;
    let mut stream = plain(&world).await;
    stream
        .write_all(&request(ApiKey::ApiVersions, 1, "client", &ApiVersionsRequest {}))
        .await
        .unwrap();
    let mut answer = Vec::new();
    let ended = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
    assert!(ended.is_err() || answer.len() < 8, "an alert at the most: {answer:?}");

    let world = World::open(None, |it| it).await;
    let secret = world.user("orders");
    let mut stream = plain(&world).await;
    assert_eq!(topics(&mut stream).await, Some(1), "nobody is asked");
    assert_eq!(choose(&mut stream, "PLAIN").await, ErrorCode::None);
    assert_eq!(topics(&mut stream).await, None, "he was to say it");
    let mut stream = plain(&world).await;
    assert_eq!(choose(&mut stream, "PLAIN").await, ErrorCode::None);
    assert_eq!(say(&mut stream, "orders", &secret).await, Some(ErrorCode::None));
    assert_eq!(topics(&mut stream).await, Some(1));
    assert_eq!(choose(&mut stream, "PLAIN").await, ErrorCode::IllegalSaslState, "once is enough");
}

#[tokio::test]
async fn ten_thousand_wrong_secrets_keep_nobody_out() {
    let world = World::open(None, |it| it).await;
    let secret = world.user("orders");
    for _ in 0..10_000 {
        let mut stream = plain(&world).await;
        assert_eq!(choose(&mut stream, "PLAIN").await, ErrorCode::None);
        let said = say(&mut stream, "orders", "guess").await;
        assert_eq!(said, Some(ErrorCode::SaslAuthenticationFailed));
    }
    assert_eq!(counted(&world, "unknown"), 10_000);
    let mut stream = plain(&world).await;
    assert_eq!(choose(&mut stream, "PLAIN").await, ErrorCode::None);
    assert_eq!(say(&mut stream, "orders", &secret).await, Some(ErrorCode::None));
}
