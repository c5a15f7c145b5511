//! Keys of public requests: the same key and body give the first reply, also after a crash.

use std::{future::Future, time::Duration};

use axum::response::Response;
use base::{Code, headers};
use http::{HeaderMap, HeaderValue, StatusCode};
use store::{KeyState, SqlError, Store, StoredReply, WriteError};
use tokio::time::sleep;

use crate::{
    deadline::Deadline,
    problem::Problem,
    reply::{self, respond},
    request::unquoted,
};

/// How long a try may hold a key. A process that died in the middle is followed after this.
const HOLD: Duration = Duration::from_secs(4);
/// How long an answer is kept; from names-and-numbers.
pub(crate) const KEPT_FOR: Duration = Duration::from_secs(86_400);
/// Between two looks at a key that somebody holds.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
const KEY_CHARS_MAX: usize = 200;

/// A request under a key.
#[derive(Debug, Clone)]
pub struct KeyedRequest {
    /// Whose key it is, and for what.
    pub scope: String,
    /// The key.
    pub key: String,
    /// What makes two requests the same.
    pub body_hash: [u8; 32],
    /// Id for what is made, unless an earlier try has one.
    pub candidate_id: String,
}

/// One try of what is asked for under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Try {
    /// Id for what is made: the same in each try of one request.
    pub id: String,
    /// Whether an earlier try had no answer. It may have done everything; what would refuse a new
    /// request, because of what has happened since, must not refuse this one.
    pub is_again: bool,
}

/// Reads `Idempotency-Key`, with or without quotes.
///
/// # Errors
/// 400 when it is empty, too long or not visible text.
pub fn key_of(fields: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = fields.get(headers::IDEMPOTENCY_KEY) else { return Ok(None) };
    let key = value.to_str().ok().map(unquoted);
    let fits = |it: &&str| !it.is_empty() && it.chars().count() <= KEY_CHARS_MAX;
    match key.filter(fits) {
        Some(key) => Ok(Some(key.to_owned())),
        None => {
            Err(Problem::of(Code::InvalidRequest, "an Idempotency-Key has 1 to 200 characters"))
        }
    }
}

/// Does the work once for a key. Those who come with the same key meanwhile wait for its reply; a
/// try that failed or died leaves its id to the next. A conflict that asking again does not change is a
/// reply as well, and stays the first.
///
/// # Errors
/// What the work refuses with; 422 for another body; 409 `in_progress` when the deadline passes.
pub async fn once<W, F>(
    store: &Store,
    request: KeyedRequest,
    deadline: Deadline,
    work: W,
) -> Result<Response, Problem>
where
    W: FnOnce(Try) -> F,
    F: Future<Output = Result<StoredReply, Problem>>,
{
    let (this, hold) = loop {
        let asked = request.clone();
        let reserved = store.write(move |transaction| {
            let KeyedRequest { scope, key, body_hash, candidate_id } = asked;
            transaction.reserve_key(&scope, &key, &body_hash, &candidate_id, HOLD, KEPT_FOR)
        });
        match reserved.await.map_err(unavailable)? {
            KeyState::Reserved { id, hold } => {
                let is_again = id != request.candidate_id;
                break (Try { id, is_again }, hold);
            }
            KeyState::Done(reply) => return Ok(replay(reply)),
            KeyState::OtherBody => {
                let detail = "the key was used with another body";
                return Err(Problem::of(Code::BodyMismatch, detail));
            }
            KeyState::InProgress if deadline.is_expired() => {
                let detail = "a request with this key is being served";
                return Err(Problem::of(Code::InProgress, detail));
            }
            KeyState::InProgress => sleep(LOOK_AGAIN).await,
        }
    };
    let KeyedRequest { scope, key, .. } = request.clone();
    let settle = |kept: StoredReply| async move {
        let settled = store.write(move |it| it.settle_key(&scope, &key, hold, &kept)).await;
        if let Err(error) = settled {
            // It is answered; a repetition does the work again under the same id.
            tracing::warn!(%error, "a reply was not kept under its key");
        }
    };
    match work(this).await {
        Ok(reply) => {
            settle(reply.clone()).await;
            Ok(respond(reply))
        }
        Err(problem) if problem.status == StatusCode::CONFLICT && !problem.retryable => {
            settle(reply::refusal(&problem)).await;
            Err(problem)
        }
        Err(problem) => {
            let KeyedRequest { scope, key, .. } = request;
            let released = store.write(move |it| it.release_key(&scope, &key, hold)).await;
            if let Err(error) = released {
                tracing::debug!(%error, "a key stays held until its hold ends");
            }
            Err(problem)
        }
    }
}

/// The reply that a request under its key was given, where it was given one: for who takes in nothing
/// new at the moment.
///
/// # Errors
/// The database cannot be read.
pub async fn replayed(store: &Store, request: KeyedRequest) -> Result<Option<Response>, Problem> {
    let KeyedRequest { scope, key, body_hash, .. } = request;
    let found = store.read(move |it| it.key_reply(&scope, &key, &body_hash)).await?;
    Ok(found.map(replay))
}

fn replay(reply: StoredReply) -> Response {
    let mut response = respond(reply);
    let name = headers::IDEMPOTENT_REPLAYED;
    response.headers_mut().insert(name, HeaderValue::from_static("true"));
    response
}

fn unavailable(error: WriteError<SqlError>) -> Problem {
    error.map_refused(Problem::from).into()
}
