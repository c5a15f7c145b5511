//! Watches a process that was usable until it answers no more.
//!
//! A process that was stopped, or hangs, keeps what it holds: the writer's lock of a database that
//! its replicas share stops them all. Its end frees it, and the others go on.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::{Instant, sleep};

use super::{
    board::Board,
    probe,
    spec::{ProcessState, ProcessStatus, Readiness},
};

/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The port on which our own processes answer operators, and what they answer there while they live.
const ADMIN: (&str, &str) = ("admin", "/livez");

/// Waits until the process has been ready and then has answered nothing for `silence_max`. Never
/// ends for one that has no place to be asked at, nor with a bound of zero. Cancel-safe.
pub(super) async fn fallen(
    board: &Board,
    index: usize,
    readiness: &Readiness,
    silence_max: Duration,
) {
    let is_ready =
        |rows: &[ProcessStatus]| rows.get(index).is_some_and(|it| it.state == ProcessState::Ready);
    let rows = board.until(is_ready).await;
    let place = rows.get(index).and_then(|it| place(&it.ports, readiness));
    let Some((port, path)) = place.filter(|_| !silence_max.is_zero()) else {
        return std::future::pending().await;
    };
    // Only time in which it was waited for counts: where the whole machine slept, we slept too.
    let mut silence = Duration::ZERO;
    while silence < silence_max {
        let since = Instant::now();
        if probe::says_anything(port, path).await {
            silence = Duration::ZERO;
            sleep(LOOK_EVERY).await;
        } else {
            silence += since.elapsed().min(probe::LOOK_WITHIN);
            let left = LOOK_EVERY.saturating_sub(since.elapsed());
            sleep(left).await;
            silence += left;
        }
    }
}

/// Where a process is asked whether it lives.
fn place<'a>(ports: &BTreeMap<String, u16>, readiness: &'a Readiness) -> Option<(u16, &'a str)> {
    match readiness {
        Readiness::Announced => ports.get(ADMIN.0).map(|it| (*it, ADMIN.1)),
        Readiness::Answers { port, path } => path.as_deref().map(|it| (*port, it)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_are_asked_where_operators_are_and_others_where_they_said() {
        let ports = BTreeMap::from([("http".to_owned(), 1), ("admin".to_owned(), 2)]);
        assert_eq!(place(&ports, &Readiness::Announced), Some((2, "/livez")));
        assert_eq!(place(&BTreeMap::new(), &Readiness::Announced), None);
        let answers =
            |path: Option<&str>| Readiness::Answers { port: 3, path: path.map(Into::into) };
        assert_eq!(place(&ports, &answers(Some("/healthy"))), Some((3, "/healthy")));
        assert_eq!(place(&ports, &answers(None)), None);
    }
}
