//! An edge of `skein proxy` over TLS, asked by curl.

use std::{fs, net::SocketAddr, path::Path};

use identity::SelfMade;
use runtime::{SystemClock, Tasks};
use serde_json::Value;
use tokio::{net::TcpStream, process::Command, time::timeout};

use crate::{
    mesh_commands::backend,
    process::{Process, WITHIN, address, status},
};

/// The version of HTTP and the status of an answer, for a client that believes this certificate.
async fn ask(edge: SocketAddr, believed: &Path, version: &str) -> Option<String> {
    let url = format!("https://localhost:{}/", edge.port());
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--output", "/dev/null", "--write-out", "%{http_version} %{http_code}"]);
    let output = curl.args([version, "--cacert"]).arg(believed).arg(url).output().await.unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

/// A pair in this folder, each file renamed into its place.
fn put(folder: &Path, made: &SelfMade) {
    for (name, text) in [("front.key", &made.key), ("front.pem", &made.certificate)] {
        fs::write(folder.join("draft"), text).unwrap();
        fs::rename(folder.join("draft"), folder.join(name)).unwrap();
    }
}

fn made() -> SelfMade {
    let now = SystemClock::shared().now();
    SelfMade::make("tests", &["localhost".to_owned()], now).unwrap()
}

/// An edge in plain text.
const OPEN: &str = "{name: open, listen: \"127.0.0.1:0\"}";

/// A proxy of two workers with these edges, which lead everything to an application.
fn front(edges: &[&str], application: SocketAddr) -> String {
    let edges = edges.join(", ");
    format!(
        "apiVersion: skein/v1\nkind: Proxy\nmetadata: {{name: front}}\nspec: {{workers: 2, edge: [{edges}]}}\n\
         ---\napiVersion: skein/v1\nkind: Endpoints\nmetadata: {{name: stock}}\nspec: {{endpoints: [{{address: \
         \"{application}\"}}]}}\n---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: \
         {{name: all}}\nspec:\n  parentRefs: [{{name: front}}]\n  rules: [{{backendRefs: [{{name: stock}}]}}]\n"
    )
}

async fn trouble(admin: SocketAddr) -> Value {
    let mut check = Command::new(env!("CARGO_BIN_EXE_skein"));
    check.args(["check", "-o", "json", "--admin", &admin.to_string()]);
    let output = check.output().await.unwrap();
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let all = said["categories"].as_array().unwrap().iter();
    let mut checks = all.flat_map(|it| it["checks"].as_array().unwrap());
    let wanted = "the certificate of the edge can be shown";
    checks.find(|it| it["description"] == wanted).unwrap()["error"].clone()
}

#[tokio::test]
async fn an_edge_with_a_certificate_speaks_tls_alone_and_shows_the_pair_that_lies_there() {
    let (folder, tasks) = (tempfile::tempdir().unwrap(), Tasks::new());
    let folder = folder.path();
    let application = backend(&tasks).await;
    let secure =
        "{name: secure, listen: \"127.0.0.1:0\", certificate: {chain: front.pem, key: front.key}}";
    let text = front(&[OPEN, secure], application);
    fs::write(folder.join("front.yaml"), text).unwrap();
    let mut proxy =
        Process::start(&["proxy", "--config", folder.join("front.yaml").to_str().unwrap()]);
    let ready = proxy.until("proxy is ready").await;
    let admin = address(&ready, "\"admin\"");
    let (_, edges) = ready.split_once("\"edges\"").unwrap();
    let open = address(edges, "");
    let secure = address(&edges.replacen(&open.to_string(), "", 1), "");
    assert_eq!(status(open).await, Some(200));
    assert_eq!(status(secure).await, None, "plain text came in");
    assert!(trouble(admin).await.as_str().unwrap().contains("front.pem"), "there is none yet");

    let first = made();
    put(folder, &first);
    fs::write(folder.join("first.pem"), &first.certificate).unwrap();
    let shown = async |believed: &str, version: &str, expected: &str| {
        let believed = folder.join(believed);
        let looks =
            async { while ask(secure, &believed, version).await.as_deref() != Some(expected) {} };
        let within = timeout(WITHIN, looks).await;
        within.unwrap_or_else(|_| panic!("never {expected} for who believes {believed:?}"));
    };
    shown("first.pem", "--http2", "2 200").await;
    shown("first.pem", "--http1.1", "1.1 200").await;
    let second = made();
    put(folder, &second);
    fs::write(folder.join("second.pem"), &second.certificate).unwrap();
    shown("second.pem", "--http2", "2 200").await;
    let admitted = ask(secure, &folder.join("first.pem"), "--http2").await;
    assert_eq!(admitted, None, "the old certificate is shown");
    assert_eq!(trouble(admin).await, Value::Null);
    proxy.kill().await;
}

#[tokio::test]
async fn who_holds_connections_and_says_nothing_keeps_nobody_out_where_descriptors_are_few() {
    const DESCRIPTORS: u32 = 256;
    let (folder, tasks) = (tempfile::tempdir().unwrap(), Tasks::new());
    let file = folder.path().join("front.yaml");
    let application = backend(&tasks).await;
    fs::write(&file, front(&[OPEN], application)).unwrap();
    let arguments = ["proxy", "--config", file.to_str().unwrap()];
    let mut proxy = Process::with_descriptors(DESCRIPTORS, &arguments);
    let ready = proxy.until("proxy is ready").await;
    let (admin, edge) = (address(&ready, "\"admin\""), address(&ready, "\"edges\""));
    let mut silent = Vec::new();
    for door in [edge, admin] {
        for _ in 0..2 * DESCRIPTORS {
            silent.push(TcpStream::connect(door).await.unwrap());
        }
        assert_eq!(timeout(WITHIN, status(edge)).await, Ok(Some(200)));
        // Nothing stands at its root, and it says so.
        assert_eq!(timeout(WITHIN, status(admin)).await, Ok(Some(404)));
    }
    proxy.kill().await;
}
