//! The process whose disk fails: books under operation keys, and says each answer once it has it.
//!
//! It is this test binary, run again. A line goes out with one call of its own, after the answer, so that a
//! trace of the process orders answers among writes and syncs.

use std::{
    fs::File,
    io::{IoSlice, Read as _, Write as _},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
};

use base::{Direction, ManualClock, OperationKey, Timestamp};
use store::{
    Applied, Migration, OpenError, OperationState, OutboxMessage, ReadError, SqlError, Store,
    StoreSettings, StoredReply, WriteError,
};
use telemetry::Telemetry;
use tokio::task::JoinSet;

use super::lost_copies;

/// Tells the child where to work. Absent in a run of the tests.
pub(super) const DIRECTORY: &str = "STORE_CHILD_DIRECTORY";
/// Tells it which bookings to make, as `first end`; all from 0 on until its input ends, when absent.
pub(super) const BOOKINGS: &str = "STORE_CHILD_BOOKINGS";
/// Begins each line of the child: the test harness writes to the same place.
pub(super) const MARK: &str = "@disk ";
/// Who books at the same time.
const CALLERS: u32 = 4;
/// Each so many-th booking refuses after it has written.
const REFUSES: u32 = 8;

const MIGRATIONS: &[Migration] = &[Migration {
    version: 1,
    name: "halves",
    sql: "CREATE TABLE halves (booking INTEGER, half TEXT, filling BLOB, PRIMARY KEY (booking, half)) STRICT;",
}];

pub(super) fn open(directory: &Path) -> Result<Store, OpenError> {
    // Small enough that each run copies its log some times, by the checkpointer and by the writer.
    open_copied(directory, 24 << 10, 60 << 10)
}

/// Opens the store so that its log is copied from these lengths on: by the checkpointer, by the writer.
pub(super) fn open_copied(
    directory: &Path,
    checkpoint_bytes: u64,
    log_bytes_max: u64,
) -> Result<Store, OpenError> {
    let settings = StoreSettings {
        checkpoint_bytes,
        log_bytes_max,
        group_wait_us: 0,
        ..StoreSettings::default()
    };
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_000_000)));
    Store::open(directory.join("a.db"), MIGRATIONS, settings, clock, &Telemetry::disabled())
}

pub(super) const fn refuses(booking: u32) -> bool {
    booking % REFUSES == REFUSES - 1
}

fn message(booking: u32) -> OutboxMessage {
    crate::sharing::message("bookings", u64::from(booking))
}

/// Why a booking was refused by its own closure.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Refusal {
    /// It is one of those that do.
    Meant,
    /// A statement failed.
    Sql(SqlError),
}

impl From<SqlError> for Refusal {
    fn from(error: SqlError) -> Self {
        Self::Sql(error)
    }
}

/// An effect of two rows and a message, under its key, as a participant makes it.
pub(super) async fn book(
    store: &Store,
    booking: u32,
) -> Result<OperationState, WriteError<Refusal>> {
    let write = store.write(move |transaction| {
        let saga = format!("s{booking}");
        let direction = Direction::Do;
        let key = OperationKey { saga, step: "book".to_owned(), direction, revision: 0 };
        let state = transaction.begin_operation(&key, Some(1), &[1; 32])?;
        if state != OperationState::Fresh {
            return Ok(state);
        }
        let filling = vec![b'x'; if booking.is_multiple_of(5) { 2_500 } else { 100 }];
        let insert = "INSERT INTO halves VALUES (?1, ?2, ?3)";
        transaction.execute(insert, &[&booking, &"left", &filling])?;
        transaction.push(&message(booking))?;
        if refuses(booking) {
            return Err(Refusal::Meant);
        }
        transaction.execute(insert, &[&booking, &"right", &filling])?;
        let reply = StoredReply { status: 201, headers: Vec::new(), body: b"{}".to_vec() };
        transaction.finish_operation(&key, Some(1), &[1; 32], &reply)?;
        Ok(state)
    });
    write.await
}

/// Where the lines go.
#[derive(Clone)]
pub(super) struct Voice(Arc<File>);

