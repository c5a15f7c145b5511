//! Branches: authorities of other machines under the same anchors. A branch has an issuer of its own and no
//! key of an anchor; it hears of new anchors and of denials by bundles that the anchors signed.
//!
//! It refuses to replace or to deny anything: what it said would bind nobody. Its issuer ends by itself, and
//! the first authority can deny it; until then whoever has the file can be every service.

use std::{fmt, sync::Arc, time::Duration};

use base::Timestamp;

use super::{
    Authority, AuthorityConfig,
    carry::SignError,
    signer::Span,
    state::{Branch, Given, NotFirst, Pair, ReadStateError, Stands, State, VERSION},
};
use crate::{
    bundle::{CarriedError, Trust},
    certificate::serial_of,
    rotation::KeepAnchor,
    verify::SKEW,
};

/// How long a branch may issue where nobody says otherwise.
pub const BRANCH_LIFE: Duration = Duration::from_secs(7 * 86_400);
/// Shortest that may be said: a machine is to be reached meanwhile.
const BRANCH_LIFE_MIN: Duration = Duration::from_secs(60);
/// Longest: no step of a replacement is taken before the branches are over that may not know of the one before.
const BRANCH_LIFE_MAX: Duration = Duration::from_secs(366 * 86_400);
/// Branches that are not over; past it none is made.
pub const BRANCHES_MAX: usize = 64;

/// A branch that was made.
#[derive(Clone)]
pub struct BranchMade {
    /// Which one.
    pub given: Given,
    /// The state of its authority, with the key of its issuer: for a file that nobody else reads.
    pub state: String,
}

impl fmt::Debug for BranchMade {
    // The key never gets into a log.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("BranchMade").field("given", &self.given).finish_non_exhaustive()
    }
}

/// Why no branch was made.
#[derive(Debug, thiserror::Error)]
pub enum BranchError {
    /// It has no key of an anchor.
    #[error(transparent)]
    Branch(#[from] NotFirst),
    /// It is to issue for a shorter or longer time than one may.
    #[error("a branch issues for 1 minute to 366 days")]
    Life,
    /// As many stand as may.
    #[error("{BRANCHES_MAX} branches stand, and no more may; those that are over are forgotten")]
    TooMany,
    /// The anchor that signs is not here.
    #[error(transparent)]
    Anchor(#[from] KeepAnchor),
    /// A key cannot be read, or does not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The key of the anchor cannot be read.
    #[error(transparent)]
    State(#[from] ReadStateError),
    /// Whom to trust cannot be carried.
    #[error("the authority's own bundle cannot be carried")]
    Bundle(#[from] CarriedError),
    /// The certificate could not be made.
    #[error("the certificate could not be made")]
    Make(#[from] rcgen::Error),
}

/// Why an authority is not founded by the file of a branch.
#[derive(Debug, thiserror::Error)]
pub enum BranchFileError {
    /// It is no state.
    #[error(transparent)]
    State(#[from] ReadStateError),
    /// It is the state of an authority with keys of anchors.
    #[error(
        "that is no file of a branch, but the state of an authority with the keys of its anchors"
    )]
    NoBranch,
    /// The keys of the anchors are here already.
    #[error("this authority has the keys of its anchors, and becomes no branch")]
    First,
}

impl Authority {
    /// Makes a branch that may issue for so long.
    ///
    /// # Errors
    /// This is a branch, too many stand, the time is too short or too long, or a certificate cannot be made.
    pub fn branch(&mut self, life: Duration, now: Timestamp) -> Result<BranchMade, BranchError> {
        let signed = self.signed()?;
        let trust = Trust::own(Arc::clone(&signed))?;
        let longest = Duration::from_secs(self.config.identity_life_s) + SKEW;
        let signs = self.state.signs.clone();
        let domain = self.state.trust_domain.clone();
        let first = self.state.first()?;
        if !(BRANCH_LIFE_MIN..=BRANCH_LIFE_MAX).contains(&life) {
            return Err(BranchError::Life);
        }
        // What a branch signed at its end is over on every clock by then.
        first.branches.retain(|it| now < it.until + longest);
        if first.branches.len() >= BRANCHES_MAX {
            return Err(BranchError::TooMany);
        }
        let anchor = first.anchor(&signs)?.pair.signer()?;
        let number = first.made + 1;
        let issuer = anchor.issuer(&format!("{domain} branch {number}"), Span::of(now, life))?;
        let serial =
            serial_of(issuer.certificate()).map_err(|_| rcgen::Error::CouldNotParseCertificate)?;
        let until = issuer.validity().1;
        let given = Given { number, serial, anchor: signs.clone(), made: now, until };
        first.made = number;
        first.branches.push(given.clone());
        let state = State {
            version: VERSION,
            trust_domain: domain,
            signs,
            issuer: Pair::of(&issuer),
            stands: Stands::Branch(Branch { number, trust, signed }),
        };
        Ok(BranchMade { given, state: state.write() })
    }

    /// An authority that stands on the file of a branch.
    ///
    /// # Errors
    /// The text is no such file, of this trust domain.
    pub fn found_branch(
        config: AuthorityConfig,
        trust_domain: &str,
        text: &str,
        now: Timestamp,
    ) -> Result<Self, BranchFileError> {
        let state = State::read(text, trust_domain)?;
        if matches!(state.stands, Stands::First(_)) {
            return Err(BranchFileError::NoBranch);
        }
        let issuer = state.issuer.signer()?;
        Ok(Self::with(config, state, issuer, now))
    }

    /// Stands on this file of a branch from now on, where it is newer than the one before; whether it is. The
    /// newer bundle of both stays.
    ///
    /// # Errors
    /// This is no branch, or the text is no file of one.
    pub fn take_branch(&mut self, text: &str) -> Result<bool, BranchFileError> {
        let state = State::read(text, &self.state.trust_domain)?;
        let Stands::Branch(mut new) = state.stands else { return Err(BranchFileError::NoBranch) };
        let Stands::Branch(held) = &mut self.state.stands else {
            return Err(BranchFileError::First);
        };
        let is_newer = new.number > held.number;
        if !is_newer {
            return Ok(false);
        }
        self.issuer = state.issuer.signer()?;
        if held.trust.bundle().version > new.trust.bundle().version {
            (new.trust, new.signed) = (held.trust.clone(), Arc::clone(&held.signed));
        }
        *held = new;
        (self.state.issuer, self.state.signs) = (state.issuer, state.signs);
        Ok(true)
    }

    /// Which branch this is; nothing where the keys of the anchors are here.
    #[must_use]
    pub const fn branch_number(&self) -> Option<u64> {
        match &self.state.stands {
            Stands::First(_) => None,
            Stands::Branch(branch) => Some(branch.number),
        }
    }

    /// When the issuer of a branch ends, once half of its time is over: nobody replaces it but a person.
    pub(crate) fn ageing(&self, now: Timestamp) -> Option<Timestamp> {
        let (from, until) = self.branch_number().map(|_| self.issuer.validity())?;
        (from + until.saturating_since(from) / 2 <= now).then_some(until)
    }

    /// The branches that were made here, from the oldest to the newest.
    #[must_use]
    pub fn branches(&self) -> &[Given] {
        match &self.state.stands {
            Stands::First(first) => &first.branches,
            Stands::Branch(_) => &[],
        }
    }
}
