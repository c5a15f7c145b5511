//! What becomes of the records of `delivery-requests`.

use std::time::Duration;

use axum::http::Method;
use contracts::topics;
use messaging::Message;
use scheduler_service::{SchedulerConfig, run};
use serde_json::{Value, json};
use service_kit::Bound;

use crate::fixture::{DRONE, Fixture, Got, SILENCE, ask, message, until};

pub(crate) fn delivery(id: &str) -> Message {
    let body = json!({"deliveryId": id, "ownerId": "o1", "pickupLocation": "60.17,24.94",
        "dropoffLocation": "60.18,24.95", "pickupTime": "Jul 28, 2017 04:06:24 PM", "deadline": "",
        "expedited": true, "confirmationRequired": "None",
        "packageInfo": {"packageId": "p1", "size": "Small", "weight": "14", "tag": "t"}});
    with(message(&format!("m-{id}"), id, &body), "delivery")
}

pub(crate) fn cancel(id: &str) -> Message {
    // The original's form: the bare id.
    with(message(&format!("c-{id}"), id, &json!(id)), "cancel")
}

pub(crate) fn with(mut message: Message, operation: &str) -> Message {
    message.headers.insert("operation".to_owned(), operation.to_owned());
    message
}

pub(crate) async fn start(fixture: &Fixture, settings: SchedulerConfig) -> Bound {
    run(fixture.context("scheduler", "scheduler-1"), settings).await.unwrap()
}

pub(crate) async fn transaction(bound: &Bound, id: &str) -> Option<Value> {
    let path = format!("/api/transactions/{id}");
    let (status, body) = ask(&bound.http_url(), Method::GET, &path, None).await;
    (status == 200).then_some(body)
}

pub(crate) async fn stands(bound: &Bound, id: &str, state: &str) -> Value {
    until(&format!("{id} is {state}"), || async {
        transaction(bound, id).await.filter(|it| it["state"] == state)
    })
    .await
}

#[tokio::test]
async fn a_request_goes_through_every_step_and_is_announced() {
    let fixture = Fixture::new().await;
    let bound = start(&fixture, SchedulerConfig::default()).await;
    fixture.publish(topics::DELIVERY_REQUESTS, delivery("d1")).await;
    let event = fixture.hears(topics::REQUEST_EVENTS, |_| true).await;
    assert_eq!((&event["deliveryId"], &event["kind"]), (&json!("d1"), &json!("RequestScheduled")));
    let got = fixture.got();
    let lines: Vec<&str> = got.iter().map(|it| it.line.as_str()).collect();
    assert_eq!(
        lines,
        [
            "GET /api/account/o1",
            "PUT /api/thirdpartydeliveries/d1",
            "PUT /api/packages/p1",
            "PUT /api/dronedeliveries/d1?view=booking&decline=true",
            "PUT /api/deliveries/d1",
        ]
    );
    assert_eq!(got[4].key, "\"d1/create/delivery/do/0\"");
    assert_eq!(got[4].body["droneId"], "d-7", "the drone that was booked");
    assert_eq!(got[4].body["pickup"]["latitude"], 60.17);
    assert_eq!(got[4].body["pickupTime"], "2017-07-28T16:06:24.000Z");

    let view = stands(&bound, "d1", "completed").await;
    assert_eq!(view["steps"].as_array().unwrap().len(), 6, "with the one that was left out");
    let (_, saga) = ask(&bound.http_url(), Method::GET, "/api/sagas/d1%2Fcreate", None).await;
    assert_eq!((&saga["status"], &saga["epoch"]), (&json!("completed"), &json!(1)));
    assert_eq!(saga["history"].as_array().unwrap().len(), 8, "{saga}");
    let (_, lag) = ask(&bound.http_url(), Method::GET, "/api/partitions", None).await;
    assert_eq!(lag["instances"][0]["name"], "scheduler-1");
}

