use base::{Direction, OperationKey, Random};
use store::{OperationState, SqlError, StoredReply};

use crate::fixture::Fixture;

fn key(direction: Direction) -> OperationKey {
    OperationKey { saga: "s1/create".to_owned(), step: "book".to_owned(), direction, revision: 0 }
}

fn reply(direction: Direction) -> StoredReply {
    let status = if direction == Do { 201 } else { 204 };
    StoredReply { status, headers: Vec::new(), body: Vec::new() }
}

/// A call as a participant takes it: carried out when it is fresh.
async fn call(
    fixture: &Fixture,
    direction: Direction,
    epoch: Option<u64>,
    body: u8,
) -> OperationState {
    let write = fixture.store.write(move |transaction| {
        let (key, hash) = (key(direction), [body; 32]);
        let state = transaction.begin_operation(&key, epoch, &hash)?;
        if state == OperationState::Fresh {
            transaction.finish_operation(&key, epoch, &hash, &reply(direction))?;
        }
        Ok::<_, SqlError>(state)
    });
    write.await.unwrap()
}

use Direction::{Do, Undo};

#[tokio::test]
async fn a_repeated_do_gives_its_reply_and_another_body_none() {
    let fixture = Fixture::new();
    assert_eq!(call(&fixture, Do, Some(1), 1).await, OperationState::Fresh);
    assert_eq!(call(&fixture, Do, Some(1), 1).await, OperationState::Replayed(reply(Do)));
    assert_eq!(call(&fixture, Do, Some(1), 2).await, OperationState::OtherBody);
    assert_eq!(call(&fixture, Do, None, 1).await, OperationState::Replayed(reply(Do)));
}

#[tokio::test]
async fn an_undo_ends_the_operation_for_good() {
    let fixture = Fixture::new();
    call(&fixture, Do, Some(1), 1).await;
    assert_eq!(call(&fixture, Undo, Some(2), 0).await, OperationState::Fresh);
    assert_eq!(call(&fixture, Undo, Some(2), 0).await, OperationState::Replayed(reply(Undo)));
    assert_eq!(call(&fixture, Do, Some(2), 1).await, OperationState::Undone);
}

#[tokio::test]
async fn an_undo_that_overtakes_its_do_leaves_a_tombstone() {
    let fixture = Fixture::new();
    assert_eq!(call(&fixture, Undo, Some(2), 0).await, OperationState::Fresh);
    assert_eq!(call(&fixture, Do, Some(2), 1).await, OperationState::Undone);
    let effects = fixture.store.read(|it| it.effects("", 10)).await.unwrap();
    assert_eq!((effects[0].effects, effects[0].undos), (0, 0));
}

#[tokio::test]
async fn a_lower_epoch_is_refused_also_for_a_reply_that_is_known() {
    let fixture = Fixture::new();
    call(&fixture, Do, Some(5), 1).await;
    assert_eq!(call(&fixture, Do, Some(4), 1).await, OperationState::StaleEpoch { seen: 5 });
    assert_eq!(call(&fixture, Do, Some(6), 1).await, OperationState::Replayed(reply(Do)));
    assert_eq!(call(&fixture, Undo, Some(5), 0).await, OperationState::StaleEpoch { seen: 6 });
}

#[tokio::test]
async fn a_refused_effect_leaves_nothing_behind() {
    let fixture = Fixture::new();
    let refused = fixture.store.write(|transaction| {
        transaction.begin_operation(&key(Do), Some(9), &[1; 32])?;
        Err::<(), _>(SqlError::NoRow)
    });
    assert!(refused.await.is_err());
    assert_eq!(call(&fixture, Do, Some(1), 1).await, OperationState::Fresh);
}

/// Any order of calls: one effect at the most, one undo at the most, and nothing after an undo.
#[tokio::test]
async fn no_order_of_calls_doubles_an_effect() {
    for seed in 0..40 {
        let fixture = Fixture::new();
        let mut random = Random::with_seed(seed);
        let mut undone = false;
        for _ in 0..20 {
            let direction = if random.below(3) == 0 { Undo } else { Do };
            let state = call(&fixture, direction, Some(random.below(4)), 1).await;
            if undone && direction == Do {
                assert_ne!(state, OperationState::Fresh, "seed {seed}");
            }
            undone |= direction == Undo && !matches!(state, OperationState::StaleEpoch { .. });
        }
        assert_eq!(fixture.store.read(|it| it.doubled_effects()).await, Ok(Vec::new()), "{seed}");
    }
}

#[tokio::test]
async fn an_operation_is_forgotten_when_it_is_old_and_one_that_was_undone_lately_is_not() {
    let fixture = Fixture::new();
    let day = std::time::Duration::from_secs(86_400);
    let begun = |saga: &'static str, direction| {
        fixture.store.write(move |it| {
            let key = OperationKey { saga: saga.to_owned(), ..key(direction) };
            it.finish_operation(&key, Some(1), &[1; 32], &reply(direction))
        })
    };
    begun("undone", Do).await.unwrap();
    begun("old", Do).await.unwrap();
    fixture.clock.advance(day * 30);
    begun("undone", Undo).await.unwrap();
    fixture.clock.advance(day * 8);
    begun("new", Do).await.unwrap();
    let swept = fixture.store.write(|it| it.sweep(&store::Retention::default())).await;
    assert_eq!(swept, Ok(1));
    let left = fixture.store.read(|it| it.effects("", 9)).await.unwrap();
    let left: Vec<_> = left.iter().map(|it| it.key.as_str()).collect();
    assert_eq!(left, ["new/book/0", "undone/book/0"]);
}
