//! More segments than a process may have files open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::*;
use crate::{
    frame::{self, FrameHead},
    segment::new_header,
};

const DESCRIPTORS: u64 = 256;

/// Segments of a record for each partition, as short as they can be.
fn write_segments(directory: &Path, count: u64) {
    for number in 0..count {
        let mut header = new_header(number + 1, vec![number; 3], Timestamp::from_millis(5));
        header.nonce |= 1 << 60;
        let mut bytes = header.write();
        let group = bytes.len() as u64;
        for partition in 0..3 {
            let body = format!("{partition}/{number}");
            let head = FrameHead {
                partition,
                records: 1,
                base_offset: number,
                time: Timestamp::from_millis(5),
                group,
                body_bytes: u32::try_from(body.len()).unwrap(),
            };
            frame::write(&mut bytes, header.nonce, &head, body.as_bytes());
        }
        fs::write(directory.join(segment_name(number + 1)), bytes).unwrap();
    }
}

/// `SKEIN_LOG_SEGMENTS=20000` is what a busy topic keeps in a day.
#[tokio::test]
async fn a_log_of_any_number_of_segments_starts_and_serves_with_few_descriptors() {
    let count = std::env::var("SKEIN_LOG_SEGMENTS").map_or(2_000, |it| it.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    write_segments(directory.path(), count);
    let before = getrlimit(Resource::Nofile);
    let limit = Rlimit { current: Some(DESCRIPTORS), maximum: before.maximum };
    setrlimit(Resource::Nofile, limit).unwrap();
    let started = Instant::now();
    let (log, recovery) = Log::open(directory.path(), config(), clock()).unwrap();
    let took = started.elapsed();
    println!("{count} segments opened in {took:?}");
    assert_eq!(recovery.segments as u64, count);
    assert_eq!(recovery.frames, 3, "only the last segment is read");
    for partition in 0..3 {
        for offset in 0..count {
            let frames = log.read(partition, offset, 1).unwrap();
            assert_eq!(frames[0].body, format!("{partition}/{offset}"));
        }
    }
    // And it goes on: what is appended needs segments of its own.
    assert_eq!(work(&log, 0, 30).await.len(), 30);
    assert!(log.stats().segments > count + 2);
    setrlimit(Resource::Nofile, before).unwrap();
    assert!(took < Duration::from_secs(10), "{took:?}");
}
