//! A delivery and its events as their rows keep them: in few letters, since a row is written whole each time.
//!
//! A delivery is written at each word about it, most of which change a number or two. What stands in a
//! column beside is not said again, nor what is as it mostly is; times are milliseconds, places three
//! numbers. Of an event that is kept which the one before does not say. What a program before kept, under
//! its whole names, is read.

use base::Timestamp;
use contracts::{ConfirmationType, DeliveryStage, Location, Words as _, shipping::DeliveryEvent};
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use store::SqlError;

use crate::domain::{Delivery, Evidence, Order, Owner};

/// How a text of this form begins; those from before have no version.
const VERSION: &str = "{\"v\":2,";

/// Latitude, longitude, altitude.
type Place = [f64; 3];

#[expect(clippy::struct_excessive_bools, reason = "each is a member of what is kept")]
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptDelivery {
    v: u8,
    #[serde(rename = "a")]
    account_id: String,
    /// Where it is another than the account.
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
    #[serde(rename = "f")]
    pickup: Place,
    #[serde(rename = "t")]
    dropoff: Place,
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pickup_time: Option<i64>,
    #[serde(rename = "l", default, skip_serializing_if = "String::is_empty")]
    deadline: String,
    #[serde(rename = "x", default, skip_serializing_if = "is_default")]
    expedited: bool,
    #[serde(rename = "q", default, skip_serializing_if = "Option::is_none")]
    confirmation_required: Option<ConfirmationType>,
    /// Whether the package has the delivery's id.
    #[serde(rename = "o", default, skip_serializing_if = "is_default")]
    is_own_package: bool,
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    package_id: Option<String>,
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    drone_id: Option<String>,
    #[serde(rename = "s")]
    stage: u64,
    #[serde(rename = "n")]
    sequence: u64,
    #[serde(rename = "r", default, skip_serializing_if = "is_default")]
    report_sequence: u64,
    #[serde(rename = "i", default, skip_serializing_if = "is_default")]
    assignment_turn: u64,
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    carrier: Option<String>,
    #[serde(rename = "w", default, skip_serializing_if = "is_default")]
    awaits_carrier: bool,
    #[serde(rename = "z", default, skip_serializing_if = "is_default")]
    dropped_off: bool,
    #[serde(rename = "g", default, skip_serializing_if = "Option::is_none")]
    confirmation: Option<ConfirmationType>,
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    evidence: Option<Evidence>,
    #[serde(rename = "za", default, skip_serializing_if = "Option::is_none")]
    dropped_off_at: Option<i64>,
    #[serde(rename = "at", default, skip_serializing_if = "Option::is_none")]
    location: Option<Place>,
    #[serde(rename = "fe", default, skip_serializing_if = "Option::is_none")]
    pickup_eta: Option<i64>,
    #[serde(rename = "te", default, skip_serializing_if = "Option::is_none")]
    delivery_eta: Option<i64>,
    #[serde(rename = "y", default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(rename = "m", default, skip_serializing_if = "is_default")]
    revision: u64,
}

/// What an event says that the one before did not; of two layers the inner one may say that there is none.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptEvent {
    #[serde(rename = "n")]
    sequence: u64,
    #[serde(rename = "s")]
    stage: u64,
    #[serde(rename = "h")]
    occurred_at: i64,
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    account_id: Option<String>,
    #[serde(
        rename = "d",
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "said"
    )]
    drone_id: Option<Option<String>>,
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    pickup: Option<Place>,
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    dropoff: Option<Place>,
    #[serde(
        rename = "b",
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "said"
    )]
    pickup_time: Option<Option<i64>>,
    #[serde(rename = "q", default, skip_serializing_if = "Option::is_none")]
    confirmation_required: Option<ConfirmationType>,
    #[serde(
        rename = "at",
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "said"
    )]
    location: Option<Option<Place>>,
    #[serde(
        rename = "te",
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "said"
    )]
    eta: Option<Option<i64>>,
    #[serde(
        rename = "y",
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "said"
    )]
    reason: Option<Option<String>>,
}

