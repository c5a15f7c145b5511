//! Why a request is taken by one rule and by no other.

use super::{Found, Mismatch, hosts::HostRank};

/// One match of one rule, and what became of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate<'a> {
    /// The rule and the match.
    pub found: Found<'a>,
    /// Place of the match in the rule, from 0; `None` in a rule without matches.
    pub match_index: Option<usize>,
    /// What became of it.
    pub verdict: Verdict<'a>,
}

/// What became of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// It takes the request.
    Taken,
    /// It matches, and comes behind the one that takes it.
    Outranked,
    /// It does not match.
    Refused(Mismatch<'a>),
}

type Asked<'a> = (Option<HostRank>, Found<'a>, Option<usize>, Option<Mismatch<'a>>);

/// Puts the best host first; within one, the order given is that of precedence already.
pub(super) fn candidates(mut asked: Vec<Asked<'_>>) -> Vec<Candidate<'_>> {
    asked.sort_by_key(|(host, ..)| (host.is_none(), *host));
    let taken = asked.iter().position(|(.., mismatch)| mismatch.is_none());
    let verdict = |place, mismatch| match mismatch {
        Some(mismatch) => Verdict::Refused(mismatch),
        None if taken == Some(place) => Verdict::Taken,
        None => Verdict::Outranked,
    };
    let candidate = |(place, (_, found, match_index, mismatch))| Candidate {
        found,
        match_index,
        verdict: verdict(place, mismatch),
    };
    asked.into_iter().enumerate().map(candidate).collect()
}
