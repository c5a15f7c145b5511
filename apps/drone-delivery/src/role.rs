//! One process of one role: made from the settings, run until the pipe to `up` closes or a signal
//! comes, then drained.

use std::{path::Path, time::Duration};

use base::SharedClock;
use broker::{
    Around, BoundBroker, Broker, BrokerConfig, Judge, Judged, LogDoor, PlainClients, Right,
    TopicConfig, Users,
};
use contracts::topics;
use identity::{HandshakeConfig, Handshakes, PublicHandshakes};
use mesh_proxy::{Guard, Mesh};
use runtime::{SystemClock, Tasks};
use service_kit::{
    Bound, FaultHook, Health, Operators, Routes, SecureDoor, Service, ServiceConfig,
    ServiceContext, StartError, announce_ready,
};
use skein::{
    Exit, Failure,
    audit::AuditLog,
    certificate,
    edge::{Edge, PlainDoor},
    failure, program,
    supervise::{
        AUDIT,
        lifeline::{WatchInput, farewell},
    },
};
use telemetry::{
    Telemetry, TelemetryConfig,
    logs::{LogConfig, LogFormat},
};
use tokio::sync::watch;

use crate::{
    addresses::{addresses, collector, https, loopback},
    certificates,
    cli::RoleArguments,
    control,
    identities::{self, Surroundings},
    keys,
    mesh::{self, Own},
    page, processes,
    roles::{Kind, Role},
    settings::{BrokerSettings, Plain, Settings, Tls},
    sidecars, tokens,
};

/// Time that work in flight has to end. Shorter than the time after which `up` ends by force.
pub(crate) const DRAIN: Duration = Duration::from_secs(8);

/// Runs the process to its end.
pub(crate) async fn run(data: &Path, arguments: &RoleArguments) -> Result<Exit, Failure> {
    if arguments.role == sidecars::ROLE {
        return sidecars::run(data, arguments).await;
    }
    let RoleArguments { role, instance, outbound, .. } = arguments;
    let unknown = || Failure::new("no_such_role", format!("no role is called `{role}`"));
    let role = Role::parse(role).ok_or_else(|| unknown().exit(Exit::Usage))?;
    let settings = Settings::of(data)?.ok_or_else(|| {
        Failure::new("no_settings", "no system was started here").at(data.display())
    })?;
    let clock = SystemClock::shared();
    start_logs(&settings, role.name(), instance, &clock);
    program::take_descriptors();
    let telemetry = telemetry(&settings, &clock);
    let tasks = Tasks::new();
    let config = service_config(&settings, data, role, arguments);
    let mut context = context(config, data, (clock, telemetry, &tasks));
    let known = match settings.tls {
        Tls::Off => None,
        Tls::Strict => Some(identities::take(role.name(), &around(&context, data)).await?),
    };
    if let Some(handshakes) = &known {
        context.enter_log(identities::to_log(handshakes.clone()));
    }
    let (register, registered) = watch::channel(Vec::new());
    let own = Own { known, registered };
    let mesh = mesh::place(&mut context, role, &settings, data, *outbound, &own)?;
    let mesh = match (role, mesh) {
        // The edge is one wherever the mesh stands; the log judges by the policy of the mesh.
        (Role::Gateway, None) => Some(mesh::start(&context, &settings, data, &own)?),
        (Role::Broker, None) if own.known.is_some() => {
            Some(mesh::start(&context, &settings, data, &own)?)
        }
        (_, mesh) => mesh,
    };
    let start_failed = |error: StartError| {
        Failure::new("start_failed", format!("{} cannot start", role.name()))
            .because(failure::chain(&error))
    };
    // Where instances register: else the file is there before the process.
    let heard = mesh.clone().filter(|_| settings.mesh_control.enabled);
    if let Some(mesh) = heard.as_ref().filter(|_| role == Role::Gateway) {
        mesh::leads_on(mesh).await?;
    }
    let is_first = arguments.port.is_none();
    let parts = Parts { mesh, known: own.known, is_first };
    let started = start(&context, role, settings, parts, data).await.map_err(start_failed)?;
    if role.is_service() {
        // Beside a proxy nobody takes it: the proxy registers what is behind its door.
        let registration =
            control::registration(&context.config, &started.bound, context.clock.now());
        register.send_replace(vec![registration.clone()]);
        if let Some(mesh) = &heard {
            mesh::is_found(mesh, &registration).await;
        }
    }
    let ended = async {
        announce_ready(&context.config, &started.bound)?;
        farewell(WatchInput::Yes).await
    };
    let why = ended.await.map_err(|it| Failure::new("start_failed", it.to_string()))?;
    tracing::info!(?why, "draining");
    let exit = program::drain(&tasks, DRAIN, why).await;
    if let Some(broker) = started.broker {
        broker.close().await;
    }
    Ok(exit)
}

