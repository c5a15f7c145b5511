use std::{collections::BTreeMap, time::Duration};

use base::{ManualClock, Random};
use bytes::Bytes;
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};

use super::*;
use crate::{
    Durability, disk::simulated::SimulatedDisk, header::HEADER_BYTES, segment::segment_name,
};

mod damage;
mod many;
mod power;

const PATIENCE: Duration = Duration::from_secs(20);
const SEGMENT_BYTES: u64 = 64 << 10;

fn config() -> LogConfig {
    LogConfig { partitions: 3, segment_bytes: SEGMENT_BYTES, ..LogConfig::default() }
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp::from_millis(1_000)))
}

fn open(disk: &SimulatedDisk) -> Result<(Log, Recovery), OpenError> {
    open_with(disk, config(), &clock())
}

fn open_with(
    disk: &SimulatedDisk,
    config: LogConfig,
    clock: &Arc<ManualClock>,
) -> Result<(Log, Recovery), OpenError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Log::open_on(&disk, config, clock.clone())
}

fn append(partition: u32, body: impl Into<Bytes>) -> Append {
    Append { partition, records: 1, time: Timestamp::from_millis(5), body: body.into() }
}

type Records = BTreeMap<(u32, u64), Bytes>;

/// Everything that can be read, by partition and offset; nothing is lost.
#[track_caller]
fn read_all(log: &Log) -> Records {
    let (all, lost) = read_around(log);
    assert_eq!(lost, [], "records are lost");
    all
}

/// Everything that can be read, and the gaps between.
#[track_caller]
fn read_around(log: &Log) -> (Records, Vec<(u32, Range<u64>)>) {
    let (mut all, mut gaps) = (BTreeMap::new(), Vec::new());
    for partition in 0..log.partitions() {
        let range = log.range(partition);
        let mut offset = range.start;
        while offset < range.end {
            let frames = match log.read(partition, offset, 32 << 10) {
                Err(ReadError::Lost { lost }) => {
                    assert!(lost.contains(&offset), "{offset} is not in {lost:?}");
                    offset = lost.end;
                    gaps.push((partition, lost));
                    continue;
                }
                frames => frames.unwrap(),
            };
            assert!(!frames.is_empty(), "nothing at {partition}/{offset} of {range:?}");
            for frame in frames {
                assert_eq!(frame.base_offset, offset, "a gap in partition {partition}");
                offset += u64::from(frame.records);
                all.insert((partition, frame.base_offset), frame.body);
            }
        }
    }
    (all, gaps)
}

/// A body that is known by its first bytes and long enough to fill segments.
fn body(number: u32) -> Bytes {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.resize(7_000 + number as usize % 900, u8::try_from(number % 251).unwrap());
    bytes.into()
}

/// Appends until the power goes. Gives what was acknowledged.
async fn work(log: &Log, first: u32, count: u32) -> Records {
    let mut acknowledged = BTreeMap::new();
    for number in first..first + count {
        let partition = number % 3;
        if let Ok(appended) = log.append(append(partition, body(number))).await {
            acknowledged.insert((partition, appended.base_offset), body(number));
        }
    }
    acknowledged
}

#[track_caller]
fn assert_kept(acknowledged: &Records, found: &Records, what: &str) {
    for (place, body) in acknowledged {
        assert!(found.get(place) == Some(body), "{what}: {place:?} was acknowledged");
    }
}

#[tokio::test]
async fn a_power_cut_at_any_operation_loses_nothing_that_was_acknowledged() {
    for cut in 1.. {
        let disk = SimulatedDisk::default();
        disk.power_off_at(cut);
        let acknowledged = match open(&disk) {
            Ok((log, _)) => work(&log, 0, 24).await,
            Err(_) => BTreeMap::new(),
        };
        let off = disk.is_off();
        for seed in 0..4 {
            let mut random = Random::with_seed(cut * 10 + seed);
            let survived = disk.after_power_cut(&mut random);
            let (log, _) = open(&survived).unwrap_or_else(|it| panic!("cut {cut}/{seed}: {it}"));
            let found = read_all(&log);
            assert_kept(&acknowledged, &found, &format!("cut {cut}, seed {seed}"));
            for body_found in found.values() {
                let number = u32::from_le_bytes(body_found[..4].try_into().unwrap());
                assert_eq!(*body_found, body(number), "cut {cut}/{seed}: an invented record");
            }
            // And it goes on from there.
            let more = work(&log, 100, 12).await;
            assert_eq!(more.len(), 12, "cut {cut}/{seed}");
            let mut random = Random::with_seed(seed);
            let (log, _) = open(&survived.after_power_cut(&mut random)).unwrap();
            let found = read_all(&log);
            assert_kept(&acknowledged, &found, &format!("second cut after {cut}, seed {seed}"));
            assert_kept(&more, &found, &format!("second cut after {cut}, seed {seed}"));
        }
        if !off {
            assert!(cut > 50, "the workload is too small to mean anything");
            return;
        }
    }
}

