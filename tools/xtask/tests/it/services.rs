//! Invariant 2: services contain no retry loop, breaker, balancer or TLS. And what keeps their
//! contexts apart: they never import each other, a context's events are read by those alone who
//! translate them, and a record is read under its type.

use serde_json::Value;

use crate::{
    floors::metadata,
    tree::{files, text},
};

/// Words that waiting and trying again cannot be written without.
const PATIENCE: [&str; 13] = [
    "Backoff",
    "backoff",
    "retry",
    "retries",
    "sleep",
    "sleep_until",
    "interval",
    "interval_at",
    "Breaker",
    "breaker",
    "Balancer",
    "balancer",
    "circuit",
];

/// Loops that wait, and why none of them repeats a call. What forgets old rows waits in the kit.
const WAITING: [(&str, &str); 9] = [
    ("delivery-service/src/positions.rs", "writes the newest positions down, twice a second"),
    ("delivery-service/src/watch.rs", "looks for deliveries that have stopped"),
    ("drone-service/src/flights.rs", "a drone reaches its next phase when its time has come"),
    ("drone-service/src/positions.rs", "the pace of the positions"),
    ("ingestion-service/src/backlog.rs", "looks how far the Scheduler is"),
    ("ingestion-service/src/disk.rs", "looks how full the disk is"),
    ("ingestion-service/src/watch.rs", "looks for requests that are not begun"),
    ("third-party-transport-service/src/outside/watch.rs", "asks a company how its tours go"),
    ("third-party-transport-service/src/tours.rs", "a carrier reaches its next phase in time"),
];

/// What crates are called that bring connections of their own kind, or patience.
const FOREIGN: [&str; 6] = ["tls", "openssl", "backoff", "retry", "breaker", "tower-http"];

/// Modules of the contracts that are translated, and who may read each.
const TRANSLATED: [(&str, &[&str]); 2] = [
    (
        "drone_management",
        &[
            "drone-delivery/contracts/",
            "drone-delivery/drone-service/",
            "drone-delivery/delivery-service/src/translation.rs",
            // It shows drones, which is no business of Shipping's.
            "apps/dashboard/",
        ],
    ),
    (
        "third_party_transport::",
        &[
            "drone-delivery/contracts/",
            "drone-delivery/third-party-transport-service/",
            "drone-delivery/delivery-service/src/translation.rs",
            // It shows vehicles, likewise.
            "apps/dashboard/",
        ],
    ),
];

/// The original's requests have no type of ours, and spellings that only their reader knows.
const READS_BY_ITSELF: &str = "scheduler-service/src/intake.rs";

/// Whether a file is a source, and not of tests alone.
fn is_production(path: &str) -> bool {
    path.contains("/src/") && path.ends_with(".rs") && !path.ends_with("tests.rs")
}

/// Sources of the services, without their tests.
fn sources() -> Vec<(String, String)> {
    let found = files("drone-delivery").into_iter().filter(|it| is_production(it));
    let found = found.filter(|it| it.contains("-service/src/"));
    found.map(|it| (text(&it).unwrap(), it)).map(|(text, it)| (it, production(&text))).collect()
}

/// A source up to its tests.
fn production(text: &str) -> String {
    text.split("\n#[cfg(test)]\n").next().unwrap_or_default().to_owned()
}

/// The words of a line of code: neither of a comment nor of a text.
fn words(line: &str) -> Vec<&str> {
    let code = line.split("//").next().unwrap_or_default();
    let is_word = |it: char| it.is_alphanumeric() || it == '_';
    code.split('"').step_by(2).flat_map(|it| it.split(|it| !is_word(it))).collect()
}

/// The lines that wait, or try again.
fn patient_lines(source: &str) -> Vec<&str> {
    let is_patient = |line: &&str| words(line).iter().any(|it| PATIENCE.contains(it));
    source.lines().filter(is_patient).collect()
}

#[test]
fn no_service_tries_again_by_itself() {
    for (path, source) in sources() {
        let allowed = WAITING.iter().any(|(file, _)| path.ends_with(file));
        let found = patient_lines(&source);
        assert!(allowed || found.is_empty(), "{path} waits or tries again: {found:?}");
        assert!(!allowed || !found.is_empty(), "{path} does not wait: strike it from the list");
    }
}

