//! A log that says what ours does not say on a good day.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use kafka_wire::{
    ApiKey, ErrorCode,
    batch::Record,
    messages::{
        FetchResponse, HeartbeatResponse, LeaveGroupResponse, ListOffsetsResponse,
        MetadataResponse, OffsetCommitResponse, OffsetFetchResponse, ProduceResponse,
    },
};
use messaging::{AdminError, Failure, MessagingConfig, PublishError, SubscribeError, Subscription};
use runtime::Tasks;
use telemetry::Telemetry;
use tokio::time::Instant;

use crate::{
    between::rewritten,
    fixture::{Fixture, Memory, REQUEST_TIMEOUT, eventually, message, until},
};

fn line(telemetry: &Telemetry, name: &str) -> f64 {
    let page = telemetry.metrics().encode();
    let found = page.lines().find(|it| it.starts_with(name));
    found.map_or(0.0, |it| it.rsplit(' ').next().unwrap().parse().unwrap())
}

/// Where a group is told that it stands in every partition.
fn stands_at(offset: i64) -> impl Fn(&mut OffsetFetchResponse) {
    move |answer| {
        let topics = answer.topics.iter_mut();
        topics.flat_map(|it| &mut it.partitions).for_each(|it| it.offset = offset);
    }
}

#[tokio::test]
async fn a_group_whose_commit_is_beyond_the_end_goes_on_at_the_end_and_loses_nothing_new() {
    let fixture = Fixture::between().await;
    let telemetry = Telemetry::disabled();
    let client = fixture.measured_client("one", &fixture.tasks, &telemetry);
    client.publish("orders", message("old", 0)).await.unwrap();
    fixture.meddler().change(|api, version, body| match api {
        ApiKey::OffsetFetch => rewritten(version, body, stands_at(1_000)),
        _ => Some(body),
    });
    let memory = Memory::default();
    let group = Subscription::new(["orders"], "g");
    client.subscribe(&group, memory.clone(), &fixture.tasks).unwrap();
    until("it has moved", || line(&telemetry, "messaging_moved_back_total") >= 4.0).await;
    for number in 0..20 {
        client.publish("orders", message(&format!("k{number}"), number)).await.unwrap();
    }
    memory.has(20).await;
    assert!(!memory.ids().contains(&"old/0".to_owned()), "what was done comes again");
    // The group is told, or a start before the log has grown would skip what comes next.
    fixture.meddler().change(|_, _, body| Some(body));
    eventually("the group is told", || async {
        let lag = client.lag("g", "orders").await.unwrap();
        lag.records == 0 && lag.committed.values().all(|it| *it < 1_000)
    })
    .await;
}

#[tokio::test]
async fn a_group_whose_commit_is_before_the_beginning_goes_on_at_the_beginning_and_counts() {
    let fixture = Fixture::between().await;
    let telemetry = Telemetry::disabled();
    let client = fixture.measured_client("one", &fixture.tasks, &telemetry);
    for number in 0..8 {
        client.publish("orders", message("a", number)).await.unwrap();
    }
    // A log whose retention took what stood before 5 in the partition of the key.
    let home = i32::try_from(kafka_wire::partition_of(b"a", 4)).unwrap();
    fixture.meddler().change(move |api, version, body| match api {
        ApiKey::OffsetFetch => rewritten(version, body, |it: &mut OffsetFetchResponse| {
            let parts = it.topics.iter_mut().flat_map(|it| &mut it.partitions);
            parts.filter(|it| it.partition == home).for_each(|it| it.offset = 2);
        }),
        ApiKey::Fetch => rewritten(version, body, |it: &mut FetchResponse| {
            for part in it.topics.iter_mut().flat_map(|it| &mut it.partitions) {
                let begins = part.records.get(..8).map(|it| it.try_into().unwrap());
                if begins.is_some_and(|it| i64::from_be_bytes(it) < 5) {
                    part.error = ErrorCode::OffsetOutOfRange;
                    part.records = Bytes::new();
                }
            }
        }),
        ApiKey::ListOffsets => rewritten(version, body, |it: &mut ListOffsetsResponse| {
            let parts = it.topics.iter_mut().flat_map(|it| &mut it.partitions);
            let begins = parts.filter(|it| it.partition == home && it.offset == 0);
            begins.for_each(|it| it.offset = 5);
        }),
        _ => Some(body),
    });
    let memory = Memory::default();
    let group = Subscription::new(["orders"], "g");
    client.subscribe(&group, memory.clone(), &fixture.tasks).unwrap();
    memory.has(3).await;
    assert_eq!(memory.ids(), ["a/5", "a/6", "a/7"]);
    assert!((line(&telemetry, "messaging_lost_records_total") - 3.0).abs() < f64::EPSILON);
}