/// What is there was said, also where it says that there is none.
fn said<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// The text that is kept of a delivery.
pub(super) fn write_delivery(delivery: &Delivery) -> Result<String, SqlError> {
    let Delivery { id, order, .. } = delivery;
    let Owner { user_id, account_id } = &order.owner;
    let is_own_package = order.package_id.as_ref() == Some(id);
    encode(&KeptDelivery {
        v: 2,
        account_id: account_id.clone(),
        user_id: (user_id != account_id).then(|| user_id.clone()),
        pickup: place(&order.pickup),
        dropoff: place(&order.dropoff),
        pickup_time: order.pickup_time.map(Timestamp::as_millis),
        deadline: order.deadline.clone(),
        expedited: order.expedited,
        confirmation_required: asked(order.confirmation_required),
        is_own_package,
        package_id: order.package_id.clone().filter(|_| !is_own_package),
        drone_id: order.drone_id.clone(),
        stage: delivery.stage.ordinal().into(),
        sequence: delivery.sequence,
        report_sequence: delivery.report_sequence,
        assignment_turn: delivery.assignment_turn,
        carrier: delivery.carrier.clone(),
        awaits_carrier: delivery.awaits_carrier,
        dropped_off: delivery.dropped_off,
        confirmation: delivery.confirmation,
        evidence: delivery.evidence.clone(),
        dropped_off_at: delivery.dropped_off_at.map(Timestamp::as_millis),
        location: delivery.location.as_ref().map(place),
        pickup_eta: delivery.pickup_eta.map(Timestamp::as_millis),
        delivery_eta: delivery.delivery_eta.map(Timestamp::as_millis),
        reason: delivery.reason.clone(),
        revision: delivery.revision,
    })
}

/// The delivery of that id, of what is kept of it.
pub(super) fn read_delivery(id: String, text: &str) -> Result<Delivery, SqlError> {
    if !text.starts_with(VERSION) {
        return decode(text);
    }
    let kept: KeptDelivery = decode(text)?;
    let own_package = kept.is_own_package.then(|| id.clone());
    let user_id = kept.user_id.unwrap_or_else(|| kept.account_id.clone());
    Ok(Delivery {
        id,
        order: Order {
            owner: Owner { user_id, account_id: kept.account_id },
            pickup: location(kept.pickup),
            dropoff: location(kept.dropoff),
            pickup_time: kept.pickup_time.map(Timestamp::from_millis),
            deadline: kept.deadline,
            expedited: kept.expedited,
            confirmation_required: kept.confirmation_required.unwrap_or(ConfirmationType::None),
            package_id: kept.package_id.or(own_package),
            drone_id: kept.drone_id,
        },
        stage: stage(kept.stage)?,
        sequence: kept.sequence,
        report_sequence: kept.report_sequence,
        assignment_turn: kept.assignment_turn,
        carrier: kept.carrier,
        awaits_carrier: kept.awaits_carrier,
        dropped_off: kept.dropped_off,
        confirmation: kept.confirmation,
        evidence: kept.evidence,
        dropped_off_at: kept.dropped_off_at.map(Timestamp::from_millis),
        location: kept.location.map(location),
        pickup_eta: kept.pickup_eta.map(Timestamp::from_millis),
        delivery_eta: kept.delivery_eta.map(Timestamp::from_millis),
        reason: kept.reason,
        revision: kept.revision,
    })
}

/// The text that is kept of a delivery's events, which are in order.
pub(super) fn write_events(events: &[DeliveryEvent]) -> Result<String, SqlError> {
    let mut before = silence("");
    let mut kept = Vec::with_capacity(events.len());
    for event in events {
        kept.push(added(&before, event));
        before = event.clone();
    }
    encode(&kept)
}

/// The events of a delivery, of what is kept of them.
pub(super) fn read_events(delivery_id: &str, text: &str) -> Result<Vec<DeliveryEvent>, SqlError> {
    let mut event = silence(delivery_id);
    let mut events = Vec::new();
    for kept in decode::<Vec<KeptEvent>>(text)? {
        add(&mut event, kept)?;
        events.push(event.clone());
    }
    Ok(events)
}

/// One event of the form from before.
pub(super) fn read_old_event(text: &str) -> Result<DeliveryEvent, SqlError> {
    decode(text)
}

