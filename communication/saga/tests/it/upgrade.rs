//! A store that was written before sagas had subjects.

use base::Timestamp;
use saga::{
    EngineKind, MIGRATIONS, Status,
    machine::{Moment, Place, Saga, accept},
};
use serde_json::json;
use store::{SqlError, Store, StoreSettings, params};
use telemetry::Telemetry;

use crate::fixture::{Fixture, definition, ends, order};

/// Writes running sagas as the program of the first format left them when it stopped.
async fn first_format(fixture: &Fixture, ids: &[&str]) {
    let path = fixture.directory.path().join("saga.db");
    let (settings, clock) = (StoreSettings::default(), fixture.clock.clone());
    let store =
        Store::open(path, &MIGRATIONS[..1], settings, clock, &Telemetry::disabled()).unwrap();
    let (definition, input) = (definition(), json!({"for": "somebody"}));
    let wall = Timestamp::from_millis(1_000);
    let moment = Moment { wall, monotonic: fixture.clock.monotonic(), draw: 0.5 };
    let rows: Vec<(String, String, String)> = ids
        .iter()
        .map(|id| {
            let saga = Saga { id, definition: &definition, input: &input };
            let accepted = accept(&saga, Place::Now, moment);
            let state = serde_json::to_string(&accepted.state).unwrap();
            let record = serde_json::to_string(&accepted.records[0]).unwrap();
            ((*id).to_owned(), state, record)
        })
        .collect();
    let (hash, document) = (definition.hash().to_owned(), definition.to_json());
    let write = store.write(move |it| {
        it.execute(
            "INSERT INTO saga_definitions VALUES (?1, 'order', 1, ?2, 0)",
            params![hash, document],
        )?;
        for (id, state, record) in &rows {
            let number = it.query_one(
                "INSERT INTO sagas (id, definition, input, input_hash, status, open, epoch, version,
                   state, accepted_at, updated_at)
                 VALUES (?1, ?2, ?3, '', 'running', 1, 0, 1, ?4, 1000, 1000) RETURNING number",
                params![id, hash, r#"{"for":"somebody"}"#, state],
                |row| row.get::<i64>(0),
            )?;
            it.execute(
                "INSERT INTO saga_records VALUES (?1, 0, 0, 1000, ?2)",
                params![number, record],
            )?;
        }
        Ok::<_, SqlError>(())
    });
    write.await.unwrap();
}

#[tokio::test]
async fn sagas_in_flight_from_before_end_and_new_ones_wait_for_the_first_of_their_subject() {
    let fixture = Fixture::new();
    first_format(&fixture, &["a/1", "a/2", "b"]).await;
    // They stand still until the new one is in the line behind them.
    let busy = [(); 3].map(|()| saga::CallResult::replied(503, json!(null)));
    fixture.services.plan("account", base::Direction::Do, &busy);
    let process = fixture.start("one", EngineKind::Forward).await;
    process.engine.submit(order("a/3").about("a")).await.unwrap();
    for id in ["a/1", "a/2", "a/3", "b"] {
        ends(&process.engine, id, Status::Completed).await;
    }
    let history = process.engine.history("a/3").await.unwrap();
    let words: Vec<_> =
        history.iter().map(|it| serde_json::to_value(&it.record).unwrap()).collect();
    assert_eq!((&words[1]["record"], &words[2]["record"]), (&json!("queued"), &json!("turn_came")));
    let first = process.engine.get("a/1").await.unwrap().unwrap();
    assert_eq!(first.subject.as_deref(), Some("a"));
    assert_eq!(process.engine.get("a/2").await.unwrap().unwrap().subject, None);
}
