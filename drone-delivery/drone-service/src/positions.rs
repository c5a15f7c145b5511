//! Where drones are in flight: published straight to the log, without an outbox. The latest wins.
//!
//! A position is worth nothing a second later, so losing some is right and queueing them is wrong:
//! at most so many a second are published, each computed at that moment, the drones in turn; and
//! nothing more is sent while what was sent is not acknowledged.

use std::{collections::BTreeMap, future::poll_fn, pin::Pin, task::Poll, time::Duration};

use base::{SharedClock, Timestamp};
use contracts::{
    drone_management::{DRONE_POSITIONED, DronePositioned},
    event::source_of,
    topics,
};
use messaging::{Message, Messaging};
use runtime::Shutdown;
use telemetry::TraceContext;
use tokio::time::{MissedTickBehavior, interval};

use crate::{domain::Drone, events::ROLE, metrics::FleetMetrics, tower::Tower};

/// Shortest time between two rounds, whatever the pace of simulated time.
const ROUND_EVERY_MIN: Duration = Duration::from_millis(20);
/// Positions of one round that may be under way.
const ROUND_MAX: usize = 512;

/// Publishes positions while this process leads.
#[derive(Debug)]
pub(crate) struct Positions {
    pub(crate) tower: Tower,
    pub(crate) messaging: Messaging,
    pub(crate) clock: SharedClock,
    pub(crate) metrics: FleetMetrics,
    /// Real time between two positions of a drone.
    pub(crate) every: Duration,
    pub(crate) per_second_max: u32,
}

/// How many may be published, as time goes by.
#[derive(Debug)]
struct Allowance {
    left: f64,
    per_second: f64,
}

impl Allowance {
    /// What a round may publish; more than a round's worth is never saved up.
    fn grant(&mut self, passed: Duration) -> usize {
        let most = ROUND_MAX as f64;
        self.left = self.per_second.mul_add(passed.as_secs_f64(), self.left).min(most);
        let mut granted = 0;
        while self.left >= 1.0 {
            self.left -= 1.0;
            granted += 1;
        }
        granted
    }

    fn give_back(&mut self, unused: usize) {
        self.left += unused as f64;
    }
}

impl Positions {
    /// Works until the service stops.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        let every = self.every.max(ROUND_EVERY_MIN);
        let mut rounds = interval(every);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Skip);
        // Of no trace: thousands of roots would crowd out those of requests.
        let trace = TraceContext::root(&mut runtime::random_from_os(), false);
        let mut allowance = Allowance { left: 0.0, per_second: f64::from(self.per_second_max) };
        let (mut place, mut last) = (0, rounds.tick().await);
        // Cancel-safe: a round that is dropped loses positions, which may be lost.
        while let Some(now) = shutdown.or_cancel(rounds.tick()).await {
            let granted = allowance.grant(now.duration_since(last));
            last = now;
            if !self.tower.leads() {
                continue;
            }
            let (messages, next) = self.round(place, granted, &trace);
            place = next;
            allowance.give_back(granted - messages.len().min(granted));
            shutdown.or_cancel(self.publish(messages)).await;
        }
    }

    /// Positions of the drones whose turn it is, and whose turn is next.
    fn round(&self, place: usize, granted: usize, trace: &TraceContext) -> (Vec<Message>, usize) {
        let wall = self.clock.now();
        let now = self.tower.now(wall);
        let fleet = self.tower.fleet();
        let (mut messages, mut next, mut left_out) = (Vec::new(), place, 0_u64);
        for (index, drone) in fleet.airborne_from(place).filter(|it| it.1.is_moving()) {
            if messages.len() == granted {
                left_out += 1;
                continue;
            }
            next = index + 1;
            messages.push(self.message(drone, now, wall, trace));
        }
        self.metrics.positions_skipped.add(left_out);
        (messages, next)
    }

    fn message(
        &self,
        drone: &Drone,
        now: Timestamp,
        wall: Timestamp,
        trace: &TraceContext,
    ) -> Message {
        let event = DronePositioned {
            drone_id: drone.id.clone(),
            delivery_id: drone.delivery_id().map(str::to_owned),
            phase: drone.phase,
            position: drone.position(now, &self.tower.rules),
            battery: drone.battery(now, &self.tower.rules),
            sequence: drone.sequence,
            occurred_at: wall,
        };
        Message {
            id: format!("{}/{}/{}", drone.id, drone.sequence, wall.as_millis()),
            source: source_of(ROLE),
            kind: DRONE_POSITIONED.to_string(),
            subject: Some(drone.id.clone()),
            time: wall,
            key: Some(drone.id.clone()),
            content_type: "application/json".to_owned(),
            headers: BTreeMap::new(),
            trace: Some(trace.clone()),
            // Text, numbers and options always serialize.
            body: serde_json::to_vec(&event).unwrap_or_default().into(),
        }
    }

    /// Publishes a round at once and waits until all of it is settled, one way or the other.
    async fn publish(&self, messages: Vec<Message>) {
        let publish = |it| self.messaging.publish(topics::DRONE_POSITIONS, it);
        let mut under_way: Vec<Pin<Box<_>>> =
            messages.into_iter().map(|it| Box::pin(publish(it))).collect();
        let (mut published, mut skipped) = (0, 0);
        poll_fn(|context| {
            under_way.retain_mut(|it| match it.as_mut().poll(context) {
                Poll::Pending => true,
                Poll::Ready(outcome) => {
                    if outcome.is_ok() {
                        published += 1;
                    } else {
                        skipped += 1;
                    }
                    false
                }
            });
            if under_way.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        self.metrics.positions.add(published);
        self.metrics.positions_skipped.add(skipped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_second_gets_more_than_its_share_and_nothing_is_saved_up() {
        let mut allowance = Allowance { left: 0.0, per_second: 2_000.0 };
        assert_eq!(allowance.grant(Duration::from_millis(50)), 100);
        assert_eq!(allowance.grant(Duration::from_secs(60)), ROUND_MAX);
        allowance.give_back(ROUND_MAX);
        assert_eq!(allowance.grant(Duration::from_millis(50)), ROUND_MAX);
        assert_eq!(allowance.grant(Duration::ZERO), 0);
    }
}