/// What some roles need besides their surroundings.
struct Parts {
    /// Where the mesh stands in this process.
    mesh: Option<Mesh>,
    /// Where processes show who they are.
    known: Option<Handshakes>,
    /// Whether its ports are the well-known ones.
    is_first: bool,
}

fn around<'a>(context: &'a ServiceContext, data: &'a Path) -> Surroundings<'a> {
    let ServiceContext { clock, telemetry, tasks, .. } = context;
    Surroundings { data, clock, telemetry, tasks }
}

/// The surroundings of a process of this system, where what operators change is noted.
pub(crate) fn context(
    config: ServiceConfig,
    data: &Path,
    (clock, telemetry, tasks): (SharedClock, Telemetry, &Tasks),
) -> ServiceContext {
    let audit = AuditLog::at(data.join(AUDIT), clock.clone());
    let mut context = ServiceContext::new(config, clock, telemetry, tasks.clone());
    context.witnessed_by(audit.witness(tasks));
    context
}

/// The telemetry of a process of this system.
pub(crate) fn telemetry(settings: &Settings, clock: &SharedClock) -> Telemetry {
    let traces_per_second = settings.traces_per_second;
    let config = TelemetryConfig { traces_per_second, ..TelemetryConfig::default() };
    Telemetry::new(config, clock.clone())
}

/// Whether operators may plant faults, in a service as in the proxy beside it.
pub(crate) const fn faults(settings: &Settings) -> FaultHook {
    if settings.faults { FaultHook::On } else { FaultHook::Off }
}

/// Who may change something at the port of operators of a process of this system: `up` draws the token before
/// anything runs.
pub(crate) fn operators(data: &Path) -> Operators {
    let token = tokens::read(data, tokens::OPERATORS);
    token.map_or(Operators::Nobody, |it| Operators::Holding(it.digest()))
}

/// Begins the log of a process of this system.
pub(crate) fn start_logs(settings: &Settings, service: &str, instance: &str, clock: &SharedClock) {
    let config = LogConfig {
        format: LogFormat::Json,
        // Checked when the settings were made.
        level: telemetry::logs::level(&settings.logs.level)
            .unwrap_or(tracing::level_filters::LevelFilter::INFO),
        service: service.to_owned(),
        instance: instance.to_owned(),
    };
    // A subscriber that is there already writes the same lines.
    let _installed = telemetry::logs::init(config, clock.clone());
}

fn service_config(
    settings: &Settings,
    data: &Path,
    role: Role,
    told: &RoleArguments,
) -> ServiceConfig {
    let mut config = ServiceConfig::new(role.name(), &told.instance, data.join(role.name()));
    config.version = told.version.clone().unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned());
    config.profile = settings.profile;
    config.trace_endpoint = Some(format!("http://{}", collector(settings)));
    config.faults = faults(settings);
    config.operators = operators(data);
    config.limits = settings.limits.clone();
    config.authorities.clone_from(&settings.authorities);
    config.call_timeout = Duration::from_millis(settings.call_timeout_ms);
    config.edge = (settings.tls == Tls::Strict).then(|| Role::Gateway.name().to_owned());
    // The others listen by protocols of their own, and call nobody.
    if role.is_called() {
        config.services = addresses(settings);
        config.http = told.port.map_or_else(|| role.address(settings), loopback);
    }
    // The edge only leads on, and the log does not write to itself.
    if role.is_called() && role != Role::Gateway {
        config.bootstrap = vec![Role::Broker.address(settings).to_string()];
    }
    config
}

/// A role that runs.
struct Started {
    bound: Bound,
    broker: Option<BoundBroker>,
}

async fn start(
    context: &ServiceContext,
    role: Role,
    settings: Settings,
    Parts { mesh, known, is_first }: Parts,
    data: &Path,
) -> Result<Started, StartError> {
    let own = context.clone();
    let bound = match role.kind() {
        Kind::Log => return start_broker(context, &settings, mesh.as_ref(), data),
        Kind::Control => control::start(own, control::arguments(&settings), known).await?,
        Kind::Edge => start_edge(context, &settings, mesh, data, is_first)?,
        Kind::Page => {
            let surroundings = dashboard::Surroundings {
                collector: collector(&settings),
                processes: processes::path(data),
                token: page::token(&settings, data),
            };
            dashboard::run(own, surroundings, settings.dashboard).await?
        }
        Kind::Service(start) => start(own, settings.of_services, settings.fleet).await?,
    };
    Ok(Started { bound, broker: None })
}

