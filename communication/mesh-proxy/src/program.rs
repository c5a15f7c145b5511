//! A proxy as a program of its own: its doors, on as many workers as it has.
//!
//! Each worker is a thread with a runtime, listeners and connections of its own: on the path of a
//! request no lock is shared but for moments. The kernel spreads connections over the workers.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    num::NonZeroUsize,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use identity::PublicHandshakes;
use mesh_policy::{
    Policy,
    authorization::Authorization,
    destination::{Attachments, Endpoint, EndpointSet, Protocol},
    path::Slashes,
    proxy::Proxy,
    route::CompileError,
};
use runtime::{Tasks, connections_within_descriptors};
use telemetry::Telemetry;
use tokio::net::TcpListener;

use crate::{
    downstream::{self, Limits, Sharing, Site},
    forward::{Forward, Way},
    guard::Guard,
    mesh::{Door, Mesh},
    outbound::Outbound,
};

/// Why a proxy did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The policy cannot be compiled.
    #[error("the policy cannot be used")]
    Policy(#[source] CompileError),
    /// A worker's thread or runtime cannot be had.
    #[error("a worker cannot start")]
    Worker(#[source] io::Error),
}

/// Where a proxy listens, in the order of its configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bound {
    /// Public listeners.
    pub edges: Vec<SocketAddr>,
    /// Doors for calls of the program.
    pub outbound: Vec<SocketAddr>,
    /// Doors for calls to the program.
    pub inbound: Vec<SocketAddr>,
}

/// A proxy that runs until its tasks are told to stop.
#[derive(Debug)]
pub struct Program {
    /// Where it listens.
    pub bound: Bound,
    /// What its doors for calls to the program go by; whoever follows the sources of policy replaces it
    /// there too.
    pub inbound: Mesh,
    workers: Vec<JoinHandle<()>>,
}

/// One door with what is behind it.
#[derive(Debug, Clone)]
struct Opening {
    name: &'static str,
    listen: SocketAddr,
    way: Way,
    side: Side,
    hosts: Vec<String>,
    spoken: Option<Protocol>,
    /// How an edge over TLS shows who it is.
    presenting: Option<PublicHandshakes>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Edge,
    Outbound,
    Inbound,
}

/// What every worker is given.
#[derive(Debug, Clone)]
struct Plan {
    openings: Vec<Opening>,
    mesh: Mesh,
    inbound: Mesh,
    /// The service whose doors for what comes in these are.
    service: String,
    limits: Limits,
    telemetry: Telemetry,
    tasks: Tasks,
    drain_delay: Duration,
}

/// Time between "not ready" and the end of the doors where a proxy does not say: a balancer learns late.
const DRAIN_DELAY: Duration = Duration::from_millis(200);

impl Program {
    /// Starts the workers; answers when all of them listen. `mesh` holds the policy for what goes
    /// out; whoever follows its sources replaces it there. Where it [knows](Mesh::know) how to show
    /// who we are, the doors for what comes in let in those alone who show who they are. `presented` are the
    /// handshakes of those edges that have a certificate, by their names. Once the tasks are told to stop, the doors
    /// take connections for the proxy's `drain_delay` longer; then requests in flight end.
    ///
    /// # Errors
    /// [`StartError`]; then nothing listens any more once `tasks` are drained.
    pub fn start(
        proxy: &Proxy,
        mesh: &Mesh,
        presented: &BTreeMap<String, PublicHandshakes>,
        limits: Limits,
        telemetry: &Telemetry,
        tasks: &Tasks,
    ) -> Result<Self, StartError> {
        let inbound = application(proxy, &mesh.policy(), telemetry)?;
        if let Some(which) = proxy.access_log {
            mesh.log_accesses(which);
            inbound.log_accesses(which);
        }
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let count = if proxy.workers == 0 { cores } else { proxy.workers };
        // The workers share what the process may have open.
        let within = connections_within_descriptors(usize::MAX) / count.max(1);
        let limits = Limits { connections_max: limits.connections_max.min(within), ..limits };
        let mut plan = Plan {
            openings: openings(proxy, presented),
            mesh: mesh.clone(),
            inbound: inbound.clone(),
            service: proxy.name.clone(),
            limits,
            telemetry: telemetry.clone(),
            tasks: tasks.clone(),
            drain_delay: drain_delay(proxy),
        };
        let mut workers = Vec::new();
        let mut bound = Bound::default();
        for number in 0..count {
            let (worker, addresses) = spawn(number, plan.clone())?;
            workers.push(worker);
            if number == 0 {
                // The others listen where the first one came to listen.
                bound = bound_of(&plan.openings, &addresses);
                for (opening, address) in plan.openings.iter_mut().zip(addresses) {
                    opening.listen = address;
                }
            }
        }
        Ok(Self { bound, inbound, workers })
    }

