//! Who may change something at the port of operators. To look is for whoever reaches it.
//!
//! Everybody on a machine reaches its loopback interface, and so does every page in a browser there, which
//! needs no answer to do harm: a change shows a token, as at the page. Who changes something is noted, with
//! what became of it; whoever was not let in has changed nothing, and cannot fill a disk with that.

use std::{fmt, net::SocketAddr, sync::Arc};

use axum::response::Response;
use base::Code;
use bytes::Bytes;
use callers::{Actor, ApiKey, Deed, KeyDigest, Undecided, Witness};
use http::{HeaderMap, Method, StatusCode, Uri, header, request::Parts};

use crate::problem::Problem;

/// So much of a request is told.
const BODY_BYTES_MAX: usize = 500;

/// Who may change something at the port of operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Operators {
    /// Whoever reaches it.
    #[default]
    Anybody,
    /// Whoever shows the token of this digest, as `Authorization: Bearer …`.
    Holding(KeyDigest),
    /// Nobody: a token is asked for, and none is known.
    Nobody,
}

impl Operators {
    /// Refuses a change by whoever does not show the token.
    pub(crate) fn check(self, method: &Method, fields: &HeaderMap) -> Result<(), Problem> {
        let token = match self {
            _ if is_look(method) => return Ok(()),
            Self::Anybody => return Ok(()),
            Self::Holding(token) => Some(token),
            Self::Nobody => None,
        };
        let shown = fields.get(header::AUTHORIZATION).and_then(|it| it.to_str().ok());
        let shown = shown.and_then(|it| it.strip_prefix("Bearer ")?.parse::<ApiKey>().ok());
        // By digests: the time that a look takes tells of these alone, which nobody can choose.
        if token.is_some() && shown.map(|it| it.digest()) == token {
            return Ok(());
        }
        let detail = "a change needs the token of operators: Authorization: Bearer …";
        Err(Problem::of(Code::Unauthenticated, detail))
    }
}

const fn is_look(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// The door of a page for operators: what it answers is answered in the place of the page.
#[derive(Clone)]
pub(crate) struct PageDoor(Arc<Stop>);

type Stop = dyn Fn(&Method, &Uri, &HeaderMap) -> Option<Response> + Send + Sync;

impl PageDoor {
    pub(crate) fn new(
        stop: impl Fn(&Method, &Uri, &HeaderMap) -> Option<Response> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(stop))
    }

    pub(crate) fn stop(&self, parts: &Parts) -> Option<Response> {
        self.0(&parts.method, &parts.uri, &parts.headers)
    }
}

impl fmt::Debug for PageDoor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PageDoor")
    }
}

/// Tells what is changed.
#[derive(Debug)]
pub(crate) struct Changes {
    /// The instance at which something is changed.
    at: String,
    witness: Witness,
}

/// A change under way; told as unknown where nobody waits for its end.
#[derive(Debug)]
pub(crate) struct Attempt(Undecided);

impl Changes {
    /// To this one; without one to the process's log.
    pub(crate) fn told_to(witness: Option<Witness>, at: &str) -> Self {
        Self { at: at.to_owned(), witness: witness.unwrap_or_else(own_log) }
    }

    /// Somebody asks for a change; none for a look. What is asked of operators holds no secret.
    pub(crate) fn begin(&self, from: SocketAddr, parts: &Parts, body: &Bytes) -> Option<Attempt> {
        if is_look(&parts.method) {
            return None;
        }
        let target = parts.uri.path_and_query().map_or("/", |it| it.as_str());
        let body = &body[..body.len().min(BODY_BYTES_MAX)];
        let body = String::from_utf8_lossy(body);
        let words = format!("{}: {} {target} {body}", self.at, parts.method);
        Some(Attempt(self.witness.begin(Actor::At(from), words.trim_end().to_owned())))
    }
}

impl Attempt {
    /// Tells how it has ended, and waits until that is noted.
    pub(crate) async fn end(self, status: StatusCode) {
        let code = status.as_u16();
        let decision = match status {
            it if it.is_success() => "done".to_owned(),
            it if it.is_client_error() => format!("refused: {code}"),
            _ => format!("failed: {code}"),
        };
        self.0.end(decision).await;
    }
}

fn own_log() -> Witness {
    Witness::new(|Deed { who, what, decision }| {
        tracing::info!(?who, what, decision, "an operator changed something");
        Box::pin(std::future::ready(()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(operators: Operators, method: &Method, shown: &str, expected: bool) {
        let mut fields = HeaderMap::new();
        if !shown.is_empty() {
            fields.insert(header::AUTHORIZATION, shown.parse().unwrap());
        }
        assert_eq!(operators.check(method, &fields).is_ok(), expected, "{method}");
    }

    #[test]
    fn a_look_is_anybody_s_and_a_change_is_made_by_whoever_holds_the_token() {
        let (token, other) = (ApiKey::draw().unwrap(), ApiKey::draw().unwrap());
        let holding = Operators::Holding(token.digest());
        let bearer = |it: &ApiKey| format!("Bearer {}", it.reveal());
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
            check(holding, &method, &bearer(&token), true);
            for wrong in ["", "Bearer ", "Bearer x", token.reveal(), &bearer(&other)] {
                check(holding, &method, wrong, false);
            }
            check(Operators::Anybody, &method, "", true);
            check(Operators::Nobody, &method, &bearer(&token), false);
            check(Operators::Nobody, &method, "", false);
        }
        check(holding, &Method::GET, "", true);
        check(holding, &Method::HEAD, &bearer(&other), true);
    }
}
