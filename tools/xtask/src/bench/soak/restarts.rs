//! Every service is restarted in order, one after the other, again and again. Of those that are read there are
//! two instances each.

use std::{collections::BTreeMap, path::Path};

use serde_json::{Value, json};

use crate::bench::{Failure, Running, now, soak::while_asked};

/// What is no service: requests and pages come in there, or all stands on it.
const NOT_RESTARTED: [&str; 5] = ["up", "broker", "control", "dashboard", "gateway"];

pub(super) fn run(root: &Path, rate: u64, rounds: u32) -> Result<Value, Failure> {
    let doubled = ["--replicas", "ingestion=2,delivery=2", "--mesh", "in-process"];
    let running =
        Running::start(root, &[&doubled[..], &["--set", "mesh_control.enabled=true"]].concat())?;
    let services = running.pids()?.into_keys();
    let services: Vec<String> =
        services.filter(|it| !NOT_RESTARTED.contains(&it.as_str())).collect();
    while_asked(&running, rate, || {
        let mut longest: BTreeMap<&str, f64> = BTreeMap::new();
        for _ in 0..rounds {
            for service in &services {
                let began = now();
                running.command(&["restart", service])?;
                let took = now().saturating_sub(began).as_secs_f64();
                let of_service = longest.entry(service).or_default();
                *of_service = of_service.max(took);
            }
        }
        Ok(json!({"rounds": rounds, "services": services, "longestSeconds": longest}))
    })
}
