//! Everything at once while every role, and in the end `up` as well, is killed with -9: deliveries that drones
//! fly and that carriers drive, moves, cancels, confirmations, drones that fail and carriers that break down. Each operation
//! has one answer, each delivery an end with a reason that can be read, and nobody works for what ended.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::Method;
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use crate::{
    kills::{assert_each_effect_once, kill_in_turn, load_for, settle, victims},
    program::{System, sample_request},
    wait::until,
};

const DRONES: u32 = 60;
/// Why a delivery may fail here: who had its package could not go on, or nobody was left to take it.
const REASONS: [&str; 2] = ["cannot go on", "no carrier takes it either"];
const SOON: Duration = Duration::from_secs(40);
/// Between two looks at who still works.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Between two requests.
const EVERY: Duration = Duration::from_millis(50);

/// What one client wants, by its number.
#[derive(Debug, Clone, Copy)]
struct Wish(u64);

impl Wish {
    const fn carrier(self) -> bool {
        self.0.is_multiple_of(4)
    }

    const fn confirmed(self) -> bool {
        self.0.is_multiple_of(3)
    }

    const fn moves(self) -> bool {
        self.0 % 5 < 2
    }

    const fn cancels(self) -> bool {
        self.0 % 7 < 2
    }

    fn package(self) -> String {
        format!("package-{}", self.0)
    }

    fn request(self) -> Value {
        let mut request = sample_request();
        request["packageInfo"]["packageId"] = json!(self.package());
        request["packageInfo"]["weight"] = json!(if self.carrier() { 40 } else { 5 });
        request["confirmationRequired"] = json!(if self.confirmed() { "Picture" } else { "None" });
        request["expedited"] = json!(self.0.is_multiple_of(2));
        request
    }
}

/// What a client was promised.
#[derive(Debug)]
struct Promised {
    wish: Wish,
    /// Operations that were accepted.
    operations: usize,
}

#[derive(Debug, Default)]
struct Journal {
    promised: Mutex<BTreeMap<String, Promised>>,
    answers: Mutex<BTreeMap<String, u64>>,
}

impl Journal {
    fn note(&self, what: &str, answer: &str) {
        *self.answers.lock().unwrap().entry(format!("{what} {answer}")).or_default() += 1;
    }
}

struct Client<'a> {
    system: &'a System,
    journal: &'a Journal,
    wish: Wish,
    stop_at: Instant,
}

impl Client<'_> {
    /// Asks under a key of its own until somebody answers what settles it: not a time, not 404 of a
    /// request that is durable and not listed yet.
    async fn ask(&self, method: &Method, path: &str, body: &str) -> Option<(u16, Value)> {
        let key = format!("\"{method}-{}\"", self.wish.0);
        let headers = [("content-type", "application/json"), ("idempotency-key", key.as_str())];
        let url = self.system.gateway(path);
        while Instant::now() < self.stop_at {
            let reply =
                self.system.http.try_send(method.clone(), &url, &headers, body.to_owned()).await;
            if let Ok(reply) = reply {
                let status = reply.status.as_u16();
                self.journal.note(method.as_str(), &status.to_string());
                let body = serde_json::from_slice::<Value>(&reply.body).unwrap_or_default();
                // A key that a process held that is gone is held some seconds more, and says so.
                let is_settled = status < 500 && status != 404 && body["retryable"] != true;
                if is_settled {
                    return Some((status, body));
                }
            }
            sleep_until(Instant::now() + Duration::from_millis(500)).await;
        }
        None
    }

    async fn live(&self) {
        let request = self.wish.request().to_string();
        let asked = self.ask(&Method::POST, "/api/deliveryrequests", &request).await;
        let Some((202, accepted)) = asked else { return };
        let id = accepted["deliveryId"].as_str().unwrap().to_owned();
        let promised = Promised { wish: self.wish, operations: 0 };
        self.journal.promised.lock().unwrap().insert(id.clone(), promised);
        let path = format!("/api/deliveryrequests/{id}");
        let doors = json!({"pickupLocation": "my pickup", "dropOffLocation": "60.175,24.945"});
        let operations = [
            (self.wish.moves(), Method::PATCH, doors.to_string()),
            (self.wish.cancels(), Method::DELETE, String::new()),
        ];
        for (_, method, body) in operations.into_iter().filter(|it| it.0) {
            sleep_until(Instant::now() + Duration::from_millis(300)).await;
            if let Some((200 | 204, _)) = self.ask(&method, &path, &body).await {
                let mut promised = self.journal.promised.lock().unwrap();
                promised.get_mut(&id).unwrap().operations += 1;
            }
        }
    }
}

