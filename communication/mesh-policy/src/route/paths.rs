//! Which conditions a path can meet, the most specific first.
//!
//! A tree of path elements: one walk down finds the longest prefix, the way back up gives the
//! shorter ones. The walk ends where no rule goes on, so its cost is bounded by the longest path of
//! the rules, whatever a client sends, and it allocates nothing.

use std::collections::BTreeMap;

use super::condition::{Condition, PathCondition, grpc_method};

/// The conditions of one hostname. Every list holds places in the table, in order of precedence.
#[derive(Debug)]
pub(super) struct Paths {
    /// The root is the first.
    nodes: Vec<Node>,
    /// gRPC methods of any service.
    grpc_methods: BTreeMap<Box<str>, Vec<usize>>,
    regexes: Vec<usize>,
}

#[derive(Debug, Default)]
struct Node {
    parent: usize,
    children: BTreeMap<Box<str>, usize>,
    /// For paths that end here.
    exact: Vec<usize>,
    /// For paths that end here or go on.
    prefix: Vec<usize>,
}

const ROOT: usize = 0;

impl Default for Paths {
    fn default() -> Self {
        let (grpc_methods, regexes) = (BTreeMap::new(), Vec::new());
        Self { nodes: vec![Node::default()], grpc_methods, regexes }
    }
}

impl Paths {
    /// Adds a condition behind all those that come before it otherwise.
    pub(super) fn add(&mut self, place: usize, condition: &Condition) {
        let list = match &condition.path {
            PathCondition::Exact(path) => {
                let node = self.node(path);
                &mut self.nodes[node].exact
            }
            PathCondition::Prefix(path) => {
                let node = self.node(path);
                &mut self.nodes[node].prefix
            }
            PathCondition::GrpcMethod(method) => {
                self.grpc_methods.entry(method.as_str().into()).or_default()
            }
            PathCondition::Regex(_) => &mut self.regexes,
        };
        // A route with two hostnames that are one in lower case comes here twice.
        if list.last() != Some(&place) {
            list.push(place);
        }
    }

    /// The node of a path, made where it is missing; an empty path is the root.
    fn node(&mut self, path: &str) -> usize {
        let mut node = ROOT;
        for element in elements(path) {
            let next = self.nodes.len();
            let child = *self.nodes[node].children.entry(element.into()).or_insert(next);
            if child == next {
                self.nodes.push(Node { parent: node, ..Node::default() });
            }
            node = child;
        }
        node
    }

    /// The conditions whose path may be this one, by precedence: the exact path, then prefixes from
    /// the longest, then methods of any gRPC service, then regular expressions, which are still to
    /// be tried, then the prefix `/`.
    pub(super) fn candidates<'a>(&'a self, path: &'a str) -> impl Iterator<Item = usize> + 'a {
        let (deepest, is_whole) = self.descend(path);
        let exact = if is_whole { self.nodes[deepest].exact.as_slice() } else { &[] };
        let upwards = std::iter::successors(Some(deepest), |node| Some(self.nodes[*node].parent));
        let prefixes = upwards.take_while(|node| *node != ROOT);
        let prefixes = prefixes.flat_map(|node| &self.nodes[node].prefix);
        let methods = grpc_method(path).and_then(|it| self.grpc_methods.get(it));
        let any_path = self.regexes.iter().chain(&self.nodes[ROOT].prefix);
        exact.iter().chain(prefixes).chain(methods.into_iter().flatten()).chain(any_path).copied()
    }

    /// The node that goes with most of the path, and whether with all of it.
    fn descend(&self, path: &str) -> (usize, bool) {
        let mut node = ROOT;
        for element in elements(path) {
            let Some(child) = self.nodes[node].children.get(element) else {
                return (node, false);
            };
            node = *child;
        }
        (node, true)
    }
}

/// `/a/b` is `a`, `b`; `/a/` is `a` and an empty one, which only an exact path can ask for.
fn elements(path: &str) -> impl Iterator<Item = &str> {
    path.strip_prefix('/').into_iter().flat_map(|it| it.split('/'))
}
