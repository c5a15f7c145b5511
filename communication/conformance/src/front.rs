//! Somebody between clients and the log who does harm on command: cuts, delays, falls silent.
//!
//! Clients are told of brokers by the log's own answers, so those are rewritten to lead through here,
//! however many brokers there are. Only plain text can be read on the way: TLS begins, and who this is is
//! said, behind it.

use std::{
    collections::BTreeMap,
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use kafka_wire::{ApiKey, Field as _, Reader, Writer, messages::MetadataResponse};
use messaging::ForeignLog;
use runtime::Tasks;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf, split},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    time::sleep,
};

use crate::{
    backend::{Backend, Stream, enter},
    judge::{Judged, Stop, until},
};

/// Longest frame that is carried.
const FRAME_BYTES_MAX: usize = 64 << 20;

/// What goes wrong with one kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Harm {
    /// The connection is cut when half of the request is through.
    CutInRequest,
    /// The request is carried out; the connection is cut instead of the answer.
    CutBeforeAnswer,
    /// The connection is cut when half of the answer is through.
    CutInAnswer,
    /// The answer cannot be read.
    Garble,
    /// The answer never comes, and the connection stands.
    Withhold,
}

/// How everything is carried.
#[derive(Debug, Clone, Copy, Default)]
struct Manner {
    /// Each answer waits so long.
    delay: Duration,
    /// Answers come a few bytes at a time.
    in_crumbs: bool,
}

#[derive(Debug, Default)]
struct Plan {
    /// How often each is still done.
    armed: BTreeMap<(Harm, ApiKey), usize>,
    manner: Manner,
    /// Where each broker is reached through us.
    doors: BTreeMap<String, SocketAddr>,
}

/// Somebody between; a cheap clone.
#[derive(Debug, Clone)]
pub(crate) struct Front {
    address: SocketAddr,
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// How the log is entered, which is done here: clients come in in plain text.
    entrance: ForeignLog,
    plan: Mutex<Plan>,
    done: AtomicUsize,
    accepted: AtomicUsize,
    /// Connections up to this one carry nothing, and are not reset.
    silent_to: watch::Sender<usize>,
    tasks: Tasks,
}

type Opened<'a> = Pin<Box<dyn Future<Output = io::Result<SocketAddr>> + Send + 'a>>;
/// Questions under way, by their number: which they are, in which version.
type Asked = Mutex<BTreeMap<i32, (ApiKey, i16)>>;

impl Front {
    pub(crate) async fn start(backend: &Backend, tasks: &Tasks) -> Result<Self, Stop> {
        let first = backend.bootstrap.first().ok_or_else(|| Stop("no address".to_owned()))?;
        let inner = Arc::new(Inner {
            entrance: backend.entrance.clone(),
            plan: Mutex::default(),
            done: AtomicUsize::new(0),
            accepted: AtomicUsize::new(0),
            silent_to: watch::Sender::new(0),
            tasks: tasks.clone(),
        });
        let address = inner.door(first).await?;
        Ok(Self { address, inner })
    }

    /// Where clients come in.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Does harm to the next so many of these.
    pub(crate) fn arm(&self, harm: Harm, api: ApiKey, times: usize) {
        self.inner.plan().armed.insert((harm, api), times);
    }

    /// How often harm was done.
    pub(crate) fn strikes(&self) -> usize {
        self.inner.done.load(Ordering::Relaxed)
    }

    /// Waits until harm was done so often.
    pub(crate) async fn has_done(&self, times: usize) -> Judged {
        until("the harm was done", || self.strikes() >= times).await
    }

    /// Each answer waits so long from now on.
    pub(crate) fn delay(&self, delay: Duration) {
        self.inner.plan().manner.delay = delay;
    }

    /// Answers come in crumbs from now on.
    pub(crate) fn crumble(&self) {
        self.inner.plan().manner.in_crumbs = true;
    }

    /// The connections that stand fall silent, and so do new ones.
    pub(crate) fn vanish(&self) {
        self.inner.silent_to.send_replace(usize::MAX);
    }

    /// New ones are served again; those that stood stay silent.
    pub(crate) fn come_back(&self) {
        self.inner.silent_to.send_replace(self.inner.accepted.load(Ordering::Relaxed));
    }
}

impl Inner {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether harm is due, which is done then.
    fn strikes(&self, harm: Harm, api: ApiKey) -> bool {
        let mut plan = self.plan();
        let Some(left) = plan.armed.get_mut(&(harm, api)).filter(|it| **it > 0) else {
            return false;
        };
        *left -= 1;
        drop(plan);
        self.done.fetch_add(1, Ordering::Relaxed);
        true
    }

    fn is_silent(&self, number: usize) -> bool {
        number <= *self.silent_to.borrow()
    }

