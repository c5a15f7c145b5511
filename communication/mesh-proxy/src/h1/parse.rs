//! Heads of requests and responses.

use super::{
    Field, Malformed, Span,
    authority::Authority,
    class::{self, TARGET, TOKEN, VALUE},
    facts::{Facts, Side, read_fields},
    lines::{Search, search},
};

/// No method in use is longer (`UPDATEREDIRECTREF`, `BASELINE-CONTROL`); a longer one is answered
/// 501 (RFC 9112 3).
const METHOD_BYTES_MAX: usize = 32;

/// How much of a head is read before it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the head, its empty lines included; one more is 431.
    pub head_bytes_max: usize,
    /// Field lines; one more is 431.
    pub fields_max: usize,
    /// Bytes of the target; one more is 414.
    pub target_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { head_bytes_max: 32 * 1024, fields_max: 100, target_bytes_max: 8 * 1024 }
    }
}

/// What a request begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestLine {
    /// The method, a token, in the case that it was written in.
    pub method: Span,
    /// The whole target.
    pub target: Span,
    /// What the target is.
    pub form: TargetForm,
    /// 0 for HTTP/1.0, 1 for HTTP/1.1.
    pub minor: u8,
    /// Bytes of the head, with its empty line and with one before it.
    pub length: usize,
    /// Where the body ends.
    pub body: BodyLength,
    /// Whether the client wants to send another request on the connection.
    pub persists: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// Whether the client wants another protocol (Connection and Upgrade both say so).
    pub upgrade: bool,
    /// `host` or `host:port`, of the target where it has one and else of the Host field. Absent
    /// in HTTP/1.0 only, where the field may also be missing beside a target that has one: whoever
    /// forwards such a request adds Host.
    pub host: Option<Span>,
}

/// The four forms of a target (RFC 9112 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetForm {
    /// `/path?query`.
    Origin,
    /// `http://host/path?query`, `https` too.
    Absolute {
        /// `host` or `host:port`.
        authority: Span,
        /// What comes after: begins with `/`, or is empty or begins with `?` where the path is
        /// empty.
        path: Span,
    },
    /// `host:port`, with CONNECT only.
    Authority,
    /// `*`, with OPTIONS only.
    Asterisk,
}

/// Where a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLength {
    /// There is none.
    None,
    /// After so many bytes; 0 is possible, as it was said in words.
    Known(u64),
    /// Where [`super::Decoder`] says so.
    Chunked,
    /// With the connection; responses only.
    UntilClose,
}

/// What a response begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusLine {
    /// 100 to 999.
    pub status: u16,
    /// 0 for HTTP/1.0, 1 for HTTP/1.1.
    pub minor: u8,
    /// The words after the status; may be empty.
    pub reason: Span,
    /// Bytes of the head, with its empty line.
    pub length: usize,
    /// Where the body ends.
    pub body: BodyLength,
    /// Whether another request may be sent on the connection.
    pub persists: bool,
}

/// The request that a response answers, as far as its length depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// HEAD: the head says what the body would be, and there is none.
    Head,
    /// CONNECT: after 2xx comes a tunnel.
    Connect,
    /// Any other method.
    Other,
}

/// Reads the head of a request from the start of `buffer`.
///
/// `None` means that more bytes are needed: call again with the same bytes and more behind them.
/// `scanned` is 0 at first and is kept between these calls, and set to 0 for the next request.
/// `fields` is emptied and filled. Spans are into `buffer`; the body begins at `length`.
///
/// # Errors
/// Whatever RFC 9112 calls an error, whatever two readers could read in two ways, and what is over
/// `limits`. Most is found before the head is whole.
pub fn request(
    buffer: &[u8],
    scanned: &mut usize,
    limits: &Limits,
    fields: &mut Vec<Field>,
) -> Result<Option<RequestLine>, Malformed> {
    fields.clear();
    // RFC 9112 2.2: some clients send an empty line after the body before.
    let start = if buffer.starts_with(b"\r\n") { 2 } else { 0 };
    match buffer.get(start) {
        // TLS, or other noise, need not wait for a line end that may never come.
        Some(byte) if !class::is(*byte, TOKEN) && *byte != b'\r' && *byte != b'\n' => {
            return Err(Malformed::RequestLine);
        }
        _ => {}
    }
    let known_before = *scanned;
    let length = match search(buffer, scanned)? {
        Search::Ended(4) if start == 2 => return Err(Malformed::EmptyLines),
        Search::Ended(length) => length,
        Search::Open { line_ended } => {
            check_open(buffer, start, limits)?;
            if line_ended && let Some(line) = first_line(buffer, start, known_before) {
                read_request_line(line, start, limits)?;
            }
            return Ok(None);
        }
    };
    let head = &buffer[..length];
    let (line, next) = read_request_line(head, start, limits)?;
    if length > limits.head_bytes_max {
        return Err(Malformed::HeadTooLarge);
    }
    let mut facts = Facts::default();
    read_fields(head, next, limits.fields_max, fields, |field| {
        facts.note(Side::Request, head, field)
    })?;
    facts.check_framing(line.minor)?;
    let host = check_host(head, &line, &facts)?;
    let body = match facts.content_length {
        Some(bytes) => BodyLength::Known(bytes),
        None if facts.is_chunked() => BodyLength::Chunked,
        None => BodyLength::None,
    };
    Ok(Some(RequestLine {
        method: line.method,
        target: line.target,
        form: line.form,
        minor: line.minor,
        length,
        body,
        persists: facts.persists(line.minor),
        expects_continue: facts.expects_continue(line.minor),
        upgrade: facts.upgrades(line.minor),
        host,
    }))
}

