//! What `up` starts: the processes in their order, and the files that they find at their start.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use skein::{
    folder,
    supervise::{Lifeline, ProcessSpec, Readiness, ports::FreePorts},
};

use crate::{
    addresses::{collector, https, loopback},
    instances::{Instance, instances},
    roles::{Kind, Role},
    settings::{ForeignService, Settings},
    sidecars,
};

/// Processes of a lower stage start first and stop last: the log outlives who writes to it, a proxy
/// the program beside it, and the edge closes before what is behind it.
const PROXY_STAGE: u32 = 1;

const fn stage(role: Role) -> u32 {
    match role.kind() {
        Kind::Log | Kind::Page | Kind::Control => 0,
        Kind::Service(_) => 2,
        Kind::Edge => 3,
    }
}

/// What is to run.
#[derive(Debug)]
pub(crate) struct Plan {
    /// All processes, in the order in which `ps` lists them.
    pub(crate) specs: Vec<ProcessSpec>,
    /// Those of them that are instances of roles.
    pub(crate) instances: Vec<Instance>,
    folders: Vec<PathBuf>,
    files: Vec<(PathBuf, String)>,
}

impl Plan {
    /// The processes of a system with these settings; `program` is ours.
    ///
    /// # Errors
    /// There is no free port.
    pub(crate) fn of(settings: &Settings, data: &Path, program: &Path) -> io::Result<Self> {
        let mut ports = FreePorts::default();
        let instances = instances(settings, &mut || ports.draw())?;
        let mut specs = Vec::new();
        let (mut folders, mut files) = (vec![data.join("mesh")], Vec::new());
        for instance in &instances {
            let role = instance.edition.role;
            match settings.foreign(&instance.edition) {
                Some(service) => {
                    folders.push(data.join(role.name()));
                    let environment = environment(instance, settings, data);
                    specs.push(foreign(instance, service, environment, program));
                }
                None => specs.push(own(instance, settings, data, program)),
            }
            if let Some(spec) = sidecars::spec(instance, data, program) {
                specs.push(ProcessSpec { stage: PROXY_STAGE, ..spec });
            }
            if let Some(text) = sidecars::text(instance, settings) {
                files.push((sidecars::path(data, instance), text));
            }
        }
        Ok(Self { specs, instances, folders, files })
    }

    /// Writes what the processes find at their start.
    pub(crate) fn write(&self) -> io::Result<()> {
        self.folders.iter().try_for_each(|it| folder::make_private(it))?;
        self.files.iter().try_for_each(|(path, text)| fs::write(path, text))
    }
}

/// A process that is this program, or another one that is started like it.
fn own(instance: &Instance, settings: &Settings, data: &Path, program: &Path) -> ProcessSpec {
    let Instance { edition, name, port, .. } = instance;
    let role = edition.role;
    let data = data.to_string_lossy().into_owned();
    let mut arguments =
        ["role", role.name(), "--instance", name, "--data", &data].map(str::to_owned).to_vec();
    let mut version = env!("CARGO_PKG_VERSION").to_owned();
    if role.is_service() {
        edition.version().clone_into(&mut version);
        arguments.extend(["--version".to_owned(), version.clone()]);
    }
    if *port != Some(role.address(settings).port()) {
        arguments.extend(["--port".to_owned(), port.unwrap_or(0).to_string()]);
    }
    if let Some(sidecar) = &instance.sidecar {
        arguments.extend(["--outbound".to_owned(), sidecar.outbound.to_string()]);
    }
    let mut ports: BTreeMap<_, _> =
        port.iter().map(|port| (role.port_name().to_owned(), *port)).collect();
    match role {
        Role::Dashboard => drop(ports.insert("otlp".to_owned(), collector(settings).port())),
        Role::Gateway if port.is_some() => {
            ports.insert("https".to_owned(), https(settings).port());
        }
        _ => {}
    }
    let program = settings.program(edition).unwrap_or(program);
    let stage = stage(role);
    ProcessSpec { arguments, ports, stage, version, ..ProcessSpec::new(role.name(), name, program) }
}

/// A process of somebody else's program. It says nothing and watches nothing for us: it is asked on
/// its port, and it dies with us.
fn foreign(
    instance: &Instance,
    service: &ForeignService,
    environment: BTreeMap<String, String>,
    program: &Path,
) -> ProcessSpec {
    let Instance { edition, name, port, .. } = instance;
    let port = port.unwrap_or(0);
    let supervisor = std::process::id().to_string();
    let mut arguments = ["foreign", "--supervisor", &supervisor, "--"].map(str::to_owned).to_vec();
    arguments.extend(service.command.iter().cloned());
    ProcessSpec {
        arguments,
        environment,
        ports: BTreeMap::from([(edition.role.port_name().to_owned(), port)]),
        stage: stage(edition.role),
        readiness: Readiness::Answers { port, path: service.health.clone() },
        lifeline: Lifeline::Signal,
        version: edition.version().to_owned(),
        ..ProcessSpec::new(edition.role.name(), name, program)
    }
}

