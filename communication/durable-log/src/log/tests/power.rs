//! What is left when the power goes, or the process, at any operation.

use super::*;

/// A log whose segments go by their bytes, and groups of several frames and partitions.
fn keeping(segments: u64) -> LogConfig {
    LogConfig { retention_bytes: Some(segments * SEGMENT_BYTES), ..config() }
}

/// Appends four at a time, of any partitions and lengths, and enforces retention between.
async fn work_in_groups(log: &Log, random: &mut Random, rounds: u32) -> Records {
    let mut acknowledged = Records::new();
    for round in 0..rounds {
        let mut pending = Vec::new();
        for at in 0..4 {
            let length = 9 + usize::try_from(random.below(9_000)).unwrap();
            let partition = u32::try_from(random.below(3)).unwrap();
            let mut body = (round * 4 + at).to_le_bytes().to_vec();
            body.resize(length, u8::try_from(length % 251).unwrap());
            let body = Bytes::from(body);
            let queued = log.enqueue(append(partition, body.clone()));
            pending.extend(queued.ok().map(|it| (partition, body, it)));
        }
        for (partition, body, pending) in pending {
            if let Ok(appended) = pending.acknowledged().await {
                acknowledged.insert((partition, appended.base_offset), body);
            }
        }
        // Now and then, so that several go at once. The power may be off.
        if round % 5 == 4 {
            log.enforce_retention().ok();
        }
    }
    acknowledged
}

/// What was acknowledged and not retired is there, and nothing that was never written.
#[track_caller]
fn check(log: &Log, acknowledged: &Records, what: &str) {
    let (found, lost) = read_around(log);
    assert_eq!(lost, [], "{what}");
    let first = |partition| log.range(partition).start;
    let kept = acknowledged.iter().filter(|it| it.0.1 >= first(it.0.0));
    assert_kept(&kept.map(|(place, body)| (*place, body.clone())).collect(), &found, what);
    for (place, body) in &found {
        assert_eq!(
            body[body.len() - 1],
            u8::try_from(body.len() % 251).unwrap(),
            "{what} {place:?}"
        );
    }
    // Three segments are kept: what is in the newest is never retired.
    assert!(acknowledged.is_empty() || !found.is_empty(), "{what}: nothing is left");
}

#[tokio::test]
async fn groups_and_retention_survive_a_power_cut_at_any_operation() {
    for cut in 1.. {
        let disk = SimulatedDisk::default();
        disk.power_off_at(cut);
        let mut random = Random::with_seed(cut);
        let (acknowledged, start) = match open_with(&disk, keeping(3), &clock()) {
            Ok((log, _)) => {
                let acknowledged = work_in_groups(&log, &mut random, 16).await;
                (acknowledged, log.range(0).start)
            }
            Err(_) => (Records::new(), 0),
        };
        for seed in 0..4 {
            let what = format!("cut {cut}, seed {seed}");
            let mut random = Random::with_seed(cut * 10 + seed);
            let survived = disk.after_power_cut(&mut random);
            let (log, recovery) = open_with(&survived, keeping(3), &clock())
                .unwrap_or_else(|it| panic!("{what}: {it}"));
            assert_eq!(recovery.damage, [], "{what}");
            check(&log, &acknowledged, &what);
            let mut all = read_all(&log);
            all.extend(work_in_groups(&log, &mut random, 10).await);
            let retired = log.range(0).start;
            drop(log);
            let again = survived.after_power_cut(&mut random);
            let (log, _) = open_with(&again, keeping(3), &clock()).unwrap();
            check(&log, &all, &format!("{what}, once more"));
            assert!(log.range(0).start <= retired, "{what}");
        }
        if !disk.is_off() {
            assert!(cut > 50, "the workload is too small to mean anything: {cut}");
            assert!(start > 0, "nothing was retired");
            return;
        }
    }
}

