//! Rows of everything that changes something, with samples for the conformance tests.

use http::Method;
use serde_json::{Value, json};
use service_kit::{Change, MutatingRoute, Repetition, Sample, SampleCall};

fn booking_path(n: u32) -> String {
    format!("/api/dronedeliveries/sample-{n}")
}

fn booking_body(n: u32, weight: f64) -> Value {
    json!({
        "deliveryId": format!("sample-{n}"),
        "pickup": {"latitude": 60.17, "longitude": 24.94},
        "dropoff": {"latitude": 60.175, "longitude": 24.945},
        "packageDetail": {"id": "p", "size": "Small", "weight": weight},
    })
}

fn book(n: u32, weight: f64) -> SampleCall {
    SampleCall::new(Method::PUT, booking_path(n), Some(booking_body(n, weight)))
}

fn release(n: u32) -> SampleCall {
    SampleCall::new(Method::DELETE, booking_path(n), None)
}

pub(super) fn put_booking() -> MutatingRoute {
    MutatingRoute {
        change: Change::Put,
        path: "/api/dronedeliveries/{id}",
        repetition: Repetition::Keyed,
        sample: |n| Sample {
            before: Vec::new(),
            call: book(n, 1.0),
            other_body: book(n, 2.0).body,
            undo: Some(release(n)),
        },
    }
}

pub(super) fn delete_booking() -> MutatingRoute {
    MutatingRoute {
        change: Change::Delete,
        path: "/api/dronedeliveries/{id}",
        repetition: Repetition::Keyed,
        sample: |n| Sample {
            before: vec![book(n, 1.0)],
            call: release(n),
            other_body: None,
            undo: None,
        },
    }
}

pub(super) fn put_drone() -> MutatingRoute {
    MutatingRoute {
        change: Change::Put,
        path: "/api/drones/{id}",
        repetition: Repetition::Keyed,
        sample: |n| {
            let body = |payload: u32| {
                let base = json!({"latitude": 60.17, "longitude": 24.94});
                json!({"base": base, "payloadKg": payload, "rangeM": 20_000})
            };
            let path = format!("/api/drones/sample-{n}");
            Sample {
                before: Vec::new(),
                call: SampleCall::new(Method::PUT, path, Some(body(5))),
                other_body: Some(body(6)),
                undo: None,
            }
        },
    }
}
