//! Settled, given again, given up: and what may be committed meanwhile.

use std::{
    collections::BTreeSet,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base::Backoff;
use messaging::{Delivered, Failure, Handler, Subscription};
use tokio::time::Instant;

use crate::{
    capability::{JOINS, MAKES},
    judge::{Judged, holds, same, until},
    memory::Memory,
    scenario::{Scenario, scenario},
    stage::{Stage, ids, message, publish},
};

#[rustfmt::skip]
pub(crate) const ALL: &[Scenario] = &[
    scenario!(Queues, what_is_settled_is_not_given_again, [MAKES, JOINS],
        "A message that was settled and committed never comes again.",
        "ids of a second process of the group"),
    scenario!(Queues, what_is_not_settled_is_given_again, [MAKES, JOINS],
        "A message that was being worked on when its process ended comes again.",
        "ids of a second process"),
    scenario!(Queues, a_passing_failure_is_tried_again, [MAKES, JOINS],
        "A message that failed comes again until it succeeds.",
        "the attempts of a message that is healed after three"),
    scenario!(Queues, attempts_are_counted, [MAKES, JOINS],
        "Each attempt says which it is.",
        "the numbers of four attempts"),
    scenario!(Queues, attempts_have_a_bound, [MAKES, JOINS],
        "A message is tried as often as the subscription says, and no more.",
        "attempts of a message that always fails, with a bound of three"),
    scenario!(Queues, a_rejected_message_is_tried_once, [MAKES, JOINS],
        "A message that will never succeed is not tried again.",
        "attempts of a rejected message"),
    scenario!(Queues, waiting_for_something_down_is_no_attempt, [MAKES, JOINS],
        "While something that the work needs is down, attempts do not count.",
        "ten failures with a bound of two attempts, then a success at the first"),
    scenario!(Queues, what_is_about_the_unknown_is_passed_over, [MAKES, JOINS],
        "A message about something unknown is settled, and no dead letter.",
        "attempts, the lag, and the topic of dead letters"),
    scenario!(Queues, a_panic_is_a_failure_of_one_message, [MAKES, JOINS],
        "A handler that panics fails that message alone.",
        "the attempts of that message, and the others"),
    scenario!(Queues, a_retry_waits, [MAKES, JOINS],
        "Between two attempts lies the wait that the subscription asks for, or less by its jitter.",
        "the longest of eight waits is at least a tenth of 800 ms"),
    scenario!(Queues, a_checkpoint_never_passes_what_is_not_settled, [MAKES, JOINS],
        "Nothing behind an unsettled message is committed, however much is settled there.",
        "the committed offset while one of 40 messages fails"),
    scenario!(Queues, a_checkpoint_catches_up_when_the_last_is_settled, [MAKES, JOINS],
        "When the message that held the checkpoint up is settled, everything behind it is committed.",
        "the lag before and after"),
    scenario!(Queues, what_was_settled_behind_an_unsettled_one_may_come_again, [MAKES, JOINS],
        "After a crash the unsettled message comes again, and with it at most what stood behind it.",
        "ids of a second process: the failed one, none before it"),
    scenario!(Queues, each_message_is_settled_by_itself, [MAKES, JOINS],
        "Messages of a partition are settled in any order.",
        "all of 30 keys while every third waits"),
];

/// Ten messages are processed; what a second process of the group gets when it comes.
async fn what_is_settled_is_not_given_again(stage: &Stage) -> Judged {
    let (topic, group) = (stage.topic(2).await?, stage.group("g"));
    let first = stage.client("first");
    publish(&first, &topic, "a", 0..10).await?;
    let memory = Memory::default();
    first.join(&stage.subscription(&topic, &group), &memory)?;
    memory.has(10).await?;
    stage.committed_all(&first, &group, &topic).await?;
    first.end().await;
    let (second, memory) = (stage.client("second"), Memory::default());
    second.join(&stage.subscription(&topic, &group), &memory)?;
    publish(&second, &topic, "a", 10..12).await?;
    memory.has(2).await?;
    same("messages", memory.ids(), ids("a", 10..12))
}

async fn what_is_not_settled_is_given_again(stage: &Stage) -> Judged {
    let (topic, group) = (stage.topic(1).await?, stage.group("g"));
    let first = stage.client("first");
    publish(&first, &topic, "a", 0..1).await?;
    let memory = Memory::default();
    memory.fail("a/0", Failure::Unavailable("it never was done".to_owned()));
    first.join(&stage.subscription(&topic, &group), &memory)?;
    memory.has(1).await?;
    first.end().await;
    let memory = Memory::default();
    stage.client("second").join(&stage.subscription(&topic, &group), &memory)?;
    memory.has_all(&ids("a", 0..1)).await
}

/// A group's subscription, its only client, one message in its topic.
async fn one_message(
    stage: &Stage,
) -> Result<(Subscription, crate::stage::Client, Memory), crate::judge::Stop> {
    let (topic, group) = (stage.topic(1).await?, stage.group("g"));
    let client = stage.client("one");
    publish(&client, &topic, "a", 0..1).await?;
    Ok((stage.subscription(&topic, &group), client, Memory::default()))
}

fn transient() -> Failure {
    Failure::Transient("not now".to_owned())
}

fn at_most(attempts: u32) -> NonZeroU32 {
    NonZeroU32::new(attempts).unwrap_or(NonZeroU32::MIN)
}

async fn a_passing_failure_is_tried_again(stage: &Stage) -> Judged {
    let (subscription, client, memory) = one_message(stage).await?;
    memory.fail("a/0", transient());
    client.join(&subscription.attempts_max(at_most(1_000)), &memory)?;
    memory.has(3).await?;
    memory.heal("a/0");
    let topic = memory.seen().into_iter().next().map(|it| it.topic).unwrap_or_default();
    stage.committed_all(&client, &stage.group("g"), &topic).await
}

async fn attempts_are_counted(stage: &Stage) -> Judged {
    let (subscription, client, memory) = one_message(stage).await?;
    memory.fail("a/0", transient());
    client.join(&subscription.attempts_max(at_most(4)), &memory)?;
    memory.has(4).await?;
    let attempts: Vec<u32> = memory.seen().iter().map(|it| it.attempt).collect();
    same("attempts", attempts, vec![1, 2, 3, 4])
}

/// How often the only message is tried until it is settled.
async fn tried(stage: &Stage, failure: Failure, bound: u32, promised: usize) -> Judged {
    let (subscription, client, memory) = one_message(stage).await?;
    memory.fail("a/0", failure);
    client.join(&subscription.attempts_max(at_most(bound)), &memory)?;
    memory.has(1).await?;
    let topic = memory.seen().into_iter().next().map(|it| it.topic).unwrap_or_default();
    stage.committed_all(&client, &stage.group("g"), &topic).await?;
    same("attempts", memory.count(), promised)
}

async fn attempts_have_a_bound(stage: &Stage) -> Judged {
    tried(stage, transient(), 3, 3).await
}

async fn a_rejected_message_is_tried_once(stage: &Stage) -> Judged {
    tried(stage, Failure::Rejected("never".to_owned()), 5, 1).await
}

async fn waiting_for_something_down_is_no_attempt(stage: &Stage) -> Judged {
    let (subscription, client, memory) = one_message(stage).await?;
    memory.fail("a/0", Failure::Unavailable("the store is down".to_owned()));
    client.join(&subscription.attempts_max(at_most(2)), &memory)?;
    memory.has(10).await?;
    memory.heal("a/0");
    let seen = memory.seen();
    let topic = seen.first().map(|it| it.topic.clone()).unwrap_or_default();
    stage.committed_all(&client, &stage.group("g"), &topic).await?;
    let counted: BTreeSet<u32> = memory.seen().iter().map(|it| it.attempt).collect();
    same("attempts", counted, BTreeSet::from([1]))
}

async fn what_is_about_the_unknown_is_passed_over(stage: &Stage) -> Judged {
    let (topic, group) = (stage.topic(1).await?, stage.group("g"));
    let client = stage.client("one");
    publish(&client, &topic, "a", 0..3).await?;
    let memory = Memory::default();
    memory.fail("a/1", Failure::Unknown("a type of the future".to_owned()));
    client.join(&stage.subscription(&topic, &group), &memory)?;
    memory.has(3).await?;
    stage.committed_all(&client, &group, &topic).await?;
    same("messages", memory.ids(), ids("a", 0..3))?;
    let dead = client.topic(&messaging::dead_letter_topic(&topic, &group)).await;
    holds(dead.is_err(), "there is a topic of dead letters")
}

/// Panics at one message the first time.
#[derive(Debug, Clone)]
struct Panics {
    memory: Memory,
    at: &'static str,
}

impl Handler for Panics {
    async fn handle(&self, delivered: &Delivered) -> Result<(), Failure> {
        let known = self.memory.times(&delivered.message.id);
        self.memory.handle(delivered).await?;
        if delivered.message.id == self.at && known == 0 {
            // A panic as any other, but that nobody's terminal is told of it.
            std::panic::resume_unwind(Box::new("planted by the scenario"));
        }
        Ok(())
    }
}

async fn a_panic_is_a_failure_of_one_message(stage: &Stage) -> Judged {
    let (topic, group) = (stage.topic(1).await?, stage.group("g"));
    let client = stage.client("one");
    for key in ["a", "b", "c"] {
        publish(&client, &topic, key, 0..2).await?;
    }
    let memory = Memory::default();
    let handler = Panics { memory: memory.clone(), at: "b/0" };
    let _handle = client.subscribe(&stage.subscription(&topic, &group), handler, &client.tasks)?;
    memory.has(7).await?;
    stage.committed_all(&client, &group, &topic).await?;
    same("attempts at it", memory.times("b/0"), 2)?;
    same("attempts in all", memory.count(), 7)
}

/// Remembers when it was called, and fails.
#[derive(Debug, Clone, Default)]
struct Clocked(Arc<Mutex<Vec<Instant>>>);

impl Handler for Clocked {
    async fn handle(&self, _: &Delivered) -> Result<(), Failure> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
        Err(transient())
    }
}

