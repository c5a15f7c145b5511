//! One instance of a destination with what is known of it.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base::Random;
use mesh_policy::{
    Moment,
    balance::{self, Load, Sample},
    breaker::{self, Breaker, Floor, Pass, State, Transition, Verdict},
    destination,
};

use super::series::EndpointSeries;

/// One instance. It outlives reloads as long as its address is listed.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) listed: destination::Endpoint,
    pub(crate) series: EndpointSeries,
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
        Self { listed, series, live: Arc::new(Mutex::new(live)) }
    }

    /// The same instance under other words; what is known of it stays.
    pub(crate) fn listed_as(&self, listed: destination::Endpoint, series: EndpointSeries) -> Self {
        series.breaker_open.set(self.series.breaker_open.get());
        Self { listed, series, live: Arc::clone(&self.live) }
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
