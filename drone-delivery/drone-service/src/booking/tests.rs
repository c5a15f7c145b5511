//! Random histories of bookings over one database that two processes share, from a seed.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use base::{ManualClock, Random, SharedClock, SimulatedClock};
use contracts::Location;
use store::{Store, StoreSettings, WriteError};
use telemetry::{Telemetry, TelemetryConfig};
use tempfile::TempDir;

use super::*;
use crate::domain::{Airframe, Rules};

pub(crate) const RULES: Rules = Rules {
    cruise_speed_mps: 15.0,
    cruise_altitude_m: 60.0,
    reserve: 0.1,
    dwell: Duration::from_secs(20),
    handling: Duration::from_secs(5),
    full_charge: Duration::from_secs(1_800),
    ready_battery: 0.5,
};
const AIRFRAME: Airframe = Airframe { payload_kg: 25.0, range_m: 20_000.0 };

/// One process of the role, without its wire.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) store: Store,
    pub(crate) tower: Tower,
    pub(crate) telemetry: Telemetry,
}

/// Opens the database of a fleet, as a process does when it starts.
pub(crate) async fn process(path: &Path, clock: &Arc<ManualClock>, drones: u32) -> Process {
    paced_process(path, clock, drones, 20.0).await
}

/// The same, with simulated time at another pace.
pub(crate) async fn paced_process(
    path: &Path,
    clock: &Arc<ManualClock>,
    drones: u32,
    scale: f64,
) -> Process {
    let shared: SharedClock = Arc::<ManualClock>::clone(clock);
    let telemetry = Telemetry::new(TelemetryConfig::default(), Arc::clone(&shared));
    let settings = StoreSettings::default();
    let store =
        Store::open(path, table::MIGRATIONS, settings, shared, &telemetry).expect("it opens");
    let started: Result<_, WriteError<SqlError>> = store
        .write(move |it| {
            let simulated = table::simulated_clock(it, scale)?;
            let now = simulated.at(it.now());
            table::seed_fleet(it, drones, AIRFRAME, now)?;
            Ok((simulated, table::drones_changed_since(it, 0)?))
        })
        .await;
    let (simulated, known): (SimulatedClock, Vec<Known>) = started.unwrap();
    Process { store, tower: Tower::new(RULES, AIRFRAME, simulated, known), telemetry }
}

pub(crate) fn request(random: &mut Random) -> BookingRequest {
    let mut place = || {
        Location::new(
            (random.unit() - 0.5).mul_add(0.01, 60.169),
            (random.unit() - 0.5).mul_add(0.02, 24.942),
        )
    };
    BookingRequest {
        delivery_id: None,
        pickup: place(),
        dropoff: place(),
        pickup_time: None,
        weight_kg: Some(3.0),
        names_package: true,
        owner_id: None,
        revision: 0,
    }
}

impl Process {
    pub(crate) async fn book(
        &self,
        id: &str,
        request: BookingRequest,
    ) -> Result<String, BookError> {
        let (tower, id) = (self.tower.clone(), id.to_owned());
        let booked = self.store.write(move |it| book(it, &tower, &id, &request, None)).await;
        booked.map_err(refused)
    }

    pub(crate) async fn release(&self, id: &str) -> Result<(), ReleaseError> {
        let (tower, id) = (self.tower.clone(), id.to_owned());
        self.store.write(move |it| release(it, &tower, &id)).await.map_err(refused)
    }

    pub(crate) async fn send(&self, id: &str) {
        let (tower, id) = (self.tower.clone(), id.to_owned());
        let sent = self.store.write(move |it| send(it, &tower, &id, "owner", None)).await;
        if let Some(known) = sent.map_err(refused::<SqlError>).unwrap() {
            self.tower.note(known);
        }
    }

    /// Reads what others changed, and moves on what is due by this process's copy.
    pub(crate) async fn advance(&self, now: Timestamp, follow: bool) -> usize {
        if follow {
            let tower = self.tower.clone();
            self.store.read(move |it| tower.follow(it)).await.unwrap();
        }
        let due = self.tower.fleet().due(self.tower.now(now), 1_000);
        self.advance_these(due).await
    }

    pub(crate) async fn advance_these(&self, due: Vec<Known>) -> usize {
        let tower = self.tower.clone();
        let moved = self.store.write(move |it| advance(it, &tower, due)).await;
        let moved = moved.map_err(refused::<SqlError>).unwrap();
        let count = moved.len();
        moved.into_iter().for_each(|it| self.tower.note(it));
        count
    }

