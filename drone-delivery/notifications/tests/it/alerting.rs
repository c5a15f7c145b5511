//! Operators, at the receiving end of their webhook.

use base::Timestamp;
use notifications::{
    AlertConfig, Patience,
    alerts::{AlertDesk, AlertPlace, Raised},
    testing::Postbox,
};
use runtime::{SystemClock, Tasks};
use store::StoreSettings;
use telemetry::Telemetry;
use tempfile::TempDir;

use crate::wait::until;

struct Office {
    desk: AlertDesk,
    receiver: Postbox,
    tasks: Tasks,
    _folder: TempDir,
}

impl Drop for Office {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

fn raised(message: &str, severity: &str, text: &str, at: i64) -> Raised {
    Raised {
        source: "/services/supervisor".to_owned(),
        message_id: message.to_owned(),
        severity: severity.to_owned(),
        service: "supervisor".to_owned(),
        delivery_id: Some("d1".to_owned()),
        reason: None,
        text: text.to_owned(),
        occurred_at: Timestamp::from_millis(at),
    }
}

impl Office {
    async fn open() -> Self {
        let (receiver, tasks) = (Postbox::open().await.unwrap(), Tasks::new());
        let folder = tempfile::tempdir().unwrap();
        let patience = Patience { first_wait_ms: 20, wait_ms_max: 50, ..Patience::default() };
        let config = AlertConfig { url: receiver.url("/api/v2/alerts"), patience };
        let settings = StoreSettings::default();
        let (clock, quiet) = (SystemClock::shared(), Telemetry::disabled());
        let path = folder.path().join("alerts.db");
        let desk = AlertDesk::open(&path, config, settings, None, (clock, &quiet)).unwrap();
        desk.start(&tasks);
        Self { desk, receiver, tasks, _folder: folder }
    }

    /// The newest alert that came in, once it fits.
    async fn receives(&self, fits: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        until("the receiver hears of it", || async {
            let last = self.receiver.taken().last()?.json();
            last.as_array()?.iter().find(|it| fits(it)).cloned()
        })
        .await
    }
}

#[tokio::test]
async fn an_alert_reaches_alertmanager_in_its_form_and_ends_when_somebody_looks_after_it() {
    let office = Office::open().await;
    office.receiver.answer_next_with(503);
    office.desk.raise(raised("m1", "critical", "it is parked", 1_000)).await.unwrap();
    let alert = office.receives(|_| office.receiver.taken().len() > 1).await;
    assert_eq!(office.receiver.taken()[0].path, "/api/v2/alerts");
    assert_eq!(alert["labels"]["severity"], "critical");
    assert_eq!(alert["labels"]["delivery"], "d1");
    assert_eq!(alert["labels"]["reason"], "it is parked", "nobody said another");
    assert_eq!(alert["annotations"]["summary"], "it is parked");
    assert_eq!(alert["startsAt"], "1970-01-01T00:00:01.000Z");
    assert!(alert.get("endsAt").is_none(), "{alert}");
    let [row] = &office.desk.list(false).await.unwrap()[..] else { panic!("one alert") };
    assert!(office.desk.acknowledge(&row.id, "ann").await.unwrap());
    let ended = office.receives(|it| it.get("endsAt").is_some()).await;
    assert_eq!(ended["labels"], alert["labels"], "the same alert");
}

#[tokio::test]
async fn the_same_thing_is_one_alert_with_its_first_time_and_its_count() {
    let office = Office::open().await;
    for (message, at) in [("m2", 2_000), ("m1", 1_000), ("m2", 2_000), ("m3", 3_000)] {
        office.desk.raise(raised(message, "warning", "a step keeps failing", at)).await.unwrap();
    }
    office.desk.raise(raised("m4", "critical", "it is parked", 500)).await.unwrap();
    let rows = office.desk.list(false).await.unwrap();
    let seen: Vec<_> = rows
        .iter()
        .map(|it| {
            (it.severity.as_str(), it.count, it.first_seen.as_millis(), it.last_seen.as_millis())
        })
        .collect();
    assert_eq!(seen, [("critical", 1, 500, 500), ("warning", 3, 1_000, 3_000)]);
}

#[tokio::test]
async fn an_alert_that_somebody_looks_after_stays_with_who_said_so_first() {
    let office = Office::open().await;
    office.desk.raise(raised("m1", "warning", "it is late", 1)).await.unwrap();
    let id = office.desk.list(false).await.unwrap()[0].id.clone();
    for by in ["ann", "ben"] {
        assert!(office.desk.acknowledge(&id, by).await.unwrap());
    }
    office.desk.raise(raised("m2", "warning", "it is late", 2)).await.unwrap();
    assert_eq!(office.desk.list(false).await.unwrap(), []);
    let [row] = &office.desk.list(true).await.unwrap()[..] else { panic!("one alert") };
    assert_eq!((row.acknowledged_by.as_deref(), row.count), (Some("ann"), 2));
    assert!(!office.desk.acknowledge("no such", "ann").await.unwrap());
}

#[tokio::test]
async fn the_pages_of_the_list_hold_each_alert_once_although_others_are_raised_meanwhile() {
    let office = Office::open().await;
    let raise = async |name: &str, severity: &str, at: i64| {
        office.desk.raise(raised(&format!("{name}/{at}"), severity, name, at)).await.unwrap();
    };
    // Two of one time, and two of each severity.
    for (name, severity, at) in
        [("a", "warning", 5), ("b", "warning", 9), ("c", "critical", 3), ("d", "critical", 3)]
    {
        raise(name, severity, at).await;
    }
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = office.desk.page(false, after, 1).await.unwrap();
        let Some(last) = page.last() else { break };
        seen.push(last.text.clone());
        let written = last.place().to_string();
        after = AlertPlace::parse(&written);
        assert_eq!(after, Some(last.place()), "{written}");
        // What was seen is raised again, and something new: both at the front.
        raise(&last.text, &last.severity, 100).await;
        raise("new", "critical", 200).await;
    }
    seen[..2].sort_unstable();
    assert_eq!(seen, ["c", "d", "b", "a"]);
    for wrong in ["", "2.5.a", "0.x.a", "0.5.", "0.5"] {
        assert_eq!(AlertPlace::parse(wrong), None, "{wrong}");
    }
}

