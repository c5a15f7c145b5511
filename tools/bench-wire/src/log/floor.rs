//! The disk alone: so many messages are written at once to a file that has its space, and synced.
//!
//! No log can acknowledge a message earlier than such a sync ends, nor let more messages share one than
//! wait for it.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use clap::ValueEnum;
use rustix::fs::{FallocateFlags, fallocate};
use tokio::{runtime::Handle, task::JoinSet, time::Instant};

use super::body::{self, Bodies};
use crate::{
    Span, broken, measuring,
    pace::Pace,
    tally::{Tally, Window},
};

/// Bytes of the file; then it begins again.
const FILE_BYTES: u64 = 64 << 20;

/// How the file got its space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Space {
    /// Zeros were written and synced before: a sync is one of data alone.
    Prewritten,
    /// It was reserved: a sync also notes what was written for the first time.
    Reserved,
}

/// Writes and syncs until the window ends; every message counts, with the time of its sync.
pub(crate) async fn run(
    path: PathBuf,
    space: Space,
    messages: usize,
    rate: Option<u64>,
    span: Span,
) -> io::Result<Tally> {
    let file = make(&path, space)?;
    let window = span.window();
    let (mut paces, driving) = measuring::paces(1, rate, u64::MAX, window);
    let pace = paces.pop().ok_or_else(|| broken("no pace"))?;
    let mut running = JoinSet::new();
    running.spawn_blocking(move || {
        let mut tally = Tally::new(window);
        if let Err(reason) = write(file, &path, (space, messages), pace, &mut tally, window) {
            tally.failed(&reason.to_string());
        }
        tally
    });
    measuring::collect(running, driving, window).await
}

fn write(
    mut file: File,
    path: &Path,
    (space, messages): (Space, usize),
    mut pace: Pace,
    tally: &mut Tally,
    window: Window,
) -> io::Result<()> {
    let mut bodies = Bodies::new(Instant::now());
    let mut buffer = Vec::with_capacity(messages * body::BYTES);
    let mut position = 0;
    let runtime = Handle::current();
    while let Some(due) = runtime.block_on(pace.next(window)) {
        if position + (messages * body::BYTES) as u64 > FILE_BYTES {
            position = 0;
            if space == Space::Reserved {
                file = make(path, space)?;
            }
        }
        buffer.clear();
        for _ in 0..messages {
            buffer.extend_from_slice(bodies.next(due));
        }
        file.write_all_at(&buffer, position)?;
        file.sync_data()?;
        position += buffer.len() as u64;
        for _ in 0..messages {
            tally.verified(due);
        }
    }
    Ok(())
}

/// Makes the file. One with zeros is used again: a disk that has just heard of free space is slow.
fn make(path: &Path, space: Space) -> io::Result<File> {
    let is_made = path.metadata().is_ok_and(|it| it.len() == FILE_BYTES);
    if space == Space::Prewritten && is_made {
        return OpenOptions::new().write(true).open(path);
    }
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    match space {
        Space::Prewritten => {
            let zeros = vec![0; 1 << 20];
            for _ in 0..FILE_BYTES >> 20 {
                file.write_all(&zeros)?;
            }
        }
        Space::Reserved => fallocate(&file, FallocateFlags::empty(), 0, FILE_BYTES)?,
    }
    file.sync_all()?;
    Ok(file)
}