/// Reads the head of a response from the start of `buffer`; otherwise as [`request`].
///
/// An interim response (1xx except 101) is one of its own, without a body; the next follows it.
///
/// # Errors
/// As [`request`]. What cannot be delimited for certain is refused, also where RFC 9112 would read
/// until the connection closes.
pub fn response(
    buffer: &[u8],
    scanned: &mut usize,
    limits: &Limits,
    asked: Asked,
    fields: &mut Vec<Field>,
) -> Result<Option<StatusLine>, Malformed> {
    fields.clear();
    let seen = buffer.len().min(5);
    if buffer[..seen] != b"HTTP/"[..seen] {
        return Err(Malformed::StatusLine);
    }
    let length = match search(buffer, scanned)? {
        Search::Ended(length) => length,
        Search::Open { .. } if buffer.len() >= limits.head_bytes_max => {
            return Err(Malformed::HeadTooLarge);
        }
        Search::Open { .. } => return Ok(None),
    };
    if length > limits.head_bytes_max {
        return Err(Malformed::HeadTooLarge);
    }
    let head = &buffer[..length];
    let (status, minor, reason, next) = read_status_line(head)?;
    let mut facts = Facts::default();
    read_fields(head, next, limits.fields_max, fields, |field| {
        facts.note(Side::Response, head, field)
    })?;
    facts.check_framing(minor)?;
    let body = body_of_response(status, asked, &facts)?;
    let tunnel = status == 101 || (asked == Asked::Connect && status / 100 == 2);
    let persists = facts.persists(minor) && body != BodyLength::UntilClose && !tunnel;
    Ok(Some(StatusLine { status, minor, reason, length, body, persists }))
}

#[derive(Debug, Clone, Copy)]
struct Line {
    method: Span,
    target: Span,
    form: TargetForm,
    minor: u8,
    /// The port that an absolute target without one means.
    default_port: u16,
}

/// Refuses what no further byte can make good.
fn check_open(buffer: &[u8], start: usize, limits: &Limits) -> Result<(), Malformed> {
    let line_bytes_max = METHOD_BYTES_MAX + limits.target_bytes_max + "  HTTP/1.1".len();
    let line = &buffer[start..];
    if line.len() > line_bytes_max && memchr::memchr(b'\r', &line[..=line_bytes_max]).is_none() {
        return Err(Malformed::TargetTooLong);
    }
    if buffer.len() >= limits.head_bytes_max {
        return Err(Malformed::HeadTooLarge);
    }
    Ok(())
}

/// The head so far, if its first line ended after `known_before`: then it is new.
fn first_line(buffer: &[u8], start: usize, known_before: usize) -> Option<&[u8]> {
    let end = start + memchr::memchr(b'\r', &buffer[start..])?;
    (end >= known_before && end + 2 <= buffer.len()).then(|| &buffer[..end + 2])
}

/// Reads the request line at `start`; returns the start of the next line too.
#[inline]
fn read_request_line(
    head: &[u8],
    start: usize,
    limits: &Limits,
) -> Result<(Line, usize), Malformed> {
    let method_end = start + class::run(&head[start..], TOKEN);
    let target_start = method_end + 1;
    if method_end == start || head.get(method_end) != Some(&b' ') {
        return Err(Malformed::RequestLine);
    }
    if method_end - start > METHOD_BYTES_MAX {
        return Err(Malformed::MethodTooLong);
    }
    let target_end = target_start + class::run(&head[target_start..], TARGET);
    if target_end - target_start > limits.target_bytes_max {
        return Err(Malformed::TargetTooLong);
    }
    match head.get(target_end) {
        Some(b' ') if target_end > target_start => {}
        Some(b' ' | b'\r') | None => return Err(Malformed::RequestLine),
        Some(_) => return Err(Malformed::Target),
    }
    let rest = &head[target_end + 1..];
    let version_end = memchr::memchr(b'\r', rest).ok_or(Malformed::RequestLine)?;
    let minor = read_version(&rest[..version_end], Malformed::RequestLine)?;
    let target = Span::of(target_start, target_end);
    let method = &head[start..method_end];
    let (form, default_port) = read_form(head, method, target)?;
    let line = Line { method: Span::of(start, method_end), target, form, minor, default_port };
    Ok((line, target_end + 1 + version_end + 2))
}

