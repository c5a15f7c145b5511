//! What Ingestion says (requests, onto the log) and hears (what became of them).

use std::collections::BTreeMap;

use base::Timestamp;
use contracts::{
    event::{self, Event, source_of},
    shipping::{DeliveryEvent, OPERATION, Operation, RequestEvent},
    topics,
};
use messaging::{Delivered, Failure, Handler, Message, Messaging, PublishError, Receipt};
use serde::Serialize;
use service_kit::inbox;
use store::Store;
use telemetry::TraceContext;

use crate::store as table;

/// The role, as it names itself in messages.
pub(crate) const ROLE: &str = "ingestion";

/// One request for the log.
#[derive(Debug)]
pub(crate) struct Request<'a, B> {
    pub(crate) operation: Operation,
    pub(crate) delivery_id: &'a str,
    /// Stable over repetitions of the same request.
    pub(crate) message_id: String,
    pub(crate) body: &'a B,
    pub(crate) trace: TraceContext,
    pub(crate) now: Timestamp,
}

/// Puts a request onto the log and waits until it is on stable storage.
pub(crate) async fn publish<B: Serialize>(
    messaging: &Messaging,
    request: Request<'_, B>,
) -> Result<Receipt, PublishError> {
    let Request { operation, delivery_id, message_id, body, trace, now } = request;
    // Text, numbers and options always serialize.
    let body = serde_json::to_vec(body).unwrap_or_default();
    let message = Message {
        id: message_id,
        source: source_of(ROLE),
        kind: operation.event_type().to_string(),
        subject: Some(delivery_id.to_owned()),
        time: now,
        key: Some(delivery_id.to_owned()),
        content_type: "application/json".to_owned(),
        headers: BTreeMap::from([(OPERATION.to_owned(), operation.as_str().to_owned())]),
        trace: Some(trace),
        body: body.into(),
    };
    messaging.publish(topics::DELIVERY_REQUESTS, message).await
}

/// Keeps the read model up to date. Both topics carry the delivery's id as their key, and folding
/// the same event twice gives the same row.
#[derive(Debug, Clone)]
pub(crate) struct ReadModel {
    store: Store,
}

impl ReadModel {
    pub(crate) const fn new(store: Store) -> Self {
        Self { store }
    }
}

impl Handler for ReadModel {
    async fn handle(&self, delivered: &Delivered) -> Result<(), Failure> {
        let written = if *delivered.topic == *topics::REQUEST_EVENTS {
            let event: RequestEvent = read(delivered)?;
            self.store.write(move |it| {
                // The answer to a cancel or a move of an id that nobody asked for makes no request.
                let answers = event.operation != Operation::Delivery.as_str();
                if answers && table::find(it, &event.delivery_id)?.is_none() {
                    return Ok(());
                }
                table::fold(it, (&event.delivery_id, None), event.occurred_at, |record| {
                    record.heard_of_request(&event);
                })
            })
        } else {
            let event: DeliveryEvent = read(delivered)?;
            return self
                .store
                .write(move |it| {
                    let of = (event.delivery_id.as_str(), Some(event.owner_id.as_str()));
                    table::fold(it, of, event.occurred_at, |record| {
                        record.heard_of_delivery(&event);
                    })
                })
                .await
                .map_err(inbox::failure_of);
        };
        written.await.map_err(inbox::failure_of)
    }
}

fn read<E: Event>(delivered: &Delivered) -> Result<E, Failure> {
    let message = &delivered.message;
    event::read(&message.kind, &message.body).map_err(|it| inbox::unread(&it, it.is_unknown()))
}
