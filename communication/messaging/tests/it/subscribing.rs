use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base::Backoff;
use messaging::{
    DeadLetter, Delivered, Failure, Handler, PublishError, Subscription, dead_letter_topic,
};
use runtime::{Drained, Tasks};
use telemetry::TraceContext;

use crate::fixture::{DEAD_LETTER_RETENTION_MS, Fixture, Memory, PATIENCE, eventually, message};

fn subscription(group: &str) -> Subscription {
    let backoff =
        Backoff { initial: Duration::from_millis(5), factor: 2, cap: Duration::from_millis(20) };
    Subscription::new(["orders"], group).backoff(backoff)
}

#[tokio::test]
async fn a_message_arrives_with_every_attribute_and_in_its_trace() {
    let fixture = Fixture::new();
    let client = fixture.client("one", &fixture.tasks);
    let memory = Memory::default();
    client.subscribe(&subscription("g"), memory.clone(), &fixture.tasks).unwrap();
    let trace =
        TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", None);
    let sent = messaging::Message { trace: trace.clone(), ..message("a", 1) };
    let receipt = client.publish("orders", sent.clone()).await.unwrap();
    memory.has(1).await;
    let seen = memory.seen().remove(0);
    assert_eq!((seen.partition, seen.offset, seen.attempt), (receipt.partition, receipt.offset, 1));
    assert_eq!(seen.trace.trace_id, trace.unwrap().trace_id);
    assert_eq!(
        messaging::Message { trace: None, ..seen.message },
        messaging::Message { trace: None, ..sent }
    );
}

#[tokio::test]
async fn a_failing_key_holds_up_itself_alone_and_keeps_its_order() {
    let fixture = Fixture::new();
    let client = fixture.client("one", &fixture.tasks);
    let memory = Memory::default();
    memory.fail("a/0", Failure::Unavailable("down".to_owned()));
    client.subscribe(&subscription("g"), memory.clone(), &fixture.tasks).unwrap();
    for number in 0..3 {
        for key in ["a", "b"] {
            client.publish("orders", message(key, number)).await.unwrap();
        }
    }
    eventually("b is through", || async { memory.ids().iter().any(|it| it == "b/2") }).await;
    assert!(memory.ids().iter().all(|it| it == "a/0" || it.starts_with('b')));
    memory.heal("a/0");
    eventually("a is through", || async { memory.ids().iter().any(|it| it == "a/2") }).await;
    let mut of_a: Vec<_> = memory.ids().into_iter().filter(|it| it.starts_with('a')).collect();
    of_a.dedup();
    assert_eq!(of_a, ["a/0", "a/1", "a/2"]);
}

#[tokio::test]
async fn what_keeps_failing_goes_to_the_dead_letters_and_can_be_sent_back() {
    let fixture = Fixture::new();
    let client = fixture.client("one", &fixture.tasks);
    let memory = Memory::default();
    memory.fail("a/0", Failure::Transient("broken".to_owned()));
    memory.fail("a/1", Failure::Rejected("nonsense".to_owned()));
    let three = NonZeroU32::new(3).unwrap();
    client
        .subscribe(&subscription("g").attempts_max(three), memory.clone(), &fixture.tasks)
        .unwrap();
    for number in 0..3 {
        client.publish("orders", message("a", number)).await.unwrap();
    }
    eventually("the next one is processed", || async { memory.ids().iter().any(|it| it == "a/2") })
        .await;
    assert_eq!(memory.ids(), ["a/0", "a/0", "a/0", "a/1", "a/2"]);
    let topic = dead_letter_topic("orders", "g");
    let info = client.topic(&topic).await.unwrap();
    let mut letters = Vec::new();
    for (partition, (start, _)) in info.partitions {
        for delivered in client.read(&topic, partition, start, 10).await.unwrap() {
            letters.push(DeadLetter::read(&delivered.message).unwrap());
        }
    }
    letters.sort_by_key(|it| it.source.2);
    assert_eq!(letters[0].message.id, "a/0");
    assert_eq!((letters[0].class.as_str(), letters[0].attempts), ("exhausted", 3));
    assert_eq!((letters[1].class.as_str(), letters[1].reason.as_str()), ("rejected", "nonsense"));
    memory.heal("a/1");
    client.publish("orders", letters[1].message.clone()).await.unwrap();
    memory.has(6).await;
    assert_eq!(memory.ids().pop().as_deref(), Some("a/1"), "the same id: consumers drop doubles");
}

