//! What an end answers to those who break the rules.

use super::*;
use crate::head::INTERIM_ANSWERS_MAX;

/// The stream gets this reset, and the connection goes on.
#[track_caller]
fn check_reset(frames: &[Vec<u8>], reason: Reason) {
    let mut server = server();
    for frame in frames {
        receive(&mut server, frame).unwrap();
    }
    let resets: Vec<_> =
        said(&mut server).into_iter().filter(|it| it.0 == kind::RST_STREAM).collect();
    assert_eq!(resets, [(kind::RST_STREAM, 1, reason.0)]);
    receive(&mut server, &headers(LAST, 3, &get())).unwrap();
    assert!(server.next_opened().is_some_and(|it| it.0 == 3 || it.0 == 1));
}

/// The connection ends for this reason.
#[track_caller]
fn check_fatal(frames: &[Vec<u8>], reason: Reason) {
    let mut server = server();
    let ended = frames.iter().try_for_each(|frame| receive(&mut server, frame));
    assert_eq!(ended.map_err(|it| it.reason), Err(reason));
}

#[test]
fn a_request_that_breaks_a_rule_resets_its_stream_alone() {
    let field = |name: &str, value: &str| headers(LAST, 1, &request(&[(name, value)]));
    for (name, value) in [
        ("connection", "close"),
        ("transfer-encoding", "chunked"),
        ("keep-alive", "5"),
        ("proxy-connection", "keep-alive"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
        ("a b", "1"),
        ("x", "a\nb"),
        ("x", " a"),
        ("x", "a\0"),
        (":path", "/again"),
        (":status", "200"),
        (":odd", "1"),
        ("content-length", "5"),
        ("content-length", "+5"),
        ("", "1"),
    ] {
        println!("{name}: {value}");
        check_reset(&[field(name, value)], Reason::PROTOCOL_ERROR);
    }
    // Capital letters, which the writer would lower.
    let capital = [&get()[..], &[0, 1, b'X', 1, b'1']].concat();
    check_reset(&[headers(LAST, 1, &capital)], Reason::PROTOCOL_ERROR);
    // A pseudo-field behind a field, and one that is missing.
    let late = [&[0x82, 0x86, 0, 1, b'x', 1, b'1'][..], &[0x84]].concat();
    check_reset(&[headers(LAST, 1, &late)], Reason::PROTOCOL_ERROR);
    check_reset(&[headers(LAST, 1, &[0x82, 0x86])], Reason::PROTOCOL_ERROR);
    check_reset(&[headers(LAST, 1, &[0x82, 0x84])], Reason::PROTOCOL_ERROR);
}

#[test]
fn a_body_that_is_not_as_long_as_it_was_said_resets_its_stream() {
    let asked = headers(OPEN, 1, &request(&[("content-length", "3")]));
    let data = |flags, text: &[u8]| frame(kind::DATA, flags, 1, text);
    check_reset(&[asked.clone(), data(0, b"four")], Reason::PROTOCOL_ERROR);
    check_reset(&[asked.clone(), data(flag::END_STREAM, b"ab")], Reason::PROTOCOL_ERROR);
    let trailers = headers(LAST, 1, &block(|out| hpack::put_field(out, Known::Other, b"x", b"1")));
    check_reset(&[asked.clone(), data(0, b"ab"), trailers], Reason::PROTOCOL_ERROR);
    let mut server = server();
    for frame in [asked, data(0, b"ab"), data(flag::END_STREAM, b"c")] {
        receive(&mut server, &frame).unwrap();
    }
    assert_eq!(said(&mut server), []);
}

#[test]
fn what_comes_behind_the_end_of_a_stream_resets_it() {
    let asked = headers(LAST, 1, &get());
    let data = frame(kind::DATA, 0, 1, b"late");
    check_reset(&[asked.clone(), data], Reason::STREAM_CLOSED);
    check_reset(&[asked, headers(LAST, 1, &get())], Reason::STREAM_CLOSED);
    // Trailers that end nothing, and trailers with a pseudo-field.
    let open = headers(OPEN, 1, &get());
    let field = block(|out| hpack::put_field(out, Known::Other, b"x", b"1"));
    check_reset(&[open.clone(), headers(OPEN, 1, &field)], Reason::PROTOCOL_ERROR);
    check_reset(&[open, headers(LAST, 1, &get())], Reason::PROTOCOL_ERROR);
}

#[test]
fn streams_past_the_bound_are_refused_and_places_come_back() {
    let mut server = server();
    for id in [1, 3, 5, 7] {
        receive(&mut server, &headers(LAST, id, &get())).unwrap();
    }
    assert_eq!(said(&mut server), [(kind::RST_STREAM, 7, Reason::REFUSED_STREAM.0)]);
    server.drop_stream(3);
    assert_eq!(said(&mut server), [(kind::RST_STREAM, 3, Reason::CANCEL.0)]);
    receive(&mut server, &headers(LAST, 9, &get())).unwrap();
    assert_eq!(server.streams(), 3);
}

#[test]
fn windows_are_kept_in_both_directions() {
    let open = headers(OPEN, 1, &get());
    let data = frame(kind::DATA, 0, 1, &[0; 16_384]);
    // 256 KiB fit, and one byte more does not; what is not taken is not widened.
    let fits: Vec<_> = [open.clone()].into_iter().chain(vec![data; 16]).collect();
    let more = [&fits[..], &[frame(kind::DATA, 0, 1, b"x")]].concat();
    check_reset(&more, Reason::FLOW_CONTROL_ERROR);
    // Four such streams fill the connection's window, whatever becomes of each.
    let mut server = server();
    for id in [1, 3, 5] {
        receive(&mut server, &headers(OPEN, id, &get())).unwrap();
        for _ in 0..16 {
            receive(&mut server, &frame(kind::DATA, 0, id, &[0; 16_384])).unwrap();
        }
    }
    assert_eq!(said(&mut server), []);
    let context = Context::from_waker(Waker::noop());
    for _ in 0..8 {
        assert!(server.poll_piece(1, &context).is_ready());
    }
    assert_eq!(said(&mut server), [(kind::WINDOW_UPDATE, 1, 128 << 10)]);
    for _ in 0..8 {
        assert!(server.poll_piece(1, &context).is_ready());
        assert!(server.poll_piece(3, &context).is_ready());
        assert!(server.poll_piece(5, &context).is_ready());
    }
    let widened = said(&mut server);
    assert!(widened.contains(&(kind::WINDOW_UPDATE, 0, 512 << 10)), "{widened:?}");
    // A window of the other end that grows past all bounds.
    let much = |id| frame(kind::WINDOW_UPDATE, 0, id, &0x7fff_ffff_u32.to_be_bytes());
    let none = |id| frame(kind::WINDOW_UPDATE, 0, id, &[0; 4]);
    check_reset(&[open.clone(), much(1)], Reason::FLOW_CONTROL_ERROR);
    check_reset(&[open, none(1)], Reason::PROTOCOL_ERROR);
    check_fatal(&[much(0)], Reason::FLOW_CONTROL_ERROR);
    check_fatal(&[none(0)], Reason::PROTOCOL_ERROR);
}

#[test]
fn what_concerns_everybody_ends_the_connection() {
    let open = headers(OPEN, 1, &get());
    let unfinished = headers(0, 1, &get());
    let fatal = |frames: &[Vec<u8>], reason| check_fatal(frames, reason);
    // Frames that do not belong where they stand.
    fatal(&[headers(LAST, 0, &get())], Reason::PROTOCOL_ERROR);
    fatal(&[headers(LAST, 2, &get())], Reason::PROTOCOL_ERROR);
    fatal(&[frame(kind::DATA, 0, 0, b"x")], Reason::PROTOCOL_ERROR);
    fatal(&[frame(kind::DATA, 0, 1, b"x")], Reason::PROTOCOL_ERROR);
    fatal(&[frame(kind::RST_STREAM, 0, 1, &[0; 4])], Reason::PROTOCOL_ERROR);
    fatal(&[frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])], Reason::PROTOCOL_ERROR);
    fatal(&[frame(kind::PRIORITY, 0, 0, &[0; 5])], Reason::PROTOCOL_ERROR);
    fatal(&[frame(kind::SETTINGS, 0, 1, &[])], Reason::PROTOCOL_ERROR);
    fatal(&[frame(kind::PING, 0, 1, &[0; 8])], Reason::PROTOCOL_ERROR);
    fatal(&[frame(kind::GOAWAY, 0, 1, &[0; 8])], Reason::PROTOCOL_ERROR);
    fatal(&[frame(kind::PUSH_PROMISE, 4, 1, &[0; 8])], Reason::PROTOCOL_ERROR);
    fatal(&[frame(kind::CONTINUATION, 4, 1, &[])], Reason::PROTOCOL_ERROR);
    fatal(&[unfinished.clone(), frame(kind::PING, 0, 0, &[0; 8])], Reason::PROTOCOL_ERROR);
    fatal(&[unfinished.clone(), frame(0x77, 0, 0, &[])], Reason::PROTOCOL_ERROR);
    fatal(&[unfinished, frame(kind::CONTINUATION, 4, 3, &[])], Reason::PROTOCOL_ERROR);
    // Padding that is longer than its frame.
    fatal(&[open.clone(), frame(kind::DATA, flag::PADDED, 1, &[9, 0])], Reason::PROTOCOL_ERROR);
    fatal(&[headers(LAST | flag::PADDED, 1, &[255, 0x82])], Reason::PROTOCOL_ERROR);
    // Frames of a wrong size.
    fatal(&[frame(kind::PING, 0, 0, &[0; 7])], Reason::FRAME_SIZE_ERROR);
    fatal(&[frame(kind::SETTINGS, 0, 0, &[0; 5])], Reason::FRAME_SIZE_ERROR);
    fatal(&[frame(kind::SETTINGS, flag::ACK, 0, &[0; 6])], Reason::FRAME_SIZE_ERROR);
    fatal(&[open.clone(), frame(kind::RST_STREAM, 0, 1, &[0; 3])], Reason::FRAME_SIZE_ERROR);
    fatal(&[open.clone(), frame(kind::WINDOW_UPDATE, 0, 1, &[0; 5])], Reason::FRAME_SIZE_ERROR);
    fatal(&[headers(LAST | flag::PRIORITY, 1, &[0; 4])], Reason::FRAME_SIZE_ERROR);
    fatal(&[frame(kind::DATA, 0, 1, &[0; 16_385])], Reason::FRAME_SIZE_ERROR);
    // Fields that cannot be read: the tables of both ends no longer agree.
    fatal(&[headers(LAST, 1, &[0xff; 4])], Reason::COMPRESSION_ERROR);
    // Settings that nobody may have.
    let setting = |name: u8, value: u32| {
        frame(kind::SETTINGS, 0, 0, &[&[0, name][..], &value.to_be_bytes()].concat())
    };
    fatal(&[setting(4, 0x8000_0000)], Reason::FLOW_CONTROL_ERROR);
    fatal(&[setting(5, 16_383)], Reason::PROTOCOL_ERROR);
    fatal(&[setting(2, 2)], Reason::PROTOCOL_ERROR);
    let wide = frame(kind::WINDOW_UPDATE, 0, 1, &0x7fff_0000_u32.to_be_bytes());
    fatal(&[open, wide, setting(4, 0x7fff_ffff)], Reason::FLOW_CONTROL_ERROR);
}

