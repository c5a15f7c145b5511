//! The doors of services that let in those alone who show who they are: a test comes in as an operator.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use identity::{
    AuthorityConfig, Grounds, HandshakeConfig, Handshakes, JoinToken, KeeperConfig, Membership,
    Office, Protocol, SpiffeId, keep,
};
use runtime::{SystemClock, Tasks, random_from_os};
use serde_json::Value;
use skein::supervise::control::{Ask, ask};
use telemetry::Telemetry;
use tempfile::TempDir;
use tokio::{
    net::{TcpStream, UnixListener},
    sync::OnceCell,
};

const DOMAIN: &str = "drone-delivery";

/// The services at their ports, counted from 101.
pub(crate) const SERVICES: [&str; 9] = [
    "ingestion",
    "scheduler",
    "supervisor",
    "account",
    "delivery",
    "package",
    "drone",
    "third-party-transport",
    "history",
];

/// The doors of one system; clones share the identity that they are entered with.
#[derive(Debug, Clone)]
pub(crate) struct Doors {
    data: PathBuf,
    port_base: u16,
    known: Arc<OnceCell<Known>>,
}

#[derive(Debug)]
struct Known {
    handshakes: Handshakes,
    tasks: Tasks,
}

/// Where a key lies in a data directory that a test has made, where the profile makes none.
pub(crate) const OWN_KEY: &str = "edge/tests.key";

/// That key, where there is one.
pub(crate) fn own_key(data: &Path) -> Option<PathBuf> {
    Some(data.join(OWN_KEY)).filter(|it| it.exists())
}

/// The token of the page, where it asks.
pub(crate) fn page_token(data: &Path) -> Option<String> {
    let token = std::fs::read_to_string(data.join("edge/page.token")).ok()?;
    Some(token.trim().to_owned())
}

/// The identity of a service of the system.
pub(crate) fn id(service: &str) -> SpiffeId {
    SpiffeId::new(DOMAIN, "default", service).unwrap()
}

impl Doors {
    pub(crate) fn of(data: PathBuf, port_base: u16) -> Self {
        Self { data, port_base, known: Arc::default() }
    }

