//! What a receipt says, and where messages go.

use std::collections::{BTreeMap, BTreeSet};

use kafka_wire::partition_of;
use messaging::{Message, Receipt};
use tokio::task::JoinSet;

use crate::{
    capability::MAKES,
    judge::{Judged, Stop, holds, same},
    scenario::{Scenario, scenario},
    stage::{Client, Stage, ids, message, publish},
};

#[rustfmt::skip]
pub(crate) const ALL: &[Scenario] = &[
    scenario!(Produce, a_receipt_names_where_the_message_stands, [MAKES],
        "A receipt names the partition and the offset at which the message stands.",
        "the message is read back at that place"),
    scenario!(Produce, what_was_acknowledged_is_read_by_another_client, [MAKES],
        "What was acknowledged to one client is there for every other.",
        "another client reads it at once"),
    scenario!(Produce, the_end_moves_by_one_with_each_message, [MAKES],
        "The end of a partition counts what was acknowledged.",
        "ends before and after twenty publishes"),
    scenario!(Produce, offsets_of_one_publisher_grow_by_one, [MAKES],
        "Messages that are published one after the other stand one behind the other.",
        "fifty receipts of one partition"),
    scenario!(Produce, one_key_goes_to_one_partition, [MAKES],
        "All messages of a key are in one partition.",
        "receipts of five keys from two clients"),
    scenario!(Produce, a_key_goes_where_every_stock_client_puts_it, [MAKES],
        "A key's partition is murmur2 modulo their number, as the Java client has it.",
        "receipts of 40 keys against the function"),
    scenario!(Produce, keys_spread_over_all_partitions, [MAKES],
        "Many keys use every partition.",
        "receipts of 64 keys on four partitions"),
    scenario!(Produce, messages_without_a_key_spread_over_all_partitions, [MAKES],
        "Messages without a key use every partition.",
        "receipts of 32 messages on four partitions"),
    scenario!(Produce, a_thousand_at_once_all_arrive_once, [MAKES],
        "Everything that is acknowledged while many publish is there once.",
        "a thousand concurrent publishes, ids read back"),
    scenario!(Produce, receipts_of_many_at_once_differ, [MAKES],
        "No two messages have one place.",
        "receipts of 300 concurrent publishes"),
    scenario!(Produce, order_of_a_key_holds_while_many_publish, [MAKES],
        "A key's messages stand in the order in which they were published, whatever others do.",
        "eight publishers, a key each, on two partitions"),
    scenario!(Produce, ten_clients_fill_one_partition_without_a_gap, [MAKES],
        "Offsets of a partition have no hole, however many clients publish.",
        "receipts of ten clients are the numbers from 0 on"),
    scenario!(Produce, topics_do_not_mix, [MAKES],
        "A message is in the topic that it was published to, and in no other.",
        "two topics read back"),
    scenario!(Produce, a_client_that_ends_has_published_what_it_began, [MAKES],
        "A client that is told to end first publishes what is under way.",
        "fifty publishes under way at the end are acknowledged and there"),
];

async fn a_receipt_names_where_the_message_stands(stage: &Stage) -> Judged {
    let topic = stage.topic(4).await?;
    let client = stage.client("one");
    for number in 0..8 {
        let sent = message(&format!("k{number}"), number);
        let Receipt { partition, offset } = client.publish(&topic, sent.clone()).await?;
        let read = client.read(&topic, partition, offset, 1).await?;
        same("the message there", read.first().map(|it| &it.message.id), Some(&sent.id))?;
    }
    Ok(())
}

async fn what_was_acknowledged_is_read_by_another_client(stage: &Stage) -> Judged {
    let topic = stage.topic(1).await?;
    let (one, other) = (stage.client("one"), stage.client("other"));
    for number in 0..20 {
        let receipt = one.publish(&topic, message("a", number)).await?;
        let read = other.read(&topic, receipt.partition, receipt.offset, 1).await?;
        same("what the other reads", read.len(), 1)?;
    }
    Ok(())
}

async fn the_end_moves_by_one_with_each_message(stage: &Stage) -> Judged {
    let topic = stage.topic(1).await?;
    let client = stage.client("one");
    for number in 0..20 {
        let found = client.topic(&topic).await?.partitions;
        same("begin and end", found, BTreeMap::from([(0, (0, number as u64))]))?;
        client.publish(&topic, message("a", number)).await?;
    }
    same("records", stage.held(&client, &topic).await?, 20)
}

async fn offsets_of_one_publisher_grow_by_one(stage: &Stage) -> Judged {
    let topic = stage.topic(1).await?;
    let client = stage.client("one");
    for number in 0..50 {
        let receipt = client.publish(&topic, message("a", number)).await?;
        same("the receipt", receipt, Receipt { partition: 0, offset: number as u64 })?;
    }
    Ok(())
}

async fn one_key_goes_to_one_partition(stage: &Stage) -> Judged {
    let topic = stage.topic(8).await?;
    for key in ["a", "b", "c", "d", "e"] {
        let mut seen = BTreeSet::new();
        for client in [stage.client("one"), stage.client("other")] {
            for number in 0..5 {
                seen.insert(client.publish(&topic, message(key, number)).await?.partition);
            }
        }
        same("partitions of a key", seen.len(), 1)?;
    }
    Ok(())
}

async fn a_key_goes_where_every_stock_client_puts_it(stage: &Stage) -> Judged {
    let topic = stage.topic(7).await?;
    let client = stage.client("one");
    for number in 0..40 {
        let key = format!("key-{number}");
        let receipt = client.publish(&topic, message(&key, number)).await?;
        same(&key, receipt.partition, partition_of(key.as_bytes(), 7))?;
    }
    Ok(())
}

