//! A table for people: one line for each place of the mesh, medians over its rounds.

use serde_json::{Value, json};

use super::Placement;
use crate::bench::middle;

/// Figures of a line: name, and where a round has it.
const FIGURES: [(&str, &str); 12] = [
    ("drainCpuMs", "/drain/cpuMsPerWorkflow"),
    ("drainPerSecond", "/drain/workflowsPerSecond"),
    ("steadyCpuMs", "/steady/cpuMsPerWorkflow"),
    ("workflowP50Ms", "/steady/workflowMs/p50"),
    ("workflowP99Ms", "/steady/workflowMs/p99"),
    ("ingestionP50Ms", "/steady/generator/p50"),
    ("ingestionP99Ms", "/steady/generator/p99"),
    ("etaErrorP50S", "/steady/promiseErrorSeconds/arrival/p50"),
    ("etaErrorP90S", "/steady/promiseErrorSeconds/arrival/p90"),
    ("droneEventsPerS", "/steady/droneEventsPerSecond"),
    ("idlePssMiB", "/idlePssKiB"),
    ("processes", "/processes"),
];

/// The median of one figure over the rounds; memory is the sum of all processes.
fn median(rounds: &[Value], pointer: &str) -> f64 {
    let figure = |round: &Value| match round.pointer(pointer)? {
        Value::Object(of_roles) => {
            let kib: f64 = of_roles.values().filter_map(Value::as_f64).sum();
            Some(kib / 1_024.0)
        }
        figure => figure.as_f64(),
    };
    let mut figures: Vec<f64> = rounds.iter().filter_map(figure).collect();
    figures.sort_unstable_by(f64::total_cmp);
    middle(&figures)
}

/// CPU counts every process that `ps` shows, proxies included; the load generator is none of them.
pub(super) fn print(seen: &[(Placement, Vec<Value>)]) {
    crate::say("\nmedians; CPU-ms a workflow of all processes, proxies included");
    let names: String = FIGURES.iter().map(|(name, _)| format!(" {name:>15}")).collect();
    crate::say(&format!("{:<12}{names}", "mesh"));
    for (placement, rounds) in seen {
        let figures: String = FIGURES
            .iter()
            .map(|(_, pointer)| format!(" {:>15.2}", median(rounds, pointer)))
            .collect();
        crate::say(&format!("{:<12}{figures}", placement.as_str()));
    }
}

/// The same for programs, with every round.
pub(super) fn json(seen: &[(Placement, Vec<Value>)]) -> Value {
    let of_placements = seen.iter().map(|(placement, rounds)| {
        let medians =
            FIGURES.iter().map(|(name, at)| ((*name).to_owned(), json!(median(rounds, at))));
        let medians = Value::Object(medians.collect());
        (placement.as_str().to_owned(), json!({"medians": medians, "rounds": rounds}))
    });
    Value::Object(of_placements.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_the_sum_of_all_processes_and_figures_are_medians() {
        let round = |cpu: f64, proxy: u64| {
            json!({
                "drain": {"cpuMsPerWorkflow": cpu},
                "idlePssKiB": {"account": 1_024, "account-proxy": proxy},
            })
        };
        let rounds = [round(2.0, 2_048), round(4.0, 2_048), round(9.0, 4_096)];
        assert_eq!(median(&rounds, "/drain/cpuMsPerWorkflow"), 4.0);
        assert_eq!(median(&rounds[..2], "/drain/cpuMsPerWorkflow"), 3.0);
        assert_eq!(median(&rounds, "/idlePssKiB"), 3.0);
        assert!(median(&rounds, "/steady/none").is_nan());
        let seen = [(Placement::Sidecar, rounds.to_vec())];
        assert_eq!(json(&seen)["sidecar"]["medians"]["drainCpuMs"], json!(4.0));
    }
}