#[tokio::test]
async fn a_record_that_comes_twice_is_one_delivery() {
    let fixture = Fixture::new().await;
    let bound = start(&fixture, SchedulerConfig::default()).await;
    for _ in 0..3 {
        fixture.publish(topics::DELIVERY_REQUESTS, delivery("d1")).await;
    }
    fixture.publish(topics::DELIVERY_REQUESTS, delivery("d2")).await;
    stands(&bound, "d1", "completed").await;
    stands(&bound, "d2", "completed").await;
    assert_eq!(fixture.got().len(), 10);
}

#[tokio::test]
async fn a_refused_step_is_told_to_the_supervisor_with_the_original_s_members() {
    let fixture = Fixture::new().await;
    fixture.answer("GET /api/account", 200, "false");
    let bound = start(&fixture, SchedulerConfig::default()).await;
    fixture.publish(topics::DELIVERY_REQUESTS, delivery("d1")).await;
    let failed = fixture.hears(topics::SUPERVISOR, |_| true).await;
    assert_eq!(failed["serviceName"], "account");
    assert_eq!(failed["deliveryRequest"]["deliveryId"], "d1");
    assert_eq!(failed["transactionId"], "d1/create");
    assert_eq!(failed["failureClass"], "non_transient");
    assert_eq!(failed["errorMessage"], "`account` was refused: account_suspended");
    stands(&bound, "d1", "aborting").await;
    assert_eq!(fixture.got().len(), 1, "no second call, and nothing is undone here");
    assert!(fixture.said(topics::REQUEST_EVENTS).await.is_empty());
}

#[tokio::test]
async fn a_cancel_of_a_scheduled_delivery_frees_drone_and_package() {
    let fixture = Fixture::new().await;
    let bound = start(&fixture, SchedulerConfig::default()).await;
    fixture.publish(topics::DELIVERY_REQUESTS, delivery("d1")).await;
    stands(&bound, "d1", "completed").await;
    fixture.publish(topics::DELIVERY_REQUESTS, cancel("d1")).await;
    let event = fixture.hears(topics::REQUEST_EVENTS, |it| it["operation"] == "cancel").await;
    assert_eq!(event["kind"], "RequestCancelled");
    let lines: Vec<String> = fixture.got()[5..].iter().map(|it| it.line.clone()).collect();
    assert_eq!(
        lines,
        [
            "DELETE /api/dronedeliveries/d1",
            "DELETE /api/deliveries/d1?compensate=true",
            "DELETE /api/packages/p1?deliveryId=d1",
        ]
    );
}

#[tokio::test]
async fn each_cancel_that_is_asked_for_is_answered_and_one_that_comes_twice_is_one() {
    let fixture = Fixture::new().await;
    let bound = start(&fixture, SchedulerConfig::default()).await;
    fixture.publish(topics::DELIVERY_REQUESTS, delivery("d1")).await;
    stands(&bound, "d1", "completed").await;
    for number in 0..4 {
        // Each time the client asks, it is a message of its own; each may come again.
        for _ in 0..4 {
            let again = Message { id: format!("c-{number}"), ..cancel("d1") };
            fixture.publish(topics::DELIVERY_REQUESTS, again).await;
        }
    }
    fixture.hears(topics::REQUEST_EVENTS, |it| it["operationId"] == "c-3").await;
    // Behind all of them in the same partition.
    fixture.publish(topics::DELIVERY_REQUESTS, delivery("d2")).await;
    stands(&bound, "d2", "completed").await;
    let got = fixture.got();
    assert_eq!(got.iter().filter(|it| it.line.starts_with("DELETE")).count(), 4 * 3, "{got:?}");
    let events = fixture.said(topics::REQUEST_EVENTS).await;
    let cancelled = events.iter().filter(|it| it["kind"] == "RequestCancelled");
    let answered: Vec<&Value> = cancelled.map(|it| &it["operationId"]).collect();
    assert_eq!(answered, ["c-0", "c-1", "c-2", "c-3"]);
}

