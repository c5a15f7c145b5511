//! The form before the present one, in which every authority had the keys of its anchors.

use std::collections::BTreeMap;

use base::Timestamp;
use serde::Deserialize;

use super::{AnchorState, First, Pair, Stands, VERSION};
use crate::{bundle::AnchorId, certificate::Serial};

/// Form 1.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    #[expect(dead_code, reason = "who reads it has looked at it; no other member may stand there")]
    version: u32,
    trust_domain: String,
    bundle_version: u64,
    made: u64,
    anchors: Vec<AnchorState>,
    signs: AnchorId,
    issuer: Pair,
    revoked: BTreeMap<Serial, Timestamp>,
}

impl State {
    /// The same as it is written now.
    pub(super) fn into_present(self) -> super::State {
        let Self { trust_domain, bundle_version, made, anchors, signs, issuer, revoked, .. } = self;
        let first = First { bundle_version, made, anchors, revoked, branches: Vec::new() };
        super::State { version: VERSION, trust_domain, signs, issuer, stands: Stands::First(first) }
    }
}
