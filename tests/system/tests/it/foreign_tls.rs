//! Services of anybody with identities: the example of `examples/mesh/tls`, started by its own script.

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use http::Method;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{
    foreign_mesh::{EXAMPLES, cannot_run},
    http::{Http, Reply},
    program::built,
    wait::until,
};

const SOON: Duration = Duration::from_secs(30);
/// The ports that the files name.
const PORTS: [u16; 10] = [8_101, 8_102, 8_221, 8_222, 8_321, 8_322, 8_421, 8_422, 8_470, 8_471];
const FILES: [&str; 5] = ["start", "orders.yaml", "stock.yaml", "rules.yaml", "more.yaml"];

/// The example on ports that are free; ended as by Ctrl-C when dropped.
struct Shop {
    folder: TempDir,
    ports: BTreeMap<u16, u16>,
    http: Http,
    script: Child,
}

impl Shop {
    fn open() -> Self {
        let free = PORTS.map(|_| TcpListener::bind(("127.0.0.1", 0)).unwrap());
        let numbers = free.iter().map(|it| it.local_addr().unwrap().port());
        let ports: BTreeMap<_, _> = PORTS.into_iter().zip(numbers).collect();
        drop(free);
        let folder = TempDir::with_prefix("skein-").unwrap();
        let own = folder.path().join("tls");
        fs::create_dir(&own).unwrap();
        for name in ["orders.py", "stock.js"] {
            fs::copy(Path::new(EXAMPLES).join(name), folder.path().join(name)).unwrap();
        }
        for name in FILES {
            let mut text = fs::read_to_string(Path::new(EXAMPLES).join("tls").join(name)).unwrap();
            for (written, free) in &ports {
                text = text.replace(&format!(":{written}"), &format!(":{free}"));
                text = text.replace(&format!("PORT={written}"), &format!("PORT={free}"));
            }
            fs::write(own.join(name), text).unwrap();
        }
        let skein = built("skein");
        let path = std::env::var("PATH").unwrap();
        let path = format!("{}:{path}", skein.parent().unwrap().display());
        let mut script = Command::new("sh");
        script.arg(own.join("start")).env("PATH", path).stdin(Stdio::null());
        Self { folder, ports, http: Http::new(), script: script.spawn().unwrap() }
    }

    async fn try_get(&self, written: u16, path: &str) -> Option<Reply> {
        let url = format!("http://127.0.0.1:{}{path}", self.ports[&written]);
        self.http.try_send(Method::GET, &url, &[], "").await.ok()
    }

    /// Waits until a call is answered with this.
    async fn answers(&self, written: u16, path: &str, status: u16) -> Reply {
        until(format!("{path} is answered with {status}"), SOON, || async {
            self.try_get(written, path).await.filter(|it| it.status == status)
        })
        .await
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        kill_process(Pid::from_child(&self.script), Signal::TERM).ok();
        self.script.wait().ok();
    }
}

#[tokio::test]
async fn one_caller_is_allowed_one_more_route_while_everything_runs() {
    if cannot_run() {
        return;
    }
    let shop = Shop::open();
    let order = shop.answers(8_101, "/orders/7", 200).await;
    assert_eq!(order.json()["told by"], "stock-1");
    // Stock says 200 also of what orders has refused.
    until("stock hears from orders", SOON, || async {
        let report = shop.try_get(8_102, "/report").await?;
        report.json()["orders"].as_u64().filter(|it| *it >= 1)
    })
    .await;

    let denied = shop.answers(8_321, "/report", 403).await;
    let told = denied.json();
    let detail = told["detail"].as_str().unwrap();
    assert!(told["code"] == "forbidden" && detail.contains("path_not_allowed"), "{told}");
    assert!(shop.try_get(8_222, "/stock/7").await.is_none(), "plain text came in at a door");

    let own = shop.folder.path().join("tls");
    fs::rename(own.join("more.yaml"), own.join("rules.yaml")).unwrap();
    shop.answers(8_321, "/report", 200).await;
    shop.answers(8_321, "/nothing", 403).await;
}