/// About a delivery, for that reason.
fn because(reason: &str, delivery: &str, severity: &str, at: i64) -> Raised {
    let message = format!("{delivery}/{reason}/{at}");
    Raised {
        delivery_id: Some(delivery.to_owned()),
        reason: Some(reason.to_owned()),
        ..raised(&message, severity, &format!("{delivery}: {reason}"), at)
    }
}

#[tokio::test]
async fn alerts_of_one_reason_are_one_group_that_is_looked_after_as_one() {
    let office = Office::open().await;
    let [down, late] = ["delivery: drone upstream_unavailable", "overdue at the drop-off"];
    for (reason, delivery, severity, at) in [
        (down, "d1", "warning", 3_000),
        (down, "d2", "warning", 1_000),
        (late, "d1", "warning", 9_000),
        (down, "d3", "critical", 7_000),
        (down, "d2", "warning", 5_000),
    ] {
        office.desk.raise(because(reason, delivery, severity, at)).await.unwrap();
    }
    let groups = office.desk.groups(false).await.unwrap();
    let seen: Vec<_> = groups
        .iter()
        .map(|it| {
            let times = (it.first_seen.as_millis(), it.last_seen.as_millis());
            let latest = it.latest.delivery_id.as_deref().unwrap();
            (it.reason.as_str(), it.severity.as_str(), it.alerts, it.count, times, latest)
        })
        .collect();
    let expected = [
        (down, "critical", 3, 4, (1_000, 7_000), "d3"),
        (late, "warning", 1, 1, (9_000, 9_000), "d1"),
    ];
    assert_eq!(seen, expected);
    assert_eq!(groups[0].latest.text, format!("d3: {down}"));

    assert!(office.desk.acknowledge_group(&groups[0].id, "ann").await.unwrap());
    let left: Vec<_> =
        office.desk.groups(false).await.unwrap().into_iter().map(|it| it.reason).collect();
    assert_eq!(left, [late]);
    office.receives(|it| it["labels"]["delivery"] == "d2" && it.get("endsAt").is_some()).await;
    // Another delivery that fails so is news; those that are looked after stay with who said so.
    office.desk.raise(because(down, "d4", "warning", 11_000)).await.unwrap();
    let again = office.desk.groups(false).await.unwrap();
    assert_eq!(again.iter().map(|it| it.alerts).collect::<Vec<_>>(), [1, 1]);
    assert!(!office.desk.acknowledge_group("no such", "ann").await.unwrap());
}
