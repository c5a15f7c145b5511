//! The one reading of a path: what is judged is what is forwarded.
//!
//! Every bypass of a path rule is two readers of one text: the proxy reads `/a/%2e%2e/admin` and
//! sees no admin, the program behind it decodes, and serves the admin page (Envoy and Istio were
//! caught at this by CVE-2021-29492, CVE-2021-32779 and ISTIO-SECURITY-2021-005). So a path is
//! brought into one form before anything looks at it, and that form, never the original, goes on
//! to the program. What cannot be brought into one form without a guess about the reader behind us
//! is refused; a refusal is 400.
//!
//! Changed, because RFC 3986 section 6.2.2 says that it means the same:
//! - escapes of unreserved characters become the characters, the digits of others upper case;
//! - `.` and `..` are resolved, after that decoding;
//! - runs of slashes become one. This one is ours: too many programs do it for it to be ignored.
//!
//! Refused, because readers differ: see [`BadPath`]. An escape of an escape (`%252e`) is a plain
//! text to a correct reader, and a dot to one that decodes twice; it is refused where that second
//! decoding would give an unreserved character or what is refused here, and passes where it would
//! not (`%2520`).
//!
//! Inside, where every reader splits first and decodes then, an id may hold an encoded slash, once or
//! twice over: [`normalise_inside`] keeps it as the letter that it is. At an edge nobody knows who reads.
//!
//! Not done: letters keep their case, and a path parameter (`/a;b=c`) stays a part of its element,
//! as RFC 3986 section 3.3 has it. `*` and the authority form are not paths; who takes `OPTIONS *`
//! or `CONNECT` does not ask here.
//!
//! The result is never longer than what came in, so the limit on targets bounds it too.

use std::borrow::Cow;

/// Why a path is refused. Each is a text that two readers take for two different paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum BadPath {
    /// It is empty or starts with something else.
    #[error("a path starts with a slash")]
    NotAbsolute,
    /// `%` without two hexadecimal digits, such as `%zz`, `%2` or `%u002e`.
    #[error("a percent sign without two hexadecimal digits")]
    MalformedEscape,
    /// `%2F`: one element to us, two to those who decode first.
    #[error("an encoded slash")]
    EncodedSlash,
    /// `\` or `%5C`: a slash to some.
    #[error("a backslash")]
    Backslash,
    /// A control character, raw or encoded; NUL ends a text to some, CR and LF a header to others.
    #[error("a control character")]
    Control,
    /// A space or a byte beyond ASCII, raw: RFC 3986 wants them encoded.
    #[error("a byte that is not visible ASCII")]
    NotVisible,
    /// `"`, `<`, `>` or a backtick, raw: RFC 3986 has no place for them, and a strict reader of
    /// HTTP/1, such as our own at the next hop, refuses them.
    #[error("a quote, angle bracket or backtick that is not encoded")]
    NotEncoded,
    /// `?` or `#`: what stands behind it is no path to those who split there.
    #[error("a question mark or number sign within the path")]
    Delimiter,
    /// More `..` than elements: some stop at the root, some do not.
    #[error("a path that leaves the root")]
    AboveRoot,
    /// `..;x` or `.;x`, the semicolon raw or encoded: a dot segment to those who drop parameters; and
    /// `..%3Fx` or `..%23x`, one to those who decode before they look for the query.
    #[error("a parameter, query or fragment on a dot segment")]
    DotSegmentParameter,
    /// Such as `%252e`: a dot to those who decode twice.
    #[error("a double encoding")]
    DoubleEncoding,
    /// Escapes that are not UTF-8, such as the overlong slash `%C0%AF`.
    #[error("escapes that are not UTF-8")]
    NotUtf8,
}

/// Brings the path of a request target into the form that is judged and forwarded; nothing is
/// copied when it has that form already. `target_path` ends before the `?` of the query.
///
/// # Errors
///
/// When it has no such form, see [`BadPath`].
pub fn normalise(target_path: &[u8]) -> Result<Cow<'_, str>, BadPath> {
    read(target_path, Slashes::Refused)
}

/// The same between our own, who agree on what an encoded slash is.
///
/// # Errors
///
/// When it has no such form, see [`BadPath`].
pub fn normalise_inside(target_path: &[u8]) -> Result<Cow<'_, str>, BadPath> {
    read(target_path, Slashes::Kept)
}

