//! What every measurement shares: when each asker asks, the word that answers count from now on, and
//! the sum of what they saw.

use std::io;

use tokio::{task::JoinSet, time};

use crate::{
    pace::{self, Pace},
    say,
    tally::{Tally, Window},
};

/// What drives an open loop; empty beside a closed one.
pub(crate) type Driving = JoinSet<io::Result<()>>;

/// The pace of each of so many askers: a share of `rate` requests a second, or without one a closed
/// loop of `requests` at most.
pub(crate) fn paces(
    askers: usize,
    rate: Option<u64>,
    requests: u64,
    window: Window,
) -> (Vec<Pace>, Driving) {
    let mut driving = JoinSet::new();
    let Some(rate) = rate else {
        return ((0..askers).map(|_| Pace::Closed { left: requests }).collect(), driving);
    };
    let (paces, driver) = pace::open(askers);
    driving.spawn_blocking(move || driver.run(rate, window));
    (paces, driving)
}

/// Waits until every asker has ended. Prints `measuring` when answers begin to count, so that the
/// program that reads the CPU of a contender reads it then.
pub(crate) async fn collect(
    mut asking: JoinSet<Tally>,
    mut driving: Driving,
    window: Window,
) -> io::Result<Tally> {
    let announcing = async {
        time::sleep_until(window.counts_from).await;
        say("measuring");
    };
    let mut all = Tally::new(window);
    let collecting = async {
        while let Some(tally) = asking.join_next().await {
            match tally {
                Ok(tally) => all.add(tally),
                Err(reason) => all.failed(&reason.to_string()),
            }
        }
    };
    tokio::join!(announcing, collecting);
    while let Some(driven) = driving.join_next().await {
        driven.map_err(io::Error::other)??;
    }
    Ok(all)
}
