//! Two proxies that know each other: who is called is proved, and nothing of it can be read on the way.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::Response;
use mesh_policy::{
    Policy,
    destination::{Endpoint, EndpointSet, Protocol},
};
use mesh_proxy::{
    Door, Forward, Limits, Mesh, Outbound, Site, Way,
    downstream::{Sharing, listen, serve},
};
use runtime::Tasks;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::{
    rig::{Backend, backend, policy, text},
    world::{LONG, Party, Relay, World, id},
};

/// A proxy before a program that lets in those alone who show an identity.
fn callee(world: &World, party: &Party, program: SocketAddr, tasks: &Tasks) -> SocketAddr {
    let mesh = Mesh::new("callee", policy(Protocol::Http1, &[program]), &world.telemetry).unwrap();
    let handler = Forward::new(Outbound::new(mesh), Way::To(Door::Service("back".to_owned())));
    let site = Site::new("callee", handler, Limits::default(), &world.telemetry);
    open(site.knowing(party.handshakes.clone()), tasks)
}

/// A proxy beside a program that calls: services by the name of the host, each at one address, where
/// it must prove to be somebody, or nobody in particular.
pub(crate) fn caller(
    world: &World,
    party: &Party,
    services: &[(&str, SocketAddr, Option<&str>)],
    tasks: &Tasks,
) -> SocketAddr {
    let mut policy = Policy::default();
    for (service, address, identity) in services {
        let endpoint = Endpoint {
            address: *address,
            instance: None,
            version: None,
            weight: 1,
            identity: identity.map(|it| id(it).to_string()),
        };
        let set = EndpointSet { protocol: Protocol::Http1, endpoints: vec![endpoint] };
        policy.endpoints.insert((*service).to_owned(), set);
    }
    let mesh = Mesh::new("caller", policy, &world.telemetry).unwrap();
    mesh.know(party.handshakes.clone());
    let handler = Forward::new(Outbound::new(mesh), Way::ByHost);
    open(Site::new("caller", handler, Limits::default(), &world.telemetry), tasks)
}

pub(crate) fn open(site: Site<Forward>, tasks: &Tasks) -> SocketAddr {
    let listener = listen("127.0.0.1:0".parse().unwrap(), Sharing::Exclusive).unwrap();
    let address = listener.local_addr().unwrap();
    serve(Arc::new(site), listener, Duration::ZERO, tasks);
    address
}

/// The whole answer.
async fn ask(door: SocketAddr, host: &str, body: &str) -> String {
    let asked = async {
        let mut stream = TcpStream::connect(door).await.unwrap();
        let head = format!(
            "POST /secret-path HTTP/1.1\r\nhost: {host}\r\nx-secret: secret-field\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // Cut off, the connection may end with a reset.
        let _cut = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    timeout(LONG, asked).await.expect("an answer or an end")
}

pub(crate) async fn program() -> (Backend, Arc<AtomicUsize>) {
    let asked = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&asked);
    let backend = backend(Protocol::Http1, move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        async { Response::new(text("secret-answer")) }
    });
    (backend.await, asked)
}

/// mesh 12b: 43, 64.
#[tokio::test]
async fn requests_of_http1_share_one_connection_on_which_nothing_can_be_read() {
    let (mut world, tasks) = (World::new(3_600), Tasks::new());
    let (cart, till) = (world.party("cart"), world.party("till"));
    let (program, asked) = program().await;
    let relay = Relay::to(callee(&world, &cart, program.address, &tasks)).await;
    let door = caller(&world, &till, &[("cart", relay.address, Some("cart"))], &tasks);
    let mut asking = JoinSet::new();
    for _ in 0..100 {
        asking.spawn(async move { ask(door, "cart", "secret-body").await });
    }
    for answer in asking.join_all().await {
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.ends_with("secret-answer"), "{answer}");
    }
    assert_eq!(asked.load(Ordering::Relaxed), 100);
    assert_eq!(relay.connections.load(Ordering::Relaxed), 1);
    for secret in ["secret-path", "secret-field", "secret-body", "secret-answer", "HTTP/"] {
        assert!(!relay.saw(secret), "{secret}");
    }
    assert!(relay.seen.lock().unwrap().len() > 100 * "secret-answer".len(), "it passed elsewhere");
    tasks.drain(LONG).await;
}

