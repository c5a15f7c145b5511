//! The key under which a saga calls a participant: constant over attempts and owners.

use std::{fmt, str::FromStr};

/// Whether a call applies a step or takes it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// Applies the step.
    Do,
    /// Takes the step back.
    Undo,
}

impl Direction {
    /// The word in the key.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Do => "do",
            Self::Undo => "undo",
        }
    }
}

/// One operation at one participant: `<saga>/<step>/<do|undo>/<revision>`.
///
/// The saga id may hold slashes; the key is therefore read from the right.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OperationKey {
    /// Id of the saga.
    pub saga: String,
    /// Name of the step.
    pub step: String,
    /// Apply or take back.
    pub direction: Direction,
    /// Counts deliberate repetitions with another body; 0 unless the saga says otherwise.
    pub revision: u32,
}

impl OperationKey {
    /// The part that `do` and `undo` share: participants keep one row per this name.
    #[must_use]
    pub fn subject(&self) -> String {
        format!("{}/{}/{}", self.saga, self.step, self.revision)
    }
}

impl fmt::Display for OperationKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { saga, step, direction, revision } = self;
        write!(formatter, "{saga}/{step}/{}/{revision}", direction.as_str())
    }
}

/// The text is not `<saga>/<step>/<do|undo>/<revision>`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not of the form <saga>/<step>/<do|undo>/<revision>")]
pub struct ParseOperationKeyError(String);

impl FromStr for OperationKey {
    type Err = ParseOperationKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (rest, revision) = text.rsplit_once('/')?;
            let (rest, direction) = rest.rsplit_once('/')?;
            let (saga, step) = rest.rsplit_once('/')?;
            let direction = match direction {
                "do" => Direction::Do,
                "undo" => Direction::Undo,
                _ => return None,
            };
            let revision = revision.parse().ok()?;
            let named = !saga.is_empty() && !step.is_empty();
            named.then(|| Self {
                saga: saga.to_owned(),
                step: step.to_owned(),
                direction,
                revision,
            })
        };
        parse().ok_or_else(|| ParseOperationKeyError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_refused(text: &str) {
        assert!(text.parse::<OperationKey>().is_err(), "{text} was accepted");
    }

    #[test]
    fn a_saga_id_with_slashes_survives_the_round_trip() {
        let key = OperationKey {
            saga: "d1/create".to_owned(),
            step: "book".to_owned(),
            direction: Direction::Undo,
            revision: 3,
        };
        assert_eq!(key.to_string(), "d1/create/book/undo/3");
        assert_eq!(key.to_string().parse(), Ok(key));
    }

    #[test]
    fn other_texts_are_refused() {
        check_refused("");
        check_refused("book/do/0");
        check_refused("/book/do/0");
        check_refused("d1/book/perhaps/0");
        check_refused("d1/book/do/x");
        check_refused("d1/book/do/-1");
    }
}