#[test]
fn a_loop_that_tries_again_is_found() {
    for planted in [
        "while call().await.is_err() { sleep(SECOND).await }",
        "let backoff = Backoff { initial, factor: 2, cap };",
        "let mut ticks = tokio::time::interval(SECOND);",
        "    retry(3, || client.call(call.clone())).await",
    ] {
        assert_eq!(patient_lines(planted), [planted]);
    }
    for harmless in [
        "// a retry is the saga's business",
        r#"members.fault("action", "retry, compensate or resolve is expected");"#,
        "Problem::conflict(text).retryable(retry_after)",
    ] {
        assert_eq!(patient_lines(harmless), [""; 0]);
    }
    let tests = "fn a() {}\n\n#[cfg(test)]\nmod tests {\n    sleep(SECOND).await;\n}\n";
    assert_eq!(patient_lines(&production(tests)), [""; 0]);
}

fn is_service(name: &str) -> bool {
    name.ends_with("-service")
}

/// Dependencies that no service may have, as `(service, dependency)`.
fn forbidden_dependencies(metadata: &Value) -> Vec<(String, String)> {
    let packages = metadata["packages"].as_array().unwrap().iter();
    let text = |it: &Value| it["name"].as_str().unwrap().to_owned();
    let services = packages.filter(|it| is_service(&text(it)));
    services
        .flat_map(|service| {
            let dependencies = service["dependencies"].as_array().unwrap().iter().map(text);
            let is_forbidden =
                |it: &String| is_service(it) || FOREIGN.iter().any(|part| it.contains(part));
            dependencies.filter(is_forbidden).map(move |it| (text(service), it))
        })
        .collect()
}

#[test]
fn no_service_imports_another_or_brings_its_own_connections() {
    let metadata = metadata();
    let names = metadata["packages"].as_array().unwrap().iter();
    let services = names.filter(|it| is_service(it["name"].as_str().unwrap())).count();
    let is_service = |it: &String| it.ends_with("-service/Cargo.toml");
    let folders = files("drone-delivery").into_iter().filter(is_service).count();
    assert!(folders > 0);
    assert_eq!(services, folders, "each of them is looked at");
    assert_eq!(forbidden_dependencies(&metadata), []);
}

#[test]
fn a_forbidden_dependency_is_found() {
    let planted = serde_json::json!({"packages": [
        {"name": "a-service", "dependencies": [{"name": "b-service"}, {"name": "serde"}]},
        {"name": "b-service", "dependencies": [{"name": "tokio-rustls"}, {"name": "service-kit"}]},
        {"name": "skein", "dependencies": [{"name": "a-service"}]},
    ]});
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    let expected = [pair("a-service", "b-service"), pair("b-service", "tokio-rustls")];
    assert_eq!(forbidden_dependencies(&planted), expected);
}

/// The module of a foreign context that a file reads though it may not.
fn foreign_context(path: &str, source: &str) -> Option<&'static str> {
    let may = |readers: &[&str]| readers.iter().any(|it| path.starts_with(it));
    let reads =
        |module: &str| source.lines().any(|it| !it.trim().starts_with("//") && it.contains(module));
    let found = TRANSLATED.iter().find(|(module, readers)| !may(readers) && reads(module));
    found.map(|(module, _)| *module)
}

#[test]
fn only_the_translation_reads_the_contexts_of_drones_and_carriers() {
    for path in
        ["drone-delivery", "apps"].into_iter().flat_map(files).filter(|it| is_production(it))
    {
        let found = foreign_context(&path, &production(&text(&path).unwrap()));
        assert_eq!(found, None, "{path}");
    }
}

#[test]
fn a_reader_of_a_foreign_context_is_found() {
    let planted = "use contracts::{Location, drone_management::DronePhase};";
    let domain = "drone-delivery/delivery-service/src/domain.rs";
    assert_eq!(foreign_context(domain, planted), Some("drone_management"));
    let translation = "drone-delivery/delivery-service/src/translation.rs";
    assert_eq!(foreign_context(translation, planted), None);
    let carriers = "use contracts::third_party_transport::CarrierPhase;";
    assert_eq!(foreign_context(domain, carriers), Some("third_party_transport::"));
    let own = "use third_party_transport_service::run;";
    assert_eq!(foreign_context("apps/drone-delivery/src/role.rs", own), None);
}

/// Lines that read a record's body without a look at its type.
fn untyped_reads(source: &str) -> Vec<&str> {
    source.lines().filter(|it| it.contains("from_slice(") && it.contains("message.body")).collect()
}

#[test]
fn every_record_is_read_under_its_type() {
    for (path, source) in sources() {
        let found = untyped_reads(&source);
        assert!(
            path.ends_with(READS_BY_ITSELF) || found.is_empty(),
            "{path} does not read through `contracts::event::read`: {found:?}"
        );
    }
    let planted = "let event: DeliveryEvent = serde_json::from_slice(&delivered.message.body)";
    assert_eq!(untyped_reads(planted), [planted]);
}
