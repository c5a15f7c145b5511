//! `skein proxy`: a proxy of its own, told by one file.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use base::Timestamp;
use identity::{Grounds, HandshakeConfig, Handshakes, Membership, PublicHandshakes};
use mesh_control::{Registration, Upstream};
use mesh_policy::proxy::{Control, Proxy};
use mesh_proxy::{
    Limits, Mesh, Readiness,
    program::{self, Program},
};
use runtime::Tasks;
use service_kit::{Health, Routes, Service, ServiceConfig, ServiceContext, StartError};
use tokio::{sync::watch, time::sleep};

use crate::{
    Exit, Failure, callers,
    certificate::{self, CertificateFiles},
    failure,
    mesh::{Begun, PolicyError, PolicyFiles, refused},
};

/// How often the programs behind the doors are asked whether they are ready, for who may call them; more
/// often as long as they are not, for they are waited for.
const ASK_EVERY: Duration = Duration::from_secs(1);
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// A proxy that runs.
#[derive(Debug)]
pub struct Running {
    /// Where it listens.
    pub bound: program::Bound,
    /// Where operators come in.
    pub admin: SocketAddr,
    program: Program,
}

/// The proxy that a file describes, with the files that it names.
///
/// # Errors
/// The files cannot be used, each place named, or describe no proxy or several.
pub fn read(path: &Path) -> Result<(Proxy, PolicyFiles), Failure> {
    let refused = |it: &PolicyError| refused("the policy cannot be used", it).at(path.display());
    let own = PolicyFiles::new().with_file(path);
    let policy = own.read().map_err(|it| refused(&it))?;
    let [proxy] = policy.proxies.as_slice() else {
        let count = policy.proxies.len();
        let what = format!("the file describes {count} proxies; one is wanted");
        return Err(Failure::new("bad_policy", what).at(path.display()).exit(Exit::Usage));
    };
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    let files = own.with_files(proxy.files.iter().map(|it| folder.join(it)));
    Ok((proxy.clone(), files))
}

/// Starts the proxy and its operators' listener on the context's tasks. With handshakes it shows who
/// the service behind it is, and lets in those alone who show who they are.
///
/// # Errors
/// The policy cannot be used, or an address cannot be listened on.
pub fn start(
    proxy: &Proxy,
    files: PolicyFiles,
    context: &ServiceContext,
    limits: Limits,
    known: Option<Handshakes>,
) -> Result<Running, Failure> {
    let folder = files.folder().to_owned();
    let begun = Begun::new(files, &proxy.name, &context.telemetry)
        .map_err(|it| refused("the policy of the proxy cannot be used", &it))?;
    let mesh = begun.mesh.clone();
    if let Some(handshakes) = &known {
        mesh.know(handshakes.clone());
    }
    let start_failed = |why: String| {
        Failure::new("start_failed", format!("the proxy {} cannot start", proxy.name)).because(why)
    };
    if !proxy.edges.is_empty() {
        let ServiceContext { clock, telemetry, tasks, .. } = context;
        callers::follow(&mesh, &folder, None, clock.clone(), telemetry, tasks);
    }
    let presented = presented(proxy, &folder, &mesh, context);
    let ServiceContext { telemetry, tasks, .. } = context;
    let program = Program::start(proxy, &mesh, &presented, limits, telemetry, tasks)
        .map_err(|it| start_failed(failure::chain(&it)))?;
    let admin = Service::new(Routes::new())
        .health(health(proxy))
        .mesh(&mesh)
        .inbound(&program.inbound)
        .serve_admin(context)
        .map_err(|it: StartError| start_failed(failure::chain(&it)))?;
    let further = vec![program.inbound.clone()];
    let following = begun.follow(further, &context.telemetry, &context.tasks);
    if let Some(control) = &proxy.control {
        let upstream = upstream(control, known).map_err(|it| start_failed(it.to_owned()))?;
        let now = context.clock.now();
        let instances = register(proxy, control, &program.bound, now, &context.tasks);
        // The proxies of a service's instances are told apart by these.
        let name = control.instance.as_ref().map_or(&proxy.name, |it| &it.name);
        following.hear(upstream, name, instances, &context.telemetry, &context.tasks);
    }
    Ok(Running { bound: program.bound.clone(), admin, program })
}

/// What each edge shows that has a certificate. One that cannot be used yet ends every handshake, and is told of.
fn presented(
    proxy: &Proxy,
    folder: &Path,
    mesh: &Mesh,
    context: &ServiceContext,
) -> BTreeMap<String, PublicHandshakes> {
    let ServiceContext { clock, telemetry, tasks, .. } = context;
    let edges =
        proxy.edges.iter().filter_map(|it| Some((it.name.clone(), it.certificate.as_ref()?)));
    let shown = edges.map(|(name, it)| {
        let (chain, key) = (folder.join(&it.chain), folder.join(&it.key));
        let files = CertificateFiles { chain, key };
        let presented = certificate::follow(files, mesh, clock.clone(), telemetry, tasks);
        let bounds = HandshakeConfig::default();
        (name, PublicHandshakes::new(&bounds, presented, clock.clone(), telemetry))
    });
    shown.collect()
}

