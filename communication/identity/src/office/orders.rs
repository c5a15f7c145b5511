//! What is done on an order, and what the authority stands on then.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Office, OrderError, Standing};
use crate::{
    authority::{BRANCH_LIFE, Given},
    certificate::Serial,
    order::Order,
    rotation::RotationStep,
};

impl Office {
    /// Carries an order out; gives what the authority stands on then: `version`, `anchors` (`anchor`, `signs`,
    /// `trusted_since`, `in_use_until`, `certificate`), `denied` (`serial`, `until`, `id` where it is known), `issuer`, `next`, `branch` (its number, in a
    /// branch), `branches`. Of a branch that was made it gives `made` and `state` alone: the file, with a key.
    ///
    /// # Errors
    /// The authority refuses, or its disk: then it may be done and not be known after a restart.
    pub fn carry_out(&self, order: &Order) -> Result<Value, OrderError> {
        match order {
            Order::Show => {}
            Order::RotateIssuer => self.rotate_issuer()?,
            Order::RotateAnchor => {
                // First what may be refused: one replacement at a time.
                self.rotate_anchor()?;
                self.rotate_issuer()?;
            }
            Order::Drop { anchor } => self.drop_anchor(anchor)?,
            Order::Branch { life_s } => {
                let made = self.branch(life_s.map_or(BRANCH_LIFE, Duration::from_secs))?;
                return Ok(json!({"made": shown(&made.given), "state": made.state}));
            }
            Order::Deny { serial } => {
                let number = Serial::parse(serial);
                self.revoke(number.ok_or_else(|| OrderError::NoNumber(serial.clone()))?)?;
            }
        }
        Ok(page(&self.standing()))
    }
}

fn page(standing: &Standing) -> Value {
    let anchors: Vec<Value> = standing
        .bundle
        .anchor_ids()
        .iter()
        .zip(&standing.bundle.anchors)
        .map(|(id, certificate)| {
            let used = standing.anchors.iter().find(|it| it.id == *id);
            json!({
                "anchor": id, "signs": *id == standing.signs,
                "trusted_since": used.map(|it| it.trusted_since),
                "in_use_until": used.map(|it| it.in_use_until),
                "certificate": certificate,
            })
        })
        .collect();
    let denied: Vec<Value> = standing
        .bundle
        .revoked
        .iter()
        .map(|(serial, until)| {
            json!({"serial": serial, "until": until, "id": standing.denied.get(serial)})
        })
        .collect();
    json!({
        "version": standing.bundle.version, "anchors": anchors, "denied": denied,
        "issuer": {"not_before": standing.issuer.0, "not_after": standing.issuer.1},
        "next": next(&standing.next), "branch": standing.branch,
        "branches": standing.branches.iter().map(shown).collect::<Vec<_>>(),
    })
}

