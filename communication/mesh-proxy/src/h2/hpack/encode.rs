//! Blocks of fields as they go out: indices of the static table and plain text.

use bytes::{BufMut as _, BytesMut};

use super::{integer, table::STATIC};
use crate::h1::Known;

/// A field of the static table, whole.
const INDEXED: u8 = 0x80;
/// A field that no table keeps.
const PLAIN: u8 = 0;
/// The same, and nobody on the way may keep it either (RFC 7541 7.1.3).
const NEVER: u8 = 0x10;

const AUTHORITY: usize = 1;
const METHOD: usize = 2;
const PATH: usize = 4;
const STATUS: usize = 8;

/// Tells the other end that its table for us is empty: it asked for a smaller one (RFC 7541 4.2).
pub(crate) fn put_table_cleared(out: &mut BytesMut) {
    integer::put(out, 0x20, 5, 0);
}

pub(crate) fn put_method(out: &mut BytesMut, method: &str) {
    match method {
        "GET" => out.put_u8(INDEXED | 2),
        "POST" => out.put_u8(INDEXED | 3),
        other => put_named(out, PLAIN, METHOD, other.as_bytes()),
    }
}

/// `http`: TLS, where there is any, is the business of each hop.
pub(crate) fn put_scheme(out: &mut BytesMut) {
    out.put_u8(INDEXED | 6);
}

pub(crate) fn put_authority(out: &mut BytesMut, authority: &[u8]) {
    put_named(out, PLAIN, AUTHORITY, authority);
}

pub(crate) fn put_path(out: &mut BytesMut, path: &[u8]) {
    match path {
        b"/" => out.put_u8(INDEXED | 4),
        other => put_named(out, PLAIN, PATH, other),
    }
}

pub(crate) fn put_status(out: &mut BytesMut, status: u16) {
    let index = match status {
        200 => 8,
        204 => 9,
        206 => 10,
        304 => 11,
        400 => 12,
        404 => 13,
        500 => 14,
        other => {
            put_named(out, PLAIN, STATUS, other.to_string().as_bytes());
            return;
        }
    };
    out.put_u8(INDEXED | index);
}

/// Any other field; its name goes out in lower case (RFC 9113 8.2).
#[inline]
pub(crate) fn put_field(out: &mut BytesMut, known: Known, name: &[u8], value: &[u8]) {
    let kind = match known {
        Known::Authorization | Known::Cookie | Known::SetCookie => NEVER,
        _ => PLAIN,
    };
    if let Some(index) = static_name(known) {
        return put_named(out, kind, index, value);
    }
    out.put_u8(kind);
    integer::put(out, 0, 7, name.len());
    if name.iter().any(u8::is_ascii_uppercase) {
        out.extend(name.iter().map(u8::to_ascii_lowercase));
    } else {
        out.put_slice(name);
    }
    put_text(out, value);
}

fn put_named(out: &mut BytesMut, kind: u8, index: usize, value: &[u8]) {
    integer::put(out, kind, 4, index);
    put_text(out, value);
}

fn put_text(out: &mut BytesMut, text: &[u8]) {
    integer::put(out, 0, 7, text.len());
    out.put_slice(text);
}

/// Where the static table has the name of a field, among those that a proxy knows.
const fn static_name(known: Known) -> Option<usize> {
    let index = match known {
        Known::Authorization => 23,
        Known::ContentEncoding => 26,
        Known::ContentLength => 28,
        Known::ContentType => 31,
        Known::Cookie => 32,
        Known::Date => 33,
        Known::RetryAfter => 53,
        Known::Server => 54,
        Known::SetCookie => 55,
        Known::UserAgent => 58,
        Known::Via => 60,
        _ => return None,
    };
    debug_assert!(index <= STATIC.len());
    Some(index)
}
