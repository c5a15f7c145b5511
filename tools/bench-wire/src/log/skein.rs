//! The client that our services have: callers that publish and wait, handlers that are called.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use messaging::{
    Delivered, Failure, Handler, Message, Messaging, MessagingConfig, PublishError, Receipt,
    Subscription,
};
use runtime::{SystemClock, Tasks};
use telemetry::{Telemetry, TelemetryConfig};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::{
    Publishing, TOPIC,
    body::{Bodies, Check},
};
use crate::{
    Span,
    measuring::{self, Driving},
    pace::Pace,
    tally::{Tally, Window},
};

fn client(target: SocketAddr, tasks: &Tasks) -> Messaging {
    let config =
        MessagingConfig { bootstrap: vec![target.to_string()], ..MessagingConfig::default() };
    let clock = SystemClock::shared();
    let telemetry = Telemetry::new(TelemetryConfig::default(), clock.clone());
    Messaging::new(config, clock, telemetry, tasks)
}

/// A message as services send them, of one key: one partition and one order, as the others have it.
fn message(number: u64, body: &[u8]) -> Message {
    Message {
        id: number.to_string(),
        source: "/services/bench".to_owned(),
        kind: "com.example.Measured.v1".to_owned(),
        subject: None,
        time: SystemClock::shared().now(),
        key: Some(TOPIC.to_owned()),
        content_type: "application/octet-stream".to_owned(),
        headers: BTreeMap::new(),
        trace: None,
        body: Bytes::copy_from_slice(body),
    }
}

/// So many callers of one client, until the window ends.
pub(super) async fn publish(
    target: SocketAddr,
    publishers: usize,
    window: Window,
) -> io::Result<Tally> {
    let tasks = Tasks::new();
    let client = client(target, &tasks);
    let mut publishing = JoinSet::new();
    for _ in 0..publishers {
        let client = client.clone();
        publishing.spawn(async move {
            let mut tally = Tally::new(window);
            let mut bodies = Bodies::new(Instant::now());
            while window.is_open() {
                let due = Instant::now();
                let message = message(0, bodies.next(due));
                match client.publish(TOPIC, message).await {
                    Ok(_) => tally.verified(due),
                    Err(reason) => {
                        tally.failed(&reason.to_string());
                        break;
                    }
                }
            }
            tally
        });
    }
    measuring::collect(publishing, Driving::new(), window).await
}

/// Counts what it is given, from when it is told how to check it.
#[derive(Clone, Default)]
struct Counting(Arc<Mutex<Counted>>);

#[derive(Default)]
struct Counted {
    check: Option<Check>,
    /// The first thing that was wrong.
    wrong: Option<io::Error>,
}

impl Handler for Counting {
    async fn handle(&self, delivered: &Delivered) -> Result<(), Failure> {
        let mut counted = self.lock();
        let taken = counted.check.as_mut().map_or(Ok(()), |it| it.take(&delivered.message.body));
        if let Err(reason) = taken {
            counted.wrong.get_or_insert(reason);
        }
        Ok(())
    }
}

impl Counting {
    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, check: Check) {
        self.lock().check = Some(check);
    }

    fn end(&self, window: Window) -> Tally {
        let Counted { check, wrong } = std::mem::take(&mut *self.lock());
        check.map_or_else(|| Tally::new(window), |it| it.end(wrong.map_or(Ok(()), Err)))
    }
}

/// One client that publishes and so many that subscribe, each with a connection of its own.
pub(super) async fn deliver(
    target: SocketAddr,
    subscribers: usize,
    publishing: Publishing,
    span: Span,
) -> io::Result<Tally> {
    let tasks = Tasks::new();
    let subscription = match publishing.settle {
        // A group of this burst, which begins at the end; it notes its place as it does for services.
        Some(_) => Subscription::new([TOPIC], format!("bench-{}", std::process::id())),
        None => Subscription::tail([TOPIC]),
    };
    let subscription = subscription.latest();
    let mut counting = Vec::with_capacity(subscribers);
    for _ in 0..subscribers {
        let (handler, client) = (Counting::default(), client(target, &tasks));
        let handle =
            client.subscribe(&subscription, handler.clone(), &tasks).map_err(io::Error::other)?;
        handle.caught_up().await;
        counting.push((handler, client));
    }
    let (window, began) = (span.window(), Instant::now());
    let mut counted = JoinSet::new();
    for (handler, _) in &counting {
        handler.begin(Check::new(began, window));
        let handler = handler.clone();
        counted.spawn(async move {
            sleep_until(window.ends).await;
            handler.end(window)
        });
    }
    let (mut paces, driving) = measuring::paces(1, publishing.rate, u64::MAX, window);
    let pace = paces.pop().filter(|_| publishing.rate.is_some());
    let publisher = client(target, &tasks);
    counted.spawn(async move {
        let mut tally = Tally::new(window);
        if let Err(reason) = send(&publisher, pace, publishing.publishers, began, window).await {
            tally.failed(&format!("the publisher: {reason}"));
        }
        tally
    });
    measuring::collect(counted, driving, window).await
}

/// Publishes when it is due, one after the other; or as many at a time as may be under way, in order.
async fn send(
    client: &Messaging,
    pace: Option<Pace>,
    publishers: usize,
    began: Instant,
    window: Window,
) -> Result<(), String> {
    let mut bodies = Bodies::new(began);
    if let Some(mut pace) = pace {
        while let Some(due) = pace.next(window).await {
            let message = message(0, bodies.next(due));
            client.publish(TOPIC, message).await.map_err(|it| it.to_string())?;
        }
        return Ok(());
    }
    let mut under_way = JoinSet::new();
    while window.is_open() {
        if under_way.len() == publishers {
            let ended = under_way.join_next().await;
            let Some(ended) = ended else { return Ok(()) };
            let ended: Result<Receipt, PublishError> = ended.map_err(|it| it.to_string())?;
            ended.map_err(|it| it.to_string())?;
            continue;
        }
        let message = message(0, bodies.next(Instant::now()));
        let client = client.clone();
        // Tasks of one thread begin in the order in which they were made.
        under_way.spawn(async move { client.publish(TOPIC, message).await });
    }
    Ok(())
}
