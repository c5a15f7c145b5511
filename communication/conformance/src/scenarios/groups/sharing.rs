//! Who has which partition while members come, leave and die.

use std::collections::{BTreeMap, BTreeSet};

use kafka_wire::ApiKey;

use crate::{
    capability::{Capability, JOINS, MAKES},
    judge::{Judged, Stop, eventually, holds, same, short},
    memory::{Memory, all_seen},
    scenario::{Scenario, scenario},
    stage::{Client, Stage, ids, message, publish},
};

const DESCRIBES: Capability = Capability::Speaks(ApiKey::DescribeGroups);

#[rustfmt::skip]
pub(crate) const ALL: &[Scenario] = &[
    scenario!(Groups, one_member_has_every_partition, [MAKES, JOINS, DESCRIBES],
        "A member that is alone has all partitions.",
        "the description of the group"),
    scenario!(Groups, two_members_share_the_partitions, [MAKES, JOINS, DESCRIBES],
        "Two members have half of the partitions each.",
        "the description of the group"),
    scenario!(Groups, shares_of_three_differ_by_one, [MAKES, JOINS, DESCRIBES],
        "Shares are as equal as they can be.",
        "the description of three members on seven partitions"),
    scenario!(Groups, a_member_too_many_waits, [MAKES, JOINS, DESCRIBES],
        "Where members outnumber partitions, some have none and nobody shares one.",
        "the description of three members on two partitions"),
    scenario!(Groups, two_topics_are_both_shared, [MAKES, JOINS, DESCRIBES],
        "Each topic of a subscription is shared out.",
        "the description of two members on two topics"),
    scenario!(Groups, members_together_process_everything_once, [MAKES, JOINS],
        "While nobody comes or goes, each message is processed by one member, once.",
        "ids of two settled members"),
    scenario!(Groups, a_member_that_joins_gets_a_share, [MAKES, JOINS, DESCRIBES],
        "A member that comes takes work over.",
        "messages that the second member gets"),
    scenario!(Groups, a_member_that_leaves_hands_over, [MAKES, JOINS],
        "What a member that leaves had, the others have.",
        "ids after one of two members has ended"),
    scenario!(Groups, the_last_one_takes_everything_over, [MAKES, JOINS, DESCRIBES],
        "When all others have left, the last member has every partition.",
        "the description after two of three have ended"),
    scenario!(Groups, a_dead_members_work_goes_to_the_others, [MAKES, JOINS],
        "A member that falls silent loses its partitions when its session is over.",
        "ids of the survivor after the other's connections fell silent"),
    scenario!(Groups, a_dead_leader_is_replaced, [MAKES, JOINS],
        "A group whose first member dies goes on.",
        "ids of two survivors after the first one's connections fell silent"),
    scenario!(Groups, nothing_is_lost_while_members_come_and_go, [MAKES, JOINS],
        "Every message is processed while members join and leave all the time.",
        "ids of all members over six changes"),
    scenario!(Groups, order_of_a_key_holds_while_members_come_and_go, [MAKES, JOINS],
        "A key's messages are processed in their order over all changes; one may come again, none overtakes.",
        "the first time that each number of a key was processed"),
    scenario!(Groups, a_group_stops_and_starts_without_a_loss, [MAKES, JOINS],
        "All members of a group may end and start again.",
        "ids over two lives of two members"),
    scenario!(Groups, a_handler_is_told_when_the_group_gathers, [MAKES, JOINS],
        "Who works on something when the group gathers is told that its time ends.",
        "what a handler heard when a second member came"),
];

/// How many partitions each member has, by its id; an error while the group gathers.
async fn shares(client: &Client, group: &str) -> Result<BTreeMap<String, usize>, Stop> {
    let info = client.group(group).await?;
    if info.state != "Stable" {
        return Err(Stop(format!("the group is {}", info.state)));
    }
    let of = |partitions: &BTreeMap<String, Vec<u32>>| partitions.values().map(Vec::len).sum();
    Ok(info.members.iter().map(|it| (it.id.clone(), of(&it.partitions))).collect())
}

