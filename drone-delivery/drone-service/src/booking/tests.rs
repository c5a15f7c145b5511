//! Random histories of bookings over one database that two processes share, from a seed.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use base::{ManualClock, Random, SharedClock};
use contracts::Location;
use store::{Store, StoreSettings, WriteError};
use telemetry::{Telemetry, TelemetryConfig};
use tempfile::TempDir;

use super::*;
use crate::domain::samples::{AIRFRAME, PLAN, rules};

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
    set_process(path, clock, drones, scale, StoreSettings::default()).await
}

/// The same, with a store that is set otherwise.
pub(crate) async fn set_process(
    path: &Path,
    clock: &Arc<ManualClock>,
    drones: u32,
    scale: f64,
    settings: StoreSettings,
) -> Process {
    let shared: SharedClock = Arc::<ManualClock>::clone(clock);
    let telemetry = Telemetry::new(TelemetryConfig::default(), Arc::clone(&shared));
    let store =
        Store::open(path, table::MIGRATIONS, settings, shared, &telemetry).expect("it opens");
    let started: Result<_, WriteError<SqlError>> = store
        .write(move |it| {
            let simulated = store::simulated_clock(it, scale)?;
            table::use_airframe(it, AIRFRAME)?;
            let now = simulated.at(it.now());
            table::seed_fleet(it, drones, AIRFRAME, now)?;
            let tower = Tower::new(rules(), PLAN, AIRFRAME, simulated);
            tower.attend(it)?;
            Ok(tower)
        })
        .await;
    Process { store, tower: started.unwrap(), telemetry }
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
        pickup: Some(place()),
        dropoff: Some(place()),
        pickup_time: None,
        weight_kg: Some(3.0),
        names_package: true,
        owner_id: None,
        expedited: false,
        deadline: None,
        revision: 0,
    }
}

impl Process {
    pub(crate) async fn book(
        &self,
        id: &str,
        request: BookingRequest,
    ) -> Result<String, BookError> {
        self.ask(id, request).await.map(|it| it.drone_id)
    }

    pub(crate) async fn ask(&self, id: &str, request: BookingRequest) -> Result<Answer, BookError> {
        let (tower, id) = (self.tower.clone(), id.to_owned());
        let booked = self.store.write(move |it| book(it, &tower, &id, &request, None)).await;
        booked.map_err(refused)
    }

    pub(crate) async fn release(&self, id: &str) -> Result<(), ReleaseError> {
        let (tower, id) = (self.tower.clone(), id.to_owned());
        self.store.write(move |it| release(it, &tower, &id, Release::Undo)).await.map_err(refused)
    }

    pub(crate) async fn send(&self, id: &str) {
        let (tower, id) = (self.tower.clone(), id.to_owned());
        let sent = self.store.write(move |it| send(it, &tower, &id, "owner", None, None)).await;
        sent.map_err(refused::<SqlError>).unwrap();
    }

    pub(crate) async fn follow(&self) {
        // The wall time matters only for what is planned later.
        let tower = self.tower.clone();
        let wall = Timestamp::from_millis(1_700_000_000_000);
        self.store.read(move |it| tower.follow(it, wall)).await.unwrap();
    }

    /// Reads what others changed, and moves on what is due by this process's copy.
    pub(crate) async fn advance(&self, now: Timestamp, follow: bool) -> usize {
        if follow {
            self.follow().await;
        }
        let due = self.tower.fleet().due(self.tower.now(now), 1_000);
        let tower = self.tower.clone();
        let moved = self.store.write(move |it| advance(it, &tower, &due)).await;
        let moved = moved.map_err(refused::<SqlError>).unwrap().drones;
        let count = moved.len();
        moved.into_iter().for_each(|it| self.tower.note(it));
        count
    }

    /// Lets all that is planned happen, in steps of a moment.
    pub(crate) async fn fly(&self, clock: &ManualClock, time: Duration) {
        let end = base::Clock::now(clock) + time;
        while base::Clock::now(clock) < end {
            clock.advance(Duration::from_millis(500));
            while self.advance(base::Clock::now(clock), true).await > 0 {}
        }
    }

    pub(crate) async fn register(&self, id: &str, body: serde_json::Value) {
        let (tower, id) = (self.tower.clone(), id.to_owned());
        let wanted = crate::domain::Registration::read(&contracts::Body::new(&body)).unwrap();
        let done = self
            .store
            .write(move |it| crate::operators::register(it, &tower, &id, &wanted).map(drop))
            .await;
        done.map_err(refused).unwrap();
    }

