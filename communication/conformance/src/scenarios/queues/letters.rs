//! Dead letters: what was given up is kept, told and sent back.

use std::num::NonZeroU32;

use kafka_wire::ApiKey;
use messaging::{DeadLetter, Failure, Message, dead_letter_topic};

use crate::{
    capability::{Capability, JOINS, MAKES},
    judge::{Judged, Stop, eventually, holds, same},
    memory::Memory,
    scenario::{Scenario, scenario},
    stage::{Client, Stage, ids, message, publish},
};

const DESCRIBES: Capability = Capability::Speaks(ApiKey::DescribeConfigs);

#[rustfmt::skip]
pub(crate) const ALL: &[Scenario] = &[
    scenario!(Queues, a_rejected_message_is_kept_as_a_letter, [MAKES, JOINS],
        "A message that was rejected is kept with the reason.",
        "class, reason and attempts of the letter"),
    scenario!(Queues, an_exhausted_message_is_kept_as_a_letter, [MAKES, JOINS],
        "A message that failed too often is kept with the last reason.",
        "class, reason and attempts of the letter"),
    scenario!(Queues, a_letter_holds_the_message_as_it_was, [MAKES, JOINS],
        "Nothing of the message is changed in the letter.",
        "the letter's message against the one that was published"),
    scenario!(Queues, a_letter_says_where_it_comes_from, [MAKES, JOINS],
        "A letter names topic, partition and offset of its message, and both times.",
        "the letter against the receipt"),
    scenario!(Queues, a_message_is_kept_before_it_is_settled, [MAKES, JOINS],
        "What was given up is settled only when its letter is durable.",
        "when the lag is gone, the letter is there"),
    scenario!(Queues, each_group_has_its_own_letters, [MAKES, JOINS],
        "What one group gives up is not given up for another.",
        "letters and ids of two groups"),
    scenario!(Queues, a_letter_can_be_sent_back, [MAKES, JOINS],
        "A letter goes back to its topic as the message that it was.",
        "the message that comes again"),
    scenario!(Queues, a_letter_that_dies_again_is_a_letter_again, [MAKES, JOINS],
        "A message that is given up a second time is kept a second time, with the second reason.",
        "both letters"),
    scenario!(Queues, letters_keep_their_key, [MAKES, JOINS],
        "Letters of a key stand in the order in which they died.",
        "ids of five letters of a key"),
    scenario!(Queues, a_message_without_a_key_has_a_letter, [MAKES, JOINS],
        "A message without a key can be given up as well.",
        "the letter"),
    scenario!(Queues, letters_are_kept_as_long_as_was_asked, [MAKES, JOINS, DESCRIBES],
        "The topic of letters is made with the retention that the client asks for.",
        "its settings"),
    scenario!(Queues, a_reader_without_a_group_leaves_no_letter, [MAKES],
        "Who reads without a group gives nothing up for others.",
        "no topic of letters, and the next messages"),
];

/// A group whose handler gives up what it is told to; the topic of its letters.
struct Office {
    topic: String,
    group: String,
    client: Client,
    memory: Memory,
}

impl Office {
    async fn new(stage: &Stage) -> Result<Self, Stop> {
        let (topic, group) = (stage.topic(2).await?, stage.group("g"));
        Ok(Self { topic, group, client: stage.client("one"), memory: Memory::default() })
    }

    /// Begins to process.
    fn open(&self, stage: &Stage) -> Judged {
        let attempts = NonZeroU32::new(3).unwrap_or(NonZeroU32::MIN);
        let subscription = stage.subscription(&self.topic, &self.group).attempts_max(attempts);
        self.client.join(&subscription, &self.memory).map(drop)
    }

    fn reject(&self, id: &str) {
        self.memory.fail(id, Failure::Rejected("nobody lives there".to_owned()));
    }

    async fn settled(&self, stage: &Stage) -> Judged {
        stage.committed_all(&self.client, &self.group, &self.topic).await
    }

    async fn letters(&self, stage: &Stage) -> Result<Vec<DeadLetter>, Stop> {
        let all = stage.all(&self.client, &dead_letter_topic(&self.topic, &self.group)).await?;
        let letters: Option<Vec<_>> = all.iter().map(|it| DeadLetter::read(&it.message)).collect();
        letters.ok_or_else(|| Stop("a record there is no letter".to_owned()))
    }

