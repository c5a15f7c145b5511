//! Wiring of one Drone process.

use std::time::Duration;

use contracts::topics;
use messaging::Subscription;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use service_kit::{
    Bound, Service, ServiceContext, StartError, start_forgetting, start_relay, start_sweeper,
};
use store::{SqlError, Store, StoreSettings};
use utoipa::OpenApi as _;

use crate::{
    api::{Document, Shared, routes},
    domain::{Airframe, Rules},
    events::{Deliveries, ROLE},
    flights::Flights,
    metrics::FleetMetrics,
    positions::Positions,
    store::{self as table, MIGRATIONS},
    tower::Tower,
};

/// Settings of the role.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DroneConfig {
    /// Its database.
    pub store: StoreSettings,
    /// Drones that the fleet has at the least; more on a later start are added.
    pub drones: u32,
    /// Simulated seconds in one real second.
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
    /// Metres that a full battery flies without touching the reserve.
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
    /// Simulated seconds at a place until the package is taken or handed over.
    pub dwell_seconds: u32,
    /// Simulated seconds to make the package fast or to let it go.
    pub handling_seconds: u32,
    /// Simulated milliseconds between two positions of a drone in flight; 0 publishes none.
    pub position_every_ms: u32,
    /// Positions of the whole fleet in a real second, at the most.
    pub positions_per_second_max: u32,
    /// Days that a booking is kept after its end: what utilization can look back.
    pub bookings_kept_days: u32,
}

impl Default for DroneConfig {
    fn default() -> Self {
        Self {
            store: StoreSettings::default(),
            drones: 20,
            time_scale: 20.0,
            cruise_speed_mps: 15.0,
            cruise_altitude_m: 60.0,
            payload_kg: 25.0,
            range_m: 20_000.0,
            battery_reserve: 0.1,
            battery_ready: 0.5,
            full_charge_seconds: 600.0,
            dwell_seconds: 20,
            handling_seconds: 5,
            position_every_ms: 1_000,
            positions_per_second_max: 2_000,
            bookings_kept_days: 400,
        }
    }
}

impl DroneConfig {
    const fn airframe(&self) -> Airframe {
        Airframe { payload_kg: self.payload_kg, range_m: self.range_m }
    }

    fn rules(&self) -> Rules {
        let seconds = |it: u32| Duration::from_secs(u64::from(it));
        Rules {
            cruise_speed_mps: self.cruise_speed_mps,
            cruise_altitude_m: self.cruise_altitude_m,
            reserve: self.battery_reserve,
            dwell: seconds(self.dwell_seconds),
            handling: seconds(self.handling_seconds),
            full_charge: Duration::try_from_secs_f64(self.full_charge_seconds)
                .unwrap_or(Duration::MAX),
            ready_battery: self.battery_ready,
        }
    }

    /// Real time between two positions of a drone; none when none are wanted.
    fn position_every(&self) -> Option<Duration> {
        let simulated = Duration::from_millis(u64::from(self.position_every_ms));
        let real = Duration::try_from_secs_f64(simulated.as_secs_f64() / self.time_scale);
        (self.position_every_ms > 0).then(|| real.unwrap_or(Duration::MAX))
    }
}

fn positive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let number = f64::deserialize(deserializer)?;
    let fits = number > 0.0 && number.is_finite();
    if fits { Ok(number) } else { Err(D::Error::custom("a number above 0 is expected")) }
}

fn share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let number = f64::deserialize(deserializer)?;
    let fits = (0.0..1.0).contains(&number);
    if fits { Ok(number) } else { Err(D::Error::custom("a share from 0 to below 1 is expected")) }
}

/// Starts the service on the context's tasks.
///
/// # Errors
/// The database cannot be opened or written, or an address cannot be listened on.
pub async fn run(context: ServiceContext, config: DroneConfig) -> Result<Bound, StartError> {
    let store = context.open_store(MIGRATIONS, config.store.clone())?;
    let tower = raise(&store, &config).await?;
    let metrics = FleetMetrics::new(&context.telemetry);
    start_relay(&context, &store);
    start_sweeper(&context, &store);
    start_fleet(&context, &store, &tower, &metrics, &config);
    let shared = Shared { store: store.clone(), tower, clock: context.clock.clone(), metrics };
    Service::new(routes(shared))
        .store(&store)
        .health(context.health(Some(&store)))
        .openapi(&Document::openapi())
        .serve(&context)
}

/// Adds the drones that are missing and reads all of them, with the clock that they live by.
async fn raise(store: &Store, config: &DroneConfig) -> Result<Tower, StartError> {
    let (drones, airframe, scale) = (config.drones, config.airframe(), config.time_scale);
    let read = store.write(move |transaction| {
        let clock = table::simulated_clock(transaction, scale)?;
        let now = clock.at(transaction.now());
        let added = table::seed_fleet(transaction, drones, airframe, now)?;
        Ok::<_, SqlError>((clock, added, table::drones_changed_since(transaction, 0)?))
    });
    let (clock, added, known) = read
        .await
        .map_err(|error| StartError::Part { what: "the fleet", source: Box::new(error) })?;
    tracing::info!(added, drones = known.len(), "the fleet stands ready");
    Ok(Tower::new(config.rules(), airframe, clock, known))
}

fn start_fleet(
    context: &ServiceContext,
    store: &Store,
    tower: &Tower,
    metrics: &FleetMetrics,
    config: &DroneConfig,
) {
    let flights = Flights {
        store: store.clone(),
        tower: tower.clone(),
        clock: context.clock.clone(),
        instance: context.config.instance.clone(),
        metrics: metrics.clone(),
    };
    context.tasks.spawn("flights", |shutdown| flights.run(shutdown));
    let kept_days = config.bookings_kept_days;
    start_forgetting(context, store, "bookings", kept_days, table::forget_old_bookings);
    let Some(messaging) = &context.messaging else { return };
    let deliveries = Deliveries::new(store.clone(), tower.clone());
    let heard = Subscription::new([topics::DELIVERY_EVENTS], ROLE);
    messaging.subscribe(&heard, deliveries, &context.tasks);
    let Some(every) = config.position_every() else { return };
    let positions = Positions {
        tower: tower.clone(),
        messaging: messaging.clone(),
        clock: context.clock.clone(),
        metrics: metrics.clone(),
        every,
        per_second_max: config.positions_per_second_max,
    };
    context.tasks.spawn("positions", |shutdown| positions.run(shutdown));
}
