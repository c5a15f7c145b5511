//! Filters: what is changed on the way, and answers that need no backend.
//!
//! A filter says what to do; here stands what that means for one request, as texts and lists of
//! edits. It never touches a message: who holds the message carries the edits out. What a filter
//! must not say at all (a field that frames the message, a path that is not normal) is refused when
//! the table is made, so nothing needs to be checked for each request.

mod headers;
mod path_change;
mod redirect;

pub use headers::{Edit, request_edits, response_edits};
pub use redirect::Arrival;

/// One filter.
#[derive(Debug, Clone, PartialEq)]
pub enum Filter {
    /// Changes fields of the request.
    RequestHeaders(HeaderChange),
    /// Changes fields of the response.
    ResponseHeaders(HeaderChange),
    /// Answers with another place to go to.
    Redirect(Redirect),
    /// Changes host and path on the way to the backend.
    Rewrite(Rewrite),
}

/// Changes of header fields; names in lower case. Set first, then add, then remove.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeaderChange {
    /// Overwrites.
    pub set: Vec<(String, String)>,
    /// Appends with a comma.
    pub add: Vec<(String, String)>,
    /// Removes.
    pub remove: Vec<String>,
}

/// Another place to go to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Redirect {
    /// `http` or `https`; absent keeps it.
    pub scheme: Option<String>,
    /// Another host.
    pub hostname: Option<String>,
    /// Another path.
    pub path: Option<PathChange>,
    /// Another port.
    pub port: Option<u16>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// Other words for the same request, on the way to the backend.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rewrite {
    /// Another host.
    pub hostname: Option<String>,
    /// Another path.
    pub path: Option<PathChange>,
}

/// How a path changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathChange {
    /// The whole path.
    Full(String),
    /// The part that the rule's prefix matched.
    Prefix(String),
}

/// The redirect among the filters of a rule, which answers instead of a backend.
#[must_use]
pub fn redirect(of_rule: &[Filter]) -> Option<&Redirect> {
    of_rule.iter().find_map(|it| match it {
        Filter::Redirect(redirect) => Some(redirect),
        Filter::RequestHeaders(_) | Filter::ResponseHeaders(_) | Filter::Rewrite(_) => None,
    })
}

/// The rewrite of requests on their way to a backend: the backend's own, else the rule's.
#[must_use]
pub fn rewrite<'a>(of_rule: &'a [Filter], of_backend: &'a [Filter]) -> Option<&'a Rewrite> {
    of_backend.iter().chain(of_rule).find_map(|it| match it {
        Filter::Rewrite(rewrite) => Some(rewrite),
        Filter::RequestHeaders(_) | Filter::ResponseHeaders(_) | Filter::Redirect(_) => None,
    })
}
