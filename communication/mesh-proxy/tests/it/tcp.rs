//! Bytes through the mesh: endpoints chosen, ends passed on, servers that speak first.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::Response;
use mesh_policy::{
    balance::{self, Algorithm},
    concurrency,
    destination::{Attachments, Protocol, Timeouts},
};
use mesh_proxy::{Door, Forward, Limits, Way};
use runtime::Drained;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::mpsc,
    task::JoinSet,
};

use super::{
    rig::{Proxy, backend, counted_relay, empty, policy, read, request, text, until},
    stage::within,
};

/// Serves each connection by a function.
async fn serve<F, A>(answer: F) -> (SocketAddr, JoinSet<()>)
where
    F: Fn(TcpStream) -> A + Send + 'static,
    A: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(answer(stream));
        }
    });
    (address, tasks)
}

fn proxy(protocol: Protocol, addresses: &[SocketAddr], spoken: Option<Protocol>) -> Proxy {
    balanced(Algorithm::RoundRobin, protocol, addresses, spoken)
}

fn balanced(
    algorithm: Algorithm,
    protocol: Protocol,
    addresses: &[SocketAddr],
    spoken: Option<Protocol>,
) -> Proxy {
    let balance = Some(balance::Settings { algorithm, ..balance::Settings::default() });
    set(Attachments { balance, ..Attachments::default() }, protocol, addresses, spoken)
}

fn set(
    attachments: Attachments,
    protocol: Protocol,
    addresses: &[SocketAddr],
    spoken: Option<Protocol>,
) -> Proxy {
    let mut policy = policy(protocol, addresses);
    policy.attachments.insert("back".to_owned(), attachments);
    Proxy::behind(policy, Limits::default(), move |outbound| {
        Forward::new(outbound, Way::To(Door::Service("back".to_owned()))).speaking(spoken)
    })
}

/// A tunnel in which so little may pass, to an endpoint that may be waited for so long.
fn bounded(tunnel_idle: Duration, queue_wait: Duration, addresses: &[SocketAddr]) -> Proxy {
    let concurrency = concurrency::Settings { queue_wait, ..concurrency::Settings::default() };
    let attachments = Attachments {
        timeouts: Some(Timeouts { tunnel_idle, ..Timeouts::default() }),
        concurrency: Some(concurrency),
        ..Attachments::default()
    };
    set(attachments, Protocol::Tcp, addresses, None)
}

fn ended(proxy: &Proxy, reason: &str) -> f64 {
    let labels = format!("{{listener=\"door\",reason=\"{reason}\"}}");
    proxy.metric(&format!("mesh_connections_ended_total{labels}"))
}

/// Gives back what it gets, to the end.
async fn echo(mut stream: TcpStream) {
    let (mut from, mut to) = stream.split();
    // Whichever side ends it is judged by its own peer.
    let _ended = tokio::io::copy(&mut from, &mut to).await;
}

const NEVER: Duration = Duration::from_hours(1);

fn bytes(proxy: &Proxy, direction: &str) -> f64 {
    let series = "mesh_tcp_bytes_total{destination=\"back\",direction=\"";
    proxy.metric(&format!("{series}{direction}\"}}"))
}

fn connections(proxy: &Proxy, outcome: &str) -> f64 {
    let series = "mesh_tcp_connections_total{destination=\"back\",outcome=\"";
    proxy.metric(&format!("{series}{outcome}\"}}"))
}

