//! A disk that fails or is full, at any call that a store makes of it.
//!
//! A process books under `strace`, which lets one call, or all from one on, fail. What it said is held against
//! its files as the page cache has them, and as a power cut would leave them: a failed sync loses what it was to
//! cover, whatever a later one says. Where `strace` is absent the tests say so.

mod child;
mod trace;
mod verdict;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use base::Random;
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
    time::timeout,
};

use self::{trace::Call, verdict::Said};
use crate::fixture::PATIENCE;

/// Bookings of one run: some groups, some copies of the log.
const BOOKINGS: u32 = 32;

/// Says why a test cannot run here; in CI, where the peers are installed, that is a failure.
fn not_run(reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "not run in CI: {reason}");
    println!("not run: {reason}");
}

fn has(program: &str) -> bool {
    let found = std::process::Command::new(program).arg("-V").output();
    found.is_ok_and(|it| it.status.success())
}

/// What the process finds.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Before {
    /// Nothing: a fault may come while the tables are made.
    Nothing,
    /// A file with some bookings and a log that was not copied.
    File,
}

/// Whether a fault goes away.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Passes,
    Stays,
}

/// The directories of one run.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = TempDir::with_prefix("failing-").unwrap();
        for name in ["before", "working", "after"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs the process to its end with these faults.
    async fn run(&self, first: u32, faults: &[String]) -> Run {
        let trace = self.path("trace");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-y", "-xx", "-s", "8192", "--seccomp-bpf", "-o"]);
        strace.arg(&trace).args(["-e", &format!("trace={}", trace::CALLS)]);
        // Nothing else is traced, counted and made to fail.
        let working = self.path("working");
        let files = ["a.db", "a.db-wal", "a.db-shm", "a.db-journal", "a.db-turn"];
        let files = files.into_iter().map(|it| working.join(it));
        for path in files.chain([working.clone(), self.path("said")]) {
            strace.arg("-P").arg(path);
        }
        for fault in faults {
            strace.args(["-e", &format!("inject={fault}")]);
        }
        strace.arg(std::env::current_exe().unwrap());
        strace.env(child::BOOKINGS, format!("{first} {}", first + BOOKINGS));
        let said = fs::File::create(self.path("said")).unwrap();
        let output = ended(as_child(&mut strace, &working).stdout(said)).await;
        let calls = trace::read(&fs::read_to_string(trace).unwrap());
        Run { first, output, calls }
    }
}

/// Makes a command of the test binary one that runs the child.
fn as_child<'c>(command: &'c mut Command, directory: &Path) -> &'c mut Command {
    let test = "failing_disk::child::works_when_it_is_told_where";
    command.args([test, "--exact", "--nocapture", "--test-threads", "1"]);
    command.env(child::DIRECTORY, directory).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped())
}

/// Waits for its end, and fails when that does not come.
async fn ended(command: &mut Command) -> Output {
    let child = command.spawn().unwrap();
    let group = child.id().and_then(|it| Pid::from_raw(i32::try_from(it).ok()?)).unwrap();
    match timeout(PATIENCE, child.wait_with_output()).await {
        Ok(output) => output.unwrap(),
        Err(_) => {
            kill_process_group(group, Signal::KILL).ok();
            panic!("it neither went on nor ended");
        }
    }
}

struct Run {
    /// Which booking was the first: all before were made without a fault.
    first: u32,
    output: Output,
    calls: Vec<Call>,
}

impl Run {
    fn said(&self) -> Said {
        Said::of(self.first, self.calls.iter().filter_map(Call::line))
    }

    /// What had been said at a position of the trace.
    fn said_by(&self, cut: usize) -> Said {
        let before = self.calls.iter().filter(|it| it.entered < cut);
        Said::of(self.first, before.filter_map(Call::line))
    }

    fn faults(&self) -> usize {
        self.calls.iter().filter(|it| it.is_planted).count()
    }

    /// The first acknowledgement that came after a fault, if one did.
    fn went_on_at(&self) -> Option<usize> {
        let fault = self.calls.iter().find(|it| it.is_planted)?.left;
        let acknowledged = |it: &&Call| it.line().is_some_and(|it| it.ends_with(" fresh"));
        let mut after = self.calls.iter().filter(|it| it.entered > fault);
        after.find(acknowledged).map(|it| it.entered + 1)
    }

    async fn check(&self, place: &Place, random: &mut Random) -> Result<Said, String> {
        let stderr = String::from_utf8_lossy(&self.output.stderr);
        if !self.output.status.success() || stderr.contains("panicked") {
            return Err(format!("{}: {stderr}", self.output.status));
        }
        let said = self.said();
        said.check()?;
        if !said.ended && said.closed.is_none() {
            return Err("it ended without a word".to_owned());
        }
        let end = self.calls.last().map_or(0, |it| it.left + 1);
        let all = self.went_on_at().into_iter().chain([end]);
        for (cut, some_arrive) in all.flat_map(|it| [(it, false), (it, true)]) {
            let after = TempDir::with_prefix_in("after-", place.folder.path()).unwrap();
            let folders = (&*place.path("before"), &*place.path("working"), after.path());
            let arrives = || some_arrive && random.below(2) == 0;
            trace::cut_power(&self.calls, cut, folders, arrives);
            let held = self.said_by(cut).check_files(after.path()).await;
            held.map_err(|it| format!("power cut at {cut}, {some_arrive}: {it}"))?;
        }
        said.check_files(&place.path("working"))
            .await
            .map_err(|it| format!("as it stands: {it}"))?;
        Ok(said)
    }
}

