//! A connection that changes its protocol: bytes both ways, early ones too, and ends passed on.

use std::{net::SocketAddr, time::Duration};

use http::Response;
use mesh_policy::destination::{Attachments, Protocol, Timeouts};
use runtime::Drained;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::{
    rig::{Proxy, backend, policy, text, until},
    stage::within,
};

const ASKED: &str = "GET /chat HTTP/1.1\r\nHost: back\r\nConnection: keep-alive, Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// A server that changes to its own protocol, says hello at once and then echoes until the end.
async fn switching() -> (SocketAddr, JoinSet<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let asked = head(&mut stream).await;
        // The first bytes come in one piece with the head.
        stream.write_all(format!("{SWITCHED}hello").as_bytes()).await.unwrap();
        let mut buffer = vec![0; 64 << 10];
        loop {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                // The client may be gone.
                Ok(read) => drop(stream.write_all(&buffer[..read]).await),
            }
        }
        // Whether the last word is heard is for the client to say.
        let _heard = stream.write_all(b"bye").await;
        asked
    });
    (address, tasks)
}

#[tokio::test]
async fn after_the_change_bytes_go_both_ways_early_ones_first() {
    let (address, mut server) = switching().await;
    let proxy = Proxy::start(policy(Protocol::Http1, &[address]));
    let mut client = TcpStream::connect(proxy.address).await.unwrap();
    client.write_all(format!("{ASKED}early").as_bytes()).await.unwrap();
    let switched = head(&mut client).await.to_lowercase();
    assert!(switched.starts_with("http/1.1 101 "), "{switched}");
    for field in ["connection: upgrade\r\n", "upgrade: websocket\r\n"] {
        assert!(switched.contains(field), "{switched}");
    }
    assert_eq!(switched.matches("\r\nconnection:").count(), 1, "{switched}");
    assert_eq!(switched.matches("\r\nupgrade:").count(), 1, "{switched}");
    assert!(switched.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"));
    let mut first = [0; 10];
    client.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"helloearly");
    let much = vec![7; 1 << 20];
    let (mut from, mut to) = client.split();
    let mut back = vec![0; much.len()];
    let (sent, got) = tokio::join!(to.write_all(&much), from.read_exact(&mut back));
    assert_eq!((sent.is_ok(), got.unwrap()), (true, much.len()));
    assert_eq!(back, much);
    // The end of one direction leaves the other open.
    client.shutdown().await.unwrap();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"bye");
    let asked = server.join_next().await.unwrap().unwrap().to_lowercase();
    for field in ["connection: upgrade\r\n", "upgrade: websocket\r\n", "sec-websocket-version: 13"]
    {
        assert!(asked.contains(field), "{asked}");
    }
}

#[tokio::test]
async fn a_changed_connection_in_which_nothing_passes_ends() {
    let (address, _server) = switching().await;
    let mut policy = policy(Protocol::Http1, &[address]);
    // The bound on pieces of a body is another one.
    let timeouts = Timeouts {
        idle: Duration::from_hours(1),
        tunnel_idle: Duration::from_millis(100),
        ..Timeouts::default()
    };
    let attachments = Attachments { timeouts: Some(timeouts), ..Attachments::default() };
    policy.attachments.insert("back".to_owned(), attachments);
    let proxy = Proxy::start(policy);
    let mut client = TcpStream::connect(proxy.address).await.unwrap();
    client.write_all(ASKED.as_bytes()).await.unwrap();
    head(&mut client).await;
    client.read_exact(&mut [0; 5]).await.unwrap();
    assert_eq!(within(client.read(&mut [0])).await.unwrap(), 0);
    let series = "mesh_connections_ended_total{listener=\"door\",reason=\"tunnel_idle\"}";
    until(|| proxy.metric(series) == 1.0).await;
}

#[tokio::test]
async fn after_a_refused_change_the_connection_goes_on_with_requests() {
    for status in [200, 403] {
        let back = backend(Protocol::Http1, move |request: http::Request<_>| async move {
            let text = text(request.uri().path().to_owned());
            let status = if request.uri().path() == "/chat" { status } else { 200 };
            Response::builder().status(status).body(text).unwrap()
        })
        .await;
        let proxy = Proxy::start(policy(Protocol::Http1, &[back.address]));
        let mut client = TcpStream::connect(proxy.address).await.unwrap();
        // The second one is there before the first is refused: it is a request, through policy.
        let next = "GET /next HTTP/1.1\r\nHost: back\r\nConnection: close\r\n\r\n";
        client.write_all(format!("{ASKED}{next}").as_bytes()).await.unwrap();
        let mut all = String::new();
        client.read_to_string(&mut all).await.unwrap();
        let statuses: Vec<_> =
            all.split("HTTP/1.1 ").skip(1).map(|it| it[..3].parse::<u16>().unwrap()).collect();
        assert_eq!(statuses, [status, 200], "{all}");
        assert!(all.contains("/chat") && all.ends_with("/next"), "{all}");
        let series = "mesh_requests_total{source=\"test\",route=\"\",destination=\"back\",class=";
        let counted: f64 = ["2xx", "4xx"]
            .map(|class| proxy.metric(&format!("{series}\"{class}\"}}")))
            .iter()
            .sum();
        assert_eq!(counted, 2.0);
    }
}

#[tokio::test]
async fn what_follows_a_refused_change_and_is_no_request_is_refused() {
    let back = backend(Protocol::Http1, |_| async { Response::new(text("no")) }).await;
    let proxy = Proxy::start(policy(Protocol::Http1, &[back.address]));
    let mut client = TcpStream::connect(proxy.address).await.unwrap();
    client.write_all(format!("{ASKED}\u{81}\u{5}hello\r\n\r\n").as_bytes()).await.unwrap();
    let mut all = Vec::new();
    client.read_to_end(&mut all).await.unwrap();
    let all = String::from_utf8_lossy(&all);
    assert!(all.starts_with("HTTP/1.1 200 ") && all.contains("HTTP/1.1 400 "), "{all}");
}

#[tokio::test]
async fn a_drain_ends_a_changed_connection() {
    let (address, _server) = switching().await;
    let proxy = Proxy::start(policy(Protocol::Http1, &[address]));
    let mut client = TcpStream::connect(proxy.address).await.unwrap();
    client.write_all(ASKED.as_bytes()).await.unwrap();
    head(&mut client).await;
    client.read_exact(&mut [0; 5]).await.unwrap();
    proxy.tell_to_stop();
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(proxy.drain().await, Drained::Complete);
}

/// Behind a change of protocol requests would pass that no route has seen.
#[tokio::test]
async fn a_change_that_nobody_asked_for_is_no_answer_and_one_to_http2_is_not_asked_for() {
    let plain = "GET /chat HTTP/1.1\r\nHost: back\r\n\r\n".to_owned();
    let http2 = ASKED.replace("websocket", "h2c");
    let listed = ASKED.replace("websocket", "websocket, H2C");
    for asked in [plain, http2, listed] {
        let (address, mut server) = switching().await;
        let proxy = Proxy::start(policy(Protocol::Http1, &[address]));
        let mut client = TcpStream::connect(proxy.address).await.unwrap();
        // Not one that is tried again.
        client.write_all(asked.replace("GET", "POST").as_bytes()).await.unwrap();
        let answered = head(&mut client).await.to_lowercase();
        assert!(answered.starts_with("http/1.1 502 "), "{asked}: {answered}");
        assert!(answered.contains("skein-error: upstream_malformed"), "{answered}");
        let seen = within(server.join_next()).await.unwrap().unwrap().to_lowercase();
        assert!(!seen.contains("upgrade"), "{seen}");
    }
}
