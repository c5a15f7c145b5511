//! Rows of everything that changes something, with samples for the conformance tests.

use http::Method;
use serde_json::{Value, json};
use service_kit::{Change, MutatingRoute, Repetition, Sample, SampleCall};

fn path(n: u32) -> String {
    format!("/api/thirdpartydeliveries/sample-{n}")
}

fn body(n: u32, weight: u32) -> Value {
    json!({
        "deliveryId": format!("sample-{n}"),
        "pickup": {"latitude": 60.17, "longitude": 24.94},
        "dropoff": {"latitude": 60.175, "longitude": 24.945},
        "weight": weight,
    })
}

fn book(n: u32) -> SampleCall {
    SampleCall::new(Method::PUT, path(n), Some(body(n, 40)))
}

fn release(n: u32) -> SampleCall {
    SampleCall::new(Method::DELETE, path(n), None)
}

pub(super) fn put() -> MutatingRoute {
    MutatingRoute {
        change: Change::Put,
        path: "/api/thirdpartydeliveries/{id}",
        repetition: Repetition::Keyed,
        sample: |n| Sample {
            before: Vec::new(),
            call: book(n),
            other_body: Some(body(n, 50)),
            undo: Some(release(n)),
        },
    }
}

pub(super) fn patch() -> MutatingRoute {
    MutatingRoute {
        change: Change::Patch,
        path: "/api/thirdpartydeliveries/{id}",
        repetition: Repetition::Keyed,
        sample: |n| {
            let moved = |latitude| {
                json!({
                    "pickup": {"latitude": 60.17, "longitude": 24.94},
                    "dropoff": {"latitude": latitude, "longitude": 24.945},
                    "revision": 1,
                })
            };
            Sample {
                before: vec![book(n)],
                call: SampleCall::new(Method::PATCH, path(n), Some(moved(60.18))),
                other_body: Some(moved(60.19)),
                undo: None,
            }
        },
    }
}

pub(super) fn delete() -> MutatingRoute {
    MutatingRoute {
        change: Change::Delete,
        path: "/api/thirdpartydeliveries/{id}",
        repetition: Repetition::Keyed,
        sample: |n| Sample {
            before: vec![book(n)],
            call: release(n),
            other_body: None,
            undo: None,
        },
    }
}
