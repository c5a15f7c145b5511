//! Blocks of fields as heads: what a request, an answer and trailers must have and may not (RFC 9113
//! 8.2, 8.3).

use std::ops::Range;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::hpack::{Decoder, Invalid};
use crate::{
    h1::{
        Field, Known, Span,
        write::{is_name, is_value},
    },
    head::Fields,
};

/// What each field costs beyond its bytes in a bound on a head (RFC 9113 6.5.2).
const FIELD_BYTES: usize = 32;

/// Bounds on a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) bytes_max: usize,
    pub(crate) fields_max: usize,
}

/// A block that was read.
#[derive(Debug, Default)]
pub(crate) struct Block {
    bytes: Vec<u8>,
    list: Vec<Field>,
    method: Option<Range<usize>>,
    scheme: Option<Range<usize>>,
    authority: Option<Range<usize>>,
    path: Option<Range<usize>>,
    status: Option<Range<usize>>,
    size: usize,
    /// A rule that it breaks.
    fault: Option<&'static str>,
    /// It is larger than may be; its rest was read and not kept.
    pub(crate) is_too_large: bool,
}

impl Block {
    /// Reads a block.
    ///
    /// # Errors
    /// The connection is over, see [`Invalid`].
    pub(crate) fn read(
        decoder: &mut Decoder,
        bytes: &[u8],
        bounds: Bounds,
    ) -> Result<Self, Invalid> {
        let mut block = Self { bytes: Vec::with_capacity(bytes.len() * 2), ..Self::default() };
        block.list.reserve(16);
        decoder.decode(bytes, |name, value| block.take(name, value, bounds))?;
        Ok(block)
    }

    fn take(&mut self, name: &[u8], value: &[u8], bounds: Bounds) {
        self.size += name.len() + value.len() + FIELD_BYTES;
        if self.size > bounds.bytes_max || self.list.len() >= bounds.fields_max {
            self.is_too_large = true;
            return;
        }
        if let [b':', pseudo @ ..] = name {
            return self.take_pseudo(pseudo, value);
        }
        if !is_lower_name(name) {
            self.fault = Some("a field name is no lower-case token");
        }
        if !is_value(value) {
            self.fault = Some("a field value has a character that it may not have");
        }
        let known = Known::of(name);
        match known {
            Known::Connection | Known::KeepAlive | Known::TransferEncoding | Known::Upgrade => {
                self.fault = Some("a field speaks about a connection");
            }
            Known::Proxy if name == b"proxy-connection" => {
                self.fault = Some("a field speaks about a connection");
            }
            Known::Te if value != b"trailers" => {
                self.fault = Some("te says something else than trailers");
            }
            _ => {}
        }
        let name = self.keep(name);
        let value = self.keep(value);
        let span = |it: Range<usize>| Span::of(it.start, it.end);
        self.list.push(Field { name: span(name), value: span(value), known });
    }

    fn take_pseudo(&mut self, name: &[u8], value: &[u8]) {
        if !self.list.is_empty() {
            self.fault = Some("a pseudo-field stands behind a field");
        }
        let kept = self.keep(value);
        let place = match name {
            b"method" => &mut self.method,
            b"scheme" => &mut self.scheme,
            b"authority" => &mut self.authority,
            b"path" => &mut self.path,
            b"status" => &mut self.status,
            _ => {
                self.fault = Some("a pseudo-field is unknown");
                return;
            }
        };
        if place.replace(kept).is_some() {
            self.fault = Some("a pseudo-field stands twice");
        }
    }

    fn keep(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }

    fn text(&self, range: Option<&Range<usize>>) -> Option<&[u8]> {
        range.map(|it| &self.bytes[it.clone()])
    }

    fn has_request_words(&self) -> bool {
        [&self.method, &self.scheme, &self.authority, &self.path].iter().any(|it| it.is_some())
    }

