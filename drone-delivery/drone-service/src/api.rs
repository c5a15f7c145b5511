//! HTTP: bookings by delivery, drones by id, what an account used in a month.

mod bookings;
mod document;
mod drones;
mod samples;
mod schemas;

use axum::response::Response;
use base::{SharedClock, Timestamp};
use service_kit::{FieldError, MutatingRoute, Operation, Problem, Routes};
use store::{Store, StoredReply, Transaction};

pub(crate) use self::document::Document;
use crate::{domain::Known, metrics::FleetMetrics, store as table, tower::Tower};

/// What every handler shares.
#[derive(Debug, Clone)]
pub struct Shared {
    pub(crate) store: Store,
    pub(crate) tower: Tower,
    pub(crate) clock: SharedClock,
    pub(crate) metrics: FleetMetrics,
}

/// Every route of the service.
#[must_use]
pub fn routes(shared: Shared) -> Routes<()> {
    Routes::new()
        .get("/api/dronedeliveries/{id}", bookings::get_booking)
        .get("/api/dronedeliveries/utilization", bookings::utilization)
        .change(samples::put_booking(), bookings::put_booking)
        .change(samples::delete_booking(), bookings::delete_booking)
        .get("/api/drones", drones::list_drones)
        .get("/api/drones/{id}", drones::get_drone)
        .get("/api/drones/{id}/status", drones::get_drone_status)
        .get("/api/drones/{id}/plan", drones::get_drone_plan)
        .change(samples::put_drone(), drones::put_drone)
        .with_state(shared)
}

/// The rows of everything that changes something.
#[must_use]
pub fn rows() -> Vec<MutatingRoute> {
    vec![samples::put_booking(), samples::delete_booking(), samples::put_drone()]
}

impl Shared {
    /// Runs a change; then whoever moves drones looks at once.
    async fn run(
        &self,
        operation: Operation,
        body: &[u8],
        effect: impl FnOnce(&mut Transaction<'_>) -> Result<StoredReply, Problem> + Send + 'static,
    ) -> Result<Response, Problem> {
        let done = operation.run(&self.store, body, effect).await;
        match &done {
            // What the copy took in on the way may not have been committed.
            Err(problem) if problem.status.is_server_error() => self.tower.mark_stale(),
            Ok(_) | Err(_) => self.tower.ring(),
        }
        done
    }

    async fn drone(&self, id: String) -> Result<Known, Problem> {
        let found = self.store.read(move |reader| table::find_drone(reader, &id)).await?;
        found.ok_or_else(|| Problem::not_found("no drone has this id"))
    }

    fn now(&self) -> Timestamp {
        self.tower.now(self.clock.now())
    }
}

fn invalid(pointer: &str, detail: &str) -> Problem {
    let error = FieldError { pointer: pointer.to_owned(), detail: detail.to_owned() };
    Problem::invalid(vec![error])
}
