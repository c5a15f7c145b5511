//! What a process did to its files, read from `strace`, and what of that a power cut would leave.
//!
//! The page cache hides what a failed sync has lost: who reads the file sees what was written. On the disk
//! it may never arrive, and no later sync tries it again. So the files after a power cut are worked out from
//! the trace: a write counts once a sync that began after it has succeeded, one that a failed sync was to
//! cover is lost, or arrives by chance, whoever wrote it. Linux then lets the next sync of each descriptor fail
//! that was open; `strace` lets those fail alone that it was told to.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// The calls that are traced: those that faults are planted into, and the one by which lines go out.
pub(super) const CALLS: &str =
    "pwrite64,pread64,fsync,fdatasync,ftruncate,openat,unlink,mmap,writev";

/// One call of one thread.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) thread: u32,
    pub(super) name: String,
    /// All that stands between the brackets, in `strace`'s notation.
    arguments: String,
    /// Negative where it failed.
    result: i64,
    pub(super) is_planted: bool,
    /// Positions in the trace.
    pub(super) entered: usize,
    pub(super) left: usize,
}

/// Reads a trace of `strace -f -y -xx`.
pub(super) fn read(text: &str) -> Vec<Call> {
    let mut calls = Vec::new();
    // Calls that others were traced in the middle of, by thread.
    let mut open: BTreeMap<u32, (usize, String)> = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let (Ok(thread), rest) = (thread.parse(), rest.trim_start()) else { continue };
        if let Some(begun) = rest.strip_suffix(" <unfinished ...>") {
            open.insert(thread, (number, begun.to_owned()));
            continue;
        }
        let whole = match rest.strip_prefix("<... ").and_then(|it| it.split_once(" resumed>")) {
            None => Some((number, rest.to_owned())),
            Some((_, end)) => open.remove(&thread).map(|(at, begun)| (at, begun + end)),
        };
        let call = whole.and_then(|(entered, whole)| call(thread, &whole, entered, number));
        calls.extend(call);
    }
    calls
}

fn call(thread: u32, whole: &str, entered: usize, left: usize) -> Option<Call> {
    let (name, rest) = whole.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(" = ")?;
    let arguments = arguments.trim_end().strip_suffix(')')?.to_owned();
    let number = result.split([' ', '<']).next()?;
    // Addresses are beyond what is asked of a result; a call that never came back has none.
    let result = if number.starts_with("0x") { 0 } else { number.parse().ok()? };
    let is_planted = whole.ends_with("(INJECTED)");
    Some(Call { thread, name: name.to_owned(), arguments, result, is_planted, entered, left })
}

impl Call {
    fn argument(&self, index: usize) -> &str {
        self.arguments.split(", ").nth(index).unwrap_or("")
    }

    pub(super) fn is_sync(&self) -> bool {
        matches!(self.name.as_str(), "fsync" | "fdatasync")
    }

    /// The number of the descriptor that it worked with or gave; -1 where there is none.
    fn descriptor(&self) -> i32 {
        let number = match self.name.as_str() {
            "openat" => return i32::try_from(self.result).unwrap_or(-1),
            "mmap" => self.argument(4),
            _ => self.argument(0),
        };
        number.split('<').next().and_then(|it| it.parse().ok()).unwrap_or(-1)
    }

    /// What it worked on: by name, or by the name of the descriptor.
    pub(super) fn path(&self) -> Option<PathBuf> {
        let text = match self.name.as_str() {
            "openat" => self.argument(1),
            "unlink" => self.argument(0),
            "mmap" => self.argument(4).split_once('<')?.1,
            _ => self.argument(0).split_once('<')?.1,
        };
        String::from_utf8(bytes(text)).ok().map(PathBuf::from)
    }

    /// The line that it carried, of one that carries lines.
    pub(super) fn line(&self) -> Option<String> {
        let text = (self.name == "writev").then(|| self.arguments.split_once("iov_base="))??.1;
        let line = String::from_utf8(bytes(text.split(", ").next()?)).ok()?;
        Some(line.trim_end().to_owned())
    }
}

