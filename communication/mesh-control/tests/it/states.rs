//! How a state comes to a proxy, and what stays while none comes.

use std::time::Duration;

use mesh_control::{
    Plane, Registration, RegistryConfig, Sets, StartError, State, sources::Contribution,
};
use mesh_policy::schema::SourceFile;
use runtime::Tasks;
use serde_json::Value;
use telemetry::Telemetry;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::rig::{Control, GRACE, LEASE, Proxy, WITHIN, clock, eventually, instance, ports};

fn texts(text: &str) -> Contribution {
    let file = SourceFile { name: "rules.yaml".to_owned(), text: text.to_owned() };
    Contribution { documents: vec![file], sets: Sets::new() }
}

fn route(name: &str) -> String {
    format!(
        "apiVersion: skein/v1\nkind: Endpoints\nmetadata: {{name: {name}}}\nspec: {{endpoints: []}}\n"
    )
}

fn acknowledged(plane: &Plane) -> (u64, Vec<u64>) {
    let shown = plane.shown();
    let all = shown["subscribers"].as_array().unwrap();
    let version = shown["version"].as_u64().unwrap();
    (version, all.iter().filter_map(|it| it["acknowledged"].as_u64()).collect())
}

#[tokio::test]
async fn instances_that_come_and_go_are_heard_by_every_proxy_and_each_says_what_it_took() {
    let control = Control::start(None).await;
    let mut caller = Proxy::start(control.upstream(), Vec::new());
    let cart = Proxy::start(control.upstream(), vec![instance("cart", 1)]);
    caller.until("cart", &[1]).await;
    let two = vec![instance("cart", 1), instance("cart", 2)];
    cart.instances.send_replace(two.clone());
    caller.until("cart", &[1, 2]).await;
    cart.instances.send_replace(two[1..].to_vec());
    // Nobody is settled yet, so that even who withdrew is still called: by what is settled he is not.
    control.registers(1).await;
    eventually("both took the newest", || {
        let (version, taken) = acknowledged(&control.plane);
        taken == [version, version]
    })
    .await;
    let shown = control.plane.shown();
    assert_eq!(shown["instances"][0]["instance"], "cart-2");
    assert!(shown["instances"][0]["lease_left_ms"].as_u64().is_some_and(|it| it <= 600_000));
}

#[tokio::test]
async fn a_proxy_that_ends_takes_its_instance_away_before_its_lease_is_over() {
    let control = Control::start(None).await;
    control.pass(GRACE);
    let mut caller = Proxy::start(control.upstream(), Vec::new());
    caller.state.wait_for(|it| it.is_settled).await.unwrap();
    let cart = Proxy::start(control.upstream(), vec![instance("cart", 1)]);
    caller.until("cart", &[1]).await;
    cart.tasks.drain(WITHIN).await;
    caller.until("cart", &[]).await;
    let expired = control.counted("control_leases_expired_total");
    assert_eq!(expired, 0, "it was withdrawn, and did not run out");
}

#[tokio::test]
async fn a_lease_that_is_not_renewed_ends_for_every_proxy() {
    let control = Control::start(None).await;
    let mut caller = Proxy::start(control.upstream(), Vec::new());
    let cart = Proxy::start(control.upstream(), vec![instance("cart", 1)]);
    caller.until("cart", &[1]).await;
    control.pass(LEASE - Duration::from_millis(1));
    caller.state.wait_for(|it| it.is_settled).await.unwrap();
    assert_eq!(ports(&caller.state.borrow(), "cart"), [1]);
    control.pass(Duration::from_millis(1));
    caller.until("cart", &[]).await;
    assert_eq!(control.counted("control_leases_expired_total"), 1);
    drop(cart);
}

/// One start of `cart-1`, at a port of its own.
fn start(number: u16) -> Registration {
    let incarnation = number.into();
    Registration { instance: "cart-1".to_owned(), incarnation, ..instance("cart", number) }
}

/// A process of another program, as the kernel ends it: no farewell, and its connection is closed.
struct Process(TcpStream);

impl Process {
    async fn start(control: &Control, told: &Registration) -> Self {
        let mut stream = TcpStream::connect(control.address).await.unwrap();
        let told = serde_json::to_string(told).unwrap();
        let said = format!(
            "{{\"subscribe\":{{\"wire\":1,\"name\":\"cart\"}}}}\n{{\"register\":{told}}}\n"
        );
        stream.write_all(said.as_bytes()).await.unwrap();
        Self(stream)
    }

