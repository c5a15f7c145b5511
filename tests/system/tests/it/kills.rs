//! Load while every role is killed with -9: nothing is lost, nothing happens twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::{
    program::{System, sample_request},
    steps::rows,
    wait::until,
};

const SETTLED_WITHIN: Duration = Duration::from_secs(60);
/// Time between two looks at those that have not.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Readers that look at once.
const READERS: usize = 16;

/// How long and how hard; `SYSTEM_KILL_SECONDS` makes it as long as a soak.
pub(crate) fn load_for() -> Duration {
    let seconds = std::env::var("SYSTEM_KILL_SECONDS").ok().and_then(|it| it.parse().ok());
    Duration::from_secs(seconds.unwrap_or(120))
}

/// What the client was promised: written down outside the system.
#[derive(Debug, Default)]
struct Journal {
    accepted: Mutex<BTreeSet<String>>,
    refused: Mutex<BTreeMap<String, u64>>,
}

/// One client: posts under its own key until it gets an answer that settles it.
async fn post_until_answered(system: &System, journal: &Journal, number: u64, stop_at: Instant) {
    let mut request = sample_request();
    request["packageInfo"]["packageId"] = json!(format!("package-{number}"));
    let body = request.to_string();
    let key = format!("\"kill-{number}\"");
    let url = system.gateway("/api/deliveryrequests");
    let headers = [("content-type", "application/json"), ("idempotency-key", key.as_str())];
    while Instant::now() < stop_at {
        match system.http.try_send(Method::POST, &url, &headers, body.clone()).await {
            Ok(reply) if reply.status == 202 => {
                let id = reply.json()["deliveryId"].as_str().unwrap().to_owned();
                journal.accepted.lock().unwrap().insert(id);
                return;
            }
            Ok(reply) => {
                let problem = reply.json();
                let (code, detail) = (&problem["code"], &problem["detail"]);
                let why = format!("{} {code} {detail}", reply.status.as_u16());
                *journal.refused.lock().unwrap().entry(why).or_default() += 1;
                // As a client should that is told to come back.
                let seconds = reply.header("retry-after").parse().unwrap_or(1);
                sleep_until(Instant::now() + Duration::from_secs(seconds)).await;
            }
            Err(_) => sleep_until(Instant::now() + Duration::from_secs(1)).await,
        }
    }
}

/// Kills one process of each role in turn; a role is killed again only when it is back.
pub(crate) async fn kill_in_turn(
    system: &System,
    roles: &[String],
    stop: &AtomicBool,
    seed: u64,
) -> BTreeMap<String, u64> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut kills = BTreeMap::new();
    while !stop.load(Ordering::Relaxed) {
        let role = &roles[random.usize(..roles.len())];
        let ready: Vec<_> =
            system.role(role).into_iter().filter(|it| it.state == "ready").collect();
        if let Some(victim) = ready.get(random.usize(..ready.len().max(1))) {
            victim.signal(Signal::KILL);
            *kills.entry(role.clone()).or_default() += 1;
        }
        sleep_until(Instant::now() + Duration::from_millis(random.u64(700..1_700))).await;
    }
    kills
}

/// The roles that run, as the table names them: a control plane is not in every system.
fn roles(system: &System) -> Vec<String> {
    those_that_run(system, |role| vec![role.to_owned()])
}

/// What can be killed of a system: the roles, and the proxies where there are some. `up` itself must not be.
pub(crate) fn victims(system: &System) -> Vec<String> {
    those_that_run(system, |role| vec![role.to_owned(), format!("{role}-proxy")])
}

/// Of the processes that each role of the table may have, those that there are.
fn those_that_run(system: &System, of_role: impl Fn(&str) -> Vec<String>) -> Vec<String> {
    let runs: BTreeSet<_> = system.processes().into_iter().map(|it| it.service).collect();
    let named = system.roles();
    let may_run = named.iter().flat_map(|it| of_role(it["role"].as_str().unwrap()));
    may_run.filter(|it| runs.contains(it)).collect()
}

