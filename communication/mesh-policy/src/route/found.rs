//! The rule that takes a request.

use super::{Match, Route, Rule};

/// The rule that takes a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Found<'a> {
    /// Its route.
    pub route: &'a Route,
    /// Its place among those of the table, from 0.
    pub route_index: usize,
    /// The rule.
    pub rule: &'a Rule,
    /// Its place in the route, from 0.
    pub rule_index: usize,
    /// The match that decided; a rule without matches has the one that takes everything.
    pub matched: &'a Match,
}

/// What a rule without matches says: the prefix `/`.
pub(super) static EVERYTHING: Match =
    Match { path: None, method: None, headers: Vec::new(), query: Vec::new(), version: None };
