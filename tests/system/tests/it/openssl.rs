//! What a stock TLS client is told at the doors of `up --tls strict`.

use std::{io::Write as _, path::Path, process::Command};

use crate::{
    peers::{fed, has, not_run},
    program::System,
};

/// Doors by their ports above the base, and what is spoken at each: a service's and the log's.
const DOORS: [(u16, &str); 2] = [(102, "http/1.1"), (92, "skein-log/1")];

/// Every version, whatever OpenSSL itself thinks of the old ones.
const WEAK: [&str; 2] = ["-cipher", "DEFAULT@SECLEVEL=0"];

/// Shakes hands, asks for a page, and waits until the other side ends. All that is said of it.
fn asks(address: &str, protocol: &str, arguments: &[&str]) -> String {
    let mut client = Command::new("openssl");
    client
        .args(["s_client", "-connect", address, "-servername", "scheduler", "-alpn", protocol])
        .args(["-ign_eof"])
        .args(arguments);
    let said = fed(&mut client, b"GET /livez HTTP/1.1\r\nhost: scheduler\r\n\r\n");
    String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned()
}

/// A key and a certificate that nobody has signed but themselves, in one file.
fn self_signed(folder: &Path) -> String {
    let path = folder.join("stranger.pem").to_str().unwrap().to_owned();
    let name = "subjectAltName=URI:spiffe://drone-delivery/ns/default/svc/gateway";
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-subj", "/CN=stranger", "-addext", name, "-days", "1"])
        .args(["-keyout", &path, "-out", &format!("{path}.crt")])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let certificate = std::fs::read(format!("{path}.crt")).unwrap();
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(&certificate).unwrap();
    path
}

/// mesh 12b: 44, 50. What a scanner of TLS asks, at a service and at the log.
#[tokio::test]
async fn strict_doors_speak_tls_13_with_good_ciphers_alone_and_let_no_stranger_in() {
    if !has("openssl") {
        return not_run("openssl is not here");
    }
    let system = System::up(&["--tls", "strict"]);
    let folder = tempfile::tempdir().unwrap();
    let stranger = self_signed(folder.path());
    for (offset, protocol) in DOORS {
        let address = format!("127.0.0.1:{}", system.port(offset));
        let asks = |arguments: &[&str]| {
            let said = asks(&address, protocol, arguments);
            assert!(!said.contains("HTTP/1.1 "), "{offset} {arguments:?} was answered: {said}");
            said
        };
        let is_refused = |arguments: &[&str]| {
            let said = asks(arguments);
            assert!(said.contains("Cipher is (NONE)"), "{offset} {arguments:?}: {said}");
        };
        for old in ["-tls1", "-tls1_1", "-tls1_2"] {
            is_refused(&[&[old], &WEAK[..]].concat());
        }
        for cipher in
            ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"]
        {
            let said = asks(&["-tls1_3", "-ciphersuites", cipher]);
            let agreed = format!("New, TLSv1.3, Cipher is {cipher}");
            assert!(said.contains(&agreed), "{offset}: {said}");
            assert!(said.contains("alert certificate required"), "{offset}: {said}");
        }
        is_refused(&["-tls1_3", "-ciphersuites", "TLS_AES_128_CCM_SHA256"]);
        for group in ["X25519", "P-256", "P-384"] {
            let said = asks(&["-tls1_3", "-groups", group]);
            assert!(said.contains("New, TLSv1.3"), "{offset} {group}: {said}");
        }
        for group in ["ffdhe2048", "ffdhe4096"] {
            is_refused(&["-tls1_3", "-groups", group]);
        }
        // Of a client that has none of the protocols of the door.
        let astray = asks(&["-tls1_3", "-alpn", "imap"]);
        assert!(astray.contains("alert no application protocol"), "{offset}: {astray}");
        let forged = asks(&["-tls1_3", "-cert", &stranger, "-key", &stranger]);
        let told = ["alert unknown ca", "alert bad certificate", "alert certificate unknown"];
        assert!(told.iter().any(|it| forged.contains(it)), "{offset}: {forged}");
    }
}