/// Decodes `\x61\x62` up to what is no such byte.
fn bytes(text: &str) -> Vec<u8> {
    let mut rest = text.trim_start_matches('"').as_bytes();
    let mut decoded = Vec::with_capacity(rest.len() / 4);
    while let [b'\\', b'x', high, low, further @ ..] = rest {
        let digit = |it: u8| char::from(it).to_digit(16).and_then(|it| u8::try_from(it).ok());
        let (Some(high), Some(low)) = (digit(*high), digit(*low)) else { break };
        decoded.push(high << 4 | low);
        rest = further;
    }
    decoded
}

/// At which of its calls of this name some thread worked on a file below `directory`, ascending.
pub(super) fn ordinals(calls: &[Call], name: &str, directory: &Path) -> Vec<usize> {
    let mut made: BTreeMap<u32, usize> = BTreeMap::new();
    let mut found = Vec::new();
    for call in calls.iter().filter(|it| it.name == name) {
        let ordinal = made.entry(call.thread).or_default();
        *ordinal += 1;
        if call.path().is_some_and(|it| it.starts_with(directory)) {
            found.push(*ordinal);
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Length(length) => content.resize(*length, 0),
            Self::Write(offset, bytes) => {
                let end = offset + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*offset..end].copy_from_slice(bytes);
            }
        }
    }
}

/// A descriptor by its number, and how often the number had been given out when it was.
type Opening = (i32, usize);

/// The calls that had ended at a position, in that order, each with the descriptor that it was made with.
fn ended(calls: &[Call], cut: usize) -> Vec<(&Call, Opening)> {
    let mut ended: Vec<&Call> = calls.iter().filter(|it| it.left < cut).collect();
    ended.sort_by_key(|it| it.left);
    let mut given: BTreeMap<i32, usize> = BTreeMap::new();
    let with_opening = |call| {
        let number = Call::descriptor(call);
        let given = given.entry(number).or_default();
        *given += usize::from(call.name == "openat");
        (call, (number, *given))
    };
    ended.into_iter().map(with_opening).collect()
}

/// Whether the disk told a descriptor of a sync that failed on another one before these calls: it tells at the
/// next sync. In a trace that success followed, no write through it can have been lost.
fn is_told(later: &[(&Call, Opening)], opening: Opening) -> bool {
    let next = later.iter().find(|(call, of)| *of == opening && call.is_sync());
    next.is_none_or(|(call, _)| call.result < 0)
}

/// One file: what is on the disk, and what is on its way there, in order.
#[derive(Default)]
struct Durable {
    content: Vec<u8>,
    pending: Vec<Pending>,
}

struct Pending {
    by: Opening,
    ended: usize,
    change: Change,
}

impl Durable {
    /// A sync that began when `covered` calls had ended has brought all of that to the disk.
    fn sync(&mut self, covered: usize) {
        for pending in std::mem::take(&mut self.pending) {
            if pending.ended < covered {
                pending.change.apply(&mut self.content);
            } else {
                self.pending.push(pending);
            }
        }
    }

    /// A sync has failed: the kernel counts what it was to cover as written, whoever wrote it. Lengths stand in
    /// the journal of the file system, and are not undone.
    fn lose(
        &mut self,
        covered: usize,
        is_told: impl Fn(Opening) -> bool,
        arrives: &mut impl FnMut() -> bool,
    ) {
        for pending in std::mem::take(&mut self.pending) {
            let is_length = matches!(pending.change, Change::Length(_));
            if pending.ended >= covered || is_length || !is_told(pending.by) {
                self.pending.push(pending);
            } else if arrives() {
                pending.change.apply(&mut self.content);
            }
        }
    }
}

