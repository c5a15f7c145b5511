//! The gateway over TLS, as stock programs meet it.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use http::Method;

use crate::{
    peers::{fed, has, not_run},
    program::{System, sample_request},
    wait::until,
};

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// All that `openssl s_client` says of the port, with a request on its input.
fn asks(system: &System, arguments: &[&str]) -> String {
    let mut client = Command::new("openssl");
    client.args(["s_client", "-connect", &format!("127.0.0.1:{}", system.port(443)), "-ign_eof"]);
    client.args(arguments);
    let request = b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    text(&fed(&mut client, request))
}

/// The digest of the certificate that is shown now.
fn fingerprint(system: &System) -> String {
    let shown = asks(system, &["-showcerts"]);
    let begins = shown.find("-----BEGIN CERTIFICATE").unwrap_or_else(|| panic!("{shown}"));
    let mut reader = Command::new("openssl");
    reader.args(["x509", "-noout", "-fingerprint", "-sha256"]);
    text(&fed(&mut reader, &shown.as_bytes()[begins..])).trim().to_owned()
}

/// A certificate and its key, signed by nobody but themselves, at these paths.
fn self_signed(chain: &Path, key: &Path) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=shop", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
        .arg("-keyout")
        .arg(key)
        .arg("-out")
        .arg(chain)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", text(&made));
}

fn curl(system: &System, authority: &Path, arguments: &[&str]) -> String {
    let key = fs::read_to_string(system.data().join("edge/demo.key")).unwrap_or_default();
    let mut client = Command::new("curl");
    client.args(["-sS", "-w", "\n%{http_code} %{http_version}", "--cacert"]).arg(authority);
    client.args(["-H", "@-"]).args(arguments);
    text(&fed(&mut client, format!("Authorization: Bearer {}", key.trim()).as_bytes()))
}

#[tokio::test]
async fn a_stock_client_that_believes_the_printed_file_orders_over_tls() {
    if !has("curl") {
        return not_run("curl is not here");
    }
    let system = System::up(&[]);
    let authority = system.data().join("edge/ca.pem");
    let order = ["-H", "content-type: application/json", "-d", &sample_request().to_string()];
    for (host, version) in [("localhost", "--http2"), ("127.0.0.1", "--http1.1")] {
        let url = format!("https://{host}:{}/api/deliveryrequests", system.port(443));
        let said = curl(&system, &authority, &[&order[..], &[version, &url]].concat());
        let answered = if version == "--http2" { "202 2" } else { "202 1.1" };
        assert!(said.ends_with(answered), "{host}: {said}");
    }
    // Some clients wait for a word before they send a body, not all of them in vain for ever.
    let url = format!("https://localhost:{}/api/deliveryrequests", system.port(443));
    let waits =
        ["--http1.1", "--expect100-timeout", "60", "-v", "-H", "Expect: 100-continue", &url];
    let said = curl(&system, &authority, &[&order[..], &waits].concat());
    assert!(said.contains("HTTP/1.1 100 Continue") && said.contains("\n202 1.1"), "{said}");
    let empty = system.data().join("edge/nobody.pem");
    self_signed(&empty, &system.data().join("edge/nobody.key"));
    let url = format!("https://localhost:{}/livez", system.port(443));
    let doubted = curl(&system, &empty, &[&url]);
    assert!(doubted.contains("certificate") && doubted.contains("\n000 "), "{doubted}");
}

