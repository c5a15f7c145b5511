//! The mesh of one process: which files it follows, and how its calls go out.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use identity::Handshakes;
use mesh_control::Registration;
use mesh_policy::{
    Policy,
    schema::{self, Finding, Level, SourceFile},
};
use mesh_proxy::{Mesh, Outbound};
use service_kit::{Client, ServiceAddresses, ServiceContext};
use skein::{
    Failure,
    commands::{arguments::CostArguments, files},
    failure,
    mesh::{Begun, PolicyError, PolicyFiles},
};
use telemetry::Telemetry;
use tokio::{
    sync::watch,
    time::{interval, timeout},
};

use crate::{
    addresses::loopback,
    control, endpoints,
    instances::instances,
    roles::Role,
    settings::{Asking, MeshPlacement, Settings, Tls},
    sidecars,
};

/// Between two looks at who is found.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Longest wait for who registers. Then a process goes on all the same: with the control plane away it
/// would wait for ever.
const FOUND_WITHIN: Duration = Duration::from_secs(2);
/// Name of the edge among the routes' parents.
pub(crate) const EDGE: &str = "edge";

/// What holds for every call, wherever the mesh stands.
pub(crate) const TRAFFIC: (&str, &str) =
    ("traffic.yaml", include_str!("../../../deploy/mesh/traffic.yaml"));

/// Who may call what, where callers show who they are.
const AUTHORIZATION: (&str, &str) =
    ("authorization.yaml", include_str!("../../../deploy/mesh/authorization.yaml"));

/// The public routes.
const PUBLIC: (&str, &str) = ("edge.yaml", include_str!("../../../deploy/mesh/edge.yaml"));

/// Who may come in from outside.
const ACCESS: (&str, &str) =
    ("edge-access.yaml", include_str!("../../../deploy/mesh/edge-access.yaml"));

/// The public routes, as the edge reads them.
///
/// # Errors
/// Never with the file that the program was built with.
pub(crate) fn public() -> Result<Policy, Failure> {
    let (name, text) = PUBLIC;
    let source = SourceFile { name: name.to_owned(), text: text.to_owned() };
    schema::read(&[source]).map_err(|it| refused(failure::chain(&PolicyError::Findings(it))))
}

/// Who this process shows itself to be, and what it registers of itself.
#[derive(Debug, Clone)]
pub(crate) struct Own {
    /// Nobody where that is not asked.
    pub(crate) known: Option<Handshakes>,
    /// Its instances, from when on they take calls.
    pub(crate) registered: watch::Receiver<Vec<Registration>>,
}

/// What `up` keeps current, what comes with the program, and what the user adds.
fn followed(settings: &Settings, data: &Path) -> PolicyFiles {
    let files = at_edge(everywhere(PolicyFiles::new(), settings), settings);
    // Of a service that a file lists the file alone is believed.
    let files =
        if settings.mesh_control.enabled { files } else { files.with_file(endpoints::path(data)) };
    files.with_files(&settings.route_files).kept_in(last_good(data))
}

/// Where each process finds what a file said before it broke.
pub(crate) fn last_good(data: &Path) -> PathBuf {
    data.join("mesh").join("last-good")
}

/// With what the edge reads.
fn at_edge(files: PolicyFiles, settings: &Settings) -> PolicyFiles {
    let files = files.with_text(PUBLIC.0, PUBLIC.1);
    match settings.gateway.auth {
        Asking::Required => files.with_text(ACCESS.0, ACCESS.1),
        Asking::Off => files,
    }
}

/// The roles that the policy of the edge speaks of: who has none of them is let in nowhere.
///
/// # Errors
/// The settings or a file of the user cannot be used.
pub(crate) fn edge_roles(data: &Path) -> Result<BTreeSet<String>, Failure> {
    let settings = Settings::of(data)?.unwrap_or_default();
    let files = everywhere(PolicyFiles::new(), &settings).with_text(PUBLIC.0, PUBLIC.1);
    let files = files.with_text(ACCESS.0, ACCESS.1).with_files(&settings.route_files);
    let policy = files.read().map_err(|it| refused(failure::chain(&it)))?;
    let rules = policy.edge_access.into_iter().flat_map(|it| it.rules);
    Ok(rules.flat_map(|it| it.roles).collect())
}

/// With what every process of the system reads.
pub(crate) fn everywhere(files: PolicyFiles, settings: &Settings) -> PolicyFiles {
    let files = files.with_text(TRAFFIC.0, TRAFFIC.1);
    match settings.tls {
        Tls::Off => files,
        Tls::Strict => files.with_text(AUTHORIZATION.0, AUTHORIZATION.1),
    }
}

