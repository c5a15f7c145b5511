//! Watches over requests that were accepted and are not begun: 202 promised that they end.
//!
//! One is said once. Of many at once, as when no Scheduler runs, the oldest are said first, a
//! bounded number at each look.

use std::{collections::BTreeMap, time::Duration};

use base::Timestamp;
use contracts::{
    event::source_of,
    shipping::{Alert, OPERATOR_ALERTED},
    topics,
};
use runtime::Shutdown;
use store::{OutboxMessage, SqlError, Store, WriteError};
use tokio::time::sleep;

use crate::{events::ROLE, store as table};

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Requests that one look says something of.
const SAID_MAX: u32 = 20;

/// Looks again and again until the service stops.
pub(crate) async fn watch(store: Store, stuck_after: Duration, shutdown: Shutdown) {
    while shutdown.or_cancel(sleep(LOOK_EVERY)).await.is_some() {
        if let Err(error) = look(&store, stuck_after).await {
            tracing::debug!(%error, "nothing was looked at this time");
        }
    }
}

async fn look(store: &Store, stuck_after: Duration) -> Result<(), WriteError<SqlError>> {
    let waits_ms = i64::try_from(stuck_after.as_millis()).unwrap_or(i64::MAX);
    let written = store.write(move |transaction| {
        let now = transaction.now();
        let before = Timestamp::from_millis(now.as_millis().saturating_sub(waits_ms));
        for (id, since) in table::take_stuck(transaction, before, SAID_MAX)? {
            tracing::warn!(delivery = id, %since, "a request is not begun");
            transaction.push(&alert(&id, now)?)?;
        }
        Ok(())
    });
    written.await
}

fn alert(id: &str, now: Timestamp) -> Result<OutboxMessage, SqlError> {
    let alert = Alert {
        severity: "critical".to_owned(),
        service: ROLE.to_owned(),
        delivery_id: Some(id.to_owned()),
        reason: Some("requests are not begun".to_owned()),
        text: format!("request {id} was accepted and is not begun: do Schedulers run?"),
        occurred_at: now,
    };
    let body = serde_json::to_vec(&alert).map_err(|it| SqlError::Statement {
        message: format!("an alert cannot be written: {it}"),
    })?;
    Ok(OutboxMessage {
        topic: topics::ALERTS.to_owned(),
        key: Some(id.to_owned()),
        id: format!("{id}/not-begun"),
        kind: OPERATOR_ALERTED.to_string(),
        source: source_of(ROLE),
        subject: Some(id.to_owned()),
        time: now,
        headers: BTreeMap::new(),
        traceparent: None,
        tracestate: None,
        body,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use base::ManualClock;
    use contracts::shipping::{Operation, RequestEvent, RequestEventKind};
    use store::StoreSettings;
    use telemetry::Telemetry;

    use super::*;
    use crate::store::Accepted;

    #[tokio::test]
    async fn a_request_that_is_not_begun_is_said_once_and_one_that_was_begun_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
        let (settings, quiet) = (StoreSettings::default(), Telemetry::disabled());
        let path = directory.path().join("ingestion.db");
        let store = Store::open(path, table::MIGRATIONS, settings, clock.clone(), &quiet).unwrap();
        let scheduled = RequestEvent {
            delivery_id: "begun".to_owned(),
            kind: RequestEventKind::RequestScheduled,
            operation: Operation::Delivery.as_str().to_owned(),
            operation_id: None,
            failed_step: None,
            reason: None,
            occurred_at: Timestamp::from_millis(5),
        };
        let made = store.write(move |it| {
            for id in ["begun", "stuck", "asked"] {
                let (owner_id, position) = ("me", (0, 1));
                let row = Accepted { id, owner_id, position, counts: false, pickup_at: None };
                table::accept(it, &row)?;
            }
            // What a client asks for is no sign of a Scheduler.
            table::ask(it, "asked", "m1".to_owned(), "cancel")?;
            table::fold(it, ("begun", None), scheduled.occurred_at, |it| {
                it.heard_of_request(&scheduled)
            })
        });
        let made: Result<(), WriteError<SqlError>> = made.await;
        made.unwrap();
        let wait = Duration::from_secs(60);
        for (after, expected) in
            [(60, &[][..]), (1, &["asked", "stuck"]), (600, &["asked", "stuck"])]
        {
            clock.advance(Duration::from_secs(after));
            look(&store, wait).await.unwrap();
            let said = store.read(|it| it.outbox(0, 100)).await.unwrap();
            let said: Vec<_> = said.iter().filter_map(|it| it.1.key.as_deref()).collect();
            assert_eq!(said, expected, "after {after} s");
        }
    }
}
