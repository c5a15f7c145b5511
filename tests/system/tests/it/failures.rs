//! The failure table of the workflow, row by row: what the client reads, how often the participant
//! was called, and that nothing stays booked anywhere.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::{
    program::{System, sample_request},
    steps::{Row, rows},
    wait::{until, until_seen},
};

/// Kilograms that a drone carries, and that only a carrier does.
const WEIGHTS: [u32; 2] = [10, 40];

/// The steps of create that are done for a package of that weight, in their order.
fn callees(weight: u32) -> Vec<Row> {
    // A carrier is asked again only when the fleet declines.
    let left_out: &[&str] = if weight == WEIGHTS[0] { &["carrier"] } else { &["carrier", "drone"] };
    rows("create").into_iter().filter(|it| !left_out.contains(&it.step.as_str())).collect()
}

/// More than any step is ever called.
const FOR_EVER: u64 = 1_000_000;
const SOON: Duration = Duration::from_secs(30);

fn quick_fleet() -> System {
    quick_fleet_with(&[])
}

pub(crate) fn quick_fleet_with(further: &[&str]) -> System {
    let ours = [
        "--enable-faults",
        "--time-scale",
        "600",
        "--set",
        "scheduler.complete_by_ms=4000",
        "--set",
        "scheduler.undo_attempts_max=3",
    ];
    System::up(&[&ours, further].concat())
}

/// Policy under which no breaker hears of the callees' failures: it would hold calls back that are
/// counted, or awaited.
pub(crate) fn no_breaker(callees: &[&str]) -> NamedTempFile {
    let policy = NamedTempFile::with_suffix(".yaml").unwrap();
    let of_callee = |callee: &&str| {
        format!(
            "apiVersion: skein/v1\nkind: TrafficPolicy\nmetadata: {{name: no-breaker-{callee}}}\nspec:\n  \
             targetRef: {{kind: Service, name: {callee}}}\n  \
             breaker: {{consecutiveFailures: 0, successRateMin: 0}}\n"
        )
    };
    let text = callees.iter().map(of_callee).collect::<Vec<_>>().join("---\n");
    std::fs::write(policy.path(), text).unwrap();
    policy
}

pub(crate) fn request(package: &str) -> Value {
    let mut request = sample_request();
    request["packageInfo"]["packageId"] = json!(package);
    request
}

fn weighing(weight: u32, package: &str) -> Value {
    let mut request = request(package);
    request["packageInfo"]["weight"] = json!(weight);
    request
}

impl System {
    /// How often a planted fault was met.
    pub(crate) async fn calls(&self, role: &str, planted: u64) -> u64 {
        let mut met = 0;
        for process in self.role(role) {
            let url = format!("http://127.0.0.1:{}/admin/faults", process.admin.unwrap());
            let faults = self.http.get(&url).await.json();
            let left = faults["faults"][0]["count"].as_u64().unwrap_or(0);
            met += planted - left;
        }
        met
    }

    /// Reads back from every service in which a create takes something that the delivery holds nothing.
    pub(crate) async fn assert_nothing_booked(&self, id: &str, package: &str) {
        for row in rows("create").iter().filter(|it| it.is_undone) {
            let url = self.at(&row.role, &row.path(id, package));
            if row.role == "delivery" {
                let reply = self.http.get(&format!("{url}/status")).await;
                let stage = &reply.json()["stage"];
                let ended = reply.status == 404 || *stage == json!(5) || *stage == json!(6);
                assert!(ended, "the delivery goes on: {:?}", reply.json());
            } else {
                let reply = self.http.get(&url).await;
                assert_eq!(reply.status, 404, "{} holds something: {:?}", row.role, reply.json());
            }
        }
        self.history_agrees(id).await;
    }

    /// History has heard what Delivery says of it, and of what never was a delivery nothing.
    pub(crate) async fn history_agrees(&self, id: &str) {
        let said = self.http.get(&self.url(105, &format!("/api/deliveries/{id}/events"))).await;
        let said = if said.status == 404 { Value::Null } else { said.json() };
        let history = self.url(109, &format!("/api/deliveryhistory/{id}"));
        until_seen(format!("History tells {said} of {id}"), SOON, || async {
            let found = self.http.get(&history).await;
            let told =
                if found.status == 404 { Value::Null } else { found.json()["events"].clone() };
            if told == said { Ok(()) } else { Err(told.to_string()) }
        })
        .await;
    }
}

/// Else a table that finds nothing booked would say nothing.
#[tokio::test]
async fn what_a_create_takes_can_be_seen() {
    let system = quick_fleet_with(&["--set", "fleet.pickup_ahead_days=36500"]);
    for weight in WEIGHTS {
        let mut request = weighing(weight, "for-later");
        request["pickupTime"] = json!("2099-01-01T00:00:00Z");
        let id = system.accepted(&request).await;
        system.ends(&id, "Scheduled", SOON).await;
        for row in callees(weight).iter().filter(|it| it.is_undone) {
            let reply = system.http.get(&system.at(&row.role, &row.path(&id, "for-later"))).await;
            // The carriers are asked about each package, and take those that no drone carries.
            let left = row.role == "third-party-transport" && weight == WEIGHTS[0];
            let expected = if left { 404 } else { 200 };
            assert_eq!(reply.status, expected, "{}: {:?}", row.step, reply.json());
        }
    }
}

