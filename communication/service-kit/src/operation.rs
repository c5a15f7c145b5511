//! The participant kit: a call that carries a saga's operation key takes effect once.
//!
//! State, reply, body hash and the highest epoch stand in one row, which is written in the
//! transaction of the effect. A repetition gets the first reply; a call that comes after its undo,
//! or from an owner that is none any more, is refused. A refusal by the service itself is not kept:
//! it changed nothing, and may be another one next time.
//!
//! A client's own key, one of any other form, gives the first reply too: on its route, for a day.

use std::time::Duration;

use axum::{extract::FromRequestParts, response::Response};
use base::{Code, Direction, OperationKey, headers};
use http::{HeaderValue, request::Parts};
use sha2::{Digest as _, Sha256};
use store::{
    KeyState, OperationState, ReadError, SqlError, Store, StoredReply, Transaction, WriteError,
};

use crate::{
    caller::Caller,
    idempotency::{KEPT_FOR as CLIENT_KEYS_KEPT, key_of},
    problem::Problem,
    reply::respond,
    request::{text, unquoted},
};

/// What identifies a call to a participant. An extractor.
#[derive(Debug, Clone)]
pub struct Operation {
    key: Key,
    epoch: Option<u64>,
    target: String,
}

/// Under which key a call comes.
#[derive(Debug, Clone)]
enum Key {
    None,
    Saga(OperationKey),
    /// Anybody's, for the route that is called.
    Client(String),
}

/// SHA-256 over parts, each with its length before it.
#[must_use]
pub fn hash_of(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

impl Operation {
    /// Whether it applies a step or takes it back; none without a saga's key.
    #[must_use]
    pub fn direction(&self) -> Option<Direction> {
        self.key().map(|it| it.direction)
    }

    /// The key, where it is a saga's.
    #[must_use]
    pub const fn key(&self) -> Option<&OperationKey> {
        match &self.key {
            Key::Saga(key) => Some(key),
            Key::None | Key::Client(_) => None,
        }
    }

    /// Carries the effect out in one write, or gives the reply that it had.
    ///
    /// # Errors
    /// What the effect refuses with; 409 `undone` or `stale_epoch`, 422 `body_mismatch`, 503 when
    /// the store cannot take writes.
    pub async fn run(
        self,
        store: &Store,
        body: &[u8],
        effect: impl FnOnce(&mut Transaction<'_>) -> Result<StoredReply, Problem> + Send + 'static,
    ) -> Result<Response, Problem> {
        let Self { key, epoch, target } = self;
        let key = match key {
            Key::Saga(key) => key,
            Key::Client(key) => return run_for_client(store, (target, key), body, effect).await,
            // A client that knows of no keys: the effect, plainly.
            Key::None => return Ok(respond(store.write(effect).await?)),
        };
        let hash = hash_of(&[target.as_bytes(), body]);
        let done = store.write(move |transaction| {
            match transaction.begin_operation(&key, epoch, &hash)? {
                OperationState::Fresh => {
                    let reply = effect(transaction)?;
                    transaction.finish_operation(&key, epoch, &hash, &reply)?;
                    Ok::<_, Problem>((reply, Told::First))
                }
                OperationState::Replayed(reply) => Ok((reply, Told::Again)),
                OperationState::Undone => {
                    Err(Problem::of(Code::Undone, "the operation was undone before"))
                }
                OperationState::StaleEpoch { seen } => {
                    let detail = format!("epoch {seen} was here: the caller is no owner any more");
                    Err(Problem::of(Code::StaleEpoch, detail))
                }
                OperationState::OtherBody => {
                    Err(Problem::of(Code::BodyMismatch, "the key was used with another body"))
                }
            }
        });
        let (reply, told) = done.await?;
        Ok(answer(reply, told))
    }
}

/// The effect and its reply under a client's key, in one write: nobody ever waits for another's try.
async fn run_for_client(
    store: &Store,
    (scope, key): (String, String),
    body: &[u8],
    effect: impl FnOnce(&mut Transaction<'_>) -> Result<StoredReply, Problem> + Send + 'static,
) -> Result<Response, Problem> {
    let hash = hash_of(&[body]);
    let done = store.write(move |transaction| {
        match transaction.reserve_key(&scope, &key, &hash, "", Duration::ZERO, CLIENT_KEYS_KEPT)? {
            KeyState::Reserved { hold, .. } => {
                let reply = effect(transaction)?;
                transaction.settle_key(&scope, &key, hold, &reply)?;
                Ok::<_, Problem>((reply, Told::First))
            }
            KeyState::Done(reply) => Ok((reply, Told::Again)),
            KeyState::OtherBody => {
                Err(Problem::of(Code::BodyMismatch, "the key was used with another body"))
            }
            KeyState::InProgress => {
                Err(Problem::of(Code::InProgress, "a request with this key is being served"))
            }
        }
    });
    let (reply, told) = done.await?;
    Ok(answer(reply, told))
}

fn answer(reply: StoredReply, told: Told) -> Response {
    let mut response = respond(reply);
    if told == Told::Again {
        let name = headers::IDEMPOTENT_REPLAYED;
        response.headers_mut().insert(name, HeaderValue::from_static("true"));
    }
    response
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    First,
    Again,
}

impl<S: Sync> FromRequestParts<S> for Operation {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let given = text(&parts.headers, headers::IDEMPOTENCY_KEY).map(unquoted);
        let key = match given.map(str::parse) {
            None => Key::None,
            Some(Ok(key)) => Key::Saga(key),
            Some(Err(_)) => key_of(&parts.headers)?.map_or(Key::None, Key::Client),
        };
        let epoch =
            match text(&parts.headers, headers::SKEIN_EPOCH) {
                None => None,
                Some(epoch) => Some(epoch.trim().parse().map_err(|_| {
                    Problem::of(Code::InvalidRequest, "Skein-Epoch is not a number")
                })?),
            };
        let path = parts.uri.path_and_query().map_or("", |it| it.as_str());
        let target = format!("{} {path}", parts.method);
        // Keys of people outside are each one's own: nobody is given what another was answered.
        let target = match parts.extensions.get::<Caller>() {
            Some(Caller::Outside { name: Some(name), .. }) => format!("{name}\n{target}"),
            Some(Caller::Outside { name: None, .. } | Caller::Inside) | None => target,
        };
        Ok(Self { key, epoch, target })
    }
}

impl From<SqlError> for Problem {
    fn from(error: SqlError) -> Self {
        if error.is_transient() {
            Self::of(Code::StoreUnavailable, error.to_string())
        } else {
            tracing::error!(%error, "a statement failed");
            Self::internal()
        }
    }
}

impl From<WriteError<Self>> for Problem {
    fn from(error: WriteError<Self>) -> Self {
        match error {
            WriteError::Refused(problem) => problem,
            WriteError::Unavailable { reason, retry_after } => {
                let detail = format!("the store cannot take writes: {reason}");
                Self::of(Code::StoreUnavailable, detail).retryable(retry_after)
            }
            WriteError::Failed { message, .. } => {
                tracing::error!(message, "a write failed");
                Self::internal()
            }
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Sql(error) => error.into(),
            ReadError::Unavailable { reason, retry_after } => {
                let detail = format!("the store cannot take reads: {reason}");
                Self::of(Code::StoreUnavailable, detail).retryable(retry_after)
            }
            ReadError::Panicked => Self::internal(),
        }
    }
}