/// What stands before the first event: nothing was said.
fn silence(delivery_id: &str) -> DeliveryEvent {
    DeliveryEvent {
        event_id: String::new(),
        delivery_id: delivery_id.to_owned(),
        stage: DeliveryStage::Created,
        location: None,
        sequence: 0,
        occurred_at: Timestamp::from_millis(0),
        owner_id: String::new(),
        drone_id: None,
        pickup: Location::default(),
        dropoff: Location::default(),
        pickup_time: None,
        confirmation_required: ConfirmationType::None,
        eta: None,
        reason: None,
    }
}

fn added(before: &DeliveryEvent, event: &DeliveryEvent) -> KeptEvent {
    let millis = |time: &Option<Timestamp>| time.map(Timestamp::as_millis);
    KeptEvent {
        sequence: event.sequence,
        stage: event.stage.ordinal().into(),
        occurred_at: event.occurred_at.as_millis(),
        account_id: news(&before.owner_id, &event.owner_id).cloned(),
        drone_id: news(&before.drone_id, &event.drone_id).cloned(),
        pickup: news(&before.pickup, &event.pickup).map(place),
        dropoff: news(&before.dropoff, &event.dropoff).map(place),
        pickup_time: news(&before.pickup_time, &event.pickup_time).map(millis),
        confirmation_required: news(&before.confirmation_required, &event.confirmation_required)
            .copied(),
        location: news(&before.location, &event.location).map(|it| it.as_ref().map(place)),
        eta: news(&before.eta, &event.eta).map(millis),
        reason: news(&before.reason, &event.reason).cloned(),
    }
}

fn news<'a, T: PartialEq>(before: &T, now: &'a T) -> Option<&'a T> {
    (before != now).then_some(now)
}

fn add(event: &mut DeliveryEvent, kept: KeptEvent) -> Result<(), SqlError> {
    let time = |millis: Option<i64>| millis.map(Timestamp::from_millis);
    event.event_id = format!("{}/{}", event.delivery_id, kept.sequence);
    event.sequence = kept.sequence;
    event.stage = stage(kept.stage)?;
    event.occurred_at = Timestamp::from_millis(kept.occurred_at);
    set(&mut event.owner_id, kept.account_id);
    set(&mut event.drone_id, kept.drone_id);
    set(&mut event.pickup, kept.pickup.map(location));
    set(&mut event.dropoff, kept.dropoff.map(location));
    set(&mut event.pickup_time, kept.pickup_time.map(time));
    set(&mut event.confirmation_required, kept.confirmation_required);
    set(&mut event.location, kept.location.map(|it| it.map(location)));
    set(&mut event.eta, kept.eta.map(time));
    set(&mut event.reason, kept.reason);
    Ok(())
}

fn set<T>(of: &mut T, said: Option<T>) {
    if let Some(said) = said {
        *of = said;
    }
}

fn asked(confirmation: ConfirmationType) -> Option<ConfirmationType> {
    (confirmation != ConfirmationType::None).then_some(confirmation)
}

const fn place(location: &Location) -> Place {
    [location.latitude, location.longitude, location.altitude]
}

const fn location([latitude, longitude, altitude]: Place) -> Location {
    Location { altitude, latitude, longitude }
}

