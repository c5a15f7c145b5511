//! Another path for the same request.

use std::borrow::Cow;

use super::{PathChange, Rewrite};
use crate::route::{Match, PathMatch};

impl PathChange {
    /// The path after the change; `path` is normal and so is the result. `matched` is the match
    /// that led here: its prefix is what [`PathChange::Prefix`] replaces.
    ///
    /// A slash at the end of the prefix or of its replacement changes nothing, and what would be
    /// empty is `/` (Gateway API, `HTTPPathModifier`, table of `replacePrefixMatch`).
    #[must_use]
    pub fn apply<'a>(&'a self, path: &'a str, matched: &Match) -> Cow<'a, str> {
        match self {
            Self::Full(full) => Cow::Borrowed(full),
            Self::Prefix(replacement) => {
                let behind = path.strip_prefix(prefix(matched)).unwrap_or_default();
                match (replacement.trim_end_matches('/'), behind) {
                    ("", "") => Cow::Borrowed("/"),
                    ("", behind) => Cow::Borrowed(behind),
                    (replacement, behind) => Cow::Owned(format!("{replacement}{behind}")),
                }
            }
        }
    }
}

/// The prefix that a match compares, without a slash at its end; empty where it has none, which a
/// table refuses beside a change of the prefix.
fn prefix(matched: &Match) -> &str {
    match &matched.path {
        Some(PathMatch::Prefix(prefix)) => prefix.trim_end_matches('/'),
        Some(PathMatch::Exact(_) | PathMatch::Regex(_) | PathMatch::Grpc { .. }) | None => "",
    }
}

impl Rewrite {
    /// The request target for the backend: the path changed, the query as it came.
    #[must_use]
    pub fn target(&self, path: &str, query: Option<&str>, matched: &Match) -> String {
        let path = self.path.as_ref().map_or(Cow::Borrowed(path), |it| it.apply(path, matched));
        with_query(path.into_owned(), query)
    }
}

pub(super) fn with_query(mut target: String, query: Option<&str>) -> String {
    if let Some(query) = query {
        target.push('?');
        target.push_str(query);
    }
    target
}
