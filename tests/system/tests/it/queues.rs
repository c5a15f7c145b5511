//! Queues: what waits, what was given up, and what a person does about it, by command and on the page.

use std::time::Duration;

use serde_json::Value;

use crate::{
    browser::{Browser, chromium},
    peers::not_run,
    program::System,
    wait::until,
};

const SOON: Duration = Duration::from_secs(30);

impl System {
    /// Publishes what no consumer can read; gives the topic in which it ends.
    async fn gives_up(&self, key: &str) -> String {
        let before = self.letters().await;
        let publish =
            ["topics", "publish", "delivery-requests", "--key", key, "--body", "{not json"];
        let published = self.command(&publish);
        assert!(published.status.success(), "{}", String::from_utf8_lossy(&published.stderr));
        until("a message is given up", SOON, async || {
            (self.letters().await > before).then_some(())
        })
        .await;
        "delivery-requests.scheduler.dead".to_owned()
    }

    async fn queues(&self) -> Value {
        self.http.get(&self.url(0, "/api/queues")).await.json()
    }

    async fn letters(&self) -> u64 {
        let told = self.queues().await;
        let letters = told["letters"].as_array().into_iter().flatten();
        letters.filter_map(|it| it["letters"].as_u64()).sum()
    }
}

#[tokio::test]
async fn letters_are_found_sent_back_and_discarded_by_query() {
    let system = System::up(&[]);
    let topic = system.gives_up("first").await;
    system.gives_up("second").await;
    let found = system.command_json(&["dlq", "show", &topic, "--key", "first"]);
    let found = found.as_array().unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    let of = |verb: &'static str, more: &[&str]| {
        let said = system.command(&[&["dlq", verb, &topic, "--key", "first"], more].concat());
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    };
    of("discard", &["--dry-run"]);
    of("redrive", &["--dry-run"]);
    assert_eq!(system.letters().await, 2, "a dry run changes nothing");
    of("redrive", &["--rate", "10"]);
    until("what was sent back is given up again", SOON, async || {
        (system.letters().await == 3).then_some(())
    })
    .await;
    of("discard", &["--yes"]);
    let left = system.command_json(&["dlq", "show", &topic]);
    let keys: Vec<_> = left.as_array().unwrap().iter().map(|it| it["key"].clone()).collect();
    assert_eq!(keys, ["second"], "{left}");
    // The log brings its figures up to date every ten seconds.
    until("the topic has cost something", SOON, async || {
        let costs = system.command_json(&["topics", "cost"]);
        let cost = costs.as_array()?.iter().find(|it| it["topic"] == "delivery-requests")?;
        (cost["bytes"].as_f64()? > 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn dead_letters_are_sent_back_from_the_page_without_a_mouse() {
    let Some(chromium) = chromium() else { return not_run("there is no chromium") };
    let system = System::up(&[]);
    let topic = system.gives_up("poison").await;
    let mut page = Browser::open(chromium, &system.page("/queues")).await;
    page.shows("document.querySelector('[data-total=letters]').textContent === '1'").await;
    page.shows("document.querySelectorAll('#groups tbody tr').length > 0").await;
    page.shows("document.querySelectorAll('#topics tbody tr').length > 5").await;
    let words =
        "document.activeElement.tagName === 'BUTTON' ? document.activeElement.textContent : ''";
    for _ in 0..10 {
        page.press("Tab").await;
        if page.value(words).await != "" {
            break;
        }
    }
    assert_eq!(page.value(words).await, "Send back");
    page.press("Enter").await;
    assert_eq!(page.value(words).await, "Really send back?");
    page.press("Enter").await;
    let done = format!("document.querySelector('#done').textContent === '{topic}: 1 sent back.'");
    page.shows(&done).await;
    // It is given up a second time, under its own id.
    page.shows("document.querySelector('[data-total=letters]').textContent === '2'").await;
}
