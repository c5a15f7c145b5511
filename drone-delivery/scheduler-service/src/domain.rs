//! The workflows of a delivery, as data: create, cancel and reschedule (one for each who may serve
//! it), hand-over to a carrier.
//!
//! A definition is pinned by its hash to the sagas in flight, so a change here gets a new version
//! and leaves those alone. The order of the create workflow is the original's: decide the transport
//! before anything is booked, book the scarcest thing as late as possible, make the delivery last.

use saga::{Call, Definition, DefinitionError, Step};
use serde_json::{Value, json};
use workflows::{CANCEL, CANCEL_CARRIER, CREATE, HAND_OVER, RESCHEDULE, RESCHEDULE_CARRIER};

/// How far a workflow goes before it gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Milliseconds that a create or a reschedule may consume.
    pub complete_by_ms: u64,
    /// Milliseconds for which whoever serves a delivery is asked to call it off.
    pub cancel_complete_by_ms: u64,
    /// Milliseconds for which carriers are asked to take over what no drone flies.
    pub hand_over_complete_by_ms: u64,
    /// Tries of one undo of a create before a person is asked.
    pub undo_attempts_max: u32,
    /// Milliseconds that one call waits for its answer.
    pub call_timeout_ms: u64,
}

/// Every workflow.
///
/// # Errors
/// A definition does not hold together; the tests build each.
pub fn definitions(bounds: Bounds) -> Result<Vec<Definition>, DefinitionError> {
    let cancel_drone = cancel(CANCEL, 2, drone_call_off(), bounds)?;
    let cancel_carrier = cancel(CANCEL_CARRIER, 1, carrier_call_off(), bounds)?;
    let move_drone = reschedule(RESCHEDULE, 4, drone_move(), bounds)?;
    let move_carrier = reschedule(RESCHEDULE_CARRIER, 2, carrier_move(), bounds)?;
    let create = create(bounds)?;
    let hand_over = hand_over(bounds)?;
    Ok(vec![create, cancel_drone, cancel_carrier, move_drone, move_carrier, hand_over])
}

/// A workflow of these steps, whose calls wait as long as is set.
fn workflow(
    name: &str,
    version: u32,
    complete_by_ms: u64,
    steps: impl IntoIterator<Item = Step>,
    bounds: Bounds,
) -> Result<Definition, DefinitionError> {
    let workflow = Definition::builder(name, version).complete_by_ms(complete_by_ms);
    let bounded = steps.into_iter().map(|it| it.timeout_ms(bounds.call_timeout_ms));
    bounded.fold(workflow, |workflow, step| workflow.step(step)).build()
}

fn create(bounds: Bounds) -> Result<Definition, DefinitionError> {
    let mut steps = [account(), third_party_transport(), package(), drone(), carrier(), delivery()];
    for undo in steps.iter_mut().filter_map(|it| it.undo.as_mut()) {
        undo.attempts_max = bounds.undo_attempts_max;
    }
    workflow(CREATE, 3, bounds.complete_by_ms, steps, bounds)
}

/// Only reads, so there is nothing to undo.
fn account() -> Step {
    let active = Call::get("/api/account/{{input.ownerId}}").expect("", true, "account_suspended");
    Step::compensable("account", "account", active)
}

/// `true` means that a carrier is booked because no drone can serve the trip.
fn third_party_transport() -> Step {
    let path = "/api/thirdpartydeliveries/{{input.deliveryId}}";
    Step::compensable(
        "third-party-transport",
        "third-party-transport",
        Call::put(path).body(load()),
    )
    .undo(Call::delete(path))
}

/// What a carrier is asked to take.
fn load() -> Value {
    json!({
        "deliveryId": "{{input.deliveryId}}",
        "pickup": "{{input.pickup}}",
        "dropoff": "{{input.dropoff}}",
        "pickupTime": "{{input.pickupTime ?? null}}",
        "deadline": "{{input.deadline ?? null}}",
        "weight": "{{input.packageInfo.weight}}",
    })
}

fn package() -> Step {
    let register = Call::put("/api/packages/{{input.packageInfo.packageId}}").body(json!({
        "size": "{{input.packageInfo.size}}",
        "weight": "{{input.packageInfo.weight}}",
        "tag": "{{input.packageInfo.tag ?? null}}",
        "ownerId": "{{input.ownerId}}",
        "deliveryId": "{{input.deliveryId}}",
    }));
    let release = Call::delete(
        "/api/packages/{{input.packageInfo.packageId}}?deliveryId={{input.deliveryId}}",
    );
    Step::compensable("package", "package", register).undo(release)
}

/// Taken back first: a drone is the scarcest thing that a failed delivery holds. The fleet answers
/// with a place in its plan, or declines what none of its drones in service could ever fly.
fn drone() -> Step {
    let path = "/api/dronedeliveries/{{input.deliveryId}}";
    let ask = "/api/dronedeliveries/{{input.deliveryId}}?view=booking&decline=true";
    Step::compensable("drone", "drone", Call::put(ask).body(trip()))
        .skip_when("third-party-transport", "", true)
        .undo(Call::delete(path))
        .undo_first()
}

