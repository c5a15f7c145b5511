use super::{
    super::{Asked, Decoder, Known, Limits, Malformed, Step, request, response},
    *,
};

#[test]
fn what_was_written_is_read_as_the_same() {
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..2_000 {
        let fields = random_fields(&mut random);
        let mut out = Vec::new();
        request_line(&mut out, b"POST", b"/a?b");
        field(&mut out, b"Host", b"a:80");
        fields.iter().for_each(|(name, value)| field(&mut out, name, value));
        number_field(&mut out, b"content-length", 12);
        out.extend_from_slice(END);
        let mut found = Vec::new();
        let line = request(&out, &mut 0, &Limits::default(), &mut found).unwrap().unwrap();
        assert_eq!(line.length, out.len());
        assert_eq!(line.target.of_bytes(&out), b"/a?b");
        let inner = &found[1..found.len() - 1];
        let read: Vec<_> = inner
            .iter()
            .map(|it| (it.name.of_bytes(&out).to_vec(), it.value.of_bytes(&out).to_vec()))
            .collect();
        assert_eq!(read, fields);
    }
}

fn random_fields(random: &mut fastrand::Rng) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut fields = Vec::new();
    while fields.len() < 5 {
        let name: Vec<u8> = (0..random.usize(1..12)).map(|_| random.u8(..)).collect();
        let value: Vec<u8> = (0..random.usize(..20)).map(|_| random.u8(..)).collect();
        let name: Vec<u8> = name.into_iter().filter(|it| is_name(&[*it])).collect();
        let value: Vec<u8> = value.into_iter().filter(|it| class::is(*it, VALUE)).collect();
        if is_name(&name) && is_value(&value) && Known::of(&name) == Known::Other {
            fields.push((name, value));
        }
    }
    fields
}

#[test]
fn chunks_that_were_written_are_read_as_the_same() {
    for size in [1_usize, 9, 10, 15, 16, 255, 4096, 65_535, 100_000] {
        let data = vec![b'x'; size];
        let mut out = Vec::new();
        chunk_head(&mut out, size as u64);
        out.extend_from_slice(&data);
        out.extend_from_slice(CHUNK_END);
        out.extend_from_slice(LAST_CHUNK);
        out.extend_from_slice(END);
        let mut decoder = Decoder::new();
        let Ok(Step::Data { skip, length }) = decoder.step(&out) else { panic!("{size}") };
        assert_eq!((length, &out[skip..skip + length]), (size, &data[..]));
        let rest = &out[skip + length..];
        assert_eq!(decoder.step(rest), Ok(Step::End { consumed: rest.len() }));
    }
}

#[test]
fn each_status_is_written_so_that_it_can_be_read() {
    for status in 200..=599 {
        let mut out = bytes::BytesMut::new();
        status_line(&mut out, status);
        out.extend_from_slice(END);
        let mut fields = Vec::new();
        let line = response(&out, &mut 0, &Limits::default(), Asked::Other, &mut fields);
        let line = line.unwrap().unwrap();
        assert_eq!((line.status, line.minor), (status, 1));
        assert_eq!(line.reason.of_bytes(&out), reason(status).as_bytes());
    }
    assert_eq!(
        (reason(200), reason(431), reason(299)),
        ("OK", "Request Header Fields Too Large", "")
    );
}

#[test]
fn each_refusal_has_a_status_with_words_and_a_code_of_its_own() {
    for malformed in Malformed::ALL {
        assert_ne!(reason(malformed.status()), "", "{malformed:?}");
        let alike = Malformed::ALL.iter().filter(|it| it.code() == malformed.code()).count();
        assert_eq!(alike, 1, "{malformed:?}");
        assert_eq!(malformed.to_string(), malformed.reason());
    }
}

#[test]
fn what_would_split_a_message_is_no_name_and_no_value() {
    for name in ["", "a b", "a:", "a\r\n", "\u{e9}"] {
        assert!(!is_name(name.as_bytes()), "{name:?}");
    }
    for value in ["a\r\nb: c", "a\n", "\0", " a", "a ", "\ta"] {
        assert!(!is_value(value.as_bytes()), "{value:?}");
    }
    assert!(is_name(b"X-a_1") && is_value(b"") && is_value(b"a \t b"));
}
