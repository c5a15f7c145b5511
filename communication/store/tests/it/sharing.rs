use std::{collections::BTreeMap, time::Duration};

use base::Timestamp;
use store::{Lease, OutboxMessage, SqlError, Store};
use tokio::task::JoinSet;

use crate::fixture::Fixture;

pub(crate) fn message(key: &str, number: u64) -> OutboxMessage {
    OutboxMessage {
        topic: "orders".to_owned(),
        key: Some(key.to_owned()),
        id: format!("{key}/{number}"),
        kind: "com.example.Ordered.v1".to_owned(),
        source: "/services/orders".to_owned(),
        subject: None,
        time: Timestamp::from_millis(5),
        headers: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
        traceparent: None,
        tracestate: None,
        body: number.to_string().into_bytes(),
    }
}

async fn bump(store: Store) -> Result<(), store::WriteError<SqlError>> {
    store
        .write(|transaction| {
            transaction
                .execute(
                    "INSERT INTO counters VALUES ('shared', 1)
                     ON CONFLICT DO UPDATE SET value = value % 90 + 1",
                    &[],
                )
                .map(|_| ())?;
            transaction.push(&message("shared", 1))
        })
        .await
}

#[tokio::test]
async fn two_processes_on_one_file_lose_no_write() {
    let fixture = Fixture::new();
    let stores = [fixture.store.clone(), fixture.other(), fixture.other()];
    let mut writes = JoinSet::new();
    for round in 0..300 {
        writes.spawn(bump(stores[round % 3].clone()));
    }
    for written in writes.join_all().await {
        written.unwrap();
    }
    assert_eq!(fixture.store.read(|it| it.outbox_depth()).await, Ok(300));
}

#[tokio::test]
async fn messages_leave_in_the_order_of_their_commits_and_only_with_them() {
    let fixture = Fixture::new();
    for number in 0..5 {
        let write = fixture.store.write(move |transaction| {
            transaction.push(&message("a", number))?;
            if number == 3 { Err(SqlError::NoRow) } else { Ok(()) }
        });
        assert_eq!(write.await.is_ok(), number != 3);
    }
    let waiting = fixture.store.read(|reader| reader.outbox(0, 10)).await.unwrap();
    let ids: Vec<_> = waiting.iter().map(|it| it.1.id.as_str()).collect();
    assert_eq!(ids, ["a/0", "a/1", "a/2", "a/4"]);
    assert_eq!(waiting[0].1, message("a", 0));
    let sequences: Vec<i64> = waiting.iter().map(|it| it.0).collect();
    let taken = fixture.store.write(move |it| it.take_from_outbox(&sequences)).await;
    assert_eq!(taken, Ok(4));
    assert_eq!(fixture.store.read(|it| it.outbox_depth()).await, Ok(0));
}

#[tokio::test]
async fn a_message_is_new_once_for_each_consumer() {
    let fixture = Fixture::new();
    let first = async |consumer: &'static str| {
        fixture.store.write(move |it| it.first_time(consumer, "/s", "1")).await.unwrap()
    };
    assert!(first("a").await);
    assert!(!first("a").await);
    assert!(first("b").await);
}

const SECOND: Duration = Duration::from_secs(1);

async fn take(store: &Store, owner: &'static str) -> Lease {
    store.write(move |it| it.take_lease("l", owner, SECOND * 3)).await.unwrap()
}

async fn renew(store: &Store, owner: &'static str, epoch: u64) -> bool {
    store.write(move |it| it.renew_lease("l", owner, epoch, SECOND * 3)).await.unwrap()
}

#[tokio::test]
async fn a_lease_has_one_owner_and_each_taking_a_higher_epoch() {
    let fixture = Fixture::new();
    let other = fixture.other();
    assert_eq!(take(&fixture.store, "one").await, Lease::Taken { epoch: 1 });
    let held = Lease::Held { owner: "one".to_owned(), left: SECOND * 3 };
    assert_eq!(take(&other, "two").await, held);
    fixture.clock.advance(SECOND * 2);
    assert!(renew(&fixture.store, "one", 1).await);
    fixture.clock.advance(SECOND * 2);
    assert!(matches!(take(&other, "two").await, Lease::Held { .. }), "it was renewed");
    fixture.clock.advance(SECOND * 2);
    assert_eq!(take(&other, "two").await, Lease::Taken { epoch: 2 });
    assert!(!renew(&fixture.store, "one", 1).await, "an owner that was paused is none");
    assert_eq!(take(&other, "two").await, Lease::Taken { epoch: 3 }, "a new life of the same name");
}

#[tokio::test]
async fn an_expired_lease_cannot_be_renewed_even_if_nobody_took_it() {
    let fixture = Fixture::new();
    take(&fixture.store, "one").await;
    fixture.clock.advance(SECOND * 4);
    assert!(!renew(&fixture.store, "one", 1).await);
}

#[tokio::test]
async fn what_waits_behind_a_parked_message_is_read_past_and_comes_back_with_it_in_order() {
    let fixture = Fixture::new();
    let push = fixture.store.write(|transaction| {
        for (key, number) in [("a", 0), ("b", 0), ("a", 1), ("b", 1)] {
            transaction.push(&message(key, number))?;
        }
        transaction.park(1, "it is odd")
    });
    assert_eq!(push.await, Ok(()));
    let ids = async |after: i64| {
        let page = fixture.store.read(move |it| it.outbox_page(after, 10)).await.unwrap();
        let ids: Vec<_> = page.messages.into_iter().map(|it| it.1.id).collect();
        (ids.join(" "), page.read_to)
    };
    assert_eq!(ids(0).await, ("b/0 b/1".to_owned(), 4));
    let full = fixture.store.read(|it| it.outbox_page(0, 1)).await.unwrap();
    assert_eq!((full.messages.len(), full.read_to, full.is_full), (0, 1, true));
    let parked = fixture.store.read(|it| it.outbox_parked(0, 10)).await.unwrap();
    assert_eq!((parked[0].id.as_str(), parked[0].reason.as_str()), ("a/0", "it is odd"));
    let released = fixture.store.write(|it| it.settle_parked(1, store::Parked::Release));
    assert_eq!(released.await, Ok(true));
    assert_eq!(ids(4).await, ("a/0 a/1".to_owned(), 6));
    let again = fixture.store.write(|it| it.settle_parked(1, store::Parked::Release));
    assert_eq!(again.await, Ok(false));
}