#[test]
fn settings_come_first() {
    let mut server = Connection::new(SERVER, BOUNDS);
    let ended = receive(&mut server, &headers(LAST, 1, &get()));
    assert_eq!(ended.map_err(|it| it.reason), Err(Reason::PROTOCOL_ERROR));
    let mut server = Connection::new(SERVER, BOUNDS);
    assert!(receive(&mut server, &frame(kind::SETTINGS, flag::ACK, 0, &[])).is_err());
}

#[test]
fn what_is_unknown_or_late_is_passed_over() {
    let mut server = server();
    receive(&mut server, &frame(0x77, 0xff, 9, b"whatever")).unwrap();
    receive(&mut server, &frame(kind::PRIORITY, 0, 9, &[0; 5])).unwrap();
    receive(&mut server, &frame(kind::SETTINGS, 0, 0, &[0, 0x77, 0, 0, 0, 1])).unwrap();
    receive(&mut server, &headers(OPEN, 1, &get())).unwrap();
    server.drop_stream(1);
    said(&mut server);
    // The client had not seen the reset yet.
    receive(&mut server, &frame(kind::DATA, 0, 1, &[0; 1_000])).unwrap();
    receive(&mut server, &frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])).unwrap();
    let trailer = block(|out| hpack::put_field(out, Known::Other, b"x", b"1"));
    receive(&mut server, &headers(LAST, 1, &trailer)).unwrap();
    receive(&mut server, &frame(kind::RST_STREAM, 0, 1, &[0; 4])).unwrap();
    assert_eq!(said(&mut server), []);
    assert_eq!(server.streams(), 0);
}

