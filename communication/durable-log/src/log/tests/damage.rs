//! Files that are not what was written.

use super::*;
use crate::{
    frame::{self, FrameHead},
    segment::new_header,
};

const SMALL: u32 = 4;

/// Small records of three partitions, one group each, as the disk has them.
async fn small_log(end: impl AsyncFnOnce(&Log)) -> (SimulatedDisk, Records) {
    let disk = SimulatedDisk::default();
    let (log, _) = open(&disk).unwrap();
    let mut written = Records::new();
    for number in 0..SMALL {
        let body = Bytes::from(format!("record {number}"));
        let appended = log.append(append(number % 3, body.clone())).await.unwrap();
        written.insert((number % 3, appended.base_offset), body);
    }
    end(&log).await;
    drop(log);
    (disk, written)
}

/// The same files, one of them changed.
fn changed(disk: &SimulatedDisk, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> SimulatedDisk {
    let copy = disk.copy();
    copy.corrupt(name, change);
    copy
}

/// What was damaged: everything else is read, and what is lost is named.
fn lost_of(log: &Log, written: &Records, what: &str) -> usize {
    let (found, gaps) = read_around(log);
    for (place, body) in &found {
        assert_eq!(written.get(place), Some(body), "{what}: a wrong payload at {place:?}");
    }
    for (partition, offset) in written.keys().filter(|it| !found.contains_key(*it)) {
        let named = gaps.iter().any(|it| it.0 == *partition && it.1.contains(offset));
        assert!(named, "{what}: {partition}/{offset} is missing without a word, {gaps:?}");
    }
    written.len() - found.len()
}

#[tokio::test]
async fn a_flipped_bit_costs_one_record_at_most_and_names_it_when_the_log_was_closed() {
    let (disk, written) = small_log(Log::close).await;
    let name = segment_name(1);
    let used = disk.content(&name).iter().rposition(|it| *it != 0).unwrap() + 1;
    assert!(used > HEADER_BYTES + 4 * 56, "{used}");
    let mut costly = 0;
    // Every eighth byte of the header, which is covered whole by one checksum.
    let header = (12..HEADER_BYTES).step_by(509);
    for byte in header.chain(HEADER_BYTES..used - 3) {
        for bit in 0..8 {
            let what = format!("byte {byte}, bit {bit}");
            let flipped = changed(&disk, &name, |it| it[byte] ^= 1 << bit);
            let (log, _) = open(&flipped).unwrap_or_else(|it| panic!("{what}: {it}"));
            let lost = lost_of(&log, &written, &what);
            assert!(lost <= 1, "{what}: {lost} are lost");
            costly += lost;
            if bit > 0 {
                continue;
            }
            // What comes next does not take an offset that was given out.
            let next = log.append(append(0, "next")).await.unwrap();
            assert_eq!(next.base_offset, 2, "{what}");
            drop(log);
            // And it is the same at the next start.
            let (log, _) = open(&flipped).unwrap();
            assert_eq!(read_around(&log).0.len(), written.len() - lost + 1, "{what}");
        }
    }
    assert!(costly > 4 * 8 * 48, "hardly any bit mattered: {costly}");
}

#[tokio::test]
async fn a_flipped_bit_after_a_crash_costs_one_record_and_the_last_is_copied_aside() {
    let (disk, written) = small_log(async |_| ()).await;
    let name = segment_name(1);
    let used = disk.content(&name).iter().rposition(|it| *it != 0).unwrap() + 1;
    for byte in HEADER_BYTES..used {
        let what = format!("byte {byte}");
        let flipped = changed(&disk, &name, |it| it[byte] ^= 0x10);
        let before = flipped.content(&name);
        let (log, recovery) = open(&flipped).unwrap_or_else(|it| panic!("{what}: {it}"));
        match recovery.torn_at {
            None => assert!(lost_of(&log, &written, &what) <= 1, "{what}"),
            Some(at) => {
                let aside = flipped.content(&format!("{name}.damaged-{at}"));
                let from = usize::try_from(at).unwrap();
                assert_eq!(aside, before[from..from + aside.len()], "{what}");
                let (found, _) = read_around(&log);
                assert_eq!(found.len(), written.len() - 1, "{what}: only the last is in doubt");
            }
        }
    }
}

#[tokio::test]
async fn a_log_cut_at_any_byte_opens_and_keeps_every_whole_record_before_it() {
    let (disk, written) = small_log(async |_| ()).await;
    let name = segment_name(1);
    let used = disk.content(&name).iter().rposition(|it| *it != 0).unwrap() + 1;
    let frame = 56;
    let checkpoint = 48 + 3 * 8;
    for length in HEADER_BYTES..=used {
        let cut = changed(&disk, &name, |it| it.truncate(length));
        let (log, _) = open(&cut).unwrap_or_else(|it| panic!("length {length}: {it}"));
        let (found, _) = read_around(&log);
        let whole = length.saturating_sub(HEADER_BYTES + checkpoint) / frame;
        assert_eq!(found.len(), whole, "length {length}");
        assert!(found.iter().all(|(place, it)| written.get(place) == Some(it)), "{length}");
        assert!(log.append(append(1, "next")).await.is_ok(), "length {length}");
    }
}

#[tokio::test]
async fn damage_in_a_sealed_segment_costs_what_it_hit_and_is_named_with_its_offsets() {
    let disk = SimulatedDisk::default();
    let (log, _) = open(&disk).unwrap();
    let written = work(&log, 0, 24).await;
    drop(log);
    let name = segment_name(2);
    let mut random = Random::with_seed(7);
    for round in 0..500 {
        let byte = usize::try_from(random.below(SEGMENT_BYTES)).unwrap();
        let flipped = changed(&disk, &name, |it| it[byte] ^= 0x40);
        let opened = open(&flipped);
        // The number of the format is judged alone: another one is refused in words.
        let (log, _) = match opened {
            Err(OpenError::Format { .. }) if (8..12).contains(&byte) => continue,
            opened => opened.unwrap_or_else(|it| panic!("byte {byte}: {it}")),
        };
        let lost = lost_of(&log, &written, &format!("round {round}, byte {byte}"));
        assert!(lost <= 1, "byte {byte}: {lost} are lost");
        assert_eq!(log.stats().lost_records, lost as u64, "byte {byte}");
        read_around(&log);
        assert_eq!(log.stats().lost_records, lost as u64, "a gap counts once");
        assert_eq!(log.append(append(0, "next")).await.unwrap().base_offset, 8);
    }
}

#[tokio::test]
async fn a_segment_whose_header_is_damaged_is_served_and_kept_beside_it_as_it_was() {
    let disk = SimulatedDisk::default();
    let (log, _) = open(&disk).unwrap();
    let written = work(&log, 0, 30).await;
    let last = log.stats().segments;
    drop(log);
    for number in 1..=last {
        let name = segment_name(number);
        let flipped = changed(&disk, &name, |it| it[50] ^= 1);
        let before = flipped.content(&name);
        let (log, _) = open(&flipped).unwrap_or_else(|it| panic!("segment {number}: {it}"));
        assert_eq!(read_all(&log), written, "segment {number}");
        if number == last {
            assert_eq!(flipped.content(&format!("{name}.damaged-0")), before);
        } else {
            assert_eq!(flipped.content(&name), before, "nobody writes a complete segment");
        }
    }
}

#[tokio::test]
async fn what_cannot_be_told_is_put_away_between_others_and_refused_at_the_end() {
    let disk = SimulatedDisk::default();
    let (log, _) = open(&disk).unwrap();
    let written = work(&log, 0, 30).await;
    let last = log.stats().segments;
    drop(log);
    let wreck = |it: &mut Vec<u8>| {
        it[50] ^= 1;
        it[HEADER_BYTES] ^= 1;
    };
    let between = changed(&disk, &segment_name(2), |it| it.fill(0x55));
    let (log, _) = open(&between).unwrap();
    let lost = lost_of(&log, &written, "a wrecked segment");
    assert!((7..10).contains(&lost), "{lost}");
    assert_eq!(between.content(&format!("{}.damaged", segment_name(2))), [0x55; 64 << 10]);
    let end = changed(&disk, &segment_name(last), wreck);
    let before = end.content(&segment_name(last));
    let refused = open(&end).unwrap_err();
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
    assert_eq!(end.content(&segment_name(last)), before);
    let first = small_log(Log::close).await.0;
    let first = changed(&first, &segment_name(1), wreck);
    assert!(matches!(open(&first), Err(OpenError::Damaged { .. })), "never an empty start");
}

#[tokio::test]
async fn a_segment_of_which_the_middle_is_missing_is_a_gap_and_no_refusal() {
    let disk = SimulatedDisk::default();
    let (log, _) = open(&disk).unwrap();
    let written = work(&log, 0, 60).await;
    drop(log);
    disk.remove(&segment_name(3)).unwrap();
    let (log, _) = open(&disk).unwrap();
    let lost = lost_of(&log, &written, "a missing segment");
    assert!((7..10).contains(&lost), "{lost}");
}

#[tokio::test]
async fn a_log_that_ends_before_a_floor_goes_on_at_it_and_says_so() {
    let (disk, written) = small_log(Log::close).await;
    let floors = BTreeMap::from([(0, 40), (1, 1)]);
    let config = LogConfig { floors, ..config() };
    let (log, recovery) = open_with(&disk, config.clone(), &clock()).unwrap();
    assert_eq!(recovery.raised, [(0, 2..40)]);
    assert_eq!(log.stats().lost_records, 38, "nobody will ask for them");
    assert_eq!(log.append(append(0, "after")).await.unwrap().base_offset, 40);
    drop(log);
    let (log, recovery) = open_with(&disk, config, &clock()).unwrap();
    assert_eq!(recovery.raised, [], "it is durable with the first append");
    let (found, gaps) = read_around(&log);
    assert_eq!((found.len(), gaps), (written.len() + 1, vec![(0, 2..40)]));
}

#[tokio::test]
async fn a_medium_that_cannot_be_read_is_damage_of_the_records_on_it() {
    let disk = SimulatedDisk::default();
    let (log, _) = open(&disk).unwrap();
    let written = work(&log, 0, 60).await;
    drop(log);
    disk.fail_reads(&segment_name(2), 20_000..20_001);
    let (log, _) = open(&disk).unwrap();
    let lost = lost_of(&log, &written, "an unreadable block");
    assert!((1..=2).contains(&lost), "{lost}");
}

#[tokio::test]
async fn a_full_disk_keeps_no_log_from_opening_and_nothing_is_overwritten_without_a_copy() {
    let (disk, written) = small_log(async |_| ()).await;
    let name = segment_name(1);
    let used = disk.content(&name).iter().rposition(|it| *it != 0).unwrap();
    for byte in [50, used] {
        let full = changed(&disk, &name, |it| it[byte] ^= 1);
        let before = full.content(&name);
        full.set_full(true);
        let (log, _) = open(&full).unwrap_or_else(|it| panic!("byte {byte}: {it}"));
        assert!(read_around(&log).0.len() >= written.len() - 1, "byte {byte}");
        assert_eq!(log.append(append(0, "a")).await, Err(AppendError::Full), "byte {byte}");
        assert_eq!(full.content(&name), before, "byte {byte}");
        full.set_full(false);
        let kept = log.range(0).end;
        assert_eq!(log.append(append(0, "a")).await.unwrap().base_offset, kept, "byte {byte}");
        drop(log);
        let (log, _) = open(&full).unwrap();
        assert!(read_around(&log).0.len() >= written.len(), "byte {byte}");
    }
}

/// A segment of groups of frames of partition 0, and where each frame begins.
fn groups(frames: &[u64]) -> (Vec<u8>, Vec<usize>) {
    let header = new_header(1, vec![0; 3], Timestamp::from_millis(5));
    let mut bytes = header.write();
    let mut places = Vec::new();
    for count in frames {
        let group = bytes.len() as u64;
        for _ in 0..*count {
            let head = FrameHead {
                partition: 0,
                records: 1,
                base_offset: places.len() as u64,
                time: Timestamp::from_millis(5),
                group,
                body_bytes: 4,
            };
            places.push(bytes.len());
            frame::write(&mut bytes, header.nonce, &head, b"body");
        }
    }
    bytes.resize(64 << 10, 0);
    (bytes, places)
}

#[tokio::test]
async fn damage_that_a_torn_write_proved_is_damage_at_every_later_start() {
    // The second group has a bad frame between good ones; of the third the first was torn.
    let (mut bytes, places) = groups(&[1, 3, 2]);
    bytes[places[2] + 50] ^= 1;
    bytes[places[4] + 50] ^= 1;
    let disk = SimulatedDisk::default();
    drop(open(&disk).unwrap());
    disk.corrupt(&segment_name(1), |it| it.clone_from(&bytes));
    for start in 1..=3 {
        let (log, _) = open(&disk).unwrap();
        let (found, mut gaps) = read_around(&log);
        // Nothing says whether the others had records there.
        gaps.retain(|it| it.0 == 0);
        let offsets: Vec<u64> = found.keys().map(|it| it.1).collect();
        assert_eq!((offsets, gaps), (vec![0, 1, 3], vec![(0, 2..3)]), "start {start}");
        assert_eq!(log.range(0), 0..4, "start {start}");
    }
}
