//! Which rules a host has, the most specific first.
//!
//! An exact host comes before a wildcard, a longer wildcard before a shorter one, and routes
//! without hosts last. `*.bar.com` is one or more labels before `.bar.com`, never `bar.com` alone.

use std::collections::BTreeMap;

use super::{Flaw, paths::Paths};

/// A hostname of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HostPattern<'a> {
    Exact(&'a str),
    /// What follows `*.`.
    Wildcard(&'a str),
    Every,
}

/// How well a hostname fits; the least is the most specific.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum HostRank {
    Exact,
    /// Letters of the host that the wildcard stands for: the fewer, the longer the hostname.
    Wildcard(usize),
    Every,
}

impl<'a> HostPattern<'a> {
    pub(super) fn parse(hostname: &'a str) -> Result<Self, Flaw> {
        let (name, pattern) = match hostname.strip_prefix("*.") {
            Some(suffix) => (suffix, Self::Wildcard(suffix)),
            None => (hostname, Self::Exact(hostname)),
        };
        let is_label = |label: &str| {
            !label.is_empty() && label.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-')
        };
        if name.split('.').all(is_label) {
            Ok(pattern)
        } else {
            Err(Flaw::Hostname(hostname.to_owned()))
        }
    }

    /// Whether and how well it fits; `host` as [`without_root`] gives it.
    pub(super) fn rank(self, host: &str) -> Option<HostRank> {
        match self {
            Self::Exact(name) => host.eq_ignore_ascii_case(name).then_some(HostRank::Exact),
            Self::Wildcard(suffix) => {
                let len = host.len().checked_sub(suffix.len() + 1).filter(|it| *it > 0)?;
                let (_, tail) = host.split_at_checked(len)?;
                let fits = tail.strip_prefix('.')?.eq_ignore_ascii_case(suffix);
                fits.then_some(HostRank::Wildcard(len))
            }
            Self::Every => Some(HostRank::Every),
        }
    }
}

/// `example.com.` is `example.com`, said to a resolver.
pub(super) fn without_root(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

/// The rules of each host.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    exact: BTreeMap<Box<str>, Paths>,
    /// By what follows `*.`.
    wildcard: BTreeMap<Box<str>, Paths>,
    every: Paths,
}

impl Hosts {
    /// The rules of one hostname, for more to be added.
    pub(super) fn entry(&mut self, pattern: HostPattern<'_>) -> &mut Paths {
        let key = |name: &str| name.to_ascii_lowercase().into_boxed_str();
        match pattern {
            HostPattern::Exact(name) => self.exact.entry(key(name)).or_default(),
            HostPattern::Wildcard(suffix) => self.wildcard.entry(key(suffix)).or_default(),
            HostPattern::Every => &mut self.every,
        }
    }

    /// The rules that serve a host in lower case, the most specific hostname first.
    pub(super) fn serving<'a>(&'a self, host: &'a str) -> impl Iterator<Item = &'a Paths> {
        // Most tables have no wildcard: then the host is not looked through.
        let tails = if self.wildcard.is_empty() { "" } else { host };
        let dots = tails.match_indices('.').map(|(dot, _)| dot).filter(|dot| *dot > 0);
        let wildcards = dots.filter_map(move |dot| self.wildcard.get(&host[dot + 1..]));
        self.exact.get(host).into_iter().chain(wildcards).chain([&self.every])
    }
}
