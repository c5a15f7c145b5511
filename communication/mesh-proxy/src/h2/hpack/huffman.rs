//! The Huffman code of HPACK (RFC 7541 5.2 and appendix B).
//!
//! The code is canonical: codes of one length follow each other in the order of their symbols, and
//! the lengths say all. So the tables are made from the lengths when the program is built. Eight bits
//! are looked up at once, which covers letters and digits; longer codes are found by their length.

/// Bits of the code of each symbol; the last one is the end of string.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, //
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28, //
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, //
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, //
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, //
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, //
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, //
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, //
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, //
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, //
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, //
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, //
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, //
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, //
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, //
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, //
    30,
];

/// The longest code.
const BITS_MAX: usize = 30;

/// The symbol that ends a string and may not occur in one.
const END: u16 = 256;

static CODES: Codes = codes();

struct Codes {
    /// Symbols in the order of their codes.
    symbols: [u16; 257],
    /// For each length, what to add to a code of it to find its symbol.
    offset: [i64; BITS_MAX + 1],
    /// For each length, the first code that is longer, its bits at the top of 32.
    limit: [u64; BITS_MAX + 1],
    /// By the first eight bits: the symbol and its length, 0 where it is longer.
    short: [(u8, u8); 256],
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "no code has more than 30 bits, and conversions that check are no part of a constant"
)]
const fn codes() -> Codes {
    let mut codes = Codes {
        symbols: [0; 257],
        offset: [0; BITS_MAX + 1],
        limit: [0; BITS_MAX + 1],
        short: [(0, 0); 256],
    };
    let (mut code, mut placed, mut length) = (0_u64, 0_usize, 1_usize);
    while length <= BITS_MAX {
        code <<= 1;
        codes.offset[length] = placed as i64 - code as i64;
        let mut symbol = 0;
        while symbol < 257 {
            if LENGTHS[symbol] as usize == length {
                codes.symbols[placed] = symbol as u16;
                if length <= 8 {
                    let mut at = (code << (8 - length)) as usize;
                    let end = at + (1 << (8 - length));
                    while at < end {
                        codes.short[at] = (symbol as u8, length as u8);
                        at += 1;
                    }
                }
                placed += 1;
                code += 1;
            }
            symbol += 1;
        }
        codes.limit[length] = code << (32 - length);
        length += 1;
    }
    codes
}

/// Appends the decoded text. `None` where the text is broken: it holds the end of string, or is
/// filled up with something else than the first bits of it, or with eight of them.
pub(super) fn decode(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (mut window, mut bits) = (0_u64, 0_usize);
    let mut bytes = bytes.iter();
    loop {
        while bits <= 56 {
            let Some(byte) = bytes.next() else { break };
            window |= u64::from(*byte) << (56 - bits);
            bits += 8;
        }
        if bits == 0 {
            return Some(());
        }
        let (symbol, length) = CODES.short[usize::from(window.to_be_bytes()[0])];
        let length = usize::from(length);
        if length > 0 && length <= bits {
            out.push(symbol);
            window <<= length;
            bits -= length;
            continue;
        }
        // At the end fewer than eight bits may be left, all of them ones.
        if bits < 8 && window.leading_ones() as usize >= bits {
            return Some(());
        }
        let length = (5..=BITS_MAX).find(|it| (window >> 32) < CODES.limit[*it])?;
        if length > bits {
            return None;
        }
        let code = i64::try_from(window >> (64 - length)).ok()?;
        let at = usize::try_from(code + CODES.offset[length]).ok()?;
        let symbol = *CODES.symbols.get(at)?;
        if symbol == END {
            return None;
        }
        out.push(u8::try_from(symbol).ok()?);
        window <<= length;
        bits -= length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        decode(bytes, &mut out).map(|()| out)
    }

    /// RFC 7541 C.4.1, C.4.2, C.6.1.
    #[test]
    fn the_examples_of_the_rfc_are_read() {
        let host = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        assert_eq!(decoded(&host).unwrap(), b"www.example.com");
        assert_eq!(decoded(&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf]).unwrap(), b"no-cache");
        assert_eq!(decoded(&[0x64, 0x02]).unwrap(), b"302");
        assert_eq!(decoded(&[]).unwrap(), b"");
    }

    /// Every symbol by itself, its code written from the lengths alone.
    #[test]
    fn every_symbol_is_read_whatever_its_length() {
        for at in 0..256 {
            let symbol = CODES.symbols[at];
            let length = usize::from(LENGTHS[usize::from(symbol)]);
            let code = u64::try_from(at as i64 - CODES.offset[length]).unwrap();
            let padded = (code << (64 - length)) | (u64::MAX >> length);
            let bytes = &padded.to_be_bytes()[..length.div_ceil(8)];
            assert_eq!(decoded(bytes).unwrap(), [u8::try_from(symbol).unwrap()], "{symbol}");
        }
    }

    #[test]
    fn what_is_filled_up_wrongly_or_holds_the_end_is_broken() {
        // `a` is 00011; three ones follow.
        assert_eq!(decoded(&[0b0001_1111]).unwrap(), b"a");
        assert_eq!(decoded(&[0b0001_1110]), None);
        assert_eq!(decoded(&[0b0001_1111, 0xff]), None, "more than seven bits of filling");
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xff]), None, "the end of string");
        assert_eq!(decoded(&[0xff]), None);
    }
}
