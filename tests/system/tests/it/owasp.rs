//! The public edge against the OWASP API Security Top 10 of 2023: a test for each row, under its name.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::Method;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::{
    http::{Http, Reply},
    listeners::listening,
    people::{KNOWN_WITHIN, order_of},
    program::{System, sample_request},
    wait::until,
};

/// Longest wait for what must come.
const SOON: Duration = Duration::from_secs(60);
/// Every public route about one delivery, with a body that it would take.
fn about(id: &str) -> Vec<(Method, String, String)> {
    let moved = json!({"pickupLocation": "60.17,24.94", "dropOffLocation": "60.18,24.95"});
    let told = json!({"emailAddress": "bob@example.org"});
    let confirmed = json!({"confirmationType": 0, "confirmationBlob": "x"});
    let (get, none) = (Method::GET, String::new);
    vec![
        (get.clone(), format!("/api/deliveryrequests/{id}"), none()),
        (Method::PATCH, format!("/api/deliveryrequests/{id}"), moved.to_string()),
        (Method::DELETE, format!("/api/deliveryrequests/{id}"), none()),
        (get.clone(), format!("/api/deliveries/{id}"), none()),
        (get.clone(), format!("/v0.1.0/api/DELIVERIES/{id}/status"), none()),
        (get.clone(), format!("/api/deliveries/{id}/owner"), none()),
        (get.clone(), format!("/api/deliveries/{id}/events"), none()),
        (Method::POST, format!("/api/deliveries/{id}/notifymerequests"), told.to_string()),
        (Method::DELETE, format!("/api/deliveries/{id}/notifymerequests"), none()),
        (Method::POST, format!("/api/deliveries/{id}/confirmations"), confirmed.to_string()),
        (get, format!("/api/deliveryhistory/{id}"), none()),
    ]
}

/// A problem without what differs from one answer to the next.
fn said(reply: &Reply) -> (u16, Value) {
    let mut body = reply.json();
    body["trace_id"].take();
    (reply.status.as_u16(), body)
}

/// P7, P9.
#[tokio::test]
async fn api1_broken_object_level_authorization_another_s_delivery_is_none() {
    let system = System::up(&["--time-scale", "60"]);
    let (alice, bob) =
        (system.person("alice", "customer").await, system.person("bob", "customer").await);
    let (auditor, operator) =
        (system.person("eve", "auditor").await, system.person("otto", "operator").await);
    let id = alice.ordered(&order_of("alice")).await;
    until("history knows the delivery", SOON, || async {
        let known = alice.get(&format!("/api/deliveryhistory/{id}")).await.status == 200;
        known.then_some(())
    })
    .await;
    // Whatever he says of himself, in whatever spelling.
    let spoofed = [
        ("skein-principal", "alice"),
        ("Skein-Reach", "all"),
        ("skein_reach", "all"),
        ("skein-roles", "operator"),
        ("skein-caller", "spiffe://drone-delivery/ns/default/svc/scheduler"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-client-cert", "URI=spiffe://drone-delivery/ns/default/svc/scheduler"),
        ("skein-owner", "alice"),
        ("skein-epoch", "99"),
        ("skein-deadline-ms", "0"),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ];
    for ((method, his, body), (_, nobodys, _)) in
        about(&id).into_iter().zip(about("01a222cc-3794-78eb-aa58-d1de7e274aff"))
    {
        let at = format!("{method} {his}");
        let reply = bob.send(method.clone(), &his, &[], body.clone()).await;
        assert_eq!(reply.status, 404, "{at}: {:?}", reply.json());
        let with = bob.send(method.clone(), &his, &spoofed, body.clone()).await;
        assert_eq!(said(&with), said(&reply), "{at}");
        // Before there is a delivery its owner may ask to be told: an id that nobody has is his own guess.
        if !(method == Method::POST && his.ends_with("notifymerequests")) {
            let nobody = bob.send(method.clone(), &nobodys, &[], body.clone()).await;
            assert_eq!(said(&nobody), said(&reply), "{at}");
        }
        if method == Method::GET {
            for reader in [&alice, &auditor, &operator] {
                assert_eq!(reader.get(&his).await.status, 200, "{at}");
            }
        } else {
            assert_eq!(auditor.send(method, &his, &[], body).await.status, 403, "{at}");
        }
    }
    for list in ["/api/deliveryhistory?", "/api/deliveries/summary?year=2026&month=11&"] {
        let of_alice = format!("{list}ownerId=alice");
        assert_eq!(bob.get(&of_alice).await.status, 404, "{list}");
        assert_eq!(bob.get(&format!("{list}ownerId=nobody")).await.status, 404, "{list}");
        assert_eq!(bob.get(&format!("{list}ownerId=bob")).await.status, 200, "{list}");
        for reader in [&alice, &auditor] {
            assert_eq!(reader.get(&of_alice).await.status, 200, "{list}");
        }
    }
    // None of it was done.
    let shown = alice.get(&format!("/api/deliveryrequests/{id}")).await.json();
    assert_eq!((&shown["lastOperation"], &shown["operations"]), (&Value::Null, &json!([])));
}

/// What somebody answers to whatever he is asked over HTTP, until it is changed; and where.
fn answering(first: &str) -> (u16, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, said) =
        (listener.local_addr().unwrap().port(), Arc::new(Mutex::new(first.to_owned())));
    let says = Arc::clone(&said);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let body = says.lock().unwrap().clone();
            let mut head = [0; 4_096];
            let _head = stream.read(&mut head);
            let head = format!("content-length: {}\r\nconnection: close", body.len());
            // It may have hung up.
            let _said =
                stream.write_all(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}").as_bytes());
        }
    });
    (port, said)
}

