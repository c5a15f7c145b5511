//! A running system, as the commands see it: its services over HTTP, its log.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use base::Code;
use http::{Method, StatusCode, header};
use identity::{Handshakes, JoinToken, PublicTrust};
use mesh_proxy::{Mesh, Outbound};
use messaging::{Messaging, MessagingConfig};
use runtime::{SystemClock, Tasks};
use serde_json::Value;
use service_kit::{Call, CallError, CallReply, Client, ServiceAddresses};
use skein::{
    Exit, Failure, failure,
    mesh::PolicyFiles,
    supervise::control::{Ask, ask},
};
use telemetry::{Telemetry, TelemetryConfig};
use tokio::{sync::OnceCell, time::timeout};

use crate::{
    addresses::{addresses, https},
    certificates, endpoints,
    identities::{self, Surroundings},
    keys, mesh, page,
    roles::Role,
    settings::{Plain, Settings, Tls},
    up,
};

/// Longest wait for one answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for an answer to a question that may be asked again: what hangs may have been started
/// anew by then.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
const ASKS_MAX: u32 = 4;

/// The system of a data directory.
#[derive(Debug)]
pub(crate) struct System {
    /// Made at the first call where services ask who calls.
    client: OnceCell<Client>,
    /// Of the gateway, where it answers over TLS alone.
    over_tls: Option<Client>,
    data: PathBuf,
    telemetry: Telemetry,
    tasks: Tasks,
    /// What is shown at the gateway.
    key: Option<String>,
    // Boxed: every command holds one while it waits.
    settings: Box<Settings>,
}

impl System {
    /// Finds one that runs by the settings that its `up` left there; these stay when it has ended.
    ///
    /// # Errors
    /// Nothing runs, which is known at once.
    pub(crate) async fn of(data: &Path) -> Result<Self, Failure> {
        up::running(data).await?;
        let settings = Settings::of(data)?.ok_or_else(|| {
            Failure::new("not_running", format!("nothing runs in {}", data.display()))
                .exit(Exit::Unreachable)
                .next("drone-delivery up")
        })?;
        let quiet = TelemetryConfig { traces_per_second: 0, ..TelemetryConfig::default() };
        let telemetry = Telemetry::new(quiet, SystemClock::shared());
        let tasks = Tasks::new();
        let client = match settings.tls {
            Tls::Off => {
                OnceCell::from(Client::new(addresses(&settings), TIMEOUT, telemetry.clone()))
            }
            Tls::Strict => OnceCell::new(),
        };
        let key = keys::shown(data)?;
        let over_tls = match settings.plain() {
            Plain::Serve => None,
            Plain::Redirect => Some(over_tls(&settings, data, &telemetry)),
        };
        let (data, settings) = (data.to_owned(), Box::new(settings));
        Ok(Self { client, over_tls, telemetry, tasks, key, settings, data })
    }

    /// Calls a service; any status is a reply.
    pub(crate) async fn call(&self, call: Call) -> Result<CallReply, CallError> {
        let is_gateway = call.service == Role::Gateway.name();
        let client = match &self.over_tls {
            Some(client) if is_gateway => client,
            Some(_) | None => self.client.get_or_init(|| self.known()).await,
        };
        let call = match page::token(&self.settings, &self.data) {
            Some(token) if call.service == Role::Dashboard.name() => {
                call.header(header::AUTHORIZATION, &format!("Bearer {}", token.reveal()))
            }
            Some(_) | None => call,
        };
        let call = match &self.key {
            Some(key) if is_gateway => call.header(header::AUTHORIZATION, &format!("Bearer {key}")),
            Some(_) | None => call,
        };
        client.call(call).await
    }

    /// A client that shows an operator's identity. Where it comes to none, the calls say why not.
    async fn known(&self) -> Client {
        let policy = mesh::everywhere(PolicyFiles::new(), &self.settings)
            .with_file(endpoints::path(&self.data))
            .read()
            .unwrap_or_default();
        let mesh = Mesh::new(identities::OPERATOR, policy, &self.telemetry)
            .expect("a policy without routes can be compiled");
        if let Some(handshakes) = self.operator().await {
            mesh.know(handshakes);
        }
        Client::over(Outbound::new(mesh), TIMEOUT, &self.telemetry)
    }