    pub(crate) async fn booking(&self, id: &str) -> Booking {
        let id = id.to_owned();
        self.store.read(move |it| table::find_booking(it, &id)).await.unwrap().unwrap()
    }

    /// Every assignment that was announced, as its type, delivery and drone.
    pub(crate) async fn assigned(&self) -> Vec<(String, String, Option<String>)> {
        let messages = self.store.read(|it| it.outbox(0, 1_000_000)).await.unwrap();
        let told = messages.into_iter().filter_map(|(_, message)| {
            let body: serde_json::Value = serde_json::from_slice(&message.body).unwrap();
            let kind = contracts::event::name_of(&message.kind).unwrap().0.to_owned();
            let drone = body["droneId"].as_str().map(str::to_owned);
            body["turn"].as_u64()?;
            Some((kind, body["deliveryId"].as_str().unwrap().to_owned(), drone))
        });
        told.collect()
    }

    /// Everything that was ever said, by drone, as numbers and phases.
    pub(crate) async fn said(&self) -> BTreeMap<String, Vec<(u64, String)>> {
        let messages = self.store.read(|it| it.outbox(0, 1_000_000)).await.unwrap();
        let mut said: BTreeMap<String, Vec<(u64, String)>> = BTreeMap::new();
        for (_, message) in messages {
            let body: serde_json::Value = serde_json::from_slice(&message.body).unwrap();
            let Some(number) = body["sequence"].as_u64() else { continue };
            let phase = body["phase"].as_str().unwrap().to_owned();
            said.entry(message.key.unwrap()).or_default().push((number, phase));
        }
        said
    }

