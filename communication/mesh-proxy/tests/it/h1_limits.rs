//! Each bound at its value and at one more.

use mesh_proxy::h1::{
    Decoder, Limits, Malformed, Step,
    chunk::{EXTENSION_BYTES_MAX, EXTENSIONS_BYTES_MAX, TRAILER_FIELDS_MAX, TRAILERS_BYTES_MAX},
    request,
};

const LINE: &str = "GET / HTTP/1.1\r\nHost: a\r\n";

fn parse(text: &str) -> Result<(), Malformed> {
    let mut fields = Vec::new();
    let line = request(text.as_bytes(), &mut 0, &Limits::default(), &mut fields)?;
    assert!(line.is_some(), "the head is whole");
    Ok(())
}

/// `make` makes a request that has `value` of what is bounded by `value_max`.
#[track_caller]
fn check(value_max: usize, over: Malformed, status: u16, make: impl Fn(usize) -> String) {
    assert_eq!(parse(&make(value_max)), Ok(()));
    assert_eq!(parse(&make(value_max + 1)), Err(over));
    assert_eq!(over.status(), status);
}

#[test]
fn a_target_of_8_kib_passes_and_one_byte_more_is_414() {
    check(8192, Malformed::TargetTooLong, 414, |bytes| {
        format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(bytes - 1))
    });
}

#[test]
fn a_hundred_fields_pass_and_one_more_is_431() {
    check(100, Malformed::TooManyFields, 431, |fields| {
        format!("{LINE}{}\r\n", "X: y\r\n".repeat(fields - 1))
    });
}

#[test]
fn a_head_of_32_kib_passes_and_one_byte_more_is_431() {
    check(32 * 1024, Malformed::HeadTooLarge, 431, |bytes| {
        let rest = bytes - LINE.len() - "X: \r\n\r\n".len();
        format!("{LINE}X: {}\r\n\r\n", "y".repeat(rest))
    });
}

#[test]
fn a_method_of_32_bytes_passes_and_one_byte_more_is_501() {
    check(32, Malformed::MethodTooLong, 501, |bytes| {
        format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "M".repeat(bytes))
    });
}

#[test]
fn sixteen_connection_options_pass_and_one_more_is_400() {
    check(16, Malformed::Connection, 400, |options| {
        format!("{LINE}Connection: {}\r\n\r\n", vec!["a"; options].join(", "))
    });
}

#[test]
fn a_length_of_18_digits_passes_and_one_more_is_400() {
    check(18, Malformed::ContentLength, 400, |digits| {
        format!("{LINE}Content-Length: {}\r\n\r\n", "9".repeat(digits))
    });
}

/// The verdict on `text` that arrives byte by byte and may never be whole.
fn drip(text: &str) -> Result<(), (usize, Malformed)> {
    let (mut fields, mut scanned) = (Vec::new(), 0);
    for end in 1..=text.len() {
        let bytes = &text.as_bytes()[..end];
        let read = request(bytes, &mut scanned, &Limits::default(), &mut fields);
        if read.map_err(|malformed| (end, malformed))?.is_some() {
            return Ok(());
        }
    }
    Ok(())
}

#[test]
fn what_is_too_long_is_refused_before_it_is_whole() {
    let target = format!("GET /{}", "x".repeat(9000));
    let (at, malformed) = drip(&target).unwrap_err();
    assert_eq!(malformed, Malformed::TargetTooLong);
    assert!(at <= 8192 + 64, "{at}");
    let head = format!("{LINE}X: {}", "y".repeat(40_000));
    assert_eq!(drip(&head), Err((32 * 1024, Malformed::HeadTooLarge)));
}

#[test]
fn what_is_wrong_is_refused_at_the_end_of_its_first_line() {
    let check = |text: &str, at, malformed| assert_eq!(drip(text), Err((at, malformed)), "{text}");
    check("GET / HTTP/2.0\r\nHost", 16, Malformed::Version);
    check("GET /#a HTTP/1.1\r\nHost", 18, Malformed::Target);
    check("GET / HTTP/1.1\nHost", 15, Malformed::BareLineFeed);
    check("\x16\x03\x01", 1, Malformed::RequestLine);
    check("\r\n\r\nGET", 4, Malformed::EmptyLines);
}

/// Decodes a whole body; the number of its data bytes.
fn decode(body: &[u8]) -> Result<u64, Malformed> {
    let (mut decoder, mut at, mut data) = (Decoder::new(), 0, 0);
    loop {
        match decoder.step(&body[at..])? {
            Step::Data { skip, length } => {
                at += skip + length;
                data += length as u64;
            }
            Step::End { .. } => return Ok(data),
            Step::More { .. } => panic!("the body is whole"),
        }
    }
}

#[track_caller]
fn check_body(value_max: usize, over: Malformed, make: impl Fn(usize) -> String) {
    assert!(decode(make(value_max).as_bytes()).is_ok());
    assert_eq!(decode(make(value_max + 1).as_bytes()), Err(over));
}

#[test]
fn chunk_extensions_are_bounded_each_and_together() {
    let each = usize::from(EXTENSION_BYTES_MAX);
    check_body(each, Malformed::ChunkExtensionTooLong, |bytes| {
        format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(bytes - 1))
    });
    let together = usize::from(EXTENSIONS_BYTES_MAX);
    check_body(together / each, Malformed::ChunkExtensionTooLong, |chunks| {
        let chunk = format!("1;{}\r\na\r\n", "x".repeat(each - 1));
        format!("{}0\r\n\r\n", chunk.repeat(chunks))
    });
}

#[test]
fn a_size_of_16_digits_passes_and_one_more_is_400() {
    check_body(16, Malformed::ChunkSizeTooLong, |digits| {
        format!("{:0>digits$}\r\na\r\n0\r\n\r\n", 1)
    });
    assert_eq!(
        Decoder::new().step(b"ffffffffffffffff\r\nabc").unwrap(),
        Step::Data { skip: 18, length: 3 }
    );
}

#[test]
fn trailers_are_bounded_in_number_and_in_bytes() {
    check_body(TRAILER_FIELDS_MAX, Malformed::TooManyFields, |fields| {
        format!("0\r\n{}\r\n", "X: y\r\n".repeat(fields))
    });
    check_body(TRAILERS_BYTES_MAX, Malformed::TrailersTooLarge, |bytes| {
        format!("0\r\nX: {}\r\n\r\n", "y".repeat(bytes - "X: \r\n\r\n".len()))
    });
}

#[test]
fn trailers_are_kept_with_their_fields() {
    let mut decoder = Decoder::new();
    let body = b"0\r\ngrpc-status: 0\r\nX: y\r\n\r\nGET";
    assert_eq!(decoder.step(body).unwrap(), Step::End { consumed: body.len() - 3 });
    let (bytes, fields) = decoder.trailers();
    let texts: Vec<_> =
        fields.iter().map(|it| (it.name.of_bytes(bytes), it.value.of_bytes(bytes))).collect();
    assert_eq!(texts, [(&b"grpc-status"[..], &b"0"[..]), (b"X", b"y")]);
}
