//! Topics, groups and dead letters for the page, and the one thing that it does about them.

use std::time::Duration;

use axum::{
    Json,
    extract::{Path, State},
    http::Method,
};
use base::Code;
use messaging::{AdminError, LetterQuery, RedriveError};
use serde::Deserialize;
use serde_json::{Value, json};
use service_kit::{Change, JsonBody, MutatingRoute, Problem, Repetition, Sample, SampleCall};

use super::Shared;
use crate::queues::Report;

const REDRIVE: &str = "/api/queues/letters/{topic}/redrive";

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
    body: JsonBody,
) -> Result<Json<Value>, Problem> {
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
