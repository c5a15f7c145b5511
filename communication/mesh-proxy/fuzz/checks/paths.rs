//! The normal form of a path, for an edge and inside.

use std::borrow::Cow;

use http::Method;
use mesh_policy::{
    path::{Slashes, read},
    route::RequestView as _,
};
use mesh_proxy::{
    h1::{Limits, request, write},
    head::{RequestHead, Version},
};

/// A path as it comes in: its normal form is the normal form of itself, hides nothing from a reader
/// that decodes as often as it likes, and is what stands in the head that goes on.
pub(crate) fn path(data: &[u8]) {
    for slashes in [Slashes::Refused, Slashes::Kept] {
        let Ok(normal) = read(data, slashes) else { continue };
        assert!(normal.len() <= data.len() && normal.starts_with('/'));
        assert_eq!(read(normal.as_bytes(), slashes), Ok(Cow::Borrowed(&*normal)));
        assert!(normal.bytes().all(|it| it.is_ascii_graphic() && !br"\?#".contains(&it)));
        assert!(!normal.contains("//"));
        let elements = || normal.split('/').map(|it| it.as_bytes().to_vec());
        elements().for_each(|it| check_element(&it));
        elements().for_each(|it| check_element(&decoded(&it)));
        if slashes == Slashes::Refused {
            check_readers(&normal);
        }
        check_forwarded(&normal);
    }
}

/// At an edge nobody knows who reads: whoever decodes before it splits, once or again and again,
/// sees the same elements.
fn check_readers(normal: &str) {
    let elements = normal.split('/').count();
    let (mut before, mut text) = (normal.as_bytes().to_vec(), decoded(normal.as_bytes()));
    while before != text {
        assert!(text.iter().all(|it| *it != b'\\' && !it.is_ascii_control()));
        assert_eq!(text.split(|it| *it == b'/').count(), elements);
        text.split(|it| *it == b'/').for_each(check_element);
        (before, text) = (text.clone(), decoded(&text));
    }
}

/// No element names another place than its own, also not for those who drop its parameters or see a
/// query in it.
fn check_element(element: &[u8]) {
    let name = element.split(|it| b";?#".contains(it)).next().unwrap_or_default();
    assert!(name != b"." && name != b"..", "{}", element.escape_ascii());
}

/// Each escape as the byte that it means; what is none stays.
fn decoded(text: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), text);
    while let Some((&byte, behind)) = rest.split_first() {
        let digits = behind.get(..2).filter(|it| it.iter().all(u8::is_ascii_hexdigit));
        let escaped = digits.filter(|_| byte == b'%').and_then(|it| str::from_utf8(it).ok());
        let value = escaped.and_then(|it| u8::from_str_radix(it, 16).ok());
        out.push(value.unwrap_or(byte));
        rest = &behind[if value.is_some() { 2 } else { 0 }..];
    }
    out
}

/// The bytes that a route judges are those that the next program reads.
fn check_forwarded(normal: &str) {
    let target = format!("{normal}?q=/../x");
    let head = RequestHead::new(Method::GET, Version::Http11, "a".into(), target.into());
    assert_eq!(head.path(), normal);
    let mut wire = Vec::new();
    write::request_line(&mut wire, b"GET", head.target());
    wire.extend_from_slice(b"host: a\r\n");
    wire.extend_from_slice(write::END);
    let limits =
        Limits { target_bytes_max: wire.len(), head_bytes_max: wire.len(), ..Limits::default() };
    let line = request(&wire, &mut 0, &limits, &mut Vec::new());
    let line = line.expect("a normal path is a good target").expect("it is whole");
    assert_eq!(line.target.of_bytes(&wire), head.target());
}
