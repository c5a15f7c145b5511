//! What somebody sees who listens to every packet of the machine's own network.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::{
    peers::{not_run, python_with},
    program::{System, sample_request},
};

/// Looks for a text in every TCP segment of the loopback until its input ends. Says `listening` first, and
/// at the end, as JSON, how many segments it saw and from and to which ports those went that had it.
const LISTEN: &str = r#"
import json, select, socket, sys
try:
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
except PermissionError:
    sys.exit("denied")
wire.setsockopt(socket.SOL_SOCKET, 33, 256 << 20)  # SO_RCVBUFFORCE
wire.bind(("lo", 0))
print("listening", flush=True)
sought, segments, seen = sys.argv[1].encode(), 0, set()
while True:
    ready, _, _ = select.select([wire, sys.stdin], [], [])
    if wire not in ready:
        break
    packet = wire.recv(1 << 17)[14:]
    if not packet or packet[0] >> 4 != 4 or packet[9] != 6:
        continue
    tcp = packet[(packet[0] & 15) * 4:]
    segments += 1
    if sought in tcp:
        seen.add((int.from_bytes(tcp[0:2], "big"), int.from_bytes(tcp[2:4], "big")))
print(json.dumps({"segments": segments, "seen": sorted(seen)}))
"#;

/// Somebody who listens.
struct Listener(Child, BufReader<std::process::ChildStdout>);

impl Listener {
    /// None where he may not.
    fn start(python: &std::path::Path, sought: &str) -> Option<Self> {
        let mut child = Command::new(python)
            .args(["-c", LISTEN, sought])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        (line == "listening\n").then_some(Self(child, said))
    }

    /// The pairs of ports between which the text went, and how many segments went at all.
    fn stop(mut self) -> (Vec<[u16; 2]>, u64) {
        drop(self.0.stdin.take());
        let mut said = String::new();
        self.1.read_to_string(&mut said).unwrap();
        self.0.wait().unwrap();
        let said: Value = serde_json::from_str(&said).unwrap();
        let seen = serde_json::from_value(said["seen"].clone()).unwrap();
        (seen, said["segments"].as_u64().unwrap())
    }
}

/// Ports of the system between which a text of a delivery could be read, the edge's own aside: it is asked
/// in plain text. None where nobody may listen.
async fn overheard(arguments: &[&str]) -> Option<BTreeSet<u16>> {
    const SOUGHT: &str = "overheard-on-the-wire";
    let Some(python) = python_with("select") else {
        not_run("there is no Python here");
        return None;
    };
    let system = System::up(arguments);
    let Some(listener) = Listener::start(&python, SOUGHT) else {
        not_run("packets of the loopback may not be read here");
        return None;
    };
    let mut request = sample_request();
    request["deliveryId"] = SOUGHT.into();
    request["packageInfo"]["tag"] = SOUGHT.into();
    let id = system.accepted(&request).await;
    system.ends(&id, "Completed", Duration::from_secs(60)).await;
    let (seen, segments) = listener.stop();
    assert!(segments > 100, "{segments} segments of a whole delivery");
    let edge = system.port(80);
    assert!(seen.iter().flatten().any(|it| *it == edge), "who listens hears nothing: {seen:?}");
    let others = seen.into_iter().filter(|it| !it.contains(&edge));
    Some(others.flatten().collect())
}

#[tokio::test]
async fn strict_services_say_nothing_that_others_could_read() {
    if let Some(heard) = overheard(&["--tls", "strict"]).await {
        assert_eq!(heard, BTreeSet::new());
    }
}
