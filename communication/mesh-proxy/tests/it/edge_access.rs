//! Who may come in at an edge, and what those behind it hear of him.

use std::sync::Arc;

use base::{ManualClock, Timestamp};
use callers::{Callers, Grant, KeyFile};
use mesh_policy::{
    Policy,
    edge_access::{EdgeAccess, Reach, Rule},
    rate::{RateKey, RateLimit},
};
use mesh_proxy::Limits;
use telemetry::Telemetry;

use super::stage::{Answer, Backend, EDGE, Placement, Plan, Stage, ok};

fn rule(roles: &[&str], methods: &[&str], reach: Reach) -> Rule {
    let texts = |all: &[&str]| all.iter().map(|it| (*it).to_owned()).collect();
    Rule {
        roles: texts(roles),
        routes: vec!["shop/stock".to_owned()],
        methods: texts(methods),
        reach,
    }
}

fn access(anonymous: &[&str]) -> EdgeAccess {
    EdgeAccess {
        name: "front".to_owned(),
        gateway: EDGE.to_owned(),
        keys: Some("keys.json".into()),
        tokens: Vec::new(),
        anonymous: anonymous.iter().map(|it| (*it).to_owned()).collect(),
        rules: vec![rule(&["customer"], &[], Reach::Own), rule(&["auditor"], &["GET"], Reach::All)],
    }
}

fn start(policy: Policy) -> Stage {
    Stage::observed(Telemetry::disabled(), Placement::Edge, policy, Limits::default())
}

/// A stage before this backend, and a key for each of these roles; none where it is empty.
fn asking(backend: &Backend, roles: &[&str]) -> (Stage, Vec<String>) {
    let policy = Policy { edge_access: vec![access(&[])], ..Plan::to(&[backend]).policy() };
    let (stage, mut file) = (start(policy), KeyFile::default());
    let keys = roles.iter().map(|role| {
        let roles = role.split(' ').filter_map(|it| it.parse().ok()).collect();
        let grant = Grant { principal: "alice".parse().expect("a name"), roles, expires_at: None };
        let drawn = file.create(grant, Timestamp::from_millis(0)).expect("room");
        format!("Bearer {}", drawn.key.reveal())
    });
    let keys = keys.collect();
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1)));
    stage.mesh.recognize(Callers::new([&file], Vec::new()), clock);
    (stage, keys)
}

async fn ask(stage: &Stage, method: &str, key: &str) -> Answer {
    stage.call(method, "/", &[("Authorization", key)], "").await
}

#[tokio::test]
async fn who_shows_no_good_credential_is_told_one_thing_and_goes_no_further() {
    let backend = Backend::new(|_, _| ok()).await;
    let (stage, keys) = asking(&backend, &["customer"]);
    let other = callers::ApiKey::draw().unwrap();
    let mut texts = std::collections::BTreeSet::new();
    // But for the id by which the log has it, which is drawn.
    let told = |answer: &Answer| {
        let mut told: serde_json::Value = serde_json::from_str(answer.text()).unwrap();
        assert!(told["trace_id"].take().is_string(), "{told}");
        told.to_string()
    };
    for wrong in
        [other.reveal(), "Basic x", &format!("Bearer {}", other.reveal()), "Bearer a.b.c", ""]
    {
        let answer = ask(&stage, "GET", wrong).await;
        assert_eq!((answer.status, answer.code()), (401, Some("unauthenticated")), "{wrong}");
        assert_eq!(answer.field("www-authenticate"), Some("Bearer realm=\"public\""));
        texts.insert(told(&answer));
    }
    texts.insert(told(&stage.get("/").await));
    let twice = [("Authorization", &*keys[0]), ("authorization", &*keys[0])];
    texts.insert(told(&stage.call("GET", "/", &twice, "").await));
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert_eq!(backend.hits(), 0);
    let counted = |reason| {
        stage.count("mesh_unauthenticated_requests_total", &[("edge", EDGE), ("reason", reason)])
    };
    assert_eq!((counted("missing"), counted("unknown_key"), counted("malformed")), (1, 1, 5));
}

#[tokio::test]
async fn those_behind_hear_who_asks_and_how_far_he_reaches_and_never_by_what_he_showed_it() {
    let backend = Backend::new(|_, _| ok()).await;
    let (stage, keys) = asking(&backend, &["customer", "auditor customer"]);
    for (key, roles, reach) in [(0, "customer", "own"), (1, "auditor,customer", "all")] {
        // What a client says of itself counts for nothing.
        let fields = [
            ("Authorization", &*keys[key]),
            ("Skein-Principal", "bob"),
            ("skein_principal", "bob"),
            ("SKEIN-ROLES", "operator"),
            ("Skein-Reach", "all"),
            ("Skein-Caller", "spiffe://m/ns/a/svc/b"),
        ];
        assert_eq!(stage.call("GET", "/", &fields, "").await.status, 200);
        let seen = backend.last();
        let ours: Vec<_> = seen.fields.iter().filter(|it| it.0.contains("skein")).collect();
        let said = |name| seen.field(name).unwrap();
        assert_eq!((said("skein-principal"), said("skein-roles")), ("alice", roles));
        assert_eq!((said("skein-reach"), seen.field("authorization")), (reach, None));
        let told = ours.iter().filter(|it| it.0 != "skein-deadline-ms" && it.0 != "skein-attempt");
        assert_eq!(told.count(), 3, "{ours:?}");
    }
}

