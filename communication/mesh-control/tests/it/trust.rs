//! Whom to trust, as a control plane carries it from the machine with the anchors' keys to a branch.

use std::{path::Path, time::Duration};

use base::Random;
use identity::{
    AuthorityConfig, BRANCH_LIFE, Claims, Current, Grounds, HandshakeConfig, Handshakes,
    KeeperConfig, Membership, Office, Protocol, Serial, SpiffeId, keep,
};
use mesh_control::Upstream;
use runtime::Tasks;
use serde_json::{Value, json};
use telemetry::Telemetry;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream, UnixListener},
    time::timeout,
};

use crate::rig::{Control, Proxy, WITHIN, clock, eventually, instance};

const DOMAIN: &str = "mesh.test";

fn id(service: &str) -> SpiffeId {
    SpiffeId::new(DOMAIN, "shop", service).unwrap()
}

/// A machine: an authority, and the processes that it vouches for.
struct Machine {
    folder: TempDir,
    office: Office,
    telemetry: Telemetry,
    tasks: Tasks,
}

impl Machine {
    fn first() -> Self {
        Self::with(|state| {
            let (config, clock) = (AuthorityConfig::default(), clock());
            Office::open(config, DOMAIN, state.to_owned(), clock, &Telemetry::disabled()).unwrap()
        })
    }

    fn branch(&self) -> Self {
        let file = self.office.branch(BRANCH_LIFE).unwrap().state;
        Self::with(|state| {
            let (config, clock, none) =
                (AuthorityConfig::default(), clock(), Telemetry::disabled());
            Office::open_branch(config, DOMAIN, state.to_owned(), &file, clock, &none).unwrap()
        })
    }

    fn with(open: impl FnOnce(&Path) -> Office) -> Self {
        let (folder, tasks) = (tempfile::tempdir().unwrap(), Tasks::new());
        let office = open(&folder.path().join("authority.json"));
        let uid = rustix::process::geteuid().as_raw();
        office.admit(Claims::default().with_namespace(uid, "shop"));
        let listener = UnixListener::bind(folder.path().join("authority.sock")).unwrap();
        office.serve(listener, &tasks);
        Self { folder, office, telemetry: Telemetry::disabled(), tasks }
    }

    async fn process(&self, service: &str) -> (Handshakes, Current) {
        let config = KeeperConfig { look_ms: 50, ..KeeperConfig::default() };
        let authority = self.folder.path().join("authority.sock");
        let membership = Membership { authority, id: id(service), grounds: Grounds::User };
        let random = Random::with_seed(1);
        let mut current = keep(config, membership, clock(), random, &self.telemetry, &self.tasks);
        timeout(WITHIN, current.wait_for(Option::is_some)).await.unwrap().unwrap();
        let bounds = HandshakeConfig::default();
        let handshakes = Handshakes::new(&bounds, current.clone(), clock(), &self.telemetry);
        (handshakes, current)
    }

    fn version(&self) -> u64 {
        self.office.standing().bundle.version
    }
}

fn upstream(control: &Control, known: Handshakes) -> Upstream {
    Upstream { address: control.address, identity: Some((known, id("control"))) }
}

/// Waits until a process trusts by the bundle of this version.
async fn trusts(current: &mut Current, version: u64) {
    let is_there =
        current.wait_for(|it| it.as_ref().is_some_and(|it| it.trust().bundle().version == version));
    assert!(matches!(timeout(WITHIN, is_there).await, Ok(Ok(_))), "never version {version}");
}

#[tokio::test]
async fn a_branch_hears_of_the_control_plane_whom_the_first_machine_trusts() {
    let here = Machine::first();
    let there = here.branch();
    let control = Control::start(Some(here.process("control").await.0)).await;
    let (known, mut cart) = there.process("cart").await;
    let mut proxy = Proxy::start(upstream(&control, known), vec![instance("cart", 1)]);
    proxy.until("cart", &[1]).await;
    trusts(&mut cart, 1).await;

    let new = here.office.rotate_anchor().unwrap();
    here.office.revoke(Serial::parse("0abc").unwrap()).unwrap();
    trusts(&mut cart, here.version()).await;
    let bundle = cart.borrow().as_ref().unwrap().trust().bundle().clone();
    assert_eq!(bundle, here.office.standing().bundle);
    assert!(bundle.anchor_ids().contains(&new));
    eventually("its authority is told", || there.version() == here.version()).await;
    assert_eq!(control.plane.shown()["trusts"], json!(here.version()));
    // Whoever comes later is told at once.
    let (known, mut late) = there.process("late").await;
    let _late = Proxy::start(upstream(&control, known), Vec::new());
    trusts(&mut late, here.version()).await;
    let state = proxy.state.borrow().clone();
    assert!(state.sets.contains_key("cart") && state.trust.is_some());
}

