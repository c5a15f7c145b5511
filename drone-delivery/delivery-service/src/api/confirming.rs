//! The recipient confirms, and what stays of it.

use axum::{
    Json,
    extract::{Path, State},
    response::Response,
};
use base::Timestamp;
use contracts::{
    Body, ConfirmationType, Location, as_ordinal,
    document::{ConfirmationOrdinal, Text},
};
use http::Method;
use serde::Serialize;
use serde_json::json;
use service_kit::{
    Caller, Change, JsonBody, MutatingRoute, Operation, Problem, Repetition, RequestContext,
    Sample, SampleCall, reply,
};
use sha2::{Digest as _, Sha256};
use store::Transaction;
use utoipa::ToSchema;

use super::{Shared, change_delivery};
use crate::{domain::Evidence, events::Voice};

/// What the recipient gives.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "the schema of the document; the reader takes more spellings")]
pub(super) struct ConfirmationSchema {
    confirmation_type: ConfirmationOrdinal,
    /// Where it is given.
    geo_coordinates: Option<Location>,
    /// What is given: kept is its SHA-256 alone.
    confirmation_blob: Option<Text>,
}

/// What stays of a confirmation.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct EvidenceView {
    /// Ordinal: `FingerPrint` 0, Picture 1, Voice 2, None 3.
    #[serde(serialize_with = "as_ordinal")]
    #[schema(value_type = u8)]
    confirmation_type: ConfirmationType,
    /// When it came in.
    #[schema(value_type = String, format = DateTime)]
    confirmed_at: Timestamp,
    /// Where it was given, as whoever gave it says.
    geo_coordinates: Option<Location>,
    /// SHA-256 of what was given, in hexadecimal; the thing itself is not kept.
    sha256: Option<String>,
}

impl From<Evidence> for EvidenceView {
    fn from(evidence: Evidence) -> Self {
        Self {
            confirmation_type: evidence.kind,
            confirmed_at: evidence.at,
            geo_coordinates: evidence.place,
            sha256: evidence.hash,
        }
    }
}

/// Reads with what a delivery was confirmed; nothing as long as it was not.
#[utoipa::path(get, path = "/api/deliveries/{id}/confirmations", params(("id" = String, Path)),
    responses((status = 200, body = Vec<EvidenceView>), (status = 404, description = "no such delivery")))]
pub(super) async fn get_evidence(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    caller: Caller,
) -> Result<Json<Vec<EvidenceView>>, Problem> {
    let evidence = shared.find(&id, &caller).await?.evidence;
    Ok(Json(evidence.into_iter().map(Into::into).collect()))
}

/// The recipient confirms.
#[utoipa::path(post, path = "/api/deliveries/{id}/confirmations",
    request_body = ConfirmationSchema,
    responses((status = 200), (status = 404, description = "no such delivery"),
        (status = 409, description = "it is over, its package is not on its way yet, or another confirmation is required")))]
pub(super) async fn confirm(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    context: RequestContext,
    caller: Caller,
    operation: Operation,
    body: JsonBody,
) -> Result<Response, Problem> {
    let given = read(&body)?;
    shared.find(&id, &caller).await?;
    let audience = shared.audience;
    let effect = move |transaction: &mut Transaction<'_>| {
        let evidence = given.at(transaction.now());
        let voice = Voice::new(audience, &context.trace);
        change_delivery(transaction, &id, voice, |it| it.confirm(evidence))?;
        Ok(reply::empty(200))
    };
    shared.run(operation, &body, effect).await
}

/// What a recipient gives.
struct Given {
    kind: ConfirmationType,
    place: Option<Location>,
    hash: Option<String>,
}

impl Given {
    fn at(self, at: Timestamp) -> Evidence {
        Evidence { kind: self.kind, at, place: self.place, hash: self.hash }
    }
}

fn read(body: &JsonBody) -> Result<Given, Problem> {
    let value = body.parse()?;
    let content = Body::new(&value);
    let members = content.members();
    let hash = |text: String| {
        Sha256::digest(text.as_bytes()).iter().map(|it| format!("{it:02x}")).collect()
    };
    let given = Given {
        kind: members.word("confirmationType"),
        place: members.optional_inner("geoCoordinates").map(|it| it.as_location()),
        hash: members.optional_text("confirmationBlob").filter(|it| !it.is_empty()).map(hash),
    };
    content.finish(given).map_err(Problem::of_faults)
}

