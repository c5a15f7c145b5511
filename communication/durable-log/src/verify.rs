//! Looks at the files of a log that nobody serves.

use std::{io, ops::Range, path::Path};

use crate::{
    disk::{Disk, RealDisk},
    error::OpenError,
    frame::Format,
    header::{HEADER_BYTES, HeaderError, SegmentHeader},
    rebuild::{Rebuilt, rebuild},
    scan::{self, Scanned},
    segment::{number_of, read_what_is_readable, segment_name},
};

/// What the files of a log hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Oldest first.
    pub segments: Vec<SegmentReport>,
    /// Other files, such as copies of what was damaged.
    pub others: Vec<String>,
}

/// What one segment holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentReport {
    /// Name of the file.
    pub name: String,
    /// What its header says, or what stands behind it.
    pub header: HeaderReport,
    /// Whole appends.
    pub frames: usize,
    /// Bytes that hold no whole append, where one was acknowledged.
    pub damage: Vec<Range<u64>>,
    /// Offsets of a partition that were given out and are not there.
    pub lost: Vec<(u32, Range<u64>)>,
    /// Where an append was cut off: after the loss of power, that is in order.
    pub torn_at: Option<u64>,
    /// Segments that are missing before it.
    pub missing_before: u64,
}

/// How a segment's header is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderReport {
    /// Whole, of that format.
    Whole(u32),
    /// Damaged; the segment can be read all the same.
    Rebuilt,
    /// Nothing was acknowledged in the file.
    Unused,
    /// Damaged, and nobody can tell what is in the segment.
    Unknown,
}

impl SegmentReport {
    /// Whether nothing of it is damaged. Offsets that were lost before it was repaired stay lost.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        let header = matches!(self.header, HeaderReport::Whole(_) | HeaderReport::Unused);
        header && self.damage.is_empty() && self.missing_before == 0
    }
}

impl Report {
    /// Whether nothing is damaged and no segment is missing.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.segments.iter().all(SegmentReport::is_whole)
    }
}

/// Reads every file of a log. It changes nothing, and it is meant for a log that nobody writes.
///
/// # Errors
/// A file cannot be read, or has a format that this program does not know.
pub fn verify(directory: &Path) -> Result<Report, OpenError> {
    verify_on(&RealDisk(directory.to_owned()))
}

pub(crate) fn verify_on(disk: &dyn Disk) -> Result<Report, OpenError> {
    let (files, others) = read(disk)?;
    let segments = (0..files.len()).map(|at| files[at].report(following(&files, at)));
    Ok(Report { segments: segments.collect(), others })
}

/// The first offsets of the next segment that says them.
pub(crate) fn following(files: &[File], at: usize) -> Option<&[u64]> {
    let headers = files[at + 1..].iter().find_map(|it| it.header.as_ref());
    headers.map(|it| &it.first_offsets[..])
}

/// One segment file as it was read.
pub(crate) struct File {
    pub(crate) number: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) header: Option<SegmentHeader>,
    pub(crate) state: HeaderReport,
    missing_before: u64,
}

/// Reads the segments, oldest first, and names the other files.
pub(crate) fn read(disk: &dyn Disk) -> Result<(Vec<File>, Vec<String>), OpenError> {
    let io = |name: &str, source: io::Error| OpenError::Io { path: disk.place(name), source };
    let names = disk.list().map_err(|it| io("", it))?;
    let (segments, mut others): (Vec<_>, Vec<_>) =
        names.into_iter().partition(|it| number_of(it).is_some());
    let mut numbers: Vec<u64> = segments.iter().filter_map(|it| number_of(it)).collect();
    numbers.sort_unstable();
    others.sort_unstable();
    let mut files: Vec<File> = Vec::new();
    for number in numbers {
        let name = segment_name(number);
        let bytes = disk.open(&name).and_then(|it| read_what_is_readable(&*it));
        let bytes = bytes.map_err(|it| io(&name, it))?;
        let before = files.iter().rev().find_map(|it| it.header.as_ref());
        let (header, state) = match SegmentHeader::read(&bytes) {
            Ok(header) if header.number == number => {
                let format = header.format.number();
                (Some(header), HeaderReport::Whole(format))
            }
            Ok(_) => (None, HeaderReport::Unused),
            Err(HeaderError::Format(found)) => {
                let (path, known) = (disk.place(&name), Format::NEWEST.number());
                return Err(OpenError::Format { path, found, known });
            }
            Err(HeaderError::Torn) => match rebuild(number, &bytes, before) {
                Rebuilt::Header(header) => (Some(header), HeaderReport::Rebuilt),
                Rebuilt::Unused => (None, HeaderReport::Unused),
                Rebuilt::Unknown => (None, HeaderReport::Unknown),
            },
        };
        let missing_before = files.last().map_or(0, |it| number - it.number - 1);
        files.push(File { number, bytes, header, state, missing_before });
    }
    Ok((files, others))
}

impl File {
    pub(crate) fn name(&self) -> String {
        segment_name(self.number)
    }

    /// What it holds; none when that cannot be told.
    pub(crate) fn scan(&self, bounds: Option<&[u64]>) -> Option<Scanned> {
        let header = self.header.as_ref()?;
        Some(match bounds {
            Some(bounds) => scan::scan_sealed(&self.bytes, header, bounds),
            None => scan::scan_last(&self.bytes, header),
        })
    }

    fn report(&self, bounds: Option<&[u64]>) -> SegmentReport {
        let mut report = SegmentReport {
            name: self.name(),
            header: self.state,
            frames: 0,
            damage: Vec::new(),
            lost: Vec::new(),
            torn_at: None,
            missing_before: self.missing_before,
        };
        if let (Some(header), Some(scanned)) = (&self.header, self.scan(bounds)) {
            let ends = bounds.unwrap_or(&scanned.next);
            report.lost = scanned.index.gaps(&header.first_offsets, ends);
            report.frames = scanned.frames;
            report.torn_at = scanned.torn.then_some(scanned.end);
            report.damage = scanned.damage;
        } else if self.state == HeaderReport::Unknown {
            report.damage.push(HEADER_BYTES as u64..self.bytes.len() as u64);
        }
        report
    }
}