#[tokio::test]
async fn after_a_failed_sync_that_file_is_never_acknowledged_again() {
    for number in 1..=20 {
        let disk = SimulatedDisk::default();
        let (log, _) = open(&disk).unwrap();
        disk.fail_sync(number);
        let mut acknowledged = BTreeMap::new();
        let mut failed = 0;
        for round in 0..30 {
            match log.append(append(0, body(round))).await {
                Ok(appended) => {
                    acknowledged.insert((0, appended.base_offset), body(round));
                }
                Err(error) => {
                    assert!(matches!(error, AppendError::Failed { .. }), "{error}");
                    failed += 1;
                }
            }
        }
        assert_eq!(failed, 1, "sync {number}");
        assert_eq!(read_all(&log), acknowledged, "what failed is not shown");
        let mut random = Random::with_seed(number);
        let (log, _) = open(&disk.after_power_cut(&mut random)).unwrap();
        assert_kept(&acknowledged, &read_all(&log), &format!("sync {number}"));
        assert_eq!(log.stats().failed_syncs, 0);
    }
}

/// Appends that expect the life that they were handed in under, over syncs that fail: none stands in
/// the log behind one that does not.
#[tokio::test]
async fn what_was_to_stand_behind_a_failed_append_is_refused_with_it() {
    for number in 1..=8 {
        let disk = SimulatedDisk::default();
        let (log, _) = open(&disk).unwrap();
        disk.fail_sync(number);
        let ended = Arc::new(std::sync::Mutex::new(Vec::new()));
        let life = log.life();
        for round in 0..60_u32 {
            let own = Arc::clone(&ended);
            let done = move |it: Result<Appended, AppendError>| {
                own.lock().unwrap().push((round, it.is_ok()));
            };
            // Large enough that they are several groups.
            let body = vec![0; 3_000];
            log.enqueue_then(append(0, body), Some(life), done).unwrap();
            if round % 7 == 0 {
                log.append(append(1, "x")).await.ok();
            }
        }
        log.close().await;
        let ended = ended.lock().unwrap().clone();
        let taken = ended.iter().take_while(|it| it.1).count();
        assert!(taken < 60, "sync {number} did not fail");
        assert!(ended.iter().skip(taken).all(|it| !it.1), "sync {number}: {ended:?}");
        assert!(ended.iter().map(|it| it.0).eq(0..60), "sync {number}: each once, in order");
        assert_eq!(log.life(), life + 1);
    }
}

/// Large appends that need segments until one fails, with small ones that fit between and behind.
async fn large_and_small(log: &Log) -> Records {
    let mut acknowledged = BTreeMap::new();
    let mut failed = false;
    for round in 0..12_u32 {
        let large = Bytes::from(vec![u8::try_from(round).unwrap(); 12_000]);
        for body in [large, Bytes::from(round.to_string())] {
            if failed && body.len() > 2 {
                continue;
            }
            match log.append(append(0, body.clone())).await {
                Ok(appended) => drop(acknowledged.insert((0, appended.base_offset), body)),
                Err(_) => failed = true,
            }
        }
    }
    acknowledged
}

