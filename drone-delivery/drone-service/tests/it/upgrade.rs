//! Databases of earlier formats are opened, and what stands in them goes on.

use drone_service::{DroneConfig, run};
use fleet_rules::FleetConfig;
use http::Method;
use runtime::{SystemClock, Tasks};
use serde_json::{Value, json};
use service_kit::{ServiceConfig, ServiceContext};
use store::{Migration, Store, StoreSettings};
use telemetry::Telemetry;

use crate::compatibility::Served;

/// The tables of the first format, as they were made then.
const FIRST: &str = "
CREATE TABLE drones (
  id TEXT PRIMARY KEY,
  state TEXT NOT NULL,
  phase TEXT NOT NULL,
  delivery_id TEXT,
  changed INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX drones_changed ON drones (changed);
CREATE UNIQUE INDEX drones_delivery ON drones (delivery_id) WHERE delivery_id IS NOT NULL;

CREATE TABLE bookings (
  delivery_id TEXT PRIMARY KEY,
  drone_id TEXT,
  state TEXT NOT NULL CHECK (state IN ('Active', 'Delivered', 'Lost', 'Released')),
  trip TEXT,
  revision INTEGER NOT NULL,
  owner_id TEXT,
  metres REAL NOT NULL DEFAULT 0,
  seconds REAL NOT NULL DEFAULT 0,
  changed_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX bookings_drone ON bookings (drone_id) WHERE state = 'Active';
CREATE INDEX bookings_owner ON bookings (owner_id, changed_at) WHERE metres > 0;
CREATE INDEX bookings_age ON bookings (changed_at) WHERE state != 'Active';

CREATE TABLE simulation (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  wall INTEGER NOT NULL,
  simulated INTEGER NOT NULL,
  scale REAL NOT NULL
) STRICT;
";

/// What a program of then wrote into them.
const ROWS: &str = include_str!("first_format.sql");

/// A service over a database of the first format.
async fn served() -> Served {
    let directory = tempfile::tempdir().unwrap();
    let (clock, quiet) = (SystemClock::shared(), Telemetry::disabled());
    let first = [Migration { version: 1, name: "the fleet and its bookings", sql: FIRST }];
    let path = directory.path().join("drone.db");
    let settings = StoreSettings::default();
    let store = Store::open(path, &first, settings, clock.clone(), &quiet).unwrap();
    let written = store.write(|it| -> Result<(), store::SqlError> {
        let mut rows = ROWS.split_inclusive(";\n");
        rows.try_for_each(|row| it.execute(row, &[]).map(drop))
    });
    written.await.unwrap();
    drop(store);
    let config = ServiceConfig::new("drone", "drone-1", directory.path());
    let context = ServiceContext::new(config, clock, quiet, Tasks::new());
    let fleet = FleetConfig { drones: 5, ..FleetConfig::default() };
    let bound = run(context, fleet, DroneConfig::default()).await.unwrap();
    Served::new(&bound, directory)
}

#[tokio::test]
async fn a_fleet_of_the_first_format_goes_on_with_what_it_had_booked() {
    let drone = served().await;
    let booking = async |id: &str| drone.get(&format!("/api/dronedeliveries/{id}")).await.1;
    for (id, flown_by, made) in [("booked", "drone-0003", false), ("waiting", "drone-0004", true)] {
        let found = booking(id).await;
        let expected = (&json!(flown_by), &json!("Assigned"));
        assert_eq!((&found["droneId"], &found["state"]), expected, "{found}");
        let (_, plan) = drone.get(&format!("/api/drones/{flown_by}/plan")).await;
        let planned = &plan["bookings"][0];
        assert_eq!((&planned["deliveryId"], &planned["made"]), (&json!(id), &json!(made)));
        // It is on its base and free: its booking waits in its plan.
        assert_eq!(drone.get(&format!("/api/drones/{flown_by}")).await.1["state"], "Idle");
    }
    assert!(booking("waiting").await["pickupETA"].as_str().unwrap().starts_with("2099-01-01"));
    assert_eq!(booking("lost").await["state"], "Lost");
    let flying = booking("flying").await;
    assert_eq!(flying["droneId"], "drone-0001", "{flying}");
    assert_ne!(flying["state"], "Assigned", "it is in the air, or was: {flying}");
    assert_eq!(drone.get("/api/drones/drone-0005").await.1["state"], "Failed");
}

#[tokio::test]
async fn a_booking_of_the_first_format_is_given_again_and_can_be_released() {
    let drone = served().await;
    let trip = json!({"pickup": {"latitude": 60.17, "longitude": 24.94},
        "dropoff": {"latitude": 60.175, "longitude": 24.945}, "packageDetail": {"weight": 3}});
    let path = "/api/dronedeliveries/booked";
    let again = drone.send(Method::PUT, path, Some(&trip)).await;
    assert_eq!((again.status.as_u16(), &again.body[..]), (200, &b"drone-0003"[..]));
    assert_eq!(drone.delete(path).await, 200);
    assert_eq!(drone.get(path).await.0, 404);
    let (_, plan) = drone.get("/api/drones/drone-0003/plan").await;
    assert_eq!(plan["bookings"], Value::Array(Vec::new()), "its place is free");
}
