//! A log that asks who comes in, and clients that show it.

use std::time::Duration;

use broker::PlainClients;
use kafka_wire::ErrorCode;
use messaging::{LogEntrance, PublishError, Subscription};
use runtime::Tasks;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    fixture::{Memory, message},
    world::World,
};

/// mesh 12b: 43.
#[tokio::test]
async fn who_may_publishes_and_reads_and_who_may_not_is_told_so() {
    let world = World::new(PlainClients::Refused).await;
    let orders = world.known("orders", "log").await;
    orders.publish("orders", message("a", 1)).await.unwrap();
    let memory = Memory::default();
    let tasks = Tasks::new();
    let group = Subscription::new(["orders"], "orders");
    orders.subscribe(&group, memory.clone(), &tasks).unwrap();
    memory.has(1).await;
    let other = orders.publish("bills", message("a", 2)).await.unwrap_err();
    let denied = ErrorCode::TopicAuthorizationFailed;
    assert!(
        matches!(other, PublishError::Refused { .. } | PublishError::Unavailable { .. }),
        "{other:?}"
    );
    // A topic that is missing is not made by who may not produce to it.
    assert!(orders.topics().await.is_ok_and(|all| all.iter().all(|it| it.name != "bills")));
    let reader = world.known("reader", "log").await;
    let refused = reader.publish("orders", message("a", 3)).await.unwrap_err();
    assert_eq!(refused, PublishError::Refused { code: denied });
    assert!(
        reader.lag("orders", "orders").await.is_ok(),
        "who may read may know how far others are"
    );
    let stranger = world.known("stranger", "log").await;
    let seen = Memory::default();
    stranger.subscribe(&Subscription::tail(["orders"]), seen.clone(), &tasks).unwrap();
    orders.publish("orders", message("a", 4)).await.unwrap();
    memory.has(2).await;
    assert!(stranger.lag("orders", "orders").await.is_err());
    assert_eq!(seen.seen().len(), 0);
    // What belongs to all is for who may look at it: the connection ends.
    assert!(orders.groups().await.is_err());
    let watcher = world.known("watcher", "log").await;
    let groups = watcher.groups().await.unwrap();
    assert!(groups.iter().any(|it| it == "orders"), "{groups:?}");
    assert!(watcher.delete_topic("orders").await.is_err(), "who looks changes nothing");
    assert!(orders.topics().await.is_ok_and(|all| all.iter().any(|it| it.name == "orders")));
}

#[tokio::test]
async fn a_log_that_proves_to_be_somebody_else_gets_nothing() {
    let world = World::new(PlainClients::Refused).await;
    let orders = world.known("orders", "stock").await;
    let error = orders.publish("orders", message("a", 1)).await.unwrap_err();
    assert!(matches!(error, PublishError::Unavailable { .. }), "{error:?}");
}

/// What comes back for a question in plain text; nothing where the connection ends.
async fn plain(world: &World) -> usize {
    let mut stream = TcpStream::connect(world.address()).await.unwrap();
    // ApiVersions, version 0, correlation 7, no client id.
    let question = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 255, 255];
    stream.write_all(&question).await.unwrap();
    let mut answer = [0; 8];
    // Refused, it may end with a reset.
    timeout(Duration::from_secs(20), stream.read(&mut answer)).await.unwrap().unwrap_or(0)
}

#[tokio::test]
async fn a_client_in_plain_text_is_served_only_where_those_are_trusted() {
    let world = World::new(PlainClients::Refused).await;
    // An alert at the most, which is no answer of the log: that begins with its length and the number.
    assert!(plain(&world).await < 8);
    let unknown =
        world.client("orders", LogEntrance::default()).publish("orders", message("a", 1)).await;
    assert!(unknown.is_err(), "{unknown:?}");
    let world = World::new(PlainClients::Trusted).await;
    assert_eq!(plain(&world).await, 8);
    world
        .client("orders", LogEntrance::default())
        .publish("orders", message("a", 1))
        .await
        .unwrap();
    world.known("orders", "log").await.publish("orders", message("a", 2)).await.unwrap();
}
