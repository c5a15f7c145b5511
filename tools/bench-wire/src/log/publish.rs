//! Publishers in a closed loop: each sends its next message when the last one is acknowledged.

use std::{io, net::SocketAddr};

use tokio::{
    task::JoinSet,
    time::{Instant, timeout_at},
};

use super::{
    body::Bodies,
    lean::{Connection, LINGER, Publish},
};
use crate::{
    measuring::{self, Driving},
    tally::{Tally, Window},
};

/// So many publishers on one connection, until the window ends.
pub(super) async fn run(
    target: SocketAddr,
    mut wire: impl Publish + 'static,
    publishers: usize,
    window: Window,
) -> io::Result<Tally> {
    let mut connection = Connection::open(target).await?;
    wire.prepare(&mut connection).await?;
    let mut publishing = JoinSet::new();
    let mut bodies = Bodies::new(Instant::now());
    // On this thread alone: a publisher may hold what other threads must not see.
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async move {
            publishing.spawn_local(async move {
                let mut tally = Tally::new(window);
                let ended = publish(
                    &mut connection,
                    &mut wire,
                    &mut bodies,
                    publishers,
                    &mut tally,
                    window,
                )
                .await;
                if let Err(reason) = ended {
                    tally.failed(&reason.to_string());
                }
                tally
            });
            measuring::collect(publishing, Driving::new(), window).await
        })
        .await
}

/// Publishes as long as the window is open, and takes the last answers in.
pub(super) async fn publish(
    connection: &mut Connection,
    wire: &mut impl Publish,
    bodies: &mut Bodies,
    publishers: usize,
    tally: &mut Tally,
    window: Window,
) -> io::Result<()> {
    let mut due = vec![Instant::now(); publishers];
    let mut free: Vec<usize> = (0..publishers).collect();
    loop {
        if window.is_open() {
            let now = Instant::now();
            for ticket in free.drain(..) {
                due[ticket] = now;
                wire.publish(ticket, bodies.next(now), &mut connection.out);
            }
        } else if free.len() == publishers {
            return Ok(());
        }
        wire.flush(&mut connection.out);
        connection.send().await?;
        timeout_at(window.ends + LINGER, connection.answer()).await??;
        let before = free.len();
        wire.acknowledged(&mut connection.came, &mut connection.out, &mut free)?;
        for ticket in &free[before..] {
            tally.verified(due[*ticket]);
        }
    }
}
