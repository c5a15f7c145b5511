use super::*;

/// A frame that comes in: kind, flags, length.
type Seen = (u8, u8, usize);

fn see(budget: &mut FrameBudget, (kind, flags, length): Seen, seconds: u64) -> Result<(), Flood> {
    if kind == kind::HEADERS {
        budget.opened();
    }
    budget.frame(kind, flags, length, Duration::from_secs(seconds))
}

/// So many of one frame pass, and the next one is a flood.
#[track_caller]
fn check(frame: Seen, passes: u32, flood: Flood) {
    let mut budget = FrameBudget::default();
    for number in 0..passes {
        assert_eq!(see(&mut budget, frame, 0), Ok(()), "{number}");
    }
    assert_eq!(see(&mut budget, frame, 9), Err(flood));
}

#[test]
fn each_cheap_frame_has_its_bound() {
    check((kind::RST_STREAM, 0, 4), 500, Flood::RapidReset);
    check((kind::CONTINUATION, 0, 10), 64, Flood::Continuation);
    check((kind::DATA, 0, 0), 2_000, Flood::EmptyData);
    check((kind::DATA, flag::PADDED, 200), 2_000, Flood::EmptyData);
    check((kind::PING, 0, 8), 10_000, Flood::Ping);
    check((kind::SETTINGS, 0, 0), 10_000, Flood::Settings);
    check((kind::PRIORITY, 0, 5), 10_000, Flood::Priority);
    check((kind::WINDOW_UPDATE, 0, 4), 10_000, Flood::WindowUpdate);
    check((0x77, 0, 0), 10_000, Flood::Unknown);
}

#[test]
fn what_carries_something_has_none() {
    let mut budget = FrameBudget::default();
    for _ in 0..50_000 {
        see(&mut budget, (kind::HEADERS, 4, 20), 0).unwrap();
        see(&mut budget, (kind::DATA, 0, 1), 0).unwrap();
        see(&mut budget, (kind::DATA, flag::END_STREAM, 0), 0).unwrap();
    }
}

#[test]
fn a_client_that_gives_up_on_fewer_than_half_of_its_requests_is_no_attacker() {
    let mut budget = FrameBudget::default();
    for _ in 0..5_000 {
        for seen in [(kind::HEADERS, 5, 20), (kind::HEADERS, 5, 20), (kind::RST_STREAM, 0, 4)] {
            see(&mut budget, seen, 0).unwrap();
        }
    }
    let mut budget = FrameBudget::default();
    let flood = (0..600).find_map(|_| {
        see(&mut budget, (kind::HEADERS, 5, 20), 0).unwrap();
        see(&mut budget, (kind::RST_STREAM, 0, 4), 0).err()
    });
    assert_eq!(flood, Some(Flood::RapidReset));
}

#[test]
fn windows_may_be_widened_as_often_as_something_is_sent() {
    let mut budget = FrameBudget::default();
    for _ in 0..100_000 {
        budget.sent(128);
        see(&mut budget, (kind::WINDOW_UPDATE, 0, 4), 0).unwrap();
        see(&mut budget, (kind::WINDOW_UPDATE, 0, 4), 0).unwrap();
    }
}

#[test]
fn after_ten_seconds_counting_begins_anew() {
    let mut budget = FrameBudget::default();
    for second in 0..100 {
        for _ in 0..1_000 {
            see(&mut budget, (kind::PING, 0, 8), second).unwrap();
        }
    }
}

#[test]
fn a_block_that_ends_may_be_followed_by_another() {
    let mut budget = FrameBudget::default();
    for _ in 0..100 {
        see(&mut budget, (kind::HEADERS, 0, 20), 0).unwrap();
        for _ in 0..64 {
            see(&mut budget, (kind::CONTINUATION, 0, 20), 0).unwrap();
        }
    }
}

#[test]
fn errors_of_the_client_have_their_bound() {
    let mut budget = FrameBudget::default();
    for _ in 0..200 {
        budget.erred().unwrap();
    }
    assert_eq!(budget.erred(), Err(Flood::MadeYouReset));
}

#[test]
fn what_comes_on_streams_that_are_over_has_its_bound() {
    let mut budget = FrameBudget::default();
    budget.opened();
    for _ in 0..2_064 {
        budget.stray().unwrap();
    }
    assert_eq!(budget.stray(), Err(Flood::Stray));
}