#[tokio::test]
async fn a_cancel_that_overtakes_its_create_leaves_nothing_to_call() {
    let fixture = Fixture::new().await;
    let bound = start(&fixture, SchedulerConfig::default()).await;
    fixture.publish(topics::DELIVERY_REQUESTS, cancel("d1")).await;
    fixture.publish(topics::DELIVERY_REQUESTS, delivery("d1")).await;
    let view = stands(&bound, "d1", "aborting").await;
    assert!(view["reason"].as_str().unwrap().contains("called it off"), "{view}");
    assert!(fixture.got().is_empty());
}

#[tokio::test]
async fn a_cancel_of_an_id_that_nobody_asked_for_is_refused_and_a_create_that_comes_later_is_not() {
    let fixture = Fixture::new().await;
    let mut settings = SchedulerConfig::default();
    settings.engine.unheard_ms = 200;
    let bound = start(&fixture, settings).await;
    fixture.publish(topics::DELIVERY_REQUESTS, cancel("d1")).await;
    let answer = fixture.hears(topics::REQUEST_EVENTS, |it| it["operationId"] == "c-d1").await;
    assert_eq!(
        (&answer["kind"], &answer["operation"]),
        (&json!("RequestRefused"), &json!("cancel"))
    );
    assert_eq!(answer["reason"], "no delivery of this id was asked for");
    // Who asked was told that nothing is called off.
    fixture.publish(topics::DELIVERY_REQUESTS, delivery("d1")).await;
    stands(&bound, "d1", "completed").await;
    let events = fixture.said(topics::REQUEST_EVENTS).await;
    assert_eq!(events.iter().filter(|it| it["operationId"] == "c-d1").count(), 1, "{events:?}");
}

/// Calls that two moves of one delivery to the same place make.
async fn moved_twice(fixture: &Fixture) -> Vec<Got> {
    let bound = start(fixture, SchedulerConfig::default()).await;
    fixture.publish(topics::DELIVERY_REQUESTS, delivery("d1")).await;
    stands(&bound, "d1", "completed").await;
    for number in 0..2 {
        let body = json!({"deliveryId": "d1", "pickupLocation": "60.1,24.9",
            "dropOffLocation": "60.2,24.9", "deadline": "", "pickupTime": null});
        let record = with(message(&format!("r{number}"), "d1", &body), "reschedule");
        fixture.publish(topics::DELIVERY_REQUESTS, record).await;
    }
    until("both moves are announced", || async {
        let events = fixture.said(topics::REQUEST_EVENTS).await;
        let moved = events.iter().filter(|it| it["kind"] == "RequestRescheduled").count();
        (moved == 2).then_some(())
    })
    .await;
    fixture.got().split_off(5)
}

#[tokio::test]
async fn a_move_that_is_asked_again_says_the_same_places_again() {
    let fixture = Fixture::new().await;
    let got = moved_twice(&fixture).await;
    for line in ["PUT /api/dronedeliveries/d1", "PATCH /api/deliveries/d1"] {
        let mut bodies: Vec<Value> =
            got.iter().filter(|it| it.line == line).map(|it| it.body.clone()).collect();
        for body in &mut bodies {
            body.as_object_mut().unwrap().remove("revision");
        }
        assert_eq!(bodies.len(), 2, "{got:?}");
        assert_eq!(bodies[0], bodies[1]);
        assert_eq!(bodies[0]["pickup"]["latitude"], 60.1);
    }
}

#[tokio::test]
async fn a_move_carries_a_growing_revision() {
    let fixture = Fixture::new().await;
    let got = moved_twice(&fixture).await;
    for line in ["PUT /api/dronedeliveries/d1", "PATCH /api/deliveries/d1"] {
        let told = got.iter().filter(|it| it.line == line);
        let told: Vec<u64> = told.filter_map(|it| it.body["revision"].as_u64()).collect();
        assert!(told.len() == 2 && told[0] > 0 && told[0] < told[1], "{line}: {told:?}");
    }
}

