//! What a person has the authority do, and what it stands on then.

use identity::{ChangeError, Office, RotationStep, Serial, Standing};
use serde_json::{Value, json};
use skein::{failure, supervise::IdentityOrder};

/// Carries an order out; what the authority stands on then, or why it refused.
pub(super) fn carry_out(office: &Office, order: &IdentityOrder) -> Result<Value, String> {
    let done: Result<(), ChangeError> = match order {
        IdentityOrder::Show => Ok(()),
        IdentityOrder::RotateIssuer => office.rotate_issuer(),
        // First what may be refused: one replacement at a time.
        IdentityOrder::RotateAnchor => {
            office.rotate_anchor().and_then(|_anchor| office.rotate_issuer())
        }
        IdentityOrder::Drop { anchor } => office.drop_anchor(anchor),
        IdentityOrder::Deny { serial } => {
            let number = Serial::parse(serial);
            office.revoke(number.ok_or_else(|| format!("`{serial}` is no number"))?)
        }
    };
    done.map_err(|it| failure::chain(&it))?;
    Ok(page(&office.standing()))
}

fn page(standing: &Standing) -> Value {
    let anchors: Vec<Value> = standing
        .anchors
        .iter()
        .zip(&standing.bundle.anchors)
        .map(|(it, certificate)| {
            json!({
                "anchor": it.id, "signs": it.id == standing.signs,
                "trusted_since": it.trusted_since, "in_use_until": it.in_use_until,
                "certificate": certificate,
            })
        })
        .collect();
    let denied: Vec<Value> = standing
        .bundle
        .revoked
        .iter()
        .map(|(serial, until)| json!({"serial": serial, "until": until}))
        .collect();
    json!({
        "version": standing.bundle.version, "anchors": anchors, "denied": denied,
        "issuer": {"not_before": standing.issuer.0, "not_after": standing.issuer.1},
        "next": next(&standing.next),
    })
}

fn next(step: &RotationStep) -> Value {
    match step {
        RotationStep::Nothing => json!({"step": "nothing"}),
        RotationStep::Wait { until } => json!({"step": "wait", "until": until}),
        RotationStep::Switch { to } => json!({"step": "switch", "anchor": to}),
        RotationStep::Drop { anchor } => json!({"step": "drop", "anchor": anchor}),
    }
}

#[cfg(test)]
mod tests {
    use identity::AuthorityConfig;
    use runtime::SystemClock;
    use telemetry::Telemetry;

    use super::*;

    fn drop_of(anchor: &Value) -> IdentityOrder {
        IdentityOrder::Drop { anchor: anchor.as_str().unwrap_or_default().to_owned() }
    }

    #[test]
    fn an_order_is_carried_out_or_refused_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let (config, path) = (AuthorityConfig::default(), folder.path().join("authority.json"));
        let (clock, telemetry) = (SystemClock::shared(), Telemetry::disabled());
        let office = Office::open(config, "here", path, clock, &telemetry).unwrap();
        let order = |it: &IdentityOrder| carry_out(&office, it);
        let begun = order(&IdentityOrder::Show).unwrap();
        assert_eq!((&begun["version"], &begun["next"]["step"]), (&json!(1), &json!("nothing")));
        let rotated = order(&IdentityOrder::RotateAnchor).unwrap();
        assert_eq!(rotated["anchors"].as_array().unwrap().len(), 2);
        assert_eq!(rotated["next"]["step"], "wait");
        let again = order(&IdentityOrder::RotateAnchor).unwrap_err();
        assert!(again.contains("being replaced already"), "{again}");
        assert!(order(&IdentityOrder::RotateIssuer).is_ok(), "an issuer waits for nobody");
        let signs = order(&drop_of(&begun["anchors"][0]["anchor"])).unwrap_err();
        assert!(signs.contains("signs"), "{signs}");
        let denied = order(&IdentityOrder::Deny { serial: "0A:0b".to_owned() }).unwrap();
        assert_eq!(denied["denied"][0]["serial"], "0a0b");
        let none = order(&IdentityOrder::Deny { serial: "account-1".to_owned() }).unwrap_err();
        assert!(none.contains("is no number"), "{none}");
    }
}
