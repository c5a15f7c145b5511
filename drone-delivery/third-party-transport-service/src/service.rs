//! Wiring of one Third-party Transport process.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use base::SimulatedClock;
use contracts::{Location, topics};
use fleet_rules::{FleetConfig, positive};
use messaging::Subscription;
use serde::{Deserialize, Serialize};
use service_kit::{
    Bound, Service, ServiceContext, StartError, start_forgetting, start_relay, start_sweeper,
};
use store::{Store, StoreSettings};
use utoipa::OpenApi as _;

use crate::{
    api::{Document, Shared, routes},
    booking::{Carrier, CarrierKind, Depot},
    domain::{Habits, Limits, Roads},
    events::{Deliveries, ROLE},
    outside::{Companies, Company, watch::Watch},
    store::{self as table, MIGRATIONS, outside as asked},
    tours,
};

/// Settings of the role.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TransportConfig {
    /// Its database.
    pub store: StoreSettings,
    /// The carriers, in the order in which they are asked.
    pub carriers: Vec<CarrierConfig>,
    /// Of how their tours go: the same seed, the same fates.
    pub seed: u64,
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
    /// Milliseconds that a call to a company outside waits for its answer: less than a step of a workflow.
    pub company_timeout_ms: u64,
    /// Milliseconds between two questions to a company about a delivery under way.
    pub company_look_every_ms: u64,
    /// Days that a shipment and a tombstone are kept after their last change.
    pub shipments_kept_days: u32,
}

/// A carrier: simulated, or a company outside where there is a `url`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CarrierConfig {
    /// How it is called.
    pub name: String,
    /// Tours that it takes at the same time; when all are out the next carrier is asked.
    pub vehicles: u32,
    /// Tours of a hundred that are late.
    pub late_percent: u8,
    /// By how many simulated minutes at the most.
    pub late_minutes_max: u32,
    /// Tours of a hundred that break down.
    pub failure_percent: u8,
    /// Where a company outside takes bookings, `https://host:port` or `http://host:port`; empty for a
    /// simulated one.
    pub url: String,
    /// What that company knows us by, as a bearer token.
    pub token: String,
}

impl Default for CarrierConfig {
    fn default() -> Self {
        Self::called("city-vans")
    }
}

impl CarrierConfig {
    /// One that is on time, with vehicles for a busy day.
    fn called(name: &str) -> Self {
        let (vehicles, late_minutes_max) = (200, 30);
        let (late_percent, failure_percent) = (0, 0);
        let (url, token) = (String::new(), String::new());
        let name = name.to_owned();
        Self { name, vehicles, late_percent, late_minutes_max, failure_percent, url, token }
    }

    fn company(&self) -> Option<Company> {
        let (name, url, token) = (self.name.clone(), self.url.clone(), self.token.clone());
        (!url.is_empty()).then_some(Company { name, url, token })
    }

    fn carrier(&self) -> Carrier {
        let habits = Habits {
            late_percent: self.late_percent,
            late_max: Duration::from_secs(60 * u64::from(self.late_minutes_max)),
            failure_percent: self.failure_percent,
        };
        let is_outside = !self.url.is_empty();
        let kind = if is_outside { CarrierKind::Outside } else { CarrierKind::Simulated(habits) };
        Carrier { name: self.name.clone(), vehicles: self.vehicles, kind }
    }
}

/// Middle of the demo city: the carrier's depot.
const CITY: Location = Location::new(60.169, 24.9425);

impl Default for TransportConfig {
    fn default() -> Self {
        Self {
            store: StoreSettings::default(),
            carriers: ["city-vans", "nordic-cargo"].map(CarrierConfig::called).to_vec(),
            seed: 0,
            carrier_payload_kg: 500.0,
            carrier_range_m: 300_000.0,
            carrier_speed_mps: 12.0,
            handling_seconds: 120,
            company_timeout_ms: 1_500,
            company_look_every_ms: 1_000,
            shipments_kept_days: 37,
        }
    }
}

/// Why the carriers of the settings cannot be asked.
#[derive(Debug, thiserror::Error)]
enum CarriersError {
    #[error("`{url}` of carrier `{name}` is no address: https://host:port is expected")]
    Url { name: String, url: String },
    #[error("two carriers are called `{name}`")]
    Twice { name: String },
    #[error(
        "no carrier with a url is called `{name}`, and it serves deliveries that have not ended ({open}, such \
         as `{delivery}`): keep it until they have; with `vehicles` 0 it gets no others"
    )]
    StillServes { name: String, open: u64, delivery: String },
}

