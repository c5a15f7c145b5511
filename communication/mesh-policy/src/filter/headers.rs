//! Changes of header fields, as a list of edits.

use super::{Filter, HeaderChange};

/// One edit of the fields of a message, to be carried out in the order given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edit<'a> {
    /// One line with this value takes the place of all lines of the name.
    Set {
        /// Name, in lower case.
        name: &'a str,
        /// Value.
        value: &'a str,
    },
    /// The value is added behind those that are there: on a line of its own or behind a comma,
    /// which mean the same (RFC 9110 section 5.3).
    Append {
        /// Name, in lower case.
        name: &'a str,
        /// Value.
        value: &'a str,
    },
    /// All lines of the name go.
    Remove {
        /// Name, in lower case.
        name: &'a str,
    },
}

impl HeaderChange {
    /// Set first, then add, then remove.
    pub fn edits(&self) -> impl Iterator<Item = Edit<'_>> {
        let set = self.set.iter().map(|(name, value)| Edit::Set { name, value });
        let add = self.add.iter().map(|(name, value)| Edit::Append { name, value });
        let remove = self.remove.iter().map(|name| Edit::Remove { name });
        set.chain(add).chain(remove)
    }
}

/// Edits of a request on its way to a backend: the rule's, then the backend's.
pub fn request_edits<'a>(
    of_rule: &'a [Filter],
    of_backend: &'a [Filter],
) -> impl Iterator<Item = Edit<'a>> {
    let changes = of_rule.iter().chain(of_backend).filter_map(|it| match it {
        Filter::RequestHeaders(change) => Some(change),
        Filter::ResponseHeaders(_) | Filter::Redirect(_) | Filter::Rewrite(_) => None,
    });
    changes.flat_map(HeaderChange::edits)
}

/// Edits of a response on its way back: the backend's, then the rule's, which it passes last.
pub fn response_edits<'a>(
    of_rule: &'a [Filter],
    of_backend: &'a [Filter],
) -> impl Iterator<Item = Edit<'a>> {
    let changes = of_backend.iter().chain(of_rule).filter_map(|it| match it {
        Filter::ResponseHeaders(change) => Some(change),
        Filter::RequestHeaders(_) | Filter::Redirect(_) | Filter::Rewrite(_) => None,
    });
    changes.flat_map(HeaderChange::edits)
}
