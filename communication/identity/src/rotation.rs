//! How an anchor is replaced while services run, as a plan over time.
//!
//! First the new anchor is published beside the old one, and every process is given the life of an
//! identity to learn of it: who has not by then has no identity either. Then the new one signs. Then
//! the identities below the old one end. Then it is dropped, never earlier. No step needs a restart,
//! and no process is asked for its consent, so none that is away can stop it.
//!
//! A branch on another machine issues identities also while it hears of nothing. So each step waits for those
//! that do not know of the one before as well, to the end of their issuers.

use std::time::Duration;

use base::Timestamp;

use crate::{bundle::AnchorId, verify::SKEW};

/// What is known of an anchor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnchorUse {
    /// Which one.
    pub id: AnchorId,
    /// Published at that moment.
    pub trusted_since: Timestamp,
    /// Branches that may not have heard of it issue nothing from then on; where there is none, as above.
    pub unheard_until: Timestamp,
    /// The last identity below it ends then.
    pub in_use_until: Timestamp,
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RotationStep {
    /// One anchor stands and signs.
    Nothing,
    /// Nothing before that moment.
    Wait {
        /// The moment.
        until: Timestamp,
    },
    /// Sign below this anchor from now on.
    Switch {
        /// The anchor.
        to: AnchorId,
    },
    /// Nobody needs this anchor any more.
    Drop {
        /// The anchor.
        anchor: AnchorId,
    },
}

/// Why an anchor stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeepAnchor {
    /// There is no such anchor.
    #[error("no anchor {0} stands")]
    Unknown(AnchorId),
    /// Identities are signed below it.
    #[error("anchor {0} signs: rotate first")]
    Signs(AnchorId),
    /// Identities below it are not over yet.
    #[error("anchor {anchor} is in use until {until}")]
    InUse {
        /// The anchor.
        anchor: AnchorId,
        /// The last identity below it is over then, on every clock.
        until: Timestamp,
    },
}

/// The next step; `anchors` from the oldest to the newest, `life` that of an identity.
#[must_use]
pub fn next_step(
    anchors: &[AnchorUse],
    signs: &AnchorId,
    life: Duration,
    now: Timestamp,
) -> RotationStep {
    let Some(newest) = anchors.last() else { return RotationStep::Nothing };
    if newest.id != *signs {
        let until = newest.unheard_until + life + SKEW;
        return if now < until {
            RotationStep::Wait { until }
        } else {
            RotationStep::Switch { to: newest.id.clone() }
        };
    }
    let Some(oldest) = anchors.iter().find(|it| it.id != *signs) else {
        return RotationStep::Nothing;
    };
    match may_drop(anchors, signs, &oldest.id, now) {
        Ok(()) => RotationStep::Drop { anchor: oldest.id.clone() },
        Err(KeepAnchor::InUse { until, .. }) => RotationStep::Wait { until },
        Err(KeepAnchor::Unknown(_) | KeepAnchor::Signs(_)) => RotationStep::Nothing,
    }
}

/// Whether an anchor may go.
///
/// # Errors
/// Why it stays.
pub fn may_drop(
    anchors: &[AnchorUse],
    signs: &AnchorId,
    anchor: &AnchorId,
    now: Timestamp,
) -> Result<(), KeepAnchor> {
    let known = anchors.iter().find(|it| it.id == *anchor);
    let known = known.ok_or_else(|| KeepAnchor::Unknown(anchor.clone()))?;
    if anchor == signs {
        return Err(KeepAnchor::Signs(anchor.clone()));
    }
    let until = known.in_use_until + SKEW;
    if now < until {
        return Err(KeepAnchor::InUse { anchor: anchor.clone(), until });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_secs(3_600);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn anchor(id: &str, trusted_since: i64, in_use_until: i64) -> AnchorUse {
        let (since, in_use_until) = (at(trusted_since), at(in_use_until));
        AnchorUse { id: id.to_owned(), trusted_since: since, unheard_until: since, in_use_until }
    }

    #[track_caller]
    fn check(anchors: &[AnchorUse], signs: &str, now: i64, expected: &RotationStep) {
        assert_eq!(next_step(anchors, &signs.to_owned(), LIFE, at(now)), *expected);
    }

    #[test]
    fn a_new_anchor_signs_once_nobody_can_be_without_it() {
        check(&[anchor("a", 0, 0)], "a", 99, &RotationStep::Nothing);
        let both = [anchor("a", 0, 4_000), anchor("b", 1_000, 0)];
        check(&both, "a", 1_000, &RotationStep::Wait { until: at(1_000 + 3_660) });
        check(&both, "a", 4_659, &RotationStep::Wait { until: at(4_660) });
        check(&both, "a", 4_660, &RotationStep::Switch { to: "b".to_owned() });
    }

    #[test]
    fn a_new_anchor_signs_once_no_branch_that_may_not_know_of_it_issues_any_more() {
        let new = AnchorUse { unheard_until: at(9_000), ..anchor("b", 1_000, 0) };
        let both = [anchor("a", 0, 4_000), new];
        check(&both, "a", 4_660, &RotationStep::Wait { until: at(9_000 + 3_660) });
        check(&both, "a", 12_660, &RotationStep::Switch { to: "b".to_owned() });
    }

    #[test]
    fn an_old_anchor_goes_once_the_last_identity_below_it_is_over_on_every_clock() {
        let both = [anchor("a", 0, 8_000), anchor("b", 1_000, 9_000)];
        check(&both, "b", 8_059, &RotationStep::Wait { until: at(8_060) });
        check(&both, "b", 8_060, &RotationStep::Drop { anchor: "a".to_owned() });
    }

    #[test]
    fn an_anchor_that_signs_or_is_in_use_is_not_dropped_on_demand_either() {
        let both = [anchor("a", 0, 8_000), anchor("b", 1_000, 9_000)];
        let drop = |id: &str, now| may_drop(&both, &"b".to_owned(), &id.to_owned(), at(now));
        assert_eq!(drop("b", 99_999), Err(KeepAnchor::Signs("b".to_owned())));
        let in_use = KeepAnchor::InUse { anchor: "a".to_owned(), until: at(8_060) };
        assert_eq!(drop("a", 8_059), Err(in_use));
        assert_eq!(drop("a", 8_060), Ok(()));
        assert_eq!(drop("c", 0), Err(KeepAnchor::Unknown("c".to_owned())));
    }
}
