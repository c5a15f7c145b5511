//! A control plane that is killed and comes back, and the proxies that hear it, as processes.

use std::{fs, net::SocketAddr, path::Path, process::Output};

use runtime::Tasks;
use tempfile::TempDir;
use tokio::{
    process::Command,
    time::{Instant, timeout},
};

use crate::{
    mesh_commands::backend,
    process::{Process, WITHIN, address, status},
};

async fn control(listen: &str, rules: &Path) -> (Process, SocketAddr, SocketAddr) {
    let rules = rules.to_str().unwrap();
    let mut control = Process::start(&["control", "--listen", listen, "--file", rules]);
    let ready = control.until("control plane is ready").await;
    let (listen, admin) = (address(&ready, "\"listen\""), address(&ready, "\"admin\""));
    (control, listen, admin)
}

/// A proxy before an instance of `stock`.
async fn stock(
    folder: &TempDir,
    number: u32,
    control: SocketAddr,
    application: SocketAddr,
) -> Process {
    let text = format!(
        "apiVersion: skein/v1\nkind: Proxy\nmetadata: {{name: stock}}\nspec:\n  workers: 1\n  \
         inbound: {{listen: \"127.0.0.1:0\", application: \"{application}\"}}\n  \
         control: {{address: \"{control}\", instance: {{name: stock-{number}, zone: a}}}}\n"
    );
    let path = folder.path().join(format!("stock-{number}.yaml"));
    fs::write(&path, text).unwrap();
    let mut proxy = Process::start(&["proxy", "--config", path.to_str().unwrap()]);
    proxy.until("proxy is ready").await;
    proxy
}

/// What a command says.
async fn said(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_skein")).args(arguments).output().await.unwrap()
}

/// What `services` says, until it has these words.
async fn services(admin: SocketAddr, arguments: &[&str], words: &str) -> String {
    let admin = admin.to_string();
    let all: Vec<&str> = arguments.iter().copied().chain(["--admin", &admin]).collect();
    let looking = async {
        loop {
            let text = String::from_utf8(said(&all).await.stdout).unwrap();
            if text.contains(words) {
                return text;
            }
        }
    };
    timeout(WITHIN, looking).await.unwrap_or_else(|_| panic!("no `{words}` in {all:?}"))
}

fn replace(path: &Path, text: &str) {
    fs::write(path.with_extension("draft"), text).unwrap();
    fs::rename(path.with_extension("draft"), path).unwrap();
}

const RULES: &str = "apiVersion: skein/v1\nkind: TrafficPolicy\nmetadata: {name: all}\n\
                     spec: {targetRef: {group: \"\", kind: Service, name: \"*\"}, timeouts: {request: 5s}}\n";

// mesh 12b: 60, 69
#[tokio::test]
async fn calls_go_on_while_the_control_plane_is_away_and_who_is_new_is_called_once_it_is_back() {
    let (folder, tasks) = (tempfile::tempdir().unwrap(), Tasks::new());
    let rules = folder.path().join("rules.yaml");
    replace(&rules, RULES);
    let (mut plane, listen, admin) = control("127.0.0.1:0", &rules).await;
    let first = stock(&folder, 1, listen, backend(&tasks).await).await;

    let config = folder.path().join("shop.yaml");
    let text = format!(
        "apiVersion: skein/v1\nkind: Proxy\nmetadata: {{name: shop}}\nspec:\n  workers: 1\n  \
         outbound: {{listen: \"127.0.0.1:0\", service: stock}}\n  control: {{address: \"{listen}\"}}\n"
    );
    fs::write(&config, text).unwrap();
    let mut shop = Process::start(&["proxy", "--config", config.to_str().unwrap()]);
    let ready = shop.until("proxy is ready").await;
    let (door, operators) = (address(&ready, "\"outbound\""), address(&ready, "\"admin\""));
    services(operators, &["endpoints", "stock"], "stock-1").await;
    assert_eq!(status(door).await, Some(200));
    let shown = services(admin, &["services", "show", "stock"], "stock-1").await;
    assert!(shown.contains("shop") && shown.contains("PROXY"), "{shown}");

    // A file that is no policy is shown, and reaches nobody.
    replace(&rules, &RULES.replace("timeouts", "timeoutz"));
    let refused = plane.until("a source was refused").await;
    assert!(refused.contains("rules.yaml:4:"), "{refused}");
    let listed = said(&["services", "list", "--admin", &admin.to_string()]).await;
    let remarks = String::from_utf8(listed.stderr).unwrap();
    assert!(remarks.contains("rules.yaml:4:"), "{remarks}");
    assert_eq!(status(door).await, Some(200));
    replace(&rules, RULES);
    plane.until("the source is accepted again").await;

    plane.kill().await;
    shop.until("the control plane is away").await;
    for _ in 0..50 {
        assert_eq!(status(door).await, Some(200));
    }
    // One that comes meanwhile is not heard of, and not lost either.
    let second = stock(&folder, 2, listen, backend(&tasks).await).await;
    let back = Instant::now();
    let (_plane, _, admin) = control(&listen.to_string(), &rules).await;
    services(operators, &["endpoints", "stock"], "stock-2").await;
    println!("heard of the new instance {:?} after the control plane was started", back.elapsed());
    let shown = services(admin, &["services", "list"], "stock-1").await;
    assert!(shown.contains("stock-2"), "{shown}");
    // Whoever is gone now takes his calls with him alone: the other instance answers.
    first.kill().await;
    services(admin, &["services", "show", "stock"], "stock-2").await;
    let answers = async { while status(door).await != Some(200) {} };
    assert!(timeout(WITHIN, answers).await.is_ok());
    drop(second);
    tasks.drain(WITHIN).await;
}

#[tokio::test]
async fn a_system_without_a_control_plane_says_so_and_a_broken_file_starts_none() {
    let (folder, tasks) = (tempfile::tempdir().unwrap(), Tasks::new());
    let rules = folder.path().join("rules.yaml");
    replace(&rules, "kind: Nonsense\n");
    let file = rules.to_str().unwrap();
    let refused = said(&["control", "--listen", "127.0.0.1:0", "--file", file]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8(refused.stderr).unwrap().contains("rules.yaml:1:"));

    let config = folder.path().join("shop.yaml");
    let text = "apiVersion: skein/v1\nkind: Proxy\nmetadata: {name: shop}\nspec: {workers: 1, \
                outbound: {listen: \"127.0.0.1:0\", service: stock}}\n";
    fs::write(&config, text).unwrap();
    let mut shop = Process::start(&["proxy", "--config", config.to_str().unwrap()]);
    let operators = address(&shop.until("proxy is ready").await, "\"admin\"").to_string();
    let asked = said(&["services", "list", "--admin", &operators]).await;
    assert_eq!(asked.status.code(), Some(3));
    tasks.drain(WITHIN).await;
}