/// Judges the files of the user as every process of the system will read them, before one of them runs.
/// Gives what is hardly meant.
///
/// # Errors
/// One of them cannot be used; each place is named.
pub(crate) fn check(settings: &Settings) -> Result<Vec<String>, Failure> {
    if settings.route_files.is_empty() {
        return Ok(Vec::new());
    }
    // Which names there will be is known; which ports is not, and does not matter here.
    let instances = instances(settings, &mut || Ok(0))
        .map_err(|it| Failure::new("no_port", "there is no free port").because(it))?;
    let endpoints = endpoints::text(&endpoints::sets(&instances, &[]));
    let read = |files: PolicyFiles| {
        let mut sources =
            files.with_files(&settings.route_files).sources().map_err(|it| unusable(&it))?;
        sources
            .push(SourceFile { name: "mesh/endpoints.yaml".to_owned(), text: endpoints.clone() });
        judge(&sources)
    };
    let everywhere = everywhere(PolicyFiles::new(), settings);
    // A proxy beside a service does not read the public routes.
    if settings.mesh == MeshPlacement::Sidecar {
        read(everywhere.clone())?;
    }
    read(at_edge(everywhere, settings))
}

const REFUSED: &str = "the policy of the mesh cannot be used";

fn refused(why: String) -> Failure {
    Failure::new("bad_policy", REFUSED).because(why)
}

fn unusable(error: &PolicyError) -> Failure {
    skein::mesh::refused(REFUSED, error)
}

/// What is hardly meant in these files.
fn judge(sources: &[SourceFile]) -> Result<Vec<String>, Failure> {
    let (errors, remarks): (Vec<Finding>, Vec<Finding>) =
        files::judge(sources).into_iter().partition(|it| it.level == Level::Error);
    if let Some(first) = errors.first() {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let place = format!("{}:{}:{}", first.file, first.line, first.column);
        return Err(refused(lines.join("\n")).at(place));
    }
    let policy =
        schema::read(sources).map_err(|it| refused(failure::chain(&PolicyError::Findings(it))))?;
    Mesh::new(EDGE, policy, &Telemetry::disabled()).map_err(|it| refused(it.to_string()))?;
    Ok(remarks.iter().map(ToString::to_string).collect())
}

/// What a door is measured before where nobody says: the edge of the system.
pub(crate) fn cost_target(data: &Path) -> Result<String, Failure> {
    let settings = Settings::of(data)?.unwrap_or_default();
    Ok(format!("http://{}/livez", Role::Gateway.address(&settings)))
}

/// The policy that a door is measured with: that of the system, and further files.
pub(crate) fn cost_policy(data: &Path, arguments: &CostArguments) -> Result<Policy, Failure> {
    let settings = Settings::of(data)?.unwrap_or_default();
    let files = PolicyFiles::new()
        .with_text(TRAFFIC.0, TRAFFIC.1)
        .with_files(&settings.route_files)
        .with_files(&arguments.policies);
    files.read().map_err(|it| unusable(&it))
}

/// The mesh of this process, which follows its files from now on.
pub(crate) fn start(
    context: &ServiceContext,
    settings: &Settings,
    data: &Path,
    own: &Own,
) -> Result<Mesh, Failure> {
    let begun = Begun::new(followed(settings, data), &context.config.role, &context.telemetry)
        .map_err(|it| unusable(&it))?;
    let mesh = begun.mesh.clone();
    if let Some(handshakes) = &own.known {
        mesh.know(handshakes.clone());
    }
    let ServiceContext { telemetry, tasks, .. } = context;
    let following = begun.follow(Vec::new(), telemetry, tasks);
    if let Some(control) = control::upstream(settings, own.known.as_ref()) {
        let (name, registered) = (&context.config.instance, own.registered.clone());
        following.hear(control, name, registered, telemetry, tasks);
    }
    Ok(mesh)
}

/// Waits until each service that the edge leads to has an instance: who finds the edge open has his first
/// request answered. A file that says where everybody is is read before anything else.
pub(crate) async fn leads_on(mesh: &Mesh) -> Result<(), Failure> {
    let rules = public()?.routes.into_iter().flat_map(|it| it.rules);
    let services: BTreeSet<String> =
        rules.flat_map(|it| it.backends).map(|it| it.service).collect();
    let runs = |policy: &Policy, it: &String| {
        policy.endpoints.get(it).is_some_and(|set| !set.endpoints.is_empty())
    };
    if !holds(mesh, |policy| services.iter().all(|it| runs(policy, it))).await {
        tracing::warn!("the edge opens before every service behind it has registered");
    }
    Ok(())
}

