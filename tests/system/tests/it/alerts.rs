//! What somebody should look at, on the page: found, counted and looked after without a mouse.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    browser::{Browser, chromium},
    peers::not_run,
    program::{System, sample_request},
};

const SOON: Duration = Duration::from_secs(30);
const WORDS: &str =
    "document.activeElement.tagName === 'BUTTON' ? document.activeElement.textContent : ''";

impl System {
    /// A request that fails, for the same reason each time, and so is brought before a person.
    async fn fails_at_the_drone(&self) -> String {
        let fault = json!({"route": "PUT /api/dronedeliveries/{id}", "status": 500, "count": 1});
        self.plant("drone", &fault).await;
        let mut request = sample_request();
        request["packageInfo"]["packageId"] = Value::Null;
        let id = self.accepted(&request).await;
        self.ends(&id, "Failed", SOON).await;
        id
    }
}

#[tokio::test]
async fn alerts_are_counted_on_the_page_and_looked_after_without_a_mouse() {
    let Some(chromium) = chromium() else { return not_run("there is no chromium") };
    let system = System::up(&["--enable-faults"]);
    let mut page = Browser::open(chromium, &system.page("/")).await;
    page.shows("document.querySelector('#alerts')?.hidden === true").await;

    let first = system.fails_at_the_drone().await;
    page.shows("document.querySelectorAll('#alerts li').length === 1").await;
    let text = "document.querySelector('#alerts li span').textContent";
    page.shows(&format!("{text}.includes('{first}')")).await;
    // One alert says when; a row that says so since when and how often says more.
    let when = "document.querySelector('#alerts li small').textContent";
    page.shows(&format!("/\\d/.test({when}) && !{when}.includes('times')")).await;

    for _ in 0..40 {
        page.press("Tab").await;
        if page.value(WORDS).await == "I look after it" {
            break;
        }
    }
    assert_eq!(page.value(WORDS).await, "I look after it");

    // The row is filled anew, and whoever is about to press its button still is.
    let second = system.fails_at_the_drone().await;
    page.shows(&format!("{text}.includes('(2)') && {text}.includes('{second}')")).await;
    page.shows(&format!("/^2 times, first .+, last .+/.test({when})")).await;
    assert_eq!(page.value("document.querySelectorAll('#alerts li').length").await, 1);
    assert_eq!(page.value(WORDS).await, "I look after it");

    page.press("Enter").await;
    page.shows("document.querySelector('#alerts').hidden === true").await;
    let open = system.http.get(&system.url(103, "/api/alerts")).await.json();
    assert_eq!(open, json!([]), "what somebody looks after is off the list");
}