#[tokio::test]
async fn a_control_plane_under_a_branch_carries_what_the_branch_was_told() {
    let here = Machine::first();
    let (there, third) = (here.branch(), here.branch());
    let control = Control::start(Some(there.process("control").await.0)).await;
    let (known, mut cart) = third.process("cart").await;
    let _proxy = Proxy::start(upstream(&control, known), Vec::new());
    here.office.revoke(Serial::parse("0abc").unwrap()).unwrap();
    // One process of the first machine that hears it tells nobody; one of the branch is enough.
    let (_, mut till) = here.process("till").await;
    let is_known = |it: &identity::Credentials| it.trust().signed().is_some();
    till.wait_for(|it| it.as_ref().is_some_and(|it| is_known(it))).await.unwrap();
    let signed = till.borrow().as_ref().unwrap().trust().signed().unwrap().clone();
    let (_, shop) = there.process("shop").await;
    shop.borrow().as_ref().unwrap().offer((*signed).clone());
    trusts(&mut cart, here.version()).await;
}

/// Says a line and reads what comes, until one has the kind.
async fn told<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(
    stream: &mut BufReader<S>,
    kind: &str,
) -> Value {
    loop {
        let mut line = String::new();
        assert!(timeout(WITHIN, stream.read_line(&mut line)).await.unwrap().unwrap() > 0);
        let mut value: Value = serde_json::from_str(&line).unwrap();
        if let Some(told) = value.get_mut(kind) {
            return told.take();
        }
    }
}

#[tokio::test]
async fn who_speaks_the_wire_before_is_told_of_no_trust() {
    let here = Machine::first();
    let control = Control::start(Some(here.process("control").await.0)).await;
    eventually("it has what it carries", || !control.plane.shown()["trusts"].is_null()).await;
    for (wire, is_told) in [(1, false), (2, true)] {
        let (known, _current) = here.process("cart").await;
        let stream = TcpStream::connect(control.address).await.unwrap();
        let known = known.connect(stream, &id("control"), Protocol::Control).await.unwrap();
        let mut stream = BufReader::new(known.stream);
        let said = format!("{{\"subscribe\":{{\"wire\":{wire},\"name\":\"cart\"}}}}\n");
        stream.write_all(said.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        assert_eq!(told(&mut stream, "welcome").await["wire"], json!(wire));
        let snapshot = told(&mut stream, "snapshot").await;
        assert_eq!(snapshot.get("trust").is_some(), is_told, "{snapshot}");
    }
}

#[tokio::test]
async fn a_control_plane_that_knows_the_wire_before_alone_is_heard() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut proxy = Proxy::start(Upstream { address, identity: None }, Vec::new());
    let before = async {
        loop {
            let mut stream = BufReader::new(listener.accept().await.unwrap().0);
            if told(&mut stream, "subscribe").await["wire"] != 1 {
                // It does not speak it.
                continue;
            }
            let said = "{\"welcome\":{\"wire\":1,\"lease_ms\":600000}}\n\
                        {\"snapshot\":{\"version\":1,\"whole\":true,\"settled\":true,\"services\":\
                        {\"cart\":{\"protocol\":\"http\",\"endpoints\":[{\"address\":\"127.0.0.1:7001\"}]}}}}\n";
            stream.write_all(said.as_bytes()).await.unwrap();
            return told(&mut stream, "acknowledge").await;
        }
    };
    let acknowledged = timeout(WITHIN, before).await.unwrap();
    assert_eq!(acknowledged["version"], json!(1));
    proxy.until("cart", &[1]).await;
    proxy.tasks.drain(Duration::from_secs(5)).await;
}