/// Who is asked when the fleet declines, although by its rules a drone could.
fn carrier() -> Step {
    let path = "/api/thirdpartydeliveries/{{input.deliveryId}}";
    let mut load = load();
    load["noDrone"] = json!(true);
    let book = Call::put(path).body(load).expect("", true, "no_carrier");
    Step::compensable("carrier", "third-party-transport", book)
        .do_when("drone", "/declined", true)
        .undo(Call::delete(path))
}

fn trip() -> Value {
    json!({
        "deliveryId": "{{input.deliveryId}}",
        "pickup": "{{input.pickup}}",
        "dropoff": "{{input.dropoff}}",
        "pickupTime": "{{input.pickupTime ?? null}}",
        "expedited": "{{input.expedited ?? null}}",
        "deadline": "{{input.deadline ?? null}}",
        "packageDetail": {
            "id": "{{input.packageInfo.packageId}}",
            "size": "{{input.packageInfo.size}}",
            "weight": "{{input.packageInfo.weight}}",
        },
        "revision": "{{input.revision ?? null}}",
    })
}

fn delivery() -> Step {
    let make = Call::put("/api/deliveries/{{input.deliveryId}}").body(json!({
        "id": "{{input.deliveryId}}",
        "owner": {"userId": "{{input.userId}}", "accountId": "{{input.ownerId}}"},
        "pickup": "{{input.pickup}}",
        "dropoff": "{{input.dropoff}}",
        "pickupTime": "{{input.pickupTime ?? null}}",
        "deadline": "{{input.deadline ?? null}}",
        "expedited": "{{input.expedited ?? null}}",
        "confirmationRequired": "{{input.confirmationRequired}}",
        "packageId": "{{input.packageInfo.packageId}}",
        // Drone services of others answer with the bare id, as the original's did.
        "droneId": "{{steps.drone.body.droneId ?? steps.drone.body ?? null}}",
    }));
    // Works on an id that was never made, and leaves a tombstone there.
    let unmake = Call::delete("/api/deliveries/{{input.deliveryId}}?compensate=true");
    Step::pivot("delivery", "delivery", make).undo(unmake)
}

/// Tries of the step that decides about an operation: its time is what ends them.
const DECISION_ATTEMPTS_MAX: u32 = 1_000_000;

/// A step by which whoever serves the delivery decides. Only its refusal refuses the operation:
/// while nobody has decided it is asked again, and then a person is.
fn decision(name: &str, call: Call) -> Step {
    Step::pivot(name, name, call).attempts_max(DECISION_ATTEMPTS_MAX).parks()
}

fn drone_call_off() -> Step {
    decision("drone", Call::delete("/api/dronedeliveries/{{input.deliveryId}}"))
}

fn carrier_call_off() -> Step {
    let booking = Call::delete("/api/thirdpartydeliveries/{{input.deliveryId}}");
    decision("third-party-transport", booking)
}

/// Whoever serves the delivery decides: it refuses once it has picked the package up.
fn cancel(
    name: &str,
    version: u32,
    call_off: Step,
    bounds: Bounds,
) -> Result<Definition, DefinitionError> {
    let delivery = Call::delete("/api/deliveries/{{input.deliveryId}}?compensate=true");
    let package = Call::delete(
        "/api/packages/{{input.packageId ?? input.deliveryId}}?deliveryId={{input.deliveryId}}",
    );
    let steps = [
        call_off,
        Step::retriable("delivery", "delivery", delivery),
        Step::retriable("package", "package", package),
    ];
    workflow(name, version, bounds.cancel_complete_by_ms, steps, bounds)
}

/// What a move changes; what it leaves out is null, and stays as it was.
fn change() -> Value {
    json!({
        "pickup": "{{input.pickup ?? null}}",
        "dropoff": "{{input.dropoff ?? null}}",
        "pickupTime": "{{input.pickupTime ?? null}}",
        "deadline": "{{input.deadline ?? null}}",
        "revision": "{{input.revision}}",
    })
}

fn drone_move() -> Step {
    let mut trip = change();
    trip["deliveryId"] = json!("{{input.deliveryId}}");
    decision("drone", Call::put("/api/dronedeliveries/{{input.deliveryId}}").body(trip))
}

fn carrier_move() -> Step {
    let booking = Call::patch("/api/thirdpartydeliveries/{{input.deliveryId}}").body(change());
    decision("third-party-transport", booking)
}

/// Whoever serves the delivery decides here too; Delivery follows.
fn reschedule(
    name: &str,
    version: u32,
    elsewhere: Step,
    bounds: Bounds,
) -> Result<Definition, DefinitionError> {
    let patch = Call::patch("/api/deliveries/{{input.deliveryId}}").body(change());
    let steps = [elsewhere, Step::retriable("delivery", "delivery", patch)];
    workflow(name, version, bounds.complete_by_ms, steps, bounds)
}

