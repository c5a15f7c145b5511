//! The audit log: who did what to a system, when, and how it was decided, so that nobody changes it
//! unseen. Whoever may write the file can make the whole chain anew: that shows to those alone who have noted
//! the digest of a last line elsewhere.
//!
//! One JSON object a line. Each names the digest of the one before it: a line that is changed, left out,
//! moved or put in breaks the chain there. That lines are missing at the end shows to those alone who
//! have noted the digest of the last one. It tells of what people have done, and so grows by their hands
//! only; nothing of it is ever removed. It refuses to hold a secret: a deed is named by its words.

mod witness;

use std::{
    collections::VecDeque,
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use base::{SharedClock, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::folder;

/// What the first entry names as the one before it.
const NOTHING: &str = "";
/// An entry is far shorter; so much of the end of the file holds the last one.
const TAIL_BYTES: u64 = 64 << 10;
/// Letters of a name or a deed; the rest is cut off.
const WORDS_MAX: usize = 1_000;

/// One thing that somebody did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its place, from 1.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// Who, as the kernel says or as he has shown.
    pub who: String,
    /// What was asked for.
    pub what: String,
    /// What became of it.
    pub decision: String,
    /// Digest of the entry before it; empty in the first.
    pub previous: String,
    /// SHA-256 of all of the above, hexadecimal.
    pub digest: String,
}

/// Where a chain is broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct Broken {
    /// The line, from 1.
    pub line: u64,
    /// In what way.
    pub why: &'static str,
}

impl Entry {
    fn after(last: Option<&Self>, at: Timestamp, [who, what, decision]: [&str; 3]) -> Self {
        let cut = |it: &str| it.chars().take(WORDS_MAX).collect::<String>();
        let mut entry = Self {
            number: last.map_or(1, |it| it.number + 1),
            at,
            who: cut(who),
            what: cut(what),
            decision: cut(decision),
            previous: last.map_or(NOTHING, |it| &it.digest).to_owned(),
            digest: String::new(),
        };
        entry.digest = entry.computed();
        entry
    }

    /// What its digest has to be. Taken over a JSON list, in which no part can pass for another.
    fn computed(&self) -> String {
        let Self { number, at, who, what, decision, previous, digest: _ } = self;
        let parts = serde_json::json!([number, at, who, what, decision, previous]).to_string();
        Sha256::digest(parts.as_bytes()).iter().map(|it| format!("{it:02x}")).collect()
    }
}

/// Judges a whole log; gives its entries.
///
/// # Errors
/// The first line that does not follow from those before it.
pub fn verify(text: &str) -> Result<Vec<Entry>, Broken> {
    let mut entries: Vec<Entry> = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let broken = |why| Broken { line: number, why };
        let entry: Entry = serde_json::from_str(line).map_err(|_| broken("it is no entry"))?;
        let previous = entries.last().map_or(NOTHING, |it| it.digest.as_str());
        if entry.number != number {
            return Err(broken("its number is not the next one"));
        }
        if entry.previous != previous {
            return Err(broken("it does not follow the entry before it"));
        }
        if entry.digest != entry.computed() {
            return Err(broken("it was changed"));
        }
        entries.push(entry);
    }
    Ok(entries)
}

/// The log of one system. Several processes may note at once: each entry is written under a lock of the
/// file, behind the last one that is there. What cannot be written waits in memory for the next entry, with
/// its time; of more than 256 only the number is told.
#[derive(Debug, Clone)]
pub struct AuditLog {
    path: PathBuf,
    clock: SharedClock,
    late: Arc<Mutex<Late>>,
}

/// Deeds that wait for a disk that takes them.
const LATE_MAX: usize = 256;

/// What was not written when it happened.
#[derive(Debug, Default)]
struct Late {
    deeds: VecDeque<(Timestamp, [String; 3])>,
    lost: u64,
}

impl Late {
    fn push(&mut self, at: Timestamp, deed: [&str; 3]) {
        if self.deeds.len() >= LATE_MAX {
            self.deeds.pop_front();
            self.lost += 1;
        }
        self.deeds.push_back((at, deed.map(str::to_owned)));
    }

    /// The entries behind the last one that is there.
    fn entries(&self, mut last: Option<Entry>) -> Vec<Entry> {
        let lost = (self.lost > 0).then(|| {
            let what = format!("{} deeds could not be noted", self.lost);
            let first = self.deeds.front().map_or(Timestamp::from_millis(0), |it| it.0);
            (first, ["audit log".to_owned(), what, "lost".to_owned()])
        });
        let mut entries = Vec::new();
        for (at, deed) in lost.iter().chain(&self.deeds) {
            let entry = Entry::after(last.as_ref(), *at, deed.each_ref().map(String::as_str));
            last = Some(entry.clone());
            entries.push(entry);
        }
        entries
    }
}

impl AuditLog {
    /// The one at this place.
    #[must_use]
    pub fn at(path: PathBuf, clock: SharedClock) -> Self {
        Self { path, clock, late: Arc::default() }
    }

    /// Notes something; it is on stable storage then.
    ///
    /// # Errors
    /// The file cannot be read or written: it is noted with the next entry that can be.
    pub fn note(&self, who: &str, what: &str, decision: &str) -> io::Result<()> {
        let mut late = self.late();
        late.push(self.clock.now(), [who, what, decision]);
        self.write(&mut late)
    }

    /// Notes what could not be noted before.
    ///
    /// # Errors
    /// It still cannot be.
    pub fn note_late(&self) -> io::Result<()> {
        let mut late = self.late();
        if late.deeds.is_empty() { Ok(()) } else { self.write(&mut late) }
    }