#[tokio::test]
async fn api2_broken_authentication_keys_of_an_issuer_follow_what_it_publishes() {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/data");
    let good = fs::read_to_string(format!("{data}/who.jwks.json")).unwrap();
    let (port, says) = answering(&good);
    let folder = tempfile::tempdir().unwrap();
    let routes = folder.path().join("issuer.yaml");
    let issuer = format!(
        "apiVersion: skein/v1\nkind: EdgeAccess\nmetadata: {{name: who}}\nspec:\n  gateway: edge\n  \
         tokens: [{{issuer: 'https://who.example', audience: drone-delivery, \
         keysUrl: 'http://127.0.0.1:{port}/keys', refresh: 1s}}]\n  rules: []\n"
    );
    fs::write(&routes, issuer).unwrap();
    let system = System::up(&["--routes", routes.to_str().unwrap()]);
    let tokens = fs::read_to_string(format!("{data}/tokens.json")).unwrap();
    let tokens: Value = serde_json::from_str(&tokens).unwrap();
    let token = tokens["good"].as_object().unwrap().values().next().unwrap().as_str().unwrap();
    let bearer = format!("Bearer {token}");
    let answers = async |status: u16| {
        until(format!("the token is answered with {status}"), SOON, || async {
            (system.shows(&bearer).await == status).then_some(())
        })
        .await;
    };
    // Let in, and there is no such request.
    answers(404).await;
    // Another key in the place of all: what they signed is believed no more.
    let x = "A".repeat(43);
    let other = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "other", "x": x}]});
    *says.lock().unwrap() = other.to_string();
    answers(401).await;
    *says.lock().unwrap() = good;
    answers(404).await;
    *says.lock().unwrap() = "{not json".to_owned();
    let gateway = system.role("gateway").remove(0);
    until("the gateway has read it", SOON, || async {
        let labels = ["outcome=\"unreadable\""];
        let count = gateway.metric_of(&system.http, "mesh_signer_looks_total", &labels).await;
        (count > 0.0).then_some(())
    })
    .await;
    assert_eq!(system.shows(&bearer).await, 404, "the last good keys hold");
}