    async fn letter(&self, stage: &Stage) -> Result<DeadLetter, Stop> {
        let mut letters = self.letters(stage).await?;
        same("letters", letters.len(), 1)?;
        letters.pop().ok_or_else(|| Stop("no letter".to_owned()))
    }
}

async fn given_up(stage: &Stage, failure: Failure) -> Result<DeadLetter, Stop> {
    let office = Office::new(stage).await?;
    publish(&office.client, &office.topic, "a", 0..3).await?;
    office.memory.fail("a/1", failure);
    office.open(stage)?;
    office.settled(stage).await?;
    office.letter(stage).await
}

async fn a_rejected_message_is_kept_as_a_letter(stage: &Stage) -> Judged {
    let letter = given_up(stage, Failure::Rejected("nobody lives there".to_owned())).await?;
    let found = (letter.message.id.as_str(), letter.class.as_str(), letter.attempts);
    same("id, class, attempts", found, ("a/1", "rejected", 1))?;
    same("the reason", letter.reason.as_str(), "nobody lives there")
}

async fn an_exhausted_message_is_kept_as_a_letter(stage: &Stage) -> Judged {
    let letter = given_up(stage, Failure::Transient("it is raining".to_owned())).await?;
    let found = (letter.message.id.as_str(), letter.class.as_str(), letter.attempts);
    same("id, class, attempts", found, ("a/1", "exhausted", 3))?;
    same("the reason", letter.reason.as_str(), "it is raining")
}

async fn a_letter_holds_the_message_as_it_was(stage: &Stage) -> Judged {
    let office = Office::new(stage).await?;
    let body = (0..=u8::MAX).collect();
    let sent =
        Message { body, content_type: "application/octet-stream".to_owned(), ..message("a", 1) };
    let receipt = office.client.publish(&office.topic, sent).await?;
    let read = office.client.read(&office.topic, receipt.partition, receipt.offset, 1).await?;
    office.reject("a/1");
    office.open(stage)?;
    office.settled(stage).await?;
    let found = Some(office.letter(stage).await?.message);
    same("the message", found, read.into_iter().next().map(|it| it.message))
}

async fn a_letter_says_where_it_comes_from(stage: &Stage) -> Judged {
    let office = Office::new(stage).await?;
    publish(&office.client, &office.topic, "a", 0..1).await?;
    let receipt = office.client.publish(&office.topic, message("a", 1)).await?;
    office.reject("a/1");
    office.open(stage)?;
    office.settled(stage).await?;
    let letter = office.letter(stage).await?;
    let source = (office.topic.clone(), receipt.partition, receipt.offset);
    same("its source", letter.source, source)?;
    let ordered =
        letter.first_time.zip(letter.last_time).is_some_and(|(first, last)| first <= last);
    holds(ordered, "its times are missing, or the wrong way round")
}

async fn a_message_is_kept_before_it_is_settled(stage: &Stage) -> Judged {
    let office = Office::new(stage).await?;
    for number in 0..10 {
        office.reject(&format!("a/{number}"));
    }
    office.open(stage)?;
    for number in 0..10 {
        publish(&office.client, &office.topic, "a", number..number + 1).await?;
        office.settled(stage).await?;
        same("letters", office.letters(stage).await?.len(), number + 1)?;
    }
    Ok(())
}

async fn each_group_has_its_own_letters(stage: &Stage) -> Judged {
    let office = Office::new(stage).await?;
    publish(&office.client, &office.topic, "a", 0..3).await?;
    office.reject("a/1");
    office.open(stage)?;
    let (other, memory) = (stage.group("h"), Memory::default());
    office.client.join(&stage.subscription(&office.topic, &other), &memory)?;
    office.settled(stage).await?;
    stage.committed_all(&office.client, &other, &office.topic).await?;
    same("letters of the one", office.letters(stage).await?.len(), 1)?;
    same("messages of the other", memory.ids(), ids("a", 0..3))?;
    let theirs = office.client.topic(&dead_letter_topic(&office.topic, &other)).await;
    holds(theirs.is_err(), "the other group has a topic of letters")
}

