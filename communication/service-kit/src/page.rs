//! Lists that are longer than one answer: each page says where the next one begins.
//!
//! A page begins behind the row that the last one ended with (`after`), never at a number: what comes and
//! goes meanwhile moves nothing into a page twice or past it.

use axum::{
    Json,
    response::{IntoResponse as _, Response},
};
use http::{HeaderValue, header};
use serde::Serialize;

use crate::client::segment;

/// The query parameter that names the row behind which a page begins.
const AFTER: &str = "after";

/// A page of at most `limit` rows, the answer to `query`. Where it is full its `Link` (RFC 8288, relative to
/// what was asked) leads to the page behind `last`, the id of its last row.
#[must_use]
pub fn page<T: Serialize>(
    rows: &[T],
    limit: usize,
    query: Option<&str>,
    last: Option<&str>,
) -> Response {
    let mut response = Json(rows).into_response();
    let next = last.filter(|_| rows.len() >= limit);
    let next = next.map(|it| link_to(query.unwrap_or_default(), it));
    if let Some(Ok(link)) = next.map(|it| HeaderValue::from_str(&it)) {
        response.headers_mut().insert(header::LINK, link);
    }
    response
}

fn link_to(query: &str, last: &str) -> String {
    let is_after = |it: &&str| it.split('=').next() == Some(AFTER);
    let kept = query.split('&').filter(|it| !it.is_empty() && !is_after(it));
    let after = format!("{AFTER}={}", segment(last));
    let all: Vec<&str> = kept.chain([after.as_str()]).collect();
    format!("<?{}>; rel=\"next\"", all.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rows: usize, query: Option<&str>, last: Option<&str>, expected: Option<&str>) {
        let response = page(&vec![1; rows], 2, query, last);
        let link = response.headers().get(header::LINK).map(|it| it.to_str().unwrap());
        assert_eq!(link, expected);
    }

    #[test]
    fn a_full_page_leads_to_what_is_behind_its_last_row_and_keeps_what_was_asked() {
        check(2, None, Some("b"), Some("<?after=b>; rel=\"next\""));
        let query = Some("state=Active&after=a&limit=2");
        check(
            2,
            query,
            Some("b/c d"),
            Some("<?state=Active&limit=2&after=b%2Fc%20d>; rel=\"next\""),
        );
    }

    #[test]
    fn the_last_page_leads_nowhere() {
        check(1, None, Some("a"), None);
        check(0, None, None, None);
    }
}
