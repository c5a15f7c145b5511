//! What a machine has to give before a system is started on it: room on the disk, a disk that keeps what
//! it is told to keep, a clock, descriptors, ports.
//!
//! Nothing is changed but for one file, which is written, synced and removed.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use base::Timestamp;
use tokio::time::Instant;

use crate::{
    check::{Category, Check, Verdict},
    supervise::ports,
};

/// Less room than this does not outlast an hour of load; with less than the second, look after it.
const FREE_BYTES_MIN: u64 = 100 << 20;
const FREE_BYTES_FEW: u64 = 2 << 30;
/// Every acceptance waits for a sync: beyond this, people notice.
const SYNC_SLOW: Duration = Duration::from_millis(100);
/// Written and synced for a try: a page.
const TRIAL_BYTES: usize = 4 << 10;
/// So far may two clocks differ before identities of the one are none to the other.
const SKEW_MAX: Duration = Duration::from_secs(60);
/// With fewer descriptors a process cannot have its files and a few connections; with fewer than the
/// second, a load of some thousand connections is refused.
const DESCRIPTORS_MIN: u64 = 256;
const DESCRIPTORS_FEW: u64 = 4_096;

/// Looks at this machine, at the folder below which a system keeps its data, and at the ports that it is
/// going to have.
#[must_use]
pub fn machine(data: &Path, now: Timestamp, ports: Option<Check>) -> Category {
    let folder = existing(data);
    let limit = runtime::raise_descriptor_limit();
    let mut checks = vec![
        space(&folder),
        synced(&folder),
        Check {
            description: "the clock agrees with the files that are there".to_owned(),
            verdict: clock(newest(&folder), now),
            hint: "set the clock; identities and times that people see hang on it",
        },
        Check {
            description: "a process may have enough files and connections open".to_owned(),
            verdict: limit.map_or_else(|it| Verdict::Warning(it.to_string()), descriptors),
            hint: "raise `ulimit -Hn`, or LimitNOFILE of the unit that starts it",
        },
    ];
    checks.extend(ports);
    Category { name: "this machine", checks }
}

/// Whether nobody has these ports, each with who is going to listen there.
#[must_use]
pub fn ports_are_free(wanted: &[(String, u16)]) -> Check {
    let taken = wanted.iter().filter(|(_, port)| !ports::is_free(*port));
    let taken =
        taken.map(|(name, port)| format!("{port} of {name} is taken {}", ports::holder(*port)));
    let taken: Vec<String> = taken.collect();
    Check::none_of(
        "every port is free",
        &taken,
        "end that process, or choose other ports with --port-base",
    )
}

/// The folder itself, or the nearest above it that is there: there it will be made.
fn existing(folder: &Path) -> PathBuf {
    let found = folder.ancestors().find(|it| it.is_dir());
    found.unwrap_or_else(|| Path::new("/")).to_owned()
}

fn space(folder: &Path) -> Check {
    let verdict = match rustix::fs::statvfs(folder) {
        Ok(found) => room(found.f_bavail.saturating_mul(found.f_frsize)),
        Err(error) => Verdict::Error(io::Error::from(error).to_string()),
    };
    Check {
        description: format!("there is room below {}", folder.display()),
        verdict,
        hint: "make room, or choose another directory with --data",
    }
}

fn room(free: u64) -> Verdict {
    let left = || format!("{} MiB are left", free >> 20);
    match free {
        ..FREE_BYTES_MIN => Verdict::Error(left()),
        FREE_BYTES_MIN..FREE_BYTES_FEW => Verdict::Warning(left()),
        FREE_BYTES_FEW.. => Verdict::Success,
    }
}

fn synced(folder: &Path) -> Check {
    let began = Instant::now();
    let verdict = match try_to_sync(folder) {
        Ok(()) if began.elapsed() > SYNC_SLOW => {
            Verdict::Warning(format!("it took {} ms", began.elapsed().as_millis()))
        }
        Ok(()) => Verdict::Success,
        Err(error) => Verdict::Error(error.to_string()),
    };
    Check {
        description: format!("what is synced below {} is on the disk", folder.display()),
        verdict,
        hint: "nothing is accepted before it is synced: choose a local disk that can, with --data",
    }
}

