//! When and where a vehicle is: a tour is planned once, and everything else follows from it.

use std::time::Duration;

use base::Timestamp;
use contracts::Location;
use serde::{Deserialize, Serialize};

use super::{fate::Fate, trip::Trip};

/// How carriers drive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Roads {
    pub(crate) speed_mps: f64,
    /// To take a package, or to hand it over.
    pub(crate) handling: Duration,
    pub(crate) depot: Location,
}

impl Roads {
    fn time_for(&self, from: &Location, to: &Location) -> Duration {
        let seconds = from.distance_m(to) / self.speed_mps;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }
}

/// When a tour reaches what.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tour {
    pub(crate) leaves: Timestamp,
    pub(crate) picks_up: Timestamp,
    pub(crate) drops_off: Timestamp,
    /// Where it leaves from; the depot where nothing is said.
    #[serde(default)]
    pub(crate) from: Option<Location>,
    /// When it was expected there, as it left: late ones say so at the pick-up.
    #[serde(default)]
    pub(crate) promised: Option<Timestamp>,
    /// When it breaks down.
    #[serde(default)]
    pub(crate) breaks_down: Option<Timestamp>,
}

impl Tour {
    /// The tour that leaves then and there, and goes as it is fated to.
    pub(crate) fn plan(
        from: Location,
        leaves: Timestamp,
        trip: &Trip,
        fate: Fate,
        roads: &Roads,
    ) -> Self {
        let picks_up = leaves + roads.time_for(&from, &trip.pickup) + roads.handling;
        let promised = picks_up + roads.time_for(&trip.pickup, &trip.dropoff) + roads.handling;
        let drops_off = promised + Duration::from_millis(fate.late_ms);
        let lasts = drops_off.saturating_since(leaves);
        let breaks_down = fate.breaks_down.map(|share| leaves + lasts.mul_f64(share));
        let (from, promised) = (Some(from), Some(promised));
        Self { leaves, picks_up, drops_off, from, promised, breaks_down }
    }

    /// Where the vehicle is on its way to the pick-up.
    pub(crate) fn approaching(&self, trip: &Trip, at: Timestamp, roads: &Roads) -> Location {
        let from = self.from.unwrap_or(roads.depot);
        from.toward(&trip.pickup, share(self.leaves, self.picks_up, at, roads))
    }

    /// Where the vehicle is with the package on board.
    pub(crate) fn carrying(&self, trip: &Trip, at: Timestamp, roads: &Roads) -> Location {
        trip.pickup.toward(&trip.dropoff, share(self.picks_up, self.drops_off, at, roads))
    }
}

/// Which share of a leg is behind the vehicle; the end of the leg is spent at its door.
fn share(begins: Timestamp, ends: Timestamp, at: Timestamp, roads: &Roads) -> f64 {
    let drives = ends.saturating_since(begins).saturating_sub(roads.handling).as_secs_f64();
    let driven = at.saturating_since(begins).as_secs_f64();
    if drives > 0.0 { (driven / drives).clamp(0.0, 1.0) } else { 1.0 }
}