/// P11.
#[tokio::test]
async fn api2_broken_authentication_only_a_good_key_or_token_comes_in() {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/data");
    let folder = tempfile::tempdir().unwrap();
    let (routes, jwks) = (folder.path().join("issuer.yaml"), format!("{data}/who.jwks.json"));
    let issuer = format!(
        "apiVersion: skein/v1\nkind: EdgeAccess\nmetadata: {{name: who}}\nspec:\n  gateway: edge\n  keys: edge/visitors.json\n  \
         tokens: [{{issuer: 'https://who.example', audience: drone-delivery, keys: '{jwks}'}}]\n  rules: []\n"
    );
    fs::write(&routes, issuer).unwrap();
    let system = System::up(&["--routes", routes.to_str().unwrap()]);
    let tokens = fs::read_to_string(format!("{data}/tokens.json")).unwrap();
    let tokens: Value = serde_json::from_str(&tokens).unwrap();
    for (algorithm, token) in tokens["good"].as_object().unwrap() {
        let status = system.shows(&format!("Bearer {}", token.as_str().unwrap())).await;
        assert_eq!(status, 404, "{algorithm}: it is let in, and there is no such request");
    }
    let refused = async |what: &str, authorization: &str| {
        let headers = [("authorization", authorization)];
        let url = system.gateway("/api/deliveryrequests/nobodys");
        let reply = system.http.send(Method::GET, &url, &headers, "").await;
        assert_eq!(reply.status, 401, "{what}");
        assert_eq!(reply.header("www-authenticate"), "Bearer realm=\"edge\"", "{what}");
        said(&reply).1.to_string()
    };
    let mut texts = BTreeSet::new();
    for (attack, token) in tokens["bad"].as_object().unwrap() {
        texts.insert(refused(attack, &format!("Bearer {}", token.as_str().unwrap())).await);
    }
    for (what, authorization) in [
        ("nothing", ""),
        ("a key of another form", "Bearer skein_short"),
        ("a key that was never drawn", "Bearer skein_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
        ("another scheme", "Basic ZGVtbzpkZW1v"),
        ("a long token", &format!("Bearer {}", "a".repeat(30_000))),
    ] {
        texts.insert(refused(what, authorization).await);
    }
    assert_eq!(texts.len(), 1, "one text tells nothing: {texts:?}");
    // What is longer than any head is refused before anybody reads it.
    let long = format!("Bearer {}", "a".repeat(1 << 20));
    let url = system.gateway("/api/deliveryrequests/nobodys");
    let long = system.http.try_send(Method::GET, &url, &[("authorization", &long)], "").await;
    assert!(long.map_or(true, |it| it.status == 431), "1 MB is not read");

    let alice = system.person("alice", "customer").await;
    let revoked = system.command(&["key", "revoke", &alice.id]);
    assert!(revoked.status.success(), "{}", String::from_utf8_lossy(&revoked.stderr));
    until("a key that was taken back is refused", KNOWN_WITHIN, || async {
        (system.shows(&alice.bearer).await == 401).then_some(())
    })
    .await;
    let short = system.command_json(&["key", "create", "alice", "--expires-in", "1ms"]);
    let short = format!("Bearer {}", short["key"].as_str().unwrap());
    until("the gateway has read the file", KNOWN_WITHIN, || async {
        let key = system.role("gateway").remove(0);
        let expired = ["reason=\"expired_key\""];
        system.shows(&short).await;
        let family = "mesh_unauthenticated_requests_total";
        (key.metric_of(&system.http, family, &expired).await >= 1.0).then_some(())
    })
    .await;
    let gateway = system.role("gateway").remove(0);
    let family = "mesh_unauthenticated_requests_total";
    for reason in
        ["algorithm", "audience", "issuer", "expired", "signer", "signature", "unknown_key"]
    {
        let label = format!("reason=\"{reason}\"");
        let counted = gateway.metric_of(&system.http, family, &[&label]).await;
        assert!(counted >= 1.0, "{reason} is not counted");
    }
}

/// P10.
#[tokio::test]
async fn api3_broken_object_property_level_authorization_nobody_sets_what_is_not_his_to_set() {
    let system = System::up(&[]);
    let alice = system.person("alice", "customer").await;
    assert_eq!(alice.order(&order_of("bob")).await.status, 403);
    assert_eq!(alice.order(&order_of("Alice")).await.status, 403);
    let mut request = order_of("alice");
    for (member, value) in [
        ("status", "Completed"),
        ("state", "Completed"),
        ("stage", "Completed"),
        ("droneId", "drone-007"),
        ("owner", "bob"),
        ("accountId", "bob"),
        ("deliveryId", "chosen"),
    ] {
        request[member] = value.into();
    }
    request["packageInfo"]["ownerId"] = "bob".into();
    let reply = alice.order(&request).await;
    assert_eq!(reply.status, 202, "{:?}", reply.json());
    let echo = reply.json();
    let members: BTreeSet<_> = echo.as_object().unwrap().keys().map(String::as_str).collect();
    let sample = sample_request();
    let known: BTreeSet<_> = sample.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, known, "what is not known is neither kept nor shown");
    assert_eq!(echo["packageInfo"]["ownerId"], Value::Null);
    let id = echo["deliveryId"].as_str().unwrap().to_owned();
    assert_ne!(id, "chosen");
    let moved = json!({"pickupLocation": "my pickup", "dropOffLocation": "my dropoff",
        "ownerId": "bob", "status": "Completed", "deliveryId": "other"});
    let path = format!("/api/deliveryrequests/{id}");
    let patched = alice.send(Method::PATCH, &path, &[], moved.to_string()).await;
    assert!([200, 409].contains(&patched.status.as_u16()), "{:?}", patched.json());
    let owner = until("the delivery is there", SOON, || async {
        let reply = alice.get(&format!("/api/deliveries/{id}/owner")).await;
        (reply.status == 200).then(|| reply.json())
    })
    .await;
    assert_eq!(owner["accountId"], "alice", "{owner}");
}

