//! `log verify` and `log repair`: what the files of a log hold, and how damaged ones are made whole.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions, TryLockError},
    ops::Range,
    path::{Path, PathBuf},
};

use durable_log::{HeaderReport, OpenError, Repaired, Report, SegmentReport, repair, verify};
use serde_json::{Value, json};

use crate::{Exit, Failure, Format, Output, failure::chain};

/// A broker holds a file of this name locked: beside the logs of its topics, or above.
const LOCK: &str = "lock";
/// How far above a log the lock may be.
const LOCK_LEVELS: usize = 3;

/// Says what the files of logs hold.
///
/// # Errors
/// There is no log, or a file cannot be read.
pub(super) fn verify_all(directory: &Path, output: Output) -> Result<Exit, Failure> {
    let mut reports = Vec::new();
    for log in logs(directory)? {
        let report = verify(&log).map_err(|it| unusable(&log, &it))?;
        reports.push((log, report));
    }
    match output.format {
        Format::Json => output.document(&reports.iter().map(document).collect::<Value>()),
        Format::Table | Format::Wide => output.text(&reports.iter().map(text).collect::<String>()),
    }
    let damaged = reports.iter().filter(|it| !it.1.is_whole()).count();
    let segments: usize = reports.iter().map(|it| it.1.segments.len()).sum();
    let counted = format!("{} logs, {segments} segments", reports.len());
    if damaged == 0 {
        output.remark(&format!("{counted}: everything that was acknowledged is whole"));
        return Ok(Exit::Done);
    }
    output.remark(&format!("{counted}: {damaged} damaged; `log repair DIR --keep-acked` mends"));
    Ok(Exit::Findings)
}

/// Writes damaged segments anew.
///
/// # Errors
/// There is no log, it is being served, or a file cannot be written.
pub(super) fn repair_all(
    directory: &Path,
    keep_acked: bool,
    output: Output,
) -> Result<Exit, Failure> {
    if !keep_acked {
        let what = "a repair must be told what to keep";
        let next = "--keep-acked keeps every whole record and a copy of what is not";
        return Err(Failure::new("bad_argument", what).exit(Exit::Usage).next(next));
    }
    let logs = logs(directory)?;
    // Held until the end.
    let _locks = lock(directory)?;
    let mut repaired = Vec::new();
    for log in logs {
        let done = repair(&log).map_err(|it| unusable(&log, &it))?;
        repaired.extend(done.into_iter().map(|it| (log.clone(), it)));
    }
    let document = |(log, it): &(PathBuf, Repaired)| {
        json!({
            "log": log, "segment": it.name, "kept": it.kept, "copy": it.copy,
        })
    };
    let line = |(log, it): &(PathBuf, Repaired)| {
        let became = match it.kept {
            Some(kept) => format!("written anew with {kept} appends"),
            None => "put away: nobody can tell what is in it".to_owned(),
        };
        format!("{}: {became}; as it was: {}\n", log.join(&it.name).display(), it.copy)
    };
    match output.format {
        Format::Json => output.document(&repaired.iter().map(document).collect::<Value>()),
        Format::Table | Format::Wide => output.text(&repaired.iter().map(line).collect::<String>()),
    }
    output.remark(&format!("{} segments repaired", repaired.len()));
    Ok(Exit::Done)
}

/// The directory itself when it is a log, else every log of the broker whose data it is.
fn logs(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let candidates = [directory.to_owned(), directory.join("commits")];
    let mut logs: Vec<PathBuf> = candidates.into_iter().filter(|it| is_log(it)).collect();
    if let Ok(entries) = fs::read_dir(directory.join("topics")) {
        logs.extend(entries.flatten().map(|it| it.path()).filter(|it| is_log(it)));
    }
    logs.sort();
    if logs.is_empty() {
        let failure = Failure::new("no_log", "no segment of a log is there");
        let next = "the directory of a topic, or the data directory of a broker";
        return Err(failure.at(directory.display()).exit(Exit::NotFound).next(next));
    }
    Ok(logs)
}

fn is_log(directory: &Path) -> bool {
    let is_segment = |it: &OsStr| it.to_str().is_some_and(|it| it.starts_with("segment-"));
    fs::read_dir(directory).is_ok_and(|it| it.flatten().any(|entry| is_segment(&entry.file_name())))
}

/// Makes sure that no broker serves the log.
fn lock(directory: &Path) -> Result<Vec<File>, Failure> {
    let absolute = fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
    let mut held = Vec::new();
    for path in absolute.ancestors().take(LOCK_LEVELS).map(|it| it.join(LOCK)) {
        let Ok(file) = OpenOptions::new().write(true).open(&path) else { continue };
        match file.try_lock() {
            Ok(()) => held.push(file),
            Err(TryLockError::WouldBlock) => {
                let failure = Failure::new("in_use", "a broker serves this log");
                return Err(failure.at(path.display()).next("stop it first"));
            }
            Err(TryLockError::Error(error)) => {
                let failure = Failure::new("no_lock", "the lock cannot be taken");
                return Err(failure.at(path.display()).because(error));
            }
        }
    }
    Ok(held)
}

fn unusable(log: &Path, error: &OpenError) -> Failure {
    Failure::new("bad_log", "the log cannot be used").at(log.display()).because(chain(error))
}

fn document((log, report): &(PathBuf, Report)) -> Value {
    let ranges =
        |it: &[Range<u64>]| it.iter().map(|it| json!([it.start, it.end])).collect::<Value>();
    let lost = |(partition, it): &(u32, Range<u64>)| json!({"partition": partition, "from": it.start, "to": it.end});
    let segment = |it: &SegmentReport| {
        json!({
            "segment": it.name, "header": header(it.header), "appends": it.frames,
            "damage": ranges(&it.damage), "lost": it.lost.iter().map(lost).collect::<Value>(),
            "torn_at": it.torn_at, "missing_before": it.missing_before, "whole": it.is_whole(),
        })
    };
    json!({
        "log": log, "whole": report.is_whole(), "others": report.others,
        "segments": report.segments.iter().map(segment).collect::<Value>(),
    })
}

fn header(header: HeaderReport) -> &'static str {
    match header {
        HeaderReport::Whole(_) => "whole",
        HeaderReport::Rebuilt => "damaged",
        HeaderReport::Unused => "unused",
        HeaderReport::Unknown => "unknown",
    }
}

/// A line for each thing that there is to say about a log; what is whole has one alone.
fn text((log, report): &(PathBuf, Report)) -> String {
    let appends: usize = report.segments.iter().map(|it| it.frames).sum();
    let count = report.segments.len();
    let mut text = format!("{}: {count} segments, {appends} appends\n", log.display());
    for segment in &report.segments {
        let mut say = |what: String| text.push_str(&format!("  {}: {what}\n", segment.name));
        if segment.missing_before > 0 {
            say(format!("{} segments before it are missing", segment.missing_before));
        }
        match segment.header {
            HeaderReport::Whole(_) | HeaderReport::Unused => {}
            HeaderReport::Rebuilt => say("its header is damaged".to_owned()),
            HeaderReport::Unknown => say("nobody can tell what is in it".to_owned()),
        }
        for Range { start, end } in &segment.damage {
            say(format!("bytes {start} to {end} are damaged"));
        }
        for (partition, Range { start, end }) in &segment.lost {
            say(format!("partition {partition} has lost offsets {start} to {end}"));
        }
        if let Some(at) = segment.torn_at {
            say(format!("an append was cut off at byte {at}"));
        }
    }
    text
}