/// No drone can fly it any more: a carrier does, if one can. It leaves only when Delivery has agreed,
/// which knows whether the delivery was called off in between; where nobody takes it Delivery ends
/// it, and nothing stays booked.
fn hand_over(bounds: Bounds) -> Result<Definition, DefinitionError> {
    let path = "/api/thirdpartydeliveries/{{input.deliveryId}}";
    let trip = |leaves: bool| {
        json!({
            "deliveryId": "{{input.deliveryId}}",
            "pickup": "{{input.pickup}}",
            "dropoff": "{{input.dropoff}}",
            "pickupTime": "{{input.pickupTime ?? null}}",
            "weight": "{{input.weight}}",
            "noDrone": true,
            "made": leaves,
        })
    };
    let tell = Call::put("/api/deliveries/{{input.deliveryId}}/carrier")
        .body(json!({"booked": "{{steps.third-party-transport.body}}"}));
    let package = Call::delete("/api/packages/{{input.packageId}}?deliveryId={{input.deliveryId}}");
    let carrier = "third-party-transport";
    let steps = [
        decision(carrier, Call::put(path).body(trip(false))),
        Step::retriable("delivery", "delivery", tell),
        Step::retriable("departure", carrier, Call::put(path).body(trip(true)))
            .do_when("delivery", "/served", true),
        Step::retriable("release", carrier, Call::delete(path))
            .skip_when("delivery", "/served", true),
        Step::retriable("package", "package", package).skip_when("delivery", "/served", true),
    ];
    workflow(HAND_OVER, 2, bounds.hand_over_complete_by_ms, steps, bounds)
}

#[cfg(test)]
mod tests {
    use saga::definition::WhenItFails;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        complete_by_ms: 60_000,
        cancel_complete_by_ms: 90_000,
        hand_over_complete_by_ms: 90_000,
        undo_attempts_max: 3,
        call_timeout_ms: 700,
    };

    #[test]
    fn every_workflow_holds_together() {
        let names: Vec<_> =
            definitions(BOUNDS).unwrap().iter().map(|it| it.name().to_owned()).collect();
        assert_eq!(
            names,
            [CREATE, CANCEL, CANCEL_CARRIER, RESCHEDULE, RESCHEDULE_CARRIER, HAND_OVER]
        );
    }

    /// What is in flight keeps the definition that it was begun with: one that differs under the same
    /// version would be two of the same name. Change the version with the hash.
    #[test]
    fn a_definition_that_changes_gets_a_new_version() {
        let pinned: Vec<_> = definitions(BOUNDS)
            .unwrap()
            .iter()
            .map(|it| format!("{} {} {}", it.name(), it.version(), &it.hash()[..8]))
            .collect();
        let expected = [
            "create 3 79eaef5f",
            "cancel 2 57876fd1",
            "cancel-carrier 1 847f6c04",
            "reschedule 4 f101d5eb",
            "reschedule-carrier 2 21da795c",
            "hand-over 2 f3256b93",
        ];
        assert_eq!(pinned, expected);
    }

    #[test]
    fn the_steps_of_create_are_the_article_s_in_the_original_s_order() {
        let create = create(BOUNDS).unwrap();
        let steps: Vec<_> = create.steps().iter().map(|it| it.name.as_str()).collect();
        let (carrier, article_s): (Vec<&str>, Vec<&str>) =
            steps.into_iter().partition(|it| *it == "carrier");
        assert_eq!(article_s, ["account", "third-party-transport", "package", "drone", "delivery"]);
        // Beside them only who is asked when the fleet declines.
        assert_eq!((carrier.len(), create.steps()[4].do_when.is_some()), (1, true));
        assert_eq!(create.pivot(), Some(5));
    }

    #[test]
    fn everything_that_create_books_can_be_taken_back() {
        for step in create(BOUNDS).unwrap().steps() {
            assert!(step.undo.is_some() || step.call.reads_only(), "{}", step.name);
            assert!(step.undo.as_ref().is_none_or(|it| it.attempts_max == 3), "{}", step.name);
        }
    }

    #[test]
    fn every_call_waits_as_long_as_is_set() {
        for workflow in definitions(BOUNDS).unwrap() {
            for step in workflow.steps() {
                assert_eq!(step.timeout_ms, 700, "{} of {}", step.name, workflow.name());
            }
        }
    }

    #[test]
    fn whoever_serves_the_delivery_decides_and_only_its_refusal_refuses() {
        let first = |it: &Definition| {
            let step = &it.steps()[0];
            assert_eq!((it.pivot(), step.when_it_fails), (Some(0), WhenItFails::Park));
            step.service.clone()
        };
        let definitions = definitions(BOUNDS).unwrap();
        let deciders: Vec<_> = definitions[1..].iter().map(first).collect();
        let carrier = "third-party-transport";
        assert_eq!(deciders, ["drone", carrier, "drone", carrier, carrier]);
        let patience: Vec<_> = definitions.iter().map(|it| it.document().complete_by_ms).collect();
        assert_eq!(patience, [60_000, 90_000, 90_000, 60_000, 60_000, 90_000]);
    }
}
