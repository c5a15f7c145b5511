//! Everything that can be set, in one document. `up` writes it into the data directory; each role and
//! each command reads it there. What its values come from is [`crate::layered`]'s part, and what the
//! roles make of it [`crate::editions`]'.

use std::{
    collections::BTreeMap,
    fmt, fs,
    io::{self, Write as _},
    ops::RangeInclusive,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use dashboard::DashboardConfig;
use fleet_rules::FleetConfig;
use runtime::config::{ConfigError, Layers, Origin};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use service_kit::{Limits, Profile};
use skein::{Exit, Failure, failure, folder};

use crate::roles::ServiceSettings;

/// The file in the data directory.
pub(crate) const FILE: &str = "settings.json";
/// Lives of identities: shorter ones would be renewed all the time, longer ones outlive what they say.
const IDENTITY_LIFE_S: RangeInclusive<u64> = 10..=86_400;
/// Leases and grace of a control plane: in less a busy machine does not renew, in more nobody is gone.
const CONTROL_MS: RangeInclusive<u64> = 1_000..=60_000;

/// The settings of a whole system. They are read by layers alone, which refuse what nobody knows.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
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
    /// The drones, and how their time runs: what Drone and Third-party Transport agree on.
    pub(crate) fleet: FleetConfig,
    /// The page.
    pub(crate) dashboard: DashboardConfig,
    /// The services, a section each.
    #[serde(flatten)]
    pub(crate) of_services: ServiceSettings,
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

impl fmt::Display for MeshPlacement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InProcess => "in-process",
            Self::Sidecar => "sidecar",
            Self::Off => "off",
        })
    }
}

/// Whether services show each other who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Tls {
    /// They do not: every process of this machine may call every service.
    Off,
    /// Mutual TLS between services, and nobody may do what no rule allows.
    #[default]
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
    /// The certificate that is shown over TLS, and those between it and an authority: a file of PEM. Without
    /// one a certificate is made.
    pub(crate) certificate: Option<PathBuf>,
    /// The key of that certificate: a file of PEM.
    pub(crate) certificate_key: Option<PathBuf>,
    /// What the port without TLS does; without a word, what the profile says.
    pub(crate) plain: Option<Plain>,
}

/// What the gateway's port without TLS does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Plain {
    /// It answers as the other: profile `demo`.
    Serve,
    /// It sends on to the other what shows no credential, and refuses the rest: profile `strict`.
    Redirect,
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
        Self {
            hosts,
            auth: Asking::default(),
            certificate: None,
            certificate_key: None,
            plain: None,
        }
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
            fleet: FleetConfig::default(),
            dashboard: DashboardConfig::default(),
            of_services: ServiceSettings::default(),
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
    /// A role is named that does not exist or cannot have so many processes, or two values do not go
    /// together.
    #[error("{0}")]
    Unfit(String),
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        let exit = match &error {
            SettingsError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Exit::NotFound
            }
            SettingsError::Io { .. } | SettingsError::Syntax { .. } => Exit::Failed,
            SettingsError::Refused(_) | SettingsError::Unfit(_) => Exit::Usage,
        };
        let failure = Self::new("bad_settings", "the settings cannot be used")
            .because(failure::chain(&error))
            .exit(exit);
        match error {
            SettingsError::Refused(ConfigError::UnknownKey { .. }) => {
                failure.next("drone-delivery config")
            }
            _ => failure,
        }
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

    /// Whether what is set can be together; of what the roles are told, [`crate::editions`] judges.
    pub(crate) fn check(&self) -> Result<(), SettingsError> {
        let own = || {
            self.services.iter().try_for_each(|(name, it)| it.check(name))?;
            self.check_tls()?;
            self.check_control()?;
            self.check_gateway()?;
            match telemetry::logs::level(&self.logs.level) {
                Some(_) => Ok(()),
                None => Err(format!("`logs.level` is `{}`, which is no level", self.logs.level)),
            }
        };
        own().map_err(SettingsError::Unfit)
    }

    fn check_tls(&self) -> Result<(), String> {
        let life = self.identity_life_s;
        if !IDENTITY_LIFE_S.contains(&life) {
            let (least, most) = (IDENTITY_LIFE_S.start(), IDENTITY_LIFE_S.end());
            return Err(format!("`identity_life_s` is {least} to {most}, not {life}"));
        }
        match (self.tls, self.mute()) {
            (Tls::Strict, Some(why)) => {
                Err(format!("{why}: `tls` is strict and `mesh` {}", self.mesh))
            }
            (Tls::Strict, None) | (Tls::Off, _) => Ok(()),
        }
    }

    /// Why some service could not show who it is.
    pub(crate) fn mute(&self) -> Option<&'static str> {
        match self.mesh {
            MeshPlacement::Off => Some("without a mesh nobody speaks TLS"),
            MeshPlacement::InProcess if !self.services.is_empty() => Some(
                "a program of others needs a proxy beside it that speaks TLS (`--mesh sidecar`)",
            ),
            MeshPlacement::InProcess | MeshPlacement::Sidecar => None,
        }
    }

    /// What the gateway's port without TLS does.
    pub(crate) fn plain(&self) -> Plain {
        self.gateway.plain.unwrap_or(match self.profile {
            Profile::Demo => Plain::Serve,
            Profile::Strict => Plain::Redirect,
        })
    }

    fn check_gateway(&self) -> Result<(), String> {
        let GatewaySettings { certificate, certificate_key, .. } = &self.gateway;
        if certificate.is_some() == certificate_key.is_some() {
            return Ok(());
        }
        Err("`gateway.certificate` and `gateway.certificate_key` go together".to_owned())
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
                     is on and `mesh` in-process (`--mesh sidecar`)"
                    .to_owned(),
            ),
            _ => Ok(()),
        }
    }
}

impl ForeignService {
    fn check(&self, name: &str) -> Result<(), String> {
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

pub(crate) fn read_json(path: &Path) -> Result<Value, SettingsError> {
    let text = fs::read_to_string(path)
        .map_err(|source| SettingsError::Io { path: path.to_owned(), source })?;
    serde_json::from_str(&text)
        .map_err(|source| SettingsError::Syntax { path: path.to_owned(), source })
}
