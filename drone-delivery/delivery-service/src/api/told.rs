//! What customers were told, and how one says that it is enough.

use axum::{
    Json,
    extract::{Path, State},
    response::{Html, IntoResponse as _, Response},
};
use base::{Code, Timestamp};
use http::StatusCode;
use notifications::Entry;
use serde::Serialize;
use service_kit::Problem;
use utoipa::ToSchema;

use super::Shared;

/// A word to a customer on one channel.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ToldView {
    /// Which text.
    template: String,
    /// `file`, `email`, `sms` or `webhook`.
    channel: &'static str,
    /// `waiting`, `sent`, `bounced`, `given-up`, `unaddressed` or `suppressed`.
    state: &'static str,
    /// Tries so far.
    attempts: u32,
    /// Why it was not taken; never an address.
    outcome: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    occurred_at: Timestamp,
}

impl From<Entry> for ToldView {
    fn from(entry: Entry) -> Self {
        Self {
            template: entry.template,
            channel: entry.channel.as_str(),
            state: entry.state.as_str(),
            attempts: entry.attempts,
            outcome: entry.outcome,
            occurred_at: entry.occurred_at,
        }
    }
}

/// Reads what was said about a delivery, also about one that was never made.
#[utoipa::path(get, path = "/api/deliveries/{id}/notifications",
    params(("id" = String, Path)), responses((status = 200, body = Vec<ToldView>)))]
pub(super) async fn list_told(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<Vec<ToldView>>, Problem> {
    let entries = shared.outbox.entries(&id).await?;
    Ok(Json(entries.into_iter().map(ToldView::from).collect()))
}

/// Nothing of the page depends on the link: programs that look at links learn and change nothing.
const PAGE: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
    <meta name=\"viewport\" content=\"width=device-width\"><title>Drone Delivery</title>\
    <form method=\"post\"><p>No more messages about deliveries to this address?</p>\
    <button>No more messages</button></form></html>";

/// Asks whether it is enough: a mail program may follow links, so that following one changes nothing.
#[utoipa::path(get, path = "/api/notifications/unsubscribe/{token}",
    params(("token" = String, Path)), responses((status = 200, description = "a page with a button")))]
pub(super) async fn ask_unsubscribe(Path(_): Path<String>) -> Response {
    Html(PAGE).into_response()
}

/// It is enough: nothing more is sent to the address that the message went to.
#[utoipa::path(post, path = "/api/notifications/unsubscribe/{token}",
    params(("token" = String, Path)),
    responses((status = 204, description = "nothing more is sent, if there was such a message")))]
pub(super) async fn unsubscribe(
    State(shared): State<Shared>,
    Path(token): Path<String>,
) -> Result<StatusCode, Problem> {
    let written = shared.outbox.unsubscribe(&token).await;
    written.map_err(|it| Problem::of(Code::StoreUnavailable, it.to_string()))?;
    Ok(StatusCode::NO_CONTENT)
}
