//! What of a delivery needs a person.

use contracts::{
    DeliveryStage,
    shipping::{Alert, OPERATOR_ALERTED},
    topics,
};
use store::{SqlError, Transaction};

use super::{ROLE, Voice, message, notify};
use crate::domain::{Delivery, Overdue};

/// A delivery has stopped moving: operators hear of it, and the customer once, when it is late.
pub(crate) fn stopped(
    transaction: &mut Transaction<'_>,
    delivery: &Delivery,
    what: Overdue,
    voice: Voice<'_>,
) -> Result<(), SqlError> {
    let text = format!("delivery {} is {}", delivery.id, what.text());
    let about = format!("overdue/{}", what.as_str());
    alert(transaction, delivery, ("warning", &about, what.text()), text, voice)?;
    match what {
        Overdue::Pickup | Overdue::Dropoff => notify(transaction, delivery, "delayed", None, voice),
        // They were asked before, when it was on its way.
        Overdue::Confirmation => Ok(()),
    }
}

/// Whoever carried it cannot go on, and it was at that stage. A package on board is somewhere out
/// there: only a person can fetch it.
pub(super) fn lost(
    transaction: &mut Transaction<'_>,
    delivery: &Delivery,
    stage: DeliveryStage,
    voice: Voice<'_>,
) -> Result<(), SqlError> {
    let id = &delivery.id;
    let who = who_carries(delivery);
    if stage != DeliveryStage::HeadedToDropoff {
        let text = format!("delivery {id} failed: {who} cannot go on, and nobody takes its place");
        return alert(
            transaction,
            delivery,
            ("warning", "lost", "nobody carries it on"),
            text,
            voice,
        );
    }
    let place = delivery.location.map_or_else(
        || "an unknown place".to_owned(),
        |it| format!("{:.5},{:.5}", it.latitude, it.longitude),
    );
    let text =
        format!("the package of delivery {id} waits to be fetched at {place}: {who} cannot go on");
    let why = "a package waits to be fetched";
    alert(transaction, delivery, ("critical", "recovery", why), text, voice)
}

/// The drone, or the carrier that reported last.
fn who_carries(delivery: &Delivery) -> String {
    match (&delivery.order.drone_id, &delivery.carrier) {
        (Some(drone), _) => drone.clone(),
        (None, Some(carrier)) => format!("the carrier `{carrier}`"),
        (None, None) => "its carrier".to_owned(),
    }
}

/// `about` makes it one of its delivery's, `reason` one with those of other deliveries.
fn alert(
    transaction: &mut Transaction<'_>,
    delivery: &Delivery,
    (severity, about, reason): (&str, &str, &str),
    text: String,
    voice: Voice<'_>,
) -> Result<(), SqlError> {
    let alert = Alert {
        severity: severity.to_owned(),
        service: ROLE.to_owned(),
        delivery_id: Some(delivery.id.clone()),
        reason: Some(reason.to_owned()),
        text,
        occurred_at: transaction.now(),
    };
    let (id, kind) = (format!("{}/{about}", delivery.id), OPERATOR_ALERTED.to_string());
    transaction.push(&message(topics::ALERTS, kind, &id, &alert, voice.trace)?)
}
