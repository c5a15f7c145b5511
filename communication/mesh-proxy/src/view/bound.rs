//! What may answer a request in the place of an endpoint: faults and rate limits.

use std::time::Duration;

use mesh_policy::{
    fault::{Abort, At, Call, Fault},
    rate::{RateKey, RateLimit},
};
use serde_json::{Value, json};

use super::millis;
use crate::{
    head::RequestHead,
    mesh::{Door, Mesh},
};

/// The faults that stand, those from files as well, each with the time that it has left.
#[must_use]
pub fn faults(mesh: &Mesh) -> Value {
    let files = mesh.policy().faults;
    let rows = mesh.faults();
    json!({"faults": rows.iter().map(|it| row(it, &files)).collect::<Vec<_>>()})
}

/// Those that may strike a request on its way to one of the services, in the order in which they are
/// drawn.
pub(super) fn faults_on(
    mesh: &Mesh,
    door: &Door,
    route: &str,
    services: &[String],
    head: &RequestHead,
) -> Vec<Value> {
    let files = mesh.policy().faults;
    let binds = |fault: &Fault| {
        services.iter().any(|destination| {
            let call = Call { called: door.service(), destination, route: Some(route) };
            fault.binds(call, head)
        })
    };
    mesh.faults().iter().filter(|it| binds(&it.0)).map(|it| row(it, &files)).collect()
}

fn row((fault, left): &(Fault, Option<Duration>), files: &[Fault]) -> Value {
    json!({
        "name": fault.name, "service": fault.service, "route": fault.route,
        "at": match fault.at {
            At::Caller => "caller",
            At::Service => "service",
        },
        "origin": if files.contains(fault) { "file" } else { "planted" },
        "share": fault.share,
        "delay_ms": fault.delay.map(millis),
        "abort": match fault.abort {
            Some(Abort::Status(status)) => json!({"status": status}),
            Some(Abort::ResetAfter(bytes)) => json!({"reset_after_bytes": bytes}),
            None => Value::Null,
        },
        "left_ms": left.map(millis),
    })
}

/// The rate limits that count a request by this route.
pub(super) fn limits_on(mesh: &Mesh, door: &Door, route: &str) -> Vec<Value> {
    let snapshot = mesh.snapshot();
    snapshot.limits(mesh.source(), door, route).map(|it| limit(&it.limit)).collect()
}

fn limit(limit: &RateLimit) -> Value {
    json!({
        "name": limit.name, "requests": limit.requests, "period_ms": millis(limit.period),
        "burst": limit.burst, "roles": limit.roles,
        "key": match &limit.key {
            RateKey::All => "all".to_owned(),
            RateKey::Client => "client".to_owned(),
            RateKey::Header(name) => format!("header {name}"),
        },
    })
}