#[tokio::test]
async fn what_is_unknown_is_passed_over_once_and_no_dead_letter() {
    let fixture = Fixture::new();
    let client = fixture.client("one", &fixture.tasks);
    let memory = Memory::default();
    memory.fail("a/0", Failure::Unknown("of tomorrow".to_owned()));
    client.subscribe(&subscription("g"), memory.clone(), &fixture.tasks).unwrap();
    for number in 0..2 {
        client.publish("orders", message("a", number)).await.unwrap();
    }
    memory.has(2).await;
    assert_eq!(memory.ids(), ["a/0", "a/1"]);
    assert!(client.topic(&dead_letter_topic("orders", "g")).await.is_err(), "a letter was kept");
}

#[tokio::test]
async fn the_first_dead_letter_makes_a_topic_like_its_source_that_keeps_letters_for_as_long_as_is_set()
 {
    let fixture = Fixture::new();
    let client = fixture.client("one", &fixture.tasks);
    let memory = Memory::default();
    memory.fail("a/0", Failure::Rejected("nonsense".to_owned()));
    client.subscribe(&subscription("g"), memory.clone(), &fixture.tasks).unwrap();
    client.publish("orders", message("a", 0)).await.unwrap();
    let topic = dead_letter_topic("orders", "g");
    eventually("the letter is kept", || async {
        let info = client.topic(&topic).await;
        info.is_ok_and(|it| it.partitions.values().any(|(start, end)| end > start))
    })
    .await;
    assert_eq!(fixture.retention_ms(&topic), Some(DEAD_LETTER_RETENTION_MS));
    assert_eq!(fixture.retention_ms("orders"), None, "only letters are given an end");
    let width = |it: &messaging::TopicInfo| it.partitions.len();
    let (letters, orders) = (client.topic(&topic).await, client.topic("orders").await);
    assert_eq!(width(&letters.unwrap()), width(&orders.unwrap()));
}

#[tokio::test]
async fn a_consumer_that_dies_before_the_work_is_done_gets_the_message_again() {
    let fixture = Fixture::new();
    let publisher = fixture.client("publisher", &fixture.tasks);
    let (first, memory) = (Tasks::new(), Memory::default());
    memory.fail("a/1", Failure::Unavailable("down".to_owned()));
    let client = fixture.client("one", &first);
    client.subscribe(&subscription("g"), memory.clone(), &first).unwrap();
    for number in 0..3 {
        publisher.publish("orders", message("a", number)).await.unwrap();
    }
    eventually("the failing one is tried", || async { memory.ids().iter().any(|it| it == "a/1") })
        .await;
    first.drain(PATIENCE).await;
    let again = Memory::default();
    let client = fixture.client("one", &fixture.tasks);
    client.subscribe(&subscription("g"), again.clone(), &fixture.tasks).unwrap();
    again.has(2).await;
    assert_eq!(again.ids(), ["a/1", "a/2"], "what was done is committed, what was not comes again");
}

