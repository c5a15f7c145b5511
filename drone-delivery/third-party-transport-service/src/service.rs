//! Wiring of one Third-party Transport process.

use std::{sync::Arc, time::Duration};

use base::SimulatedClock;
use contracts::{Location, topics};
use messaging::Subscription;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use service_kit::{
    Bound, Service, ServiceContext, StartError, start_forgetting, start_relay, start_sweeper,
};
use store::StoreSettings;
use utoipa::OpenApi as _;

use crate::{
    api::{Document, Shared, routes},
    booking::Depot,
    domain::{Limits, NoFlyZone, Roads},
    events::{Deliveries, ROLE},
    store::{self as table, MIGRATIONS},
    tours,
};

/// Settings of the role.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TransportConfig {
    /// Its database.
    pub store: StoreSettings,
    /// Simulated seconds in one real second.
    #[serde(deserialize_with = "positive")]
    pub time_scale: f64,
    /// Heaviest load of a drone; as the fleet has it.
    #[serde(deserialize_with = "positive")]
    pub drone_payload_kg: f64,
    /// Metres that a drone flies from its base and back; as the fleet has it.
    #[serde(deserialize_with = "positive")]
    pub drone_range_m: f64,
    /// Metres around the middle of the city within which drones have their bases.
    #[serde(deserialize_with = "positive")]
    pub drone_bases_radius_m: f64,
    /// Where no drone may fly.
    pub no_fly: Vec<NoFlyZone>,
    /// How the carrier is called.
    pub carrier: String,
    /// Heaviest load of a carrier.
    #[serde(deserialize_with = "positive")]
    pub carrier_payload_kg: f64,
    /// Metres that a carrier goes from its depot over the pickup to the drop-off.
    #[serde(deserialize_with = "positive")]
    pub carrier_range_m: f64,
    /// Metres a second.
    #[serde(deserialize_with = "positive")]
    pub carrier_speed_mps: f64,
    /// Simulated seconds to take a package, or to hand it over.
    pub handling_seconds: u32,
    /// Days that a shipment and a tombstone are kept after their last change.
    pub shipments_kept_days: u32,
}

/// Middle of the demo city: the drones' bases lie around it, and the carrier's depot is there.
const CITY: Location = Location::new(60.169, 24.9425);

impl Default for TransportConfig {
    fn default() -> Self {
        Self {
            store: StoreSettings::default(),
            time_scale: 20.0,
            drone_payload_kg: 25.0,
            drone_range_m: 20_000.0,
            drone_bases_radius_m: 1_500.0,
            no_fly: vec![NoFlyZone {
                name: "Helsinki-Vantaa airport".to_owned(),
                latitude: 60.3172,
                longitude: 24.9633,
                radius_m: 5_000.0,
            }],
            carrier: "city-vans".to_owned(),
            carrier_payload_kg: 500.0,
            carrier_range_m: 300_000.0,
            carrier_speed_mps: 12.0,
            handling_seconds: 120,
            shipments_kept_days: 37,
        }
    }
}

impl TransportConfig {
    pub(crate) fn depot(&self, clock: SimulatedClock) -> Depot {
        let limits = Limits {
            drone_payload_kg: self.drone_payload_kg,
            drone_range_m: self.drone_range_m,
            drone_bases: CITY,
            drone_bases_radius_m: self.drone_bases_radius_m,
            no_fly: self.no_fly.clone(),
            carrier_payload_kg: self.carrier_payload_kg,
            carrier_range_m: self.carrier_range_m,
            depot: CITY,
        };
        let roads = Roads {
            speed_mps: self.carrier_speed_mps,
            handling: Duration::from_secs(u64::from(self.handling_seconds)),
            depot: CITY,
        };
        let carrier = self.carrier.clone();
        Depot { limits: Arc::new(limits), roads, clock, carrier, bell: Arc::default() }
    }
}

fn positive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let number = f64::deserialize(deserializer)?;
    let fits = number > 0.0 && number.is_finite();
    if fits { Ok(number) } else { Err(D::Error::custom("a number above 0 is expected")) }
}

/// Starts the service on the context's tasks.
///
/// # Errors
/// The database cannot be opened or written, or an address cannot be listened on.
pub async fn run(context: ServiceContext, config: TransportConfig) -> Result<Bound, StartError> {
    let store = context.open_store(MIGRATIONS, config.store.clone())?;
    let scale = config.time_scale;
    let clock = store
        .write(move |it| table::simulated_clock(it, scale))
        .await
        .map_err(|it| StartError::Part { what: "the simulated clock", source: it.into() })?;
    let depot = config.depot(clock);
    start_relay(&context, &store);
    start_sweeper(&context, &store);
    let (driven, tours_depot, wall) = (store.clone(), depot.clone(), context.clock.clone());
    context.tasks.spawn("tours", |shutdown| tours::drive(driven, tours_depot, wall, shutdown));
    let kept_days = config.shipments_kept_days;
    start_forgetting(&context, &store, "shipments", kept_days, table::forget_old);
    if let Some(messaging) = &context.messaging {
        let deliveries = Deliveries::new(store.clone(), depot.clone());
        let heard = Subscription::new([topics::DELIVERY_EVENTS], ROLE);
        messaging.subscribe(&heard, deliveries, &context.tasks);
    }
    Service::new(routes(Shared { store: store.clone(), depot }))
        .store(&store)
        .health(context.health(Some(&store)))
        .openapi(&Document::openapi())
        .serve(&context)
}
