//! What a delivery writes here, counted in pages: made, then heard of seven times until it is completed, and
//! where it is twice in a second.

use std::{sync::Arc, time::Duration};

use base::{Direction, ManualClock, OperationKey, Random};
use service_kit::Problem;
use store::{
    OperationState, Store, WriteError,
    testing::{Load, said, uncopied},
};
use telemetry::{Telemetry, TraceContext};

use super::*;
use crate::{
    api,
    confirmations::Recipient,
    domain::{Assignment, Milestone, Order, Owner, Report},
    events::{self, Audience, Voice},
};

/// Real time of one commit, and the deliveries that begin within it: 200 in a second.
const COMMIT: Duration = Duration::from_millis(10);
const LOAD: Load = Load { warm_up: 1_000, counted: 100, begun: 2 };
/// Commits from one report of a delivery to the next.
const APART: u64 = 60;
/// Commits from one batch of positions to the next.
const POSITIONS: u64 = 50;
/// Pages that one delivery may write here, in hundredths.
const HUNDREDTHS_MAX: u64 = 2_570;

const REPORTS: [Milestone; 6] = [
    Milestone::HeadedToPickup,
    Milestone::HeadedToPickup,
    Milestone::HeadedToDropoff,
    Milestone::HeadedToDropoff,
    Milestone::HeadedToDropoff,
    Milestone::DroppedOff,
];

fn time(commit: u64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + 10 * i64::try_from(commit).unwrap_or(0))
}

fn ids(commit: u64) -> Vec<String> {
    let mut random = Random::with_seed(commit);
    (0..LOAD.begun).map(|_| random.uuid_v7(time(commit)).to_string()).collect()
}

/// Those that began so many commits before.
fn begun(commit: u64, before: u64) -> Vec<String> {
    commit.checked_sub(before).map(ids).unwrap_or_default()
}

/// Those that report for that time: deliveries that began together are not as far as each other.
fn reporting(commit: u64, number: u64) -> impl Iterator<Item = String> {
    let late = move |id: &String| Random::with_seed(seed_of(id) ^ number).below(APART / 2);
    (0..APART / 2).flat_map(move |after| {
        let begun = begun(commit, number * APART + after).into_iter();
        begun.filter(move |id| late(id) == after)
    })
}

fn seed_of(id: &str) -> u64 {
    u64::from_str_radix(&id[id.len() - 12..], 16).unwrap()
}

fn order(id: &str) -> Order {
    let owner = format!("owner-{}", &id[id.len() - 3..]);
    Order {
        owner: Owner { user_id: owner.clone(), account_id: owner },
        pickup: Location::new(60.166_012_345_678_91, 24.940_123_456_789_01),
        dropoff: Location::new(60.171_012_345_678_91, 24.950_123_456_789_01),
        pickup_time: None,
        deadline: String::new(),
        expedited: false,
        confirmation_required: contracts::ConfirmationType::None,
        package_id: Some(id.to_owned()),
        drone_id: Some("drone-0001".to_owned()),
    }
}

fn trace() -> TraceContext {
    TraceContext::root(&mut Random::with_seed(1), true)
}

/// The workflow's step, with its reply.
fn made(transaction: &mut Transaction<'_>, id: &str) -> Result<(), Problem> {
    let direction = Direction::Do;
    let key = OperationKey {
        saga: format!("{id}/create"),
        step: "delivery".to_owned(),
        direction,
        revision: 0,
    };
    let fresh = transaction.begin_operation(&key, Some(1), &[7; 32])?;
    assert_eq!(fresh, OperationState::Fresh);
    let trace = trace();
    let voice = Voice::new(Audience::Owners, &trace);
    let reply = api::make(transaction, id.to_owned(), order(id), voice)?;
    Ok(transaction.finish_operation(&key, Some(1), &[7; 32], &reply)?)
}

fn report(milestone: Milestone, sequence: u64, commit: u64) -> Report {
    Report {
        drone_id: Some("drone-0001".to_owned()),
        carrier: None,
        milestone,
        sequence,
        at: time(commit),
        location: Location::new(60.168_012_345_678_91, 24.945_123_456_789_01),
        pickup_eta: Some(time(commit + APART)),
        delivery_eta: Some(time(commit + 5 * APART)),
    }
}

fn assignment(commit: u64) -> Assignment {
    Assignment {
        drone_id: Some("drone-0001".to_owned()),
        turn: 1,
        pickup_eta: Some(time(commit + APART)),
        delivery_eta: Some(time(commit + 5 * APART)),
        reason: None,
    }
}

fn round(transaction: &mut Transaction<'_>, commit: u64, said: &[i64]) -> Result<(), Problem> {
    let trace = trace();
    for id in ids(commit) {
        made(transaction, &id)?;
    }
    for id in begun(commit, 5) {
        let voice = Voice::new(Audience::Owners, &trace);
        events::assigned(transaction, &id, assignment(commit), voice)?;
    }
    for (milestone, number) in REPORTS.into_iter().zip(1..) {
        for id in reporting(commit, number) {
            let report = report(milestone, number, commit);
            let told = (Recipient::Simulated, Audience::Owners);
            let known = events::reported(transaction, &id, &report, told, &trace)?;
            assert!(known.is_some());
        }
    }
    if commit.is_multiple_of(POSITIONS) {
        for id in (APART..6 * APART).flat_map(|before| begun(commit, before)) {
            keep_position(transaction, &id, &Location::new(60.17, 24.94))?;
        }
    }
    transaction.take_from_outbox(said)?;
    Ok(())
}

#[tokio::test]
async fn a_delivery_writes_so_many_pages_and_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("delivery.db");
    let clock = Arc::new(ManualClock::new(time(0)));
    let store =
        Store::open(&path, MIGRATIONS, uncopied(), clock.clone(), &Telemetry::disabled()).unwrap();
    let one = async |commit| {
        clock.advance(COMMIT);
        let said = said(&store).await.unwrap();
        let done: Result<(), WriteError<Problem>> =
            store.write(move |it| round(it, commit, &said)).await;
        done.unwrap();
    };
    LOAD.cost((&store, &path), one).await.unwrap().check(HUNDREDTHS_MAX);
}
