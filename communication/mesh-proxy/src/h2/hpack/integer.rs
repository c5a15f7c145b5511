//! Integers with a prefix of a few bits (RFC 7541 5.1).

use bytes::{BufMut as _, BytesMut};

/// No integer of ours is larger; one that is, is an attempt.
const MAX: usize = 1 << 24;

/// Reads the integer whose prefix is the low `bits` of the first byte; answers it with what follows.
/// `None` where it is cut off or too large.
#[inline]
pub(super) fn read(bytes: &[u8], bits: u32) -> Option<(usize, &[u8])> {
    let (first, mut rest) = bytes.split_first()?;
    let mask = (1_usize << bits) - 1;
    let mut value = usize::from(*first) & mask;
    if value < mask {
        return Some((value, rest));
    }
    let mut shift = 0;
    loop {
        let (byte, after) = rest.split_first()?;
        rest = after;
        // Four bytes hold more than the bound; leading zeros without end are none.
        if shift > 21 {
            return None;
        }
        value += usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return (value <= MAX).then_some((value, rest));
        }
    }
}

/// Writes an integer whose prefix is the low `bits` of a byte that begins with `pattern`.
#[inline]
pub(super) fn put(out: &mut BytesMut, pattern: u8, bits: u32, value: usize) {
    let mask = (1_usize << bits) - 1;
    if value < mask {
        out.put_u8(pattern | low(value));
        return;
    }
    out.put_u8(pattern | low(mask));
    let mut left = value - mask;
    while left >= 0x80 {
        out.put_u8(0x80 | low(left & 0x7f));
        left >>= 7;
    }
    out.put_u8(low(left));
}

fn low(value: usize) -> u8 {
    value.to_le_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7541 C.1.
    #[test]
    fn the_examples_of_the_rfc_go_both_ways() {
        for (bits, value, bytes) in
            [(5, 10, &[0x0a][..]), (5, 1_337, &[0x1f, 0x9a, 0x0a]), (8, 42, &[0x2a])]
        {
            let mut out = BytesMut::new();
            put(&mut out, 0, bits, value);
            assert_eq!(&out[..], bytes);
            assert_eq!(read(bytes, bits), Some((value, &[][..])));
        }
    }

    #[test]
    fn what_is_cut_off_or_does_not_end_is_none() {
        assert_eq!(read(&[], 5), None);
        assert_eq!(read(&[0x1f, 0x9a], 5), None);
        assert_eq!(read(&[0x1f, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00], 5), None);
        assert_eq!(read(&[0x1f, 0xff, 0xff, 0xff, 0xff, 0x0f], 5), None);
    }
}
