//! W3C baggage: forwarded inside, within the limits of the recommendation, never interpreted.
//!
//! Baggage from outside is stripped by the gateway; nothing here trusts it.

/// Members that are forwarded at most.
const MEMBERS_MAX: usize = 64;
/// Bytes that are forwarded at most.
const BYTES_MAX: usize = 8_192;

/// Whether a `baggage` header may be forwarded: at most 64 members and 8,192 bytes of printable
/// ASCII. Everything else is dropped whole, because half a baggage misleads.
#[must_use]
pub fn is_forwardable(header: &str) -> bool {
    header.len() <= BYTES_MAX
        && header.split(',').count() <= MEMBERS_MAX
        && header.bytes().all(|it| (b' '..=b'~').contains(&it) || it == b'\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn baggage_beyond_64_members_or_8192_bytes_is_not_forwarded() {
        assert!(is_forwardable("tenant=a,region=b%20c"));
        assert!(is_forwardable(&vec!["a=1"; 64].join(",")));
        assert!(!is_forwardable(&vec!["a=1"; 65].join(",")));
        assert!(!is_forwardable(&format!("a={}", "x".repeat(BYTES_MAX))));
        assert!(!is_forwardable("a=\u{1b}[31m"));
    }
}