    /// A door to one broker. Boxed: those who come in by it may have to be shown another one.
    fn door<'a>(self: &'a Arc<Self>, broker: &'a str) -> Opened<'a> {
        Box::pin(async move {
            if let Some(known) = self.plan().doors.get(broker) {
                return Ok(*known);
            }
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let address = listener.local_addr()?;
            self.plan().doors.insert(broker.to_owned(), address);
            let (own, broker) = (Arc::clone(self), broker.to_owned());
            self.tasks.spawn("front door", |shutdown| async move {
                while let Some(Ok((client, _))) = shutdown.or_cancel(listener.accept()).await {
                    own.come_in(client, &broker);
                }
            });
            Ok(address)
        })
    }

    fn come_in(self: &Arc<Self>, client: TcpStream, broker: &str) {
        let number = self.accepted.fetch_add(1, Ordering::Relaxed) + 1;
        let (own, broker) = (Arc::clone(self), broker.to_owned());
        self.tasks.spawn("front", move |shutdown| async move {
            // A connection that breaks is what this is for.
            let _ended = shutdown.or_cancel(own.serve(client, number, &broker)).await;
        });
    }

    async fn serve(self: Arc<Self>, client: TcpStream, number: usize, broker: &str) -> Option<()> {
        if !self.is_silent(number) {
            let server = enter(&self.entrance, broker).await.ok()?;
            client.set_nodelay(true).ok()?;
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = split(server);
            let asked = Asked::default();
            let mut silent = self.silent_to.subscribe();
            let silenced = async { silent.wait_for(|it| number <= *it).await.map(drop) };
            tokio::select! {
                _ = self.ask(&mut from_client, &mut to_server, &asked) => return None,
                _ = self.answer(&mut from_server, &mut to_client, &asked) => return None,
                _ = silenced => {}
            }
            // What stands is not reset: the halves live on.
            return std::future::pending().await;
        }
        std::future::pending().await
    }

    async fn ask(
        &self,
        from: &mut OwnedReadHalf,
        to: &mut WriteHalf<Stream>,
        asked: &Asked,
    ) -> Option<()> {
        loop {
            let frame = frame(from).await?;
            let mut reader = Reader::new(frame.slice(4..));
            let (key, version) = (reader.i16().ok()?, reader.i16().ok()?);
            let number = reader.i32().ok()?;
            let api = ApiKey::of(key)?;
            if self.strikes(Harm::CutInRequest, api) {
                to.write_all(&frame[..frame.len() / 2]).await.ok()?;
                to.flush().await.ok()?;
                return None;
            }
            asked.lock().unwrap_or_else(PoisonError::into_inner).insert(number, (api, version));
            to.write_all(&frame).await.ok()?;
            to.flush().await.ok()?;
        }
    }

    async fn answer(
        self: &Arc<Self>,
        from: &mut ReadHalf<Stream>,
        to: &mut OwnedWriteHalf,
        asked: &Asked,
    ) -> Option<()> {
        loop {
            let mut frame = frame(from).await?;
            let number = Reader::new(frame.slice(4..)).i32().ok()?;
            let known = asked.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
            let (api, version) = known?;
            let Manner { delay, in_crumbs } = self.plan().manner;
            if !delay.is_zero() {
                sleep(delay).await;
            }
            if self.strikes(Harm::CutBeforeAnswer, api) {
                return None;
            }
            if self.strikes(Harm::Withhold, api) {
                continue;
            }
            if self.strikes(Harm::CutInAnswer, api) {
                to.write_all(&frame[..frame.len() / 2]).await.ok()?;
                return None;
            }
            if self.strikes(Harm::Garble, api) {
                let mut bytes = frame.to_vec();
                bytes[8..].fill(0xff);
                frame = bytes.into();
            } else if api == ApiKey::Metadata {
                frame = self.led_through_here(&frame, number, version).await?;
            }
            if in_crumbs {
                for crumb in frame.chunks(7) {
                    to.write_all(crumb).await.ok()?;
                    tokio::task::yield_now().await;
                }
            } else {
                to.write_all(&frame).await.ok()?;
            }
        }
    }

    /// An answer about brokers that names our doors.
    async fn led_through_here(
        self: &Arc<Self>,
        frame: &Bytes,
        number: i32,
        version: i16,
    ) -> Option<Bytes> {
        let mut answer =
            MetadataResponse::read(&mut Reader::new(frame.slice(8..)), version).ok()?;
        for broker in &mut answer.brokers {
            let door = self.door(&format!("{}:{}", broker.host, broker.port)).await.ok()?;
            broker.host = door.ip().to_string();
            broker.port = i32::from(door.port());
        }
        let mut writer = Writer::frame();
        writer.i32(number);
        answer.write(&mut writer, version);
        Some(writer.finish())
    }
}

/// The next frame, its length before it.
async fn frame(stream: &mut (impl AsyncRead + Unpin)) -> Option<Bytes> {
    let length = usize::try_from(stream.read_i32().await.ok()?).ok()?;
    if !(4..=FRAME_BYTES_MAX).contains(&length) {
        return None;
    }
    let mut frame = vec![0; 4 + length];
    frame[..4].copy_from_slice(&i32::try_from(length).ok()?.to_be_bytes());
    stream.read_exact(&mut frame[4..]).await.ok()?;
    Some(frame.into())
}