async fn keys_spread_over_all_partitions(stage: &Stage) -> Judged {
    let topic = stage.topic(4).await?;
    let sent = (0..64).map(|it| message(&format!("k{it}"), it));
    let receipts = at_once(&stage.client("one"), &topic, sent).await?;
    same("partitions", partitions(&receipts), BTreeSet::from([0, 1, 2, 3]))
}

async fn messages_without_a_key_spread_over_all_partitions(stage: &Stage) -> Judged {
    let topic = stage.topic(4).await?;
    let sent = (0..32).map(|it| Message { key: None, ..message("none", it) });
    let receipts = at_once(&stage.client("one"), &topic, sent).await?;
    same("partitions", partitions(&receipts), BTreeSet::from([0, 1, 2, 3]))
}

async fn a_thousand_at_once_all_arrive_once(stage: &Stage) -> Judged {
    let topic = stage.topic(4).await?;
    let client = stage.client("one");
    let sent = (0..1_000).map(|it| message(&format!("k{}", it % 50), it));
    let promised: BTreeSet<String> = sent.clone().map(|it| it.id).collect();
    at_once(&client, &topic, sent).await?;
    let found = stage.all(&client, &topic).await?;
    same("records", found.len(), 1_000)?;
    let found: BTreeSet<String> = found.into_iter().map(|it| it.message.id).collect();
    holds(found == promised, "ids that were not published, or not all of them")
}

async fn receipts_of_many_at_once_differ(stage: &Stage) -> Judged {
    let topic = stage.topic(3).await?;
    let sent = (0..300).map(|it| message(&format!("k{}", it % 9), it));
    let receipts = at_once(&stage.client("one"), &topic, sent).await?;
    let places: BTreeSet<_> = receipts.iter().map(|it| (it.partition, it.offset)).collect();
    same("places", places.len(), 300)
}

async fn order_of_a_key_holds_while_many_publish(stage: &Stage) -> Judged {
    let topic = stage.topic(2).await?;
    let client = stage.client("one");
    let mut publishing = JoinSet::new();
    for key in 0..8 {
        let (client, topic) = (client.clone(), topic.clone());
        publishing.spawn(async move { publish(&client, &topic, &format!("k{key}"), 0..40).await });
    }
    publishing.join_all().await.into_iter().collect::<Result<Vec<_>, _>>()?;
    let found = stage.all(&client, &topic).await?;
    for key in 0..8 {
        let key = format!("k{key}");
        let of_key = found.iter().filter(|it| it.message.key.as_ref() == Some(&key));
        let of_key: Vec<_> = of_key.map(|it| it.message.id.clone()).collect();
        same("messages of a key", of_key, ids(&key, 0..40))?;
    }
    Ok(())
}

async fn ten_clients_fill_one_partition_without_a_gap(stage: &Stage) -> Judged {
    let topic = stage.topic(1).await?;
    let mut publishing = JoinSet::new();
    for number in 0..10 {
        let (client, topic) = (stage.client(&format!("c{number}")), topic.clone());
        publishing.spawn(async move {
            let mut offsets = Vec::new();
            for of_client in 0..20 {
                let receipt = client.publish(&topic, message("a", number * 20 + of_client)).await?;
                offsets.push(receipt.offset);
            }
            Ok::<_, Stop>(offsets)
        });
    }
    let offsets = publishing.join_all().await.into_iter().collect::<Result<Vec<_>, _>>()?;
    let mut offsets = offsets.concat();
    offsets.sort_unstable();
    same("offsets", offsets, (0..200).collect())
}

async fn topics_do_not_mix(stage: &Stage) -> Judged {
    let (orders, bills) = (stage.topic(2).await?, stage.topic_called("bills", 2).await?);
    let client = stage.client("one");
    publish(&client, &orders, "order", 0..10).await?;
    publish(&client, &bills, "bill", 0..6).await?;
    for (topic, key, count) in [(&orders, "order", 10), (&bills, "bill", 6)] {
        let found = stage.all(&client, topic).await?;
        let found: Vec<_> = found.into_iter().map(|it| it.message.id).collect();
        same("the topic", found, ids(key, 0..count))?;
    }
    Ok(())
}

async fn a_client_that_ends_has_published_what_it_began(stage: &Stage) -> Judged {
    let topic = stage.topic(2).await?;
    let client = stage.client("one");
    let sent = (0..50).map(|it| message("a", it));
    let (receipts, ()) = tokio::join!(at_once(&client, &topic, sent), async {
        tokio::task::yield_now().await;
        client.end().await;
    });
    same("receipts", receipts?.len(), 50)?;
    same("records", stage.held(&stage.client("other"), &topic).await?, 50)
}

fn partitions(receipts: &[Receipt]) -> BTreeSet<u32> {
    receipts.iter().map(|it| it.partition).collect()
}

/// Publishes all of these at once.
async fn at_once(
    client: &Client,
    topic: &str,
    messages: impl Iterator<Item = Message>,
) -> Result<Vec<Receipt>, Stop> {
    let mut publishing = JoinSet::new();
    for message in messages {
        let (client, topic) = (client.clone(), topic.to_owned());
        publishing.spawn(async move { client.publish(&topic, message).await });
    }
    Ok(publishing.join_all().await.into_iter().collect::<Result<_, _>>()?)
}