impl Voice {
    fn new() -> Self {
        let output = std::io::stdout().as_fd().try_clone_to_owned().unwrap();
        let voice = Self(Arc::new(output.into()));
        // The harness has begun a line.
        (&*voice.0).write_all(b"\n").unwrap();
        voice
    }

    /// Another call than those of the store, so that a fault planted into them is not met here.
    pub(super) fn say(&self, line: &str) {
        let line = format!("{MARK}{line}\n");
        let said = (&*self.0).write_vectored(&[IoSlice::new(line.as_bytes())]).unwrap();
        assert_eq!(said, line.len());
    }
}

/// Tries once, and once more under the same key when that was no answer.
pub(super) async fn caller(store: Store, voice: Voice, booking: u32) {
    for _ in 0..2 {
        match book(&store, booking).await {
            Ok(OperationState::Fresh) => voice.say(&format!("{booking} fresh")),
            Ok(OperationState::Replayed(_)) => voice.say(&format!("{booking} replayed")),
            Ok(other) => voice.say(&format!("{booking} odd {other:?}")),
            Err(WriteError::Refused(Refusal::Meant)) => voice.say(&format!("{booking} refused")),
            Err(WriteError::Failed { applied: Applied::Unknown, message }) => {
                voice.say(&format!("{booking} unknown {message}"));
                continue;
            }
            Err(WriteError::Refused(Refusal::Sql(error))) => {
                voice.say(&format!("{booking} odd {error:?}"));
            }
            Err(other) => {
                voice.say(&format!("{booking} not-done {other:?}"));
                continue;
            }
        }
        look(&store, &voice, booking).await;
        return;
    }
}

/// What this process itself reads after an answer.
async fn look(store: &Store, voice: &Voice, booking: u32) {
    let halves = store.read(move |reader| {
        let sql = "SELECT COUNT(*) FROM halves WHERE booking = ?1";
        reader.query_one(sql, &[&booking], |row| row.get::<u32>(0))
    });
    match halves.await {
        Ok(halves) => voice.say(&format!("{booking} halves {halves}")),
        // `SQLite` says of a read that failed that the file is damaged.
        Err(error @ ReadError::Sql(SqlError::Damaged { .. } | SqlError::Io { .. })) => {
            voice.say(&format!("{booking} unread {error}"));
        }
        Err(error) => voice.say(&format!("{booking} odd {error:?}")),
    }
}

/// Ends when the input does.
fn until_input_ends() -> Arc<AtomicBool> {
    let ended = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&ended);
    thread::spawn(move || {
        std::io::stdin().read_to_end(&mut Vec::new()).ok();
        told.store(true, Ordering::Relaxed);
    });
    ended
}

async fn work(directory: &Path) {
    let voice = Voice::new();
    if let Ok(part_by) = std::env::var(lost_copies::PART_BY) {
        lost_copies::play(directory, &voice, &part_by).await;
        return over(&voice);
    }
    let store = match open(directory) {
        Ok(store) => store,
        Err(error) => return voice.say(&format!("0 closed {}", chain(&error))),
    };
    let told = std::env::var(BOOKINGS).ok();
    let ended = if told.is_none() { until_input_ends() } else { Arc::default() };
    let (first, end) = told.as_deref().and_then(|it| it.split_once(' ')).unwrap_or(("0", "999999"));
    let (first, end) = (first.parse().unwrap(), end.parse().unwrap());
    let next = Arc::new(AtomicU32::new(first));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (store, voice) = (store.clone(), voice.clone());
        let (next, ended) = (Arc::clone(&next), Arc::clone(&ended));
        callers.spawn(async move {
            loop {
                let booking = next.fetch_add(1, Ordering::Relaxed);
                if ended.load(Ordering::Relaxed) || booking >= end {
                    return;
                }
                caller(store.clone(), voice.clone(), booking).await;
            }
        });
    }
    while let Some(done) = callers.join_next().await {
        done.unwrap();
    }
    over(&voice);
}

/// No farewell to the store: what it has acknowledged has to stand without.
fn over(voice: &Voice) {
    voice.say("0 end");
    std::process::exit(0);
}

/// An error with all that caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |it| it.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Not a test of its own: nothing happens without the directory.
#[tokio::test]
async fn works_when_it_is_told_where() {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        work(&PathBuf::from(directory)).await;
    }
}
