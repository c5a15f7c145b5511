//! `up --tls strict`: services show each other who they are, and nobody does what no rule allows.

use std::{fs, time::Duration};

use http::Method;
use rustix::process::Signal;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    doors::{Forger, SERVICES},
    listeners::asked_plainly,
    program::{Process, System, sample_request},
    wait::until,
};

const SOON: Duration = Duration::from_secs(30);

/// Has a delivery pass its pivot.
pub(crate) async fn delivers(system: &System, id: &str) {
    let mut request = sample_request();
    request["deliveryId"] = id.into();
    let id = system.accepted(&request).await;
    // Past its pivot: every step has called its service.
    until(format!("{id} is served"), SOON, || async {
        let state = system.request(&id).await["state"].as_str().unwrap_or_default().to_owned();
        assert!(!["Failed", "Parked", "Cancelled"].contains(&&*state), "{state}");
        ["Scheduled", "Completed"].contains(&&*state).then_some(())
    })
    .await;
}

/// What the door of a service says to another one: `allowed`, or the reason.
fn says(system: &System, service: &str, method: &str, path: &str, from: &str) -> String {
    let pages = system.command_json(&["why", service, method, path, "--from", from]);
    let judged = &pages[0]["authorization"];
    let reason = judged["reason"].as_str().or_else(|| judged["verdict"].as_str());
    reason.unwrap_or_else(|| panic!("{pages}")).to_owned()
}

async fn is_strict(placement: &str) {
    // A route that leads the edge to where no rule lets it.
    let folder = tempfile::tempdir().unwrap();
    let routes = folder.path().join("routes.yaml");
    let route = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: astray}\n\
        spec:\n  parentRefs: [{kind: Gateway, name: edge}]\n  rules:\n  \
        - matches: [{path: {type: Exact, value: /api/drones}}]\n    backendRefs: [{name: drone}]\n";
    fs::write(&routes, route).unwrap();
    let routes = routes.to_str().unwrap();
    let system = System::up(&["--tls", "strict", "--mesh", placement, "--routes", routes]);
    delivers(&system, "first").await;
    for offset in 101..=109 {
        assert_eq!(asked_plainly(system.port(offset), "/livez").await, None, "{offset}");
    }
    let astray = system.http.get(&system.gateway("/api/drones")).await;
    assert_eq!(astray.status, 403, "{:?}", astray.json());
    let problem = astray.json();
    assert_eq!(problem["code"], "forbidden", "{problem}");
    assert!(problem["detail"].as_str().unwrap().ends_with("caller_not_allowed"), "{problem}");
    // A person who may enter the data directory is an operator.
    let drones = system.command(&["curl", "drone", "/api/drones"]);
    assert!(drones.status.success(), "{}", String::from_utf8_lossy(&drones.stderr));
    assert!(serde_json::from_slice::<Value>(&drones.stdout).is_ok());
    assert_eq!(says(&system, "account", "GET", "/api/account/7", "scheduler"), "allowed");
    let denied = says(&system, "account", "PUT", "/api/account/7", "scheduler");
    assert_eq!(denied, "method_not_allowed_for_caller");
    assert_eq!(says(&system, "account", "GET", "/api/accounts", "delivery"), "path_not_allowed");
    assert_eq!(says(&system, "package", "GET", "/x", "delivery"), "caller_not_allowed");
    the_log_is_strict(&system).await;
    the_edge_asks_by_roles(&system);
    let edges = system.command_json(&["edges", "-t", "1s"]);
    let edges = edges.as_array().unwrap();
    assert!(edges.iter().any(|it| it["src"] == "scheduler" && it["dst"] == "drone"), "{edges:?}");
    let in_plain = |it: &&Value| it["secured"] == false;
    assert_eq!(edges.iter().find(in_plain), None, "{edges:?}");
    let audit = system.command_json(&["policy", "audit"]);
    let by_log = audit.as_array().unwrap().iter().any(|it| it["service"] == "broker");
    assert!(!by_log, "no service is denied what it does: {audit}");
    let denied = |it: &Value| it["service"] == "drone" && it["reason"] == "caller_not_allowed";
    assert!(audit.as_array().unwrap().iter().any(denied), "the gateway was refused: {audit}");
}

