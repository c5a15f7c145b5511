//! Stands between a client and the broker, and changes what the broker says.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
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
}

type Asked = Arc<Mutex<BTreeMap<i32, (ApiKey, i16)>>>;

impl Between {
    /// Listens; connections go on to where `broker` says by then.
    pub(crate) async fn start(broker: Arc<Mutex<SocketAddr>>, tasks: &Tasks) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let pass: Change = Arc::new(|_, _, body| Some(body));
        let between =
            Self { address: listener.local_addr().unwrap(), change: Arc::new(Mutex::new(pass)) };
        let (own, of_connections) = (between.clone(), tasks.clone());
        tasks.spawn("between", |shutdown| async move {
            while let Some(Ok((client, _))) = shutdown.or_cancel(listener.accept()).await {
                let address = *broker.lock().unwrap();
                let Ok(server) = TcpStream::connect(address).await else { continue };
                let change = Arc::clone(&own.change);
                of_connections.spawn("between", |shutdown| async move {
                    let _ended = shutdown.or_cancel(carry(client, server, change)).await;
                });
            }
        });
        between
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

async fn carry(client: TcpStream, server: TcpStream, change: Arc<Mutex<Change>>) {
    let ((from_client, to_client), (from_server, to_server)) =
        (client.into_split(), server.into_split());
    let asked = Asked::default();
    tokio::select! {
        () = ask(from_client, to_server, Arc::clone(&asked)) => {}
        () = answer(from_server, to_client, asked, change) => {}
    }
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

async fn ask(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, asked: Asked) {
    while let Some(body) = frame(&mut from).await {
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
    mut to: OwnedWriteHalf,
    asked: Asked,
    change: Arc<Mutex<Change>>,
) {
    while let Some(mut body) = frame(&mut from).await {
        let head = body.split_to(4);
        let number = i32::from_be_bytes(head[..].try_into().unwrap());
        let (api, version) = asked.lock().unwrap().remove(&number).unwrap();
        let change = Arc::clone(&change.lock().unwrap());
        let Some(body) = change(api, version, body) else { continue };
        if send(&mut to, &[&head[..], &body[..]].concat()).await.is_none() {
            return;
        }
    }
}
