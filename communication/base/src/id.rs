//! Ids that somebody else chose.

/// Characters of an id.
pub const ID_CHARS_MAX: usize = 200;

/// A text cannot be an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "an id has 1 to {ID_CHARS_MAX} characters, none of them a control character, and is not `.` or `..`"
)]
pub struct NotAnId;

/// Whether a text can be an id: not blank, at most [`ID_CHARS_MAX`] characters, none of them control.
/// An id becomes a segment of a path, so it is none of the two that mean another place (RFC 3986 3.3).
#[must_use]
pub fn is_id(text: &str) -> bool {
    !text.trim().is_empty()
        && !matches!(text, "." | "..")
        && text.chars().count() <= ID_CHARS_MAX
        && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_leads_to_no_other_place() {
        for text in ["", " ", ".", "..", "a\n", &"x".repeat(ID_CHARS_MAX + 1)] {
            assert!(!is_id(text), "{text}");
        }
        for text in ["...", ".a", "a/b", "Ä", &"x".repeat(ID_CHARS_MAX)] {
            assert!(is_id(text), "{text}");
        }
    }
}
