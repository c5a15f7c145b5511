//! A broker, services that answer as they are told, and the service between them.

use std::{
    collections::BTreeMap,
    future::Future,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
};
use broker::{BoundBroker, Broker, BrokerConfig, TopicConfig};
use contracts::topics;
use messaging::{Messaging, MessagingConfig};
use runtime::{SystemClock, Tasks};
use serde_json::Value;
use service_kit::{Call, Client, ServiceAddresses, ServiceConfig, ServiceContext};
use telemetry::Telemetry;
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    time::{Instant, sleep},
};

/// For what comes in the end, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(90);
/// The services that the workflows call.
const SERVICES: [&str; 5] = ["account", "third-party-transport", "package", "drone", "delivery"];

/// A call that a service got.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    pub(crate) line: String,
    pub(crate) key: String,
}

/// Answers by the beginning of `METHOD path`; the rest is answered with 200 and an id.
#[derive(Debug, Default)]
pub(crate) struct Script {
    pub(crate) answers: BTreeMap<String, (u16, &'static str)>,
    pub(crate) got: Vec<Got>,
}

pub(crate) type Participants = Arc<Mutex<Script>>;

pub(crate) struct Fixture {
    pub(crate) directory: TempDir,
    pub(crate) participants: Participants,
    pub(crate) messaging: Messaging,
    pub(crate) tasks: Tasks,
    address: SocketAddr,
    _broker: BoundBroker,
    services: ServiceAddresses,
}

async fn answer(
    State(script): State<Participants>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> (StatusCode, &'static str) {
    let line = format!("{method} {uri}");
    let key = headers.get("idempotency-key").and_then(|it| it.to_str().ok()).unwrap_or("");
    let mut script = script.lock().unwrap();
    let found = script.answers.iter().find(|it| line.starts_with(it.0.as_str()));
    let (status, text) = found.map_or((200, "d-7"), |it| *it.1);
    script.got.push(Got { line, key: key.to_owned() });
    (StatusCode::from_u16(status).unwrap(), text)
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        let (directory, tasks) = (tempfile::tempdir().unwrap(), Tasks::new());
        let topic = |it: &topics::Topic| TopicConfig {
            name: it.name.to_owned(),
            partitions: 1,
            synced: true,
            retention_ms: None,
            retention_bytes: None,
        };
        let config = BrokerConfig {
            topics: topics::ALL.iter().map(topic).collect(),
            segment_bytes: 1 << 20,
            partitions_default: 1,
            ..BrokerConfig::new(directory.path().join("broker"))
        };
        let clock = SystemClock::shared();
        let broker = Broker::start(config, clock.clone(), &Telemetry::disabled(), &tasks).unwrap();
        let config = MessagingConfig {
            bootstrap: vec![broker.address.to_string()],
            ..MessagingConfig::default()
        };
        let messaging = Messaging::new(config, clock, Telemetry::disabled(), &tasks);
        let participants = Participants::default();
        participants.lock().unwrap().answers.extend([
            ("GET /api/account".to_owned(), (200, "true")),
            ("PUT /api/thirdpartydeliveries".to_owned(), (200, "false")),
        ]);
        let router = Router::new().fallback(answer).with_state(Arc::clone(&participants));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tasks.spawn("participants", |shutdown| async move {
            shutdown.or_cancel(axum::serve(listener, router).into_future()).await;
        });
        let services = SERVICES.into_iter().map(|it| (it, url.clone())).collect();
        Self {
            directory,
            participants,
            messaging,
            tasks,
            address: broker.address,
            _broker: broker,
            services,
        }
    }

    pub(crate) fn context(&self, role: &str, instance: &str) -> ServiceContext {
        let mut config = ServiceConfig::new(role, instance, self.directory.path().join(role));
        config.bootstrap = vec![self.address.to_string()];
        config.services = self.services.clone();
        let telemetry = Telemetry::disabled();
        ServiceContext::new(config, SystemClock::shared(), telemetry, self.tasks.clone())
    }

    pub(crate) fn answer(&self, line: &str, status: u16, text: &'static str) {
        self.participants.lock().unwrap().answers.insert(line.to_owned(), (status, text));
    }

    pub(crate) fn got(&self) -> Vec<Got> {
        self.participants.lock().unwrap().got.clone()
    }

    /// Every message of a topic.
    pub(crate) async fn said(&self, topic: &str) -> Vec<Value> {
        let read = self.messaging.read(topic, 0, 0, 1_000).await.unwrap_or_default();
        read.iter().map(|it| serde_json::from_slice(&it.message.body).unwrap()).collect()
    }

    /// Waits for a message of a topic.
    pub(crate) async fn hears(&self, topic: &str, holds: impl Fn(&Value) -> bool) -> Value {
        until(topic, || async { self.said(topic).await.into_iter().find(|it| holds(it)) }).await
    }
}

/// Asks the service under test over HTTP.
pub(crate) async fn ask(
    url: &str,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> (u16, Value) {
    let services = ServiceAddresses::new().with("it", url);
    let client = Client::new(services, Duration::from_secs(5), Telemetry::disabled());
    let mut call = Call::new("it", method, path.to_owned());
    if let Some(body) = body {
        call = call.json(body);
    }
    let reply = client.call(call).await.unwrap();
    (reply.status.as_u16(), reply.json().unwrap_or_default())
}

/// Waits until `probe` finds something; fails with what was waited for.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut probe: impl FnMut() -> F,
) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}
