//! Topics, groups and dead letters for the page, and the one thing that it does about them.

use std::time::Duration;

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, HeaderName, Method, StatusCode, Uri, header},
};
use base::Code;
use messaging::{AdminError, LetterQuery, RedriveError};
use serde::Deserialize;
use serde_json::{Value, json};
use service_kit::{Change, JsonBody, MutatingRoute, Problem, Repetition, Sample, SampleCall};

use super::Shared;
use crate::queues::Report;

const REDRIVE: &str = "/api/queues/letters/{topic}/redrive";
/// Which page a request comes from, in a browser's own words.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

pub(crate) async fn report(State(shared): State<Shared>) -> Result<Json<Report>, Problem> {
    shared.queues.report().await.map(Json).map_err(|it| refused(&it))
}

/// Which letters are meant: those that everything given applies to.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Which {
    key: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    class: Option<String>,
    reason: Option<String>,
}

/// Sends letters back to where they came from. Again is no harm: each has its own id still.
pub(crate) async fn redrive(
    State(shared): State<Shared>,
    Path(topic): Path<String>,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Json<Value>, Problem> {
    of_own_page(&headers)?;
    let which: Which = serde_json::from_value(body.parse()?)
        .map_err(|it| Problem::of(Code::InvalidRequest, it.to_string()))?;
    let Which { key, kind, class, reason } = which;
    let query = LetterQuery { key, kind, class, reason };
    let sent = shared.queues.messaging().redrive(&topic, &query, Duration::ZERO).await;
    let sent = sent.map_err(|error| match error {
        RedriveError::Ask(error) => refused(&error),
        error @ RedriveError::Publish { .. } => {
            Problem::of(Code::LogUnavailable, error.to_string())
        }
    })?;
    Ok(Json(json!({"topic": topic, "redriven": sent})))
}

fn refused(error: &AdminError) -> Problem {
    match error {
        AdminError::UnknownTopic { .. } => Problem::not_found(error.to_string()),
        _ => Problem::of(Code::LogUnavailable, error.to_string()),
    }
}

/// Refuses what a page of somebody else asks in a browser on this machine: the door is open to
/// everybody on loopback, and to nobody beyond.
fn of_own_page(headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name: &HeaderName| headers.get(name).and_then(|it| it.to_str().ok());
    let is_own = match (text(&FETCH_SITE), text(&header::ORIGIN)) {
        (Some(site), _) if site != "same-origin" => false,
        (_, Some(origin)) => text(&header::HOST).is_some_and(|host| {
            // A name of somebody else may lead here too.
            origin.strip_prefix("http://") == Some(host) && is_loopback(host)
        }),
        // No browser.
        (_, None) => true,
    };
    if is_own {
        return Ok(());
    }
    Err(Problem::refusal(StatusCode::FORBIDDEN, "foreign_page", "another page asks for this"))
}

fn is_loopback(host: &str) -> bool {
    let authority = format!("http://{host}/").parse::<Uri>().ok();
    let name = authority.as_ref().and_then(Uri::host).unwrap_or_default();
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || address.parse::<std::net::IpAddr>().is_ok_and(|it| it.is_loopback())
}

pub(crate) fn row() -> MutatingRoute {
    MutatingRoute {
        change: Change::Post,
        path: REDRIVE,
        repetition: Repetition::ProvenBy(
            "letters_go_back_from_the_page_and_again_under_their_own_ids",
        ),
        sample: |n| Sample {
            before: Vec::new(),
            call: SampleCall::new(
                Method::POST,
                REDRIVE.replace("{topic}", &format!("sample-{n}.dead")),
                Some(json!({})),
            ),
            other_body: None,
            undo: None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(headers: &[(HeaderName, &str)], is_let_in: bool) {
        let headers: HeaderMap =
            headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        assert_eq!(of_own_page(&headers).is_ok(), is_let_in, "{headers:?}");
    }

    #[test]
    fn only_the_own_page_may_ask_in_a_browser() {
        let from = |site, origin, host| {
            [(FETCH_SITE, site), (header::ORIGIN, origin), (header::HOST, host)]
        };
        check(&[], true);
        check(&from("same-origin", "http://127.0.0.1:7000", "127.0.0.1:7000"), true);
        check(&from("same-origin", "http://localhost:7000", "localhost:7000"), true);
        check(&from("same-origin", "http://[::1]:7000", "[::1]:7000"), true);
        check(&from("cross-site", "http://evil.example", "127.0.0.1:7000"), false);
        check(&from("same-site", "http://localhost:8000", "localhost:7000"), false);
        check(&[(FETCH_SITE, "none")], false);
        // A name of the page's own that leads to this machine.
        check(&from("same-origin", "http://evil.example:7000", "evil.example:7000"), false);
        check(
            &[(header::ORIGIN, "http://localhost:7001"), (header::HOST, "localhost:7000")],
            false,
        );
        check(&[(header::ORIGIN, "null"), (header::HOST, "localhost:7000")], false);
    }

    #[test]
    fn what_the_page_works_out_by_itself_is_right() {
        let assets = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/assets")).unwrap();
        let scripts: Vec<_> = assets
            .map(|it| it.unwrap().path())
            .filter(|it| it.to_str().is_some_and(|it| it.ends_with(".test.js")))
            .collect();
        assert!(!scripts.is_empty());
        let ran = std::process::Command::new("node").arg("--test").args(scripts).output();
        let Ok(ran) = ran else {
            assert!(std::env::var_os("CI").is_none(), "not run in CI: there is no node");
            println!("not run: there is no node");
            return;
        };
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
    }
}