#[tokio::test]
async fn bytes_go_both_ways_and_an_end_leaves_the_other_way_open() {
    // Answers only once the client has ended its direction.
    let (address, _serving) = serve(|mut stream| async move {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        all.reverse();
        stream.write_all(&all).await.unwrap();
    })
    .await;
    for (behind, spoken) in [
        (Protocol::Tcp, None),
        (Protocol::Tcp, Some(Protocol::Tcp)),
        (Protocol::Http1, Some(Protocol::Tcp)),
    ] {
        let proxy = proxy(behind, &[address], spoken);
        for said in [&b"\x00\xffnot HTTP"[..], b"GET / HTTP/1.1\r\n\r\n", &[b'x'; 300_000]] {
            let mut client = TcpStream::connect(proxy.address).await.unwrap();
            client.write_all(said).await.unwrap();
            client.shutdown().await.unwrap();
            let mut all = Vec::new();
            client.read_to_end(&mut all).await.unwrap();
            all.reverse();
            assert_eq!(all, said);
        }
        until(|| bytes(&proxy, "down") == 300_028.0).await;
        assert_eq!((bytes(&proxy, "up"), connections(&proxy, "opened")), (300_028.0, 3.0));
    }
}

#[tokio::test]
async fn where_one_endpoint_cannot_be_reached_another_is() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (address, _serving) =
        serve(|mut stream| async move { stream.write_all(b"here").await.unwrap() }).await;
    let proxy = proxy(Protocol::Tcp, &[gone, address], None);
    for _ in 0..20 {
        let mut client = TcpStream::connect(proxy.address).await.unwrap();
        let mut all = Vec::new();
        client.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"here");
    }
    assert!(connections(&proxy, "failed") >= 1.0);
    assert_eq!(connections(&proxy, "opened"), 20.0);
}

#[tokio::test]
async fn where_none_can_be_reached_the_connection_ends_and_is_counted() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for (addresses, reason) in [(vec![], "no_endpoint"), (vec![gone], "upstream_unavailable")] {
        // What is there and fails is waited for; what is not there is not.
        let queue_wait = if addresses.is_empty() { NEVER } else { Duration::from_millis(120) };
        let proxy = bounded(NEVER, queue_wait, &addresses);
        let mut client = TcpStream::connect(proxy.address).await.unwrap();
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
        assert_eq!(ended(&proxy, reason), 1.0);
        let tries = if addresses.is_empty() { 0.0..=0.0 } else { 2.0..=100.0 };
        let failed = connections(&proxy, "failed");
        assert!(tries.contains(&failed), "{reason}: tried {failed} times");
    }
}

#[tokio::test]
async fn a_client_waits_for_an_endpoint_that_comes_back() {
    let back = TcpSocket::new_v4().unwrap();
    back.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let proxy = bounded(NEVER, NEVER, &[back.local_addr().unwrap()]);
    let mut client = TcpStream::connect(proxy.address).await.unwrap();
    until(|| connections(&proxy, "failed") >= 2.0).await;
    let listener = back.listen(8).unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    stream.write_all(b"here").await.unwrap();
    let mut said = [0; 4];
    client.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"here");
}

#[tokio::test]
async fn a_tunnel_in_which_nothing_passes_ends_and_one_that_is_used_does_not() {
    let idle = Duration::from_millis(400);
    let (address, _serving) = serve(echo).await;
    let proxy = bounded(idle, NEVER, &[address]);
    let mut used = TcpStream::connect(proxy.address).await.unwrap();
    let mut quiet = TcpStream::connect(proxy.address).await.unwrap();
    let began = tokio::time::Instant::now();
    let using = async {
        let mut said = [0];
        while began.elapsed() < idle * 4 {
            used.write_all(b"x").await.unwrap();
            assert_eq!(used.read(&mut said).await.unwrap(), 1, "after {:?}", began.elapsed());
            // The shape of the traffic: gaps far below the bound.
            tokio::time::sleep(idle / 20).await;
        }
    };
    let waiting = async {
        assert_eq!(within(quiet.read(&mut [0])).await.unwrap(), 0);
        assert!(began.elapsed() >= idle, "{:?}", began.elapsed());
    };
    tokio::join!(using, waiting);
    until(|| ended(&proxy, "tunnel_idle") == 1.0).await;
}