/// There are clients that take a reset behind an answer for the answer.
#[test]
fn a_short_rest_of_a_request_that_is_answered_comes_to_its_end_by_itself() {
    for (length, is_reset) in [("3", false), ("16384", false), ("16385", true), ("", true)] {
        let mut server = server();
        let said_length: &[_] = if length.is_empty() { &[] } else { &[("content-length", length)] };
        receive(&mut server, &headers(OPEN, 1, &request(said_length))).unwrap();
        server.respond(1, Then::End, |out| hpack::put_status(out, 401));
        server.drop_stream(1);
        let resets = said(&mut server).into_iter().filter(|it| it.0 == kind::RST_STREAM);
        let expected: &[_] =
            if is_reset { &[(kind::RST_STREAM, 1, Reason::NO_ERROR.0)] } else { &[] };
        assert_eq!(resets.collect::<Vec<_>>(), expected, "{length}");
        receive(&mut server, &frame(kind::DATA, flag::END_STREAM, 1, b"abc")).unwrap();
        let resets = said(&mut server).into_iter().filter(|it| it.0 == kind::RST_STREAM);
        assert_eq!((resets.count(), server.streams()), (0, 0), "{length}");
    }
}

#[test]
fn a_head_that_is_too_large_is_said_to_be_and_one_without_end_ends_the_connection() {
    let long = "v".repeat(33_000);
    let block = request(&[("x", &long)]);
    let mut frames = vec![headers(flag::END_STREAM, 1, &block[..16_000])];
    frames.push(frame(kind::CONTINUATION, 0, 1, &block[16_000..32_000]));
    let end = frame(kind::CONTINUATION, flag::END_HEADERS, 1, &block[32_000..]);
    let mut server = server();
    for frame in frames.iter().chain([&end]) {
        receive(&mut server, frame).unwrap();
    }
    assert!(server.next_opened().unwrap().1.is_too_large);
    frames.push(frame(kind::CONTINUATION, 0, 1, &[0; 16_384]));
    frames.push(frame(kind::CONTINUATION, 0, 1, &[0; 16_384]));
    check_fatal(&frames, Reason::ENHANCE_YOUR_CALM);
}

