//! The steps of the workflows, as the program defines them: the rows of the failure tables.

use scheduler_service::{Bounds, definitions};
use serde_json::Value;

/// A step, and the route that it calls.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) step: String,
    pub(crate) role: String,
    pub(crate) route: String,
    /// The path that it calls, with what stands in the input for its last part.
    path: String,
    /// Whether something can undo it: then it holds something.
    pub(crate) is_undone: bool,
}

impl Row {
    /// The path that it calls for a delivery with such a package.
    pub(crate) fn path(&self, id: &str, package: &str) -> String {
        let (collection, names) = self.path.rsplit_once('/').unwrap();
        let last = match names {
            "{{input.deliveryId}}" => id,
            "{{input.packageInfo.packageId}}" => package,
            other => panic!("{}: what is {other} of a delivery?", self.step),
        };
        format!("{collection}/{last}")
    }
}

/// The steps of a workflow.
pub(crate) fn rows(workflow: &str) -> Vec<Row> {
    let bounds = Bounds {
        complete_by_ms: 4_000,
        cancel_complete_by_ms: 60_000,
        hand_over_complete_by_ms: 60_000,
        undo_attempts_max: 3,
        call_timeout_ms: 2_000,
    };
    let all = definitions(bounds).unwrap();
    let found = all.iter().find(|it| it.name() == workflow).unwrap();
    let document = serde_json::to_value(found.document()).unwrap();
    document["steps"].as_array().unwrap().iter().map(row).collect()
}

fn row(step: &Value) -> Row {
    let path = step["call"]["path"].as_str().unwrap().split('?').next().unwrap();
    let collection = &path[..path.rfind('/').unwrap()];
    let method = step["call"]["method"].as_str().unwrap();
    Row {
        step: step["name"].as_str().unwrap().to_owned(),
        role: step["service"].as_str().unwrap().to_owned(),
        route: format!("{method} {collection}/{{id}}"),
        path: path.to_owned(),
        is_undone: !step["undo"].is_null(),
    }
}

#[test]
fn the_rows_are_the_steps_of_the_definitions() {
    let routes = |workflow| rows(workflow).into_iter().map(|it| it.route).collect::<Vec<_>>();
    let rest = ["DELETE /api/deliveries/{id}", "DELETE /api/packages/{id}"];
    let drone = ["DELETE /api/dronedeliveries/{id}"];
    let carrier = ["DELETE /api/thirdpartydeliveries/{id}"];
    assert_eq!(routes("cancel"), [&drone[..], &rest].concat());
    assert_eq!(routes("cancel-carrier"), [&carrier[..], &rest].concat());
    let (drone, carrier) =
        ("PUT /api/dronedeliveries/{id}", "PATCH /api/thirdpartydeliveries/{id}");
    let patch = "PATCH /api/deliveries/{id}";
    assert_eq!(routes("reschedule"), [drone, patch]);
    assert_eq!(routes("reschedule-carrier"), [carrier, patch]);
    assert_eq!(routes("create").len(), 6);
}