pub(super) fn row() -> MutatingRoute {
    MutatingRoute {
        change: Change::Post,
        path: "/api/deliveries/{id}/confirmations",
        // No call brings a package on its way: the conformance tests cannot get that far.
        repetition: Repetition::ProvenBy("a_confirmation_that_is_sent_again_and_again_counts_once"),
        sample: |n| {
            let body = |blob: &str| json!({"confirmationType": 0, "confirmationBlob": blob});
            let path = format!("/api/deliveries/sample-{n}/confirmations");
            Sample {
                before: Vec::new(),
                call: SampleCall::new(Method::POST, path, Some(body("x"))),
                other_body: Some(body("y")),
                undo: None,
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use base::{Direction, OperationKey};
    use runtime::{SystemClock, Tasks};
    use service_kit::{Call, Client, ServiceAddresses, ServiceConfig, ServiceContext};
    use store::{SqlError, StoreSettings};
    use telemetry::Telemetry;
    use tokio::task::JoinSet;

    use super::*;
    use crate::{
        DeliveryConfig,
        domain::{Milestone, Report},
        run, store as table,
    };

    const PATH: &str = "/api/deliveries/d1/confirmations";

    fn post(kind: u8, key: &str) -> Call {
        let body = json!({"confirmationType": kind, "confirmationBlob": "print",
            "geoCoordinates": {"latitude": 60.18, "longitude": 24.95}});
        let (saga, step) = (key.to_owned(), "confirm".to_owned());
        let key = OperationKey { saga, step, direction: Direction::Do, revision: 0 };
        Call::new("delivery", Method::POST, PATH).json(&body).operation(key, None)
    }

    #[tokio::test]
    async fn a_confirmation_that_is_sent_again_and_again_counts_once() {
        let directory = tempfile::tempdir().unwrap();
        let config = ServiceConfig::new("delivery", "delivery-1", directory.path());
        let clock = SystemClock::shared();
        let context = ServiceContext::new(config, clock, Telemetry::disabled(), Tasks::new());
        let store = context.open_store(table::MIGRATIONS, StoreSettings::default()).unwrap();
        let bound = run(context, DeliveryConfig::default()).await.unwrap();
        let services = ServiceAddresses::new().with("delivery", bound.http_url());
        let client = Client::new(services, Duration::from_secs(20), Telemetry::disabled());
        let status = async |call| client.call(call).await.unwrap().status.as_u16();
        let body = json!({"owner": {"userId": "u", "accountId": "a"}, "confirmationRequired": 0,
            "pickup": {"latitude": 60.17, "longitude": 24.94},
            "dropoff": {"latitude": 60.18, "longitude": 24.95}});
        let make = Call::new("delivery", Method::PUT, "/api/deliveries/d1").json(&body);
        assert_eq!(status(make).await, 201);
        assert_eq!(status(post(0, "early")).await, 409, "its package is not on its way");
        let arrived = store.write(|it| {
            let mut delivery = table::find(it, "d1")?.unwrap();
            delivery.report(&Report {
                drone_id: None,
                carrier: None,
                milestone: Milestone::DroppedOff,
                sequence: 1,
                at: it.now(),
                location: Location::default(),
                pickup_eta: None,
                delivery_eta: None,
            });
            table::update(it, &delivery)
        });
        let arrived: Result<(), store::WriteError<SqlError>> = arrived.await;
        arrived.unwrap();
        assert_eq!(status(post(2, "wrong")).await, 409, "something else is required");
        let mut at_once = JoinSet::new();
        for _ in 0..16 {
            let client = client.clone();
            at_once.spawn(async move { client.call(post(0, "right")).await.unwrap().status });
        }
        assert!(at_once.join_all().await.iter().all(|it| it.as_u16() == 200));
        assert_eq!(status(post(0, "late")).await, 409, "it is over");
        let ended = store.read(|it| table::events(it, "d1", 0)).await.unwrap();
        let completed = ended.iter().filter(|it| it.stage.is_end()).count();
        assert_eq!(completed, 1, "{ended:?}");
        let shown = client.call(Call::get("delivery", PATH)).await.unwrap().json().unwrap();
        let sha256 = "ce953a0eb08246617b7f849486c4b26a7af37e9d2e8f0e13b3ae1bf0da8a70a2";
        assert_eq!(shown[0]["sha256"], sha256);
        assert_eq!(
            (&shown[0]["confirmationType"], &shown[0]["geoCoordinates"]["latitude"]),
            (&json!(0), &json!(60.18))
        );
    }
}
