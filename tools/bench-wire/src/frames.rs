//! HTTP/2 frames (RFC 9113 section 4.1), as far as the two ends need them.

use crate::broken;
use std::io;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

/// On SETTINGS and PING.
pub(crate) const ACK: u8 = 0x1;
pub(crate) const END_STREAM: u8 = 0x1;
pub(crate) const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

pub(crate) const HEADER_TABLE_SIZE: u16 = 1;
pub(crate) const ENABLE_PUSH: u16 = 2;
pub(crate) const INITIAL_WINDOW_SIZE: u16 = 4;

/// Window of a connection and of a stream before anybody says otherwise.
pub(crate) const WINDOW: i64 = 65_535;
/// What we let the peer send on a stream and on a connection; far more than any reply here.
pub(crate) const WIDE_WINDOW: u32 = 1 << 24;
/// Received bytes after which the connection's window is opened again.
const REOPEN_AT: u32 = 1 << 20;
/// Longest frame that anybody may send unasked.
const FRAME_MAX: usize = 16_384;
const HEAD: usize = 9;

/// One frame in a buffer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The first frame of a buffer with its whole length; `None` until all of it is there.
    pub(crate) fn take(buffer: &'a [u8]) -> io::Result<Option<(Self, usize)>> {
        let Some((head, rest)) = buffer.split_first_chunk::<HEAD>() else { return Ok(None) };
        let [a, b, c, kind, flags, s0, s1, s2, s3] = *head;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        if length > FRAME_MAX {
            return Err(broken(format!("a frame of {length} bytes")));
        }
        let Some(payload) = rest.get(..length) else { return Ok(None) };
        let stream = u32::from_be_bytes([s0, s1, s2, s3]) & (u32::MAX >> 1);
        Ok(Some((Self { kind, flags, stream, payload }, HEAD + length)))
    }

    pub(crate) const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The payload of DATA or HEADERS without padding and priority.
    pub(crate) fn content(&self) -> io::Result<&'a [u8]> {
        let mut content = self.payload;
        if self.has(PADDED) {
            let (&padding, rest) =
                content.split_first().ok_or_else(|| broken("padding without its length"))?;
            let end = rest.len().checked_sub(usize::from(padding));
            content = &rest[..end.ok_or_else(|| broken("more padding than payload"))?];
        }
        if self.kind == HEADERS && self.has(PRIORITY) {
            content = content.get(5..).ok_or_else(|| broken("a short priority"))?;
        }
        Ok(content)
    }

    /// Pairs of a SETTINGS frame.
    pub(crate) fn settings(&self) -> impl Iterator<Item = (u16, u32)> + 'a {
        self.payload.as_chunks::<6>().0.iter().map(|&[a, b, v0, v1, v2, v3]| {
            (u16::from_be_bytes([a, b]), u32::from_be_bytes([v0, v1, v2, v3]))
        })
    }

    /// The number that a WINDOW_UPDATE, RST_STREAM or GOAWAY ends with.
    pub(crate) fn number(&self) -> u32 {
        let number = match self.kind {
            GOAWAY => self.payload.get(4..8),
            _ => self.payload.get(..4),
        };
        number.and_then(|it| it.try_into().ok()).map_or(0, u32::from_be_bytes)
    }
}

/// Appends a frame.
pub(crate) fn put(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    // Payloads are ours and short; three bytes hold them.
    let length = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
    out.extend_from_slice(&length[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// Appends SETTINGS with these pairs, then opens the connection's window.
pub(crate) fn put_settings(out: &mut Vec<u8>, pairs: &[(u16, u32)]) {
    let mut payload = Vec::with_capacity(pairs.len() * 6);
    for (name, value) in pairs {
        payload.extend_from_slice(&name.to_be_bytes());
        payload.extend_from_slice(&value.to_be_bytes());
    }
    put(out, SETTINGS, 0, 0, &payload);
    put(out, WINDOW_UPDATE, 0, 0, &WIDE_WINDOW.to_be_bytes());
}

/// Bytes that the peer sent and may send again once we say so.
#[derive(Debug, Default)]
pub(crate) struct Received {
    bytes: u32,
}

impl Received {
    /// Counts a DATA frame, padding included, and opens the window again now and then.
    pub(crate) fn count(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) {
        self.bytes += u32::try_from(frame.payload.len()).unwrap_or_default();
        if self.bytes >= REOPEN_AT {
            put(out, WINDOW_UPDATE, 0, 0, &self.bytes.to_be_bytes());
            self.bytes = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_taken_when_all_of_it_is_there() {
        let mut bytes = Vec::new();
        put(&mut bytes, DATA, END_STREAM, 7, b"abc");
        for end in 0..bytes.len() {
            assert!(Frame::take(&bytes[..end]).unwrap().is_none(), "{end} bytes");
        }
        let (frame, length) = Frame::take(&bytes).unwrap().unwrap();
        assert_eq!((frame.kind, frame.stream, frame.payload, length), (DATA, 7, &b"abc"[..], 12));
        assert!(frame.has(END_STREAM));
    }

    #[test]
    fn padding_and_priority_are_no_content() {
        let padded = |kind, flags, payload| Frame { kind, flags, stream: 1, payload };
        assert_eq!(padded(DATA, PADDED, b"\x02abcXX").content().unwrap(), b"abc");
        let both = padded(HEADERS, PADDED | PRIORITY, b"\x01\0\0\0\0\x10abcX");
        assert_eq!(both.content().unwrap(), b"abc");
        assert!(padded(DATA, PADDED, b"\x09a").content().is_err());
        assert!(padded(HEADERS, PRIORITY, b"a").content().is_err());
    }

    #[test]
    fn a_frame_longer_than_allowed_is_an_error() {
        assert!(Frame::take(&[0, 64, 1, 0, 0, 0, 0, 0, 0]).is_err());
    }
}
