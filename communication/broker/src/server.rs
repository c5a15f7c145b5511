//! The broker as a whole: its files, its listener, its timers.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, atomic::AtomicI64},
    time::Duration,
};

use base::SharedClock;
use callers::Witness;
use identity::Room;
use runtime::{Shutdown, Tasks, connections_within_descriptors};
use telemetry::Telemetry;
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::Semaphore,
    time::sleep,
};

use crate::{
    commits::{Commits, CommitsError},
    config::BrokerConfig,
    door,
    groups::{GroupSettings, Groups},
    metrics::BrokerMetrics,
    rights::LogDoor,
    shared::Shared,
    topic_error::TopicError,
    topics::Topics,
    users::Users,
};

/// Connections that the kernel holds for us while we are at our limit.
const BACKLOG: u32 = 1_024;
/// Wait after a failed accept, which means that file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Time between two looks at what may be retired.
const RETENTION_EVERY: Duration = Duration::from_secs(10);
/// Producers that one start can number; the next start begins past them.
const PRODUCERS_OF_A_START: i64 = 1 << 32;

/// Why a broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The directory cannot be used.
    #[error("cannot use {}", path.display())]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another broker has the directory.
    #[error("another broker uses {}", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// A topic cannot be opened or made.
    #[error("a topic cannot be opened")]
    Topic(#[source] TopicError),
    /// The commits of groups cannot be opened.
    #[error("the commits of groups cannot be opened")]
    Commits(#[source] CommitsError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Starts brokers.
#[derive(Debug)]
pub struct Broker;

/// A broker that is running; it stops with the tasks that it was started on.
#[derive(Debug, Clone)]
pub struct BoundBroker {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

/// What stands around a broker; nothing by default.
#[derive(Debug, Default)]
pub struct Around {
    /// A door that asks who comes in.
    pub door: Option<LogDoor>,
    /// Who may say a name and a secret: at the door in the place of a certificate, inside TLS; without a door
    /// in plain text from this machine, and then may do no more than whoever says nothing.
    pub users: Option<Users>,
    /// Who hears what administrators change.
    pub witness: Option<Witness>,
}

impl BoundBroker {
    /// Ends every log after what is queued; for a drain in order, when nobody produces any more.
    pub async fn close(&self) {
        for topic in self.shared.topics.all() {
            topic.log.close().await;
        }
        self.shared.topics.remember();
        self.shared.commits.close().await;
    }
}

impl Broker {
    /// Opens the files, blocking for as long as that takes, and serves on `tasks`.
    ///
    /// # Errors
    /// [`StartError`]; nothing is served.
    pub fn start(
        config: BrokerConfig,
        clock: SharedClock,
        telemetry: &Telemetry,
        tasks: &Tasks,
    ) -> Result<BoundBroker, StartError> {
        Self::start_within(Around::default(), config, clock, telemetry, tasks)
    }

    /// The same within what stands around it.
    ///
    /// # Errors
    /// [`StartError`]; nothing is served.
    pub fn start_within(
        Around { door, users, witness }: Around,
        config: BrokerConfig,
        clock: SharedClock,
        telemetry: &Telemetry,
        tasks: &Tasks,
    ) -> Result<BoundBroker, StartError> {
        let lock = lock(&config)?;
        let commits = Commits::open(&config.data.join("commits"), clock.clone())
            .map_err(StartError::Commits)?;
        let topics =
            Topics::open(&config, clock.clone(), commits.highest()).map_err(StartError::Topic)?;
        let listener = listen(config.listen)?;
        let bind = |source| StartError::Bind { address: config.listen, source };
        let address = listener.local_addr().map_err(bind)?;
        let metrics = BrokerMetrics::new(telemetry);
        let settings = GroupSettings {
            initial_delay: Duration::from_millis(config.initial_rebalance_delay_ms),
            session_min: Duration::from_millis(config.session_timeout_min_ms),
            session_max: Duration::from_millis(config.session_timeout_max_ms),
        };
        let members = metrics.members.clone();
        let groups = Groups::new(clock, settings, config.members_max, members);
        let advertised =
            config.advertised.clone().unwrap_or_else(|| (address.ip().to_string(), address.port()));
        let starts = i64::try_from(topics.starts()).unwrap_or(i64::MAX >> 32);
        let shared = Arc::new(Shared {
            advertised,
            topics,
            commits,
            groups,
            metrics,
            door,
            users,
            witness,
            strangers: Room::new(config.strangers_max),
            next_producer: AtomicI64::new(starts.saturating_mul(PRODUCERS_OF_A_START)),
            config,
            lock,
        });
        start_tasks(&shared, listener, tasks);
        tracing::info!(%address, "broker is listening");
        Ok(BoundBroker { address, shared })
    }
}

fn lock(config: &BrokerConfig) -> Result<File, StartError> {
    let path = config.data.join("lock");
    let io = |source| StartError::Io { path: path.clone(), source };
    std::fs::create_dir_all(&config.data).map_err(io)?;
    let file =
        OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StartError::InUse { path: config.data.clone() }),
        Err(TryLockError::Error(source)) => Err(io(source)),
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    let bind = |source| StartError::Bind { address, source };
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let socket = socket.map_err(bind)?;
    socket.set_reuseaddr(true).map_err(bind)?;
    socket.bind(address).map_err(bind)?;
    socket.listen(BACKLOG).map_err(bind)
}

fn start_tasks(shared: &Arc<Shared>, listener: TcpListener, tasks: &Tasks) {
    let (accepting, owner) = (Arc::clone(shared), tasks.clone());
    tasks.spawn("broker listener", move |shutdown| accept(accepting, listener, owner, shutdown));
    let watching = Arc::clone(shared);
    tasks.spawn("group watch", |shutdown| async move { watching.groups.watch(shutdown).await });
    let commits = shared.commits.clone();
    tasks.spawn("snapshots", |shutdown| async move { commits.watch(shutdown).await });
    let retiring = Arc::clone(shared);
    tasks.spawn("retention", |shutdown| retire(retiring, shutdown));
}

async fn accept(shared: Arc<Shared>, listener: TcpListener, tasks: Tasks, shutdown: Shutdown) {
    let most = connections_within_descriptors(shared.config.connections_max);
    let places = Arc::new(Semaphore::new(most));
    loop {
        // Cancel-safe: a connection is returned by the poll that accepts it.
        let accepted = shutdown.or_cancel(async {
            let place = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
            let (stream, from) = listener.accept().await?;
            stream.set_nodelay(true)?;
            Ok::<_, io::Error>((stream, from, place))
        });
        match accepted.await {
            None => return,
            Some(Ok((stream, from, place))) => {
                let shared = Arc::clone(&shared);
                tasks.spawn("broker connection", |shutdown| async move {
                    shared.metrics.connections.add(1.0);
                    door::serve(Arc::clone(&shared), stream, from, shutdown).await;
                    shared.metrics.connections.add(-1.0);
                    drop(place);
                });
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "accept failed");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn retire(shared: Arc<Shared>, shutdown: Shutdown) {
    show(&shared);
    while shutdown.or_cancel(sleep(RETENTION_EVERY)).await.is_some() {
        for topic in shared.topics.all() {
            match topic.retire() {
                Ok(0) => {}
                Ok(segments) => tracing::info!(topic = topic.config.name, segments, "retired"),
                Err(error) => {
                    tracing::warn!(topic = topic.config.name, %error, "retention failed; will try again");
                }
            }
        }
        shared.topics.remember();
        let kept = Duration::from_millis(shared.config.commits_kept_ms);
        shared.commits.forget(kept, &shared.groups.alive()).await;
        show(&shared);
    }
}

/// Brings the figures of every log up to date.
fn show(shared: &Shared) {
    for topic in shared.topics.all() {
        shared.metrics.show(&topic.config.name, &topic.log.stats());
    }
}
