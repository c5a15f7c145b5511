//! From a publisher to subscribers: each message once to each, in order, and how long that took.

use std::{io, net::SocketAddr};

use tokio::{
    task::{JoinSet, LocalSet},
    time::{Instant, timeout_at},
};

use super::{
    Publishing,
    body::{Bodies, Check},
    lean::{Connection, Publish, Subscribe},
    publish,
};
use crate::{
    Span, measuring,
    pace::Pace,
    tally::{Tally, Window},
};

/// One publisher's connection and so many subscribers', each made by `make`.
pub(super) async fn run<P: Publish + 'static, S: Subscribe + 'static>(
    target: SocketAddr,
    make: (impl Fn() -> P, impl Fn(usize) -> S),
    subscribers: usize,
    publishing: Publishing,
    span: Span,
) -> io::Result<Tally> {
    let mut connection = Connection::open(target).await?;
    let mut publisher = (make.0)();
    publisher.prepare(&mut connection).await?;
    let mut ready = Vec::with_capacity(subscribers);
    for number in 0..subscribers {
        let mut connection = Connection::open(target).await?;
        let mut subscriber = (make.1)(number);
        subscriber.prepare(&mut connection).await?;
        ready.push((connection, subscriber));
    }
    let (window, began) = (span.window(), Instant::now());
    let mut counting = JoinSet::new();
    let local = LocalSet::new();
    local
        .run_until(async move {
            for (connection, subscriber) in ready {
                counting.spawn_local(subscribe(connection, subscriber, began, window));
            }
            let (mut paces, driving) = measuring::paces(1, publishing.rate, u64::MAX, window);
            let pace = paces.pop().filter(|_| publishing.rate.is_some());
            counting.spawn_local(async move {
                // What is counted here is what subscribers get; a publish counts where it fails.
                let mut tally = Tally::new(window);
                let mut bodies = Bodies::new(began);
                let ended = match pace {
                    Some(pace) => {
                        paced(&mut connection, &mut publisher, &mut bodies, pace, window).await
                    }
                    None => {
                        let mut unread = Tally::new(window);
                        publish::publish(
                            &mut connection,
                            &mut publisher,
                            &mut bodies,
                            publishing.publishers,
                            &mut unread,
                            window,
                        )
                        .await
                    }
                };
                if let Err(reason) = ended {
                    tally.failed(&format!("the publisher: {reason}"));
                }
                tally
            });
            measuring::collect(counting, driving, window).await
        })
        .await
}

/// Publishes when it is due, one after the other.
async fn paced(
    connection: &mut Connection,
    wire: &mut impl Publish,
    bodies: &mut Bodies,
    mut pace: Pace,
    window: Window,
) -> io::Result<()> {
    let mut acknowledged = Vec::new();
    while let Some(due) = pace.next(window).await {
        wire.publish(0, bodies.next(due), &mut connection.out);
        wire.flush(&mut connection.out);
        connection.send().await?;
        while acknowledged.is_empty() {
            connection.answer().await?;
            wire.acknowledged(&mut connection.came, &mut connection.out, &mut acknowledged)?;
        }
        acknowledged.clear();
    }
    Ok(())
}

/// Takes messages until the window ends.
async fn subscribe(
    mut connection: Connection,
    mut wire: impl Subscribe,
    began: Instant,
    window: Window,
) -> Tally {
    let mut check = Check::new(began, window);
    let counted = async {
        let mut bodies = Vec::new();
        loop {
            let Connection { came, out, .. } = &mut connection;
            wire.received(came, out, &mut bodies)?;
            for body in bodies.drain(..) {
                check.take(&body)?;
            }
            connection.send().await?;
            connection.read().await?;
        }
    };
    // The end of the window ends it; anything else is an error.
    let ended: io::Result<()> = timeout_at(window.ends, counted).await.unwrap_or(Ok(()));
    check.end(ended)
}
