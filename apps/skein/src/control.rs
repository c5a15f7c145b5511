//! `skein control`: the control plane as a process.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use clap::Args;
use identity::Handshakes;
use mesh_control::{
    Plane, RegistryConfig,
    sources::{
        Source as _,
        dns::{Dns, Name, SystemResolver},
    },
};
use service_kit::{Routes, Service, ServiceConfig, ServiceContext};

use crate::{
    Failure,
    commands::durations::duration,
    failure,
    kubernetes::EndpointSlices,
    mesh::{FileSource, PolicyFiles},
};

/// What it is called.
pub const NAME: &str = "control";

/// What a control plane is told.
#[derive(Debug, Clone, Args)]
pub struct ControlArguments {
    /// Where proxies and instances come in.
    #[arg(long, default_value = "127.0.0.1:7070", value_name = "HOST:PORT")]
    pub listen: SocketAddr,
    /// Where operators come in; a free port of the loopback interface where nothing is said.
    #[arg(long, default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), value_name = "HOST:PORT")]
    pub admin_listen: SocketAddr,
    /// Files of policy that every proxy hears; they are followed.
    #[arg(long = "file", value_name = "FILE")]
    pub files: Vec<std::path::PathBuf>,
    /// Services that are found by a name of the DNS: addresses at a port, or service records (SRV).
    #[arg(long, value_name = "SERVICE=HOST:PORT|_NAME._PROTO.DOMAIN", value_delimiter = ',', value_parser = named)]
    pub dns: Vec<(String, Name)>,
    /// How often names are looked up.
    #[arg(long, default_value = "5s", value_name = "TIME", value_parser = time)]
    pub dns_every: Duration,
    /// The namespace whose EndpointSlices say where services are: those of the cluster that this runs in.
    #[arg(long, value_name = "NAMESPACE")]
    pub kubernetes: Option<String>,
    /// The API of another cluster, such as that of `kubectl proxy`.
    #[arg(long, value_name = "URL", requires = "kubernetes")]
    pub kubernetes_api: Option<String>,
    /// An instance that did not renew for so long is gone.
    #[arg(long, default_value = "3s", value_name = "TIME", value_parser = time)]
    pub lease: Duration,
    /// So long after its start it takes nobody for gone; at least a lease.
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = time)]
    pub grace: Duration,
}

fn time(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    if time < Duration::from_millis(100) { Err("at least 100ms".to_owned()) } else { Ok(time) }
}

fn named(text: &str) -> Result<(String, Name), &'static str> {
    const FORM: &str =
        "a service and its name are `SERVICE=HOST:PORT` or `SERVICE=_NAME._PROTO.DOMAIN`";
    let (service, name) = text.split_once('=').ok_or(FORM)?;
    let name = name.parse().map_err(|_| FORM)?;
    if service.is_empty() { Err(FORM) } else { Ok((service.to_owned(), name)) }
}

/// What the process is told about itself.
#[must_use]
pub fn config(arguments: &ControlArguments) -> ServiceConfig {
    let mut config = ServiceConfig::new(NAME.to_owned(), NAME.to_owned(), "");
    config.admin = arguments.admin_listen;
    config
}

/// A control plane that runs.
#[derive(Debug)]
pub struct Running {
    /// Where proxies and instances come in.
    pub address: SocketAddr,
    /// Where operators come in.
    pub admin: SocketAddr,
}

/// Starts it on the context's tasks. With handshakes it shows who it is, and lets in those alone who show
/// who they are.
///
/// # Errors
/// A file cannot be used, each place named, or an address cannot be listened on.
pub async fn start(
    arguments: &ControlArguments,
    context: &ServiceContext,
    known: Option<Handshakes>,
) -> Result<Running, Failure> {
    let config =
        RegistryConfig { lease: arguments.lease, grace: arguments.grace.max(arguments.lease) };
    let ServiceContext { clock, telemetry, tasks, .. } = context;
    if let Some(known) = &known {
        // For the page about it.
        context.client().mesh().know(known.clone());
    }
    let plane = Plane::new(config, known, clock.clone(), telemetry);
    if !arguments.files.is_empty() {
        let mut files = FileSource::new(PolicyFiles::new().with_files(&arguments.files));
        let said = files.look().await;
        plane.take(files.name(), said).map_err(|it| {
            Failure::new("bad_policy", "the control plane cannot use its files").because(it)
        })?;
        plane.follow(files, tasks);
    }
    if !arguments.dns.is_empty() {
        let services: BTreeMap<_, _> = arguments.dns.iter().cloned().collect();
        plane.follow(Dns::new(services, arguments.dns_every, SystemResolver::new()), tasks);
    }
    if let Some(namespace) = &arguments.kubernetes {
        let api = arguments.kubernetes_api.as_deref();
        plane.follow(EndpointSlices::of(namespace, api)?, tasks);
    }
    let start_failed = |it: &dyn std::error::Error| {
        Failure::new("start_failed", "the control plane cannot start").because(failure::chain(it))
    };
    let address = plane.serve(arguments.listen, tasks).await.map_err(|it| start_failed(&it))?;
    let operators = Service::new(Routes::new()).shows("/services", move || plane.shown());
    let admin = operators.serve_admin(context).map_err(|it| start_failed(&it))?;
    Ok(Running { address, admin })
}
