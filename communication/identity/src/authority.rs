//! The authority: it signs identities for those who show who they are, and replaces what it signs with.
//!
//! Time comes in; keys are made by the operating system's chance. An anchor signs nothing but
//! issuers, an issuer nothing but services. It refuses to sign with an issuer that is over, to give
//! anybody a name of its own choice, and to drop an anchor that is in use.

mod branch;
mod carry;
mod issue;
mod replace;
mod self_made;
mod signer;
mod state;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use base::Timestamp;
use serde::Deserialize;

pub use self::{
    branch::{BRANCH_LIFE, BRANCHES_MAX, BranchError, BranchFileError, BranchMade},
    carry::SignError,
    issue::{IssueError, Issued},
    replace::{Change, RotateError},
    self_made::SelfMade,
    signer::RequestError,
    state::{Given, NotFirst, ReadStateError},
};
use self::{
    issue::Member,
    signer::{Signer, Span},
    state::{AnchorState, First, Pair, Stands, State, VERSION},
};
pub(crate) use self::{issue::proof_of, signer::request};
use crate::{
    bundle::{AnchorId, Bundle, SignedBundle},
    claims::Claims,
    name::{ParseSpiffeIdError, SpiffeId},
    public::PublicName,
    rotation::AnchorUse,
    token::Tokens,
};

/// How long things live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthorityConfig {
    /// Life of an identity, in seconds.
    pub identity_life_s: u64,
    /// Life of an issuer, in seconds; a new one is made at half of it.
    pub issuer_life_s: u64,
    /// Life of an anchor, in seconds.
    pub anchor_life_s: u64,
}