fn the_edge_asks_by_roles(system: &System) {
    let reach = |roles: &str, method: &str, path: &str| {
        let said = system.command_json(&["policy", "why", roles, "edge", method, path]);
        (said["route"].is_string(), said["access"]["reach"].as_str().map(str::to_owned))
    };
    let reaches = |word: &str| (true, Some(word.to_owned()));
    assert_eq!(reach("customer", "GET", "/api/deliveries/7"), reaches("own"));
    assert_eq!(reach("customer,auditor", "GET", "/api/deliveries/7"), reaches("all"));
    assert_eq!(reach("auditor", "POST", "/api/deliveryrequests"), (true, None));
    assert!(!reach("operator", "GET", "/admin/faults").0, "it leads nowhere");
}

/// What the log would say to a service.
fn log_says(system: &System, caller: &str, right: &str, name: &str) -> String {
    let said = system.command_json(&["policy", "why", caller, "broker", right, name]);
    let told = said["reason"].as_str().or_else(|| said["verdict"].as_str());
    told.unwrap_or_else(|| panic!("{said}")).to_owned()
}

async fn the_log_is_strict(system: &System) {
    // ApiVersions, version 0, correlation 7, no client id: answered, it begins with length and number.
    let question = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 255, 255];
    let mut stream = TcpStream::connect(("127.0.0.1", system.port(92))).await.unwrap();
    stream.write_all(&question).await.unwrap();
    let mut answer = Vec::new();
    // Refused, it may end with a reset.
    let _refused = timeout(SOON, stream.read_to_end(&mut answer)).await.expect("an end");
    assert!(answer.len() < 8, "{answer:?}");
    let events = "/topics/delivery-events";
    assert_eq!(log_says(system, "delivery", "PRODUCE", events), "allowed");
    assert_eq!(log_says(system, "history", "CONSUME", events), "allowed");
    assert_eq!(log_says(system, "history", "GROUP", "/groups/history"), "allowed");
    assert_eq!(log_says(system, "history", "PRODUCE", events), "method_not_allowed_for_caller");
    assert_eq!(log_says(system, "drone", "GROUP", "/groups/history"), "path_not_allowed");
    assert_eq!(log_says(system, "account", "CONSUME", events), "caller_not_allowed");
    assert_eq!(log_says(system, "scheduler", "ADMINISTER", "/"), "path_not_allowed");
    // An operator's commands come in.
    let topics = system.command_json(&["topics", "list"]);
    assert!(topics.as_array().is_some_and(|it| it.len() >= 9), "{topics}");
}

#[tokio::test]
async fn strict_services_deliver_and_refuse_plain_text_and_strangers() {
    is_strict("in-process").await;
}

#[tokio::test]
async fn strict_proxies_deliver_and_refuse_plain_text_and_strangers() {
    is_strict("sidecar").await;
}

/// Every call that services make of each other; the gateway and operators are looked at apart.
const CALLS: [&str; 24] = [
    // And two more, of paths that stand for no thing: invoices.rs sees them pass.
    "account GET package /api/packages/summary/{owner}",
    "dashboard GET supervisor /api/alertgroups",
    "dashboard GET supervisor /api/alerts",
    "dashboard PUT supervisor /api/alertgroups/{id}/acknowledgement",
    "dashboard PUT supervisor /api/alerts/{id}/acknowledgement",
    "delivery GET account /api/accounts/{id}",
    "scheduler DELETE delivery /api/deliveries/{id}",
    "scheduler DELETE drone /api/dronedeliveries/{id}",
    "scheduler DELETE package /api/packages/{id}",
    "scheduler DELETE third-party-transport /api/thirdpartydeliveries/{id}",
    "scheduler GET account /api/account/{id}",
    "scheduler PATCH delivery /api/deliveries/{id}",
    "scheduler PATCH third-party-transport /api/thirdpartydeliveries/{id}",
    "scheduler PUT delivery /api/deliveries/{id}",
    "scheduler PUT delivery /api/deliveries/{id}/carrier",
    "scheduler PUT drone /api/dronedeliveries/{id}",
    "scheduler PUT package /api/packages/{id}",
    "scheduler PUT third-party-transport /api/thirdpartydeliveries/{id}",
    // The Supervisor does what the Scheduler does; five of its calls stand for all.
    "supervisor DELETE delivery /api/deliveries/{id}",
    "supervisor DELETE drone /api/dronedeliveries/{id}",
    "supervisor DELETE package /api/packages/{id}",
    "supervisor GET account /api/account/{id}",
    "supervisor PUT delivery /api/deliveries/{id}",
    "supervisor PUT third-party-transport /api/thirdpartydeliveries/{id}",
];

