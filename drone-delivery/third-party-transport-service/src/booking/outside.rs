//! The decisions about companies outside: who is asked, what is called next, and what their news change.

use std::time::Duration;

use base::Timestamp;
use contracts::third_party_transport::CarrierPhase;
use store::{SqlError, Transaction};

use super::{CarrierKind, Depot, free_carrier, instead, transport_of};
use crate::{
    domain::{Move, News, Shipment, Transport, Wish},
    events,
    store::{self as table, Found, outside as companies},
};

/// Longer than any call about a booking lasts.
pub(crate) const LATE: Duration = Duration::from_secs(10);

/// What companies answered that were asked to take a trip.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Answers {
    /// Who does not take it.
    pub(crate) refused: Vec<String>,
    /// Who does, and when it expects to be at the drop-off, in wall time.
    pub(crate) agreed: Option<(String, Option<Timestamp>)>,
    /// Who would, first of all, and come later than the client takes it, in wall time.
    pub(crate) too_late: Option<(String, Timestamp)>,
}

/// The company that is to be asked before the trip can be booked; none when it is settled without one.
/// That it is asked is written down.
pub(crate) fn next_to_ask(
    transaction: &mut Transaction<'_>,
    depot: &Depot,
    delivery_id: &str,
    wish: &Wish,
    refused: &[String],
) -> Result<Option<String>, SqlError> {
    let is_open = table::find(transaction, delivery_id)?.is_none()
        && transport_of(&depot.limits, wish) == Ok(Transport::Carrier);
    let without: Vec<&str> = refused.iter().map(String::as_str).collect();
    let free = if is_open { free_carrier(transaction, depot, &without)? } else { None };
    let Some(company) = free.filter(|it| it.kind == CarrierKind::Outside) else { return Ok(None) };
    companies::note(transaction, delivery_id, &company.name)?;
    Ok(Some(company.name.clone()))
}

/// Whether a company is to agree to a move: not when none serves it, or the move is refused anyway.
pub(crate) fn is_asked(shipment: &Shipment, depot: &Depot, change: &Move) -> bool {
    let mut moved = shipment.clone();
    // At no time of account: nothing of it is simulated.
    let told = moved.relocate(change, Timestamp::from_millis(0), None, &depot.roads);
    shipment.outside.is_some()
        && matches!(told, Ok(Some(_)))
        && depot.limits.check_carrier(&moved.trip).is_ok()
}

/// What a company is to be told about a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Errand {
    /// Its delivery is made: it may leave.
    Depart,
    /// What is there to say?
    Ask,
    /// It is no longer wanted.
    CallOff,
    /// Nothing: it was, or will be, settled otherwise.
    Nothing,
}

/// What a company is to be told now.
pub(crate) fn errand(found: Option<&Found>, carrier: &str) -> Errand {
    match found {
        Some(Found::Shipment(it)) if it.carrier == carrier => match it.outside {
            Some(outside) if it.is_open() && outside.was_told => Errand::Ask,
            Some(outside) if it.is_open() && outside.may_leave => Errand::Depart,
            Some(_) | None => Errand::Nothing,
        },
        // It was called off, or another has it.
        Some(Found::Released | Found::Shipment(_)) => Errand::CallOff,
        None => Errand::Nothing,
    }
}

/// A company has heard that it may leave.
pub(crate) fn was_told(
    transaction: &mut Transaction<'_>,
    delivery_id: &str,
    next: Timestamp,
) -> Result<(), SqlError> {
    let Some(Found::Shipment(mut shipment)) = table::find(transaction, delivery_id)? else {
        return Ok(());
    };
    if let Some(outside) = &mut shipment.outside {
        outside.was_told = true;
        table::save(transaction, &shipment)?;
    }
    companies::call_at(transaction, delivery_id, next)
}

/// Takes news of a company in; none when it knows nothing of a booking, which is the end of it.
pub(crate) fn hear(
    transaction: &mut Transaction<'_>,
    depot: &Depot,
    (delivery_id, carrier): (&str, &str),
    news: Option<&News>,
    next: Timestamp,
) -> Result<(), SqlError> {
    let Some(Found::Shipment(mut shipment)) = table::find(transaction, delivery_id)? else {
        return Ok(());
    };
    if shipment.carrier != carrier {
        return Ok(());
    }
    let now = depot.now(transaction.now());
    let Some(news) = news.copied().or_else(|| lost(&shipment, now)) else { return Ok(()) };
    let other = match shipment.is_new(&news) {
        true => instead(transaction, depot, &shipment, news.phase)?,
        false => None,
    };
    let change = match other {
        Some(other) => Some(shipment.hand_to(other, news.at, &depot.roads)),
        None => shipment.hear(&news, &depot.roads),
    };
    if let Some(change) = change {
        table::save(transaction, &shipment)?;
        events::push_phase(transaction, depot, &shipment, &change)?;
    }
    let goes_on = shipment.is_open() && shipment.outside.is_some();
    match goes_on {
        true => companies::call_at(transaction, delivery_id, next),
        false => companies::forget(transaction, delivery_id, carrier),
    }
}

/// What is to be said when a company has lost a booking.
fn lost(shipment: &Shipment, at: Timestamp) -> Option<News> {
    let outside = shipment.outside?;
    let (position, delivery_eta) = (outside.position, outside.delivery_eta);
    let number = outside.news + 1;
    Some(News { number, phase: CarrierPhase::Failed, position, at, delivery_eta })
}
