//! The rows of everything that changes something.
//!
//! A request is repeated under a public key, not under a saga's; cancel and move are repeated
//! freely: of a delivery that is called off there is nothing more to call off, and a move says where
//! to, not how far. The tests named here show it.

use http::Method;
use serde_json::{Value, json};
use service_kit::{Change, MutatingRoute, Repetition, Sample, SampleCall};

pub(super) fn request() -> Value {
    json!({"ownerId": "o", "pickupLocation": "p", "dropOffLocation": "d", "deadline": "",
        "pickupTime": "2026-01-01T00:00:00Z", "expedited": false, "confirmationRequired": "None",
        "packageInfo": {"packageId": "x", "size": "Small", "weight": 1}})
}

fn sample(method: Method, path: &str, body: Option<Value>) -> Sample {
    let call = SampleCall::new(method, path, body);
    Sample { before: Vec::new(), call, other_body: None, undo: None }
}

pub(super) fn post() -> MutatingRoute {
    MutatingRoute {
        change: Change::Post,
        path: "/api/deliveryrequests",
        repetition: Repetition::ProvenBy("the_same_key_fifty_times_at_once_makes_one_delivery"),
        sample: |_| sample(Method::POST, "/api/deliveryrequests", Some(request())),
    }
}

pub(super) fn patch() -> MutatingRoute {
    MutatingRoute {
        change: Change::Patch,
        path: "/api/deliveryrequests/{id}",
        repetition: Repetition::ProvenBy("a_move_that_is_asked_again_says_the_same_places_again"),
        sample: |n| sample(Method::PATCH, &format!("/api/deliveryrequests/{n}"), Some(request())),
    }
}

pub(super) fn delete() -> MutatingRoute {
    MutatingRoute {
        change: Change::Delete,
        path: "/api/deliveryrequests/{id}",
        repetition: Repetition::ProvenBy(
            "each_cancel_that_is_asked_for_is_answered_and_one_that_comes_twice_is_one",
        ),
        sample: |n| sample(Method::DELETE, &format!("/api/deliveryrequests/{n}"), None),
    }
}
