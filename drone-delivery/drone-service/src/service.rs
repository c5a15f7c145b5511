//! Wiring of one Drone process.

use std::time::Duration;

use contracts::topics;
use fleet_rules::{FleetConfig, positive};
use messaging::Subscription;
use serde::{Deserialize, Serialize};
use service_kit::{
    Bound, Service, ServiceContext, StartError, start_forgetting, start_relay, start_sweeper,
};
use store::{SqlError, Store, StoreSettings};
use utoipa::OpenApi as _;

use crate::{
    api::{Document, Shared, routes},
    booking,
    domain::PlanRules,
    events::{Deliveries, ROLE},
    flights::Flights,
    metrics::FleetMetrics,
    positions::Positions,
    store::{self as table, MIGRATIONS},
    tower::Tower,
};

/// Settings of the role; what the fleet is stands in [`FleetConfig`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DroneConfig {
    /// Its database.
    pub store: StoreSettings,
    /// Hours of real time within which a package must be fetchable, from now or from the pickup time
    /// that was asked for; else the request is refused with the earliest time that it could be.
    #[serde(deserialize_with = "positive")]
    pub planning_horizon_hours: f64,
    /// Minutes of real time that a usual request counts as having come after an expedited one.
    pub expedited_lead_minutes: f64,
    /// Simulated seconds left free behind each flight, so that a small delay moves nobody else.
    pub slack_seconds: u32,
    /// Milliseconds of real time that a drone waits for a delivery to be made before it flies for the
    /// next.
    pub made_grace_ms: u32,
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
            planning_horizon_hours: 24.0,
            expedited_lead_minutes: 60.0,
            slack_seconds: 30,
            made_grace_ms: 1_000,
            position_every_ms: 1_000,
            positions_per_second_max: 2_000,
            bookings_kept_days: 400,
        }
    }
}

impl DroneConfig {
    /// Bounds and margins of the plan: real times at the fleet's pace.
    fn plan(&self, fleet: &FleetConfig) -> PlanRules {
        let real = |seconds: f64| fleet_rules::seconds(seconds * fleet.time_scale);
        PlanRules {
            horizon: real(self.planning_horizon_hours * 3_600.0),
            ahead: real(fleet.pickup_ahead().as_secs_f64()),
            lead: real(self.expedited_lead_minutes * 60.0),
            slack: Duration::from_secs(u64::from(self.slack_seconds)),
            grace: real(f64::from(self.made_grace_ms) / 1_000.0),
        }
    }

    /// Real time between two positions of a drone; none when none are wanted.
    fn position_every(&self, time_scale: f64) -> Option<Duration> {
        let simulated = Duration::from_millis(u64::from(self.position_every_ms));
        let real = Duration::try_from_secs_f64(simulated.as_secs_f64() / time_scale);
        (self.position_every_ms > 0).then(|| real.unwrap_or(Duration::MAX))
    }
}

/// Starts the service on the context's tasks.
///
/// # Errors
/// The database cannot be opened or written, or an address cannot be listened on.
pub async fn run(
    context: ServiceContext,
    fleet: FleetConfig,
    config: DroneConfig,
) -> Result<Bound, StartError> {
    let store = context.open_store(MIGRATIONS, config.store.clone())?;
    let tower = raise(&store, &fleet, config.plan(&fleet)).await?;
    let metrics = FleetMetrics::new(&context.telemetry);
    start_relay(&context, &store);
    start_sweeper(&context, &store);
    start_fleet(&context, &store, &tower, &metrics, (&fleet, &config))?;
    let shared = Shared { store: store.clone(), tower, clock: context.clock.clone(), metrics };
    Service::new(routes(shared))
        .store(&store)
        .health(context.health(Some(&store)))
        .openapi(&Document::openapi())
        .serve(&context)
}

/// Adds the drones that are missing and reads all of them, with the clock that they live by; what
/// was planned under other settings is planned anew where it cannot stay.
async fn raise(store: &Store, fleet: &FleetConfig, plan: PlanRules) -> Result<Tower, StartError> {
    let (settings, rules) = (fleet.clone(), fleet.rules());
    let read = store.write(move |transaction| {
        let clock = store::simulated_clock(transaction, settings.time_scale)?;
        let airframe = settings.airframe();
        let changed = table::use_airframe(transaction, airframe)?;
        let now = clock.at(transaction.now());
        let added = table::seed_fleet(transaction, settings.drones, airframe, now)?;
        let tower = Tower::new(rules, plan, airframe, clock);
        tower.attend(transaction)?;
        let stranded = tower.fleet().stranded();
        for id in &stranded {
            if let Some(booking) = table::find_booking(transaction, id)? {
                booking::replan(transaction, &tower, booking, "the fleet's settings changed")?;
            }
        }
        Ok::<_, SqlError>((tower, added, changed, stranded.len()))
    });
    let (tower, added, changed, stranded) = read
        .await
        .map_err(|error| StartError::Part { what: "the fleet", source: Box::new(error) })?;
    let waiting = tower.fleet().waiting();
    tracing::info!(added, changed, stranded, waiting, "the fleet stands ready");
    Ok(tower)
}

fn start_fleet(
    context: &ServiceContext,
    store: &Store,
    tower: &Tower,
    metrics: &FleetMetrics,
    (fleet, config): (&FleetConfig, &DroneConfig),
) -> Result<(), StartError> {
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
    let Some(messaging) = &context.messaging else { return Ok(()) };
    let deliveries = Deliveries::new(store.clone(), tower.clone());
    let heard = Subscription::new([topics::DELIVERY_EVENTS], ROLE);
    messaging.subscribe(&heard, deliveries, &context.tasks)?;
    let Some(every) = config.position_every(fleet.time_scale) else { return Ok(()) };
    let positions = Positions {
        tower: tower.clone(),
        messaging: messaging.clone(),
        clock: context.clock.clone(),
        metrics: metrics.clone(),
        every,
        per_second_max: config.positions_per_second_max,
    };
    context.tasks.spawn("positions", |shutdown| positions.run(shutdown));
    Ok(())
}
