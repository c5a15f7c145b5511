//! HMAC-SHA256 (RFC 2104), by which a receiver knows our calls from anybody's.

use sha2::{Digest as _, Sha256};

/// Bytes of a block of SHA-256.
const BLOCK: usize = 64;

/// The code over parts that are read as one.
pub(crate) fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut block = [0; BLOCK];
    if key.len() > BLOCK {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let mut inner = Sha256::new();
    inner.update(block.map(|it| it ^ 0x36));
    parts.iter().for_each(|it| inner.update(it));
    let mut outer = Sha256::new();
    outer.update(block.map(|it| it ^ 0x5c));
    outer.update(inner.finalize());
    outer.finalize().into()
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|it| format!("{it:02x}")).collect()
}

/// What a call carries in `Webhook-Signature`: the code over id, time and body, with dots between.
pub(crate) fn webhook(secret: &str, id: &str, timestamp: &str, body: &[u8]) -> String {
    let parts = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
    format!("v1={}", hex(&hmac(secret.as_bytes(), &parts)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Test cases 1, 2 and 6 of RFC 4231.
    #[test]
    fn the_vectors_of_the_standard_come_out() {
        let cases: [(&[u8], &[u8], &str); 3] = [
            (&[0x0b; 20], b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b"),
            (b"Jefe", b"what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c7"),
            (
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f",
            ),
        ];
        for (key, text, expected) in cases {
            let (first, second) = text.split_at(text.len() / 2);
            assert_eq!(&hex(&hmac(key, &[first, second]))[..32], expected);
        }
    }

    #[test]
    fn another_body_time_or_secret_has_another_signature() {
        let signed = webhook("s", "n1", "10", b"{}");
        for other in [
            webhook("t", "n1", "10", b"{}"),
            webhook("s", "n2", "10", b"{}"),
            webhook("s", "n1", "11", b"{}"),
            webhook("s", "n1", "10", b"{ }"),
        ] {
            assert_ne!(signed, other);
        }
    }
}
