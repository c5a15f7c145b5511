//! Everything that can be set, in one document: defaults, a file, the environment, flags, in this
//! order. `up` writes the outcome into the data directory; each role and each command reads it there.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write as _},
    ops::RangeInclusive,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use account_service::AccountConfig;
use dashboard::DashboardConfig;
use delivery_service::DeliveryConfig;
use drone_service::DroneConfig;
use fleet_rules::FleetConfig;
use history_service::HistoryConfig;
use ingestion_service::IngestionConfig;
use package_service::PackageConfig;
use runtime::config::{ConfigError, Layers, Origin, Setting};
use scheduler_service::SchedulerConfig;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use service_kit::{Limits, Profile};
use skein::{Exit, Failure, failure, folder};
use supervisor_service::SupervisorConfig;
use third_party_transport_service::TransportConfig;

use crate::{
    cli::SettingArguments,
    roles::{Edition, Role},
};

/// The file in the data directory.
const FILE: &str = "settings.json";
/// What names of environment variables begin with; two underscores stand for each dot.
const ENVIRONMENT: &str = "DRONE_DELIVERY__";
/// Lives of identities: shorter ones would be renewed all the time, longer ones outlive what they say.
const IDENTITY_LIFE_S: RangeInclusive<u64> = 10..=86_400;
/// Leases and grace of a control plane: in less a busy machine does not renew, in more nobody is gone.
const CONTROL_MS: RangeInclusive<u64> = 1_000..=60_000;
/// Replicas of one role: more would only share the same cores.
const REPLICAS_MAX: u32 = 16;

/// The settings of a whole system.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Every fixed port is this one and a fixed distance.
    pub(crate) port_base: u16,
    /// How forgiving the services are.
    pub(crate) profile: Profile,
    /// Processes of a role, or of a further version of it; one when it is not named.
    pub(crate) replicas: BTreeMap<String, u32>,
    /// Another program file for a role; with a version behind its name (`account@v2`) it runs beside
    /// the role. An empty path is this program.
    pub(crate) programs: BTreeMap<String, PathBuf>,
    /// A program of anybody that takes the place of a role, or runs beside it as a further version.
    pub(crate) services: BTreeMap<String, ForeignService>,
    /// Where the mesh stands.
    pub(crate) mesh: MeshPlacement,
    /// Whether services show each other who they are.
    pub(crate) tls: Tls,
    /// The control plane.
    pub(crate) mesh_control: ControlSettings,
    /// Life of an identity, in seconds; it is renewed at half of it.
    pub(crate) identity_life_s: u64,
    /// Further files with policy for the mesh.
    pub(crate) route_files: Vec<PathBuf>,
    /// Authorities that vouch for servers outside, beside the machine's own list: a file of PEM.
    pub(crate) authorities: Option<PathBuf>,
    /// Whether operators may plant faults.
    pub(crate) faults: bool,
    /// Longest wait for one call of a workflow to a service, in milliseconds; then it is repeated. The
    /// gateway waits for as long as its client does.
    pub(crate) call_timeout_ms: u64,
    /// How long an instance that was ready may answer nothing on `/livez` before `up` kills it and
    /// starts it again, in milliseconds; 0 kills none.
    pub(crate) silence_max_ms: u64,
    /// Bounds on what every role takes in over HTTP.
    pub(crate) limits: Limits,
    /// What the roles write down.
    pub(crate) logs: LogSettings,
    /// New traces that a role records in a second; 0 records none.
    pub(crate) traces_per_second: u32,
    /// The log between the services.
    pub(crate) broker: BrokerSettings,
    /// The edge.
    pub(crate) gateway: GatewaySettings,
    /// Ingestion.
    pub(crate) ingestion: IngestionConfig,
    /// Scheduler.
    pub(crate) scheduler: SchedulerConfig,
    /// Supervisor.
    pub(crate) supervisor: SupervisorConfig,
    /// Account.
    pub(crate) account: AccountConfig,
    /// Delivery.
    pub(crate) delivery: DeliveryConfig,
    /// Package.
    pub(crate) package: PackageConfig,
    /// The drones, and how their time runs: what Drone and Third-party Transport agree on.
    pub(crate) fleet: FleetConfig,
    /// Drone.
    pub(crate) drone: DroneConfig,
    /// Third-party Transport.
    pub(crate) third_party_transport: TransportConfig,
    /// Delivery History.
    pub(crate) history: HistoryConfig,
    /// The page.
    pub(crate) dashboard: DashboardConfig,
}