/// The paths of a service, by its own document.
fn paths(system: &System, service: &str) -> Vec<String> {
    let said = system.command(&["curl", service, "/openapi.json"]);
    let document: Value = serde_json::from_slice(&said.stdout).unwrap();
    let all: Vec<String> = document["paths"].as_object().unwrap().keys().cloned().collect();
    // `/orders/summary` is one of `/orders/{id}` for whoever does not know what ids look like.
    let is_one_of = |path: &String, other: &String| {
        let (path, other) = (path.split('/'), other.split('/'));
        path.clone().count() == other.clone().count()
            && path.zip(other).all(|(it, other)| it == other || other.starts_with('{'))
    };
    let covered = |it: &String| all.iter().any(|other| other != it && is_one_of(it, other));
    all.iter().filter(|it| !covered(it)).cloned().collect()
}

#[tokio::test]
async fn of_all_callers_methods_and_routes_only_the_listed_calls_pass() {
    const METHODS: [&str; 5] = ["GET", "PUT", "POST", "PATCH", "DELETE"];
    let system = System::up(&["--tls", "strict"]);
    // Real calls under real identities, of which a test may have any: it can read the authority's keys.
    let forger = Forger::of(system.data());
    let callers = SERVICES.into_iter().chain(["gateway", "dashboard", "broker", "stranger"]);
    let (mut passed, mut asked) = (Vec::new(), 0);
    let routes = SERVICES.map(|service| paths(&system, service));
    for caller in callers {
        let identity = forger.caller(caller).await;
        for ((service, templates), port) in SERVICES.into_iter().zip(&routes).zip(101..) {
            let mut line = identity.open(service, system.port(port)).await;
            for template in templates {
                let element = |it| if str::starts_with(it, '{') { "x1" } else { it };
                let path = template.split('/').map(element).collect::<Vec<_>>().join("/");
                for method in METHODS {
                    asked += 1;
                    if line.lets_in(method, &path).await {
                        passed.push(format!("{caller} {method} {service} {template}"));
                        line = identity.open(service, system.port(port)).await;
                    }
                }
            }
        }
    }
    assert!(asked > 2_000, "{asked}");
    for call in CALLS {
        let is_there = |it: &String| normal(it) == normal(call);
        assert!(passed.iter().any(is_there), "{call} is denied; passed: {passed:#?}");
    }
    let listed = |it: &str| {
        let as_scheduler = normal(it).replace("supervisor ", "scheduler ");
        CALLS.iter().any(|call| [normal(it), as_scheduler.clone()].contains(&normal(call)))
    };
    for call in &passed {
        let words: Vec<&str> = call.split(' ').collect();
        let [caller, method, service, template] = words[..] else { panic!("{call}") };
        let is_allowed = match (caller, service) {
            ("gateway", "ingestion") => true,
            ("gateway", "history") => method == "GET",
            ("gateway", "account") => method == "GET" && template.starts_with("/api/invoices/"),
            ("gateway", "delivery") => {
                ["GET", "POST"].contains(&method)
                    || (method == "DELETE" && template.ends_with("/notifymerequests"))
            }
            _ => listed(call),
        };
        assert!(is_allowed, "{call}");
    }
}

/// A call without the names of its parameters, which documents choose as they like.
fn normal(call: &str) -> String {
    let word = |it: &str| if it.starts_with('{') { "{}".to_owned() } else { it.to_owned() };
    call.split('/').map(word).collect::<Vec<_>>().join("/")
}

/// What a process shows of itself; nothing where it does not answer, or shows nothing.
async fn shown(system: &System, process: &Process) -> Option<Value> {
    let url = format!("http://127.0.0.1:{}/identity", process.admin?);
    let said = system.http.try_send(Method::GET, &url, &[], "").await.ok()?.json();
    said["id"].is_string().then_some(said)
}

