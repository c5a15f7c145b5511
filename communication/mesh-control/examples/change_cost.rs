//! What one change costs: `cargo run --release -p mesh-control --example change_cost [INSTANCES] [PROXIES]`.
//!
//! Instances of ten services register, proxies subscribe, all in this process over loopback. Then one
//! instance comes and goes, again and again, each time until every proxy has said that it took it.
//! Printed are bytes and processor time of one change, of both sides together; what a proxy makes of a
//! state (its policy) is not in it.

#![expect(clippy::print_stdout, reason = "figures are what it is for")]

use std::time::Duration;

use mesh_control::{Plane, Registration, RegistryConfig, Spoken, State, Upstream, subscribe};
use runtime::{SystemClock, Tasks};
use rustix::time::{ClockId, clock_gettime};
use telemetry::Telemetry;
use tokio::{sync::watch, time::sleep};

const CHANGES: u32 = 100;

fn instance(number: u16) -> Registration {
    Registration {
        service: format!("service-{}", number % 10),
        instance: format!("instance-{number}"),
        version: Some("v1".to_owned()),
        zone: None,
        capacity: 1,
        address: ([10, 0, 0, 1], 10_000 + number).into(),
        incarnation: 1,
        protocol: Spoken::Http,
        ready: true,
    }
}

fn processor() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or_default(), nanos.unwrap_or_default())
}

/// Bytes of states that were sent.
fn bytes(telemetry: &Telemetry) -> u64 {
    let text = telemetry.metrics().encode();
    let line = text.lines().find_map(|it| it.strip_prefix("control_snapshots_bytes_total "));
    line.and_then(|it| it.parse().ok()).unwrap_or_default()
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut given = std::env::args().skip(1).map(|it| it.parse().expect("a number"));
    let (instances, proxies) = (given.next().unwrap_or(1_000), given.next().unwrap_or(50_u16));
    let (telemetry, tasks) = (Telemetry::disabled(), Tasks::new());
    // Nobody renews while it is measured.
    let config = RegistryConfig { lease: Duration::from_secs(3_600), grace: Duration::ZERO };
    let plane = Plane::new(config, None, SystemClock::shared(), &telemetry);
    let address = plane.serve(([127, 0, 0, 1], 0).into(), &tasks).await.expect("a port is free");
    let upstream = || Upstream { address, identity: None };

    let all: Vec<_> = (0..instances).map(instance).collect();
    let (registered, announced) = watch::channel(all.clone());
    subscribe(
        upstream(),
        "instances".to_owned(),
        announced,
        |_: &State| Ok(()),
        &telemetry,
        &tasks,
    );
    let mut heard = Vec::new();
    for number in 0..proxies {
        let (count, counted) = watch::channel(0);
        let apply = move |it: &State| {
            let sets = it.sets.iter().filter(|(name, _)| !name.ends_with("-v1"));
            count.send_replace(sets.map(|(_, set)| set.endpoints.len()).sum::<usize>());
            Ok(())
        };
        let nobody = watch::channel(Vec::new()).1;
        subscribe(upstream(), format!("proxy-{number}"), nobody, apply, &telemetry, &tasks);
        heard.push(counted);
    }
    let until = async |heard: &mut Vec<watch::Receiver<usize>>, wanted: u16| {
        for proxy in heard {
            let _gone = proxy.wait_for(|it| *it == usize::from(wanted)).await;
        }
        // The last answers are on their way.
        sleep(Duration::from_millis(5)).await;
    };
    until(&mut heard, instances).await;
    let idle = sleep(Duration::from_secs(1));
    idle.await;
    let (sent, used) = (bytes(&telemetry), processor());
    for change in 0..CHANGES {
        // The announcements of all the others, which come with each change, are part of the figure.
        let some = if change % 2 == 0 { instances - 1 } else { instances };
        registered.send_replace(all[..usize::from(some)].to_vec());
        until(&mut heard, some).await;
    }
    let (sent, used) = (bytes(&telemetry) - sent, processor() - used);
    println!("{instances} instances of 10 services, {proxies} proxies, {CHANGES} changes");
    println!(
        "bytes a change: {} KiB to all, {} KiB to each",
        sent / 1_024 / u64::from(CHANGES),
        sent / 1_024 / u64::from(CHANGES) / u64::from(proxies + 1)
    );
    println!("processor a change, both sides: {:?}", used / CHANGES);
    tasks.drain(Duration::from_secs(5)).await;
}
