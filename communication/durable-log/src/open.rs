//! Opens a directory: which segments there are, what the last one holds, what is repaired.

use std::{collections::VecDeque, io, ops::Range, sync::Arc};

use base::Timestamp;

use crate::{
    config::LogConfig,
    disk::{Disk, DiskFile},
    error::{OpenError, is_full},
    frame::{self, BODY_BYTES_MAX, Format},
    header::{HEADER_BYTES, HeaderError, PARTITIONS_MAX, SegmentHeader},
    index::Index,
    rebuild::{Rebuilt, rebuild},
    retention::SPARE,
    scan,
    segment::{
        Segment, aside_name, new_header, number_of, read_what_is_readable, read_whole,
        segment_name, set_aside, take_file, write_header,
    },
    view::{Active, Segments},
};

/// What opening a log found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovery {
    /// Segments that are kept.
    pub segments: usize,
    /// Frames of the last segment, the only one that was read.
    pub frames: usize,
    /// Where in the last segment an append was cut off. A copy of what stood there is kept beside
    /// the segment.
    pub torn_at: Option<u64>,
    /// Bytes of the last segment that are damaged: acknowledged records are lost.
    pub damage: Vec<Range<u64>>,
    /// Partitions that ended before their floor, with the offsets that are lost.
    pub raised: Vec<(u32, Range<u64>)>,
}

/// A log being opened.
pub(crate) struct Opening<'a> {
    pub(crate) disk: &'a dyn Disk,
    pub(crate) config: &'a LogConfig,
    pub(crate) now: Timestamp,
}

pub(crate) struct Opened {
    pub(crate) segments: Segments,
    /// Where the next frame goes; none when another segment must be begun.
    pub(crate) position: Option<u64>,
    pub(crate) spare: Option<String>,
    pub(crate) recovery: Recovery,
}

/// A segment's header, whether it was read or made from what follows it.
struct Found {
    header: SegmentHeader,
    is_rebuilt: bool,
}

pub(crate) fn check(config: &LogConfig) -> Result<(), OpenError> {
    if config.partitions == 0 || config.partitions > PARTITIONS_MAX {
        return Err(OpenError::Settings("a log has 1 to 500 partitions"));
    }
    if config.segment_bytes < 64 << 10 || config.segment_bytes > 1 << 30 {
        return Err(OpenError::Settings("a segment has 64 KiB to 1 GiB"));
    }
    if config.appends_max == 0 {
        return Err(OpenError::Settings("at least one append must be able to wait"));
    }
    Ok(())
}

