//! Who may call what, at the door of a service that knows its callers.

use std::{net::SocketAddr, sync::atomic::Ordering};

use mesh_policy::{
    Policy,
    authorization::{Authorization, Caller, Mode, Rule, Template},
    destination::Protocol,
};
use mesh_proxy::{Door, Forward, Guard, Limits, Mesh, Outbound, Site, Way};
use runtime::Tasks;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    identity_between::{caller, echo, open, program},
    rig::policy,
    world::{LONG, Party, World, id},
};

fn rule(callers: &[&str], methods: &[&str], paths: &[&str]) -> Rule {
    Rule {
        callers: callers.iter().map(|it| Caller::Identity(id(it).to_string())).collect(),
        methods: methods.iter().map(|it| (*it).to_owned()).collect(),
        paths: paths.iter().map(|it| Template::parse(it).unwrap()).collect(),
    }
}

fn judged_by(behind: Policy, mode: Mode, rules: Vec<Rule>) -> Policy {
    let (name, service) = ("cart".to_owned(), "cart".to_owned());
    Policy { authorizations: vec![Authorization { name, service, mode, rules }], ..behind }
}

/// The door of `cart`, with its mesh; it lets in those alone who show an identity if it is to know.
fn door(
    world: &World,
    knowing: Option<&Party>,
    policy: Policy,
    tasks: &Tasks,
) -> (SocketAddr, Mesh) {
    let spoken = policy.endpoints["back"].protocol;
    let mesh = Mesh::new("cart", policy, &world.telemetry).unwrap();
    let way = Way::To(Door::Service("back".to_owned()));
    let handler = Forward::new(Outbound::new(mesh.clone()), way).speaking(Some(spoken));
    let site = Site::new("inbound", handler, Limits::default(), &world.telemetry);
    let mut site = site.guarded(Guard::new(mesh.clone(), "cart", &world.telemetry));
    if let Some(party) = knowing {
        site = site.knowing(party.handshakes.clone());
    }
    (open(site, tasks), mesh)
}

