//! The in-process placement: a client library asks from inside this process, and what this process
//! costs is what the library costs. `hyper` alone is the floor that ours is compared with.

mod bare;
mod mesh;

use std::{io, net::SocketAddr, sync::Arc};

use clap::ValueEnum;
use runtime::Tasks;
use tokio::{task::JoinSet, time};

use crate::{
    exchange::Exchange,
    measuring::{self, paces},
    pace::Pace,
    tally::{ANSWER_WITHIN, Tally, Window},
};

/// Which library asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// A bare connection of hyper for each of the callers, on this thread.
    Hyper,
    /// The in-process client of the mesh, every feature on: one that all callers share.
    Skein,
}

/// One caller with what it calls through.
#[derive(Debug)]
enum Caller {
    Hyper(bare::Connection),
    Skein(mesh::Client),
}

impl Caller {
    /// One call; an error where the answer is not the expected one.
    async fn exchange(&mut self, expected: &[u8]) -> io::Result<()> {
        match self {
            Self::Hyper(connection) => connection.exchange(expected).await,
            Self::Skein(client) => client.exchange(expected).await,
        }
    }
}

/// One measurement: HTTP/1.1, 1 KiB.
#[derive(Debug, Clone)]
pub(crate) struct Calls {
    pub(crate) kind: Kind,
    pub(crate) targets: Vec<SocketAddr>,
    /// Each has one call at a time.
    pub(crate) callers: usize,
    pub(crate) rate: Option<u64>,
    /// Calls of each caller in a closed loop, at most.
    pub(crate) requests: u64,
}

impl Calls {
    /// Asks until the window ends.
    pub(crate) async fn run(self, window: Window) -> io::Result<Tally> {
        let tasks = Tasks::new();
        let mut asking = JoinSet::new();
        let (paces, driving) = paces(self.callers, self.rate, self.requests, window);
        let expected: Arc<[u8]> = Exchange::Small.reply().into();
        let shared = mesh::Client::of(&self.targets, &tasks)?;
        for (pace, target) in paces.into_iter().zip(self.targets.iter().cycle()) {
            let caller = match self.kind {
                Kind::Hyper => Caller::Hyper(bare::Connection::open(*target).await?),
                Kind::Skein => Caller::Skein(shared.clone()),
            };
            asking.spawn(ask(caller, Arc::clone(&expected), pace, window));
        }
        measuring::collect(asking, driving, window).await
    }
}

/// Asks as often as it is due; gives up at the first error.
async fn ask(mut caller: Caller, expected: Arc<[u8]>, mut pace: Pace, window: Window) -> Tally {
    let mut tally = Tally::new(window);
    while let Some(due) = pace.next(window).await {
        let asked = time::timeout(ANSWER_WITHIN, caller.exchange(&expected)).await;
        if let Err(reason) = asked.unwrap_or_else(|it| Err(it.into())) {
            tally.failed(&reason.to_string());
            return tally;
        }
        tally.verified(due);
    }
    tally
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::TcpListener;

    use super::*;
    use crate::backend;

    /// Asks three backends that answer `answered`: four callers, twenty calls each.
    #[track_caller]
    fn check(kind: Kind, answered: Exchange, expected: (u64, u64)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let counts = runtime.block_on(async {
            let mut backends = JoinSet::new();
            let mut targets = Vec::new();
            for _ in 0..3 {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                targets.push(listener.local_addr().unwrap());
                backends.spawn(backend::serve(listener, answered));
            }
            let calls = Calls { kind, targets, callers: 4, rate: None, requests: 20 };
            // It ends by its count, however slow the machine is.
            let window = Window::starting_now(Duration::ZERO, Duration::from_secs(60));
            calls.run(window).await.unwrap().counts()
        });
        assert_eq!(counts, expected, "{kind:?} {answered:?}");
    }

    #[test]
    fn each_library_is_answered_and_a_caller_gives_up_at_another_body() {
        for kind in [Kind::Hyper, Kind::Skein] {
            check(kind, Exchange::Small, (80, 0));
            check(kind, Exchange::Large, (0, 4));
        }
    }
}