#[tokio::test]
async fn two_members_share_the_partitions_and_one_takes_over() {
    let fixture = Fixture::new();
    let publisher = fixture.client("publisher", &fixture.tasks);
    let (tasks, mortal) = (Tasks::new(), Tasks::new());
    let (one, two) = (Memory::default(), Memory::default());
    fixture.client("one", &tasks).subscribe(&subscription("g"), one.clone(), &tasks).unwrap();
    fixture.client("two", &mortal).subscribe(&subscription("g"), two.clone(), &mortal).unwrap();
    let number = AtomicUsize::new(0);
    let publish = || async {
        let next = number.fetch_add(1, Ordering::Relaxed);
        publisher
            .publish("orders", message(&format!("k{}", next % 20), u32::try_from(next).unwrap()))
            .await
            .unwrap();
    };
    eventually("both get messages", || async {
        publish().await;
        !one.ids().is_empty() && !two.ids().is_empty()
    })
    .await;
    mortal.drain(PATIENCE).await;
    let sent = number.load(Ordering::Relaxed);
    eventually("everything is processed", || async {
        let mut ids = [one.ids(), two.ids()].concat();
        ids.sort();
        ids.dedup();
        ids.len() == sent
    })
    .await;
    let before = one.ids().len();
    for _ in 0..20 {
        publish().await;
    }
    eventually("one has all partitions", || async { one.ids().len() >= before + 20 }).await;
}

#[tokio::test]
async fn a_restart_of_the_broker_is_ridden_through_without_loss_or_disorder() {
    let mut fixture = Fixture::new();
    let tasks = Tasks::new();
    let client = fixture.client("one", &tasks);
    let memory = Memory::default();
    client.subscribe(&subscription("g"), memory.clone(), &tasks).unwrap();
    let mut acknowledged = Vec::new();
    let mut number = 0;
    for round in 0..3 {
        for _ in 0..30 {
            number += 1;
            if client.publish("orders", message("a", number)).await.is_ok() {
                acknowledged.push(format!("a/{number}"));
            }
        }
        if round < 2 {
            fixture.stop_broker().await;
            let (published, ()) =
                tokio::join!(client.publish("orders", message("a", 1_000 + round)), async {
                    fixture.start_broker();
                });
            if published.is_ok() {
                acknowledged.push(format!("a/{}", 1_000 + round));
            }
        }
    }
    eventually("every acknowledged message is seen", || async {
        let ids = memory.ids();
        acknowledged.iter().all(|it| ids.contains(it))
    })
    .await;
    let mut first_seen: Vec<String> = Vec::new();
    for id in memory.ids() {
        if !first_seen.contains(&id) {
            first_seen.push(id);
        }
    }
    let order: Vec<_> = first_seen.into_iter().filter(|it| acknowledged.contains(it)).collect();
    assert_eq!(order, acknowledged, "each key keeps its order");
    tasks.drain(PATIENCE).await;
}

#[tokio::test]
async fn without_a_log_a_publish_says_so_and_nothing_is_promised() {
    let mut fixture = Fixture::new();
    let client = fixture.client("one", &fixture.tasks);
    client.publish("orders", message("a", 1)).await.unwrap();
    fixture.stop_broker().await;
    let refused = client.publish("orders", message("a", 2)).await.unwrap_err();
    assert!(
        matches!(refused, PublishError::Unavailable { .. } | PublishError::Unknown { .. }),
        "{refused}"
    );
}

#[tokio::test]
async fn a_reader_without_a_group_sees_everything_from_the_start() {
    let fixture = Fixture::new();
    let client = fixture.client("one", &fixture.tasks);
    for number in 0..10 {
        client.publish("bills", message(&number.to_string(), number)).await.unwrap();
    }
    let memory = Memory::default();
    let tail =
        client.subscribe(&Subscription::tail(["bills"]), memory.clone(), &fixture.tasks).unwrap();
    memory.has(10).await;
    tail.caught_up().await;
}

#[tokio::test]
async fn lag_counts_what_a_group_has_not_committed() {
    let fixture = Fixture::new();
    let client = fixture.client("one", &fixture.tasks);
    for number in 0..5 {
        client.publish("orders", message("a", number)).await.unwrap();
    }
    assert_eq!(client.lag("g", "orders").await.unwrap().records, 5);
    let memory = Memory::default();
    client.subscribe(&subscription("g"), memory.clone(), &fixture.tasks).unwrap();
    eventually("nothing is behind", || async {
        client.lag("g", "orders").await.is_ok_and(|it| it.records == 0)
    })
    .await;
}

