//! A door that lets in those alone who show who they are.

use std::{future::poll_fn, net::SocketAddr, sync::Arc, time::Duration};

use identity::Protocol;
use mesh_proxy::{
    Handler, Limits, Peer, Reply, Site,
    body::{RequestBody, Upload},
    downstream,
    head::{RequestHead, ResponseHead},
};
use runtime::Tasks;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::world::{LONG, World, id};

/// Says who asks, and what comes with the question.
struct Mirror;

impl Handler for Mirror {
    async fn handle<B: RequestBody>(
        &self,
        _: RequestHead,
        peer: Peer,
        body: &mut Upload<B>,
    ) -> Reply {
        let mut name = peer.identity.map_or_else(|| "nobody".to_owned(), |it| it.to_string());
        while let Some(Ok(piece)) = poll_fn(|it| body.poll_piece(it)).await {
            name.push_str(&String::from_utf8_lossy(piece.data_ref().map_or(&[], |it| it)));
        }
        Reply::whole(ResponseHead::new(http::StatusCode::OK), name.into())
    }
}

fn door(world: &mut World, tasks: &Tasks) -> SocketAddr {
    let cart = world.party("cart");
    let listener =
        downstream::listen("127.0.0.1:0".parse().unwrap(), downstream::Sharing::Exclusive);
    let listener = listener.unwrap();
    let address = listener.local_addr().unwrap();
    let site = Site::new("door", Mirror, Limits::default(), &world.telemetry);
    let site = Arc::new(site.knowing(cart.handshakes));
    downstream::serve(site, listener, Duration::ZERO, tasks);
    address
}

const ASK: &[u8] = b"GET / HTTP/1.1\r\nhost: cart\r\nconnection: close\r\n\r\n";

async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> String {
    let asked = async {
        let mut answer = Vec::new();
        // Refused, a connection may end with a reset.
        let _refused = stream.write_all(ASK).await;
        let _refused = stream.flush().await;
        let _refused = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    timeout(LONG, asked).await.expect("an answer or an end")
}

#[tokio::test]
async fn who_waits_for_a_word_before_the_body_gets_it_under_tls() {
    let (mut world, tasks) = (World::new(3_600), Tasks::new());
    let (door, caller, cart) = (door(&mut world, &tasks), world.party("till-1"), id("cart"));
    let stream = TcpStream::connect(door).await.unwrap();
    let mut known = caller.handshakes.connect(stream, &cart, Protocol::Http1).await.unwrap().stream;
    let asked = async {
        let asking = "POST / HTTP/1.1\r\nhost: cart\r\nconnection: close\r\n\
                      expect: 100-continue\r\ncontent-length: 4\r\n\r\n";
        known.write_all(asking.as_bytes()).await.unwrap();
        let mut word = [0; 25];
        known.read_exact(&mut word).await.unwrap();
        assert_eq!(&word, b"HTTP/1.1 100 Continue\r\n\r\n");
        known.write_all(b"body").await.unwrap();
        let mut answer = String::new();
        known.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.ends_with("till-1body"), "{answer}");
    };
    timeout(LONG, asked).await.expect("the word, and the answer");
    tasks.drain(LONG).await;
}

/// mesh 12b: 44.
#[tokio::test]
async fn a_caller_is_known_by_what_it_has_shown_and_a_plain_one_is_refused() {
    let (mut world, tasks) = (World::new(3_600), Tasks::new());
    let (door, caller, cart) = (door(&mut world, &tasks), world.party("till-1"), id("cart"));
    let stream = TcpStream::connect(door).await.unwrap();
    let mut known = caller.handshakes.connect(stream, &cart, Protocol::Http1).await.unwrap().stream;
    let answer = ask(&mut known).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.ends_with("spiffe://mesh.test/ns/shop/svc/till-1"), "{answer}");
    let mut plain = TcpStream::connect(door).await.unwrap();
    let answer = ask(&mut plain).await;
    assert!(!answer.contains("HTTP/"), "{answer}");
    let text = world.telemetry.metrics().encode();
    let refused = "identity_refused_handshakes_total{side=\"accept\",reason=\"not_tls\"} 1";
    assert!(text.contains(refused), "{text}");
    tasks.drain(LONG).await;
}

#[tokio::test]
async fn a_connection_ends_with_the_identities_that_it_was_opened_under() {
    let (mut world, tasks) = (World::new(2), Tasks::new());
    let (door, caller, cart) = (door(&mut world, &tasks), world.party("till-1"), id("cart"));
    let stream = TcpStream::connect(door).await.unwrap();
    let mut known = caller.handshakes.connect(stream, &cart, Protocol::Http1).await.unwrap().stream;
    let mut rest = Vec::new();
    let ended = timeout(LONG, known.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "it stands past the two seconds that both are good for");
    let text = world.telemetry.metrics().encode();
    assert!(text.contains("reason=\"identity_over\"} 1"), "{text}");
    tasks.drain(LONG).await;
}