/// The whole answer to a request without a body.
async fn ask(door: SocketAddr, request: &str, fields: &str) -> String {
    let asked = async {
        let mut stream = TcpStream::connect(door).await.unwrap();
        let head = format!("{request} HTTP/1.1\r\nhost: cart\r\n{fields}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _cut = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    timeout(LONG, asked).await.expect("an answer or an end")
}

const CLOSE: &str = "connection: close\r\n";

/// What became of a request: its status, and the reason of a 403 as the caller reads it.
async fn outcome(door: SocketAddr, request: &str) -> String {
    let answer = ask(door, request, CLOSE).await;
    let status = answer.get(9..12).unwrap_or("none").to_owned();
    if status != "403" {
        return status;
    }
    assert!(answer.contains("skein-error: forbidden\r\n"), "{answer}");
    assert!(answer.contains("application/problem+json"), "{answer}");
    let (_, detail) = answer.split_once("\"detail\":\"").unwrap();
    detail.split('"').next().unwrap().rsplit(' ').next().unwrap().to_owned()
}

/// mesh 12b: 52.
#[tokio::test]
async fn what_no_rule_allows_is_403_in_every_spelling_and_the_program_never_hears_of_it() {
    let (mut world, tasks) = (World::new(3_600), Tasks::new());
    let (cart, till, stock) = (world.party("cart"), world.party("till"), world.party("stock"));
    let (program, asked) = program().await;
    let rules = vec![
        rule(&["till"], &["GET"], &["/api/items/{id}"]),
        rule(&["till", "stock"], &["GET"], &["/public"]),
    ];
    let behind = policy(Protocol::Http1, &[program.address]);
    let policy = judged_by(behind, Mode::Enforce, rules);
    let (there, _) = door(&world, Some(&cart), policy, &tasks);
    let services = [("cart", there, Some("cart"))];
    let (till, stock) =
        (caller(&world, &till, &services, &tasks), caller(&world, &stock, &services, &tasks));
    assert_eq!(outcome(till, "GET /api/items/7").await, "200");
    assert_eq!(outcome(till, "GET /public/../api/items/7?x=1").await, "200");
    assert_eq!(outcome(stock, "GET /public").await, "200");
    let allowed = asked.load(Ordering::Relaxed);
    assert_eq!(allowed, 3);
    for path in ["/admin", "/api/items/../../admin", "/api/items/%2e%2e/%2e%2e/admin", "/%61dmin"] {
        assert_eq!(outcome(till, &format!("GET {path}")).await, "path_not_allowed", "{path}");
    }
    assert_eq!(outcome(till, "DELETE /api/items/7").await, "method_not_allowed_for_caller");
    assert_eq!(outcome(stock, "GET /api/items/7").await, "path_not_allowed");
    assert_eq!(asked.load(Ordering::Relaxed), allowed, "the program was asked");
    let text = world.text();
    let counted = "mesh_denied_requests_total{service=\"cart\",reason=\"path_not_allowed\",mode=\"enforce\"} 5";
    assert!(text.contains(counted), "{text}");
    tasks.drain(LONG).await;
}

#[tokio::test]
async fn a_door_that_knows_its_callers_is_shut_where_nobody_says_who_may_come() {
    let (mut world, tasks) = (World::new(3_600), Tasks::new());
    let (cart, till) = (world.party("cart"), world.party("till"));
    let (program, asked) = program().await;
    let behind = policy(Protocol::Http1, &[program.address]);
    let (there, mesh) = door(&world, Some(&cart), behind.clone(), &tasks);
    let till = caller(&world, &till, &[("cart", there, Some("cart"))], &tasks);
    assert_eq!(outcome(till, "GET /").await, "no_policy");
    // The next request on the same connection is judged by what holds then.
    let rules = vec![rule(&["till"], &[], &[])];
    mesh.replace(judged_by(behind.clone(), Mode::Enforce, rules)).unwrap();
    assert_eq!(outcome(till, "GET /").await, "200");
    mesh.replace(judged_by(behind, Mode::Enforce, vec![rule(&["stock"], &[], &[])])).unwrap();
    assert_eq!(outcome(till, "GET /").await, "caller_not_allowed");
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    tasks.drain(LONG).await;
}

#[tokio::test]
async fn a_plain_door_is_open_until_somebody_says_who_may_come() {
    let (world, tasks) = (World::new(3_600), Tasks::new());
    let (program, asked) = program().await;
    let behind = policy(Protocol::Http1, &[program.address]);
    let (plain, mesh) = door(&world, None, behind.clone(), &tasks);
    assert_eq!(outcome(plain, "GET /").await, "200");
    mesh.replace(judged_by(behind, Mode::Enforce, vec![rule(&["till"], &[], &[])])).unwrap();
    assert_eq!(outcome(plain, "GET /").await, "no_identity");
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    tasks.drain(LONG).await;
}

#[tokio::test]
async fn in_audit_mode_everybody_passes_and_is_counted() {
    let (mut world, tasks) = (World::new(3_600), Tasks::new());
    let (cart, till) = (world.party("cart"), world.party("till"));
    let (program, _asked) = program().await;
    let behind = policy(Protocol::Http1, &[program.address]);
    let policy = judged_by(behind, Mode::Audit, vec![rule(&["stock"], &[], &[])]);
    let (there, _) = door(&world, Some(&cart), policy, &tasks);
    let till = caller(&world, &till, &[("cart", there, Some("cart"))], &tasks);
    assert_eq!(outcome(till, "GET /").await, "200");
    let text = world.text();
    let counted = "mesh_denied_requests_total{service=\"cart\",reason=\"caller_not_allowed\",mode=\"audit\"} 1";
    assert!(text.contains(counted), "{text}");
    tasks.drain(LONG).await;
}

#[tokio::test]
async fn a_change_of_protocol_is_judged_before_it_happens() {
    let (mut world, tasks) = (World::new(3_600), Tasks::new());
    let (cart, till) = (world.party("cart"), world.party("till"));
    let (program, _echoing) = echo().await;
    let rules = vec![rule(&["till"], &["GET"], &["/open"])];
    let policy = judged_by(policy(Protocol::Http1, &[program]), Mode::Enforce, rules);
    let (there, _) = door(&world, Some(&cart), policy, &tasks);
    let till = caller(&world, &till, &[("cart", there, Some("cart"))], &tasks);
    let upgrade = "connection: upgrade\r\nupgrade: echo\r\n";
    let ask = |path: &'static str| async move {
        let mut stream = TcpStream::connect(till).await.unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nhost: cart\r\n{upgrade}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).await.unwrap();
        String::from_utf8_lossy(&status[9..]).into_owned()
    };
    // `echo` takes one connection: were the first request let through, the second had none.
    assert_eq!(timeout(LONG, ask("/shut")).await.unwrap(), "403");
    assert_eq!(timeout(LONG, ask("/open")).await.unwrap(), "101");
    tasks.drain(LONG).await;
}