#[tokio::test]
async fn what_no_role_of_his_allows_is_403() {
    let backend = Backend::new(|_, _| ok()).await;
    let (stage, keys) = asking(&backend, &["auditor", "", "cashier"]);
    assert_eq!(ask(&stage, "GET", &keys[0]).await.status, 200);
    for (method, key) in [("DELETE", 0), ("GET", 1), ("GET", 2)] {
        let answer = ask(&stage, method, &keys[key]).await;
        assert_eq!((answer.status, answer.code()), (403, Some("forbidden")), "{method} {key}");
    }
    assert_eq!(backend.hits(), 1);
}

#[tokio::test]
async fn an_edge_knows_nobody_before_it_is_told_and_asks_nobody_where_no_policy_speaks() {
    let backend = Backend::new(|_, _| ok()).await;
    let plan = Plan::to(&[&backend]);
    let key = format!("Bearer {}", callers::ApiKey::draw().unwrap().reveal());
    let closed = start(Policy { edge_access: vec![access(&[])], ..plan.policy() });
    assert_eq!(ask(&closed, "GET", &key).await.status, 401);
    let open = start(plan.policy());
    assert_eq!(open.get("/").await.status, 200);
    let said = |seen: &super::stage::Seen| {
        ["skein-principal", "skein-reach"].map(|it| seen.field(it).unwrap_or("-").to_owned())
    };
    assert_eq!(said(&backend.last()), ["-", "all"]);
    let public = start(Policy { edge_access: vec![access(&["shop/stock"])], ..plan.policy() });
    assert_eq!(ask(&public, "GET", &key).await.status, 200);
    assert_eq!(said(&backend.last()), ["-", "nothing"]);
    assert_eq!(backend.last().field("authorization"), None);
}

/// A limit of two at a time at the edge for each principal with one of these roles.
fn two_at_a_time(name: &str, roles: &[&str]) -> RateLimit {
    RateLimit {
        name: name.to_owned(),
        gateway: Some(EDGE.to_owned()),
        route: None,
        service: None,
        roles: roles.iter().map(|it| (*it).to_owned()).collect(),
        requests: 1,
        period: std::time::Duration::from_secs(3_600),
        burst: 2,
        key: RateKey::Header("skein-principal".to_owned()),
    }
}

/// A stage with these limits, and keys of principals with a role.
fn limited(
    backend: &Backend,
    rate_limits: Vec<RateLimit>,
    keys: &[(&str, &str)],
) -> (Stage, Vec<String>) {
    let (stage, _) = asking(backend, &[]);
    let policy = Policy { rate_limits, ..stage.mesh.policy() };
    stage.mesh.replace(policy).expect("limits can be compiled");
    let mut file = KeyFile::default();
    let mut bearer = |(name, role): &(&str, &str)| {
        let roles = vec![role.parse().expect("a role")];
        let principal = name.parse().expect("a name");
        let grant = Grant { principal, roles, expires_at: None };
        let key = file.create(grant, Timestamp::from_millis(0)).expect("room").key;
        format!("Bearer {}", key.reveal())
    };
    let keys = keys.iter().map(&mut bearer).collect();
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1)));
    stage.mesh.recognize(Callers::new([&file], Vec::new()), clock);
    (stage, keys)
}

#[tokio::test]
async fn each_principal_has_a_limit_of_his_own() {
    let backend = Backend::new(|_, _| ok()).await;
    let ann = ("ann", "customer");
    let (stage, keys) =
        limited(&backend, vec![two_at_a_time("each", &[])], &[ann, ann, ("ben", "customer")]);
    // A key that is not good any more is nobody's, and counts for nobody.
    assert_eq!(ask(&stage, "GET", "Bearer none").await.status, 401);
    let mut statuses = Vec::new();
    for key in [0, 1, 0, 1, 2] {
        statuses.push(ask(&stage, "GET", &keys[key]).await.status);
    }
    assert_eq!(statuses, [200, 200, 429, 429, 200]);
}

#[tokio::test]
async fn a_limit_for_a_role_binds_who_has_it_and_says_when_to_come_again() {
    let backend = Backend::new(|_, _| ok()).await;
    let people = [("ann", "customer"), ("ben", "customer"), ("otto", "auditor")];
    let limits = vec![two_at_a_time("customers", &["customer"])];
    let (stage, keys) = limited(&backend, limits, &people);
    for key in &keys {
        let mut refused = None;
        for _ in 0..4 {
            // What a client says of his roles is taken off before.
            let fields = [("Authorization", key.as_str()), ("Skein-Roles", "auditor")];
            let answer = stage.call("GET", "/", &fields, "").await;
            refused = (answer.status == 429).then_some(answer).or(refused);
        }
        let Some(refused) = refused else {
            assert_eq!(key, &keys[2], "a customer has a limit");
            continue;
        };
        assert_ne!(key, &keys[2], "an auditor has none");
        let wait: u64 = refused.field("retry-after").unwrap().parse().unwrap();
        assert!((1..=3_600).contains(&wait), "{wait}");
    }
    assert_eq!(backend.hits(), 2 + 2 + 4);
}
