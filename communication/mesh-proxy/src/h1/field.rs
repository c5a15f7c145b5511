//! Where a thing stands in the bytes that were read.

use std::ops::Range;

use super::Known;

/// A range of the buffer that was parsed. Four bytes each, so that a field fits in 24.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// The first byte.
    pub start: u32,
    /// One after the last byte.
    pub end: u32,
}

impl Span {
    /// A span of a head; heads are far below 4 GiB, and a longer one would only be cut.
    #[inline]
    pub(crate) fn of(start: usize, end: usize) -> Self {
        let narrow = |at| u32::try_from(at).unwrap_or(u32::MAX);
        Self { start: narrow(start), end: narrow(end) }
    }

    /// As a range of the buffer.
    #[inline]
    #[must_use]
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// The bytes of `buffer` that it names: empty when the buffer is another, shorter one.
    #[inline]
    #[must_use]
    pub fn of_bytes(self, buffer: &[u8]) -> &[u8] {
        buffer.get(self.range()).unwrap_or_default()
    }

    /// How many bytes.
    #[must_use]
    pub const fn len(self) -> usize {
        self.end.saturating_sub(self.start) as usize
    }

    /// Whether there is no byte in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.end <= self.start
    }
}

/// A field line of a head or of trailers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// The name as it was written.
    pub name: Span,
    /// The value without the white space around it.
    pub value: Span,
    /// Which field it is.
    pub known: Known,
}
