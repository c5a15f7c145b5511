//! Who has a name already, and where it was given.

use std::collections::BTreeMap;

use super::{Code, context::Context, origin::Spot};

/// Names that are given.
#[derive(Debug, Default)]
pub(super) struct Names {
    given: BTreeMap<String, Spot>,
}

impl Names {
    /// Whether nobody had this name before; else it is told.
    pub(super) fn claim(&mut self, context: &Context<'_>, subject: &str, spot: Spot) -> bool {
        if let Some(first) = self.given.get(subject) {
            let message = format!("{subject} is already at {}", context.describe(*first));
            context.error(spot, Code::DuplicateName, message);
            return false;
        }
        context.record(subject, "", spot);
        self.given.insert(subject.to_owned(), spot);
        true
    }
}
