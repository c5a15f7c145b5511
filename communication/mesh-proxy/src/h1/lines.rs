//! Where a head ends.
//!
//! A head is looked through once for its line ends, whatever the pieces it arrives in, and read
//! only when it is whole: a slow sender costs as much as a fast one. Every carriage return must
//! have its line feed and the other way round, so that later readers need look for one only.

use memchr::memchr2;

use super::Malformed;

/// How far the search got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Search {
    /// One after the empty line.
    Ended(usize),
    /// More bytes are needed.
    Open {
        /// Whether this call saw the end of a line.
        line_ended: bool,
    },
}

/// Looks for the empty line, from `scanned` on, which it moves.
pub(crate) fn search(buffer: &[u8], scanned: &mut usize) -> Result<Search, Malformed> {
    let mut at = (*scanned).min(buffer.len());
    let mut line_ended = false;
    while let Some(found) = memchr2(b'\r', b'\n', &buffer[at..]) {
        let end = at + found;
        if buffer[end] == b'\n' {
            return Err(Malformed::BareLineFeed);
        }
        match buffer.get(end + 1) {
            Some(b'\n') => {}
            Some(_) => return Err(Malformed::BareCarriageReturn),
            None => {
                *scanned = end;
                return Ok(Search::Open { line_ended });
            }
        }
        at = end + 2;
        if end >= 2 && buffer[end - 2..end] == *b"\r\n" {
            *scanned = at;
            return Ok(Search::Ended(at));
        }
        line_ended = true;
    }
    *scanned = buffer.len();
    Ok(Search::Open { line_ended })
}