/// Who a proxy is to show itself to be, by the file at this path; nobody in plain text.
///
/// # Errors
/// The name is none.
pub fn membership(proxy: &Proxy, path: &Path) -> Result<Option<Membership>, Failure> {
    let Some(identity) = &proxy.identity else { return Ok(None) };
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    let id = identity.name.parse().map_err(|it| {
        let what = format!("`{}` is no identity", identity.name);
        Failure::new("bad_policy", what).because(it).at(path.display()).exit(Exit::Usage)
    })?;
    let authority = folder.join(&identity.authority);
    Ok(Some(Membership { authority, id, grounds: Grounds::User }))
}

/// Where the control plane is, and who it must be.
fn upstream(control: &Control, known: Option<Handshakes>) -> Result<Upstream, &'static str> {
    let address = control.address;
    let identity = match (known, &control.identity) {
        (Some(known), Some(id)) => {
            let id = id.parse().map_err(|_| "the control plane's identity is none")?;
            Some((known, id))
        }
        (None, None) if address.ip().is_loopback() => None,
        (None, None) => return Err("in plain text a control plane is heard on loopback alone"),
        (None, Some(_)) => {
            return Err("the control plane asks who this is, and it has no identity");
        }
        (Some(_), None) => return Err("the file does not say who the control plane must be"),
    };
    Ok(Upstream { address, identity })
}

/// What is registered: the instance that the file names, ready while the programs behind its doors are.
fn register(
    proxy: &Proxy,
    control: &Control,
    bound: &program::Bound,
    started: Timestamp,
    tasks: &Tasks,
) -> watch::Receiver<Vec<Registration>> {
    let (registered, instances) = watch::channel(Vec::new());
    let Some((told, door)) = control.instance.as_ref().zip(bound.inbound.first()) else {
        return instances;
    };
    let registration = Registration {
        service: proxy.name.clone(),
        instance: told.name.clone(),
        version: told.version.clone(),
        zone: told.zone.clone(),
        capacity: told.capacity,
        address: told.address.unwrap_or(*door),
        incarnation: u64::try_from(started.as_millis()).unwrap_or(0),
        protocol: proxy.inbound.first().and_then(|it| it.protocol).unwrap_or_default().into(),
        ready: false,
    };
    let asked: Vec<_> = proxy.inbound.iter().map(Readiness::of).collect();
    tasks.spawn("readiness for the control plane", move |shutdown| async move {
        let mut pause = Duration::ZERO;
        while shutdown.or_cancel(sleep(pause)).await.is_some() {
            let Some(ready) = shutdown.or_cancel(are_ready(&asked)).await else { return };
            pause = if ready { ASK_EVERY } else { ASK_AGAIN };
            let now = vec![Registration { ready, ..registration.clone() }];
            registered.send_if_modified(|it| {
                *it != now && {
                    *it = now;
                    true
                }
            });
        }
    });
    instances
}

async fn are_ready(asked: &[Readiness]) -> bool {
    for application in asked {
        if application.ask().await.is_err() {
            return false;
        }
    }
    true
}

/// Ready is a proxy when the programs behind its doors are: who asks the proxy would send them work.
fn health(proxy: &Proxy) -> Health {
    let asked: Vec<_> = proxy.inbound.iter().map(Readiness::of).collect();
    if asked.is_empty() {
        return Health::new();
    }
    let asked = Arc::new(asked);
    Health::new().check("application", move || {
        let asked = Arc::clone(&asked);
        async move {
            for application in &*asked {
                application.ask().await.map_err(|it| it.to_string())?;
            }
            Ok(())
        }
    })
}

/// What the process of a proxy is told about itself.
#[must_use]
pub fn config(proxy: &Proxy) -> ServiceConfig {
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    // Its spans are its own, told apart from those of the program beside it.
    let name = format!("{}-proxy", proxy.name);
    let mut config = ServiceConfig::new(name.clone(), name, "");
    config.admin = proxy.admin.unwrap_or(free);
    config.trace_endpoint.clone_from(&proxy.trace_endpoint);
    config.drain_delay = program::drain_delay(proxy);
    config
}

/// Bounds for programs of anybody: what passes is theirs to bound, as long as memory does not grow.
#[must_use]
pub fn limits() -> Limits {
    Limits { body_bytes_max: u64::MAX, connections_max: 10_000, ..Limits::default() }
}

impl Running {
    /// Waits for the workers, once the tasks were drained.
    pub fn join(self, tasks: &Tasks) {
        tasks.stop();
        self.program.join();
    }
}
