//! What History hears: the stages of deliveries. It says nothing.

use contracts::{event, shipping::DeliveryEvent};
use messaging::{Delivered, Failure, Handler};
use service_kit::inbox;
use store::Store;

use crate::store as table;

/// The role, as it names its group.
pub(crate) const ROLE: &str = "history";

/// Writes down what it hears.
#[derive(Debug, Clone)]
pub(crate) struct Archive {
    store: Store,
}

impl Archive {
    pub(crate) const fn new(store: Store) -> Self {
        Self { store }
    }
}

impl Handler for Archive {
    async fn handle(&self, delivered: &Delivered) -> Result<(), Failure> {
        let message = &delivered.message;
        let event: DeliveryEvent = event::read(&message.kind, &message.body)
            .map_err(|it| inbox::unread(&it, it.is_unknown()))?;
        let kept = self.store.write(move |it| table::keep(it, &event));
        kept.await.map_err(inbox::failure_of)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use base::{Random, Timestamp};
    use contracts::topics;
    use messaging::Message;
    use runtime::SystemClock;
    use telemetry::TraceContext;

    use super::*;
    use crate::{
        domain::tests::event,
        store::tests::{ids, open},
    };

    fn delivered(body: Vec<u8>) -> Delivered {
        let now = Timestamp::from_millis(1);
        Delivered {
            message: Message {
                id: "m1".to_owned(),
                source: "/test".to_owned(),
                kind: String::new(),
                subject: None,
                time: now,
                key: None,
                content_type: "application/json".to_owned(),
                headers: BTreeMap::new(),
                trace: None,
                body: body.into(),
            },
            topic: topics::DELIVERY_EVENTS.into(),
            partition: 0,
            offset: 0,
            attempt: 1,
            published_at: now,
            trace: TraceContext::root(&mut Random::with_seed(1), false),
            stopping: runtime::Shutdown::never(),
        }
    }

    #[tokio::test]
    async fn the_same_event_twice_is_one_row() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(&directory, SystemClock::shared());
        let archive = Archive::new(store.clone());
        let said = delivered(serde_json::to_vec(&event("d1", 1, 10)).unwrap());
        for _ in 0..2 {
            assert_eq!(archive.handle(&said).await, Ok(()));
        }
        assert_eq!(ids(&store, "d1").await, ["d1/1"]);
    }

    #[tokio::test]
    async fn an_event_of_another_version_is_rejected_though_its_body_can_be_read() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(&directory, SystemClock::shared());
        let archive = Archive::new(store.clone());
        let mut said = delivered(serde_json::to_vec(&event("d1", 1, 10)).unwrap());
        said.message.kind = "com.fabrikam.shipping.DeliveryCompleted.v2".to_owned();
        let Err(Failure::Rejected(reason)) = archive.handle(&said).await else { panic!("kept") };
        assert_eq!(reason, "version 2 of event `DeliveryCompleted` is not known, only version 1");
        assert_eq!(ids(&store, "d1").await, [""; 0]);
        said.message.kind = "com.fabrikam.shipping.DeliveryCompleted.v1".to_owned();
        assert_eq!(archive.handle(&said).await, Ok(()));
    }

    #[tokio::test]
    async fn an_event_that_nobody_told_us_of_is_passed_over_though_its_body_can_be_read() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(&directory, SystemClock::shared());
        let archive = Archive::new(store.clone());
        let mut said = delivered(serde_json::to_vec(&event("d1", 1, 10)).unwrap());
        said.message.kind = "com.fabrikam.shipping.DeliveryDelayed.v1".to_owned();
        assert!(matches!(archive.handle(&said).await, Err(Failure::Unknown(_))));
        assert_eq!(ids(&store, "d1").await, [""; 0]);
    }

    #[tokio::test]
    async fn a_body_that_is_no_event_is_rejected() {
        let directory = tempfile::tempdir().unwrap();
        let archive = Archive::new(open(&directory, SystemClock::shared()));
        for body in ["", "{}", "[1]"] {
            let handled = archive.handle(&delivered(body.into())).await;
            assert!(matches!(handled, Err(Failure::Rejected(_))), "{body}: {handled:?}");
        }
    }
}