    /// Each open booking with its drone, and whether it is in the air.
    async fn active(&self) -> Vec<(String, String, bool)> {
        let sql = "SELECT delivery_id, drone_id, took_off FROM bookings WHERE state = 'Active'";
        let rows = self.store.read(move |it| {
            it.query_all(sql, &[], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
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

/// No drone flies for two; each that flies is the drone that says so; each that waits has one place,
/// and no two places of a drone overlap.
async fn check_bookings(process: &Process, clock: &ManualClock, at: &str) {
    process.follow().await;
    let now = process.tower.now(base::Clock::now(clock));
    let (mut flying, mut waiting) = (BTreeMap::new(), 0);
    for (delivery, drone, took_off) in process.active().await {
        if !took_off {
            waiting += 1;
            let plan = process.tower.fleet().plan_of(&drone, now);
            let places = plan.iter().filter(|it| it.order.delivery_id == delivery).count();
            assert_eq!(places, 1, "{at}: {delivery} of {drone}");
            let apart = plan.windows(2).all(|it| it[0].ready() <= it[1].start);
            assert!(apart, "{at}: places of {drone} overlap: {plan:?}");
            continue;
        }
        let known = drone.clone();
        let row = process.store.read(move |it| table::find_drone(it, &known)).await.unwrap();
        let serves = row.unwrap().drone;
        let says = serves.delivery_id().is_none_or(|it| it == delivery);
        assert!(says && !serves.is_free(), "{at}: {delivery} flies, {serves:?} does not say so");
        assert_eq!(flying.insert(drone.clone(), delivery), None, "{at}: {drone} flies for two");
    }
    assert_eq!(process.tower.fleet().waiting(), waiting, "{at}: the copy plans for others");
}

async fn break_or_repair(here: &Process, random: &mut Random) {
    let name = fleet_rules::name_of(1 + u32::try_from(random.below(5)).unwrap());
    let state = if random.below(3) == 0 { "Failed" } else { "Idle" };
    here.register(&name, serde_json::json!({"state": state})).await;
}

/// Books a new one here and there: the second answer is the first.
async fn book_twice(here: &Process, other: &Process, id: &str, random: &mut Random, at: &str) {
    let wanted = request(random);
    let first = here.book(id, wanted.clone()).await;
    let again = other.book(id, wanted).await;
    if let Ok(drone) = first {
        assert_eq!(again.as_ref(), Ok(&drone), "{at}: asked twice");
        if random.below(4) > 0 {
            here.send(id).await;
        }
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
                let (id, other) = (format!("d{made}"), processes[1 - which].clone());
                book_twice(&here, &other, &id, &mut random, &at).await;
            }
            4 => here.send(&id).await,
            5 => drop(here.release(&id).await),
            6 => {
                let revision = random.below(4);
                let moved = BookingRequest { revision, ..request(&mut random) };
                drop(here.book(&id, moved).await);
            }
            7 if random.below(3) == 0 => break_or_repair(&here, &mut random).await,
            7 => processes[which] = process(&path, &clock, 5).await,
            // One that did not look at what the other changed must do no harm.
            _ => drop(here.advance(now, random.below(2) == 0).await),
        }
        check_bookings(&here, &clock, &at).await;
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
async fn a_request_is_answered_at_once_with_a_time_or_with_the_earliest_that_it_could_be() {
    let directory = TempDir::new().unwrap();
    let (path, clock) = (directory.path().join("drone.db"), manual_clock());
    let here = process(&path, &clock, 1).await;
    let (mut random, now) = (Random::with_seed(1), base::Clock::now(&*clock));
    let first = here.ask("d1", request(&mut random)).await.unwrap().expected.unwrap();
    let second = here.ask("d2", request(&mut random)).await.unwrap().expected.unwrap();
    assert!(first.pickup >= now && second.pickup > first.arrival, "{first:?} {second:?}");
    let far = Location::new(60.3172, 24.9633);
    let wanted = BookingRequest { dropoff: Some(far), ..request(&mut random) };
    assert!(matches!(here.book("d3", wanted).await, Err(BookError::Infeasible { .. })));
    let heavy = BookingRequest { weight_kg: Some(26.0), ..request(&mut random) };
    let refused = here.book("d4", heavy).await.unwrap_err().to_string();
    assert!(refused.ends_with("no drone lifts more than 25 kg"), "{refused}");
    let deadline = Some(Some(second.pickup));
    let hurried = BookingRequest { deadline, ..request(&mut random) };
    let Err(BookError::PastDeadline { earliest }) = here.book("d5", hurried).await else {
        panic!("it cannot be there by then");
    };
    assert!(earliest > second.arrival);
    let in_time = BookingRequest {
        deadline: Some(Some(earliest + Duration::from_secs(60))),
        ..request(&mut random)
    };
    assert!(here.book("d6", in_time).await.is_ok());
    let month = Some(now + Duration::from_secs(31 * 86_400));
    let later = BookingRequest { pickup_time: month, ..request(&mut random) };
    assert!(matches!(here.book("d7", later).await, Err(BookError::BeyondHorizon { .. })));
}

#[tokio::test]
async fn a_booking_for_tomorrow_holds_its_place_and_no_drone_from_now_on() {
    let directory = TempDir::new().unwrap();
    let (path, clock) = (directory.path().join("drone.db"), manual_clock());
    let here = process(&path, &clock, 1).await;
    let (mut random, now) = (Random::with_seed(1), base::Clock::now(&*clock));
    let tomorrow = now + Duration::from_secs(86_400);
    let later = BookingRequest { pickup_time: Some(tomorrow), ..request(&mut random) };
    let held = here.ask("later", later).await.unwrap().expected.unwrap();
    // The client's time is wall time, whatever the pace of the fleet.
    let off = held.pickup.saturating_since(tomorrow);
    assert!(held.pickup >= tomorrow && off < Duration::from_secs(2), "{held:?}");
    let soon = here.ask("soon", request(&mut random)).await.unwrap().expected.unwrap();
    assert!(soon.arrival < now + Duration::from_secs(60), "{soon:?}");
    here.send("later").await;
    here.send("soon").await;
    here.fly(&clock, Duration::from_secs(60)).await;
    assert_eq!(here.booking("soon").await.state, BookingState::Delivered);
    assert!(!here.booking("later").await.took_off);
}

#[tokio::test]
async fn a_drone_that_fails_before_pick_up_costs_no_delivery() {
    let directory = TempDir::new().unwrap();
    let (path, clock) = (directory.path().join("drone.db"), manual_clock());
    let here = process(&path, &clock, 2).await;
    let mut random = Random::with_seed(1);
    let mut of_first = Vec::new();
    let lost = here.book("d0", request(&mut random)).await.unwrap();
    for number in 1..6 {
        let id = format!("d{number}");
        if here.book(&id, request(&mut random)).await.unwrap() == lost {
            of_first.push(id.clone());
        }
        here.send(&id).await;
    }
    here.send("d0").await;
    clock.advance(Duration::from_millis(500));
    here.advance(base::Clock::now(&*clock), true).await;
    assert!(here.booking("d0").await.took_off && !of_first.is_empty());
    here.register(&lost, serde_json::json!({"state": "Failed"})).await;
    let other = here.booking("d0").await.drone_id.unwrap();
    assert_ne!(other, lost);
    let told = here.assigned().await;
    for id in of_first.iter().chain([&"d0".to_owned()]) {
        let said = ("DroneReassigned".to_owned(), id.clone(), Some(other.clone()));
        assert!(told.contains(&said), "{id}: {told:?}");
    }
    here.fly(&clock, Duration::from_secs(240)).await;
    for number in 0..6 {
        let id = format!("d{number}");
        assert_eq!(here.booking(&id).await.state, BookingState::Delivered, "{id}");
    }
}

#[tokio::test]
async fn what_nobody_can_fly_any_more_is_lost_with_the_reason_also_when_it_is_made_later() {
    let directory = TempDir::new().unwrap();
    let (path, clock) = (directory.path().join("drone.db"), manual_clock());
    let here = process(&path, &clock, 1).await;
    here.book("d1", request(&mut Random::with_seed(1))).await.unwrap();
    here.register("drone-0001", serde_json::json!({"state": "Failed"})).await;
    let lost = here.booking("d1").await;
    assert_eq!(lost.state, BookingState::Lost);
    assert!(lost.reason.unwrap().contains("no drone in service"));
    assert!(here.assigned().await.is_empty(), "nobody knows the delivery yet");
    here.send("d1").await;
    let said = ("DroneUnassigned".to_owned(), "d1".to_owned(), None);
    assert_eq!(here.assigned().await, [said]);
}

#[tokio::test]
async fn a_drone_lost_with_a_package_on_board_calls_for_a_person() {
    let directory = TempDir::new().unwrap();
    let (path, clock) = (directory.path().join("drone.db"), manual_clock());
    let here = process(&path, &clock, 1).await;
    here.book("d1", request(&mut Random::with_seed(1))).await.unwrap();
    here.send("d1").await;
    let phase = || here.tower.fleet().known("drone-0001").unwrap().drone.phase;
    for _ in 0..1_000 {
        clock.advance(Duration::from_millis(100));
        here.advance(base::Clock::now(&*clock), true).await;
        if phase() == contracts::drone_management::DronePhase::EnRouteToDropoff {
            break;
        }
    }
    here.register("drone-0001", serde_json::json!({"state": "Failed"})).await;
    assert_eq!(here.booking("d1").await.state, BookingState::Lost);
    let said = here.store.read(|it| it.outbox(0, 1_000)).await.unwrap();
    let kinds: Vec<_> = said.iter().map(|it| (it.1.topic.as_str(), it.1.kind.as_str())).collect();
    let stranded = "com.fabrikam.dronemanagement.PackageStranded.v1";
    assert!(kinds.contains(&("drone-events", stranded)), "{kinds:?}");
    assert!(kinds.contains(&("alerts", "com.fabrikam.shipping.OperatorAlerted.v1")), "{kinds:?}");
}

#[tokio::test]
async fn a_move_that_its_drone_cannot_fly_is_offered_to_others() {
    let directory = TempDir::new().unwrap();
    let (path, clock) = (directory.path().join("drone.db"), manual_clock());
    let here = process(&path, &clock, 2).await;
    let big =
        serde_json::json!({"base": {"latitude": 60.19, "longitude": 24.94}, "rangeM": 90_000});
    here.register("far", big).await;
    let first = request(&mut Random::with_seed(1));
    let drone = here.book("d1", first.clone()).await.unwrap();
    here.send("d1").await;
    clock.advance(Duration::from_millis(500));
    here.advance(base::Clock::now(&*clock), true).await;
    assert!(drone != "far" && here.booking("d1").await.took_off);
    let away = BookingRequest {
        revision: 1,
        names_package: false,
        dropoff: Some(Location::new(60.28, 24.94)),
        ..first.clone()
    };
    assert_eq!(here.book("d1", away).await.as_deref(), Ok("far"));
    let moved = here.booking("d1").await;
    assert!(!moved.took_off && moved.made && moved.revision == 1);
    assert!(here.assigned().await.iter().any(|it| it.0 == "DroneReassigned"));
    let nobody = BookingRequest { revision: 2, dropoff: Some(Location::new(61.5, 24.94)), ..first };
    assert!(matches!(here.book("d1", nobody).await, Err(BookError::Infeasible { .. })));
    assert_eq!(here.booking("d1").await, moved, "a refused move changed something");
}

#[tokio::test]
async fn a_plan_survives_a_restart_and_other_settings_take_effect_on_it() {
    let directory = TempDir::new().unwrap();
    let (path, clock) = (directory.path().join("drone.db"), manual_clock());
    let here = process(&path, &clock, 2).await;
    let mut random = Random::with_seed(1);
    for number in 0..6 {
        here.book(&format!("d{number}"), request(&mut random)).await.unwrap();
    }
    let now = here.tower.now(base::Clock::now(&*clock));
    here.follow().await;
    let plan = |it: &Process| {
        let fleet = it.tower.fleet();
        [fleet.plan_of("drone-0001", now), fleet.plan_of("drone-0002", now)]
    };
    let again = process(&path, &clock, 2).await;
    assert_eq!(plan(&here), plan(&again));
    assert_eq!(plan(&here).concat().len(), 6);
    let weaker = fleet_rules::Airframe { payload_kg: 1.0, ..AIRFRAME };
    let changed = again.store.write(move |it| table::use_airframe(it, weaker)).await;
    assert_eq!(changed.map_err(refused::<SqlError>).unwrap(), 2);
    let refused = here.book("heavy", request(&mut random)).await;
    assert!(matches!(refused, Err(BookError::Infeasible { .. })));
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
    let other_drone = here.book("d1", moved.clone()).await.unwrap();
    assert_eq!(here.book("d1", moved.clone()).await, Ok(other_drone), "asked twice");
    assert_eq!(here.book("d1", first.clone()).await, Err(BookError::StaleRevision { known: 2 }));
    assert_eq!(here.book("d9", moved).await, Err(BookError::NotBooked));
    here.release("d1").await.unwrap();
    here.release("d1").await.unwrap();
    here.release("never").await.unwrap();
    for id in ["d1", "never"] {
        assert_eq!(here.book(id, first.clone()).await, Err(BookError::Released), "{id}");
    }
    // Its place is free again at once.
    here.follow().await;
    assert_eq!(here.tower.fleet().waiting(), 0);
}

#[tokio::test]
async fn a_release_after_pick_up_is_refused() {
    let directory = TempDir::new().unwrap();
    let (path, clock) = (directory.path().join("drone.db"), manual_clock());
    let here = process(&path, &clock, 1).await;
    here.book("d1", request(&mut Random::with_seed(1))).await.unwrap();
    here.send("d1").await;
    // Long enough for the whole flight at twenty times the pace.
    here.fly(&clock, Duration::from_secs(60)).await;
    assert_eq!(here.release("d1").await, Err(ReleaseError::PickedUp));
    let (from, to) = (Timestamp::from_millis(0), Timestamp::from_millis(i64::MAX));
    let used = here.store.read(move |it| table::utilization(it, "owner", from, to)).await.unwrap();
    assert!(used.0 > 100.0 && used.1 > 50.0, "{used:?}");
}

#[tokio::test]
async fn a_hundred_requests_at_once_over_two_processes_get_a_hundred_places_that_do_not_overlap() {
    let directory = TempDir::new().unwrap();
    let (path, clock) = (directory.path().join("drone.db"), manual_clock());
    let (one, other) = (process(&path, &clock, 20).await, process(&path, &clock, 20).await);
    let mut random = Random::with_seed(1);
    let mut running = tokio::task::JoinSet::new();
    for number in 0..100 {
        let (here, wanted) =
            (if number % 2 == 0 { &one } else { &other }.clone(), request(&mut random));
        running.spawn(async move { here.book(&format!("d{number}"), wanted).await });
    }
    let drones: Vec<_> = running.join_all().await.into_iter().map(Result::unwrap).collect();
    assert_eq!(drones.len(), 100);
    check_bookings(&one, &clock, "all").await;
    check_bookings(&other, &clock, "all").await;
    let most = fleet_rules::name_of(1);
    let of_one = drones.iter().filter(|it| **it == most).count();
    assert!(of_one < 20, "one drone has {of_one} of a hundred");
}