    /// Everything that was ever said, by drone, as numbers and phases.
    pub(crate) async fn said(&self) -> BTreeMap<String, Vec<(u64, String)>> {
        let messages = self.store.read(|it| it.outbox(0, 1_000_000)).await.unwrap();
        let mut said: BTreeMap<String, Vec<(u64, String)>> = BTreeMap::new();
        for (_, message) in messages {
            let body: serde_json::Value = serde_json::from_slice(&message.body).unwrap();
            let number = body["sequence"].as_u64().unwrap();
            let phase = body["phase"].as_str().unwrap().to_owned();
            said.entry(message.key.unwrap()).or_default().push((number, phase));
        }
        said
    }

    async fn active(&self) -> Vec<(String, String)> {
        let sql = "SELECT delivery_id, drone_id FROM bookings WHERE state = 'Active'";
        let rows = self.store.read(move |it| {
            it.query_all(sql, &[], |row| Ok((row.get::<String>(0)?, row.get::<String>(1)?)))
        });
        rows.await.unwrap()
    }
}

pub(crate) fn refused<E: std::fmt::Debug>(error: WriteError<E>) -> E {
    match error {
        WriteError::Refused(error) => error,
        other => panic!("the store failed: {other:?}"),
    }
}

pub(crate) fn manual_clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp::from_millis(1_700_000_000_000)))
}

/// No drone has two active bookings, and each that has one is the drone that says so.
async fn check_bookings(process: &Process, at: &str) {
    let active = process.active().await;
    let mut by_drone = BTreeMap::new();
    for (delivery, drone) in active {
        let known = drone.clone();
        let row = process.store.read(move |it| table::find_drone(it, &known)).await.unwrap();
        let serves = row.unwrap().drone;
        // Between the landing at the door and the way home the row may say either.
        let says = serves.delivery_id().is_none_or(|it| it == delivery);
        assert!(
            says && !serves.is_free(),
            "{at}: {delivery} is booked, {serves:?} does not say so"
        );
        assert_eq!(by_drone.insert(drone.clone(), delivery), None, "{at}: {drone} is booked twice");
    }
}

async fn history(seed: u64) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("drone.db");
    let clock = manual_clock();
    let mut random = Random::with_seed(seed);
    let mut processes = [process(&path, &clock, 5).await, process(&path, &clock, 5).await];
    let mut made: u64 = 0;
    for step in 0..150 {
        clock.advance(Duration::from_millis(random.below(3_000)));
        let at = format!("seed {seed}, step {step}");
        let which = usize::from(random.below(2) == 1);
        let (here, now) = (processes[which].clone(), base::Clock::now(&*clock));
        // Old ids come again: repeats, doubles on the other process, and late cancels.
        let id = format!("d{}", made.saturating_sub(random.below(8)));
        match random.below(10) {
            0..=3 => {
                made += 1;
                let id = format!("d{made}");
                let wanted = request(&mut random);
                let first = here.book(&id, wanted.clone()).await;
                let again = processes[1 - which].book(&id, wanted).await;
                if let Ok(drone) = first {
                    assert_eq!(again.as_ref(), Ok(&drone), "{at}: asked twice");
                    if random.below(4) > 0 {
                        here.send(&id).await;
                    }
                }
            }
            4 => here.send(&id).await,
            5 => drop(here.release(&id).await),
            6 => {
                let revision = random.below(4);
                let moved = BookingRequest { revision, ..request(&mut random) };
                drop(here.book(&id, moved).await);
            }
            7 => processes[which] = process(&path, &clock, 5).await,
            // One that did not look at what the other changed must do no harm.
            _ => drop(here.advance(now, random.below(2) == 0).await),
        }
        check_bookings(&here, &at).await;
    }
    for (drone, said) in processes[0].said().await {
        let numbers: Vec<u64> = said.iter().map(|it| it.0).collect();
        let expected: Vec<u64> = (1..=numbers.len() as u64).collect();
        assert_eq!(numbers, expected, "seed {seed}: {drone} said {said:?}");
    }
}

#[tokio::test]
async fn no_history_of_two_processes_books_a_drone_twice_or_loses_an_event() {
    let first = fastrand::u64(..);
    println!("seeds from {first}");
    for seed in 0..12 {
        history(first.wrapping_add(seed)).await;
    }
}