/// mesh 12b: 45.
#[tokio::test]
async fn an_endpoint_that_proves_to_be_another_is_not_called_and_that_is_counted() {
    let (mut world, tasks) = (World::new(3_600), Tasks::new());
    let (cart, till) = (world.party("cart"), world.party("till"));
    let (program, asked) = program().await;
    let there = callee(&world, &cart, program.address, &tasks);
    let services = [("cart", there, Some("cart")), ("stock", there, Some("stock"))];
    let door = caller(&world, &till, &services, &tasks);
    // The connection to cart stands; it is no connection to stock.
    let answer = ask(door, "cart", "").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer = ask(door, "stock", "").await;
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    assert!(answer.contains("skein-error: identity_refused"), "{answer}");
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    let text = world.text();
    let refused = "identity_refused_handshakes_total{side=\"connect\",reason=\"wrong_service\"}";
    assert!(text.contains(refused), "{text}");
    tasks.drain(LONG).await;
}

#[tokio::test]
async fn who_has_no_identity_does_not_ask_in_plain_text_instead() {
    let (mut world, tasks) = (World::new(3_600), Tasks::new());
    let cart = world.party("cart");
    let (program, asked) = program().await;
    // In plain text, the program itself would answer.
    let mut listed = policy(Protocol::Http1, &[program.address]);
    listed.endpoints.get_mut("back").unwrap().endpoints[0].identity = Some(id("cart").to_string());
    let mesh = Mesh::new("caller", listed.clone(), &world.telemetry).unwrap();
    let way = Way::To(Door::Service("back".to_owned()));
    let handler = Forward::new(Outbound::new(mesh), way.clone());
    let nobody = open(Site::new("nobody", handler, Limits::default(), &world.telemetry), &tasks);
    let answer = ask(nobody, "back", "").await;
    assert!(answer.contains("skein-error: identity_refused"), "{answer}");
    // Nor does one who is told of an identity that is none.
    listed.endpoints.get_mut("back").unwrap().endpoints[0].identity = Some("cart".to_owned());
    let mesh = Mesh::new("caller", listed, &world.telemetry).unwrap();
    mesh.know(cart.handshakes.clone());
    let handler = Forward::new(Outbound::new(mesh), way);
    let misled = open(Site::new("misled", handler, Limits::default(), &world.telemetry), &tasks);
    let answer = ask(misled, "back", "").await;
    assert!(answer.contains("skein-error: identity_refused"), "{answer}");
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    tasks.drain(LONG).await;
}

/// A program that answers nothing, and says when it is asked.
async fn silent() -> (Backend, Arc<Notify>) {
    let asked = Arc::new(Notify::new());
    let told = Arc::clone(&asked);
    let backend = backend(Protocol::Http1, move |_| {
        told.notify_one();
        std::future::pending()
    });
    (backend.await, asked)
}

