//! A Chromium without a window, led over its own pipe (the Chrome DevTools Protocol, messages that
//! end in NUL): no port, no driver, nothing that could reach the network.

use std::{process::Stdio, time::Duration};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use crate::{peers::has, wait::until};

/// Longest wait for one answer of the browser, and for one thing to appear on a page.
const PATIENCE: Duration = Duration::from_secs(60);
/// The browser reads from file 3 and writes to file 4.
const PIPE: &str = r#"exec "$@" 3<&0 4>&1 </dev/null >/dev/null"#;
const FLAGS: [&str; 11] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1440,1000",
    "--remote-debugging-pipe",
];

/// The program, where it is installed.
pub(crate) fn chromium() -> Option<&'static str> {
    has("chromium").then_some("chromium")
}

/// A browser with one page. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Browser {
    asking: ChildStdin,
    answers: BufReader<ChildStdout>,
    session: Option<String>,
    last: u64,
    _child: Child,
    _profile: TempDir,
}

impl Browser {
    /// Opens a page.
    pub(crate) async fn open(program: &str, url: &str) -> Self {
        let profile = TempDir::with_prefix("chromium-").unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", PIPE, "sh", program]).args(FLAGS);
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let (asking, answers) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let answers = BufReader::new(answers);
        let (session, last) = (None, 0);
        let mut browser = Self { asking, answers, session, last, _child: child, _profile: profile };
        let target = browser.ask("Target.createTarget", json!({"url": "about:blank"})).await;
        let target = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.ask("Target.attachToTarget", target).await;
        browser.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        browser.ask("Page.navigate", json!({"url": url})).await;
        browser
    }

    async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let mut message = json!({"id": self.last, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let exchange = async {
            self.asking.write_all(format!("{message}\0").as_bytes()).await.unwrap();
            loop {
                let mut answer = Vec::new();
                let read = self.answers.read_until(0, &mut answer).await.unwrap();
                assert!(read > 0, "the browser ended at {method}");
                let answer: Value = serde_json::from_slice(&answer[..read - 1]).unwrap();
                // What it tells unasked is passed over.
                if answer["id"] == self.last {
                    assert!(answer["error"].is_null(), "{method}: {answer}");
                    break answer["result"].clone();
                }
            }
        };
        timeout(PATIENCE, exchange).await.unwrap_or_else(|_| panic!("no answer to {method}"))
    }

    /// The value of an expression on the page; null where it fails.
    pub(crate) async fn value(&mut self, expression: &str) -> Value {
        let asked = json!({"expression": expression, "returnByValue": true});
        self.ask("Runtime.evaluate", asked).await["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    pub(crate) async fn shows(&mut self, expression: &str) {
        let browser = tokio::sync::Mutex::new(self);
        until(expression, PATIENCE, async || {
            let mut browser = browser.lock().await;
            (browser.value(expression).await == true).then_some(())
        })
        .await;
    }

    /// Presses a key, as a person would.
    pub(crate) async fn press(&mut self, key: &str) {
        // Enter acts by the text that it types; the others by their codes.
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            "Escape" => (27, ""),
            "ArrowUp" => (38, ""),
            "ArrowDown" => (40, ""),
            other => panic!("no code is known for {other}"),
        };
        for kind in ["keyDown", "keyUp"] {
            let mut event =
                json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code});
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = json!(text);
            }
            self.ask("Input.dispatchKeyEvent", event).await;
        }
    }

    /// Pretends that the user prefers this value of a media feature.
    pub(crate) async fn prefers(&mut self, feature: &str, value: &str) {
        let features = json!({"features": [{"name": feature, "value": value}]});
        self.ask("Emulation.setEmulatedMedia", features).await;
    }
}