#[tokio::test]
async fn a_segment_that_could_not_be_begun_never_voids_what_is_acknowledged_after_it() {
    type Fault = fn(&SimulatedDisk, u64);
    let names: (&str, Fault) = ("names", SimulatedDisk::fail_names);
    for (what, fault) in [names, ("sync", SimulatedDisk::fail_sync)] {
        for number in 1..=28 {
            let disk = SimulatedDisk::default();
            let (log, _) = open(&disk).unwrap();
            fault(&disk, number);
            let acknowledged = large_and_small(&log).await;
            assert!(acknowledged.len() >= 10, "{what} {number}: {}", acknowledged.len());
            drop(log);
            disk.heal();
            let (log, _) = open(&disk).unwrap();
            assert_kept(&acknowledged, &read_all(&log), &format!("restart after {what} {number}"));
            drop(log);
            let mut random = Random::with_seed(number);
            let (log, _) = open(&disk.after_power_cut(&mut random)).unwrap();
            assert_kept(&acknowledged, &read_all(&log), &format!("cut after {what} {number}"));
        }
    }
}

#[tokio::test]
async fn after_a_failed_sync_and_a_restart_the_page_cache_is_not_trusted() {
    for number in 1..=6 {
        let disk = SimulatedDisk::default();
        let (log, _) = open(&disk).unwrap();
        disk.fail_sync(number);
        let mut acknowledged = BTreeMap::new();
        for round in 0..10_u32 {
            match log.append(append(0, round.to_string())).await {
                Ok(appended) => {
                    acknowledged.insert((0, appended.base_offset), Bytes::from(round.to_string()));
                }
                // Somebody restarts it because of that.
                Err(_) => break,
            }
        }
        drop(log);
        disk.heal();
        let (log, _) = open(&disk).unwrap();
        for round in 100..105_u32 {
            let body = Bytes::from(round.to_string());
            let appended = log.append(append(0, body.clone())).await.unwrap();
            acknowledged.insert((0, appended.base_offset), body);
        }
        let mut random = Random::with_seed(number);
        let (log, _) = open(&disk.after_power_cut(&mut random)).unwrap();
        assert_kept(&acknowledged, &read_all(&log), &format!("sync {number}"));
    }
}

#[tokio::test]
async fn a_full_disk_refuses_serves_reads_and_recovers() {
    let disk = SimulatedDisk::default();
    let (log, _) = open(&disk).unwrap();
    disk.set_full(true);
    let mut acknowledged = work(&log, 0, 30).await;
    assert!(acknowledged.len() < 30);
    assert_eq!(log.append(append(0, body(1))).await, Err(AppendError::Full));
    assert_eq!(read_all(&log), acknowledged);
    disk.set_full(false);
    let more = work(&log, 50, 10).await;
    assert_eq!(more.len(), 10);
    acknowledged.extend(more);
    assert_eq!(read_all(&log), acknowledged);
}

#[tokio::test]
async fn another_number_of_partitions_is_refused() {
    let disk = SimulatedDisk::default();
    drop(open(&disk).unwrap());
    let other = LogConfig { partitions: 4, ..config() };
    let refused = open_with(&disk, other, &clock()).unwrap_err();
    assert!(matches!(refused, OpenError::Partitions { found: 3, wanted: 4 }), "{refused}");
}

#[tokio::test]
async fn retention_drops_whole_segments_and_recycled_bytes_never_come_back() {
    let disk = SimulatedDisk::default();
    let clock = clock();
    let keep = LogConfig { retention_bytes: Some(3 * SEGMENT_BYTES), ..config() };
    let (log, _) = open_with(&disk, keep.clone(), &clock).unwrap();
    let mut all = BTreeMap::new();
    for round in 0..20 {
        all.extend(work(&log, round * 8, 8).await);
        log.enforce_retention().unwrap();
        let found = read_all(&log);
        assert_kept(&found, &all, "what is kept was written");
        let newest = all.iter().filter(|it| it.0.1 >= log.range(it.0.0).start).count();
        assert_eq!(found.len(), newest, "what is kept has no gap");
    }
    assert!(log.range(0).start > 0);
    assert!(log.stats().segments <= 3);
    assert!(matches!(log.read(0, 0, 1), Err(ReadError::OutOfRange { .. })));
    let before = read_all(&log);
    drop(log);
    let (log, _) = open_with(&disk, keep, &clock).unwrap();
    assert_eq!(read_all(&log), before);
}

#[tokio::test]
async fn segments_go_when_they_are_old_enough() {
    let disk = SimulatedDisk::default();
    let clock = clock();
    let keep = LogConfig { retention_ms: Some(60_000), ..config() };
    let (log, _) = open_with(&disk, keep, &clock).unwrap();
    work(&log, 0, 40).await;
    assert_eq!(log.enforce_retention().unwrap(), 0);
    clock.advance(Duration::from_secs(61));
    assert!(log.enforce_retention().unwrap() >= 4);
    assert!(!read_all(&log).is_empty(), "the one being written stays");
}