#[tokio::test]
async fn a_caller_that_is_denied_is_cut_off_in_the_midst_and_let_in_no_more() {
    let (mut world, tasks) = (World::new(3_600), Tasks::new());
    let (cart, till) = (world.party("cart"), world.party("till"));
    let (program, asked) = silent().await;
    let there = callee(&world, &cart, program.address, &tasks);
    let door = caller(&world, &till, &[("cart", there, Some("cart"))], &tasks);
    let waiting = ask(door, "cart", "");
    let denying = async {
        asked.notified().await;
        world.deny(&till, &cart);
    };
    let began = Instant::now();
    let (answer, ()) = tokio::join!(waiting, denying);
    assert!(answer.contains("skein-error: upstream_reset"), "{answer}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let answer = ask(door, "cart", "").await;
    assert!(answer.contains("skein-error: identity_refused"), "{answer}");
    let text = world.text();
    assert!(text.contains("{side=\"accept\",reason=\"revoked\"}"), "{text}");
    assert!(text.contains("{side=\"connect\",reason=\"peer_refused\"}"), "{text}");
    assert!(text.contains("reason=\"identity_denied\"} 1"), "{text}");
    tasks.drain(LONG).await;
}

#[tokio::test]
async fn a_service_that_is_denied_is_left_in_the_midst() {
    let (mut world, tasks) = (World::new(3_600), Tasks::new());
    let (cart, till) = (world.party("cart"), world.party("till"));
    let (program, asked) = silent().await;
    let there = callee(&world, &cart, program.address, &tasks);
    let door = caller(&world, &till, &[("cart", there, Some("cart"))], &tasks);
    let denying = async {
        asked.notified().await;
        world.deny(&cart, &till);
    };
    let began = Instant::now();
    let (answer, ()) = tokio::join!(ask(door, "cart", ""), denying);
    assert!(answer.contains("skein-error: upstream_reset"), "{answer}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let answer = ask(door, "cart", "").await;
    assert!(answer.contains("skein-error: identity_refused"), "{answer}");
    let text = world.text();
    assert!(text.contains("{side=\"connect\",reason=\"revoked\"}"), "{text}");
    tasks.drain(LONG).await;
}

/// A program that changes to a protocol of its own and echoes.
pub(crate) async fn echo() -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let switched =
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
        stream.write_all(switched).await.unwrap();
        let (mut read, mut write) = stream.split();
        let _ended = tokio::io::copy(&mut read, &mut write).await;
    });
    (address, tasks)
}

#[tokio::test]
async fn a_change_of_protocol_passes_on_a_connection_of_its_own_under_tls() {
    let (mut world, tasks) = (World::new(3_600), Tasks::new());
    let (cart, till) = (world.party("cart"), world.party("till"));
    let (program, _echoing) = echo().await;
    let relay = Relay::to(callee(&world, &cart, program, &tasks)).await;
    let door = caller(&world, &till, &[("cart", relay.address, Some("cart"))], &tasks);
    let mut stream = TcpStream::connect(door).await.unwrap();
    let head = "GET / HTTP/1.1\r\nhost: cart\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let passed = async {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        stream.write_all(b"secret-word").await.unwrap();
        let mut back = [0; 11];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"secret-word");
    };
    timeout(LONG, passed).await.unwrap();
    assert!(!relay.saw("secret-word"));
    drop(stream);
    tasks.drain(LONG).await;
}

/// mesh 12b: 47; there identities of 60 s are renewed for a minute, here of 6 s for 20 s.
#[tokio::test]
async fn identities_are_renewed_under_load_and_no_request_fails() {
    let (mut world, tasks) = (World::new(6), Tasks::new());
    let (cart, till) = (world.party("cart"), world.party("till"));
    let (program, asked) = program().await;
    let relay = Relay::to(callee(&world, &cart, program.address, &tasks)).await;
    let door = caller(&world, &till, &[("cart", relay.address, Some("cart"))], &tasks);
    let is_over = Arc::<AtomicBool>::default();
    let mut asking = JoinSet::new();
    for _ in 0..4 {
        let is_over = Arc::clone(&is_over);
        asking.spawn(async move {
            let (mut answered, mut failed) = (0, Vec::new());
            while !is_over.load(Ordering::Relaxed) {
                let answer = ask(door, "cart", "x").await;
                answered += 1;
                if !answer.starts_with("HTTP/1.1 200") {
                    failed.push(answer);
                }
            }
            (answered, failed)
        });
    }
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(20) {
        sleep(Duration::from_millis(2_500)).await;
        world.renew(&cart);
        world.renew(&till);
    }
    is_over.store(true, Ordering::Relaxed);
    let mut answered = 0;
    for (count, failed) in asking.join_all().await {
        answered += count;
        assert!(failed.is_empty(), "{failed:?}");
    }
    assert_eq!(asked.load(Ordering::Relaxed), answered);
    // Each of them ended with the identities that it was opened under.
    let connections = relay.connections.load(Ordering::Relaxed);
    assert!((3..=20).contains(&connections), "{connections}");
    tasks.drain(LONG).await;
}
