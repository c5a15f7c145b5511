//! A stage for the proxy: backends that play a script and count what they saw, clients that write
//! bytes and read what comes, and the proxy between them in any of its three placements.
//!
//! Nothing here measures time. What must happen is waited for, with [`PATIENCE`] as the end.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::Method;
use mesh_policy::{
    Policy,
    destination::{Attachments, Endpoint, EndpointSet},
    route::{Backend as RuleBackend, Parent, Route, RouteKind, Rule},
};
use mesh_proxy::{
    Context, Door, Forward, Limits, Mesh, Outbound, Reply, Site, Source, Way,
    body::{Upload, Whole},
    downstream::{Sharing, listen, serve},
    head::{RequestHead, Version},
};
use runtime::Tasks;
use telemetry::Telemetry;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    time::timeout,
};

/// The longest that anything is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// The service behind the proxy.
pub(crate) const SERVICE: &str = "stock";
/// The edge before it.
pub(crate) const EDGE: &str = "public";

/// Waits for what must come.
#[track_caller]
pub(crate) fn within<F: Future>(work: F) -> impl Future<Output = F::Output> {
    let place = std::panic::Location::caller();
    async move { timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("nothing came at {place}")) }
}

/// Waits until a condition holds.
#[track_caller]
pub(crate) fn until(mut holds: impl FnMut() -> bool) -> impl Future<Output = ()> {
    within(async move {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
}

/// Where the stack stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placement {
    /// Beside a program: a door to one service.
    Door,
    /// At the edge, behind a route table.
    Edge,
    /// Within a program.
    InProcess,
}

pub(crate) const EVERYWHERE: [Placement; 3] =
    [Placement::Door, Placement::Edge, Placement::InProcess];
pub(crate) const LISTENING: [Placement; 2] = [Placement::Door, Placement::Edge];

/// What stands on the stage.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    pub(crate) endpoints: Vec<SocketAddr>,
    pub(crate) settings: Attachments,
    pub(crate) limits: Limits,
    /// The rule of the route; its backend is filled in.
    pub(crate) rule: Option<Rule>,
}

impl Plan {
    pub(crate) fn to(backends: &[&Backend]) -> Self {
        let endpoints = backends.iter().map(|it| it.address).collect();
        Self { endpoints, ..Self::default() }
    }

    pub(crate) fn policy(&self) -> Policy {
        let rule = Rule {
            backends: vec![RuleBackend {
                service: SERVICE.to_owned(),
                port: None,
                weight: 1,
                filters: Vec::new(),
            }],
            ..self.rule.clone().unwrap_or_default()
        };
        let mut parents = vec![Parent::Gateway { name: EDGE.to_owned(), section: None }];
        if self.rule.is_some() {
            parents.push(Parent::Service { name: SERVICE.to_owned() });
        }
        let route = Route {
            name: "shop/stock".to_owned(),
            kind: RouteKind::Http,
            created: None,
            parents,
            hostnames: Vec::new(),
            rules: vec![rule],
        };
        let endpoint = |address: &SocketAddr| Endpoint {
            address: *address,
            instance: None,
            version: None,
            weight: 1,
            identity: None,
        };
        let endpoints = self.endpoints.iter().map(endpoint).collect();
        let mut policy = Policy { routes: vec![route], ..Policy::default() };
        let set = EndpointSet { endpoints, ..EndpointSet::default() };
        policy.endpoints.insert(SERVICE.to_owned(), set);
        policy.attachments.insert(SERVICE.to_owned(), self.settings.clone());
        policy
    }
}

/// The proxy in its place.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) placement: Placement,
    pub(crate) mesh: Mesh,
    pub(crate) outbound: Outbound,
    pub(crate) telemetry: Telemetry,
    pub(crate) tasks: Tasks,
    pub(crate) site: Arc<Site<Forward>>,
    pub(crate) address: SocketAddr,
}

impl Stage {
    pub(crate) fn new(placement: Placement, plan: &Plan) -> Self {
        Self::with_policy(placement, plan.policy(), plan.limits)
    }

    pub(crate) fn with_policy(placement: Placement, policy: Policy, limits: Limits) -> Self {
        Self::observed(Telemetry::disabled(), placement, policy, limits)
    }