#[tokio::test]
async fn a_killed_role_comes_back_with_an_identity_of_its_own() {
    // Beside a proxy it is the proxy that shows who the role is.
    let system = System::up(&["--tls", "strict", "--mesh", "in-process"]);
    delivers(&system, "before").await;
    let account = system.role("account").remove(0);
    let before = shown(&system, &account).await.expect("an identity");
    account.signal(Signal::KILL);
    let after = until("another process shows an identity", SOON, || async {
        let now = system.role("account").into_iter().find(|it| it.pid != account.pid)?;
        shown(&system, &now).await
    })
    .await;
    assert_eq!(after["id"], before["id"]);
    // No two certificates have the same number; their ends, in whole seconds, may well be the same.
    assert_ne!(after["serial"], before["serial"], "that of the killed one");
    delivers(&system, "after").await;
    // Nothing of a word or a key is where others can read it. What the machine tells every program,
    // this one as well, is no secret of the system.
    let ours = fs::read("/proc/self/environ").unwrap();
    let ours = String::from_utf8_lossy(&ours).into_owned();
    for process in system.processes() {
        for file in ["cmdline", "environ"] {
            let text = fs::read(format!("/proc/{}/{file}", process.pid)).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            let is_hex = |it: &str| it.len() >= 64 && it.bytes().all(|it| it.is_ascii_hexdigit());
            let mut words = text.split(|it: char| !it.is_ascii_alphanumeric());
            assert!(
                !words.any(|it| is_hex(it) && !ours.contains(it)),
                "{}: {file}",
                process.instance
            );
        }
    }
}

/// What the authority stands on.
fn standing(system: &System) -> Value {
    system.command_json(&["identity", "anchors"])
}

/// The anchors that the authority publishes, the one that signs first.
fn anchors(standing: &Value) -> Vec<String> {
    let all = standing["anchors"].as_array().cloned().unwrap_or_default();
    let (signs, others): (Vec<_>, Vec<_>) = all.iter().partition(|it| it["signs"] == true);
    let name = |it: &Value| it["anchor"].as_str().unwrap_or_default().to_owned();
    signs.into_iter().chain(others).map(name).collect()
}

