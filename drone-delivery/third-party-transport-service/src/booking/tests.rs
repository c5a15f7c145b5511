//! Two processes over one database.

use std::{path::Path, time::Duration};

use base::{Clock as _, ManualClock, Random, SharedClock};
use contracts::Location;
use fleet_rules::FleetConfig;
use store::{Store, StoreSettings, WriteError};
use telemetry::{Telemetry, TelemetryConfig};
use tempfile::TempDir;

use super::*;

#[derive(Debug, Clone)]
struct Process {
    store: Store,
    depot: Depot,
}

async fn process(path: &Path, clock: &Arc<ManualClock>) -> Process {
    let shared: SharedClock = Arc::<ManualClock>::clone(clock);
    let telemetry = Telemetry::new(TelemetryConfig::default(), Arc::clone(&shared));
    let settings = StoreSettings::default();
    let store =
        Store::open(path, table::MIGRATIONS, settings, shared, &telemetry).expect("it opens");
    let simulated = store.write(|it| store::simulated_clock(it, 20.0)).await.unwrap();
    Process {
        store,
        depot: crate::TransportConfig::default().depot(&FleetConfig::default(), simulated),
    }
}

fn refused<E: std::fmt::Debug>(error: WriteError<E>) -> E {
    match error {
        WriteError::Refused(error) => error,
        other => panic!("the store failed: {other:?}"),
    }
}

fn heavy() -> Trip {
    Trip {
        pickup: Location::new(60.17, 24.94),
        dropoff: Location::new(60.175, 24.945),
        pickup_time: None,
        weight_kg: 40.0,
    }
}

impl Process {
    async fn book(&self, id: &str, trip: Trip) -> Result<Transport, BookError> {
        self.ask(id, Wish { trip, no_drone: false, deadline: None, made: false }).await
    }

    async fn ask(&self, id: &str, wish: Wish) -> Result<Transport, BookError> {
        let (depot, id) = (self.depot.clone(), id.to_owned());
        let booked = self
            .store
            .write(move |it| book(it, &depot, &id, (&wish, &Answers::default()), None))
            .await;
        booked.map_err(refused)
    }

    async fn release(&self, id: &str) -> Result<(), ReleaseError> {
        let id = id.to_owned();
        self.store.write(move |it| release(it, &id)).await.map_err(refused)
    }

    async fn send(&self, id: &str) {
        let (depot, id) = (self.depot.clone(), id.to_owned());
        self.store.write(move |it| send(it, &depot, &id, None)).await.unwrap();
    }

    async fn advance(&self) -> usize {
        let depot = self.depot.clone();
        self.store.write(move |it| advance(it, &depot, 100)).await.unwrap()
    }

    /// Numbers of everything that was said, by delivery.
    async fn said(&self) -> std::collections::BTreeMap<String, Vec<u64>> {
        let mut said = std::collections::BTreeMap::<String, Vec<u64>>::new();
        for (_, message) in self.store.read(|it| it.outbox(0, 100_000)).await.unwrap() {
            let body: serde_json::Value = serde_json::from_slice(&message.body).unwrap();
            let number = body["sequence"].as_u64().unwrap();
            said.entry(message.key.unwrap()).or_default().push(number);
        }
        said
    }
}

fn manual_clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp::from_millis(1_700_000_000_000)))
}

async fn history(seed: u64) {
    let directory = TempDir::new().unwrap();
    let (path, clock) = (directory.path().join("transport.db"), manual_clock());
    let mut random = Random::with_seed(seed);
    let mut processes = [process(&path, &clock).await, process(&path, &clock).await];
    let mut released = std::collections::BTreeSet::new();
    for step in 0..200 {
        clock.advance(Duration::from_millis(random.below(3_000)));
        let which = usize::from(random.below(2) == 1);
        let (here, id) = (processes[which].clone(), format!("d{}", random.below(20)));
        match random.below(6) {
            0 | 1 => {
                let booked = here.book(&id, heavy()).await;
                let expected = if released.contains(&id) {
                    Err(BookError::Released)
                } else {
                    Ok(Transport::Carrier)
                };
                assert_eq!(booked, expected, "seed {seed}, step {step}");
            }
            2 => here.send(&id).await,
            3 if random.below(3) == 0 && here.release(&id).await.is_ok() => {
                released.insert(id);
            }
            4 if random.below(4) == 0 => processes[which] = process(&path, &clock).await,
            _ => drop(here.advance().await),
        }
    }
    for (delivery, numbers) in processes[0].said().await {
        let expected: Vec<u64> = (1..=numbers.len() as u64).collect();
        assert_eq!(numbers, expected, "seed {seed}: {delivery}");
        assert!(
            numbers.len() <= 5,
            "seed {seed}: {delivery} said more than its phases, and when it leaves"
        );
    }
}

