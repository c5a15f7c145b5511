//! Stands between a client and the broker, and changes what the broker says.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use kafka_wire::{ApiKey, Field, Reader, Writer};
use runtime::Tasks;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// What comes of an answer: its body, changed or not; none when it is held back for ever.
type Change = Arc<dyn Fn(ApiKey, i16, Bytes) -> Option<Bytes> + Send + Sync>;

/// Told what to do while connections stand.
#[derive(Clone)]
pub(crate) struct Between {
    pub(crate) address: SocketAddr,
    change: Arc<Mutex<Change>>,
    accepted: Arc<AtomicUsize>,
    /// Connections up to this one carry nothing, and are not reset.
    silent_to: Arc<AtomicUsize>,
}

type Asked = Arc<Mutex<BTreeMap<i32, (ApiKey, i16)>>>;

impl Between {
    /// Listens; connections go on to where `broker` says by then.
    pub(crate) async fn start(broker: Arc<Mutex<SocketAddr>>, tasks: &Tasks) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let pass: Change = Arc::new(|_, _, body| Some(body));
        let between = Self {
            address: listener.local_addr().unwrap(),
            change: Arc::new(Mutex::new(pass)),
            accepted: Arc::default(),
            silent_to: Arc::default(),
        };
        let (own, of_connections) = (between.clone(), tasks.clone());
        tasks.spawn("between", |shutdown| async move {
            while let Some(Ok((client, _))) = shutdown.or_cancel(listener.accept()).await {
                let number = own.accepted.fetch_add(1, Ordering::Relaxed) + 1;
                let (own, broker) = (own.clone(), Arc::clone(&broker));
                of_connections.spawn("between", move |shutdown| async move {
                    let _ended = shutdown.or_cancel(own.serve(client, number, &broker)).await;
                });
            }
        });
        between
    }

    async fn serve(&self, client: TcpStream, number: usize, broker: &Mutex<SocketAddr>) {
        let is_silent = || number <= self.silent_to.load(Ordering::Relaxed);
        let address = *broker.lock().unwrap();
        client.set_nodelay(true).unwrap();
        let (mut from_client, mut to_client) = client.into_split();
        if !is_silent()
            && let Ok(server) = TcpStream::connect(address).await
        {
            server.set_nodelay(true).unwrap();
            let (from_server, to_server) = server.into_split();
            let asked = Asked::default();
            tokio::select! {
                () = ask(&mut from_client, to_server, Arc::clone(&asked)) => {}
                () = answer(from_server, &mut to_client, asked, &self.change, is_silent) => {}
            }
        }
        if is_silent() {
            std::future::pending::<()>().await;
        }
    }

    /// All connections that stand fall silent, and so do new ones until this is taken back.
    pub(crate) fn silence(&self, on: bool) {
        let to = if on { usize::MAX } else { self.accepted.load(Ordering::Relaxed) };
        self.silent_to.store(to, Ordering::Relaxed);
    }

    /// From now on answers become what `change` makes of them.
    pub(crate) fn change(
        &self,
        change: impl Fn(ApiKey, i16, Bytes) -> Option<Bytes> + Send + Sync + 'static,
    ) {
        *self.change.lock().unwrap() = Arc::new(change);
    }
}

/// The body of an answer, with one thing changed.
pub(crate) fn rewritten<A: Field>(
    version: i16,
    body: Bytes,
    change: impl FnOnce(&mut A),
) -> Option<Bytes> {
    let mut answer = A::read(&mut Reader::new(body), version).unwrap();
    change(&mut answer);
    let mut writer = Writer::part();
    answer.write(&mut writer, version);
    Some(writer.into_bytes())
}

async fn frame(stream: &mut OwnedReadHalf) -> Option<Bytes> {
    let length = usize::try_from(stream.read_i32().await.ok()?).ok()?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(body.into())
}

async fn send(stream: &mut OwnedWriteHalf, frame: &[u8]) -> Option<()> {
    stream.write_i32(i32::try_from(frame.len()).unwrap()).await.ok()?;
    stream.write_all(frame).await.ok()
}

async fn ask(from: &mut OwnedReadHalf, mut to: OwnedWriteHalf, asked: Asked) {
    while let Some(body) = frame(from).await {
        let mut reader = Reader::new(body.clone());
        let (key, version) = (reader.i16().unwrap(), reader.i16().unwrap());
        let number = reader.i32().unwrap();
        asked.lock().unwrap().insert(number, (ApiKey::of(key).unwrap(), version));
        if send(&mut to, &body).await.is_none() {
            return;
        }
    }
}

async fn answer(
    mut from: OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    asked: Asked,
    change: &Mutex<Change>,
    is_silent: impl Fn() -> bool,
) {
    while let Some(mut body) = frame(&mut from).await {
        let head = body.split_to(4);
        let number = i32::from_be_bytes(head[..].try_into().unwrap());
        let (api, version) = asked.lock().unwrap().remove(&number).unwrap();
        let change = Arc::clone(&change.lock().unwrap());
        let Some(body) = change(api, version, body).filter(|_| !is_silent()) else { continue };
        if send(to, &[&head[..], &body[..]].concat()).await.is_none() {
            return;
        }
    }
}