#[tokio::test]
async fn a_commit_that_is_refused_for_a_passing_reason_repeats_no_work() {
    for code in [
        ErrorCode::CoordinatorLoadInProgress,
        ErrorCode::CoordinatorNotAvailable,
        ErrorCode::NotCoordinator,
        ErrorCode::RequestTimedOut,
    ] {
        let fixture = Fixture::between().await;
        let client = fixture.client("one", &fixture.tasks);
        let (refuse, refused) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
        let (is_on, counted) = (Arc::clone(&refuse), Arc::clone(&refused));
        fixture.meddler().change(move |api, version, body| match api {
            ApiKey::OffsetCommit if is_on.load(Ordering::Relaxed) => {
                counted.fetch_add(1, Ordering::Relaxed);
                rewritten(version, body, |it: &mut OffsetCommitResponse| {
                    let parts = it.topics.iter_mut().flat_map(|it| &mut it.partitions);
                    parts.for_each(|it| it.error = code);
                })
            }
            _ => Some(body),
        });
        let memory = Memory::default();
        let group = Subscription::new(["orders"], "g");
        client.subscribe(&group, memory.clone(), &fixture.tasks).unwrap();
        for number in 0..10 {
            client.publish("orders", message("a", number)).await.unwrap();
        }
        until("commits are refused", || refused.load(Ordering::Relaxed) > 5).await;
        client.publish("orders", message("a", 10)).await.unwrap();
        memory.has(11).await;
        refuse.store(false, Ordering::Relaxed);
        let before = refused.load(Ordering::Relaxed);
        eventually("it is committed", || async {
            client.lag("g", "orders").await.is_ok_and(|it| it.records == 0)
        })
        .await;
        assert!(before > 0);
        assert_eq!(memory.ids().len(), 11, "{code:?}: {:?}", memory.ids());
    }
}

#[tokio::test]
async fn a_fenced_instance_ends_and_says_so_and_does_not_fence_back() {
    let fixture = Fixture::new();
    let group = Subscription::new(["orders"], "g");
    let (first, second) = (Memory::default(), Memory::default());
    let one = fixture.client("same", &fixture.tasks);
    one.subscribe(&group, first.clone(), &fixture.tasks).unwrap();
    one.publish("orders", message("a", 0)).await.unwrap();
    first.has(1).await;
    let two = fixture.client("same", &fixture.tasks);
    two.subscribe(&group, second.clone(), &fixture.tasks).unwrap();
    let fenced = Err(AdminError::Fenced { group: "g".to_owned() });
    eventually("the first is fenced", || async { one.ping().await == fenced }).await;
    for number in 1..20 {
        two.publish("orders", message("a", number)).await.unwrap();
    }
    eventually("the second has them", || async {
        let ids: BTreeSet<_> = second.ids().into_iter().collect();
        (1..20).all(|it| ids.contains(&format!("a/{it}")))
    })
    .await;
    assert_eq!(first.ids(), ["a/0"]);
    assert_eq!(two.ping().await, Ok(()));
}

#[tokio::test]
async fn a_group_has_one_subscription_in_a_process_and_a_later_one_when_that_has_ended() {
    let fixture = Fixture::new();
    let client = fixture.client("one", &fixture.tasks);
    let group = Subscription::new(["orders"], "g");
    let first = Tasks::new();
    client.subscribe(&group, Memory::default(), &first).unwrap();
    let refused = client.subscribe(&group, Memory::default(), &fixture.tasks).err();
    assert_eq!(refused, Some(SubscribeError { group: "g".to_owned() }));
    let other = Subscription::new(["orders"], "h");
    client.subscribe(&other, Memory::default(), &fixture.tasks).unwrap();
    first.drain(crate::fixture::PATIENCE).await;
    let memory = Memory::default();
    client.subscribe(&group, memory.clone(), &fixture.tasks).unwrap();
    client.publish("orders", message("a", 0)).await.unwrap();
    memory.has(1).await;
}

#[tokio::test]
async fn two_processes_without_a_name_share_a_group() {
    let fixture = Fixture::new();
    let group = Subscription::new(["orders"], "g");
    let (first, second) = (Memory::default(), Memory::default());
    let (one, two) = (fixture.client("", &fixture.tasks), fixture.client("", &fixture.tasks));
    one.subscribe(&group, first.clone(), &fixture.tasks).unwrap();
    two.subscribe(&group, second.clone(), &fixture.tasks).unwrap();
    let number = AtomicUsize::new(0);
    eventually("both get messages", || async {
        let next = u32::try_from(number.fetch_add(1, Ordering::Relaxed)).unwrap();
        one.publish("orders", message(&format!("k{}", next % 20), next)).await.unwrap();
        !first.ids().is_empty() && !second.ids().is_empty()
    })
    .await;
    assert_eq!((one.ping().await, two.ping().await), (Ok(()), Ok(())));
}

