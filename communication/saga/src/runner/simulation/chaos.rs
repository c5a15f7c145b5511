//! Many sagas, several instances, crashes, sleepers, cancels and faults, all drawn from one seed.

use std::time::Duration;

use base::Direction;

use super::{
    forward,
    services::{
        Fault::{Busy, Exception, Halfway, Late, LostReply, LostRequest, Refused, Unsent},
        Planned,
    },
    world::{AfterCrash, World},
};
use crate::config::EngineKind;

async fn chaos(seed: u64) {
    let mut world = World::new(seed).await;
    world.settings.calls_max = 3;
    world.start("forward-a", EngineKind::Forward).await;
    world.start("forward-b", EngineKind::Forward).await;
    world.start("undo-a", EngineKind::Compensating).await;
    let mut ids = Vec::new();
    for number in 0..6 {
        let id = format!("s{number}");
        let index = usize::try_from(world.random.below(2)).unwrap();
        if world.random.below(6) == 0 {
            world.cancel(&id).await;
        }
        world.submit(index, &id);
        ids.push(id);
    }
    draw_faults(&mut world);
    for _ in 0..world.random.below(120) {
        act(&mut world, &ids).await;
    }
    for _ in 0..world.processes.len() {
        if let Some(index) = world.processes.iter().position(|it| it.asleep) {
            world.awaken(index).await;
        }
    }
    // Whoever was not told that a saga is accepted submits it again.
    world.crash_after = None;
    for id in &ids {
        let index = forward(&world);
        world.submit(index, id);
    }
    world.settle(AfterCrash::Restart).await;
    world.pass(Duration::from_secs(4)).await;
    world.settle(AfterCrash::Restart).await;
    for id in &ids {
        world.check(id, &format!("seed {seed} {id}")).await;
    }
}

pub(super) fn draw_faults(world: &mut World) {
    let kinds = [Busy, Refused, Exception, Halfway, LostReply, LostRequest, Late, Unsent];
    for _ in 0..world.random.below(8) {
        let step = usize::try_from(world.random.below(5)).unwrap();
        let direction =
            if step < 3 && world.random.below(3) == 0 { Direction::Undo } else { Direction::Do };
        let fault = kinds[usize::try_from(world.random.below(8)).unwrap()];
        let times = u32::try_from(1 + world.random.below(3)).unwrap();
        world.faults.push(Planned { step, direction, fault, times });
    }
}

pub(super) async fn act(world: &mut World, ids: &[String]) {
    let count = world.processes.len();
    let index = usize::try_from(world.random.below(count as u64)).unwrap();
    match world.random.below(24) {
        0 => {
            let id = ids[usize::try_from(world.random.below(ids.len() as u64)).unwrap()].clone();
            world.cancel(&id).await;
        }
        1 => world.crash(index, AfterCrash::Restart).await,
        2 => world.pass(Duration::from_millis(700)).await,
        3 => world.services.deliver_late(),
        4 => world.processes[index].asleep = true,
        6 | 7 if world.processes[index].asleep => world.awaken(index).await,
        5 => world.crash_after = Some(world.random.below(3)),
        _ if world.processes[index].asleep => {}
        _ => {
            if world.round(index).await.is_none() {
                world.crash(index, AfterCrash::Restart).await;
            }
        }
    }
}

#[tokio::test]
async fn no_seeded_chaos_breaks_an_invariant() {
    let runs = std::env::var("SAGA_SEEDS").ok().and_then(|it| it.parse().ok()).unwrap_or(150);
    for seed in 0..runs {
        println!("seed {seed}");
        chaos(seed).await;
    }
}