fn shown(branch: &Given) -> Value {
    let Given { number, serial, anchor, made, until } = branch;
    json!({"branch": number, "issuer": serial, "anchor": anchor, "made": made, "until": until})
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
    use std::{path::Path, time::Duration};

    use runtime::{SystemClock, Tasks};
    use telemetry::Telemetry;
    use tokio::net::UnixListener;

    use super::*;
    use crate::{authority::AuthorityConfig, ordering::SendOrderError};

    fn office(folder: &Path) -> Office {
        let (config, path) = (AuthorityConfig::default(), folder.join("authority.json"));
        let (clock, telemetry) = (SystemClock::shared(), Telemetry::disabled());
        Office::open(config, "here", path, clock, &telemetry).unwrap()
    }

    fn drop_of(anchor: &Value) -> Order {
        Order::Drop { anchor: anchor.as_str().unwrap_or_default().to_owned() }
    }

    #[test]
    fn an_order_is_carried_out_or_refused_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let office = office(folder.path());
        let order = |it: &Order| office.carry_out(it).map_err(|it| it.to_string());
        let begun = order(&Order::Show).unwrap();
        assert_eq!((&begun["version"], &begun["next"]["step"]), (&json!(1), &json!("nothing")));
        let rotated = order(&Order::RotateAnchor).unwrap();
        assert_eq!(rotated["anchors"].as_array().unwrap().len(), 2);
        assert_eq!(rotated["next"]["step"], "wait");
        let again = order(&Order::RotateAnchor).unwrap_err();
        assert!(again.contains("being replaced already"), "{again}");
        assert!(order(&Order::RotateIssuer).is_ok(), "an issuer waits for nobody");
        let signs = order(&drop_of(&begun["anchors"][0]["anchor"])).unwrap_err();
        assert!(signs.contains("signs"), "{signs}");
        let denied = order(&Order::Deny { serial: "0A:0b".to_owned() }).unwrap();
        assert_eq!(denied["denied"][0]["serial"], "0a0b");
        assert_eq!(denied["denied"][0]["id"], Value::Null, "it was never issued here");
        let none = order(&Order::Deny { serial: "account-1".to_owned() }).unwrap_err();
        assert!(none.contains("is no number"), "{none}");
    }

    #[test]
    fn what_the_disk_does_not_take_is_not_in_force_and_is_once_it_does() {
        let folder = tempfile::tempdir().unwrap();
        let office = office(folder.path());
        let order = |it: &Order| office.carry_out(it).map_err(|it| it.to_string());
        let before = order(&Order::Show).unwrap();
        // What stands where the next state is written lets no write through, as a full disk does.
        let draft = folder.path().join("authority.new");
        std::fs::create_dir(&draft).unwrap();
        let changes = [
            Order::RotateIssuer,
            Order::RotateAnchor,
            Order::Deny { serial: "0a0b".to_owned() },
            Order::Branch { life_s: None },
        ];
        for change in &changes {
            let refused = order(change).unwrap_err();
            assert!(refused.contains("authority.json"), "{refused}");
            assert_eq!(order(&Order::Show).unwrap(), before, "{change:?}");
        }
        std::fs::remove_dir(&draft).unwrap();
        for change in &changes {
            order(change).unwrap();
        }
        let after = order(&Order::Show).unwrap();
        assert_eq!(after["denied"][0]["serial"], "0a0b");
        assert_eq!(
            (after["anchors"].as_array().unwrap().len(), &after["next"]["step"]),
            (2, &json!("wait"))
        );
    }

    #[test]
    fn orders_come_from_the_user_that_it_obeys_and_from_root_alone() {
        let folder = tempfile::tempdir().unwrap();
        let office = office(folder.path());
        assert!(![0, 7].iter().any(|it| office.takes_orders_of(*it)), "it was told to obey nobody");
        office.obey(7);
        office.obey(8);
        assert!([0, 7].iter().all(|it| office.takes_orders_of(*it)));
        assert!(!office.takes_orders_of(8), "who came first is obeyed");
    }

    #[tokio::test]
    async fn an_order_over_the_socket_is_carried_out_where_orders_are_taken() {
        let (folder, tasks) = (tempfile::tempdir().unwrap(), Tasks::new());
        let (office, socket) = (office(folder.path()), folder.path().join("authority.sock"));
        office.serve(UnixListener::bind(&socket).unwrap(), &tasks);
        let refused = Order::RotateIssuer.send(&socket).await.unwrap_err();
        assert!(matches!(refused, SendOrderError::Refused(_)), "{refused}");
        let before = office.standing().issuer;
        office.obey(rustix::process::geteuid().as_raw());
        let stands = Order::Show.send(&socket).await.unwrap();
        assert_eq!(stands["issuer"]["not_after"], json!(before.1));
        let rotated = Order::RotateAnchor.send(&socket).await.unwrap();
        assert_eq!(rotated["anchors"].as_array().unwrap().len(), 2);
        let again = Order::RotateAnchor.send(&socket).await.unwrap_err();
        assert!(again.to_string().contains("being replaced already"), "{again}");
        tasks.drain(Duration::from_secs(5)).await;
        let away = Order::Show.send(&folder.path().join("nobody")).await.unwrap_err();
        assert!(matches!(away, SendOrderError::Away(_)), "{away}");
    }
}