/// P4, P5, P12.
#[tokio::test]
async fn api4_unrestricted_resource_consumption_each_account_has_its_bound() {
    let folder = tempfile::tempdir().unwrap();
    let routes = folder.path().join("limit.yaml");
    let limit = "apiVersion: skein/v1\nkind: RateLimit\nmetadata: {name: tight}\nspec:\n  \
        targetRef: {kind: Gateway, name: edge}\n  requests: 20\n  period: 1h\n  burst: 20\n  \
        key: {header: skein-principal}\n";
    fs::write(&routes, limit).unwrap();
    let system = System::up(&["--routes", routes.to_str().unwrap()]);
    let (alice, bob) =
        (system.person("alice", "customer").await, system.person("bob", "customer").await);
    let mut huge = order_of("alice");
    huge["deadline"] = "x".repeat(2 << 20).into();
    assert_eq!(alice.order(&huge).await.status, 413);
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let deep = alice.send(Method::POST, "/api/deliveryrequests", &[], deep).await;
    assert_eq!(deep.status, 400);
    let listed = alice.get("/api/deliveryhistory?ownerId=alice&limit=99999999").await;
    assert_eq!(listed.status, 200);
    let mut last = alice.get("/api/deliveryrequests/nobodys").await;
    for _ in 0..20 {
        last = alice.get("/api/deliveryrequests/nobodys").await;
    }
    assert_eq!((last.status.as_u16(), &last.json()["code"]), (429, &json!("rate_limited")));
    assert!(!last.header("retry-after").is_empty());
    assert_eq!(bob.get("/api/deliveryrequests/nobodys").await.status, 404, "he has his own");
}