    async fn kill(self, control: &Control) {
        let heard = || control.plane.shown()["subscribers"].as_array().unwrap().len();
        let before = heard();
        drop(self.0);
        eventually("its connection is seen to end", || heard() < before).await;
    }
}

#[tokio::test]
async fn an_instance_that_was_killed_and_comes_back_elsewhere_is_found_before_its_lease_ends() {
    let control = Control::start(None).await;
    control.pass(GRACE);
    let mut caller = Proxy::start(control.upstream(), Vec::new());
    caller.state.wait_for(|it| it.is_settled).await.unwrap();
    let first = Process::start(&control, &start(1)).await;
    caller.until("cart", &[1]).await;
    // While it lives nobody has its name, however new.
    let second = Process::start(&control, &start(7)).await;
    let refused = "control_registrations_refused_total{reason=\"taken\"}";
    eventually("the second one is refused", || control.counted(refused) == 1).await;
    second.kill(&control).await;
    first.kill(&control).await;
    assert_eq!(ports(&caller.state.borrow(), "cart"), [1], "its lease lasts");
    let again = Process::start(&control, &start(2)).await;
    caller.until("cart", &[2]).await;
    // The clock stands still: no lease has ended meanwhile.
    assert_eq!(control.counted("control_leases_expired_total"), 0);
    drop(again);
}

// mesh 12b: 69
#[tokio::test]
async fn while_it_is_away_the_last_state_holds_and_once_it_is_back_nobody_was_lost_on_the_way() {
    let control = Control::start(None).await;
    control.plane.take("files", Ok(texts(&route("bank")))).unwrap();
    let mut caller = Proxy::start(control.upstream(), Vec::new());
    let cart = Proxy::start(control.upstream(), vec![instance("cart", 1)]);
    caller.until("cart", &[1]).await;
    control.pass(GRACE);
    caller.state.wait_for(|it| it.is_settled && it.documents.len() == 1).await.unwrap();
    let held = caller.state.borrow_and_update().clone();
    // Every state from here on is looked at: none may lack the instance.
    let address = control.stop().await;
    assert_eq!(*caller.state.borrow(), held);

    let back = Control::at(address, None).await;
    let mut seen: Vec<State> = Vec::new();
    let registered = async {
        back.registers(1).await;
        back.pass(GRACE);
    };
    let settled = async {
        while seen.last().is_none_or(|it| !it.is_settled) {
            caller.state.changed().await.unwrap();
            seen.push(caller.state.borrow_and_update().clone());
        }
    };
    tokio::join!(registered, settled);
    assert!(seen.iter().all(|it| ports(it, "cart") == [1]), "{seen:?}");
    // What else is new is heard as before.
    cart.instances.send_replace(vec![instance("cart", 1), instance("cart", 2)]);
    caller.until("cart", &[1, 2]).await;
    drop(back);
}

#[tokio::test]
async fn who_died_while_it_was_away_is_gone_once_it_is_settled_again() {
    let control = Control::start(None).await;
    let mut caller = Proxy::start(control.upstream(), Vec::new());
    let cart = Proxy::start(control.upstream(), vec![instance("cart", 1)]);
    let second = Proxy::start(control.upstream(), vec![instance("cart", 2)]);
    caller.until("cart", &[1, 2]).await;
    let address = control.stop().await;
    second.tasks.drain(WITHIN).await;
    assert_eq!(ports(&caller.state.borrow(), "cart"), [1, 2], "that is for the breaker to say");
    let back = Control::at(address, None).await;
    back.registers(1).await;
    eventually("both took the newest", || {
        let (version, taken) = acknowledged(&back.plane);
        taken == [version, version]
    })
    .await;
    assert_eq!(ports(&caller.state.borrow(), "cart"), [1, 2], "nobody is taken for gone yet");
    back.pass(GRACE);
    caller.until("cart", &[1]).await;
    assert!(caller.state.borrow().is_settled);
    drop(cart);
}

#[tokio::test]
async fn a_text_that_is_no_policy_reaches_no_proxy() {
    let control = Control::start(None).await;
    control.plane.take("files", Ok(texts(&route("cart")))).unwrap();
    let mut caller = Proxy::start(control.upstream(), Vec::new());
    caller.state.wait_for(|it| it.documents.len() == 1).await.unwrap();
    let refused = control.plane.take("files", Ok(texts("kind: Nonsense\n"))).unwrap_err();
    assert!(refused.starts_with("rules.yaml:1:"), "{refused}");
    assert_eq!(control.plane.shown()["troubles"]["files"], Value::from(refused));
    assert_eq!(control.counted("control_sources_refused_total{source=\"files\"}"), 1);
    // The next good one comes, and between them nothing came.
    caller.state.borrow_and_update();
    control.plane.take("files", Ok(texts(&route("bank")))).unwrap();
    caller.state.changed().await.unwrap();
    assert!(caller.state.borrow().documents[0].text.contains("bank"));
    assert_eq!(control.plane.shown()["troubles"], serde_json::json!({}));
}