/// What a scanner asks: versions, ciphers, protocols.
#[tokio::test]
async fn the_gateway_speaks_tls_12_and_13_with_good_ciphers_alone() {
    if !has("openssl") || !has("sslscan") {
        return not_run("openssl or sslscan is not here");
    }
    let system = System::up(&[]);
    let is_refused = |arguments: &[&str]| {
        let said = asks(&system, arguments);
        assert!(said.contains("Cipher is (NONE)"), "{arguments:?}: {said}");
    };
    for old in ["-tls1", "-tls1_1"] {
        is_refused(&[old, "-cipher", "DEFAULT@SECLEVEL=0"]);
    }
    is_refused(&["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256"]);
    is_refused(&["-tls1_3", "-ciphersuites", "TLS_AES_128_CCM_SHA256"]);
    for (version, protocol) in [("-tls1_2", "http/1.1"), ("-tls1_3", "h2")] {
        let said = asks(&system, &[version, "-alpn", protocol]);
        assert!(said.contains(&format!("ALPN protocol: {protocol}")), "{said}");
    }
    let answered = asks(&system, &["-tls1_2"]);
    assert!(answered.contains("HTTP/1.1 200"), "without a protocol it is the old one: {answered}");
    let astray = asks(&system, &["-alpn", "imap"]);
    assert!(astray.contains("alert no application protocol"), "{astray}");
    let address = format!("127.0.0.1:{}", system.port(443));
    let scan = Command::new("sslscan").args(["--no-colour", &address]).output().unwrap();
    let scan = text(&scan);
    for good in ["TLSv1.2   enabled", "TLSv1.3   enabled", "Session renegotiation not supported"] {
        assert!(scan.contains(good), "{good}: {scan}");
    }
    for old in
        ["SSLv2     disabled", "SSLv3     disabled", "TLSv1.0   disabled", "TLSv1.1   disabled"]
    {
        assert!(scan.contains(old), "{old}: {scan}");
    }
    let gateway = system.role("gateway").remove(0);
    let count = ["side=\"public\"", "reason=\"wrong_protocol\""];
    let name = "identity_refused_handshakes_total";
    assert_eq!(gateway.metric_of(&system.http, name, &count).await, 1.0);
}

#[tokio::test]
async fn files_of_a_certificate_are_followed_and_a_bad_one_changes_nothing() {
    if !has("openssl") {
        return not_run("openssl is not here");
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    self_signed(&at("chain.pem"), &at("key.pem"));
    let set = |name: &str, file: &str| format!("gateway.{name}={}", at(file).display());
    let (chain, key) = (set("certificate", "chain.pem"), set("certificate_key", "key.pem"));
    let system = System::up(&["--set", &chain, "--set", &key]);
    let first = fingerprint(&system);
    let gateway = system.role("gateway").remove(0);
    let refused = async |reason: &str| {
        let reason = format!("reason=\"{reason}\"");
        let name = "edge_certificate_files_refused_total";
        gateway.metric_of(&system.http, name, &[&reason]).await
    };
    fs::write(at("key.pem"), "no key").unwrap();
    until("the bad key is counted", Duration::from_secs(10), async || {
        (refused("no_key").await > 0.0).then_some(())
    })
    .await;
    assert_eq!(fingerprint(&system), first);
    self_signed(&at("chain.pem"), &at("key.pem"));
    until("the new pair is shown", Duration::from_secs(10), async || {
        (fingerprint(&system) != first).then_some(())
    })
    .await;
    assert_eq!(system.role("gateway").remove(0).pid, gateway.pid, "without a restart");
    let data = folder.path().join("other");
    fs::write(at("key.pem"), "no key").unwrap();
    let other =
        ["up", "--detach", "--set", &chain, "--set", &key, "--data", data.to_str().unwrap()];
    let said = Command::new(crate::program::program()).args(other).output().unwrap();
    assert!(!said.status.success() && text(&said).contains("key.pem"), "{}", text(&said));
}

#[tokio::test]
async fn in_profile_strict_a_key_is_good_over_tls_alone() {
    let system = System::up(&["--profile", "strict"]);
    let url = system.gateway("/api/deliveryrequests/x");
    let secret = system.http.get(&url).await;
    assert_eq!((secret.status.as_u16(), &secret.json()["code"]), (403, &"tls_required".into()));
    let plain = crate::http::Http::new();
    let sent = plain.get(&url).await;
    let there = format!("https://127.0.0.1:{}/api/deliveryrequests/x", system.port(443));
    assert_eq!((sent.status.as_u16(), sent.header("location")), (308, &*there));
    assert_eq!(plain.send(Method::DELETE, &url, &[], "").await.status, 403);
    // The program's own commands come in by the other door.
    let shown = system.command(&["delivery", "show", "00000000-0000-7000-8000-000000000000"]);
    assert!(text(&shown).contains("404"), "{}", text(&shown));
}
