//! `log verify` and `log repair`, on the files of a log as a broker leaves them.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use durable_log::{Append, Log, LogConfig};
use runtime::SystemClock;
use serde_json::Value;

/// The data directory of a broker with one topic, closed in order.
fn data(records: u32) -> (tempfile::TempDir, PathBuf) {
    let data = tempfile::tempdir().unwrap();
    let topic = data.path().join("topics").join("orders");
    fs::create_dir_all(&topic).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let config = LogConfig { partitions: 2, segment_bytes: 64 << 10, ..LogConfig::default() };
        let (log, _) = Log::open(&topic, config, SystemClock::shared()).unwrap();
        for number in 0..records {
            let time = base::Timestamp::from_millis(1);
            let body = vec![7; 1_000].into();
            let append = Append { partition: number % 2, records: 1, time, body };
            log.append(append).await.unwrap();
        }
        log.close().await;
    });
    (data, topic)
}

fn damage(topic: &Path) {
    let segment = topic.join("segment-00000000000000000001.log");
    let mut bytes = fs::read(&segment).unwrap();
    bytes[6_000] ^= 1;
    fs::write(segment, bytes).unwrap();
}

fn said(arguments: &[&str], directory: &Path) -> (String, String, i32) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skein"));
    let output = command.args(arguments).arg(directory).output().unwrap();
    let text = |it| String::from_utf8(it).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code().unwrap())
}

#[test]
fn a_damaged_log_is_named_repaired_and_whole_again() {
    let (data, topic) = data(20);
    let (out, err, code) = said(&["log", "verify"], data.path());
    assert_eq!((code, out.contains("1 segments, 20 appends")), (0, true), "{out}{err}");
    damage(&topic);
    let (out, err, code) = said(&["log", "verify"], &topic);
    assert_eq!(code, 79, "{out}{err}");
    assert!(out.contains("are damaged\n") && out.contains("has lost offsets"), "{out}");
    let (_, err, code) = said(&["log", "repair"], &topic);
    assert_eq!((code, err.contains("--keep-acked")), (2, true), "{err}");
    let (out, err, code) = said(&["log", "repair", "--keep-acked"], data.path());
    assert_eq!((code, out.contains("written anew with 19 appends")), (0, true), "{out}{err}");
    let (out, _, code) = said(&["log", "verify", "-o", "json"], &topic);
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &found[0]["whole"]), (0, &Value::Bool(true)), "{out}");
    assert_eq!(found[0]["segments"][0]["appends"], 19, "{out}");
}

#[test]
fn a_log_that_is_served_is_not_repaired_and_no_log_is_not_found() {
    let (data, topic) = data(5);
    damage(&topic);
    let lock = File::create(data.path().join("lock")).unwrap();
    lock.lock().unwrap();
    for directory in [data.path(), &topic] {
        let (_, err, code) = said(&["log", "repair", "--keep-acked"], directory);
        assert_eq!((code, err.contains("a broker serves this log")), (1, true), "{err}");
    }
    drop(lock);
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(said(&["log", "verify"], empty.path()).2, 3);
}