#[tokio::test]
async fn a_stale_copy_moves_nothing_a_second_time() {
    let directory = TempDir::new().unwrap();
    let (path, clock) = (directory.path().join("drone.db"), manual_clock());
    let (one, other) = (process(&path, &clock, 1).await, process(&path, &clock, 1).await);
    one.book("d1", request(&mut Random::with_seed(1))).await.unwrap();
    one.send("d1").await;
    clock.advance(Duration::from_secs(1));
    let now = base::Clock::now(&*clock);
    assert_eq!(other.advance(now, true).await, 1);
    // The first still believes that the same phases are due.
    assert_eq!(one.advance(now, false).await, 0);
    let said = &one.said().await["drone-0001"];
    assert_eq!(
        said.iter().map(|it| it.0).collect::<Vec<_>>(),
        (1..=said.len() as u64).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn a_busy_fleet_says_when_and_a_trip_out_of_reach_is_refused_for_good() {
    let directory = TempDir::new().unwrap();
    let (path, clock) = (directory.path().join("drone.db"), manual_clock());
    let here = process(&path, &clock, 1).await;
    let mut random = Random::with_seed(1);
    here.book("d1", request(&mut random)).await.unwrap();
    here.send("d1").await;
    let busy = here.book("d2", request(&mut random)).await.unwrap_err();
    assert!(matches!(busy, BookError::Busy { retry_after } if retry_after >= RETRY_AFTER_MIN));
    let far = Location::new(60.3172, 24.9633);
    let wanted = BookingRequest { dropoff: far, ..request(&mut random) };
    assert_eq!(here.book("d3", wanted).await, Err(BookError::Infeasible));
    let heavy = BookingRequest { weight_kg: Some(26.0), ..request(&mut random) };
    assert_eq!(here.book("d4", heavy).await, Err(BookError::Infeasible));
}

#[tokio::test]
async fn another_trip_needs_a_higher_revision_and_a_release_leaves_a_tombstone() {
    let directory = TempDir::new().unwrap();
    let (path, clock) = (directory.path().join("drone.db"), manual_clock());
    let here = process(&path, &clock, 3).await;
    let mut random = Random::with_seed(1);
    let first = request(&mut random);
    let drone = here.book("d1", first.clone()).await.unwrap();
    assert_eq!(here.book("d1", first.clone()).await, Ok(drone.clone()));
    let other = request(&mut random);
    assert_eq!(here.book("d1", other.clone()).await, Err(BookError::OtherTrip));
    let moved = BookingRequest { revision: 2, names_package: false, weight_kg: None, ..other };
    assert_eq!(here.book("d1", moved.clone()).await, Ok(drone.clone()));
    assert_eq!(here.book("d1", first.clone()).await, Err(BookError::StaleRevision { known: 2 }));
    assert_eq!(here.book("d9", moved).await, Err(BookError::NotBooked));
    here.release("d1").await.unwrap();
    here.release("d1").await.unwrap();
    here.release("never").await.unwrap();
    for id in ["d1", "never"] {
        assert_eq!(here.book(id, first.clone()).await, Err(BookError::Released), "{id}");
    }
    // The drone is free again at once.
    let tower = here.tower.clone();
    here.store.read(move |it| tower.follow(it)).await.unwrap();
    assert_eq!(here.tower.fleet().booked(), 0);
}

#[tokio::test]
async fn a_release_after_pick_up_is_refused() {
    let directory = TempDir::new().unwrap();
    let (path, clock) = (directory.path().join("drone.db"), manual_clock());
    let here = process(&path, &clock, 1).await;
    here.book("d1", request(&mut Random::with_seed(1))).await.unwrap();
    here.send("d1").await;
    // Far enough for the whole flight at twenty times the pace.
    clock.advance(Duration::from_secs(120));
    here.advance(base::Clock::now(&*clock), true).await;
    assert_eq!(here.release("d1").await, Err(ReleaseError::PickedUp));
    let (from, to) = (Timestamp::from_millis(0), Timestamp::from_millis(i64::MAX));
    let used = here.store.read(move |it| table::utilization(it, "owner", from, to)).await.unwrap();
    assert!(used.0 > 100.0 && used.1 > 50.0, "{used:?}");
}

#[tokio::test]
async fn a_hundred_requests_at_once_get_a_hundred_drones() {
    let directory = TempDir::new().unwrap();
    let (path, clock) = (directory.path().join("drone.db"), manual_clock());
    let (one, other) = (process(&path, &clock, 100).await, process(&path, &clock, 100).await);
    let mut random = Random::with_seed(1);
    let mut running = tokio::task::JoinSet::new();
    for number in 0..100 {
        let (here, wanted) =
            (if number % 2 == 0 { &one } else { &other }.clone(), request(&mut random));
        running.spawn(async move { here.book(&format!("d{number}"), wanted).await });
    }
    let mut drones: Vec<_> = running.join_all().await.into_iter().map(Result::unwrap).collect();
    drones.sort();
    drones.dedup();
    assert_eq!(drones.len(), 100);
    assert!(matches!(
        one.book("one too many", request(&mut random)).await,
        Err(BookError::Busy { .. })
    ));
}
