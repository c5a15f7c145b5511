//! What a body is called on the way in, and what a reader asks for on the way out.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use http::Method;
use serde_json::json;
use service_kit::{
    Change, JsonBody, MutatingRoute, Repetition, Routes, Sample, SampleCall, Service,
};

use crate::fixture::{Fixture, Reply, context, start};

fn row(change: Change) -> MutatingRoute {
    MutatingRoute {
        change,
        path: "/api/orders/{id}",
        repetition: Repetition::ProvenBy("this test has no effect"),
        sample: |_| Sample {
            before: Vec::new(),
            call: SampleCall::new(Method::POST, "/api/orders/x", None),
            other_body: None,
            undo: None,
        },
    }
}

async fn send(service: &Fixture, method: &str, content_type: &str, body: &str) -> Reply {
    let length = body.len();
    let head = format!("{method} /api/orders/x HTTP/1.1\r\nhost: x\r\nconnection: close");
    service.send(&format!("{head}\r\n{content_type}content-length: {length}\r\n\r\n{body}")).await
}

#[tokio::test]
async fn a_body_that_is_not_called_json_never_reaches_the_handler() {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let handler = move |_: JsonBody| async move {
        counted.fetch_add(1, Ordering::SeqCst);
    };
    let changes = [Change::Post, Change::Put, Change::Patch, Change::Delete];
    let routes = changes
        .into_iter()
        .fold(Routes::new(), |routes, change| routes.change(row(change), handler.clone()));
    let service = start(routes, |_| {});
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        // What a page of another origin may send without asking: these three, or no name at all.
        for content_type in [
            "",
            "content-type: text/plain\r\n",
            "content-type: text/plain; x=application/json\r\n",
            "content-type: application/x-www-form-urlencoded\r\n",
            "content-type: multipart/form-data; boundary=x\r\n",
            "content-type: application/json\r\ncontent-type: text/plain\r\n",
        ] {
            let refused = send(&service, method, content_type, "{}").await;
            assert_eq!(refused.status, 415, "{method} {content_type}");
            assert_eq!(refused.json()["code"], "unsupported_media_type", "{method}");
        }
    }
    assert_eq!(calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_body_in_a_syntax_of_json_is_taken_and_none_needs_no_name() {
    let handler = |body: JsonBody| async move { body.len().to_string() };
    let service = start(Routes::new().change(row(Change::Patch), handler), |_| {});
    for content_type in [
        "content-type: application/json\r\n",
        "Content-Type: application/json; charset=utf-8\r\n",
        "content-type: application/merge-patch+json\r\n",
    ] {
        let taken = send(&service, "PATCH", content_type, "{}").await;
        assert_eq!((taken.status, taken.body.as_str()), (200, "2"), "{content_type}");
    }
    assert_eq!(send(&service, "PATCH", "", "").await.body, "0");
}

#[tokio::test]
async fn metrics_come_in_the_form_that_the_reader_names() {
    let service = start(Routes::new().get("/api/orders/{id}", || async {}), |_| {});
    service.get("/api/orders/x").await;
    let scrape = async |accept: &str| {
        let head = "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close";
        service.send(&format!("{head}\r\n{accept}\r\n")).await
    };
    let old = "text/plain; version=0.0.4; charset=utf-8";
    let new = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    for (accept, expected) in [
        ("", old),
        ("accept: */*\r\n", old),
        ("accept: text/plain;version=0.0.4\r\n", old),
        ("accept: application/openmetrics-text\r\n", new),
        ("accept: text/plain;q=0.2\r\naccept: application/openmetrics-text;q=0.5\r\n", new),
        ("accept: application/openmetrics-text;q=0.2, text/plain;q=0.5\r\n", old),
    ] {
        let reply = scrape(accept).await;
        assert_eq!(reply.header("content-type"), Some(expected), "{accept}");
        assert_eq!(reply.header("vary"), Some("accept"));
        let counter = "# TYPE telemetry_series_dropped";
        let (named, ended) = if expected == old { ("_total", false) } else { ("", true) };
        assert!(reply.body.contains(&format!("{counter}{named} counter\n")), "{}", reply.body);
        assert_eq!(reply.body.ends_with("# EOF\n"), ended, "{accept}");
    }
}

#[tokio::test]
async fn a_served_document_says_what_the_kit_answers_wherever_it_is_looked_for() {
    let context = context(|_| {});
    let document = json!({"openapi": "3.1.0", "paths": {"/api/orders/{id}": {"get": {
        "responses": {"200": {}}}}}});
    let routes = Routes::new().get("/api/orders/{id}", || async {});
    let service = Service::new(routes).openapi(&document).openapi_at("/v3/api-docs");
    let bound = service.serve(&context).unwrap();
    let service = Fixture { bound, context };
    for path in ["/openapi.json", "/swagger/v1/swagger.json", "/v3/api-docs"] {
        let served = service.get(path).await.json();
        let get = &served["paths"]["/api/orders/{id}"]["get"];
        assert_eq!(get["parameters"][0]["name"], "id", "{path}");
        assert!(get["responses"]["503"]["content"]["application/problem+json"].is_object());
    }
}
