//! What the Third-party Transport service says and hears.
//!
//! Says: one event for each phase that a carrier reaches, through the outbox, in the transaction
//! that reached it. Hears: deliveries that were made or called off. A repeated message changes
//! nothing: the rows say what was done already.

use std::collections::BTreeMap;

use contracts::{
    DeliveryStage,
    event::{self, source_of},
    shipping::DeliveryEvent,
    third_party_transport::{CARRIER_PHASE_CHANGED, CarrierPhaseChanged},
    topics,
};
use messaging::{Delivered, Failure, Handler};
use service_kit::inbox;
use store::{OutboxMessage, SqlError, Store, Transaction};

use crate::{
    booking::{self, Depot, ReleaseError},
    domain::{PhaseChange, Shipment},
    store as table,
};

/// The role, as it names itself in messages.
pub(crate) const ROLE: &str = "third-party-transport";

/// Says that a carrier reached a phase. Its times are wall time: what a client's watch shows.
pub(crate) fn push_phase(
    transaction: &mut Transaction<'_>,
    depot: &Depot,
    shipment: &Shipment,
    change: &PhaseChange,
) -> Result<(), SqlError> {
    let event = CarrierPhaseChanged {
        delivery_id: shipment.delivery_id.clone(),
        carrier: shipment.carrier.clone(),
        phase: change.phase,
        position: change.position,
        sequence: change.sequence,
        occurred_at: depot.clock.wall_of(change.at),
        delivery_eta: change.delivery_eta.map(|it| depot.clock.wall_of(it)),
    };
    let body = serde_json::to_vec(&event).map_err(|it| SqlError::Statement {
        message: format!("an event cannot be written: {it}"),
    })?;
    transaction.push(&OutboxMessage {
        topic: topics::CARRIER_EVENTS.to_owned(),
        key: Some(event.delivery_id.clone()),
        id: format!("{}/{}", event.delivery_id, event.sequence),
        kind: CARRIER_PHASE_CHANGED.to_string(),
        source: source_of(ROLE),
        subject: Some(event.delivery_id),
        time: event.occurred_at,
        headers: BTreeMap::new(),
        traceparent: shipment.trace.clone(),
        tracestate: None,
        body,
    })
}

/// Hears `delivery-events`.
#[derive(Debug, Clone)]
pub(crate) struct Deliveries {
    store: Store,
    depot: Depot,
}

impl Deliveries {
    pub(crate) const fn new(store: Store, depot: Depot) -> Self {
        Self { store, depot }
    }

    async fn send(&self, id: String, trace: String) -> Result<(), Failure> {
        let depot = self.depot.clone();
        let sent = self.store.write(move |it| booking::send(it, &depot, &id, Some(trace)));
        sent.await.map_err(inbox::failure_of)?;
        self.depot.bell.notify_one();
        Ok(())
    }

    async fn release(&self, id: String) -> Result<(), Failure> {
        let released = self.store.write(move |transaction| {
            // A delivery that a drone serves was never booked here: nothing to remember.
            if table::find(transaction, &id)?.is_none() {
                return Ok(());
            }
            match booking::release(transaction, &id) {
                // The package is on board: its delivery is over for others, the tour is not.
                Ok(()) | Err(ReleaseError::PickedUp(_)) => Ok::<_, SqlError>(()),
                Err(ReleaseError::Sql(error)) => Err(error),
            }
        });
        released.await.map_err(inbox::failure_of)
    }
}

impl Handler for Deliveries {
    async fn handle(&self, delivered: &Delivered) -> Result<(), Failure> {
        let message = &delivered.message;
        let event: DeliveryEvent = event::read(&message.kind, &message.body)
            .map_err(|it| inbox::unread(&it, it.is_unknown()))?;
        match event.stage {
            DeliveryStage::Created if event.drone_id.is_none() => {
                self.send(event.delivery_id, delivered.trace.traceparent()).await
            }
            DeliveryStage::Cancelled | DeliveryStage::Failed => {
                self.release(event.delivery_id).await
            }
            DeliveryStage::Created
            | DeliveryStage::Rescheduled
            | DeliveryStage::HeadedToPickup
            | DeliveryStage::HeadedToDropoff
            | DeliveryStage::Completed => Ok(()),
        }
    }
}