/// Takes drones out of service and puts them back; gives how many.
async fn fail_drones(system: &System, stop: &AtomicBool, seed: u64) -> u64 {
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut failed, mut down) = (0, None);
    loop {
        let next = random.u32(1..=DRONES);
        for (drone, state) in [(down, "Idle"), (Some(next), "Failed")] {
            let Some(number) = drone else { continue };
            if stop.load(Ordering::Relaxed) && state == "Failed" {
                return failed;
            }
            let url = system.url(107, &format!("/api/drones/drone-{number:04}"));
            let body = json!({"state": state}).to_string();
            let headers = [("content-type", "application/json")];
            let put = system.http.try_send(Method::PUT, &url, &headers, body).await;
            failed += u64::from(state == "Failed" && put.is_ok_and(|it| it.status == 204));
        }
        down = Some(next);
        sleep_until(Instant::now() + Duration::from_millis(random.u64(1_000..2_000))).await;
    }
}

/// Whoever still works for a delivery that has ended.
async fn orphans(system: &System, journal: &BTreeMap<String, Promised>) -> Vec<String> {
    let mut orphans = Vec::new();
    for drone in system.http.get(&system.url(107, "/api/drones")).await.json().as_array().unwrap() {
        let name = drone["droneId"].as_str().unwrap();
        let plan = system.http.get(&system.url(107, &format!("/api/drones/{name}/plan"))).await;
        let plan = plan.json();
        if !drone["deliveryId"].is_null() || plan["bookings"] != json!([]) {
            orphans.push(format!("{name} works: {plan}"));
        }
    }
    for (id, promised) in journal {
        let state = system.request(id).await["state"].clone();
        let van =
            system.http.get(&system.url(108, &format!("/api/thirdpartydeliveries/{id}"))).await;
        if van.status == 200 && van.json()["state"] != "DroppedOff" {
            orphans.push(format!("a carrier works for {id}, {state}: {}", van.json()));
        }
        if state != "Cancelled" {
            continue;
        }
        let package = promised.wish.package();
        let kept = system.http.get(&system.url(106, &format!("/api/packages/{package}"))).await;
        if kept.status != 404 {
            orphans.push(format!("{package} is kept for {id}, {state}"));
        }
        let flown = system.http.get(&system.url(107, &format!("/api/dronedeliveries/{id}"))).await;
        if flown.status != 404 {
            orphans.push(format!("a drone is booked for {id}, {state}: {}", flown.json()));
        }
    }
    orphans
}

/// What is over is let go of: soon, for a booking is taken back by the event of its end.
async fn assert_nobody_works(system: &System, journal: &BTreeMap<String, Promised>) {
    let end = Instant::now() + SOON;
    loop {
        let found = orphans(system, journal).await;
        if found.is_empty() {
            return;
        }
        assert!(Instant::now() < end, "{} still work for what ended: {found:#?}", found.len());
        sleep_until(Instant::now() + LOOK_EVERY).await;
    }
}

