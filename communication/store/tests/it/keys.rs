use std::time::Duration;

use store::{KeyHold, KeyState, StoredReply};

use crate::fixture::Fixture;

const HOLD: Duration = Duration::from_secs(5);
const DAY: Duration = Duration::from_secs(86_400);

async fn reserve(fixture: &Fixture, body: u8, id: &'static str) -> KeyState {
    let write =
        fixture.store.write(move |it| it.reserve_key("scope", "key", &[body; 32], id, HOLD, DAY));
    write.await.unwrap()
}

fn reply() -> StoredReply {
    StoredReply { status: 202, headers: Vec::new(), body: b"{}".to_vec() }.header("location", "/x")
}

/// Reserves a key that is free; gives the id to use and the hold.
async fn reserved(fixture: &Fixture, body: u8, id: &'static str) -> (String, KeyHold) {
    match reserve(fixture, body, id).await {
        KeyState::Reserved { id, hold } => (id, hold),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_key_gives_its_first_answer_again_and_no_other_body() {
    let fixture = Fixture::new();
    let (id, hold) = reserved(&fixture, 1, "a").await;
    assert_eq!(id, "a");
    assert_eq!(reserve(&fixture, 1, "b").await, KeyState::InProgress);
    assert_eq!(reserve(&fixture, 2, "b").await, KeyState::OtherBody);
    fixture.store.write(move |it| it.settle_key("scope", "key", hold, &reply())).await.unwrap();
    assert_eq!(reserve(&fixture, 1, "b").await, KeyState::Done(reply()));
    fixture.clock.advance(DAY);
    assert_eq!(reserved(&fixture, 2, "c").await.0, "c");
}

#[tokio::test]
async fn a_try_that_died_hands_its_id_on() {
    let fixture = Fixture::new();
    reserve(&fixture, 1, "a").await;
    fixture.clock.advance(HOLD);
    let (id, hold) = reserved(&fixture, 1, "b").await;
    assert_eq!(id, "a");
    fixture.store.write(move |it| it.release_key("scope", "key", hold)).await.unwrap();
    assert_eq!(reserved(&fixture, 1, "c").await.0, "a");
}

/// It ends when another try has the key already.
#[tokio::test]
async fn a_try_that_outlived_its_hold_neither_frees_nor_answers_the_next_one() {
    let fixture = Fixture::new();
    let (_, outlived) = reserved(&fixture, 1, "a").await;
    fixture.clock.advance(HOLD);
    let (_, hold) = reserved(&fixture, 1, "b").await;
    fixture.store.write(move |it| it.release_key("scope", "key", outlived)).await.unwrap();
    assert_eq!(reserve(&fixture, 1, "c").await, KeyState::InProgress);
    let other = StoredReply { status: 500, ..reply() };
    let late = other.clone();
    fixture.store.write(move |it| it.settle_key("scope", "key", outlived, &late)).await.unwrap();
    assert_eq!(reserve(&fixture, 1, "c").await, KeyState::InProgress);
    fixture.store.write(move |it| it.settle_key("scope", "key", hold, &reply())).await.unwrap();
    fixture.store.write(move |it| it.settle_key("scope", "key", hold, &other)).await.unwrap();
    assert_eq!(reserve(&fixture, 1, "c").await, KeyState::Done(reply()));
}