/// What a foreign program is told.
fn environment(instance: &Instance, settings: &Settings, data: &Path) -> BTreeMap<String, String> {
    let role = instance.edition.role;
    let told = [
        ("PORT", instance.port.unwrap_or(0).to_string()),
        ("SKEIN_INSTANCE", instance.name.clone()),
        ("SKEIN_VERSION", instance.edition.version().to_owned()),
        ("SKEIN_DATA", data.join(role.name()).to_string_lossy().into_owned()),
        ("SKEIN_KAFKA", Role::Broker.address(settings).to_string()),
    ];
    let mut environment: BTreeMap<_, _> =
        told.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    for role in Role::ALL.into_iter().filter(|it| it.is_service()) {
        let variable = role.name().to_uppercase().replace('-', "_");
        let doors = instance.sidecar.iter().flat_map(|it| &it.doors);
        let door = doors.into_iter().find(|it| it.service == role.name());
        let address = door.map_or_else(|| role.address(settings), |it| loopback(it.port));
        environment.insert(format!("SKEIN_OUTBOUND_{variable}"), format!("http://{address}"));
    }
    environment
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::MeshPlacement;

    fn settings() -> Settings {
        Settings {
            port_base: 9_000,
            replicas: BTreeMap::from([("account".to_owned(), 2)]),
            programs: BTreeMap::from([
                ("account".to_owned(), "/other".into()),
                ("account@v2".to_owned(), PathBuf::new()),
            ]),
            services: BTreeMap::from([(
                "package".to_owned(),
                ForeignService {
                    command: vec!["python3".to_owned(), "package.py".to_owned()],
                    port: None,
                    health: Some("/readyz".to_owned()),
                },
            )]),
            ..Settings::default()
        }
    }

    fn plan(settings: &Settings) -> Plan {
        Plan::of(settings, Path::new("/data"), Path::new("/program")).unwrap()
    }

    fn spec<'a>(plan: &'a Plan, instance: &str) -> &'a ProcessSpec {
        plan.specs.iter().find(|it| it.instance == instance).unwrap()
    }

    #[track_caller]
    fn check(instance: &str, program: &str, arguments: &str, port: Option<u16>) {
        let plan = plan(&settings());
        let spec = spec(&plan, instance);
        assert_eq!(spec.program, Path::new(program));
        assert_eq!(spec.arguments.join(" "), arguments);
        assert_eq!(spec.ports.get("http").copied(), port);
    }

    #[test]
    fn a_role_is_told_its_instance_its_version_and_its_port_where_that_is_another() {
        let told = "role account --instance account-1 --data /data --version v1";
        check("account-1", "/other", told, Some(9_104));
        let told = "role account --instance account-2 --data /data --version v1 --port 0";
        check("account-2", "/other", told, None);
        let told = "role account --instance account@v2-1 --data /data --version v2 --port 0";
        check("account@v2-1", "/program", told, None);
        check(
            "gateway-1",
            "/program",
            "role gateway --instance gateway-1 --data /data",
            Some(9_080),
        );
        assert_eq!(spec(&plan(&settings()), "gateway-1").ports["https"], 9_443);
    }

    #[test]
    fn every_role_runs_and_without_a_setting_nothing_else_does() {
        let plan = plan(&Settings::default());
        let roles: Vec<_> = plan.specs.iter().map(|it| it.role.as_str()).collect();
        // The control plane alone is asked for.
        let all = Role::ALL.into_iter().filter(|it| *it != Role::Control);
        assert_eq!(roles, all.map(Role::name).collect::<Vec<_>>());
        assert!(plan.files.is_empty());
    }

    #[test]
    fn a_foreign_program_is_told_its_port_and_where_the_others_are() {
        let plan = plan(&settings());
        let spec = spec(&plan, "package-1");
        let supervisor = std::process::id();
        let line = format!("foreign --supervisor {supervisor} -- python3 package.py");
        assert_eq!(spec.arguments.join(" "), line);
        let path = Some("/readyz".to_owned());
        assert_eq!(spec.readiness, Readiness::Answers { port: 9_106, path });
        assert_eq!(spec.lifeline, Lifeline::Signal);
        let told = |name: &str| spec.environment[name].as_str();
        assert_eq!(told("PORT"), "9106");
        assert_eq!(told("SKEIN_DATA"), "/data/package");
        assert_eq!(told("SKEIN_KAFKA"), "127.0.0.1:9092");
        assert_eq!(told("SKEIN_OUTBOUND_THIRD_PARTY_TRANSPORT"), "http://127.0.0.1:9108");
    }

    #[test]
    fn beside_each_service_stands_a_proxy_that_outlives_it() {
        let settings = Settings { mesh: MeshPlacement::Sidecar, ..settings() };
        let plan = plan(&settings);
        let services = plan.instances.iter().filter(|it| it.edition.role.is_service()).count();
        let proxies: Vec<_> = plan.specs.iter().filter(|it| it.role.ends_with("-proxy")).collect();
        assert_eq!((proxies.len(), plan.files.len()), (services, services));
        let account = spec(&plan, "account-1");
        assert!(account.arguments.join(" ").ends_with("--outbound 9204"), "{account:?}");
        assert!(proxies.iter().all(|it| it.stage < account.stage));
        assert!(spec(&plan, "gateway-1").stage > account.stage);
        let package = spec(&plan, "package-1");
        let door = spec(&plan, "package-proxy-1").ports["outbound-drone"];
        assert_eq!(package.environment["SKEIN_OUTBOUND_DRONE"], format!("http://127.0.0.1:{door}"));
    }
}
