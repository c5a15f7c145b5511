//! What is denied, and what is replaced: issuers at half their life, anchors on demand.

use std::time::Duration;

use base::Timestamp;

use super::{
    Authority,
    signer::{Signer, Span},
    state::{AnchorState, NotFirst, Pair, ReadStateError, Stands},
};
use crate::{
    bundle::{AnchorId, REVOKED_MAX},
    certificate::Serial,
    rotation::{KeepAnchor, RotationStep, may_drop, next_step},
    verify::SKEW,
};

/// Why an anchor or issuer was not replaced.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// One replacement at a time.
    #[error("anchors are being replaced already; the next step is due at {until}")]
    UnderWay {
        /// When the next step is due.
        until: Timestamp,
    },
    /// The anchor stays.
    #[error(transparent)]
    Kept(#[from] KeepAnchor),
    /// A certificate could not be made.
    #[error("the certificate could not be made")]
    Make(#[from] rcgen::Error),
    /// The key of the anchor cannot be read.
    #[error(transparent)]
    State(#[from] ReadStateError),
    /// It has no key of an anchor.
    #[error(transparent)]
    Branch(#[from] NotFirst),
}

/// What a step of time changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A new issuer signs.
    Issuer,
    /// Another anchor signs.
    Switched(AnchorId),
    /// An anchor is gone.
    Dropped(AnchorId),
}

impl Authority {
    /// Denies a certificate until it would be over by itself. Processes learn of it with their next
    /// look at the bundle.
    ///
    /// # Errors
    /// This is a branch.
    pub fn revoke(&mut self, serial: Serial, now: Timestamp) -> Result<(), RotateError> {
        // An issuer lives longest of all that is not an anchor; one of a branch may live longer than ours.
        let longest = self.config.issuer_life_s.max(self.config.identity_life_s);
        let first = self.state.first()?;
        let longest = now + Duration::from_secs(longest);
        let until = first.end_below().map_or(longest, |it| it.max(longest)) + SKEW;
        first.revoked.retain(|_, until| now < *until);
        if first.revoked.len() >= REVOKED_MAX {
            let earliest = first.revoked.iter().min_by_key(|(_, until)| **until);
            if let Some(serial) = earliest.map(|(serial, _)| serial.clone()) {
                first.revoked.remove(&serial);
            }
        }
        first.revoked.insert(serial, until);
        first.bundle_version += 1;
        Ok(())
    }

    /// Makes a new issuer, which signs from now on. Nobody has to learn of it beforehand: whoever
    /// shows an identity shows its issuer too.
    ///
    /// # Errors
    /// The anchor's key cannot be read, or no certificate can be made.
    pub fn rotate_issuer(&mut self, now: Timestamp) -> Result<(), RotateError> {
        self.sign_below(self.state.signs.clone(), now)
    }

    fn sign_below(&mut self, anchor: AnchorId, now: Timestamp) -> Result<(), RotateError> {
        let domain = self.state.trust_domain.clone();
        let first = self.state.first()?;
        let life = Duration::from_secs(self.config.issuer_life_s);
        let name = format!("{domain} issuer {}", first.made + 1);
        let issuer = first.anchor(&anchor)?.pair.signer()?.issuer(&name, Span::of(now, life))?;
        first.made += 1;
        self.state.issuer = Pair::of(&issuer);
        self.state.signs = anchor;
        self.issuer = issuer;
        Ok(())
    }

    /// Begins to replace the anchor: the new one is published. [`advance`](Self::advance) does the rest.
    ///
    /// # Errors
    /// A replacement is under way, or no certificate can be made.
    pub fn rotate_anchor(&mut self, now: Timestamp) -> Result<AnchorId, RotateError> {
        self.state.first()?;
        // One at a time, so two stand at the most.
        match self.next_step(now) {
            RotationStep::Nothing => {}
            RotationStep::Wait { until } => return Err(RotateError::UnderWay { until }),
            RotationStep::Switch { .. } | RotationStep::Drop { .. } => {
                return Err(RotateError::UnderWay { until: now });
            }
        }
        let domain = self.state.trust_domain.clone();
        let first = self.state.first()?;
        let name = format!("{domain} anchor {}", first.made + 1);
        let life = Duration::from_secs(self.config.anchor_life_s);
        let anchor = AnchorState::new(&Signer::anchor(&name, Span::of(now, life))?, now);
        let id = anchor.id.clone();
        first.made += 1;
        first.anchors.push(anchor);
        first.bundle_version += 1;
        Ok(id)
    }

    /// Drops an anchor that nobody needs.
    ///
    /// # Errors
    /// It signs, or is in use.
    pub fn drop_anchor(&mut self, anchor: &AnchorId, now: Timestamp) -> Result<(), RotateError> {
        self.state.first()?;
        let (anchors, signs) = self.anchors();
        may_drop(&anchors, signs, anchor, now)?;
        let first = self.state.first()?;
        first.anchors.retain(|it| it.id != *anchor);
        first.bundle_version += 1;
        self.in_use_until.remove(anchor);
        Ok(())
    }

    /// When the next step of a replacement is due, and which.
    #[must_use]
    pub fn next_step(&self, now: Timestamp) -> RotationStep {
        let (anchors, signs) = self.anchors();
        next_step(&anchors, signs, Duration::from_secs(self.config.identity_life_s), now)
    }

    /// Does what is due; `None` when nothing is, and in a branch. To be called again until then.
    ///
    /// # Errors
    /// No certificate can be made.
    pub fn advance(&mut self, now: Timestamp) -> Result<Option<Change>, RotateError> {
        match self.next_step(now) {
            RotationStep::Switch { to } => {
                self.sign_below(to.clone(), now)?;
                return Ok(Some(Change::Switched(to)));
            }
            RotationStep::Drop { anchor } => {
                self.drop_anchor(&anchor, now)?;
                return Ok(Some(Change::Dropped(anchor)));
            }
            RotationStep::Nothing | RotationStep::Wait { .. } => {}
        }
        if matches!(self.state.stands, Stands::Branch(_)) {
            // Its issuer comes with the next file.
            return Ok(None);
        }
        let (not_before, not_after) = self.issuer.validity();
        if now < not_before + not_after.saturating_since(not_before) / 2 {
            return Ok(None);
        }
        self.rotate_issuer(now)?;
        Ok(Some(Change::Issuer))
    }
}