/// What becomes of slashes that a path hides: escaped, or escaped twice over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Slashes {
    /// The path is refused.
    #[default]
    Refused,
    /// They stay what they are: letters of their element.
    Kept,
}

/// [`normalise`] or [`normalise_inside`].
///
/// # Errors
///
/// When it has no such form, see [`BadPath`].
pub fn read(target_path: &[u8], slashes: Slashes) -> Result<Cow<'_, str>, BadPath> {
    if target_path.first() != Some(&b'/') {
        return Err(BadPath::NotAbsolute);
    }
    if is_normal_at_a_glance(target_path) {
        return std::str::from_utf8(target_path).map(Cow::Borrowed).map_err(|_| BadPath::NotUtf8);
    }
    let mut writer = Writer::new(target_path.len(), slashes);
    writer.read(target_path)?;
    let normal = String::from_utf8(writer.out).map_err(|_| BadPath::NotUtf8)?;
    if slashes == Slashes::Refused {
        refuse_double_encoding(normal.as_bytes())?;
    }
    Ok(Cow::Owned(normal))
}

/// What a raw byte means to the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Stays as it is, wherever it stands.
    Plain,
    /// Matters where it follows a slash.
    Dot,
    Slash,
    Percent,
    Refused(BadPath),
}

/// One look-up for each byte: this runs for every request.
const CLASSES: [Class; 256] = {
    let mut classes = [Class::Plain; 256];
    let mut byte = 0_u8;
    loop {
        classes[byte as usize] = match byte {
            b'/' => Class::Slash,
            b'.' => Class::Dot,
            b'%' => Class::Percent,
            b'\\' => Class::Refused(BadPath::Backslash),
            b'"' | b'<' | b'>' | b'`' => Class::Refused(BadPath::NotEncoded),
            b'?' | b'#' => Class::Refused(BadPath::Delimiter),
            0..=0x1F | 0x7F => Class::Refused(BadPath::Control),
            b' ' | 0x80.. => Class::Refused(BadPath::NotVisible),
            _ => Class::Plain,
        };
        if byte == u8::MAX {
            break classes;
        }
        byte += 1;
    }
};

const fn class(byte: u8) -> Class {
    CLASSES[byte as usize]
}

/// Whether nothing can change: no escape, no run of slashes, no element that starts with a dot.
fn is_normal_at_a_glance(path: &[u8]) -> bool {
    let mut after_slash = false;
    for &byte in path {
        match class(byte) {
            Class::Plain => after_slash = false,
            Class::Dot if !after_slash => {}
            Class::Slash if !after_slash => after_slash = true,
            Class::Dot | Class::Slash | Class::Percent | Class::Refused(_) => return false,
        }
    }
    true
}

/// Writes the normal form, element by element.
struct Writer {
    /// Starts with a slash; up to `element`, it is normal.
    out: Vec<u8>,
    /// Where the element begins that is being written.
    element: usize,
    slashes: Slashes,
}

impl Writer {
    fn new(len: usize, slashes: Slashes) -> Self {
        let mut out = Vec::with_capacity(len);
        out.push(b'/');
        Self { out, element: 1, slashes }
    }

    fn read(&mut self, path: &[u8]) -> Result<(), BadPath> {
        let mut rest = &path[1..];
        while let Some((&byte, behind)) = rest.split_first() {
            rest = behind;
            match class(byte) {
                Class::Plain | Class::Dot => self.out.push(byte),
                Class::Slash => self.end_element(true)?,
                Class::Percent => rest = self.escape(rest)?,
                Class::Refused(reason) => return Err(reason),
            }
        }
        self.end_element(false)
    }

