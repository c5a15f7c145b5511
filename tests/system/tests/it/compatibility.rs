//! What clients of the original send and expect: cases as data, in the order in which they build on each other.

use http::Method;
use serde_json::Value;

use crate::program::System;

/// Whether everything in `wanted` stands in `found`; members beyond it are fine.
fn holds(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => {
            wanted.iter().all(|(key, value)| found.get(key).is_some_and(|it| holds(it, value)))
        }
        (Value::Number(found), Value::Number(wanted)) => found.as_f64() == wanted.as_f64(),
        (found, wanted) => found == wanted,
    }
}

#[tokio::test]
async fn clients_of_the_original_are_served() {
    let system = System::up(&[]);
    let roles = system.roles();
    let offset_of = |service: &str| {
        let role = roles.iter().find(|it| it["role"] == service);
        u16::try_from(role.unwrap()["offset"].as_u64().unwrap()).unwrap()
    };
    let cases: Vec<Value> = serde_json::from_str(include_str!("compatibility.json")).unwrap();
    let mut failures = Vec::new();
    for case in &cases {
        let (name, call, expect) = (&case["name"], &case["call"], &case["expect"]);
        let (service, path) = (call["service"].as_str().unwrap(), call["path"].as_str().unwrap());
        let url = system.url(offset_of(service), path);
        let method: Method = call["method"].as_str().unwrap().parse().unwrap();
        let body = match (&call["body"], call["text"].as_str()) {
            (_, Some(text)) => text.to_owned(),
            (Value::Null, None) => String::new(),
            (body, None) => body.to_string(),
        };
        let headers = [("content-type", "application/json")];
        let reply = system.http.send(method, &url, &headers, body).await;
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        let same_status =
            reply.status.as_u16() == u16::try_from(expect["status"].as_u64().unwrap()).unwrap();
        let same_body = expect.get("body").is_none_or(|it| holds(&reply.json(), it));
        let same_text = expect["text"].as_str().is_none_or(|it| text == it);
        let same_headers = expect["headers"].as_object().is_none_or(|wanted| {
            wanted
                .iter()
                .all(|(header, value)| reply.header(header).starts_with(value.as_str().unwrap()))
        });
        if !(same_status && same_body && same_text && same_headers) {
            failures.push(format!("{name}: {} {text}", reply.status));
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {} cases:\n{}",
        failures.len(),
        cases.len(),
        failures.join("\n")
    );
}
