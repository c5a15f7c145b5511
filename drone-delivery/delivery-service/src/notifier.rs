//! Tells customers: reads `notifications`, looks up where each wants to hear of it, writes it down.
//!
//! Out of the box a word to a customer is one line in a file and one in the log; a mail or text
//! gateway would stand here. An address goes to that gateway alone, never into the file or a log:
//! what was written down could not be erased when the customer asks.

use base::Timestamp;
use contracts::{event, shipping::Notification};
use messaging::{Delivered, Failure, Handler};
use serde::Serialize;
use service_kit::inbox;
use store::Store;

use crate::{
    journal::Journal,
    store::{self as table, NotifyRequest},
};

/// Writes notifications down.
#[derive(Debug, Clone)]
pub(crate) struct Notifier {
    store: Store,
    journal: Journal,
}

/// A way to reach a customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Channel {
    Email,
    Sms,
}

/// One line of the file.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    delivery_id: &'a str,
    template: &'a str,
    occurred_at: Timestamp,
    channels: Vec<Channel>,
}

impl Notifier {
    pub(crate) fn new(store: Store, journal: Journal) -> Self {
        Self { store, journal }
    }
}

impl NotifyRequest {
    fn channels(&self) -> Vec<Channel> {
        let email = self.email_address.as_ref().map(|_| Channel::Email);
        let sms = self.sms.as_ref().map(|_| Channel::Sms);
        email.into_iter().chain(sms).collect()
    }
}

impl Handler for Notifier {
    async fn handle(&self, delivered: &Delivered) -> Result<(), Failure> {
        let message = &delivered.message;
        let notification: Notification = event::read(&message.kind, &message.body)
            .map_err(|it| inbox::unread(&it, it.is_unknown()))?;
        let id = notification.delivery_id.clone();
        let asked = self.store.read(move |reader| table::notify_request(reader, &id)).await;
        // Nobody asked, or the addresses were erased since: then there is nobody to tell.
        let Some(asked) = asked.map_err(inbox::failure_of)? else { return Ok(()) };
        let line = Line {
            delivery_id: &notification.delivery_id,
            template: &notification.template,
            occurred_at: notification.occurred_at,
            channels: asked.channels(),
        };
        self.journal.append(&line).await.map_err(|it| Failure::Unavailable(it.to_string()))?;
        tracing::info!(
            delivery = notification.delivery_id,
            template = notification.template,
            "customer notified"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use runtime::SystemClock;
    use serde_json::{Value, json};
    use store::{SqlError, StoreSettings};
    use telemetry::{Telemetry, TraceContext};

    use super::*;

    fn delivered(notification: &Notification) -> Delivered {
        let body = serde_json::to_vec(notification).unwrap();
        let message = messaging::Message {
            id: "d1/completed".to_owned(),
            source: "/services/delivery".to_owned(),
            kind: contracts::shipping::CUSTOMER_NOTIFIED.to_string(),
            subject: Some(notification.delivery_id.clone()),
            time: notification.occurred_at,
            key: Some(notification.delivery_id.clone()),
            content_type: "application/json".to_owned(),
            headers: std::collections::BTreeMap::new(),
            trace: None,
            body: body.into(),
        };
        Delivered {
            message,
            topic: contracts::topics::NOTIFICATIONS.to_owned(),
            partition: 0,
            offset: 0,
            attempt: 1,
            published_at: notification.occurred_at,
            trace: TraceContext::root(&mut base::Random::with_seed(1), false),
        }
    }

    #[tokio::test]
    async fn the_file_says_by_which_channels_a_customer_was_told_and_no_address() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("delivery.db");
        let (settings, clock) = (StoreSettings::default(), SystemClock::shared());
        let telemetry = Telemetry::disabled();
        let store = Store::open(path, table::MIGRATIONS, settings, clock, &telemetry).unwrap();
        let asked = store.write(|transaction| {
            let (email_address, sms) = ("a.customer@example.com", "+358 40 1234567");
            let request = NotifyRequest {
                email_address: Some(email_address.to_owned()),
                sms: Some(sms.to_owned()),
            };
            table::keep_notify_request(transaction, "d1", &request)
        });
        let _: () = asked.await.map_err(|it: store::WriteError<SqlError>| it).unwrap();
        let file = directory.path().join("notifications.jsonl");
        let notifier = Notifier::new(store, Journal::new(file.clone()));
        let notification = Notification {
            delivery_id: "d1".to_owned(),
            template: "completed".to_owned(),
            reason: Some("left with a.customer@example.com".to_owned()),
            occurred_at: Timestamp::from_millis(0),
        };
        notifier.handle(&delivered(&notification)).await.unwrap();
        let line: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let expected = json!({
            "deliveryId": "d1", "template": "completed", "channels": ["email", "sms"],
            "occurredAt": "1970-01-01T00:00:00.000Z",
        });
        assert_eq!(line, expected);
    }
}