    /// Writes what the escape means whose digits `rest` starts with; gives what is behind it.
    fn escape<'a>(&mut self, rest: &'a [u8]) -> Result<&'a [u8], BadPath> {
        let (byte, behind) = escaped_byte(rest).ok_or(BadPath::MalformedEscape)?;
        match byte {
            b'/' | b'\\' if self.slashes == Slashes::Kept => self.push_escaped(byte),
            b'/' => return Err(BadPath::EncodedSlash),
            b'\\' => return Err(BadPath::Backslash),
            0..=0x1F | 0x7F => return Err(BadPath::Control),
            0x80.. => return self.beyond_ascii(byte, behind),
            _ if is_unreserved(byte) => self.out.push(byte),
            _ => self.push_escaped(byte),
        }
        Ok(behind)
    }

    /// A character beyond ASCII is several escapes, which are UTF-8 together.
    fn beyond_ascii<'a>(&mut self, lead: u8, mut rest: &'a [u8]) -> Result<&'a [u8], BadPath> {
        let len = match lead {
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            _ => return Err(BadPath::NotUtf8),
        };
        let mut character = [lead; 4];
        for place in &mut character[1..len] {
            let escape = rest.strip_prefix(b"%").ok_or(BadPath::NotUtf8)?;
            (*place, rest) = escaped_byte(escape).ok_or(BadPath::MalformedEscape)?;
        }
        std::str::from_utf8(&character[..len]).map_err(|_| BadPath::NotUtf8)?;
        for &byte in &character[..len] {
            self.push_escaped(byte);
        }
        Ok(rest)
    }

    fn push_escaped(&mut self, byte: u8) {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        let (high, low) = (DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]);
        self.out.extend([b'%', high, low]);
    }

    /// Resolves the element that was written (RFC 3986 section 5.2.4) and begins the next.
    fn end_element(&mut self, at_slash: bool) -> Result<(), BadPath> {
        match &self.out[self.element..] {
            // An empty one is a run of slashes, or the slash at the end, which is there already.
            b"" => {}
            b"." => self.out.truncate(self.element),
            b".." => self.leave_element()?,
            element if is_dot_with_parameter(element) => return Err(BadPath::DotSegmentParameter),
            _ if at_slash => self.out.push(b'/'),
            _ => {}
        }
        self.element = self.out.len();
        Ok(())
    }

    /// Takes back the element before the `..` that was written.
    fn leave_element(&mut self) -> Result<(), BadPath> {
        let before = &self.out[..self.element - 1];
        let parent = before.iter().rposition(|it| *it == b'/').ok_or(BadPath::AboveRoot)?;
        self.out.truncate(parent + 1);
        Ok(())
    }
}

/// Whether the element is a dot segment to those who end an element where this one goes on. Elsewhere
/// an encoded question mark is a letter like any other, which ids may hold; nothing that anybody means
/// begins with a dot segment and goes on so.
fn is_dot_with_parameter(element: &[u8]) -> bool {
    let behind = element.strip_prefix(b"..").or_else(|| element.strip_prefix(b"."));
    let ends: [&[u8]; 4] = [b";", b"%3B", b"%3F", b"%23"];
    behind.is_some_and(|it| ends.iter().any(|end| it.starts_with(end)))
}

/// RFC 3986 section 2.3.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// The byte of an escape whose digits `rest` starts with, and what is behind them.
pub(crate) fn escaped_byte(rest: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, behind) = rest.split_first_chunk::<2>()?;
    Some((hex(digits[0])? << 4 | hex(digits[1])?, behind))
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Looks at the result, because `%25%32%65` is a double encoding only there.
fn refuse_double_encoding(normal: &[u8]) -> Result<(), BadPath> {
    let mut rest = normal;
    while let Some((&byte, behind)) = rest.split_first() {
        let before = &normal[..normal.len() - rest.len()];
        rest = behind;
        let Some(mut decoded) = behind.strip_prefix(b"25").filter(|_| byte == b'%') else {
            continue;
        };
        // However often it was encoded: each time adds a `25`.
        while let Some(behind) = decoded.strip_prefix(b"25") {
            decoded = behind;
        }
        let ends_dots = || before.ends_with(b"/.") || before.ends_with(b"/..");
        let is_refused =
            |byte| changes_when_decoded(byte) || (b";?#".contains(&byte) && ends_dots());
        if escaped_byte(decoded).is_some_and(|(byte, _)| is_refused(byte)) {
            return Err(BadPath::DoubleEncoding);
        }
    }
    Ok(())
}

/// Whether [`Writer::escape`] would not keep an escape of it; 0xC0, 0xC1 and all from 0xF5 on never
/// occur in UTF-8 (RFC 3629 section 1).
const fn changes_when_decoded(byte: u8) -> bool {
    is_unreserved(byte) || matches!(byte, b'/' | b'\\' | 0..=0x1F | 0x7F | 0xC0 | 0xC1 | 0xF5..)
}
