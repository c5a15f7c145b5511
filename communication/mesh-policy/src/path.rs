//! One form of a path: what is judged is what is forwarded, to the byte.
//!
//! A rule that denies `/admin` is worth nothing when `/a/../admin`, `//admin` or `/%61dmin` reaches
//! the same handler (Dapr's access lists, 1.16.14). So a path is brought into one form before
//! anything looks at it, and goes on in that form. What the form cannot say without doubt is refused
//! instead of guessed: an encoded slash is a slash to some servers and a letter to others.
//!
//! Inside, where every reader splits first and decodes then, an id may hold an encoded slash
//! ([`Slashes::Kept`]); at an edge, where nobody knows who reads, it may not.
//!
//! The form is RFC 3986 6.2.2: unreserved characters stand for themselves, other escapes in upper
//! case, no dot segments; and beyond it, no empty segments but a last one.

use std::borrow::Cow;

/// What becomes of slashes that a path hides: escaped, or escaped twice over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Slashes {
    /// The path is refused.
    #[default]
    Refused,
    /// They stay what they are: letters of their segment.
    Kept,
}

/// Why a path has no one form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// It does not begin with a slash.
    #[error("the path does not begin with a slash")]
    Relative,
    /// A `%` without two hexadecimal digits.
    #[error("the path has a malformed escape")]
    Escape,
    /// An escaped slash or backslash, once or twice over, or a backslash itself.
    #[error("the path hides a slash")]
    HiddenSlash,
    /// An escaped dot twice over (`%252e`): it becomes a dot for whoever decodes twice.
    #[error("the path hides a dot")]
    HiddenDot,
    /// A control character, a space, or a byte that is not ASCII.
    #[error("the path has a character that no path has")]
    Character,
    /// `..` beyond the root.
    #[error("the path leaves the root")]
    Outside,
    /// Parameters on a dot segment (`..;x`): servers differ in what they are.
    #[error("the path has parameters on a dot segment")]
    DotParameters,
}

impl BadPath {
    /// A sentence without its full stop.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Relative => "the path does not begin with a slash",
            Self::Escape => "the path has a malformed escape",
            Self::HiddenSlash => "the path hides a slash",
            Self::HiddenDot => "the path hides a dot",
            Self::Character => "the path has a character that no path has",
            Self::Outside => "the path leaves the root",
            Self::DotParameters => "the path has parameters on a dot segment",
        }
    }
}

/// The one form of a path without its query; borrowed where it has that form already.
///
/// # Errors
/// [`BadPath`] where there is none.
pub fn normalise(path: &[u8], slashes: Slashes) -> Result<Cow<'_, str>, BadPath> {
    if path.first() != Some(&b'/') {
        return Err(BadPath::Relative);
    }
    if is_plain(path)
        && let Ok(path) = std::str::from_utf8(path)
    {
        return Ok(Cow::Borrowed(path));
    }
    let decoded = decode(path, slashes)?;
    Ok(Cow::Owned(without_dots(&decoded)?))
}

/// Whether there is certainly nothing to do.
fn is_plain(path: &[u8]) -> bool {
    let mut before = 0;
    for byte in path {
        match byte {
            b'a'..=b'z'
            | b'A'..=b'Z'
            | b'0'..=b'9'
            | b'-'
            | b'_'
            | b'~'
            | b':'
            | b'@'
            | b'!'
            | b'$'
            | b'&'
            | b'\''
            | b'('
            | b')'
            | b'*'
            | b'+'
            | b','
            | b'=' => {}
            // `/.` may begin a dot segment; elsewhere a dot is a letter.
            b'.' if before != b'/' => {}
            b'/' if before != b'/' => {}
            _ => return false,
        }
        before = *byte;
    }
    true
}

