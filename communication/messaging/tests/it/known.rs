//! A log that asks who comes in, and clients that show it.

use std::time::Duration;

use broker::{BoundBroker, Broker, BrokerConfig, Judge, LogDoor, PlainClients, Right, TopicConfig};
use identity::{
    AuthorityConfig, HandshakeConfig, Handshakes, KeeperConfig, Membership, Office, SpiffeId, keep,
};
use kafka_wire::ErrorCode;
use messaging::{LogTls, Messaging, MessagingConfig, PublishError, Subscription};
use runtime::{SystemClock, Tasks, random_from_os};
use telemetry::Telemetry;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UnixListener},
    time::timeout,
};

use crate::fixture::{Memory, PATIENCE, message};

const DOMAIN: &str = "mesh.local";

fn id(service: &str) -> SpiffeId {
    SpiffeId::new(DOMAIN, "shop", service).unwrap()
}

/// An authority, and a log behind a door.
struct World {
    directory: TempDir,
    office: Office,
    tasks: Tasks,
    broker: Option<BoundBroker>,
}

impl World {
    /// With a log at which `orders` may do everything with the topic `orders`, and `reader` may read it.
    async fn new(plain: PlainClients) -> Self {
        let directory = TempDir::new().unwrap();
        let (clock, telemetry) = (SystemClock::shared(), Telemetry::disabled());
        let state = directory.path().join("authority.json");
        let config = AuthorityConfig::default();
        let office = Office::open(config, DOMAIN, state, clock.clone(), &telemetry).unwrap();
        let tasks = Tasks::new();
        let socket = UnixListener::bind(directory.path().join("authority.sock")).unwrap();
        office.serve(socket, &tasks);
        let mut world = Self { directory, office, tasks, broker: None };
        let judge = Judge::new(|caller, right, name| match caller.service() {
            "orders" => right != Right::Administer && name.starts_with("orders"),
            "reader" => right == Right::Consume && name == "orders",
            _ => false,
        });
        let door = LogDoor { handshakes: world.joined("log").await, judge, plain };
        let topic = TopicConfig {
            name: "orders".to_owned(),
            partitions: 2,
            synced: true,
            retention_ms: None,
            retention_bytes: None,
        };
        let config = BrokerConfig {
            topics: vec![topic],
            ..BrokerConfig::new(world.directory.path().join("log"))
        };
        let broker = Broker::start_behind(Some(door), config, clock, &telemetry, &world.tasks);
        world.broker = Some(broker.unwrap());
        world
    }

    /// Handshakes of a process that has joined under this name.
    async fn joined(&self, service: &str) -> Handshakes {
        let token =
            self.office.draw_token(id(service), rustix::process::getuid().as_raw()).unwrap();
        self.office.bind_token(&token, std::process::id()).unwrap();
        let authority = self.directory.path().join("authority.sock");
        let membership = Membership { authority, id: id(service), token };
        let (clock, telemetry) = (SystemClock::shared(), Telemetry::disabled());
        let (config, random) = (KeeperConfig::default(), random_from_os());
        let mut current = keep(config, membership, clock.clone(), random, &telemetry, &self.tasks);
        let handshakes =
            Handshakes::new(&HandshakeConfig::default(), current.clone(), clock, &telemetry);
        timeout(PATIENCE, current.wait_for(Option::is_some)).await.unwrap().unwrap();
        handshakes
    }

    fn address(&self) -> String {
        self.broker.as_ref().unwrap().address.to_string()
    }

    fn client(&self, name: &str, tls: Option<LogTls>) -> Messaging {
        let config = MessagingConfig {
            bootstrap: vec![self.address()],
            client_id: name.to_owned(),
            publish_timeout_ms: 500,
            session_timeout_ms: 1_500,
            heartbeat_ms: 100,
            commit_every_ms: 20,
            ..MessagingConfig::default()
        };
        let (clock, telemetry) = (SystemClock::shared(), Telemetry::disabled());
        Messaging::entering(tls, config, clock, telemetry, &self.tasks)
    }

    /// A client that shows this name, and takes the log for that service.
    async fn known(&self, name: &str, log: &str) -> Messaging {
        let tls = LogTls { handshakes: self.joined(name).await, log: id(log) };
        self.client(name, Some(tls))
    }
}

/// mesh 12b: 43.
#[tokio::test]
async fn who_may_publishes_and_reads_and_who_may_not_is_told_so() {
    let world = World::new(PlainClients::Refused).await;
    let orders = world.known("orders", "log").await;
    orders.publish("orders", message("a", 1)).await.unwrap();
    let memory = Memory::default();
    let tasks = Tasks::new();
    let group = Subscription::new(["orders"], "orders");
    orders.subscribe(&group, memory.clone(), &tasks).unwrap();
    memory.has(1).await;
    let other = orders.publish("bills", message("a", 2)).await.unwrap_err();
    let denied = ErrorCode::TopicAuthorizationFailed;
    assert!(
        matches!(other, PublishError::Refused { .. } | PublishError::Unavailable { .. }),
        "{other:?}"
    );
    // A topic that is missing is not made by who may not produce to it.
    assert!(orders.topics().await.is_ok_and(|all| all.iter().all(|it| it.name != "bills")));
    let reader = world.known("reader", "log").await;
    let refused = reader.publish("orders", message("a", 3)).await.unwrap_err();
    assert_eq!(refused, PublishError::Refused { code: denied });
    assert!(
        reader.lag("orders", "orders").await.is_ok(),
        "who may read may know how far others are"
    );
    let stranger = world.known("stranger", "log").await;
    let seen = Memory::default();
    stranger.subscribe(&Subscription::tail(["orders"]), seen.clone(), &tasks).unwrap();
    orders.publish("orders", message("a", 4)).await.unwrap();
    memory.has(2).await;
    assert!(stranger.lag("orders", "orders").await.is_err());
    assert_eq!(seen.seen().len(), 0);
    // What belongs to all is for who administers: the connection ends.
    assert!(orders.groups().await.is_err());
}

#[tokio::test]
async fn a_log_that_proves_to_be_somebody_else_gets_nothing() {
    let world = World::new(PlainClients::Refused).await;
    let orders = world.known("orders", "stock").await;
    let error = orders.publish("orders", message("a", 1)).await.unwrap_err();
    assert!(matches!(error, PublishError::Unavailable { .. }), "{error:?}");
}

/// What comes back for a question in plain text; nothing where the connection ends.
async fn plain(world: &World) -> usize {
    let mut stream = TcpStream::connect(world.address()).await.unwrap();
    // ApiVersions, version 0, correlation 7, no client id.
    let question = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 255, 255];
    stream.write_all(&question).await.unwrap();
    let mut answer = [0; 8];
    // Refused, it may end with a reset.
    timeout(Duration::from_secs(20), stream.read(&mut answer)).await.unwrap().unwrap_or(0)
}

#[tokio::test]
async fn a_client_in_plain_text_is_served_only_where_those_are_trusted() {
    let world = World::new(PlainClients::Refused).await;
    // An alert at the most, which is no answer of the log: that begins with its length and the number.
    assert!(plain(&world).await < 8);
    let unknown = world.client("orders", None).publish("orders", message("a", 1)).await;
    assert!(unknown.is_err(), "{unknown:?}");
    let world = World::new(PlainClients::Trusted).await;
    assert_eq!(plain(&world).await, 8);
    world.client("orders", None).publish("orders", message("a", 1)).await.unwrap();
    world.known("orders", "log").await.publish("orders", message("a", 2)).await.unwrap();
}
