//! Every scenario on every backend that is here.

use std::path::PathBuf;

use conformance::{Backend, Capability, Embedded, Outcome, Peer, Report, Suite, all};
use tempfile::TempDir;

use crate::known;

/// The environment that `.ci/peers` makes, beside the build.
fn environment() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(3).unwrap().join("peers")
}

async fn tried(backend: &Backend) -> Report {
    let ended = |row: &conformance::Row| println!("{}: {:?}", row.scenario.id(), row.outcome);
    Suite::new(None).run(backend, ended).await.unwrap()
}

#[tokio::test]
async fn our_broker_keeps_every_promise() {
    let directory = TempDir::new().unwrap();
    let embedded = Embedded::start(directory.path()).unwrap();
    let report = tried(&embedded.backend()).await;
    embedded.stop().await;
    let broken: Vec<_> = report.broken().map(|(it, why)| (it.id(), why)).collect();
    assert!(broken.is_empty(), "{broken:#?}");
    let lacking = report.rows.iter().filter_map(|it| match &it.outcome {
        Outcome::NotOffered { capability, .. } => Some(*capability),
        Outcome::Holds | Outcome::DoesNotHold { .. } => None,
    });
    // A topic's partitions are set when it is made: another number would move keys.
    assert_eq!(lacking.collect::<Vec<_>>(), [Capability::WiderTopics]);
}

/// A foreign log breaks at most what it is known to break: another promise that it breaks is broken by
/// our client, or by a new version of the log.
async fn tried_on(peer: Peer) {
    let known = known::of(peer);
    let Some(program) = peer.installed(&environment()) else {
        println!("not run: {} is absent; `.ci/peers` installs it where it can", peer.name());
        return;
    };
    let directory = TempDir::new().unwrap();
    let running = peer.start(program, directory.path().to_owned()).await.unwrap();
    let report = tried(&running.backend()).await;
    let broken = report.broken().map(|(it, why)| (it.id(), why));
    let is_known = |id: &str| known.iter().any(|(_, ids)| ids.contains(&id));
    let fresh: Vec<_> = broken.filter(|(id, _)| !is_known(id)).collect();
    assert!(fresh.is_empty(), "{:?}: {fresh:#?}", report.counts());
}

#[tokio::test]
async fn tansu_keeps_what_it_is_known_to_keep() {
    tried_on(Peer::Tansu).await;
}

#[tokio::test]
async fn noida_keeps_what_it_is_known_to_keep() {
    tried_on(Peer::Noida).await;
}

#[test]
fn what_is_known_of_a_foreign_log_names_scenarios_that_exist() {
    let ids: Vec<String> = all().iter().map(conformance::Scenario::id).collect();
    for peer in Peer::ALL {
        for id in known::of(peer).iter().flat_map(|it| it.1) {
            assert!(ids.iter().any(|it| it == id), "{}: there is no {id}", peer.name());
        }
    }
}