/// P8 at the edge.
#[tokio::test]
async fn api5_broken_function_level_authorization_what_operators_do_is_not_there_for_customers() {
    // A role that opens nothing of what is asked for below.
    let visitors = NamedTempFile::with_suffix(".yaml").unwrap();
    let policy = "apiVersion: skein/v1\nkind: EdgeAccess\nmetadata: {name: visitors}\nspec:\n  gateway: edge\n  keys: edge/visitors.json\n  \
         rules: [{roles: [visitor], routes: [delivery-history], reach: own}]\n";
    fs::write(visitors.path(), policy).unwrap();
    let routes = visitors.path().to_str().unwrap();
    let system = System::up(&["--enable-faults", "--routes", routes]);
    let (alice, auditor) =
        (system.person("alice", "customer").await, system.person("eve", "auditor").await);
    let nobody = system.person("nil", "visitor").await;
    for (method, path) in [
        ("GET", "/admin/faults"),
        ("PUT", "/admin/faults"),
        ("GET", "/metrics"),
        ("GET", "/openapi.json"),
        ("GET", "/api/transactions"),
        ("GET", "/api/failures"),
        ("PUT", "/api/failures/x/action"),
        ("GET", "/api/alerts"),
        ("GET", "/api/accounts"),
        ("PUT", "/api/accounts/bob/status"),
        ("GET", "/api/drones"),
        ("PUT", "/api/dronedeliveries/x"),
        ("PUT", "/api/deliveries/x"),
        ("PATCH", "/api/deliveries/x"),
        ("DELETE", "/api/deliveries/x"),
        ("PUT", "/api/deliveries/x/carrier"),
        ("GET", "/api/deliveries/x/notifications"),
    ] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let reply = alice.send(method.clone(), path, &[], "{}".to_owned()).await;
        assert_eq!(reply.status, 404, "{method} {path}");
    }
    let ordered = auditor.order(&order_of("eve")).await;
    assert_eq!((ordered.status.as_u16(), &ordered.json()["code"]), (403, &json!("forbidden")));
    assert_eq!(nobody.get("/api/deliveryrequests/x").await.status, 403);
}

/// P8 at the ports of operators, which whoever is on the machine reaches.
#[tokio::test]
async fn api5_broken_function_level_authorization_a_change_at_an_operators_port_needs_its_token() {
    let system = System::up(&["--enable-faults"]);
    let stranger = Http::new();
    let discard = "/admin/outbox/discard?sequence=7";
    for process in system.processes() {
        let Some(admin) = process.admin else { continue };
        let at = |path: &str| format!("http://127.0.0.1:{admin}{path}");
        for (method, path) in [
            (Method::POST, discard),
            (Method::POST, "/admin/outbox/release?sequence=7"),
            (Method::PUT, "/admin/faults"),
            (Method::DELETE, "/admin/faults"),
            (Method::PUT, "/faults"),
            (Method::DELETE, "/faults"),
        ] {
            let wrong =
                [("authorization", "Bearer skein_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")];
            for shown in [&[][..], &wrong] {
                let asked = stranger.send(method.clone(), &at(path), shown, "{}").await;
                let at = format!("{}: {method} {path}", process.instance);
                // What a process has no place for is not there either.
                assert!([401, 404].contains(&asked.status.as_u16()), "{at}: {}", asked.status);
            }
        }
        assert_eq!(stranger.get(&at("/metrics")).await.status, 200, "to look is anybody's");
    }
    let delivery = system.role("delivery").remove(0);
    let url = format!("http://127.0.0.1:{}{discard}", delivery.admin.unwrap());
    assert_eq!(stranger.send(Method::POST, &url, &[], "").await.status, 401);
    assert_eq!(system.http.send(Method::POST, &url, &[], "").await.status, 404, "no such message");
    // The program's own commands show it.
    let asked = system.command(&["outbox", "discard", "delivery", "7"]);
    assert_eq!(asked.status.code(), Some(3), "{}", String::from_utf8_lossy(&asked.stderr));
    let planted = system.command(&["fault", "add", "account", "--error", "503"]);
    assert!(planted.status.success(), "{}", String::from_utf8_lossy(&planted.stderr));
    // Who changes something is noted; who was not let in has changed nothing.
    let noted = system.deeds();
    let of = |what: &str| noted.iter().filter(|it| it.0.contains(what)).collect::<Vec<_>>();
    let discards: Vec<_> = of("POST /admin/outbox/discard").iter().map(|it| &*it.1).collect();
    assert_eq!(discards, ["refused: 404", "refused: 404"], "{noted:?}");
    let faults = of("PUT /faults");
    assert!(!faults.is_empty() && faults.iter().all(|it| it.1 == "done"), "{noted:?}");
}

