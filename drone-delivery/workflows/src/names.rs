//! Names of the workflows, and ids of their sagas: `<delivery>/<workflow>[/<message>]`.

/// Name of the workflow that makes a delivery.
pub const CREATE: &str = "create";
/// Name of the workflow that cancels one that a drone serves.
pub const CANCEL: &str = "cancel";
/// Name of the workflow that cancels one that a carrier serves.
pub const CANCEL_CARRIER: &str = "cancel-carrier";
/// Name of the workflow that moves one that a drone serves.
pub const RESCHEDULE: &str = "reschedule";
/// Name of the workflow that moves one that a carrier serves.
pub const RESCHEDULE_CARRIER: &str = "reschedule-carrier";
/// Name of the workflow that finds a carrier for one that no drone can fly any more.
pub const HAND_OVER: &str = "hand-over";

/// Id of the saga that makes the delivery.
#[must_use]
pub fn create_id(delivery: &str) -> String {
    format!("{delivery}/{CREATE}")
}

/// Id of the saga that cancels the delivery as one message asked, whoever serves it.
#[must_use]
pub fn cancel_id(delivery: &str, message: &str) -> String {
    format!("{delivery}/{CANCEL}/{message}")
}

/// Id of the saga that moves the delivery as one message asked.
#[must_use]
pub fn reschedule_id(delivery: &str, message: &str) -> String {
    format!("{delivery}/{RESCHEDULE}/{message}")
}

/// Id of the saga that hands the delivery over to a carrier: once at the most.
#[must_use]
pub fn hand_over_id(delivery: &str) -> String {
    format!("{delivery}/{HAND_OVER}")
}

/// The delivery that a saga works on: also the subject of which one saga works at a time.
#[must_use]
pub fn delivery_of(saga: &str) -> &str {
    saga.split('/').next().unwrap_or(saga)
}

/// The message that asked for a cancel or a move; none for a create or a hand-over.
#[must_use]
pub fn operation_id(saga: &str) -> Option<&str> {
    saga.splitn(3, '/').nth(2)
}

/// What a workflow was asked for, in the word of the record that asked.
#[must_use]
pub fn operation_of(definition: &str) -> &'static str {
    match definition {
        CANCEL | CANCEL_CARRIER => "cancel",
        RESCHEDULE | RESCHEDULE_CARRIER => "reschedule",
        HAND_OVER => "hand-over",
        _ => "delivery",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saga_id_leads_back_to_its_delivery_and_its_message() {
        assert_eq!((delivery_of(&create_id("d1")), operation_id(&create_id("d1"))), ("d1", None));
        let moved = reschedule_id("d1", "m/2");
        assert_eq!((delivery_of(&moved), operation_id(&moved)), ("d1", Some("m/2")));
        assert_eq!(operation_id(&cancel_id("d1", "m3")), Some("m3"));
    }
}
