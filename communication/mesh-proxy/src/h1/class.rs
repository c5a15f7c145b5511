//! What a byte may be part of.

/// A byte of a method, a field name, a connection option: `tchar` of RFC 9110 5.6.2.
pub(crate) const TOKEN: u8 = 1;
/// A byte of a field value: visible, space, tab, or above ASCII (`obs-text`, RFC 9110 5.5).
pub(crate) const VALUE: u8 = 2;
/// A byte of a request target.
pub(crate) const TARGET: u8 = 4;
/// A byte of a registered name in an authority.
pub(crate) const HOST: u8 = 8;

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