impl TransportConfig {
    /// The companies that are asked by HTTP.
    fn companies(&self) -> Result<Vec<Company>, CarriersError> {
        let mut names = BTreeSet::new();
        if let Some(twice) = self.carriers.iter().find(|it| !names.insert(it.name.as_str())) {
            return Err(CarriersError::Twice { name: twice.name.clone() });
        }
        let companies: Vec<Company> =
            self.carriers.iter().filter_map(CarrierConfig::company).collect();
        let is_address = |url: &str| {
            let parsed = url.parse::<http::Uri>().ok();
            parsed.is_some_and(|it| {
                let is_known = matches!(it.scheme_str(), Some("http" | "https"));
                is_known && it.host().is_some() && it.path() == "/"
            })
        };
        match companies.iter().find(|it| !is_address(&it.url)) {
            Some(Company { name, url, .. }) => {
                Err(CarriersError::Url { name: name.clone(), url: url.clone() })
            }
            None => Ok(companies),
        }
    }

    pub(crate) fn depot(&self, fleet: &FleetConfig, clock: SimulatedClock) -> Depot {
        let limits = Limits {
            airframe: fleet.airframe(),
            rules: fleet.rules(),
            drones: fleet.drones,
            carrier_payload_kg: self.carrier_payload_kg,
            carrier_range_m: self.carrier_range_m,
            depot: CITY,
        };
        let roads = Roads {
            speed_mps: self.carrier_speed_mps,
            handling: Duration::from_secs(u64::from(self.handling_seconds)),
            depot: CITY,
        };
        let carriers = self.carriers.iter().map(CarrierConfig::carrier).collect();
        let (limits, seed, bell) = (Arc::new(limits), self.seed, Arc::default());
        Depot { limits, roads, clock, carriers, seed, bell }
    }
}

/// Starts the service on the context's tasks.
///
/// # Errors
/// The database cannot be opened or written, or an address cannot be listened on.
pub async fn run(
    context: ServiceContext,
    fleet: FleetConfig,
    config: TransportConfig,
) -> Result<Bound, StartError> {
    let companies = config
        .companies()
        .map_err(|it| StartError::Part { what: "the carriers", source: it.into() })?;
    let timeout = Duration::from_millis(config.company_timeout_ms);
    let companies = Companies::new(companies, timeout, &context)?;
    let store = context.open_store(MIGRATIONS, config.store.clone())?;
    check_served(&store, &companies)
        .await
        .map_err(|source| StartError::Part { what: "the carriers", source })?;
    let scale = fleet.time_scale;
    let clock = store
        .write(move |it| store::simulated_clock(it, scale))
        .await
        .map_err(|it| StartError::Part { what: "the simulated clock", source: it.into() })?;
    let depot = config.depot(&fleet, clock);
    start_relay(&context, &store);
    start_sweeper(&context, &store);
    let (driven, tours_depot, wall) = (store.clone(), depot.clone(), context.clock.clone());
    context.tasks.spawn("tours", |shutdown| tours::drive(driven, tours_depot, wall, shutdown));
    let every = Duration::from_millis(config.company_look_every_ms.max(1));
    watch_companies(&context, (&store, &depot), &companies, every);
    let kept_days = config.shipments_kept_days;
    start_forgetting(&context, &store, "shipments", kept_days, table::forget_old);
    if let Some(messaging) = &context.messaging {
        let deliveries = Deliveries::new(store.clone(), depot.clone());
        let heard = Subscription::new([topics::DELIVERY_EVENTS], ROLE);
        messaging.subscribe(&heard, deliveries, &context.tasks)?;
    }
    Service::new(routes(Shared { store: store.clone(), depot, companies }))
        .store(&store)
        .health(context.health(Some(&store)))
        .openapi(&Document::openapi())
        .serve(&context)
}

/// Refuses settings without a company that still serves somebody: nobody would hear of it any more, nor call
/// it off.
async fn check_served(
    store: &Store,
    companies: &Companies,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let serving = store.read(asked::counted).await?;
    let known = companies.names();
    match serving.into_iter().find(|it| !known.contains(&it.0)) {
        Some((name, open, delivery)) => {
            Err(CarriersError::StillServes { name, open, delivery }.into())
        }
        None => Ok(()),
    }
}

fn watch_companies(
    context: &ServiceContext,
    (store, depot): (&Store, &Depot),
    companies: &Companies,
    every: Duration,
) {
    for carrier in companies.names() {
        let watch = Watch {
            store: store.clone(),
            depot: depot.clone(),
            clock: context.clock.clone(),
            companies: companies.clone(),
            carrier,
            every,
        };
        context.tasks.spawn("companies", |shutdown| watch.run(shutdown));
    }
}
