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

/// The path that a change makes of `path`, where `prefix` is what the rule matched of it.
#[must_use]
pub fn rewritten_path(change: &PathChange, prefix: &str, path: &str) -> String {
    match change {
        PathChange::Full(whole) => whole.clone(),
        PathChange::Prefix(replacement) => {
            // A slash at the end of match or replacement changes nothing; one at the end of what
            // is left of the path stays.
            let prefix = prefix.trim_end_matches('/');
            let rest = path.strip_prefix(prefix).unwrap_or(path);
            let replacement = replacement.trim_end_matches('/');
            match (replacement, rest) {
                ("", "" | "/") => "/".to_owned(),
                (replacement, rest) => format!("{replacement}{rest}"),
            }
        }
    }
}

/// What a redirect is told about the request.
#[derive(Debug, Clone, Copy)]
pub struct Redirected<'a> {
    /// What the rule matched of the path.
    pub prefix: &'a str,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// Host without port.
    pub host: &'a str,
    /// Port of the listener.
    pub port: Option<u16>,
    /// Path.
    pub path: &'a str,
    /// Query.
    pub query: Option<&'a str>,
}

impl Redirect {
    /// The `Location` of the answer.
    ///
    /// Port: the one that the filter names; else, where it names a scheme, that scheme's; else the
    /// listener's. 80 of http and 443 of https are not written.
    #[must_use]
    pub fn location(&self, request: Redirected<'_>) -> String {
        let scheme = self.scheme.as_deref().unwrap_or(request.scheme);
        let usual = if scheme == "https" { 443 } else { 80 };
        let port = match (self.port, &self.scheme) {
            (Some(port), _) => port,
            (None, Some(_)) => usual,
            (None, None) => request.port.unwrap_or(usual),
        };
        let host = self.hostname.as_deref().unwrap_or(request.host);
        let port = if port == usual { String::new() } else { format!(":{port}") };
        let path = match &self.path {
            Some(change) => rewritten_path(change, request.prefix, request.path),
            None => request.path.to_owned(),
        };
        let query = request.query.map(|it| format!("?{it}")).unwrap_or_default();
        format!("{scheme}://{host}{port}{path}{query}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_prefix(path: &str, prefix: &str, replacement: &str, expected: &str) {
        let change = PathChange::Prefix(replacement.to_owned());
        assert_eq!(rewritten_path(&change, prefix, path), expected, "{path} {prefix}");
    }

    /// mesh 12b: 14.
    #[test]
    fn a_prefix_is_replaced_whatever_slashes_stand_at_its_end() {
        check_prefix("/foo/bar", "/foo", "/xyz", "/xyz/bar");
        check_prefix("/foo/bar", "/foo", "/xyz/", "/xyz/bar");
        check_prefix("/foo/bar", "/foo/", "/xyz", "/xyz/bar");
        check_prefix("/foo/bar", "/foo/", "/xyz/", "/xyz/bar");
        check_prefix("/foo", "/foo", "/xyz", "/xyz");
        check_prefix("/foo/", "/foo", "/xyz", "/xyz/");
        check_prefix("/foo/bar", "/foo", "", "/bar");
        check_prefix("/foo/", "/foo", "", "/");
        check_prefix("/foo", "/foo", "", "/");
        check_prefix("/foo/", "/foo", "/", "/");
        check_prefix("/foo", "/foo", "/", "/");
        check_prefix("/prefix/one/two", "/prefix/one", "/one", "/one/two");
        check_prefix("/strip-prefix/three", "/strip-prefix", "/", "/three");
        let full = PathChange::Full("/one".to_owned());
        assert_eq!(rewritten_path(&full, "/full", "/full/two"), "/one");
    }

    #[track_caller]
    fn check_redirect(
        listener: u16,
        scheme: &str,
        to: (Option<&str>, Option<u16>),
        expected: &str,
    ) {
        let redirect =
            Redirect { scheme: to.0.map(str::to_owned), port: to.1, ..Redirect::default() };
        let request = Redirected {
            prefix: "/",
            scheme,
            host: "h",
            port: Some(listener),
            path: "/p",
            query: Some("q=1"),
        };
        assert_eq!(redirect.location(request), format!("{expected}/p?q=1"));
    }

    /// mesh 12b: 13.
    #[test]
    fn the_port_of_a_redirect_is_the_filters_then_the_schemes_then_the_listeners() {
        check_redirect(80, "http", (None, None), "http://h");
        check_redirect(80, "http", (None, Some(80)), "http://h");
        check_redirect(80, "http", (None, Some(8080)), "http://h:8080");
        check_redirect(80, "http", (Some("https"), None), "https://h");
        check_redirect(80, "http", (Some("https"), Some(443)), "https://h");
        check_redirect(80, "http", (Some("https"), Some(8443)), "https://h:8443");
        check_redirect(8080, "http", (None, None), "http://h:8080");
        check_redirect(8080, "http", (None, Some(80)), "http://h");
        check_redirect(8080, "http", (Some("https"), None), "https://h");
        check_redirect(443, "https", (Some("http"), None), "http://h");
        check_redirect(443, "https", (Some("http"), Some(8080)), "http://h:8080");
        check_redirect(443, "https", (None, None), "https://h");
    }
}