#[test]
fn trailers_neither_frame_nor_lead_nor_say_who_asks() {
    let mut server = server();
    receive(&mut server, &headers(OPEN, 1, &get())).unwrap();
    let trailers = block(|out| {
        let leading = [
            "content-length",
            "host",
            "authorization",
            "baggage",
            "cookie",
            "forwarded",
            "idempotency-key",
            "skein-attempt",
            "skein-deadline-ms",
            "skein-epoch",
            "skein-identity",
            "traceparent",
            "x-forwarded-for",
        ];
        for name in leading.into_iter().chain(["x-sum"]) {
            hpack::put_field(out, Known::Other, name.as_bytes(), b"5");
        }
    });
    receive(&mut server, &headers(LAST, 1, &trailers)).unwrap();
    let context = Context::from_waker(Waker::noop());
    let Poll::Ready(Some(Ok(frame))) = server.poll_piece(1, &context) else { panic!("none") };
    let trailers = frame.into_trailers().unwrap();
    assert_eq!(trailers.keys().map(http::HeaderName::as_str).collect::<Vec<_>>(), ["x-sum"]);
}

#[test]
fn who_waits_for_a_word_gets_it_once_and_never_behind_the_answer() {
    let mut server = server();
    for id in [1, 3] {
        receive(&mut server, &headers(OPEN, id, &get())).unwrap();
    }
    server.go_on(1);
    assert_eq!(said(&mut server).iter().map(|it| it.0).collect::<Vec<_>>(), [kind::HEADERS]);
    server.respond(3, Then::More, |out| hpack::put_status(out, 200));
    said(&mut server);
    server.go_on(3);
    assert_eq!(said(&mut server), []);
}

