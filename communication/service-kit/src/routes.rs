//! The route table of a service: what may be called, and how each change is tested.
//!
//! A route that changes something can only be added together with a [`MutatingRoute`] row, which
//! carries a sample of it: the conformance tests call every row twice, sixteen times at once and
//! after its undo, so a new route without a row does not compile and one that is not idempotent
//! fails. The table also finds the template of a path itself, because fixed segments are matched
//! in any letter case (clients of the original differ) and a leading version such as `/v0.1.0` is
//! skipped, which axum's router cannot do.

use axum::{Router, handler::Handler, routing::MethodFilter};
use http::Method;
use serde_json::Value;

/// A call of a sample: what to send and where.
#[derive(Debug, Clone, PartialEq)]
pub struct SampleCall {
    /// Method of the call.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// Body, when there is one.
    pub body: Option<Value>,
}

impl SampleCall {
    /// A call with a body.
    #[must_use]
    pub fn new(method: Method, path: impl Into<String>, body: Option<Value>) -> Self {
        Self { method, path: path.into(), body }
    }
}

/// One sample of a mutating route.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Calls that must have succeeded before, in order.
    pub before: Vec<SampleCall>,
    /// The call itself.
    pub call: SampleCall,
    /// The same call with another meaning, for the test of a key that is used twice.
    pub other_body: Option<Value>,
    /// The call that takes it back under the same operation, when there is one.
    pub undo: Option<SampleCall>,
}

/// What a route promises about repetition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repetition {
    /// It goes through [`crate::Operation`]: one effect a key, replays, tombstones, fencing.
    Keyed,
    /// It has a proof of its own: the test of this name.
    ProvenBy(&'static str),
}

/// A method that changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `PATCH`
    Patch,
    /// `DELETE`
    Delete,
}

impl Change {
    /// As HTTP names it.
    #[must_use]
    pub const fn method(self) -> Method {
        match self {
            Self::Post => Method::POST,
            Self::Put => Method::PUT,
            Self::Patch => Method::PATCH,
            Self::Delete => Method::DELETE,
        }
    }

    const fn filter(self) -> MethodFilter {
        match self {
            Self::Post => MethodFilter::POST,
            Self::Put => MethodFilter::PUT,
            Self::Patch => MethodFilter::PATCH,
            Self::Delete => MethodFilter::DELETE,
        }
    }
}

/// A row of the table: a route that changes something.
#[derive(Debug, Clone, Copy)]
pub struct MutatingRoute {
    /// Method.
    pub change: Change,
    /// Template such as `/api/accounts/{id}`.
    pub path: &'static str,
    /// What it promises.
    pub repetition: Repetition,
    /// The `n`-th sample; different numbers must touch different things.
    pub sample: fn(n: u32) -> Sample,
}

/// The routes of one service, with `S` as the state of its handlers.
#[derive(Debug)]
pub struct Routes<S = ()> {
    router: Router<S>,
    table: Table,
    mutating: Vec<MutatingRoute>,
}

impl<S: Clone + Send + Sync + 'static> Default for Routes<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// No routes.
    #[must_use]
    pub fn new() -> Self {
        Self { router: Router::new(), table: Table::default(), mutating: Vec::new() }
    }

    /// Adds a route that changes nothing: `GET`, and with it `HEAD`.
    #[must_use]
    pub fn get<H, T>(mut self, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        self.table.add(Method::GET, path);
        self.router = self.router.route(path, axum::routing::get(handler));
        self
    }

    /// Adds a route that changes something, together with its row for the tests.
    #[must_use]
    pub fn change<H, T>(mut self, row: MutatingRoute, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        self.table.add(row.change.method(), row.path);
        self.router = self.router.route(row.path, axum::routing::on(row.change.filter(), handler));
        self.mutating.push(row);
        self
    }

    /// Adds a route of the operators' port, which stands outside the table of the service.
    pub(crate) fn operator<H, T>(mut self, method: Method, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        let filter = MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::PUT);
        self.table.add(method, path);
        self.router = self.router.route(path, axum::routing::on(filter, handler));
        self
    }

    /// Adds the routes of another part of the service.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.table.0.extend(other.table.0);
        self.mutating.extend(other.mutating);
        Self { router: self.router.merge(other.router), ..self }
    }

    /// Gives the handlers their state.
    #[must_use]
    pub fn with_state(self, state: S) -> Routes<()> {
        Routes { router: self.router.with_state(state), table: self.table, mutating: self.mutating }
    }

    /// The rows of everything that changes something.
    #[must_use]
    pub fn mutating(&self) -> &[MutatingRoute] {
        &self.mutating
    }
}

impl Routes<()> {
    pub(crate) fn into_parts(self) -> (Router, Table) {
        (self.router, self.table)
    }
}

/// Templates and their methods.
#[derive(Debug, Default)]
pub(crate) struct Table(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    method: Method,
    path: &'static str,
    segments: Vec<Segment>,
}

#[derive(Debug)]
enum Segment {
    Fixed(&'static str),
    Parameter,
}

/// What the table says about a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The template, and the path with its fixed segments as in the template.
    Route {
        template: &'static str,
        path: String,
        /// The version that stood before the path, such as `/v0.1.0`; else empty.
        prefix: String,
    },
    /// The path exists, but not with that method.
    OtherMethods(Vec<Method>),
    /// Nothing is there.
    Nothing,
}

