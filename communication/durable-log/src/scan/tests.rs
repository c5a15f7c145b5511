use base::Timestamp;

use super::*;
use crate::{frame::Format, index::Found};

const NONCE: u64 = 0x1234_5678_9abc_def0;

fn header(format: Format) -> SegmentHeader {
    SegmentHeader {
        format,
        number: 1,
        nonce: NONCE,
        created_at: Timestamp::from_millis(0),
        first_offsets: vec![10, 20],
    }
}

/// Groups of frames (partition, first offset, records); where each frame begins, and the bytes.
fn segment(groups: &[&[(u32, u64, u32)]]) -> (Vec<usize>, Vec<u8>) {
    let mut bytes = header(Format::Two).write();
    let mut places = Vec::new();
    for frames in groups {
        let group = bytes.len() as u64;
        for (partition, base_offset, records) in *frames {
            places.push(bytes.len());
            let body = format!("{partition}/{base_offset}");
            let head = FrameHead {
                partition: *partition,
                records: *records,
                base_offset: *base_offset,
                time: Timestamp::from_millis(1),
                group,
                body_bytes: u32::try_from(body.len()).unwrap(),
            };
            frame::write(&mut bytes, NONCE, &head, body.as_bytes());
        }
    }
    places.push(bytes.len());
    bytes.resize(bytes.len() + 200, 0);
    (places, bytes)
}

fn last(bytes: &[u8]) -> Scanned {
    scan_last(bytes, &header(Format::Two))
}

#[test]
fn frames_of_each_partition_follow_each_other() {
    let (places, bytes) = segment(&[&[(0, 10, 2), (1, 20, 1)], &[(0, 12, 1)]]);
    let scanned = last(&bytes);
    assert_eq!((scanned.frames, &scanned.next[..], scanned.torn), (3, &[13, 21][..], false));
    assert_eq!(scanned.end, places[3] as u64);
    let find = |offset| match scanned.index.find(0, offset, usize::MAX, 10..13) {
        Found::Frames(frames) => frames.len(),
        Found::Gap(gap) => panic!("{gap:?}"),
    };
    assert_eq!((find(11), find(12), find(13)), (2, 1, 0));
}

#[test]
fn a_cut_at_any_byte_keeps_exactly_the_frames_before_it() {
    let (places, whole) = segment(&[&[(0, 10, 1)], &[(0, 11, 1), (1, 20, 1)], &[(0, 12, 1)]]);
    for length in HEADER_BYTES..whole.len() {
        let mut bytes = whole[..length].to_vec();
        bytes.resize(whole.len(), 0);
        let scanned = last(&bytes);
        // A frame is whole when its body is: the padding behind it reads as zeros either way.
        let bodies = places[..4].iter().map(|it| it + Format::Two.head_bytes() + 4);
        let expected = bodies.filter(|it| *it <= length).count();
        assert_eq!(scanned.frames, expected, "length {length}");
        assert_eq!(scanned.end, places[expected] as u64, "length {length}");
        assert_eq!(scanned.damage, [], "length {length}");
    }
}

#[test]
fn bytes_that_a_later_group_proves_acknowledged_are_damage_and_what_is_whole_is_kept() {
    let (places, whole) = segment(&[&[(0, 10, 1), (1, 20, 1)], &[(0, 11, 1)], &[(0, 12, 1)]]);
    // Frames of the first two groups: the third proves them.
    for at in 0..3 {
        for byte in places[at]..places[at] + Format::Two.head_bytes() + 4 {
            let mut bytes = whole.clone();
            bytes[byte] ^= 1;
            let scanned = last(&bytes);
            assert_eq!(scanned.frames, 3, "byte {byte}");
            let damaged = places[at] as u64..places[at + 1] as u64;
            assert_eq!(scanned.damage, [damaged], "byte {byte}");
            assert_eq!(scanned.next[0], 13, "byte {byte}");
            assert!(!scanned.torn, "byte {byte}");
            assert_eq!(scanned.end, places[4] as u64, "byte {byte}");
        }
    }
}

#[test]
fn within_the_last_group_the_first_bad_byte_is_where_the_write_was_cut_off() {
    let (places, whole) = segment(&[&[(0, 10, 1)], &[(0, 11, 1), (1, 20, 1), (0, 12, 1)]]);
    for (at, kept) in [(1, 1), (2, 2), (3, 3)] {
        let mut bytes = whole.clone();
        bytes[places[at] + 50] ^= 1;
        let scanned = last(&bytes);
        assert_eq!((scanned.frames, scanned.torn), (kept, true), "frame {at}");
        assert_eq!((scanned.end, &scanned.damage[..]), (places[at] as u64, &[][..]), "frame {at}");
    }
}

