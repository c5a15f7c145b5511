//! Versions of an API: how a request says which one it wants, and what becomes of it.

/// Where a request may name the version. The first source that names one decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionSource {
    /// The first element of the path, such as `v2` in `/v2/things`.
    Path,
    /// A header field, such as `api-version`; name in lower case.
    Header(String),
    /// A parameter of the media type in `accept`, else in `content-type`, such as `version`.
    MediaType(String),
    /// A parameter of the query, such as `api-version`.
    Query(String),
}

/// A rule's condition on the version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionMatch {
    /// Where it is looked for.
    pub sources: Vec<VersionSource>,
    /// Which one this rule serves, such as `v2`; `None` serves what no other rule serves.
    pub version: Option<String>,
    /// Whether a request that names none is served by this rule.
    pub is_default: bool,
}
