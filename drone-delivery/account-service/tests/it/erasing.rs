//! Somebody who wants to be forgotten.

use http::Method;
use serde_json::json;

use crate::fixture::Service;

#[tokio::test]
async fn an_erased_account_has_no_address_and_nobody_ships_under_it_until_it_is_registered_anew() {
    let service = Service::start().await;
    let account =
        json!({"displayName": "Ann", "emailAddress": "ann@example.org", "sms": "+358 40"});
    let path = "/api/accounts/ann";
    let get = async |path: &str| service.ask(Method::GET, path, None).await;
    assert_eq!(service.ask(Method::DELETE, path, None).await.0, 404, "nobody was erased");
    assert_eq!(service.ask(Method::PUT, path, Some(account.clone())).await.0, 201);
    assert_eq!(get("/api/account/ann").await, (200, json!(true)));
    for _ in 0..2 {
        assert_eq!(service.ask(Method::DELETE, path, None).await.0, 204);
        assert_eq!(get(path).await.0, 404);
        assert_eq!(get("/api/account/ann").await.0, 404, "it is not made up again");
        assert!(!get("/api/accounts").await.1.to_string().contains("ann"));
    }
    let status = json!({"status": "Active"});
    assert_eq!(service.ask(Method::PUT, "/api/accounts/ann/status", Some(status)).await.0, 404);
    assert_eq!(service.ask(Method::PUT, path, Some(json!({"displayName": "Ann"}))).await.0, 201);
    let (_, found) = get(path).await;
    assert_eq!((&found["emailAddress"], &found["sms"]), (&json!(""), &json!("")), "{found}");
    assert_eq!(get("/api/account/ann").await, (200, json!(true)));
}
