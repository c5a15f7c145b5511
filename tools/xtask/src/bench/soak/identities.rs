//! Identities of a minute, renewed at half of their life; issuer and anchor are replaced as often as the
//! rules of replacing let them.

use std::{path::Path, time::Duration};

use serde_json::{Value, json};

use crate::bench::{Failure, Running, now, pause, soak::while_asked};

/// Between two looks at what is believed.
const LOOK_EVERY: Duration = Duration::from_secs(5);

pub(super) fn run(root: &Path, rate: u64, long: Duration) -> Result<Value, Failure> {
    let strict = ["--mesh", "in-process", "--tls", "strict"];
    let running = Running::start(root, &[&strict[..], &["--set", "identity_life_s=60"]].concat())?;
    while_asked(&running, rate, || {
        let until = now() + long;
        let before = renewals(&running)?;
        let (mut anchors, mut issuers) = (0, 0);
        let mut signs = signing(&running)?;
        running.command(&["identity", "rotate"])?;
        while now() < until {
            pause(LOOK_EVERY);
            let page = running.json(&["identity", "anchors"])?;
            let is_changing = page["next"]["step"] != "nothing";
            let now_signs = name_of_signing(&page)?;
            if now_signs != signs {
                anchors += 1;
                signs = now_signs;
            }
            if !is_changing {
                running.command(&["identity", "rotate", "--issuer"])?;
                issuers += 1;
                running.command(&["identity", "rotate"])?;
            }
        }
        Ok(json!({
            "identityLifeSeconds": 60,
            "seconds": long.as_secs(),
            "anchorsReplaced": anchors,
            "issuersReplacedBesides": issuers,
            "renewals": renewals(&running)? - before,
        }))
    })
}

fn signing(running: &Running) -> Result<String, Failure> {
    name_of_signing(&running.json(&["identity", "anchors"])?)
}

/// The anchor whose issuer signs.
fn name_of_signing(page: &Value) -> Result<String, Failure> {
    let mut anchors = page["anchors"].as_array().into_iter().flatten();
    let signing = anchors.find(|it| it["signs"] == true).and_then(|it| it["anchor"].as_str());
    signing.map(str::to_owned).ok_or_else(|| format!("no anchor signs: {page}"))
}

/// How often processes got another identity since their start, all of them together.
fn renewals(running: &Running) -> Result<f64, Failure> {
    let snapshot = running.snapshot()?;
    let of = |role: &(_, super::super::Scrape)| role.1.sum("identity_renewals_total", "issued");
    Ok(snapshot.roles.values().map(of).sum())
}