/// What many runs saw, so that a test that plants nothing does not pass.
#[derive(Debug, Default)]
struct Totals {
    runs: u32,
    struck: u32,
    closed: u32,
    acknowledged: u32,
    not_done: u32,
    unknown: u32,
    unread: u32,
}

struct Trial {
    before: TempDir,
    first: u32,
    clean: Vec<Call>,
    working: PathBuf,
    totals: Totals,
    broken: Vec<String>,
    random: Random,
}

impl Trial {
    /// Runs once without a fault, which tells where faults can be planted.
    async fn of(before: Before) -> Self {
        let folder = TempDir::with_prefix("before-").unwrap();
        let mut first = 0;
        if before == Before::File {
            let place = Place::new();
            place.run(0, &[]).await;
            copy(&place.path("working"), folder.path());
            first = BOOKINGS;
        }
        let place = Place::new();
        copy(folder.path(), &place.path("working"));
        copy(folder.path(), &place.path("before"));
        let run = place.run(first, &[]).await;
        let mut random = Random::with_seed(7);
        let said = run.check(&place, &mut random).await.unwrap();
        assert!(said.ended, "{said:?}");
        let working = place.path("working");
        Self {
            before: folder,
            first,
            clean: run.calls,
            working,
            totals: Totals::default(),
            broken: Vec::new(),
            random,
        }
    }

    fn ordinals(&self, call: &str) -> Vec<usize> {
        trace::ordinals(&self.clean, call, &self.working)
    }

    async fn run(&mut self, faults: &[String]) {
        let place = Place::new();
        copy(self.before.path(), &place.path("working"));
        copy(self.before.path(), &place.path("before"));
        let run = place.run(self.first, faults).await;
        self.totals.runs += 1;
        let said = match run.check(&place, &mut self.random).await {
            Ok(said) => said,
            Err(reason) => return self.broken.push(format!("{faults:?}: {reason}")),
        };
        self.totals.struck += u32::from(run.faults() > 0);
        self.totals.closed += u32::from(said.closed.is_some());
        self.totals.acknowledged += said.acknowledged;
        self.totals.not_done += said.not_done;
        self.totals.unknown += said.unknown;
        self.totals.unread += said.unread;
    }

    fn end(self, before: Before) {
        println!("{before:?}: {:?}", self.totals);
        assert!(
            self.broken.is_empty(),
            "{} broken:\n{}",
            self.broken.len(),
            self.broken.join("\n")
        );
    }

    /// Lets some of the calls of this name fail, the first and the last of those that can among them.
    async fn each(&mut self, call: &str, error: &str, fault: Fault, samples: usize) {
        let ordinals = self.ordinals(call);
        for ordinal in sampled(&ordinals, samples) {
            let and_later = match fault {
                Fault::Passes => "",
                Fault::Stays => "+",
            };
            self.run(&[format!("{call}:error={error}:when={ordinal}{and_later}")]).await;
        }
    }
}

/// Whether every place is tried, not some: takes minutes.
fn is_thorough() -> bool {
    std::env::var_os("STORE_FAULTS").is_some()
}

