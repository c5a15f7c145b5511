//! A broker, services that answer as they are told, and the service between them.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
};
use base::Timestamp;
use broker::{BoundBroker, Broker, BrokerConfig, TopicConfig};
use contracts::topics;
use messaging::{Message, Messaging, MessagingConfig};
use runtime::{SystemClock, Tasks};
use saga::Definition;
use scheduler_service::{Bounds, definitions};
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
fn services() -> BTreeSet<String> {
    let all = every_workflow();
    all.iter().flat_map(|it| it.steps()).map(|it| it.service.clone()).collect()
}

/// Every workflow, with bounds that say nothing: for who looks at its steps.
pub(crate) fn every_workflow() -> Vec<Definition> {
    let bounds = Bounds {
        complete_by_ms: 1,
        cancel_complete_by_ms: 1,
        hand_over_complete_by_ms: 1,
        undo_attempts_max: 1,
        call_timeout_ms: 1,
    };
    definitions(bounds).unwrap()
}

/// Who flies, as the Drone service says it.
pub(crate) const DRONE: &str = r#"{"droneId":"d-7"}"#;

/// In the place of a status: the call is never answered.
pub(crate) const SILENCE: u16 = 0;

/// A call that a service got.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    pub(crate) line: String,
    pub(crate) key: String,
    pub(crate) body: Value,
    pub(crate) at: Instant,
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
    body: Bytes,
) -> (StatusCode, &'static str) {
    let line = format!("{method} {uri}");
    let key = headers.get("idempotency-key").and_then(|it| it.to_str().ok()).unwrap_or("");
    let body = serde_json::from_slice(&body).unwrap_or_default();
    let (status, text) = {
        let mut script = script.lock().unwrap();
        let found = script.answers.iter().find(|it| line.starts_with(it.0.as_str()));
        let answer = found.map_or((200, "d-7"), |it| *it.1);
        script.got.push(Got { line, key: key.to_owned(), body, at: Instant::now() });
        answer
    };
    if status == SILENCE {
        return std::future::pending().await;
    }
    (StatusCode::from_u16(status).unwrap(), text)
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        let participants = Participants::default();
        participants.lock().unwrap().answers.extend([
            ("GET /api/account".to_owned(), (200, "true")),
            ("PUT /api/thirdpartydeliveries".to_owned(), (200, "false")),
            ("PUT /api/dronedeliveries".to_owned(), (200, DRONE)),
        ]);
        let router = Router::new().fallback(answer).with_state(Arc::clone(&participants));
        Self { participants, ..Self::calling(router).await }
    }

    /// With other services.
    pub(crate) async fn calling(router: Router) -> Self {
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
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tasks.spawn("participants", |shutdown| async move {
            shutdown.or_cancel(axum::serve(listener, router).into_future()).await;
        });
        let services = services().into_iter().map(|it| (it, url.clone())).collect();
        Self {
            directory,
            participants: Participants::default(),
            messaging,
            tasks,
            address: broker.address,
            _broker: broker,
            services,
        }
    }

    pub(crate) fn context(&self, role: &str, instance: &str) -> ServiceContext {
        self.context_with(role, instance, |_| {})
    }

    pub(crate) fn context_with(
        &self,
        role: &str,
        instance: &str,
        change: impl FnOnce(&mut ServiceConfig),
    ) -> ServiceContext {
        let mut config = ServiceConfig::new(role, instance, self.directory.path().join(role));
        config.bootstrap = vec![self.address.to_string()];
        config.services = self.services.clone();
        change(&mut config);
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

    pub(crate) async fn publish(&self, topic: &str, message: Message) {
        // Its id makes it one, also when the answer to a first try was late.
        until("the log takes a message", || async {
            self.messaging.publish(topic, message.clone()).await.ok()
        })
        .await;
    }
}

pub(crate) fn message(id: &str, key: &str, body: &Value) -> Message {
    Message {
        id: id.to_owned(),
        source: "/test".to_owned(),
        kind: String::new(),
        subject: None,
        time: Timestamp::from_millis(1),
        key: Some(key.to_owned()),
        content_type: "application/json".to_owned(),
        headers: BTreeMap::new(),
        trace: None,
        body: body.to_string().into(),
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