fn decode(path: &[u8], slashes: Slashes) -> Result<String, BadPath> {
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        match byte {
            b'%' => {
                let [high, low, tail @ ..] = tail else { return Err(BadPath::Escape) };
                rest = tail;
                escape(hex(*high)? << 4 | hex(*low)?, tail, slashes, &mut decoded)?;
            }
            b'\\' => return Err(BadPath::HiddenSlash),
            0x21..=0x7e => decoded.push(char::from(*byte)),
            _ => return Err(BadPath::Character),
        }
    }
    Ok(decoded)
}

fn escape(byte: u8, tail: &[u8], slashes: Slashes, decoded: &mut String) -> Result<(), BadPath> {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
            decoded.push(char::from(byte));
        }
        b'/' | b'\\' if slashes == Slashes::Refused => return Err(BadPath::HiddenSlash),
        0..=0x1f | 0x7f => return Err(BadPath::Character),
        b'%' if slashes == Slashes::Refused => return hidden(tail, decoded),
        _ => push_escape(byte, decoded),
    }
    Ok(())
}

/// An escaped `%`: what it would hide for whoever decodes once more.
fn hidden(tail: &[u8], decoded: &mut String) -> Result<(), BadPath> {
    if let [high, low, ..] = tail
        && let (Ok(high), Ok(low)) = (hex(*high), hex(*low))
    {
        match high << 4 | low {
            b'/' | b'\\' => return Err(BadPath::HiddenSlash),
            b'.' => return Err(BadPath::HiddenDot),
            0..=0x1f | 0x7f => return Err(BadPath::Character),
            // Three times over is nobody's honest path.
            b'%' => return Err(BadPath::Escape),
            _ => {}
        }
    }
    push_escape(b'%', decoded);
    Ok(())
}

fn push_escape(byte: u8, decoded: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    decoded.push('%');
    decoded.push(char::from(DIGITS[usize::from(byte >> 4)]));
    decoded.push(char::from(DIGITS[usize::from(byte & 15)]));
}

const fn hex(digit: u8) -> Result<u8, BadPath> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(BadPath::Escape),
    }
}