    pub(crate) fn observed(
        telemetry: Telemetry,
        placement: Placement,
        policy: Policy,
        limits: Limits,
    ) -> Self {
        let mesh = Mesh::new("client", policy, &telemetry).unwrap();
        let outbound = Outbound::new(mesh.clone());
        let door = match placement {
            Placement::Edge => Door::Edge(EDGE.to_owned()),
            Placement::Door | Placement::InProcess => Door::Service(SERVICE.to_owned()),
        };
        let handler = Forward::new(outbound.clone(), Way::To(door));
        let site = Arc::new(Site::new("test", handler, limits, &telemetry));
        let tasks = Tasks::new();
        let listener = listen("127.0.0.1:0".parse().unwrap(), Sharing::Exclusive).unwrap();
        let address = listener.local_addr().unwrap();
        serve(Arc::clone(&site), listener, Duration::ZERO, &tasks);
        Self { placement, mesh, outbound, telemetry, tasks, site, address }
    }

    /// A client's connection.
    pub(crate) async fn client(&self) -> Wire {
        Wire::connect(self.address).await
    }

    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.call("GET", target, &[], "").await
    }

    /// One request on a connection of its own, or a call.
    pub(crate) async fn call(
        &self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> Answer {
        let body = body.as_ref();
        if self.placement == Placement::InProcess {
            // Boxed: a request on its way is large.
            return within(Box::pin(self.call_within(method, target, fields, body))).await;
        }
        let mut client = self.client().await;
        client.send(request(method, target, fields, body)).await;
        client.answer_to(method).await
    }

    async fn call_within(
        &self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let head = head(method, target, fields);
        let mut upload = Upload::new(Whole::new(body.to_vec().into()));
        let door = Door::Service(SERVICE.to_owned());
        let reply = self.outbound.call(&door, head, Context::default(), &mut upload).await;
        Answer::of(reply, &mut upload).await
    }

    /// The sum of all series of a family that have these labels.
    pub(crate) fn count(&self, family: &str, labels: &[(&str, &str)]) -> u64 {
        let text = self.telemetry.metrics().encode();
        let has = |line: &str| {
            labels.iter().all(|(name, value)| line.contains(&format!("{name}=\"{value}\"")))
        };
        let of_family = |line: &&str| {
            line.strip_prefix(family).is_some_and(|it| it.starts_with(['{', ' '])) && has(line)
        };
        let value = |line: &str| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
        let sum: f64 = text.lines().filter(of_family).map(value).sum();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        let sum = sum as u64;
        sum
    }
}

pub(crate) fn head(method: &str, target: &str, fields: &[(&str, &str)]) -> RequestHead {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let target = target.to_owned().into();
    let mut head = RequestHead::new(method, Version::Http11, SERVICE.into(), target);
    for (name, value) in fields {
        head.fields.push(name.as_bytes(), value.as_bytes());
    }
    head
}

/// A request's bytes.
pub(crate) fn request(method: &str, target: &str, fields: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{method} {target} HTTP/1.1\r\nHost: {SERVICE}\r\n");
    for (name, value) in fields {
        text += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() {
        text += &format!("Content-Length: {}\r\n", body.len());
    }
    text += "\r\n";
    [text.as_bytes(), body].concat()
}

/// What came back.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether all of the body came.
    pub(crate) is_whole: bool,
    /// Whether it says of itself that the mesh gave it; known within a program alone.
    pub(crate) source: Option<Source>,
}

impl Answer {
    async fn of(mut reply: Reply, upload: &mut Upload<Whole>) -> Self {
        let text = |it: &[u8]| String::from_utf8_lossy(it).into_owned();
        let fields = reply.head.fields.iter();
        let fields = fields.map(|(_, name, value)| (text(name).to_lowercase(), text(value)));
        let fields = fields.collect();
        let (mut body, mut is_whole) = (Vec::new(), true);
        while let Some(piece) =
            std::future::poll_fn(|context| reply.body.poll_piece(context, upload)).await
        {
            match piece {
                Ok(frame) => body.extend_from_slice(frame.data_ref().map_or(&[][..], |it| it)),
                Err(_) => {
                    is_whole = false;
                    break;
                }
            }
        }
        let (status, source) = (reply.head.status.as_u16(), Some(reply.source));
        Self { status, fields, body, is_whole, source }
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        field(&self.fields, name)
    }

    /// The mesh's own code, where the mesh answered.
    pub(crate) fn code(&self) -> Option<&str> {
        self.field("skein-error")
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

fn field<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    fields.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
}

/// A connection's end.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    received: Vec<u8>,
}

