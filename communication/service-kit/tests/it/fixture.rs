//! A service on free ports, and a raw connection to it.

use std::{net::SocketAddr, time::Duration};

use runtime::{SystemClock, Tasks};
use service_kit::{Bound, Health, Routes, Service, ServiceConfig, ServiceContext};
use telemetry::{Telemetry, TelemetryConfig};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// Nothing here takes so long; a test that hangs fails instead.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Fixture {
    pub(crate) bound: Bound,
    pub(crate) context: ServiceContext,
}

pub(crate) fn context(change: impl FnOnce(&mut ServiceConfig)) -> ServiceContext {
    let mut config = ServiceConfig::new("orders", "orders-1", "/nonexistent");
    config.drain_delay = Duration::ZERO;
    change(&mut config);
    let clock = SystemClock::shared();
    let settings = TelemetryConfig { seed: Some(7), ..TelemetryConfig::default() };
    let telemetry = Telemetry::new(settings, clock.clone());
    ServiceContext::new(config, clock, telemetry, Tasks::new())
}

pub(crate) fn start(routes: Routes<()>, change: impl FnOnce(&mut ServiceConfig)) -> Fixture {
    let context = context(change);
    let bound = Service::new(routes).health(Health::new()).serve(&context).unwrap();
    Fixture { bound, context }
}

impl Fixture {
    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await
    }

    /// Sends raw text on a connection of its own and reads until the other side closes.
    pub(crate) async fn send(&self, request: &str) -> Reply {
        Reply::parse(&exchange(self.bound.http, request).await)
    }

    pub(crate) async fn admin(&self, method: &str, path: &str, body: &str) -> Reply {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        Reply::parse(&exchange(self.bound.admin, &request).await)
    }

    pub(crate) fn metrics(&self) -> String {
        self.context.telemetry.metrics().encode()
    }
}

pub(crate) async fn exchange(address: SocketAddr, request: &str) -> String {
    let work = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // The other side may refuse before it has read everything.
        drop(stream.write_all(request.as_bytes()).await);
        let mut reply = Vec::new();
        drop(stream.read_to_end(&mut reply).await);
        String::from_utf8_lossy(&reply).into_owned()
    };
    timeout(PATIENCE, work).await.expect("no end of the reply")
}

pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head.split(' ').nth(1).and_then(|it| it.parse().ok()).unwrap_or(0);
        Self { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")))
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|it| panic!("{it}: {}", self.body))
    }
}
