//! An authority, a control plane and proxies that show who they are, as processes.

use std::{fs, path::Path};

use runtime::Tasks;
use serde_json::Value;
use tokio::{process::Command, time::timeout};

use crate::{
    mesh_commands::backend,
    process::{Process, WITHIN, address, status},
};

pub(crate) const CONTROL: &str = "spiffe://mesh/ns/default/svc/control";

/// A door whose callers show who they are is shut until somebody may come in.
const RULES: &str = "apiVersion: skein/v1\nkind: Authorization\nmetadata: {name: stock}\nspec:\n  \
                     service: stock\n  rules:\n  - callers: [spiffe://mesh/ns/default/svc/shop, \
                     spiffe://mesh/ns/default/svc/market]\n    methods: [GET]\n";

/// Runs a command about identities to its end; what it printed, where it succeeded.
pub(crate) async fn identity(words: &[&str]) -> Result<Value, String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skein"));
    let output = command.arg("identity").args(words).args(["-o", "json"]).output().await.unwrap();
    if output.status.success() {
        return Ok(serde_json::from_slice(&output.stdout).unwrap());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

async fn authority(folder: &Path) -> Process {
    let mut authority = Process::start(&["authority", "--data", folder.to_str().unwrap()]);
    authority.until("authority is ready").await;
    authority
}

/// Starts a proxy with these members beside its name, its identity and the control plane.
async fn proxy(folder: &Path, name: &str, members: &str) -> (Process, String) {
    proxy_of(folder, "ca", name, members).await
}

/// The same under the authority of this folder.
pub(crate) async fn proxy_of(
    folder: &Path,
    authority: &str,
    name: &str,
    members: &str,
) -> (Process, String) {
    let text = format!(
        "apiVersion: skein/v1\nkind: Proxy\nmetadata: {{name: {name}}}\nspec:\n  workers: 1\n  \
         identity: {{name: \"spiffe://mesh/ns/default/svc/{name}\", authority: {authority}/authority.sock}}\n{members}"
    );
    let path = folder.join(format!("{name}.yaml"));
    fs::write(&path, text).unwrap();
    let mut proxy = Process::start(&["proxy", "--config", path.to_str().unwrap()]);
    let ready = proxy.until("proxy is ready").await;
    (proxy, ready)
}

// mesh 12b: 43, 44, 49
#[tokio::test]
async fn proxies_of_anybody_speak_mutual_tls_and_nobody_else_is_let_in() {
    let (folder, tasks) = (tempfile::tempdir().unwrap(), Tasks::new());
    let folder = folder.path();
    let ca = folder.join("ca");
    let vouching = authority(&ca).await;
    let second = Command::new(env!("CARGO_BIN_EXE_skein"))
        .args(["authority", "--data", ca.to_str().unwrap()])
        .output()
        .await
        .unwrap();
    assert!(!second.status.success(), "two authorities with one state");

    let (socket, rules) = (ca.join("authority.sock"), folder.join("rules.yaml"));
    fs::write(&rules, RULES).unwrap();
    let (socket, rules) = (socket.to_str().unwrap(), rules.to_str().unwrap());
    let told = ["control", "--listen", "127.0.0.1:0", "--file", rules, "--identity", CONTROL];
    let mut plane = Process::start(&[&told[..], &["--authority", socket]].concat());
    let listen = address(&plane.until("control plane is ready").await, "\"listen\"");
    let control = |more: &str| {
        format!("  control: {{address: \"{listen}\", identity: \"{CONTROL}\"{more}}}\n")
    };
    let application = backend(&tasks).await;
    let inbound = format!(
        "  inbound: {{listen: \"127.0.0.1:0\", application: \"{application}\"}}\n{}",
        control(", instance: {name: stock-1}")
    );
    let (_stock, ready) = proxy(folder, "stock", &inbound).await;
    let inner = address(&ready, "\"inbound\"");
    let outbound = "  outbound: {listen: \"127.0.0.1:0\", service: stock}\n".to_owned();
    let (_shop, ready) = proxy(folder, "shop", &(outbound.clone() + &control(""))).await;
    let door = address(&ready, "\"outbound\"");
    let answers = async { while status(door).await != Some(200) {} };
    timeout(WITHIN, answers).await.expect("the shop reaches the stock");
    assert_eq!(status(inner).await, None, "plain text was let in");

    // Somebody who has no name here hears nothing and reaches nothing.
    let stranger = folder.join("stranger.yaml");
    let text = format!(
        "apiVersion: skein/v1\nkind: Proxy\nmetadata: {{name: stranger}}\nspec:\n  workers: 1\n{outbound}  \
         control: {{address: \"{listen}\"}}\n"
    );
    fs::write(&stranger, text).unwrap();
    let mut stranger = Process::start(&["proxy", "--config", stranger.to_str().unwrap()]);
    let away = address(&stranger.until("proxy is ready").await, "\"outbound\"");
    stranger.until("the control plane is away").await;
    assert_ne!(status(away).await, Some(200));

    // Who has a name and is not on the list is shown the door.
    let (_visitor, ready) = proxy(folder, "visitor", &(outbound.clone() + &control(""))).await;
    let visitors = address(&ready, "\"outbound\"");
    let answers = async { while status(visitors).await != Some(403) {} };
    timeout(WITHIN, answers).await.expect("the visitor is refused");

    // What is held serves while the authority is away, and one that comes back vouches for who is new.
    vouching.kill().await;
    assert_eq!(status(door).await, Some(200));
    let _vouching = authority(&ca).await;
    let (_market, ready) = proxy(folder, "market", &(outbound + &control(""))).await;
    let door = address(&ready, "\"outbound\"");
    let answers = async { while status(door).await != Some(200) {} };
    timeout(WITHIN, answers).await.expect("the market reaches the stock");

    // What it signs with is replaced meanwhile, and who is denied is shown the door.
    let before = identity(&["--authority", socket, "anchors"]).await.unwrap();
    let after = identity(&["--authority", socket, "rotate"]).await.unwrap();
    assert!(after["version"].as_u64() > before["version"].as_u64(), "{after}");
    assert_eq!(after["anchors"].as_array().unwrap().len(), 2);
    let again = identity(&["--authority", socket, "rotate"]).await.unwrap_err();
    assert!(again.contains("being replaced already"), "{again}");
    let unnamed = identity(&["rotate"]).await.unwrap_err();
    assert!(unnamed.contains("no authority is named"), "{unnamed}");
    assert_eq!(status(door).await, Some(200));
    let admin = address(&ready, "\"admin\"").to_string();
    let shown = identity(&["--admin", &admin, "show"]).await.unwrap();
    assert_eq!(shown[0]["id"], "spiffe://mesh/ns/default/svc/market");
    identity(&["--authority", socket, "--admin", &admin, "deny", &admin]).await.unwrap();
    let refused = async { while status(door).await == Some(200) {} };
    timeout(WITHIN, refused).await.expect("the market is denied");
    tasks.drain(WITHIN).await;
}