#[tokio::test]
async fn a_callee_that_answers_500_is_called_once_and_the_rest_is_undone() {
    let system = quick_fleet();
    for weight in WEIGHTS {
        for Row { role, step, route, .. } in callees(weight) {
            system.plant(&role, &json!({"route": route, "status": 500, "count": FOR_EVER})).await;
            let package = format!("refused-at-{step}-{weight}");
            let id = system.accepted(&weighing(weight, &package)).await;
            let ended = system.ends(&id, "Failed", SOON).await;
            assert_eq!(ended["failedStep"], step, "{ended}");
            assert!(ended["reason"].as_str().is_some_and(|it| !it.is_empty()), "{ended}");
            assert_eq!(system.calls(&role, FOR_EVER).await, 1, "calls at {role}");
            system.heal(&role).await;
            system.assert_nothing_booked(&id, &package).await;
        }
    }
}

#[tokio::test]
async fn a_callee_that_is_unavailable_for_a_while_is_called_again_and_the_delivery_completes() {
    let system = quick_fleet();
    for weight in WEIGHTS {
        for Row { role, step, route, .. } in callees(weight) {
            system.plant(&role, &json!({"route": route, "status": 503, "count": 2})).await;
            let package = format!("late-at-{step}-{weight}");
            let id = system.accepted(&weighing(weight, &package)).await;
            system.ends(&id, "Completed", SOON).await;
            system.history_agrees(&id).await;
            assert_eq!(system.calls(&role, 2).await, 2, "calls at {role}");
            system.heal(&role).await;
        }
    }
}

async fn check_never_available(weight: u32) {
    let system = quick_fleet();
    for Row { role, step, route, .. } in callees(weight) {
        system.plant(&role, &json!({"route": route, "status": 503, "count": FOR_EVER})).await;
        let package = format!("never-at-{step}");
        let id = system.accepted(&weighing(weight, &package)).await;
        let ended = system.ends(&id, "Failed", SOON).await;
        assert_eq!(ended["failedStep"], step, "{ended}");
        assert!(system.calls(&role, FOR_EVER).await >= 2, "calls at {role}");
        system.heal(&role).await;
        system.assert_nothing_booked(&id, &package).await;
    }
}

#[tokio::test]
async fn a_callee_that_stays_unavailable_is_given_up_at_complete_by() {
    check_never_available(WEIGHTS[0]).await;
}

#[tokio::test]
async fn a_callee_that_stays_unavailable_to_what_a_carrier_takes_is_given_up_at_complete_by() {
    check_never_available(WEIGHTS[1]).await;
}

#[tokio::test]
async fn a_reply_that_is_lost_or_too_late_leaves_one_effect() {
    let system = quick_fleet();
    let faults = [json!({"drop_reply": true, "count": 1}), json!({"delay_ms": 2_500, "count": 1})];
    for weight in WEIGHTS {
        for (Row { role, step, route, .. }, (number, fault)) in callees(weight)
            .into_iter()
            .flat_map(|row| faults.iter().enumerate().map(move |it| (row.clone(), it)))
        {
            let mut fault = fault.clone();
            fault["route"] = json!(route);
            system.plant(&role, &fault).await;
            let package = format!("lost-{number}-at-{step}-{weight}");
            let id = system.accepted(&weighing(weight, &package)).await;
            system.ends(&id, "Completed", SOON).await;
            system.history_agrees(&id).await;
            assert_eq!(system.ledger(&role).await["doubled"], json!([]), "{role}");
            system.heal(&role).await;
        }
    }
}

/// Each row of the failure table: what the callee meets and how often at the most, how many calls
/// meet it, and how the delivery ends.
#[tokio::test]
async fn each_answer_is_followed_by_as_many_calls_as_the_table_says() {
    // Row upon row fails the same callee.
    let policy = no_breaker(&["package"]);
    let system = quick_fleet_with(&["--routes", policy.path().to_str().unwrap()]);
    let rows = [
        (json!({"status": 400, "count": 2}), 1, "Failed"),
        (json!({"status": 404, "count": 2}), 1, "Failed"),
        (json!({"status": 422, "count": 2}), 1, "Failed"),
        (json!({"status": 500, "count": 2}), 1, "Failed"),
        (json!({"status": 408, "count": 2}), 2, "Completed"),
        (json!({"status": 429, "count": 2}), 2, "Completed"),
        (json!({"status": 502, "count": 2}), 2, "Completed"),
        (json!({"status": 503, "count": 2}), 2, "Completed"),
        (json!({"status": 504, "count": 2}), 2, "Completed"),
        // Longer than a call may take, or no answer at all: it may have been done.
        (json!({"delay_ms": 2_500, "count": 1}), 1, "Completed"),
        (json!({"drop_reply": true, "count": 1}), 1, "Completed"),
    ];
    for (number, (mut fault, calls, state)) in rows.into_iter().enumerate() {
        fault["route"] = json!("PUT /api/packages/{id}");
        system.plant("package", &fault).await;
        let id = system.accepted(&request(&format!("row-{number}"))).await;
        let ended = system.ends(&id, state, SOON).await;
        let met = system.calls("package", fault["count"].as_u64().unwrap()).await;
        assert_eq!(met, calls, "{fault}: {ended}");
        assert_eq!(system.ledger("package").await["doubled"], json!([]), "{fault}");
        system.heal("package").await;
    }
}

