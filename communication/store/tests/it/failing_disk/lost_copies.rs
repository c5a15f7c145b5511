//! A part of the log that was copied and noted as done, and that a later sync of the database loses.
//!
//! A reader holds the end of the log, so that a copy ends before it and syncs nothing; then the reader goes, and the
//! sync of the rest fails. Bookings are made one after the other, so that each run makes the same calls and the
//! fault can be planted at that sync.

use std::{
    fs::File,
    io,
    path::Path,
    sync::mpsc::{Sender, channel},
};

use base::Random;
use rusqlite::Connection;
use store::{ReadError, Store};
use tokio::{sync::oneshot, task::JoinSet, time::timeout};

use super::{
    Place, Run,
    child::{MARK, Voice, caller, open_copied},
    has, not_run,
    trace::Call,
};
use crate::fixture::PATIENCE;

/// Tells the child to go through this, and who copies the part.
pub(super) const PART_BY: &str = "STORE_CHILD_PART_BY";
const CHECKPOINTER: &str = "checkpointer";
const WRITER: &str = "writer";
/// The writer copies the part and fails with the rest; another process, that opens the file then, goes on.
const WRITER_THEN_OTHER: &str = "writer-then-other";

/// Length of the log from which the reader holds it.
const HELD_BYTES: u64 = 64 << 10;
/// Length at which the part is copied, up to where the reader began.
const PART_BYTES: u64 = 112 << 10;
/// Length at which the writer copies the rest, of a part that the checkpointer has copied.
const REST_BYTES: u64 = 160 << 10;
/// Bookings behind the part: the rest is copied, the log begun anew, and some of it overwritten. The other process
/// makes fewer, or it came to as many syncs as the one had made that failed.
const FURTHER: u32 = 32;
const FURTHER_OF_OTHER: u32 = 8;

/// How long the log is, and what is noted as copied.
struct Log(Connection);

impl Log {
    fn of(directory: &Path) -> Self {
        Self(Connection::open(directory.join("a.db")).unwrap())
    }

    fn pages(&self) -> (i64, i64) {
        let ask = "PRAGMA wal_checkpoint(NOOP)";
        self.0.query_row(ask, [], |row| Ok((row.get(1)?, row.get(2)?))).unwrap()
    }

    fn bytes(&self) -> u64 {
        self.pages().0.unsigned_abs() * (1_024 + 24)
    }
}

/// A read that does not end before it is told to.
struct Hold {
    reads: JoinSet<Result<Vec<()>, ReadError>>,
    end: Sender<()>,
}

impl Hold {
    async fn of(store: &Store) -> Self {
        let (end, told) = channel();
        let (begins, begun) = oneshot::channel();
        let mut begins = Some(begins);
        let mut reads = JoinSet::new();
        let store = store.clone();
        reads.spawn(async move {
            let one = "SELECT booking FROM halves LIMIT 1";
            let read = store.read(move |reader| {
                reader.query_all(one, &[], |_| {
                    begins.take().map(|it| it.send(()));
                    told.recv().ok();
                    Ok(())
                })
            });
            read.await
        });
        begun.await.unwrap();
        Self { reads, end }
    }

    async fn let_go(self) {
        self.end.send(()).unwrap();
        for read in self.reads.join_all().await {
            assert_eq!(read.unwrap().len(), 1);
        }
    }
}

/// What the child does.
pub(super) async fn play(directory: &Path, voice: &Voice, part_by: &str) {
    let (checkpoint_bytes, log_bytes_max) =
        if part_by == CHECKPOINTER { (PART_BYTES, REST_BYTES) } else { (u64::MAX, PART_BYTES) };
    let store = open_copied(directory, checkpoint_bytes, log_bytes_max).unwrap();
    let log = Log::of(directory);
    let mut next = 0;
    let mut book = async |store: &Store| {
        caller(store.clone(), voice.clone(), next).await;
        next += 1;
    };
    while log.bytes() < HELD_BYTES {
        book(&store).await;
    }
    let hold = Hold::of(&store).await;
    voice.say("0 held");
    while log.bytes() < PART_BYTES {
        book(&store).await;
    }
    until(|| log.pages().1 > 0).await;
    hold.let_go().await;
    voice.say("0 let-go");
    if part_by != WRITER_THEN_OTHER {
        for _ in 0..FURTHER {
            book(&store).await;
        }
        return;
    }
    book(&store).await;
    until(|| log.pages().0 == log.pages().1 || has_failed(directory)).await;
    let other = open_copied(directory, u64::MAX, PART_BYTES).unwrap();
    for _ in 0..FURTHER_OF_OTHER {
        book(&other).await;
    }
}