async fn survives_kills(replicas: &[&str]) {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let fleet =
        ["--drones", "400", "--time-scale", "1000", "--set", "drone.position_every_ms=60000"];
    let system = Arc::new(System::up(&[&fleet, replicas].concat()));
    let journal = Arc::new(Journal::default());
    let stop = Arc::new(AtomicBool::new(false));

    #[expect(clippy::disallowed_methods, reason = "the test waits for it")]
    let killer = tokio::spawn({
        let (system, stop) = (Arc::clone(&system), Arc::clone(&stop));
        async move { kill_in_turn(&system, &victims(&system), &stop, seed).await }
    });
    // Open loop: a request is due every 20 ms, whatever became of the ones before.
    let mut due = interval(Duration::from_millis(20));
    due.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let end = Instant::now() + load_for();
    let mut clients = tokio::task::JoinSet::new();
    let mut number = 0;
    while Instant::now() < end {
        due.tick().await;
        number += 1;
        let (system, journal) = (Arc::clone(&system), Arc::clone(&journal));
        clients.spawn(async move {
            post_until_answered(&system, &journal, number, end + Duration::from_secs(20)).await;
        });
    }
    stop.store(true, Ordering::Relaxed);
    let kills = killer.await.unwrap();
    let last_kill = Instant::now();
    clients.join_all().await;
    let accepted = journal.accepted.lock().unwrap().clone();
    println!("{number} requests, {} accepted, kills {kills:?}", accepted.len());
    println!("answers other than 202: {:?}", journal.refused.lock().unwrap());
    assert!(accepted.len() as u64 * 10 >= number * 9, "too few were accepted to prove anything");

    let states = settle(&system, &accepted, last_kill).await;
    println!("ended {states:?}, {:?} after the last kill", last_kill.elapsed());
    // Ended is not enough: nothing asked for here gives a reason to fail.
    assert_eq!(states, BTreeMap::from([("Completed".to_owned(), accepted.len() as u64)]));
    assert_each_effect_once(&system).await;
}

/// Waits until every accepted delivery has ended or is parked; gives how many ended how.
pub(crate) async fn settle(
    system: &Arc<System>,
    accepted: &BTreeSet<String>,
    last_kill: Instant,
) -> BTreeMap<String, u64> {
    let mut states = BTreeMap::new();
    let mut open: Vec<String> = accepted.iter().cloned().collect();
    let mut looks = interval(LOOK_EVERY);
    while !open.is_empty() {
        looks.tick().await;
        // A look takes its time: only one that begins late finds what is late.
        let is_late = last_kill.elapsed() > SETTLED_WITHIN;
        let mut waiting = Vec::new();
        for (id, found) in look(system, open).await {
            let state = found["state"].as_str().unwrap_or_default();
            match ["Completed", "Cancelled", "Failed", "Parked"].contains(&state) {
                true => *states.entry(state.to_owned()).or_insert(0) += 1,
                false => waiting.push((id, found)),
            }
        }
        if is_late && !waiting.is_empty() {
            report(system, &waiting).await;
            panic!("{} had not ended in time", waiting.len());
        }
        open = waiting.into_iter().map(|it| it.0).collect();
    }
    states
}

/// Reads where each stands; null where nobody answers.
async fn look(system: &Arc<System>, ids: Vec<String>) -> Vec<(String, Value)> {
    let ids = Arc::new(Mutex::new(ids));
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..READERS {
        let (system, ids) = (Arc::clone(system), Arc::clone(&ids));
        readers.spawn(async move {
            let next = || ids.lock().unwrap().pop();
            let mut seen = Vec::new();
            while let Some(id) = next() {
                let url = system.gateway(&format!("/api/deliveryrequests/{id}"));
                let found = system.http.try_send(Method::GET, &url, &[], "").await.ok();
                assert!(found.as_ref().is_none_or(|it| it.status != 404), "{id} is lost");
                seen.push((id, found.map(|it| it.json()).unwrap_or_default()));
            }
            seen
        });
    }
    readers.join_all().await.into_iter().flatten().collect()
}

/// Prints where the first of those stand that have not ended, and what waits for a person.
async fn report(system: &System, waiting: &[(String, Value)]) {
    for (id, request) in waiting.iter().take(3) {
        let saga = system.url(102, &format!("/api/sagas/{id}%2Fcreate"));
        let delivery = system.url(105, &format!("/api/deliveries/{id}"));
        println!("request {request}");
        for url in [saga, delivery] {
            let reply = system.http.try_send(Method::GET, &url, &[], "").await;
            println!("{url}: {:?}", reply.map(|it| it.json()));
        }
    }
    println!("parked events: {}", system.command_json(&["outbox", "list"]));
    println!("processes: {:?}", system.processes());
}