    /// Joins as an operator; nobody where no word comes.
    async fn operator(&self) -> Option<Handshakes> {
        let word = ask(&self.data, &Ask::Join).await.ok()?.word?;
        let (data, clock) = (&*self.data, &SystemClock::shared());
        let (telemetry, tasks) = (&self.telemetry, &self.tasks);
        let around = Surroundings { data, clock, telemetry, tasks };
        let token = JoinToken::parse(&word)?;
        let (handshakes, mut current) = identities::join(identities::OPERATOR, token, &around);
        // Late, what is asked is refused for want of an identity, and says so.
        let _late = timeout(TIMEOUT, current.wait_for(Option::is_some)).await;
        Some(handshakes)
    }

    /// Calls a service for a JSON document; everything but success is a failure.
    pub(crate) async fn ask(&self, call: Call) -> Result<Value, Failure> {
        let service = call.service.clone();
        let reply = self.try_again(call).await.map_err(|error| {
            Failure::new("unreachable", format!("{service} does not answer"))
                .because(failure::chain(&error))
                .exit(if matches!(error.code(), Code::UpstreamTimeout) {
                    Exit::TimedOut
                } else {
                    Exit::Unreachable
                })
                .next("drone-delivery ps")
        })?;
        if reply.status.is_success() {
            return Ok(reply.json().unwrap_or(Value::Null));
        }
        Err(refusal(&service, &reply))
    }

    async fn try_again(&self, call: Call) -> Result<CallReply, CallError> {
        if call.method != Method::GET {
            return self.call(call).await;
        }
        let mut tries = 1;
        loop {
            let mut one = call.clone();
            one.timeout = Some(ASK_TIMEOUT);
            match self.call(one).await {
                Err(CallError::TimedOut { .. }) if tries < ASKS_MAX => tries += 1,
                ended => return ended,
            }
        }
    }

    /// The log, entered as an operator where it asks who comes in.
    pub(crate) async fn messaging(&self) -> Messaging {
        let known = match self.settings.tls {
            Tls::Off => None,
            Tls::Strict => self.operator().await,
        };
        let config = MessagingConfig {
            bootstrap: vec![Role::Broker.address(&self.settings).to_string()],
            client_id: "drone-delivery".to_owned(),
            ..MessagingConfig::default()
        };
        let (tls, telemetry) = (known.map(identities::to_log), self.telemetry.clone());
        Messaging::entering(tls, config, SystemClock::shared(), telemetry, &self.tasks)
    }
}

/// A client that says nothing to the gateway before it has shown the certificate that lies in its file.
fn over_tls(settings: &Settings, data: &Path, telemetry: &Telemetry) -> Client {
    let url = format!("https://{}", https(settings));
    let services = ServiceAddresses::new().with(Role::Gateway.name(), url);
    let client = Client::new(services, TIMEOUT, telemetry.clone());
    // Without a file nobody is believed, and the call says so.
    if let Some(certificate) = certificates::shown(settings, data) {
        client.mesh().believe(PublicTrust::only(&certificate));
    }
    client
}

/// What a service said no with.
fn refusal(service: &str, reply: &CallReply) -> Failure {
    let exit = match reply.status {
        StatusCode::NOT_FOUND => Exit::NotFound,
        // What was asked for makes no sense to it.
        StatusCode::BAD_REQUEST => Exit::Usage,
        _ => Exit::Failed,
    };
    let what = format!("{service} answered {}", reply.status.as_u16());
    let failure = match reply.problem() {
        Some(problem) => Failure::new(problem.code, what).because(problem.detail),
        None => Failure::new("refused", what),
    };
    let failure = failure.exit(exit);
    match (reply.status, service) {
        (StatusCode::UNAUTHORIZED, _) => failure.next(keys::advice()),
        (StatusCode::NOT_FOUND, "supervisor") => failure.next("drone-delivery failures list"),
        (StatusCode::NOT_FOUND, "scheduler" | "gateway") => {
            failure.next("drone-delivery saga list")
        }
        _ => failure,
    }
}
