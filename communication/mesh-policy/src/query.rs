//! Parameters of a query, read where they lie.
//!
//! Names and values are compared as the program behind will read them: `+` is a space and escapes
//! are decoded (the form encoding of the WHATWG URL standard), so that `%61nimal=whale` is not a
//! way around a rule on `animal`. Of a name that occurs twice, the first value counts, as the
//! Gateway API recommends.

use std::borrow::Cow;

/// The raw value of the first parameter of this name; empty where it has no `=`.
pub(crate) fn first<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| {
        let (raw, value) = pair.split_once('=').unwrap_or((pair, ""));
        is(raw, name).then_some(value)
    })
}

/// Whether a raw text means this one. Copies nothing.
pub(crate) fn is(raw: &str, text: &str) -> bool {
    if has_escapes(raw) { bytes(raw).eq(text.bytes()) } else { raw == text }
}

/// What a raw text means; bytes that are no UTF-8 become U+FFFD.
pub(crate) fn decoded(raw: &str) -> Cow<'_, str> {
    if !has_escapes(raw) {
        return Cow::Borrowed(raw);
    }
    let bytes: Vec<u8> = bytes(raw).collect();
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

fn has_escapes(raw: &str) -> bool {
    raw.bytes().any(|it| matches!(it, b'%' | b'+'))
}

/// The bytes that a raw text means; a percent sign without two digits means itself.
fn bytes(raw: &str) -> impl Iterator<Item = u8> {
    let mut rest = raw.as_bytes();
    std::iter::from_fn(move || {
        let (&byte, behind) = rest.split_first()?;
        rest = behind;
        match byte {
            b'+' => Some(b' '),
            b'%' => {
                let Some((escaped, behind)) = crate::path::escaped_byte(rest) else {
                    return Some(b'%');
                };
                rest = behind;
                Some(escaped)
            }
            _ => Some(byte),
        }
    })
}
