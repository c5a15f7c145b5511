//! Deliveries that no drone flies: declined by the fleet at their create, or handed over later.

use axum::http::Method;
use messaging::Message;
use serde_json::{Value, json};

use crate::{
    fixture::{ask, message, until},
    operations::{Setting, moved},
    requests::{cancel, delivery, stands, with},
    town::Fault,
};

/// What Delivery says when nobody flies any more.
fn hand_over(delivery: &str) -> Message {
    let place = |latitude: f64| json!({"latitude": latitude, "longitude": 24.9, "altitude": 0});
    let body = json!({"deliveryId": delivery, "pickup": place(60.1), "dropoff": place(60.2),
        "pickupTime": null});
    with(message(&format!("{delivery}/hand-over"), delivery, &body), "hand-over")
}

impl Setting {
    /// A saga as it stands, by its id in a path; what is answered where there is none has no status.
    async fn saga(&self, id: &str) -> Value {
        ask(&self.bound.http_url(), Method::GET, &format!("/api/sagas/{id}"), None).await.1
    }

    async fn handed_over(&self, id: &str, status: &str) -> Value {
        until(&format!("the hand-over of {id} is {status}"), || async {
            let found = self.saga(&format!("{id}%2Fhand-over")).await;
            (found["status"] == status).then_some(found)
        })
        .await
    }

    fn steps(&self, saga: &str) -> Vec<String> {
        let called = self.services.called(saga).into_iter();
        called.map(|it| it.0.rsplit('/').nth(2).unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn what_the_fleet_declines_at_the_create_goes_to_a_carrier_who_decides_about_its_cancel() {
    let setting = Setting::new().await;
    setting.made("declined").await;
    let kept = setting.services.kept("declined");
    assert!(kept.carrier && !kept.drone && kept.delivery, "{kept:?}");
    assert_eq!(kept.drone_told, Value::Null, "{kept:?}");
    let steps = setting.steps("declined/create/");
    let carrier = "third-party-transport";
    assert_eq!(steps, ["account", carrier, "package", "drone", "carrier", "delivery"]);
    setting.ask(Message { id: "c1".to_owned(), ..cancel("declined") }).await;
    assert_eq!(setting.answered("c1").await, "RequestCancelled");
    assert_eq!(setting.steps("declined/cancel/"), [carrier, "delivery", "package"]);
}

/// The transport has said that a drone may, and the fleet is still to answer.
#[tokio::test]
async fn a_move_asked_before_the_fleet_declines_goes_to_the_carrier_who_takes_it_then() {
    let setting = Setting::new().await;
    setting.services.fail("declined", "drone", Fault::BusyForEver);
    setting.ask(delivery("declined")).await;
    until("the fleet is asked", || async {
        setting.steps("declined/create/").contains(&"drone".to_owned()).then_some(())
    })
    .await;
    setting.ask(moved("declined", "m1", 61.0)).await;
    until("the move is taken", || async {
        let create = setting.saga("declined%2Fcreate").await;
        let is_word = create["history"].to_string().contains("declined/reschedule/m1");
        let waits = setting.saga("declined%2Freschedule%2Fm1").await["acceptedAt"].is_string();
        (is_word || waits).then_some(())
    })
    .await;
    setting.services.mend("declined");
    assert_eq!(setting.answered("m1").await, "RequestRescheduled");
    let carrier = "third-party-transport";
    assert_eq!(setting.steps("declined/reschedule/"), [carrier, "delivery"]);
    let kept = setting.services.kept("declined");
    assert_eq!((&kept.flown_to["latitude"], &kept.shown["latitude"]), (&json!(61.0), &json!(61.0)));
}

#[tokio::test]
async fn what_neither_fleet_nor_carrier_takes_is_refused_and_undone() {
    let setting = Setting::new().await;
    setting.services.fail("declined", "carrier", Fault::Refused);
    setting.ask(delivery("declined")).await;
    stands(&setting.bound, "declined", "compensated").await;
    let kept = setting.services.kept("declined");
    assert!(!kept.carrier && !kept.package && !kept.delivery, "{kept:?}");
}

#[tokio::test]
async fn a_delivery_that_no_drone_flies_any_more_is_handed_to_a_carrier_who_then_leaves() {
    let setting = Setting::new().await;
    setting.made("d1").await;
    for _ in 0..2 {
        setting.ask(hand_over("d1")).await;
    }
    let saga = setting.handed_over("d1", "completed").await;
    assert_eq!(saga["input"]["weight"], 14.0, "what the create was told: {saga}");
    let kept = setting.services.kept("d1");
    assert!(kept.carrier && kept.left && kept.delivery && kept.package, "{kept:?}");
    let carrier = "third-party-transport";
    assert_eq!(setting.steps("d1/hand-over/"), [carrier, "delivery", "departure"]);
    // From now on the carrier decides.
    setting.ask(Message { id: "c1".to_owned(), ..cancel("d1") }).await;
    assert_eq!(setting.answered("c1").await, "RequestCancelled");
    assert_eq!(setting.steps("d1/cancel/"), [carrier, "delivery", "package"]);
}

#[tokio::test]
async fn where_nobody_takes_it_delivery_ends_it_and_nothing_stays_booked() {
    let setting = Setting::new().await;
    setting.made("nobody").await;
    setting.ask(hand_over("nobody")).await;
    setting.handed_over("nobody", "completed").await;
    let kept = setting.services.kept("nobody");
    assert!(!kept.carrier && !kept.left && !kept.delivery && !kept.package, "{kept:?}");
}

/// Nobody knows whether the carrier has taken it, so the hand-over is no longer called off. Its time is
/// what ends it.
#[tokio::test]
async fn a_cancel_waits_for_a_hand_over_that_nobody_answers_no_longer_than_its_time() {
    let setting = Setting::new().await;
    setting.made("stuck").await;
    setting.services.fail("stuck", "third-party-transport", Fault::BusyForEver);
    setting.ask(hand_over("stuck")).await;
    setting.handed_over("stuck", "running").await;
    setting.ask(Message { id: "c1".to_owned(), ..cancel("stuck") }).await;
    setting.handed_over("stuck", "parked").await;
    until("the cancel has its turn", || async {
        let steps = setting.steps("stuck/cancel/");
        (steps.first().map(String::as_str) == Some("third-party-transport")).then_some(())
    })
    .await;
    setting.services.mend("stuck");
    assert_eq!(setting.answered("c1").await, "RequestCancelled");
}

#[tokio::test]
async fn every_callee_of_a_hand_over_may_fail_in_passing() {
    let setting = Setting::new().await;
    let steps = ["third-party-transport", "delivery", "departure"];
    let faults = [Fault::BusyForAWhile, Fault::LostReply, Fault::Delayed];
    let all = steps.into_iter().flat_map(|step| faults.map(|fault| (step, fault)));
    let cases: Vec<_> = all.map(|it| (format!("{}-{:?}", it.0, it.1), it)).collect();
    for (id, (step, fault)) in &cases {
        setting.made(id).await;
        setting.services.fail(id, step, *fault);
        setting.ask(hand_over(id)).await;
    }
    for (id, _) in &cases {
        setting.handed_over(id, "completed").await;
        let kept = setting.services.kept(id);
        assert!(kept.carrier && kept.left && kept.delivery, "{id}: {kept:?}");
    }
}