#[tokio::test]
async fn a_heartbeat_that_is_refused_for_a_passing_reason_keeps_the_place() {
    let fixture = Fixture::between().await;
    let telemetry = Telemetry::disabled();
    let client = fixture.measured_client("one", &fixture.tasks, &telemetry);
    let memory = Memory::default();
    let group = Subscription::new(["orders"], "g");
    client.subscribe(&group, memory.clone(), &fixture.tasks).unwrap();
    client.publish("orders", message("a", 0)).await.unwrap();
    memory.has(1).await;
    let refused = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&refused);
    fixture.meddler().change(move |api, version, body| match api {
        ApiKey::Heartbeat if counted.fetch_add(1, Ordering::Relaxed) < 3 => {
            rewritten(version, body, |it: &mut HeartbeatResponse| {
                it.error = ErrorCode::CoordinatorNotAvailable;
            })
        }
        _ => Some(body),
    });
    until("heartbeats were refused", || refused.load(Ordering::Relaxed) > 4).await;
    client.publish("orders", message("a", 1)).await.unwrap();
    memory.has(2).await;
    assert!((line(&telemetry, "messaging_group_rebalances_total") - 1.0).abs() < f64::EPSILON);
}

/// The broker's host is gone without a word: nothing is answered, nothing is reset. It is back, on
/// other connections, while those that stand stay silent.
#[tokio::test]
async fn a_peer_that_vanished_is_given_up_and_found_again() {
    let mut fixture = Fixture::between().await;
    let client = fixture.client("one", &fixture.tasks);
    let memory = Memory::default();
    let group = Subscription::new(["orders"], "g");
    client.subscribe(&group, memory.clone(), &fixture.tasks).unwrap();
    client.publish("orders", message("a", 0)).await.unwrap();
    memory.has(1).await;
    fixture.vanish().await;
    let refused = client.publish("orders", message("a", 1)).await;
    assert!(refused.is_err(), "{refused:?}");
    fixture.come_back();
    let back = Instant::now();
    eventually("a publish gets through", || async {
        client.publish("orders", message("a", 2)).await.is_ok()
    })
    .await;
    eventually("it is consumed", || async { memory.ids().contains(&"a/2".to_owned()) }).await;
    // The request time-out and a second, and what a busy machine adds.
    assert!(back.elapsed() < REQUEST_TIMEOUT + Duration::from_secs(8), "{:?}", back.elapsed());
}

/// A publish that may take longer than a request does not spend all of its time on the first attempt.
#[tokio::test]
async fn a_publish_with_time_left_is_sent_again_when_its_peer_has_vanished() {
    let mut fixture = Fixture::between().await;
    let change = |it: &mut MessagingConfig| it.publish_timeout_ms = 25_000;
    let client = fixture.configured_client(change, &fixture.tasks, &Telemetry::disabled());
    client.publish("orders", message("a", 0)).await.unwrap();
    fixture.vanish().await;
    let mut publishing = tokio::task::JoinSet::new();
    let own = client.clone();
    publishing.spawn(async move { own.publish("orders", message("a", 1)).await });
    // It is on its way over a connection that carries nothing any more.
    tokio::task::yield_now().await;
    fixture.come_back();
    publishing.join_next().await.unwrap().unwrap().unwrap();
    let info = client.topic("orders").await.unwrap();
    let total: u64 = info.partitions.values().map(|(start, end)| end - start).sum();
    assert_eq!(total, 2);
}

/// Whoever stays in a group and never answers is waited for by all others, for as long as its session is.
#[tokio::test]
async fn a_process_that_ends_while_it_joins_leaves_the_group() {
    let fixture = Fixture::between().await;
    let tasks = Tasks::new();
    let client = fixture.client("one", &tasks);
    let (ending, left) = (tasks.clone(), Arc::new(AtomicBool::new(false)));
    let seen = Arc::clone(&left);
    fixture.meddler().change(move |api, _, body| {
        match api {
            // The group has it as a member, and it has not heard of that yet.
            ApiKey::JoinGroup => ending.stop(),
            ApiKey::LeaveGroup => seen.store(true, Ordering::Relaxed),
            _ => {}
        }
        Some(body)
    });
    let group = Subscription::new(["orders"], "g");
    client.subscribe(&group, Memory::default(), &tasks).unwrap();
    until("it has left", || left.load(Ordering::Relaxed)).await;
    let asker = fixture.client("asker", &fixture.tasks);
    assert!(asker.group("g").await.map_or(true, |it| it.members.is_empty()));
}

