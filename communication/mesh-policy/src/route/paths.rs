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
    children: BTreeMap<Box<[u8]>, usize>,
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

    /// The first condition whose path may be this one and that `takes` the request, by precedence: the
    /// exact path, then prefixes from the longest, then methods of any gRPC service, then regular
    /// expressions, which are still to be tried, then the prefix `/`.
    pub(super) fn first(&self, path: &str, takes: impl Fn(usize) -> bool) -> Option<usize> {
        let first = |list: &[usize]| list.iter().copied().find(|place| takes(*place));
        let (deepest, is_whole) = self.descend(path);
        if is_whole && let Some(place) = first(&self.nodes[deepest].exact) {
            return Some(place);
        }
        let mut node = deepest;
        while node != ROOT {
            if let Some(place) = first(&self.nodes[node].prefix) {
                return Some(place);
            }
            node = self.nodes[node].parent;
        }
        self.of_method(path)
            .and_then(first)
            .or_else(|| first(&self.regexes))
            .or_else(|| first(&self.nodes[ROOT].prefix))
    }

    fn of_method(&self, path: &str) -> Option<&[usize]> {
        if self.grpc_methods.is_empty() {
            return None;
        }
        self.grpc_methods.get(grpc_method(path)?).map(Vec::as_slice)
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
fn elements(path: &str) -> impl Iterator<Item = &[u8]> {
    let path = path.as_bytes().strip_prefix(b"/");
    path.into_iter().flat_map(|it| it.split(|byte| *byte == b'/'))
}
