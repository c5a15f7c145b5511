//! Users of the log: stock Kafka clients, which show no certificate, under `up --tls strict`.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    peers::{not_run, python_with},
    program::{System, built},
    strict::delivers,
    wait::until,
};

const PEER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/log_user.py");
const SOON: Duration = Duration::from_secs(30);
const USER: &str = "stock-report";

/// May read what became of deliveries, in groups of its own.
const RULES: &str = "apiVersion: skein/v1\nkind: Authorization\nmetadata: {name: stock-report}\n\
    spec:\n  service: broker\n  rules:\n  \
    - callers: [spiffe://drone-delivery/ns/log-users/svc/stock-report]\n    \
    methods: [CONSUME]\n    paths: [/topics/delivery-events]\n  \
    - callers: [spiffe://drone-delivery/ns/log-users/svc/stock-report]\n    \
    methods: [GROUP]\n    paths: [\"/groups/{name}\"]\n";

/// A system that is strict, and what a client needs to come to its log.
struct Door {
    system: System,
    folder: TempDir,
}

impl Door {
    fn open() -> Self {
        Self::open_by(RULES)
    }

    fn open_by(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let rules = folder.path().join("rules.yaml");
        fs::write(&rules, text).unwrap();
        let system = System::up(&["--tls", "strict", "--routes", rules.to_str().unwrap()]);
        let pem = system.command(&["identity", "anchors", "--pem"]);
        assert!(pem.status.success(), "{}", String::from_utf8_lossy(&pem.stderr));
        fs::write(folder.path().join("anchors.pem"), pem.stdout).unwrap();
        Self { system, folder }
    }

    fn user(&self, name: &str) -> String {
        let added = self.system.command_json(&["log", "user", "add", name]);
        added["secret"].as_str().unwrap().to_owned()
    }

    fn start(&self, python: &Path, client: &str, secret: &str, action: &str, topic: &str) -> Child {
        let address = format!("127.0.0.1:{}", self.system.port(92));
        let mut started = Command::new(python)
            .args([PEER, client, &address])
            .arg(self.folder.path().join("anchors.pem"))
            .args([USER, action, topic])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        writeln!(started.stdin.take().unwrap(), "{secret}").unwrap();
        started
    }

    /// What a client says that does this.
    fn says(&self, python: &Path, client: &str, secret: &str, action: &str, topic: &str) -> String {
        let ended = self.start(python, client, secret, action, topic).wait_with_output().unwrap();
        String::from_utf8_lossy(&ended.stdout).trim().to_owned()
    }
}

/// mesh 12b: 43.
#[tokio::test]
async fn a_stock_client_logs_in_does_what_policy_lets_it_and_is_ended_with_its_secret() {
    let client = "confluent-kafka";
    let Some(python) = python_with("confluent_kafka") else {
        return not_run("confluent-kafka is not here");
    };
    let door = Door::open();
    let events = "delivery-events";
    let secret = door.user(USER);
    delivers(&door.system, "told").await;
    // The log looks at its users once a second.
    until("the user is known", SOON, || async {
        (door.says(&python, client, &secret, "consume", events) == "done").then_some(())
    })
    .await;
    let denied = "TOPIC_AUTHORIZATION_FAILED";
    assert_eq!(door.says(&python, client, &secret, "produce", events), denied);
    assert_eq!(door.says(&python, client, &secret, "consume", "delivery-requests"), denied);
    let other = door.user("another");
    for wrong in ["guess", &other] {
        assert_eq!(door.says(&python, client, wrong, "consume", events), "refused");
    }
    let mut held = door.start(&python, client, &secret, "hold", events);
    let mut lines = BufReader::new(held.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "in");
    assert!(door.system.command(&["log", "user", "revoke", USER]).status.success());
    assert_eq!(lines.next().unwrap().unwrap(), "out");
    held.wait().unwrap();
    let audit = door.system.command(&["audit", "tail"]);
    let audit = String::from_utf8_lossy(&audit.stdout).into_owned();
    assert!(audit.contains("log user revoke stock-report"), "{audit}");
    // Services went on meanwhile.
    delivers(&door.system, "later").await;
}

/// Our own client logs in as a stock one does, and so does whoever stands between it and the log.
#[tokio::test]
async fn our_client_keeps_its_promises_over_tls_and_a_login() {
    let rules = "apiVersion: skein/v1\nkind: Authorization\nmetadata: {name: conformance}\n\
        spec:\n  service: broker\n  rules:\n  \
        - {callers: [spiffe://drone-delivery/ns/log-users/svc/conformance]}\n";
    let door = Door::open_by(rules);
    let secret = door.folder.path().join("secret");
    let conform = |only: &str, user: &str| {
        let ended = Command::new(built("skein"))
            .args(["conformance", "-o", "json", "--bootstrap"])
            .arg(format!("127.0.0.1:{}", door.system.port(92)))
            .args(["--tls", "--authorities"])
            .arg(door.folder.path().join("anchors.pem"))
            .args(["--only", only, "--user", user, "--secret-file"])
            .arg(&secret)
            .output()
            .unwrap();
        let said: Value = serde_json::from_slice(&ended.stdout).unwrap_or_default();
        (ended.status.code(), said)
    };
    fs::write(&secret, "guess\n").unwrap();
    assert_eq!(conform("produce/", "conformance").0, Some(5), "a wrong secret opens nothing");
    fs::write(&secret, door.user("conformance") + "\n").unwrap();
    until("the user is known", SOON, || async {
        (conform("a_receipt_names", "conformance").0 == Some(0)).then_some(())
    })
    .await;
    // Some of each kind: all of them take a minute.
    for only in ["produce/a_batch", "faults/an_answer"] {
        let (exit, said) = conform(only, "conformance");
        assert!(exit == Some(0) && said["hold"].as_u64() > Some(1), "{said}");
    }
}

#[tokio::test]
async fn other_stock_clients_log_in_as_well() {
    let door = Door::open();
    let secret = door.user(USER);
    delivers(&door.system, "told").await;
    for (client, module) in [("kafka-python", "kafka"), ("aiokafka", "aiokafka")] {
        let Some(python) = python_with(module) else {
            not_run(&format!("{client} is not here"));
            continue;
        };
        let door = &door;
        let (python, secret) = (&python, &secret);
        until(format!("{client} reads"), SOON, || async move {
            let said = door.says(python, client, secret, "consume", "delivery-events");
            (said == "done").then_some(())
        })
        .await;
    }
}