/// The group has a member under an id that the process never heard of: it leaves by its name.
#[tokio::test]
async fn a_process_whose_join_is_never_answered_leaves_the_group_by_its_name() {
    let fixture = Fixture::between().await;
    let tasks = Tasks::new();
    // The group would wait longer for it than it waits for an answer.
    let change = |it: &mut MessagingConfig| it.session_timeout_ms = 30_000;
    let client = fixture.configured_client(change, &tasks, &Telemetry::disabled());
    let (ending, left) = (tasks.clone(), Arc::new(AtomicBool::new(false)));
    let seen = Arc::clone(&left);
    fixture.meddler().change(move |api, version, body| match api {
        ApiKey::JoinGroup => {
            ending.stop();
            None
        }
        ApiKey::LeaveGroup => rewritten(version, body, |it: &mut LeaveGroupResponse| {
            let errors: Vec<_> = it.members.iter().map(|it| it.error).collect();
            seen.store(errors == [ErrorCode::None], Ordering::Relaxed);
        }),
        _ => Some(body),
    });
    let group = Subscription::new(["orders"], "g");
    client.subscribe(&group, Memory::default(), &tasks).unwrap();
    until("it has left", || left.load(Ordering::Relaxed)).await;
    let asker = fixture.client("asker", &fixture.tasks);
    assert!(asker.group("g").await.map_or(true, |it| it.members.is_empty()));
}

#[tokio::test]
async fn a_topic_that_cannot_be_learned_holds_up_no_other() {
    let fixture = Fixture::between().await;
    let client = fixture.client("one", &fixture.tasks);
    fixture.meddler().change(|api, version, body| match api {
        ApiKey::Metadata => rewritten(version, body, |it: &mut MetadataResponse| {
            for topic in it.topics.iter_mut().filter(|it| it.name == "bills") {
                topic.error = ErrorCode::Other(5);
            }
        }),
        _ => Some(body),
    });
    let lost = {
        let client = client.clone();
        async move { client.publish("bills", message("a", 0)).await }
    };
    let others = async {
        for number in 0..50 {
            let began = Instant::now();
            client.publish("orders", message("a", number)).await.unwrap();
            assert!(began.elapsed() < Duration::from_millis(1_500), "{:?}", began.elapsed());
        }
    };
    let (lost, ()) = tokio::join!(lost, others);
    assert!(matches!(lost, Err(PublishError::Unavailable { .. })), "{lost:?}");
}

#[tokio::test]
async fn a_metadata_answer_that_does_not_come_holds_up_no_known_topic() {
    let fixture = Fixture::between().await;
    let client = fixture.client("one", &fixture.tasks);
    client.publish("orders", message("a", 0)).await.unwrap();
    fixture.meddler().change(|api, _, body| (api != ApiKey::Metadata).then_some(body));
    let lost = client.publish("bills", message("a", 0));
    let others = async {
        for number in 1..50 {
            client.publish("orders", message("a", number)).await.unwrap();
        }
        Instant::now()
    };
    let began = Instant::now();
    let (lost, done) = tokio::join!(lost, others);
    assert!(matches!(lost, Err(PublishError::Unavailable { .. })), "{lost:?}");
    assert!(done - began < Duration::from_millis(1_500), "{:?}", done - began);
}

/// Answers of how many of `count` publishes, with a broker that answers none, were `Overloaded`.
async fn overloaded(change: impl FnOnce(&mut MessagingConfig), count: u32) -> usize {
    let fixture = Fixture::between().await;
    fixture.meddler().silence(true);
    let client = fixture.configured_client(change, &fixture.tasks, &Telemetry::disabled());
    let mut all = tokio::task::JoinSet::new();
    for number in 0..count {
        let client = client.clone();
        all.spawn(async move { client.publish("orders", message("a", number)).await });
        // The publisher takes each in before the next comes: it is not the channel that is full.
        for _ in 0..5 {
            tokio::task::yield_now().await;
        }
    }
    let results = all.join_all().await;
    results.iter().filter(|it| **it == Err(PublishError::Overloaded)).count()
}

