//! The rows of everything that changes something, each with a sample for the conformance tests.

use http::Method;
use serde_json::{Value, json};
use service_kit::{Change, MutatingRoute, Repetition, Sample, SampleCall};

fn path(n: u32, rest: &str) -> String {
    format!("/api/deliveries/sample-{n}{rest}")
}

fn point(longitude: f64) -> Value {
    json!({"latitude": 60.17, "longitude": longitude, "altitude": 0})
}

fn delivery(n: u32, dropoff: f64) -> SampleCall {
    let body = json!({"id": format!("sample-{n}"), "owner": {"userId": "u", "accountId": "a"},
        "pickup": point(24.94), "dropoff": point(dropoff), "deadline": "", "expedited": false,
        "confirmationRequired": 0, "droneId": "drone-0001"});
    SampleCall::new(Method::PUT, path(n, ""), Some(body))
}

fn unmake(n: u32) -> SampleCall {
    SampleCall::new(Method::DELETE, path(n, "?compensate=true"), None)
}

pub(super) fn put() -> MutatingRoute {
    MutatingRoute {
        change: Change::Put,
        path: "/api/deliveries/{id}",
        repetition: Repetition::Keyed,
        sample: |n| Sample {
            before: Vec::new(),
            call: delivery(n, 24.95),
            other_body: delivery(n, 24.96).body,
            undo: Some(unmake(n)),
        },
    }
}

pub(super) fn patch() -> MutatingRoute {
    MutatingRoute {
        change: Change::Patch,
        path: "/api/deliveries/{id}",
        repetition: Repetition::Keyed,
        sample: |n| {
            let body = |dropoff| json!({"pickup": point(24.94), "dropoff": point(dropoff)});
            Sample {
                before: vec![delivery(n, 24.95)],
                call: SampleCall::new(Method::PATCH, path(n, ""), Some(body(24.97))),
                other_body: Some(body(24.98)),
                undo: None,
            }
        },
    }
}

pub(super) fn delete() -> MutatingRoute {
    MutatingRoute {
        change: Change::Delete,
        path: "/api/deliveries/{id}",
        repetition: Repetition::Keyed,
        sample: |n| Sample {
            before: vec![delivery(n, 24.95)],
            call: SampleCall::new(Method::DELETE, path(n, ""), None),
            other_body: None,
            undo: None,
        },
    }
}

pub(super) fn hand_over() -> MutatingRoute {
    MutatingRoute {
        change: Change::Put,
        path: "/api/deliveries/{id}/carrier",
        repetition: Repetition::Keyed,
        sample: |n| {
            let body = |booked: bool| Some(json!({"booked": booked}));
            Sample {
                before: vec![delivery(n, 24.95)],
                call: SampleCall::new(Method::PUT, path(n, "/carrier"), body(true)),
                other_body: body(false),
                undo: None,
            }
        },
    }
}

pub(super) fn notify_me() -> MutatingRoute {
    MutatingRoute {
        change: Change::Post,
        path: "/api/deliveries/{id}/notifymerequests",
        repetition: Repetition::Keyed,
        sample: |n| {
            let body = |address: &str| json!({"emailAddress": address});
            let path = path(n, "/notifymerequests");
            Sample {
                before: vec![delivery(n, 24.95)],
                call: SampleCall::new(Method::POST, path, Some(body("a@example.org"))),
                other_body: Some(body("b@example.org")),
                undo: None,
            }
        },
    }
}

pub(super) fn forget_me() -> MutatingRoute {
    MutatingRoute {
        change: Change::Delete,
        path: "/api/deliveries/{id}/notifymerequests",
        repetition: Repetition::Keyed,
        sample: |n| Sample {
            before: vec![delivery(n, 24.95)],
            call: SampleCall::new(Method::DELETE, path(n, "/notifymerequests"), None),
            other_body: None,
            undo: None,
        },
    }
}

pub(super) fn unsubscribe() -> MutatingRoute {
    MutatingRoute {
        change: Change::Post,
        path: "/api/notifications/unsubscribe/{token}",
        repetition: Repetition::ProvenBy(
            "who_unsubscribes_by_the_link_of_a_mail_gets_no_further_mail",
        ),
        sample: |n| Sample {
            before: Vec::new(),
            call: SampleCall::new(
                Method::POST,
                format!("/api/notifications/unsubscribe/{n:032x}"),
                None,
            ),
            other_body: None,
            undo: None,
        },
    }
}