    /// Waits for the workers, once the tasks were told to stop.
    pub fn join(self) {
        for worker in self.workers {
            // A worker that panicked has said so.
            let _ended = worker.join();
        }
    }
}

/// How long the doors of a proxy still take connections once it is not ready any more.
#[must_use]
pub fn drain_delay(proxy: &Proxy) -> Duration {
    proxy.drain_delay.unwrap_or(DRAIN_DELAY)
}

/// The mesh of one: calls that come in go to the application, once, with the same bounds and measures,
/// and with the rules, limits and faults that stand at the door of the service itself.
fn application(proxy: &Proxy, policy: &Policy, telemetry: &Telemetry) -> Result<Mesh, StartError> {
    let of = proxy.clone();
    let view = move |policy: &Policy| at_door(&of, policy);
    let mesh = Mesh::at_door(&proxy.name, policy, telemetry, view);
    mesh.map_err(StartError::Policy)
}

fn at_door(proxy: &Proxy, policy: &Policy) -> Policy {
    let mut own = Policy::default();
    let of_us = |it: &&Authorization| it.service == proxy.name;
    own.authorizations = policy.authorizations.iter().filter(of_us).cloned().collect();
    let mut settings = policy.destination(&proxy.name);
    settings.retry.attempts = 0;
    settings.breaker.consecutive_failures = 0;
    settings.breaker.success_rate_min = 0.0;
    for (number, inbound) in proxy.inbound.iter().enumerate() {
        let endpoint = Endpoint {
            address: inbound.application,
            instance: Some("application".to_owned()),
            version: None,
            weight: 1,
            identity: None,
        };
        let protocol = inbound.protocol.unwrap_or(Protocol::Http1);
        let name = application_name(number);
        let (limits, faults) = policy.at_door_of(&proxy.name, &name);
        // One count for all doors of the service.
        own.rate_limits = limits;
        own.faults.extend(faults);
        own.endpoints.insert(name.clone(), EndpointSet { protocol, endpoints: vec![endpoint] });
        own.attachments.insert(
            name,
            Attachments {
                balance: Some(settings.balance),
                breaker: Some(settings.breaker),
                concurrency: Some(settings.concurrency),
                retry: Some(settings.retry.clone()),
                timeouts: Some(settings.timeouts),
            },
        );
    }
    own
}

fn application_name(number: usize) -> String {
    if number == 0 { "application".to_owned() } else { format!("application-{number}") }
}

fn openings(proxy: &Proxy, presented: &BTreeMap<String, PublicHandshakes>) -> Vec<Opening> {
    let edge = |it: &mesh_policy::proxy::Edge| Opening {
        name: "edge",
        listen: it.listen,
        way: Way::To(Door::Edge(proxy.name.clone())),
        side: Side::Edge,
        hosts: it.hosts.clone(),
        spoken: Some(Protocol::Http1),
        presenting: presented.get(&it.name).cloned(),
    };
    let outbound = |it: &mesh_policy::proxy::Outbound| Opening {
        name: "outbound",
        listen: it.listen,
        way: it.service.as_ref().map_or(Way::ByHost, |it| Way::To(Door::Service(it.clone()))),
        side: Side::Outbound,
        hosts: Vec::new(),
        spoken: it.protocol,
        presenting: None,
    };
    let inbound = |(number, it): (usize, &mesh_policy::proxy::Inbound)| Opening {
        name: "inbound",
        listen: it.listen,
        way: Way::To(Door::Service(application_name(number))),
        side: Side::Inbound,
        hosts: Vec::new(),
        spoken: it.protocol,
        presenting: None,
    };
    let edges = proxy.edges.iter().map(edge);
    let outbounds = proxy.outbound.iter().map(outbound);
    edges.chain(outbounds).chain(proxy.inbound.iter().enumerate().map(inbound)).collect()
}

