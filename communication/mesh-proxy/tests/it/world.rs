//! An authority, and parties with identities of it.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base::SharedClock;
use identity::{
    Authority, AuthorityConfig, Bundle, Caller, Credentials, HandshakeConfig, Handshakes, Identity,
    SpiffeId, Trust,
};
use rcgen::{CertificateParams, KeyPair, SanType};
use runtime::SystemClock;
use telemetry::Telemetry;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

const DOMAIN: &str = "mesh.test";
pub(crate) const LONG: Duration = Duration::from_secs(20);

pub(crate) fn id(service: &str) -> SpiffeId {
    SpiffeId::new(DOMAIN, "shop", service).unwrap()
}

pub(crate) struct World {
    authority: Authority,
    clock: SharedClock,
    pub(crate) telemetry: Telemetry,
    drawn: u8,
}

/// Somebody with an identity.
pub(crate) struct Party {
    pub(crate) handshakes: Handshakes,
    service: String,
    current: watch::Sender<Option<Arc<Credentials>>>,
}

impl World {
    /// With identities that are good for so long.
    pub(crate) fn new(life_s: u64) -> Self {
        let clock = SystemClock::shared();
        let config = AuthorityConfig { identity_life_s: life_s, ..AuthorityConfig::default() };
        let authority = Authority::found(config, DOMAIN, clock.now()).unwrap();
        Self { authority, clock, telemetry: Telemetry::disabled(), drawn: 0 }
    }

    pub(crate) fn party(&mut self, service: &str) -> Party {
        let credentials = self.issue(service);
        let (current, watched) = watch::channel(Some(credentials));
        let config = HandshakeConfig::default();
        let handshakes = Handshakes::new(&config, watched, self.clock.clone(), &self.telemetry);
        Party { handshakes, service: service.to_owned(), current }
    }

    fn issue(&mut self, service: &str) -> Arc<Credentials> {
        let (caller, now) = (Caller { uid: 1, pid: 1 }, self.clock.now());
        self.drawn += 1;
        let token = self.authority.draw_token(id(service), 1, &[self.drawn; 32], now).unwrap();
        self.authority.bind_token(&token, 1).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(id(service).to_string().try_into().unwrap())];
        let request = params.serialize_request(&key).unwrap();
        let issued = self.authority.join(caller, &token, request.der(), now).unwrap();
        let identity = Arc::new(Identity::new(issued.chain, key).unwrap());
        self.credentials(identity, issued.bundle)
    }

    fn credentials(&self, identity: Arc<Identity>, bundle: Bundle) -> Arc<Credentials> {
        let trust = Arc::new(Trust::read(bundle).unwrap());
        Arc::new(Credentials::new(identity, trust, self.clock.clone()).unwrap())
    }

    /// Gives a party another identity of the same name.
    pub(crate) fn renew(&mut self, party: &Party) {
        let credentials = self.issue(&party.service);
        party.current.send_replace(Some(credentials));
    }

    /// Tells one party that the certificate of another is denied.
    pub(crate) fn deny(&self, denied: &Party, told: &Party) {
        let credentials = |it: &Party| it.current.borrow().clone().unwrap();
        let serial = credentials(denied).identity().serial().clone();
        let told_now = credentials(told);
        let mut bundle = told_now.trust().bundle().clone();
        bundle.revoked = BTreeMap::from([(serial, denied_until(&credentials(denied)))]);
        let next = self.credentials(Arc::clone(told_now.identity()), bundle);
        told.current.send_replace(Some(next));
    }

    pub(crate) fn text(&self) -> String {
        self.telemetry.metrics().encode()
    }
}

fn denied_until(credentials: &Credentials) -> base::Timestamp {
    credentials.identity().validity().1
}

/// Passes connections on and sees what passes.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    pub(crate) connections: Arc<AtomicUsize>,
    pub(crate) seen: Arc<Mutex<Vec<u8>>>,
    _tasks: JoinSet<()>,
}

impl Relay {
    pub(crate) async fn to(whither: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, seen) = (Arc::<AtomicUsize>::default(), Arc::<Mutex<Vec<u8>>>::default());
        let (counted, seen_by) = (Arc::clone(&connections), Arc::clone(&seen));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                let server = TcpStream::connect(whither).await.unwrap();
                let (client_read, client_write) = client.into_split();
                let (server_read, server_write) = server.into_split();
                open.spawn(pass(client_read, server_write, Arc::clone(&seen_by)));
                open.spawn(pass(server_read, client_write, Arc::clone(&seen_by)));
            }
        });
        Self { address, connections, seen, _tasks: tasks }
    }

    pub(crate) fn saw(&self, text: &str) -> bool {
        let seen = self.seen.lock().unwrap();
        seen.windows(text.len()).any(|it| it == text.as_bytes())
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    seen: Arc<Mutex<Vec<u8>>>,
) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        seen.lock().unwrap().extend_from_slice(&buffer[..read]);
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
