//! The service and who asks it.

use account_service::{AccountConfig, run};
use http::Method;
use runtime::{SystemClock, Tasks};
use serde_json::Value;
use service_kit::{Call, CallReply, Client, ServiceAddresses, ServiceConfig, ServiceContext};
use telemetry::Telemetry;

pub(crate) struct Service {
    client: Client,
    _directory: tempfile::TempDir,
}

impl Service {
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = ServiceConfig::new("account", "account-1", directory.path());
        let quiet = Telemetry::disabled();
        let context =
            ServiceContext::new(config, SystemClock::shared(), quiet.clone(), Tasks::new());
        let bound = run(context, AccountConfig::default()).await.unwrap();
        let services = ServiceAddresses::new().with("account", bound.http_url());
        let client = Client::new(services, std::time::Duration::from_secs(5), quiet);
        Self { client, _directory: directory }
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<Value>) -> CallReply {
        let mut call = Call::new("account", method, path.to_owned());
        if let Some(body) = body {
            call = call.json(&body);
        }
        self.client.call(call).await.unwrap()
    }

    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> (u16, Value) {
        let reply = self.send(method, path, body).await;
        (reply.status.as_u16(), reply.json().unwrap_or_default())
    }
}