/// Sends every letter back.
async fn send_back(office: &Office) -> Judged {
    let dead = dead_letter_topic(&office.topic, &office.group);
    for (partition, (begin, _)) in office.client.topic(&dead).await?.partitions {
        for (_, letter) in office.client.letters(&dead, partition, begin, 100).await? {
            let letter = letter.ok_or_else(|| Stop("a record there is no letter".to_owned()))?;
            office.client.send_back(letter).await?;
        }
    }
    Ok(())
}

async fn a_letter_can_be_sent_back(stage: &Stage) -> Judged {
    let office = Office::new(stage).await?;
    publish(&office.client, &office.topic, "a", 0..3).await?;
    office.reject("a/1");
    office.open(stage)?;
    office.settled(stage).await?;
    office.memory.heal("a/1");
    send_back(&office).await?;
    office.memory.has(4).await?;
    office.settled(stage).await?;
    let seen = office.memory.seen();
    let of_it: Vec<_> = seen.into_iter().filter(|it| it.message.id == "a/1").collect();
    same("how often it came", of_it.len(), 2)?;
    let as_message = |at: usize| of_it.get(at).map(|it| it.message.clone());
    same("the message", as_message(1), as_message(0))
}

async fn a_letter_that_dies_again_is_a_letter_again(stage: &Stage) -> Judged {
    let office = Office::new(stage).await?;
    publish(&office.client, &office.topic, "a", 0..1).await?;
    office.reject("a/0");
    office.open(stage)?;
    office.settled(stage).await?;
    office.memory.fail("a/0", Failure::Rejected("still nobody".to_owned()));
    send_back(&office).await?;
    eventually("it dies again", || async { Ok(office.letters(stage).await?.len() == 2) }).await?;
    let reasons = office.letters(stage).await?.into_iter().map(|it| it.reason);
    let promised = vec!["nobody lives there".to_owned(), "still nobody".to_owned()];
    same("reasons", reasons.collect(), promised)
}

async fn letters_keep_their_key(stage: &Stage) -> Judged {
    let office = Office::new(stage).await?;
    publish(&office.client, &office.topic, "a", 0..5).await?;
    ids("a", 0..5).iter().for_each(|it| office.reject(it));
    office.open(stage)?;
    office.settled(stage).await?;
    let found = office.letters(stage).await?.into_iter().map(|it| it.message);
    let found = found.map(|it| (it.key, it.id));
    let promised = ids("a", 0..5).into_iter().map(|it| (Some("a".to_owned()), it));
    same("keys and ids", found.collect::<Vec<_>>(), promised.collect())
}

async fn a_message_without_a_key_has_a_letter(stage: &Stage) -> Judged {
    let office = Office::new(stage).await?;
    let sent = Message { key: None, ..message("none", 1) };
    office.client.publish(&office.topic, sent).await?;
    office.reject("none/1");
    office.open(stage)?;
    office.settled(stage).await?;
    same("its key", office.letter(stage).await?.message.key, None)
}

async fn letters_are_kept_as_long_as_was_asked(stage: &Stage) -> Judged {
    let mut office = Office::new(stage).await?;
    office.client = stage.client_with("keeper", |it| it.dead_letter_retention_ms = 86_400_000);
    publish(&office.client, &office.topic, "a", 0..1).await?;
    office.reject("a/0");
    office.open(stage)?;
    office.settled(stage).await?;
    let dead = dead_letter_topic(&office.topic, &office.group);
    let settings = office.client.topic_settings(&dead).await?;
    same("retention.ms", settings.get("retention.ms").cloned(), Some("86400000".to_owned()))
}

async fn a_reader_without_a_group_leaves_no_letter(stage: &Stage) -> Judged {
    let office = Office::new(stage).await?;
    publish(&office.client, &office.topic, "a", 0..3).await?;
    office.reject("a/1");
    let tail = messaging::Subscription::tail([office.topic.as_str()]);
    office.client.join(&tail, &office.memory)?;
    office.memory.has_all(&ids("a", 0..3)).await?;
    let dead = office.client.topic(&dead_letter_topic(&office.topic, "tail")).await;
    holds(dead.is_err(), "there is a topic of letters")
}
