//! Filters: what is changed on the way, and answers that need no backend.

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