#[inline]
fn read_version(text: &[u8], otherwise: Malformed) -> Result<u8, Malformed> {
    match text {
        b"HTTP/1.1" => Ok(1),
        b"HTTP/1.0" => Ok(0),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(Malformed::Version)
        }
        _ => Err(otherwise),
    }
}

#[inline]
fn read_form(head: &[u8], method: &[u8], target: Span) -> Result<(TargetForm, u16), Malformed> {
    let text = target.of_bytes(head);
    if method == b"CONNECT" {
        let authority = Authority::read(text).map_err(|_| Malformed::Target)?;
        return match authority.port {
            Some(port) => Ok((TargetForm::Authority, port)),
            None => Err(Malformed::Target),
        };
    }
    match text {
        [b'/', ..] => Ok((TargetForm::Origin, 80)),
        b"*" if method == b"OPTIONS" => Ok((TargetForm::Asterisk, 80)),
        _ => read_absolute(text, target),
    }
}

fn read_absolute(text: &[u8], target: Span) -> Result<(TargetForm, u16), Malformed> {
    let is_scheme =
        |scheme: &[u8]| text.get(..scheme.len()).is_some_and(|it| it.eq_ignore_ascii_case(scheme));
    let (skip, default_port) = if is_scheme(b"http://") {
        ("http://".len(), 80)
    } else if is_scheme(b"https://") {
        ("https://".len(), 443)
    } else {
        return Err(Malformed::Target);
    };
    let rest = &text[skip..];
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    Authority::read(&rest[..end])?;
    let start = target.start as usize + skip;
    let authority = Span::of(start, start + end);
    let path = Span { start: authority.end, end: target.end };
    Ok((TargetForm::Absolute { authority, path }, default_port))
}

/// Exactly one good Host in HTTP/1.1, at most one in HTTP/1.0, and the same as in the target.
fn check_host(head: &[u8], line: &Line, facts: &Facts) -> Result<Option<Span>, Malformed> {
    let target = match line.form {
        TargetForm::Absolute { authority, .. } => Some(authority),
        TargetForm::Authority => Some(line.target),
        TargetForm::Origin | TargetForm::Asterisk => None,
    };
    let Some(field) = facts.host else {
        return if line.minor == 1 { Err(Malformed::HostMissing) } else { Ok(target) };
    };
    let asked = Authority::read(field.of_bytes(head))?;
    let Some(target) = target else { return Ok(Some(field)) };
    // RFC 9112 3.2.2 lets the target win; whoever comes after us may do otherwise.
    if !asked.is_same(&Authority::read(target.of_bytes(head))?, line.default_port) {
        return Err(Malformed::HostConflict);
    }
    Ok(Some(target))
}

/// Reads the status line: status, minor version, reason, start of the next line.
#[inline]
fn read_status_line(head: &[u8]) -> Result<(u16, u8, Span, usize), Malformed> {
    let end = memchr::memchr(b'\r', head).ok_or(Malformed::StatusLine)?;
    let line = &head[..end];
    let minor = read_version(line.get(..8).unwrap_or(line), Malformed::StatusLine)?;
    let [b' ', hundreds @ b'1'..=b'9', tens, ones, rest @ ..] = &line[8..] else {
        return Err(Malformed::StatusLine);
    };
    if !tens.is_ascii_digit() || !ones.is_ascii_digit() {
        return Err(Malformed::StatusLine);
    }
    let digit = |byte: &u8| u16::from(byte - b'0');
    let status = digit(hundreds) * 100 + digit(tens) * 10 + digit(ones);
    // Servers that leave the reason away often leave its space away too; that is unambiguous.
    let reason = match rest {
        [] => Span::of(end, end),
        [b' ', words @ ..] if words.iter().all(|byte| class::is(*byte, VALUE)) => {
            Span::of(end - words.len(), end)
        }
        _ => return Err(Malformed::StatusLine),
    };
    Ok((status, minor, reason, end + 2))
}

fn body_of_response(status: u16, asked: Asked, facts: &Facts) -> Result<BodyLength, Malformed> {
    let no_content = status < 200 || status == 204;
    let announced = facts.is_chunked() || facts.content_length.is_some_and(|bytes| bytes > 0);
    // RFC 9110 8.6, RFC 9112 6.1. A zero is harmless and common.
    if no_content && announced && asked != Asked::Head {
        return Err(Malformed::BodyForbidden);
    }
    let tunnel = asked == Asked::Connect && status / 100 == 2;
    if no_content || status == 304 || asked == Asked::Head || tunnel {
        return Ok(BodyLength::None);
    }
    Ok(match facts.content_length {
        Some(bytes) => BodyLength::Known(bytes),
        None if facts.is_chunked() => BodyLength::Chunked,
        None => BodyLength::UntilClose,
    })
}

#[cfg(test)]
mod tests;