/// How a body ends.
enum Length {
    Known(usize),
    Chunked,
    UntilClose,
}

impl Wire {
    pub(crate) const fn new(stream: TcpStream) -> Self {
        Self { stream, received: Vec::new() }
    }

    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = within(TcpStream::connect(address)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::new(stream)
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        within(self.stream.write_all(bytes.as_ref())).await.unwrap();
    }

    pub(crate) async fn answer(&mut self) -> Answer {
        self.answer_to("GET").await
    }

    /// The answer, interim ones left out.
    #[track_caller]
    pub(crate) fn answer_to(&mut self, method: &str) -> impl Future<Output = Answer> {
        let has_body = method != "HEAD";
        within(async move {
            loop {
                let (line, fields) = self.head().await.expect("an answer");
                let status: u16 = line.split(' ').nth(1).unwrap().parse().unwrap();
                if (102..200).contains(&status) {
                    continue;
                }
                let none = !has_body || matches!(status, 100 | 204 | 304);
                let length =
                    if none { Length::Known(0) } else { length(&fields, Length::UntilClose) };
                let (body, is_whole) = self.body(&length).await;
                return Answer { status, fields, body, is_whole, source: None };
            }
        })
    }

    /// Reads until this has come.
    #[track_caller]
    pub(crate) fn hears(&mut self, text: &str) -> impl Future<Output = ()> {
        within(async move {
            while !String::from_utf8_lossy(&self.received).contains(text) {
                assert!(self.more().await, "ended before {text:?}");
            }
            self.received.clear();
        })
    }

    /// Start line and fields; `None` at the end of the connection.
    pub(crate) async fn head(&mut self) -> Option<(String, Vec<(String, String)>)> {
        let end = loop {
            if let Some(at) = self.received.windows(4).position(|it| it == b"\r\n\r\n") {
                break at + 4;
            }
            if !self.more().await {
                return None;
            }
        };
        let block: Vec<u8> = self.received.drain(..end).collect();
        let block = String::from_utf8_lossy(&block).into_owned();
        let mut lines = block.trim_end().split("\r\n");
        let line = lines.next().unwrap().to_owned();
        let parts = lines.map(|it| it.split_once(':').unwrap());
        let fields = parts.map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()));
        Some((line, fields.collect()))
    }

    async fn body(&mut self, length: &Length) -> (Vec<u8>, bool) {
        match length {
            Length::Known(bytes) => match self.take(*bytes).await {
                Some(body) => (body, true),
                None => (std::mem::take(&mut self.received), false),
            },
            Length::Chunked => self.chunks().await,
            Length::UntilClose => {
                let is_whole = self.read_to_end().await;
                (std::mem::take(&mut self.received), is_whole)
            }
        }
    }

    async fn chunks(&mut self) -> (Vec<u8>, bool) {
        let mut body = Vec::new();
        loop {
            let Some(line) = self.line().await else { return (body, false) };
            let size = usize::from_str_radix(&line, 16).unwrap();
            if size == 0 {
                while let Some(line) = self.line().await {
                    if line.is_empty() {
                        return (body, true);
                    }
                }
                return (body, false);
            }
            let Some(piece) = self.take(size + 2).await else {
                body.append(&mut self.received);
                return (body, false);
            };
            body.extend_from_slice(&piece[..size]);
        }
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.received.windows(2).position(|it| it == b"\r\n") {
                let line: Vec<u8> = self.received.drain(..at + 2).collect();
                return Some(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            if !self.more().await {
                return None;
            }
        }
    }

    async fn take(&mut self, bytes: usize) -> Option<Vec<u8>> {
        while self.received.len() < bytes {
            if !self.more().await {
                return None;
            }
        }
        Some(self.received.drain(..bytes).collect())
    }

    /// Whether the connection ended in order; a reset is none.
    async fn read_to_end(&mut self) -> bool {
        loop {
            self.received.reserve(64 << 10);
            match self.stream.read_buf(&mut self.received).await {
                Ok(0) => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    }

    async fn more(&mut self) -> bool {
        self.received.reserve(64 << 10);
        self.stream.read_buf(&mut self.received).await.unwrap_or(0) > 0
    }

    /// Waits for the end of the connection; what came before it.
    #[track_caller]
    pub(crate) fn end(&mut self) -> impl Future<Output = Vec<u8>> {
        within(async move {
            self.read_to_end().await;
            std::mem::take(&mut self.received)
        })
    }
}

fn length(fields: &[(String, String)], otherwise: Length) -> Length {
    match (field(fields, "transfer-encoding"), field(fields, "content-length")) {
        (Some(_), _) => Length::Chunked,
        (None, Some(length)) => Length::Known(length.parse().unwrap()),
        (None, None) => otherwise,
    }
}

/// A request that a backend saw.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) line: String,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) is_whole: bool,
}

impl Seen {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        field(&self.fields, name)
    }
}