async fn until(holds: impl Fn() -> bool) {
    let held = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, held).await.unwrap();
}

/// Whether nobody copies, and the last who did has left doubt behind.
fn has_failed(directory: &Path) -> bool {
    let note = File::open(directory.join("a.db-copying")).unwrap();
    note.try_lock().is_ok() && io::read_to_string(note).unwrap().contains("doubtful")
}

/// Where the child said this.
fn said_at(run: &Run, line: &str) -> usize {
    let line = format!("{MARK}{line}");
    run.calls.iter().find(|it| it.line().as_ref() == Some(&line)).expect("it was said").entered
}

/// The sync of the rest in a run without a fault, as `strace` counts: which of its thread's.
fn sync_of_the_rest(run: &Run, database: &Path, part_by: &str) -> String {
    let (held, let_go) = (said_at(run, "0 held"), said_at(run, "0 let-go"));
    let of_database = |it: &&Call| it.path().as_deref() == Some(database);
    let syncs = run.calls.iter().filter(of_database).filter(|it| it.is_sync());
    let syncs: Vec<_> = syncs.filter(|it| it.entered > held).collect();
    assert!(syncs.iter().all(|it| it.entered > let_go), "the part was synced");
    let sync = syncs.first().expect("the rest was synced");
    let part = run.calls.iter().filter(of_database).filter(|it| it.name == "pwrite64");
    let part: Vec<_> = part.filter(|it| it.entered > held && it.entered < let_go).collect();
    assert!(!part.is_empty(), "no part was copied");
    let by_writer = part.iter().filter(|it| it.thread == sync.thread).count();
    assert_eq!(
        by_writer,
        if part_by == CHECKPOINTER { 0 } else { part.len() },
        "of {}",
        part.len()
    );
    let of_thread = run.calls.iter().filter(|it| it.name == sync.name && it.thread == sync.thread);
    let number = of_thread.filter(|it| it.entered <= sync.entered).count();
    format!("{}:error=EIO:when={number}", sync.name)
}

async fn check(part_by: &str) {
    if !has("strace") {
        return not_run("strace is absent");
    }
    let place = Place::new();
    let clean = place.run_told((PART_BY, part_by), 0, &[]).await;
    let mut random = Random::with_seed(7);
    let said = clean.check(&place, [], &mut random).await.unwrap();
    assert!(said.ended && said.unread == 0, "{said:?}");
    let fault = sync_of_the_rest(&clean, &place.path("working").join("a.db"), part_by);

    let place = Place::new();
    let run = place.run_told((PART_BY, part_by), 0, std::slice::from_ref(&fault)).await;
    let struck: Vec<_> = run.faults().filter_map(Call::path).collect();
    assert_eq!(struck, [place.path("working").join("a.db")], "{fault}");
    let went_on = run.went_on_at().count();
    assert!(went_on > 5, "{went_on} acknowledged");
    let held = run.check(&place, run.went_on_at(), &mut random).await;
    assert!(held.as_ref().is_ok_and(|it| it.ended), "{fault}: {held:?}");
}

#[tokio::test]
async fn what_the_writer_had_copied_outlives_its_failed_sync() {
    check(WRITER).await;
}

#[tokio::test]
async fn what_the_checkpointer_had_copied_outlives_a_failed_sync_of_the_writer() {
    check(CHECKPOINTER).await;
}

#[tokio::test]
async fn what_one_process_had_copied_outlives_another_that_opens_the_file_after_the_failed_sync() {
    check(WRITER_THEN_OTHER).await;
}