#[tokio::test]
async fn a_long_poll_is_woken_by_the_next_commit() {
    let disk = SimulatedDisk::default();
    let (log, _) = open(&disk).unwrap();
    let seen = log.version();
    let (newer, appended) =
        timeout(PATIENCE, async { tokio::join!(log.changed(seen), log.append(append(1, "a"))) })
            .await
            .unwrap();
    appended.unwrap();
    assert!(newer > seen);
    assert_eq!(log.range(1), 0..1);
}

#[tokio::test]
async fn appends_that_wait_share_a_commit_and_keep_the_order_of_each_partition() {
    let disk = SimulatedDisk::default();
    let (log, _) = open(&disk).unwrap();
    let mut appends = JoinSet::new();
    for number in 0..500_u32 {
        let log = log.clone();
        appends.spawn(async move { log.append(append(number % 3, number.to_string())).await });
    }
    let offsets = appends.join_all().await;
    assert!(offsets.iter().all(Result::is_ok));
    assert_eq!(read_all(&log).len(), 500);
    let stats = log.stats();
    assert_eq!(stats.appends, 500);
    assert!(stats.commits < 250, "{stats:?}");
}

#[tokio::test]
async fn what_does_not_fit_is_refused_and_the_queue_is_bounded() {
    let disk = SimulatedDisk::default();
    let bounded = LogConfig { append_bytes_max: 100, ..config() };
    let (log, _) = open_with(&disk, bounded, &clock()).unwrap();
    let bytes_max = log.append_bytes_max();
    let long = log.append(append(0, vec![0; bytes_max + 1])).await;
    assert_eq!(long, Err(AppendError::TooLarge { bytes_max }));
    assert_eq!(log.append(append(9, "a")).await, Err(AppendError::Invalid));
    assert_eq!(log.append(append(0, vec![0; 101])).await, Err(AppendError::Overloaded));
    assert!(
        log.append(append(0, vec![0; 100])).await.is_ok(),
        "what was refused gave its place back"
    );
    log.close().await;
    assert_eq!(log.append(append(0, "a")).await, Err(AppendError::Closed));
}

#[tokio::test]
async fn a_time_finds_the_first_record_that_is_not_older() {
    let disk = SimulatedDisk::default();
    let (log, _) = open(&disk).unwrap();
    for number in 0..40_u32 {
        let time = Timestamp::from_millis(1_000 + i64::from(number) * 10);
        log.append(Append { time, ..append(0, body(number)) }).await.unwrap();
    }
    assert_eq!(log.offset_at(0, Timestamp::from_millis(0)), Some(0));
    assert_eq!(log.offset_at(0, Timestamp::from_millis(1_305)), Some(31));
    assert_eq!(log.offset_at(0, Timestamp::from_millis(9_000)), None);
}

#[tokio::test]
async fn a_buffered_log_answers_without_a_sync() {
    let disk = SimulatedDisk::default();
    let buffered = LogConfig { durability: Durability::Buffered, ..config() };
    let (log, _) = open_with(&disk, buffered, &clock()).unwrap();
    log.append(append(0, "a")).await.unwrap();
    assert_eq!(log.stats().syncs, 0);
    assert_eq!(read_all(&log).len(), 1);
    log.close().await;
    let mut random = Random::with_seed(1);
    let survived = disk.after_power_cut(&mut random);
    assert_eq!(read_all(&open(&survived).unwrap().0).len(), 1, "closing in order syncs");
}

#[tokio::test]
async fn a_real_directory_keeps_what_was_appended() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("orders");
    let (log, recovery) = Log::open(&path, config(), clock()).unwrap();
    assert_eq!(recovery.segments, 1);
    let acknowledged = work(&log, 0, 30).await;
    assert_eq!(acknowledged.len(), 30);
    log.close().await;
    let (log, recovery) = Log::open(&path, config(), clock()).unwrap();
    assert!(recovery.segments > 3 && recovery.torn_at.is_none(), "{recovery:?}");
    assert_eq!(read_all(&log), acknowledged);
}