/// Waits until the shares are these, smallest first.
async fn shared(client: &Client, group: &str, promised: &[usize]) -> Judged {
    let sorted = || async {
        let mut found: Vec<usize> = shares(client, group).await?.into_values().collect();
        found.sort_unstable();
        Ok::<_, Stop>(found)
    };
    let waited = eventually("", || async { Ok(sorted().await? == promised) }).await;
    if waited.is_ok() {
        return waited;
    }
    same("shares", sorted().await?, promised.to_vec())
}

/// Members of a group, each with what it remembers.
struct Members {
    topic: String,
    group: String,
    all: Vec<(Client, Memory)>,
    asker: Client,
}

impl Members {
    async fn new(stage: &Stage, partitions: u32, count: usize) -> Result<Self, Stop> {
        let (topic, group) = (stage.topic(partitions).await?, stage.group("g"));
        let asker = stage.client("asker");
        let mut members = Self { topic, group, all: Vec::new(), asker };
        for _ in 0..count {
            members.come(stage)?;
        }
        Ok(members)
    }

    fn come(&mut self, stage: &Stage) -> Result<Memory, Stop> {
        let client = stage.client(&format!("member-{}", self.all.len()));
        self.come_as(stage, client)
    }

    fn come_as(&mut self, stage: &Stage, client: Client) -> Result<Memory, Stop> {
        let memory = Memory::default();
        client.join(&stage.subscription(&self.topic, &self.group), &memory)?;
        self.all.push((client, memory.clone()));
        Ok(memory)
    }

    async fn shared(&self, promised: &[usize]) -> Judged {
        shared(&self.asker, &self.group, promised).await
    }

    /// Waits until each message was given to somebody.
    async fn seen(&self, ids: &[String]) -> Judged {
        let memories: Vec<&Memory> = self.all.iter().map(|it| &it.1).collect();
        all_seen(&memories, ids).await
    }

    async fn publish(&self, key: &str, numbers: std::ops::Range<usize>) -> Judged {
        publish(&self.asker, &self.topic, key, numbers).await
    }

    /// Waits until each of the members has a message of its own.
    async fn each_has_work(&self, since: &[usize]) -> Judged {
        for round in 0..100 {
            for key in 0..16 {
                publish(&self.asker, &self.topic, &format!("w{key}"), round..round + 1).await?;
            }
            let count = |number: usize| self.all.get(number).map_or(0, |it| it.1.count());
            if since.iter().enumerate().all(|(number, before)| count(number) > *before) {
                return Ok(());
            }
            tokio::time::sleep(crate::judge::LOOK * 10).await;
        }
        Err(Stop("a member got nothing".to_owned()))
    }
}

async fn one_member_has_every_partition(stage: &Stage) -> Judged {
    Members::new(stage, 5, 1).await?.shared(&[5]).await
}

async fn two_members_share_the_partitions(stage: &Stage) -> Judged {
    Members::new(stage, 6, 2).await?.shared(&[3, 3]).await
}

async fn shares_of_three_differ_by_one(stage: &Stage) -> Judged {
    Members::new(stage, 7, 3).await?.shared(&[2, 2, 3]).await
}

async fn a_member_too_many_waits(stage: &Stage) -> Judged {
    Members::new(stage, 2, 3).await?.shared(&[0, 1, 1]).await
}

async fn two_topics_are_both_shared(stage: &Stage) -> Judged {
    let topics = [stage.topic(4).await?, stage.topic_called("bills", 2).await?];
    let group = stage.group("g");
    for name in ["one", "two"] {
        let subscription = messaging::Subscription::new(topics.clone(), group.clone());
        stage.client(name).join(&subscription, &Memory::default())?;
    }
    let asker = stage.client("asker");
    shared(&asker, &group, &[3, 3]).await?;
    for member in asker.group(&group).await?.members {
        let found: BTreeSet<String> = member.partitions.into_keys().collect();
        same("topics of a member", found, topics.iter().cloned().collect())?;
    }
    Ok(())
}

