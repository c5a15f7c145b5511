//! What the services say by themselves, as `code` of their answers, for `explain`.

use skein::commands::codes::OwnReason;

/// Every such word, with what it means and what to do.
pub(crate) const ALL: &[OwnReason] = &[
    (
        "account_suspended",
        "The account may not order now. It is Account's word, not the delivery's: nothing was kept of it. \
         An operator sets the account right, and the customer orders again.",
    ),
    (
        "beyond_horizon",
        "No drone could fly this within the horizon of the plan. The answer says when one could at the \
         earliest.",
    ),
    (
        "broken_down",
        "The carrier's vehicle broke down with the package; the delivery cannot be moved any more.",
    ),
    ("delivery_ended", "The delivery has ended: nothing about it changes any more."),
    (
        "drone_busy",
        "The drone has a booking, so its record cannot be changed. Come back when its flight ended.",
    ),
    ("drone_lost", "The drone was lost on this flight. The transaction looks for another carrier."),
    (
        "infeasible",
        "No drone of the fleet can fly this: too heavy, too large or too far. A carrier is asked.",
    ),
    (
        "line_full",
        "So many changes of this delivery wait for their turn already (`scheduler.engine.waiting_max`). \
         Ask again when they have their answers.",
    ),
    ("no_carrier", "No carrier takes this package or this way; the delivery is refused."),
    ("not_booked", "No drone is booked for this delivery, so there is nothing to change."),
    (
        "other_account",
        "Who asks may order for his own account alone. An operator orders for whomever he names: `key create \
         NAME --role operator`.",
    ),
    (
        "other_confirmation",
        "The delivery asks for another kind of confirmation than was given, or was confirmed before in \
         another way; then the first one stands. `detail` says which.",
    ),
    (
        "other_owner",
        "The package is another owner's, for whom it is being delivered; it cannot be booked twice.",
    ),
    ("other_trip", "The delivery is booked already, for another trip; the first booking stands."),
    ("past_deadline", "No drone could bring this by its deadline. The answer says when one could."),
    (
        "picked_up",
        "The package is on its way: the delivery cannot be cancelled or changed any more. \
         `delivery show` tells where it is.",
    ),
    ("released", "The booking was given up before it was asked for: its order came late."),
    ("request_ended", "The request has ended, so it cannot be cancelled any more."),
    (
        "stale_revision",
        "A newer change of the booking was seen before this one; the newer one stands.",
    ),
    (
        "too_many_booked",
        "The account has as many pickups more than an hour ahead as it may (`ingestion.booked_per_owner_max`). \
         Come back when some were fetched, or call one off.",
    ),
    (
        "too_many_open",
        "The account has as many deliveries that have not ended as it may (`ingestion.open_per_owner_max`). \
         Come back when some have ended.",
    ),
    (
        "too_many_streams",
        "The caller listens to the events of as many deliveries as he may (`delivery.streams.per_caller_max`). \
         End one, or ask for `/api/deliveries/{id}/events` now and then.",
    ),
    (
        "too_early",
        "Nothing can be confirmed before the package is on its way. It is asked for then.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_that_a_workflow_can_end_with_has_a_page() {
        let definitions = scheduler_service::definitions(scheduler_service::Bounds {
            complete_by_ms: 60_000,
            cancel_complete_by_ms: 60_000,
            hand_over_complete_by_ms: 60_000,
            undo_attempts_max: 1,
            call_timeout_ms: 2_000,
        });
        let mut codes = Vec::new();
        for definition in definitions.unwrap() {
            collect(&serde_json::from_str(&definition.to_json()).unwrap(), &mut codes);
        }
        assert!(codes.iter().any(|it| it == "account_suspended"), "{codes:?}");
        let known = |code: &String| ALL.iter().any(|it| it.0 == code);
        let missing: Vec<_> = codes.iter().filter(|it| !known(it)).collect();
        assert!(missing.is_empty(), "without a page: {missing:?}");
    }

    /// What an answer that is not as expected is called.
    fn collect(value: &serde_json::Value, codes: &mut Vec<String>) {
        let members = value.as_object().into_iter().flatten();
        for (name, it) in members {
            if let ("otherwise", Some(code)) = (name.as_str(), it.as_str()) {
                codes.push(code.to_owned());
            }
            collect(it, codes);
        }
        value.as_array().into_iter().flatten().for_each(|it| collect(it, codes));
    }

    #[test]
    fn every_code_that_a_service_gives_has_a_page() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../drone-delivery");
        let mut given = std::collections::BTreeSet::new();
        for folder in std::fs::read_dir(root).unwrap().flatten() {
            let source = folder.path().join("src");
            let parts = std::fs::read_dir(source.join("api")).into_iter().flatten().flatten();
            let parts = parts.map(|it| it.path()).chain([source.join("api.rs")]);
            let texts = parts.filter_map(|it| std::fs::read_to_string(it).ok());
            let text = texts.collect::<Vec<_>>().join("\n");
            let names_one = |it: &&str| {
                ["refusal(StatusCode::", "Error::", "TooLate::"]
                    .iter()
                    .any(|mark| it.contains(mark))
            };
            // What stands in quotes there, and is one word, is a code.
            let words = text.lines().filter(names_one).filter_map(|it| it.split('"').nth(1));
            let is_code = |it: &&str| it.chars().all(|it| it == '_' || it.is_ascii_lowercase());
            given.extend(words.filter(is_code).map(str::to_owned));
        }
        let known: std::collections::BTreeSet<_> = ALL.iter().map(|it| it.0.to_owned()).collect();
        assert!(given.len() > 8, "{given:?}");
        assert!(given.is_subset(&known), "without a page: {:?}", given.difference(&known));
    }
}