/// Where the mesh stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum MeshPlacement {
    /// In each of our processes: no further hop.
    #[default]
    InProcess,
    /// In a process beside each service.
    Sidecar,
    /// Nowhere: a service is called at its well-known port.
    Off,
}

/// Whether services show each other who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Tls {
    /// They do not: every process of this machine may call every service.
    #[default]
    Off,
    /// Mutual TLS between services, and nobody may do what no rule allows.
    Strict,
}

/// A program of anybody, in any language.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ForeignService {
    /// The program and its arguments.
    pub(crate) command: Vec<String>,
    /// Port of its first instance; the one of the role, or a free one, when it is not given. The
    /// program finds it in `PORT`.
    #[serde(default)]
    pub(crate) port: Option<u16>,
    /// Path that answers with 2xx once it can be used; a connection is enough when it is not given.
    #[serde(default)]
    pub(crate) health: Option<String>,
}

/// The control plane: an instance registers itself there, and hears where the others are.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ControlSettings {
    /// Whether one runs. Then no process reads where the others are from the file that `up` keeps.
    pub(crate) enabled: bool,
    /// An instance that did not renew for so long is gone, in milliseconds; it renews at each third.
    pub(crate) lease_ms: u64,
    /// So long after its start it takes nobody for gone, in milliseconds; at least a lease.
    pub(crate) grace_ms: u64,
}

/// What the roles write down.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LogSettings {
    /// `off`, `error`, `warn`, `info`, `debug` or `trace`.
    pub(crate) level: String,
}

/// The edge.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct GatewaySettings {
    /// Hosts that are ours. A page of a stranger whose name was made to point here is refused; none
    /// means every one.
    pub(crate) hosts: Vec<String>,
    /// Whether who comes in shows a key or a token.
    pub(crate) auth: Asking,
}

/// Whether an edge asks who comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Asking {
    /// Nobody comes in without a key or a token that is good.
    #[default]
    Required,
    /// Whoever reaches the port may read, cancel and move anybody's deliveries.
    Off,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        let hosts = ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned).to_vec();
        Self { hosts, auth: Asking::default() }
    }
}

/// The log between the services.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct BrokerSettings {
    /// Size of a segment file in bytes.
    pub(crate) segment_bytes: u64,
    /// Connections at a time; more wait in the kernel.
    pub(crate) connections_max: usize,
    /// Topics that there may be.
    pub(crate) topics_max: usize,
    /// Whether clients that show no identity may do everything, where services show theirs: stock
    /// clients of this machine.
    pub(crate) plain_clients: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            port_base: 7_000,
            profile: Profile::default(),
            replicas: BTreeMap::new(),
            programs: BTreeMap::new(),
            services: BTreeMap::new(),
            mesh: MeshPlacement::default(),
            tls: Tls::default(),
            mesh_control: ControlSettings::default(),
            identity_life_s: 3_600,
            route_files: Vec::new(),
            authorities: None,
            faults: false,
            call_timeout_ms: 2_000,
            silence_max_ms: 3_000,
            limits: Limits::default(),
            logs: LogSettings::default(),
            traces_per_second: 50,
            broker: BrokerSettings::default(),
            gateway: GatewaySettings::default(),
            ingestion: IngestionConfig::default(),
            scheduler: SchedulerConfig::default(),
            supervisor: SupervisorConfig::default(),
            account: AccountConfig::default(),
            delivery: DeliveryConfig::default(),
            package: PackageConfig::default(),
            fleet: FleetConfig::default(),
            drone: DroneConfig::default(),
            third_party_transport: TransportConfig::default(),
            history: HistoryConfig::default(),
            dashboard: DashboardConfig::default(),
        }
    }
}