async fn members_together_process_everything_once(stage: &Stage) -> Judged {
    let members = Members::new(stage, 4, 2).await?;
    // Once both have work, nobody is coming any more.
    members.each_has_work(&[0, 0]).await?;
    members.publish("a", 0..30).await?;
    members.seen(&ids("a", 0..30)).await?;
    let times = |id: &String| members.all.iter().map(|it| it.1.times(id)).sum::<usize>();
    let twice: Vec<_> = ids("a", 0..30).into_iter().filter(|it| times(it) != 1).collect();
    holds(twice.is_empty(), format!("more than once: {}", short(&twice)))
}

async fn a_member_that_joins_gets_a_share(stage: &Stage) -> Judged {
    let mut members = Members::new(stage, 4, 1).await?;
    members.each_has_work(&[0]).await?;
    members.come(stage)?;
    members.each_has_work(&[0, 0]).await?;
    members.shared(&[2, 2]).await
}

async fn a_member_that_leaves_hands_over(stage: &Stage) -> Judged {
    let members = Members::new(stage, 4, 2).await?;
    members.each_has_work(&[0, 0]).await?;
    if let Some((first, _)) = members.all.first() {
        first.end().await;
    }
    let mut promised = Vec::new();
    for key in 0..8 {
        members.publish(&format!("k{key}"), 0..3).await?;
        promised.extend(ids(&format!("k{key}"), 0..3));
    }
    members.seen(&promised).await
}

async fn the_last_one_takes_everything_over(stage: &Stage) -> Judged {
    let members = Members::new(stage, 6, 3).await?;
    members.shared(&[2, 2, 2]).await?;
    for (client, _) in members.all.iter().take(2) {
        client.end().await;
    }
    members.shared(&[6]).await
}

/// So many members stay when the first one falls silent.
async fn after_a_death(stage: &Stage, survivors: usize) -> Judged {
    let front = stage.front().await?;
    let mut members = Members::new(stage, 4, 0).await?;
    members.come_as(stage, stage.client_through("mortal", &front))?;
    members.each_has_work(&[0]).await?;
    for _ in 0..survivors {
        members.come(stage)?;
    }
    members.each_has_work(&vec![0; survivors + 1]).await?;
    front.vanish();
    let mut promised = Vec::new();
    for key in 0..8 {
        members.publish(&format!("k{key}"), 0..3).await?;
        promised.extend(ids(&format!("k{key}"), 0..3));
    }
    let memories: Vec<&Memory> = members.all.iter().skip(1).map(|it| &it.1).collect();
    all_seen(&memories, &promised).await
}

async fn a_dead_members_work_goes_to_the_others(stage: &Stage) -> Judged {
    after_a_death(stage, 1).await
}

async fn a_dead_leader_is_replaced(stage: &Stage) -> Judged {
    after_a_death(stage, 2).await
}

/// Members come and go while messages of eight keys are published.
async fn churned(stage: &Stage) -> Result<Members, Stop> {
    let mut members = Members::new(stage, 4, 1).await?;
    let (publisher, topic) = (stage.client("publisher"), members.topic.clone());
    let publishing = async {
        for number in 0..60 {
            for key in 0..8 {
                publisher.publish(&topic, message(&format!("k{key}"), number)).await?;
            }
        }
        Ok::<_, Stop>(())
    };
    let changing = async {
        for change in 0..6 {
            let memory = members.come(stage)?;
            // Each change is in effect before the next one.
            eventually("the group goes on", || async {
                Ok(memory.count() > 0 || members.all.iter().any(|it| it.1.count() >= 400))
            })
            .await?;
            if change % 2 == 0
                && let Some((client, _)) = members.all.get(change / 2)
            {
                client.end().await;
            }
        }
        Ok::<_, Stop>(())
    };
    let (published, changed) = tokio::join!(publishing, changing);
    published.and(changed)?;
    let promised = (0..8).flat_map(|key| ids(&format!("k{key}"), 0..60));
    members.seen(&promised.collect::<Vec<_>>()).await?;
    Ok(members)
}