/// As a log does it: the file, and the folder after it was made and after it was removed.
fn try_to_sync(folder: &Path) -> io::Result<()> {
    let path = folder.join(format!(".check-{}", std::process::id()));
    let written = || {
        let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        file.write_all(&[0; TRIAL_BYTES])?;
        file.sync_all()?;
        File::open(folder)?.sync_all()
    };
    let written = written();
    // Removed also where it could not be synced; that it never was is what is told then.
    let removed = fs::remove_file(&path);
    written.and(removed)?;
    File::open(folder)?.sync_all()
}

/// The newest of the files in a folder, and when it was written; none where there is none.
fn newest(folder: &Path) -> Option<(String, Timestamp)> {
    let entries = fs::read_dir(folder).ok()?.flatten();
    let written = entries.filter_map(|it| {
        let millis = it.metadata().ok()?.mtime().checked_mul(1_000)?;
        Some((it.file_name().to_string_lossy().into_owned(), Timestamp::from_millis(millis)))
    });
    written.max_by_key(|it| it.1)
}

fn clock(newest: Option<(String, Timestamp)>, now: Timestamp) -> Verdict {
    match newest.map(|(name, written)| (name, written.saturating_since(now))) {
        Some((name, ahead)) if ahead > SKEW_MAX => {
            let seconds = ahead.as_secs();
            Verdict::Error(format!("{name} was written {seconds} s from now, by this clock"))
        }
        Some(_) | None => Verdict::Success,
    }
}

/// `None` is no limit.
fn descriptors(limit: Option<u64>) -> Verdict {
    let few = |it: u64| format!("{it} at the most");
    match limit {
        Some(it @ ..DESCRIPTORS_MIN) => Verdict::Error(few(it)),
        Some(it @ DESCRIPTORS_MIN..DESCRIPTORS_FEW) => Verdict::Warning(few(it)),
        Some(DESCRIPTORS_FEW..) | None => Verdict::Success,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[track_caller]
    fn check(verdict: &Verdict, expected: &str) {
        let word = match verdict {
            Verdict::Success => "success",
            Verdict::Warning(_) => "warning",
            Verdict::Error(_) => "error",
        };
        assert_eq!(word, expected, "{verdict:?}");
    }

    #[test]
    fn little_room_is_warned_of_and_none_is_an_error() {
        check(&room(FREE_BYTES_FEW), "success");
        check(&room(FREE_BYTES_FEW - 1), "warning");
        check(&room(FREE_BYTES_MIN - 1), "error");
        check(&descriptors(None), "success");
        check(&descriptors(Some(1_024)), "warning");
        check(&descriptors(Some(64)), "error");
    }

    #[test]
    fn a_clock_that_is_behind_what_was_written_by_it_is_wrong() {
        let now = Timestamp::from_millis(1_000_000);
        let written = |millis| Some(("settings.json".to_owned(), Timestamp::from_millis(millis)));
        check(&clock(None, now), "success");
        check(&clock(written(1_000), now), "success");
        check(&clock(written(1_060_000), now), "success");
        check(&clock(written(1_061_001), now), "error");
    }

    #[test]
    fn a_disk_that_does_not_sync_and_one_that_is_not_there_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        check(&synced(folder.path()).verdict, "success");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left");
        // Files cannot be made there, whoever one is.
        check(&synced(Path::new("/proc/self")).verdict, "error");
        let further = folder.path().join("a/b");
        assert_eq!(existing(&further), folder.path());
    }

    #[test]
    fn a_port_that_another_process_has_is_named_with_who_has_it() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let wanted = [("stock".to_owned(), port)];
        let Verdict::Error(why) = ports_are_free(&wanted).verdict else {
            panic!("it is taken");
        };
        assert!(why.contains(&format!("{port} of stock is taken by process")), "{why}");
        drop(listener);
        check(&ports_are_free(&wanted).verdict, "success");
    }
}
