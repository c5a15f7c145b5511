//! Fault: what an operator plants.

use super::{
    Code,
    document::Document,
    filters,
    section::Section,
    values::{self, integer, word},
};
use crate::fault::{Abort, At, Fault};

const DOORS: [(&str, At); 2] = [("caller", At::Caller), ("service", At::Service)];

pub(super) fn read(document: &Document<'_>, subject: &str) -> Option<Fault> {
    let known = ["service", "at", "route", "header", "share", "delay", "abort", "expiresAfter"];
    let spec = document.section("a Fault", &known)?;
    spec.context.record(subject, "route", spec.spot_of("route"));
    if spec.get("delay").is_none() && spec.get("abort").is_none() {
        let message = "a Fault needs `delay` or `abort`".to_owned();
        spec.context.error(spec.spot(), Code::MissingMember, message);
    }
    let at = spec.read("at", word(&DOORS)).unwrap_or_default();
    if at == At::Service && spec.get("route").is_some() {
        let message =
            "no route leads to the door of a service: `route` hits nothing there".to_owned();
        spec.context.error(spec.spot_of("route"), Code::Contradiction, message);
    }
    let service = spec.read_needed("service", values::name);
    Some(Fault {
        name: document.name.clone(),
        at,
        route: spec.read("route", values::qualified_name),
        header: spec.read("header", filters::field),
        share: spec.read("share", values::share).unwrap_or(1.0),
        delay: spec.read("delay", values::duration),
        abort: abort(&spec),
        expires_after: spec.read("expiresAfter", values::duration_above_zero),
        service: service?,
    })
}

fn abort(spec: &Section<'_>) -> Option<Abort> {
    let section = spec.section("abort", "an abort", &["status", "resetAfterBytes"])?;
    let status = section.read("status", integer(200, 599));
    let bytes = section.read("resetAfterBytes", integer(0, u64::MAX));
    match (section.get("status"), section.get("resetAfterBytes")) {
        (Some(_), Some(_)) => {
            let message = "an abort is `status` or `resetAfterBytes`, not both".to_owned();
            section.context.error(section.spot(), Code::Contradiction, message);
            None
        }
        (None, None) => {
            let message = "an abort needs `status` or `resetAfterBytes`".to_owned();
            section.context.error(section.spot(), Code::MissingMember, message);
            None
        }
        _ => status.map(Abort::Status).or(bytes.map(Abort::ResetAfter)),
    }
}
