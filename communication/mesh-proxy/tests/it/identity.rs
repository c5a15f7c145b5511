//! A door that lets in those alone who show who they are.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use base::{ManualClock, Timestamp};
use identity::{
    Authority, AuthorityConfig, Caller, Credentials, HandshakeConfig, Handshakes, Identity,
    Protocol, SpiffeId, Trust,
};
use mesh_proxy::{
    Handler, Limits, Peer, Reply, Site,
    body::{RequestBody, Upload},
    downstream,
    head::{RequestHead, ResponseHead},
};
use rcgen::{CertificateParams, KeyPair, SanType};
use runtime::Tasks;
use telemetry::Telemetry;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
    time::timeout,
};

const DOMAIN: &str = "mesh.test";
const LONG: Duration = Duration::from_secs(20);

/// Says who asks.
struct Mirror;

impl Handler for Mirror {
    async fn handle<B: RequestBody>(&self, _: RequestHead, peer: Peer, _: &mut Upload<B>) -> Reply {
        let name = peer.identity.map_or_else(|| "nobody".to_owned(), |it| it.to_string());
        Reply::whole(ResponseHead::new(http::StatusCode::OK), name.into())
    }
}

fn id(service: &str) -> SpiffeId {
    SpiffeId::new(DOMAIN, "shop", service).unwrap()
}

struct World {
    authority: Authority,
    clock: Arc<ManualClock>,
    telemetry: Telemetry,
}

impl World {
    fn new(life_s: u64) -> Self {
        let now = Timestamp::from_millis(1_800_000_000_000);
        let config = AuthorityConfig { identity_life_s: life_s, ..AuthorityConfig::default() };
        let authority = Authority::found(config, DOMAIN, now).unwrap();
        Self { authority, clock: Arc::new(ManualClock::new(now)), telemetry: Telemetry::disabled() }
    }

    fn handshakes(&mut self, service: &str) -> Handshakes {
        use base::Clock as _;
        let (caller, now) = (Caller { uid: 1, pid: 1 }, self.clock.now());
        let secret = [u8::try_from(service.len()).unwrap(); 32];
        let token = self.authority.draw_token(id(service), 1, &secret, now).unwrap();
        self.authority.bind_token(&token, 1).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(id(service).to_string().try_into().unwrap())];
        let request = params.serialize_request(&key).unwrap();
        let issued = self.authority.join(caller, &token, request.der(), now).unwrap();
        let identity = Arc::new(Identity::new(issued.chain, key).unwrap());
        let trust = Arc::new(Trust::read(issued.bundle).unwrap());
        let credentials = Credentials::new(identity, trust, self.clock.clone()).unwrap();
        // The last value stays when nobody is left to send another.
        let (_sender, current) = watch::channel(Some(Arc::new(credentials)));
        let config = HandshakeConfig::default();
        Handshakes::new(&config, current, self.clock.clone(), &self.telemetry)
    }

    fn door(&mut self, tasks: &Tasks) -> SocketAddr {
        let handshakes = self.handshakes("cart");
        let listener =
            downstream::listen("127.0.0.1:0".parse().unwrap(), downstream::Sharing::Exclusive);
        let listener = listener.unwrap();
        let address = listener.local_addr().unwrap();
        let site = Site::new("door", Mirror, Limits::default(), &self.telemetry);
        let site = Arc::new(site.knowing(handshakes));
        downstream::serve(site, listener, Duration::ZERO, tasks);
        address
    }
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

/// mesh 12b: 44.
#[tokio::test]
async fn a_caller_is_known_by_what_it_has_shown_and_a_plain_one_is_refused() {
    let (mut world, tasks) = (World::new(3_600), Tasks::new());
    let (door, caller, cart) = (world.door(&tasks), world.handshakes("till-1"), id("cart"));
    let stream = TcpStream::connect(door).await.unwrap();
    let mut known = caller.connect(stream, &cart, Protocol::Http1).await.unwrap().stream;
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
    let (door, caller, cart) = (world.door(&tasks), world.handshakes("till-1"), id("cart"));
    let stream = TcpStream::connect(door).await.unwrap();
    let mut known = caller.connect(stream, &cart, Protocol::Http1).await.unwrap().stream;
    let mut rest = Vec::new();
    let ended = timeout(LONG, known.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "it stands past the two seconds that both are good for");
    let text = world.telemetry.metrics().encode();
    assert!(text.contains("reason=\"identity_over\"} 1"), "{text}");
    tasks.drain(LONG).await;
}
