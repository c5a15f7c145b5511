//! What stock tools make of the system, and what a page of another origin can do to it.

use std::{collections::BTreeSet, path::PathBuf, process::Command};

use http::Method;
use serde_json::Value;

use crate::{
    peers::{fed, not_run, python_with},
    program::{System, sample_request},
};

/// The services that have a document, by their ports above the base.
const SERVICES: std::ops::RangeInclusive<u16> = 101..=109;

async fn document(system: &System, port: u16) -> Value {
    system.http.get(&system.url(port, "/openapi.json")).await.json()
}

/// Every operation of a document with its method and path.
fn operations(document: &Value) -> Vec<(String, &Value)> {
    let paths = document["paths"].as_object().into_iter().flatten();
    let each = paths.flat_map(|(path, item)| {
        let item = item.as_object().into_iter().flatten();
        item.map(move |(method, it)| (format!("{method} {path}"), it))
    });
    each.collect()
}

/// What is missing in one operation.
fn gaps(name: &str, operation: &Value) -> Vec<String> {
    let mut gaps = Vec::new();
    let declared = operation["parameters"].as_array().cloned().unwrap_or_default();
    let named = name.split('/').filter_map(|it| it.strip_prefix('{')?.strip_suffix('}'));
    for parameter in named {
        let is_it = |it: &Value| it["in"] == "path" && it["name"] == parameter;
        if declared.iter().filter(|it| is_it(it)).count() != 1 {
            gaps.push(format!("{name}: {parameter} is not declared once"));
        }
    }
    let responses = operation["responses"].as_object().unwrap();
    for (status, response) in responses {
        if response["description"].as_str().is_none_or(str::is_empty) {
            gaps.push(format!("{name}: {status} has no description"));
        }
        let form = &response["content"]["application/problem+json"]["schema"];
        if status.starts_with(['4', '5']) && !form.is_object() {
            gaps.push(format!("{name}: {status} is no problem"));
        }
    }
    let mut wanted = vec!["400", "500", "503", "504"];
    if operation.get("requestBody").is_some() {
        wanted.extend(["413", "415"]);
    }
    let missing = wanted.into_iter().filter(|it| !responses.contains_key(*it));
    gaps.extend(missing.map(|it| format!("{name}: {it} is not documented")));
    gaps
}

#[tokio::test]
async fn every_document_declares_its_parameters_and_every_answer_of_the_services() {
    let system = System::up(&[]);
    let mut gaps_found = Vec::new();
    let mut documents = 0;
    for port in SERVICES {
        let document = document(&system, port).await;
        assert_eq!(document["openapi"], "3.1.0", "port {port}");
        let all = operations(&document);
        documents += usize::from(!all.is_empty());
        let ids: BTreeSet<_> = all.iter().filter_map(|it| it.1["operationId"].as_str()).collect();
        assert_eq!(ids.len(), all.len(), "port {port}: an id for each operation, each once");
        gaps_found.extend(all.iter().flat_map(|(name, it)| gaps(name, it)));
    }
    assert!(gaps_found.is_empty(), "{}", gaps_found.join("\n"));
    assert_eq!(documents, 9);
}

#[tokio::test]
async fn the_documents_state_the_limits_that_the_services_keep() {
    let system = System::up(&[]);
    let of = async |port| document(&system, port).await;
    let (ingestion, package, delivery) = (of(101).await, of(106).await, of(105).await);
    let schemas = |it: &Value| it["components"]["schemas"].clone();
    assert_eq!(schemas(&ingestion)["Name"]["maxLength"], 200);
    let owner = &schemas(&ingestion)["DeliverySchema"]["properties"]["ownerId"]["$ref"];
    assert_eq!(owner, "#/components/schemas/Name");
    assert_eq!(schemas(&package)["PackageBody"]["properties"]["weight"]["maximum"], 1_000_000);
    let months = &delivery["paths"]["/api/deliveries/summary"]["get"]["parameters"];
    let month = months.as_array().unwrap().iter().find(|it| it["name"] == "month").unwrap();
    assert_eq!((&month["schema"]["minimum"], &month["schema"]["maximum"]), (&1.into(), &12.into()));
    // Beyond what is stated the services refuse.
    let beyond = "/api/deliveries/summary?ownerId=o&year=2026&month=13";
    assert_eq!(system.http.get(&system.url(105, beyond)).await.status, 400);
    let parameters = &ingestion["paths"]["/api/deliveryrequests/{id}"]["delete"]["parameters"];
    let most = usize::try_from(parameters[0]["schema"]["maxLength"].as_u64().unwrap()).unwrap();
    for (length, expected) in [(most, 404), (most + 1, 400)] {
        let url = system.url(101, &format!("/api/deliveryrequests/{}", "x".repeat(length)));
        let reply = system.http.send(Method::DELETE, &url, &[], "").await;
        assert_eq!(reply.status, expected, "an id of {length} characters");
    }
}

