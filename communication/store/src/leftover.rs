//! What a failed commit left in the log: whether whoever reads it after a crash would take it for one.
//!
//! `SQLite` writes a commit into the log page by page; the last one is marked, and everything up to a mark whose
//! sums are right is a commit to whoever opens the file after a crash. A commit that fails before it has written
//! its mark has left nothing. One that fails behind it, at the sync, may come back. A mark whose page was not
//! written counts too: the file is used again and again, and the page may have stood there already.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

const HEADER_BYTES: u64 = 32;
const FRAME_HEADER_BYTES: u64 = 24;

/// Whether the log at `path` may hold a commit behind its first `frames` pages, which are those of commits that
/// succeeded. No lock of `SQLite` is on this file, so that opening and closing it drops none.
pub(crate) fn may_come_back(path: &Path, frames: u64) -> io::Result<bool> {
    match File::open(path) {
        Ok(log) => is_marked_behind(log, frames),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn is_marked_behind(mut log: impl Read + Seek, frames: u64) -> io::Result<bool> {
    let bytes = log.seek(SeekFrom::End(0))?;
    if bytes < HEADER_BYTES {
        return Ok(false);
    }
    let mut header = [0; 24];
    log.seek(SeekFrom::Start(0))?;
    log.read_exact(&mut header)?;
    let page = u64::from(u32::from_be_bytes([header[8], header[9], header[10], header[11]]));
    let frame_bytes = FRAME_HEADER_BYTES + page;
    let mut at = HEADER_BYTES + frames * frame_bytes;
    while at + frame_bytes <= bytes {
        let mut frame = [0; 16];
        log.seek(SeekFrom::Start(at))?;
        log.read_exact(&mut frame)?;
        if frame[8..] != header[16..] {
            // Of an earlier turn of the log: reading ends here.
            return Ok(false);
        }
        if frame[4..8] != [0; 4] {
            return Ok(true);
        }
        at += frame_bytes;
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    const PAGE: usize = 4;

    /// A log of the turn 7 with these pages: whose turn, whether marked, and how many of its bytes are there.
    fn log(frames: &[(u8, bool, usize)]) -> Cursor<Vec<u8>> {
        let mut log = vec![0; 32];
        log[11] = 4;
        log[16..24].fill(7);
        for (turn, is_marked, bytes) in frames {
            let mut frame = vec![0; 24];
            frame[7] = u8::from(*is_marked);
            frame[8..16].fill(*turn);
            frame.extend(vec![1; *bytes]);
            log.extend(frame);
        }
        Cursor::new(log)
    }

    #[track_caller]
    fn check(frames: &[(u8, bool, usize)], committed: u64, expected: bool) {
        assert_eq!(is_marked_behind(log(frames), committed).unwrap(), expected);
    }

    #[test]
    fn a_mark_behind_the_last_commit_may_come_back() {
        check(&[(7, true, PAGE), (7, false, PAGE), (7, true, PAGE)], 1, true);
        check(&[(7, true, PAGE)], 0, true);
    }

    #[test]
    fn without_a_whole_marked_page_of_this_turn_nothing_comes_back() {
        check(&[(7, true, PAGE)], 1, false);
        check(&[(7, true, PAGE), (7, false, PAGE)], 1, false);
        check(&[(7, true, PAGE), (7, true, PAGE - 1)], 1, false);
        check(&[(7, true, PAGE), (6, true, PAGE)], 1, false);
        check(&[(7, true, PAGE), (7, false, PAGE), (6, true, PAGE)], 1, false);
        check(&[], 0, false);
        assert!(!is_marked_behind(Cursor::new(Vec::new()), 0).unwrap());
        assert!(!may_come_back(Path::new("/nowhere/a.db-wal"), 0).unwrap());
    }
}
