//! The query of a request, read into what a route asks for; a refusal names what is missing or wrong.

use axum::extract::{FromRequestParts, Query as Read, rejection::QueryRejection};
use base::Code;
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::problem::Problem;

/// What stands before a reason in the library's words.
const READING: &str = "Failed to deserialize query string: ";

/// The query. An extractor.
#[derive(Debug, Clone, Copy)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = Read::from_request_parts(parts, state).await;
        read.map(|Read(query)| Self(query)).map_err(|it| refused(&it))
    }
}

fn refused(rejection: &QueryRejection) -> Problem {
    let text = rejection.body_text();
    let reason = text.strip_prefix(READING).unwrap_or(&text);
    let missing = reason.strip_prefix("missing field ");
    let detail = match missing {
        Some(name) => format!("the parameter {name} is missing"),
        None => format!("the query cannot be read: {reason}"),
    };
    Problem::of(Code::InvalidRequest, detail)
}

#[cfg(test)]
mod tests {
    use http::Request;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Month {
        owner_id: String,
        month: i8,
    }

    async fn read(query: &str) -> Result<Month, String> {
        let (mut parts, ()) = Request::get(format!("/x?{query}")).body(()).unwrap().into_parts();
        let read = Query::from_request_parts(&mut parts, &()).await;
        read.map(|Query(it)| it).map_err(|it| it.detail)
    }

    #[tokio::test]
    async fn what_is_missing_or_wrong_is_named() {
        let month = read("ownerId=a&month=3").await.unwrap();
        assert_eq!((&*month.owner_id, month.month), ("a", 3));
        assert_eq!(read("month=3").await.unwrap_err(), "the parameter `ownerId` is missing");
        let wrong = read("ownerId=a&month=x").await.unwrap_err();
        assert!(
            wrong.contains("month") && wrong.starts_with("the query cannot be read"),
            "{wrong}"
        );
    }
}
