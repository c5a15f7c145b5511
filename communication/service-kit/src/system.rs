//! What every service answers besides its work: health, metrics, its OpenAPI document.

use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header, request::Parts};
use telemetry::{Telemetry, metrics::Exposition};

use crate::health::Health;

/// Who can reach a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Audience {
    /// Those who run the system: they see every page.
    #[default]
    Operators,
    /// Anybody: they learn whether the process lives, and no more.
    Public,
}

/// An OpenAPI document, as it is sent.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    pub(crate) text: Bytes,
    /// Where it is served besides the usual places.
    pub(crate) path: Option<&'static str>,
}

impl Document {
    fn is_at(&self, path: &str) -> bool {
        // The second is where the original served it.
        matches!(path, "/openapi.json" | "/swagger/v1/swagger.json") || self.path == Some(path)
    }
}

/// The pages of one process.
#[derive(Debug, Clone)]
pub(crate) struct System {
    pub(crate) health: Health,
    pub(crate) telemetry: Telemetry,
    pub(crate) openapi: Option<Document>,
    pub(crate) audience: Audience,
}

impl System {
    /// Whether a request of this method may be for one of the pages.
    pub(crate) fn may_answer(method: &Method) -> bool {
        *method == Method::GET || *method == Method::HEAD
    }

    /// `None` when the path is not one of ours.
    pub(crate) async fn answer(&self, request: &Parts) -> Option<Response> {
        let (method, uri) = (&request.method, &request.uri);
        if !Self::may_answer(method) {
            return None;
        }
        if self.audience == Audience::Public {
            // Without the query: it would name what the process depends on.
            let is_health = matches!(uri.path(), "/livez" | "/readyz" | "/healthz");
            return if is_health { self.health.answer(uri.path(), None).await } else { None };
        }
        match uri.path() {
            "/metrics" => Some(self.metrics(&request.headers)),
            path if self.openapi.as_ref().is_some_and(|it| it.is_at(path)) => {
                Some(page("application/json", self.openapi.as_ref()?.text.clone()))
            }
            path => self.health.answer(path, uri.query()).await,
        }
    }

    fn metrics(&self, fields: &HeaderMap) -> Response {
        let accept = fields.get_all(header::ACCEPT).iter().filter_map(|it| it.to_str().ok());
        let form = Exposition::accepted(&accept.collect::<Vec<_>>().join(","));
        let text = self.telemetry.metrics().encode_as(form);
        let mut response = page(form.content_type(), text.into());
        response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
        response
    }
}

fn page(content_type: &'static str, body: Bytes) -> Response {
    let mut response = body.into_response();
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}