async fn a_retry_waits(stage: &Stage) -> Judged {
    let (subscription, client, _) = one_message(stage).await?;
    let wait = Duration::from_millis(800);
    let subscription = subscription.attempts_max(at_most(9)).backoff(Backoff {
        initial: wait,
        factor: 1,
        cap: wait,
    });
    let clocked = Clocked::default();
    let _handle = client.subscribe(&subscription, clocked.clone(), &client.tasks)?;
    let times = || clocked.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    until("nine attempts", || times().len() == 9).await?;
    let times = times();
    let waits = times.iter().zip(times.iter().skip(1)).map(|(a, b)| *b - *a);
    // Eight draws from 0 to 800 ms lie all below a tenth of it once in a hundred million runs.
    let longest = waits.max().unwrap_or_default();
    holds(longest >= wait / 10, format!("the longest wait took {longest:?}"))
}

/// 40 messages of 40 keys in one partition; that at offset 10 fails until it is healed.
async fn one_of_forty(
    stage: &Stage,
) -> Result<(String, String, crate::stage::Client, Memory), crate::judge::Stop> {
    let (topic, group) = (stage.topic(1).await?, stage.group("g"));
    let client = stage.client("one");
    for key in 0..40 {
        client.publish(&topic, message(&format!("k{key}"), 0)).await?;
    }
    let memory = Memory::default();
    memory.fail("k10/0", Failure::Unavailable("not yet".to_owned()));
    client.join(&stage.subscription(&topic, &group), &memory)?;
    let all: Vec<_> = (0..40).map(|it| format!("k{it}/0")).collect();
    memory.has_all(&all).await?;
    Ok((topic, group, client, memory))
}

