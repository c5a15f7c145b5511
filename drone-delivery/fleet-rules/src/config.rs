//! The `fleet` section of the settings: what Drone and Third-party Transport must agree on.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use crate::{Airframe, NoFlyZone, Rules};

/// What the fleet is and how its time runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FleetConfig {
    /// Drones that the fleet has at the least; more on a later start are added.
    pub drones: u32,
    /// Simulated seconds in one real second. Times of clients are real; only durations are scaled.
    #[serde(deserialize_with = "positive")]
    pub time_scale: f64,
    /// Metres a second over the ground.
    #[serde(deserialize_with = "positive")]
    pub cruise_speed_mps: f64,
    /// Metres above the ground on the way.
    #[serde(deserialize_with = "positive")]
    pub cruise_altitude_m: f64,
    /// Heaviest load of a drone.
    #[serde(deserialize_with = "positive")]
    pub payload_kg: f64,
    /// Metres of level flight without a load that a full battery gives without touching the reserve.
    #[serde(deserialize_with = "positive")]
    pub range_m: f64,
    /// Share of the battery that a drone lands with at the least.
    #[serde(deserialize_with = "share")]
    pub battery_reserve: f64,
    /// Share of the battery below which a drone on its base counts as charging.
    #[serde(deserialize_with = "share")]
    pub battery_ready: f64,
    /// Simulated seconds from an empty battery to a full one.
    #[serde(deserialize_with = "positive")]
    pub full_charge_seconds: f64,
    /// How much more a metre takes with the heaviest load, as a share.
    #[serde(deserialize_with = "share")]
    pub load_share: f64,
    /// Metres of level flight that take as much as a metre of climb.
    pub climb_factor: f64,
    /// Metres of level flight that take as much as a second at a place.
    pub dwell_metres_per_second: f64,
    /// Simulated seconds at a place until the package is taken or handed over.
    pub dwell_seconds: u32,
    /// Simulated seconds to make the package fast or to let it go.
    pub handling_seconds: u32,
    /// Days of real time that an asked pickup time may lie ahead; later ones are refused.
    #[serde(deserialize_with = "positive")]
    pub pickup_ahead_days: f64,
    /// Where no drone may fly.
    pub no_fly: Vec<NoFlyZone>,
}

impl Default for FleetConfig {
    fn default() -> Self {
        Self {
            drones: 20,
            time_scale: 20.0,
            cruise_speed_mps: 15.0,
            cruise_altitude_m: 60.0,
            payload_kg: 25.0,
            range_m: 20_000.0,
            battery_reserve: 0.1,
            battery_ready: 0.5,
            full_charge_seconds: 600.0,
            load_share: 0.3,
            climb_factor: 5.0,
            dwell_metres_per_second: 2.0,
            dwell_seconds: 20,
            handling_seconds: 5,
            pickup_ahead_days: 30.0,
            no_fly: vec![NoFlyZone {
                name: "Helsinki-Vantaa airport".to_owned(),
                latitude: 60.3172,
                longitude: 24.9633,
                radius_m: 5_000.0,
            }],
        }
    }
}

impl FleetConfig {
    /// How far ahead a pickup time may lie, in real time.
    #[must_use]
    pub fn pickup_ahead(&self) -> Duration {
        crate::seconds(self.pickup_ahead_days * 86_400.0)
    }

    /// What a drone can do when nobody says otherwise.
    #[must_use]
    pub const fn airframe(&self) -> Airframe {
        Airframe { payload_kg: self.payload_kg, range_m: self.range_m }
    }

    /// What holds for every drone.
    #[must_use]
    pub fn rules(&self) -> Rules {
        let seconds = |it: u32| Duration::from_secs(u64::from(it));
        Rules {
            cruise_speed_mps: self.cruise_speed_mps,
            cruise_altitude_m: self.cruise_altitude_m,
            reserve: self.battery_reserve,
            dwell: seconds(self.dwell_seconds),
            handling: seconds(self.handling_seconds),
            full_charge: crate::seconds(self.full_charge_seconds),
            ready_battery: self.battery_ready,
            load_share: self.load_share,
            climb_factor: self.climb_factor.max(0.0),
            dwell_metres_per_second: self.dwell_metres_per_second.max(0.0),
            no_fly: self.no_fly.clone(),
        }
    }
}

/// Reads a number above 0.
///
/// # Errors
/// It is none.
pub fn positive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let number = f64::deserialize(deserializer)?;
    let fits = number > 0.0 && number.is_finite();
    if fits { Ok(number) } else { Err(D::Error::custom("a number above 0 is expected")) }
}

/// Reads a share from 0 to below 1.
///
/// # Errors
/// It is none.
pub fn share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let number = f64::deserialize(deserializer)?;
    let fits = (0.0..1.0).contains(&number);
    if fits { Ok(number) } else { Err(D::Error::custom("a share from 0 to below 1 is expected")) }
}
