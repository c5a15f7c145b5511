//! A control plane on a port of its own, and proxies that write down what they hear.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use base::{ManualClock, SharedClock, Timestamp};
use identity::Handshakes;
use mesh_control::{Plane, Registration, RegistryConfig, Spoken, State, Upstream, subscribe};
use runtime::{SystemClock, Tasks};
use telemetry::Telemetry;
use tokio::{sync::watch, time::timeout};

/// Nothing here takes as long.
pub(crate) const WITHIN: Duration = Duration::from_secs(30);

/// A third of it, after which an instance renews, is longer than any test: what is registered stays so
/// until the clock of the control plane is moved.
pub(crate) const LEASE: Duration = Duration::from_secs(600);
/// By this it is moved where a state is to be settled.
pub(crate) const GRACE: Duration = Duration::from_secs(10);

pub(crate) fn clock() -> SharedClock {
    SystemClock::shared()
}

/// A control plane that runs by a clock which stands still.
pub(crate) struct Control {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) plane: Plane,
    pub(crate) address: SocketAddr,
    pub(crate) telemetry: Telemetry,
    pub(crate) tasks: Tasks,
}

impl Control {
    pub(crate) async fn start(known: Option<Handshakes>) -> Self {
        Self::at(([127, 0, 0, 1], 0).into(), known).await
    }

    pub(crate) async fn at(address: SocketAddr, known: Option<Handshakes>) -> Self {
        let (telemetry, tasks) = (Telemetry::disabled(), Tasks::new());
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
        let config = RegistryConfig { lease: LEASE, grace: GRACE };
        let plane = Plane::new(config, known, clock.clone(), &telemetry);
        let address = plane.serve(address, &tasks).await.unwrap();
        Self { clock, plane, address, telemetry, tasks }
    }

    /// Lets so much time pass for it, and for nobody else.
    pub(crate) fn pass(&self, time: Duration) {
        self.clock.advance(time);
        self.plane.look_at_clock();
    }

    /// Waits until so many instances are registered.
    pub(crate) async fn registers(&self, count: usize) {
        let known = || self.plane.shown()["instances"].as_array().map(Vec::len) == Some(count);
        eventually("as many are registered", known).await;
    }

    /// Ends it as a kill does: what it knew is gone.
    pub(crate) async fn stop(self) -> SocketAddr {
        self.tasks.drain(WITHIN).await;
        self.address
    }

    pub(crate) fn upstream(&self) -> Upstream {
        Upstream { address: self.address, identity: None }
    }

    /// What a counter shows.
    pub(crate) fn counted(&self, series: &str) -> u64 {
        let text = self.telemetry.metrics().encode();
        let line = text.lines().find_map(|it| it.strip_prefix(&format!("{series} ")));
        line.map_or(0, |it| it.parse().unwrap())
    }
}

/// A proxy: what is in force at it, and the instances that it registers.
pub(crate) struct Proxy {
    pub(crate) state: watch::Receiver<State>,
    pub(crate) instances: watch::Sender<Vec<Registration>>,
    pub(crate) telemetry: Telemetry,
    pub(crate) tasks: Tasks,
}

impl Proxy {
    pub(crate) fn start(upstream: Upstream, instances: Vec<Registration>) -> Self {
        Self::judging(upstream, instances, |_| Ok(()))
    }

    /// One that does not take every state.
    pub(crate) fn judging(
        upstream: Upstream,
        instances: Vec<Registration>,
        judge: impl Fn(&State) -> Result<(), String> + Send + 'static,
    ) -> Self {
        let (telemetry, tasks) = (Telemetry::disabled(), Tasks::new());
        let (heard, state) = watch::channel(State::default());
        let (instances, registered) = watch::channel(instances);
        let apply = move |it: &State| judge(it).map(|()| drop(heard.send_replace(it.clone())));
        subscribe(upstream, "cart".to_owned(), registered, apply, &telemetry, &tasks);
        Self { state, instances, telemetry, tasks }
    }

    /// Waits until these are the ports of a service.
    pub(crate) async fn until(&mut self, service: &str, expected: &[u16]) {
        let is_there = |it: &State| ports(it, service) == expected;
        let waited = timeout(WITHIN, self.state.wait_for(is_there)).await.map(|it| it.is_ok());
        assert_eq!(waited, Ok(true), "{:?}", ports(&self.state.borrow(), service));
    }
}

/// The last digits of a service's ports, in order.
pub(crate) fn ports(state: &State, service: &str) -> Vec<u16> {
    let set = state.sets.get(service).into_iter();
    let mut ports: Vec<_> =
        set.flat_map(|it| &it.endpoints).map(|it| it.address.port() - 7_000).collect();
    ports.sort_unstable();
    ports
}

pub(crate) fn instance(service: &str, number: u16) -> Registration {
    Registration {
        service: service.to_owned(),
        instance: format!("{service}-{number}"),
        version: Some("v1".to_owned()),
        zone: None,
        capacity: 1,
        address: ([127, 0, 0, 1], 7_000 + number).into(),
        incarnation: 1,
        protocol: Spoken::Http,
        ready: true,
    }
}

/// Waits until something holds that nobody tells of.
pub(crate) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let mut looks = tokio::time::interval(Duration::from_millis(5));
    let waiting = async {
        while !holds() {
            looks.tick().await;
        }
    };
    assert!(timeout(WITHIN, waiting).await.is_ok(), "never: {what}");
}
