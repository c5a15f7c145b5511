//! More at once than the fleet can fly in the time that its clients give.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use base::Timestamp;
use runtime::SystemClock;
use serde_json::json;
use tokio::{task::JoinSet, time::Instant};

use crate::{
    program::{System, sample_request},
    wait::until,
};

const REQUESTS: usize = 5_000;
/// Clients at once.
const CLIENTS: usize = 32;
const DEADLINE: Duration = Duration::from_secs(3_600);
/// From the last request to the last answer.
const ANSWERED_WITHIN: Duration = Duration::from_secs(120);
/// What the fleet says with the time.
const EARLIEST: &str = "the earliest arrival is ";

/// Requests, each answered 202; gives the ids.
async fn submit_all(system: &Arc<System>, deadline: Timestamp) -> Vec<String> {
    let (left, ids) = (Arc::new(Mutex::new(REQUESTS)), Arc::new(Mutex::new(Vec::new())));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (system, left, ids) = (Arc::clone(system), Arc::clone(&left), Arc::clone(&ids));
        clients.spawn(async move {
            let next = || {
                let mut left = left.lock().unwrap();
                *left = left.checked_sub(1)?;
                Some(*left)
            };
            while let Some(number) = next() {
                let mut request = sample_request();
                request["deadline"] = json!(deadline.to_rfc3339());
                request["packageInfo"]["packageId"] = json!(format!("burst-{number}"));
                let what = format!("request {number} is accepted");
                let id = until(what, ANSWERED_WITHIN, || async {
                    let reply = system.submit(&request).await;
                    let later = [429, 503].contains(&reply.status.as_u16());
                    assert!(later || reply.status == 202, "{:?}", reply.json());
                    reply.json()["deliveryId"].as_str().map(str::to_owned)
                })
                .await;
                ids.lock().unwrap().push(id);
            }
        });
    }
    clients.join_all().await;
    let ids = ids.lock().unwrap().clone();
    assert_eq!(ids.len(), REQUESTS);
    ids
}

/// How each was answered: `Scheduled`, or the reason of its refusal.
async fn answers(system: &Arc<System>, ids: &[String]) -> BTreeMap<String, String> {
    let (open, found) = (Arc::new(Mutex::new(ids.to_vec())), Arc::new(Mutex::new(BTreeMap::new())));
    let mut readers = JoinSet::new();
    for _ in 0..CLIENTS {
        let (system, open, found) = (Arc::clone(system), Arc::clone(&open), Arc::clone(&found));
        readers.spawn(async move {
            let next = || open.lock().unwrap().pop();
            while let Some(id) = next() {
                let answer = until(format!("{id} is answered"), ANSWERED_WITHIN, || async {
                    let it = system.request(&id).await;
                    match it["state"].as_str()? {
                        "Accepted" | "Scheduling" => None,
                        "Failed" => Some(it["reason"].as_str().unwrap_or_default().to_owned()),
                        state => Some(state.to_owned()),
                    }
                })
                .await;
                found.lock().unwrap().insert(id, answer);
            }
        });
    }
    readers.join_all().await;
    std::mem::take(&mut *found.lock().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_burst_that_cannot_be_flown_in_time_the_rest_is_told_at_once_when_it_could_be() {
    // Real time: nothing is flown before everything is answered.
    let far = ["--set", "drone.position_every_ms=60000", "--time-scale", "1"];
    let system = Arc::new(System::up(&far));
    let deadline = SystemClock::shared().now() + DEADLINE;
    let started = Instant::now();
    let ids = submit_all(&system, deadline).await;
    let submitted = started.elapsed();
    let answers = answers(&system, &ids).await;
    let refused: Vec<_> = answers.values().filter(|it| it.contains("past_deadline")).collect();
    let booked = answers.values().filter(|it| *it == "Scheduled" || *it == "Completed").count();
    println!(
        "{booked} booked and {} refused of {REQUESTS}; submitted in {submitted:?}, all answered \
         after {:?}",
        refused.len(),
        started.elapsed()
    );
    assert_eq!(booked + refused.len(), REQUESTS, "{:?}", other(&answers));
    assert!(booked >= 20, "each drone flies once within the hour");
    for reason in refused {
        let earliest = reason.split(EARLIEST).nth(1).and_then(|it| it.split(')').next());
        let earliest = earliest.and_then(Timestamp::parse);
        assert!(earliest.is_some_and(|it| it > deadline), "no later time is named: {reason}");
    }
    // What is promised is promised within the deadline, and to no drone twice at a time.
    let drones = system.http.get(&system.url(107, "/api/drones")).await.json();
    let mut planned = 0;
    for drone in drones.as_array().unwrap() {
        let id = drone["droneId"].as_str().unwrap();
        let plan = system.http.get(&system.url(107, &format!("/api/drones/{id}/plan"))).await;
        let plan = plan.json();
        let mut free_at = None;
        for booking in plan["bookings"].as_array().unwrap() {
            let time = |member: &str| booking[member].as_str().and_then(Timestamp::parse).unwrap();
            assert!(time("eta") <= deadline, "{booking}");
            assert!(free_at.is_none_or(|it| it <= time("takeOff")), "two at a time: {plan}");
            free_at = Some(time("ready"));
            planned += 1;
        }
    }
    assert!(planned > 0 && planned <= booked, "{planned} in the plan of {booked}");
}

/// Answers that are neither.
fn other(answers: &BTreeMap<String, String>) -> Vec<&String> {
    let known = |it: &&String| it.contains("past_deadline") || *it == "Scheduled";
    answers.values().filter(|it| !known(it)).take(5).collect()
}
