//! Bytes in a text: hexadecimal digits, two for each.

use serde::{Deserialize, Serialize};

/// Bytes, written as hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl From<Bytes> for String {
    fn from(bytes: Bytes) -> Self {
        bytes.0.iter().map(|it| format!("{it:02x}")).collect()
    }
}

impl TryFrom<String> for Bytes {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let byte = |pair: &[u8; 2]| {
            let [high, low] = pair.map(|it| char::from(it).to_digit(16));
            u8::try_from(high? * 16 + low?).ok()
        };
        let bytes: Option<Vec<u8>> = pairs.iter().map(byte).collect();
        bytes.filter(|_| rest.is_empty()).map(Self).ok_or("not hexadecimal")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_hexadecimal_and_nothing_else() {
        let bytes = Bytes(vec![0, 0x7f, 0xff]);
        assert_eq!(String::from(bytes.clone()), "007fff");
        assert_eq!(Bytes::try_from("007fFF".to_owned()), Ok(bytes));
        for other in ["0", "0g", "+1", " 00", "äb"] {
            assert!(Bytes::try_from(other.to_owned()).is_err(), "{other}");
        }
    }
}
