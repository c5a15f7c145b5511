//! The failure table of cancels and moves, of what a drone serves and of what a carrier does: its rows
//! are the steps of the definitions, each met by every fault. What the client reads, what every service
//! says afterwards, and that nothing stays booked anywhere.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::{
    failures::{no_breaker, quick_fleet_with, request},
    program::System,
    steps::{Row, rows},
    wait::until,
};

const SOON: Duration = Duration::from_secs(40);
const FOR_EVER: u64 = 1_000_000;
/// Door of the package before a move and after it.
const DOORS: [f64; 2] = [60.175, 60.18];

/// Who serves the deliveries of a system.
#[derive(Debug, Clone, Copy)]
enum Server {
    Drone,
    Carrier,
}

impl Server {
    const fn weight(self) -> u32 {
        match self {
            Self::Drone => 10,
            Self::Carrier => 40,
        }
    }

    const fn cancel(self) -> &'static str {
        match self {
            Self::Drone => "cancel",
            Self::Carrier => "cancel-carrier",
        }
    }

    const fn reschedule(self) -> &'static str {
        match self {
            Self::Drone => "reschedule",
            Self::Carrier => "reschedule-carrier",
        }
    }

    /// Port and path of what it has booked.
    const fn booking(self) -> (u16, &'static str) {
        match self {
            Self::Drone => (107, "dronedeliveries"),
            Self::Carrier => (108, "thirdpartydeliveries"),
        }
    }
}

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Change {
    Cancel,
    Move,
}

struct Table {
    system: System,
    server: Server,
    /// Followed for as long as the system runs.
    _policy: NamedTempFile,
}

impl Table {
    fn up(server: Server) -> Self {
        // Who decides is asked for so long. A create has nothing to prove here: on a machine that does
        // much else it gets its time.
        let mut further = vec!["--set", "fleet.pickup_ahead_days=36500"];
        further.extend(["--set", "scheduler.cancel_complete_by_ms=4000"]);
        further.extend(["--set", "scheduler.complete_by_ms=10000"]);
        // What is asked for again right after an outage has to get through.
        let policy = no_breaker(&["drone", "third-party-transport", "delivery"]);
        further.extend(["--routes", policy.path().to_str().unwrap()]);
        Self { system: quick_fleet_with(&further), server, _policy: policy }
    }

    fn steps(&self, change: Change) -> Vec<Row> {
        rows(match change {
            Change::Cancel => self.server.cancel(),
            Change::Move => self.server.reschedule(),
        })
    }

    async fn scheduled(&self, package: &str) -> String {
        let mut request = request(package);
        request["pickupTime"] = json!("2099-01-01T00:00:00Z");
        request["packageInfo"]["weight"] = json!(self.server.weight());
        request["pickupLocation"] = json!("60.17,24.94");
        request["dropOffLocation"] = json!(format!("{},24.945", DOORS[0]));
        let id = self.system.accepted(&request).await;
        until(format!("{id} is scheduled"), SOON, || async {
            let found = self.system.request(&id).await;
            let waits = ["Accepted", "Scheduling"].iter().any(|it| found["state"] == *it);
            if !waits && found["state"] != "Scheduled" {
                let saga = self.system.command_json(&["saga", "show", &format!("{id}/create")]);
                let runs = self.system.command_json(&["ps"]);
                panic!("it ended otherwise: {found}, {saga}, {runs}");
            }
            (!waits).then_some(())
        })
        .await;
        id
    }

    async fn ask(&self, id: &str, change: Change) {
        let url = self.system.gateway(&format!("/api/deliveryrequests/{id}"));
        let reply = match change {
            Change::Cancel => self.system.http.send(Method::DELETE, &url, &[], "").await,
            Change::Move => {
                let doors = json!({"pickupLocation": "60.17,24.94",
                    "dropOffLocation": format!("{},24.945", DOORS[1])});
                self.system.http.json(Method::PATCH, &url, &doors).await
            }
        };
        assert!(reply.status.is_success(), "{change:?}: {:?}", reply.json());
    }

    /// Every operation on a delivery was answered so.
    async fn answered(&self, id: &str, expected: &[&str]) {
        until(format!("the operations on {id} are {expected:?}"), SOON, || async {
            let document = self.system.request(id).await;
            let operations = document["operations"].as_array()?.clone();
            let states: Vec<_> = operations.iter().map(|it| it["state"].as_str()).collect();
            (states == expected.iter().map(|it| Some(*it)).collect::<Vec<_>>()).then_some(())
        })
        .await;
    }