pub(crate) async fn assert_each_effect_once(system: &System) {
    let participants: BTreeSet<_> = rows("create").into_iter().map(|it| it.role).collect();
    for role in participants {
        let summary = system.ledger(&role).await;
        assert_eq!(summary["doubled"], json!([]), "{role}: {summary}");
    }
    let drones = system.http.get(&system.url(107, "/api/drones")).await.json();
    let mut booked = BTreeSet::new();
    for drone in drones.as_array().unwrap() {
        if let Some(delivery) = drone["deliveryId"].as_str() {
            assert!(booked.insert(delivery.to_owned()), "two drones fly {delivery}");
        }
    }
    let busy = system.http.get(&system.url(107, "/api/drones?state=doubly-booked")).await;
    assert_eq!(busy.json().as_array().map_or(0, Vec::len), 0, "{:?}", busy.json());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_while_every_role_is_killed() {
    survives_kills(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_while_replicas_are_killed() {
    let replicas = "ingestion=2,scheduler=2,supervisor=2,account=2,package=2,drone=2,delivery=2";
    survives_kills(&["--replicas", replicas]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_while_services_and_the_proxies_beside_them_are_killed() {
    survives_kills(&["--mesh", "sidecar", "--replicas", "account=2,package=2"]).await;
}

#[tokio::test]
async fn a_paused_owner_is_fenced_when_it_wakes() {
    let system = System::up_pausable(&[
        "--replicas",
        "scheduler=2",
        "--enable-faults",
        "--time-scale",
        "600",
    ]);
    // Work that is in the middle when its owner stops: the callee is slow.
    let slow = json!({"route": "PUT /api/packages/{id}", "delay_ms": 1500, "count": 1_000_000});
    system.plant("package", &slow).await;
    let mut ids = Vec::new();
    for _ in 0..8 {
        ids.push(system.accepted(&sample_request()).await);
    }
    let owner_of = |id: &str| {
        let saga = system.try_command_json(&["saga", "show", &format!("{id}/create")])?;
        let epoch = saga["epoch"].as_u64().unwrap_or(0);
        saga["owner"].as_str().map(|it| (it.to_owned(), epoch))
    };
    let (owner, epoch) =
        until("a Scheduler owns the first saga", Duration::from_secs(10), || async {
            owner_of(&ids[0])
        })
        .await;
    let (paused, others): (Vec<_>, Vec<_>) =
        system.role("scheduler").into_iter().partition(|it| owner.contains(&it.instance));
    let (paused, other) = (&paused[0], &others[0]);
    paused.signal(Signal::STOP);
    let stopped = Instant::now();
    until("the other Scheduler takes over", Duration::from_secs(8), || async {
        let taken = other.metric(&system.http, "saga_takeovers_total").await;
        (taken > 0.0).then_some(())
    })
    .await;
    println!("taken over {:?} after the pause", stopped.elapsed());
    system.heal("package").await;
    paused.signal(Signal::CONT);
    for id in &ids {
        system.ends(id, "Completed", Duration::from_secs(60)).await;
    }
    let mut taken_over = 0;
    for id in &ids {
        let saga = system.command_json(&["saga", "show", &format!("{id}/create")]);
        let history = saga["history"].as_array().unwrap();
        let epochs: Vec<_> = history.iter().map(|it| it["epoch"].as_u64().unwrap()).collect();
        // A late append of the former owner would stand behind one of its successor.
        assert!(epochs.is_sorted(), "an owner wrote after it had lost the saga: {saga}");
        taken_over += u32::from(epochs.last().is_some_and(|it| *it > epoch));
    }
    assert!(taken_over > 0, "nothing was taken over");
    let lapses = paused.metric(&system.http, "saga_lease_lapses_total").await;
    let stale = paused.metric(&system.http, "saga_stale_epoch_total").await;
    assert!(lapses + stale >= 1.0, "the former owner did not notice");
    assert_each_effect_once(&system).await;
}

#[tokio::test]
async fn a_role_that_dies_is_back_by_itself() {
    let system = System::up(&["--time-scale", "600"]);
    for role in &roles(&system) {
        let victim = system.role(role).remove(0);
        victim.signal(Signal::KILL);
        until(format!("{role} is back"), Duration::from_secs(20), || async {
            let now: Vec<_> = system.role(role);
            let back = now.iter().any(|it| it.pid != victim.pid && it.state == "ready");
            back.then_some(())
        })
        .await;
    }
    let id = system.accepted(&sample_request()).await;
    system.ends(&id, "Completed", Duration::from_secs(60)).await;
}
