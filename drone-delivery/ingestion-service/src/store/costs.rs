//! What a request writes here, counted in pages: accepted, scheduled, and each stage of its delivery.

use std::sync::Arc;

use base::{ManualClock, Random};
use contracts::{
    ConfirmationType, DeliveryStage, Location,
    shipping::{DeliveryEvent, RequestEvent, RequestEventKind},
};
use store::{
    Store, WriteError,
    testing::{Load, uncopied},
};
use telemetry::Telemetry;

use super::*;

const LOAD: Load = Load { warm_up: 1_000, counted: 100, begun: 2 };
/// Commits from one word about a request to the next.
const APART: u64 = 40;
/// Pages that one request may write here, in hundredths.
const HUNDREDTHS_MAX: u64 = 600;

const STAGES: [DeliveryStage; 4] = [
    DeliveryStage::Created,
    DeliveryStage::HeadedToPickup,
    DeliveryStage::HeadedToDropoff,
    DeliveryStage::Completed,
];

fn time(round: u64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + 10 * i64::try_from(round).unwrap_or(0))
}

fn ids(round: u64) -> Vec<String> {
    let mut random = Random::with_seed(round);
    (0..LOAD.begun).map(|_| random.uuid_v7(time(round)).to_string()).collect()
}

fn reached(id: &str, stage: DeliveryStage, sequence: u64, at: Timestamp) -> DeliveryEvent {
    DeliveryEvent {
        event_id: format!("{id}/{sequence}"),
        delivery_id: id.to_owned(),
        stage,
        location: None,
        sequence,
        occurred_at: at,
        owner_id: "owner".to_owned(),
        drone_id: None,
        pickup: Location::default(),
        dropoff: Location::default(),
        pickup_time: None,
        confirmation_required: ConfirmationType::None,
        eta: None,
        reason: None,
    }
}

fn scheduled(id: &str, at: Timestamp) -> RequestEvent {
    RequestEvent {
        kind: RequestEventKind::RequestScheduled,
        operation: "delivery".to_owned(),
        delivery_id: id.to_owned(),
        operation_id: None,
        failed_step: None,
        reason: None,
        occurred_at: at,
    }
}

/// One commit: some are accepted, those before are heard of.
fn round(transaction: &mut Transaction<'_>, number: u64) -> Result<(), SqlError> {
    for id in ids(number) {
        let accepted = Accepted {
            id,
            owner_id: "owner".to_owned(),
            position: (1, number),
            counts: false,
            pickup_at: None,
        };
        accept(transaction, &accepted)?;
    }
    for id in number.checked_sub(5).map(ids).unwrap_or_default() {
        let event = scheduled(&id, time(number));
        fold(transaction, (&id, None), time(number), |it| it.heard_of_request(&event))?;
    }
    for (place, stage) in (0_u64..).zip(STAGES) {
        let Some(begun) = number.checked_sub(5 + place * APART) else { continue };
        for id in ids(begun) {
            let event = reached(&id, stage, place + 1, time(number));
            let of = (id.as_str(), Some("owner"));
            fold(transaction, of, time(number), |it| it.heard_of_delivery(&event))?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_request_writes_so_many_pages_and_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ingestion.db");
    let clock = Arc::new(ManualClock::new(time(0)));
    let store =
        Store::open(&path, MIGRATIONS, uncopied(), clock.clone(), &Telemetry::disabled()).unwrap();
    let one = async |number| {
        clock.advance(std::time::Duration::from_millis(10));
        let done: Result<(), WriteError<SqlError>> = store.write(move |it| round(it, number)).await;
        done.unwrap();
    };
    LOAD.cost((&store, &path), one).await.unwrap().check(HUNDREDTHS_MAX);
}
