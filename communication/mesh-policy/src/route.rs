//! Routes: what a request looks like and where it goes then. Semantics: Gateway API 1.7, exactly.
//!
//! The types of this file are what people write; a [`Table`] is the same, ready to be asked.

mod backend;
mod check;
mod condition;
mod error;
mod explain;
mod found;
mod hosts;
mod paths;
mod table;

pub use backend::choose_backend;
pub use condition::Mismatch;
pub(crate) use condition::normal as check_path;
pub use error::{CompileError, Flaw};
pub use explain::{Candidate, Verdict};
pub use found::Found;
pub use table::Table;

pub use crate::request::RequestView;

use std::time::Duration;

use crate::{filter::Filter, retry, version::VersionMatch};

/// One HTTPRoute or GRPCRoute.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// `namespace/name`.
    pub name: String,
    /// Which protocol's words it was written in; a gRPC route that matches nothing answers status 12.
    pub kind: RouteKind,
    /// Seconds since 1970 of `metadata.creationTimestamp`; among equals the oldest wins.
    pub created: Option<i64>,
    /// What it is attached to.
    pub parents: Vec<Parent>,
    /// Hosts that it serves, such as `example.com` or `*.example.com`; none means every one.
    pub hostnames: Vec<String>,
    /// Its rules; the first one wins among equals.
    pub rules: Vec<Rule>,
}

/// The words that a route was written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteKind {
    /// HTTPRoute.
    Http,
    /// GRPCRoute.
    Grpc,
}

/// What a route is attached to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parent {
    /// Requests that come in through the edge of this name.
    Gateway {
        /// Name of the edge.
        name: String,
        /// One listener of it; `None` means all.
        section: Option<String>,
    },
    /// Requests that a client inside makes to this service.
    Service {
        /// Name of the service.
        name: String,
    },
}

/// One rule of a route.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rule {
    /// Its name, for people.
    pub name: Option<String>,
    /// Any of these; none means every request.
    pub matches: Vec<Match>,
    /// What is changed on the way.
    pub filters: Vec<Filter>,
    /// How long it may take; members that are absent take the destination's.
    pub timeouts: Timeouts,
    /// When it is tried again; absent means the destination's rule.
    pub retry: Option<retry::RouteRetry>,
    /// Where it goes, by weight. None is 500, as the Gateway API wants, unless a filter answers.
    pub backends: Vec<Backend>,
}

/// Bounds of one rule. `Some(ZERO)` switches a bound off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timeouts {
    /// The whole request, all tries and waits included.
    pub request: Option<Duration>,
    /// One try.
    pub backend_request: Option<Duration>,
}

/// One condition on a request: everything in it must hold.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Match {
    /// The path; absent is the prefix `/`.
    pub path: Option<PathMatch>,
    /// The method, in upper case.
    pub method: Option<String>,
    /// Header fields; names in lower case. Of two for one name the first counts, as the API has it.
    pub headers: Vec<ValueMatch>,
    /// Parameters of the query; likewise.
    pub query: Vec<ValueMatch>,
    /// The version that the request asks for; our own.
    pub version: Option<VersionMatch>,
}

/// How a path is compared. Paths are normalised before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathMatch {
    /// The whole path, to the letter.
    Exact(String),
    /// By elements: `/abc` is `/abc`, `/abc/`, `/abc/d`, not `/abcd`.
    Prefix(String),
    /// A regular expression over the whole path.
    Regex(String),
    /// A gRPC service and method; at least one is given.
    Grpc {
        /// Full name of the service.
        service: Option<String>,
        /// Method.
        method: Option<String>,
    },
}

/// A name with what its value must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueMatch {
    /// Name.
    pub name: String,
    /// Value.
    pub value: ValuePattern,
}

/// What a value must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValuePattern {
    /// This, to the letter.
    Exact(String),
    /// A regular expression over the whole value.
    Regex(String),
}

/// Where a rule leads.
#[derive(Debug, Clone, PartialEq)]
pub struct Backend {
    /// Name of the service, such as `account` or `account-v2`.
    pub service: String,
    /// Its port, where the file names one; endpoints carry their own.
    pub port: Option<u16>,
    /// Its share is weight / sum; 0 means never.
    pub weight: u32,
    /// What is changed on the way to this one alone.
    pub filters: Vec<Filter>,
}

impl Match {
    /// The prefix that it compares, without a slash at its end: what [`crate::filter::PathChange`]
    /// replaces. Empty where it has none, which a table refuses beside a change of the prefix.
    #[must_use]
    pub fn prefix(&self) -> &str {
        match &self.path {
            Some(PathMatch::Prefix(prefix)) => prefix.trim_end_matches('/'),
            Some(PathMatch::Exact(_) | PathMatch::Regex(_) | PathMatch::Grpc { .. }) | None => "",
        }
    }
}
