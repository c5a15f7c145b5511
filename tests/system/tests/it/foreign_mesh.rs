//! Services of anybody behind `skein proxy`: one in Python, one in Node, as the guide has them. They
//! are killed, stopped and slowed, and whoever calls through a door does not notice.

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
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    http::{Http, Reply},
    peers::{has, not_run},
    program::built,
    wait::until,
};

pub(crate) const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/mesh");
const GUIDE: &str = include_str!("../../../../docs/guides/put-a-service-behind-the-mesh.md");
const SOON: Duration = Duration::from_secs(20);

/// What runs; killed when dropped.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// The example, on ports that are free, in a folder of its own.
struct Shop {
    folder: TempDir,
    ports: BTreeMap<u16, u16>,
    http: Http,
    programs: BTreeMap<&'static str, Running>,
}

impl Shop {
    /// Orders and two instances of stock with their proxies; the second stock answers after a delay.
    /// `edit` changes the files before anything reads them.
    async fn open(delay_ms: u32, edit: impl Fn(&Path)) -> Self {
        let listeners: Vec<_> =
            (0..12).map(|_| TcpListener::bind(("127.0.0.1", 0)).unwrap()).collect();
        let numbers = [1, 2, 3, 4].into_iter().flat_map(|door| (1..=3).map(move |it| (door, it)));
        let ports = numbers
            .zip(&listeners)
            .map(|((door, it), free)| (8_000 + door * 100 + it, free.local_addr().unwrap().port()));
        let ports: BTreeMap<_, _> = ports.collect();
        drop(listeners);
        let folder = TempDir::with_prefix("skein-").unwrap();
        let mut shop = Self { folder, ports, http: Http::new(), programs: BTreeMap::new() };
        for name in ["orders.yaml", "stock.yaml", "stock-2.yaml", "where.yaml", "how.yaml"] {
            shop.lay(name);
        }
        edit(shop.folder.path());
        shop.stock("stock-1", 8_102, 8_302, 0);
        shop.stock("stock-2", 8_103, 8_303, delay_ms);
        let mut orders = Command::new("python3");
        orders.arg(format!("{EXAMPLES}/orders.py")).env("PORT", shop.port(8_101));
        orders.env("STOCK", format!("http://127.0.0.1:{}", shop.port(8_301)));
        shop.programs.insert("orders", Running::start(&mut orders));
        for name in ["orders", "stock", "stock-2"] {
            let mut proxy = Command::new(built("skein"));
            proxy.arg("proxy").arg("--config").arg(shop.path(&format!("{name}.yaml")));
            let proxy = Running::start(&mut proxy);
            let name = match name {
                "orders" => "proxy of orders",
                "stock" => "proxy of stock-1",
                _ => "proxy of stock-2",
            };
            shop.programs.insert(name, proxy);
        }
        for (door, path) in [(8_201, "/count"), (8_202, "/report"), (8_203, "/report")] {
            let url = shop.url(door, path);
            until(format!("{url} answers"), SOON, || async {
                let reply = shop.http.try_send(Method::GET, &url, &[], "").await.ok()?;
                (reply.status == 200).then_some(())
            })
            .await;
        }
        shop
    }

    fn stock(&mut self, name: &'static str, port: u16, orders: u16, delay_ms: u32) {
        let mut stock = Command::new("node");
        stock.arg(format!("{EXAMPLES}/stock.js")).env("PORT", self.port(port));
        stock.env("ORDERS", format!("http://127.0.0.1:{}", self.port(orders)));
        stock.env("INSTANCE", name).env("DELAY_MS", delay_ms.to_string());
        self.programs.insert(name, Running::start(&mut stock));
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// A file of the example with the ports of this shop, renamed into place.
    fn lay(&self, name: &str) {
        let mut text = fs::read_to_string(Path::new(EXAMPLES).join(name)).unwrap();
        for (written, free) in &self.ports {
            text = text.replace(&format!("127.0.0.1:{written}"), &format!("127.0.0.1:{free}"));
        }
        let draft = self.path("draft");
        fs::write(&draft, text).unwrap();
        fs::rename(&draft, self.path(name)).unwrap();
    }

    fn port(&self, written: u16) -> String {
        self.ports[&written].to_string()
    }

    fn url(&self, written: u16, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port(written))
    }

    /// One order, through the door of orders, which asks stock through its own.
    async fn order(&self) -> Reply {
        self.http.get(&self.url(8_201, "/orders/7")).await
    }

    /// So many orders: how many of them each instance of stock told of. None may fail.
    async fn orders(&self, count: u32) -> BTreeMap<String, u32> {
        let mut told = BTreeMap::new();
        for number in 0..count {
            let reply = self.order().await;
            assert_eq!(reply.status, 200, "order {number}: {:?}", reply.body);
            let by = reply.json()["told by"].as_str().unwrap().to_owned();
            *told.entry(by).or_default() += 1;
        }
        told
    }

    /// The breaker of an instance of stock, as the proxy of orders has it.
    async fn breaker(&self, instance: &str) -> String {
        let all = self.http.get(&self.url(8_401, "/endpoints")).await.json();
        let rows = |of: &Value| of.as_array().unwrap().clone();
        let stock = rows(&all["destinations"]).into_iter().find(|it| it["service"] == "stock");
        let endpoints = rows(&stock.unwrap()["endpoints"]);
        let found = endpoints.iter().find(|it| it["endpoint"] == instance).unwrap();
        found["breaker"].as_str().unwrap().to_owned()
    }
}