/// What a backend does with a request.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// These bytes; the connection stays.
    Say(String),
    /// These bytes, then the end.
    SayAndClose(String),
    /// These bytes, then a reset.
    SayAndReset(String),
    /// Nothing until the proxy goes away.
    Hang,
}

pub(crate) fn ok() -> Act {
    status(200)
}

pub(crate) fn status(status: u16) -> Act {
    Act::Say(format!("HTTP/1.1 {status} Such\r\nContent-Length: 2\r\n\r\nok"))
}

/// What a backend saw.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) connections: usize,
    /// Connections that were ended by the proxy.
    pub(crate) ended: usize,
    pub(crate) requests: Vec<Seen>,
}

/// A backend that plays a script.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    log: Arc<Mutex<Log>>,
    tasks: Tasks,
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

impl Backend {
    /// `act` is told how many requests came before this one.
    pub(crate) async fn new(act: impl Fn(usize, &Seen) -> Act + Send + Sync + 'static) -> Self {
        let act = Arc::new(act);
        Self::wild(move |stream, log| play(stream, log, Arc::clone(&act))).await
    }

    /// A backend that does with a connection what it likes.
    pub(crate) async fn wild<F>(
        handle: impl Fn(TcpStream, Arc<Mutex<Log>>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (log, tasks) = (Arc::new(Mutex::new(Log::default())), Tasks::new());
        let (to, owner) = (Arc::clone(&log), tasks.clone());
        tasks.spawn("backend", move |shutdown| async move {
            while let Some(accepted) = shutdown.or_cancel(listener.accept()).await {
                let stream = accepted.unwrap().0;
                stream.set_nodelay(true).unwrap();
                lock(&to).connections += 1;
                let work = handle(stream, Arc::clone(&to));
                owner.spawn("backend connection", |shutdown| async move {
                    shutdown.or_cancel(work).await;
                });
            }
        });
        Self { address, log, tasks }
    }

    /// Requests that came.
    pub(crate) fn hits(&self) -> usize {
        lock(&self.log).requests.len()
    }

    pub(crate) fn connections(&self) -> usize {
        lock(&self.log).connections
    }

    pub(crate) fn ended(&self) -> usize {
        lock(&self.log).ended
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        lock(&self.log).requests.clone()
    }

    pub(crate) fn last(&self) -> Seen {
        lock(&self.log).requests.last().cloned().expect("a request")
    }
}

pub(crate) fn lock(log: &Mutex<Log>) -> std::sync::MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn play(
    stream: TcpStream,
    log: Arc<Mutex<Log>>,
    act: Arc<impl Fn(usize, &Seen) -> Act + Send + Sync>,
) {
    let mut wire = Wire::new(stream);
    loop {
        let Some((line, fields)) = wire.head().await else { break };
        let (body, is_whole) = wire.body(&length(&fields, Length::Known(0))).await;
        let seen = Seen { line, fields, body, is_whole };
        let act = {
            let mut log = lock(&log);
            let act = act(log.requests.len(), &seen);
            log.requests.push(seen);
            act
        };
        let said = match act {
            Act::Say(text) => wire.stream.write_all(text.as_bytes()).await,
            Act::SayAndClose(text) => return drop(wire.stream.write_all(text.as_bytes()).await),
            Act::SayAndReset(text) => {
                drop(wire.stream.write_all(text.as_bytes()).await);
                return wire.stream.set_zero_linger().unwrap();
            }
            Act::Hang => {
                wire.read_to_end().await;
                break;
            }
        };
        if said.is_err() {
            break;
        }
    }
    lock(&log).ended += 1;
}

/// A port that nobody listens on; it is nobody else's as long as this lives.
#[derive(Debug)]
pub(crate) struct Nobody(TcpSocket);

impl Nobody {
    pub(crate) fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self(socket)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }
}
