//! What no filter of a rule may say.

use super::{Flaw, Match, PathMatch, Rule, condition::normal};
use crate::filter::{Filter, HeaderChange, PathChange};

/// Fields that frame a message or belong to one connection (RFC 9110 section 7.6.1, RFC 9112
/// section 6): a filter that sets one makes two messages out of one. `host` is changed by a rewrite.
const UNTOUCHABLE: [&str; 9] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Refuses the filters of a rule and of its backends that cannot be meant.
pub(super) fn check_filters(rule: &Rule) -> Result<(), Flaw> {
    let filters = rule.filters.iter().chain(rule.backends.iter().flat_map(|it| &it.filters));
    let (mut redirects, mut rewrites) = (false, false);
    for filter in filters {
        match filter {
            Filter::RequestHeaders(change) | Filter::ResponseHeaders(change) => fields(change)?,
            Filter::Redirect(redirect) => {
                redirects = true;
                if !matches!(redirect.status, 301 | 302 | 303 | 307 | 308) {
                    return Err(Flaw::RedirectStatus(redirect.status));
                }
                path_change(redirect.path.as_ref(), &rule.matches)?;
            }
            Filter::Rewrite(rewrite) => {
                rewrites = true;
                path_change(rewrite.path.as_ref(), &rule.matches)?;
            }
        }
    }
    let is_redirect = |it: &Filter| matches!(it, Filter::Redirect(_));
    if rule.backends.iter().flat_map(|it| &it.filters).any(is_redirect) {
        return Err(Flaw::RedirectOfBackend);
    }
    if redirects && rewrites { Err(Flaw::RedirectAndRewrite) } else { Ok(()) }
}

fn path_change(change: Option<&PathChange>, matches: &[Match]) -> Result<(), Flaw> {
    match change {
        None => Ok(()),
        Some(PathChange::Full(path)) => normal(path).map(drop),
        Some(PathChange::Prefix(path)) => {
            if !path.is_empty() {
                normal(path)?;
            }
            let is_prefix = |it: &Match| matches!(it.path, None | Some(PathMatch::Prefix(_)));
            if matches.iter().all(is_prefix) { Ok(()) } else { Err(Flaw::PrefixChange) }
        }
    }
}

fn fields(change: &HeaderChange) -> Result<(), Flaw> {
    let named = change.set.iter().chain(&change.add).map(|(name, value)| (name, value.as_str()));
    for (name, value) in named.chain(change.remove.iter().map(|name| (name, ""))) {
        if UNTOUCHABLE.contains(&name.as_str()) {
            return Err(Flaw::Field(name.clone()));
        }
        let is_value = value.bytes().all(|it| matches!(it, b' '..=b'~' | b'\t'));
        if name.is_empty() || !name.bytes().all(is_token) || !is_value {
            return Err(Flaw::FieldText(name.clone()));
        }
    }
    Ok(())
}

/// A letter of a field's name (RFC 9110 section 5.6.2); upper case is not one here.
const fn is_token(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.')
        || matches!(byte, b'^' | b'_' | b'`' | b'|' | b'~')
}