#[tokio::test]
async fn a_record_that_cannot_be_read_goes_to_the_dead_letters_and_the_rest_goes_on() {
    let fixture = Fixture::new().await;
    let bound = start(&fixture, SchedulerConfig::default()).await;
    let unreadable = with(message("bad", "d0", &json!({"ownerId": 7})), "delivery");
    fixture.publish(topics::DELIVERY_REQUESTS, unreadable).await;
    fixture.publish(topics::DELIVERY_REQUESTS, delivery("d1")).await;
    stands(&bound, "d1", "completed").await;
    let dead = fixture.hears("delivery-requests.scheduler.dead", |_| true).await;
    assert_eq!(dead, json!({"ownerId": 7}), "the original is untouched");
}

#[tokio::test]
async fn a_call_without_an_answer_is_repeated_after_the_time_that_is_set() {
    let fixture = Fixture::new().await;
    fixture.answer("PUT /api/packages", SILENCE, "");
    let context = fixture.context_with("scheduler", "scheduler-1", |config| {
        config.call_timeout = Duration::from_millis(150);
    });
    run(context, SchedulerConfig::default()).await.unwrap();
    fixture.publish(topics::DELIVERY_REQUESTS, delivery("d1")).await;
    let calls = until("it is called again", || async {
        let got = fixture.got().into_iter();
        let calls: Vec<Got> = got.filter(|it| it.line.starts_with("PUT /api/packages")).collect();
        (calls.len() > 1).then_some(calls)
    })
    .await;
    let waited = calls[1].at - calls[0].at;
    // The wait before a second try is 0.1 s at the most; the default would be 2 s.
    assert!(waited >= Duration::from_millis(150), "{waited:?}");
    assert!(waited < Duration::from_secs(2), "{waited:?}");
}

#[tokio::test]
async fn a_request_of_another_version_goes_to_the_dead_letters_whatever_its_header_says() {
    let fixture = Fixture::new().await;
    let bound = start(&fixture, SchedulerConfig::default()).await;
    let kind = "com.fabrikam.shipping.DeliveryRequested.v2".to_owned();
    let newer = Message { kind, ..delivery("d1") };
    fixture.publish(topics::DELIVERY_REQUESTS, newer).await;
    fixture.publish(topics::DELIVERY_REQUESTS, delivery("d2")).await;
    stands(&bound, "d2", "completed").await;
    let dead = fixture.hears("delivery-requests.scheduler.dead", |_| true).await;
    assert_eq!(dead["deliveryId"], "d1");
    assert_eq!(transaction(&bound, "d1").await, None);
}

#[tokio::test]
async fn the_intake_pauses_while_as_many_sagas_are_open_as_may_be() {
    let fixture = Fixture::new().await;
    fixture.answer("PUT /api/dronedeliveries", 503, "");
    let mut settings = SchedulerConfig::default();
    settings.engine.open_sagas_max = 2;
    let bound = start(&fixture, settings).await;
    for number in 0..6 {
        let id = format!("d{number}");
        fixture.publish(topics::DELIVERY_REQUESTS, delivery(&id)).await;
    }
    until("two are open", || async {
        let (_, state) = ask(&bound.http_url(), Method::GET, "/api/partitions", None).await;
        let (_, all) = ask(&bound.http_url(), Method::GET, "/api/transactions", None).await;
        let taken = all.as_array().unwrap().len();
        assert!(taken <= 2, "{all}");
        (state["openSagas"] == 2 && taken == 2).then_some(())
    })
    .await;
    fixture.answer("PUT /api/dronedeliveries", 200, DRONE);
    for number in 0..6 {
        stands(&bound, &format!("d{number}"), "completed").await;
    }
}
