//! Requests under a key of the client: each has one effect and one answer.

use axum::response::Response;
use http::HeaderMap;
use service_kit::{
    Deadline, Problem,
    idempotency::{self, KeyedRequest, Try, key_of},
};
use store::StoredReply;

use super::Shared;

#[cfg(test)]
mod tests;

/// What makes a request one with those that look like it.
pub(super) struct Once<'a> {
    pub(super) scope: String,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a [u8],
    pub(super) deadline: Deadline,
}

impl Once<'_> {
    /// The request under its key, where it has one.
    fn keyed(&self, candidate_id: String) -> Result<Option<KeyedRequest>, Problem> {
        let body_hash = service_kit::hash_of(&[self.body]);
        let scope = self.scope.clone();
        Ok(key_of(self.headers)?.map(|key| KeyedRequest { scope, key, body_hash, candidate_id }))
    }
}

impl Shared {
    /// Does the work once for the key of a request, where it has one, under an id for what is asked.
    pub(super) async fn once<W, F>(&self, once: Once<'_>, work: W) -> Result<Response, Problem>
    where
        W: FnOnce(Try) -> F,
        F: Future<Output = Result<StoredReply, Problem>>,
    {
        let id = self.new_id();
        match once.keyed(id.clone())? {
            Some(keyed) => idempotency::once(&self.store, keyed, once.deadline, work).await,
            None => work(Try { id, is_again: false }).await.map(service_kit::respond),
        }
    }

    /// The answer that such a request was given before.
    pub(super) async fn replayed(&self, once: &Once<'_>) -> Result<Option<Response>, Problem> {
        match once.keyed(String::new())? {
            Some(keyed) => idempotency::replayed(&self.store, keyed).await,
            None => Ok(None),
        }
    }
}
