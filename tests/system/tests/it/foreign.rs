//! A team with another language: a stock Kafka client reads what happens and asks for deliveries.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    peers::{not_run, python_with_kafka},
    program::{System, sample_request},
    wait::until,
};

const ABSENT: &str = "no Python here has confluent-kafka";

/// A script of `examples/` that runs beside the system; its last line of output can be read.
struct Script {
    child: Child,
    said: Arc<Mutex<String>>,
}

impl Script {
    fn start(system: &System, name: &str) -> Option<Self> {
        let file = format!("{}/../../examples/{name}", env!("CARGO_MANIFEST_DIR"));
        let mut child = Command::new(python_with_kafka()?)
            .arg(file)
            .arg(format!("127.0.0.1:{}", system.port(92)))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (output, said) = (child.stdout.take().unwrap(), Arc::new(Mutex::new(String::new())));
        let heard = Arc::clone(&said);
        // Ends with the script's output.
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                *heard.lock().unwrap() = line;
            }
        });
        Some(Self { child, said })
    }

    async fn says(&self, what: &str) -> String {
        until(format!("the script says {what}"), Duration::from_secs(60), || async {
            let said = self.said.lock().unwrap().clone();
            said.contains(what).then_some(said)
        })
        .await
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::INT).ok();
        }
        self.child.wait().ok();
    }
}

#[tokio::test]
async fn a_stock_client_counts_the_stages() {
    let system = System::up(&["--time-scale", "600"]);
    let Some(script) = Script::start(&system, "analytics.py") else { return not_run(ABSENT) };
    for _ in 0..3 {
        system.accepted(&sample_request()).await;
    }
    script.says("'DeliveryCompleted': 3").await;
}

#[tokio::test]
async fn a_request_that_a_stock_client_produces_is_delivered() {
    let system = System::up(&["--time-scale", "600"]);
    let Some(script) = Script::start(&system, "request.py") else { return not_run(ABSENT) };
    let id = script.says("-").await;
    system.ends(&id, "Completed", Duration::from_secs(60)).await;
}
