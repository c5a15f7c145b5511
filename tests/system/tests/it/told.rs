//! People who are told, at the receiving end, and where their addresses are.

use std::{fs, path::Path, time::Duration};

use http::Method;
use notifications::testing::{Mail, Mailbox, Postbox};
use serde_json::{Value, json};

use crate::{
    program::{System, sample_request},
    wait::until,
};

const SOON: Duration = Duration::from_secs(30);
const EMAIL: &str = "canary.customer@canary-mail.example";
const PHONE: &str = "+358401970519";
const STREET: &str = "Canary Street 1970";

struct Town {
    mail: Mailbox,
    phone: Postbox,
    program: Postbox,
    system: System,
}

impl Town {
    async fn up(further: &[&str]) -> Self {
        let (mail, phone) = (Mailbox::open().await.unwrap(), Postbox::open().await.unwrap());
        let program = Postbox::open().await.unwrap();
        let notifications = json!({
            "smtp": {"host": "127.0.0.1", "port": mail.port(), "tls": "none"},
            "sms": {"url": phone.url("/messages"), "token": "t"},
            "webhook": {"url": program.url("/hook"), "secret": "s"},
            "patience": {"first_wait_ms": 200},
        });
        let set = format!("delivery.notifications={notifications}");
        let ours = ["--enable-faults", "--set", &set];
        let system = System::up(&[&ours[..], further].concat());
        let town = Self { mail, phone, program, system };
        let account = json!({"displayName": "Canary", "emailAddress": EMAIL, "sms": PHONE,
            "language": "fi"});
        let url = town.system.url(104, "/api/accounts/canary");
        assert_eq!(town.system.http.json(Method::PUT, &url, &account).await.status, 201);
        town
    }

    async fn accepted(&self) -> String {
        let mut request = sample_request();
        request["ownerId"] = json!("canary");
        request["pickupLocation"] = json!(STREET);
        request["packageInfo"]["packageId"] = Value::Null;
        self.system.accepted(&request).await
    }

    /// The mail about a delivery with that in its subject.
    async fn mailed(&self, id: &str, subject: &str) -> Mail {
        until(format!("a mail `{subject}` about {id}"), SOON, || async {
            let ours = |it: &Mail| it.text.contains(id) && it.text.contains(subject);
            self.mail.taken().into_iter().find(ours)
        })
        .await
    }

    /// What Delivery says that was said.
    async fn told(&self, id: &str) -> Value {
        let url = self.system.url(105, &format!("/api/deliveries/{id}/notifications"));
        self.system.http.get(&url).await.json()
    }

