//! Why routes cannot become a table.

use crate::path::BadPath;

/// A route that says something that cannot be meant. Nothing of its table is used then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("route `{route}`{}: {flaw}", .rule.map(|it| format!(", rule {}", it + 1)).unwrap_or_default())]
pub struct CompileError {
    /// Name of the route.
    pub route: String,
    /// Position of the rule, from 0; `None` where the flaw is the route's.
    pub rule: Option<usize>,
    /// What is wrong.
    pub flaw: Flaw,
}

/// What is wrong with a route.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// A host that no request can name: empty, with a port, or `*` elsewhere than as first label.
    #[error("`{0}` is no hostname")]
    Hostname(String),
    /// A path that [`crate::path::normalise`] refuses.
    #[error("path `{path}`: {reason}")]
    Path {
        /// As it is written.
        path: String,
        /// What is wrong with it.
        reason: BadPath,
    },
    /// A path in another form than [`crate::path::normalise`] gives, so that no request has it.
    #[error("path `{path}` is written `{normal}`")]
    PathNotNormal {
        /// As it is written.
        path: String,
        /// As it is to be written.
        normal: String,
    },
    /// A regular expression that does not compile, or not within 256 KiB.
    #[error("regular expression `{pattern}`: {reason}")]
    Regex {
        /// As it is written.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A gRPC match without service and method, or with a slash in one.
    #[error("a gRPC match names a service, a method or both, without slashes")]
    Grpc,
    /// A filter replaces the matched prefix, and a match of the rule has none.
    #[error("the matched prefix is replaced, and a match of the rule is not a prefix")]
    PrefixChange,
    /// A redirect answers, so there is nothing to rewrite.
    #[error("redirect and rewrite in one rule")]
    RedirectAndRewrite,
    /// A redirect on the way to one backend: it answers before a backend is chosen.
    #[error("a redirect belongs to the rule, not to a backend")]
    RedirectOfBackend,
    /// A redirect with another status than 301, 302, 303, 307 or 308.
    #[error("{0} is no status of a redirect")]
    RedirectStatus(u16),
    /// A header field that no filter may touch: it frames the message or belongs to one connection.
    #[error("no filter may touch the field `{0}`")]
    Field(String),
    /// A header field with a name or value that would break the message.
    #[error("`{0}` cannot be a header field with this value")]
    FieldText(String),
}