/// Dot segments and empty ones taken out (RFC 3986 5.2.4, but never beyond the root).
fn without_dots(path: &str) -> Result<String, BadPath> {
    let mut kept: Vec<&str> = Vec::new();
    let mut ends_open = false;
    for segment in path.split('/').skip(1) {
        let name = segment.split(';').next().unwrap_or_default();
        if (name == "." || name == "..") && name.len() != segment.len() {
            return Err(BadPath::DotParameters);
        }
        ends_open = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop().ok_or(BadPath::Outside)?),
            segment => kept.push(segment),
        }
    }
    let mut whole = String::with_capacity(path.len());
    for segment in &kept {
        whole.push('/');
        whole.push_str(segment);
    }
    if ends_open || whole.is_empty() {
        whole.push('/');
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Random;

    #[track_caller]
    fn check(path: &str, expected: &str) {
        let found = normalise(path.as_bytes(), Slashes::Refused);
        assert_eq!(found.as_deref(), Ok(expected), "{path}");
        // What is forwarded is judged the same by the next one.
        assert_eq!(
            normalise(expected.as_bytes(), Slashes::Refused).as_deref(),
            Ok(expected),
            "{path}"
        );
    }

    #[track_caller]
    fn check_refused(path: &str, expected: BadPath) {
        assert_eq!(normalise(path.as_bytes(), Slashes::Refused), Err(expected), "{path}");
    }

    /// mesh 12b: 52.
    #[test]
    fn no_spelling_of_a_path_leads_past_a_rule_about_it() {
        for path in [
            "/admin",
            "//admin",
            "///admin",
            "/./admin",
            "/a/../admin",
            "/a/./../admin",
            "/%61dmin",
            "/%61%64%6d%69%6e",
            "/%61%64%6D%69%6E",
            "/a/%2e%2e/admin",
            "/a/%2E%2e/admin",
            "/a//../admin",
            "/%2e/admin",
            "/a/b/../../admin",
            "/a/..//admin",
        ] {
            check(path, "/admin");
        }
    }

    #[test]
    fn what_is_not_a_matter_of_spelling_stays() {
        check("/", "/");
        check("/a/", "/a/");
        check("/a//", "/a/");
        check("/a/..", "/");
        check("/a/b/..", "/a/");
        check("/a/.", "/a/");
        check("/Admin", "/Admin");
        check("/a.b/..c/...", "/a.b/..c/...");
        check("/.well-known/x", "/.well-known/x");
        check("/a%20b%c3%a9", "/a%20b%C3%A9");
        check("/a;v=1/b", "/a;v=1/b");
        check("/a:b@c!$&'()*+,=", "/a:b@c!$&'()*+,=");
        check("/a%3fb%23c", "/a%3Fb%23c");
        check("/100%2541", "/100%2541");
        check("/a%25", "/a%25");
        check("/~x/%7Ex", "/~x/~x");
    }

    #[test]
    fn what_has_no_one_form_is_refused() {
        check_refused("", BadPath::Relative);
        check_refused("admin", BadPath::Relative);
        check_refused("/%", BadPath::Escape);
        check_refused("/%4", BadPath::Escape);
        check_refused("/%zz", BadPath::Escape);
        check_refused("/a%2fb", BadPath::HiddenSlash);
        check_refused("/a%2Fb", BadPath::HiddenSlash);
        check_refused("/a%5cb", BadPath::HiddenSlash);
        check_refused("/a\\b", BadPath::HiddenSlash);
        check_refused("/a%252fb", BadPath::HiddenSlash);
        check_refused("/a%255Cb", BadPath::HiddenSlash);
        check_refused("/%252e%252e/admin", BadPath::HiddenDot);
        check_refused("/%25252e", BadPath::Escape);
        check_refused("/a%00", BadPath::Character);
        check_refused("/a%0d%0a", BadPath::Character);
        check_refused("/a%7f", BadPath::Character);
        check_refused("/a%2500", BadPath::Character);
        check_refused("/a b", BadPath::Character);
        check_refused("/é", BadPath::Character);
        check_refused("/..", BadPath::Outside);
        check_refused("/a/../../admin", BadPath::Outside);
        check_refused("/%2e%2e/admin", BadPath::Outside);
        check_refused("/..;/admin", BadPath::DotParameters);
        check_refused("/a/..;x=1/admin", BadPath::DotParameters);
        check_refused("/.;/admin", BadPath::DotParameters);
    }

    #[test]
    fn inside_an_id_may_hold_a_slash_and_dots_are_still_dots() {
        let form = |path: &str| normalise(path.as_bytes(), Slashes::Kept).map(Cow::into_owned);
        assert_eq!(form("/things/a%2fb").as_deref(), Ok("/things/a%2Fb"));
        assert_eq!(form("/things/a%252fb").as_deref(), Ok("/things/a%252fb"));
        assert_eq!(form("/things/%2e%2e/b").as_deref(), Ok("/b"));
        assert_eq!(form("/things/%2e%2e%2fb").as_deref(), Ok("/things/..%2Fb"));
    }

    #[test]
    fn the_form_of_a_form_is_itself() {
        let mut random = Random::with_seed(7);
        let alphabet = b"/.;%2eEfF5cCaA\\~ \x01\xc3";
        let mut accepted = 0;
        for _ in 0..50_000 {
            let length = 1 + random.below(12);
            let mut path = vec![b'/'];
            for _ in 0..length {
                let at = usize::try_from(random.below(alphabet.len() as u64)).unwrap();
                path.push(alphabet[at]);
            }
            let slashes = if random.below(2) == 0 { Slashes::Kept } else { Slashes::Refused };
            let Ok(form) = normalise(&path, slashes) else { continue };
            accepted += 1;
            assert_eq!(normalise(form.as_bytes(), slashes).as_deref(), Ok(&*form), "{path:?}");
            assert!(!form.contains("//") && !form.contains("/./") && !form.contains("/../"));
        }
        assert!(accepted > 2_000, "{accepted}");
    }
}