/// Runs a Python with this text on its input; what it says when it fails.
fn run(python: &PathBuf, arguments: &[&str], input: &[u8]) -> Result<(), String> {
    let output = fed(Command::new(python).args(arguments), input);
    let said = [output.stdout, output.stderr].concat();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&said).into_owned()) }
}

#[tokio::test]
async fn a_stock_validator_accepts_the_nine_documents() {
    let Some(python) = python_with("openapi_spec_validator") else {
        return not_run("no Python here has openapi-spec-validator");
    };
    let system = System::up(&[]);
    for port in SERVICES {
        let document = document(&system, port).await.to_string();
        let checked = run(&python, &["-m", "openapi_spec_validator", "-"], document.as_bytes());
        assert_eq!(checked, Ok(()), "port {port}");
    }
}

/// What Schemathesis looks at in each answer. Not among it: whether every request that no document
/// describes is refused; spellings of the original are taken and not advertised.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance,unsupported_method";

#[tokio::test]
async fn schemathesis_finds_no_server_error_and_no_answer_that_a_document_does_not_describe() {
    let Some(python) = python_with("schemathesis") else {
        return not_run("no Python here has schemathesis");
    };
    // It has no certificate, and asks each service at its own port.
    let system = System::up(&["--tls", "off"]);
    for port in SERVICES {
        let url = system.url(port, "/openapi.json");
        // A stream has no end to wait for.
        let cut = ["--exclude-path-regex", "/stream$", "--phases", "coverage,fuzzing"];
        let same = ["--seed", "1", "--max-examples", "10", "--suppress-health-check", "all"];
        let first = ["-m", "schemathesis.cli", "run", &url, "--checks", CHECKS];
        let checked = run(&python, &[&first[..], &cut, &same].concat(), b"");
        assert_eq!(checked, Ok(()), "port {port}");
    }
}

/// Reads metrics and fails when a family stands there twice, has no samples' type, or when no
/// counter is typed as one.
const READ_METRICS: &str = r#"
import sys
from prometheus_client.parser import text_string_to_metric_families as old
from prometheus_client.openmetrics.parser import text_string_to_metric_families as new
families = list((old if sys.argv[1] == "old" else new)(sys.stdin.read()))
names = [family.name for family in families]
twice = sorted({name for name in names if names.count(name) > 1})
untyped = [family.name for family in families if family.type in ("unknown", "untyped")]
counters = [family for family in families if family.type == "counter"]
totals = [family.name for family in families for sample in family.samples
          if sample.name.endswith("_total") and family.type != "counter"]
if twice or untyped or totals or not counters:
    sys.exit(f"twice {twice}, untyped {untyped}, not counters {totals}, {len(counters)} counters")
"#;

#[tokio::test]
async fn stock_readers_find_each_family_of_metrics_once_and_typed_in_both_texts() {
    let Some(python) = python_with("prometheus_client") else {
        return not_run("no Python here has prometheus-client");
    };
    let system = System::up(&[]);
    let forms = [
        ("old", None),
        ("old", Some("text/plain;version=0.0.4")),
        ("new", Some("application/openmetrics-text;version=1.0.0")),
    ];
    for port in SERVICES {
        for (form, accept) in forms {
            let url = system.url(port, "/metrics");
            let fields: Vec<_> = accept.iter().map(|it| ("accept", *it)).collect();
            let text = system.http.send(Method::GET, &url, &fields, "").await.body;
            let read = run(&python, &["-c", READ_METRICS, form], &text);
            assert_eq!(read, Ok(()), "port {port}, {accept:?}");
        }
    }
}

#[tokio::test]
async fn a_page_of_another_origin_cannot_order_with_what_a_browser_sends_unasked() {
    let system = System::up(&[]);
    let order = sample_request().to_string();
    let urls = [system.gateway("/api/deliveryrequests"), system.url(101, "/api/deliveryrequests")];
    for url in &urls {
        for form in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""] {
            let mut fields = vec![("origin", "http://evil.example")];
            // A page that sends a blob of no type names no form at all.
            if !form.is_empty() {
                fields.push(("content-type", form));
            }
            let refused = system.http.send(Method::POST, url, &fields, order.clone()).await;
            assert_eq!(refused.status, 415, "{url} {form:?}");
            assert_eq!(refused.json()["code"], "unsupported_media_type", "{url} {form:?}");
        }
        let fields = [("content-type", "application/json; charset=utf-8")];
        let taken = system.http.send(Method::POST, url, &fields, order.clone()).await;
        assert_eq!(taken.status, 202, "{url}");
    }
}
