//! Makes the files of a log whole that nobody serves: what is whole stays, what is not is put beside.

use std::{io, path::Path};

use base::Timestamp;

use crate::{
    disk::{Disk, RealDisk},
    error::OpenError,
    frame::{self, Format},
    header::SegmentHeader,
    scan::Scanned,
    segment::{aside_name, set_aside},
    verify::{File, HeaderReport, following, read},
};

/// What became of a segment that was not whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repaired {
    /// Name of the segment.
    pub name: String,
    /// Appends that it holds now; none when it was put away whole.
    pub kept: Option<usize>,
    /// Where the file as it was is kept, beside it.
    pub copy: String,
}

/// Writes every segment anew that is damaged, without what is not whole, and keeps a copy of each
/// as it was. No offset is given out again: what was lost stays lost, with its offsets. A segment
/// of which nothing can be told is renamed.
///
/// # Errors
/// A file cannot be read or written; what was repaired before stays so, and the call can be repeated.
pub fn repair(directory: &Path) -> Result<Vec<Repaired>, OpenError> {
    repair_on(&RealDisk(directory.to_owned()))
}

pub(crate) fn repair_on(disk: &dyn Disk) -> Result<Vec<Repaired>, OpenError> {
    let (files, others) = read(disk)?;
    let mut repaired = Vec::new();
    for (at, file) in files.iter().enumerate() {
        let (name, bounds) = (file.name(), following(&files, at));
        let io = |source: io::Error| OpenError::Io { path: disk.place(&name), source };
        if file.state == HeaderReport::Unknown {
            let copy = free_name(&others, format!("{name}.damaged"));
            disk.rename(&name, &copy).and_then(|()| disk.sync_names()).map_err(io)?;
            repaired.push(Repaired { name, kept: None, copy });
            continue;
        }
        let (Some(header), Some(scanned)) = (&file.header, file.scan(bounds)) else { continue };
        let is_whole = file.state != HeaderReport::Rebuilt && scanned.damage.is_empty();
        if is_whole && !scanned.torn {
            continue;
        }
        let copy = free_name(&others, aside_name(&name, 0));
        set_aside(disk, &copy, &file.bytes).map_err(io)?;
        let content = rewrite(file, header, &scanned, bounds.unwrap_or(&scanned.next));
        replace(disk, &name, &content, file.bytes.len()).map_err(io)?;
        repaired.push(Repaired { name, kept: Some(scanned.frames), copy });
    }
    Ok(repaired)
}

/// A name that no other copy has.
fn free_name(others: &[String], wanted: String) -> String {
    let numbered = (2..).map(|it| format!("{wanted}.{it}"));
    let mut names = std::iter::once(wanted.clone()).chain(numbered);
    names.find(|it| !others.contains(it)).unwrap_or(wanted)
}

/// The segment with its whole frames alone, each a group of its own, between two checkpoints.
fn rewrite(file: &File, header: &SegmentHeader, scanned: &Scanned, ends: &[u64]) -> Vec<u8> {
    let header = SegmentHeader { format: Format::NEWEST, ..header.clone() };
    let mut content = header.write();
    let checkpoint = |content: &mut Vec<u8>, time: Timestamp, next: &[u64]| {
        let group = content.len() as u64;
        frame::write_checkpoint(content, header.nonce, group, time, next);
    };
    checkpoint(&mut content, header.created_at, &header.first_offsets);
    for entry in scanned.index.in_file_order() {
        let at = usize::try_from(entry.position).unwrap_or(usize::MAX);
        let rest = file.bytes.get(at..).unwrap_or_default();
        let format = file.header.as_ref().map_or(Format::NEWEST, |it| it.format);
        // It was read a moment ago.
        if let Some((head, body)) = frame::read(rest, header.nonce, format) {
            let head = frame::FrameHead { group: content.len() as u64, ..head };
            frame::write(&mut content, header.nonce, &head, body);
        }
    }
    checkpoint(&mut content, header.created_at, ends);
    content
}

/// Puts a file of at least `bytes` in the place of another.
fn replace(disk: &dyn Disk, name: &str, content: &[u8], bytes: usize) -> io::Result<()> {
    let temporary = format!("{name}.new");
    let file = disk.create(&temporary, bytes.max(content.len()) as u64)?;
    file.write_at(content, 0)?;
    file.sync()?;
    disk.rename(&temporary, name)?;
    disk.sync_names()
}

#[cfg(test)]
mod tests;
