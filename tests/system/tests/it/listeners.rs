//! What a running system listens on, by the kernel's own tables, and what each listener says to whoever
//! shows nothing: the table of docs/operations.md, *Ports*.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::program::System;

const SOON: Duration = Duration::from_secs(30);

/// Local addresses that a process listens on, as the kernel writes them.
pub(crate) fn listening(pid: i32) -> BTreeSet<String> {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
    let links = open.filter_map(|it| fs::read_link(it.ok()?.path()).ok());
    let sockets: BTreeSet<String> = links
        .filter_map(|it| Some(it.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let mut found = BTreeSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        for line in fs::read_to_string(table).unwrap_or_default().lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            // State 0A is LISTEN.
            if fields[3] == "0A" && sockets.contains(fields[9]) {
                found.insert(fields[1].to_owned());
            }
        }
    }
    found
}

/// The status of a plain `GET` that shows nothing; none where no HTTP is spoken.
pub(crate) async fn asked_plainly(port: u16, path: &str) -> Option<u16> {
    let asked = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        // Refused, it may end with a reset.
        let _refused = stream.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _refused = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    let answer = timeout(SOON, asked).await.expect("an answer or an end");
    let (_, rest) = answer.split_once("HTTP/1.1 ")?;
    rest.get(..3)?.parse().ok()
}

/// What a listener is asked and what it says: none where it speaks to nobody who shows nothing.
fn declared(service: &str, port: &str, is_beside_a_proxy: bool) -> (&'static str, Option<u16>) {
    match (service, port) {
        // People have no certificate.
        ("dashboard", "http") => ("/", Some(401)),
        ("gateway", "http") => ("/api/deliveryrequests/x", Some(401)),
        // Spans of this machine.
        ("dashboard", "otlp") => ("/", Some(404)),
        // Operators of this machine.
        (_, "admin") => ("/metrics", Some(200)),
        // Whether the log is well, and no more.
        ("broker", "http") => ("/metrics", Some(404)),
        // A program beside its own proxy, in both directions.
        (_, "http") if is_beside_a_proxy => ("/livez", Some(200)),
        (_, "outbound") => ("/", Some(503)),
        // All else asks for a certificate, or speaks TLS at the least.
        (_, "http" | "inbound" | "https" | "kafka") => ("/livez", None),
        (service, port) => panic!("{service} has a port `{port}` that no table declares"),
    }
}

async fn is_declared(placement: &str) {
    let system = System::up(&["--tls", "strict", "--mesh", placement]);
    let listed = system.command_json(&["ps"]);
    let services = listed["services"].as_array().unwrap();
    let has_proxy: BTreeSet<&str> =
        services.iter().filter_map(|it| it["service"].as_str()?.strip_suffix("-proxy")).collect();
    assert_eq!(has_proxy.is_empty(), placement == "in-process");
    for process in services {
        let (service, instance) =
            (process["service"].as_str().unwrap(), process["instance"].as_str().unwrap());
        let ports: BTreeMap<u16, &str> = process["ports"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, port): (&String, &Value)| {
                (u16::try_from(port.as_u64().unwrap()).unwrap(), name.as_str())
            })
            .collect();
        let pid = i32::try_from(process["pid"].as_i64().unwrap()).unwrap();
        let open = listening(pid);
        assert_eq!(open.len(), ports.len(), "{instance}: {open:?}, and {ports:?} are declared");
        for address in open {
            let port = address.strip_prefix("0100007F:");
            let port = port.unwrap_or_else(|| panic!("{instance} listens on {address}"));
            let port = u16::from_str_radix(port, 16).unwrap();
            let name =
                ports.get(&port).unwrap_or_else(|| panic!("{instance}: {port} is in no table"));
            let (path, expected) = declared(service, name, has_proxy.contains(service));
            assert_eq!(asked_plainly(port, path).await, expected, "{instance}, {name}");
        }
    }
}

#[tokio::test]
async fn every_listener_is_declared_and_says_to_strangers_what_its_table_says() {
    is_declared("in-process").await;
}

#[tokio::test]
async fn every_listener_beside_proxies_is_declared_and_says_to_strangers_what_its_table_says() {
    is_declared("sidecar").await;
}