fn stage(ordinal: u64) -> Result<DeliveryStage, SqlError> {
    let message = || format!("a delivery's row: no stage has the number {ordinal}");
    DeliveryStage::from_ordinal(ordinal).ok_or_else(|| SqlError::Damaged { message: message() })
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn encode<T: Serialize>(value: &T) -> Result<String, SqlError> {
    serde_json::to_string(value).map_err(|it| unreadable(&it))
}

fn decode<T: DeserializeOwned>(text: &str) -> Result<T, SqlError> {
    serde_json::from_str(text).map_err(|it| unreadable(&it))
}

/// A row that another version wrote, or a defect of ours.
fn unreadable(error: &serde_json::Error) -> SqlError {
    SqlError::Damaged { message: format!("a delivery's row: {error}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order() -> Order {
        Order {
            owner: Owner { user_id: "a".to_owned(), account_id: "a".to_owned() },
            pickup: Location::new(60.166_012_345_678_91, 24.940_123_456_789_01),
            dropoff: Location { altitude: 12.5, ..Location::new(60.17, 24.95) },
            pickup_time: None,
            deadline: String::new(),
            expedited: false,
            confirmation_required: ConfirmationType::None,
            package_id: Some("d1".to_owned()),
            drone_id: Some("drone-0001".to_owned()),
        }
    }

    /// Deliveries in which each member is once as it mostly is and once otherwise.
    fn deliveries() -> Vec<Delivery> {
        let time = Some(Timestamp::from_millis(1_700_000_000_123));
        let plain = Delivery::create("d1".to_owned(), order());
        let other = Order {
            owner: Owner { user_id: "u".to_owned(), account_id: "a".to_owned() },
            pickup_time: time,
            deadline: "soon".to_owned(),
            expedited: true,
            confirmation_required: ConfirmationType::FingerPrint,
            package_id: Some("p".to_owned()),
            drone_id: None,
            ..order()
        };
        let evidence = Evidence {
            kind: ConfirmationType::Picture,
            at: Timestamp::from_millis(9),
            place: Some(Location::new(1.0, 2.0)),
            hash: Some("00".to_owned()),
        };
        let full = Delivery {
            order: other,
            stage: DeliveryStage::Completed,
            sequence: 5,
            report_sequence: 6,
            assignment_turn: 7,
            carrier: Some("c".to_owned()),
            awaits_carrier: true,
            dropped_off: true,
            confirmation: Some(ConfirmationType::FingerPrint),
            evidence: Some(evidence),
            dropped_off_at: time,
            location: Some(Location::new(3.0, 4.0)),
            pickup_eta: time,
            delivery_eta: time,
            reason: Some("why".to_owned()),
            revision: 8,
            ..plain.clone()
        };
        let bare = Delivery { order: Order { package_id: None, ..order() }, ..plain.clone() };
        vec![plain, full, bare]
    }

    #[test]
    fn what_is_kept_of_a_delivery_is_all_of_it_whatever_program_kept_it() {
        for delivery in deliveries() {
            let kept = write_delivery(&delivery).unwrap();
            assert_eq!(read_delivery("d1".to_owned(), &kept), Ok(delivery.clone()), "{kept}");
            let before = serde_json::to_string(&delivery).unwrap();
            assert_eq!(read_delivery("d1".to_owned(), &before), Ok(delivery));
        }
    }

    #[test]
    fn what_is_as_it_mostly_is_takes_no_room() {
        let delivery = &deliveries()[0];
        let (kept, before) = (write_delivery(delivery), serde_json::to_string(delivery));
        assert!(kept.unwrap().len() * 3 < before.unwrap().len());
    }

    #[test]
    fn events_are_kept_by_what_each_adds_and_takes_away() {
        let events = |it: &Delivery, sequence| DeliveryEvent {
            event_id: format!("d1/{sequence}"),
            sequence,
            stage: it.stage,
            location: it.location,
            occurred_at: Timestamp::from_millis(7),
            owner_id: it.order.owner.account_id.clone(),
            drone_id: it.order.drone_id.clone(),
            pickup: it.order.pickup,
            dropoff: it.order.dropoff,
            pickup_time: it.order.pickup_time,
            confirmation_required: it.order.confirmation_required,
            eta: it.delivery_eta,
            reason: it.reason.clone(),
            ..silence("d1")
        };
        let all: Vec<_> =
            deliveries().iter().zip(1..).map(|(it, number)| events(it, number)).collect();
        let kept = write_events(&all).unwrap();
        assert_eq!(read_events("d1", &kept), Ok(all.clone()), "{kept}");
        // One that says what the one before said is its number, its stage and its time.
        let again = DeliveryEvent { event_id: "d1/2".to_owned(), sequence: 2, ..all[0].clone() };
        let (one, two) =
            (write_events(&all[..1]).unwrap(), write_events(&[all[0].clone(), again]).unwrap());
        assert!(two.len() < one.len() + 30, "{two}");
    }

    #[test]
    fn a_stage_that_no_program_knows_is_damage() {
        let kept = write_delivery(&deliveries()[0]).unwrap().replace("\"s\":0", "\"s\":99");
        assert!(matches!(read_delivery("d1".to_owned(), &kept), Err(SqlError::Damaged { .. })));
    }
}
