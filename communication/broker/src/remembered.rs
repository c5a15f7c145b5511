//! What the partitions of a topic know of their producers, as a file beside the log.
//!
//! A batch that is repeated after a restart must be known however much came behind it, and reading a
//! whole log at each start takes too long. So the producers are written now and then with the offset
//! up to which they are all, and a start reads on from there. The file is never synced: one that a
//! power cut left in pieces, or that was damaged, is found by its checksum, and the log itself is
//! read instead.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use durable_log::Log;
use kafka_wire::batch;
use serde::{Deserialize, Serialize};

use crate::{
    files,
    producers::{Producers, Written},
};

/// The format that this program reads and writes.
const FORMAT: u32 = 1;
/// Bytes of frames that are read at a time.
const READ_BYTES: usize = 1 << 20;
/// Producers of a partition that are written: those who sent last. One that still repeats is among
/// them.
const WRITTEN_MAX: usize = 1_000;

#[derive(Debug, Serialize, Deserialize)]
struct Document {
    format: u32,
    partitions: Vec<Remembered>,
}

/// The producers of one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Remembered {
    /// Every batch before this offset that is remembered at all is here.
    to: u64,
    producers: Vec<Written>,
}

/// Where the producers of a topic are written.
pub(crate) fn path_of(data: &Path, topic: &str) -> PathBuf {
    data.join("producers").join(format!("{topic}.json"))
}

/// What is to be written of a partition whose log ends at `end`. The producers must have been held
/// since before the end was asked for: then nothing before it is judged and not noted.
pub(crate) fn remembered(producers: &Producers, end: u64) -> Remembered {
    let (to, producers) = producers.written(end, WRITTEN_MAX);
    Remembered { to, producers }
}

/// Writes the producers of every partition of a topic.
pub(crate) fn write(path: &Path, partitions: Vec<Remembered>) -> io::Result<()> {
    let content = serde_json::to_vec(&Document { format: FORMAT, partitions })?;
    let mut whole = format!("{:08x}\n", batch::checksum(&content)).into_bytes();
    whole.extend_from_slice(&content);
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let temporary = path.with_extension("new");
    fs::write(&temporary, whole)?;
    fs::rename(&temporary, path)
}

/// Reads what was written; nothing where no file is, or one that is not whole or not of this many
/// partitions.
fn read(path: &Path, partitions: u32) -> Option<Vec<Remembered>> {
    let content = files::read(path)
        .inspect_err(|error| tracing::warn!(path = %path.display(), %error, "not read"))
        .ok()??;
    let known = parse(&content).filter(|it| it.len() == partitions as usize);
    if known.is_none() {
        tracing::warn!(path = %path.display(), "what was known of producers is not whole; the log is read instead");
    }
    known
}

fn parse(content: &[u8]) -> Option<Vec<Remembered>> {
    let (head, body) = content.split_at_checked(9)?;
    let stated = std::str::from_utf8(head).ok()?.strip_suffix('\n')?;
    if u32::from_str_radix(stated, 16).ok()? != batch::checksum(body) {
        return None;
    }
    let document: Document = serde_json::from_slice(body).ok()?;
    (document.format == FORMAT).then_some(document.partitions)
}

/// The producers of each partition of a log: those that were written, and those of the frames behind.
pub(crate) fn restore(log: &Log, path: &Path) -> Vec<Producers> {
    let mut known = read(path, log.partitions()).unwrap_or_default().into_iter();
    let restored = (0..log.partitions()).map(|partition| {
        let known = known.next().unwrap_or_default();
        let range = log.range(partition);
        // A log that lost its end gives those offsets out again.
        let mut producers = Producers::restored(known.producers, range.end);
        read_on(log, partition, known.to.clamp(range.start, range.end), &mut producers);
        producers
    });
    restored.collect()
}

fn read_on(log: &Log, partition: u32, mut offset: u64, producers: &mut Producers) {
    let end = log.range(partition).end;
    while offset < end {
        let Ok(frames) = log.read_past_gaps(partition, offset, READ_BYTES) else { break };
        let Some(last) = frames.last() else { break };
        offset = last.base_offset + u64::from(last.records);
        for frame in &frames {
            if let Ok(head) = batch::check(&frame.body)
                && let Some(producer) = head.producer
            {
                producers.note(producer, head.records, frame.base_offset);
            }
        }
    }
}

#[cfg(test)]
mod tests;
