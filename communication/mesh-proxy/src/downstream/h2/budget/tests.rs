use super::*;

/// A connection that has sent its preface.
fn begun() -> FrameBudget {
    let mut budget = FrameBudget::default();
    budget.received(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Duration::ZERO).unwrap();
    budget
}

fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
    let [high, low] = u16::try_from(length).unwrap().to_be_bytes();
    let mut frame = vec![0, high, low, kind, flags, 0, 0, 0, 1];
    frame.resize(9 + length, 0xAA);
    frame
}

/// So many of one frame pass, and the next one is a flood.
#[track_caller]
fn check(frame: &[u8], passes: u32, flood: Flood) {
    let mut budget = begun();
    for number in 0..passes {
        assert_eq!(budget.received(frame, Duration::ZERO), Ok(()), "{number}");
    }
    assert_eq!(budget.received(frame, Duration::from_secs(9)), Err(flood));
}

#[test]
fn each_cheap_frame_has_its_bound() {
    check(&frame(RST_STREAM, 0, 4), 500, Flood::RapidReset);
    check(&frame(CONTINUATION, 0, 10), 64, Flood::Continuation);
    check(&frame(DATA, 0, 0), 2_000, Flood::EmptyData);
    check(&frame(DATA, PADDED, 200), 2_000, Flood::EmptyData);
    check(&frame(PING, 0, 8), 10_000, Flood::Ping);
    check(&frame(SETTINGS, 0, 0), 10_000, Flood::Settings);
    check(&frame(PRIORITY, 0, 5), 10_000, Flood::Priority);
    check(&frame(WINDOW_UPDATE, 0, 4), 10_000, Flood::WindowUpdate);
    check(&frame(0x77, 0, 0), 10_000, Flood::Unknown);
}

#[test]
fn what_carries_something_has_none() {
    let mut budget = begun();
    for _ in 0..50_000 {
        budget.received(&frame(HEADERS, 4, 20), Duration::ZERO).unwrap();
        budget.received(&frame(DATA, 0, 1), Duration::ZERO).unwrap();
        budget.received(&frame(DATA, END_STREAM, 0), Duration::ZERO).unwrap();
    }
}

#[test]
fn a_client_that_gives_up_on_fewer_than_half_of_its_requests_is_no_attacker() {
    let mut budget = begun();
    for _ in 0..5_000 {
        for bytes in [frame(HEADERS, 5, 20), frame(HEADERS, 5, 20), frame(RST_STREAM, 0, 4)] {
            budget.received(&bytes, Duration::ZERO).unwrap();
        }
    }
    let mut budget = begun();
    let flood = (0..600).find_map(|_| {
        budget.received(&frame(HEADERS, 5, 20), Duration::ZERO).unwrap();
        budget.received(&frame(RST_STREAM, 0, 4), Duration::ZERO).err()
    });
    assert_eq!(flood, Some(Flood::RapidReset));
}

#[test]
fn windows_may_be_widened_as_often_as_something_is_sent() {
    let mut budget = begun();
    for _ in 0..100_000 {
        budget.sent(128);
        budget.received(&frame(WINDOW_UPDATE, 0, 4), Duration::ZERO).unwrap();
        budget.received(&frame(WINDOW_UPDATE, 0, 4), Duration::ZERO).unwrap();
    }
}

#[test]
fn after_ten_seconds_counting_begins_anew() {
    let mut budget = begun();
    for second in 0..100 {
        for _ in 0..1_000 {
            budget.received(&frame(PING, 0, 8), Duration::from_secs(second)).unwrap();
        }
    }
}

#[test]
fn a_block_that_ends_may_be_followed_by_another() {
    let mut budget = begun();
    for _ in 0..100 {
        budget.received(&frame(HEADERS, 0, 20), Duration::ZERO).unwrap();
        for _ in 0..64 {
            budget.received(&frame(CONTINUATION, 0, 20), Duration::ZERO).unwrap();
        }
    }
}

#[test]
fn pieces_change_no_verdict() {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    for number in 0..700_usize {
        bytes.extend(frame(HEADERS, 5, number));
        bytes.extend(frame(RST_STREAM, 0, 4));
    }
    let mut whole = FrameBudget::default();
    let expected = whole.received(&bytes, Duration::ZERO);
    assert_eq!(expected, Err(Flood::RapidReset));
    for size in [1, 2, 8, 9, 10, 4_096] {
        let mut pieces = FrameBudget::default();
        let found = bytes.chunks(size).try_for_each(|piece| pieces.received(piece, Duration::ZERO));
        assert_eq!(found, expected, "{size}");
    }
}
