//! The events of one's own deliveries, as they happen, at the gateway.

use std::time::Duration;

use http::Method;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    people::{KNOWN_WITHIN, Person, order_of},
    program::System,
    wait::until,
};

/// Longest wait for what must come.
const SOON: Duration = Duration::from_secs(60);

/// A connection on which events come.
struct Listener {
    stream: TcpStream,
    heard: String,
}

impl Listener {
    async fn new(person: &Person<'_>, path: &str, last: &str) -> Self {
        let url = person.system.gateway(path);
        let host = url.trim_start_matches("http://").split('/').next().unwrap();
        let mut stream = TcpStream::connect(host).await.unwrap();
        let bearer = &person.bearer;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {bearer}\r\nLast-Event-ID: {last}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        Self { stream, heard: String::new() }
    }

    /// Waits until this was heard; fails at the end of the connection.
    async fn hears(&mut self, text: &str) {
        let mut bytes = [0; 4_096];
        let hear = async {
            while !self.heard.contains(text) {
                let read = self.stream.read(&mut bytes).await.unwrap();
                assert!(read > 0, "ended before {text:?}: {}", self.heard);
                self.heard.push_str(&String::from_utf8_lossy(&bytes[..read]));
            }
        };
        let heard = timeout(SOON, hear).await;
        assert!(heard.is_ok(), "nobody said {text:?}: {}", self.heard);
    }
}

/// The last chunk of an answer.
const END: &str = "\r\n0\r\n\r\n";

fn stream_of(id: &str) -> String {
    format!("/api/deliveries/{id}/events/stream")
}

async fn is_made(person: &Person<'_>, id: &str) {
    until("the delivery is made", SOON, || async {
        (person.get(&format!("/api/deliveries/{id}")).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_events_of_one_s_own_delivery_come_as_they_happen_until_it_is_over() {
    let system = System::up(&["--time-scale", "600"]);
    let (alice, bob) =
        (system.person("alice", "customer").await, system.person("bob", "customer").await);
    let operator = system.person("otto", "operator").await;
    let id = alice.ordered(&order_of("alice")).await;
    is_made(&alice, &id).await;
    let path = stream_of(&id);
    let mut listeners =
        [Listener::new(&alice, &path, "").await, Listener::new(&operator, &path, "").await];
    for listener in &mut listeners {
        for event in ["DeliveryCreated", "DeliveryHeadedToPickup", "DeliveryCompleted"] {
            listener.hears(&format!("event: {event}\n")).await;
        }
        listener.hears(END).await;
        assert!(listener.heard.contains("content-type: text/event-stream"), "{}", listener.heard);
    }
    assert_eq!(bob.get(&path).await.status, 404);
    // Who has all of it does not come again; who lacks the last hears that alone.
    let events = alice.get(&format!("/api/deliveries/{id}/events")).await.json();
    let newest = events.as_array().unwrap().last().unwrap()["sequence"].as_u64().unwrap();
    let mut behind = Listener::new(&alice, &path, &(newest - 1).to_string()).await;
    behind.hears(END).await;
    assert_eq!(behind.heard.matches("\nevent: ").count(), 1, "{}", behind.heard);
    let named = [("last-event-id", &*newest.to_string())];
    assert_eq!(alice.send(Method::GET, &path, &named, String::new()).await.status, 204);
}

#[tokio::test]
async fn api4_unrestricted_resource_consumption_one_caller_listens_to_so_many_and_no_longer_than_he_may()
 {
    // Of as much simulated time that nobody flies meanwhile.
    let system = System::up(&["--time-scale", "1", "--set", "delivery.streams.per_caller_max=1"]);
    let alice = system.person("alice", "customer").await;
    let operator = system.person("otto", "operator").await;
    let id = alice.ordered(&order_of("alice")).await;
    is_made(&alice, &id).await;
    let path = stream_of(&id);
    let mut listener = Listener::new(&alice, &path, "").await;
    listener.hears("event: DeliveryCreated\n").await;
    let another = alice.get(&path).await;
    assert_eq!(
        (another.status.as_u16(), &another.json()["code"]),
        (429, &"too_many_streams".into())
    );
    assert!(!another.header("retry-after").is_empty());
    let mut other = Listener::new(&operator, &path, "").await;
    other.hears("event: DeliveryCreated\n").await;
    let revoked = system.command(&["key", "revoke", &alice.id]);
    assert!(revoked.status.success(), "{}", String::from_utf8_lossy(&revoked.stderr));
    let ended = timeout(KNOWN_WITHIN, listener.hears(END)).await;
    assert!(ended.is_ok(), "a key that was taken back still listens: {}", listener.heard);
    // And what drains ends the others in order.
    let restarted = system.command(&["restart", "gateway"]);
    assert!(restarted.status.success(), "{}", String::from_utf8_lossy(&restarted.stderr));
    other.hears(END).await;
}
