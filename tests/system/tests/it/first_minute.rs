//! What a newcomer sees: one command, the original's sample, a delivery at the doorstep.

use std::{cell::RefCell, collections::BTreeSet, time::Duration};

use http::Method;
use serde_json::json;

use tokio::time::{Instant, sleep_until};

use crate::{
    program::{Process, System, sample_request},
    wait::until,
};

const STAGES: [&str; 4] = ["Created", "HeadedToPickup", "HeadedToDropoff", "Completed"];

#[tokio::test]
async fn the_sample_of_the_original_is_accepted_and_walks_the_stages() {
    walks_the_stages(&System::up(&["--time-scale", "100"])).await;
}

#[tokio::test]
async fn the_sample_walks_the_stages_with_a_proxy_beside_each_service() {
    let system = System::up(&["--time-scale", "100", "--mesh", "sidecar", "--enable-faults"]);
    // The proxies take faults where `up` was told so, as the services do.
    for arguments in [&["fault", "add", "account", "--error", "503"][..], &["fault", "clear"]] {
        let output = system.command(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}");
    }
    // The gateway is the edge, wherever the mesh stands.
    let routes = system.command_json(&["routes"]);
    let has = |door: &str| routes.as_array().unwrap().iter().any(|it| it["door"] == door);
    assert!(has("edge/edge"), "{routes}");
    let why = ["why", "ingestion", "POST", "/api/deliveryrequests", "--edge", "edge"];
    let why = &system.command_json(&why)[0];
    assert_eq!((&why["from"], &why["verdict"]), (&json!("gateway-1"), &json!("would_send")));
    walks_the_stages(&system).await;
    let called = ["account", "package", "drone", "delivery"];
    for role in called {
        let proxy = system.role(&format!("{role}-proxy")).remove(0);
        let passed = proxy.metric(&system.http, "mesh_requests_total").await;
        assert!(passed > 0.0, "no call came to {role} through its proxy");
    }
}

#[tokio::test]
async fn the_sample_walks_the_stages_without_a_mesh() {
    walks_the_stages(&System::up(&["--time-scale", "100", "--mesh", "off"])).await;
}

async fn walks_the_stages(system: &System) {
    let url = system.gateway("/v0.1.0/api/deliveryrequests");
    let reply = system.http.json(Method::POST, &url, &sample_request()).await;
    assert_eq!(reply.status, 202);
    let echo = reply.json();
    let id = echo["deliveryId"].as_str().unwrap();
    assert_ne!(id, "mydelivery", "the id is ours");
    assert_eq!(echo["ownerId"], "myowner");
    assert_eq!(reply.header("location"), format!("/v0.1.0/api/deliveryrequests/{id}"));

    let seen = RefCell::new(BTreeSet::new());
    let status = system.gateway(&format!("/v0.1.0/api/deliveries/{id}/status"));
    until("the delivery completes", Duration::from_secs(60), || {
        let call = system.http.get(&status);
        async {
            let stage = call.await.json()["stage"].as_u64();
            // Ordinals of the original: 0, 2, 3, 4.
            seen.borrow_mut().extend(stage);
            (stage == Some(4)).then_some(())
        }
    })
    .await;
    let seen = seen.into_inner();
    assert!(seen.contains(&2) && seen.contains(&3), "stages seen: {seen:?}");

    let page = system.url(0, &format!("/api/deliveries/{id}"));
    until("the map has heard of every stage", Duration::from_secs(10), || async {
        let kinds = system.http.get(&page).await.json()["events"].to_string();
        STAGES.iter().all(|it| kinds.contains(it)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_trace_is_one_tree_from_the_request_to_completed() {
    is_one_tree(&System::up(&["--time-scale", "600"])).await;
}

#[tokio::test]
async fn a_trace_is_one_tree_through_the_proxies_too() {
    is_one_tree(&System::up(&["--time-scale", "600", "--mesh", "sidecar"])).await;
}

async fn is_one_tree(system: &System) {
    let id = system.accepted(&sample_request()).await;
    system.ends(&id, "Completed", Duration::from_secs(60)).await;
    // Spans arrive in no order: a tree is one once the last of them is there.
    until("the trace is one tree from 202 to the end", Duration::from_secs(15), || async {
        let output = system.command(&["trace", &id]);
        let tree = String::from_utf8(output.stdout).unwrap();
        let roles = ["ingestion", "scheduler", "account", "package", "drone", "delivery"];
        let whole = roles.iter().all(|it| tree.contains(it)) && tree.contains("DeliveryCompleted");
        let roots = tree.lines().filter(|it| it.starts_with(char::is_alphanumeric)).count();
        (whole && roots == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn every_line_of_the_helsinki_file_ends_as_it_says() {
    let system = System::up(&["--time-scale", "600", "--drones", "120"]);
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/helsinki.jsonl");
    let summary = system.command_json(&["submit", file, "--wait"]);
    assert_eq!(summary["mismatches"], json!([]), "{summary}");
    assert_eq!(summary["parked"], 0, "{summary}");
    assert_eq!(summary["completed"], 860, "{summary}");
    assert_eq!(summary["failed"], 70, "{summary}");
    assert_eq!(summary["cancelled"], 50, "{summary}");
    assert_eq!(summary["rejected"], 20, "{summary}");
}

#[tokio::test]
async fn the_commands_say_what_runs_and_stop_it() {
    let system = System::up(&["--replicas", "scheduler=2,account=2"]);
    assert_eq!(system.role("scheduler").len(), 2);
    assert_eq!(system.role("account").len(), 2);
    for process in system.processes() {
        assert_eq!(process.state, "ready", "{process:?}");
    }
    let again = system.command(&["up", "--detach", "--wait"]);
    assert!(!again.status.success(), "a second `up` took the same data");
    let down = system.command(&["down"]);
    assert!(down.status.success(), "{}", String::from_utf8_lossy(&down.stderr));
    assert!(system.http.try_send(Method::GET, &system.gateway("/"), &[], "").await.is_err());
}

#[tokio::test]
async fn an_idle_system_rests() {
    let system = System::up(&[]);
    let id = system.accepted(&sample_request()).await;
    system.ends(&id, "Completed", Duration::from_secs(60)).await;
    let processes = system.processes();
    let used = || processes.iter().map(Process::cpu_ticks).collect::<Vec<_>>();
    let before = used();
    let began = Instant::now();
    // What a process does in a time is what is asked here, so the time must pass.
    sleep_until(began + Duration::from_secs(3)).await;
    // A hundred ticks a second: a task that never rests takes all that the machine lets it have.
    for ((process, before), after) in processes.iter().zip(before).zip(used()) {
        assert!(after - before < 60, "{} used {} ticks", process.instance, after - before);
    }
}