#[tokio::test]
async fn an_end_in_one_direction_does_not_count_as_use_nor_end_the_other() {
    // Reads to the end, says a word, and then nothing for ever.
    let (address, _serving) = serve(|mut stream| async move {
        stream.read_to_end(&mut Vec::new()).await.unwrap();
        stream.write_all(b"heard").await.unwrap();
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let proxy = bounded(Duration::from_millis(200), NEVER, &[address]);
    let mut client = TcpStream::connect(proxy.address).await.unwrap();
    client.write_all(b"all").await.unwrap();
    client.shutdown().await.unwrap();
    let mut rest = Vec::new();
    within(client.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest, b"heard");
    until(|| ended(&proxy, "tunnel_idle") == 1.0).await;
}

#[tokio::test]
async fn open_connections_are_spread_by_their_number() {
    let (told, mut dialled) = mpsc::unbounded_channel();
    let mut addresses = Vec::new();
    let mut serving = Vec::new();
    for number in 0..3 {
        let told = told.clone();
        let (address, tasks) = serve(move |stream| {
            told.send(number).unwrap();
            async move {
                std::future::pending::<()>().await;
                drop(stream);
            }
        })
        .await;
        addresses.push(address);
        serving.push(tasks);
    }
    let proxy = balanced(Algorithm::LeastRequest, Protocol::Tcp, &addresses, None);
    let mut clients = Vec::new();
    let mut counts = [0; 3];
    for _ in 0..30 {
        clients.push(TcpStream::connect(proxy.address).await.unwrap());
        counts[dialled.recv().await.unwrap()] += 1;
    }
    // Two of three are compared, so that the busiest is never more than a few ahead.
    assert!(counts.iter().all(|it| (8..=12).contains(it)), "{counts:?}");
}

/// mesh 12b: 68.
#[tokio::test]
async fn a_server_that_speaks_first_is_heard_and_http_is_still_http() {
    let (address, _serving) = serve(|mut stream| async move {
        stream.write_all(b"220 hello\r\n").await.unwrap();
        let mut said = [0; 6];
        stream.read_exact(&mut said).await.unwrap();
        stream.write_all(&said).await.unwrap();
    })
    .await;
    let proxy = proxy(Protocol::Http1, &[address], None);
    let mut client = TcpStream::connect(proxy.address).await.unwrap();
    let mut greeting = [0; 11];
    client.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"220 hello\r\n");
    client.write_all(b"QUIT\r\n").await.unwrap();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"QUIT\r\n");
}

#[tokio::test]
async fn a_client_of_http_that_connects_early_stays_one_of_http() {
    let back = backend(Protocol::Http1, |_| async { Response::new(text("ok")) }).await;
    let (dialled, mut dials) = mpsc::unbounded_channel();
    let relay = counted_relay(back.address, dialled).await;
    let proxy = proxy(Protocol::Http1, &[relay.address], None);
    let mut clients = (proxy.h1().await, TcpStream::connect(proxy.address).await.unwrap());
    // The door has begun to listen to the server for both of them.
    dials.recv().await.unwrap();
    let answer = clients.0.send_request(request("GET", "/", empty())).await.unwrap();
    assert_eq!(answer.headers().get("skein-error"), None);
    assert_eq!(read(answer).await, (200, Bytes::from("ok"), None));
    // What is not HTTP gets 400 there, as ever.
    clients.1.write_all(b"\x00\x01\r\n\r\n").await.unwrap();
    let mut all = Vec::new();
    clients.1.read_to_end(&mut all).await.unwrap();
    assert!(all.starts_with(b"HTTP/1.1 400 "), "{}", String::from_utf8_lossy(&all));
    assert_eq!(bytes(&proxy, "up"), 0.0);
}

#[tokio::test]
async fn a_drain_ends_tunnels() {
    let (address, _serving) = serve(|mut stream| async move {
        stream.write_all(b"here").await.unwrap();
        // The end is what the test waits for.
        let _end = stream.read(&mut [0]).await;
    })
    .await;
    let proxy = proxy(Protocol::Tcp, &[address], None);
    let mut client = TcpStream::connect(proxy.address).await.unwrap();
    client.read_exact(&mut [0; 4]).await.unwrap();
    proxy.tell_to_stop();
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(proxy.drain().await, Drained::Complete);
}