#[test]
fn a_partition_whose_last_frame_may_be_in_the_damage_goes_on_past_all_that_it_can_have_held() {
    let (places, mut bytes) = segment(&[&[(0, 10, 1)], &[(1, 20, 5)], &[(0, 11, 1)]]);
    bytes[places[1] + 3] ^= 1;
    let scanned = last(&bytes);
    assert_eq!(scanned.next, [12, 20 + 56], "a frame of 56 bytes");
}

#[test]
fn a_checkpoint_behind_the_damage_says_what_was_lost() {
    let (places, mut bytes) = segment(&[&[(0, 10, 1)], &[(1, 20, 5)]]);
    bytes.truncate(places[2]);
    let group = bytes.len() as u64;
    frame::write_checkpoint(&mut bytes, NONCE, group, Timestamp::from_millis(1), &[11, 25]);
    bytes[places[1] + 3] ^= 1;
    let scanned = last(&bytes);
    assert_eq!((scanned.frames, &scanned.next[..], scanned.torn), (1, &[11, 25][..], false));
    assert_eq!(scanned.end, bytes.len() as u64);
}

#[test]
fn a_frame_of_an_earlier_try_behind_a_later_group_is_none() {
    let (places, mut bytes) = segment(&[&[(0, 10, 1)], &[(0, 11, 1)]]);
    // Its offset would follow; its group is over.
    let head = FrameHead {
        partition: 0,
        records: 1,
        base_offset: 12,
        time: Timestamp::from_millis(1),
        group: places[0] as u64,
        body_bytes: 4,
    };
    let mut stale = Vec::new();
    frame::write(&mut stale, NONCE, &head, b"body");
    bytes.splice(places[2]..places[2] + stale.len(), stale);
    let scanned = last(&bytes);
    assert_eq!((scanned.frames, scanned.end, scanned.torn), (2, places[2] as u64, true));
}

#[test]
fn what_the_next_segment_begins_anew_was_never_acknowledged_here() {
    let (_, bytes) = segment(&[&[(0, 10, 1)], &[(0, 11, 1), (1, 20, 1)]]);
    let scanned = scan_sealed(&bytes, &header(Format::Two), &[11, 20]);
    assert_eq!((scanned.frames, &scanned.next[..]), (1, &[11, 20][..]));
    assert_eq!((scanned.damage.len(), scanned.torn), (0, false));
}

#[test]
fn what_a_sealed_segment_is_short_of_is_damage() {
    let (places, mut bytes) = segment(&[&[(0, 10, 1)], &[(0, 11, 1)]]);
    bytes[places[1]] ^= 1;
    let scanned = scan_sealed(&bytes, &header(Format::Two), &[12, 20]);
    let damaged = places[1] as u64..bytes.len() as u64;
    assert_eq!(scanned.damage, [damaged]);
}

#[test]
fn a_segment_of_the_format_before_is_read_and_its_damage_is_passed() {
    let header = header(Format::One);
    let mut bytes = header.write();
    let mut places = Vec::new();
    for offset in 10..14_u64 {
        places.push(bytes.len());
        // crc, body bytes, nonce, partition, records, base offset, time, body of 8 bytes.
        let mut frame = vec![0; 4];
        frame.extend_from_slice(&8_u32.to_le_bytes());
        frame.extend_from_slice(&NONCE.to_le_bytes());
        frame.extend_from_slice(&0_u32.to_le_bytes());
        frame.extend_from_slice(&1_u32.to_le_bytes());
        frame.extend_from_slice(&offset.to_le_bytes());
        frame.extend_from_slice(&7_i64.to_le_bytes());
        frame.extend_from_slice(b"12345678");
        let crc = crc32c::crc32c(&frame[4..]);
        frame[..4].copy_from_slice(&crc.to_le_bytes());
        bytes.extend_from_slice(&frame);
    }
    let scanned = scan_last(&bytes, &header);
    assert_eq!((scanned.frames, &scanned.next[..]), (4, &[14, 20][..]));
    bytes[places[1] + 45] ^= 1;
    let scanned = scan_last(&bytes, &header);
    assert_eq!((scanned.frames, scanned.next[0], scanned.torn), (3, 14, false));
    let damaged = places[1] as u64..places[2] as u64;
    assert_eq!(scanned.damage, [damaged]);
    bytes[places[3] + 45] ^= 1;
    let scanned = scan_last(&bytes, &header);
    assert_eq!((scanned.frames, scanned.torn), (2, true), "nothing stands behind it");
}