#[tokio::test]
async fn a_state_that_a_proxy_cannot_use_is_shown_with_its_reason_and_the_next_one_is_taken() {
    let control = Control::start(None).await;
    let picky = |it: &State| match ports(it, "cart").len() {
        1 => Err("one is not enough".to_owned()),
        _ => Ok(()),
    };
    let mut caller = Proxy::judging(control.upstream(), Vec::new(), picky);
    let cart = Proxy::start(control.upstream(), vec![instance("cart", 1)]);
    eventually("the refusal is shown", || {
        let shown = control.plane.shown();
        let all = shown["subscribers"].as_array().unwrap().clone();
        all.iter().any(|it| it["refused"]["reason"] == "one is not enough")
    })
    .await;
    assert_eq!(control.counted("control_snapshots_refused_total"), 1);
    assert!(ports(&caller.state.borrow(), "cart").is_empty());
    cart.instances.send_replace(vec![instance("cart", 1), instance("cart", 2)]);
    caller.until("cart", &[1, 2]).await;
}

#[tokio::test]
async fn without_identities_it_listens_on_loopback_alone() {
    let tasks = Tasks::new();
    let plane = Plane::new(RegistryConfig::default(), None, clock(), &Telemetry::disabled());
    let refused = plane.serve(([0, 0, 0, 0], 0).into(), &tasks).await.unwrap_err();
    assert!(matches!(refused, StartError::Open(_)), "{refused}");
}

#[tokio::test]
async fn what_changes_soon_after_another_is_told_with_it() {
    const CHANGES: u32 = 999;
    let control = Control::start(None).await;
    let mut caller = Proxy::start(control.upstream(), Vec::new());
    let mut stream = TcpStream::connect(control.address).await.unwrap();
    let started = Instant::now();
    let mut text = "{\"subscribe\":{\"wire\":2,\"name\":\"cart\"}}\n".to_owned();
    for change in 0..CHANGES {
        let told = Registration { capacity: change + 1, ..instance("cart", 1) };
        text += &format!("{{\"register\":{}}}\n", serde_json::to_string(&told).unwrap());
    }
    stream.write_all(text.as_bytes()).await.unwrap();
    let is_last =
        |it: &State| it.sets.get("cart").is_some_and(|it| it.endpoints[0].weight == CHANGES);
    timeout(WITHIN, caller.state.wait_for(is_last)).await.unwrap().unwrap();
    // The first one, the one after the last pause, and one for each pause between them.
    let pauses = started.elapsed().as_millis() / 50;
    let version = u128::from(control.plane.shown()["version"].as_u64().unwrap());
    assert!(version <= pauses + 3, "{version} states in {pauses} pauses");
}

#[tokio::test]
async fn who_does_not_speak_the_wire_is_shut_out_and_the_others_are_served() {
    let control = Control::start(None).await;
    let mut caller = Proxy::start(control.upstream(), vec![instance("cart", 1)]);
    caller.until("cart", &[1]).await;
    let endless = vec![b'['; 64 << 10];
    let first = "{\"subscribe\":{\"wire\":1,\"name\":\"x\"}}\n";
    let lies = format!("{first}{{\"acknowledge\":{{\"version\":99}}}}\n");
    let twice = format!("{first}{first}");
    let other = "{\"subscribe\":{\"wire\":3,\"name\":\"x\"}}\n";
    for text in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &endless,
        lies.as_bytes(),
        twice.as_bytes(),
        other.as_bytes(),
    ] {
        let mut stream = TcpStream::connect(control.address).await.unwrap();
        // It may be shut before all is written.
        let _written = stream.write_all(text).await;
        let mut rest = Vec::new();
        // Ended or reset, but never left open.
        let _read = stream.read_to_end(&mut rest).await;
    }
    caller.instances.send_replace(vec![instance("cart", 1), instance("cart", 2)]);
    caller.until("cart", &[1, 2]).await;
    assert_eq!(control.plane.shown()["subscribers"].as_array().unwrap().len(), 1);
}