/// Makes the files in `after` that were in `before` and went through these calls, as a power cut at the position
/// `cut` would leave them. `arrives` says of each write that no sync has brought there whether it did.
pub(super) fn cut_power(
    calls: &[Call],
    cut: usize,
    (before, working, after): (&Path, &Path, &Path),
    mut arrives: impl FnMut() -> bool,
) {
    let mut files: BTreeMap<PathBuf, Durable> = BTreeMap::new();
    for entry in fs::read_dir(before).unwrap() {
        let entry = entry.unwrap();
        let content = fs::read(entry.path()).unwrap();
        files.insert(entry.file_name().into(), Durable { content, ..Durable::default() });
    }
    let ended = ended(calls, cut);
    for (position, (call, by)) in ended.iter().enumerate() {
        let Some(path) = call.path() else { continue };
        let Ok(name) = path.strip_prefix(working) else { continue };
        if call.name == "unlink" && call.result == 0 {
            files.remove(name);
            continue;
        }
        let number = |index| call.argument(index).parse::<usize>().unwrap();
        let file = files.entry(name.to_owned()).or_default();
        let mut write = |change| file.pending.push(Pending { by: *by, ended: call.left, change });
        match (call.name.as_str(), usize::try_from(call.result)) {
            ("pwrite64", Ok(written)) => {
                let mut bytes = bytes(call.argument(1));
                bytes.truncate(written);
                write(Change::Write(number(3), bytes));
            }
            ("ftruncate", Ok(_)) => write(Change::Length(number(1))),
            ("fsync" | "fdatasync", Ok(_)) => file.sync(call.entered),
            ("fsync" | "fdatasync", Err(_)) => {
                let is_told = |it| it == *by || is_told(&ended[position + 1..], it);
                file.lose(call.entered, is_told, &mut arrives);
            }
            _ => {}
        }
    }
    for (name, mut file) in files {
        let is_index = name.to_string_lossy().ends_with("-shm");
        if name.as_os_str().is_empty() || is_index {
            // The directory itself; and what is made anew from the log by who comes first.
            continue;
        }
        for pending in std::mem::take(&mut file.pending) {
            if arrives() {
                pending.change.apply(&mut file.content);
            }
        }
        fs::write(after.join(name), file.content).unwrap();
    }
}

#[test]
fn a_failed_sync_loses_what_it_was_to_cover_and_a_later_one_does_not_bring_it_back() {
    let trace = r#"7 pwrite64(3</d/a>, "\x61\x62", 2, 0) = 2
7 fsync(3</d/a>) = -1 EIO (Input/output error) (INJECTED)
8 pwrite64(3</d/a>, "\x63", 1, 1 <unfinished ...>
7 fsync(3</d/a> <unfinished ...>
8 <... pwrite64 resumed>) = 1
7 <... fsync resumed>) = 0
7 pwrite64(3</d/a>, "\x64", 1, 0) = 1
7 fsync(3</d/a>) = 0
"#;
    let calls = read(&hex_paths(trace));
    let (before, after) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (cut, expected) in [(7, &b""[..]), (8, b"dc")] {
        let folders = (before.path(), Path::new("/d"), after.path());
        cut_power(&calls, cut, folders, || false);
        assert_eq!(fs::read(after.path().join("a")).unwrap(), expected, "cut at {cut}");
    }
    cut_power(&calls, 7, (before.path(), Path::new("/d"), after.path()), || true);
    assert_eq!(fs::read(after.path().join("a")).unwrap(), b"dc");
    assert_eq!(ordinals(&calls, "pwrite64", Path::new("/d")), [1, 2]);
}

#[test]
fn a_failed_sync_loses_what_others_wrote_but_for_those_whose_own_next_one_succeeds() {
    let lost = r#"7 openat(AT_FDCWD</>, "/d/a", O_RDWR) = 3</d/a>
8 openat(AT_FDCWD</>, "/d/a", O_RDWR) = 4</d/a>
7 pwrite64(3</d/a>, "\x61", 1, 0) = 1
8 pwrite64(4</d/a>, "\x62", 1, 1) = 1
7 fsync(3</d/a>) = -1 EIO (Input/output error) (INJECTED)
7 fsync(3</d/a>) = 0
"#;
    let told = lost.to_owned() + "8 fsync(4</d/a>) = -1 EIO (Input/output error) (INJECTED)\n";
    let anew = r#"8 openat(AT_FDCWD</>, "/d/a", O_RDWR) = 4</d/a>
8 fsync(4</d/a>) = 0
"#;
    let (anew, own) = (lost.to_owned() + anew, lost.to_owned() + "8 fsync(4</d/a>) = 0\n");
    for (trace, expected) in [(lost, &b""[..]), (&told, b""), (&anew, b""), (&own, b"\0b")] {
        let (before, after) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let folders = (before.path(), Path::new("/d"), after.path());
        cut_power(&read(&hex_paths(trace)), 9, folders, || false);
        assert_eq!(fs::read(after.path().join("a")).unwrap(), expected, "{trace}");
    }
}

#[cfg(test)]
fn hex_paths(trace: &str) -> String {
    let hex: String = "/d/a".bytes().map(|it| format!("\\x{it:02x}")).collect();
    trace.replace("/d/a", &hex)
}