impl Default for ControlSettings {
    fn default() -> Self {
        Self { enabled: false, lease_ms: 3_000, grace_ms: 10_000 }
    }
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { level: "info".to_owned() }
    }
}

impl Default for BrokerSettings {
    fn default() -> Self {
        let broker::BrokerConfig { segment_bytes, connections_max, topics_max, .. } =
            broker::BrokerConfig::new("");
        Self { segment_bytes, connections_max, topics_max, plain_clients: false }
    }
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// The file cannot be read or written.
    #[error("{} cannot be used", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is not JSON.
    #[error("{} is not JSON", path.display())]
    Syntax {
        /// Which.
        path: PathBuf,
        /// Where it is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// A value was refused.
    #[error(transparent)]
    Refused(#[from] ConfigError),
    /// A role is named that does not exist, or cannot have so many processes.
    #[error("{0}")]
    Roles(String),
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        let is_missing = matches!(&error, SettingsError::Io { source, .. }
            if source.kind() == io::ErrorKind::NotFound);
        Self::new("bad_settings", "the settings cannot be used")
            .because(failure::chain(&error))
            .exit(if is_missing { Exit::NotFound } else { Exit::Failed })
    }
}

/// Settings with the layer that each value came from.
#[derive(Debug)]
pub(crate) struct Layered {
    pub(crate) settings: Settings,
    pub(crate) origins: Vec<Setting>,
}

impl Layered {
    /// Lays file, environment and flags over the defaults.
    pub(crate) fn gather(
        arguments: &SettingArguments,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, SettingsError> {
        let mut layers = Layers::over(&Settings::default())?;
        if let Some(path) = &arguments.config {
            layers.lay(Origin::File, &read_json(path)?)?;
        }
        for (name, value) in environment {
            if let Some(path) = name.strip_prefix(ENVIRONMENT) {
                let path = path.to_lowercase().replace("__", ".");
                layers.set(Origin::Environment, &path, &value)?;
            }
        }
        for (path, value) in arguments.flags() {
            layers.set(Origin::Flag, &path, &value)?;
        }
        let mut settings: Settings = layers.read()?;
        // Whoever reads them in the data directory may stand elsewhere.
        for path in settings.route_files.iter_mut().chain(&mut settings.authorities) {
            *path = usable_file(path)?;
        }
        for path in settings.programs.values().filter(|it| !it.as_os_str().is_empty()) {
            startable(path)?;
        }
        settings.check()?;
        Ok(Self { settings, origins: layers.settings().into_iter().map(veiled).collect() })
    }
}

impl Settings {
    /// The settings that a system in this directory runs with, or ran with; `None` when there has
    /// been none.
    pub(crate) fn of(data: &Path) -> Result<Option<Self>, SettingsError> {
        let path = data.join(FILE);
        match read_json(&path) {
            Ok(document) => {
                let mut layers = Layers::over(&Self::default())?;
                layers.lay(Origin::File, &document)?;
                Ok(Some(layers.read()?))
            }
            Err(SettingsError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Writes them where roles and commands look for them.
    pub(crate) fn write(&self, data: &Path) -> Result<(), SettingsError> {
        let path = data.join(FILE);
        let io = |source| SettingsError::Io { path: path.clone(), source };
        folder::make_private(data).map_err(io)?;
        let text = serde_json::to_vec_pretty(self)
            .map_err(|source| SettingsError::Syntax { path: path.clone(), source })?;
        // Renamed into place: a role that starts meanwhile reads the old or the new, never half.
        let draft = path.with_extension("json.new");
        // Passwords of others stand in it. One that an earlier start left is no reason to show them.
        fs::remove_file(&draft).or_else(absent).map_err(io)?;
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(&draft).map_err(io)?;
        file.write_all(&text).map_err(io)?;
        fs::rename(&draft, &path).map_err(io)
    }

    /// What runs: each role, and behind it its further versions.
    pub(crate) fn editions(&self) -> Vec<Edition> {
        let mut others: Vec<Edition> = self
            .programs
            .keys()
            .chain(self.services.keys())
            // Checked when the settings were made.
            .filter_map(|it| it.parse().ok())
            .filter(|it: &Edition| !it.is_first())
            .collect();
        others.sort();
        let all = |role| {
            let of_role = others.iter().filter(move |it| it.role == role).cloned();
            std::iter::once(Edition::first(role)).chain(of_role)
        };
        let runs = |it: &Role| *it != Role::Control || self.mesh_control.enabled;
        Role::ALL.into_iter().filter(runs).flat_map(all).collect()
    }

    /// Processes that a role has in a version.
    pub(crate) fn replicas(&self, edition: &Edition) -> u32 {
        self.replicas.get(&edition.to_string()).copied().unwrap_or(1)
    }

    /// Another program file than ours for a role in a version.
    pub(crate) fn program(&self, edition: &Edition) -> Option<&Path> {
        let path = self.programs.get(&edition.to_string())?;
        (!path.as_os_str().is_empty()).then_some(path)
    }

    /// The program of somebody else that is a role in a version.
    pub(crate) fn foreign(&self, edition: &Edition) -> Option<&ForeignService> {
        self.services.get(&edition.to_string())
    }

    fn check(&self) -> Result<(), SettingsError> {
        let roles = |text: String| Err(SettingsError::Roles(text));
        for name in self.programs.keys() {
            name.parse::<Edition>().map_err(SettingsError::Roles)?;
        }
        for (name, service) in &self.services {
            let edition: Edition = name.parse().map_err(SettingsError::Roles)?;
            service.check(name, &edition).map_err(SettingsError::Roles)?;
            if self.programs.contains_key(name) {
                return roles(format!("{name} is in `programs` and in `services`"));
            }
        }
        self.check_tls().map_err(SettingsError::Roles)?;
        self.check_control().map_err(SettingsError::Roles)?;
        let editions = self.editions();
        for name in self.replicas.keys() {
            let edition: Edition = name.parse().map_err(SettingsError::Roles)?;
            if !editions.contains(&edition) {
                return roles(format!(
                    "{name} has replicas and no program; `--role {name}=` names ours"
                ));
            }
        }
        for edition in editions {
            let most = if edition.role.is_replicated() { REPLICAS_MAX } else { 1 };
            let wanted = self.replicas(&edition);
            if wanted == 0 || wanted > most {
                return roles(format!("{edition} runs in 1 to {most} processes, not {wanted}"));
            }
        }
        if telemetry::logs::level(&self.logs.level).is_none() {
            return roles(format!("`logs.level` is `{}`, which is no level", self.logs.level));
        }
        Ok(())
    }

    fn check_tls(&self) -> Result<(), String> {
        let life = self.identity_life_s;
        if !IDENTITY_LIFE_S.contains(&life) {
            let (least, most) = (IDENTITY_LIFE_S.start(), IDENTITY_LIFE_S.end());
            return Err(format!("`identity_life_s` is {least} to {most}, not {life}"));
        }
        match (self.tls, self.mesh) {
            (Tls::Strict, MeshPlacement::Off) => {
                Err("without a mesh nobody speaks TLS: `tls` is strict and `mesh` off".to_owned())
            }
            (Tls::Strict, MeshPlacement::InProcess) if !self.services.is_empty() => {
                Err("a program of others needs a proxy beside it that speaks TLS: `tls` is strict \
                 and `mesh` in-process"
                    .to_owned())
            }
            _ => Ok(()),
        }
    }

    fn check_control(&self) -> Result<(), String> {
        let ControlSettings { enabled, lease_ms, grace_ms } = self.mesh_control;
        for (name, time) in [("lease_ms", lease_ms), ("grace_ms", grace_ms)] {
            if !CONTROL_MS.contains(&time) {
                let (least, most) = (CONTROL_MS.start(), CONTROL_MS.end());
                return Err(format!("`mesh_control.{name}` is {least} to {most}, not {time}"));
            }
        }
        match self.mesh {
            MeshPlacement::Off if enabled => Err("without a mesh nobody hears a control plane: \
                 `mesh_control` is on and `mesh` off"
                .to_owned()),
            MeshPlacement::InProcess if enabled && !self.services.is_empty() => Err(
                "a program of others needs a proxy beside it that registers it: `mesh_control` \
                     is on and `mesh` in-process"
                    .to_owned(),
            ),
            _ => Ok(()),
        }
    }
}

impl ForeignService {
    fn check(&self, name: &str, edition: &Edition) -> Result<(), String> {
        if !edition.role.is_service() {
            return Err(format!("{name} is no service that another program can be"));
        }
        if self.command.is_empty() {
            return Err(format!("`services.{name}.command` names no program"));
        }
        if self.port == Some(0) {
            return Err(format!("`services.{name}.port` is 0; leave it out for a free one"));
        }
        // It is written into a request line as it stands.
        let is_path = |it: &str| it.starts_with('/') && it.bytes().all(|it| it.is_ascii_graphic());
        match &self.health {
            Some(path) if !is_path(path) => {
                Err(format!("`services.{name}.health` is `{path}`, which is no path"))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// What is not there need not be removed.
fn absent(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Names of members, last words of paths among them, whose values nobody should read over a shoulder.
const VEILED: [&str; 3] = ["password", "token", "secret"];

fn veiled(mut setting: Setting) -> Setting {
    let last = setting.path.rsplit('.').next().unwrap_or_default();
    veil(last, &mut setting.value);
    setting
}

/// Hides a value by its name, and those in a list or an object by theirs.
fn veil(name: &str, value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|it| veil(name, it)),
        Value::Object(members) => members.iter_mut().for_each(|(name, it)| veil(name, it)),
        Value::String(text) if VEILED.contains(&name) && !text.is_empty() => {
            *value = Value::from("(given)");
        }
        _ => {}
    }
}

/// The same path from anywhere, of a file that exists.
fn usable_file(path: &Path) -> Result<PathBuf, SettingsError> {
    let io = |source| SettingsError::Io { path: path.to_owned(), source };
    if !fs::metadata(path).map_err(io)?.is_file() {
        return Err(io(io::Error::other("it is no file")));
    }
    std::path::absolute(path).map_err(io)
}

/// A program is started by its path or, where it is a bare name, from the directories of `PATH`.
fn startable(program: &Path) -> Result<(), SettingsError> {
    if program.components().count() > 1 {
        return usable_file(program).map(drop);
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&folders).any(|it| it.join(program).is_file()) {
        return Ok(());
    }
    let source = io::Error::new(io::ErrorKind::NotFound, "no directory of PATH has it");
    Err(SettingsError::Io { path: program.to_owned(), source })
}

fn read_json(path: &Path) -> Result<Value, SettingsError> {
    let text = fs::read_to_string(path)
        .map_err(|source| SettingsError::Io { path: path.to_owned(), source })?;
    serde_json::from_str(&text)
        .map_err(|source| SettingsError::Syntax { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gather(arguments: &[&str]) -> Result<Layered, SettingsError> {
        let arguments = SettingArguments::of(arguments);
        let environment = [("DRONE_DELIVERY__SCHEDULER__INTAKE_LANES", "7"), ("HOME", "/nowhere")];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Layered::gather(&arguments, environment)
    }

    #[test]
    fn a_program_that_is_not_there_is_refused_by_name_before_anything_starts() {
        for (program, is_there) in [("/no/such", false), ("no-such-program", false), ("sh", true)] {
            let gathered = gather(&["--role", &format!("account={program}")]);
            assert_eq!(gathered.is_ok(), is_there, "{program}");
            if let Err(error) = gathered {
                let failure = Failure::from(error);
                assert!(failure.to_string().contains(program), "{failure}");
                assert_eq!(failure.exit, Exit::NotFound);
            }
        }
    }

    #[test]
    fn a_flag_wins_over_the_environment_and_each_value_names_its_origin() {
        let layered = gather(&[]).unwrap();
        assert_eq!(layered.settings.scheduler.intake_lanes, 7);
        let layered = gather(&["--set", "scheduler.intake_lanes=9"]).unwrap();
        assert_eq!(layered.settings.scheduler.intake_lanes, 9);
        let origin = |path: &str| layered.origins.iter().find(|it| it.path == path).unwrap().origin;
        assert_eq!(origin("scheduler.intake_lanes"), Origin::Flag);
        assert_eq!(origin("scheduler.complete_by_ms"), Origin::Default);
    }

    #[test]
    fn the_time_scale_reaches_drones_and_carriers() {
        let settings = gather(&["--time-scale", "600", "--drones", "3"]).unwrap().settings;
        // Both roles are given this one section.
        assert_eq!(settings.fleet.time_scale, 600.0);
        assert_eq!(settings.fleet.drones, 3);
    }

    #[test]
    fn what_is_secret_in_a_list_is_not_shown() {
        let mut value = serde_json::json!([{"name": "acme", "token": "hunter2"}, {"token": ""}]);
        veil("companies", &mut value);
        let shown = serde_json::json!([{"name": "acme", "token": "(given)"}, {"token": ""}]);
        assert_eq!(value, shown);
    }

    #[test]
    fn a_password_is_neither_shown_nor_readable_by_others() {
        use std::os::unix::fs::PermissionsExt as _;
        let secret = "notifications.smtp.password";
        let layered = gather(&["--set", &format!("delivery.{secret}=hunter2")]).unwrap();
        let shown = layered.origins.iter().find(|it| it.path.ends_with(secret)).unwrap();
        assert_eq!(shown.value, "(given)");
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            layered.settings.write(folder.path()).unwrap();
        }
        let mode = fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let read = Settings::of(folder.path()).unwrap().unwrap();
        assert_eq!(read.delivery.notifications.smtp.password, "hunter2");
    }

    #[track_caller]
    fn check_refused(arguments: &[&str], expected: &str) {
        let error = gather(arguments).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn what_does_not_exist_is_refused_by_name() {
        check_refused(
            &["--set", "scheduler.lanes=1"],
            "unknown setting `scheduler.lanes` from flag",
        );
        check_refused(&["--replicas", "broker=2"], "broker runs in 1 to 1 processes, not 2");
        check_refused(
            &["--replicas", "account@v2=2"],
            "account@v2 has replicas and no program; `--role account@v2=` names ours",
        );
        check_refused(
            &["--role", "account@v2=", "--replicas", "account@v2=17"],
            "account@v2 runs in 1 to 16 processes, not 17",
        );
        check_refused(&["--routes", "/no/such/file"], "/no/such/file cannot be used");
        check_refused(&["--routes", "/"], "/ cannot be used");
        check_refused(&["--set", "authorities=/no/such/file"], "/no/such/file cannot be used");
        check_refused(&["--set", "logs.level=loud"], "`logs.level` is `loud`, which is no level");
        assert!(gather(&["--replicas", "schedular=2"]).is_err());
        assert!(gather(&["--mesh", "beside"]).is_err());
    }

    #[track_caller]
    fn check_foreign(name: &str, service: &str, expected: &str) {
        check_refused(&["--set", &format!("services.{name}={service}")], expected);
    }

    #[test]
    fn a_foreign_service_that_cannot_be_is_refused() {
        let python = r#"{"command": ["python3"]}"#;
        check_foreign("broker", python, "broker is no service that another program can be");
        let expected = "`services.package.command` names no program";
        check_foreign("package", r#"{"command": []}"#, expected);
        let expected = "`services.package.port` is 0; leave it out for a free one";
        check_foreign("package", r#"{"command": ["x"], "port": 0}"#, expected);
        for path in ["readyz", "/ready z", "/r\\r\\nX: 1"] {
            let service = format!(r#"{{"command": ["x"], "health": "{path}"}}"#);
            assert!(gather(&["--set", &format!("services.package={service}")]).is_err(), "{path}");
        }
        let both = ["--role", "package@v2=", "--set", &format!("services.package@v2={python}")];
        check_refused(&both, "package@v2 is in `programs` and in `services`");
    }

    #[test]
    fn a_further_version_runs_beside_its_role() {
        let flags = ["--role", "account@v2=/bin/sh", "--role", "account@v3=", "--replicas"];
        let settings = gather(&[&flags[..], &["account@v2=2"]].concat()).unwrap().settings;
        let accounts: Vec<_> = settings
            .editions()
            .into_iter()
            .filter(|it| it.role == Role::Account)
            .map(|it| (it.to_string(), settings.replicas(&it), settings.program(&it)))
            .collect();
        let expected = [
            ("account".to_owned(), 1, None),
            ("account@v2".to_owned(), 2, Some(Path::new("/bin/sh"))),
            ("account@v3".to_owned(), 1, None),
        ];
        assert_eq!(accounts, expected);
    }

    #[test]
    fn files_of_routes_are_known_by_their_whole_path() {
        // Tests run in the folder of their crate.
        let flags = ["--routes", "Cargo.toml", "--routes", "src/main.rs", "--mesh", "off"];
        let further = ["--set", "authorities=Cargo.toml"];
        let settings = gather(&[&flags[..], &further].concat()).unwrap().settings;
        let folder = std::env::current_dir().unwrap();
        let expected = [folder.join("Cargo.toml"), folder.join("src/main.rs")];
        assert_eq!(settings.authorities.as_ref(), Some(&expected[0]));
        assert_eq!((settings.route_files, settings.mesh), (expected.to_vec(), MeshPlacement::Off));
    }

    #[test]
    fn strict_is_refused_where_somebody_could_not_speak_it() {
        let refused = |arguments: &[&str], expected: &str| {
            let error = gather(arguments).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        assert!(gather(&["--tls", "strict"]).is_ok());
        refused(&["--tls", "strict", "--mesh", "off"], "without a mesh");
        let python = "services.package={\"command\": [\"python3\"]}";
        refused(&["--tls", "strict", "--set", python], "needs a proxy beside it");
        assert!(gather(&["--tls", "strict", "--set", python, "--mesh", "sidecar"]).is_ok());
        refused(&["--set", "identity_life_s=9"], "10 to 86400");
    }

    #[test]
    fn a_control_plane_is_refused_where_somebody_would_not_be_found() {
        let refused = |arguments: &[&str], expected: &str| {
            let on = ["--set", "mesh_control.enabled=true"];
            let error = gather(&[&on[..], arguments].concat()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        let roles = |it: &Settings| it.editions().iter().map(|it| it.role).collect::<Vec<_>>();
        assert!(!roles(&gather(&[]).unwrap().settings).contains(&Role::Control));
        let on = gather(&["--set", "mesh_control.enabled=true"]).unwrap().settings;
        assert_eq!(roles(&on), Role::ALL);
        refused(&["--mesh", "off"], "without a mesh");
        let python = "services.package={\"command\": [\"python3\"]}";
        refused(&["--set", python], "needs a proxy beside it");
        refused(
            &["--set", "mesh_control.lease_ms=999"],
            "`mesh_control.lease_ms` is 1000 to 60000",
        );
        refused(&["--replicas", "control=2"], "control runs in 1 to 1 processes");
        let beside = ["--set", "mesh_control.enabled=true", "--set", python, "--mesh", "sidecar"];
        assert!(gather(&beside).is_ok());
    }

    #[test]
    fn what_was_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Settings::of(folder.path()).unwrap().is_none());
        let mut settings = gather(&["--replicas", "scheduler=2"]).unwrap().settings;
        settings.port_base = 9_000;
        settings.write(folder.path()).unwrap();
        let read = Settings::of(folder.path()).unwrap().unwrap();
        assert_eq!((read.port_base, read.replicas(&Edition::first(Role::Scheduler))), (9_000, 2));
    }
}
