use std::{collections::BTreeMap, sync::Arc};

use base::ManualClock;
use bytes::Bytes;

use super::*;
use crate::{
    Append, Log, LogConfig, ReadError, disk::simulated::SimulatedDisk, header::HEADER_BYTES,
    segment::segment_name, verify::verify_on,
};

type Records = BTreeMap<(u32, u64), Bytes>;

fn open(disk: &SimulatedDisk) -> Log {
    let config = LogConfig { partitions: 2, segment_bytes: 64 << 10, ..LogConfig::default() };
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_000)));
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Log::open_on(&disk, config, clock).unwrap().0
}

/// Three segments and a part of a fourth, closed in order.
async fn closed_log() -> SimulatedDisk {
    let disk = SimulatedDisk::default();
    let log = open(&disk);
    for number in 0..30_u32 {
        let body = Bytes::from(vec![u8::try_from(number).unwrap(); 7_000]);
        let time = Timestamp::from_millis(1);
        let append = Append { partition: number % 2, records: 1, time, body };
        log.append(append).await.unwrap();
    }
    log.close().await;
    disk
}

fn read_whole(log: &Log) -> Records {
    let mut all = Records::new();
    for partition in 0..2 {
        let range = log.range(partition);
        let mut offset = range.start;
        while offset < range.end {
            match log.read(partition, offset, 1) {
                Ok(frames) => {
                    offset += 1;
                    all.insert((partition, offset - 1), frames[0].body.clone());
                }
                Err(ReadError::Lost { lost }) => offset = lost.end,
                Err(error) => panic!("{error}"),
            }
        }
    }
    all
}

#[tokio::test]
async fn a_whole_log_is_called_whole_and_nothing_is_repaired() {
    let disk = closed_log().await;
    let before = disk.copy();
    let report = verify_on(&disk).unwrap();
    assert!(report.is_whole(), "{report:?}");
    assert_eq!(report.segments.len(), 4);
    assert_eq!(report.segments.iter().map(|it| it.frames).sum::<usize>(), 30);
    assert_eq!(repair_on(&disk).unwrap(), []);
    for segment in &report.segments {
        assert_eq!(disk.content(&segment.name), before.content(&segment.name));
    }
}

#[tokio::test]
async fn a_repair_keeps_every_whole_record_at_its_offset_and_a_copy_of_what_was() {
    for (number, byte) in [(1, 9_000), (2, 40_000), (4, 9_000), (4, 45_000), (3, 50), (4, 60)] {
        let what = format!("segment {number}, byte {byte}");
        let disk = closed_log().await;
        let name = segment_name(number);
        disk.corrupt(&name, |it| it[byte] ^= 1);
        let damaged = disk.content(&name);
        let expected = read_whole(&open(&disk.copy()));
        assert!((29..=30).contains(&expected.len()), "{what}");
        let report = verify_on(&disk).unwrap();
        assert!(!report.is_whole(), "{what}");
        let lost: u64 =
            report.segments.iter().flat_map(|it| &it.lost).map(|it| it.1.end - it.1.start).sum();
        assert_eq!(lost, 30 - expected.len() as u64, "{what}");

        let repaired = repair_on(&disk).unwrap();
        assert_eq!(repaired.len(), 1, "{what}: {repaired:?}");
        assert_eq!(disk.content(&repaired[0].copy), damaged, "{what}");
        assert!(verify_on(&disk).unwrap().is_whole(), "{what}");
        assert_eq!(repair_on(&disk).unwrap(), [], "{what}: once is enough");
        let log = open(&disk);
        assert_eq!(read_whole(&log), expected, "{what}");
        for partition in 0..2 {
            let time = Timestamp::from_millis(1);
            let next = Append { partition, records: 1, time, body: "next".into() };
            assert_eq!(log.append(next).await.unwrap().base_offset, 15, "{what}");
        }
    }
}

#[tokio::test]
async fn a_segment_of_which_nothing_can_be_told_is_put_away_and_the_log_opens() {
    let disk = closed_log().await;
    let name = segment_name(4);
    disk.corrupt(&name, |it| {
        it[50] ^= 1;
        it[HEADER_BYTES] ^= 1;
    });
    let damaged = disk.content(&name);
    assert_eq!(verify_on(&disk).unwrap().segments[3].header, HeaderReport::Unknown);
    let repaired = repair_on(&disk).unwrap();
    assert_eq!((repaired[0].kept, disk.content(&repaired[0].copy)), (None, damaged));
    assert!(read_whole(&open(&disk)).len() > 20);
}

#[tokio::test]
async fn a_second_repair_leaves_the_copy_of_the_first() {
    let disk = closed_log().await;
    let name = segment_name(2);
    disk.corrupt(&name, |it| it[9_000] ^= 1);
    let first = repair_on(&disk).unwrap();
    let copy = disk.content(&first[0].copy);
    disk.corrupt(&name, |it| it[30_000] ^= 1);
    let second = repair_on(&disk).unwrap();
    assert_ne!(first[0].copy, second[0].copy);
    assert_eq!(disk.content(&first[0].copy), copy);
}

#[tokio::test]
async fn a_power_cut_at_any_operation_of_a_repair_costs_nothing() {
    for cut in 1.. {
        let disk = closed_log().await;
        disk.corrupt(&segment_name(2), |it| it[9_000] ^= 1);
        disk.corrupt(&segment_name(3), |it| it[50] ^= 1);
        let expected = read_whole(&open(&disk.copy()));
        disk.power_off_after(cut);
        let repaired = repair_on(&disk);
        for seed in 0..4 {
            let what = format!("cut {cut}, seed {seed}");
            let survived = disk.after_power_cut(&mut base::Random::with_seed(seed));
            assert_eq!(read_whole(&open(&survived.copy())), expected, "{what}: as it was found");
            repair_on(&survived).unwrap();
            assert!(verify_on(&survived).unwrap().is_whole(), "{what}");
            assert_eq!(read_whole(&open(&survived)), expected, "{what}: repaired");
        }
        if repaired.is_ok() {
            assert!(cut > 12, "{cut}");
            return;
        }
    }
}
