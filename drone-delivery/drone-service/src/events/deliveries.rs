//! Hears of deliveries: one that was made may fly, one that was called off may not.
//!
//! A repeated message changes nothing: the rows say what was done already.

use contracts::{DeliveryStage, event, shipping::DeliveryEvent};
use messaging::{Delivered, Failure, Handler};
use service_kit::inbox;
use store::{SqlError, Store, WriteError};

use crate::{
    booking::{self, Release, ReleaseError},
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
            let (id, owner, drone) = (&event.delivery_id, &event.owner_id, &event.drone_id);
            booking::send(transaction, &tower, id, owner, drone.as_deref(), Some(trace))
        });
        self.settle(sent.await.map(drop))
    }

    /// Whoever moves drones looks at once; what the copy took in of a failed commit is forgotten.
    fn settle(&self, written: Result<(), WriteError<SqlError>>) -> Result<(), Failure> {
        match &written {
            Ok(()) => self.tower.ring(),
            Err(_) => self.tower.mark_stale(),
        }
        written.map_err(inbox::failure_of)
    }

    async fn release(&self, id: String) -> Result<(), Failure> {
        let tower = self.tower.clone();
        let released = self.store.write(move |transaction| {
            // A delivery that a carrier serves was never booked here: nothing to remember.
            if table::find_booking(transaction, &id)?.is_none() {
                return Ok(());
            }
            match booking::release(transaction, &tower, &id, Release::Undo) {
                Ok(()) => Ok::<_, SqlError>(()),
                // The package is on board: its delivery is over for others, the flight is not.
                Err(ReleaseError::PickedUp | ReleaseError::Lost) => Ok(()),
                Err(ReleaseError::Sql(error)) => Err(error),
            }
        });
        self.settle(released.await)
    }
}

impl Handler for Deliveries {
    async fn handle(&self, delivered: &Delivered) -> Result<(), Failure> {
        let message = &delivered.message;
        let event: DeliveryEvent = event::read(&message.kind, &message.body)
            .map_err(|it| inbox::unread(&it, it.is_unknown()))?;
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
