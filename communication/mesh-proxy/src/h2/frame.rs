//! Frames of HTTP/2 as bytes (RFC 9113 4 and 6).

use std::ops::Range;

use bytes::{BufMut as _, BytesMut};

/// Length of a frame's header.
pub(crate) const HEADER_BYTES: usize = 9;
/// What a client says first (RFC 9113 3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The largest payload that everybody must take, and the largest that we take.
pub(crate) const PAYLOAD_BYTES: usize = 16_384;

/// Kinds of frames: RFC 9113 6.
pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const PRIORITY: u8 = 2;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PUSH_PROMISE: u8 = 5;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const WINDOW_UPDATE: u8 = 8;
    pub(crate) const CONTINUATION: u8 = 9;
}

/// Flags of frames.
pub(crate) mod flag {
    pub(crate) const END_STREAM: u8 = 1;
    pub(crate) const ACK: u8 = 1;
    pub(crate) const END_HEADERS: u8 = 4;
    pub(crate) const PADDED: u8 = 8;
    pub(crate) const PRIORITY: u8 = 32;
}

/// Why a stream or a connection ends (RFC 9113 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reason(pub(crate) u32);

impl Reason {
    pub(crate) const NO_ERROR: Self = Self(0);
    pub(crate) const PROTOCOL_ERROR: Self = Self(1);
    pub(crate) const INTERNAL_ERROR: Self = Self(2);
    pub(crate) const FLOW_CONTROL_ERROR: Self = Self(3);
    pub(crate) const SETTINGS_TIMEOUT: Self = Self(4);
    pub(crate) const STREAM_CLOSED: Self = Self(5);
    pub(crate) const FRAME_SIZE_ERROR: Self = Self(6);
    pub(crate) const REFUSED_STREAM: Self = Self(7);
    pub(crate) const CANCEL: Self = Self(8);
    pub(crate) const COMPRESSION_ERROR: Self = Self(9);
    pub(crate) const ENHANCE_YOUR_CALM: Self = Self(11);
}

/// The header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) length: usize,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
}

impl FrameHeader {
    /// The header at the beginning of `bytes`; `None` while it is not all there.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let [high, middle, low, kind, flags, a, b, c, d] = *bytes.first_chunk::<HEADER_BYTES>()?;
        Some(Self {
            length: usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low),
            kind,
            flags,
            // The highest bit is reserved and ignored.
            stream: u32::from_be_bytes([a & 0x7f, b, c, d]),
        })
    }

    pub(crate) const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// A number of four bytes, without its reserved highest bit.
pub(crate) fn number(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk::<4>().map(|it| u32::from_be_bytes(*it) & 0x7fff_ffff)
}

/// Where the payload stands between its padding; `None` where the padding is longer than all.
pub(crate) fn unpadded(header: &FrameHeader, payload: &[u8]) -> Option<Range<usize>> {
    if !header.has(flag::PADDED) {
        return Some(0..payload.len());
    }
    let padding = usize::from(*payload.first()?);
    let end = payload.len().checked_sub(padding)?;
    (end >= 1).then_some(1..end)
}

/// Nine bytes; `length` must fit 24 bits.
pub(crate) fn put_header(out: &mut BytesMut, length: usize, kind: u8, flags: u8, stream: u32) {
    out.put_slice(&header_bytes(length, kind, flags, stream));
}

pub(crate) fn header_bytes(length: usize, kind: u8, flags: u8, stream: u32) -> [u8; HEADER_BYTES] {
    let [_, high, middle, low] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    let [a, b, c, d] = stream.to_be_bytes();
    [high, middle, low, kind, flags, a, b, c, d]
}

pub(crate) fn put_settings(out: &mut BytesMut, settings: &[(u16, u32)]) {
    put_header(out, settings.len() * 6, kind::SETTINGS, 0, 0);
    for (name, value) in settings {
        out.put_u16(*name);
        out.put_u32(*value);
    }
}

pub(crate) fn put_settings_ack(out: &mut BytesMut) {
    put_header(out, 0, kind::SETTINGS, flag::ACK, 0);
}

pub(crate) fn put_ping(out: &mut BytesMut, flags: u8, opaque: [u8; 8]) {
    put_header(out, 8, kind::PING, flags, 0);
    out.put_slice(&opaque);
}

pub(crate) fn put_reset(out: &mut BytesMut, stream: u32, reason: Reason) {
    put_header(out, 4, kind::RST_STREAM, 0, stream);
    out.put_u32(reason.0);
}

pub(crate) fn put_window_update(out: &mut BytesMut, stream: u32, bytes: u32) {
    put_header(out, 4, kind::WINDOW_UPDATE, 0, stream);
    out.put_u32(bytes);
}

pub(crate) fn put_go_away(out: &mut BytesMut, last: u32, reason: Reason) {
    put_header(out, 8, kind::GOAWAY, 0, 0);
    out.put_u32(last);
    out.put_u32(reason.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let mut out = BytesMut::new();
        put_header(&mut out, 0x01_02_03, kind::PING, flag::ACK, 0x7fff_fffe);
        let read = FrameHeader::read(&out).unwrap();
        assert_eq!((read.length, read.kind, read.stream), (0x01_02_03, kind::PING, 0x7fff_fffe));
        assert!(read.has(flag::ACK));
        assert_eq!(FrameHeader::read(&out[..8]), None);
    }

    #[test]
    fn padding_is_within_its_payload() {
        let padded = FrameHeader { length: 0, kind: kind::DATA, flags: flag::PADDED, stream: 1 };
        assert_eq!(unpadded(&padded, &[2, b'a', 0, 0]), Some(1..2));
        assert_eq!(unpadded(&padded, &[3, 0, 0, 0]), Some(1..1));
        assert_eq!(unpadded(&padded, &[4, 0, 0, 0]), None);
        assert_eq!(unpadded(&padded, &[]), None);
        assert_eq!(unpadded(&FrameHeader { flags: 0, ..padded }, b"abc"), Some(0..3));
    }
}