fn start_edge(
    context: &ServiceContext,
    settings: &Settings,
    mesh: Option<Mesh>,
    data: &Path,
    is_first: bool,
) -> Result<Bound, StartError> {
    let mut hosts = settings.gateway.hosts.clone();
    if !hosts.is_empty() {
        // As our own commands and services call it. No stranger's page has a name without a dot.
        hosts.push(Role::Gateway.name().to_owned());
    }
    let missing = || StartError::Part { what: "the mesh", source: "none".into() };
    let mesh = mesh.ok_or_else(missing)?;
    let ServiceContext { clock, telemetry, tasks, .. } = context;
    // Before it listens: who is known is known from the first request on.
    let authorities = context.config.authorities.as_deref();
    skein::callers::follow(&mesh, data, authorities, clock.clone(), telemetry, tasks);
    let files = certificates::files(settings, data);
    let presented = certificate::follow(files, &mesh, clock.clone(), telemetry, tasks);
    let bounds = HandshakeConfig::default();
    let handshakes = PublicHandshakes::new(&bounds, presented, clock.clone(), telemetry);
    let address = if is_first { https(settings) } else { loopback(0) };
    let plain = match settings.plain() {
        Plain::Serve => PlainDoor::Serves,
        Plain::Redirect => PlainDoor::SendsTo(https(settings).port()),
    };
    let secure = Some(SecureDoor { address, handshakes });
    skein::edge::run(context, &mesh, Edge { name: mesh::EDGE.to_owned(), hosts, secure, plain })
}

fn start_broker(
    context: &ServiceContext,
    settings: &Settings,
    mesh: Option<&Mesh>,
    data: &Path,
) -> Result<Started, StartError> {
    let topic = |it: topics::Topic| TopicConfig {
        name: it.name.to_owned(),
        partitions: it.partitions,
        synced: it.synced,
        retention_ms: Some(it.retention_ms),
        retention_bytes: None,
    };
    let config = BrokerConfig {
        listen: Role::Broker.address(settings),
        topics: topics::ALL.map(topic).to_vec(),
        segment_bytes: settings.broker.segment_bytes,
        connections_max: settings.broker.connections_max,
        topics_max: settings.broker.topics_max,
        ..BrokerConfig::new(data.join(Role::Broker.name()))
    };
    let (clock, telemetry) = (context.clock.clone(), &context.telemetry);
    let door = mesh.and_then(|it| log_door(it, &settings.broker, telemetry));
    let users = keys::users(data);
    let users = skein::users::follow(users.path(), telemetry, &context.tasks);
    let users = Users::new(users, identities::TRUST_DOMAIN, clock.clone());
    let around = Around { door, users: Some(users), witness: context.witness().cloned() };
    let broker = Broker::start_within(around, config, clock, telemetry, &context.tasks)
        .map_err(|it| StartError::Part { what: "the log", source: it.into() })?;
    // Health, and metrics for operators; records come in by the other door.
    let mut service = Service::new(Routes::new()).health(Health::new()).public();
    if let Some(mesh) = mesh {
        service = service.mesh(mesh).inbound(mesh);
    }
    let bound = service.serve(context)?;
    Ok(Started { bound, broker: Some(broker) })
}

/// The door of the log, where it is one that asks: by the policy that holds for calls too.
fn log_door(mesh: &Mesh, settings: &BrokerSettings, telemetry: &Telemetry) -> Option<LogDoor> {
    let handshakes = mesh.handshakes()?.clone();
    let guard = Guard::new(mesh.clone(), Role::Broker.name(), telemetry);
    let judge = Judge::new(move |caller, right, name, why| {
        let (method, path) = match right {
            Right::Produce => ("PRODUCE", format!("/topics/{name}")),
            Right::Consume => ("CONSUME", format!("/topics/{name}")),
            Right::Group => ("GROUP", format!("/groups/{name}")),
            Right::Describe => ("DESCRIBE", "/".to_owned()),
            Right::Administer => ("ADMINISTER", "/".to_owned()),
        };
        match why {
            Judged::ToServe => guard.permits(caller, method, &path),
            Judged::ToTell => guard.would_permit(caller, method, &path),
        }
    });
    let plain = if settings.plain_clients { PlainClients::Trusted } else { PlainClients::Refused };
    Some(LogDoor { handshakes, judge, plain })
}
