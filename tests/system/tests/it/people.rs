//! People outside: each with a key of his own.

use std::time::Duration;

use http::Method;
use serde_json::Value;

use crate::{
    http::Reply,
    program::{System, sample_request},
    wait::until,
};

/// A key that was just drawn or taken back is known for what it is within this; 5 s is promised.
pub(crate) const KNOWN_WITHIN: Duration = Duration::from_secs(5);

/// Somebody with a key.
pub(crate) struct Person<'s> {
    pub(crate) system: &'s System,
    pub(crate) bearer: String,
    pub(crate) id: String,
}

impl System {
    /// Somebody with a new key of these roles, once the gateway knows it.
    pub(crate) async fn person(&self, name: &str, role: &str) -> Person<'_> {
        let drawn = self.command_json(&["key", "create", name, "--role", role]);
        let text = |it: &Value| it.as_str().unwrap().to_owned();
        let (bearer, id) = (format!("Bearer {}", text(&drawn["key"])), text(&drawn["id"]));
        let person = Person { system: self, bearer, id };
        until(format!("{name} is known"), KNOWN_WITHIN, || async {
            let reply = person.get("/api/deliveryrequests/nobodys").await;
            (reply.status != 401).then_some(())
        })
        .await;
        person
    }

    pub(crate) async fn shows(&self, authorization: &str) -> u16 {
        let headers = [("authorization", authorization)];
        let url = self.gateway("/api/deliveryrequests/nobodys");
        self.http.send(Method::GET, &url, &headers, "").await.status.as_u16()
    }
}

impl Person<'_> {
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        more: &[(&str, &str)],
        body: String,
    ) -> Reply {
        let own = [("authorization", &*self.bearer), ("content-type", "application/json")];
        self.system
            .http
            .send(method, &self.system.gateway(path), &[&own, more].concat(), body)
            .await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, &[], String::new()).await
    }

    pub(crate) async fn order(&self, request: &Value) -> Reply {
        self.send(Method::POST, "/api/deliveryrequests", &[], request.to_string()).await
    }

    /// An accepted order; gives the delivery's id.
    pub(crate) async fn ordered(&self, request: &Value) -> String {
        let reply = self.order(request).await;
        assert_eq!(reply.status, 202, "{:?}", reply.json());
        reply.json()["deliveryId"].as_str().unwrap().to_owned()
    }
}

/// The sample order, for this account.
pub(crate) fn order_of(owner: &str) -> Value {
    let mut request = sample_request();
    request["ownerId"] = owner.into();
    request
}
