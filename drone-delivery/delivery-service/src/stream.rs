//! Events of one delivery as they happen: server-sent events, resumed by the event's number.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    response::Response,
};
use contracts::shipping::DeliveryEvent;
use http::{HeaderValue, header};
use http_body::Frame;
use runtime::Shutdown;
use store::Store;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout},
};

use crate::{listeners::Place, store as table};

/// Another process may have made the change: look without being told.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// And not more often than this, however much changes: any change wakes every stream.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// A comment, which readers pass over.
const STILL_HERE: &[u8] = b": still here\n\n";

/// Tells readers that something changed in this process; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Changes(watch::Sender<()>);

impl Default for Changes {
    fn default() -> Self {
        Self(watch::Sender::new(()))
    }
}

impl Changes {
    /// Something changed.
    pub(crate) fn notify(&self) {
        self.0.send_replace(());
    }
}

struct Reader(mpsc::Receiver<Bytes>);

impl HttpBody for Reader {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|it| it.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// A response that streams, and the end to write to. The channel holds one event: a slow reader
/// makes the writer wait, and nothing queues up.
pub(crate) fn open() -> (mpsc::Sender<Bytes>, Response) {
    let (sender, receiver) = mpsc::channel(1);
    let mut response = Response::new(Body::new(Reader(receiver)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    (sender, response)
}

/// One stream: who reads it, of what, and from where.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) store: Store,
    pub(crate) changes: Changes,
    pub(crate) id: String,
    /// The number of the last event that its reader has.
    pub(crate) seen: u64,
    /// Silence after which it says that it is there.
    pub(crate) heartbeat: Duration,
    pub(crate) sender: mpsc::Sender<Bytes>,
    /// Free again when it ends.
    pub(crate) _place: Place,
}

impl Feed {
    /// Writes every event after `seen` until the delivery is over, the reader leaves or the service stops.
    pub(crate) async fn run(mut self, shutdown: Shutdown) {
        let mut changed = self.changes.0.subscribe();
        let mut said = Instant::now();
        loop {
            let (delivery, after) = (self.id.clone(), self.seen);
            let read = self.store.read(move |it| table::events(it, &delivery, after));
            let Ok(newer) = read.await else { return };
            for event in &newer {
                if self.sender.send(frame(event)).await.is_err() || event.stage.is_end() {
                    return;
                }
                (self.seen, said) = (event.sequence, Instant::now());
            }
            if said.elapsed() >= self.heartbeat {
                if self.sender.send(Bytes::from_static(STILL_HERE)).await.is_err() {
                    return;
                }
                said = Instant::now();
            }
            let wait = async {
                let _left = timeout(LOOK_AGAIN_AFTER, self.sender.closed()).await;
                // An error cannot come: `changes` holds the sender. Either way it is time to look.
                let _told = timeout(LOOK_EVERY, changed.changed()).await;
            };
            tokio::select! {
                () = self.sender.closed() => return,
                waited = shutdown.or_cancel(wait) => if waited.is_none() { return },
            }
        }
    }
}

/// From where a reader goes on who names the last event that he has. A number that no event has yet is of
/// another delivery: he hears all of them.
pub(crate) fn resume(events: &[DeliveryEvent], named: Option<u64>) -> u64 {
    let newest = events.last().map_or(0, |it| it.sequence);
    named.filter(|it| *it <= newest).unwrap_or(0)
}

fn frame(event: &DeliveryEvent) -> Bytes {
    let name = contracts::shipping::delivery_event_type(event.stage).name;
    // Text, numbers and options always serialize.
    let data = serde_json::to_string(event).unwrap_or_default();
    format!("id: {}\nevent: {name}\ndata: {data}\n\n", event.sequence).into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use base::{ManualClock, Timestamp};
    use contracts::Body;
    use runtime::Tasks;
    use service_kit::Caller;
    use store::{SqlError, StoreSettings, WriteError};
    use telemetry::Telemetry;

    use super::*;
    use crate::{
        domain::{Delivery, DeliveryBody, Ending},
        events::{self, Audience, Voice},
        listeners::{Listeners, StreamConfig},
    };

    struct Rig {
        store: Store,
        changes: Changes,
        tasks: Tasks,
        listeners: Listeners,
        _directory: tempfile::TempDir,
    }

    const VOICE: Voice<'_> = Voice { audience: Audience::Askers, trace: None };

    impl Rig {
        /// A store with one delivery that was just made.
        async fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
            let (settings, quiet) = (StoreSettings::default(), Telemetry::disabled());
            let path = directory.path().join("delivery.db");
            let store = Store::open(path, table::MIGRATIONS, settings, clock, &quiet).unwrap();
            let body = serde_json::json!({"owner": {"userId": "u", "accountId": "a"},
                "pickup": {"latitude": 60.17, "longitude": 24.94},
                "dropoff": {"latitude": 60.18, "longitude": 24.95}});
            let order = DeliveryBody::read(&Body::new(&body)).unwrap().order;
            let delivery = Delivery::create("d1".to_owned(), order);
            let written = store.write(move |it| {
                table::insert(it, &delivery)?;
                events::announce(it, &delivery, &vec![delivery.stage], VOICE)
            });
            let written: Result<(), WriteError<SqlError>> = written.await;
            written.unwrap();
            let listeners = Listeners::new(StreamConfig::default());
            let (changes, tasks) = (Changes::default(), Tasks::new());
            Self { store, changes, tasks, listeners, _directory: directory }
        }

        /// What a reader hears who has these events.
        fn reader(&self, seen: u64) -> mpsc::Receiver<Bytes> {
            let (sender, receiver) = mpsc::channel(1);
            let feed = Feed {
                store: self.store.clone(),
                changes: self.changes.clone(),
                id: "d1".to_owned(),
                seen,
                heartbeat: Duration::from_secs(15),
                sender,
                _place: self.listeners.enter(&Caller::Inside).unwrap(),
            };
            self.tasks.spawn("feed", |shutdown| feed.run(shutdown));
            receiver
        }

        async fn cancel(&self) {
            let written = self.store.write(|it| {
                let mut delivery = table::find(it, "d1")?.expect("it was made");
                let reached =
                    delivery.call_off(Ending::Cancelled, None).expect("it can be called off");
                events::commit(it, &delivery, &reached, VOICE)
            });
            let written: Result<(), WriteError<SqlError>> = written.await;
            written.unwrap();
        }
    }

    async fn next(reader: &mut mpsc::Receiver<Bytes>) -> Option<String> {
        reader.recv().await.map(|it| String::from_utf8(it.to_vec()).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_hears_each_event_once_and_the_end_with_the_last() {
        let rig = Rig::new().await;
        let (mut first, mut resumed) = (rig.reader(0), rig.reader(1));
        let created = next(&mut first).await.unwrap();
        assert!(created.starts_with("id: 1\nevent: DeliveryCreated\ndata: {"), "{created}");
        rig.cancel().await;
        for reader in [&mut first, &mut resumed] {
            let mut heard = next(reader).await.unwrap();
            while heard.as_bytes() == STILL_HERE {
                heard = next(reader).await.unwrap();
            }
            assert!(heard.starts_with("id: 2\nevent: DeliveryCancelled\n"), "{heard}");
            assert_eq!(next(reader).await, None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_stream_says_that_it_is_there() {
        let rig = Rig::new().await;
        let mut reader = rig.reader(1);
        let began = Instant::now();
        for turn in 1..=3 {
            assert_eq!(next(&mut reader).await.unwrap().as_bytes(), STILL_HERE);
            let passed = began.elapsed().as_secs();
            assert!((15 * turn..=17 * turn).contains(&passed), "{turn} after {passed} s");
        }
    }

    #[tokio::test]
    async fn a_stream_ends_when_the_service_stops_and_gives_its_place_back() {
        let rig = Rig::new().await;
        let mut reader = rig.reader(1);
        rig.tasks.stop();
        assert_eq!(next(&mut reader).await, None);
        assert_eq!(rig.tasks.drain(Duration::from_secs(20)).await, runtime::Drained::Complete);
        assert!(rig.listeners.is_empty());
    }

    #[tokio::test]
    async fn a_reader_goes_on_behind_what_he_has_and_from_the_beginning_where_that_is_nothing_of_ours()
     {
        let rig = Rig::new().await;
        let events = rig.store.read(|it| table::events(it, "d1", 0)).await.unwrap();
        let from = |named| resume(&events, named);
        assert_eq!([from(None), from(Some(0)), from(Some(1)), from(Some(2))], [0, 0, 1, 0]);
    }
}
