//! The page *Topology*: what it is told, and what a person without a mouse can do with it.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    browser::{Browser, chromium},
    peers::not_run,
    program::{System, sample_request},
    wait::until,
};

/// Two rounds of reading, and what a busy machine adds.
const SOON: Duration = Duration::from_secs(30);

impl System {
    async fn topology(&self) -> Value {
        self.http.get(&self.url(0, "/api/topology")).await.json()
    }

    /// Sends requests until the page tells that both edges are used.
    async fn is_drawn(&self) -> Value {
        until("calls are seen on both edges", SOON, async || {
            self.accepted(&sample_request()).await;
            let told = self.topology().await;
            let is_used = |from, to| {
                edge(&told, from, to)
                    .is_some_and(|it| it["requestsPerSecond"].as_f64().unwrap() > 0.0)
            };
            (is_used("gateway", "ingestion") && is_used("scheduler", "account")).then_some(told)
        })
        .await
    }
}

fn edge<'a>(told: &'a Value, from: &str, to: &str) -> Option<&'a Value> {
    let edges = told["edges"].as_array()?;
    edges.iter().find(|it| it["source"] == from && it["destination"] == to)
}

fn service<'a>(told: &'a Value, name: &str) -> &'a Value {
    let services = told["services"].as_array().unwrap();
    services.iter().find(|it| it["name"] == name).unwrap()
}

#[tokio::test]
async fn the_page_is_told_who_calls_whom_and_what_does_not_answer() {
    let system = System::up_pausable(&["--replicas", "account=2"]);
    let told = system.is_drawn().await;
    let called = edge(&told, "scheduler", "account").unwrap();
    assert_eq!(called["errorShare"], 0.0, "{called}");
    let (p50, p99) = (called["p50Seconds"].as_f64(), called["p99Seconds"].as_f64());
    assert!(p50.unwrap() > 0.0 && p50 <= p99, "{called}");
    let endpoints = called["endpoints"].as_array().unwrap();
    let names: Vec<_> = endpoints.iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!((names, &called["breakersOpen"]), (vec!["account-1", "account-2"], &0.into()));
    let (account, gateway) = (service(&told, "account"), service(&told, "gateway"));
    assert_eq!((&account["ready"], &account["total"]), (&2.into(), &2.into()));
    assert!(gateway["layer"].as_u64() < service(&told, "ingestion")["layer"].as_u64());

    // Stopped, not dead: it is listed as before and gives no answer.
    let stopped = system.role("account").remove(1);
    stopped.signal(Signal::STOP);
    let silent = |it: &Value| {
        let answers = |it: &Value| (it["instance"].clone(), it["answers"].clone());
        let processes = service(it, "account")["processes"].as_array().unwrap().iter();
        processes.map(answers).any(|it| it == ("account-2".into(), false.into()))
    };
    let told = until("the stopped one does not answer", SOON, async || {
        let told = system.topology().await;
        silent(&told).then_some(told)
    })
    .await;
    assert_eq!(service(&told, "account")["state"], "partly");
    stopped.signal(Signal::CONT);
}

#[tokio::test]
async fn the_topology_can_be_read_and_walked_without_a_mouse() {
    let Some(chromium) = chromium() else { return not_run("there is no chromium") };
    let system = System::up(&[]);
    system.is_drawn().await;
    let mut page = Browser::open(chromium, &system.page("/topology")).await;
    for name in ["gateway", "ingestion", "scheduler", "account"] {
        page.shows(&format!("!!document.querySelector('#graph [data-service={name}]')")).await;
    }
    for name in ["gateway->ingestion", "scheduler->account"] {
        page.shows(&format!("!!document.querySelector('#graph [data-edge=\"{name}\"]')")).await;
        page.shows(&format!("!!document.querySelector('#edges tr[data-row=\"{name}\"]')")).await;
    }
    let focused = "document.activeElement.dataset.row ?? ''";
    for _ in 0..10 {
        page.press("Tab").await;
        if page.value(focused).await != "" {
            break;
        }
    }
    let first = page.value("document.querySelector('#edges tbody tr').dataset.row").await;
    assert_eq!(page.value(focused).await, first, "Tab leads to the first row");
    page.press("ArrowDown").await;
    let second = page.value(focused).await;
    assert_ne!(second, first);
    // Rounds pass; whoever reads stays where they are.
    page.value("window.before = document.querySelector('#graph').firstChild").await;
    page.shows("document.querySelector('#graph').firstChild !== window.before").await;
    assert_eq!(page.value(focused).await, second);
    page.press("Enter").await;
    page.shows("!document.querySelector('#detail').hidden").await;
    page.shows("document.activeElement.id === 'detail-title'").await;
    let address = "new URLSearchParams(location.search).get('edge')";
    assert_eq!(page.value(address).await, second);
    page.shows("document.querySelectorAll('#processes li').length > 1").await;
    page.press("Escape").await;
    page.shows("document.querySelector('#detail').hidden").await;
    assert_eq!(page.value(focused).await, second, "the focus is back on the row");
    page.value("history.back()").await;
    page.shows("!document.querySelector('#detail').hidden").await;
    // Lines move while there are calls.
    system.accepted(&sample_request()).await;
    let moves = "getComputedStyle(document.querySelector('#graph .flow')).animationName";
    page.shows(&format!("{moves} === 'flow'")).await;
    page.prefers("prefers-reduced-motion", "reduce").await;
    page.shows(&format!("{moves} === 'none'")).await;
}