/// Proxies, brokers and sagas that each try again would multiply what they try: here each hop has decided
/// before the one above asks.
#[tokio::test]
async fn at_thirty_percent_errors_drone_is_called_hardly_more_often_than_the_saga_tries() {
    let policy = no_breaker(&["drone"]);
    let system = quick_fleet_with(&[
        "--set",
        "scheduler.complete_by_ms=60000",
        "--routes",
        policy.path().to_str().unwrap(),
    ]);
    let route = r#"route="/api/dronedeliveries/{id}""#;
    let errors = json!({
        "route": "PUT /api/dronedeliveries/{id}", "status": 503, "count": FOR_EVER, "percent": 30,
    });
    system.plant("drone", &errors).await;
    let mut ids = Vec::new();
    for number in 0..40 {
        ids.push(system.accepted(&request(&format!("often-{number}"))).await);
    }
    for id in &ids {
        system.ends(id, "Completed", Duration::from_secs(90)).await;
    }
    let http = &system.http;
    let mut tries = 0.0;
    for role in ["scheduler", "supervisor"] {
        let labels = [r#"step="drone""#, r#"direction="do""#];
        tries += system.role(role)[0].metric_of(http, "saga_steps_total", &labels).await;
    }
    let served = "http_server_request_duration_seconds_count";
    let put = [route, r#"method="PUT""#];
    let calls = system.role("drone")[0].metric_of(http, served, &put).await;
    let failed = [&put[..], &[r#"status="5xx""#]].concat();
    let failed = system.role("drone")[0].metric_of(http, served, &failed).await;
    println!("{tries} tries of the saga, {calls} calls, of which {failed} failed");
    assert!(failed >= 3.0, "{failed} failures are too few to say anything");
    assert!(tries >= 40.0 && calls <= tries * 1.2, "{calls} calls of {tries} tries");
}

#[tokio::test]
async fn the_trace_of_a_failed_delivery_shows_its_undo() {
    let system = quick_fleet();
    let refused = json!({"route": "PUT /api/dronedeliveries/{id}", "status": 500, "count": 1});
    system.plant("drone", &refused).await;
    let id = system.accepted(&request("undone")).await;
    system.ends(&id, "Failed", SOON).await;
    until("the trace shows the undo", SOON, || async {
        let tree = String::from_utf8(system.command(&["trace", &id]).stdout).unwrap();
        let shows = |it: &str| tree.contains(it);
        (shows("do drone") && shows("undo package") && shows("DELETE /api/packages")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_suspended_account_fails_the_delivery_with_its_reason() {
    let system = quick_fleet();
    let mut request = request("suspended");
    request["ownerId"] = json!("suspended-owner");
    let id = system.accepted(&request).await;
    let ended = system.ends(&id, "Failed", SOON).await;
    assert_eq!(ended["failedStep"], "account");
    system.assert_nothing_booked(&id, "suspended").await;
}

#[tokio::test]
async fn an_undo_that_keeps_failing_parks_the_delivery_and_a_person_resumes_it() {
    let system = quick_fleet();
    let undo = json!({"route": "DELETE /api/packages/{id}", "status": 500, "count": FOR_EVER});
    system.plant("package", &undo).await;
    system
        .plant(
            "drone",
            &json!({"route": "PUT /api/dronedeliveries/{id}", "status": 500, "count": 1}),
        )
        .await;
    let id = system.accepted(&request("stuck")).await;
    system.ends(&id, "Parked", Duration::from_secs(60)).await;
    let listed = system.command_json(&["failures", "list"]);
    assert!(listed.to_string().contains(&id), "{listed}");

    system.heal("package").await;
    let resumed = system.command(&["failures", "compensate", &id, "--reason", "the store is back"]);
    assert!(resumed.status.success(), "{}", String::from_utf8_lossy(&resumed.stderr));
    system.ends(&id, "Failed", SOON).await;
    system.assert_nothing_booked(&id, "stuck").await;
    let shown = system.command_json(&["failures", "show", &id]);
    assert!(shown.to_string().contains("the store is back"), "the audit keeps the reason: {shown}");
}

#[tokio::test]
async fn faults_are_refused_where_they_were_not_enabled() {
    let system = System::up(&[]);
    let admin = system.role("account")[0].admin.unwrap();
    let fault = json!({"route": "GET /api/account/{id}", "status": 500, "count": 1});
    let url = format!("http://127.0.0.1:{admin}/admin/faults");
    assert_eq!(system.http.json(Method::PUT, &url, &fault).await.status, 404);
}