impl Opening<'_> {
    pub(crate) fn run(&self) -> Result<Opened, OpenError> {
        check(self.config)?;
        // An earlier process may have failed to make durable what it named.
        let names = self.disk.sync_names().and_then(|()| self.disk.list());
        let names = names.map_err(|it| self.io("", it))?;
        let mut numbers: Vec<u64> = names.iter().filter_map(|it| number_of(it)).collect();
        numbers.sort_unstable();
        let mut found: Vec<Found> = Vec::new();
        for (at, number) in numbers.iter().enumerate() {
            let is_last = at + 1 == numbers.len();
            let before = found.last().map(|it| &it.header);
            if before.is_some_and(|it| it.number + 1 != *number) {
                let path = self.disk.place(&segment_name(*number));
                tracing::error!(path = %path.display(), "segments before this one are missing");
            }
            found.extend(self.segment(*number, is_last, before)?);
        }
        let spare = self.spare(&names).map_err(|it| self.io(SPARE, it))?;
        let mut opened = match found.pop() {
            None => self.first(spare)?,
            Some(last) => self.resume(found, last, spare)?,
        };
        self.raise(&mut opened);
        Ok(opened)
    }

    fn io(&self, name: &str, source: io::Error) -> OpenError {
        OpenError::Io { path: self.disk.place(name), source }
    }

    /// A spare of another size goes.
    fn spare(&self, names: &[String]) -> io::Result<Option<String>> {
        if !names.iter().any(|it| it == SPARE) {
            return Ok(None);
        }
        if self.disk.open(SPARE)?.bytes()? == self.config.segment_bytes {
            return Ok(Some(SPARE.to_owned()));
        }
        self.disk.remove(SPARE)?;
        Ok(None)
    }

    /// Reads a segment's header; `None` for a file in which nothing was acknowledged.
    fn segment(
        &self,
        number: u64,
        is_last: bool,
        before: Option<&SegmentHeader>,
    ) -> Result<Option<Found>, OpenError> {
        let name = segment_name(number);
        let io = |it| self.io(&name, it);
        let file = self.disk.open(&name).map_err(io)?;
        let mut block = vec![0; HEADER_BYTES];
        let read = file.read_at(&mut block, 0).map_err(io)?;
        let found = match SegmentHeader::read(&block[..read]) {
            Ok(header) if header.number == number => Found { header, is_rebuilt: false },
            Err(HeaderError::Format(found)) => {
                let (path, known) = (self.disk.place(&name), Format::NEWEST.number());
                return Err(OpenError::Format { path, found, known });
            }
            // Renamed from or to another place when the power went: neither the name that it should
            // have nor what was acknowledged under this one is lost.
            Ok(_) => return self.drop_unused(&name).map(|()| None),
            Err(HeaderError::Torn) => {
                let bytes = read_what_is_readable(&*file).map_err(io)?;
                let path = self.disk.place(&name);
                match rebuild(number, &bytes, before) {
                    Rebuilt::Header(header) => {
                        tracing::error!(path = %path.display(), "the header of a segment is damaged; it was made again");
                        Found { header, is_rebuilt: true }
                    }
                    Rebuilt::Unknown if is_last => {
                        let reason = "its header is not whole, and nobody can tell what it holds; \
                                      `skein log repair` puts it away";
                        return Err(OpenError::Damaged { path, reason });
                    }
                    Rebuilt::Unused if is_last => return self.drop_unused(&name).map(|()| None),
                    Rebuilt::Unused | Rebuilt::Unknown => {
                        return self.put_away(&name).map(|()| None);
                    }
                }
            }
        };
        let partitions = u32::try_from(found.header.first_offsets.len()).unwrap_or(u32::MAX);
        if partitions != self.config.partitions {
            let wanted = self.config.partitions;
            return Err(OpenError::Partitions { found: partitions, wanted });
        }
        Ok(Some(found))
    }

    /// A file that was being begun, or used again, when the power went.
    fn drop_unused(&self, name: &str) -> Result<(), OpenError> {
        tracing::info!(path = %self.disk.place(name).display(), "a segment that was not begun is removed");
        self.disk.remove(name).and_then(|()| self.disk.sync_names()).map_err(|it| self.io(name, it))
    }

    /// A segment between others of which nothing can be told: kept for a person, under another name.
    fn put_away(&self, name: &str) -> Result<(), OpenError> {
        let path = self.disk.place(name);
        tracing::error!(path = %path.display(), "a segment cannot be read and is put away");
        let aside = format!("{name}.damaged");
        self.disk
            .rename(name, &aside)
            .and_then(|()| self.disk.sync_names())
            .map_err(|it| self.io(name, it))
    }

    fn first(&self, spare: Option<String>) -> Result<Opened, OpenError> {
        let next = vec![0; self.config.partitions as usize];
        let header = new_header(1, next.clone(), self.now);
        if let Some(spare) = spare {
            // It may hold what nobody can tell from a first segment without a header.
            self.disk.remove(&spare).map_err(|it| self.io(&spare, it))?;
        }
        let (name, file) = take_file(self.disk, 1, self.config.segment_bytes, None)
            .map_err(|it| self.io("", it))?;
        write_header(self.disk, &*file, &header).map_err(|it| self.io(&name, it))?;
        let index = Index::new(next.len());
        let active = Active { header, name, file, index };
        Ok(Opened {
            segments: Segments { sealed: VecDeque::new(), active, next },
            position: Some(HEADER_BYTES as u64),
            spare: None,
            recovery: Recovery { segments: 1, ..Recovery::default() },
        })
    }

    fn resume(
        &self,
        sealed: Vec<Found>,
        last: Found,
        spare: Option<String>,
    ) -> Result<Opened, OpenError> {
        let Found { header, is_rebuilt } = last;
        let name = segment_name(header.number);
        let io = |it| self.io(&name, it);
        let file = self.disk.open(&name).map_err(io)?;
        let mut bytes = read_whole(&*file).map_err(io)?;
        let mut goes_on = header.format == Format::NEWEST;
        if is_rebuilt && self.copied(&name, 0, &bytes).map_err(io)? {
            bytes[..HEADER_BYTES].copy_from_slice(&header.write());
        } else {
            goes_on &= !is_rebuilt;
        }
        let scanned = scan::scan_last(&bytes, &header);
        goes_on &= self.settle(&name, &*file, &bytes, &scanned).map_err(io)?;
        let mut position = Some(scanned.end).filter(|_| goes_on);
        if goes_on && !scanned.damage.is_empty() {
            position = self.confirm(&*file, &header, &scanned).map_err(io)?;
        }
        let recovery = Recovery {
            segments: sealed.len() + 1,
            frames: scanned.frames,
            torn_at: scanned.torn.then_some(scanned.end),
            damage: scanned.damage,
            raised: Vec::new(),
        };
        self.tell(&name, &recovery);
        let sealed = sealed.into_iter().map(|it| {
            let name = segment_name(it.header.number);
            Arc::new(Segment::new(it.header, name, None))
        });
        let active = Active { header, name: name.clone(), file, index: scanned.index };
        let segments = Segments { sealed: sealed.collect(), active, next: scanned.next };
        Ok(Opened { segments, position, spare, recovery })
    }

    fn tell(&self, name: &str, recovery: &Recovery) {
        let path = self.disk.place(name);
        if let Some(at) = recovery.torn_at {
            tracing::warn!(path = %path.display(), at, "an append was cut off; what stood there is kept aside");
        }
        if !recovery.damage.is_empty() {
            tracing::error!(path = %path.display(), bytes = ?recovery.damage, "the last segment is damaged; what is whole is served");
        }
    }

    /// Makes durable what is served from now on, and overwrites what a write that was cut off may
    /// have left behind it: a later frame must not be followed by one of an earlier try.
    ///
    /// The bytes are written again: after a failed sync of an earlier process they are in the page
    /// cache, marked clean, and on no disk, so that a sync alone would do nothing.
    fn settle(
        &self,
        name: &str,
        file: &dyn DiskFile,
        bytes: &[u8],
        scanned: &scan::Scanned,
    ) -> io::Result<bool> {
        let from = usize::try_from(scanned.end).map_err(io::Error::other)?.min(bytes.len());
        // One group is all that can have been under way.
        let group = BODY_BYTES_MAX + frame::checkpoint_bytes(PARTITIONS_MAX as usize) + 64;
        let tail = &bytes[from..(from + group).min(bytes.len())];
        let used = tail.iter().rposition(|it| *it != 0).map_or(0, |it| it + 1);
        let goes_on = !scanned.torn || self.copied(name, scanned.end, &tail[..used])?;
        file.write_at(&bytes[..from], 0)?;
        if goes_on && used > 0 {
            file.write_at(&vec![0; used], scanned.end)?;
        }
        file.sync()?;
        Ok(goes_on)
    }

    /// Keeps a copy of what is to be overwritten. Not when the disk is full: then it stays where it
    /// is, and the log goes on in another segment once there is room.
    fn copied(&self, name: &str, position: u64, bytes: &[u8]) -> io::Result<bool> {
        match set_aside(self.disk, &aside_name(name, position), bytes) {
            Ok(()) => Ok(true),
            Err(error) if is_full(&error) => {
                tracing::warn!(path = %self.disk.place(name).display(), "no room for a copy; nothing is overwritten");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Says behind damage that it is no write that was cut off, for the next start. Gives where the
    /// next frame goes.
    fn confirm(
        &self,
        file: &dyn DiskFile,
        header: &SegmentHeader,
        scanned: &scan::Scanned,
    ) -> io::Result<Option<u64>> {
        let mut buffer = Vec::new();
        frame::write_checkpoint(&mut buffer, header.nonce, scanned.end, self.now, &scanned.next);
        let end = scanned.end + buffer.len() as u64;
        if header.format != Format::NEWEST || end > self.config.segment_bytes {
            return Ok(None);
        }
        file.write_at(&buffer, scanned.end)?;
        file.sync()?;
        Ok(Some(end))
    }

    /// Goes on past offsets that somebody knows of and this log does not.
    fn raise(&self, opened: &mut Opened) {
        for (partition, floor) in &self.config.floors {
            let Some(next) = opened.segments.next.get_mut(*partition as usize) else { continue };
            if *next < *floor {
                opened.recovery.raised.push((*partition, *next..*floor));
                *next = *floor;
            }
        }
    }
}