/// One stream that nobody takes keeps no other from coming.
#[test]
fn answers_that_are_not_taken_leave_the_connection_to_the_others() {
    let mut client = Connection::new(Side::Client, BOUNDS);
    receive(&mut client, &frame(kind::SETTINGS, 0, 0, &[])).unwrap();
    let status = block(|out| hpack::put_status(out, 200));
    for _ in 0..20 {
        let id = client.request(false, Then::End, |out| out.extend_from_slice(&get()));
        receive(&mut client, &headers(OPEN, id, &status)).unwrap();
        for _ in 0..16 {
            receive(&mut client, &frame(kind::DATA, 0, id, &[0; 16_384])).unwrap();
        }
    }
}

/// Sixty thousand frames of a byte are held as the bytes that they are.
#[test]
fn small_data_is_gathered_and_stays_in_order() {
    let mut server = server();
    receive(&mut server, &headers(OPEN, 1, &get())).unwrap();
    for number in 0..60_000_u32 {
        let byte = number.to_le_bytes()[0];
        receive(&mut server, &frame(kind::DATA, 0, 1, &[byte])).unwrap();
    }
    receive(&mut server, &frame(kind::DATA, 0, 1, &[9; 600])).unwrap();
    receive(&mut server, &frame(kind::DATA, flag::END_STREAM, 1, &[8])).unwrap();
    let context = Context::from_waker(Waker::noop());
    let mut pieces = Vec::new();
    while let Poll::Ready(Some(piece)) = server.poll_piece(1, &context) {
        pieces.push(piece.unwrap().into_data().unwrap());
    }
    assert_eq!(pieces.iter().map(Bytes::len).collect::<Vec<_>>(), [60_000, 600, 1]);
    assert!(pieces[0].iter().zip(0_u32..).all(|(it, number)| *it == number.to_le_bytes()[0]));
}

#[test]
fn what_comes_on_streams_that_are_over_ends_the_connection_at_its_bound() {
    let mut server = server();
    receive(&mut server, &headers(LAST, 1, &get())).unwrap();
    server.drop_stream(1);
    let late = headers(LAST, 1, &get());
    let ended = (0..5_000).find_map(|_| receive(&mut server, &late).err());
    assert_eq!(ended, Some(Fatal::calm("closed_stream_flood")));
    // Nor do they make room for resets.
    let mut other = self::server();
    receive(&mut other, &headers(LAST, 1, &get())).unwrap();
    other.drop_stream(1);
    let ended = (1..1_000_u32).find_map(|number| {
        let id = number * 2 + 1;
        let reset = frame(kind::RST_STREAM, 0, id, &[0, 0, 0, 8]);
        let frames = [headers(LAST, id, &get()), reset, late.clone(), late.clone()].concat();
        let ended = receive(&mut other, &frames).err();
        other.drop_stream(id);
        ended
    });
    assert_eq!(ended, Some(Fatal::calm("rapid_reset_flood")));
}

