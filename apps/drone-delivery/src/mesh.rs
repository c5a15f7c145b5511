//! The mesh of one process: which files it follows, and how its calls go out.

use std::path::Path;

use mesh_policy::Policy;
use mesh_proxy::{Mesh, Outbound};
use service_kit::{Client, ServiceAddresses, ServiceContext};
use skein::{
    Failure,
    commands::arguments::CostArguments,
    failure,
    mesh::{PolicyFiles, follow},
};

use crate::{
    addresses::loopback,
    endpoints,
    roles::Role,
    settings::{MeshPlacement, Settings},
    sidecars,
};

/// Name of the edge among the routes' parents.
pub(crate) const EDGE: &str = "edge";

/// What holds for every call, wherever the mesh stands.
pub(crate) const TRAFFIC: (&str, &str) =
    ("traffic.yaml", include_str!("../../../deploy/mesh/traffic.yaml"));

/// What `up` keeps current, what comes with the program, and what the user adds.
pub(crate) fn files(settings: &Settings, data: &Path) -> PolicyFiles {
    PolicyFiles::new()
        .with_text(TRAFFIC.0, TRAFFIC.1)
        .with_text("edge.yaml", include_str!("../../../deploy/mesh/edge.yaml"))
        .with_file(endpoints::path(data))
        .with_files(&settings.route_files)
}

/// The policy that a door is measured with: that of the system, and further files.
pub(crate) fn cost_policy(data: &Path, arguments: &CostArguments) -> Result<Policy, Failure> {
    let settings = Settings::of(data)?.unwrap_or_default();
    let files = PolicyFiles::new()
        .with_text(TRAFFIC.0, TRAFFIC.1)
        .with_files(&settings.route_files)
        .with_files(&arguments.policies);
    let failure = Failure::new("bad_policy", "the policy of the mesh cannot be used");
    files.read().map_err(|it| failure.because(failure::chain(&it)))
}

/// The mesh of this process, which follows its files from now on.
pub(crate) fn start(
    context: &ServiceContext,
    settings: &Settings,
    data: &Path,
) -> Result<Mesh, Failure> {
    let files = files(settings, data);
    let refused = |why: String| {
        Failure::new("bad_policy", "the policy of the mesh cannot be used").because(why)
    };
    let policy = files.read().map_err(|it| refused(failure::chain(&it)))?;
    let mesh = Mesh::new(context.config.role.clone(), policy, &context.telemetry)
        .map_err(|it| refused(it.to_string()))?;
    follow(files, vec![mesh.clone()], &context.telemetry, &context.tasks);
    Ok(mesh)
}

/// How this process calls others, by where the mesh stands. The mesh itself where it stands in this
/// process.
pub(crate) fn place(
    context: &mut ServiceContext,
    role: Role,
    settings: &Settings,
    data: &Path,
    outbound: Option<u16>,
) -> Result<Option<Mesh>, Failure> {
    let timeout = context.config.call_timeout;
    match settings.mesh {
        // What a process in the background has to follow is not worth its while: they call nobody.
        _ if role == Role::Broker => Ok(None),
        MeshPlacement::InProcess => {
            let mesh = start(context, settings, data)?;
            let outbound = Outbound::new(mesh.clone());
            outbound.keep_swept(&context.tasks);
            context.call_by(Client::over(outbound, timeout, &context.telemetry));
            Ok(Some(mesh))
        }
        MeshPlacement::Sidecar if role.is_service() => {
            let door = outbound.unwrap_or_else(|| sidecars::well_known(role, settings).0);
            context.call_by(Client::beside(beside(door), timeout, context.telemetry.clone()));
            Ok(None)
        }
        MeshPlacement::Sidecar | MeshPlacement::Off => Ok(None),
    }
}

/// Every service behind the one door of the proxy beside this process, which tells them apart by Host.
fn beside(door: u16) -> ServiceAddresses {
    let called = Role::ALL.into_iter().filter(|it| it.is_called());
    called.map(|it| (it.name(), format!("http://{}", loopback(door)))).collect()
}
