//! A disk that fails or is full, at any call that a store makes of it.
//!
//! A process books under `strace`, which lets one call, or all from one on, fail. What it said is held against
//! its files as the page cache has them, and as a power cut would leave them: a failed sync loses what it was to
//! cover, whatever a later one says. Where `strace` is absent the tests say so.

mod child;
mod full;
mod lost_copies;
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
use tokio::{process::Command, time::timeout};

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

    /// Runs the process to its end with these faults: it makes bookings from the first on.
    async fn run(&self, first: u32, faults: &[String]) -> Run {
        let bookings = format!("{first} {}", first + BOOKINGS);
        self.run_told((child::BOOKINGS, &bookings), first, faults).await
    }

    /// The same, told what to do by this in its environment.
    async fn run_told(&self, told: (&str, &str), first: u32, faults: &[String]) -> Run {
        let trace = self.path("trace");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-y", "-xx", "-s", "8192", "--seccomp-bpf", "-o"]);
        strace.arg(&trace).args(["-e", &format!("trace={}", trace::CALLS)]);
        // Nothing else is traced, counted and made to fail.
        let working = self.path("working");
        let files = ["", "-wal", "-shm", "-journal", "-turn", "-copying"];
        let files = files.into_iter().map(|it| working.join(format!("a.db{it}")));
        for path in files.chain([working.clone(), self.path("said")]) {
            strace.arg("-P").arg(path);
        }
        for fault in faults {
            strace.args(["-e", &format!("inject={fault}")]);
        }
        strace.arg(std::env::current_exe().unwrap());
        strace.env(told.0, told.1);
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

    fn faults(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(|it| it.is_planted)
    }

    /// Where acknowledgements came after a fault.
    fn went_on_at(&self) -> impl Iterator<Item = usize> {
        let fault = self.faults().next().map_or(usize::MAX, |it| it.left);
        let acknowledged = |it: &&Call| it.line().is_some_and(|it| it.ends_with(" fresh"));
        let after = self.calls.iter().filter(move |it| it.entered > fault);
        after.filter(acknowledged).map(|it| it.entered + 1)
    }

    /// Holds what was said against the files as they stand and after a power cut, at the end and at these positions.
    async fn check(
        &self,
        place: &Place,
        cuts: impl IntoIterator<Item = usize>,
        random: &mut Random,
    ) -> Result<Said, String> {
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
        let all = cuts.into_iter().chain([end]);
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
        let said = run.check(&place, [], &mut random).await.unwrap();
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
        let said = match run.check(&place, run.went_on_at().take(1), &mut self.random).await {
            Ok(said) => said,
            Err(reason) => return self.broken.push(format!("{faults:?}: {reason}")),
        };
        self.totals.struck += u32::from(run.faults().next().is_some());
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

/// Runs trials of both, a store that is new and one that is not.
async fn try_both(trials: impl AsyncFn(&mut Trial)) {
    if !has("strace") {
        return not_run("strace is absent");
    }
    for before in [Before::Nothing, Before::File] {
        let mut trial = Trial::of(before).await;
        trials(&mut trial).await;
        trial.end(before);
    }
}

/// Lets calls of these names fail: of each name some, the first and the last of those that can among them.
async fn check(rows: &[(&[&str], &str, Fault, usize)]) {
    try_both(async |trial| {
        for (calls, error, fault, samples) in rows {
            for call in *calls {
                trial.each(call, error, *fault, *samples).await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_failed_sync_is_never_an_acknowledgement() {
    const SYNCS: &[&str] = &["fsync", "fdatasync"];
    check(&[
        (SYNCS, "EIO", Fault::Passes, 14),
        (SYNCS, "EIO", Fault::Stays, 7),
        (SYNCS, "ENOSPC", Fault::Passes, 4),
    ])
    .await;
}

#[tokio::test]
async fn a_failed_write_is_done_whole_or_not_at_all() {
    check(&[
        (&["pwrite64"], "EIO", Fault::Passes, 14),
        (&["pwrite64"], "EIO", Fault::Stays, 7),
        (&["pwrite64"], "ENOSPC", Fault::Passes, 14),
        (&["pwrite64"], "ENOSPC", Fault::Stays, 7),
    ])
    .await;
}

#[tokio::test]
async fn whatever_else_fails_is_said_and_breaks_nothing() {
    const OTHERS: &[&str] = &["openat", "unlink", "ftruncate", "mmap"];
    check(&[
        (OTHERS, "EIO", Fault::Passes, 10),
        (OTHERS, "ENOSPC", Fault::Stays, 5),
        (&["pread64"], "EIO", Fault::Passes, 8),
        (&["pread64"], "EIO", Fault::Stays, 4),
    ])
    .await;
}

/// Some calls fail for a while, one while the store heals from another.
#[tokio::test]
async fn faults_that_meet_break_nothing() {
    try_both(async |trial| {
        for seed in 0..if is_thorough() { 400 } else { 15 } {
            trial.run(&meeting(&mut Random::with_seed(seed))).await;
        }
    })
    .await;
}

/// Faults of several calls, each for a while.
fn meeting(random: &mut Random) -> Vec<String> {
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
    faults
}