    /// The service behind a port, where its door asks who comes in.
    pub(crate) fn strict(&self, port: u16) -> Option<&'static str> {
        let offset = port.checked_sub(self.port_base)?.checked_sub(101)?;
        let service = SERVICES.get(usize::from(offset))?;
        let settings = std::fs::read(self.data.join("settings.json")).ok()?;
        let settings: Value = serde_json::from_slice(&settings).ok()?;
        (settings["tls"] == "strict").then_some(service)
    }

    /// What is shown at a port where it is the gateway's, the page's, or a free one, as operators' ports are.
    pub(crate) fn key(&self, port: u16) -> Option<HeaderValue> {
        if port == self.port_base {
            let token = page_token(&self.data)?;
            return Some(HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
        }
        if !(self.port_base..self.port_base.saturating_add(500)).contains(&port) {
            let token = std::fs::read_to_string(self.data.join("edge/operators.token")).ok()?;
            return Some(HeaderValue::from_str(&format!("Bearer {}", token.trim())).unwrap());
        }
        let is_gateway = port.checked_sub(self.port_base) == Some(80);
        let made = || own_key(&self.data).unwrap_or_else(|| self.data.join("edge/demo.key"));
        let key = is_gateway.then(|| std::fs::read_to_string(made()))?.ok()?;
        Some(HeaderValue::from_str(&format!("Bearer {}", key.trim())).unwrap())
    }

    /// Sends one request over a connection of its own.
    pub(crate) async fn send(
        &self,
        service: &str,
        port: u16,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, String> {
        let known = self.known.get_or_try_init(|| self.join()).await?;
        let stream = TcpStream::connect(("127.0.0.1", port)).await.map_err(|it| it.to_string())?;
        let stream = known.handshakes.connect(stream, &id(service), Protocol::Http1).await;
        let stream = stream.map_err(|it| it.to_string())?.stream;
        let opened = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = opened.map_err(|it| it.to_string())?;
        // What breaks it is told to whoever sends.
        known.tasks.spawn("call", |_| async move { drop(connection.await) });
        let (mut parts, body) = request.into_parts();
        let host = format!("127.0.0.1:{port}");
        parts.headers.entry(header::HOST).or_insert(HeaderValue::from_str(&host).unwrap());
        let path = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        parts.uri = path.parse().unwrap();
        sender.send_request(Request::from_parts(parts, body)).await.map_err(|it| format!("{it:?}"))
    }

    /// Who may enter the data directory is an operator.
    async fn join(&self) -> Result<Known, String> {
        let answer = ask(&self.data, &Ask::Join).await.map_err(|it| it.to_string())?;
        let token = answer.word.and_then(|it| JoinToken::parse(&it)).ok_or("no word came")?;
        joined("operator", token, self.data.join("authority.sock")).await
    }
}

/// Joins at an authority's socket.
async fn joined(service: &str, token: JoinToken, authority: PathBuf) -> Result<Known, String> {
    let membership = Membership { authority, id: id(service), grounds: Grounds::Token(token) };
    let (clock, telemetry, tasks) = (SystemClock::shared(), Telemetry::disabled(), Tasks::new());
    let config = KeeperConfig::default();
    let mut current = keep(config, membership, clock.clone(), random_from_os(), &telemetry, &tasks);
    let config = HandshakeConfig::default();
    let handshakes = Handshakes::new(&config, current.clone(), clock, &telemetry);
    current.wait_for(Option::is_some).await.map_err(|it| it.to_string())?;
    Ok(Known { handshakes, tasks })
}

/// Whoever has the keys of a system's authority, and so any identity: what nobody but a test does.
#[derive(Debug)]
pub(crate) struct Forger {
    folder: TempDir,
    office: Office,
    _tasks: Tasks,
}

impl Forger {
    /// With a copy of the keys in a data directory.
    pub(crate) fn of(data: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("authority.json");
        std::fs::copy(data.join("identity").join("authority.json"), &state).unwrap();
        let (clock, telemetry) = (SystemClock::shared(), Telemetry::disabled());
        let config = AuthorityConfig::default();
        let office = Office::open(config, DOMAIN, state, clock, &telemetry).unwrap();
        let tasks = Tasks::new();
        office.serve(UnixListener::bind(folder.path().join("authority.sock")).unwrap(), &tasks);
        Self { folder, office, _tasks: tasks }
    }

    /// Connections that show this service's identity.
    pub(crate) async fn caller(&self, service: &str) -> Caller {
        let uid = rustix::process::getuid().as_raw();
        let token = self.office.draw_token(id(service), uid).unwrap();
        self.office.bind_token(&token, std::process::id()).unwrap();
        let authority = self.folder.path().join("authority.sock");
        Caller(joined(service, token, authority).await.unwrap())
    }
}

/// Calls services under one identity.
#[derive(Debug)]
pub(crate) struct Caller(Known);

impl Caller {
    /// A connection to a service that is kept for many calls.
    pub(crate) async fn open(&self, service: &str, port: u16) -> Line {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let known = self.0.handshakes.connect(stream, &id(service), Protocol::Http1).await;
        let opened = http1::handshake(TokioIo::new(known.unwrap().stream)).await;
        let (sender, connection) = opened.unwrap();
        self.0.tasks.spawn("line", |_| async move { drop(connection.await) });
        Line(sender)
    }
}

/// One connection, one call after the other.
#[derive(Debug)]
pub(crate) struct Line(http1::SendRequest<Full<Bytes>>);

impl Line {
    /// The status of an answer whose body ends.
    pub(crate) async fn status(&mut self, path: &str, fields: &[(&str, &str)]) -> u16 {
        let mut request = Request::builder().uri(path).header(header::HOST, "door");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let answer = self.0.send_request(request.body(Full::default()).unwrap()).await.unwrap();
        let status = answer.status().as_u16();
        drop(answer.into_body().collect().await);
        status
    }

    /// Whether the door lets a call in. The connection is good for another one only where it does not:
    /// nobody waits for the end of an answer that may be a stream.
    pub(crate) async fn lets_in(&mut self, method: &str, path: &str) -> bool {
        let request = Request::builder().method(method).uri(path).header(header::HOST, "door");
        let request = request.body(Full::new(Bytes::new())).unwrap();
        let answer = self.0.send_request(request).await.unwrap();
        if answer.status() != StatusCode::FORBIDDEN {
            return true;
        }
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
        // What a service itself forbids, its door has let in.
        problem["code"] != "forbidden"
    }
}
