//! What a byte may be part of.

/// A byte of a method, a field name, a connection option: `tchar` of RFC 9110 5.6.2.
pub(crate) const TOKEN: u8 = 1;
/// A byte of a field value: visible, space, tab, or above ASCII (`obs-text`, RFC 9110 5.5).
pub(crate) const VALUE: u8 = 2;
/// A byte of a request target.
pub(crate) const TARGET: u8 = 4;
/// A byte of a registered name in an authority.
pub(crate) const HOST: u8 = 8;

/// One in each byte of a word.
const ONES: u64 = 0x0101_0101_0101_0101;

static CLASSES: [u8; 256] = classes();

/// Whether `byte` is in one of the classes of `mask`.
#[inline]
pub(crate) fn is(byte: u8, mask: u8) -> bool {
    CLASSES[usize::from(byte)] & mask != 0
}

/// Whether all of `bytes` are, and there is one at least.
#[inline]
pub(crate) fn all(bytes: &[u8], mask: u8) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| is(*byte, mask))
}

/// How many of the first of `bytes` are.
#[inline]
pub(crate) fn run(bytes: &[u8], mask: u8) -> usize {
    bytes.iter().position(|byte| !is(*byte, mask)).unwrap_or(bytes.len())
}

/// As [`run`] of [`VALUE`], eight bytes at a time while they are visible ASCII and spaces.
#[inline]
pub(crate) fn value_run(bytes: &[u8]) -> usize {
    let (words, _) = bytes.as_chunks::<8>();
    let plain = words.iter().take_while(|word| is_plain(u64::from_le_bytes(**word))).count() * 8;
    plain + run(&bytes[plain..], VALUE)
}

/// Whether each of eight bytes is a space or visible ASCII.
///
/// The usual tests for a byte in a word (Warren, Hacker's Delight, 6-1): a subtraction borrows into
/// the highest bit of a byte that is too small. A borrow goes on to the next byte only from one
/// that is found already, so that the answer for all eight is exact.
const fn is_plain(word: u64) -> bool {
    let high = word;
    let small = word.wrapping_sub(ONES * 0x20);
    let delete = (word ^ (ONES * 0x7f)).wrapping_sub(ONES);
    (high | small | delete) & (ONES * 0x80) == 0
}

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0_u8;
    loop {
        table[byte as usize] = class(byte);
        match byte.checked_add(1) {
            Some(next) => byte = next,
            None => return table,
        }
    }
}

const fn class(byte: u8) -> u8 {
    let mut class = 0;
    let alphanumeric = byte.is_ascii_alphanumeric();
    let marks = matches!(
        byte,
        b'!' | b'#'
            | b'$'
            | b'%'
            | b'&'
            | b'\''
            | b'*'
            | b'+'
            | b'-'
            | b'.'
            | b'^'
            | b'_'
            | b'`'
            | b'|'
            | b'~'
    );
    if alphanumeric || marks {
        class |= TOKEN;
    }
    if byte == b'\t' || (byte >= b' ' && byte != 0x7f) {
        class |= VALUE;
    }
    // RFC 3986 has none of `"<>\^{|}` and the backtick. Browsers leave `^{|}` in queries as they
    // are, and nobody reads them in two ways; the others are refused.
    let refused = matches!(byte, b'#' | b'"' | b'<' | b'>' | b'\\' | b'`');
    if byte.is_ascii_graphic() && !refused {
        class |= TARGET;
    }
    if alphanumeric || matches!(byte, b'-' | b'.' | b'_' | b'~') {
        class |= HOST;
    }
    class
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_bytes_at_a_time_find_what_one_at_a_time_does() {
        for byte in 0..=255_u8 {
            for at in 0..24 {
                let mut bytes = [b'a'; 24];
                bytes[at] = byte;
                assert_eq!(value_run(&bytes), run(&bytes, VALUE), "{byte} at {at}");
                let neighbours = [b' ', b'~', byte, b'!', byte, b'~', b' ', b'~', byte];
                assert_eq!(value_run(&neighbours), run(&neighbours, VALUE), "{byte}");
            }
        }
    }
}
