//! Heads as blocks of fields.

use bytes::BytesMut;
use http::StatusCode;

use super::hpack;
use crate::{
    h1::{Known, write::decimal},
    head::{Fields, RequestHead},
};

/// Appends a request; `length` is that of its body, where it is known.
pub(crate) fn put_request(out: &mut BytesMut, head: &RequestHead, length: Option<u64>) {
    hpack::put_method(out, head.method.as_str());
    hpack::put_scheme(out);
    let authority = if head.authority.is_empty() { b"localhost" } else { &head.authority[..] };
    hpack::put_authority(out, authority);
    hpack::put_path(out, head.target());
    put_fields(out, &head.fields);
    put_length(out, length.filter(|it| *it > 0));
}

/// Appends an answer.
pub(crate) fn put_response(
    out: &mut BytesMut,
    status: StatusCode,
    fields: &Fields,
    length: Option<u64>,
) {
    hpack::put_status(out, status.as_u16());
    put_fields(out, fields);
    put_length(out, length);
}

fn put_fields(out: &mut BytesMut, fields: &Fields) {
    out.reserve(fields.bytes_about());
    for (known, name, value) in fields.iter() {
        hpack::put_field(out, known, name, value);
    }
}

fn put_length(out: &mut BytesMut, length: Option<u64>) {
    if let Some(length) = length {
        let mut text = BytesMut::with_capacity(20);
        decimal(&mut text, length);
        hpack::put_field(out, Known::ContentLength, b"content-length", &text);
    }
}
