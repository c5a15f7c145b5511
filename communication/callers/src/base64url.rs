//! The alphabet of RFC 4648 section 5 without padding, as RFC 7515 writes it. Of the texts that could
//! mean the same bytes one is read: the one that is written.

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The text of some bytes.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let word = byte(0) << 16 | byte(1) << 8 | byte(2);
        for letter in 0..=chunk.len() {
            let index = (word >> (18 - 6 * letter)) & 63;
            text.push(char::from(LETTERS[index as usize]));
        }
    }
    text
}

/// The bytes of a text; nothing where it is not one that [`encode`] writes.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for chunk in text.as_bytes().chunks(4) {
        let mut word = 0;
        for letter in chunk {
            word = word << 6 | value_of(*letter)?;
        }
        match chunk.len() {
            4 => bytes.extend(&u32::to_be_bytes(word)[1..]),
            // What is left over is zero, or two texts would mean the same.
            3 if word & 0b11 == 0 => bytes.extend(&u32::to_be_bytes(word << 6)[1..3]),
            2 if word & 0b1111 == 0 => bytes.extend(&u32::to_be_bytes(word << 12)[1..2]),
            _ => return None,
        }
    }
    Some(bytes)
}

fn value_of(letter: u8) -> Option<u32> {
    Some(u32::from(match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'-' => 62,
        b'_' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of RFC 4648 section 10, without padding.
    #[test]
    fn what_was_written_is_read_and_nothing_else() {
        for (plain, text) in [
            ("", ""),
            ("f", "Zg"),
            ("fo", "Zm8"),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg"),
            ("fooba", "Zm9vYmE"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(plain.as_bytes()), text);
            assert_eq!(decode(text).as_deref(), Some(plain.as_bytes()));
        }
        assert_eq!(decode(&encode(&[0xff, 0xfe, 0xfb])), Some(vec![0xff, 0xfe, 0xfb]));
        for other in ["Z", "Zg==", "Zh", "Zm9", "Zm+v", "Zm/v", "Zm 9v", "Zm9v\n", "Zm9vY"] {
            assert_eq!(decode(other), None, "{other}");
        }
    }
}
