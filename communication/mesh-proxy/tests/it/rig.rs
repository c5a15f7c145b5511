//! A proxy between clients and backends of hyper, over real sockets.

use std::{collections::VecDeque, convert::Infallible, io, net::SocketAddr, pin::Pin, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, combinators::BoxBody};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
    server,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mesh_policy::{
    Policy,
    destination::{Endpoint, EndpointSet, Protocol},
};
use mesh_proxy::{
    Door, Forward, Limits, Mesh, Outbound, Site, Way,
    downstream::{Sharing, listen, serve},
};
use runtime::{Drained, Tasks};
use telemetry::Telemetry;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
};

/// A body of a test.
pub(crate) type TestBody = BoxBody<Bytes, io::Error>;
type Answering = Pin<Box<dyn Future<Output = Response<TestBody>> + Send>>;
type Answers = Arc<dyn Fn(Request<Incoming>) -> Answering + Send + Sync>;

/// Frames one after another, each when it is asked for.
pub(crate) struct Frames(pub(crate) VecDeque<Frame<Bytes>>);

impl Body for Frames {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        std::task::Poll::Ready(self.0.pop_front().map(Ok))
    }
}

/// Frames that a test sends; an error breaks the body.
pub(crate) struct Piped(pub(crate) mpsc::Receiver<Result<Frame<Bytes>, io::Error>>);

impl Body for Piped {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.0.poll_recv(context)
    }
}

pub(crate) fn piped() -> (mpsc::Sender<Result<Frame<Bytes>, io::Error>>, TestBody) {
    let (sender, receiver) = mpsc::channel(1);
    (sender, Piped(receiver).boxed())
}

pub(crate) fn empty() -> TestBody {
    Frames(VecDeque::new()).boxed()
}

pub(crate) fn text(bytes: impl Into<Bytes>) -> TestBody {
    http_body_util::Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed()
}

/// Data, then trailers.
pub(crate) fn with_trailers(
    pieces: &[&'static str],
    trailers: &[(&'static str, &str)],
) -> TestBody {
    let mut frames: VecDeque<_> =
        pieces.iter().map(|it| Frame::data(Bytes::from_static(it.as_bytes()))).collect();
    frames.push_back(Frame::trailers(map(trailers)));
    Frames(frames).boxed()
}

pub(crate) fn map(fields: &[(&'static str, &str)]) -> HeaderMap {
    fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

/// A server behind the proxy.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    _tasks: JoinSet<()>,
}

/// Serves until it is dropped.
pub(crate) async fn backend<F, A>(protocol: Protocol, answer: F) -> Backend
where
    F: Fn(Request<Incoming>) -> A + Send + Sync + 'static,
    A: Future<Output = Response<TestBody>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answers: Answers = Arc::new(move |request| Box::pin(answer(request)));
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            // Else its word on windows waits for our acknowledgement, and that for a timer.
            stream.set_nodelay(true).unwrap();
            let answers = Arc::clone(&answers);
            connections.spawn(async move {
                let io = TokioIo::new(stream);
                let service = service_fn(move |request| {
                    let answering = answers(request);
                    async move { Ok::<_, Infallible>(answering.await) }
                });
                // How a connection ends is judged by what came of its requests.
                let _ended = match protocol {
                    Protocol::Http2 => {
                        server::conn::http2::Builder::new(TokioExecutor::new())
                            .serve_connection(io, service)
                            .await
                    }
                    Protocol::Http1 | Protocol::Tcp => {
                        server::conn::http1::Builder::new().serve_connection(io, service).await
                    }
                };
            });
        }
    });
    Backend { address, _tasks: tasks }
}

/// A policy with one service, `back`.
pub(crate) fn policy(protocol: Protocol, addresses: &[SocketAddr]) -> Policy {
    let endpoint = |address: &SocketAddr| Endpoint {
        address: *address,
        instance: None,
        version: None,
        weight: 1,
        identity: None,
    };
    let endpoints = addresses.iter().map(endpoint).collect();
    let mut policy = Policy::default();
    policy.endpoints.insert("back".to_owned(), EndpointSet { protocol, endpoints });
    policy
}

/// A proxy with one door.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    pub(crate) telemetry: Telemetry,
    tasks: Tasks,
}