/// One byte there and back through a door for bytes, or that the connection ended.
async fn echoed(door: SocketAddr, party: &Party) -> bool {
    let passing = async {
        let stream = TcpStream::connect(door).await.unwrap();
        let known = party.handshakes.connect(stream, &id("cart"), identity::Protocol::Opaque).await;
        let mut stream = known.unwrap().stream;
        // Refused, it ends while it is written to or read from.
        let _refused = stream.write_all(b"x").await;
        let _refused = stream.flush().await;
        let mut back = [0];
        stream.read_exact(&mut back).await.is_ok() && back == *b"x"
    };
    timeout(LONG, passing).await.expect("an echo or an end")
}

#[tokio::test]
async fn bytes_pass_for_whom_a_rule_allows_everything_and_for_nobody_else() {
    let (mut world, tasks) = (World::new(3_600), Tasks::new());
    let (cart, till, stock) = (world.party("cart"), world.party("till"), world.party("stock"));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let behind = policy(Protocol::Tcp, &[listener.local_addr().unwrap()]);
    let echoing = Tasks::new();
    echoing.spawn("echo", |shutdown| async move {
        while let Some(Ok((mut stream, _))) = shutdown.or_cancel(listener.accept()).await {
            let (mut read, mut write) = stream.split();
            let _ended = shutdown.or_cancel(tokio::io::copy(&mut read, &mut write)).await;
        }
    });
    let rules = vec![rule(&["till"], &[], &[]), rule(&["stock"], &["GET"], &["/items"])];
    let (there, _) = door(&world, Some(&cart), judged_by(behind, Mode::Enforce, rules), &tasks);
    assert!(!echoed(there, &stock).await);
    assert!(echoed(there, &till).await);
    let text = world.text();
    assert!(text.contains("reason=\"forbidden\"} 1"), "{text}");
    assert!(text.contains("reason=\"path_not_allowed\",mode=\"enforce\"} 1"), "{text}");
    tasks.drain(LONG).await;
    echoing.drain(LONG).await;
}

#[tokio::test]
async fn a_program_behind_a_door_hears_who_has_shown_himself_there_and_nothing_else_of_it() {
    let (mut world, tasks) = (World::new(3_600), Tasks::new());
    let (cart, till) = (world.party("cart"), world.party("till"));
    let backend = crate::stage::Backend::new(|_, _| crate::stage::ok()).await;
    let behind = policy(Protocol::Http1, &[backend.address]);
    let policy = judged_by(behind, Mode::Enforce, vec![rule(&["till"], &[], &[])]);
    let (there, _) = door(&world, Some(&cart), policy, &tasks);
    let till = caller(&world, &till, &[("cart", there, Some("cart"))], &tasks);
    let said = format!("skein-caller: {}\r\n{CLOSE}", id("stock"));
    ask(till, "GET /", &said).await;
    let seen = backend.last();
    let named: Vec<_> = seen.fields.iter().filter(|it| it.0 == "skein-caller").collect();
    assert_eq!(named, [&("skein-caller".to_owned(), id("till").to_string())]);
    tasks.drain(LONG).await;
}
