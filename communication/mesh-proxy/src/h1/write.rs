//! Heads and chunks, appended to a buffer.
//!
//! The writers copy what they are given. Names, values and targets that come from a head that was
//! parsed here are good; those that come from elsewhere are to be checked with [`is_target`],
//! [`is_name`] and [`is_value`] when they are read. The caller adds Date, and keeps its text for a second.

use bytes::BufMut;

use super::{
    authority::Authority,
    class::{self, TARGET, TOKEN, VALUE},
};

/// The end of a head, and of trailers.
pub const END: &[u8] = b"\r\n";
/// The end of the data of a chunk.
pub const CHUNK_END: &[u8] = b"\r\n";
/// The last chunk; trailers and [`END`] follow.
pub const LAST_CHUNK: &[u8] = b"0\r\n";

/// `GET /path HTTP/1.1`.
pub fn request_line(out: &mut impl BufMut, method: &[u8], target: &[u8]) {
    out.put_slice(method);
    out.put_slice(b" ");
    out.put_slice(target);
    out.put_slice(b" HTTP/1.1\r\n");
}

/// `HTTP/1.1 200 OK`, with the words of [`reason`]. `status` has three digits.
pub fn status_line(out: &mut impl BufMut, status: u16) {
    out.put_slice(b"HTTP/1.1 ");
    decimal(out, u64::from(status));
    out.put_slice(b" ");
    out.put_slice(reason(status).as_bytes());
    out.put_slice(END);
}

/// `name: value`.
#[inline]
pub fn field(out: &mut impl BufMut, name: &[u8], value: &[u8]) {
    out.put_slice(name);
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(END);
}

/// `name: 42`.
pub fn number_field(out: &mut impl BufMut, name: &[u8], value: u64) {
    out.put_slice(name);
    out.put_slice(b": ");
    decimal(out, value);
    out.put_slice(END);
}

/// The line before `size` bytes of data; [`CHUNK_END`] goes behind them. `size` is not 0, which
/// would end the body.
pub fn chunk_head(out: &mut impl BufMut, size: u64) {
    debug_assert_ne!(size, 0, "an empty chunk ends the body");
    let mut text = [0; 16];
    let start = digits(&mut text, size, 16);
    out.put_slice(&text[start..]);
    out.put_slice(b"\r\n");
}

/// A number in decimal digits.
pub fn decimal(out: &mut impl BufMut, value: u64) {
    let mut text = [0; 20];
    let start = digits(&mut text, value, 10);
    out.put_slice(&text[start..]);
}

/// Fills `text` from its end; returns where the number starts.
fn digits(text: &mut [u8], mut value: u64, base: u64) -> usize {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut start = text.len();
    while start > 0 {
        start -= 1;
        text[start] = DIGITS[usize::try_from(value % base).unwrap_or_default()];
        value /= base;
        if value == 0 {
            break;
        }
    }
    start
}

/// Whether a name may be written as it is.
#[must_use]
pub fn is_name(name: &[u8]) -> bool {
    class::all(name, TOKEN)
}

/// Whether a value may be written as it is: no control character but tab, no space at its ends.
#[must_use]
pub fn is_value(value: &[u8]) -> bool {
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    class::run(value, VALUE) == value.len() && !blank(value.first()) && !blank(value.last())
}

/// Whether a target may be written as it is.
#[must_use]
pub fn is_target(target: &[u8]) -> bool {
    class::all(target, TARGET)
}

/// Whether an authority is a host with or without a port.
#[must_use]
pub fn is_authority(text: &[u8]) -> bool {
    Authority::read(text).is_ok()
}

/// The words for a status of the IANA registry (RFC 9110 15); empty for others.
#[must_use]
pub const fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        102 => "Processing",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        207 => "Multi-Status",
        208 => "Already Reported",
        226 => "IM Used",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        305 => "Use Proxy",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400..=451 => client_error(status),
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        506 => "Variant Also Negotiates",
        507 => "Insufficient Storage",
        508 => "Loop Detected",
        511 => "Network Authentication Required",
        _ => "",
    }
}

const fn client_error(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        423 => "Locked",
        424 => "Failed Dependency",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        _ => "",
    }
}

#[cfg(test)]
mod tests;
