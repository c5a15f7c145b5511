//! Policy as people write it: the Gateway API's YAML where it has a kind, and a few kinds of our own.
//!
//! Whatever is not understood is an error, with its place and the nearest word that is: a member
//! that is silently passed over is a policy that its author believes in and nobody keeps. All errors
//! of all files are told at once.
//!
//! From `gateway.networking.k8s.io/v1`: `HTTPRoute`, `GRPCRoute`; from
//! `gateway.networking.x-k8s.io/v1alpha1`: `XBackendTrafficPolicy`; with the bounds that the API's
//! own schema has (so many rules, matches, characters). Ours, `skein/v1`: `Proxy`, `Endpoints`,
//! `TrafficPolicy`, `ApiVersions`, `RateLimit`, `Fault`, `Authorization`, `EdgeAccess`. Services have flat names: a
//! reference into another namespace is refused. A port of a reference is read and not used, endpoints carry theirs.
//!
//! It refuses to open files: texts come in, a [`Policy`] goes out.
//!
//! ```
//! use mesh_policy::schema::{SourceFile, read};
//!
//! let text = "apiVersion: skein/v1\nkind: Endpoints\nmetadata: {name: stock}\n\
//!             spec: {endpoint: [{address: 127.0.0.1:9001}], endpoints: []}\n";
//! let file = SourceFile { name: "stock.yaml".to_owned(), text: text.to_owned() };
//! let findings = read(&[file]).unwrap_err();
//! assert_eq!(
//!     findings[0].to_string(),
//!     "stock.yaml:4:8  Endpoints has no member `endpoint`; did you mean `endpoints`?  [SK1003]"
//! );
//! ```

use std::cell::RefCell;

use crate::Policy;

mod api_versions;
mod assembly;
mod authorization;
mod budget;
mod code;
mod context;
mod document;
pub mod duration;
mod edge_access;
mod endpoints;
mod fault;
mod filters;
mod finding;
mod gateway;
mod grpc_route;
mod http_route;
mod names;
pub(crate) mod nearest;
mod origin;
mod proxy;
mod rate_limit;
mod section;
mod traffic_policy;
mod values;
mod write;
mod yaml;

use assembly::Assembly;
pub use code::Code;
use context::Context;
pub use context::FINDINGS_MAX;
use document::Document;
pub use finding::{Finding, Level};
pub use origin::Origins;
pub use write::write_endpoints;
pub use yaml::{DEPTH_MAX, FILE_BYTES_MAX};

/// One file: what it is called and what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Name, for findings.
    pub name: String,
    /// Text.
    pub text: String,
}

/// Reads files as one policy.
///
/// # Errors
/// Every error of every file, in their order; at most [`FINDINGS_MAX`] and one that says that there
/// are more.
pub fn read(files: &[SourceFile]) -> Result<Policy, Vec<Finding>> {
    read_with_origins(files).map(|(policy, _)| policy)
}

/// Reads files as one policy, and keeps where everything in it was written.
///
/// # Errors
/// As [`read`].
pub fn read_with_origins(files: &[SourceFile]) -> Result<(Policy, Origins), Vec<Finding>> {
    let findings = RefCell::new(Vec::new());
    let origins = RefCell::new(Origins::of(files));
    let contexts: Vec<Context<'_>> =
        (0..files.len()).map(|file| Context::new(files, file, &findings, &origins)).collect();
    let trees: Vec<_> = contexts.iter().map(|it| (it, yaml::documents(it))).collect();
    let nodes =
        trees.iter().flat_map(|(context, nodes)| nodes.iter().map(move |it| (*context, it)));
    let mut documents: Vec<_> =
        nodes.filter_map(|(context, node)| Document::of(context, node)).collect();
    documents.sort_by_key(assembly::phase);
    let mut assembly = Assembly::default();
    for document in &documents {
        assembly.take(document);
    }
    let policy = assembly.finish(contexts.first());
    let mut findings = findings.take();
    if findings.is_empty() {
        return Ok((policy, origins.take()));
    }
    let order = |it: &Finding| files.iter().position(|file| file.name == it.file);
    findings.sort_by_key(|it| (it.code == Code::TooManyFindings, order(it), it.line, it.column));
    Err(findings)
}
