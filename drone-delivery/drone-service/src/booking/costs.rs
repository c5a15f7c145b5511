//! What a delivery writes at the fleet, counted in pages: booked, sent off, flown, said.

use std::{sync::Arc, time::Duration};

use base::{Direction, ManualClock, OperationKey, Random};
use store::{
    StoredReply, WriteError,
    testing::{Load, said, uncopied},
};
use tempfile::TempDir;

use super::{
    tests::{Process, manual_clock, refused, request, set_process},
    *,
};

/// Real time of one commit, and the deliveries that are booked within it: 200 in a second.
const ROUND: Duration = Duration::from_millis(20);
const LOAD: Load = Load { warm_up: 250, counted: 100, begun: 4 };
/// Pages that one delivery may write here, in hundredths.
const HUNDREDTHS_MAX: u64 = 2_990;

/// One commit of a fleet under load: some are booked, those booked before are sent off, drones whose
/// phase is due move on, and what was said in the last commit leaves the outbox.
async fn round(process: &Process, clock: &ManualClock, number: u64) {
    clock.advance(ROUND);
    process.follow().await;
    let now = base::Clock::now(clock);
    let mut random = Random::with_seed(number);
    let ids = |round: u64| {
        let first = Timestamp::from_millis(1_700_000_000_000 + 20 * i64::try_from(round).unwrap());
        let mut random = Random::with_seed(round);
        (0..LOAD.begun).map(move |_| random.uuid_v7(first).to_string()).collect::<Vec<_>>()
    };
    let booked: Vec<_> = ids(number).into_iter().map(|it| (it, request(&mut random))).collect();
    let made = number.checked_sub(5).map(ids).unwrap_or_default();
    let said = said(&process.store).await.unwrap();
    let due = process.tower.fleet().due(process.tower.now(now), 1_024);
    let tower = process.tower.clone();
    let done: Result<_, WriteError<SqlError>> = process
        .store
        .write(move |it| {
            let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned();
            for (id, request) in &booked {
                let key = OperationKey {
                    saga: id.clone(),
                    step: "drone".to_owned(),
                    direction: Direction::Do,
                    revision: 0,
                };
                it.begin_operation(&key, Some(1), &[7; 32])?;
                let answer = book(it, &tower, id, request, Some(trace.clone()));
                let Answer { drone_id, expected } = answer.expect("there are drones enough");
                let body = format!("{{\"droneId\":\"{drone_id}\",\"promise\":{expected:?}}}");
                let reply = StoredReply { status: 200, headers: Vec::new(), body: body.into() };
                it.finish_operation(&key, Some(1), &[7; 32], &reply)?;
            }
            for id in &made {
                send(it, &tower, id, "owner-of-many", None, Some(trace.clone()))?;
            }
            let moved = advance(it, &tower, &due)?;
            it.take_from_outbox(&said)?;
            Ok(moved.drones)
        })
        .await;
    for known in done.map_err(refused).unwrap() {
        process.tower.note(known);
    }
}

#[tokio::test]
async fn a_delivery_writes_so_many_pages_and_no_more() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("drone.db");
    let clock: Arc<ManualClock> = manual_clock();
    let process = set_process(&path, &clock, 3_000, 100.0, uncopied()).await;
    let one = async |number| round(&process, &clock, number).await;
    LOAD.cost((&process.store, &path), one).await.unwrap().check(HUNDREDTHS_MAX);
}