#[tokio::test]
async fn api6_unrestricted_access_to_sensitive_business_flows_one_account_cannot_hold_the_fleet() {
    let bounds = ["ingestion.open_per_owner_max=3", "ingestion.booked_per_owner_max=1"];
    let system = System::up(&["--set", bounds[0], "--set", bounds[1], "--time-scale", "1"]);
    let (alice, bob) =
        (system.person("alice", "customer").await, system.person("bob", "customer").await);
    let in_hours = |hours: u64| {
        let now = runtime::SystemClock::shared().now() + Duration::from_secs(hours * 3_600);
        let mut request = order_of("alice");
        request["pickupTime"] = now.to_rfc3339().into();
        request
    };
    let booked = alice.ordered(&in_hours(5)).await;
    let again = alice.order(&in_hours(6)).await;
    assert_eq!((again.status.as_u16(), &again.json()["code"]), (429, &json!("too_many_booked")));
    assert!(!again.header("retry-after").is_empty());
    for _ in 0..2 {
        alice.ordered(&order_of("alice")).await;
    }
    let fourth = alice.order(&order_of("alice")).await;
    assert_eq!((fourth.status.as_u16(), &fourth.json()["code"]), (429, &json!("too_many_open")));
    bob.ordered(&order_of("bob")).await;
    let path = format!("/api/deliveryrequests/{booked}");
    assert_eq!(alice.send(Method::DELETE, &path, &[], String::new()).await.status, 204);
    until("what was called off makes room", SOON, || async {
        (alice.order(&order_of("alice")).await.status == 202).then_some(())
    })
    .await;
}