#[tokio::test]
async fn a_paused_subscription_takes_nothing_in() {
    let fixture = Fixture::new();
    let client = fixture.client("one", &fixture.tasks);
    let memory = Memory::default();
    let handle = client.subscribe(&subscription("g"), memory.clone(), &fixture.tasks).unwrap();
    client.publish("orders", message("a", 0)).await.unwrap();
    memory.has(1).await;
    handle.pause();
    // One fetch may be under way; whatever it brings is taken in.
    client.publish("orders", message("a", 1)).await.unwrap();
    memory.has(2).await;
    for number in 2..5 {
        client.publish("orders", message("a", number)).await.unwrap();
    }
    assert!(memory.ids().len() <= 2, "{:?}", memory.ids());
    handle.resume();
    memory.has(5).await;
}

#[tokio::test]
async fn what_is_too_long_is_refused_before_it_is_sent() {
    let fixture = Fixture::new();
    let client = fixture.client("one", &fixture.tasks);
    let long = messaging::Message { body: vec![b'x'; (1 << 20) + 1].into(), ..message("a", 1) };
    let refused = client.publish("orders", long).await;
    assert_eq!(refused, Err(PublishError::TooLarge { bytes_max: 1 << 20 }));
}

#[tokio::test]
async fn many_publishers_share_batches() {
    let fixture = Fixture::new();
    let client = fixture.client("one", &fixture.tasks);
    let mut publishes = tokio::task::JoinSet::new();
    for number in 0..1_000 {
        let client = client.clone();
        publishes.spawn(async move {
            client.publish("orders", message(&format!("k{}", number % 50), number)).await
        });
    }
    let receipts = publishes.join_all().await;
    assert!(receipts.iter().all(Result::is_ok));
    let info = client.topic("orders").await.unwrap();
    let total: u64 = info.partitions.values().map(|(start, end)| end - start).sum();
    assert_eq!(total, 1_000);
}

/// Works until it is told that its time ends, and says that it was.
#[derive(Clone, Default)]
struct Patient {
    began: Arc<AtomicUsize>,
    heard: Arc<AtomicUsize>,
}

impl Handler for Patient {
    async fn handle(&self, delivered: &Delivered) -> Result<(), Failure> {
        self.began.fetch_add(1, Ordering::Relaxed);
        delivered.stopping.cancelled().await;
        self.heard.fetch_add(1, Ordering::Relaxed);
        Err(Failure::Transient("no time is left".to_owned()))
    }
}

#[tokio::test]
async fn who_processes_is_told_when_the_group_gathers_anew_and_when_the_process_ends() {
    let fixture = Fixture::new();
    let (tasks, others) = (Tasks::new(), Tasks::new());
    let client = fixture.client("one", &tasks);
    let patient = Patient::default();
    client.subscribe(&subscription("g"), patient.clone(), &tasks).unwrap();
    client.publish("orders", message("a", 0)).await.unwrap();
    let count = |of: &Arc<AtomicUsize>| of.load(Ordering::Relaxed);
    eventually("it is processed", || async { count(&patient.began) == 1 }).await;
    assert_eq!(count(&patient.heard), 0);
    let second = fixture.client("two", &others);
    second.subscribe(&subscription("g"), patient.clone(), &others).unwrap();
    eventually("the group gathers", || async { count(&patient.heard) == 1 }).await;
    eventually("it is processed again", || async { count(&patient.began) == 2 }).await;
    let ended = (tasks.drain(PATIENCE).await, others.drain(PATIENCE).await);
    assert_eq!(ended, (Drained::Complete, Drained::Complete));
    assert_eq!(count(&patient.heard), count(&patient.began), "one was dropped untold");
}