fn bound_of(openings: &[Opening], addresses: &[SocketAddr]) -> Bound {
    let of = |side: Side| {
        let pairs = openings.iter().zip(addresses);
        pairs.filter(|(it, _)| it.side == side).map(|(_, address)| *address).collect()
    };
    Bound { edges: of(Side::Edge), outbound: of(Side::Outbound), inbound: of(Side::Inbound) }
}

/// Starts a worker and waits until it listens.
fn spawn(number: usize, plan: Plan) -> Result<(JoinHandle<()>, Vec<SocketAddr>), StartError> {
    let (listening, listens) = mpsc::sync_channel(1);
    let name = format!("worker-{number}");
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => runtime.block_on(work(plan, &listening)),
            // Whoever waits is there: it started this thread.
            Err(error) => drop(listening.send(Err(StartError::Worker(error)))),
        }
    };
    let worker = thread::Builder::new().name(name).spawn(work).map_err(StartError::Worker)?;
    let gone = |_| StartError::Worker(io::ErrorKind::BrokenPipe.into());
    Ok((worker, listens.recv().map_err(gone)??))
}

async fn work(plan: Plan, listening: &mpsc::SyncSender<Result<Vec<SocketAddr>, StartError>>) {
    let tasks = plan.tasks.child();
    let mut listeners = Vec::new();
    let mut addresses = Vec::new();
    for opening in &plan.openings {
        let address = opening.listen;
        let listened = downstream::listen(address, Sharing::Workers)
            .and_then(|listener| Ok((listener.local_addr()?, listener)));
        match listened {
            Ok((bound, listener)) => {
                addresses.push(bound);
                listeners.push(listener);
            }
            Err(source) => {
                drop(listening.send(Err(StartError::Bind { address, source })));
                return;
            }
        }
    }
    serve(&plan, listeners, &tasks);
    drop(listening.send(Ok(addresses)));
    plan.tasks.shutdown_signal().cancelled().await;
    tasks.drain(plan.drain_delay + plan.limits.drain).await;
}

fn serve(plan: &Plan, listeners: Vec<TcpListener>, tasks: &Tasks) {
    let outbound = Outbound::new(plan.mesh.clone());
    let inbound = Outbound::new(plan.inbound.clone());
    for (opening, listener) in plan.openings.iter().zip(listeners) {
        let worker = if opening.side == Side::Inbound { &inbound } else { &outbound };
        let handler = Forward::new(worker.clone(), opening.way.clone());
        let handler = handler.for_hosts(opening.hosts.clone());
        let handler = handler.speaking(opening.spoken);
        // Inside, an id may hold a slash; outside, nobody knows who reads.
        let slashes = if opening.side == Side::Edge { Slashes::Refused } else { Slashes::Kept };
        let limits = Limits { slashes, ..plan.limits };
        let mut site = Site::new(opening.name, handler, limits, &plan.telemetry);
        if let Some(handshakes) = &opening.presenting {
            site = site.presenting(handshakes.clone());
        }
        if opening.side == Side::Inbound {
            let mesh = plan.inbound.clone();
            site = site.guarded(Guard::new(mesh, plan.service.as_str(), &plan.telemetry));
            // Who shows who he is asks the same of those who come.
            if let Some(handshakes) = plan.mesh.handshakes() {
                site = site.knowing(handshakes.clone());
            }
        }
        downstream::serve(Arc::new(site), listener, plan.drain_delay, tasks);
    }
    outbound.keep_swept(tasks);
    inbound.keep_swept(tasks);
}
