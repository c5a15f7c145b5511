//! Masks what must never stand in a log: secrets and a person's addresses.
//!
//! By name of the field first, because that is certain; then anything in a text that looks like
//! an e-mail address, because error texts of others carry them.

/// What stands in the place of a masked value.
pub(super) const MASK: &str = "[masked]";

/// Parts of field names whose values are never written.
const SECRET_NAMES: [&str; 11] = [
    "email",
    "e_mail",
    "phone",
    "sms",
    "password",
    "secret",
    "token",
    "authorization",
    "cookie",
    "display_name",
    "displayname",
];

/// Whether a field of that name holds what must not be written.
pub(super) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_NAMES.iter().any(|it| name.contains(it))
}

/// The text with e-mail addresses masked.
pub(super) fn mask_addresses(text: &str) -> String {
    if !text.contains('@') {
        return text.to_owned();
    }
    let is_part = |it: char| it.is_alphanumeric() || "._%+-@".contains(it);
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(is_part) {
        masked.push_str(&rest[..start]);
        rest = &rest[start..];
        let end = rest.find(|it| !is_part(it)).unwrap_or(rest.len());
        let word = &rest[..end];
        masked.push_str(if is_address(word) { MASK } else { word });
        rest = &rest[end..];
    }
    masked.push_str(rest);
    masked
}

fn is_address(word: &str) -> bool {
    word.split_once('@').is_some_and(|(local, host)| !local.is_empty() && host.contains('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_looks_like_an_address_is_masked() {
        assert_eq!(mask_addresses("to <a.b@c.example>, 5@7"), "to <[masked]>, 5@7");
        assert_eq!(mask_addresses("key@partition"), "key@partition");
        assert_eq!(mask_addresses("ü@ö.example!"), "[masked]!");
    }

    #[test]
    fn names_are_matched_by_their_parts() {
        assert!(is_secret("ownerEmailAddress") && is_secret("set_cookie"));
        assert!(!is_secret("route") && !is_secret("owner_id"));
    }
}
