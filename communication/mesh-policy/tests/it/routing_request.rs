//! A request for the tests.

use std::collections::BTreeMap;

use mesh_policy::{path, route::RequestView};

#[derive(Debug, Default, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) headers: BTreeMap<String, String>,
}

impl Request {
    /// From such as `GET /path?query`.
    #[track_caller]
    pub(crate) fn new(line: &str) -> Self {
        let (method, target) = line.split_once(' ').expect("method and target");
        let (raw, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        };
        let path = path::normalise(raw.as_bytes()).expect("a good path").into_owned();
        Self { method: method.to_owned(), path, query, ..Self::default() }
    }
}

impl RequestView for Request {
    fn method(&self) -> &str {
        &self.method
    }
    fn host(&self) -> &str {
        &self.host
    }
    fn path(&self) -> &str {
        &self.path
    }
    fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}
