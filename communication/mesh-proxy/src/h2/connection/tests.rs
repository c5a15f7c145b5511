//! Both ends as machines, without a socket.

mod pair;
mod rules;

use std::{
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use fastrand::Rng;
use http::{HeaderMap, StatusCode};

use super::*;
use crate::{
    h1::Known,
    h2::{
        frame::{FrameHeader, HEADER_BYTES, PREFACE, flag, kind},
        hpack,
        settings::Fatal,
    },
};

const BOUNDS: Bounds = Bounds { bytes_max: 32 << 10, fields_max: 100 };
const SERVER: Side = Side::Server { streams_max: 3 };

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    frame::put_header(&mut out, payload.len(), kind, flags, stream);
    out.extend_from_slice(payload);
    out.to_vec()
}

fn block(write: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    let mut out = BytesMut::new();
    write(&mut out);
    out.to_vec()
}

fn get() -> Vec<u8> {
    request(&[])
}

fn request(fields: &[(&str, &str)]) -> Vec<u8> {
    block(|out| {
        hpack::put_method(out, "GET");
        hpack::put_scheme(out);
        hpack::put_authority(out, b"back");
        hpack::put_path(out, b"/");
        for (name, value) in fields {
            hpack::put_field(out, Known::Other, name.as_bytes(), value.as_bytes());
        }
    })
}

fn headers(flags: u8, stream: u32, block: &[u8]) -> Vec<u8> {
    frame(kind::HEADERS, flags, stream, block)
}

const LAST: u8 = flag::END_HEADERS | flag::END_STREAM;
const OPEN: u8 = flag::END_HEADERS;

/// A server that has said and heard what comes first.
fn server() -> Connection {
    let mut server = Connection::new(SERVER, BOUNDS);
    let said = server.out().len();
    server.wrote(said);
    receive(&mut server, &frame(kind::SETTINGS, 0, 0, &[])).unwrap();
    let said = server.out().len();
    server.wrote(said);
    server
}

fn receive(connection: &mut Connection, bytes: &[u8]) -> Result<(), Fatal> {
    connection.receive(&mut BytesMut::from(bytes), Duration::ZERO)
}

/// What a connection says: kind, stream, and the first number of the payload.
fn said(connection: &mut Connection) -> Vec<(u8, u32, u32)> {
    let mut out = connection.out().to_vec();
    connection.wrote(out.len());
    let mut frames = Vec::new();
    while let Some(header) = FrameHeader::read(&out) {
        let end = HEADER_BYTES + header.length;
        let number = frame::number(&out[HEADER_BYTES..end]).unwrap_or(0);
        frames.push((header.kind, header.stream, number));
        out.drain(..end);
    }
    frames
}
