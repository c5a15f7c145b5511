//! An authority, a log behind a door, and who comes to it.

use std::{fs, sync::Arc};

use broker::{
    Around, BoundBroker, Broker, BrokerConfig, Judge, LogDoor, PlainClients, Right, TopicConfig,
    Users,
};
use callers::{Grant, KeyFile};
use identity::{
    AuthorityConfig, Grounds, HandshakeConfig, Handshakes, KeeperConfig, Membership, Office,
    PublicName, PublicTrust, SpiffeId, keep,
};
use messaging::{LogEntrance, LogTls, Messaging, MessagingConfig};
use runtime::{SystemClock, Tasks, random_from_os};
use telemetry::{Telemetry, TelemetryConfig};
use tempfile::TempDir;
use tokio::{
    net::UnixListener,
    sync::watch::{self, Sender},
    time::timeout,
};

use crate::fixture::PATIENCE;

const DOMAIN: &str = "mesh.local";

pub(crate) fn id(service: &str) -> SpiffeId {
    SpiffeId::new(DOMAIN, "shop", service).unwrap()
}

/// An authority, and a log behind a door.
pub(crate) struct World {
    pub(crate) directory: TempDir,
    office: Office,
    pub(crate) tasks: Tasks,
    pub(crate) telemetry: Telemetry,
    users: Sender<Arc<KeyFile>>,
    broker: Option<BoundBroker>,
}

impl World {
    /// With a log at which `orders` may do everything with the topic `orders`, and `reader` may read it,
    /// as a service or as a user. A door that is closed to plain text, or open to it; or none.
    pub(crate) async fn new(plain: PlainClients) -> Self {
        Self::open(Some(plain), |it| it).await
    }

    pub(crate) async fn open(
        plain: Option<PlainClients>,
        bounds: impl FnOnce(BrokerConfig) -> BrokerConfig,
    ) -> Self {
        let directory = TempDir::new().unwrap();
        let clock = SystemClock::shared();
        let telemetry = Telemetry::new(TelemetryConfig::default(), clock.clone());
        let state = directory.path().join("authority.json");
        let config = AuthorityConfig::default();
        let office = Office::open(config, DOMAIN, state, clock.clone(), &telemetry).unwrap();
        office.call_also(id("log"), PublicName::of_host("127.0.0.1").into_iter().collect());
        let tasks = Tasks::new();
        let socket = UnixListener::bind(directory.path().join("authority.sock")).unwrap();
        office.serve(socket, &tasks);
        let (users, keys) = watch::channel(Arc::default());
        let mut world = Self { directory, office, tasks, telemetry, users, broker: None };
        let judge = Judge::new(|caller, right, name, _| match caller.service() {
            "orders" => right != Right::Administer && name.starts_with("orders"),
            "reader" => right == Right::Consume && name == "orders",
            "watcher" => right == Right::Describe,
            "committer" => right == Right::Group,
            _ => false,
        });
        let door = match plain {
            Some(plain) => Some(LogDoor { handshakes: world.joined("log").await, judge, plain }),
            None => None,
        };
        let topic = TopicConfig {
            name: "orders".to_owned(),
            partitions: 2,
            synced: true,
            retention_ms: None,
            retention_bytes: None,
        };
        let config = bounds(BrokerConfig {
            topics: vec![topic],
            ..BrokerConfig::new(world.directory.path().join("log"))
        });
        let users = Users::new(keys, DOMAIN, clock.clone());
        let around = Around { door, users: Some(users), witness: None };
        let tasks = &world.tasks;
        let broker = Broker::start_within(around, config, clock, &world.telemetry, tasks);
        world.broker = Some(broker.unwrap());
        world
    }

    /// Makes a user; gives its secret.
    pub(crate) fn user(&self, name: &str) -> String {
        let principal = name.parse().unwrap();
        let grant = Grant { principal, roles: Vec::new(), expires_at: None };
        let mut secret = String::new();
        self.users.send_modify(|file| {
            let drawn = Arc::make_mut(file).create(grant, SystemClock::shared().now()).unwrap();
            secret = drawn.key.reveal().to_owned();
        });
        secret
    }

    /// Takes every secret of everybody back.
    pub(crate) fn revoke_all(&self) {
        self.users.send_modify(|file| {
            for id in file.keys().iter().map(|it| it.sha256.id()).collect::<Vec<_>>() {
                Arc::make_mut(file).revoke(&id, SystemClock::shared().now()).unwrap();
            }
        });
    }

    /// Whoever proves to be who the authority of this world vouches for.
    pub(crate) fn trust(&self) -> PublicTrust {
        let path = self.directory.path().join("anchors.pem");
        fs::write(&path, self.office.standing().bundle.anchors.concat()).unwrap();
        PublicTrust::load(Some(&path)).unwrap()
    }

    /// Handshakes of a process that has joined under this name.
    pub(crate) async fn joined(&self, service: &str) -> Handshakes {
        let token =
            self.office.draw_token(id(service), rustix::process::getuid().as_raw()).unwrap();
        self.office.bind_token(&token, std::process::id()).unwrap();
        let authority = self.directory.path().join("authority.sock");
        let membership = Membership { authority, id: id(service), grounds: Grounds::Token(token) };
        let (clock, telemetry) = (SystemClock::shared(), Telemetry::disabled());
        let (config, random) = (KeeperConfig::default(), random_from_os());
        let mut current = keep(config, membership, clock.clone(), random, &telemetry, &self.tasks);
        let handshakes =
            Handshakes::new(&HandshakeConfig::default(), current.clone(), clock, &telemetry);
        timeout(PATIENCE, current.wait_for(Option::is_some)).await.unwrap().unwrap();
        handshakes
    }

    pub(crate) fn address(&self) -> String {
        self.broker.as_ref().unwrap().address.to_string()
    }

    pub(crate) fn client(&self, name: &str, entrance: LogEntrance) -> Messaging {
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
        Messaging::entering(entrance, config, clock, telemetry, &self.tasks)
    }

    /// A client that shows this name, and takes the log for that service.
    pub(crate) async fn known(&self, name: &str, log: &str) -> Messaging {
        let tls = LogTls { handshakes: self.joined(name).await, log: id(log) };
        self.client(name, LogEntrance::Identity(tls))
    }
}