    /// As a request.
    ///
    /// # Errors
    /// The rule of RFC 9113 8.3.1 that it breaks.
    pub(crate) fn into_request(self) -> Result<Request, &'static str> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let method = self.text(self.method.as_ref()).and_then(|it| Method::from_bytes(it).ok());
        let method = method.ok_or("there is no method")?;
        if self.status.is_some() {
            return Err("a request has a status");
        }
        let path = self.text(self.path.as_ref());
        if method != Method::CONNECT && (self.scheme.is_none() || path.is_none_or(<[u8]>::is_empty))
        {
            return Err("there is no scheme or no path");
        }
        let length = self.length()?;
        let (authority, path) = (self.authority.clone(), self.path.clone());
        let is_too_large = self.is_too_large;
        let fields = self.into_fields();
        let part = |it: Option<Range<usize>>| it.map(|it| fields.block().slice(it));
        let (authority, path) = (part(authority), part(path).unwrap_or_default());
        Ok(Request { method, authority, path, length, is_too_large, fields: joined(fields) })
    }

    /// As an answer.
    ///
    /// # Errors
    /// The rule of RFC 9113 8.3.2 that it breaks.
    pub(crate) fn into_response(self) -> Result<Response, &'static str> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if self.is_too_large {
            return Err("a head is too large");
        }
        if self.has_request_words() {
            return Err("an answer has a word of a request");
        }
        let status = self.text(self.status.as_ref()).filter(|it| it.len() == 3);
        let status = status.and_then(|it| StatusCode::from_bytes(it).ok());
        let status = status.ok_or("there is no status")?;
        let length = self.length()?;
        Ok(Response { status, length, fields: self.into_fields() })
    }

    /// As trailers.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub(crate) fn into_trailers(self) -> Result<HeaderMap, &'static str> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if self.is_too_large {
            return Err("the trailers are too large");
        }
        if self.has_request_words() || self.status.is_some() {
            return Err("trailers have a pseudo-field");
        }
        let mut map = HeaderMap::with_capacity(self.list.len());
        // What may not come here is passed over: whoever merges trailers into the head would believe what
        // nobody has looked at (RFC 9110 6.5.1).
        for field in self.list.iter().filter(|it| it.known.is_trailer()) {
            let name = HeaderName::from_bytes(field.name.of_bytes(&self.bytes));
            let value = HeaderValue::from_bytes(field.value.of_bytes(&self.bytes));
            if let (Ok(name), Ok(value)) = (name, value) {
                map.append(name, value);
            }
        }
        Ok(map)
    }

    /// The length that it says; every word on it must be the same.
    fn length(&self) -> Result<Option<u64>, &'static str> {
        let mut length = None;
        for field in self.list.iter().filter(|it| it.known == Known::ContentLength) {
            let text = field.value.of_bytes(&self.bytes);
            let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
            let read = std::str::from_utf8(text).ok().filter(|_| is_number);
            let read: u64 = read.and_then(|it| it.parse().ok()).ok_or("a length is no number")?;
            if length.replace(read).is_some_and(|it| it != read) {
                return Err("two lengths differ");
            }
        }
        Ok(length)
    }

    fn into_fields(self) -> Fields {
        Fields::of(Bytes::from(self.bytes), self.list)
    }
}

/// A request's head, without what every writer says itself.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) authority: Option<Bytes>,
    /// Path and query, not normalised; empty for CONNECT.
    pub(crate) path: Bytes,
    pub(crate) length: Option<u64>,
    pub(crate) is_too_large: bool,
    pub(crate) fields: Fields,
}

/// An answer's head.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) length: Option<u64>,
    pub(crate) fields: Fields,
}

/// Crumbs of a cookie are one field again for those that speak HTTP/1 (RFC 9113 8.2.3).
fn joined(mut fields: Fields) -> Fields {
    let crumbs = |it: &Fields| it.iter().filter(|it| it.0 == Known::Cookie).count();
    if crumbs(&fields) > 1 {
        let all: Vec<&[u8]> =
            fields.iter().filter(|it| it.0 == Known::Cookie).map(|it| it.2).collect();
        let joined = all.join(&b"; "[..]);
        fields.set_known(Known::Cookie, b"cookie", &joined);
    }
    fields
}

fn is_lower_name(name: &[u8]) -> bool {
    is_name(name) && !name.iter().any(u8::is_ascii_uppercase)
}
