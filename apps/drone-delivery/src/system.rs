//! A running system, as the commands see it: its services over HTTP, its log.

use std::{path::Path, time::Duration};

use base::Code;
use http::{Method, StatusCode};
use messaging::{Messaging, MessagingConfig};
use runtime::{SystemClock, Tasks};
use serde_json::Value;
use service_kit::{Call, CallError, CallReply, Client};
use skein::{Exit, Failure, failure};
use telemetry::{Telemetry, TelemetryConfig};

use crate::{addresses::addresses, roles::Role, settings::Settings};

/// Longest wait for one answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for an answer to a question that may be asked again: what hangs may have been started
/// anew by then.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
const ASKS_MAX: u32 = 4;

/// The system of a data directory.
#[derive(Debug)]
pub(crate) struct System {
    client: Client,
    telemetry: Telemetry,
    tasks: Tasks,
    // Boxed: every command holds one while it waits.
    settings: Box<Settings>,
}

impl System {
    /// Finds it by the settings that `up` left there. Whether it runs shows at the first call.
    pub(crate) fn of(data: &Path) -> Result<Self, Failure> {
        let settings = Settings::of(data)?.ok_or_else(|| {
            Failure::new("not_running", format!("nothing runs in {}", data.display()))
                .exit(Exit::Unreachable)
                .next("drone-delivery up")
        })?;
        let quiet = TelemetryConfig { traces_per_second: 0, ..TelemetryConfig::default() };
        let telemetry = Telemetry::new(quiet, SystemClock::shared());
        let client = Client::new(addresses(&settings), TIMEOUT, telemetry.clone());
        Ok(Self { client, telemetry, tasks: Tasks::new(), settings: Box::new(settings) })
    }

    /// Calls a service; any status is a reply.
    pub(crate) async fn call(&self, call: Call) -> Result<CallReply, CallError> {
        self.client.call(call).await
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

    /// The log.
    pub(crate) fn messaging(&self) -> Messaging {
        let config = MessagingConfig {
            bootstrap: vec![Role::Broker.address(&self.settings).to_string()],
            client_id: "drone-delivery".to_owned(),
            ..MessagingConfig::default()
        };
        Messaging::new(config, SystemClock::shared(), self.telemetry.clone(), &self.tasks)
    }
}

/// What a service said no with.
fn refusal(service: &str, reply: &CallReply) -> Failure {
    let exit = if reply.status == StatusCode::NOT_FOUND { Exit::NotFound } else { Exit::Failed };
    let what = format!("{service} answered {}", reply.status.as_u16());
    match reply.problem() {
        Some(problem) => Failure::new(problem.code, what).because(problem.detail),
        None => Failure::new("refused", what),
    }
    .exit(exit)
}
