//! Who calls whom, how often, how well, how fast: the picture of the mesh, from its own metrics.
//!
//! Every process counts the calls that it makes; here the pages of all are read every two seconds
//! and the differences are kept for a minute. What is shown is of the last half of it. Bounded: so
//! many edges, so many samples of each. It refuses to be a monitoring system: no history, no alarm.

mod counts;
mod exposition;
mod layout;
mod process;
mod report;
mod scrape;

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::Duration,
};

use self::counts::{Counts, Page};
pub use self::process::{Part, Process, Processes};
pub(crate) use self::{report::Report, scrape::start};

/// Edges that are kept. The mesh of a hundred services has fewer; one more is counted and left out.
const EDGES_MAX: usize = 500;
/// Samples of each edge that are kept, one a round.
const SAMPLES_MAX: usize = 30;

/// What one process said in one round; no page when it did not answer or is not asked.
#[derive(Debug)]
struct Reading {
    process: Process,
    page: Option<Page>,
}

/// What was read of all processes, round by round.
#[derive(Debug, Default)]
pub(crate) struct Topology {
    /// The newest round, whether each process answered in it.
    processes: Vec<(Process, bool)>,
    /// The newest page of each instance, and where it was read. Those that are listed no more are
    /// forgotten.
    pages: BTreeMap<String, (SocketAddr, Page)>,
    /// By who calls and who is called.
    edges: BTreeMap<(String, String), Edge>,
    /// Edges of the newest round that found no room.
    edges_dropped: usize,
}

/// The newest samples of one edge.
#[derive(Debug, Default)]
struct Edge {
    samples: VecDeque<Sample>,
}

/// What was counted between two rounds.
#[derive(Debug, Default)]
struct Sample {
    elapsed: Duration,
    counts: Counts,
}

impl Topology {
    /// Takes one round in; `elapsed` is the time since the one before.
    fn take(&mut self, elapsed: Duration, round: Vec<Reading>) {
        let mut added = BTreeMap::new();
        let mut pages = std::mem::take(&mut self.pages);
        self.processes.clear();
        for Reading { process, page } in round {
            let before = pages.remove(&process.instance);
            let answered = page.is_some();
            if let (Some(page), Some(admin)) = (page, process.admin) {
                self.compare(&process, admin, before.as_ref(), &page, &mut added);
                self.pages.insert(process.instance.clone(), (admin, page));
            } else if let Some(before) = before {
                // Its silence adds nothing; what it counts meanwhile belongs to its next answer.
                self.pages.insert(process.instance.clone(), before);
            }
            self.processes.push((process, answered));
        }
        self.edges_dropped = 0;
        for edge in added.keys() {
            if self.edges.len() < EDGES_MAX {
                self.edges.entry(edge.clone()).or_default();
            } else if !self.edges.contains_key(edge) {
                self.edges_dropped += 1;
            }
        }
        for (edge, kept) in &mut self.edges {
            let counts = added.remove(edge).unwrap_or_default();
            kept.samples.push_back(Sample { elapsed, counts });
            if kept.samples.len() > SAMPLES_MAX {
                kept.samples.pop_front();
            }
        }
    }

    /// Adds what a process counted since its page before. Of one that was never seen nobody knows
    /// how long it counted, so its first page only begins.
    fn compare(
        &self,
        process: &Process,
        admin: SocketAddr,
        before: Option<&(SocketAddr, Page)>,
        page: &Page,
        added: &mut BTreeMap<(String, String), Counts>,
    ) {
        let nothing = Page::default();
        let before = before.map(|(at, page)| if *at == admin { page } else { &nothing });
        for (destination, counts) in &page.calls {
            let edge = (process.service.clone(), destination.clone());
            let sum = added.entry(edge).or_default();
            if let Some(before) = before {
                let then = before.calls.get(destination).cloned().unwrap_or_default();
                sum.add(&counts.since(&then));
            }
        }
    }
}

#[cfg(test)]
mod tests;
