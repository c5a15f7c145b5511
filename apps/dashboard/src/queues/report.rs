//! What the page shows of one look, beside the look before.

use serde::Serialize;

use super::{Group, Look};

/// The end of the name of a dead-letter topic.
const DEAD: &str = ".dead";

/// What the page shows.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    topics: Vec<TopicRow>,
    groups: Vec<GroupRow>,
    letters: Vec<LetterRow>,
    /// Why no groups are told.
    groups_refused: Option<String>,
}

/// One topic.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct TopicRow {
    name: String,
    partitions: usize,
    /// Records that are kept.
    records: u64,
    /// Nothing before the second look.
    arriving_per_second: Option<f64>,
}

/// One group in one topic.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct GroupRow {
    group: String,
    topic: String,
    state: String,
    members: usize,
    /// Records that are not processed.
    lag: u64,
    /// Age of the oldest of them.
    lag_seconds: f64,
    done_per_second: Option<f64>,
    /// Until nothing is left, as fast as it goes now; nothing where that is never, or not known.
    drain_seconds: Option<f64>,
}

/// One topic of dead letters that is not empty.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct LetterRow {
    topic: String,
    letters: u64,
}

/// Sums over the partitions of a topic: records that are kept, and that ever were.
fn records(look: &Look, topic: &str) -> Option<(u64, u64)> {
    let found = look.topics.iter().find(|it| it.name == topic)?;
    let kept = found.partitions.values().map(|(start, end)| end - start).sum();
    Some((kept, found.partitions.values().map(|(_, end)| end).sum()))
}

/// How far a group is in a topic: records that it is done with, all partitions together.
fn done(look: &Look, group: &str, topic: &str) -> Option<u64> {
    let found = look.groups.iter().find(|it| it.name == group)?;
    Some(found.lags.get(topic)?.committed.values().sum())
}

#[expect(clippy::cast_precision_loss, reason = "a rate that people read")]
fn per_second(before: u64, now: u64, seconds: f64) -> f64 {
    now.saturating_sub(before) as f64 / seconds
}

/// Seconds until nothing waits, when so many are done in a second while others arrive.
#[expect(clippy::cast_precision_loss, reason = "a time that people read")]
fn drain_seconds(lag: u64, done: Option<f64>, arriving: Option<f64>) -> Option<f64> {
    if lag == 0 {
        return Some(0.0);
    }
    let gained = done? - arriving?;
    (gained > 0.0).then(|| lag as f64 / gained)
}

/// What is shown of a look; `before` is one to count from.
pub(super) fn report(before: Option<&Look>, now: &Look) -> Report {
    let before = before.map(|it| (it, (now.at - it.at).as_secs_f64().max(1e-3)));
    let arriving = |topic: &str| {
        let (look, seconds) = before?;
        Some(per_second(records(look, topic)?.1, records(now, topic)?.1, seconds))
    };
    let mut report = Report { groups_refused: now.refused.clone(), ..Report::default() };
    for topic in &now.topics {
        let name = topic.name.clone();
        let records = records(now, &name).map_or(0, |it| it.0);
        if name.ends_with(DEAD) {
            if records > 0 {
                report.letters.push(LetterRow { topic: name, letters: records });
            }
            continue;
        }
        let (partitions, arriving_per_second) = (topic.partitions.len(), arriving(&name));
        report.topics.push(TopicRow { name, partitions, records, arriving_per_second });
    }
    for Group { name, state, members, lags } in &now.groups {
        for (topic, lag) in lags {
            let done_per_second = before.and_then(|(look, seconds)| {
                Some(per_second(done(look, name, topic)?, done(now, name, topic)?, seconds))
            });
            report.groups.push(GroupRow {
                group: name.clone(),
                topic: topic.clone(),
                state: state.clone(),
                members: *members,
                lag: lag.records,
                lag_seconds: lag.seconds,
                done_per_second,
                drain_seconds: drain_seconds(lag.records, done_per_second, arriving(topic)),
            });
        }
    }
    report
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use messaging::{Lag, TopicInfo};
    use tokio::time::Instant;

    use super::*;

    /// A topic with one partition that ends there, and one group that is so far.
    fn look(at: Instant, end: u64, done: u64) -> Look {
        let topic = |name: &str, start: u64, end: u64| TopicInfo {
            name: name.to_owned(),
            partitions: BTreeMap::from([(0, (start, end))]),
        };
        let lag = Lag { records: end - done, seconds: 3.0, committed: BTreeMap::from([(0, done)]) };
        let group = Group {
            name: "billing".to_owned(),
            state: "Stable".to_owned(),
            members: 2,
            lags: BTreeMap::from([("orders".to_owned(), lag)]),
        };
        let topics = vec![
            topic("orders", 10, end),
            topic("orders.billing.dead", 4, 9),
            topic("orders.other.dead", 5, 5),
        ];
        Look { at, topics, groups: vec![group], refused: None }
    }

    #[test]
    fn a_group_drains_as_fast_as_it_is_faster_than_what_arrives() {
        let began = Instant::now();
        let before = look(began, 100, 40);
        let now = look(began + Duration::from_secs(2), 120, 80);
        let report = report(Some(&before), &now);
        assert_eq!(report.topics.len(), 1);
        assert_eq!(
            (report.topics[0].records, report.topics[0].arriving_per_second),
            (110, Some(10.0))
        );
        let row = &report.groups[0];
        assert_eq!((row.lag, row.done_per_second, row.drain_seconds), (40, Some(20.0), Some(4.0)));
    }

    #[test]
    fn a_drain_time_is_not_told_of_what_grows_or_was_seen_once() {
        assert_eq!(drain_seconds(5, Some(1.0), Some(2.0)), None);
        assert_eq!(drain_seconds(5, None, None), None);
        assert_eq!(drain_seconds(0, None, None), Some(0.0));
        let once = report(None, &look(Instant::now(), 100, 40));
        assert_eq!((once.groups[0].lag, once.groups[0].drain_seconds), (60, None));
    }

    #[test]
    fn only_topics_with_letters_are_listed_among_them() {
        let report = report(None, &look(Instant::now(), 100, 40));
        let expected = LetterRow { topic: "orders.billing.dead".to_owned(), letters: 5 };
        assert_eq!(report.letters, [expected]);
    }
}