/// Each operation that was accepted has one answer.
async fn assert_answered(system: &System, journal: &BTreeMap<String, Promised>) {
    let mut answers = BTreeMap::<String, u64>::new();
    for (id, promised) in journal {
        let found = until(format!("every operation on {id} is answered"), SOON, || async {
            let operations = system.request(id).await["operations"].as_array()?.clone();
            let answered = operations.iter().all(|it| it["state"] != "pending");
            (answered && operations.len() >= promised.operations).then_some(operations)
        })
        .await;
        for it in &found {
            let answer = format!("{} {}", it["operation"], it["state"]);
            assert_ne!(it["state"], "parked", "{id}: {it}");
            *answers.entry(answer).or_default() += 1;
        }
        // One whose answer was lost may have been done all the same, and none twice.
        let asked = usize::from(promised.wish.moves()) + usize::from(promised.wish.cancels());
        assert!(found.len() <= asked, "{id} {:?}: {found:?}", promised.wish);
    }
    println!("operations {answers:?}");
}

/// What the system is started with.
fn arguments() -> Vec<String> {
    let carrier = |name: &str, failures: u8| json!({"name": name, "vehicles": 400, "late_percent": 20, "failure_percent": failures});
    let carriers = json!([carrier("unsteady", 30), carrier("steady", 0)]).to_string();
    let set = [
        format!("third_party_transport.carriers={carriers}"),
        format!("fleet.drones={DRONES}"),
        "fleet.time_scale=300".to_owned(),
        "drone.position_every_ms=60000".to_owned(),
    ];
    let replicas = ["--replicas", "scheduler=2,delivery=2"].map(str::to_owned);
    replicas.into_iter().chain(set.into_iter().flat_map(|it| ["--set".to_owned(), it])).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_works_for_what_ended_after_kills_among_moves_cancels_carriers_and_lost_drones() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let arguments = arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (system, journal) = (Arc::new(System::up(&arguments)), Arc::new(Journal::default()));
    let stop = Arc::new(AtomicBool::new(false));
    #[expect(clippy::disallowed_methods, reason = "the test waits for them")]
    let (killer, breaker) = (
        tokio::spawn({
            let (system, stop) = (Arc::clone(&system), Arc::clone(&stop));
            async move { kill_in_turn(&system, &victims(&system), &stop, seed).await }
        }),
        tokio::spawn({
            let (system, stop) = (Arc::clone(&system), Arc::clone(&stop));
            async move { fail_drones(&system, &stop, seed).await }
        }),
    );
    let mut due = interval(EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let end = Instant::now() + load_for() / 3;
    let mut clients = JoinSet::new();
    let mut number = 0;
    while Instant::now() < end {
        due.tick().await;
        number += 1;
        let (system, journal) = (Arc::clone(&system), Arc::clone(&journal));
        let (wish, stop_at) = (Wish(number), end + Duration::from_secs(20));
        clients.spawn(async move {
            Client { system: &system, journal: &journal, wish, stop_at }.live().await;
        });
    }
    stop.store(true, Ordering::Relaxed);
    let (kills, failed) = (killer.await.unwrap(), breaker.await.unwrap());
    // In the end all at once, and `up` first, while clients still ask.
    system.kill_everything().await;
    system.start(&arguments);
    let last_kill = Instant::now();
    clients.join_all().await;
    println!("{number} requests, kills {kills:?}, {failed} drones failed");
    println!("answers {:?}", journal.answers.lock().unwrap());
    let promised = std::mem::take(&mut *journal.promised.lock().unwrap());
    assert!(promised.len() as u64 * 10 >= number * 9, "too few were accepted to prove anything");
    let states = settle(&system, &promised.keys().cloned().collect(), last_kill).await;
    println!("ended {states:?}, {:?} after the last kill", last_kill.elapsed());
    assert_eq!(states.get("Parked"), None, "nothing waits for a person");
    for id in promised.keys() {
        let request = system.request(id).await;
        let reason = request["reason"].as_str().unwrap_or_default();
        let stated = request["state"] != "Failed" || REASONS.iter().any(|it| reason.contains(it));
        assert!(stated, "{request}");
    }
    assert_answered(&system, &promised).await;
    assert_nobody_works(&system, &promised).await;
    assert_each_effect_once(&system).await;
}