#[tokio::test]
async fn no_history_of_two_processes_reaches_a_phase_twice() {
    let first = fastrand::u64(..);
    println!("seeds from {first}");
    for seed in 0..12 {
        history(first.wrapping_add(seed)).await;
    }
}

#[tokio::test]
async fn a_carrier_takes_what_no_drone_can_and_is_found_again_after_a_restart() {
    let directory = TempDir::new().unwrap();
    let (path, clock) = (directory.path().join("transport.db"), manual_clock());
    let before = process(&path, &clock).await;
    let light = Trip { weight_kg: 3.0, ..heavy() };
    assert_eq!(before.book("light", light).await, Ok(Transport::Drone));
    assert_eq!(before.book("d1", heavy()).await, Ok(Transport::Carrier));
    assert_eq!(before.book("d1", heavy()).await, Ok(Transport::Carrier));
    let other = Trip { weight_kg: 50.0, ..heavy() };
    assert_eq!(before.book("d1", other).await, Err(BookError::OtherTrip));
    before.send("d1").await;
    clock.advance(Duration::from_secs(1));
    assert_eq!(before.advance().await, 1);
    drop(before);
    let after = process(&path, &clock).await;
    let now = after.depot.now(clock.now());
    let due = after.store.read(table::next_due).await.unwrap().unwrap();
    assert!(due > now, "it goes on with the plan that it had");
    clock.advance(Duration::from_secs(60));
    assert_eq!(after.advance().await, 1);
    assert_eq!(after.release("d1").await, Err(ReleaseError::PickedUp(PickedUp)));
    assert_eq!(after.said().await["d1"], [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_release_leaves_a_tombstone_also_where_nothing_was_booked() {
    let directory = TempDir::new().unwrap();
    let (path, clock) = (directory.path().join("transport.db"), manual_clock());
    let here = process(&path, &clock).await;
    here.book("d1", heavy()).await.unwrap();
    for id in ["d1", "d1", "never"] {
        here.release(id).await.unwrap();
        assert_eq!(here.book(id, heavy()).await, Err(BookError::Released), "{id}");
    }
    here.send("d1").await;
    clock.advance(Duration::from_secs(3_600));
    assert_eq!(here.advance().await, 0);
}

#[tokio::test]
async fn where_the_fleet_has_none_a_van_takes_what_it_can_and_leaves_when_it_is_told() {
    let directory = TempDir::new().unwrap();
    let (path, clock) = (directory.path().join("transport.db"), manual_clock());
    let here = process(&path, &clock).await;
    let light = Trip { weight_kg: 2.0, ..heavy() };
    assert_eq!(here.book("d1", light.clone()).await, Ok(Transport::Drone), "by the rule");
    let wish = |trip: Trip, made| Wish { trip, no_drone: true, deadline: None, made };
    assert_eq!(here.ask("d1", wish(light.clone(), false)).await, Ok(Transport::Carrier));
    clock.advance(Duration::from_secs(3_600));
    assert_eq!(here.advance().await, 0, "it was not told to leave");
    for _ in 0..2 {
        assert_eq!(here.ask("d1", wish(light.clone(), true)).await, Ok(Transport::Carrier));
    }
    clock.advance(Duration::from_secs(3_600));
    assert_eq!(here.advance().await, 1);
    let whale = Trip { weight_kg: 900.0, ..light };
    assert_eq!(here.ask("d2", wish(whale, true)).await, Ok(Transport::Nobody));
    assert_eq!(here.said().await.keys().collect::<Vec<_>>(), ["d1"], "nothing is booked for it");
}

#[tokio::test]
async fn what_no_carrier_brings_in_time_is_refused_with_the_time_at_which_one_could() {
    let directory = TempDir::new().unwrap();
    let clock = manual_clock();
    let here = process(&directory.path().join("transport.db"), &clock).await;
    let wish =
        |deadline| Wish { trip: heavy(), no_drone: false, deadline: Some(deadline), made: false };
    let Err(BookError::PastDeadline { earliest, .. }) =
        here.ask("d1", wish(clock.now() + Duration::from_secs(1))).await
    else {
        panic!("a carrier promises what it cannot keep");
    };
    let found = here.store.read(|it| table::find(it, "d1")).await.unwrap();
    assert!(found.is_none() && here.said().await.is_empty(), "nothing is booked");
    assert_eq!(
        here.ask("d1", wish(earliest + Duration::from_secs(1))).await,
        Ok(Transport::Carrier)
    );
}

#[tokio::test]
async fn the_next_carrier_is_asked_when_all_vehicles_of_one_are_out_and_then_nobody_has_room() {
    let (directory, clock) =
        (TempDir::new().unwrap(), Arc::new(ManualClock::new(Timestamp::from_millis(0))));
    let mut here = process(&directory.path().join("transport.db"), &clock).await;
    let one = |name: &str| Carrier {
        name: name.to_owned(),
        vehicles: 1,
        kind: CarrierKind::Simulated(NEVER),
    };
    here.depot.carriers = [one("first"), one("second")].into();
    for (id, expected) in [("d1", "first"), ("d2", "second")] {
        for _ in 0..2 {
            assert_eq!(here.book(id, heavy()).await, Ok(Transport::Carrier));
        }
        let found = here.store.read(move |it| table::find(it, id)).await.unwrap();
        let Some(Found::Shipment(shipment)) = found else { panic!("{id} is not booked") };
        assert_eq!(shipment.carrier, expected);
    }
    assert_eq!(here.book("d3", heavy()).await, Err(BookError::Full));
    here.send("d1").await;
    clock.advance(Duration::from_secs(3_600));
    assert_eq!(here.advance().await, 1);
    assert_eq!(here.book("d3", heavy()).await, Ok(Transport::Carrier), "a tour has ended");
    assert_eq!(here.book("d4", heavy()).await, Err(BookError::Full));
    here.release("d2").await.unwrap();
    assert_eq!(here.book("d4", heavy()).await, Ok(Transport::Carrier), "a booking was released");
}

const ALWAYS: Habits = Habits { late_percent: 0, late_max: Duration::ZERO, failure_percent: 100 };
const NEVER: Habits = Habits { failure_percent: 0, ..ALWAYS };

/// The carriers that were announced, and the last phase of all, of a tour with these carriers.
async fn tour_of(habits: &[(&str, Habits)], id: &str) -> (Vec<String>, String) {
    let (directory, clock) = (TempDir::new().unwrap(), manual_clock());
    let mut here = process(&directory.path().join("transport.db"), &clock).await;
    let carrier = |it: &(&str, Habits)| Carrier {
        name: it.0.to_owned(),
        vehicles: 1,
        kind: CarrierKind::Simulated(it.1),
    };
    here.depot.carriers = habits.iter().map(carrier).collect();
    here.book(id, heavy()).await.unwrap();
    here.send(id).await;
    clock.advance(Duration::from_secs(36_000));
    here.advance().await;
    assert_eq!(here.advance().await, 0, "its end was reached");
    let out = here.store.read(|it| {
        Ok::<_, SqlError>(table::vehicles_out(it, "first")? + table::vehicles_out(it, "second")?)
    });
    assert_eq!(out.await.unwrap(), 0, "no vehicle is out any more");
    let said = here.store.read(|it| it.outbox(0, 1_000)).await.unwrap();
    let bodies: Vec<serde_json::Value> =
        said.iter().map(|it| serde_json::from_slice(&it.1.body).unwrap()).collect();
    let numbers: Vec<_> = bodies.iter().map(|it| it["sequence"].as_u64().unwrap()).collect();
    assert!(numbers.iter().copied().eq(1..=numbers.len() as u64), "{numbers:?}");
    let mut carriers: Vec<_> =
        bodies.iter().map(|it| it["carrier"].as_str().unwrap().to_owned()).collect();
    carriers.dedup();
    (carriers, bodies.last().unwrap()["phase"].as_str().unwrap().to_owned())
}

/// An id whose first tour breaks down before the pick-up, or after it.
fn breaking(before_pickup: bool) -> String {
    let share = |id: &str| fate(ALWAYS, 0, id).breaks_down.unwrap();
    let fits = |it: f64| if before_pickup { it < 0.2 } else { it > 0.8 };
    (0..).map(|it| format!("d{it}")).find(|it| fits(share(it))).unwrap()
}

#[tokio::test]
async fn a_carrier_that_breaks_down_before_it_has_the_package_makes_room_for_the_next() {
    let id = breaking(true);
    let (carriers, end) = tour_of(&[("first", ALWAYS), ("second", NEVER)], &id).await;
    assert_eq!(
        (carriers, end.as_str()),
        (vec!["first".to_owned(), "second".to_owned()], "DroppedOff")
    );
    let (carriers, end) = tour_of(&[("first", ALWAYS)], &id).await;
    assert_eq!((carriers, end.as_str()), (vec!["first".to_owned()], "Failed"), "nobody is left");
}

#[tokio::test]
async fn a_carrier_that_breaks_down_with_the_package_has_failed() {
    let (carriers, end) = tour_of(&[("first", ALWAYS), ("second", NEVER)], &breaking(false)).await;
    assert_eq!((carriers, end.as_str()), (vec!["first".to_owned()], "Failed"));
}

#[tokio::test]
async fn what_is_stranded_with_its_carrier_cannot_be_called_off_and_is_let_go_by_its_end() {
    let (directory, clock) = (TempDir::new().unwrap(), manual_clock());
    let mut here = process(&directory.path().join("transport.db"), &clock).await;
    let kind = CarrierKind::Simulated(ALWAYS);
    here.depot.carriers = Arc::new([Carrier { name: "only".to_owned(), vehicles: 9, kind }]);
    let call_off = async |id: &str| {
        let id = id.to_owned();
        here.store.write(move |it| call_off(it, &id)).await.map_err(refused)
    };
    for (before_pickup, expected) in
        [(false, Err(ReleaseError::PickedUp(PickedUp))), (true, Ok(()))]
    {
        let id = breaking(before_pickup);
        here.book(&id, heavy()).await.unwrap();
        here.send(&id).await;
        clock.advance(Duration::from_secs(36_000));
        while here.advance().await > 0 {}
        assert_eq!(call_off(&id).await, expected, "before the pick-up: {before_pickup}");
        assert_eq!(here.release(&id).await, Ok(()), "its delivery has failed");
    }
}

#[tokio::test]
async fn a_move_beyond_what_carriers_drive_leaves_the_trip_as_it_was() {
    let (directory, clock) = (TempDir::new().unwrap(), manual_clock());
    let here = process(&directory.path().join("transport.db"), &clock).await;
    let relocate = async |id: &str, latitude, revision| {
        let (depot, id) = (here.depot.clone(), id.to_owned());
        let (pickup, dropoff) = (heavy().pickup, Location::new(latitude, 24.945));
        let change =
            Move { pickup: Some(pickup), dropoff: Some(dropoff), pickup_time: None, revision };
        let moved = here.store.write(move |it| relocate(it, &depot, &id, &change)).await;
        moved.map(|it| it.trip.dropoff.latitude).map_err(refused)
    };
    assert_eq!(relocate("d1", 60.2, 1).await, Err(RelocateError::NotBooked));
    here.book("d1", heavy()).await.unwrap();
    assert_eq!(relocate("d1", 60.2, 1).await, Ok(60.2));
    let far = relocate("d1", 66.5, 2).await;
    assert!(matches!(far, Err(RelocateError::Nobody(NoTransport::TooFar { .. }))), "{far:?}");
    assert_eq!(relocate("d1", 60.3, 2).await, Ok(60.3), "the refused one was forgotten");
    here.release("d1").await.unwrap();
    assert_eq!(relocate("d1", 60.2, 3).await, Err(RelocateError::NotBooked));
}