pub(crate) fn cannot_run() -> bool {
    let lacks = ["python3", "node"].into_iter().find(|it| !has(it));
    if let Some(program) = lacks {
        not_run(&format!("there is no {program}"));
    }
    lacks.is_some()
}

fn append(folder: &Path, line: &str) {
    let path = folder.join("how.yaml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{text}  {line}\n")).unwrap();
}

#[tokio::test]
async fn no_call_fails_while_one_of_two_instances_is_killed() {
    if cannot_run() {
        return;
    }
    let mut shop = Shop::open(0, |_| ()).await;
    let told = shop.orders(50).await;
    assert_eq!(told.len(), 2, "one instance had all: {told:?}");
    // The program alone: its proxy still takes calls and can hand them to nobody.
    drop(shop.programs.remove("stock-1"));
    assert_eq!(shop.orders(200).await, [("stock-2".to_owned(), 200)].into());
    // It is back, and then the other one goes with its proxy.
    shop.stock("stock-1", 8_102, 8_302, 0);
    drop(shop.programs.remove("proxy of stock-2"));
    drop(shop.programs.remove("stock-2"));
    until("stock-1 is tried again", SOON, || async {
        (shop.order().await.status == 200).then_some(())
    })
    .await;
    assert_eq!(shop.orders(200).await, [("stock-1".to_owned(), 200)].into());
}

#[tokio::test]
async fn an_instance_that_stands_still_loses_its_calls_and_gets_them_back() {
    if cannot_run() {
        return;
    }
    // In turn, so that the one that fails is asked again and its breaker has to decide.
    let shop = Shop::open(0, |folder| append(folder, "balancer: {algorithm: roundRobin}")).await;
    shop.programs["stock-1"].signal(Signal::STOP);
    assert_eq!(shop.orders(20).await, [("stock-2".to_owned(), 20)].into());
    assert_eq!(shop.breaker("stock-1").await, "open");
    assert_eq!(shop.breaker("stock-2").await, "closed");
    shop.programs["stock-1"].signal(Signal::CONT);
    until("stock-1 is used again", SOON, || async {
        let reply = shop.order().await;
        assert_eq!(reply.status, 200);
        (reply.json()["told by"] == "stock-1").then_some(())
    })
    .await;
    assert_eq!(shop.breaker("stock-1").await, "closed");
}

#[tokio::test]
async fn an_instance_that_is_slow_gets_few_calls() {
    if cannot_run() {
        return;
    }
    let shop = Shop::open(300, |_| ()).await;
    let told = shop.orders(200).await;
    let slow = told.get("stock-2").copied().unwrap_or(0);
    assert!(slow < 40, "the slow one got {slow} of 200");
}

#[tokio::test]
async fn what_the_guide_adds_takes_effect_while_calls_go_on() {
    if cannot_run() {
        return;
    }
    let shop = Shop::open(0, |folder| {
        for name in ["orders.yaml", "stock.yaml", "stock-2.yaml"] {
            let path = folder.join(name);
            let text = fs::read_to_string(&path).unwrap();
            fs::write(&path, text.replace("how.yaml]", "how.yaml, extra.yaml]")).unwrap();
        }
        fs::write(folder.join("extra.yaml"), "").unwrap();
    })
    .await;
    let add = |name: &str| {
        shop.lay(name);
        fs::rename(shop.path(name), shop.path("extra.yaml")).unwrap();
    };
    add("limit.yaml");
    until("the limit is reached", SOON, || async {
        let reply = shop.order().await;
        (reply.status == 429).then_some(())
    })
    .await;
    add("fault.yaml");
    until("the planted fault shows", SOON, || async {
        (shop.order().await.status == 503).then_some(())
    })
    .await;
    add("versions.yaml");
    until("stock answers again", SOON, || async {
        (shop.order().await.status == 200).then_some(())
    })
    .await;
    let told = shop.orders(200).await;
    let second = told.get("stock-2").copied().unwrap_or(0);
    // 90 to 10, five standard deviations wide.
    assert!(second < 42, "the second version got {second} of 200");
    let stock = shop.url(8_301, "/stock/7");
    for _ in 0..20 {
        let reply = shop.http.send(Method::GET, &stock, &[("api-version", "v2")], "").await;
        assert_eq!(reply.json()["instance"], "stock-2");
    }
}

#[test]
fn the_guide_shows_the_files_that_are_tested() {
    for name in ["orders.yaml", "stock.yaml", "where.yaml", "how.yaml", "limit.yaml", "fault.yaml"]
    {
        let text = fs::read_to_string(Path::new(EXAMPLES).join(name)).unwrap();
        assert!(GUIDE.contains(&text), "{name} stands otherwise in the guide");
    }
    // Of this one the guide shows the part that splits.
    let text = fs::read_to_string(Path::new(EXAMPLES).join("versions.yaml")).unwrap();
    let (_, split) = text.split_once("metadata: {name: stock}\nspec:\n").unwrap();
    assert!(GUIDE.contains(split), "versions.yaml stands otherwise in the guide");
}
