//! What the services say by themselves, as `code` of their answers, for `explain`.

use skein::commands::files::OwnReason;

/// Every such word, with what it means and what to do.
pub(crate) const ALL: &[OwnReason] = &[
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
        "The delivery was confirmed before, in another way; the first one stands.",
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
        "too_early",
        "Nothing can be confirmed before the package is on its way. It is asked for then.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

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
