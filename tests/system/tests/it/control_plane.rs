//! A system whose instances register at a control plane, which alone says who runs where.

use std::{
    fmt::Write as _,
    fs,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use rustix::process::Signal;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::{
    doors::{SERVICES, id},
    program::{Process, System, sample_request},
    strict::delivers,
    wait::until,
};

const SOON: Duration = Duration::from_secs(20);
/// A brief grace: what is waited for comes after it.
const WITH_CONTROL: [&str; 4] =
    ["--set", "mesh_control.enabled=true", "--set", "mesh_control.grace_ms=3000"];

/// Offset of the control plane's port.
const CONTROL: u16 = 70;

fn control(system: &System) -> Option<Process> {
    system.role("control").into_iter().find(|it| it.admin.is_some())
}

/// What the control plane shows.
async fn registry(system: &System) -> Option<Value> {
    let url = format!("http://127.0.0.1:{}/services", control(system)?.admin?);
    let reply = system.http.try_send(http::Method::GET, &url, &[], "").await.ok()?;
    (reply.status == 200).then(|| reply.json())
}

/// Where an instance is registered.
fn place(registry: &Value, instance: &str) -> Option<String> {
    let all = registry["instances"].as_array()?;
    let found = all.iter().find(|it| it["instance"] == instance && it["ready"] == true)?;
    found["address"].as_str().map(str::to_owned)
}

/// Whether so many instances are registered, and every proxy has taken the newest state.
fn has_converged(registry: &Value, instances: usize, proxies: usize) -> bool {
    let (all, heard) = (&registry["instances"], &registry["subscribers"]);
    let count = |it: &Value| it.as_array().map_or(0, Vec::len);
    let taken = |it: &Value| it["acknowledged"] == registry["version"];
    count(all) == instances
        && count(heard) == proxies
        && heard.as_array().is_some_and(|it| it.iter().all(taken))
}

/// Has the file that `up` keeps say that everybody is where nobody is.
fn mislead(system: &System) {
    let mut text = String::new();
    for service in SERVICES {
        let _written = write!(
            text,
            "---\napiVersion: skein/v1\nkind: Endpoints\nmetadata: {{name: {service}}}\n\
             spec: {{endpoints: [{{address: \"127.0.0.1:9\"}}]}}\n"
        );
    }
    let file = system.data().join("mesh/endpoints.yaml");
    fs::write(file.with_extension("lie"), text).unwrap();
    fs::rename(file.with_extension("lie"), file).unwrap();
}

/// Kills an instance, and waits until `up` has another one in its place.
async fn replaced(system: &System, instance: &str) {
    let found = || system.processes().into_iter().find(|it| it.instance == instance);
    let before = found().unwrap();
    before.signal(Signal::KILL);
    until(format!("{instance} is back"), SOON, async || {
        found().filter(|it| it.pid != before.pid && it.state == "ready").map(drop)
    })
    .await;
}

#[tokio::test]
async fn instances_come_and_go_by_the_control_plane_and_requests_go_on_while_it_is_away() {
    let flags = ["--tls", "off", "--mesh", "in-process", "--replicas", "account=2"];
    let system = System::up_pausable(&[&WITH_CONTROL[..], &flags].concat());
    // Each service and the second account; besides them the edge and the page listen.
    let (instances, proxies) = (SERVICES.len() + 1, SERVICES.len() + 3);
    mislead(&system);
    delivers(&system, "first").await;
    until("nobody is taken for gone without reason any more", SOON, async || {
        registry(&system).await.filter(|it| it["settled"] == true).map(drop)
    })
    .await;

    let second = place(&registry(&system).await.unwrap(), "account-2").unwrap();
    replaced(&system, "account-2").await;
    mislead(&system);
    delivers(&system, "passed-by").await;
    until("its successor is found where it listens", SOON, async || {
        let now = registry(&system).await?;
        place(&now, "account-2").filter(|it| *it != second)?;
        has_converged(&now, instances, proxies).then_some(())
    })
    .await;

    // It hangs, and then it dies.
    control(&system).unwrap().signal(Signal::STOP);
    replaced(&system, "account-2").await;
    mislead(&system);
    for number in 0..3 {
        delivers(&system, &format!("alone-{number}")).await;
    }
    let hung = control(&system).unwrap();
    let (killed, began) = (hung.pid, Instant::now());
    hung.signal(Signal::KILL);
    until("all have registered again, and taken the state", SOON, async || {
        control(&system).filter(|it| it.pid != killed)?;
        has_converged(&registry(&system).await?, instances, proxies).then_some(())
    })
    .await;
    println!("converged {:?} after the control plane was killed", began.elapsed());
    delivers(&system, "last").await;
    let trouble = system.command_json(&["check"]);
    assert_eq!(trouble["success"], true, "{trouble}");
}

/// A lease that no test waits for: who takes a name takes it before.
#[tokio::test]
async fn an_instance_that_was_killed_is_found_elsewhere_long_before_its_lease_ends() {
    let flags = ["--tls", "strict", "--mesh", "in-process", "--replicas", "account=2"];
    let lease = ["--set", "mesh_control.lease_ms=60000"];
    let system = System::up(&[&WITH_CONTROL[..], &flags, &lease].concat());
    let found = async || place(&registry(&system).await?, "account-2");
    until("it is registered", SOON, async || found().await.map(drop)).await;
    let before = found().await.unwrap();
    replaced(&system, "account-2").await;
    let is_elsewhere = async || found().await.filter(|it| *it != before).map(drop);
    until("its successor is found where it listens", SOON, is_elsewhere).await;
}

#[tokio::test]
async fn strict_instances_register_as_who_they_are_beside_proxies_too() {
    for placement in ["in-process", "sidecar"] {
        let flags = ["--tls", "strict", "--mesh", placement];
        let system = System::up(&[&WITH_CONTROL[..], &flags].concat());
        mislead(&system);
        delivers(&system, "first").await;
        let registry = registry(&system).await.unwrap();
        let rows = registry["instances"].as_array().unwrap();
        assert_eq!(rows.len(), SERVICES.len(), "{registry}");
        for (service, port) in SERVICES.into_iter().zip(101..) {
            let row = rows.iter().find(|it| it["service"] == service).unwrap();
            assert_eq!(row["identity"], id(service).to_string(), "{row}");
            assert_eq!(row["address"], format!("127.0.0.1:{}", system.port(port)), "{row}");
        }
        let nobody = |it: &&Value| !it["identity"].is_string();
        let subscribers = registry["subscribers"].as_array().unwrap();
        assert_eq!(subscribers.iter().find(nobody), None, "{registry}");
        // Who shows nothing hears nothing.
        let mut stream = TcpStream::connect(("127.0.0.1", system.port(CONTROL))).await.unwrap();
        let line = b"{\"subscribe\":{\"wire\":1,\"name\":\"x\"}}\n";
        // Refused, it may end with a reset.
        let _refused = stream.write_all(line).await;
        let mut answer = Vec::new();
        let _refused = timeout(SOON, stream.read_to_end(&mut answer)).await.expect("an end");
        assert!(!String::from_utf8_lossy(&answer).contains("welcome"), "{answer:?}");
    }
}

/// Reads these paths over and over; what failed, and how often one was read.
async fn read(system: &System, paths: &[String], stop: &AtomicBool) -> (Vec<String>, u32) {
    let (mut failed, mut reads) = (Vec::new(), 0);
    while !stop.load(Ordering::Relaxed) {
        for path in paths {
            let reply = system.http.get(&system.gateway(path)).await;
            if reply.status != 200 {
                failed.push(format!("{path}: {} {}", reply.status, reply.json()));
            }
            reads += 1;
        }
    }
    (failed, reads)
}

#[tokio::test]
async fn every_service_is_restarted_under_load_and_no_read_fails() {
    let replicas = ["--replicas", "ingestion=2,delivery=2", "--mesh", "in-process"];
    let system = System::up(&[&WITH_CONTROL[..], &replicas].concat());
    delivers(&system, "first").await;
    let id = system.accepted(&sample_request()).await;
    let paths = ["deliveryrequests", "deliveries"].map(|it| format!("/api/{it}/{id}"));
    until("all is settled, and the delivery there", SOON, async || {
        registry(&system).await.filter(|it| it["settled"] == true)?;
        let reply = system.http.get(&system.gateway(&paths[1])).await;
        (reply.status == 200).then_some(())
    })
    .await;
    let stop = AtomicBool::new(false);
    let restarted = async {
        for service in SERVICES {
            let mut command = system.start_command(&["restart", service]);
            let ended = until(format!("{service} is restarted"), SOON, || {
                let ended = command.try_wait().unwrap();
                async move { ended }
            });
            assert!(ended.await.success(), "{service}");
        }
        stop.store(true, Ordering::Relaxed);
    };
    let ((failed, reads), ()) = tokio::join!(read(&system, &paths, &stop), restarted);
    println!("{reads} reads");
    assert!(failed.is_empty(), "{} of {reads}, first: {:?}", failed.len(), failed.first());
    delivers(&system, "last").await;
}
