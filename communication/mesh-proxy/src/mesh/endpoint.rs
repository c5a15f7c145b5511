//! One instance of a destination with what is known of it.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base::Random;
use identity::{PublicName, SpiffeId};
use mesh_policy::{
    Moment,
    balance::{self, Load, Sample},
    breaker::{self, Breaker, Floor, Pass, State, Transition, Verdict},
    destination,
};

use super::series::EndpointSeries;

/// Who is called where. Connections are kept by it: one on which somebody was proved is never used
/// for another, nor for whoever need prove nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) who: Who,
}

/// Whom an endpoint must prove to be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Who {
    /// Anybody: it is called in plain text.
    Anybody,
    /// The one with this identity: it is called over mutual TLS alone.
    Proved(SpiffeId),
    /// The server outside that goes by this name: it is called over TLS alone, and shown nothing.
    Named(PublicName),
    /// One of whom nobody can be: what is listed is no identity. It is not called.
    Nobody,
}

impl Target {
    fn of(listed: &destination::Endpoint) -> Arc<Self> {
        let named = |host: &str| PublicName::of_host(host).map(Who::Named);
        let who = match listed.identity.as_deref() {
            None => Some(Who::Anybody),
            Some(identity) => match identity.strip_prefix("https://") {
                Some(host) => named(host),
                None => identity.parse().ok().map(Who::Proved),
            },
        };
        Arc::new(Self { address: listed.address, who: who.unwrap_or(Who::Nobody) })
    }

    /// Whether a proxy of ours is there, to whom all goes over one connection.
    pub(crate) const fn is_ours(&self) -> bool {
        matches!(self.who, Who::Proved(_) | Who::Nobody)
    }
}

/// One instance. It outlives reloads as long as its address is listed.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) listed: destination::Endpoint,
    pub(crate) series: EndpointSeries,
    target: Arc<Target>,
    live: Arc<Mutex<Live>>,
}

#[derive(Debug)]
pub(super) struct Live {
    pub(super) load: Load,
    pub(super) breaker: Breaker,
}

impl Endpoint {
    pub(crate) fn new(
        listed: destination::Endpoint,
        series: EndpointSeries,
        settings: &balance::Settings,
        now: Moment,
    ) -> Self {
        let live = Live { load: Load::new(settings, now), breaker: Breaker::new() };
        let target = Target::of(&listed);
        Self { listed, series, target, live: Arc::new(Mutex::new(live)) }
    }

    /// The same instance under other words; what is known of it stays.
    pub(crate) fn listed_as(&self, listed: destination::Endpoint, series: EndpointSeries) -> Self {
        series.breaker_open.set(self.series.breaker_open.get());
        let target = Target::of(&listed);
        Self { listed, series, target, live: Arc::clone(&self.live) }
    }

    /// Who is called where.
    pub(crate) const fn target(&self) -> &Arc<Target> {
        &self.target
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.listed.address
    }

    /// Its name for people and metrics.
    pub(crate) fn name(&self) -> String {
        name_of(&self.listed)
    }

    pub(super) fn live(&self) -> MutexGuard<'_, Live> {
        // A panic in a decision leaves a value that is still one.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a way through the breaker and counts the request as outstanding.
    pub(crate) fn begin(&self, floor: Floor, now: Moment) -> Option<Pass> {
        let mut live = self.live();
        let pass = live.breaker.admit(floor, now)?;
        live.load.begin();
        Some(pass)
    }

    /// The request's first byte, failure or cancel.
    pub(crate) fn end_load(&self, settings: &balance::Settings, sample: Sample, now: Moment) {
        self.live().load.end(settings, sample, now);
    }

    /// What the breaker learns; `None` when it learns nothing and a probe is free again.
    pub(crate) fn record(
        &self,
        settings: &breaker::Settings,
        pass: Pass,
        verdict: Option<Verdict>,
        retry_after: Option<Duration>,
        now: Moment,
        random: &mut Random,
    ) -> Option<Transition> {
        let mut live = self.live();
        let Some(verdict) = verdict else {
            live.breaker.give_back(pass);
            return None;
        };
        let transition = live.breaker.record(settings, pass, verdict, retry_after, now, random)?;
        drop(live);
        let is_open = transition != Transition::Closed;
        self.series.breaker_open.set(f64::from(u8::from(is_open)));
        Some(transition)
    }

    /// What `/endpoints` and `/explain` show.
    pub(crate) fn view(&self, settings: &balance::Settings, now: Moment) -> View {
        let live = self.live();
        View {
            state: live.breaker.state(now),
            next_try: live.breaker.until_next_try(now),
            latency: live.load.is_measured().then(|| live.load.latency(settings, now)),
            outstanding: live.load.outstanding(),
            score: live.load.score(settings, now),
        }
    }
}

impl Drop for Endpoint {
    /// One that is listed no more has no breaker that could be open.
    fn drop(&mut self) {
        self.series.breaker_open.set(0.0);
    }
}

/// The name of an instance for people and metrics.
pub(super) fn name_of(listed: &destination::Endpoint) -> String {
    listed.instance.clone().unwrap_or_else(|| listed.address.to_string())
}

/// What is known of an endpoint at a moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View {
    pub(crate) state: State,
    pub(crate) next_try: Option<Duration>,
    /// `None` where it was never called.
    pub(crate) latency: Option<Duration>,
    pub(crate) outstanding: u32,
    pub(crate) score: f64,
}
