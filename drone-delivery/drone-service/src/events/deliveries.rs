//! Hears of deliveries: one that was made may fly, one that was called off may not.
//!
//! A repeated message changes nothing: the rows say what was done already.

use contracts::{DeliveryStage, event, shipping::DeliveryEvent};
use messaging::{Delivered, Failure, Handler};
use service_kit::inbox;
use store::{SqlError, Store};

use crate::{
    booking::{self, ReleaseError},
    store as table,
    tower::Tower,
};

/// Hears `delivery-events`.
#[derive(Debug, Clone)]
pub(crate) struct Deliveries {
    store: Store,
    tower: Tower,
}

impl Deliveries {
    pub(crate) const fn new(store: Store, tower: Tower) -> Self {
        Self { store, tower }
    }

    async fn send(&self, event: DeliveryEvent, trace: String) -> Result<(), Failure> {
        let tower = self.tower.clone();
        let sent = self.store.write(move |transaction| {
            let (id, owner) = (&event.delivery_id, &event.owner_id);
            booking::send(transaction, &tower, id, owner, Some(trace))
        });
        if let Some(known) = sent.await.map_err(inbox::failure_of)? {
            self.tower.note(known);
            self.tower.ring();
        }
        Ok(())
    }

    async fn release(&self, id: String) -> Result<(), Failure> {
        let tower = self.tower.clone();
        let released = self.store.write(move |transaction| {
            // A delivery that a carrier serves was never booked here: nothing to remember.
            if table::find_booking(transaction, &id)?.is_none() {
                return Ok(());
            }
            match booking::release(transaction, &tower, &id) {
                Ok(()) => Ok::<_, SqlError>(()),
                // The package is on board: its delivery is over for others, the flight is not.
                Err(ReleaseError::PickedUp) => Ok(()),
                Err(ReleaseError::Sql(error)) => Err(error),
            }
        });
        released.await.map_err(inbox::failure_of)?;
        self.tower.ring();
        Ok(())
    }
}

impl Handler for Deliveries {
    async fn handle(&self, delivered: &Delivered) -> Result<(), Failure> {
        let message = &delivered.message;
        let event: DeliveryEvent =
            event::read(&message.kind, &message.body).map_err(inbox::rejected)?;
        match event.stage {
            DeliveryStage::Created if event.drone_id.is_some() => {
                self.send(event, delivered.trace.traceparent()).await
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