#[tokio::test]
async fn a_restart_without_a_power_cut_after_any_failure_loses_nothing() {
    for operation in 1..120 {
        let disk = SimulatedDisk::default();
        let mut random = Random::with_seed(operation);
        let mut acknowledged = Records::new();
        if let Ok((log, _)) = {
            disk.fail_operation(operation);
            open_with(&disk, keeping(5), &clock())
        } {
            acknowledged.extend(work_in_groups(&log, &mut random, 16).await);
        }
        disk.heal();
        let what = format!("operation {operation}");
        let (log, _) = open_with(&disk, keeping(5), &clock()).unwrap();
        check(&log, &acknowledged, &what);
        acknowledged.extend(work_in_groups(&log, &mut random, 2).await);
        drop(log);
        let (log, _) = open_with(&disk.after_power_cut(&mut random), keeping(5), &clock()).unwrap();
        check(&log, &acknowledged, &format!("{what}, then a power cut"));
    }
}

#[tokio::test]
async fn a_segment_goes_by_the_age_of_its_last_record() {
    let disk = SimulatedDisk::default();
    let clock = clock();
    let keep = LogConfig { retention_ms: Some(60_000), ..config() };
    let (log, _) = open_with(&disk, keep, &clock).unwrap();
    // The first segment is begun now, and takes its last record 50 s later.
    work(&log, 0, 3).await;
    clock.advance(Duration::from_secs(50));
    work(&log, 3, 20).await;
    clock.advance(Duration::from_secs(30));
    assert_eq!(log.enforce_retention().unwrap(), 0, "its last record is 30 s old");
    clock.advance(Duration::from_secs(31));
    assert!(log.enforce_retention().unwrap() > 0);
}

#[tokio::test]
async fn what_could_not_be_retired_stays_and_goes_with_the_next_call() {
    let disk = SimulatedDisk::default();
    let (log, _) = open_with(&disk, keeping(3), &clock()).unwrap();
    work(&log, 0, 40).await;
    let written = read_all(&log);
    disk.fail_next_operation();
    assert!(log.enforce_retention().is_err());
    assert_eq!(read_all(&log), written);
    disk.fail_names(1);
    assert!(log.enforce_retention().is_err(), "the name may come back");
    let segments = log.stats().segments;
    log.enforce_retention().unwrap();
    assert!(log.stats().segments < segments);
    assert_eq!(log.stats().segments, 3);
    drop(log);
    let (log, _) = open_with(&disk, keeping(3), &clock()).unwrap();
    assert_eq!(
        read_all(&log).len(),
        written.iter().filter(|it| it.0.1 >= log.range(it.0.0).start).count()
    );
}

#[tokio::test]
async fn the_copy_of_a_torn_write_goes_with_its_segment() {
    let disk = SimulatedDisk::default();
    let (log, _) = open_with(&disk, keeping(2), &clock()).unwrap();
    work(&log, 0, 3).await;
    drop(log);
    let name = segment_name(1);
    let used = disk.content(&name).iter().rposition(|it| *it != 0).unwrap();
    disk.corrupt(&name, |it| it[used] ^= 1);
    let (log, recovery) = open_with(&disk, keeping(2), &clock()).unwrap();
    let aside = format!("{name}.damaged-{}", recovery.torn_at.unwrap());
    assert!(disk.list().unwrap().contains(&aside));
    work(&log, 3, 40).await;
    log.enforce_retention().unwrap();
    assert!(!disk.list().unwrap().contains(&aside));
}

#[test]
fn a_reader_that_retention_overtakes_is_told_so_and_never_of_a_loss() {
    let disk = SimulatedDisk::default();
    let (log, _) = open_with(&disk, keeping(2), &clock()).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut overtaken = 0;
            while !done.load(Ordering::Relaxed) {
                for partition in 0..3 {
                    match log.read(partition, log.range(partition).start, 64 << 10) {
                        Ok(_) => {}
                        Err(ReadError::OutOfRange { .. }) => overtaken += 1,
                        Err(error) => panic!("{error}"),
                    }
                }
            }
            overtaken
        });
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut random = Random::with_seed(1);
        runtime.block_on(work_in_groups(&log, &mut random, 150));
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
    assert!(log.range(0).start > 50);
    assert_eq!(log.stats().lost_records, 0);
}
