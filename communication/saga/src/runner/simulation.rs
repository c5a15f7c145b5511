//! The real core over the real store, with simulated services, a simulated clock and crashes.
//!
//! Every run is replayed from a seed or from a list of faults. A crash drops a core where it
//! stands: after an append is durable and before anybody knows, or after a service has done its
//! work and before its answer arrives.

mod appends;
mod chaos;
mod costs;
mod crashes;
mod invariants;
mod services;
mod subjects;
mod words;
mod world;

use serde_json::json;

use crate::{
    config::EngineKind,
    definition::{Call, Definition, Step},
    machine::Start,
};
use world::World;

const STEPS: [&str; 5] = ["account", "stock", "carrier", "order", "mail"];

fn definition() -> Definition {
    let step = |name: &str| {
        Step::compensable(name, name, Call::put(format!("/{name}"))).undo(Call::delete("/x"))
    };
    Definition::builder("order", 1)
        .step(step("account"))
        .step(step("stock"))
        .step(step("carrier"))
        .step(Step::pivot("order", "order", Call::put("/o")).undo(Call::delete("/o")))
        .step(Step::retriable("mail", "mail", Call::post("/m")))
        .build()
        .unwrap()
}

fn stop() -> Definition {
    Definition::builder("stop", 1)
        .step(Step::pivot("stop", "stop", Call::delete("/o")))
        .build()
        .unwrap()
}

fn start(id: &str) -> Start {
    Start::new(id, "order", json!({"for": "somebody"}))
}

async fn world_with_both(seed: u64) -> World {
    let mut world = World::new(seed).await;
    world.start("forward-a", EngineKind::Forward).await;
    world.start("undo-a", EngineKind::Compensating).await;
    world
}

fn forward(world: &World) -> usize {
    world.processes.iter().position(|it| it.kind == EngineKind::Forward && !it.asleep).unwrap()
}
