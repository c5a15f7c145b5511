//! What clients of the original send and expect: cases as data, in the order in which they build on each other.

use http::Method;
use serde_json::Value;

use crate::program::System;

fn port_of(service: &str) -> u16 {
    match service {
        "gateway" => 80,
        "ingestion" => 101,
        "scheduler" => 102,
        "supervisor" => 103,
        "account" => 104,
        "delivery" => 105,
        "package" => 106,
        "drone" => 107,
        "third-party-transport" => 108,
        "history" => 109,
        other => panic!("no port is known for {other}"),
    }
}

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
    let cases: Vec<Value> = serde_json::from_str(include_str!("compatibility.json")).unwrap();
    let mut failures = Vec::new();
    for case in &cases {
        let (name, call, expect) = (&case["name"], &case["call"], &case["expect"]);
        let url =
            system.url(port_of(call["service"].as_str().unwrap()), call["path"].as_str().unwrap());
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