/// All, or so many, evenly.
fn sampled(all: &[usize], samples: usize) -> Vec<usize> {
    if is_thorough() || all.len() <= samples {
        return all.to_vec();
    }
    (0..samples).map(|it| all[it * (all.len() - 1) / (samples - 1)]).collect()
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if !entry.file_name().to_string_lossy().ends_with("-shm") {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[tokio::test]
async fn a_failed_sync_is_never_an_acknowledgement() {
    if !has("strace") {
        return not_run("strace is absent");
    }
    for before in [Before::Nothing, Before::File] {
        let mut trial = Trial::of(before).await;
        for call in ["fsync", "fdatasync"] {
            trial.each(call, "EIO", Fault::Passes, 14).await;
            trial.each(call, "EIO", Fault::Stays, 7).await;
            trial.each(call, "ENOSPC", Fault::Passes, 4).await;
        }
        trial.end(before);
    }
}

#[tokio::test]
async fn a_failed_write_is_done_whole_or_not_at_all() {
    if !has("strace") {
        return not_run("strace is absent");
    }
    for before in [Before::Nothing, Before::File] {
        let mut trial = Trial::of(before).await;
        for error in ["EIO", "ENOSPC"] {
            trial.each("pwrite64", error, Fault::Passes, 14).await;
            trial.each("pwrite64", error, Fault::Stays, 7).await;
        }
        trial.end(before);
    }
}

#[tokio::test]
async fn whatever_else_fails_is_said_and_breaks_nothing() {
    if !has("strace") {
        return not_run("strace is absent");
    }
    for before in [Before::Nothing, Before::File] {
        let mut trial = Trial::of(before).await;
        for call in ["openat", "unlink", "ftruncate", "mmap"] {
            trial.each(call, "EIO", Fault::Passes, 10).await;
            trial.each(call, "ENOSPC", Fault::Stays, 5).await;
        }
        trial.each("pread64", "EIO", Fault::Passes, 8).await;
        trial.each("pread64", "EIO", Fault::Stays, 4).await;
        trial.end(before);
    }
}

/// Some calls fail for a while, one while the store heals from another.
#[tokio::test]
async fn faults_that_meet_break_nothing() {
    if !has("strace") {
        return not_run("strace is absent");
    }
    for before in [Before::Nothing, Before::File] {
        let mut trial = Trial::of(before).await;
        for seed in 0..if is_thorough() { 400 } else { 15 } {
            let mut random = Random::with_seed(seed);
            let mut draw = |below: u64| random.below(below);
            let mut faults = Vec::new();
            // The first calls of a thread open the file: behind them are those of a store that is open.
            for (call, first) in
                [("fsync", 9), ("pwrite64", 20), ("openat", 10), ("ftruncate", 2), ("pread64", 10)]
            {
                if draw(2) == 0 {
                    continue;
                }
                let from = first + draw(if call == "pwrite64" { 300 } else { 25 });
                let to = from + draw(12);
                let error = if draw(3) == 0 { "ENOSPC" } else { "EIO" };
                faults.push(format!("{call}:error={error}:when={from}..{to}"));
            }
            trial.run(&faults).await;
        }
        trial.end(before);
    }
}

/// A small file system of its own. Unmounted with its scope.
struct Mount {
    folder: TempDir,
}

impl Mount {
    fn make(kind: &str) -> Result<Self, String> {
        let mount = Self { folder: TempDir::with_prefix("full-").unwrap() };
        fs::create_dir(mount.path()).unwrap();
        let image = mount.folder.path().join("image");
        let (image, path) = (image.to_str().unwrap().to_owned(), mount.path());
        let path = path.to_str().unwrap();
        match kind {
            "tmpfs" => run("mount", &["-t", "tmpfs", "-o", "size=2m", "none", path])?,
            _ => {
                run("truncate", &["-s", "8M", &image])?;
                run("mkfs.ext4", &["-q", "-F", &image])?;
                run("mount", &["-o", "loop", &image, path])?;
            }
        }
        Ok(mount)
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("mount")
    }

    /// Takes all room but so many kilobytes.
    fn fill(&self, left: u64) {
        let free = rustix::fs::statvfs(self.path()).unwrap();
        let free = free.f_bavail * free.f_frsize - (left << 10);
        fs::write(self.path().join("ballast"), vec![1; usize::try_from(free).unwrap()]).unwrap();
    }

    fn make_room(&self) {
        fs::remove_file(self.path().join("ballast")).unwrap();
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        run("umount", &[self.path().to_str().unwrap()]).ok();
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = std::process::Command::new(program).args(arguments).output();
    let output = output.map_err(|it| format!("{program}: {it}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)))
}

async fn fills_up(kind: &str) {
    let mount = match Mount::make(kind) {
        Ok(mount) => mount,
        Err(reason) => return not_run(&reason),
    };
    let directory = mount.path().join("store");
    fs::create_dir(&directory).unwrap();
    mount.fill(200);
    let mut command = Command::new(std::env::current_exe().unwrap());
    let mut child = as_child(&mut command, &directory)
        .stdin(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut lines = Vec::new();
    for word in [" not-done ", " fresh"] {
        let mut seen = 0;
        while seen < 40 {
            let next = timeout(PATIENCE, output.next_line()).await;
            let line = next.expect("it hangs").unwrap().expect("it goes on");
            seen += u32::from(line.contains(word));
            lines.push(line);
        }
        if word == " not-done " {
            mount.make_room();
        }
    }
    drop(child.stdin.take());
    while let Some(line) = timeout(PATIENCE, output.next_line()).await.expect("it hangs").unwrap() {
        lines.push(line);
    }
    assert!(child.wait().await.unwrap().success());
    let full = lines.iter().filter(|it| it.contains("not-done"));
    assert!(full.clone().all(|it| it.contains("reason: Full")), "{:?}", full.collect::<Vec<_>>());
    let said = Said::of(0, lines.into_iter());
    assert_eq!((said.check(), said.ended), (Ok(()), true));
    assert_eq!(said.check_files(&directory).await, Ok(()));
    println!(
        "{kind}: {} acknowledged, {} not done, {} unknown",
        said.acknowledged, said.not_done, said.unknown
    );
}

#[tokio::test]
async fn a_full_ext4_refuses_and_takes_again_what_was_refused() {
    fills_up("ext4").await;
}

#[tokio::test]
async fn a_full_tmpfs_refuses_and_takes_again_what_was_refused() {
    fills_up("tmpfs").await;
}
