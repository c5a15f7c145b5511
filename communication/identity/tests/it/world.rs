//! A machine of the tests: an authority behind a socket, a clock that is moved by hand, and processes.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use base::{ManualClock, Random, SharedClock};
use identity::{
    AuthorityConfig, BRANCH_LIFE, Credentials, Current, Entrance, Grounds, JoinToken, KeeperConfig,
    Membership, Office, Protocol, RotationStep, Serial, SpiffeId, keep,
};
use runtime::Tasks;
use telemetry::Telemetry;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixListener,
    time::timeout,
};

use crate::{
    peers::{connection, handshakes},
    pki::{DOMAIN, id, now},
};

/// Longer than anything here takes.
pub(crate) const LONG: Duration = Duration::from_secs(20);
/// Looks often: the tests move the clock by hand.
pub(crate) const CONFIG: KeeperConfig = KeeperConfig {
    renewal: identity::RenewalConfig { at: 0.5, jitter: 0.1, backoff_ms: 10, backoff_max_ms: 40 },
    look_ms: 10,
    timeout_ms: 5_000,
};

/// A directory with an authority in it, and a clock.
pub(crate) struct World {
    pub(crate) directory: TempDir,
    pub(crate) clock: Arc<ManualClock>,
    telemetry: Telemetry,
    pub(crate) office: Office,
    serving: Tasks,
    processes: Tasks,
}

impl World {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(now()));
        let telemetry = Telemetry::disabled();
        let (office, serving) = Self::open(&directory, &clock, &telemetry);
        Self { directory, clock, telemetry, office, serving, processes: Tasks::new() }
    }

    /// Another machine, with a branch of the authority of this one.
    pub(crate) fn branch(&self) -> Self {
        let (directory, clock) = (tempfile::tempdir().unwrap(), Arc::clone(&self.clock));
        let telemetry = Telemetry::disabled();
        let file = self.office.branch(BRANCH_LIFE).unwrap().state;
        let (office, serving) = Self::open_branch(&directory, &file, &clock, &telemetry);
        Self { directory, clock, telemetry, office, serving, processes: Tasks::new() }
    }

    /// Starts a branch again with a newer file of this authority.
    pub(crate) fn start_again_by(&mut self, first: &Self) {
        let file = first.office.branch(BRANCH_LIFE).unwrap().state;
        let opened = Self::open_branch(&self.directory, &file, &self.clock, &self.telemetry);
        (self.office, self.serving) = opened;
    }

    fn open_branch(
        directory: &TempDir,
        file: &str,
        clock: &Arc<ManualClock>,
        telemetry: &Telemetry,
    ) -> (Office, Tasks) {
        let (config, state) = (AuthorityConfig::default(), directory.path().join("authority.json"));
        let shared: SharedClock = clock.clone();
        let office = Office::open_branch(config, DOMAIN, state, file, shared, telemetry).unwrap();
        let serving = Tasks::new();
        let socket = directory.path().join("authority.sock");
        office.serve(UnixListener::bind(socket).unwrap(), &serving);
        (office, serving)
    }

    fn open(
        directory: &TempDir,
        clock: &Arc<ManualClock>,
        telemetry: &Telemetry,
    ) -> (Office, Tasks) {
        let shared: SharedClock = clock.clone();
        let state = directory.path().join("authority.json");
        let config = AuthorityConfig::default();
        let office = Office::open(config, DOMAIN, state, shared, telemetry).unwrap();
        let socket = directory.path().join("authority.sock");
        // A socket that was left is nobody's.
        let _absent = fs::remove_file(&socket);
        let serving = Tasks::new();
        office.serve(UnixListener::bind(socket).unwrap(), &serving);
        (office, serving)
    }

    pub(crate) async fn stop(&self) {
        self.serving.drain(LONG).await;
        fs::remove_file(self.socket()).unwrap();
    }

    pub(crate) fn start_again(&mut self) {
        (self.office, self.serving) = Self::open(&self.directory, &self.clock, &self.telemetry);
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("authority.sock")
    }

    pub(crate) fn clock(&self) -> SharedClock {
        self.clock.clone()
    }

    pub(crate) fn process(&self, service: &str) -> Current {
        self.process_with(service, std::process::id())
    }

    /// A process whose token is for the process with that number.
    pub(crate) fn process_with(&self, service: &str, pid: u32) -> Current {
        let id: SpiffeId = id(service).parse().unwrap();
        let uid = rustix::process::getuid().as_raw();
        let token = self.office.draw_token(id.clone(), uid).unwrap();
        self.office.bind_token(&token, pid).unwrap();
        self.kept(CONFIG, id, token)
    }

    /// A process that has its name by its user.
    pub(crate) fn claims(&self, service: &str) -> Current {
        let id: SpiffeId = id(service).parse().unwrap();
        let membership = Membership { authority: self.socket(), id, grounds: Grounds::User };
        let random = Random::with_seed(1);
        keep(CONFIG, membership, self.clock(), random, &self.telemetry, &self.processes)
    }

    /// A process that looks once and not again.
    pub(crate) fn blind_process(&self, service: &str) -> Current {
        let id: SpiffeId = id(service).parse().unwrap();
        let token = self.office.draw_token(id.clone(), rustix::process::getuid().as_raw()).unwrap();
        self.office.bind_token(&token, std::process::id()).unwrap();
        self.kept(KeeperConfig { look_ms: 3_600_000, ..CONFIG }, id, token)
    }

    fn kept(&self, config: KeeperConfig, id: SpiffeId, token: JoinToken) -> Current {
        let authority = self.socket();
        let membership = Membership { authority, id, grounds: Grounds::Token(token) };
        let random = Random::with_seed(1);
        keep(config, membership, self.clock(), random, &self.telemetry, &self.processes)
    }

    /// Waits until a metric has grown so far, and lets the time of one back-off pass at each failure.
    pub(crate) async fn until_counted(&self, name: &str, least: f64) {
        let counting = async {
            let mut failures = -1.0;
            while self.metric(name) < least {
                let failed = self.metric(FAILED);
                if failed > failures {
                    failures = failed;
                    self.clock.advance(Duration::from_millis(CONFIG.renewal.backoff_max_ms));
                }
                tokio::task::yield_now().await;
            }
        };
        let counted = timeout(LONG, counting).await;
        assert!(counted.is_ok(), "{name}: {}", self.telemetry.metrics().encode());
    }

    /// Waits until an identity is held, and lets the time of one back-off pass at each look.
    pub(crate) async fn until_held(&self, current: &Current) {
        let waiting = async {
            while serial(current).is_none() {
                self.clock.advance(Duration::from_millis(CONFIG.renewal.backoff_max_ms));
                tokio::task::yield_now().await;
            }
        };
        timeout(LONG, waiting).await.expect("in time");
    }

    pub(crate) fn metric(&self, start: &str) -> f64 {
        let text = self.telemetry.metrics().encode();
        let value = text.lines().find_map(|it| it.strip_prefix(start));
        value.map_or(0.0, |it| it.trim().parse().unwrap())
    }
}