    /// What the phone's provider and the customer's program have heard of a delivery: that, once each.
    async fn heard(&self, id: &str, template: &str, words: &str) {
        until(format!("phone and program hear of {id}: {template}"), SOON, || async {
            let called = self.program.taken().into_iter().map(|it| it.json());
            let called = called.filter(|it| it["deliveryId"] == id && it["template"] == template);
            let texted = self.phone.taken().into_iter().map(|it| it.json());
            let texted = texted.filter(|it| {
                let text = it["text"].as_str().unwrap_or_default();
                it["to"] == PHONE && text.contains(id) && text.contains(words)
            });
            (called.count() == 1 && texted.count() == 1).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn customers_read_how_it_ended_also_when_there_never_was_a_delivery() {
    let town = Town::up(&["--time-scale", "600"]).await;
    let system = &town.system;
    let done = town.accepted().await;
    system.ends(&done, "Completed", SOON).await;
    let mail = town.mailed(&done, "Toimitettu").await;
    assert_eq!(mail.to, [EMAIL]);
    town.heard(&done, "completed", "toimitettu").await;

    let refused = json!({"route": "PUT /api/dronedeliveries/{id}", "status": 500, "count": 1});
    system.plant("drone", &refused).await;
    let failed = town.accepted().await;
    system.ends(&failed, "Failed", SOON).await;
    let delivery = system.http.get(&system.gateway(&format!("/api/deliveries/{failed}"))).await;
    assert_eq!(delivery.status, 404, "there never was one");
    town.mailed(&failed, "Ei toimitettu").await;
    town.heard(&failed, "failed", "ei").await;
    let told = town.told(&failed).await;
    let states: Vec<_> = told.as_array().unwrap().iter().map(|it| it["state"].clone()).collect();
    assert_eq!(states, ["sent"; 4], "{told}");

    // Who asks while the request is under way hears where they said.
    let slow = json!({"route": "GET /api/account/{id}", "delay_ms": 1_000, "count": 1});
    system.plant("account", &slow).await;
    system.plant("drone", &refused).await;
    let asked = town.accepted().await;
    let wish = json!({"emailAddress": "early@example.org", "language": "en"});
    let url = system.gateway(&format!("/api/deliveries/{asked}/notifymerequests"));
    assert_eq!(system.http.json(Method::POST, &url, &wish).await.status, 204);
    system.ends(&asked, "Failed", SOON).await;
    assert_eq!(town.mailed(&asked, "Not delivered").await.to, ["early@example.org"]);
}

#[tokio::test]
async fn who_cancels_is_told_once_where_they_said_although_two_services_say_it() {
    let far = ["--set", "fleet.pickup_ahead_days=36500"];
    let town = Town::up(&far).await;
    let system = &town.system;
    let mut request = sample_request();
    request["pickupTime"] = json!("2099-01-01T00:00:00Z");
    request["ownerId"] = json!("canary");
    let id = system.accepted(&request).await;
    system.ends(&id, "Scheduled", SOON).await;
    let wish = json!({"emailAddress": "other@example.org", "sms": PHONE, "language": "en"});
    let url = system.gateway(&format!("/api/deliveries/{id}/notifymerequests"));
    assert_eq!(system.http.json(Method::POST, &url, &wish).await.status, 204);
    let url = system.gateway(&format!("/api/deliveryrequests/{id}"));
    assert_eq!(system.http.send(Method::DELETE, &url, &[], "").await.status, 204);
    system.ends(&id, "Cancelled", SOON).await;
    let mail = town.mailed(&id, "Cancelled").await;
    assert_eq!(mail.to, ["other@example.org"]);
    town.heard(&id, "cancelled", "has been cancelled").await;
    // Both have said it by now: Delivery at its step, the workflow at its end.
    until("both words are in the log", SOON, || async {
        let tail = system.command(&["topics", "tail", "notifications"]).stdout;
        let text = String::from_utf8(tail).unwrap();
        (text.matches(&format!("{id}/")).count() >= 2).then_some(())
    })
    .await;
    assert_eq!(town.told(&id).await.as_array().unwrap().len(), 4, "once by each channel");
    assert_eq!(town.mail.taken().len(), 1);
}

/// Files below a folder that hold the text.
fn holders(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap().filter_map(Result::ok) {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = fs::read(&path).unwrap_or_default();
            if bytes.windows(text.len()).any(|it| it == text.as_bytes()) {
                found.push(path.strip_prefix(folder).unwrap().display().to_string());
            }
        }
    }
    found.sort();
    found
}

#[track_caller]
fn check_only(folder: &Path, text: &str, meant: &[&str]) {
    let found = holders(folder, text);
    let elsewhere: Vec<_> =
        found.iter().filter(|it| !meant.iter().any(|meant| it.starts_with(meant))).collect();
    assert!(elsewhere.is_empty(), "`{text}` stands in {elsewhere:?}");
    assert!(!found.is_empty(), "`{text}` stands nowhere: nothing was looked at");
}

#[tokio::test]
async fn addresses_and_streets_stand_nowhere_but_in_the_tables_that_are_meant_for_them() {
    // The wish comes while the drone flies: some seconds, also where the machine is busy.
    let town = Town::up(&["--time-scale", "100", "--set", "logs.level=debug"]).await;
    let system = &town.system;
    let id = town.accepted().await;
    system.ends(&id, "Scheduled", SOON).await;
    let wish = json!({"emailAddress": EMAIL, "sms": PHONE});
    let url = system.gateway(&format!("/api/deliveries/{id}/notifymerequests"));
    assert_eq!(system.http.json(Method::POST, &url, &wish).await.status, 204);
    system.ends(&id, "Completed", SOON).await;
    town.mailed(&id, "Deliver").await;
    // Refused with a reason, and bounced.
    town.mail.refuse(EMAIL, 550);
    let mut wrong = sample_request();
    wrong["pickupLocation"] = json!(STREET);
    wrong["packageInfo"]["weight"] = json!("heavy");
    assert_eq!(system.submit(&wrong).await.status, 400);
    let refused = json!({"route": "PUT /api/dronedeliveries/{id}", "status": 500, "count": 1});
    system.plant("drone", &refused).await;
    let failed = town.accepted().await;
    system.ends(&failed, "Failed", SOON).await;
    until("the mail has bounced", SOON, || async {
        let told = town.told(&failed).await;
        told.as_array()?.iter().any(|it| it["state"] == "bounced").then_some(())
    })
    .await;
    let accounts_and_who_asked = ["account/account.db", "delivery/delivery.db"];
    check_only(system.data(), EMAIL, &accounts_and_who_asked);
    check_only(system.data(), PHONE, &accounts_and_who_asked);
    // A street is what was asked for: it stands in the request on its topic, and in the workflow.
    check_only(system.data(), STREET, &["broker/", "scheduler/saga.db"]);
    for log in holders(system.data(), STREET) {
        assert!(!log.contains("events") && !log.contains("dead"), "a street in {log}");
    }
}

/// Settings of one who wants to hear of everything at once.
fn impatient(alerts: &Postbox) -> [String; 2] {
    let watch = json!({"look_every_s": 1, "grace_s": 0, "confirmation_s": 1});
    [
        format!("delivery.watch={watch}"),
        format!("supervisor.alerts.url={}", alerts.url("/api/v2/alerts")),
    ]
}

/// The alert about a delivery with that in its text, as Alertmanager gets it.
async fn alerted(alerts: &Postbox, id: &str, text: &str) -> Value {
    until(format!("an alert `{text}` about {id}"), Duration::from_secs(60), || async {
        let all = alerts.taken().into_iter().filter_map(|it| it.json().as_array().cloned());
        all.flatten().find(|it| {
            let summary = it["annotations"]["summary"].as_str().unwrap_or_default();
            it["labels"]["delivery"] == id && summary.contains(text)
        })
    })
    .await
}

#[tokio::test]
async fn what_is_late_is_told_to_its_customer_and_alerted_until_somebody_looks_after_it() {
    let alerts = Postbox::open().await.unwrap();
    let [watch, receiver] = impatient(&alerts);
    // The handling at the pick-up takes seconds, in which nothing of what was promised comes.
    let town = Town::up(&["--time-scale", "20", "--set", &watch, "--set", &receiver]).await;
    let id = town.accepted().await;
    until("the customer is told of the delay", SOON, || async {
        let told = town.told(&id).await;
        told.as_array()?.iter().any(|it| it["template"] == "delayed").then_some(())
    })
    .await;
    assert_eq!(town.mailed(&id, "Pakettisi saapuu").await.to, [EMAIL]);
    town.heard(&id, "delayed", "odotettua myöhemmin").await;
    let alert = alerted(&alerts, &id, "overdue").await;
    assert!(alert.get("endsAt").is_none(), "{alert}");
    // The page shows it, and there somebody says that they look after it.
    let page = town.system.url(0, "/api/alerts");
    let listed = town.system.http.get(&page).await.json();
    let ours = listed.as_array().unwrap().iter().find(|it| it["deliveryId"] == id.as_str());
    let ours = ours.unwrap_or_else(|| panic!("not on the page: {listed}"));
    let path = format!("/api/alerts/{}/acknowledgement", ours["id"].as_str().unwrap());
    let url = town.system.url(0, &path);
    let done = town.system.http.json(Method::PUT, &url, &json!({"actor": "ann"})).await;
    assert_eq!(done.status, 204);
    until("the alert has ended", SOON, || async {
        let all = alerts.taken().into_iter().filter_map(|it| it.json().as_array().cloned());
        all.flatten().any(|it| it.get("endsAt").is_some()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_strict_system_knows_owner_place_and_recipient_or_says_what_it_misses() {
    let alerts = Postbox::open().await.unwrap();
    let [watch, receiver] = impatient(&alerts);
    let strict =
        ["--profile", "strict", "--time-scale", "600", "--set", &watch, "--set", &receiver];
    let plain = ["--set", "gateway.plain=serve"];
    let town = Town::up(&[&strict[..], &plain].concat()).await;
    let system = &town.system;
    let mut request = sample_request();
    let refused = system.submit(&request).await;
    assert_eq!(refused.status, 400, "an unknown place: {}", refused.json());
    request["pickupLocation"] = json!("60.1700,24.9400");
    request["dropOffLocation"] = json!("60.1750,24.9450");
    let unknown = system.accepted(&request).await;
    let failed = system.ends(&unknown, "Failed", SOON).await;
    assert_eq!(failed["failedStep"], "account", "an unknown owner: {failed}");

    request["ownerId"] = json!("canary");
    request["confirmationRequired"] = json!("Picture");
    let id = system.accepted(&request).await;
    let url = system.gateway(&format!("/api/deliveries/{id}/confirmations"));
    let confirm = async |kind: u8| {
        let body = json!({"confirmationType": kind, "confirmationBlob": "a picture"});
        let reply = system.http.json(Method::POST, &url, &body).await;
        (reply.status.as_u16(), reply.json()["code"].as_str().unwrap_or_default().to_owned())
    };
    until("the recipient is asked", SOON, || async {
        let told = town.told(&id).await;
        let asked = |it: &Value| it["template"] == "confirmation-needed" && it["state"] == "sent";
        told.as_array()?.iter().any(asked).then_some(())
    })
    .await;
    assert_eq!(confirm(2).await, (409, "other_confirmation".to_owned()));
    // Nobody comes to the door: a person is asked.
    alerted(&alerts, &id, "nobody confirms").await;
    let state = system.request(&id).await;
    assert_eq!(state["state"], "Scheduled", "it waits: {state}");
    assert_eq!(confirm(1).await.0, 200);
    system.ends(&id, "Completed", SOON).await;
    assert_eq!(confirm(1).await, (409, "delivery_ended".to_owned()), "too late");
    let evidence = system.url(105, &format!("/api/deliveries/{id}/confirmations"));
    let kept = system.http.get(&evidence).await.json();
    assert_eq!(kept[0]["confirmationType"], 1, "{kept}");
    assert!(kept[0]["sha256"].as_str().is_some_and(|it| it.len() == 64), "{kept}");
}