impl Default for AuthorityConfig {
    fn default() -> Self {
        Self { identity_life_s: 3_600, issuer_life_s: 7 * 86_400, anchor_life_s: 3_650 * 86_400 }
    }
}

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
pub enum FoundError {
    /// The trust domain is none.
    #[error(transparent)]
    TrustDomain(#[from] ParseSpiffeIdError),
    /// A certificate could not be made.
    #[error("the certificate could not be made")]
    Make(#[from] rcgen::Error),
}

/// The authority of one trust domain.
#[derive(Debug)]
pub struct Authority {
    config: AuthorityConfig,
    state: State,
    issuer: Signer,
    /// Until when each anchor is in use by identities that were issued here.
    in_use_until: BTreeMap<AnchorId, Timestamp>,
    /// The bundle of that version as it is carried. A signature is another one each time that it is made.
    signed: Option<(u64, Arc<SignedBundle>)>,
    tokens: Tokens,
    /// Who may have which names without a token.
    claims: Claims,
    /// What a service is called by those who have no identity: names of the DNS and addresses.
    hosts: BTreeMap<SpiffeId, Vec<PublicName>>,
    /// The last identity of each process, the oldest first.
    members: VecDeque<Member>,
}

impl Authority {
    /// A new one, with a new anchor.
    ///
    /// # Errors
    /// The trust domain is none, or the system has no chance to give.
    pub fn found(
        config: AuthorityConfig,
        trust_domain: &str,
        now: Timestamp,
    ) -> Result<Self, FoundError> {
        // Any name shows whether the domain can have one.
        SpiffeId::new(trust_domain, "a", "a")?;
        let life = Duration::from_secs(config.anchor_life_s);
        let anchor = Signer::anchor(&format!("{trust_domain} anchor 1"), Span::of(now, life))?;
        let issuer = anchor.issuer(
            &format!("{trust_domain} issuer 2"),
            Span::of(now, Duration::from_secs(config.issuer_life_s)),
        )?;
        let anchor = AnchorState::new(&anchor, now);
        let signs = anchor.id.clone();
        let first = First {
            bundle_version: 1,
            made: 2,
            anchors: vec![anchor],
            revoked: BTreeMap::new(),
            branches: Vec::new(),
        };
        let state = State {
            version: VERSION,
            trust_domain: trust_domain.to_owned(),
            signs,
            issuer: Pair::of(&issuer),
            stands: Stands::First(first),
        };
        Ok(Self::with(config, state, issuer, now))
    }

    /// The one that [`state`](Self::state) was written by.
    ///
    /// # Errors
    /// The text is not such a state, of this trust domain.
    pub fn resume(
        config: AuthorityConfig,
        trust_domain: &str,
        state: &str,
        now: Timestamp,
    ) -> Result<Self, ReadStateError> {
        let state = State::read(state, trust_domain)?;
        let issuer = state.issuer.signer()?;
        Ok(Self::with(config, state, issuer, now))
    }

    fn with(config: AuthorityConfig, state: State, issuer: Signer, now: Timestamp) -> Self {
        // What was issued before this start is not known; it is over by then.
        let until = now + Duration::from_secs(config.identity_life_s);
        let in_use_until = match &state.stands {
            Stands::First(first) => first.anchors.iter().map(|it| (it.id.clone(), until)).collect(),
            Stands::Branch(_) => BTreeMap::new(),
        };
        let (tokens, claims) = (Tokens::default(), Claims::default());
        let (hosts, members) = (BTreeMap::new(), VecDeque::new());
        let signed = None;
        Self { config, state, issuer, in_use_until, signed, tokens, claims, hosts, members }
    }

    /// Who may have which names from now on without a token; nobody before it was said. Not kept: whoever
    /// opens the authority says it.
    pub fn admit(&mut self, claims: Claims) {
        self.claims = claims;
    }

    /// Vouches from now on for what strangers call this service as well. Those with an identity go by its
    /// own name alone. It is not kept: whoever opens the authority says it.
    pub fn call_also(&mut self, id: SpiffeId, hosts: Vec<PublicName>) {
        self.hosts.insert(id, hosts);
    }

    /// All that has to be kept, with the keys: for a file that nobody else reads.
    #[must_use]
    pub fn state(&self) -> String {
        self.state.write()
    }

    /// Stands on this state from now on, as [`state`](Self::state) wrote it; who has asked it before is known all
    /// the same.
    pub(crate) fn stand_on(&mut self, state: &str) -> Result<(), ReadStateError> {
        let state = State::read(state, &self.state.trust_domain)?;
        self.issuer = state.issuer.signer()?;
        (self.state, self.signed) = (state, None);
        Ok(())
    }

    /// Whom to trust.
    #[must_use]
    pub fn bundle(&self) -> Bundle {
        self.state.bundle()
    }

    /// The anchors whose keys are here, from the oldest to the newest, and the one that signs. A branch has none.
    #[must_use]
    pub fn anchors(&self) -> (Vec<AnchorUse>, &AnchorId) {
        let uses = match &self.state.stands {
            Stands::First(first) => first.anchors.iter().map(|it| self.use_of(first, it)).collect(),
            Stands::Branch(_) => Vec::new(),
        };
        (uses, &self.state.signs)
    }

    fn use_of(&self, first: &First, anchor: &AnchorState) -> AnchorUse {
        let since = anchor.trusted_since;
        let issued = self.in_use_until.get(&anchor.id).copied().unwrap_or(since);
        // Nobody talks to a branch that is denied: it is waited for no longer.
        let branches = first.branches.iter().filter(|it| !first.revoked.contains_key(&it.serial));
        let life = Duration::from_secs(self.config.identity_life_s);
        let below = branches.clone().filter(|it| it.anchor == anchor.id).map(|it| it.until + life);
        let before = branches.filter(|it| it.made <= since).map(|it| it.until);
        AnchorUse {
            id: anchor.id.clone(),
            trusted_since: since,
            unheard_until: before.max().map_or(since, |it| it.max(since)),
            in_use_until: below.max().map_or(issued, |it| it.max(issued)),
        }
    }

    /// From when until when the issuer may sign.
    #[must_use]
    pub const fn issuer_validity(&self) -> (Timestamp, Timestamp) {
        self.issuer.validity()
    }
}