/// Waits until an instance has been heard of where it is: who restarts the next one when this one is ready
/// leaves nobody without both.
pub(crate) async fn is_found(mesh: &Mesh, own: &Registration) {
    let listed = |policy: &Policy| {
        let set = policy.endpoints.get(&own.service);
        set.is_some_and(|it| it.endpoints.iter().any(|it| it.address == own.address))
    };
    if !holds(mesh, listed).await {
        tracing::warn!("this instance is ready before anybody has heard where it is");
    }
}

/// Waits until something holds of the policy in force, for as long as a registration may take to be heard
/// of; whether it does.
async fn holds(mesh: &Mesh, what: impl Fn(&Policy) -> bool) -> bool {
    let mut looks = interval(LOOK_EVERY);
    let looking = async {
        while !what(&mesh.policy()) {
            looks.tick().await;
        }
    };
    timeout(FOUND_WITHIN, looking).await.is_ok()
}

/// How this process calls others, by where the mesh stands. The mesh itself where it stands in this
/// process.
pub(crate) fn place(
    context: &mut ServiceContext,
    role: Role,
    settings: &Settings,
    data: &Path,
    outbound: Option<u16>,
    own: &Own,
) -> Result<Option<Mesh>, Failure> {
    let timeout = context.config.call_timeout;
    match settings.mesh {
        // What a process in the background has to follow is not worth its while: they call nobody.
        _ if !role.is_called() => Ok(None),
        MeshPlacement::Sidecar if role.is_service() => {
            let door = outbound.unwrap_or_else(|| sidecars::well_known(role, settings).0);
            context.call_by(Client::beside(beside(door), timeout, context.telemetry.clone()));
            Ok(None)
        }
        MeshPlacement::Sidecar if own.known.is_none() => Ok(None),
        // What has no proxy beside it calls strict doors by itself.
        MeshPlacement::InProcess | MeshPlacement::Sidecar => {
            let mesh = start(context, settings, data, own)?;
            if role.is_service() {
                context.guard_by(&mesh);
            }
            let outbound = Outbound::new(mesh.clone());
            outbound.keep_swept(&context.tasks);
            context.call_by(Client::over(outbound, timeout, &context.telemetry));
            Ok(Some(mesh))
        }
        MeshPlacement::Off => Ok(None),
    }
}

/// Every service behind the one door of the proxy beside this process, which tells them apart by Host.
fn beside(door: u16) -> ServiceAddresses {
    let called = Role::ALL.into_iter().filter(|it| it.is_called());
    called.map(|it| (it.name(), format!("http://{}", loopback(door)))).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn checked(text: &str, mesh: MeshPlacement) -> Result<Vec<String>, Failure> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("routes.yaml");
        fs::write(&file, text).unwrap();
        let programs = [("account@v2".to_owned(), "".into())].into();
        check(&Settings { route_files: vec![file], programs, mesh, ..Settings::default() })
    }

    const SPLIT: &str = include_str!("../../../examples/mesh/account-versions.yaml");

    #[test]
    fn the_roles_of_the_edge_are_those_of_its_rules() {
        let folder = tempfile::tempdir().unwrap();
        let roles = edge_roles(folder.path()).unwrap();
        assert_eq!(Vec::from_iter(roles), ["auditor", "customer", "operator"]);
    }

    #[test]
    fn the_example_with_two_versions_can_be_used() {
        for mesh in [MeshPlacement::InProcess, MeshPlacement::Sidecar] {
            assert_eq!(checked(SPLIT, mesh), Ok(Vec::new()));
        }
    }

    #[test]
    fn a_file_that_cannot_be_used_is_refused_with_its_place_before_anything_starts() {
        let refused = |text: &str| checked(text, MeshPlacement::Sidecar).unwrap_err();
        let failure = refused(&SPLIT.replace("backendRefs", "backends"));
        let place = failure.place.unwrap();
        assert!(place.ends_with("routes.yaml:9:5"), "{place}");
        // What only the files together can tell.
        let failure = refused(&SPLIT.replace("account-v2", "account-v3"));
        assert!(failure.why.unwrap().contains("SK2004"));
        // What only the table of routes finds.
        let field =
            "filters: [{type: RequestHeaderModifier, requestHeaderModifier: {remove: [host]}}]";
        let failure =
            refused(&SPLIT.replacen("  - matches", &format!("    {field}\n  - matches"), 1));
        assert!(failure.why.unwrap().contains("host"));
    }

    #[test]
    fn what_is_hardly_meant_is_said_and_starts() {
        let text = SPLIT.replace("weight: 90", "weight: 0").replace("weight: 10", "weight: 0");
        let remarks = checked(&text, MeshPlacement::InProcess).unwrap();
        assert!(remarks.len() == 1 && remarks[0].contains("SK2003"), "{remarks:?}");
    }
}