#[tokio::test]
async fn no_more_is_under_way_than_is_set_in_messages_and_in_bytes() {
    assert_eq!(overloaded(|it| it.publishes_max = 5, 20).await, 15);
    // Each takes its body, its headers and an envelope of 2 KiB.
    assert_eq!(overloaded(|it| it.publish_bytes_max = 3 * 2_100, 20).await, 17);
    assert_eq!(overloaded(|_| {}, 20).await, 0);
}

/// A record whose key and headers are no text and that has no value, and the partition of its key.
fn no_text() -> (Record, u32) {
    let key = Bytes::from_static(&[0xff, 0x00, 0xfe]);
    let home = kafka_wire::partition_of(&key, 4);
    let headers =
        vec![("same".to_owned(), Some(Bytes::from_static(&[0x80]))), ("same".to_owned(), None)];
    (Record { key: Some(key), value: None, headers, timestamp: 5 }, home)
}

/// A producer whose partitioner is not ours.
#[tokio::test]
async fn a_record_that_is_moved_home_keeps_its_bytes() {
    let fixture = Fixture::new();
    let client = fixture.client("one", &fixture.tasks);
    client.publish("orders", message("a", 0)).await.unwrap();
    let (record, home) = no_text();
    fixture.produce("orders", (home + 1) % 4, &record).await;
    let memory = Memory::default();
    let group = Subscription::new(["orders"], "g");
    client.subscribe(&group, memory.clone(), &fixture.tasks).unwrap();
    memory.has(2).await;
    eventually("it is at home, as it was", || async {
        let found = fixture.records("orders", home).await;
        found.iter().any(|it| {
            let (moved, rest) = it.headers.split_last().unwrap();
            moved.0 == "skein_republished"
                && Record { headers: rest.to_vec(), ..it.clone() } == record
        })
    })
    .await;
}

/// A log that forgot the producer took nothing of a batch that it sees for the first time. After a try
/// that nobody answered it may have: whoever published is told so.
#[tokio::test]
async fn a_log_that_lost_the_number_of_the_producer_is_asked_for_another() {
    let fixture = Fixture::between().await;
    let client = fixture.client("one", &fixture.tasks);
    client.publish("orders", message("a", 0)).await.unwrap();
    for code in [
        ErrorCode::UnknownProducerId,
        ErrorCode::OutOfOrderSequenceNumber,
        ErrorCode::InvalidProducerEpoch,
        ErrorCode::DuplicateSequenceNumber,
    ] {
        for before in [None, Some(ErrorCode::RequestTimedOut)] {
            let said = std::sync::Mutex::new(vec![code]);
            said.lock().unwrap().extend(before);
            fixture.meddler().change(move |api, version, body| {
                let code = (api == ApiKey::Produce).then(|| said.lock().unwrap().pop()).flatten();
                let Some(code) = code else { return Some(body) };
                rewritten(version, body, |it: &mut ProduceResponse| {
                    it.topics.iter_mut().flat_map(|it| &mut it.partitions).for_each(|it| {
                        it.error = code;
                    });
                })
            });
            let published = client.publish("orders", message("a", 1)).await;
            match (before, published) {
                (None, Ok(_)) | (Some(_), Err(PublishError::Unknown { .. })) => {}
                (_, other) => panic!("{code:?} after {before:?}: {other:?}"),
            }
        }
    }
}

/// What no text could carry dies, and is sent back.
#[tokio::test]
async fn a_record_that_is_buried_and_sent_back_keeps_its_bytes() {
    let fixture = Fixture::new();
    let client = fixture.client("one", &fixture.tasks);
    client.publish("orders", message("a", 0)).await.unwrap();
    let (record, home) = no_text();
    let offset = fixture.records("orders", home).await.len();
    fixture.produce("orders", home, &record).await;
    let memory = Memory::default();
    let id = format!("orders/{home}/{offset}");
    memory.fail(&id, Failure::Rejected("no".to_owned()));
    let group = Subscription::new(["orders"], "g");
    client.subscribe(&group, memory.clone(), &fixture.tasks).unwrap();
    memory.has(2).await;
    let dead = messaging::dead_letter_topic("orders", "g");
    let kept = || async {
        let mut kept = Vec::new();
        for partition in 0..4 {
            kept.extend(client.letters(&dead, partition, 0, 9).await.unwrap_or_default());
        }
        kept
    };
    eventually("it is kept", || async { !kept().await.is_empty() }).await;
    let letter = kept().await.pop().unwrap().1.unwrap();
    client.send_back(letter).await.unwrap();
    let mut back = fixture.records("orders", home).await;
    assert_eq!(back.len(), offset + 2, "it went to the partition of another key");
    assert_eq!(Record { timestamp: 5, ..back.pop().unwrap() }, record);
}