impl Table {
    fn add(&mut self, method: Method, path: &'static str) {
        let segment = |text: &'static str| {
            if text.starts_with('{') { Segment::Parameter } else { Segment::Fixed(text) }
        };
        let segments = split(path).map(segment).collect();
        self.0.push(Entry { method, path, segments });
    }

    /// Finds the route of a path. A fixed segment wins over a parameter, left to right.
    pub(crate) fn find(&self, method: &Method, path: &str) -> Found {
        let given: Vec<&str> = split(path).collect();
        // Two slashes in a row would name an empty id.
        if given.iter().any(|it| it.is_empty()) {
            return Found::Nothing;
        }
        match self.find_segments(method, &given) {
            Found::Nothing if given.len() > 1 && is_version(given[0]) => {
                match self.find_segments(method, &given[1..]) {
                    Found::Route { template, path, .. } => {
                        Found::Route { template, path, prefix: format!("/{}", given[0]) }
                    }
                    found => found,
                }
            }
            found => found,
        }
    }

    fn find_segments(&self, method: &Method, given: &[&str]) -> Found {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let mut matching: Vec<&Entry> = self.0.iter().filter(|it| it.matches(given)).collect();
        matching.sort_by_key(|it| it.rank());
        match matching.iter().find(|it| it.method == *method) {
            Some(entry) => Found::Route {
                template: entry.path,
                path: entry.canonical(given),
                prefix: String::new(),
            },
            None if matching.is_empty() => Found::Nothing,
            None => {
                let mut methods: Vec<Method> = Vec::new();
                for entry in matching {
                    if !methods.contains(&entry.method) {
                        methods.push(entry.method.clone());
                    }
                }
                Found::OtherMethods(methods)
            }
        }
    }
}

impl Entry {
    fn matches(&self, given: &[&str]) -> bool {
        let same = |(segment, text): (&Segment, &&str)| match segment {
            Segment::Fixed(fixed) => fixed.eq_ignore_ascii_case(text),
            Segment::Parameter => true,
        };
        self.segments.len() == given.len() && self.segments.iter().zip(given).all(same)
    }

    fn rank(&self) -> Vec<bool> {
        self.segments.iter().map(|it| matches!(it, Segment::Parameter)).collect()
    }

    fn canonical(&self, given: &[&str]) -> String {
        let mut path = String::with_capacity(64);
        if given.is_empty() {
            path.push('/');
        }
        for (segment, text) in self.segments.iter().zip(given) {
            path.push('/');
            path.push_str(match segment {
                Segment::Fixed(fixed) => fixed,
                Segment::Parameter => text,
            });
        }
        path
    }
}

/// The segments of a path; the root has none.
fn split(path: &str) -> impl Iterator<Item = &str> {
    let inner = path.strip_prefix('/').unwrap_or(path);
    let segments = inner.strip_suffix('/').unwrap_or(inner).split('/');
    segments.take(if path == "/" { 0 } else { usize::MAX })
}

/// `v1`, `v0.1.0` and the like.
fn is_version(segment: &str) -> bool {
    let Some(numbers) = segment.strip_prefix(['v', 'V']) else { return false };
    numbers.split('.').all(|it| !it.is_empty() && it.bytes().all(|digit| digit.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::default();
        table.add(Method::GET, "/api/orders/{id}");
        table.add(Method::PUT, "/api/orders/{id}");
        table.add(Method::GET, "/api/orders/summary");
        table.add(Method::GET, "/api/orders/{id}/items/{item}");
        table
    }

    #[track_caller]
    fn check(path: &str, expected: Option<(&'static str, &str)>) {
        let found = match table().find(&Method::GET, path) {
            Found::Route { template, path, .. } => Some((template, path)),
            Found::OtherMethods(_) | Found::Nothing => None,
        };
        assert_eq!(found, expected.map(|it| (it.0, it.1.to_owned())), "{path}");
    }

    #[test]
    fn fixed_segments_match_in_any_case_and_ids_keep_theirs() {
        check("/API/Orders/AbC", Some(("/api/orders/{id}", "/api/orders/AbC")));
        check(
            "/api/ORDERS/a/Items/B",
            Some(("/api/orders/{id}/items/{item}", "/api/orders/a/items/B")),
        );
        check("/api/orders/a/other/B", None);
    }

    #[test]
    fn a_fixed_segment_wins_over_a_parameter() {
        check("/api/orders/Summary", Some(("/api/orders/summary", "/api/orders/summary")));
        assert_eq!(
            table().find(&Method::PUT, "/api/orders/summary"),
            Found::Route {
                template: "/api/orders/{id}",
                path: "/api/orders/summary".to_owned(),
                prefix: String::new()
            }
        );
    }

    #[test]
    fn a_leading_version_and_a_trailing_slash_are_skipped() {
        check("/v0.1.0/api/orders/a/", Some(("/api/orders/{id}", "/api/orders/a")));
        check("/V2/api/orders/a", Some(("/api/orders/{id}", "/api/orders/a")));
        check("/vx/api/orders/a", None);
        check("/v1", None);
        check("/api/orders//", None);
    }

    #[test]
    fn the_root_is_a_path_of_its_own() {
        check("/", None);
        let mut table = table();
        table.add(Method::GET, "/");
        let found = table.find(&Method::GET, "/");
        assert!(
            matches!(&found, Found::Route { template: "/", path, .. } if path == "/"),
            "{found:?}"
        );
        assert_eq!(table.find(&Method::GET, "//"), Found::Nothing);
    }

    #[test]
    fn a_known_path_with_another_method_names_the_methods() {
        assert_eq!(
            table().find(&Method::DELETE, "/api/orders/a/items/b"),
            Found::OtherMethods(vec![Method::GET])
        );
    }

    #[test]
    fn a_method_that_two_templates_of_a_path_have_is_named_once() {
        assert_eq!(
            table().find(&Method::DELETE, "/api/orders/summary"),
            Found::OtherMethods(vec![Method::GET, Method::PUT])
        );
    }

    #[test]
    fn head_is_served_by_get() {
        assert!(matches!(table().find(&Method::HEAD, "/api/orders/a"), Found::Route { .. }));
    }
}
