//! The topics: their names, and how long they keep what.

/// One topic as the log is asked to make it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: &'static str,
    /// Partitions; a delivery's or a drone's records stay in one.
    pub partitions: u32,
    /// Whether a record is on stable storage before anybody learns of it.
    pub synced: bool,
    /// Milliseconds that records are kept at the least.
    pub retention_ms: u64,
}

/// Requests of clients; key: delivery.
pub const DELIVERY_REQUESTS: &str = "delivery-requests";
/// What became of requests; key: delivery.
pub const REQUEST_EVENTS: &str = "request-events";
/// Failed operations for the Supervisor; key: delivery.
pub const SUPERVISOR: &str = "supervisor";
/// Phases of flights; key: drone.
pub const DRONE_EVENTS: &str = "drone-events";
/// Positions in flight, latest wins; key: drone.
pub const DRONE_POSITIONS: &str = "drone-positions";
/// Progress of outside carriers; key: delivery.
pub const CARRIER_EVENTS: &str = "carrier-events";
/// Stages of deliveries; key: delivery.
pub const DELIVERY_EVENTS: &str = "delivery-events";
/// Words to customers; key: delivery.
pub const NOTIFICATIONS: &str = "notifications";
/// Words to operators; key: delivery where there is one.
pub const ALERTS: &str = "alerts";

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
const PARTITIONS: u32 = 16;

const fn synced(name: &'static str, days: u64) -> Topic {
    Topic { name, partitions: PARTITIONS, synced: true, retention_ms: days * DAY_MS }
}

/// Every topic of the system.
pub const ALL: [Topic; 9] = [
    synced(DELIVERY_REQUESTS, 7),
    synced(REQUEST_EVENTS, 7),
    // Until settled; what is older than the longest redrive was settled or is parked.
    synced(SUPERVISOR, 37),
    synced(DRONE_EVENTS, 1),
    Topic { name: DRONE_POSITIONS, partitions: PARTITIONS, synced: false, retention_ms: HOUR_MS },
    synced(CARRIER_EVENTS, 7),
    synced(DELIVERY_EVENTS, 30),
    synced(NOTIFICATIONS, 7),
    synced(ALERTS, 7),
];
