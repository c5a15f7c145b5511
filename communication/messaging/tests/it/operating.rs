//! What an operator asks and changes: groups, and whole topics.

use base::Timestamp;
use messaging::{AdminError, GroupStart, Subscription, TopicSpec};
use runtime::Tasks;

use crate::fixture::{Fixture, Memory, PATIENCE, eventually, message};

const COUNT: usize = 20;

/// Processes what there is in group `g`, as a member that leaves afterwards.
async fn processed_by(fixture: &Fixture, name: &str) -> Vec<String> {
    let (tasks, memory) = (Tasks::new(), Memory::default());
    let client = fixture.client(name, &tasks);
    client.subscribe(&Subscription::new(["orders"], "g"), memory.clone(), &tasks).unwrap();
    memory.has(COUNT).await;
    eventually("all is committed", || async {
        client.lag("g", "orders").await.unwrap().records == 0
    })
    .await;
    tasks.drain(PATIENCE).await;
    let mut ids = memory.ids();
    ids.sort();
    ids
}

#[tokio::test]
async fn a_group_is_set_back_once_nobody_takes_part() {
    let fixture = Fixture::new();
    let operator = fixture.client("operator", &fixture.tasks);
    for number in 0..COUNT {
        let key = format!("k{number}");
        operator.publish("orders", message(&key, 0)).await.unwrap();
    }
    let first = processed_by(&fixture, "one").await;
    eventually("it has left", || async { operator.group("g").await.unwrap().members.is_empty() })
        .await;
    let from = operator.reset_group("g", "orders", GroupStart::Beginning).await.unwrap();
    assert_eq!(from.into_iter().collect::<Vec<_>>(), [(0, 0), (1, 0), (2, 0), (3, 0)]);
    assert_eq!(operator.lag("g", "orders").await.unwrap().records, 20);
    assert_eq!(processed_by(&fixture, "two").await, first);

    operator.reset_group("g", "orders", GroupStart::Beginning).await.unwrap();
    let ends = operator.topic("orders").await.unwrap().partitions;
    let ends: Vec<_> = ends.into_iter().map(|(partition, (_, end))| (partition, end)).collect();
    let late = GroupStart::Time(Timestamp::from_millis(i64::MAX));
    for start in [GroupStart::End, late] {
        let from = operator.reset_group("g", "orders", start).await.unwrap();
        assert_eq!(from.into_iter().collect::<Vec<_>>(), ends);
        assert_eq!(operator.lag("g", "orders").await.unwrap().records, 0);
    }
    let early = GroupStart::Time(Timestamp::from_millis(1));
    operator.reset_group("g", "orders", early).await.unwrap();
    assert_eq!(operator.lag("g", "orders").await.unwrap().records, 20);
}

#[tokio::test]
async fn a_group_with_members_is_shown_and_stays_where_it_is() {
    let fixture = Fixture::new();
    let client = fixture.client("one", &fixture.tasks);
    client.publish("orders", message("a", 0)).await.unwrap();
    let memory = Memory::default();
    let group = Subscription::new(["orders"], "g");
    client.subscribe(&group, memory.clone(), &fixture.tasks).unwrap();
    memory.has(1).await;
    assert_eq!(client.groups().await.unwrap().into_iter().collect::<Vec<_>>(), ["g"]);
    let shown = client.group("g").await.unwrap();
    assert_eq!((shown.name.as_str(), shown.state.as_str()), ("g", "Stable"));
    let member = &shown.members[0];
    assert_eq!((shown.members.len(), member.client_id.as_str()), (1, "one"));
    assert_eq!(member.partitions["orders"], [0, 1, 2, 3]);
    let refused = client.reset_group("g", "orders", GroupStart::Beginning).await;
    assert_eq!(refused, Err(AdminError::Occupied { group: "g".to_owned(), members: 1 }));
}

#[tokio::test]
async fn a_topic_is_removed_with_all_that_is_in_it() {
    let fixture = Fixture::new();
    let client = fixture.client("one", &fixture.tasks);
    let name = "extra".to_owned();
    let retention_ms = Some(3_600_000);
    let spec = TopicSpec { name: name.clone(), partitions: 2, synced: true, retention_ms };
    client.ensure_topics(&[spec]).await.unwrap();
    client.publish("extra", message("a", 0)).await.unwrap();
    assert_eq!(client.topic_settings("extra").await.unwrap()["retention.ms"], "3600000");
    client.delete_topic("extra").await.unwrap();
    let unknown = AdminError::UnknownTopic { topic: name };
    assert_eq!(client.topic("extra").await, Err(unknown.clone()));
    assert_eq!(client.topic_settings("extra").await, Err(unknown.clone()));
    assert_eq!(client.delete_topic("extra").await, Err(unknown));
}

#[tokio::test]
async fn what_nobody_knows_is_said_to_be_unknown() {
    let fixture = Fixture::new();
    let client = fixture.client("one", &fixture.tasks);
    let group = "nobody".to_owned();
    assert_eq!(client.group("nobody").await, Err(AdminError::UnknownGroup { group }));
    assert!(client.groups().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_is_discarded_is_gone_and_what_stays_keeps_its_bytes_and_its_order() {
    let fixture = Fixture::new();
    let client = fixture.client("one", &fixture.tasks);
    let mut home = None;
    for number in 0..20 {
        // One key: one partition.
        home = Some(client.publish("orders", message("a", number)).await.unwrap().partition);
    }
    let home = home.unwrap();
    let before = client.read("orders", home, 0, 99).await.unwrap();
    let (_, end) = client.topic("orders").await.unwrap().partitions[&home];
    let behind = client.publish("orders", message("a", 20)).await.unwrap();
    let is_even = |offset: u64| offset.is_multiple_of(2);
    let gone = client.discard("orders", home, end, |it| is_even(it.offset)).await.unwrap();
    assert_eq!(gone, 10);
    let (begin, _) = client.topic("orders").await.unwrap().partitions[&home];
    assert_eq!(begin, end, "what came behind the end is not touched");
    let after = client.read("orders", home, begin, 99).await.unwrap();
    assert_eq!(after[0].offset, behind.offset);
    let staying = before.iter().filter(|it| !is_even(it.offset));
    let staying: Vec<_> = staying.map(|it| (&it.message, it.published_at)).collect();
    let found: Vec<_> = after[1..].iter().map(|it| (&it.message, it.published_at)).collect();
    assert_eq!(found, staying);
    let nothing = client.discard("orders", home, end + 1, |_| false).await.unwrap();
    assert_eq!(nothing, 0);
    assert_eq!(client.topic("orders").await.unwrap().partitions[&home].0, begin, "nothing moved");
}