async fn a_checkpoint_never_passes_what_is_not_settled(stage: &Stage) -> Judged {
    let (topic, group, client, memory) = one_of_forty(stage).await?;
    let asker = stage.client("asker");
    // Ten more attempts: time for many commits.
    let before = memory.times("k10/0");
    until("ten more attempts", || memory.times("k10/0") >= before + 10).await?;
    same("committed", asker.lag(&group, &topic).await?.committed.get(&0).copied(), Some(10))?;
    client.end().await;
    same("after its end", asker.lag(&group, &topic).await?.committed.get(&0).copied(), Some(10))
}

async fn a_checkpoint_catches_up_when_the_last_is_settled(stage: &Stage) -> Judged {
    let (topic, group, client, memory) = one_of_forty(stage).await?;
    memory.heal("k10/0");
    stage.committed_all(&client, &group, &topic).await?;
    same("committed", client.lag(&group, &topic).await?.committed.get(&0).copied(), Some(40))
}

async fn what_was_settled_behind_an_unsettled_one_may_come_again(stage: &Stage) -> Judged {
    let (topic, group, client, _) = one_of_forty(stage).await?;
    client.end().await;
    let memory = Memory::default();
    let second = stage.client("second");
    second.join(&stage.subscription(&topic, &group), &memory)?;
    stage.committed_all(&second, &group, &topic).await?;
    same("the failed one", memory.times("k10/0"), 1)?;
    let before: Vec<_> = (0..10).map(|it| memory.times(&format!("k{it}/0"))).collect();
    same("those before it", before.into_iter().sum::<usize>(), 0)
}

async fn each_message_is_settled_by_itself(stage: &Stage) -> Judged {
    let (topic, group) = (stage.topic(1).await?, stage.group("g"));
    let client = stage.client("one");
    let memory = Memory::default();
    for key in 0..30 {
        client.publish(&topic, message(&format!("k{key}"), 0)).await?;
        if key % 3 == 0 {
            memory.fail(&format!("k{key}/0"), Failure::Unavailable("not yet".to_owned()));
        }
    }
    client.join(&stage.subscription(&topic, &group).lanes(4), &memory)?;
    let others = (0..30).filter(|it| it % 3 != 0).map(|it| format!("k{it}/0"));
    memory.has_all(&others.collect::<Vec<_>>()).await?;
    for key in (0..30).step_by(3) {
        memory.heal(&format!("k{key}/0"));
    }
    stage.committed_all(&client, &group, &topic).await
}