async fn nothing_is_lost_while_members_come_and_go(stage: &Stage) -> Judged {
    churned(stage).await.map(drop)
}

async fn order_of_a_key_holds_while_members_come_and_go(stage: &Stage) -> Judged {
    let (topic, group) = (stage.topic(4).await?, stage.group("g"));
    let publisher = stage.client("publisher");
    // All members remember in one place: what stands there is the order of processing.
    let memory = Memory::default();
    let subscription = stage.subscription(&topic, &group);
    let mut clients = vec![stage.client("member-0")];
    clients[0].join(&subscription, &memory)?;
    for number in 0..60 {
        for key in 0..8 {
            publisher.publish(&topic, message(&format!("k{key}"), number)).await?;
        }
        if number % 10 == 5 {
            let client = stage.client(&format!("member-{}", clients.len()));
            client.join(&subscription, &memory)?;
            clients.push(client);
        }
        if number % 20 == 19
            && let Some(client) = clients.get(number / 20)
        {
            client.end().await;
        }
    }
    let promised = (0..8).flat_map(|key| ids(&format!("k{key}"), 0..60));
    memory.has_all(&promised.collect::<Vec<_>>()).await?;
    for key in 0..8 {
        let key = format!("k{key}");
        let mut seen = BTreeSet::new();
        let of_key = memory.seen().into_iter().filter(|it| it.message.key.as_ref() == Some(&key));
        let firsts = of_key.map(|it| it.message.id).filter(|it| seen.insert(it.clone()));
        same("first times of a key", firsts.collect::<Vec<_>>(), ids(&key, 0..60))?;
    }
    Ok(())
}

async fn a_group_stops_and_starts_without_a_loss(stage: &Stage) -> Judged {
    let mut members = Members::new(stage, 4, 2).await?;
    members.publish("a", 0..20).await?;
    members.publish("b", 0..20).await?;
    members.seen(&[ids("a", 0..20), ids("b", 0..20)].concat()).await?;
    for (client, _) in &members.all {
        client.end().await;
    }
    members.publish("a", 20..40).await?;
    members.publish("b", 20..40).await?;
    members.come(stage)?;
    members.come(stage)?;
    members.seen(&[ids("a", 0..40), ids("b", 0..40)].concat()).await
}

/// Works until it is told that its time ends, and remembers that it was.
#[derive(Debug, Clone, Default)]
struct Patient {
    began: std::sync::Arc<std::sync::atomic::AtomicUsize>,
    heard: std::sync::Arc<std::sync::atomic::AtomicUsize>,
}

impl messaging::Handler for Patient {
    async fn handle(&self, delivered: &messaging::Delivered) -> Result<(), messaging::Failure> {
        use std::sync::atomic::Ordering::Relaxed;
        self.began.fetch_add(1, Relaxed);
        delivered.stopping.cancelled().await;
        self.heard.fetch_add(1, Relaxed);
        Err(messaging::Failure::Transient("no time is left".to_owned()))
    }
}

async fn a_handler_is_told_when_the_group_gathers(stage: &Stage) -> Judged {
    use std::sync::atomic::Ordering::Relaxed;
    let (topic, group) = (stage.topic(2).await?, stage.group("g"));
    let (first, patient) = (stage.client("first"), Patient::default());
    let subscription = stage.subscription(&topic, &group);
    let _handle = first.subscribe(&subscription, patient.clone(), &first.tasks)?;
    publish(&first, &topic, "a", 0..1).await?;
    crate::judge::until("it is processed", || patient.began.load(Relaxed) == 1).await?;
    same("told before anybody came", patient.heard.load(Relaxed), 0)?;
    stage.client("second").join(&subscription, &Memory::default())?;
    crate::judge::until("it is told", || patient.heard.load(Relaxed) >= 1).await
}
