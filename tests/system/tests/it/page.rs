//! Who may look at the page.

use http::Method;

use crate::{
    browser::{Browser, chromium},
    http::Http,
    peers::not_run,
    program::System,
};

const PLACES: [&str; 6] =
    ["/", "/topology", "/queues", "/app.js", "/api/queues", "/api/traces?delivery=x"];

#[tokio::test]
async fn the_page_is_seen_by_its_link_alone_and_its_token_is_nowhere_else() {
    let system = System::up(&[]);
    let stranger = Http::new();
    for place in PLACES {
        assert_eq!(stranger.get(&system.url(0, place)).await.status, 401, "{place}");
        assert_eq!(system.http.get(&system.url(0, place)).await.status, 200, "{place}");
    }
    let words = String::from_utf8(stranger.get(&system.url(0, "/")).await.body.to_vec()).unwrap();
    assert!(words.contains("edge/page.token"), "{words}");
    let traded = stranger.get(&system.page("/topology")).await;
    assert_eq!((traded.status.as_u16(), traded.header("location")), (303, "/topology"));
    let cookie = traded.header("set-cookie").to_owned();
    assert!(cookie.ends_with("; HttpOnly; SameSite=Strict; Path=/"), "{cookie}");
    let pair = cookie.split(';').next().unwrap();
    let seen = stranger.send(Method::GET, &system.url(0, "/queues"), &[("cookie", pair)], "").await;
    assert_eq!(seen.status, 200);
    let redrive = system.url(0, "/api/queues/letters/x.dead/redrive");
    let foreign = [("cookie", pair), ("origin", "https://evil.example")];
    let asked = stranger.send(Method::POST, &redrive, &foreign, "{}").await;
    assert_eq!((asked.status.as_u16(), &asked.json()["code"]), (403, &"foreign_page".into()));
    // The log and what processes write hold it nowhere.
    let token = pair.split_once('=').unwrap().1;
    for entry in std::fs::read_dir(system.data().join("logs")).unwrap() {
        let log = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!log.contains(token));
    }
    // A command of the program shows it by itself.
    let traced = system.command(&["trace", "00000000-0000-7000-8000-000000000000"]);
    let said = String::from_utf8_lossy(&traced.stderr).into_owned();
    assert!(!said.contains("401"), "{said}");
}

#[tokio::test]
async fn a_page_that_is_told_to_ask_nobody_opens_by_its_address() {
    let system = System::up(&["--set", "dashboard.auth=off"]);
    assert_eq!(Http::new().get(&system.url(0, "/")).await.status, 200);
    assert!(!system.data().join("edge/page.token").exists());
}

#[tokio::test]
async fn a_browser_opens_the_link_and_the_token_leaves_the_address() {
    let Some(chromium) = chromium() else { return not_run("there is no Chromium here") };
    let system = System::up(&[]);
    let mut page = Browser::open(chromium, &system.page("/topology")).await;
    page.shows("location.pathname === '/topology' && location.search === ''").await;
    page.shows("document.cookie === '' && document.querySelectorAll('svg').length > 0").await;
}