    fn late(&self) -> MutexGuard<'_, Late> {
        // Written whole, or all of it is kept.
        self.late.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, late: &mut Late) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        folder::make_private(folder)?;
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&self.path)?;
        File::open(folder)?.sync_all()?;
        // Let go of with the file.
        file.lock()?;
        let last = last_entry(&mut file)?;
        let length = file.metadata()?.len();
        let mut lines = String::new();
        for entry in late.entries(last) {
            lines += &(serde_json::to_string(&entry)? + "\n");
        }
        let written = file.write_all(lines.as_bytes()).and_then(|()| file.sync_data());
        match written {
            Ok(()) => *late = Late::default(),
            // Half an entry is none. What stays of it all the same the next one cuts off.
            Err(_) => file.set_len(length).unwrap_or(()),
        }
        written
    }
}

/// Finds the last entry, and cuts off half a one behind it.
fn last_entry(file: &mut File) -> io::Result<Option<Entry>> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    // An entry that a crash has cut was never answered for.
    let whole = tail.iter().rposition(|it| *it == b'\n').map_or(0, |it| it + 1);
    file.set_len(length - (tail.len() - whole) as u64)?;
    let last = tail[..whole].split(|it| *it == b'\n').rev().nth(1);
    Ok(last.map(serde_json::from_slice).transpose()?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use runtime::SystemClock;

    use super::*;

    fn log(folder: &tempfile::TempDir) -> AuditLog {
        AuditLog::at(folder.path().join("audit").join("audit.log"), SystemClock::shared())
    }

    fn text(folder: &tempfile::TempDir) -> String {
        fs::read_to_string(folder.path().join("audit").join("audit.log")).unwrap()
    }

    /// A log of four entries.
    fn four() -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let log = log(&folder);
        for what in ["rotate", "restart account", "deny 0a", "down"] {
            log.note("uid 0, process 7", what, "done").unwrap();
        }
        text(&folder).lines().map(str::to_owned).collect()
    }

    #[track_caller]
    fn check(lines: &[String], expected: Result<usize, u64>) {
        let judged = verify(&lines.join("\n"));
        assert_eq!(judged.map(|it| it.len()).map_err(|it| it.line), expected);
    }

    #[test]
    fn what_is_changed_left_out_moved_or_put_in_breaks_the_chain_there() {
        let lines = four();
        check(&lines, Ok(4));
        let with = |change: &dyn Fn(&mut Vec<String>)| {
            let mut lines = lines.clone();
            change(&mut lines);
            lines
        };
        check(&with(&|it| it[1] = it[1].replace("account", "package")), Err(2));
        check(&with(&|it| drop(it.remove(1))), Err(2));
        check(&with(&|it| it.swap(1, 2)), Err(2));
        check(&with(&|it| it.insert(2, it[1].clone())), Err(3));
        check(&with(&|it| it[3] = "{}".to_owned()), Err(4));
        // One that is made to fit by itself does not fit the next.
        let forged = |it: &mut Vec<String>| {
            let mut entry: Entry = serde_json::from_str(&it[1]).unwrap();
            entry.who = "nobody".to_owned();
            entry.digest = entry.computed();
            it[1] = serde_json::to_string(&entry).unwrap();
        };
        check(&with(&forged), Err(3));
        // What is missing at the end shows by the digest of the last one alone.
        check(&lines[..3], Ok(3));
    }

    #[test]
    fn a_log_goes_on_after_a_restart_and_after_a_crash_in_the_middle_of_an_entry() {
        let folder = tempfile::tempdir().unwrap();
        log(&folder).note("a", "one", "done").unwrap();
        log(&folder).note("a", "two", "done").unwrap();
        let path = folder.path().join("audit").join("audit.log");
        let torn = text(&folder) + "{\"number\": 3, \"at\"";
        fs::write(&path, torn).unwrap();
        log(&folder).note("a", "three", "refused: \"why\"").unwrap();
        let entries = verify(&text(&folder)).unwrap();
        let told: Vec<_> = entries.iter().map(|it| it.what.as_str()).collect();
        assert_eq!(told, ["one", "two", "three"]);
    }

    #[test]
    fn what_could_not_be_written_is_noted_with_the_next_entry_in_its_order() {
        let folder = tempfile::tempdir().unwrap();
        let (log, place) = (log(&folder), folder.path().join("audit"));
        log.note("a", "first", "done").unwrap();
        // A file in the place of the folder: nothing can be written.
        fs::rename(&place, folder.path().join("away")).unwrap();
        fs::write(&place, "").unwrap();
        for number in 0..=LATE_MAX {
            assert!(log.note("a", &format!("late {number}"), "done").is_err());
        }
        assert!(log.note_late().is_err());
        fs::remove_file(&place).unwrap();
        fs::rename(folder.path().join("away"), &place).unwrap();
        log.note_late().unwrap();
        log.note_late().unwrap();
        log.note("a", "last", "done").unwrap();
        let entries = verify(&text(&folder)).unwrap();
        let told: Vec<_> = entries.iter().map(|it| it.what.as_str()).collect();
        assert_eq!(told[..3], ["first", "1 deeds could not be noted", "late 1"]);
        assert_eq!((told.len(), told[told.len() - 1]), (LATE_MAX + 3, "last"));
    }

    #[test]
    fn several_that_note_at_once_make_one_chain() {
        let folder = tempfile::tempdir().unwrap();
        let together = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            for who in ["up", "a command", "another", "one more"] {
                let (log, together) = (log(&folder), &together);
                scope.spawn(move || {
                    for _ in 0..50 {
                        together.wait();
                        log.note(who, "key", "done").unwrap();
                    }
                });
            }
        });
        assert_eq!(verify(&text(&folder)).unwrap().len(), 200);
    }
}
