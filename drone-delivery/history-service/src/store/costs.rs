//! What a delivery writes here, counted in pages: each of its four stages is a row.

use base::{ManualClock, Random, SharedClock};
use contracts::{DeliveryStage, Location};
use store::{
    Store, WriteError,
    testing::{Load, uncopied},
};
use telemetry::Telemetry;

use super::*;
use crate::domain::tests::event;

const LOAD: Load = Load { warm_up: 1_000, counted: 100, begun: 2 };
/// Commits from one stage of a delivery to the next.
const APART: u64 = 40;
/// Pages that one delivery may write here, in hundredths.
const HUNDREDTHS_MAX: u64 = 1_640;

const STAGES: [DeliveryStage; 4] = [
    DeliveryStage::Created,
    DeliveryStage::HeadedToPickup,
    DeliveryStage::HeadedToDropoff,
    DeliveryStage::Completed,
];

/// The events of one commit: of those that begin, and of those before that went on.
fn events_of(round: u64) -> Vec<DeliveryEvent> {
    let mut events = Vec::new();
    for (place, stage) in (0_u64..).zip(STAGES) {
        let Some(begun) = round.checked_sub(place * APART) else { continue };
        let at = |round: u64| 1_700_000_000_000 + 10 * i64::try_from(round).unwrap_or(0);
        let mut random = Random::with_seed(begun);
        for _ in 0..LOAD.begun {
            let id = random.uuid_v7(Timestamp::from_millis(at(begun))).to_string();
            let door = Location::new(60.166_012_345_678_91, 24.940_123_456_789_01);
            events.push(DeliveryEvent {
                stage,
                location: Some(door),
                owner_id: format!("owner-{}", random.below(1_000)),
                drone_id: Some("drone-0001".to_owned()),
                pickup: door,
                dropoff: door,
                eta: Some(Timestamp::from_millis(at(round))),
                ..event(&id, place + 1, at(round))
            });
        }
    }
    events
}

#[tokio::test]
async fn a_delivery_writes_so_many_pages_and_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let clock: SharedClock =
        std::sync::Arc::new(ManualClock::new(Timestamp::from_millis(1_700_000_000_000)));
    let store = Store::open(&path, MIGRATIONS, uncopied(), clock, &Telemetry::disabled()).unwrap();
    let round = async |number| {
        let events = events_of(number);
        let kept = store.write(move |it| events.iter().try_for_each(|event| keep(it, event)));
        let kept: Result<(), WriteError<SqlError>> = kept.await;
        kept.unwrap();
    };
    LOAD.cost((&store, &path), round).await.unwrap().check(HUNDREDTHS_MAX);
}