impl Proxy {
    pub(crate) fn start(policy: Policy) -> Self {
        Self::with(policy, Limits::default())
    }

    pub(crate) fn with(policy: Policy, limits: Limits) -> Self {
        Self::behind(policy, limits, |outbound| {
            Forward::new(outbound, Way::To(Door::Service("back".to_owned())))
        })
    }

    pub(crate) fn behind(
        policy: Policy,
        limits: Limits,
        handler: impl FnOnce(Outbound) -> Forward,
    ) -> Self {
        let (telemetry, tasks) = (Telemetry::disabled(), Tasks::new());
        let mesh = Mesh::new("test", policy, &telemetry).unwrap();
        let site = Site::new("door", handler(Outbound::new(mesh)), limits, &telemetry);
        let listener = listen("127.0.0.1:0".parse().unwrap(), Sharing::Exclusive).unwrap();
        let address = listener.local_addr().unwrap();
        serve(Arc::new(site), listener, std::time::Duration::ZERO, &tasks);
        Self { address, telemetry, tasks }
    }

    pub(crate) async fn h2(&self) -> http2::SendRequest<TestBody> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        hyper::rt::Executor::execute(&TokioExecutor::new(), async move {
            // How it ends is judged by what comes of its requests.
            let _ended = connection.await;
        });
        sender
    }

    pub(crate) async fn h1(&self) -> http1::SendRequest<TestBody> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        hyper::rt::Executor::execute(&TokioExecutor::new(), async move {
            // How it ends is judged by what comes of its requests.
            let _ended = connection.with_upgrades().await;
        });
        sender
    }

    /// The value of a series, 0 where there is none.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let all = self.telemetry.metrics().encode();
        let line = all.lines().find_map(|it| it.strip_prefix(series));
        line.map_or(0.0, |it| it.trim().parse().unwrap())
    }

    pub(crate) fn tell_to_stop(&self) {
        self.tasks.stop();
    }

    pub(crate) async fn drain(&self) -> Drained {
        self.tasks.drain(std::time::Duration::from_secs(20)).await
    }

    pub(crate) fn panics(&self) -> u64 {
        self.tasks.panics()
    }
}

/// A request to the door; over HTTP/1 the path alone counts.
pub(crate) fn request(method: &str, path: &str, body: TestBody) -> Request<TestBody> {
    Request::builder()
        .method(method)
        .uri(format!("http://back{path}"))
        .header("host", "back")
        .body(body)
        .unwrap()
}

/// Status, body and trailers.
pub(crate) async fn read(response: Response<Incoming>) -> (u16, Bytes, Option<HeaderMap>) {
    let status = response.status().as_u16();
    let collected = response.into_body().collect().await.unwrap();
    let trailers = collected.trailers().cloned();
    (status, collected.to_bytes(), trailers)
}

/// Waits for a condition, ten seconds at the longest.
#[track_caller]
pub(crate) fn until(mut holds: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let waiting = async {
            while !holds() {
                tokio::task::yield_now().await;
            }
        };
        let waited = tokio::time::timeout(std::time::Duration::from_secs(10), waiting).await;
        assert!(waited.is_ok(), "waited in vain at {caller}");
    }
}

/// Passes bytes on to a backend and tells of each connection.
pub(crate) async fn counted_relay(to: SocketAddr, dialled: mpsc::UnboundedSender<()>) -> Backend {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut near, _)) = listener.accept().await {
            dialled.send(()).unwrap();
            connections.spawn(async move {
                let mut far = TcpStream::connect(to).await.unwrap();
                // Whichever side ends it is judged by its own peer.
                let _ended = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    Backend { address, _tasks: tasks }
}
