//! Bounds on handshakes that are accepted: a deadline, so many under way, so many a second from one
//! address. Past the last nothing is computed; where all places are taken one gives way. On one machine all
//! programs come from one address and share its count.

use std::{
    io,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use base::SharedClock;
use mesh_policy::{
    Moment,
    rate::{Limiter, RateKey, RateLimit},
};
use serde::Deserialize;
use tokio::time::timeout;

use crate::{
    crowd::{self, Room},
    judge::refusal_in,
    refusal::Refusal,
};

/// Addresses that are counted apart; the rest share one count.
const ADDRESSES_MAX: usize = 4_096;

/// Bounds on handshakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HandshakeConfig {
    /// A handshake that is not over by then is given up, in milliseconds.
    pub timeout_ms: u64,
    /// Handshakes under way that we accepted; past it one gives way to each new one, the oldest of the address
    /// that holds most.
    pub under_way_max: usize,
    /// Handshakes that one address gets in a second, and at once.
    pub per_second_max: u32,
}

impl Default for HandshakeConfig {
    // Taken for 0.2 ms a handshake, which is not measured: 500 a second are a tenth of a core then.
    fn default() -> Self {
        Self { timeout_ms: 5_000, under_way_max: 256, per_second_max: 500 }
    }
}

/// What holds one listener's handshakes within their bounds.
#[derive(Debug)]
pub(crate) struct Bounds {
    timeout: Duration,
    clock: SharedClock,
    under_way: Room,
    /// Locked for one look-up, never while anything waits.
    rates: Mutex<Limiter>,
}

impl Bounds {
    pub(crate) fn new(config: &HandshakeConfig, clock: SharedClock) -> Self {
        let most = config.per_second_max;
        let rate = RateLimit::per_second("handshakes", most, most, RateKey::Client);
        Self {
            timeout: Duration::from_millis(config.timeout_ms),
            clock,
            under_way: Room::new(config.under_way_max),
            rates: Mutex::new(Limiter::new(rate, ADDRESSES_MAX)),
        }
    }

    /// A place among the handshakes under way, where this address may have one now.
    pub(crate) fn enter(&self, from: IpAddr) -> Result<Place<'_>, Refusal> {
        let now = Moment::from_millis(self.clock.monotonic().as_millis());
        // One look-up cannot leave the table half changed.
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        if !rates.check(Some(&from.to_string()), now).allowed {
            return Err(Refusal::TooMany);
        }
        drop(rates);
        Ok(Place { bounds: self, place: self.under_way.enter(from) })
    }

    /// Shakes hands within the time for that.
    pub(crate) async fn in_time<S>(
        &self,
        handshake: impl Future<Output = io::Result<S>> + Unpin,
    ) -> Result<S, Refusal> {
        match timeout(self.timeout, handshake).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(refusal_in(&error)),
            Err(_) => Err(Refusal::TimedOut),
        }
    }
}

/// A place among the handshakes under way, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    bounds: &'a Bounds,
    place: crowd::Place,
}

impl Place<'_> {
    /// Shakes hands within the time for that, and for as long as the place is its own. A handshake is large: boxed,
    /// whoever waits for one stays small.
    pub(crate) async fn hold<S>(
        &mut self,
        handshake: impl Future<Output = io::Result<S>> + Unpin,
    ) -> Result<S, Refusal> {
        tokio::select! {
            biased;
            () = self.place.told_to_go() => Err(Refusal::GaveWay),
            ended = self.bounds.in_time(handshake) => ended,
        }
    }
}
