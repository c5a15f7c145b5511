//! Another path for the same request.

use std::borrow::Cow;

use super::{PathChange, Rewrite};

impl PathChange {
    /// The path after the change; `path` is normal and so is the result. `prefix` is what the
    /// match compared that led here, without a slash at its end ([`crate::route::Match::prefix`]).
    ///
    /// A slash at the end of the prefix or of its replacement changes nothing, and what would be
    /// empty is `/` (Gateway API, `HTTPPathModifier`, table of `replacePrefixMatch`).
    #[must_use]
    pub fn apply<'a>(&'a self, path: &'a str, prefix: &str) -> Cow<'a, str> {
        match self {
            Self::Full(full) => Cow::Borrowed(full),
            Self::Prefix(replacement) => {
                let behind = path.strip_prefix(prefix).unwrap_or_default();
                match (replacement.trim_end_matches('/'), behind) {
                    ("", "") => Cow::Borrowed("/"),
                    ("", behind) => Cow::Borrowed(behind),
                    (replacement, behind) => Cow::Owned(format!("{replacement}{behind}")),
                }
            }
        }
    }
}

impl Rewrite {
    /// The request target for the backend: the path changed, the query as it came.
    #[must_use]
    pub fn target(&self, path: &str, query: Option<&str>, prefix: &str) -> String {
        let path = self.path.as_ref().map_or(Cow::Borrowed(path), |it| it.apply(path, prefix));
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
