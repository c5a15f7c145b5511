//! `skein proxy`: a proxy of its own, told by one file.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
};

use identity::Handshakes;
use mesh_policy::proxy::Proxy;
use mesh_proxy::{
    Limits, Mesh, Readiness,
    program::{self, Program},
};
use runtime::Tasks;
use service_kit::{Health, Routes, Service, ServiceConfig, ServiceContext, StartError};

use crate::{
    Exit, Failure, callers, failure,
    mesh::{PolicyError, PolicyFiles, follow, refused},
};

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
    const REFUSED: &str = "the policy of the proxy cannot be used";
    let policy = files.read().map_err(|it| refused(REFUSED, &it))?;
    let mesh = Mesh::new(proxy.name.clone(), policy, &context.telemetry)
        .map_err(|it| Failure::new("bad_policy", REFUSED).because(it))?;
    if let Some(handshakes) = known {
        mesh.know(handshakes);
    }
    let start_failed = |why: String| {
        Failure::new("start_failed", format!("the proxy {} cannot start", proxy.name)).because(why)
    };
    if !proxy.edges.is_empty() {
        let ServiceContext { clock, telemetry, tasks, .. } = context;
        callers::follow(&mesh, files.folder(), clock.clone(), telemetry, tasks);
    }
    let program = Program::start(proxy, &mesh, limits, &context.telemetry, &context.tasks)
        .map_err(|it| start_failed(failure::chain(&it)))?;
    let admin = Service::new(Routes::new())
        .health(health(proxy))
        .mesh(&mesh)
        .inbound(&program.inbound)
        .serve_admin(context)
        .map_err(|it: StartError| start_failed(failure::chain(&it)))?;
    let meshes = vec![mesh, program.inbound.clone()];
    follow(files, meshes, &context.telemetry, &context.tasks);
    Ok(Running { bound: program.bound.clone(), admin, program })
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