#[test]
fn a_connection_that_is_left_is_over_with_its_last_stream() {
    let mut client = Connection::new(Side::Client, BOUNDS);
    receive(&mut client, &frame(kind::SETTINGS, 0, 0, &[])).unwrap();
    client.wrote(PREFACE.len());
    let id = client.request(false, Then::End, |out| out.extend_from_slice(&get()));
    receive(&mut client, &frame(kind::GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0])).unwrap();
    said(&mut client);
    assert!(!client.is_open() && !client.is_over());
    client.drop_stream(id);
    said(&mut client);
    assert!(client.is_over());
}

#[test]
fn crumbs_of_a_cookie_are_one_field() {
    let mut server = server();
    let crumbs = request(&[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")]);
    receive(&mut server, &headers(LAST, 1, &crumbs)).unwrap();
    let (_, request) = server.next_opened().unwrap();
    let cookies: Vec<_> = request.fields.iter().filter(|it| it.0 == Known::Cookie).collect();
    assert_eq!(cookies, [(Known::Cookie, &b"cookie"[..], &b"a=1; b=2"[..])]);
}

/// Whatever comes in, nothing panics, and what waits to go out stays within its bound.
#[test]
fn whatever_bytes_come_the_machine_ends_or_goes_on_within_its_bounds() {
    for seed in 0..3_000 {
        let mut random = Rng::with_seed(seed);
        let mut server = server();
        let whole: Vec<u8> = [
            headers(OPEN, 1, &request(&[("x", "y")])),
            frame(kind::DATA, flag::PADDED, 1, &[2, 1, 2, 3, 0, 0]),
            frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 1, 0]),
            headers(0, 3, &get()[..3]),
            frame(kind::CONTINUATION, OPEN, 3, &get()[3..]),
            frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 1, 0]),
            frame(kind::PING, 0, 0, &[1; 8]),
            frame(kind::RST_STREAM, 0, 3, &[0, 0, 0, 8]),
            headers(LAST, 5, &get()),
        ]
        .concat();
        let mut bytes = whole;
        for _ in 0..random.usize(1..6) {
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(..);
        }
        let mut input = BytesMut::from(&bytes[..]);
        let _ended = server.receive(&mut input, Duration::ZERO);
        assert!(server.out().len() < 1_000, "seed {seed}: {}", server.out().len());
        assert!(server.streams() <= 3, "seed {seed}");
    }
}

#[test]
fn answers_before_the_answer_that_do_not_end_reset_their_stream() {
    let answer = |status: u16| headers(OPEN, 1, &block(|out| hpack::put_status(out, status)));
    for (early, reset) in [(INTERIM_ANSWERS_MAX, None), (INTERIM_ANSWERS_MAX + 1, Some(()))] {
        let mut client = Connection::new(Side::Client, BOUNDS);
        client.wrote(PREFACE.len());
        receive(&mut client, &frame(kind::SETTINGS, 0, 0, &[])).unwrap();
        client.request(false, Then::End, |out| out.extend_from_slice(&get()));
        for _ in 0..early {
            receive(&mut client, &answer(103)).unwrap();
        }
        receive(&mut client, &answer(200)).unwrap();
        let is_reset = said(&mut client).iter().any(|it| it.0 == kind::RST_STREAM);
        assert_eq!(is_reset.then_some(()), reset, "{early}");
    }
}
