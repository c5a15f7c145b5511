//! What is wanted of our log beside its peers and the disk, and whether this run showed it.

use serde_json::{Value, json};

use super::{Case, FLOOR, OURS, PEERS, Row, burst::Burst, report::named};

/// Above the disk alone, for a message and back.
const ABOVE_DISK_US: f64 = 150.0;
/// CPU of the log for a message that is alone.
const LONE_LOG_US: f64 = 60.0;
/// CPU of log and client for one of many.
const SHARED_US: f64 = 12.0;
/// As many messages in a second as the best peer, times this, at 16 and at 256 publishers.
const TIMES_AT_16: f64 = 4.0;
const TIMES_AT_256: f64 = 10.0;
/// Of the time of NATS from publisher to subscriber.
const OF_NATS: f64 = 0.5;

/// One thing that is wanted.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Gate {
    /// Whose, and of what.
    what: String,
    wanted: String,
    seen: f64,
    is_met: bool,
}

impl Gate {
    pub(super) fn json(&self) -> Value {
        let Self { what, wanted, seen, is_met } = self;
        json!({"what": what, "wanted": wanted, "seen": seen, "isMet": is_met})
    }
}

/// Every gate whose figures this run has.
pub(super) fn judge(cases: &[(Case, Vec<Row>)]) -> Vec<Gate> {
    OURS.into_iter().flat_map(|ours| of(ours, cases)).collect()
}

fn of(ours: &str, cases: &[(Case, Vec<Row>)]) -> Vec<Gate> {
    let mut gates = Vec::new();
    // Less than nothing is no figure: what is faster than the disk alone was measured on a machine that
    // let the disk's row wait for a core.
    let mut at_most = |what: &str, bound: f64, seen: Option<f64>| {
        let wanted = format!("0 to {bound}");
        let is_met = |seen: f64| (0.0..=bound).contains(&seen);
        gates.extend(seen.map(|seen| gate(ours, what, wanted, seen, is_met(seen))));
    };
    let p50 = |it: &Burst| it.latency_us("p50Us");
    let above = |a: &Burst, b: &Burst| p50(a) - p50(b);
    let pair = |case, other| Some((row(cases, case, ours)?, row(cases, case, other)?));
    let lone = row(cases, "publish-1", ours);
    let above_disk = pair("publish-1", FLOOR).map(|(a, b)| a.against(b, above));
    at_most("one publisher, p50 above fdatasync, us", ABOVE_DISK_US, above_disk);
    let cpu = lone.map(|it| it.median(Burst::log_us));
    at_most("one publisher, CPU of the log, us", LONE_LOG_US, cpu);
    let shared = row(cases, "publish-256", ours);
    let cpu = shared.map(|it| it.median(|it| it.log_us() + it.clients_us()));
    at_most("256 publishers, CPU of log and client, us", SHARED_US, cpu);
    let above_disk = pair("idle", FLOOR).map(|(a, b)| a.against(b, above));
    at_most("published to received, p50 above fdatasync, us", ABOVE_DISK_US, above_disk);
    let of_nats = pair("idle", PEERS[0]).map(|(a, b)| a.against(b, |a, b| p50(a) / p50(b)));
    at_most("published to received, p50 of that of NATS", OF_NATS, of_nats);
    for (case, bound) in [("publish-16", TIMES_AT_16), ("publish-256", TIMES_AT_256)] {
        let Some(mine) = row(cases, case, ours) else { continue };
        let mut against = |what: &str, other: &Row| {
            let what = format!("{case}, messages a second, times {what}");
            let seen = mine.times(other);
            gates.push(gate(ours, &what, format!(">= {bound}"), seen, seen >= bound));
        };
        if let Some(nats) = row(cases, case, PEERS[0]) {
            against(PEERS[0], nats);
        }
        if let Some(best) = best_peer(cases, case) {
            against(&format!("the best peer ({})", best.name), best);
        }
    }
    gates
}

fn gate(ours: &str, what: &str, wanted: String, seen: f64, is_met: bool) -> Gate {
    Gate { what: format!("{ours}: {what}"), wanted, seen, is_met }
}

/// A row that can be judged.
fn row<'a>(cases: &'a [(Case, Vec<Row>)], case: &str, name: &str) -> Option<&'a Row> {
    let (_, rows) = cases.iter().find(|(it, _)| it.name == case)?;
    named(rows, name).filter(|it| it.is_valid())
}

fn best_peer<'a>(cases: &'a [(Case, Vec<Row>)], case: &str) -> Option<&'a Row> {
    let peers = PEERS.into_iter().filter_map(|it| row(cases, case, it));
    peers.max_by(|a, b| a.median(Burst::per_second).total_cmp(&b.median(Burst::per_second)))
}

/// A line for each.
pub(super) fn print(gates: &[Gate]) {
    crate::say("\ngates");
    for Gate { what, wanted, seen, is_met } in gates {
        let verdict = if *is_met { "met" } else { "MISSED" };
        crate::say(&format!("{verdict:<7} {what}: {seen:.2}, wanted {wanted}"));
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{CASES, report::tests::row},
        *,
    };

    fn found<'a>(gates: &'a [Gate], part: &str) -> Option<&'a Gate> {
        gates.iter().find(|it| it.what.contains(part))
    }

    #[test]
    fn the_best_peer_is_what_many_publishers_are_held_against() {
        let rows = vec![
            row("nats", &[(100, 1.0)]),
            row("redis", &[(300, 1.0)]),
            row("skein-lean", &[(900, 1.0)]),
            row("skein", &[(1_200, 1.0)]),
        ];
        let gates = judge(&[(CASES[1], rows)]);
        let lean =
            found(&gates, "skein-lean: publish-16, messages a second, times the best").unwrap();
        assert_eq!((lean.seen, lean.is_met), (3.0, false));
        assert!(
            found(&gates, "skein-lean: publish-16, messages a second, times nats").unwrap().is_met
        );
        assert!(
            found(&gates, "skein: publish-16, messages a second, times the best").unwrap().is_met
        );
    }

    #[test]
    fn the_disk_of_the_same_round_is_taken_off() {
        let rows = vec![
            row("fdatasync", &[(1, 200.0), (1, 2_000.0), (1, 210.0)]),
            row("skein-lean", &[(1, 340.0), (1, 2_160.0), (1, 350.0)]),
        ];
        let gates = judge(&[(CASES[0], rows)]);
        assert_eq!(
            found(&gates, "above fdatasync").map(|it| (it.seen, it.is_met)),
            Some((140.0, true))
        );
        assert_eq!(found(&gates, "NATS"), None, "it did not run");
    }

    #[test]
    fn what_is_faster_than_the_disk_alone_meets_no_gate() {
        let rows = vec![row("fdatasync", &[(1, 2_000.0)]), row("skein-lean", &[(1, 300.0)])];
        let gates = judge(&[(CASES[0], rows)]);
        assert_eq!(found(&gates, "above fdatasync").map(|it| it.is_met), Some(false));
    }

    #[test]
    fn an_invalid_row_is_judged_in_nothing() {
        let lost = Row { name: "skein".to_owned(), bursts: vec![Burst::lost("gone")] };
        assert!(judge(&[(CASES[0], vec![row("fdatasync", &[(1, 1.0)]), lost])]).is_empty());
    }
}