/// Tries that brought no identity.
pub(crate) const FAILED: &str = "identity_renewals_total{outcome=\"failed\"}";

/// Waits until what is held is as wanted.
pub(crate) async fn until(
    current: &mut Current,
    wanted: impl Fn(Option<&Arc<Credentials>>) -> bool,
) {
    let reached = current.wait_for(|it| wanted(it.as_ref()));
    timeout(LONG, reached).await.expect("in time").expect("the keeper runs");
}

pub(crate) fn serial(current: &Current) -> Option<Serial> {
    current.borrow().as_ref().map(|it| it.identity().serial().clone())
}

pub(crate) async fn joined(current: &mut Current) -> Serial {
    until(current, |it| it.is_some()).await;
    serial(current).unwrap()
}

/// One handshake and one byte each way between two processes.
pub(crate) async fn talk(world: &World, caller: &Current, server: &Current, service: &str) {
    let (opened, accepted, from) = connection().await;
    let server = handshakes(server.clone(), world.clock());
    let caller = handshakes(caller.clone(), world.clock());
    let service: SpiffeId = id(service).parse().unwrap();
    let (accepted, connected) = tokio::join!(
        server.accept(accepted, from, Entrance::Service),
        caller.connect(opened, &service, Protocol::Http2),
    );
    let (mut accepted, mut connected) = (accepted.unwrap().stream, connected.unwrap().stream);
    connected.write_all(b"?").await.unwrap();
    connected.flush().await.unwrap();
    accepted.read_exact(&mut [0]).await.unwrap();
    accepted.write_all(b"!").await.unwrap();
    accepted.flush().await.unwrap();
    connected.read_exact(&mut [0]).await.unwrap();
}

/// Whether nothing is due in the calendar.
pub(crate) fn is_settled(world: &World) -> bool {
    matches!(world.office.standing().next, RotationStep::Nothing | RotationStep::Wait { .. })
}