/// Why a command was refused.
#[track_caller]
fn refusal(system: &System, arguments: &[&str]) -> String {
    let output = system.command(arguments);
    assert!(!output.status.success(), "{arguments:?} was done");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Two requests at the edge: what failed of them.
async fn two_requests(system: &System) -> Vec<String> {
    let made = system.submit(&sample_request()).await;
    let id = made.json()["deliveryId"].as_str().unwrap_or_default().to_owned();
    let read = system.http.get(&system.gateway(&format!("/api/deliveryrequests/{id}"))).await;
    let failed = [(202, made), (200, read)].into_iter().filter(|it| it.0 != it.1.status);
    failed.map(|it| it.1.json().to_string()).collect()
}

/// mesh 12b: 46, 50. Identities of ten seconds, which are renewed some thirty times meanwhile.
#[tokio::test]
async fn issuer_and_anchor_are_replaced_under_load_and_no_request_fails() {
    const WITHIN: Duration = Duration::from_secs(200);
    let brief = ["--set", "identity_life_s=10"];
    let system = System::up(&[&["--tls", "strict", "--mesh", "in-process"], &brief[..]].concat());
    let ingestion = system.role("ingestion").remove(0);
    let before = shown(&system, &ingestion).await.expect("an identity");
    let old = anchors(&standing(&system)).remove(0);
    let begun = system.command(&["identity", "rotate"]);
    assert!(begun.status.success(), "{}", String::from_utf8_lossy(&begun.stderr));
    let again = refusal(&system, &["identity", "rotate"]);
    assert!(again.contains("being replaced already"), "{again}");
    let signs = refusal(&system, &["identity", "drop", &old]);
    assert!(signs.contains("signs: rotate first"), "{signs}");
    let began = tokio::time::Instant::now();
    let (mut rounds, mut failed, mut was_in_use) = (0, Vec::new(), false);
    loop {
        failed.extend(two_requests(&system).await);
        rounds += 1;
        let now = if rounds % 50 == 0 { anchors(&standing(&system)) } else { Vec::new() };
        if now.len() == 1 && now[0] != old {
            break;
        }
        if now.len() == 2 && now[0] != old && !was_in_use {
            let in_use = refusal(&system, &["identity", "drop", &old]);
            was_in_use = in_use.contains("is in use until");
            assert!(was_in_use, "{in_use}");
        }
        assert!(began.elapsed() < WITHIN, "{:?} still stand", standing(&system));
    }
    assert!(failed.is_empty(), "{} of {rounds} rounds, first: {:?}", failed.len(), failed.first());
    assert!(was_in_use, "another anchor signed while the old one stood");
    let new = anchors(&standing(&system));
    let after = until("the new anchor alone is believed", SOON, || async {
        let page = shown(&system, &ingestion).await?;
        (page["trusts"]["anchors"] == serde_json::json!(new)).then_some(page)
    })
    .await;
    assert_ne!(after["issuer"], before["issuer"]);
    let renewed =
        ingestion.metric_of(&system.http, "identity_renewals_total", &["outcome=\"issued\""]);
    assert!(renewed.await >= 12.0, "renewed at half of ten seconds for two minutes");
    assert!(two_requests(&system).await.is_empty());
}

/// mesh 12b: 52.
#[tokio::test]
async fn whoever_shows_a_denied_identity_is_not_talked_to_until_he_is_started_again() {
    // Beside a proxy it is the proxy that shows who the role is.
    let system = System::up(&["--tls", "strict", "--mesh", "in-process"]);
    delivers(&system, "before").await;
    let account = system.role("account").remove(0);
    let scheduler = system.role("scheduler").remove(0);
    let denied = shown(&system, &account).await.expect("an identity");
    let standing = system.command_json(&["identity", "deny", &account.instance]);
    let told = &standing["denied"][0];
    assert_eq!((&told["serial"], &told["id"]), (&denied["serial"], &denied["id"]));
    until("the scheduler believes it no more", SOON, || async {
        (shown(&system, &scheduler).await?["trusts"]["denied"] == 1).then_some(())
    })
    .await;
    let asked = system.command(&["curl", "account", "/livez"]);
    assert!(!asked.status.success(), "{}", String::from_utf8_lossy(&asked.stdout));
    assert!(system.command(&["curl", "package", "/livez"]).status.success());
    let refused = ["side=\"connect\"", "reason=\"revoked\""];
    let waits = system.accepted(&sample_request()).await;
    until(format!("the scheduler refuses it for {waits}"), SOON, || async {
        let name = "identity_refused_handshakes_total";
        (scheduler.metric_of(&system.http, name, &refused).await > 0.0).then_some(())
    })
    .await;
    assert!(system.command(&["restart", "account"]).status.success());
    assert!(system.command(&["curl", "account", "/livez"]).status.success());
    delivers(&system, "after").await;
    // What a person did is noted, in a chain that is whole.
    let noted = system.deeds();
    let deny = format!("deny {}", denied["serial"].as_str().unwrap());
    let whose = format!("done: {}", denied["id"].as_str().unwrap());
    assert!(noted.contains(&(deny, whose)), "{noted:?}");
    let done = format!("done: {}", account.instance);
    assert!(noted.contains(&("restart account".to_owned(), done)), "{noted:?}");
}

/// The edge says of everybody how far he reaches: by its silence nobody becomes a service of ours.
#[tokio::test]
async fn a_call_of_the_gateway_that_does_not_say_who_asks_reaches_nothing() {
    let system = System::up(&["--tls", "strict"]);
    let id = system.accepted(&sample_request()).await;
    let forger = Forger::of(system.data());
    let gateway = forger.caller("gateway").await;
    let mut line = gateway.open("ingestion", system.port(101)).await;
    let path = format!("/api/deliveryrequests/{id}");
    let owner = [("skein-principal", "myowner"), ("skein-reach", "own")];
    let other = [("skein-principal", "other"), ("skein-reach", "own")];
    let caller = ("skein-caller", "spiffe://drone-delivery/ns/default/svc/scheduler");
    assert_eq!(line.status(&path, &owner).await, 200);
    for fields in [&[][..], &other, &owner[..1], &[("skein-reach", "everything")], &[caller]] {
        assert_eq!(line.status(&path, fields).await, 404, "{fields:?}");
    }
}
