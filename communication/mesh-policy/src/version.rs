//! Versions of an API: how a request says which one it wants, and what becomes of it.
//!
//! The Gateway API has no word for versions; meshes build them from path and header matches, one
//! for each place where a client may put the number. Here a rule says which version it serves and
//! where to look, and the rest is the order of rules: of two that are alike otherwise, the one that
//! names the version comes before the one that names none, and both before one without a condition.
//! A version that nobody serves is no route (404), unless a rule without a version takes it.

use std::borrow::Cow;

use crate::{query, request::RequestView};

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
    /// Which one this rule serves, such as `v2`; `None` serves what no other rule serves: other
    /// versions, and none where there is no default.
    pub version: Option<String>,
    /// Whether a request that names none is served by this rule.
    pub is_default: bool,
}

impl VersionMatch {
    /// What this rule says to a request.
    ///
    /// A rule that names a version takes the requests that ask for it, and those that ask for none
    /// where it is the default. A rule that names none takes every request; it is the fallback
    /// because the table ranks it behind the rules that name one, all else being equal.
    #[must_use]
    pub fn admits(&self, request: &impl RequestView) -> bool {
        let Some(served) = &self.version else { return true };
        match asked(&self.sources, request) {
            Some(asked) => is_same(&asked, served),
            None => self.is_default,
        }
    }
}

/// The version that a request asks for: what the first source says that says anything.
///
/// The element of the path is only read here: it stays in the path, which rules compare and
/// backends see as it is. A rule that wants it gone says so with a rewrite of its prefix.
#[must_use]
pub fn asked<'a>(sources: &[VersionSource], request: &'a impl RequestView) -> Option<Cow<'a, str>> {
    let named = |it: &Cow<'_, str>| !it.is_empty();
    sources.iter().find_map(|source| match source {
        VersionSource::Path => path_version(request.path()).map(Cow::Borrowed),
        VersionSource::Header(name) => request.header(name).map(Cow::Borrowed).filter(named),
        VersionSource::MediaType(parameter) => ["accept", "content-type"]
            .iter()
            .find_map(|field| media_type_version(request.header(field)?, parameter))
            .map(Cow::Borrowed)
            .filter(named),
        VersionSource::Query(name) => {
            query::first(request.query()?, name).map(query::decoded).filter(named)
        }
    })
}

/// Whether two names mean the same version: `2` in a header is the `v2` of a path.
#[must_use]
pub fn is_same(one: &str, other: &str) -> bool {
    bare(one) == bare(other)
}

fn bare(version: &str) -> &str {
    let bare = version.strip_prefix('v');
    bare.filter(|it| it.starts_with(|first: char| first.is_ascii_digit())).unwrap_or(version)
}

/// The first element where it is `v`, digits, and perhaps more digits behind dots: `/v2/things`,
/// `/v1.10`, not `/videos`, `/v2beta` or `/v2.`.
fn path_version(path: &str) -> Option<&str> {
    let element = path.strip_prefix('/')?.split('/').next()?;
    let is_number = |it: &str| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_digit());
    let numbers = element.strip_prefix('v')?;
    numbers.split('.').all(is_number).then_some(element)
}

/// The parameter in the first media type that has it (RFC 9110 sections 5.6.6 and 8.3.1). Weights
/// are not looked at: a client that can read two versions has no way to say so here.
fn media_type_version<'a>(field: &'a str, parameter: &str) -> Option<&'a str> {
    let mut rest = Some(field);
    while let Some(text) = rest {
        let (part, behind) = split_at_separator(text);
        rest = behind;
        let Some((name, value)) = part.split_once('=') else { continue };
        if name.trim_matches(BLANKS).eq_ignore_ascii_case(parameter) {
            let value = value.trim_matches(BLANKS);
            let quoted = value.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
            return Some(quoted.unwrap_or(value));
        }
    }
    None
}

const BLANKS: [char; 2] = [' ', '\t'];

/// The text before the next comma or semicolon that does not stand in quotes, and what is behind.
fn split_at_separator(text: &str) -> (&str, Option<&str>) {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (position, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            b',' | b';' if !is_quoted => return (&text[..position], Some(&text[position + 1..])),
            _ => {}
        }
    }
    (text, None)
}
