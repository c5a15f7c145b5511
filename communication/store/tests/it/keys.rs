use std::time::Duration;

use store::{KeyState, StoredReply};

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

#[tokio::test]
async fn a_key_gives_its_first_answer_again_and_no_other_body() {
    let fixture = Fixture::new();
    assert_eq!(reserve(&fixture, 1, "a").await, KeyState::Reserved { id: "a".to_owned() });
    assert_eq!(reserve(&fixture, 1, "b").await, KeyState::InProgress);
    assert_eq!(reserve(&fixture, 2, "b").await, KeyState::OtherBody);
    fixture.store.write(|it| it.settle_key("scope", "key", &reply())).await.unwrap();
    assert_eq!(reserve(&fixture, 1, "b").await, KeyState::Done(reply()));
    fixture.clock.advance(DAY);
    assert_eq!(reserve(&fixture, 2, "c").await, KeyState::Reserved { id: "c".to_owned() });
}

#[tokio::test]
async fn a_try_that_died_hands_its_id_on() {
    let fixture = Fixture::new();
    reserve(&fixture, 1, "a").await;
    fixture.clock.advance(HOLD);
    assert_eq!(reserve(&fixture, 1, "b").await, KeyState::Reserved { id: "a".to_owned() });
    fixture.store.write(|it| it.release_key("scope", "key")).await.unwrap();
    assert_eq!(reserve(&fixture, 1, "c").await, KeyState::Reserved { id: "a".to_owned() });
}
