//! Enumerations whose ordinals and words the original fixed.

use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;

/// An enumeration that is read as an ordinal or as a word in any letter case.
pub trait Words: Copy + PartialEq + 'static {
    /// What the values are called in an error.
    const WHAT: &'static str;
    /// Every value with its word, in the order of the ordinals.
    const ALL: &'static [(Self, &'static str)];

    /// The value of a word.
    #[must_use]
    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|it| it.1.eq_ignore_ascii_case(word)).map(|it| it.0)
    }

    /// The value of an ordinal.
    #[must_use]
    fn from_ordinal(ordinal: u64) -> Option<Self> {
        Self::ALL.get(usize::try_from(ordinal).ok()?).map(|it| it.0)
    }

    /// The word of the value.
    #[must_use]
    fn word(self) -> &'static str {
        Self::ALL.iter().find(|it| it.0 == self).map_or("", |it| it.1)
    }

    /// The ordinal of the value.
    #[must_use]
    fn ordinal(self) -> u8 {
        let position = Self::ALL.iter().position(|it| it.0 == self);
        position.and_then(|it| u8::try_from(it).ok()).unwrap_or(u8::MAX)
    }
}

/// Writes the ordinal, as the original's services answer: for `#[serde(serialize_with)]`.
///
/// # Errors
/// What the serializer fails with.
pub fn as_ordinal<T: Words, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u8(value.ordinal())
}

/// Size class of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub enum PackageSize {
    /// Ordinal 0.
    #[default]
    Small,
    /// Ordinal 1.
    Medium,
    /// Ordinal 2.
    Large,
}

impl Words for PackageSize {
    const WHAT: &'static str = "a size: Small, Medium or Large";
    const ALL: &'static [(Self, &'static str)] =
        &[(Self::Small, "Small"), (Self::Medium, "Medium"), (Self::Large, "Large")];
}

/// What the recipient must give before a delivery counts as completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub enum ConfirmationType {
    /// Ordinal 0.
    FingerPrint,
    /// Ordinal 1.
    Picture,
    /// Ordinal 2.
    Voice,
    /// Ordinal 3: nothing.
    #[default]
    None,
}

impl Words for ConfirmationType {
    const WHAT: &'static str = "a confirmation: FingerPrint, Picture, Voice or None";
    const ALL: &'static [(Self, &'static str)] = &[
        (Self::FingerPrint, "FingerPrint"),
        (Self::Picture, "Picture"),
        (Self::Voice, "Voice"),
        (Self::None, "None"),
    ];
}

/// Where a delivery stands.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
pub enum DeliveryStage {
    /// Ordinal 0: it was made.
    Created,
    /// Ordinal 1: it was moved before it began.
    Rescheduled,
    /// Ordinal 2: on the way to fetch the package.
    HeadedToPickup,
    /// Ordinal 3: on the way with the package.
    HeadedToDropoff,
    /// Ordinal 4: at the doorstep, and confirmed where that was asked for.
    Completed,
    /// Ordinal 5: it was called off.
    Cancelled,
    /// Ordinal 6: it came to nothing.
    Failed,
}

impl DeliveryStage {
    /// Whether nothing can happen to it any more.
    #[must_use]
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Completed | Self::Cancelled | Self::Failed)
    }
}

impl Words for DeliveryStage {
    const WHAT: &'static str = "a delivery stage";
    const ALL: &'static [(Self, &'static str)] = &[
        (Self::Created, "Created"),
        (Self::Rescheduled, "Rescheduled"),
        (Self::HeadedToPickup, "HeadedToPickup"),
        (Self::HeadedToDropoff, "HeadedToDropoff"),
        (Self::Completed, "Completed"),
        (Self::Cancelled, "Cancelled"),
        (Self::Failed, "Failed"),
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ordinals_are_the_original_s() {
        assert_eq!(DeliveryStage::from_ordinal(2), Some(DeliveryStage::HeadedToPickup));
        assert_eq!(DeliveryStage::Cancelled.ordinal(), 5);
        assert_eq!(ConfirmationType::None.ordinal(), 3);
        assert_eq!(PackageSize::from_ordinal(3), None);
    }

    #[test]
    fn a_word_is_known_in_any_letter_case() {
        assert_eq!(ConfirmationType::from_word("fingerprint"), Some(ConfirmationType::FingerPrint));
        assert_eq!(PackageSize::from_word("mEDIUM"), Some(PackageSize::Medium));
        assert_eq!(PackageSize::from_word("huge"), None);
    }
}
