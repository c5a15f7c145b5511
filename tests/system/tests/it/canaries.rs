//! Secrets are planted, used, and looked for wherever something is written or shown.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use http::Method;
use notifications::testing::{Mailbox, Postbox};
use serde_json::json;

use crate::{
    people::order_of,
    program::{Process, System},
    wait::until,
};

const SOON: Duration = Duration::from_secs(60);
/// What an operator writes into a file of settings.
const PASSWORD: &str = "canary-of-the-mail-server-7c1f";
const TOKEN: &str = "canary-of-the-texts-5e90";
const SIGNING: &str = "canary-of-the-webhook-b2a4";
/// What a stranger shows.
const GUESS: &str = "canary-of-a-guess-90ab";

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files_below(&entry.path())),
            Ok(kind) if kind.is_file() => found.push(entry.path()),
            Ok(_) | Err(_) => {}
        }
    }
    found
}

fn holds(bytes: &[u8], secret: &str) -> bool {
    bytes.windows(secret.len()).any(|it| it == secret.as_bytes())
}

/// One that a file of the data directory keeps for its owner.
fn kept(system: &System, file: &str) -> String {
    fs::read_to_string(system.data().join(file)).unwrap().trim().to_owned()
}

/// Secrets by what they are, each with the file in which its holder keeps it.
struct Canaries(BTreeMap<&'static str, (String, Option<&'static str>)>);

impl Canaries {
    /// Those of a system, beside these two that were drawn for people.
    fn of(system: &System, user: String, customer: String) -> Self {
        const SETTINGS: Option<&str> = Some("settings.json");
        let own = |file: &'static str| (kept(system, file), Some(file));
        let all = [
            ("password of the mail server", (PASSWORD.to_owned(), SETTINGS)),
            ("token of the texts", (TOKEN.to_owned(), SETTINGS)),
            ("secret of the webhook", (SIGNING.to_owned(), SETTINGS)),
            ("secret of a user of the log", (user, None)),
            ("key of a customer", (customer, None)),
            ("key of the demo", own("edge/demo.key")),
            ("token of the page", own("edge/page.token")),
            ("token of operators", own("edge/operators.token")),
            ("guess of a stranger", (GUESS.to_owned(), None)),
        ];
        Self(all.into())
    }

    /// They are in no file but their own, which their owner alone reads.
    fn are_in_no_file(&self, data: &Path) {
        for path in files_below(data) {
            let Ok(bytes) = fs::read(&path) else { continue };
            for (what, (secret, kept_in)) in &self.0 {
                let is_home = kept_in.is_some_and(|it| data.join(it) == path);
                assert!(is_home || !holds(&bytes, secret), "the {what} is in {}", path.display());
            }
        }
        for file in self.0.values().filter_map(|it| it.1) {
            let mode = fs::metadata(data.join(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{file} is readable by others");
        }
    }

    fn are_not_in(&self, bytes: &[u8], place: &str) {
        for (what, (secret, _)) in &self.0 {
            assert!(!holds(bytes, secret), "the {what} is in {place}");
        }
    }

    /// They are neither in what a process was started with nor in what it shows to operators.
    async fn are_not_shown_by(&self, system: &System, process: &Process) {
        for part in ["cmdline", "environ"] {
            let bytes = fs::read(format!("/proc/{}/{part}", process.pid)).unwrap_or_default();
            self.are_not_in(&bytes, &format!("{part} of {}", process.instance));
        }
        let Some(admin) = process.admin else { return };
        for page in ["/metrics", "/routes", "/endpoints", "/identity", "/authorizations"] {
            let said = system.http.get(&format!("http://127.0.0.1:{admin}{page}")).await.body;
            self.are_not_in(&said, &format!("{page} of {}", process.instance));
        }
    }
}

/// A file of settings with secrets of others, who take what they are told.
fn write_settings(file: &Path, mail: &Mailbox, texts: &Postbox, program: &Postbox) {
    let smtp = json!({"host": "127.0.0.1", "port": mail.port(), "tls": "none", "user": "drones",
        "password": PASSWORD});
    let notifications = json!({
        "smtp": smtp,
        "sms": {"url": texts.url("/messages"), "token": TOKEN},
        "webhook": {"url": program.url("/hook"), "secret": SIGNING},
        "patience": {"first_wait_ms": 200},
    });
    let settings = json!({"delivery": {"notifications": notifications}});
    fs::write(file, settings.to_string()).unwrap();
}

/// P14.
#[tokio::test]
async fn no_secret_stands_anywhere_but_where_its_holder_keeps_it() {
    let (mail, texts) = (Mailbox::open().await.unwrap(), Postbox::open().await.unwrap());
    let program = Postbox::open().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("secrets.json");
    write_settings(&config, &mail, &texts, &program);
    let system = System::up(&["--time-scale", "600", "--config", config.to_str().unwrap()]);
    let alice = system.person("alice", "customer").await;
    let user = system.command_json(&["log", "user", "add", "stock-report"]);
    let user = user["secret"].as_str().unwrap().to_owned();
    let id = alice.ordered(&order_of("alice")).await;
    let path = format!("/api/deliveries/{id}/notifymerequests");
    let wish = json!({"emailAddress": "alice@example.org", "sms": "+358401970519"}).to_string();
    assert_eq!(alice.send(Method::POST, &path, &[], wish).await.status, 204);
    // They are used: what signs and what is shown go out.
    until("program and texts are told", SOON, || async {
        (!program.taken().is_empty() && !texts.taken().is_empty()).then_some(())
    })
    .await;
    system.ends(&id, "Completed", SOON).await;
    for scheme in ["Bearer", "Basic"] {
        let shown = format!("{scheme} {GUESS}");
        let url = system.gateway("/api/deliveryrequests/x");
        let headers = [("authorization", &*shown)];
        assert_eq!(system.http.send(Method::GET, &url, &headers, "").await.status, 401);
    }
    let customer = alice.bearer.trim_start_matches("Bearer ").to_owned();
    let canaries = Canaries::of(&system, user, customer);
    canaries.are_in_no_file(system.data());
    for process in system.processes() {
        canaries.are_not_shown_by(&system, &process).await;
    }
    let spans = system.http.get(&system.url(0, &format!("/api/traces?delivery={id}"))).await;
    assert_eq!(spans.status, 200);
    canaries.are_not_in(&spans.body, "the spans");
    let told = system.at("delivery", &format!("/api/deliveries/{id}/notifications"));
    canaries.are_not_in(&system.http.get(&told).await.body, "what was told");
    for command in [&["config"][..], &["key", "list"], &["log", "user", "list"], &["audit", "tail"]]
    {
        let said = system.command(command);
        canaries.are_not_in(&[said.stdout, said.stderr].concat(), &command.join(" "));
    }
}
