use bytes::BytesMut;

use super::{encode::*, *};
use crate::h1::Known;

type Pairs = Vec<(String, String)>;

fn read(decoder: &mut Decoder, block: &[u8]) -> Result<Pairs, Invalid> {
    let mut fields = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    decoder.decode(block, |name, value| fields.push((text(name), text(value))))?;
    Ok(fields)
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

#[track_caller]
fn check(decoder: &mut Decoder, hex: &str, expected: &[(&str, &str)], table_bytes: usize) {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    assert_eq!(read(decoder, &bytes(hex)).unwrap(), expected.iter().map(owned).collect::<Pairs>());
    assert_eq!(decoder.table_bytes(), table_bytes);
}

const FIRST: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")];

/// RFC 7541 C.3 and C.4: three requests on one connection, in plain text and in Huffman's code.
#[test]
fn requests_of_the_rfc_are_read_with_the_table_that_they_build() {
    let plain = [
        "828684410f7777772e6578616d706c652e636f6d",
        "828684be58086e6f2d6361636865",
        "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
    ];
    let coded = [
        "828684418cf1e3c2e5f23a6ba0ab90f4ff",
        "828684be5886a8eb10649cbf",
        "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
    ];
    for blocks in [plain, coded] {
        let mut decoder = Decoder::default();
        check(&mut decoder, blocks[0], &FIRST, 57);
        let second = [&FIRST[..], &[("cache-control", "no-cache")]].concat();
        check(&mut decoder, blocks[1], &second, 110);
        let third = [
            (":method", "GET"),
            (":scheme", "https"),
            (":path", "/index.html"),
            (":authority", "www.example.com"),
            ("custom-key", "custom-value"),
        ];
        check(&mut decoder, blocks[2], &third, 164);
    }
}

/// RFC 7541 C.2: each kind of literal.
#[test]
fn every_kind_of_literal_is_read_and_only_one_is_kept() {
    let mut decoder = Decoder::default();
    let key = "400a637573746f6d2d6b65790d637573746f6d2d686561646572";
    check(&mut decoder, key, &[("custom-key", "custom-header")], 55);
    check(&mut decoder, "040c2f73616d706c652f70617468", &[(":path", "/sample/path")], 55);
    check(&mut decoder, "100870617373776f726406736563726574", &[("password", "secret")], 55);
    check(&mut decoder, "82", &[(":method", "GET")], 55);
}

#[test]
fn the_table_drops_the_oldest_and_may_be_emptied_at_the_beginning_of_a_block() {
    let mut decoder = Decoder::default();
    let long = |name: u8| {
        let mut block = vec![0x40, 1, name, 0x7f, 0xe0, 0x1e];
        block.resize(block.len() + 127 + 0x60 + (0x1e << 7), b'v');
        block
    };
    read(&mut decoder, &long(b'a')).unwrap();
    let first = decoder.table_bytes();
    read(&mut decoder, &long(b'b')).unwrap();
    assert_eq!(decoder.table_bytes(), first, "there is room for one");
    assert_eq!(read(&mut decoder, &[0xbe]).unwrap()[0].0, "b");
    assert_eq!(read(&mut decoder, &[0xbf]), Err(Invalid));
    assert_eq!(read(&mut decoder, &[0x20, 0x82]).unwrap().len(), 1);
    assert_eq!(decoder.table_bytes(), 0);
    // Emptied, it keeps nothing.
    read(&mut decoder, &[0x40, 1, b'a', 1, b'b']).unwrap();
    assert_eq!(decoder.table_bytes(), 0);
}

#[test]
fn a_name_is_taken_from_an_entry_that_it_pushes_out() {
    let mut decoder = Decoder::default();
    // Room for one small entry.
    read(&mut decoder, &[0x3f, 0x05, 0x40, 1, b'k', 1, b'1']).unwrap();
    let read = read(&mut decoder, &[0x7e, 1, b'2']).unwrap();
    assert_eq!(read, [("k".to_owned(), "2".to_owned())]);
    assert_eq!(decoder.table_bytes(), 34);
}

#[test]
fn what_is_broken_is_refused() {
    for block in [
        &[0x80][..],               // index 0
        &[0xbe],                   // nothing there
        &[0x7f, 0x80, 0x80],       // an integer cut off
        &[0x40, 3, b'a'],          // a name cut off
        &[0x40, 1, b'a', 5, b'b'], // a value cut off
        &[0x82, 0x20],             // a new size behind a field
        &[0x3f, 0xe2, 0x1f],       // 4,097 bytes
        &[0x40, 0x81, 0xff, 0],    // a broken code
    ] {
        assert_eq!(read(&mut Decoder::default(), block), Err(Invalid), "{block:x?}");
    }
    assert!(read(&mut Decoder::default(), &[0x3f, 0xe1, 0x1f]).is_ok(), "4,096 bytes");
}

#[test]
fn what_is_written_is_read_again() {
    let mut out = BytesMut::new();
    put_table_cleared(&mut out);
    put_method(&mut out, "PATCH");
    put_scheme(&mut out);
    put_authority(&mut out, b"back");
    put_path(&mut out, b"/a?b=c");
    put_status(&mut out, 418);
    put_status(&mut out, 404);
    put_field(&mut out, Known::ContentType, b"Content-Type", b"text/plain");
    put_field(&mut out, Known::Authorization, b"authorization", b"secret");
    let long = "v".repeat(1_000);
    put_field(&mut out, Known::Other, b"X-Long", long.as_bytes());
    let read = read(&mut Decoder::default(), &out).unwrap();
    let read: Vec<_> = read.iter().map(|(name, value)| (&name[..], &value[..])).collect();
    let expected = [
        (":method", "PATCH"),
        (":scheme", "http"),
        (":authority", "back"),
        (":path", "/a?b=c"),
        (":status", "418"),
        (":status", "404"),
        ("content-type", "text/plain"),
        ("authorization", "secret"),
        ("x-long", &long),
    ];
    assert_eq!(read, expected);
}

/// A name that a proxy knows stands where the encoder says it does.
#[test]
fn every_index_of_a_name_is_the_one_of_its_field() {
    for (known, name) in [
        (Known::Authorization, "authorization"),
        (Known::ContentEncoding, "content-encoding"),
        (Known::ContentLength, "content-length"),
        (Known::ContentType, "content-type"),
        (Known::Cookie, "cookie"),
        (Known::Date, "date"),
        (Known::RetryAfter, "retry-after"),
        (Known::Server, "server"),
        (Known::SetCookie, "set-cookie"),
        (Known::UserAgent, "user-agent"),
        (Known::Via, "via"),
    ] {
        let mut out = BytesMut::new();
        put_field(&mut out, known, name.as_bytes(), b"v");
        let read = read(&mut Decoder::default(), &out).unwrap();
        assert_eq!(read, [(name.to_owned(), "v".to_owned())]);
        assert!(out.len() <= 4, "{name} goes by its index");
    }
}
