//! Two machines under one trust domain, as processes: two folders stand for them.

use std::{fs, net::SocketAddr, path::Path};

use runtime::Tasks;
use serde_json::Value;
use tokio::time::{Instant, timeout};

use crate::{
    identities::{CONTROL, identity, proxy_of},
    mesh_commands::backend,
    process::{Process, WITHIN, address, status},
};

/// Each may be called by the other, and by nobody else.
const RULES: &str = "apiVersion: skein/v1\nkind: Authorization\nmetadata: {name: stock}\nspec:\n  \
                     service: stock\n  rules: [{callers: [\"spiffe://mesh/ns/default/svc/shop\"], methods: [GET]}]\n\
                     ---\napiVersion: skein/v1\nkind: Authorization\nmetadata: {name: shop}\nspec:\n  \
                     service: shop\n  rules: [{callers: [\"spiffe://mesh/ns/default/svc/stock\"], methods: [GET]}]\n";

async fn authority(folder: &Path, more: &[&str]) -> Process {
    let told = ["authority", "--data", folder.to_str().unwrap(), "--life", "15s"];
    let mut authority = Process::start(&[&told[..], more].concat());
    authority.until("authority is ready").await;
    authority
}

/// A control plane under the authority with this socket.
async fn control(folder: &Path, authority: &str) -> (Process, SocketAddr) {
    let rules = folder.join("rules.yaml");
    fs::write(&rules, RULES).unwrap();
    let told = ["control", "--listen", "127.0.0.1:0", "--file", rules.to_str().unwrap()];
    let shows = ["--identity", CONTROL, "--authority", authority];
    let mut plane = Process::start(&[&told[..], &shows].concat());
    let listen = address(&plane.until("control plane is ready").await, "\"listen\"");
    (plane, listen)
}

/// A service on a machine: what it calls the other by, and what its operators ask.
struct Service {
    _proxy: Process,
    door: SocketAddr,
    admin: String,
}

impl Service {
    async fn start(
        folder: &Path,
        machine: &str,
        [name, other]: [&str; 2],
        control: SocketAddr,
        tasks: &Tasks,
    ) -> Self {
        let application = backend(tasks).await;
        let members = format!(
            "  inbound: {{listen: \"127.0.0.1:0\", application: \"{application}\"}}\n  \
             outbound: {{listen: \"127.0.0.1:0\", service: {other}}}\n  \
             control: {{address: \"{control}\", identity: \"{CONTROL}\", instance: {{name: {name}-1}}}}\n"
        );
        let (proxy, ready) = proxy_of(folder, machine, name, &members).await;
        assert_eq!(status(address(&ready, "\"inbound\"")).await, None, "plain text was let in");
        let admin = address(&ready, "\"admin\"").to_string();
        Self { _proxy: proxy, door: address(&ready, "\"outbound\""), admin }
    }

    /// Who it shows itself to be, and whom it believes.
    async fn shown(&self) -> Value {
        identity(&["--admin", &self.admin, "show"]).await.unwrap()[0].take()
    }
}

#[tokio::test]
async fn two_machines_prove_who_they_are_while_anchors_are_replaced_and_denials_reach_both() {
    let (folder, tasks) = (tempfile::tempdir().unwrap(), Tasks::new());
    let folder = folder.path();
    let [here, there] = ["here", "there"].map(|it| folder.join(it));
    let [first, branch] = [&here, &there].map(|it| it.join("authority.sock"));
    let (first, branch) = (first.to_str().unwrap(), branch.to_str().unwrap());
    let _first = authority(&here, &[]).await;
    let file = folder.join("second.json");
    let file = file.to_str().unwrap();
    let made = identity(&["--authority", first, "branch", file, "--life", "1h"]).await.unwrap();
    assert!(made.get("state").is_none() && !made.to_string().contains("PRIVATE"), "{made}");
    let again = identity(&["--authority", first, "branch", file]).await.unwrap_err();
    assert!(again.contains("not replaced"), "{again}");
    let second = authority(&there, &["--branch", file]).await;

    let (_plane, control) = control(folder, first).await;
    let shop = Service::start(folder, "here", ["shop", "stock"], control, &tasks).await;
    let stock = Service::start(folder, "there", ["stock", "shop"], control, &tasks).await;
    let answers = async {
        while status(shop.door).await != Some(200) || status(stock.door).await != Some(200) {}
    };
    timeout(WITHIN, answers).await.expect("each reaches the other");

    // An anchor is replaced: no call fails, and the other machine believes the new one.
    let before = stock.shown().await;
    for words in
        [&["rotate"][..], &["rotate", "--issuer"], &["deny", "0abc"], &["branch", "third.json"]]
    {
        let refused = identity(&[&["--authority", branch][..], words].concat()).await.unwrap_err();
        assert!(refused.contains("this authority is a branch"), "{refused}");
    }
    let rotated = identity(&["--authority", first, "rotate"]).await.unwrap();
    let learned = async {
        loop {
            for door in [shop.door, stock.door] {
                assert_eq!(status(door).await, Some(200));
            }
            let now = stock.shown().await;
            if now["trusts"]["version"] == rotated["version"] && now["serial"] != before["serial"] {
                return now;
            }
        }
    };
    let now = timeout(WITHIN, learned).await.expect("the other machine hears of the new anchor");
    assert_eq!(now["trusts"]["anchors"].as_array().unwrap().len(), 2, "{now}");
    let told = async {
        while identity(&["--authority", branch, "anchors"]).await.unwrap()["version"]
            != rotated["version"]
        {}
    };
    timeout(WITHIN, told).await.expect("its authority is told");

    // Who is denied at the first machine is refused at the other. Should it just have renewed, once more.
    let denied = Instant::now();
    let refused = async {
        loop {
            identity(&["--authority", first, "--admin", &shop.admin, "deny", &shop.admin])
                .await
                .unwrap();
            let refused = async { while status(shop.door).await == Some(200) {} };
            if timeout(WITHIN / 3, refused).await.is_ok() {
                return;
            }
        }
    };
    timeout(WITHIN, refused).await.expect("the other machine refuses who is denied");
    println!("refused {:?} after it was denied", denied.elapsed());
    let now = stock.shown().await;
    assert!(now["trusts"]["denied"].as_u64() >= Some(1), "{now}");

    // A branch that starts anew knows it still, and its file founds it once.
    second.kill().await;
    let _second = authority(&there, &["--branch", file]).await;
    let stands = identity(&["--authority", branch, "anchors"]).await.unwrap();
    assert!(!stands["denied"].as_array().unwrap().is_empty(), "{stands}");
    tasks.drain(WITHIN).await;
}
