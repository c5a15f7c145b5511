//! A list that is longer than one answer.

use http::Method;
use serde_json::{Value, json};

use crate::fixture::Service;

const LIST: &str = "/api/accounts";

impl Service {
    async fn register(&self, id: &str) {
        let path = format!("{LIST}/{id}");
        let reply = self.ask(Method::PUT, &path, Some(json!({"displayName": id}))).await;
        assert_eq!(reply.0, 201, "{id}");
    }
}

fn ids(rows: &Value) -> Vec<String> {
    let rows = rows.as_array().unwrap();
    rows.iter().map(|it| it["accountId"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_pages_of_a_list_hold_each_account_once_although_others_come_and_go_meanwhile() {
    let service = Service::start().await;
    for number in (1..=9).map(|it| it * 10) {
        service.register(&format!("a{number}")).await;
    }
    let (mut seen, mut query) = (Vec::new(), "?status=Active&limit=4".to_owned());
    for page in 1.. {
        let reply = service.send(Method::GET, &format!("{LIST}{query}"), None).await;
        let link = reply.header("link").map(str::to_owned);
        seen.extend(ids(&reply.json().unwrap()));
        if page == 1 {
            // Before the place where the next page begins, and behind it.
            service.register("a05").await;
            service.register("a45").await;
            let gone = service.send(Method::DELETE, &format!("{LIST}/a40"), None).await;
            assert_eq!(gone.status, 204);
        }
        let Some(link) = link else { break };
        query = link.trim_start_matches('<').split('>').next().unwrap().to_owned();
        assert!(page < 9, "the list has no end: {link}");
    }
    assert_eq!(seen, ["a10", "a20", "a30", "a40", "a45", "a50", "a60", "a70", "a80", "a90"]);
}
