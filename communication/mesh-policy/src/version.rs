//! Versions of an API: how a request says which one it wants, and what becomes of it.

use crate::route::{RequestView, table};

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

/// The version that a request asks for, by the first source that names one.
pub fn asked<'a>(sources: &[VersionSource], request: &'a impl RequestView) -> Option<&'a str> {
    sources.iter().find_map(|source| match source {
        VersionSource::Path => {
            let first = request.path().strip_prefix('/')?.split('/').next()?;
            is_version(first).then_some(first)
        }
        VersionSource::Header(name) => request.header(name).map(str::trim),
        VersionSource::MediaType(parameter) => ["accept", "content-type"]
            .into_iter()
            .find_map(|field| media_type_parameter(request.header(field)?, parameter)),
        VersionSource::Query(name) => table::parameter(request.query(), name),
    })
}

/// `v` and digits, perhaps with dots between: `v2`, `v0.1.0`.
fn is_version(segment: &str) -> bool {
    let Some(numbers) = segment.strip_prefix('v') else { return false };
    numbers.split('.').all(|it| !it.is_empty() && it.bytes().all(|it| it.is_ascii_digit()))
}

/// The parameter of the first media type that has it.
fn media_type_parameter<'a>(value: &'a str, parameter: &str) -> Option<&'a str> {
    value.split([',', ';']).find_map(|part| {
        let (name, value) = part.trim().split_once('=')?;
        name.trim().eq_ignore_ascii_case(parameter).then(|| value.trim().trim_matches('"'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Request(&'static str, Option<&'static str>, &'static [(&'static str, &'static str)]);

    impl RequestView for Request {
        fn method(&self) -> &str {
            "GET"
        }
        fn host(&self) -> &str {
            ""
        }
        fn path(&self) -> &str {
            self.0
        }
        fn query(&self) -> Option<&str> {
            self.1
        }
        fn header(&self, name: &str) -> Option<&str> {
            self.2.iter().find(|(it, _)| *it == name).map(|(_, value)| *value)
        }
    }

    /// mesh 12b: 16.
    #[test]
    fn the_first_source_that_names_a_version_decides() {
        let sources = [
            VersionSource::Path,
            VersionSource::Header("api-version".to_owned()),
            VersionSource::MediaType("version".to_owned()),
            VersionSource::Query("api-version".to_owned()),
        ];
        let check = |request: Request, expected: Option<&str>| {
            assert_eq!(asked(&sources, &request), expected);
        };
        check(Request("/v2/things", None, &[("api-version", "v3")]), Some("v2"));
        check(Request("/v0.1.0/things", None, &[]), Some("v0.1.0"));
        check(Request("/vans/things", None, &[]), None);
        check(Request("/v/things", None, &[]), None);
        check(Request("/things", None, &[("api-version", "v3")]), Some("v3"));
        let accept = &[("accept", "text/html, application/json; version=\"v4\"")];
        check(Request("/things", None, accept), Some("v4"));
        let sent = &[("content-type", "application/json;Version=v5")];
        check(Request("/things", None, sent), Some("v5"));
        check(Request("/things", Some("a=b&api-version=v6"), &[]), Some("v6"));
        check(Request("/things", Some("a=b"), &[]), None);
    }
}