/// A listener that nobody should come to; counts who does.
fn trap() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, came) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&came);
    std::thread::spawn(move || {
        for _stream in listener.incoming() {
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    (port, came)
}

#[tokio::test]
async fn api7_server_side_request_forgery_no_address_of_a_client_is_ever_called() {
    let (port, came) = trap();
    let url = format!("http://127.0.0.1:{port}/");
    let system = System::up(&["--time-scale", "600"]);
    let alice = system.person("alice", "customer").await;
    let mut request = order_of("alice");
    for member in ["webhook", "callbackUrl", "url", "deadline"] {
        request[member] = url.as_str().into();
    }
    request["packageInfo"]["tag"] = url.as_str().into();
    let id = alice.ordered(&request).await;
    for address in [&*url, &*format!("x@127.0.0.1:{port}")] {
        let path = format!("/api/deliveries/{id}/notifymerequests");
        for wish in [
            json!({"emailAddress": address}),
            json!({"sms": url}),
            json!({"emailAddress": "alice@example.org", "webhook": url}),
        ] {
            let told = alice.send(Method::POST, &path, &[], wish.to_string()).await;
            let is_taken = wish.get("webhook").is_some();
            assert_eq!(told.status.as_u16(), if is_taken { 204 } else { 400 }, "{wish}");
        }
    }
    // Places are looked up in a list, never at an address.
    let mut placed = order_of("alice");
    placed["pickupLocation"] = url.as_str().into();
    alice.order(&placed).await;
    until("the delivery has ended", SOON, || async {
        let state = alice.get(&format!("/api/deliveryrequests/{id}")).await.json();
        (state["state"] == "Completed").then_some(())
    })
    .await;
    assert_eq!(came.load(Ordering::SeqCst), 0, "somebody called an address of a client");
}

/// P13. Secrets: canaries.rs.
#[tokio::test]
async fn api8_security_misconfiguration_nothing_listens_outside_and_no_other_page_comes_in() {
    let system = System::up(&[]);
    let alice = system.person("alice", "customer").await;
    alice.ordered(&order_of("alice")).await;
    let pids: BTreeSet<i32> = system.processes().iter().map(|it| it.pid).collect();
    let open: BTreeSet<_> = pids.iter().flat_map(|it| listening(*it)).collect();
    assert!(open.len() > pids.len(), "{open:?}");
    let outside: Vec<_> = open.iter().filter(|it| !it.starts_with("0100007F:")).collect();
    assert!(outside.is_empty(), "not on the loopback interface: {outside:?}");
    let foreign = [("origin", "https://evil.example")];
    let reply = alice.send(Method::GET, "/api/deliveryrequests/x", &foreign, String::new()).await;
    assert_eq!(reply.header("access-control-allow-origin"), "");
    let rebound = [("host", "evil.example")];
    let reply = alice.send(Method::GET, "/api/deliveryrequests/x", &rebound, String::new()).await;
    assert_eq!(reply.status, 421);
    // What keys are known by, their owner alone reads.
    use std::os::unix::fs::PermissionsExt as _;
    for file in ["edge/demo.key", "edge/keys.json"] {
        let mode = fs::metadata(system.data().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[tokio::test]
async fn api9_improper_inventory_management_every_public_route_asks_and_nothing_else_is_there() {
    let system = System::up(&[]);
    let operator = system.person("otto", "operator").await;
    let roles = system.roles();
    let routes = roles.iter().flat_map(|it| it["publicRoutes"].as_array().cloned().unwrap());
    let mut asked = 0;
    for route in routes {
        let (method, path) = route.as_str().unwrap().split_once(' ').unwrap();
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        // Any word stands in the place of a name; a token of a link is hexadecimal.
        let path: String = path
            .split('/')
            .map(|it| if it.starts_with('{') { "abc" } else { it })
            .collect::<Vec<_>>()
            .join("/");
        let is_link = path.contains("unsubscribe");
        for version in ["", "/v0.1.0", "/v1", "/v99"] {
            let url = system.gateway(&format!("{version}{path}"));
            let empty = [("authorization", "Bearer none")];
            let reply = system.http.send(method.clone(), &url, &empty, "").await;
            assert_eq!(reply.status == 401, !is_link, "{method} {version}{path}: {}", reply.status);
            asked += 1;
        }
    }
    assert!(asked > 40, "{asked} routes were asked");
    for path in
        ["/", "/v1", "/api", "/api/deliveries", "/v1/v2/api/deliveries/x", "/api/v1/deliveries/x"]
    {
        assert_eq!(operator.get(path).await.status, 404, "{path}");
    }
    let put = operator.send(Method::PUT, "/api/deliveryrequests/x", &[], "{}".to_owned()).await;
    assert_eq!(put.status, 404);
}

#[tokio::test]
async fn api10_unsafe_consumption_of_apis_a_carrier_that_lies_is_neither_followed_nor_believed() {
    let (port, came) = trap();
    let carrier = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = carrier.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in carrier.incoming().flatten() {
            let mut stream = stream;
            let number = count.fetch_add(1, Ordering::SeqCst);
            let mut head = [0; 4_096];
            let _head = stream.read(&mut head);
            let answer = match number % 4 {
                // What is undone there is: nobody waits for a person.
                _ if head.starts_with(b"DELETE") => "204 No Content\r\n\r\n".to_owned(),
                0 => format!(
                    "302 Found\r\nlocation: http://127.0.0.1:{port}/\r\ncontent-length: 0\r\n\r\n"
                ),
                1 => "200 OK\r\ncontent-length: 9\r\n\r\n{\"a\": <b>".to_owned(),
                2 => format!("200 OK\r\ncontent-length: 104857600\r\n\r\n{}", "x".repeat(1 << 16)),
                _ => "nonsense".to_owned(),
            };
            // It may have hung up.
            let _said = stream.write_all(format!("HTTP/1.1 {answer}").as_bytes());
        }
    });
    let company = format!(
        "third_party_transport.carriers=[{{\"name\":\"liar\",\"url\":\"http://{address}\",\"vehicles\":5}}]"
    );
    let within = ["scheduler.complete_by_ms=8000", "--time-scale", "600"];
    let system = System::up(&["--set", &company, "--set", within[0], within[1], within[2]]);
    let mut heavy = sample_request();
    heavy["packageInfo"]["weight"] = 40.into();
    let id = system.accepted(&heavy).await;
    let light = system.accepted(&sample_request()).await;
    system.ends(&light, "Completed", SOON).await;
    let state = until("the heavy one has ended", SOON, || async {
        let state = system.request(&id).await["state"].as_str().unwrap_or_default().to_owned();
        ["Failed", "Parked", "Cancelled"].contains(&&*state).then_some(state)
    })
    .await;
    assert_eq!(state, "Failed", "nobody believed that it was booked");
    assert!(asked.load(Ordering::SeqCst) > 0, "the carrier was asked");
    assert_eq!(came.load(Ordering::SeqCst), 0, "a redirect was followed");
}