    /// Delivery and whoever serves it know the same door.
    async fn leads_to(&self, id: &str, door: f64) {
        let (port, name) = self.server.booking();
        let delivery = self.system.url(105, &format!("/api/deliveries/{id}"));
        let booking = self.system.url(port, &format!("/api/{name}/{id}?view=booking"));
        for url in [delivery, booking] {
            let found = self.system.http.get(&url).await.json();
            let latitude = found["dropoff"]["latitude"].as_f64();
            assert!(latitude.is_some_and(|it| (it - door).abs() < 1e-6), "{url}: {found}");
        }
    }

    /// What is seen when an operation was done.
    async fn is_done(&self, id: &str, package: &str, change: Change) {
        match change {
            Change::Cancel => {
                self.system.ends(id, "Cancelled", SOON).await;
                self.system.assert_nothing_booked(id, package).await;
            }
            Change::Move => {
                self.leads_to(id, DOORS[1]).await;
                self.system.history_agrees(id).await;
            }
        }
    }

    /// Asks while a step meets a fault, until every operation was answered so. Gives the calls that
    /// met it.
    async fn meet(&self, row: &Row, mut fault: Value, asked: (&str, Change, &[&str])) -> u64 {
        let (id, change, answers) = asked;
        fault["route"] = json!(row.route);
        self.system.plant(&row.role, &fault).await;
        self.ask(id, change).await;
        self.answered(id, answers).await;
        let met = self.system.calls(&row.role, fault["count"].as_u64().unwrap()).await;
        self.system.heal(&row.role).await;
        met
    }

    /// What passes leaves one operation, done.
    async fn check_passing(&self, change: Change) {
        let faults = [
            ("busy", json!({"status": 503, "count": 2})),
            ("lost", json!({"drop_reply": true, "count": 1})),
            ("slow", json!({"delay_ms": 2_500, "count": 1})),
        ];
        for row in self.steps(change) {
            for (name, fault) in &faults {
                let package = format!("{change:?}-{name}-at-{}", row.step);
                let id = self.scheduled(&package).await;
                let met = self.meet(&row, fault.clone(), (&id, change, &["done"])).await;
                assert_eq!(met, fault["count"], "{change:?}: {row:?} met the fault {name}");
                self.is_done(&id, &package, change).await;
            }
        }
    }

    /// An exception of anybody parks the operation after one call; asked again, it is done.
    async fn check_exceptions(&self, change: Change) {
        for row in self.steps(change) {
            let package = format!("{change:?}-exception-at-{}", row.step);
            let id = self.scheduled(&package).await;
            let fault = json!({"status": 500, "count": FOR_EVER});
            let met = self.meet(&row, fault, (&id, change, &["parked"])).await;
            assert_eq!(met, 1, "{change:?}: {row:?}");
            self.ask(&id, change).await;
            self.answered(&id, &["parked", "done"]).await;
            self.is_done(&id, &package, change).await;
        }
    }

    /// Whoever decides and is never there parks the operation, and its refusal refuses it; then
    /// nothing has changed, and it can be asked again.
    async fn check_decider(&self, change: Change) {
        let decider = self.steps(change).remove(0);
        for (name, answer, fault, calls) in [
            ("never", "parked", json!({"status": 503, "count": FOR_EVER}), 2..FOR_EVER),
            ("refused", "refused", json!({"status": 409, "count": FOR_EVER}), 1..2),
        ] {
            let package = format!("{change:?}-{name}");
            let id = self.scheduled(&package).await;
            let met = self.meet(&decider, fault, (&id, change, &[answer])).await;
            assert!(calls.contains(&met), "{change:?}, {name}: {met} calls");
            self.leads_to(&id, DOORS[0]).await;
            self.ask(&id, change).await;
            self.answered(&id, &[answer, "done"]).await;
            self.is_done(&id, &package, change).await;
        }
    }

    async fn check(&self, change: Change) {
        self.check_passing(change).await;
        self.check_exceptions(change).await;
        self.check_decider(change).await;
    }
}

#[tokio::test]
async fn a_cancel_of_what_a_drone_serves_has_one_answer_whatever_fails() {
    Table::up(Server::Drone).check(Change::Cancel).await;
}

#[tokio::test]
async fn a_cancel_of_what_a_carrier_serves_has_one_answer_whatever_fails() {
    Table::up(Server::Carrier).check(Change::Cancel).await;
}

#[tokio::test]
async fn a_move_of_what_a_drone_serves_has_one_answer_whatever_fails() {
    Table::up(Server::Drone).check(Change::Move).await;
}

#[tokio::test]
async fn a_move_of_what_a_carrier_serves_has_one_answer_whatever_fails() {
    Table::up(Server::Carrier).check(Change::Move).await;
}
